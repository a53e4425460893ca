//! The MCP Inspector's command line in both eras; it checks answers against the specification.

use std::process::{Command, Output};

use e2e::mcp::TOOLS;
use e2e::{installed, stack};
use serde_json::Value;

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

fn lists_and_calls(era: &str) {
    let tools = result(era, &["--method", "tools/list", "--strict"]);
    assert_eq!(
        tools["tools"].as_array().expect("tools").len(),
        TOOLS.len(),
        "{tools}"
    );
    let listed = result(
        era,
        &["--method", "tools/call", "--tool-name", "list_sessions"],
    );
    assert!(
        listed["structuredContent"]["sessions"].is_array(),
        "{listed}"
    );
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
