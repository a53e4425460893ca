//! What is said in the long session, and what its transcript holds of it at the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::script;

fn question() -> Value {
    json!({"questions": [{"question": "Which colour?", "header": "Colour", "multiSelect": false,
        "options": [{"label": "Red", "description": "warm"}, {"label": "Blue", "description": "cold"}]}]})
}

/// The prompt of each turn of the long session.
pub(crate) fn turn(number: usize) -> String {
    let note = json!({"tool": "Bash", "input": {"command": format!("echo {number} >> log"), "description": "d"}});
    let write = json!({"tool": "Write", "input": {"file_path": format!("/workspace/file-{number}"), "content": format!("{number}\n")}});
    let inner = json!([
        {"tool": "Bash", "input": {"command": format!("echo agent {number} >> agents"), "description": "d"}},
        {"tool": "Write", "input": {"file_path": format!("/workspace/agent-{number}"), "content": "x"}},
        {"text": "the agent is done"},
    ]);
    let agent = json!({"tool": "Agent", "input": {"description": "sub", "prompt": format!("sub @@{inner}"),
        "subagent_type": "general-purpose", "run_in_background": false}});
    let asks = json!({"tool": "AskUserQuestion", "input": question()});
    let end = json!({"text": format!("turn {number} is done")});
    let steps = match number % 5 {
        1 => json!([note, write, end]),
        2 => json!([note, agent, write, end]),
        3 => json!([note, asks, write, end]),
        4 => json!([note, write, note, end]),
        _ => json!([note, end]),
    };
    script(steps)
}

/// The conversation that a transcript holds, and those of its subagents, sorted: their files have
/// names of chance.
pub(crate) fn conversations(directory: &Path) -> (Vec<String>, Vec<Vec<String>>) {
    let project = std::fs::read_dir(directory)
        .expect("a project")
        .next()
        .expect("one")
        .expect("an entry")
        .path();
    let (mut main, mut agents) = (None, Vec::new());
    for path in below(&project) {
        if path.extension().is_none_or(|kind| kind != "jsonl") {
            continue;
        }
        let is_main = path.parent() == Some(&project);
        let of = said(&path);
        if is_main {
            assert_eq!(main.replace(of), None, "one conversation");
        } else {
            agents.push(of);
        }
    }
    agents.sort();
    (main.expect("a conversation"), agents)
}

fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("files").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// What a file of a transcript says: from its last entry back along the parents, without what the CLI
/// says about a resume.
fn said(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).expect("a text");
    let lines: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let by_id: BTreeMap<&str, &Value> = lines
        .iter()
        .filter_map(|line| Some((line["uuid"].as_str()?, line)))
        .collect();
    let spoken = |line: &Value| line["type"] == "user" || line["type"] == "assistant";
    let mut at = lines.iter().rev().find(|line| spoken(line));
    let mut said = Vec::new();
    while let Some(line) = at {
        if spoken(line) && line["isMeta"] != true {
            said.push(said_by(line));
        }
        let parent = line["parentUuid"].as_str();
        at = parent.and_then(|parent| by_id.get(parent).copied());
    }
    said.reverse();
    said
}

fn said_by(line: &Value) -> String {
    let content = &line["message"]["content"];
    let Some(blocks) = content.as_array() else {
        return content.to_string();
    };
    let shown = blocks.iter().map(|block| match block["type"].as_str() {
        Some("text") => block["text"].to_string(),
        Some("tool_use") => format!("{} {}", block["name"], block["input"]),
        // An agent's report names the agent's id.
        Some("tool_result") if block["content"].is_array() => "a report".to_owned(),
        Some("tool_result") => block["content"].to_string(),
        other => format!("{other:?}"),
    });
    shown.collect::<Vec<_>>().join("; ")
}
