//! The real Claude Code as the client: its model (offline, scripted) calls our tools.

use std::process::{Command, Stdio};

use e2e::session::Session;
use e2e::{installed, script, stack};
use emulator::offline_model::{OfflineModel, OfflineReason};
use serde_json::{Value, json};

/// Settings of a person whose hook answers what servers ask, as nobody sits before `-p`.
const ANSWERS: &str = r#"{"hooks": {"Elicitation": [{"hooks": [{"type": "command",
    "command": "cat >> elicited; echo '{\"hookSpecificOutput\": {\"hookEventName\": \"Elicitation\", \"action\": \"accept\", \"content\": {\"Which color?\": \"Blue\"}}}'"}]}]}}"#;

/// Runs Claude Code with our server and a prompt; returns the lines it printed.
async fn ask(prompt: &str, era: &str) -> Vec<Value> {
    let stack = stack::shared();
    let model = OfflineModel::start(OfflineReason::Asked)
        .await
        .expect("a free port");
    let home = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(home.path().join(".claude")).expect("our own directory");
    std::fs::write(home.path().join(".claude/settings.json"), ANSWERS).expect("our own directory");
    let servers = json!({"mcpServers": {"shannon": {
        "type": "http",
        "url": stack.mcp_url(),
        "headers": {"Authorization": format!("Bearer {}", stack.token)},
    }}});
    let mut command = Command::new(installed::claude());
    command
        .args(["-p", prompt, "--output-format", "stream-json", "--verbose"])
        .args(["--strict-mcp-config", "--mcp-config", &servers.to_string()])
        .args([
            "--setting-sources",
            "user",
            "--allowedTools",
            "mcp__shannon",
        ])
        .current_dir(home.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("ANTHROPIC_BASE_URL", model.url())
        .env("ANTHROPIC_API_KEY", model.key())
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("MCP_PROTOCOL_NEGOTIATION", era)
        // Our tools are called by name, without being looked up first.
        .env("ENABLE_TOOL_SEARCH", "false")
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("the task ends")
        .expect("the CLI starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    said.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect()
}

async fn calls_our_tools(era: &str) {
    let tag = format!("from-claude-{}", uuid::Uuid::new_v4().simple());
    let create = script::tool(
        "mcp__shannon__create_session",
        &json!({"prompt": "started by another session", "tags": [tag]}),
    );
    let list = script::tool("mcp__shannon__list_sessions", &json!({"tags": [tag]}));
    let lines = ask(
        &script::prompt(&[create, list, script::text("both called")]),
        era,
    )
    .await;
    let init = lines
        .iter()
        .find(|line| line["subtype"] == "init")
        .unwrap_or_else(|| panic!("no init line in {lines:?}"));
    assert_eq!(init["mcp_servers"][0]["status"], "connected", "{init}");
    let result = lines.last().expect("a result line");
    assert_eq!(result["result"], "both called", "{lines:#?}");

    let stack = stack::shared();
    let client = stack.client();
    let listed = client.call("list_sessions", json!({"tags": [tag]})).await;
    let sessions = listed["sessions"].as_array().expect("sessions");
    assert_eq!(sessions.len(), 1, "{listed} {lines:#?}");
    let id = sessions[0]["session_id"].as_str().expect("an id");
    let answers: Vec<String> = lines
        .iter()
        .filter(|line| line["type"] == "user")
        .map(|line| line["message"]["content"].to_string())
        .collect();
    assert_eq!(
        answers.iter().filter(|answer| answer.contains(id)).count(),
        2,
        "both answers name the session: {answers:?}"
    );
    client
        .call("cancel_session", json!({"session_id": id}))
        .await;
}

/// A session asks while Claude Code waits for it: Claude Code asks its person, and the session goes
/// on with the answer.
async fn asks_its_person(era: &str) {
    let stack = stack::shared();
    let client = stack.client();
    let steps = [script::question(), script::text("painted")];
    let mut session = Session::scripted(&client, &steps).await;
    let wait = script::tool(
        "mcp__shannon__wait_session",
        &json!({"session_id": session.id, "wait_seconds": 20}),
    );
    let lines = ask(&script::prompt(&[wait, script::text("waited")]), era).await;
    let result = lines.last().expect("a result line");
    assert_eq!(result["result"], "waited", "{lines:#?}");
    // Whether the answer arrived while it waited or just after: the turn ends with it.
    session.until_turns_ended(1).await;
    let answers = session.of_kind("question_answered");
    assert_eq!(answers.len(), 1, "{} {lines:#?}", session.story());
    assert_eq!(answers[0]["answers"], json!({"Which color?": "Blue"}));
    assert!(session.said().contains("painted"), "{}", session.story());
    session.cancel().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_in_the_modern_era() {
    asks_its_person("auto").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_in_the_legacy_era() {
    asks_its_person("legacy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_modern_era() {
    calls_our_tools("auto").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legacy_era() {
    calls_our_tools("legacy").await;
}
