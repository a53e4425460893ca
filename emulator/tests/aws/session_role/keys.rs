//! A key of the stack opens for a session what is encrypted for its tree.

use aws_sdk_s3::types::ServerSideEncryption;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use emulator::{
    credentials::Principal,
    iam::{Decision, Request},
};

use super::{BUCKET, MINE, Product, ROLE, code, product_with};

/// With a key of the stack, S3 asks it in the session's name for each object, with the object's
/// encryption context. Nobody's policy has to permit that: the key's own does, for everybody who comes
/// by table or bucket; the session's refuses what is of another tree.
#[test]
fn a_session_opens_nothing_that_is_encrypted_for_another_tree() {
    let decided = |key: &str, action: &str, context: &[(&str, &str)]| {
        let stack = product_with(key);
        let role = stack.roles.iter().find(|role| role.arn == ROLE).unwrap();
        let arn = "arn:aws:kms:us-east-1:000000000000:key/shannon-key";
        let request = Request::new(action, arn)
            .with("aws:PrincipalTag/owner", ["me"])
            .with("aws:PrincipalTag/session", ["ses_mine"])
            .with("aws:PrincipalTag/tree", ["ses_root"]);
        let request = context.iter().fold(request, |request, (name, value)| {
            request.with(name, [*value])
        });
        role.decide(&request)
    };
    const S3: (&str, &str) = ("kms:ViaService", "s3.us-east-1.amazonaws.com");
    const TREE: &str = "kms:EncryptionContext:shannon-tree";
    const OBJECT: &str = "kms:EncryptionContext:aws:s3:arn";
    for action in ["kms:Decrypt", "kms:GenerateDataKey"] {
        for (context, refused) in [
            (
                &[
                    S3,
                    (TREE, "me/ses_root"),
                    (OBJECT, "arn:aws:s3:::shannon-bucket/me/ses_root/packs/x"),
                ][..],
                false,
            ),
            (
                &[S3, (OBJECT, "arn:aws:s3:::shannon-bucket/uploads/me/upl_x")],
                false,
            ),
            // Not through the bucket: the table has contexts of its own.
            (
                &[("kms:ViaService", "dynamodb.us-east-1.amazonaws.com")],
                false,
            ),
            (
                &[
                    S3,
                    (TREE, "me/ses_other"),
                    (OBJECT, "arn:aws:s3:::shannon-bucket/me/ses_other/packs/x"),
                ],
                true,
            ),
            (
                &[
                    S3,
                    (TREE, "them/ses_root"),
                    (OBJECT, "arn:aws:s3:::shannon-bucket/them/ses_root/packs/x"),
                ],
                true,
            ),
            // Wherever it lies: what counts is for whom it was encrypted.
            (
                &[
                    S3,
                    (TREE, "me/ses_other"),
                    (OBJECT, "arn:aws:s3:::shannon-bucket/me/ses_root/packs/x"),
                ],
                true,
            ),
            (
                &[
                    S3,
                    (OBJECT, "arn:aws:s3:::shannon-bucket/me/ses_root/packs/x"),
                ],
                true,
            ),
            (
                &[
                    S3,
                    (OBJECT, "arn:aws:s3:::shannon-bucket/uploads/them/upl_x"),
                ],
                true,
            ),
            (
                &[S3, (OBJECT, "arn:aws:s3:::shannon-bucket/audit/me/1.json")],
                true,
            ),
            (&[S3], true),
        ] {
            let decision = decided("own", action, context);
            assert_eq!(
                decision == Decision::Refused,
                refused,
                "{action} {context:?}: {decision:?}"
            );
            assert_ne!(decided("aws", action, context), Decision::Refused);
        }
    }
}

/// The same through the bucket: an object lies where the session may read, and is another tree's.
#[tokio::test]
async fn the_bucket_asks_the_key_for_each_object() {
    let product = Product::start_with("own").await;
    let operator = aws_sdk_s3::Client::new(&product.of(Principal::Operator));
    let mine = aws_sdk_s3::Client::new(&product.session(MINE).await);
    let put = async |client: &aws_sdk_s3::Client, key: &str, tree: Option<&str>| {
        let context =
            tree.map(|tree| BASE64_STANDARD.encode(format!(r#"{{"shannon-tree":"{tree}"}}"#)));
        let put = client.put_object().bucket(BUCKET).key(key);
        let put = put.server_side_encryption(ServerSideEncryption::AwsKms);
        code(put.set_ssekms_encryption_context(context).send().await)
    };
    let get = async |key: &str| {
        let get = mine.get_object().bucket(BUCKET).key(key).send().await;
        let get = code(get);
        let copy = mine
            .copy_object()
            .bucket(BUCKET)
            .key("me/ses_root/packs/copied")
            .server_side_encryption(ServerSideEncryption::AwsKms)
            .ssekms_encryption_context(BASE64_STANDARD.encode(r#"{"shannon-tree":"me/ses_root"}"#))
            .copy_source(format!("{BUCKET}/{key}"));
        assert_eq!(code(copy.send().await), get, "{key}");
        get
    };
    for (key, tree, permitted) in [
        ("me/ses_root/packs/own", Some("me/ses_root"), true),
        ("me/ses_root/packs/other", Some("me/ses_other"), false),
        ("me/ses_root/packs/theirs", Some("them/ses_root"), false),
        ("me/ses_root/packs/nobodys", None, false),
        ("uploads/me/upl_x", None, true),
    ] {
        assert_eq!(put(&operator, key, tree).await, "", "{key}");
        assert_eq!(get(key).await.is_empty(), permitted, "{key}");
    }
    let place = "me/ses_root/packs/new";
    assert_eq!(put(&mine, place, Some("me/ses_root")).await, "");
    for tree in [Some("me/ses_other"), None] {
        assert_eq!(put(&mine, place, tree).await, "AccessDenied", "{tree:?}");
    }
}
