//! The emulator's command line as a person meets it.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use e2e::script;
use e2e::stack::{self, Options, Stack};
use serde_json::Value;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_used_port_is_said() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener
        .local_addr()
        .expect("an address")
        .port()
        .to_string();
    let directory = tempfile::tempdir().expect("a directory");
    let functions = stack::binaries();
    let output = stack::run_emulator(
        &[
            "--port",
            &port,
            "--functions",
            functions.to_str().expect("UTF-8"),
            "--state",
            directory.path().join("state").to_str().expect("UTF-8"),
        ],
        &Options::default(),
    );
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(said.contains(&port), "{said}");
}

#[test]
fn two_emulators_do_not_share_a_state() {
    let stack = Stack::start(&Options::default());
    let second = Stack::try_start(&Options {
        state: Some(stack.state.clone()),
        ..Options::default()
    });
    // The description of the first is still there, so that the second must refuse by itself.
    let said = match second {
        Err(said) => said,
        Ok(second) => panic!("a second emulator started: {}", second.description),
    };
    assert!(said.contains("state"), "{said}");
}

#[test]
fn the_start_says_what_a_person_needs() {
    let stack = Stack::start(&Options::default());
    let (mcp, token) = (stack.mcp_url(), stack.token.clone());
    let (status, said) = stack.stop();
    assert!(status.success(), "{status} {said}");
    for expected in [
        mcp.as_str(),
        "claude mcp add --transport http",
        "Authorization: Bearer",
        token.as_str(),
        "mcp-remote",
        e2e::installed::CLAUDE_VERSION,
        "offline",
    ] {
        assert!(
            said.contains(expected),
            "the start message has no {expected}:\n{said}"
        );
    }
}

#[test]
fn bad_settings_are_refused_by_name() {
    for (name, value, expected) in [
        ("SHANNON_LEASE_SECONDS", "2", "3"),
        ("SHANNON_LEASE_SECONDS", "soon", "SHANNON_LEASE_SECONDS"),
        ("SHANNON_NO_SUCH_SETTING", "1", "SHANNON_NO_SUCH_SETTING"),
        ("SHANNON_DEV_TOKEN", "short", "SHANNON_DEV_TOKEN"),
    ] {
        let output =
            stack::run_emulator(&["config", "check"], &Options::default().with(name, value));
        assert!(!output.status.success(), "{name}={value}");
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(
            said.contains(name) && said.contains(expected),
            "{name}={value}: {said}"
        );
        assert!(
            name != "SHANNON_DEV_TOKEN" || !said.contains("short\""),
            "{said}"
        );
    }
    let output = stack::run_emulator(
        &["config", "check"],
        &Options::default().with("SHANNON_LEASE_SECONDS", "12"),
    );
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    let line = said
        .lines()
        .find(|line| line.contains("SHANNON_LEASE_SECONDS"))
        .unwrap_or_else(|| panic!("no line for the setting in {said}"));
    assert!(
        line.contains("12") && line.contains("environment"),
        "{line}"
    );
}

#[test]
fn a_session_can_be_tried_in_one_command() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = directory.path().join("state");
    let functions = stack::binaries();
    let write = script::tool(
        "Write",
        &serde_json::json!({"file_path": "/workspace/tried.txt", "content": "it works\n"}),
    );
    let prompt = script::prompt(&[write, script::text("tried and done")]);
    let arguments = |prompt: &str| {
        vec![
            "try".to_owned(),
            prompt.to_owned(),
            "--functions".to_owned(),
            functions.display().to_string(),
            "--state".to_owned(),
            state.display().to_string(),
            "--port".to_owned(),
            "0".to_owned(),
        ]
    };
    let run = |prompt: &str| {
        let arguments = arguments(prompt);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        stack::run_emulator(&arguments, &Options::default())
    };
    let output = run(&prompt);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    for expected in ["Write", "tried.txt", "tried and done", "+it works", "$"] {
        assert!(said.contains(expected), "no {expected} in:\n{said}");
    }
    let output = run("@@ERR:400");
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[test]
fn a_kept_session_is_played_again_at_its_pace_and_faster() {
    let stack = Stack::start(&Options::default());
    let state = stack.state.display().to_string();
    let run = |arguments: &[&str]| {
        let arguments = [&["try"], arguments, &["--json", "--state", &state]].concat();
        let begun = Instant::now();
        let output = stack::run_emulator(&arguments, &Options::default());
        let took = begun.elapsed();
        let said = text(&output.stdout);
        assert!(output.status.success(), "{said}{}", text(&output.stderr));
        let events = said
            .lines()
            .map(|line| serde_json::from_str(line).expect("an event"));
        (events.collect::<Vec<serde_json::Value>>(), took)
    };
    let prompt = script::prompt(&[script::slow(60, 100)]);
    let (events, _) = run(&[&prompt, "--keep"]);
    let session = only_session(&stack);
    let time = |event: &serde_json::Value| event["time_unix_ms"].as_u64().expect("a time");
    let span = time(&events[events.len() - 1]) - time(&events[0]);
    let span = Duration::from_millis(span);
    assert!(span >= Duration::from_secs(5), "{span:?}");

    let (played, took) = run(&["--replay", &session]);
    assert_eq!(played[..events.len()], events);
    assert!(took >= span, "{took:?} for {span:?}");
    let (played, took) = run(&["--replay", &session, "--speed", "max"]);
    assert_eq!(played[..events.len()], events);
    assert!(took < span, "{took:?} for {span:?}");
}

/// The id of the one session of a stack.
fn only_session(stack: &Stack) -> String {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let client = stack.client();
    let listed = runtime.block_on(client.call("list_sessions", serde_json::json!({})));
    let sessions = listed["sessions"].as_array().expect("sessions");
    assert_eq!(sessions.len(), 1, "{listed}");
    sessions[0]["session_id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

#[test]
fn the_policy_answers_on_the_command_line() {
    let stack = Stack::start(&Options::default());
    let check = |arguments: &[&str]| {
        let mut all = vec![
            "policy",
            "check",
            "--state",
            stack.state.to_str().expect("UTF-8"),
        ];
        all.extend(arguments);
        let output = stack::run_emulator(&all, &Options::default());
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, said, _) = check(&["ls -la"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.starts_with("allow: it runs (tier review, mode review)"),
        "{said}"
    );
    let (code, said, _) = check(&["touch a", "--tier", "strict"]);
    assert_eq!(code, Some(4), "{said}");
    let (code, said, _) = check(&[
        "--tool",
        "Read",
        "--input",
        "{\"file_path\": \"/etc/shadow\"}",
        "--json",
    ]);
    assert_eq!(code, Some(5), "{said}");
    let answer: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        answer["policies"][0]["policy_id"],
        "denials/credential-files"
    );
    let (code, said, problem) = check(&["--tool", "Read", "--input", "{"]);
    assert_eq!((code, said.as_str()), (Some(2), ""), "{problem}");
    assert!(problem.contains("--input is not JSON"), "{problem}");
}

#[tokio::test]
async fn many_callers_at_once_are_all_answered() {
    let stack = Stack::start(&Options::default());
    let state = stack.state.display().to_string();
    let arguments = ["load", "--json", "--callers", "20", "--seconds", "2"];
    let arguments = [
        &arguments[..],
        &[
            "--p95-milliseconds",
            "20000",
            "--no-limit",
            "--state",
            &state,
        ],
    ]
    .concat();
    let output = stack::run_emulator(&arguments, &Options::default());
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["good"], true, "{answer}");
    assert_eq!(
        answer["load"]["failures"],
        serde_json::json!({}),
        "{answer}"
    );
    assert!(answer["load"]["answered"].as_u64() > Some(20), "{answer}");
    assert!(answer["load"]["p95_ms"].as_f64() > Some(0.0), "{answer}");

    // Who may not call at all is told before any load.
    let url = stack.mcp_url();
    let wrong = Options::default().with(
        "SHANNON_ACCESS_TOKEN",
        "a-token-of-nobody-0123456789-0123456789",
    );
    let output = stack::run_emulator(&["load", "--url", &url, "--seconds", "1"], &wrong);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("HTTP 401"), "{said}");
}
