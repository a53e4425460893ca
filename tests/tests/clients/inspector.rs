//! The MCP Inspector's command line in both eras; it checks answers against the specification.

use std::process::{Command, Output};

use e2e::mcp::TOOLS;
use e2e::{installed, script, stack};
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

/// A call of a tool with its arguments as the command line takes them.
fn call(era: &str, tool: &str, arguments: &[String]) -> Value {
    let mut words = vec!["--method", "tools/call", "--tool-name", tool];
    for argument in arguments {
        words.extend(["--tool-arg", argument]);
    }
    result(era, &words)
}

fn lists(era: &str) {
    for (method, field) in [
        ("tools/list", "tools"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
        ("prompts/list", "prompts"),
    ] {
        // It knows --strict for the tools only.
        let strict: &[&str] = if field == "tools" { &["--strict"] } else { &[] };
        let listed = result(era, &[&["--method", method], strict].concat());
        let listed = listed[field]
            .as_array()
            .unwrap_or_else(|| panic!("{listed}"));
        assert!(!listed.is_empty(), "{era} {method}");
        if field == "tools" {
            assert_eq!(listed.len(), TOOLS.len(), "{listed:?}");
        }
    }
}

/// It has no way to ask a person, so the question is answered by the tool that is named instead.
fn drives_a_session(era: &str) {
    let prompt = script::prompt(&[script::question(), script::text("inspected")]);
    let created = call(era, "create_session", &[format!("prompt={prompt}")]);
    let id = created["structuredContent"]["session_id"].as_str();
    let session = format!("session_id={}", id.unwrap_or_else(|| panic!("{created}")));
    let mut seen = String::new();
    for _ in 0..30 {
        let waited = call(
            era,
            "wait_session",
            &[session.clone(), "wait_seconds=5".to_owned()],
        );
        seen = waited["structuredContent"].to_string();
        if seen.contains("turn_ended") {
            break;
        }
        let question = waited["structuredContent"]["question"]["question_id"].as_str();
        if let Some(question) = question {
            call(
                era,
                "answer_question",
                &[
                    session.clone(),
                    format!("question_id={question}"),
                    r#"answers={"Which color?":"Blue"}"#.to_owned(),
                ],
            );
        }
    }
    assert!(seen.contains("inspected"), "{seen}");
    assert!(seen.contains("Blue"), "{seen}");
    call(era, "cancel_session", &[session]);
}

fn lists_and_calls(era: &str) {
    lists(era);
    drives_a_session(era);
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
