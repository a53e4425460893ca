//! S3 through the SDK: versions that cannot be deleted before their time.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::{
    primitives::{ByteStream, DateTime},
    types::{ChecksumAlgorithm, Delete, ObjectIdentifier, ObjectLockMode},
};

use crate::harness::{Aws, BUCKET, Wanted, code, put};

fn until(time: SystemTime) -> DateTime {
    DateTime::from(time)
}

#[tokio::test]
async fn a_locked_version_stays_until_its_time() {
    let aws = Aws::start().await;
    let client = aws.s3();
    let day = Duration::from_secs(86_400);
    let tomorrow = SystemTime::now() + day;
    let locked = |key: &'static str, mode: ObjectLockMode| {
        client
            .put_object()
            .bucket(BUCKET)
            .key(key)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .object_lock_mode(mode)
            .object_lock_retain_until_date(until(tomorrow))
            .body(ByteStream::from_static(b"sealed"))
            .send()
    };
    let governed = locked("governed", ObjectLockMode::Governance)
        .await
        .unwrap();
    let complied = locked("complied", ObjectLockMode::Compliance)
        .await
        .unwrap();
    let remove = |key: &'static str, version: &str, bypass: bool| {
        client
            .delete_object()
            .bucket(BUCKET)
            .key(key)
            .version_id(version)
            .bypass_governance_retention(bypass)
            .send()
    };
    let (governed, complied) = (
        governed.version_id().unwrap(),
        complied.version_id().unwrap(),
    );
    for (key, version, bypass) in [
        ("governed", governed, false),
        ("complied", complied, false),
        ("complied", complied, true),
    ] {
        let refused = remove(key, version, bypass).await.unwrap_err();
        assert_eq!(code(&refused), "AccessDenied", "{key} {bypass}");
    }
    let many = Delete::builder()
        .objects(
            ObjectIdentifier::builder()
                .key("complied")
                .version_id(complied)
                .build()
                .unwrap(),
        )
        .build()
        .unwrap();
    let many = client
        .delete_objects()
        .bucket(BUCKET)
        .delete(many)
        .send()
        .await
        .unwrap();
    assert_eq!(many.errors()[0].code(), Some("AccessDenied"));

    // What hides it is another version: it can be written and deleted over, and stays.
    put(&client, "complied", "other").await;
    client
        .delete_object()
        .bucket(BUCKET)
        .key("complied")
        .send()
        .await
        .unwrap();
    let still = client
        .get_object()
        .bucket(BUCKET)
        .key("complied")
        .version_id(complied)
        .send()
        .await
        .unwrap();
    assert_eq!(still.object_lock_mode(), Some(&ObjectLockMode::Compliance));
    let shown = still.object_lock_retain_until_date().unwrap().secs();
    assert_eq!(shown, until(tomorrow).secs());
    remove("governed", governed, true).await.unwrap();
    let gone = client
        .get_object()
        .bucket(BUCKET)
        .key("governed")
        .send()
        .await;
    assert_eq!(code(&gone.unwrap_err()), "NoSuchKey");
}

#[tokio::test]
async fn locks_are_refused_as_s3_refuses_them() {
    let aws = Aws::start().await;
    let client = aws.s3();
    let put = || {
        client
            .put_object()
            .bucket(BUCKET)
            .key("k")
            .body(ByteStream::from_static(b"x"))
    };
    let hour = Duration::from_secs(3600);
    let (later, earlier) = (
        until(SystemTime::now() + hour),
        until(SystemTime::now() - hour),
    );
    let summed = || put().checksum_algorithm(ChecksumAlgorithm::Sha256);
    for (what, request, expected) in [
        (
            "no time",
            summed().object_lock_mode(ObjectLockMode::Governance),
            "InvalidArgument",
        ),
        (
            "no mode",
            summed().object_lock_retain_until_date(later),
            "InvalidArgument",
        ),
        (
            "past",
            summed()
                .object_lock_mode(ObjectLockMode::Governance)
                .object_lock_retain_until_date(earlier),
            "InvalidArgument",
        ),
    ] {
        let refused = request.send().await.unwrap_err();
        assert_eq!(code(&refused), expected, "{what}");
    }
    let aws = Aws::with(Wanted {
        parameters: &[("Locks", "false")],
        ..Wanted::default()
    });
    let aws = aws.await.unwrap();
    let client = aws.s3();
    let refused = client
        .put_object()
        .bucket(BUCKET)
        .key("k")
        .checksum_algorithm(ChecksumAlgorithm::Sha256)
        .object_lock_mode(ObjectLockMode::Governance)
        .object_lock_retain_until_date(later)
        .body(ByteStream::from_static(b"x"))
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "InvalidRequest");
}
