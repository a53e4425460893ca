//! Changing a setting changes what the running stack does: settings reach the functions and the
//! runner by way of the emulator, the template and their environment.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use e2e::loopback::Server;
use e2e::mcp::Client;
use e2e::process;
use e2e::script;
use e2e::session::Session;
use e2e::stack::{self, Options, Stack};
use serde_json::{Value, json};

fn with(settings: &[(&str, &str)]) -> Stack {
    let mut options = Options::default();
    for (name, value) in settings {
        options = options.with(&format!("SHANNON_{name}"), value);
    }
    Stack::start(&options)
}

/// What the tool says when it refuses.
async fn refusal(client: &Client, tool: &str, arguments: Value) -> String {
    let answer = client.try_call(tool, arguments.clone()).await;
    assert!(answer.is_error, "{tool} {arguments}: {}", answer.text);
    answer.text
}

#[tokio::test]
async fn sizes_and_times_of_requests() {
    let small = with(&[
        ("MAX_REQUEST_BODY_BYTES", "65536"),
        ("MAX_UPLOAD_BYTES", "1048576"),
        ("UPLOAD_URL_SECONDS", "60"),
        ("CATALOG_TTL_SECONDS", "7"),
        ("ALLOWED_ORIGINS", "https://console.example"),
    ]);
    let (changed, usual) = (small.client(), stack::shared());
    let usual = usual.client();

    let large = json!({"name": "list_sessions", "arguments": {"tag": "x".repeat(70_000)}});
    assert_eq!(
        changed.request("tools/call", large.clone()).await.status,
        413
    );
    assert_ne!(usual.request("tools/call", large).await.status, 413);

    let two_mebibytes = json!({"bytes": 2_097_152});
    let said = refusal(&changed, "create_upload", two_mebibytes.clone()).await;
    assert!(said.contains("1048576"), "{said}");
    for (client, bytes, seconds) in [(&changed, 1000, 60), (&usual, 2_097_152, 900)] {
        let upload = client.call("create_upload", json!({"bytes": bytes})).await;
        let expires = upload["expires_at_unix_ms"].as_u64().expect("a time");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        let left = Duration::from_millis(expires).saturating_sub(now).as_secs();
        assert!((seconds - 20..=seconds).contains(&left), "{left} {upload}");
    }

    for (client, milliseconds) in [(&changed, 7_000), (&usual, 300_000)] {
        let list = client.request("tools/list", json!({})).await;
        assert_eq!(list.result()["ttlMs"], milliseconds, "{}", list.body);
    }

    for (client, status) in [(&changed, 200), (&usual, 403)] {
        let (mut headers, body) = client.prepare("tools/list", json!({}));
        headers.push(("origin".to_owned(), "https://console.example".to_owned()));
        let answer = client.post(headers, body.to_string()).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
}

#[tokio::test]
async fn waits_and_answers() {
    let stack = with(&[
        ("WAIT_DEFAULT_SECONDS", "2"),
        ("WAIT_MAX_SECONDS", "16"),
        ("KEEP_ALIVE_SECONDS", "5"),
        ("RESPONSE_BUDGET_CHARACTERS", "500"),
    ]);
    let client = stack.client();
    let steps = [script::bash("seq 1 400"), "SLEEP:60:TEXT:late".to_owned()];
    let mut session = Session::scripted(&client, &steps).await;
    session
        .until("a tool result", |session| {
            !session.of_kind("tool_result").is_empty()
        })
        .await;

    // What was read so far does not fit into one answer of 500 characters.
    let start = json!({"session_id": session.id});
    let answer = client.call("wait_session", start).await;
    assert_eq!(answer["more"], true, "{answer}");

    let mut rest = json!({"session_id": session.id, "response_budget_characters": 100_000});
    rest["cursor"] = json!(session.cursor);
    let began = Instant::now();
    client.call("wait_session", rest.clone()).await;
    let took = began.elapsed();
    assert!(
        (Duration::from_millis(1900)..Duration::from_secs(10)).contains(&took),
        "{took:?}"
    );

    rest["wait_seconds"] = json!(17);
    let said = refusal(&client, "wait_session", rest.clone()).await;
    assert!(said.contains("16"), "{said}");
    rest["wait_seconds"] = json!(16);
    let waited = client
        .request(
            "tools/call",
            json!({"name": "wait_session", "arguments": rest}),
        )
        .await;
    assert!(waited.is_stream(), "{:?}", waited.headers);
    assert!(
        waited.comments >= 1,
        "one after 5 s of silence: {}",
        waited.body
    );
    session.cancel().await;
}

#[tokio::test]
async fn sessions_and_what_they_may_do() {
    let stack = with(&[
        ("MAX_SESSIONS_PER_OWNER", "1"),
        ("MAX_QUEUED_MESSAGES", "2"),
        ("MAX_TURNS", "7"),
        ("MAX_BUDGET_USD", "0.25"),
        ("IDLE_SUSPEND_SECONDS", "10"),
        ("CLONE_TIMEOUT_SECONDS", "12"),
    ]);
    let client = stack.client();
    for (field, value, allowed) in [
        ("max_turns", json!(8), "7"),
        ("max_budget_usd", json!(0.26), "0.25"),
    ] {
        let arguments = json!({"prompt": "x", field: value});
        let said = refusal(&client, "create_session", arguments).await;
        assert!(said.contains(allowed), "{said}");
    }

    // While its clone hangs, the runner takes no message.
    let silence = Server::of_silence();
    let url = format!("{}/repository.git", silence.url());
    let arguments = json!({"prompt": "never read", "workspace": {"git_url": url}});
    let mut cloning = Session::create(&client, arguments).await;
    let said = refusal(&client, "create_session", json!({"prompt": "one too many"})).await;
    assert!(said.contains("you already run"), "{said}");
    cloning.send("the second", "second").await;
    let third = json!({"session_id": cloning.id, "message": "the third", "message_id": "third"});
    let said = refusal(&client, "send_message", third).await;
    assert!(said.contains('2'), "{said}");
    cloning.until_ended().await;
    let end = cloning.of_kind("session_ended")[0]["reason"].clone();
    assert!(end.as_str().expect("a reason").contains("12 s"), "{end}");

    let mut idle = Session::scripted(&client, &["TEXT:soon idle"]).await;
    idle.until_turns_ended(1).await;
    let began = Instant::now();
    // By then it has given its compute back, for good or until somebody wakes it.
    idle.until("the end of its idle time", |session| {
        ["completed", "suspended"].contains(&session.state.as_str())
    })
    .await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
}

#[tokio::test]
async fn the_whole_deployment_and_its_logs() {
    let stack = with(&[
        ("MAX_SESSIONS", "1"),
        ("SLOW_REQUEST_MILLISECONDS", "1"),
        ("LOG_FORMAT", "text"),
        ("LOG_LEVEL", "warn"),
    ]);
    let client = stack.client();
    let mut only = Session::scripted(&client, &["SLEEP:60:TEXT:late"]).await;
    let said = refusal(&client, "create_session", json!({"prompt": "one too many"})).await;
    assert!(said.contains("this deployment already runs"), "{said}");
    only.cancel().await;
    // Of what only informs there is what metrics are made of, and nothing else.
    logged(&stack, " WARN call: slow request", |line| {
        line.contains(" INFO call: ") && !line.contains(" shannon_")
    });

    let stack = with(&[("STAGE", "elsewhere")]);
    stack.client().call("list_sessions", json!({})).await;
    logged(&stack, "\"stage\":\"elsewhere\"", |line| {
        line.contains("\"stage\":\"local\"")
    });
    let usual = stack::shared();
    usual.client().call("list_sessions", json!({})).await;
    logged(&usual, "\"stage\":\"local\"", |line| {
        line.contains("\"level\":\"debug\"")
    });
}

#[tokio::test]
async fn requests_end_at_their_time() {
    const TOO_LONG: &str = "took longer than this deployment allows";
    let mut options = Options::default()
        .with("SHANNON_SHORT_REQUEST_TIMEOUT_SECONDS", "3")
        .with("SHANNON_REQUEST_TIMEOUT_SECONDS", "30");
    options.arguments.push("--test-hooks".to_owned());
    let stack = Stack::start(&options);
    let client = stack.client();
    // A session that says nothing for two minutes.
    let mut session = Session::scripted(&client, &["SLEEP:120:TEXT:late"]).await;
    session
        .until("a turn", |session| {
            !session.of_kind("turn_started").is_empty()
        })
        .await;
    let polling = stack.client().with_tasks();
    // Warm, so that the time of the start does not count.
    let task = json!({"taskId": format!("{}.m", session.id)});
    assert_eq!(
        polling.request("tasks/get", task.clone()).await.error().0,
        -32602
    );
    let hang = json!({"service": "dynamodb", "operation": "GetItem", "error": "Hang", "count": 1});
    // Somebody else of the stack may read at that moment, and hang in its place.
    let mut short = None;
    let mut took = Duration::ZERO;
    for _ in 0..5 {
        stack.plan_fault(hang.clone()).await;
        let began = Instant::now();
        let answer = polling.request("tasks/get", task.clone()).await;
        took = began.elapsed();
        if answer.error().1.contains(TOO_LONG) {
            short = Some(answer);
            break;
        }
    }
    assert!(short.is_some(), "no request ended at its time");
    // A second is left to say so before the function's own end.
    assert!(
        (Duration::from_millis(1500)..Duration::from_secs(4)).contains(&took),
        "{took:?}"
    );

    while session.wait(2).await["events"]
        .as_array()
        .is_some_and(|new| !new.is_empty())
    {}
    let wait = json!({"session_id": session.id, "cursor": session.cursor, "wait_seconds": 50});
    let began = Instant::now();
    let long = client
        .request(
            "tools/call",
            json!({"name": "wait_session", "arguments": wait}),
        )
        .await;
    let took = began.elapsed();
    assert!(long.error().1.contains(TOO_LONG), "{}", long.body);
    assert!(
        (Duration::from_secs(28)..Duration::from_secs(40)).contains(&took),
        "{took:?}"
    );
    session.cancel().await;
}

/// What the log of `call` has, a moment after an answer, and which lines it has not.
fn logged(stack: &Stack, wanted: &str, unwanted: impl Fn(&str) -> bool) {
    let path = stack.state.join("logs/call.log");
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    let seen = process::eventually(Duration::from_secs(30), || read().contains(wanted));
    assert!(seen && !read().lines().any(unwanted), "{}", read());
}
