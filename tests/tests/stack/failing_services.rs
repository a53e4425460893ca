//! DynamoDB that throttles, a disk that is full: retried where it passes, said where it does not.

use std::path::Path;

use e2e::script;
use e2e::session::Session;
use e2e::stack::{Options, Stack};
use serde_json::json;

fn with_hooks() -> Stack {
    let mut options = Options::default();
    options.arguments.push("--test-hooks".to_owned());
    Stack::start(&options)
}

#[tokio::test]
async fn throttling_is_waited_out_and_then_said() {
    let stack = with_hooks();
    let client = stack.client();
    let throttle = |count: u32| json!({"service": "dynamodb", "operation": "*", "error": "ThrottlingException", "count": count});
    // A moment of it is the SDK's to repeat; nobody sees it.
    stack.plan_fault(throttle(2)).await;
    let mut session = Session::scripted(
        &client,
        &[script::bash("echo through it"), script::text("done")],
    )
    .await;
    session
        .until("a tool call", |session| {
            !session.of_kind("tool_call").is_empty()
        })
        .await;
    stack.plan_fault(throttle(4)).await;
    session.until_turns_ended(1).await;
    assert!(
        session.tool_results().join("").contains("through it"),
        "{}",
        session.story()
    );
    session.cancel().await;

    // For long, it is a tool error that says to try again, and nothing half done is left.
    let before = client.call("list_sessions", json!({})).await;
    stack.plan_fault(throttle(1000)).await;
    let refused = client
        .try_call(
            "create_session",
            json!({"prompt": "x", "client_token": "throttled"}),
        )
        .await;
    assert!(refused.is_error);
    assert!(refused.text.contains("client_token"), "{}", refused.text);
    let mut attempts = 0;
    let after = loop {
        let listed = client.try_call("list_sessions", json!({})).await;
        if !listed.is_error {
            break listed.structured;
        }
        attempts += 1;
        assert!(attempts < 1000, "{}", listed.text);
    };
    assert_eq!(after["sessions"], before["sessions"]);
}

#[tokio::test]
async fn a_full_disk_is_said() {
    let stack = with_hooks();
    let client = stack.client();
    let full = json!({"service": "dynamodb", "operation": "TransactWriteItems", "error": "DiskFull", "count": 20});
    stack.plan_fault(full).await;
    let refused = client
        .try_call("create_session", json!({"prompt": "x"}))
        .await;
    assert!(refused.is_error, "{}", refused.text);
}

/// A stack whose sessions lie on a disk of their own of that many MiB.
fn with_disk_of(mebibytes: u32, directory: &Path) -> Stack {
    let disk = directory.join("disk");
    std::fs::create_dir(&disk).expect("a directory");
    let mount = format!("mount -t tmpfs -o size={mebibytes}m none \"$0\" && exec \"$@\"");
    let namespace: &[&str] = if nix::unistd::geteuid().is_root() {
        &["--mount"]
    } else {
        &["--user", "--map-current-user", "--keep-caps", "--mount"]
    };
    let disk = disk.display().to_string();
    let mut options = Options::default().with("TMPDIR", &disk);
    options.through = ["unshare"]
        .iter()
        .chain(namespace)
        .chain(&["sh", "-c", &mount, &disk])
        .map(|word| (*word).to_owned())
        .collect();
    Stack::start(&options)
}

#[tokio::test]
async fn a_workspace_that_fills_the_disk_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let stack = with_disk_of(24, directory.path());
    let client = stack.client();

    let large = stack.roots().join("large");
    std::fs::create_dir(&large).expect("a directory");
    std::fs::write(large.join("file"), vec![b'x'; 40 << 20]).expect("a file");
    let workspace = json!({"prompt": "never read", "workspace": {"directory": large}});
    let mut refused = Session::create(&client, workspace).await;
    refused.until_ended().await;
    assert_eq!(refused.state, "failed", "{}", refused.story());
    let end = refused.of_kind("session_ended")[0];
    let reason = end["reason"].as_str().expect("a reason");
    assert!(reason.contains("disk is full"), "{reason}");
    assert_eq!(end["unfinished"].as_array().map(Vec::len), Some(1), "{end}");
}
