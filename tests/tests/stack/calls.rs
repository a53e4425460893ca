//! `emulator calls`: which AWS calls one session made, and through whom.

use std::collections::BTreeSet;

use e2e::script;
use e2e::session::Session;
use e2e::stack::{self, Options, Stack};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_for_each_session() {
    let started = Stack::start(&Options::default());
    let client = started.client();
    let mut session = Session::scripted(&client, &[script::text("counted")]).await;
    let mut other = Session::scripted(&client, &[script::text("counted as well")]).await;
    session.until_turns_ended(1).await;
    other.until_turns_ended(1).await;
    session.cancel().await;
    other.cancel().await;

    let state = started.state.display().to_string();
    let output = stack::run_emulator(&["calls", "--json", "--state", &state], &Options::default());
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let calls = answer["calls"].as_array().expect("a list");
    let text = |call: &Value, field: &str| call[field].as_str().unwrap_or_default().to_owned();
    let mut tasks = BTreeSet::new();
    for id in [&session.id, &other.id] {
        let of_session = |principal: &str, operation: &str| {
            let mut found = calls.iter().filter(|call| {
                text(call, "session") == *id
                    && text(call, "principal").starts_with(principal)
                    && text(call, "operation") == operation
                    && call["count"].as_u64().is_some_and(|count| count > 0)
            });
            let found = found
                .next()
                .unwrap_or_else(|| panic!("no {operation} of {principal} for {id} in {answer:#}"));
            text(found, "principal")
        };
        // The function that created it, before there was a task; then the task, with the session's own
        // credentials.
        of_session("function:call", "TransactWriteItems");
        of_session("function:call", "RunTask");
        tasks.insert(of_session("session:", "TransactWriteItems"));
    }
    assert_eq!(
        tasks.len(),
        2,
        "each session has credentials of its own: {tasks:?}"
    );

    let output = stack::run_emulator(&["calls", "--state", &state], &Options::default());
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    for id in [&session.id, &other.id] {
        assert!(table.contains(&format!("session {id}: ")), "{table}");
    }
}
