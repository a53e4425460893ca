//! DynamoDB that throttles, a disk that is full: retried where it passes, said where it does not.

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
