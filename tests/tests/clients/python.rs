//! The Python MCP SDK in both eras, and boto3 at the emulated AWS.

use std::process::Command;

use e2e::mcp::TOOLS;
use e2e::session::Session;
use e2e::{checkout, installed, script, stack};
use serde_json::{Value, json};

fn run(script: &str, environment: &[(&str, &str)]) -> Value {
    let mut command = Command::new(installed::python_clients().interpreter());
    command
        .arg(checkout::root().join("tests/clients").join(script))
        .env_remove("AWS_PROFILE")
        .envs(environment.iter().copied());
    let output = installed::run(&mut command);
    serde_json::from_slice(&output.stdout).expect("the script prints JSON")
}

fn drives_a_session(mode: &str, version: &str) {
    let stack = stack::shared();
    let seen = run(
        "python_sdk.py",
        &[
            ("SHANNON_URL", &stack.mcp_url()),
            ("SHANNON_TOKEN", &stack.token),
            ("MODE", mode),
        ],
    );
    assert_eq!(seen["protocol_version"], version, "{seen}");
    assert_eq!(seen["server"], "shannon", "{seen}");
    assert_eq!(
        seen["tools"].as_array().expect("tools").len(),
        TOOLS.len(),
        "{seen}"
    );
    assert_eq!(seen["text"], "from Python\n");
    let kinds = seen["kinds"].as_array().expect("kinds");
    for kind in ["session_created", "tool_call", "tool_result", "turn_ended"] {
        assert!(kinds.contains(&json!(kind)), "no {kind} in {seen}");
    }
    assert!(
        !seen["progress"].as_array().expect("progress").is_empty(),
        "{seen}"
    );
    assert!(
        seen["refusal"]
            .as_str()
            .expect("a refusal")
            .contains("session_id"),
        "{seen}"
    );
}

#[test]
fn the_sdk_drives_a_session_in_the_modern_era() {
    drives_a_session("auto", "2026-07-28");
}

#[test]
fn the_sdk_drives_a_session_in_the_legacy_era() {
    drives_a_session("legacy", "2025-11-25");
}

#[test]
fn boto3_sees_the_stack() {
    let stack = stack::shared();
    let seen = run(
        "boto3_stack.py",
        &[
            ("AWS_URL", &stack.aws_url()),
            ("AWS_ACCESS_KEY_ID", &stack.operator_key().0),
            ("AWS_SECRET_ACCESS_KEY", &stack.operator_key().1),
        ],
    );
    assert_eq!(
        seen["tables"].as_array().expect("tables").len(),
        1,
        "{seen}"
    );
    assert_eq!(
        seen["buckets"].as_array().expect("buckets").len(),
        1,
        "{seen}"
    );
    assert_eq!(seen["keys"][0]["AttributeName"], "pk", "{seen}");
    assert_eq!(seen["versioning"], "Enabled", "{seen}");
}

/// Every key begins with the owner: to another one a session is what no session is.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_session_is_as_an_unknown_one() {
    let stack = stack::shared();
    let client = stack.client();
    let write = script::bash("echo mine > secret.txt");
    let mut session = Session::scripted(&client, &[write, script::text("written")]).await;
    session.until_turns_ended(1).await;
    let message = session
        .events
        .iter()
        .find(|event| event["kind"] == "message_taken")
        .and_then(|event| event["message_id"].as_str())
        .unwrap_or_else(|| panic!("no id of the message in {}", session.story()));
    let taken = client.call("create_checkpoint", json!({"session_id": session.id}));
    let taken = taken.await;
    let checkpoint = taken["checkpoint"]["checkpoint_id"].as_str();
    let checkpoint = checkpoint.unwrap_or_else(|| panic!("{taken}")).to_owned();
    let seen = run(
        "two_owners.py",
        &[
            ("SESSION", &session.id),
            ("MESSAGE", message),
            ("CHECKPOINT", &checkpoint),
            ("AWS_URL", &stack.aws_url()),
            ("AWS_ACCESS_KEY_ID", &stack.operator_key().0),
            ("AWS_SECRET_ACCESS_KEY", &stack.operator_key().1),
        ],
    );
    let theirs = seen["theirs"].as_object().expect("answers");
    // Every tool that takes a session, two methods of tasks, seven resources.
    assert_eq!(theirs.len(), 27);
    for (name, answer) in theirs {
        let answer = answer.as_str().expect("text");
        assert_eq!(seen["nobodys"][name], answer, "{name}");
        assert!(
            answer.contains("error") || answer.contains("\"isError\": true"),
            "{name}: {answer}"
        );
        assert!(!answer.contains("mine"), "{name}: {answer}");
    }
    let listed = &seen["listed"]["result"]["structuredContent"]["sessions"];
    assert_eq!(listed, &json!([]), "{seen}");
    // And nothing of it has reached the session.
    session.send("@@TEXT:still mine", "after").await;
    session.until_turns_ended(2).await;
    assert!(session.said().contains("still mine"), "{}", session.story());
    assert_eq!(session.of_kind("message_taken").len(), 2);
    session.cancel().await;
}
