//! S3 through the SDK: who may call, presigned URLs, checksums, injected faults.

use std::time::Duration;

use aws_sdk_s3::{
    operation::RequestId as _,
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, ChecksumMode},
};
use emulator::credentials::AccessKey;

use crate::{
    harness::{Aws, BUCKET, code, configuration, get},
    plain_http,
};

#[tokio::test]
async fn presigned_urls_work_until_they_expire_and_for_nothing_else() {
    let aws = Aws::start().await;
    let client = aws.s3();
    let presigning = || PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let upload = client
        .put_object()
        .bucket(BUCKET)
        .key("up/load")
        .content_type("text/plain");
    let upload = upload.presigned(presigning()).await.unwrap();
    let text = [("content-type", "text/plain")];
    let answer = plain_http::send("PUT", upload.uri(), &text, "uploaded").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(get(&client, "up/load").await, "uploaded");
    let moved = upload.uri().replace("up/load", "up/other");
    let answer = plain_http::send("PUT", &moved, &text, "x").await;
    assert_eq!(answer.status, 403);
    assert!(
        answer.text.contains("SignatureDoesNotMatch"),
        "{}",
        answer.text
    );

    let download = client.get_object().bucket(BUCKET).key("up/load");
    let url = download.clone().presigned(presigning()).await.unwrap();
    assert_eq!(plain_http::get(url.uri()).await.text, "uploaded");
    let expired = PresigningConfig::builder()
        .start_time(std::time::SystemTime::now() - Duration::from_secs(120))
        .expires_in(Duration::from_secs(60))
        .build()
        .unwrap();
    let url = download.presigned(expired).await.unwrap();
    let answer = plain_http::get(url.uri()).await;
    assert_eq!(answer.status, 403);
    assert!(
        answer.text.contains("Request has expired"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn only_keys_we_issued_are_let_in() {
    let aws = Aws::start().await;
    let url = aws.running.url();
    let with = |id: &str, secret: &str| {
        let key = AccessKey {
            id: id.to_owned(),
            secret: secret.to_owned(),
        };
        aws_sdk_s3::Client::new(&configuration(url, &key))
    };
    let stranger = with("AKIAAAAAAAAAAAAAAAAA", &aws.key.secret);
    let refused = stranger
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "InvalidAccessKeyId");
    let thief = with(&aws.key.id, "wrong");
    let refused = thief
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "SignatureDoesNotMatch");
    assert!(refused.as_service_error().unwrap().request_id().is_some());
    let anonymous = plain_http::get(&format!("{url}/{BUCKET}/k")).await;
    assert_eq!(anonymous.status, 403);
    assert!(
        anonymous.text.contains("AccessDenied"),
        "{}",
        anonymous.text
    );
}

#[tokio::test]
async fn checksums_are_kept_and_wrong_ones_refused() {
    let aws = Aws::start().await;
    let client = aws.s3();
    // The SDK sends CRC32 by itself, in a trailer.
    let put = client
        .put_object()
        .bucket(BUCKET)
        .key("k")
        .body(ByteStream::from_static(b"hello"));
    let made = put.send().await.unwrap();
    assert_eq!(made.checksum_crc32(), Some("NhCmhg=="));
    let head = client
        .head_object()
        .bucket(BUCKET)
        .key("k")
        .checksum_mode(ChecksumMode::Enabled);
    assert_eq!(
        head.send().await.unwrap().checksum_crc32(),
        Some("NhCmhg==")
    );
    let other = client
        .put_object()
        .bucket(BUCKET)
        .key("k2")
        .checksum_algorithm(ChecksumAlgorithm::Sha256)
        .body(ByteStream::from_static(b"hello"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        other.checksum_sha256(),
        Some("LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=")
    );
    let wrong = client
        .put_object()
        .bucket(BUCKET)
        .key("bad")
        .checksum_crc32("AAAAAA==");
    let refused = wrong
        .body(ByteStream::from_static(b"hello"))
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "BadDigest");
    let wrong = client
        .put_object()
        .bucket(BUCKET)
        .key("bad")
        .content_md5("AAAAAAAAAAAAAAAAAAAAAA==");
    let refused = wrong
        .body(ByteStream::from_static(b"hello"))
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "BadDigest");
    let missing = client
        .head_object()
        .bucket(BUCKET)
        .key("bad")
        .send()
        .await
        .unwrap_err();
    assert!(missing.as_service_error().unwrap().is_not_found());
}

#[tokio::test]
async fn faults_can_be_injected() {
    let aws = Aws::start().await;
    let client = aws.s3();
    aws.fault("s3", "PutObject", "SlowDown", 1).await;
    aws.fault("s3", "PutObject", "DiskFull", 1).await;
    let put = || {
        let put = client.put_object().bucket(BUCKET).key("k");
        put.body(ByteStream::from_static(b"x")).send()
    };
    let slow = put().await.unwrap_err();
    assert_eq!(code(&slow), "SlowDown");
    assert_eq!(slow.raw_response().unwrap().status().as_u16(), 503);
    let full = put().await.unwrap_err();
    assert_eq!(code(&full), "InsufficientStorage");
    assert_eq!(full.raw_response().unwrap().status().as_u16(), 507);
    put().await.unwrap();
}
