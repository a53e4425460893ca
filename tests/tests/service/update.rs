//! A newer installation takes over from an older one on the same state, behind nginx, while clients
//! work: nothing that was acknowledged is lost, and nothing is done twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::mcp::Client;
use e2e::nginx::Nginx;
use e2e::script;
use e2e::service::{Installation, Setup, TOKEN};
use e2e::session::Session;
use serde_json::{Value, json};

/// What a client met on its way.
#[derive(Default)]
struct Met {
    acknowledged: Vec<String>,
    sent_away: usize,
}

/// Sends a call until it is answered. What comes in between has to say when to come back.
async fn insistently(client: &Client, tool: &str, arguments: Value, met: &mut Met) -> Value {
    let began = Instant::now();
    loop {
        assert!(
            began.elapsed() < Duration::from_secs(100),
            "{tool} {arguments}"
        );
        let params = json!({"name": tool, "arguments": arguments});
        let answer = client.request("tools/call", params).await;
        if answer.status == 200 {
            let result = answer.result();
            assert_ne!(
                result["isError"], true,
                "{tool} {arguments}: {}",
                answer.body
            );
            return result["structuredContent"].clone();
        }
        assert!(
            [429, 503].contains(&answer.status),
            "{}: {}",
            answer.status,
            answer.body
        );
        let pause = answer.headers.get("retry-after");
        let pause = pause.unwrap_or_else(|| panic!("{} without Retry-After", answer.status));
        assert!(
            pause.to_str().is_ok_and(|text| text.parse::<u32>().is_ok()),
            "{pause:?}"
        );
        met.sent_away += usize::from(answer.status == 503);
        // Sooner than was asked: the moments of the change are what this is about.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

fn message(number: usize) -> String {
    script::prompt(&[script::text(&format!("answer {number}"))])
}

/// Sends numbered messages to a session until it is told to end.
async fn work(client: Client, session: String, over: Arc<AtomicBool>) -> Met {
    let mut met = Met::default();
    let mut number = 0;
    while !over.load(Ordering::SeqCst) {
        number += 1;
        let id = format!("load-{number}");
        let arguments =
            json!({"session_id": session, "message": message(number), "message_id": id});
        insistently(&client, "send_message", arguments, &mut met).await;
        met.acknowledged.push(id);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    met
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_under_load_loses_nothing() {
    let (older, newer) = (Installation::make(), Installation::make());
    let setup = Setup::new().with("SHANNON_STOP_TIMEOUT_SECONDS", "60");
    let nginx = Nginx::start(setup.port);
    let setup = setup.with("SHANNON_PUBLIC_URL", &nginx.url());
    let client = || Client::new(&format!("{}/mcp", nginx.url()), TOKEN).over(nginx.client());
    let service = setup.start(&older);
    let mine = client();

    // One that rests and has files, one in the middle of a turn, one that is talked to.
    let mut resting = Session::scripted(
        &mine,
        &[
            script::bash("echo kept > /workspace/kept.txt"),
            script::text("rested"),
        ],
    )
    .await;
    resting.until_turns_ended(1).await;
    let mut talking = Session::scripted(&mine, &[script::text("ready")]).await;
    talking.until_turns_ended(1).await;
    let mut working = Session::scripted(
        &mine,
        &[
            script::bash("sleep 6; echo done >> /workspace/log.txt"),
            script::bash("wc -l < /workspace/log.txt"),
            script::text("worked"),
        ],
    )
    .await;
    let over = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(work(client(), talking.id.clone(), over.clone()));
    working
        .until("its tool", |session| {
            session.of_kind("tool_call").len() == 1
        })
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = (resting.events.clone(), working.events.clone());

    service.ask_to_end();
    let (status, said) = tokio::task::spawn_blocking(move || service.ended())
        .await
        .expect("a status");
    assert_eq!(status.code(), Some(0), "{said}");
    // Clients are sent away meanwhile, for long enough that one of them must have come.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let service = setup.start(&newer);
    tokio::time::sleep(Duration::from_secs(3)).await;
    over.store(true, Ordering::SeqCst);
    let met = load.await.expect("the load");
    assert!(met.sent_away > 0, "nobody noticed the update");
    assert!(met.acknowledged.len() > 5, "{:?}", met.acknowledged);

    // The turn that was running goes on, and its tool has run once.
    working.until_turns_ended(1).await;
    assert_eq!(working.events[..before.1.len()], before.1);
    assert!(working.said().contains("worked"), "{}", working.story());
    let last = working.tool_results().pop().expect("a result");
    assert_eq!(last.trim(), "1", "{}", working.story());
    // The resting one wakes where it was.
    resting
        .send(
            &script::prompt(&[
                script::bash("cat /workspace/kept.txt"),
                script::text("back"),
            ]),
            "again",
        )
        .await;
    resting.until_turns_ended(2).await;
    assert_eq!(resting.events[..before.0.len()], before.0);
    assert!(
        resting.tool_results()[1].contains("kept"),
        "{}",
        resting.story()
    );
    // Every message that was acknowledged was taken, once; and none that was not sent.
    let messages = met.acknowledged.len() + 1;
    let all = |session: &Session<'_>| {
        session.of_kind("message_taken").len() >= messages && session.state == "idle"
    };
    talking.until("all messages", all).await;
    let mut taken: Vec<&str> = talking
        .of_kind("message_taken")
        .iter()
        .filter_map(|body| body["text"].as_str())
        .collect();
    // A message that was taken and not finished is taken again by the next runner.
    taken.dedup();
    let wanted: Vec<String> = (1..=met.acknowledged.len()).map(message).collect();
    assert_eq!(taken[1..], wanted, "{}", talking.story());
    // (Messages that waited together may be answered together; what was answered after the last cut is
    // abandoned, and answered again by the next runner: once more, at the most.)
    for number in 1..=met.acknowledged.len() {
        let answer = format!("answer {number}");
        let said = talking.of_kind("text");
        let said = said.iter().filter(|body| body["text"] == *answer).count();
        assert!(said <= 2, "{answer}: {}", talking.story());
    }
    // And all of it still hangs together.
    let (mut question, mut batches) = (json!({}), 0);
    loop {
        let checked = mine.call("verify_audit", question.clone()).await;
        assert_eq!(checked["findings"], json!([]), "{checked}");
        batches += checked["batches"].as_u64().expect("a count");
        match checked["next_cursor"].as_str() {
            Some(next) => question["cursor"] = json!(next),
            None => break,
        }
    }
    assert!(batches > 0, "no log was looked at");
    for session in [&mut working, &mut resting, &mut talking] {
        session.cancel().await;
    }
    drop(service);
}
