//! A state that is encrypted: nothing of what clients wrote is readable in its files, and without the key
//! nothing starts.

use std::{fs, path::Path};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::{
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use emulator::encryption::StateKey;

use crate::harness::{Aws, BUCKET, TABLE, Wanted, get, put};

const MARKER: &str = "marker-that-is-nowhere-readable";

/// Files below a directory in which the bytes are found.
fn found(directory: &Path, wanted: &[u8]) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(found(&path, wanted));
        } else {
            let bytes = fs::read(&path).unwrap();
            if bytes.windows(wanted.len()).any(|window| window == wanted) {
                files.push(path.display().to_string());
            }
        }
    }
    files
}

async fn with(state: &Path, key: Option<&StateKey>) -> Result<Aws, emulator::aws::AwsError> {
    Aws::with(Wanted {
        state: Some(state),
        key: key.cloned(),
        ..Wanted::default()
    })
    .await
}

async fn write_everywhere(aws: &Aws) {
    put(&aws.s3(), "small", MARKER).await;
    let dynamodb = aws.dynamodb().put_item().table_name(TABLE);
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let row = dynamodb.item("pk", text(MARKER)).item("sk", text(MARKER));
    row.item("body", text(MARKER)).send().await.unwrap();
    // Metadata of an object is a row of S3's own.
    let object = aws.s3().put_object().bucket(BUCKET).key(MARKER);
    object.metadata("note", MARKER).send().await.unwrap();
}

/// An object in parts, larger than a chunk, and ranges of it.
async fn large(aws: &Aws) {
    let s3 = aws.s3();
    let upload = s3.create_multipart_upload().bucket(BUCKET).key("large");
    let id = upload.send().await.unwrap().upload_id.unwrap();
    let parts = [MARKER.repeat(200_000), MARKER.repeat(10)];
    let mut done = Vec::new();
    for (number, part) in (1..).zip(&parts) {
        let sent = s3
            .upload_part()
            .bucket(BUCKET)
            .key("large")
            .upload_id(&id)
            .part_number(number)
            .body(ByteStream::from(part.clone().into_bytes()))
            .send()
            .await
            .unwrap();
        let part = CompletedPart::builder().part_number(number);
        done.push(part.set_e_tag(sent.e_tag).build());
    }
    let done = CompletedMultipartUpload::builder().set_parts(Some(done));
    s3.complete_multipart_upload()
        .bucket(BUCKET)
        .key("large")
        .upload_id(id)
        .multipart_upload(done.build())
        .send()
        .await
        .unwrap();
    let whole = parts.concat();
    assert_eq!(get(&s3, "large").await, whole);
    for (from, to) in [
        (0, 0),
        (65_535, 65_536),
        (131_000, 200_000),
        (6_199_990, 6_200_309),
    ] {
        let read = s3.get_object().bucket(BUCKET).key("large");
        let read = read
            .range(format!("bytes={from}-{to}"))
            .send()
            .await
            .unwrap();
        let bytes = read.body.collect().await.unwrap().into_bytes();
        let to = to.min(whole.len() - 1);
        assert_eq!(bytes, whole.as_bytes()[from..=to], "{from} to {to}");
    }
}

#[tokio::test]
async fn nothing_is_readable_in_an_encrypted_state() {
    let directory = tempfile::tempdir().unwrap();
    let key = StateKey::make(&directory.path().join("key")).unwrap();
    let state = directory.path().join("state");
    let aws = with(&state, Some(&key)).await.unwrap();
    write_everywhere(&aws).await;
    large(&aws).await;
    // While it runs, with the logs of the databases not yet written back, and after it.
    assert_eq!(found(&state, MARKER.as_bytes()), [""; 0]);
    aws.running.shutdown().await;
    assert_eq!(found(&state, MARKER.as_bytes()), [""; 0]);
    assert_eq!(found(&state, b"SQLite format 3"), [""; 0]);
    let aws = with(&state, Some(&key)).await.unwrap();
    assert_eq!(get(&aws.s3(), "small").await, MARKER);
    aws.running.shutdown().await;

    // The same search finds it all where nothing is encrypted.
    let plain = directory.path().join("plain");
    let aws = with(&plain, None).await.unwrap();
    write_everywhere(&aws).await;
    aws.running.shutdown().await;
    let files = found(&plain, MARKER.as_bytes()).join(" ");
    for wanted in ["dynamodb.sqlite", "metadata.sqlite", "s3/objects/"] {
        assert!(files.contains(wanted), "{files}");
    }

    // A backup of that, restored with a key, is encrypted, and the same for who has it.
    let encrypted = directory.path().join("restored");
    let (from, to, its_key) = (plain, encrypted.clone(), key.clone());
    let copied = tokio::task::spawn_blocking(move || {
        let taken = emulator::backup::take(&from, &to.with_extension("backups"), None)?;
        emulator::backup::restore(&taken.path, &to, Some(&its_key))
    });
    let restored = copied.await.unwrap().unwrap();
    assert_eq!(restored.key_id, Some(key.id()));
    assert_eq!(found(&encrypted, MARKER.as_bytes()), [""; 0]);
    assert_eq!(found(&encrypted, b"SQLite format 3"), [""; 0]);
    assert!(with(&encrypted, None).await.is_err(), "without the key");
    let aws = with(&encrypted, Some(&key)).await.unwrap();
    assert_eq!(get(&aws.s3(), "small").await, MARKER);
    aws.running.shutdown().await;
}

#[tokio::test]
async fn another_key_or_none_opens_nothing_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let key = StateKey::make(&directory.path().join("key")).unwrap();
    let other = StateKey::make(&directory.path().join("other")).unwrap();
    let state = directory.path().join("state");
    let aws = with(&state, Some(&key)).await.unwrap();
    put(&aws.s3(), "small", MARKER).await;
    aws.running.shutdown().await;
    for wrong in [Some(&other), None] {
        let refused = with(&state, wrong).await.map(|_| ());
        let message = format!("{:?}", refused.unwrap_err());
        for secret in [&key, &other].map(StateKey::id) {
            assert!(!message.contains(&secret), "{message}");
        }
        assert!(!message.contains("key=x"), "{message}");
    }
    let aws = with(&state, Some(&key)).await.unwrap();
    assert_eq!(get(&aws.s3(), "small").await, MARKER);
    aws.running.shutdown().await;
    // One byte of an object is changed: it is not given out.
    let objects = state.join("s3/objects");
    let shard = fs::read_dir(objects)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let object = fs::read_dir(shard).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&object).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&object, bytes).unwrap();
    let aws = with(&state, Some(&key)).await.unwrap();
    let read = aws
        .s3()
        .get_object()
        .bucket(BUCKET)
        .key("small")
        .send()
        .await;
    let read = match read {
        Ok(read) => read.body.collect().await.map(drop).is_err(),
        Err(_) => true,
    };
    assert!(read, "a changed object is no object");
    aws.running.shutdown().await;
}
