//! What makes each alarm fire, done to a running stack: its own log lines, through the filters of the
//! template, cross the threshold. (That lines of this form do is tested beside the template; what
//! Lambda and API Gateway measure themselves, memory and 5xx answers, only AWS writes.)

use std::collections::BTreeMap;
use std::path::Path;

use e2e::alarms::{fires, values};
use e2e::session::Session;
use e2e::stack::{self, Options, Stack};
use e2e::{process, script};
use serde_json::json;

fn looking() -> Options {
    let mut options = Options::default().with("SHANNON_CANARY_INTERVAL_SECONDS", "60");
    // Its sweeps come when they are asked for, too.
    options.arguments.push("--test-hooks".to_owned());
    options
}

/// All programs but one, which ends as soon as it is started.
fn functions_without(name: &str, place: &Path) {
    let entries = std::fs::read_dir(stack::binaries()).expect("our own programs");
    for entry in entries {
        let entry = entry.expect("an entry");
        if entry.path().is_file() && entry.file_name() != name {
            std::os::unix::fs::symlink(entry.path(), place.join(entry.file_name()))
                .expect("a link can be made");
        }
    }
    std::os::unix::fs::symlink("/bin/false", place.join(name)).expect("a link can be made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_does_not_answer_is_down() {
    let place = tempfile::tempdir().expect("a directory");
    functions_without("model-gateway", place.path());
    let mut options = looking();
    options.functions = Some(place.path().to_owned());
    let stack = Stack::start(&options);
    stack.sweep().await;
    fires(&stack, "ServiceDown", 0, &BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_and_with_all_sessions_in_use_three_alarms_fire() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let model = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let options = looking()
        .with("ANTHROPIC_API_KEY", &"k3y-0123456789".repeat(4))
        .with("ANTHROPIC_BASE_URL", &model)
        .with("SHANNON_MAX_SESSIONS", "1");
    let stack = Stack::start(&options);
    stack.sweep().await;
    let alone = values(&stack, "HighSessionCount");
    assert!(alone.iter().all(|count| *count == 0.0), "{alone:?}");
    let client = stack.client();
    let created = client.call("create_session", json!({"prompt": "x"})).await;
    let parameters = BTreeMap::from([("MaxSessions", 1.0)]);
    // The CLI asks again and again.
    fires(&stack, "BreakerOpen", 0, &parameters);
    let before = values(&stack, "HighSessionCount").len();
    stack.sweep().await;
    fires(&stack, "HighSessionCount", before, &parameters);
    fires(&stack, "NotReady", 0, &parameters);
    let id = json!({"session_id": created["session_id"]});
    client.call("cancel_session", id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_runner_a_slow_table_and_changes_in_no_checkpoint_are_counted() {
    let mut options = Options::default();
    options.arguments.push("--test-hooks".to_owned());
    let stack = Stack::start(&options);
    let client = stack.client();
    let none = BTreeMap::new();

    let hang = json!({"service": "dynamodb", "operation": "GetItem", "error": "Hang", "count": 1});
    let steps = [script::bash("echo changed > file"), script::text("done")];
    let mut session = Session::scripted(&client, &steps).await;
    session.until_turns_ended(1).await;
    let before = values(&stack, "VeryHighResponseTime").len();
    stack.plan_fault(hang).await;
    client
        .call("get_session", json!({"session_id": session.id}))
        .await;
    fires(&stack, "VeryHighResponseTime", before, &none);

    // More than the attempts of a call.
    let slow = json!({"service": "s3", "operation": "PutObject", "error": "SlowDown", "count": 12});
    stack.plan_fault(slow).await;
    let again = [script::bash("echo again > file"), script::text("done")];
    session.send(&script::prompt(&again), "again").await;
    // The alarm waits for 300 s of this; that it is said at once is what it waits for.
    let said = process::eventually(std::time::Duration::from_secs(120), || {
        !values(&stack, "CheckpointStale").is_empty()
    });
    assert!(said, "{}", stack.logs());
    session.cancel().await;

    let long = [script::bash("tail -f /dev/null"), script::text("never")];
    let mut session = Session::scripted(&client, &long).await;
    let working = |session: &Session| !session.of_kind("tool_call").is_empty();
    session.until("a tool call", working).await;
    assert_eq!(values(&stack, "SessionsLost"), [0.0; 0]);
    process::kill_hard(process::runner_of(&session.id).id);
    fires(&stack, "SessionsLost", 0, &none);
    session.cancel().await;
}
