//! The MCP Inspector's command line in both eras; it checks answers against the specification.

use std::process::{Command, Output};

use e2e::mcp::TOOLS;
use e2e::session::Session;
use e2e::{installed, script, stack};
use serde_json::{Value, json};

fn inspector(era: &str, arguments: &[&str]) -> Output {
    let stack = stack::shared();
    let home = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(installed::node());
    command
        .arg(installed::inspector())
        .args(["--cli", &stack.mcp_url(), "--transport", "http"])
        .args(["--protocol-era", era, "--format", "json"])
        .args([
            "--header",
            &format!("Authorization: Bearer {}", stack.token),
        ])
        .args(arguments)
        .env("HOME", home.path());
    command.output().expect("node starts")
}

/// The result of a run that must succeed.
fn result(era: &str, arguments: &[&str]) -> Value {
    let output = inspector(era, arguments);
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{era} {arguments:?}: {}\n{said}\n{complained}",
        output.status
    );
    let start = said
        .find('{')
        .unwrap_or_else(|| panic!("no JSON in {said}"));
    let answer: Value =
        serde_json::from_str(&said[start..]).unwrap_or_else(|error| panic!("{error} in {said}"));
    answer["result"].clone()
}

/// A call of a tool with its arguments as the command line takes them.
fn call(era: &str, tool: &str, arguments: &[String]) -> Value {
    let mut words = vec!["--method", "tools/call", "--tool-name", tool];
    for argument in arguments {
        words.extend(["--tool-arg", argument]);
    }
    result(era, &words)
}

/// The tools, checked against the specification; it knows --strict for them only.
fn lists_tools(era: &str) {
    let listed = result(era, &["--method", "tools/list", "--strict"]);
    let listed = listed["tools"].as_array().expect("tools");
    assert_eq!(listed.len(), TOOLS.len(), "{era}: {listed:?}");
}

#[test]
fn everything_is_listed() {
    for (method, field) in [
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
        ("prompts/list", "prompts"),
    ] {
        let listed = result("auto", &["--method", method]);
        let count = listed[field].as_array().map_or(0, Vec::len);
        assert!(count > 0, "{method}: {listed}");
    }
}

/// In the modern era it declares tasks and stays until the turn has ended.
fn starts_a_session(era: &str) {
    let tag = format!("inspected-{}", uuid::Uuid::new_v4().simple());
    let words = [
        "prompt=@@TEXT:inspected".to_owned(),
        format!(r#"tags=["{tag}"]"#),
    ];
    let started = call(era, "create_session", &words);
    assert_ne!(started["isError"], true, "{started}");
    let listed = call(era, "list_sessions", &[format!(r#"tags=["{tag}"]"#)]);
    let sessions = listed["structuredContent"]["sessions"].as_array();
    let sessions = sessions.unwrap_or_else(|| panic!("{listed}"));
    assert_eq!(sessions.len(), 1, "{listed}");
    let id = sessions[0]["session_id"].as_str().expect("an id");
    call(era, "cancel_session", &[format!("session_id={id}")]);
}

/// It cannot ask a person in the middle of a run, so the question is answered by the tool that is
/// named instead.
async fn answers_a_question(era: &'static str) {
    let stack = stack::shared();
    let client = stack.client();
    let steps = [script::question(), script::text("painted")];
    let mut session = Session::scripted(&client, &steps).await;
    session
        .until("a question", |session| {
            !session.of_kind("question_asked").is_empty()
        })
        .await;
    let id = format!("session_id={}", session.id);
    tokio::task::spawn_blocking(move || {
        let shown = call(era, "get_session", std::slice::from_ref(&id));
        let question = &shown["structuredContent"]["question"]["question_id"];
        let question = question.as_str().unwrap_or_else(|| panic!("{shown}"));
        let answer = [
            id.clone(),
            format!("question_id={question}"),
            r#"answers={"Which color?":"Blue"}"#.to_owned(),
        ];
        call(era, "answer_question", &answer);
        let waited = call(era, "wait_session", &[id, "wait_seconds=20".to_owned()]);
        assert!(waited.to_string().contains("painted"), "{waited}");
    })
    .await
    .expect("the Inspector did it");
    session.until_turns_ended(1).await;
    let answers = session.of_kind("question_answered");
    assert_eq!(answers[0]["answers"], json!({"Which color?": "Blue"}));
    session.cancel().await;
}

fn lists_and_calls(era: &str) {
    lists_tools(era);
    starts_a_session(era);
    let refused = inspector(
        era,
        &[
            "--method",
            "tools/call",
            "--tool-name",
            "get_session",
            "--tool-arg",
            "session_id=nonsense",
        ],
    );
    assert!(!refused.status.success(), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_in_the_modern_era() {
    answers_a_question("modern").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_in_the_legacy_era() {
    answers_a_question("legacy").await;
}

#[test]
fn the_modern_era() {
    lists_and_calls("modern");
}

#[test]
fn the_legacy_era() {
    lists_and_calls("legacy");
}

#[test]
fn the_era_it_finds() {
    lists_and_calls("auto");
}

#[test]
fn a_wrong_token_is_a_matter_of_authorization() {
    let stack = stack::shared();
    let home = tempfile::tempdir().expect("a directory");
    let output = Command::new(installed::node())
        .arg(installed::inspector())
        .args([
            "--cli",
            &stack.mcp_url(),
            "--transport",
            "http",
            "--protocol-era",
            "modern",
        ])
        .args([
            "--header",
            "Authorization: Bearer wrong",
            "--method",
            "tools/list",
            "--stored-auth-only",
        ])
        .env("HOME", home.path())
        .output()
        .expect("node starts");
    assert!(!output.status.success(), "{output:?}");
}
