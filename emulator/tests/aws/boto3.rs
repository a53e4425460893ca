//! boto3 and its transfer manager against the endpoint. It is installed from PyPI into a cache, and the
//! test fails if that is not possible.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use tokio::process::Command;

use crate::harness::{Aws, BUCKET, CLUSTER, TABLE};

/// The version this was written against.
const BOTO3: &str = "boto3==1.44.5";

fn cache() -> PathBuf {
    let configured = std::env::var_os("SHANNON_TEST_CACHE").map(PathBuf::from);
    configured.unwrap_or_else(|| {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_emulator"));
        // <target>/<profile>/emulator
        binary.ancestors().nth(2).unwrap().join("test-cache")
    })
}

async fn run(command: &mut Command, what: &str) -> Output {
    let output = command.output().await;
    let output = output.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(
        output.status.success(),
        "{what}: {}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output
}

/// Python with boto3. Made under another name first, so that a cut-off installation is never used.
async fn python() -> PathBuf {
    let home = cache().join(BOTO3.replace("==", "-"));
    let python = home.join("bin/python");
    if !python.exists() {
        std::fs::create_dir_all(cache()).unwrap();
        let fresh = tempfile::Builder::new()
            .prefix("boto3-")
            .tempdir_in(cache())
            .unwrap();
        let target = fresh.path().join("venv");
        let make = "a Python virtual environment (python3 with venv is needed)";
        run(
            Command::new("python3").args(["-m", "venv"]).arg(&target),
            make,
        )
        .await;
        let mut install = Command::new(target.join("bin/python"));
        install.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            BOTO3,
        ]);
        run(&mut install, "installing boto3 from PyPI").await;
        // Another test run may have been faster; its installation is as good.
        if let Err(error) = std::fs::rename(&target, &home) {
            assert!(python.exists(), "{}: {error}", home.display());
        }
    }
    python
}

#[tokio::test]
async fn boto3_gets_along() {
    let python = python().await;
    let aws = Aws::start().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aws/boto3_checks.py");
    let mut check = Command::new(python);
    check
        .arg(script)
        .args([BUCKET, TABLE, CLUSTER])
        .env("AWS_ENDPOINT_URL", aws.running.url())
        .env("AWS_REGION", "us-east-1")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", &aws.key.id)
        .env("AWS_SECRET_ACCESS_KEY", &aws.key.secret)
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN");
    let output = run(&mut check, "boto3 checks").await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("all checks passed"));
}
