//! From a person's answer to the tool that it lets go: while the session waits, and once it is suspended.

use std::time::Duration;

use e2e::script;
use e2e::session::Session;
use e2e::stack::Stack;
use serde_json::json;

use crate::Figure;
use crate::sessions::unix_now;
use crate::statistics::{median, milliseconds, percentile};

const AWAKE: usize = 20;
const SUSPENDED: usize = 7;

/// Asked about because it writes. What it says is when it began, in nanoseconds.
const CALL: &str = "date +%s%N > began; cat began";

pub(crate) async fn measure(stack: &Stack) -> Vec<Figure> {
    let mut awake = answers(stack, AWAKE, false).await;
    let mut suspended = answers(stack, SUSPENDED, true).await;
    vec![
        Figure::new(
            format!(
                "approval, answer posted to tool started, session waits: median, 95th percentile of {AWAKE}"
            ),
            format!(
                "{}, {}",
                milliseconds(median(&mut awake)),
                milliseconds(percentile(&mut awake, 0.95))
            ),
            "–",
        ),
        Figure::new(
            format!("the same, session suspended: median, slowest of {SUSPENDED}"),
            format!(
                "{}, {}",
                milliseconds(median(&mut suspended)),
                milliseconds(percentile(&mut suspended, 1.0))
            ),
            "–",
        ),
    ]
}

/// For each of so many calls, the time from before the answer is sent until the tool runs, on the one
/// clock of this machine.
async fn answers(stack: &Stack, count: usize, suspends: bool) -> Vec<Duration> {
    let client = stack.client();
    let mut person = stack.approver();
    let mut steps = vec![script::bash(CALL); count];
    steps.push(script::text("done"));
    let arguments = json!({"prompt": script::prompt(&steps), "permission_mode": "review"});
    let mut session = Session::create(&client, arguments).await;
    let mut answered = Vec::new();
    let mut last = None;
    for number in 0..count {
        let asked = session.until_asked(last.as_ref()).await;
        if suspends {
            let suspend = json!({"session_id": session.id});
            client.call("suspend_session", suspend).await;
            session
                .until("the suspension", |session| session.state == "suspended")
                .await;
        }
        let url = asked["url"].as_str().expect("an address");
        if number == 0 {
            person.log_in(url).await;
        }
        let page = person.open(url).await;
        answered.push(unix_now());
        let told = person.send_form(url, &page, "allow_once", &[]).await;
        assert_eq!(told.status, 303, "{}", told.text);
        last = Some(asked);
    }
    session.until_turns_ended(1).await;
    let began = session.tool_results();
    assert_eq!(began.len(), count, "{}", session.story());
    session.cancel().await;
    let times = began.iter().zip(answered).map(|(began, answered)| {
        let began: u64 = began.trim().parse().expect("nanoseconds");
        Duration::from_nanos(began).saturating_sub(answered)
    });
    times.collect()
}
