//! Local hosts over stdio: each starts `emulator stdio` itself and speaks with the running stack.

use std::process::{Command, Stdio};

use e2e::ssh::{HOST, SshServer};
use e2e::{checkout, installed, script, stack};
use emulator::offline_model::{OfflineModel, OfflineReason};
use serde_json::{Value, json};

/// The bridge to the shared stack, as a host would configure it.
fn bridge() -> Vec<String> {
    let stack = stack::shared();
    let program = stack::emulator();
    let path = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    vec![
        path(&program),
        "--state".to_owned(),
        path(&stack.state),
        "stdio".to_owned(),
    ]
}

fn python(mode: &str, version: &str) {
    python_with(&bridge(), &json!({}), mode, version);
}

fn python_with(command: &[String], environment: &Value, mode: &str, version: &str) {
    let command = serde_json::to_string(command).expect("JSON");
    let output = installed::run(
        Command::new(installed::python_clients().interpreter())
            .arg(checkout::root().join("tests/clients/python_stdio.py"))
            .env("SHANNON_BRIDGE", command)
            .env("SHANNON_BRIDGE_ENV", environment.to_string())
            .env("MODE", mode),
    );
    let seen: Value = serde_json::from_slice(&output.stdout).expect("the script prints JSON");
    assert_eq!(seen["protocol_version"], version, "{seen}");
    assert_eq!(seen["server"], "shannon", "{seen}");
    assert_eq!(seen["resource"], seen["session"], "{seen}");
    assert_eq!(seen["completed"], json!([seen["session"]]), "{seen}");
    assert!(seen["templates"].as_u64().expect("a number") >= 5, "{seen}");
    let prompt = seen["prompt"].as_str().expect("text");
    assert!(
        prompt.contains(seen["session"].as_str().expect("an id")),
        "{seen}"
    );
}

#[test]
fn python_in_the_modern_era() {
    python("auto", "2026-07-28");
}

#[test]
fn python_in_the_legacy_era() {
    python("legacy", "2025-11-25");
}

/// Through a real sshd, whose account greets: as `emulator connect` writes it for Claude Desktop, with the
/// bridge on both sides. What it writes for Claude Code is ssh alone, which hands on what the account prints;
/// the SDK passes over such a line.
#[test]
fn python_through_ssh() {
    let server = SshServer::start();
    let stack = stack::shared();
    let there = format!(
        "{} --state {}",
        stack::emulator().display(),
        stack.state.display()
    );
    let environment = json!({"PATH": server.search_path()});
    for client in ["desktop", "code"] {
        let file = stack.directory.join(format!("ssh-{client}.json"));
        let written = stack::run_emulator(
            &[
                "connect",
                client,
                "--ssh",
                HOST,
                "--remote-program",
                &there,
                "--write",
                "--file",
                file.to_str().expect("UTF-8"),
            ],
            &stack::Options::default(),
        );
        let said = String::from_utf8_lossy(&written.stderr);
        assert!(written.status.success(), "{said}");
        let file = std::fs::read(file).expect("it is written");
        let file: Value = serde_json::from_slice(&file).expect("JSON");
        let entry = &file["mcpServers"]["shannon"];
        let arguments = entry["args"].as_array().expect("arguments");
        let command: Vec<String> = [&entry["command"]]
            .into_iter()
            .chain(arguments)
            .map(|word| word.as_str().expect("text").to_owned())
            .collect();
        python_with(&command, &environment, "auto", "2026-07-28");
    }
    assert!(
        server.log().contains("Accepted publickey"),
        "{}",
        server.log()
    );
}

#[test]
fn the_inspector() {
    let home = tempfile::tempdir().expect("a directory");
    for era in ["modern", "legacy"] {
        for (method, field) in [
            ("tools/list", "tools"),
            ("resources/list", "resources"),
            ("resources/templates/list", "resourceTemplates"),
            ("prompts/list", "prompts"),
        ] {
            let output = installed::run(
                Command::new(installed::node())
                    .arg(installed::inspector())
                    .arg("--cli")
                    .args(bridge())
                    .args(["--transport", "stdio", "--protocol-era", era])
                    .args(["--format", "json", "--method", method])
                    .env("HOME", home.path()),
            );
            let said = String::from_utf8_lossy(&output.stdout);
            let start = said
                .find('{')
                .unwrap_or_else(|| panic!("no JSON in {said}"));
            let answer: Value = serde_json::from_str(&said[start..])
                .unwrap_or_else(|error| panic!("{error} in {said}"));
            let items = answer["result"][field].as_array();
            assert!(
                items.is_some_and(|items| !items.is_empty()),
                "{era} {method}: {said}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_code() {
    let model = OfflineModel::start(OfflineReason::Asked)
        .await
        .expect("a free port");
    let home = tempfile::tempdir().expect("a directory");
    let bridge = bridge();
    let servers = json!({"mcpServers": {"shannon": {
        "type": "stdio", "command": bridge[0], "args": bridge[1..],
    }}});
    let list = script::tool("mcp__shannon__list_sessions", &json!({"limit": 1}));
    let prompt = script::prompt(&[list, script::text("listed")]);
    let mut command = Command::new(installed::claude());
    command
        .args(["-p", &prompt, "--output-format", "stream-json", "--verbose"])
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
        .env("ENABLE_TOOL_SEARCH", "false")
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("the task ends")
        .expect("the CLI starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect();
    let init = lines.iter().find(|line| line["subtype"] == "init");
    let init = init.unwrap_or_else(|| panic!("no init line in {said}"));
    assert_eq!(init["mcp_servers"][0]["status"], "connected", "{init}");
    let tools = init["tools"].as_array().expect("tools");
    assert!(
        tools.contains(&json!("mcp__shannon__create_session")),
        "{init}"
    );
    let result = lines.last().expect("a result line");
    assert_eq!(result["result"], "listed", "{said}");
    let answered = lines
        .iter()
        .any(|line| line["type"] == "user" && line["message"].to_string().contains("sessions"));
    assert!(answered, "{said}");
}

#[test]
fn without_a_stack_it_says_so_and_starts_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = directory.path().join("state");
    let output = stack::run_emulator(
        &["--state", state.to_str().expect("UTF-8"), "stdio"],
        &stack::Options::default(),
    );
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no stack runs here"), "{said}");
    assert!(!state.exists(), "nothing was made");
}
