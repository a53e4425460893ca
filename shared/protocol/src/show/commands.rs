//! Commands of callers: that one began, how it ended and what it printed.

use domain::event::{EventBody, RunEnd, RunHow};
use serde_json::{Value, json};

use super::compact;

/// The body of an event about such a command; nothing of others.
pub(super) fn body(body: &EventBody) -> Value {
    match body {
        EventBody::CommandStarted {
            command,
            timeout_seconds,
        } => json!({"command": command, "timeout_seconds": timeout_seconds}),
        EventBody::CommandEnded {
            end,
            stdout,
            stderr,
            stdout_bytes,
            stderr_bytes,
        } => compact(json!({
            "how": end.how.as_str(),
            "exit_code": end.exit_code,
            "duration_ms": end.duration_milliseconds,
            "reason": end.reason,
            "stdout": stdout,
            "stderr": stderr,
            "stdout_bytes": stdout_bytes,
            "stderr_bytes": stderr_bytes,
        })),
        _ => json!({}),
    }
}

/// The same as text.
pub(super) fn text(body: &EventBody) -> String {
    match body {
        EventBody::CommandStarted { command, .. } => format!("caller's command: {command}"),
        EventBody::CommandEnded {
            end,
            stdout,
            stderr,
            ..
        } => ended(end, stdout, stderr),
        _ => String::new(),
    }
}

fn ended(end: &RunEnd, stdout: &str, stderr: &str) -> String {
    let mut text = match (end.how, end.exit_code) {
        (RunHow::Exited, Some(code)) => format!("caller's command: exit code {code}"),
        (how, _) => format!("caller's command: {}", how.as_str().replace('_', " ")),
    };
    for part in [end.reason.as_deref().unwrap_or_default(), stdout, stderr] {
        if !part.trim().is_empty() {
            text.push('\n');
            text.push_str(part.trim_end());
        }
    }
    text
}
