//! Multipart uploads, and large bodies.

use std::time::Duration;

use aws_sdk_s3::{
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart},
};
use futures_util::StreamExt;

use crate::{
    harness::{Aws, BUCKET, code},
    plain_http,
};

const MIB: usize = 1024 * 1024;

async fn begin(client: &aws_sdk_s3::Client, key: &str) -> String {
    let made = client
        .create_multipart_upload()
        .bucket(BUCKET)
        .key(key)
        .content_type("text/x");
    made.send().await.unwrap().upload_id().unwrap().to_owned()
}

async fn part(
    client: &aws_sdk_s3::Client,
    (key, id): (&str, &str),
    number: i32,
    bytes: Vec<u8>,
) -> CompletedPart {
    let uploaded = client
        .upload_part()
        .bucket(BUCKET)
        .key(key)
        .upload_id(id)
        .part_number(number)
        .body(ByteStream::from(bytes))
        .send()
        .await
        .unwrap();
    CompletedPart::builder()
        .part_number(number)
        .e_tag(uploaded.e_tag().unwrap())
        .set_checksum_crc32(uploaded.checksum_crc32().map(str::to_owned))
        .build()
}

fn completed(parts: Vec<CompletedPart>) -> CompletedMultipartUpload {
    CompletedMultipartUpload::builder()
        .set_parts(Some(parts))
        .build()
}

#[tokio::test]
async fn parts_become_one_object() {
    let aws = Aws::start().await;
    let client = aws.s3();
    let id = begin(&client, "k").await;
    let target = ("k", id.as_str());
    let last = part(&client, target, 3, b"end".to_vec()).await;
    part(&client, target, 1, vec![b'x'; 10]).await;
    let first = part(&client, target, 1, vec![b'a'; 5 * MIB]).await;
    part(&client, target, 2, b"never used".to_vec()).await;
    let listed = client
        .list_parts()
        .bucket(BUCKET)
        .key("k")
        .upload_id(&id)
        .send()
        .await
        .unwrap();
    let sizes: Vec<_> = listed
        .parts()
        .iter()
        .map(|part| part.size().unwrap())
        .collect();
    assert_eq!(sizes, [5 * MIB as i64, 10, 3]);
    let uploads = client
        .list_multipart_uploads()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert_eq!(uploads.uploads()[0].upload_id(), Some(id.as_str()));
    let complete = |parts| {
        let complete = client
            .complete_multipart_upload()
            .bucket(BUCKET)
            .key("k")
            .upload_id(&id);
        complete.multipart_upload(completed(parts)).send()
    };
    let wrong = complete(vec![last.clone(), first.clone()])
        .await
        .unwrap_err();
    assert_eq!(code(&wrong), "InvalidPartOrder");
    let unknown = CompletedPart::builder()
        .part_number(7)
        .e_tag("\"x\"")
        .build();
    let wrong = complete(vec![first.clone(), unknown]).await.unwrap_err();
    assert_eq!(code(&wrong), "InvalidPart");
    let missing = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap_err();
    assert!(missing.as_service_error().unwrap().is_no_such_key());
    let made = complete(vec![first.clone(), last.clone()]).await.unwrap();
    assert!(
        made.e_tag().unwrap().ends_with("-2\""),
        "{:?}",
        made.e_tag()
    );
    let got = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(got.content_type(), Some("text/x"));
    assert_eq!(got.e_tag(), made.e_tag());
    let bytes = got.body.collect().await.unwrap().to_vec();
    assert_eq!(bytes.len(), 5 * MIB + 3);
    assert!(bytes.starts_with(b"aaa") && bytes.ends_with(b"aend"));
    let again = complete(vec![first, last]).await.unwrap_err();
    assert_eq!(code(&again), "NoSuchUpload");
}

#[tokio::test]
async fn parts_that_are_too_small_are_refused() {
    let aws = Aws::start().await;
    let client = aws.s3();
    let id = begin(&client, "k").await;
    let first = part(&client, ("k", &id), 1, vec![0; 5 * MIB - 1]).await;
    let second = part(&client, ("k", &id), 2, vec![0; 1]).await;
    let complete = client
        .complete_multipart_upload()
        .bucket(BUCKET)
        .key("k")
        .upload_id(&id);
    let complete = complete.multipart_upload(completed(vec![first, second]));
    assert_eq!(
        code(&complete.clone().send().await.unwrap_err()),
        "EntityTooSmall"
    );
    client
        .abort_multipart_upload()
        .bucket(BUCKET)
        .key("k")
        .upload_id(&id)
        .send()
        .await
        .unwrap();
    assert_eq!(code(&complete.send().await.unwrap_err()), "NoSuchUpload");
    let uploads = client
        .list_multipart_uploads()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert!(uploads.uploads().is_empty());
}

#[tokio::test]
async fn completing_takes_conditions() {
    let aws = Aws::start().await;
    let client = aws.s3();
    let body = ByteStream::from_static(b"was first");
    client
        .put_object()
        .bucket(BUCKET)
        .key("k")
        .body(body)
        .send()
        .await
        .unwrap();
    let id = begin(&client, "k").await;
    let only = part(&client, ("k", &id), 1, b"late".to_vec()).await;
    let complete = client
        .complete_multipart_upload()
        .bucket(BUCKET)
        .key("k")
        .upload_id(&id);
    let complete = complete.multipart_upload(completed(vec![only]));
    let refused = complete
        .clone()
        .if_none_match("*")
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "PreconditionFailed");
    let refused = complete
        .clone()
        .if_match("\"no\"")
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "PreconditionFailed");
    let head = client
        .head_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    complete
        .if_match(head.e_tag().unwrap())
        .send()
        .await
        .unwrap();
    let got = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(&got.body.collect().await.unwrap().to_vec()[..], b"late");
}

#[tokio::test]
async fn checksums_of_parts_are_combined() {
    let aws = Aws::start().await;
    let client = aws.s3();
    let made = client
        .create_multipart_upload()
        .bucket(BUCKET)
        .key("k")
        .checksum_algorithm(ChecksumAlgorithm::Crc32)
        .send()
        .await
        .unwrap();
    let id = made.upload_id().unwrap();
    let only = part(&client, ("k", id), 1, b"hello".to_vec()).await;
    assert_eq!(only.checksum_crc32(), Some("NhCmhg=="));
    let complete = client
        .complete_multipart_upload()
        .bucket(BUCKET)
        .key("k")
        .upload_id(id);
    let done = complete
        .multipart_upload(completed(vec![only]))
        .send()
        .await
        .unwrap();
    // CRC32 of the four bytes 36 10 a6 86, and the number of parts; computed with Python's zlib.
    assert_eq!(done.checksum_crc32(), Some("FKTmaw==-1"));
    assert_eq!(
        done.checksum_type().map(|kind| kind.as_str()),
        Some("COMPOSITE")
    );
    let got = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(&got.body.collect().await.unwrap().to_vec()[..], b"hello");
}

#[tokio::test]
async fn a_hundred_megabytes_pass_through_an_upload_url() {
    let aws = Aws::start().await;
    let client = aws.s3();
    let presigning = PresigningConfig::expires_in(Duration::from_secs(600)).unwrap();
    let upload = client
        .put_object()
        .bucket(BUCKET)
        .key("large")
        .content_length(100 * MIB as i64);
    let upload = upload.presigned(presigning).await.unwrap();
    let chunk = bytes::Bytes::from(vec![7_u8; MIB]);
    let chunks =
        futures_util::stream::iter(0..100).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
    let length = (100 * MIB).to_string();
    let headers = [("content-length", length.as_str())];
    let body = axum::body::Body::from_stream(chunks);
    let answer = plain_http::send("PUT", upload.uri(), &headers, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let mut got = client
        .get_object()
        .bucket(BUCKET)
        .key("large")
        .send()
        .await
        .unwrap();
    assert_eq!(got.content_length(), Some(100 * MIB as i64));
    let mut size = 0;
    while let Some(chunk) = got.body.try_next().await.unwrap() {
        assert!(chunk.iter().all(|byte| *byte == 7));
        size += chunk.len();
    }
    assert_eq!(size, 100 * MIB);
}
