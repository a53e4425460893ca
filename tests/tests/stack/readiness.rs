//! `/ready` is red while anything is stopped that sessions need, and says which.

use std::time::{Duration, Instant};

use e2e::loopback::Server;
use e2e::stack::{self, Options, Stack};
use serde_json::{Value, json};

/// Long enough for answers that hold for a second, and for a route that is throttled.
const WITHIN: Duration = Duration::from_secs(30);

/// The first answer that is as wanted, whatever held before.
async fn until(stack: &Stack, what: &str, wanted: impl Fn(u16, &Value) -> bool) -> (u16, Value) {
    let http = stack.client().http().clone();
    let begun = Instant::now();
    let mut seen = (0, Value::Null);
    while begun.elapsed() < WITHIN {
        let asked = http.get(format!("{}/ready", stack.url())).send().await;
        let answer = asked.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        for internal in [stack.token.as_str(), "shannon-", "127.0.0.1", "arn:"] {
            assert!(!text.contains(internal), "{text}");
        }
        seen = (status, serde_json::from_str(&text).expect("JSON"));
        if wanted(seen.0, &seen.1) {
            return seen;
        }
    }
    panic!("{what}: {seen:?}\n{}", stack.logs());
}

fn is_ready(status: u16, answer: &Value) -> bool {
    status == 200 && answer["status"] == "ready"
}

#[tokio::test]
async fn each_service_that_is_stopped_turns_it_red() {
    let mut options = Options::default().with("SHANNON_READY_DEADLINE_MILLISECONDS", "700");
    options.arguments.push("--test-hooks".to_owned());
    let stack = Stack::start(&options);
    let (_, answer) = until(&stack, "ready", is_ready).await;
    assert_eq!(answer["version"], env!("CARGO_PKG_VERSION"), "{answer}");
    assert_eq!(answer["warnings"], json!([]), "{answer}");
    let names = ["table", "bucket", "compute", "model", "notifications"];
    for name in names {
        let check = &answer["checks"][name];
        assert_eq!(check["status"], "ok", "{answer}");
        assert!(check["duration_ms"].is_u64(), "{answer}");
    }
    for (service, operation, name) in [
        ("dynamodb", "GetItem", "table"),
        ("s3", "HeadBucket", "bucket"),
        ("ecs", "DescribeClusters", "compute"),
        ("ecs", "DescribeTaskDefinition", "compute"),
        ("sns", "GetTopicAttributes", "notifications"),
    ] {
        let hang = json!({"service": service, "operation": operation, "error": "Hang", "count": 1});
        stack.plan_fault(hang).await;
        let red = |status, answer: &Value| status == 503 && answer["status"] == "not_ready";
        let (_, answer) = until(&stack, operation, red).await;
        for other in names {
            let expected = if other == name { "timed_out" } else { "ok" };
            assert_eq!(answer["checks"][other]["status"], expected, "{answer}");
        }
        until(&stack, "ready again", is_ready).await;
    }
}

#[tokio::test]
async fn a_model_that_is_not_there_and_sessions_at_their_limit_are_said() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let model = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let options = Options::default()
        .with("ANTHROPIC_API_KEY", &"k3y-0123456789".repeat(4))
        .with("ANTHROPIC_BASE_URL", &model)
        .with("SHANNON_MAX_SESSIONS", "1");
    let stack = Stack::start(&options);
    let red =
        |status, answer: &Value| status == 503 && answer["checks"]["model"]["status"] == "failed";
    let (_, answer) = until(&stack, "no model", red).await;
    for other in ["table", "bucket", "compute", "notifications"] {
        assert_eq!(answer["checks"][other]["status"], "ok", "{answer}");
    }
    let client = stack.client();
    let created = client.call("create_session", json!({"prompt": "x"})).await;
    let full = json!([{"limit": "sessions", "reached_percent": 90}]);
    until(&stack, "full", |_, answer| answer["warnings"] == full).await;
    let id = &created["session_id"];
    client
        .call("cancel_session", json!({"session_id": id}))
        .await;
    until(&stack, "free", |_, answer| answer["warnings"] == json!([])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_release_of_the_cli_is_said_and_operators_hear_of_it_once() {
    let registry = Server::of_registry("99.0.0");
    let mut options = Options::default()
        .with("SHANNON_CLAUDE_UPDATE_CHECK_SECONDS", "60")
        .with("SHANNON_NPM_REGISTRY_URL", &registry.url());
    options.arguments.push("--test-hooks".to_owned());
    let stack = Stack::start(&options);
    stack.sweep().await;
    let newer = |_, answer: &Value| answer["warnings"][0]["newest"] == "99.0.0";
    let (status, answer) = until(&stack, "a newer release", newer).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["warnings"][0]["update"], "claude_code", "{answer}");
    stack.sweep().await;
    let state = stack.state.display().to_string();
    let output = stack::run_emulator(
        &["messages", "--json", "--state", &state],
        &Options::default(),
    );
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let messages = said["messages"].as_array().expect("a list");
    let told: Vec<&Value> = messages
        .iter()
        .filter(|message| message.to_string().contains("99.0.0 is the newest release"))
        .collect();
    assert_eq!(told.len(), 1, "{said}");
}
