//! S3 through the SDK: versions, lists, copies, tags and many deletions.

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{Delete, EncodingType, MetadataDirective, ObjectIdentifier, Tag, Tagging},
};

use crate::harness::{Aws, BUCKET, code, get, put, text};

#[tokio::test]
async fn versions_stay_behind_overwriting_and_deleting() {
    let aws = Aws::start().await;
    let client = aws.s3();
    let first = put(&client, "k", "one").await;
    let second = put(&client, "k", "two").await;
    assert_ne!(first, second);
    let deleted = client
        .delete_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.delete_marker(), Some(true));
    let marker = deleted.version_id().unwrap();
    let gone = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap_err();
    let raw = gone.raw_response().unwrap();
    assert_eq!(raw.headers().get("x-amz-delete-marker"), Some("true"));
    assert!(gone.as_service_error().unwrap().is_no_such_key());
    let old = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .version_id(&first)
        .send()
        .await
        .unwrap();
    assert_eq!(text(old.body).await, "one");
    let refused = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .version_id(marker)
        .send()
        .await
        .unwrap_err();
    assert_eq!(refused.raw_response().unwrap().status().as_u16(), 405);
    let refused = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .version_id("no")
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "NoSuchVersion");

    put(&client, "l", "x").await;
    let page = client
        .list_object_versions()
        .bucket(BUCKET)
        .max_keys(2)
        .send()
        .await
        .unwrap();
    assert_eq!(page.is_truncated(), Some(true));
    assert_eq!(page.delete_markers()[0].version_id(), Some(marker));
    assert_eq!(page.versions()[0].version_id(), Some(second.as_str()));
    let rest = client
        .list_object_versions()
        .bucket(BUCKET)
        .key_marker(page.next_key_marker().unwrap())
        .version_id_marker(page.next_version_id_marker().unwrap())
        .send()
        .await
        .unwrap();
    let keys: Vec<_> = rest
        .versions()
        .iter()
        .map(|version| (version.key().unwrap(), version.is_latest().unwrap()))
        .collect();
    assert_eq!(keys, [("k", false), ("l", true)]);

    // Removing the marker brings the newest version back; removing that, the one before.
    let remove = |id: &str| {
        client
            .delete_object()
            .bucket(BUCKET)
            .key("k")
            .version_id(id)
            .send()
    };
    assert_eq!(remove(marker).await.unwrap().delete_marker(), Some(true));
    assert_eq!(get(&client, "k").await, "two");
    remove(&second).await.unwrap();
    assert_eq!(get(&client, "k").await, "one");
    remove(&first).await.unwrap();
    let gone = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap_err();
    assert!(gone.as_service_error().unwrap().is_no_such_key());
}

#[tokio::test]
async fn lists_are_ordered_folded_and_paged() {
    let aws = Aws::start().await;
    let client = aws.s3();
    for key in ["a", "b/1", "b/2", "b/3/x", "c+ d", "é", "z"] {
        put(&client, key, key).await;
    }
    client
        .delete_object()
        .bucket(BUCKET)
        .key("z")
        .send()
        .await
        .unwrap();
    let all = client
        .list_objects_v2()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    let keys: Vec<_> = all
        .contents()
        .iter()
        .map(|object| object.key().unwrap())
        .collect();
    assert_eq!(keys, ["a", "b/1", "b/2", "b/3/x", "c+ d", "é"]);
    assert_eq!(all.contents()[1].size(), Some(3));
    assert!(all.contents()[1].e_tag().is_some());

    let mut pages = Vec::new();
    let mut token = None;
    loop {
        let page = client
            .list_objects_v2()
            .bucket(BUCKET)
            .delimiter("/")
            .max_keys(2)
            .set_continuation_token(token)
            .send()
            .await
            .unwrap();
        let keys = page
            .contents()
            .iter()
            .map(|object| object.key().unwrap().to_owned());
        let prefixes = page
            .common_prefixes()
            .iter()
            .map(|it| it.prefix().unwrap().to_owned());
        pages.push(keys.chain(prefixes).collect::<Vec<_>>());
        token = page.next_continuation_token().map(str::to_owned);
        assert_eq!(page.is_truncated(), Some(token.is_some()));
        if token.is_none() {
            break;
        }
    }
    assert_eq!(pages, [vec!["a", "b/"], vec!["c+ d", "é"]]);

    let below = client
        .list_objects_v2()
        .bucket(BUCKET)
        .prefix("b/")
        .delimiter("/");
    let below = below.start_after("b/1").send().await.unwrap();
    assert_eq!(below.contents()[0].key(), Some("b/2"));
    assert_eq!(below.common_prefixes()[0].prefix(), Some("b/3/"));
    assert_eq!(below.key_count(), Some(2));

    let encoded = client
        .list_objects_v2()
        .bucket(BUCKET)
        .encoding_type(EncodingType::Url);
    let encoded = encoded.prefix("c").send().await.unwrap();
    assert_eq!(encoded.contents()[0].key(), Some("c%2B%20d"));
    let old = client
        .list_objects()
        .bucket(BUCKET)
        .marker("b/2")
        .max_keys(1)
        .send()
        .await
        .unwrap();
    assert_eq!(old.contents()[0].key(), Some("b/3/x"));
    assert_eq!(old.is_truncated(), Some(true));
    let none = client
        .list_objects_v2()
        .bucket(BUCKET)
        .max_keys(0)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (none.key_count(), none.is_truncated()),
        (Some(0), Some(false))
    );
    let refused = client
        .list_objects_v2()
        .bucket(BUCKET)
        .continuation_token("!")
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "InvalidArgument");
}

#[tokio::test]
async fn copies_keep_or_replace_what_belongs_to_an_object() {
    let aws = Aws::start().await;
    let client = aws.s3();
    client
        .put_object()
        .bucket(BUCKET)
        .key("from here")
        .metadata("a", "1")
        .tagging("t=1")
        .body(ByteStream::from_static(b"bytes"))
        .send()
        .await
        .unwrap();
    let source = format!("{BUCKET}/from%20here");
    let copy = |key: &str| {
        client
            .copy_object()
            .bucket(BUCKET)
            .key(key)
            .copy_source(&source)
    };
    let made = copy("to").send().await.unwrap();
    assert!(made.copy_object_result().unwrap().e_tag().is_some());
    // The copy does not depend on its source.
    let replaced = copy("other").metadata_directive(MetadataDirective::Replace);
    replaced.metadata("b", "2").send().await.unwrap();
    let refused = copy("from here").send().await.unwrap_err();
    assert_eq!(code(&refused), "InvalidRequest");
    let refused = copy("x")
        .copy_source_if_match("\"no\"")
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "PreconditionFailed");
    let all = client
        .list_object_versions()
        .bucket(BUCKET)
        .prefix("from")
        .send()
        .await
        .unwrap();
    let id = all.versions()[0].version_id().unwrap();
    client
        .delete_object()
        .bucket(BUCKET)
        .key("from here")
        .version_id(id)
        .send()
        .await
        .unwrap();
    assert_eq!(get(&client, "to").await, "bytes");
    let got = client
        .get_object()
        .bucket(BUCKET)
        .key("to")
        .send()
        .await
        .unwrap();
    assert_eq!(got.metadata().unwrap()["a"], "1");
    assert_eq!(got.tag_count(), Some(1));
    let got = client
        .get_object()
        .bucket(BUCKET)
        .key("other")
        .send()
        .await
        .unwrap();
    let metadata = got.metadata().unwrap();
    assert_eq!((metadata.get("a"), metadata["b"].as_str()), (None, "2"));
}

#[tokio::test]
async fn tags_can_be_set_read_and_removed() {
    let aws = Aws::start().await;
    let client = aws.s3();
    put(&client, "k", "x").await;
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build().unwrap();
    let set = |tags: Vec<Tag>| {
        let tagging = Tagging::builder().set_tag_set(Some(tags)).build().unwrap();
        client
            .put_object_tagging()
            .bucket(BUCKET)
            .key("k")
            .tagging(tagging)
            .send()
    };
    set(vec![tag("a", "1"), tag("b", "2")]).await.unwrap();
    let read = || client.get_object_tagging().bucket(BUCKET).key("k").send();
    let tags = read().await.unwrap();
    let tags: Vec<_> = tags
        .tag_set()
        .iter()
        .map(|tag| (tag.key(), tag.value()))
        .collect();
    assert_eq!(tags, [("a", "1"), ("b", "2")]);
    let refused = set(vec![tag("a", "1"), tag("a", "2")]).await.unwrap_err();
    assert_eq!(code(&refused), "InvalidTag");
    client
        .delete_object_tagging()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    assert!(read().await.unwrap().tag_set().is_empty());
}

#[tokio::test]
async fn many_objects_are_deleted_one_by_one() {
    let aws = Aws::start().await;
    let client = aws.s3();
    put(&client, "a", "1").await;
    let version = put(&client, "b", "2").await;
    let identifier = |key: &str, version: Option<&str>| {
        ObjectIdentifier::builder()
            .key(key)
            .set_version_id(version.map(str::to_owned))
            .build()
            .unwrap()
    };
    let delete = Delete::builder()
        .objects(identifier("a", None))
        .objects(identifier("b", Some(&version)))
        .objects(identifier("c", None))
        .build()
        .unwrap();
    let deleted = client
        .delete_objects()
        .bucket(BUCKET)
        .delete(delete)
        .send()
        .await
        .unwrap();
    assert!(deleted.errors().is_empty(), "{:?}", deleted.errors());
    let markers: Vec<_> = deleted
        .deleted()
        .iter()
        .map(|it| it.delete_marker())
        .collect();
    assert_eq!(markers, [Some(true), None, Some(true)]);
    let left = client
        .list_objects_v2()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert!(left.contents().is_empty());
}

#[tokio::test]
async fn without_versioning_an_object_is_replaced() {
    let aws = Aws::start().await;
    let client = aws.s3();
    client.create_bucket().bucket("plain").send().await.unwrap();
    for body in [b"one", b"two"] {
        let put = client.put_object().bucket("plain").key("k");
        let put = put
            .body(ByteStream::from_static(body))
            .send()
            .await
            .unwrap();
        assert_eq!(put.version_id(), None);
    }
    let versions = client
        .list_object_versions()
        .bucket("plain")
        .send()
        .await
        .unwrap();
    assert_eq!(versions.versions().len(), 1);
    assert_eq!(versions.versions()[0].version_id(), Some("null"));
    client
        .delete_object()
        .bucket("plain")
        .key("k")
        .send()
        .await
        .unwrap();
    let versions = client
        .list_object_versions()
        .bucket("plain")
        .send()
        .await
        .unwrap();
    assert!(versions.versions().is_empty() && versions.delete_markers().is_empty());
}
