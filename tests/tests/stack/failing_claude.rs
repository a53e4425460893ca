//! A CLI that is missing, of the wrong version, ends at once, prints garbage, or never becomes
//! ready: the session fails with a reason that says so.

use std::path::Path;

use e2e::installed::CLAUDE_VERSION;
use e2e::process;
use e2e::session::Session;
use e2e::stack::{Options, Stack};
use serde_json::json;

/// A program in the place of the CLI that tells its version and otherwise runs `body`.
fn install(directory: &Path, version: &str, body: &str) {
    let program = directory.join("claude");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo '{version} (Claude Code)'; exit 0; fi\n{body}\n"
    );
    testkit::executable(&program, &script);
}

async fn failure(stack: &Stack) -> String {
    let client = stack.client();
    let mut session = Session::create(&client, json!({"prompt": "never answered"})).await;
    session.until_ended().await;
    assert_eq!(session.state, "failed", "{}", session.story());
    let end = session.of_kind("session_ended")[0];
    assert_eq!(
        end["unfinished"].as_array().expect("a list").len(),
        1,
        "{end}"
    );
    assert!(
        process::eventually(std::time::Duration::from_secs(15), || {
            process::running_with(&session.id).is_empty()
        }),
        "{:?}",
        process::running_with(&session.id)
    );
    end["reason"].as_str().expect("a reason").to_owned()
}

#[tokio::test]
async fn each_failure_has_its_reason() {
    let directory = tempfile::tempdir().expect("a directory");
    install(directory.path(), CLAUDE_VERSION, "exit 7");
    let options = Options {
        claude_directory: Some(directory.path().to_path_buf()),
        ..Options::default()
    };
    let stack = Stack::start(&options);

    let said = failure(&stack).await;
    assert!(
        said.contains("ended before it was ready (exit code 7)"),
        "ends at once: {said}"
    );

    install(
        directory.path(),
        CLAUDE_VERSION,
        "echo 'no JSON at all'; echo '{\"type\":'; head -c 100000 /dev/urandom; echo 'and an explanation' >&2; exit 3",
    );
    let said = failure(&stack).await;
    assert!(
        said.contains("ended before it was ready (exit code 3)")
            && said.contains("and an explanation"),
        "garbage: {said}"
    );

    install(
        directory.path(),
        CLAUDE_VERSION,
        "cat > /dev/null; tail -f /dev/null",
    );
    let said = failure(&stack).await;
    assert!(said.contains("did not become ready"), "never ready: {said}");

    install(directory.path(), "1.0.0", "exit 0");
    let said = failure(&stack).await;
    let versions = format!("has version 1.0.0, and this deployment supports {CLAUDE_VERSION}");
    assert!(said.contains(&versions), "wrong version: {said}");

    std::fs::remove_file(directory.path().join("claude")).expect("it was there");
    let said = failure(&stack).await;
    assert!(
        said.contains("there is no such file") && said.contains("SHANNON_CLAUDE_PATH"),
        "missing: {said}"
    );
}
