//! Prompts that tell the offline model what to answer, so that everything but the model is real.

use serde_json::Value;

/// A step that calls one tool of the CLI.
pub fn tool(name: &str, input: &Value) -> String {
    format!("TOOL:{name}:{input}")
}

/// A step that runs a shell command in the session.
pub fn bash(command: &str) -> String {
    tool(
        "Bash",
        &serde_json::json!({"command": command, "timeout": 600_000}),
    )
}

/// Steps that run a shell command which no policy can look into: what it reaches, the isolation alone
/// lets it reach.
pub fn unseen(command: &str) -> [String; 2] {
    let file = "/workspace/unseen.sh";
    let write = serde_json::json!({"file_path": file, "content": command});
    [tool("Write", &write), bash(&format!("bash {file}"))]
}

/// A step in which the model asks the person for a color, Red or Blue.
pub fn question() -> String {
    let input = serde_json::json!({"questions": [{
        "question": "Which color?", "header": "Color", "multiSelect": false,
        "options": [{"label": "Red", "description": "warm"}, {"label": "Blue", "description": "cold"}],
    }]});
    tool("AskUserQuestion", &input)
}

/// A step that ends the turn with a text.
pub fn text(text: &str) -> String {
    format!("TEXT:{text}")
}

/// A step that streams that many words with a pause before each.
pub fn slow(words: u32, pause_milliseconds: u32) -> String {
    format!("SLOW:{words}:{pause_milliseconds}")
}

/// The prompt that carries the steps: step N answers the N-th request after it.
pub fn prompt<S: AsRef<str>>(steps: &[S]) -> String {
    let steps: Vec<&str> = steps.iter().map(AsRef::as_ref).collect();
    format!("follow the script @@{}", steps.join(";;"))
}
