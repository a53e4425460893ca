//! S3 through the SDK: objects, conditions, ranges, restarts.

use aws_sdk_s3::{primitives::ByteStream, types::ServerSideEncryption};

use crate::harness::{Aws, BUCKET, Wanted, code, get, put, text};

#[tokio::test]
async fn an_object_comes_back_as_it_went_in() {
    let aws = Aws::start().await;
    let client = aws.s3();
    let put = client
        .put_object()
        .bucket(BUCKET)
        .key("a/b c+d/ü.txt")
        .content_type("text/plain")
        .cache_control("no-store")
        .metadata("owner", "me")
        .body(ByteStream::from_static(b"hello"))
        .send()
        .await
        .unwrap();
    assert_eq!(put.e_tag(), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    assert!(put.version_id().is_some());
    let got = client
        .get_object()
        .bucket(BUCKET)
        .key("a/b c+d/ü.txt")
        .send()
        .await
        .unwrap();
    assert_eq!(got.content_type(), Some("text/plain"));
    assert_eq!(got.cache_control(), Some("no-store"));
    assert_eq!(got.content_length(), Some(5));
    assert_eq!(got.metadata().unwrap()["owner"], "me");
    assert_eq!(got.e_tag(), put.e_tag());
    assert_eq!(got.version_id(), put.version_id());
    assert_eq!(text(got.body).await, "hello");
    let head = client
        .head_object()
        .bucket(BUCKET)
        .key("a/b c+d/ü.txt")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (head.content_length(), head.e_tag()),
        (Some(5), put.e_tag())
    );
    assert!(head.last_modified().is_some());
    // A key and a longer one below it are two objects.
    self::put(&client, "a", "short").await;
    assert_eq!(get(&client, "a").await, "short");
}

#[tokio::test]
async fn an_encryption_context_belongs_to_kms_and_is_a_map_of_texts() {
    let aws = Aws::start().await;
    let client = aws.s3();
    let send = |encryption: Option<ServerSideEncryption>, context: &str| {
        client
            .put_object()
            .bucket(BUCKET)
            .key("secret")
            .set_server_side_encryption(encryption)
            .ssekms_encryption_context(context)
            .body(ByteStream::from_static(b"x"))
            .send()
    };
    // {"a":"b"}, {"a":1}, and no base64.
    let (good, number, garbage) = ("eyJhIjoiYiJ9", "eyJhIjoxfQ==", "{}");
    let kms = Some(ServerSideEncryption::AwsKms);
    for (encryption, context) in [
        (None, good),
        (Some(ServerSideEncryption::Aes256), good),
        (kms.clone(), number),
        (kms.clone(), garbage),
    ] {
        let refused = send(encryption, context).await.unwrap_err();
        assert_eq!(code(&refused), "InvalidArgument", "{context}");
    }
    let stored = send(kms.clone(), good).await.unwrap();
    assert_eq!(stored.ssekms_encryption_context(), Some(good));
    let head = client.head_object().bucket(BUCKET).key("secret");
    let head = head.send().await.unwrap();
    assert_eq!(head.server_side_encryption().cloned(), kms);
    assert_eq!(get(&client, "secret").await, "x", "without saying it again");
}

#[tokio::test]
async fn what_is_missing_is_said_precisely() {
    let aws = Aws::start().await;
    let client = aws.s3();
    let missing = client
        .get_object()
        .bucket(BUCKET)
        .key("no")
        .send()
        .await
        .unwrap_err();
    assert!(missing.as_service_error().unwrap().is_no_such_key());
    let missing = client
        .head_object()
        .bucket(BUCKET)
        .key("no")
        .send()
        .await
        .unwrap_err();
    assert!(missing.as_service_error().unwrap().is_not_found());
    let missing = client
        .get_object()
        .bucket("no-such")
        .key("no")
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&missing), "NoSuchBucket");
    let body = ByteStream::from_static(b"x");
    let refused = client
        .put_object()
        .bucket("no-such")
        .key("k")
        .body(body)
        .send()
        .await;
    assert_eq!(code(&refused.unwrap_err()), "NoSuchBucket");
    client
        .delete_object()
        .bucket(BUCKET)
        .key("never-was")
        .send()
        .await
        .unwrap();
    let made = client.create_bucket().bucket("second").send().await;
    made.unwrap();
    let again = client
        .create_bucket()
        .bucket("second")
        .send()
        .await
        .unwrap_err();
    assert!(
        again
            .as_service_error()
            .unwrap()
            .is_bucket_already_owned_by_you()
    );
    client
        .put_object()
        .bucket("second")
        .key("k")
        .send()
        .await
        .unwrap();
    let refused = client
        .delete_bucket()
        .bucket("second")
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "BucketNotEmpty");
    client
        .delete_object()
        .bucket("second")
        .key("k")
        .send()
        .await
        .unwrap();
    client
        .delete_bucket()
        .bucket("second")
        .send()
        .await
        .unwrap();
    let names = client.list_buckets().send().await.unwrap();
    let names: Vec<_> = names
        .buckets()
        .iter()
        .filter_map(|bucket| bucket.name())
        .collect();
    assert_eq!(names, [BUCKET]);
}

#[tokio::test]
async fn only_one_of_many_creators_wins() {
    let aws = Aws::start().await;
    let creators: Vec<_> = (0..20)
        .map(|number| {
            let client = aws.s3();
            tokio::spawn(async move {
                let body = ByteStream::from(format!("creator {number}").into_bytes());
                client
                    .put_object()
                    .bucket(BUCKET)
                    .key("lock")
                    .if_none_match("*")
                    .body(body)
                    .send()
                    .await
                    .map(|_| number)
                    .map_err(|error| code(&error))
            })
        })
        .collect();
    let mut winners = Vec::new();
    for creator in creators {
        match creator.await.unwrap() {
            Ok(number) => winners.push(number),
            Err(code) => assert_eq!(code, "PreconditionFailed"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(
        get(&aws.s3(), "lock").await,
        format!("creator {}", winners[0])
    );
    let versions = aws
        .s3()
        .list_object_versions()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert_eq!(versions.versions().len(), 1);
}

#[tokio::test]
async fn conditions_guard_writes_reads_and_deletes() {
    let aws = Aws::start().await;
    let client = aws.s3();
    let write = |etag: &str, body: &'static [u8]| {
        client
            .put_object()
            .bucket(BUCKET)
            .key("k")
            .if_match(etag)
            .body(ByteStream::from_static(body))
            .send()
    };
    assert_eq!(code(&write("\"x\"", b"1").await.unwrap_err()), "NoSuchKey");
    put(&client, "k", "one").await;
    let head = client
        .head_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    let etag = head.e_tag().unwrap();
    assert_eq!(
        code(&write("\"x\"", b"2").await.unwrap_err()),
        "PreconditionFailed"
    );
    write(etag, b"two").await.unwrap();
    assert_eq!(
        code(&write(etag, b"3").await.unwrap_err()),
        "PreconditionFailed"
    );
    assert_eq!(get(&client, "k").await, "two");

    let read = client.get_object().bucket(BUCKET).key("k");
    let stale = read.clone().if_match(etag).send().await.unwrap_err();
    assert_eq!(code(&stale), "PreconditionFailed");
    let head = client
        .head_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    let now = head.e_tag().unwrap();
    let same = read.clone().if_none_match(now).send().await.unwrap_err();
    let raw = same.raw_response().unwrap();
    assert_eq!(raw.status().as_u16(), 304);
    assert_eq!(raw.headers().get("etag"), Some(now));
    read.clone().if_none_match(etag).send().await.unwrap();
    let modified = *head.last_modified().unwrap();
    let unchanged = read
        .clone()
        .if_modified_since(modified)
        .send()
        .await
        .unwrap_err();
    assert_eq!(unchanged.raw_response().unwrap().status().as_u16(), 304);
    read.if_unmodified_since(modified).send().await.unwrap();

    let delete = client.delete_object().bucket(BUCKET).key("k");
    let refused = delete.clone().if_match(etag).send().await.unwrap_err();
    assert_eq!(code(&refused), "PreconditionFailed");
    delete.clone().if_match(now).send().await.unwrap();
    assert_eq!(
        code(&delete.if_match(now).send().await.unwrap_err()),
        "NoSuchKey"
    );
}

#[tokio::test]
async fn ranges_are_cut_as_asked() {
    let aws = Aws::start().await;
    let client = aws.s3();
    put(&client, "k", "0123456789").await;
    let read = |range: &str| {
        client
            .get_object()
            .bucket(BUCKET)
            .key("k")
            .range(range)
            .send()
    };
    for (range, expected, shown) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=8-99", "89", "bytes 8-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
    ] {
        let got = read(range).await.unwrap();
        assert_eq!(got.content_range(), Some(shown));
        assert_eq!(got.content_length(), i64::try_from(expected.len()).ok());
        assert_eq!(text(got.body).await, expected, "{range}");
    }
    let refused = read("bytes=10-").await.unwrap_err();
    assert_eq!(code(&refused), "InvalidRange");
    put(&client, "empty", "").await;
    assert_eq!(get(&client, "empty").await, "");
}

#[tokio::test]
async fn objects_outlive_the_emulator_and_ephemeral_ones_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = || Wanted {
        state: Some(directory.path()),
        ..Wanted::default()
    };
    let aws = Aws::with(wanted()).await.unwrap();
    let version = put(&aws.s3(), "k", "kept").await;
    let second = Aws::with(wanted()).await.err().unwrap();
    assert!(
        matches!(second, emulator::aws::AwsError::InUse(_)),
        "{second}"
    );
    aws.running.shutdown().await;
    let aws = Aws::with(wanted()).await.unwrap();
    let got = aws
        .s3()
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(got.version_id(), Some(version.as_str()));
    assert_eq!(text(got.body).await, "kept");
    aws.running.shutdown().await;

    let aws = Aws::start().await;
    put(&aws.s3(), "k", "forgotten").await;
    aws.running.shutdown().await;
    let aws = Aws::start().await;
    let gone = aws
        .s3()
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap_err();
    assert!(gone.as_service_error().unwrap().is_no_such_key());
}
