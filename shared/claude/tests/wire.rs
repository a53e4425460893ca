//! The wire: lines recorded from the real CLI are read in full, hostile ones never panic.

use claude::message::{Block, Message, parse};
use proptest::prelude::*;
use serde_json::Value;

const RECORDED: &str = include_str!("recorded/refused_calls.jsonl");

fn messages() -> Vec<Message> {
    RECORDED
        .lines()
        .map(|line| parse(line.as_bytes()).expect("a message"))
        .collect()
}

#[test]
fn every_recorded_line_is_read_as_what_it_is() {
    for message in messages() {
        if let Message::Other { kind, problem } = message {
            assert_eq!(problem, None, "{kind} has another shape");
            assert!(
                kind == "system/status" || kind.starts_with("stream_event/"),
                "{kind} was not read"
            );
        }
    }
}

#[test]
fn a_recorded_session_tells_its_story() {
    let mut told = Vec::new();
    for message in messages() {
        told.push(match message {
            Message::ControlResponse(answer) => {
                format!("ready {}", answer.claude_code_version().unwrap())
            }
            Message::StateChanged(changed) => changed.state,
            Message::CommandLifecycle(command) => format!("message {}", command.state),
            Message::Assistant(spoken) => match &spoken.blocks[..] {
                [Block::Text(text)] => format!("says {text}"),
                [Block::ToolUse { name, .. }] => format!("calls {name}"),
                other => format!("{other:?}"),
            },
            Message::User(spoken) => match &spoken.blocks[..] {
                [
                    Block::ToolResult {
                        text,
                        is_error: true,
                        ..
                    },
                ] => format!("refused: {text}"),
                other => format!("{other:?}"),
            },
            Message::CanUseTool(asked) => format!("asks for {}", asked.tool_name),
            Message::ApiRetry(retry) => format!("retry after {}", retry.error_status.unwrap()),
            Message::Result(result) => {
                assert!(result.total_cost_usd > 0.0 && result.usage.input_tokens > 0);
                assert_eq!(result.user_message_uuids.len(), 1);
                format!("{} {:?}", result.subtype, result.terminal_reason.unwrap())
            }
            _ => continue,
        });
    }
    assert_eq!(
        told,
        [
            "ready 2.1.328",
            "running",
            "message queued",
            "message started",
            "says I will use Write.",
            "calls Write",
            "requires_action",
            "asks for Write",
            "running",
            "refused: no approvals",
            "says I will use Bash.",
            "calls Bash",
            "requires_action",
            "asks for Bash",
            "running",
            "refused: no approvals",
            "retry after 529",
            "says done",
            "success \"completed\"",
            "message completed",
            "idle",
        ]
    );
}

#[test]
fn transcript_entries_keep_their_bytes() {
    let line = r#"{"type":"transcript_mirror","filePath":"/claude/p/s.jsonl","entries":[{"b": 1.0,  "a":"\u00e9/\/"},{"a":1e2}]}"#;
    let Message::Transcript(mirror) = parse(line.as_bytes()).unwrap() else {
        panic!("no mirror")
    };
    let entries: Vec<&str> = mirror.entries.iter().map(|entry| entry.get()).collect();
    assert_eq!(entries, [r#"{"b": 1.0,  "a":"\u00e9/\/"}"#, r#"{"a":1e2}"#]);
}

#[test]
fn line_separators_in_transcript_entries_are_as_the_cli_keeps_them() {
    let line = r#"{"type":"transcript_mirror","filePath":"f","entries":[{"a":"\u2028\\u2028\\\u2029\n"},"\u2029"]}"#;
    let Message::Transcript(mirror) = parse(line.as_bytes()).unwrap() else {
        panic!("no mirror")
    };
    let entries: Vec<&str> = mirror.entries.iter().map(|entry| entry.get()).collect();
    let first = format!("{{\"a\":\"\u{2028}{}\u{2029}\\n\"}}", r"\\u2028\\");
    assert_eq!(entries, [first.as_str(), "\"\u{2029}\""]);
}

#[test]
fn unknown_and_changed_kinds_are_kept() {
    for (line, expected, has_problem) in [
        (r#"{"type":"brand_new"}"#, "brand_new", false),
        (
            r#"{"type":"system","subtype":"brand_new","x":1}"#,
            "system/brand_new",
            false,
        ),
        (
            r#"{"type":"result","subtype":"success","num_turns":"many"}"#,
            "result/success",
            true,
        ),
        (r#"{"type":"assistant"}"#, "assistant", true),
        (
            r#"{"type":"control_request","request":{}}"#,
            "control_request",
            true,
        ),
    ] {
        let Message::Other { kind, problem } = parse(line.as_bytes()).unwrap() else {
            panic!("{line} was read")
        };
        assert_eq!(
            (kind.as_str(), problem.is_some()),
            (expected, has_problem),
            "{line}"
        );
    }
}

#[test]
fn what_is_no_message_is_an_error() {
    for line in [
        "",
        "garbage",
        "[SandboxDebug] {}",
        "[]",
        "12",
        "null",
        "{}",
        r#"{"type":1}"#,
        "{\"type\":\"x\"",
    ] {
        assert!(parse(line.as_bytes()).is_err(), "{line}");
    }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z_]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let keys = prop::sample::select(vec![
            "type",
            "subtype",
            "message",
            "content",
            "event",
            "delta",
            "text",
            "request",
            "response",
            "request_id",
            "entries",
            "tool_use_id",
            "input",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys.prop_map(String::from), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn hostile_lines_never_panic(kind in prop::sample::select(vec![
        "system", "assistant", "user", "stream_event", "result", "control_request",
        "control_response", "control_cancel_request", "command_lifecycle", "transcript_mirror",
    ]), subtype in prop::sample::select(vec!["init", "session_state_changed", "api_retry", "permission_denied", "x"]),
    body in json()) {
        let mut line = match body { Value::Object(map) => map, other => [("message".to_owned(), other)].into_iter().collect() };
        line.insert("type".to_owned(), Value::from(kind));
        line.insert("subtype".to_owned(), Value::from(subtype));
        prop_assert!(parse(Value::Object(line).to_string().as_bytes()).is_ok());
    }

    #[test]
    fn arbitrary_bytes_never_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&line).is_ok();
    }
}

#[test]
fn subagents_are_read_as_far_as_they_have_their_form() {
    let agents = |agents: &str| {
        let line = format!(
            r#"{{"type":"control_response","response":{{"subtype":"success","request_id":"r","response":{agents}}}}}"#
        );
        let Ok(Message::ControlResponse(answer)) = parse(line.as_bytes()) else {
            panic!("{line}")
        };
        let named = |(name, description): (&str, &str)| format!("{name}: {description}");
        answer.agents().map(named).collect::<Vec<_>>()
    };
    let named = r#"{"agents":[{"name":"Plan","description":"makes plans","model":"inherit"},"text",{"name":"bare"},{"description":"x"},{"name":7},null]}"#;
    assert_eq!(agents(named), ["Plan: makes plans", "bare: "]);
    for none in [r#"{"agents":"x"}"#, r#"{"agents":[]}"#, "{}", "null"] {
        assert!(agents(none).is_empty(), "{none}");
    }
}
