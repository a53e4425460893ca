//! `check_policy`: which question the policies are asked.

use domain::ports::{BookChange, PolicyBooks};
use domain::{OwnerId, PolicyName, PolicyScope, UnixMillis};
use protocol::Class;
use serde_json::{Value, json};
use testkit::FaultTime;

use crate::client::Client;

async fn asked(client: &Client, arguments: Value) -> String {
    let answer = client.call("check_policy", arguments).await;
    answer["reason"].as_str().expect("a reason").to_owned()
}

#[tokio::test]
async fn a_new_session_is_asked_about() {
    let client = Client::new(Class::Call);
    let question = asked(&client, json!({"command": "ls"})).await;
    for expected in [
        OwnerId::of("testkit", "me").as_str(),
        "tier: Review",
        "mode: Review",
        "bypass_permitted: false",
        "origin: \"empty\"",
        "tool: \"Bash\"",
        "\"command\": String(\"ls\")",
    ] {
        assert!(question.contains(expected), "{expected}: {question}");
    }
    let strict = json!({"tool": "Write", "tool_input": {"file_path": "a"}, "tier": "strict", "permission_mode": "accept_edits"});
    let question = asked(&client, strict).await;
    for expected in ["tier: Strict", "mode: AcceptEdits", "tool: \"Write\""] {
        assert!(question.contains(expected), "{expected}: {question}");
    }
    // Asking for a lenient tier does not make it count.
    let question = asked(&client, json!({"command": "ls", "tier": "auto"})).await;
    assert!(question.contains("tier: Review"), "{question}");
}

#[tokio::test]
async fn a_session_is_asked_about_as_it_is() {
    let client = Client::new(Class::Call);
    let session = json!({
        "prompt": "x",
        "workspace": {"git_url": "https://example.com/a.git", "subdirectory": "src"},
        "permission_mode": "accept_edits",
        "tier": "strict",
        "tags": ["prod"],
    });
    let created = client.call("create_session", session).await;
    let id = &created["session_id"];
    let answer = client
        .call(
            "check_policy",
            json!({"command": "ls", "session_id": id, "tier": "review"}),
        )
        .await;
    assert_eq!(
        (&answer["tier"], &answer["permission_mode"]),
        (&json!("strict"), &json!("accept_edits"))
    );
    let question = answer["reason"].as_str().expect("a reason");
    for expected in [
        "tier: Strict",
        "mode: AcceptEdits",
        "origin: \"git\"",
        "Some(\"src\")",
        "[\"prod\"]",
    ] {
        assert!(question.contains(expected), "{expected}: {question}");
    }
    let stranger = Client::of(Class::Call, client.fake.clone()).caller("other");
    let refused = stranger
        .tool("check_policy", json!({"command": "ls", "session_id": id}))
        .await;
    assert_eq!(refused.result()["isError"], true);
}

#[tokio::test]
async fn what_is_stored_for_the_caller_is_asked_too() {
    let client = Client::new(Class::Call);
    for (scope, name) in [
        (PolicyScope::Deployment, "theirs"),
        (PolicyScope::Owner(OwnerId::of("testkit", "me")), "mine"),
        (
            PolicyScope::Owner(OwnerId::of("testkit", "other")),
            "foreign",
        ),
    ] {
        let change = BookChange {
            scope,
            based_on: 0,
            name: PolicyName::parse(name).expect("a name"),
            text: Some((format!("the text of {name}"), 1)),
            by: OwnerId::of("testkit", "me"),
            now: UnixMillis(1),
        };
        let stored = client.fake.change_policy_book(&change).await;
        stored.expect("stored");
    }
    let question = asked(&client, json!({"command": "ls"})).await;
    for name in ["theirs", "mine"] {
        assert!(
            question.contains(&format!("the text of {name}")),
            "{question}"
        );
    }
    assert!(!question.contains("foreign"), "{question}");
    client
        .fake
        .fail_call_of("policy_book", 2, FaultTime::Before);
    let answer = client.tool("check_policy", json!({"command": "ls"})).await;
    let text = answer.result()["content"][0]["text"].to_string();
    assert_eq!(answer.result()["isError"], true);
    assert!(text.contains("again in a moment"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_asked_is_said() {
    let client = Client::new(Class::Call);
    for (arguments, words) in [
        (json!({}), "either command or tool"),
        (
            json!({"command": "ls", "tool": "Bash"}),
            "either command or tool",
        ),
        (
            json!({"command": "ls", "tool_input": {}}),
            "either command or tool",
        ),
        (json!({"command": ""}), "invalid arguments"),
        (json!({"command": "ls", "tier": "lax"}), "invalid arguments"),
        (json!({"tool": "Broken"}), "cannot be asked"),
    ] {
        let answer = client.tool("check_policy", arguments.clone()).await;
        assert_eq!(answer.result()["isError"], true, "{arguments}");
        let text = answer.result()["content"][0]["text"].to_string();
        assert!(text.contains(words), "{arguments}: {text}");
        assert!(!text.contains("schema of the policies"), "{text}");
    }
}

#[tokio::test]
async fn a_session_is_never_more_lenient_than_its_deployment() {
    let client = Client::new(Class::Call);
    let refused = client
        .tool("create_session", json!({"prompt": "x", "tier": "auto"}))
        .await;
    assert_eq!(refused.result()["isError"], true);
    let text = refused.result()["content"][0]["text"].to_string();
    assert!(
        text.contains("SHANNON_SAFETY_TIER") && text.contains("review or strict"),
        "{text}"
    );
}
