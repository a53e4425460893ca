//! What makes each alarm fire, done to a running stack: its own log lines, through the filters of the
//! template, cross the threshold. (That lines of this form do is tested beside the template. What AWS
//! measures itself only AWS writes: 5xx answers are counted here by who gets them, and memory and
//! throttles not at all. Load of a runner is tested beside it, where a disk can be small.)

use std::collections::BTreeMap;
use std::path::Path;

use e2e::alarms::{fires, values};
use e2e::metric_filters::breaches;
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
    // What API Gateway counts as 5XXError.
    let client = stack.client();
    let mut failed = 0.0;
    for _ in 0..7 {
        let asked = client.http().get(format!("{}/ready", stack.url()));
        let answer = asked.send().await.expect("an answer");
        failed += f64::from(u8::from(answer.status().is_server_error()));
    }
    for alarm in ["HighErrorRate", "HighErrorRateSustained"] {
        assert!(breaches(alarm, &[failed]), "{alarm}: {failed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_machine_messages_wait_and_without_a_backup_somebody_hears_of_it() {
    let options = looking()
        .with("SHANNON_MAX_SESSIONS", "1")
        .with("SHANNON_MAX_QUEUED_MESSAGES", "200");
    let stack = Stack::start(&options);
    let client = stack.client();
    let none = BTreeMap::new();
    let refused = json!({
        "service": "dynamodb", "operation": "DescribeContinuousBackups",
        "error": "AccessDeniedException", "count": 1
    });
    stack.plan_fault(refused).await;
    stack.sweep().await;
    let ages = values(&stack, "BackupStale");
    // The schedule may have looked, too.
    assert!(ages.len() < 2 && breaches("BackupStale", &[]), "{ages:?}");

    let mut session = Session::scripted(&client, &[script::text("done")]).await;
    session.until_turns_ended(1).await;
    let id = json!({"session_id": session.id});
    client.call("suspend_session", id).await;
    let suspended = |session: &Session| session.state == "suspended";
    session.until("the suspension", suspended).await;
    let long = [script::bash("tail -f /dev/null"), script::text("never")];
    let mut other = Session::scripted(&client, &long).await;
    for number in 0..101 {
        session.send("go on", &format!("message-{number}")).await;
    }
    stack.sweep().await;
    fires(&stack, "QueueBacklog", 0, &none);
    let ages = values(&stack, "BackupStale");
    assert!(
        !ages.is_empty() && !breaches("BackupStale", &ages),
        "{ages:?}"
    );
    other.cancel().await;
    session.cancel().await;
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
async fn what_goes_wrong_is_counted_at_every_log_level() {
    // Whoever wants few lines hears of alarms all the same.
    let mut options = Options::default().with("SHANNON_LOG_LEVEL", "error");
    options.arguments.push("--test-hooks".to_owned());
    let stack = Stack::start(&options);
    let client = stack.client();
    let none = BTreeMap::new();

    let hang = json!({"service": "dynamodb", "operation": "GetItem", "error": "Hang", "count": 1});
    let large = "head -c 30000 /dev/zero | tr '\\0' x > file";
    let steps = [script::bash(large), script::text("done")];
    let mut session = Session::scripted(&client, &steps).await;
    session.until_turns_ended(1).await;
    let before = values(&stack, "VeryHighResponseTime").len();
    stack.plan_fault(hang).await;
    client
        .call("get_session", json!({"session_id": session.id}))
        .await;
    fires(&stack, "VeryHighResponseTime", before, &none);

    let before = values(&stack, "HighTokenUsage").len();
    let file = json!({"session_id": session.id, "path": "file"});
    client.call("read_file", file).await;
    fires(&stack, "HighTokenUsage", before, &none);

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
    let told = process::eventually(std::time::Duration::from_secs(120), || {
        !values(&stack, "SlowRecovery").is_empty()
    });
    let took = values(&stack, "SlowRecovery");
    // It takes seconds; the alarm waits for 60 of them.
    assert!(
        told && took.iter().all(|took| *took > 0.0),
        "{took:?}\n{}",
        stack.logs()
    );
    session.cancel().await;

    // An append gets no answer and is made again, while its events are waited for. (The first of the two
    // that get none is of the gateway, which notes what was used.)
    let slow = [script::slow(40, 100)];
    let mut session = Session::scripted(&client, &slow).await;
    let writing = |session: &Session| !session.of_kind("turn_started").is_empty();
    session.until("the turn", writing).await;
    let hang = json!({"service": "dynamodb", "operation": "TransactWriteItems", "error": "Hang", "count": 2});
    let before = values(&stack, "SlowEventDelivery").len();
    stack.plan_fault(hang).await;
    session.until_turns_ended(1).await;
    fires(&stack, "SlowEventDelivery", before, &none);
    session.cancel().await;
}
