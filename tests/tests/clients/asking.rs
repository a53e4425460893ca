//! A session that asks a person in the middle of its turn, with the official SDKs of both eras: the
//! client's own way to ask answers, and the turn goes on.

use std::process::Command;

use e2e::{checkout, installed, script, stack};
use serde_json::{Value, json};

/// What the session's model says: it asks, and goes on with whatever it was told.
fn prompt() -> String {
    script::prompt(&[script::question(), script::text("painted")])
}

/// Runs a client's script to its end.
fn run(mut command: Command, url: &str, version: &str) {
    let stack = stack::shared();
    command
        .env("SHANNON_URL", url)
        .env("SHANNON_TOKEN", &stack.token)
        .env("PROMPT", prompt());
    let output = installed::run(&mut command);
    let seen: Value = serde_json::from_slice(&output.stdout).expect("the script prints JSON");
    assert_eq!(seen["protocol_version"], version, "{seen}");
    let asked = seen["asked"].as_array().expect("questions");
    assert_eq!(asked.len(), 1, "asked once: {seen}");
    assert!(
        asked[0].as_str().expect("text").contains("Which color?"),
        "{seen}"
    );
    let events = seen["events"].as_array().expect("events");
    let of_kind = |kind: &str| events.iter().filter(|event| event["kind"] == kind).count();
    assert_eq!(of_kind("question_asked"), 1, "{seen}");
    assert_eq!(of_kind("question_answered"), 1, "{seen}");
    let answer = events
        .iter()
        .find(|event| event["kind"] == "question_answered");
    let answers = &answer.expect("it was counted")["body"]["answers"];
    assert_eq!(answers, &json!({"Which color?": "Blue"}), "{seen}");
    let end = events.iter().find(|event| event["kind"] == "turn_ended");
    assert_eq!(end.expect("the end")["body"]["text"], "painted", "{seen}");
}

fn script_file(name: &str) -> std::path::PathBuf {
    checkout::root().join("tests/clients").join(name)
}

fn python_2(mode: &str, version: &str) {
    let mut command = Command::new(installed::python_clients().interpreter());
    command.arg(script_file("python_asks.py")).env("MODE", mode);
    run(command, &stack::shared().mcp_url(), version);
}

fn python_1(transport: &str, url: &str, version: &str) {
    let mut command = Command::new(installed::python_clients_1().interpreter());
    command
        .arg(script_file("python_1_asks.py"))
        .env("TRANSPORT", transport);
    run(command, url, version);
}

fn typescript(sdk: &str, modules: &std::path::Path, mode: &str, version: &str) {
    let mut command = Command::new(installed::node());
    command
        .arg(script_file("typescript_asks.mjs"))
        .env("SDK", sdk)
        .env("MODULES", modules)
        .env("MODE", mode);
    run(command, &stack::shared().mcp_url(), version);
}

#[test]
fn python_2_in_the_modern_era() {
    python_2("auto", "2026-07-28");
}

#[test]
fn python_2_in_the_legacy_era() {
    python_2("legacy", "2025-11-25");
}

#[test]
fn python_1_over_http() {
    python_1("http", &stack::shared().mcp_url(), "2025-11-25");
}

/// The pair of 2024-11-05 as a transport; the version is the one that both know.
#[test]
fn python_1_over_sse() {
    python_1("sse", &stack::shared().sse_url(), "2025-11-25");
}

#[test]
fn typescript_2_in_the_modern_era() {
    typescript("2", &installed::typescript_client(), "auto", "2026-07-28");
}

#[test]
fn typescript_2_in_the_legacy_era() {
    typescript("2", &installed::typescript_client(), "legacy", "2025-11-25");
}

#[test]
fn typescript_1() {
    typescript("1", &installed::typescript_sdk_1(), "", "2025-11-25");
}
