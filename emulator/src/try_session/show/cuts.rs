//! What happens to a session between its turns: checkpoints, runners that come and go, questions to a
//! person, commands of callers, and its being set back.

use serde_json::Value;

use super::{Colour, clean, text_of};

/// The line for an event of these kinds; `None` for all others.
pub(super) fn in_words(kind: &str, body: &Value) -> Option<(Colour, String)> {
    let text = |name: &str| clean(text_of(body, name));
    let number = |name: &str| body[name].as_u64().unwrap_or_default();
    Some(match kind {
        "checkpoint_created" => {
            let message = match text_of(body, "message") {
                "" => String::new(),
                message => format!(": {}", clean(message)),
            };
            let line = format!(
                "checkpoint {} ({}): {} files, {} new{message}",
                text("checkpoint_id"),
                text("trigger"),
                number("files"),
                bytes(number("new_bytes")),
            );
            (Colour::Dim, line)
        }
        // Where a person decides is said with the answer that has the address.
        "approval_requested" => (
            Colour::Yellow,
            format!("  needs approval: {}", text("reason")),
        ),
        "approval_decided" => (
            Colour::Dim,
            format!(
                "  decided ({}): {}",
                text("way"),
                text("decision").replace('_', " ")
            ),
        ),
        "command_started" => (
            Colour::Bold,
            format!(
                "$ {}",
                super::shortened(&text("command").replace('\n', " "), 1, 300)
            ),
        ),
        "command_ended" => command_ended(body),
        "runner_lost" => (
            Colour::Yellow,
            format!(
                "the runner is gone ({}); another one takes over",
                text("reason")
            ),
        ),
        "session_resumed" => {
            let from = match text_of(body, "checkpoint_id") {
                "" => "from the beginning".to_owned(),
                checkpoint => format!("from checkpoint {}", clean(checkpoint)),
            };
            (
                Colour::Yellow,
                format!(
                    "resumed {from}{}",
                    left_behind(body, "redone", "done again")
                ),
            )
        }
        "rewound" => (
            Colour::Yellow,
            format!(
                "set back to checkpoint {}{}",
                text("checkpoint_id"),
                left_behind(body, "not_done", "not done")
            ),
        ),
        "session_forked" => (
            Colour::Dim,
            format!(
                "forked from {} at {}",
                text("parent_session_id"),
                text("checkpoint_id")
            ),
        ),
        "question_asked" => (Colour::Cyan, question(body)),
        "question_answered" => (
            Colour::Dim,
            format!("answered: {}", super::shortened(&answer(body), 1, 200)),
        ),
        _ => return None,
    })
}

/// How a command of a caller ended, and what it printed.
fn command_ended(body: &Value) -> (Colour, String) {
    let code = body["exit_code"].as_i64();
    let mut lines = Vec::new();
    for name in ["stdout", "stderr"] {
        let printed = super::shortened(
            &clean(text_of(body, name)),
            super::RESULT_LINES,
            super::RESULT_CHARACTERS,
        );
        if !printed.is_empty() {
            lines.push(super::indented(&printed, "  "));
        }
    }
    match (text_of(body, "how"), code) {
        ("exited", Some(0)) => {}
        ("exited", Some(code)) => lines.push(format!("  exit code {code}")),
        (how, _) => lines.push(format!(
            "  {}: {}",
            clean(how).replace('_', " "),
            clean(text_of(body, "reason"))
        )),
    }
    let colour = if code == Some(0) {
        Colour::Dim
    } else {
        Colour::Red
    };
    (colour, lines.join("\n"))
}

/// What does not count any more, and the messages that it concerns.
fn left_behind(body: &Value, messages: &str, what: &str) -> String {
    let mut text = String::new();
    let range = (
        body["abandoned_from"].as_u64(),
        body["abandoned_to"].as_u64(),
    );
    if let (Some(from), Some(to)) = range {
        text.push_str(&format!("; events {from} to {to} are abandoned"));
    }
    let count = body[messages].as_array().map_or(0, Vec::len);
    if count > 0 {
        text.push_str(&format!("; {count} messages are {what}"));
    }
    text
}

/// The questions with what can be chosen, one below the other.
fn question(body: &Value) -> String {
    let parsed = match &body["input"] {
        Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        other => other.clone(),
    };
    let mut lines = vec![format!(
        "the session asks (answer_question, question_id {}):",
        clean(text_of(body, "question_id"))
    )];
    for question in parsed["questions"].as_array().into_iter().flatten() {
        lines.push(format!("  {}", clean(text_of(question, "question"))));
        for option in question["options"].as_array().into_iter().flatten() {
            let label = option.as_str().unwrap_or(text_of(option, "label"));
            let about = match text_of(option, "description") {
                "" => String::new(),
                about => format!(": {}", clean(about)),
            };
            lines.push(format!("    - {}{about}", clean(label)));
        }
    }
    if lines.len() == 1 {
        lines.push(format!(
            "  {}",
            super::shortened(&clean(&parsed.to_string()), 1, 300)
        ));
    }
    lines.join("\n")
}

fn answer(body: &Value) -> String {
    match &body["answers"] {
        Value::String(text) => clean(text),
        other => clean(&other.to_string()),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / (1024 * 1024)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(kind: &str, body: &Value) -> String {
        in_words(kind, body).map(|(_, line)| line).expect("a line")
    }

    #[test]
    fn each_says_what_it_means_for_the_session() {
        let input = json!({"questions": [{"question": "Which?", "options": [
            {"label": "a", "description": "the first"}, {"label": "b\u{1b}[2J"}
        ]}]});
        for (kind, body, expected) in [
            (
                "checkpoint_created",
                json!({"checkpoint_id": "chk_1", "trigger": "turn", "files": 3, "new_bytes": 20_480}),
                "checkpoint chk_1 (turn): 3 files, 20 KiB new",
            ),
            (
                "session_resumed",
                json!({"checkpoint_id": "chk_1", "abandoned_from": 4, "abandoned_to": 9, "redone": ["m"]}),
                "resumed from checkpoint chk_1; events 4 to 9 are abandoned; 1 messages are done again",
            ),
            (
                "command_started",
                json!({"command": "make\u{1b}[2J\ntest"}),
                "$ make[2J test",
            ),
            (
                "command_ended",
                json!({"how": "exited", "exit_code": 2, "stdout": "a\nb\n", "stderr": "no\n"}),
                "  a\n  b\n  no\n  exit code 2",
            ),
            (
                "command_ended",
                json!({"how": "timed_out", "reason": "it ran for 5 s"}),
                "  timed out: it ran for 5 s",
            ),
            ("session_resumed", json!({}), "resumed from the beginning"),
            (
                "rewound",
                json!({"checkpoint_id": "chk_1"}),
                "set back to checkpoint chk_1",
            ),
            (
                "question_asked",
                json!({"question_id": "q1", "input": input.to_string()}),
                "the session asks (answer_question, question_id q1):\n  Which?\n    - a: the first\n    - b[2J",
            ),
        ] {
            assert_eq!(line(kind, &body), expected);
        }
        assert!(in_words("text", &json!({})).is_none());
        assert!(
            line(
                "question_asked",
                &json!({"question_id": "q", "input": "nonsense"})
            )
            .contains("null")
        );
    }
}
