//! The model API failing in every way it does: the session says so, and goes on where it can.

use std::time::{Duration, Instant};

use e2e::mcp::Client;
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
    // What was refused or cut off stays as it was said; then the CLI asks once more, with words of
    // its own, which the offline model repeats.
    for (turns, prompt, said, asked) in [
        (2, "@@REFUSE", "no", "stopped by a safety classifier"),
        (
            3,
            "@@MAXTOK:cut in the mid",
            "cut in the mid",
            "Output token limit hit",
        ),
    ] {
        let before = session.of_kind("text").len();
        session.send(prompt, &format!("message-{turns}")).await;
        session.until_turns_ended(turns).await;
        let texts = session.of_kind("text").split_off(before);
        assert_eq!(texts.len(), 2, "{prompt}\n{}", session.story());
        assert_eq!(texts[0]["text"], said, "{prompt}");
        let last = texts[1]["text"].as_str().expect("a text");
        assert!(last.contains(asked), "{prompt}: {last}");
        let ended = session.of_kind("turn_ended")[turns - 1];
        assert_eq!(ended["is_error"], false, "{ended}");
        assert_eq!(ended["text"], last, "{prompt}");
    }
    session.cancel().await;
}

/// How a turn ended that began with `step`, which never passes, the statuses of the retries before,
/// and how long that took. Measured: the CLI gives up after two retries of a 529, and after ten of
/// anything else, with pauses that grow to 36 s; a `retry-after` makes them only longer.
async fn given_up(client: &Client, step: &str) -> (String, Vec<u64>, Duration) {
    let start = Instant::now();
    let mut session = Session::scripted(client, &[step]).await;
    while session.of_kind("turn_ended").is_empty() {
        assert!(
            start.elapsed() < Duration::from_secs(270),
            "{}",
            session.story()
        );
        session.wait(10).await;
    }
    let took = start.elapsed();
    let ended = session.of_kind("turn_ended")[0];
    assert_eq!(ended["is_error"], true, "{step}: {ended}");
    let said = ended["text"].as_str().expect("a text").to_owned();
    let statuses = session.of_kind("retry");
    let statuses = statuses
        .iter()
        .filter_map(|retry| retry["status"].as_u64())
        .collect();
    session.send("@@TEXT:and on it goes", "next").await;
    session.until_turns_ended(2).await;
    assert!(
        session.said().contains("and on it goes"),
        "{step}\n{}",
        session.story()
    );
    session.cancel().await;
    (said, statuses, took)
}

#[tokio::test]
async fn an_overload_that_stays_ends_the_turn_soon() {
    let stack = stack::shared();
    let (said, statuses, took) = given_up(&stack.client(), "ERR:529").await;
    assert!(said.contains("Repeated 529 Overloaded errors"), "{said}");
    assert!(
        !statuses.is_empty() && statuses.iter().all(|status| *status == 529),
        "{statuses:?}"
    );
    assert!(took < Duration::from_secs(60), "{took:?}");
}

/// Three minutes, because the CLI takes them; all at once.
#[tokio::test]
async fn what_never_passes_ends_the_turn_when_the_retries_are_used_up() {
    let stack = stack::shared();
    let client = stack.client();
    let (limited, broken, cut) = tokio::join!(
        given_up(&client, "ERR:429"),
        given_up(&client, "ERR:500"),
        given_up(&client, "DROP"),
    );
    for ((said, statuses, _), status, words) in [
        (&limited, 429, "Request rejected (429)"),
        (&broken, 500, "API Error: 500"),
        (&cut, 500, "could not be reached or broke off"),
    ] {
        assert!(said.contains(words), "{said}");
        assert!(statuses.contains(&status), "{statuses:?}");
    }
    assert!(
        limited.1.len() == 10 && broken.1.len() == 10,
        "{limited:?} {broken:?}"
    );
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
