//! Talking to a session: while it works, while it is idle, twice, and taking words back.

use std::time::Duration;

use e2e::loopback::Server;
use e2e::process;
use e2e::script;
use e2e::session::Session;
use e2e::stack;
use serde_json::json;

/// A shell command that takes that long and can be found by its marker.
fn busy(seconds: u32, marker: &str) -> String {
    script::bash(&format!(
        "timeout {seconds} tail -f /dev/null --pid=1 # {marker}"
    ))
}

async fn until_tool_runs(session: &mut Session<'_>) {
    session
        .until("a tool call", |session| {
            !session.of_kind("tool_call").is_empty()
        })
        .await;
}

#[tokio::test]
async fn a_message_starts_a_turn_on_an_idle_session_and_repeating_it_does_nothing() {
    let stack = stack::shared();
    let client = stack.client();
    let mut session = Session::scripted(&client, &["TEXT:one"]).await;
    session.until_turns_ended(1).await;
    let first = session.send("@@TEXT:two", "again").await;
    session.until_turns_ended(2).await;
    let second = session.send("@@TEXT:two", "again").await;
    assert_eq!(first["message_id"], second["message_id"]);

    let refused = client
        .try_call(
            "send_message",
            json!({"session_id": session.id, "message": "@@TEXT:other", "message_id": "again"}),
        )
        .await;
    assert!(refused.is_error);
    assert!(refused.text.contains("message_id"), "{}", refused.text);

    session.send("@@TEXT:three", "last").await;
    session.until_turns_ended(3).await;
    session.cancel().await;
    assert_eq!(
        session.of_kind("turn_ended").len(),
        3,
        "{}",
        session.story()
    );
    assert_eq!(
        session.of_kind("message_taken").len(),
        3,
        "{}",
        session.story()
    );
}

#[tokio::test]
async fn an_interrupt_stops_the_turn_and_what_it_started() {
    let stack = stack::shared();
    let client = stack.client();
    let marker = format!("interrupt-{}", uuid::Uuid::new_v4().simple());
    let mut session =
        Session::scripted(&client, &[busy(100, &marker), script::text("not this")]).await;
    until_tool_runs(&mut session).await;
    assert!(process::eventually(Duration::from_secs(10), || {
        !process::running_with(&marker).is_empty()
    }));
    client
        .call("interrupt_session", json!({"session_id": session.id}))
        .await;
    session.until_turns_ended(1).await;
    assert_eq!(session.state, "idle");
    assert!(!session.said().contains("not this"));
    let end = session.of_kind("turn_ended")[0].clone();
    assert!(
        end["terminal_reason"]
            .as_str()
            .is_some_and(|reason| reason.starts_with("aborted")),
        "{end}"
    );
    assert!(
        process::eventually(Duration::from_secs(10), || process::running_with(&marker)
            .is_empty()),
        "{:?}",
        process::running_with(&marker)
    );
    session.send("@@TEXT:still here", "after").await;
    session.until_turns_ended(2).await;
    assert!(session.said().contains("still here"));
    session.cancel().await;
}

#[tokio::test]
async fn a_queued_message_can_be_withdrawn() {
    let stack = stack::shared();
    let client = stack.client();
    // While its clone hangs, the runner takes no message.
    let silence = Server::of_silence();
    let mut session = Session::create(
        &client,
        json!({
            "prompt": "never read",
            "workspace": {"git_url": format!("{}/repository.git", silence.url())},
        }),
    )
    .await;
    session.send("take this back", "unwanted").await;
    let withdraw = json!({"session_id": session.id, "message_id": "unwanted"});
    let first = client.call("interrupt_session", withdraw.clone()).await;
    let second = client.call("interrupt_session", withdraw).await;
    assert_eq!(first, second, "withdrawing twice says the same");
    let unknown = client
        .try_call(
            "interrupt_session",
            json!({"session_id": session.id, "message_id": "nobody-sent-this"}),
        )
        .await;
    assert!(unknown.is_error, "{}", unknown.text);

    // The clone's time is up after SHANNON_CLONE_TIMEOUT_SECONDS: 10 in the shared stack.
    session.until_ended().await;
    assert_eq!(session.state, "failed");
    let end = session.of_kind("session_ended")[0];
    assert!(
        end["reason"].as_str().expect("a reason").contains("10 s"),
        "{end}"
    );
    let unfinished = end["unfinished"].as_array().expect("a list");
    assert!(!unfinished.contains(&json!("unwanted")), "{end}");
    assert_eq!(unfinished.len(), 1, "the prompt was not done: {end}");
}

#[tokio::test]
async fn an_ended_session_takes_no_message() {
    let stack = stack::shared();
    let client = stack.client();
    let mut session = Session::scripted(&client, &["TEXT:one"]).await;
    session.until_turns_ended(1).await;
    session.cancel().await;
    for (tool, arguments) in [
        (
            "send_message",
            json!({"session_id": session.id, "message": "hello"}),
        ),
        ("interrupt_session", json!({"session_id": session.id})),
    ] {
        let answer = client.try_call(tool, arguments).await;
        assert!(answer.is_error, "{tool}");
        assert!(answer.text.contains("cancelled"), "{tool}: {}", answer.text);
    }
    let again = client
        .call("cancel_session", json!({"session_id": session.id}))
        .await;
    assert_eq!(again["state"], "cancelled");
}
