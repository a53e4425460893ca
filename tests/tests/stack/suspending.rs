//! Sessions that give their machine back and go on elsewhere, on the whole stack.

use e2e::process;
use e2e::script;
use e2e::session::Session;
use e2e::stack::{Options, Stack};
use serde_json::json;

#[tokio::test]
async fn an_idle_session_is_suspended_and_a_message_wakes_it_with_its_files() {
    let stack = Stack::start(&Options::default().with("SHANNON_IDLE_SUSPEND_SECONDS", "10"));
    let client = stack.client();
    let mut session = Session::scripted(
        &client,
        &[
            script::bash("mkdir -p kept/empty; echo one > kept/file; chmod 700 kept/file"),
            script::text("first"),
        ],
    )
    .await;
    session
        .until("the suspension", |session| session.state == "suspended")
        .await;
    let steps = [
        script::bash("cat kept/file; stat -c %a kept/file; ls kept; pwd"),
        script::text("second"),
    ];
    session.send(&script::prompt(&steps), "second").await;
    session.until_turns_ended(2).await;
    assert_eq!(
        session.tool_results()[1].trim(),
        "one\n700\nempty\nfile\n/workspace"
    );
    assert_eq!(session.of_kind("runner_started").len(), 2);
    assert_eq!(session.of_kind("session_resumed").len(), 1);
    assert!(session.of_kind("checkpoint_created").len() >= 2);
    session.cancel().await;
}

#[tokio::test]
async fn a_runner_that_is_told_to_stop_hands_its_turn_over() {
    let stack = Stack::start(&Options::default().with("SHANNON_STOP_TIMEOUT_SECONDS", "20"));
    let client = stack.client();
    let mut session = Session::scripted(
        &client,
        &[script::bash("echo first >> log"), script::slow(40, 200)],
    )
    .await;
    session
        .until("the result of the tool", |session| {
            !session.of_kind("tool_result").is_empty()
        })
        .await;
    process::ask_to_end(process::runner_of(&session.id).id);
    session.until_turns_ended(1).await;
    assert_eq!(session.of_kind("session_resumed").len(), 1);
    // The cut was behind the command, so it ran once.
    let steps = [script::bash("cat log"), script::text("done")];
    session.send(&script::prompt(&steps), "second").await;
    session.until_turns_ended(2).await;
    let results = session.tool_results();
    assert_eq!(results.last().map(|text| text.trim()), Some("first"));
    session.cancel().await;
}

#[tokio::test]
async fn a_checkpoint_that_fails_is_said_and_taken_later() {
    let mut options = Options::default();
    options.arguments.push("--test-hooks".to_owned());
    let stack = Stack::start(&options);
    let client = stack.client();
    let mut session = Session::scripted(&client, &[script::text("first")]).await;
    session.until_turns_ended(1).await;
    stack
        .plan_fault(
            json!({"service": "s3", "operation": "PutObject", "error": "SlowDown", "count": 12}),
        )
        .await;
    let steps = [script::bash("echo kept > file"), script::text("second")];
    session.send(&script::prompt(&steps), "second").await;
    session.until_turns_ended(2).await;
    session
        .until("a checkpoint of it", |session| {
            session.of_kind("checkpoint_created").len() >= 2
        })
        .await;
    session.cancel().await;
}
