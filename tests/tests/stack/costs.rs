//! What the page of costs is computed from: the calls of four activities, counted in a running stack.
//!
//! `SHANNON_TEST_RECORD_COSTS=1` writes down what it counts; without it, what it counts must be what
//! was written down: exactly, where nothing depends on time, and about, where it does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e::costs::{Calls, recorded};
use e2e::session::Session;
use e2e::stack::{self, Options, Stack};
use e2e::{checkout, script};
use serde_json::{Value, json};

const FILE: &str = "infra/recorded-calls.toml";
const RECORD: &str = "SHANNON_TEST_RECORD_COSTS";
/// Sweeps run each minute by themselves, too: of several one met no other.
const SEVERAL: usize = 4;
/// A bucket of 20 that fills by 10 a second is full then: a caller who comes earlier costs a write more
/// (`shared/store/src/rates.rs`), and the page counts those who do not.
const BUCKET_FILLS: Duration = Duration::from_millis(2500);
const HOUR_SECONDS: f64 = 3600.0;

/// What was called so far by those whose principal or session is `whose`.
fn counted(stack: &Stack, whose: &str) -> Calls {
    let state = stack.state.display().to_string();
    let output = stack::run_emulator(&["calls", "--json", "--state", &state], &Options::default());
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut calls = Calls::new();
    for call in answer["calls"].as_array().expect("a list") {
        if call["principal"] != whose && call["session"] != whose {
            continue;
        }
        let text = |name: &str| call[name].as_str().expect("text");
        let name = format!("{} {}", text("service"), text("operation"));
        let count = call["count"].as_f64().expect("a number");
        *calls.entry(name).or_default() += count;
    }
    calls
}

fn since(before: &Calls, after: &Calls, factor: f64) -> Calls {
    let more = after.iter().map(|(name, count)| {
        let more = count - before.get(name).copied().unwrap_or_default();
        (name.clone(), more * factor)
    });
    more.filter(|(_, count)| *count > 0.0).collect()
}

fn total(calls: &Calls) -> f64 {
    calls.values().sum()
}

async fn least_of_several(measure: impl AsyncFn() -> Calls) -> Calls {
    let mut least = measure().await;
    for _ in 1..SEVERAL {
        let calls = measure().await;
        if total(&calls) < total(&least) {
            least = calls;
        }
    }
    least
}

async fn sweep(stack: &Stack) -> Calls {
    least_of_several(async || {
        let before = counted(stack, "function:reconciler");
        stack.sweep().await;
        since(&before, &counted(stack, "function:reconciler"), 1.0)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_called_is_what_the_page_of_costs_counts() {
    let mut options = Options::default()
        .with("SHANNON_RATE_LIMIT_PER_SECOND", "10")
        .with("SHANNON_RATE_LIMIT_BURST", "20")
        .with("SHANNON_MAX_OPEN_STREAMS", "10")
        .with("SHANNON_IDLE_SUSPEND_SECONDS", "10");
    options.arguments.push("--test-hooks".to_owned());
    let stack = Stack::start(&options);
    let client = stack.client();
    let mut found: BTreeMap<&str, Calls> = BTreeMap::new();
    found.insert("sweep", sweep(&stack).await);

    let work = "for n in $(seq 60); do echo line $n; sleep 0.5; done";
    let steps = [script::bash(work), script::text("done")];
    let mut session = Session::scripted(&client, &steps).await;
    let running = |session: &Session| !session.of_kind("tool_call").is_empty();
    session.until("a tool call", running).await;
    // The wait before gives its place back when it has answered: of several one met no other.
    let id = json!({"session_id": session.id});
    let least = least_of_several(async || {
        tokio::time::sleep(BUCKET_FILLS).await;
        let before = counted(&stack, "function:call");
        client.call("get_session", id.clone()).await;
        since(&before, &counted(&stack, "function:call"), 1.0)
    });
    found.insert("request", least.await);
    let (begun, before) = (Instant::now(), counted(&stack, &session.id));
    tokio::time::sleep(Duration::from_secs(15)).await;
    let factor = HOUR_SECONDS / begun.elapsed().as_secs_f64();
    let mut hour = since(&before, &counted(&stack, &session.id), 1.0);
    hour.values_mut()
        .for_each(|count| *count = (*count * factor).round());
    found.insert("running_hour", hour);

    session.until_turns_ended(1).await;
    let before = counted(&stack, &session.id);
    session
        .until("the suspension", |session| session.state == "suspended")
        .await;
    session
        .send(&script::prompt(&[script::text("again")]), "second")
        .await;
    session.until_turns_ended(2).await;
    found.insert(
        "suspend_and_wake",
        since(&before, &counted(&stack, &session.id), 1.0),
    );
    session.cancel().await;

    if std::env::var_os(RECORD).is_some() {
        let path = checkout::root().join(FILE);
        std::fs::write(path, record(&found)).expect("a file of the checkout");
        return;
    }
    let recorded = recorded();
    for exact in ["sweep", "request"] {
        assert_eq!(found[exact], recorded[exact], "{exact}: see {FILE}");
    }
    for about in ["running_hour", "suspend_and_wake"] {
        let (now, then) = (total(&found[about]), total(&recorded[about]));
        let near = now > then / 2.0 && now < then * 2.0;
        assert!(
            near,
            "{about}: {:?}, recorded {:?}",
            found[about], recorded[about]
        );
    }
}

fn record(found: &BTreeMap<&str, Calls>) -> String {
    let mut text = String::from(
        "# What activities call: counted by `emulator calls` in a running stack, for COST.md. Written by the\n\
         # test tests/stack/costs.rs with SHANNON_TEST_RECORD_COSTS=1; without, it compares.\n",
    );
    for (activity, calls) in found {
        text.push_str(&format!("\n[{activity}]\n"));
        for (name, count) in calls {
            text.push_str(&format!("\"{name}\" = {count}\n"));
        }
    }
    text
}
