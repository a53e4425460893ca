//! A session in which the CLI prints every secret of the corpus wherever it can: nothing that is
//! stored, shown or logged has one of them, but the transcript has them all.

#[path = "../../../shared/redact/tests/corpus/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of it")]
mod corpus;
#[path = "runner/support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "each test program uses a part of it"
)]
mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};

use domain::ports::SessionLog;
use domain::{CommandBody, EventBody};
use serde_json::{Value, json};
use support::{TOKEN, World, model};

/// What a process writes, in memory.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("lines are UTF-8")
    }
}

/// Parts of a secret that nothing else has. Eight bytes of it are enough to say that it got out.
fn parts(secret: &str) -> Vec<String> {
    let characters: Vec<char> = secret.chars().collect();
    let size = characters.len().min(8);
    let windows = characters
        .windows(size)
        .map(|part| part.iter().collect::<String>());
    // Words such as `RSA PRIVATE` stand in keys, and elsewhere.
    let parts: Vec<String> = windows.filter(|part| !part.contains(' ')).collect();
    if parts.is_empty() {
        vec![secret.to_owned()]
    } else {
        parts
    }
}

/// The parts of secrets that a text has, outside of what replaces them.
fn found(text: &str, parts: &BTreeSet<String>) -> Vec<String> {
    let mut rest = text.split("[redacted: ");
    let mut outside = rest.next().unwrap_or_default().to_owned();
    for part in rest {
        outside.push('\u{1}');
        outside.push_str(part.split_once(']').map_or(part, |(_, after)| after));
    }
    // As it is, and as `Debug` and JSON escape it.
    let plain = outside
        .replace("\\\\n", "\n")
        .replace("\\n", "\n")
        .replace("\\\"", "\"")
        .replace("\\\\", "\\");
    let mut found = Vec::new();
    for text in [outside, plain] {
        let characters: Vec<char> = text.chars().collect();
        let windows = characters.windows(8).map(|part| part.iter().collect());
        found.extend(windows.filter(|part: &String| parts.contains(part)));
        let others = parts.iter().filter(|part| part.chars().count() != 8);
        found.extend(others.filter(|part| text.contains(part.as_str())).cloned());
    }
    found
}

struct Corpus {
    texts: Vec<String>,
    secrets: Vec<String>,
    /// Of the secrets, what stands nowhere else.
    parts: BTreeSet<String>,
}

fn corpus() -> Corpus {
    let bad = corpus::cases()
        .into_iter()
        .filter(|case| case.kind.is_some());
    let (mut texts, mut secrets) = (Vec::new(), Vec::new());
    for case in bad {
        texts.push(case.text);
        secrets.extend(case.secrets);
    }
    let mut around = texts.join("\n");
    for secret in &secrets {
        around = around.replace(secret.as_str(), " ");
    }
    let parts = secrets.iter().flat_map(|secret| parts(secret));
    let mut parts: BTreeSet<String> = parts.filter(|part| !around.contains(part)).collect();
    // The session's own, which are made of words here.
    let own = [TOKEN, "own-secret-of-the-runner"];
    texts.push(format!("my token {} and my key {}", own[0], own[1]));
    secrets.extend(own.map(str::to_owned));
    parts.extend(own.map(str::to_owned));
    Corpus {
        texts,
        secrets,
        parts,
    }
}

/// What the CLI prints in a turn, a line each.
fn lines(texts: &[String]) -> Vec<Value> {
    let mut lines = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let block = |block: Value| json!({"type": "assistant", "message": {"content": [block]}});
        // In pieces of a few characters, so that every secret is cut.
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(7 + number % 5) {
            lines.push(
                json!({"type": "stream_event", "api_message_id": format!("m{number}"), "event": {
                "type": "content_block_delta", "index": 0,
                "delta": {"type": "text_delta", "text": piece.iter().collect::<String>()}}}),
            );
        }
        let id = format!("toolu_{number}");
        let nested = json!({"content": text}).to_string();
        lines.extend([
            block(json!({"type": "text", "text": text})),
            block(json!({"type": "thinking", "thinking": text})),
            block(json!({"type": "tool_use", "id": id, "name": "Write",
                "input": {"content": text, "list": [text], "nested": nested}})),
            json!({"type": "user", "message": {"content": [
                {"type": "tool_result", "tool_use_id": id, "content": text, "is_error": true}]}}),
            json!({"type": "user", "message": {"content": [
                {"type": "tool_result", "tool_use_id": id, "content": nested}]}}),
            json!({"type": "system", "subtype": "api_retry", "attempt": 1, "error": text}),
            json!({"type": "system", "subtype": "permission_denied", "tool_name": "Bash",
                "tool_use_id": format!("denied_{number}"), "message": text}),
            json!({"type": "control_response", "response": {
                "subtype": "error", "request_id": format!("r{number}"), "error": text}}),
        ]);
    }
    let entries: Vec<Value> = texts.iter().map(|text| json!({"said": text})).collect();
    lines.push(json!({"type": "transcript_mirror", "filePath": "/claude/projects/p/s.jsonl", "entries": entries}));
    lines
}

/// The CLI as a script: prints the lines, and the secrets on standard error, as lines of no
/// protocol and into files; asks a question with them; ends with them as its result.
fn cli(corpus: &Corpus) -> String {
    let mut script = String::from(
        r#"#!/bin/bash
if [ "$1" = --version ]; then echo '2.1.328 (Claude Code)'; exit 0; fi
for argument in "$@"; do case "$argument" in --settings=*) settings="${argument#--settings=}";; esac; done
gate=$(sed 's/.*"command":"\([^"]*\)".*/\1/' "$settings")
read -r line
echo '{"type":"control_response","response":{"subtype":"success","request_id":"initialize","response":{"claude_code_version":"2.1.328"}}}'
while read -r line; do
  case "$line" in *'"type":"user"'*) ;; *) continue;; esac
  uuid=$(printf %s "$line" | sed 's/.*"uuid":"\([^"]*\)".*/\1/')
  echo '{"type":"system","subtype":"session_state_changed","state":"running"}'
  echo '{"type":"system","subtype":"init","session_id":"s"}'
"#,
    );
    let here = |script: &mut String, command: &str, text: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(script, "{command} <<'END-OF-IT'\n{text}\nEND-OF-IT");
    };
    let all = corpus.texts.join("\n");
    here(&mut script, "cat >&2", &all);
    here(&mut script, "cat > secrets.env", &all);
    here(&mut script, "cat", &all);
    let printed: Vec<String> = lines(&corpus.texts).iter().map(Value::to_string).collect();
    here(&mut script, "cat", &printed.join("\n"));
    let asked = json!({"hook_event_name": "PreToolUse", "tool_name": "AskUserQuestion",
        "tool_use_id": "toolu_ask", "tool_input": {"questions": [{"question": corpus.texts[..20].join("\n"),
            "header": "h", "multiSelect": false, "options": [{"label": corpus.texts[3], "description": "d"}]}]}});
    here(
        &mut script,
        r#"eval "$gate" > /dev/null"#,
        &asked.to_string(),
    );
    let refused = json!({"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_use_id": "toolu_no",
        "tool_input": {"command": format!("sudo {}", corpus.texts[4])}});
    here(
        &mut script,
        r#"eval "$gate" > /dev/null"#,
        &refused.to_string(),
    );
    let result =
        json!({"type": "result", "subtype": "error_during_execution", "errors": corpus.texts});
    here(&mut script, "cat", &result.to_string());
    script.push_str(
        r#"  echo '{"type":"result","subtype":"success","result":"ok","user_message_uuids":["'$uuid'"]}'
  echo '{"type":"system","subtype":"session_state_changed","state":"idle"}'
done
"#,
    );
    script
}

#[tokio::test]
async fn no_secret_is_stored_shown_or_logged() {
    let logged = Written::default();
    let into = logged.clone();
    let lines = boot::logging::json_into("session-runner", move || into.clone());
    tracing::subscriber::set_global_default(lines).expect("the only one");

    let corpus = corpus();
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("claude");
    testkit::executable(&program, &cli(&corpus));
    let message = corpus.texts[..30].join("\n");
    let mut world = World::new(model().await, program, testkit::spec(), &message).await;
    world.assignment.secrets = vec!["own-secret-of-the-runner".to_owned()];
    world.start();

    // Everything that is shown while it is written.
    let (ports, key) = (world.ports.clone(), world.key.clone());
    let shown: Arc<Mutex<Vec<String>>> = Arc::default();
    let showing = shown.clone();
    let looking = tokio::spawn(async move {
        loop {
            if let Ok(Some(live)) = ports.live(&key).await {
                showing.lock().expect("no panic").push(live.text);
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    });
    let events = world
        .until("question", |body| {
            matches!(body, EventBody::QuestionAsked { .. })
        })
        .await;
    let question = events.iter().find_map(|event| match &event.body {
        EventBody::QuestionAsked {
            question, input, ..
        } => Some((question.clone(), input.clone())),
        _ => None,
    });
    let (question, input) = question.expect("a question");
    serde_json::from_str::<Value>(&input).expect("what is asked is JSON");
    let head = format!("{:?}", world.head().await);
    assert_eq!(found(&head, &corpus.parts), [""; 0], "{head}");
    let answers = json!({"which": corpus.texts[5]}).to_string();
    world
        .send("a1", CommandBody::Answer { question, answers })
        .await;
    world.idle_after(1).await;
    world
        .send(
            "c1",
            CommandBody::Cancel {
                reason: corpus.texts[6].clone(),
            },
        )
        .await;
    world.outcome().await;
    looking.abort();

    // What the CLI was given stays as it was sent, and so does what it keeps of the conversation.
    let commands = world.ports.peek_commands(&world.key);
    assert!(!format!("{:?}", commands[0].body).contains("[redacted"));
    let written = world.objects.written.lock().expect("no panic").clone();
    let mut transcript = String::new();
    for (name, bytes) in &written {
        assert!(name.starts_with("transcript/"), "{name}");
        let bytes = zstd::decode_all(&bytes[..]).expect("compressed");
        transcript.push_str(&String::from_utf8_lossy(&bytes));
    }
    let said: Vec<String> = transcript
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|entry| Some(entry["said"].as_str()?.to_owned()))
        .collect();
    assert_eq!(said, corpus.texts, "the transcript is verbatim");

    // Everything else.
    let mut stored = Vec::new();
    let events = world.events().await;
    for kind in [
        "text",
        "thinking",
        "tool_call",
        "tool_result",
        "retry",
        "tool_denied",
        "notice",
        "turn_ended",
        "files_changed",
        "question_asked",
        "question_answered",
        "message_taken",
        "session_ended",
    ] {
        let of_kind = events.iter().filter(|event| event.body.kind() == kind);
        let texts: Vec<String> = of_kind.map(|event| format!("{:?}", event.body)).collect();
        assert!(
            texts.iter().any(|text| text.contains("[redacted: ")),
            "nothing was redacted in {kind}: {texts:?}"
        );
    }
    for event in &events {
        stored.push(format!("{event:?}"));
        if let EventBody::ToolCall { input, .. } = &event.body {
            serde_json::from_str::<Value>(input).expect("what a tool is given is JSON");
        }
    }
    stored.push(format!("{:?}", world.head().await));
    stored.extend(
        commands
            .iter()
            .map(|command| format!("{:?}", command.outcome)),
    );
    stored.push(format!("{:?}", world.ports.peek_checkpoints(&world.key)));
    let shown = shown.lock().expect("no panic").clone();
    assert!(
        !shown.is_empty(),
        "something was shown while it was written"
    );
    stored.extend(shown);
    let log = logged.text();
    assert!(log.contains("the CLI refused a request"), "{log}");
    assert!(log.contains("[redacted: github token]"), "{log}");
    stored.extend(log.lines().map(str::to_owned));
    for text in &stored {
        assert_eq!(found(text, &corpus.parts), [""; 0], "{text}");
    }

    // The search finds what is there.
    for secret in &corpus.secrets {
        assert!(
            !found(&format!("x {secret:?} y"), &corpus.parts).is_empty(),
            "{secret}"
        );
    }
    stored.push(format!("{:?}", commands[0].body));
    assert!(
        stored
            .iter()
            .any(|text| !found(text, &corpus.parts).is_empty())
    );
}
