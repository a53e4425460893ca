//! An emulator that is killed in the middle of a write: the object does not exist afterwards, and
//! nothing of it is left.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use aws_sdk_s3::primitives::ByteStream;
use emulator::credentials::AccessKey;

use crate::harness::{Aws, BUCKET, Wanted, configuration, eventually, plan_fault};

const STATE: &str = "EMULATOR_TEST_CRASH_STATE";
const TEST: &str = "s3_crash::a_killed_emulator_leaves_no_half_object";

/// Kills the process when the test fails, too.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The process that gets killed: this same test, told where the state is. It says in a file how to
/// reach it.
async fn serve(state: &Path) {
    let aws = Aws::with(Wanted {
        state: Some(state),
        ..Wanted::default()
    })
    .await
    .unwrap();
    let words = format!("{}\n{}\n{}", aws.running.url(), aws.key.id, aws.key.secret);
    let file = state.join("reach-me");
    std::fs::write(file.with_extension("new"), words).unwrap();
    std::fs::rename(file.with_extension("new"), file).unwrap();
    std::future::pending::<()>().await;
}

fn files_below(directory: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        count += if path.is_dir() { files_below(&path) } else { 1 };
    }
    count
}

#[tokio::test]
async fn a_killed_emulator_leaves_no_half_object() {
    if let Some(state) = std::env::var_os(STATE) {
        return serve(Path::new(&state)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST])
        .env(STATE, state)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = Killed(child);
    let reach = state.join("reach-me");
    eventually("the other process to serve", || async { reach.exists() }).await;
    let words = std::fs::read_to_string(&reach).unwrap();
    let [url, id, secret] = words.lines().collect::<Vec<_>>()[..] else {
        panic!("{words}")
    };
    let key = AccessKey {
        id: id.to_owned(),
        secret: secret.to_owned(),
    };
    let client = aws_sdk_s3::Client::new(&configuration(url, &key));
    let put = |key: &str, body: &'static [u8]| {
        client
            .put_object()
            .bucket(BUCKET)
            .key(key)
            .body(ByteStream::from_static(body))
            .send()
    };
    put("acknowledged", b"whole").await.unwrap();
    plan_fault(url, "s3", "PutObject", "HoldBeforeCommit", 1).await;
    let held = tokio::spawn(put("half", b"bytes are there, the row is not"));
    let objects = state.join("s3/objects");
    eventually("the bytes of the second object", || async {
        files_below(&objects) == 2
    })
    .await;
    assert!(!held.is_finished());
    drop(child);
    assert!(held.await.unwrap().is_err());

    let aws = Aws::with(Wanted {
        state: Some(state),
        ..Wanted::default()
    })
    .await
    .unwrap();
    let client = aws.s3();
    let listed = client
        .list_object_versions()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    let keys: Vec<_> = listed
        .versions()
        .iter()
        .map(|version| version.key().unwrap())
        .collect();
    assert_eq!(keys, ["acknowledged"]);
    let got = client
        .get_object()
        .bucket(BUCKET)
        .key("acknowledged")
        .send()
        .await
        .unwrap();
    assert_eq!(&got.body.collect().await.unwrap().to_vec()[..], b"whole");
    assert_eq!(files_below(&objects), 1);
    assert_eq!(files_below(&state.join("s3/incoming")), 0);
}
