//! The model API failing in every way it does: the session says so, and goes on where it can.

use std::time::{Duration, Instant};

use e2e::script;
use e2e::session::Session;
use e2e::stack;

#[tokio::test]
async fn what_passes_is_retried_and_seen() {
    let stack = stack::shared();
    let client = stack.client();
    for (step, status) in [
        ("ERRN:529:2:TEXT:came through", 529),
        ("ERRN:500:1:TEXT:came through", 500),
        ("ERRH:429:retry-after=1:1:TEXT:came through", 429),
    ] {
        let mut session = Session::scripted(&client, &[step]).await;
        session.until_turns_ended(1).await;
        assert!(
            session.said().contains("came through"),
            "{step}\n{}",
            session.story()
        );
        let retries = session.of_kind("retry");
        assert!(!retries.is_empty(), "{step}\n{}", session.story());
        assert_eq!(retries[0]["status"], status, "{step}");
        assert_eq!(
            session.of_kind("turn_ended")[0]["is_error"],
            false,
            "{step}"
        );
        session.cancel().await;
    }
}

#[tokio::test]
async fn a_cut_stream_is_asked_for_again() {
    let stack = stack::shared();
    let client = stack.client();
    for step in ["DROPN:1:TEXT:came through", "DROPN:2:TEXT:came through"] {
        let mut session = Session::scripted(&client, &[step]).await;
        session.until_turns_ended(1).await;
        assert!(
            session.said().contains("came through"),
            "{step}\n{}",
            session.story()
        );
        session.cancel().await;
    }
}

#[tokio::test]
async fn what_stays_broken_ends_the_turn_soon_and_not_the_session() {
    let stack = stack::shared();
    let client = stack.client();
    // 401 is what the CLI itself would retry for three minutes.
    for step in ["ERR:401", "ERR:400", "ERR:403"] {
        let start = Instant::now();
        let mut session = Session::scripted(&client, &[step]).await;
        session.until_turns_ended(1).await;
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{step}: {:?}",
            start.elapsed()
        );
        assert_eq!(
            session.of_kind("turn_ended")[0]["is_error"],
            true,
            "{step}\n{}",
            session.story()
        );
        session.send("@@TEXT:and on it goes", "next").await;
        session.until_turns_ended(2).await;
        assert!(
            session.said().contains("and on it goes"),
            "{step}\n{}",
            session.story()
        );
        session.cancel().await;
    }
}

#[tokio::test]
async fn refusals_and_cut_texts_are_shown_as_they_are() {
    let stack = stack::shared();
    let client = stack.client();
    let mut session = Session::scripted(&client, &["THINK:because|so it is"]).await;
    session.until_turns_ended(1).await;
    assert!(session.said().contains("so it is"));
    assert_eq!(session.of_kind("thinking")[0]["text"], "because");
    session.send("@@REFUSE", "refused").await;
    session.until_turns_ended(2).await;
    session.cancel().await;
}

#[tokio::test]
async fn a_huge_line_comes_through() {
    let stack = stack::shared();
    let client = stack.client();
    let big = script::bash("head -c 3000000 /dev/zero | tr '\\0' x > big.txt; ls -l big.txt");
    let read = script::tool(
        "Read",
        &serde_json::json!({"file_path": "/workspace/big.txt", "limit": 1}),
    );
    let mut session = Session::scripted(&client, &[big, read, "BIG:2000000".to_owned()]).await;
    session.until_turns_ended(1).await;
    let texts = session
        .events
        .iter()
        .find(|event| event["kind"] == "text" && event["whole_body_bytes"].as_u64().is_some());
    let text = texts.unwrap_or_else(|| {
        panic!(
            "no preview of a large text in\n{}",
            &session.story()[..4000]
        )
    });
    assert!(
        text["whole_body_bytes"].as_u64().expect("a number") >= 1_000_000,
        "{text}"
    );
    assert!(text["body"]["text"].as_str().expect("a preview").len() < 10_000);
    session.cancel().await;
}
