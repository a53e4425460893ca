//! The clock of the machine is set while sessions are at work: forward a day, and back to an hour before
//! what it was. Nothing is lost, and everybody goes on.

use e2e::clock::Clock;
use e2e::mcp::http_client;
use e2e::script;
use e2e::service::{Installation, Setup};
use e2e::session::Session;
use serde_json::{Value, json};

const DAY: i64 = 24 * 60 * 60;

/// Work for minutes: a file each second.
fn writing() -> Vec<String> {
    (0..200)
        .map(|number| {
            let input = json!({"file_path": format!("/workspace/{number}.txt"), "content": "here"});
            format!("SLEEP:1:{}", script::tool("Write", &input))
        })
        .collect()
}

fn count(session: &Session<'_>, kind: &str) -> usize {
    session.of_kind(kind).len()
}

/// Follows it until it has written so many files more.
async fn writes_on(session: &mut Session<'_>, files: usize) {
    let written = count(session, "tool_result");
    session
        .until("more files", |it| {
            count(it, "tool_result") >= written + files
        })
        .await;
}

async fn says(session: &mut Session<'_>, word: &str) {
    let turns = count(session, "turn_ended");
    let sent = session
        .send(&script::prompt(&[script::text(word)]), word)
        .await;
    assert!(sent["session_id"].is_string(), "{sent}");
    session.until_turns_ended(turns + 1).await;
    assert!(session.said().contains(word), "{}", session.story());
}

async fn fetched(url: &str) -> (u16, String) {
    let answer = http_client().get(url).send().await.expect("an answer");
    (
        answer.status().as_u16(),
        answer.text().await.unwrap_or_default(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_loses_nothing() {
    let installation = Installation::make();
    let mut setup = Setup::new();
    let clock = Clock::of(&mut setup);
    let service = setup.start(&installation);
    let client = service.client();
    let mut idle = Session::scripted(&client, &[script::text("kept")]).await;
    idle.until_turns_ended(1).await;
    let mut busy = Session::scripted(&client, &[script::text("begun")]).await;
    busy.until_turns_ended(1).await;
    busy.send(&script::prompt(&writing()), "work").await;
    writes_on(&mut busy, 1).await;
    let export = json!({"session_id": idle.id});
    let signed = client.call("export_workspace", export.clone()).await;
    let url = signed["url"].as_str().expect("a URL").to_owned();
    assert_eq!(fetched(&url).await.0, 200);
    let before: [Vec<Value>; 2] = [idle.events.clone(), busy.events.clone()];

    // Forward: all leases and rights of runners are over, as if the machine had slept. Others take over.
    clock.set(DAY);
    let (status, said) = fetched(&url).await;
    assert_eq!(status, 403, "{said}");
    assert!(said.to_lowercase().contains("expired"), "{said}");
    writes_on(&mut busy, 2).await;
    says(&mut idle, "a-day-later").await;
    for session in [&busy, &idle] {
        let lost = count(session, "runner_lost");
        assert!(lost <= 1, "once is enough: {}", session.story());
        assert_eq!(count(session, "session_resumed"), lost);
    }
    writes_on(&mut busy, 1).await;
    let lost = [&busy, &idle].map(|it| count(it, "runner_lost"));

    // Back: no lease ends, and nobody waits for the time to come again.
    clock.set(-60 * 60);
    writes_on(&mut busy, 2).await;
    says(&mut idle, "an-hour-earlier").await;
    let mut new = Session::scripted(&client, &[script::text("new")]).await;
    new.until_turns_ended(1).await;
    assert_eq!(count(&new, "checkpoint_created"), 1, "{}", new.story());
    let signed = client.call("export_workspace", export).await;
    let url = signed["url"].as_str().expect("a URL");
    assert_eq!(fetched(url).await.0, 200);
    assert_eq!(lost, [&busy, &idle].map(|it| count(it, "runner_lost")));
    for session in [&busy, &idle, &new] {
        let notices = session.of_kind("notice");
        let failed = notices.iter().any(|it| it["code"] == "checkpoint_failed");
        assert!(!failed, "{}", session.story());
    }

    // From the beginning, everything is where it was, in its order.
    for (session, before) in [&idle, &busy].into_iter().zip(before) {
        let mut again = Session::follow(&client, &session.id);
        again
            .until("all of it", |it| it.events.len() >= session.events.len())
            .await;
        assert_eq!(again.events[..before.len()], before);
        assert_eq!(again.events[..session.events.len()], session.events);
    }
    assert_eq!(service.get("/ready").await, 200);
    for session in [&mut busy, &mut idle, &mut new] {
        session.cancel().await;
    }
    service.ask_to_end();
    let (status, said) = service.ended();
    assert_eq!(status.code(), Some(0), "{said}");
}
