//! Whole sessions with the real CLI in the real sandbox, and a scripted model.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::installed::real_claude;
use crate::support::{World, bodies, model, results, script};
use domain::command::FileContent;
use domain::event::ChangeKind;
use domain::workspace::RelativePath;
use domain::{CommandBody, CommandOutcome, CommandState, EventBody, PermissionMode, State};
use serde_json::json;
use session_runner::sandbox::plan::Isolation;
use session_runner::supervisor::Outcome;

/// So that a call that needs approval is denied at once.
const NOBODY_DECIDES: Duration = Duration::from_millis(100);

async fn world(mode: PermissionMode, prompt: &str) -> World {
    let mut spec = testkit::spec();
    spec.permission_mode = mode;
    World::new(model().await, real_claude().await, spec, prompt).await
}

/// Processes `sleep` and `tail` on this machine with `mark` in their arguments.
fn waiting(mark: &str) -> usize {
    let ps = std::process::Command::new("ps")
        .args(["-A", "-ww", "-o", "args="])
        .output()
        .expect("ps");
    let lines = String::from_utf8_lossy(&ps.stdout).into_owned();
    lines
        .lines()
        .filter(|line| line.starts_with("sleep ") || line.starts_with("tail "))
        .filter(|line| line.contains(mark))
        .count()
}

#[tokio::test]
async fn a_session_works_talks_and_ends() {
    let steps = json!([
        {"tool": "Write", "input": {"file_path": "/workspace/hello.txt", "content": "hello\n"}},
        // The policy does not look into a file, and would not let a command show this.
        {"tool": "Write", "input": {"file_path": "/home/session/show.sh", "content": "echo $ANTHROPIC_API_KEY\n"}},
        {"tool": "Bash", "input": {"command": "cat hello.txt; id -u; sh ~/show.sh", "description": "look"}},
        {"text": "all done"},
    ]);
    let mut world = world(PermissionMode::Bypass, &script(steps)).await;
    world.start();
    let events = world.idle_after(1).await;
    let kinds: Vec<&str> = events.iter().map(|event| event.body.kind()).collect();
    for kind in [
        "runner_started",
        "workspace_ready",
        "session_ready",
        "message_taken",
        "turn_started",
        "tool_call",
        "tool_result",
        "text",
        "turn_ended",
        "files_changed",
        "state_changed",
    ] {
        assert!(kinds.contains(&kind), "no {kind} in {kinds:?}");
    }
    let results = results(&events);
    assert!(
        results[2]
            .1
            .starts_with("hello\n1000\n[redacted: session credential]"),
        "{results:?}"
    );
    let changed = events.iter().find_map(|event| match &event.body {
        EventBody::FilesChanged { files, patch } => Some((files.clone(), patch.clone())),
        _ => None,
    });
    let (files, patch) = changed.expect("changed files");
    assert_eq!(
        (files[0].path.as_str(), files[0].change),
        ("hello.txt", ChangeKind::Added)
    );
    assert!(patch.contains("+hello"), "{patch}");

    // A second message starts a second turn; a file can be read meanwhile.
    world
        .send("m2", testkit::message("again @@[{\"text\": \"second\"}]"))
        .await;
    world
        .send(
            "r1",
            CommandBody::ReadFile {
                path: RelativePath::parse("hello.txt").expect("a path"),
                offset: 1,
                length: 3,
            },
        )
        .await;
    let events = world.idle_after(2).await;
    assert!(
        bodies(&events)
            .iter()
            .any(|body| matches!(body, EventBody::Text { text, .. } if text == "second"))
    );
    let read = world.command("r1").await;
    assert_eq!(
        read.outcome,
        Some(CommandOutcome::File(FileContent {
            bytes: b"ell".to_vec(),
            file_bytes: 6
        }))
    );
    assert_eq!(world.command("m2").await.state, CommandState::Done);

    world
        .send(
            "c1",
            CommandBody::Cancel {
                reason: "enough".to_owned(),
            },
        )
        .await;
    assert_eq!(world.outcome().await, Outcome::Ended(State::Cancelled));
    let events = world.events().await;
    assert!(
        matches!(&events.last().expect("events").body, EventBody::SessionEnded { reason, .. } if reason == "enough")
    );
    let transcripts: Vec<String> = world
        .objects
        .written
        .lock()
        .expect("no panic")
        .keys()
        .cloned()
        .collect();
    assert!(
        transcripts
            .iter()
            .any(|name| name.starts_with("transcript/")),
        "{transcripts:?}"
    );
    let numbers: Vec<u64> = events.iter().map(|event| event.sequence.0).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn review_reads_and_changes_nothing() {
    let steps = json!([
        {"tool": "Bash", "input": {"command": "ls -la", "description": "look"}},
        {"tool": "Bash", "input": {"command": "touch made", "description": "make"}},
        {"tool": "Write", "input": {"file_path": "/workspace/made", "content": "x"}},
        {"tool": "Bash", "input": {"command": "cat /etc/passwd", "description": "peek"}},
        {"tool": "Read", "input": {"file_path": "/etc/passwd"}},
        // What starts a program is no option of the wrapper.
        {"tool": "Bash", "input": {"command": "env sh -c 'touch made' -S ls", "description": "hide"}},
        {"text": "done"},
    ]);
    let mut world = world(PermissionMode::Review, &script(steps)).await;
    world.settings.approval_expiry = NOBODY_DECIDES;
    world.start();
    let events = world.idle_after(1).await;
    let outcomes: Vec<bool> = results(&events)
        .into_iter()
        .map(|(failed, _)| failed)
        .collect();
    assert_eq!(
        outcomes,
        [false, true, true, true, true, true],
        "{:#?}",
        results(&events)
    );
    for result in &results(&events)[1..] {
        assert!(result.1.contains("Nobody decided"), "{result:?}");
    }
    let asked = bodies(&events)
        .iter()
        .filter(|body| matches!(body, EventBody::ApprovalRequested { .. }))
        .count();
    assert_eq!(asked, 5);
    assert!(!world.base.path().join("workspace/made").exists());
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn accept_edits_writes_inside_and_nowhere_else() {
    let steps = json!([
        {"tool": "Write", "input": {"file_path": "made", "content": "x"}},
        {"tool": "Write", "input": {"file_path": "/workspace/sub/made", "content": "x"}},
        {"tool": "Write", "input": {"file_path": "/home/session/made", "content": "x"}},
        {"tool": "Write", "input": {"file_path": "/workspace/.git/hooks/pre-commit", "content": "x"}},
        {"tool": "Bash", "input": {"command": "rm -rf sub", "description": "d"}},
        {"text": "done"},
    ]);
    let mut world = world(PermissionMode::AcceptEdits, &script(steps)).await;
    world.settings.approval_expiry = NOBODY_DECIDES;
    world.start();
    let events = world.idle_after(1).await;
    let outcomes: Vec<bool> = results(&events)
        .into_iter()
        .map(|(failed, _)| failed)
        .collect();
    assert_eq!(
        outcomes,
        [false, false, true, true, true],
        "{:#?}",
        results(&events)
    );
    assert!(world.base.path().join("workspace/sub/made").exists());
    world.stop();
    world.outcome().await;
}

#[tokio::test]
async fn nothing_that_a_turn_started_survives_the_session() {
    let mark = format!("7{}", std::process::id());
    let steps = json!([
        {"tool": "Bash", "input": {"command": format!("(setsid nohup sleep {mark}.25 >/dev/null 2>&1 &); echo started"), "description": "d"}},
        {"text": "done"},
    ]);
    let mut world = world(PermissionMode::Bypass, &script(steps)).await;
    world.start();
    world.idle_after(1).await;
    let running = || waiting(&mark);
    assert_eq!(running(), 1);
    world
        .send(
            "c1",
            CommandBody::Cancel {
                reason: String::new(),
            },
        )
        .await;
    assert_eq!(world.outcome().await, Outcome::Ended(State::Cancelled));
    assert_eq!(running(), 0);
}

#[tokio::test]
async fn an_interrupt_stops_the_turn_and_not_the_session() {
    let steps =
        json!([{"tool": "Bash", "input": {"command": "tail -f /dev/null", "description": "wait"}}]);
    let mut world = world(PermissionMode::Bypass, &script(steps)).await;
    world.start();
    world
        .until("tool call", |body| {
            matches!(body, EventBody::ToolCall { .. })
        })
        .await;
    world.send("i1", CommandBody::Interrupt).await;
    let events = world.idle_after(1).await;
    assert!(
        bodies(&events)
            .iter()
            .any(|body| matches!(body, EventBody::TurnEnded(end) if end.is_error))
    );
    assert_eq!(
        world.command("i1").await.outcome,
        Some(CommandOutcome::Interrupted(true))
    );
    world
        .send("m2", testkit::message("hi @@[{\"text\": \"still here\"}]"))
        .await;
    world
        .until(
            "answer",
            |body| matches!(body, EventBody::Text { text, .. } if text == "still here"),
        )
        .await;
    world.stop();
    world.outcome().await;
}

#[tokio::test]
async fn a_refusing_model_ends_the_turn_with_its_reason() {
    let mut world = world(PermissionMode::Review, &script(json!([{"status": 403}]))).await;
    world.start();
    let events = world.idle_after(1).await;
    let end = events.iter().find_map(|event| match &event.body {
        EventBody::TurnEnded(end) => Some(end.clone()),
        _ => None,
    });
    assert!(end.expect("an end").is_error);
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn a_session_with_a_uid_of_its_own_works_too() {
    if !nix::unistd::geteuid().is_root() {
        // Only a container's root can do this; what others are told is tested with the sandbox.
        return;
    }
    let steps = json!([
        {"tool": "Bash", "input": {"command": "id -u; pwd; ls -ld .", "description": "d"}},
        {"tool": "Write", "input": {"file_path": "made", "content": "x"}},
        {"text": "done"},
    ]);
    let mut world = world(PermissionMode::Bypass, &script(steps)).await;
    world.assignment.isolation = Isolation::Uid;
    world.start();
    let events = world.idle_after(1).await;
    let results = results(&events);
    assert!(!results[0].0 && !results[1].0, "{results:?}");
    let user: u32 = results[0]
        .1
        .lines()
        .next()
        .expect("a line")
        .parse()
        .expect("a uid");
    assert!(user > 2_000_000);
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn a_session_without_isolation_works_and_leaves_nothing() {
    let mark = format!("6{}", std::process::id());
    let tail = format!("touch {mark}; tail -f {mark}");
    let start = format!("(nohup sleep {mark}.5 >/dev/null 2>&1 &); cat made; pwd");
    let steps = json!([
        {"tool": "Write", "input": {"file_path": "made", "content": "x\n"}},
        {"tool": "Bash", "input": {"command": start, "description": "d"}},
        {"tool": "Bash", "input": {"command": tail, "description": "d"}},
    ]);
    let mut world = world(PermissionMode::Bypass, &script(steps)).await;
    world.assignment.isolation = Isolation::None;
    world.start();
    world
        .until(
            "the second call",
            |body| matches!(body, EventBody::ToolCall { input, .. } if input.contains(&tail)),
        )
        .await;
    let start = std::time::Instant::now();
    while waiting(&mark) < 2 {
        assert!(start.elapsed().as_secs() < 20, "it never ran");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let cancel = CommandBody::Cancel {
        reason: "enough".to_owned(),
    };
    world.send("c1", cancel).await;
    assert_eq!(world.outcome().await, Outcome::Ended(State::Cancelled));
    assert_eq!(waiting(&mark), 0);
    let events = world.events().await;
    let workspace = world.base.path().join("workspace");
    let workspace = workspace.canonicalize().expect("a workspace");
    let said = results(&events);
    assert!(
        said[1].1.contains(&format!("x\n{}", workspace.display())),
        "{said:?}"
    );
    assert_eq!(
        std::fs::read_to_string(workspace.join("made")).expect("the file"),
        "x\n"
    );
    assert!(
        bodies(&events)
            .iter()
            .any(|body| matches!(body, EventBody::Notice { code, .. } if code == "not_isolated"))
    );
}

/// What was stored of each transcript file, by its name.
fn stored_transcripts(world: &World) -> BTreeMap<String, String> {
    let mut stored = BTreeMap::<String, String>::new();
    // In the order of fences and segments, which is that of the names.
    for (name, bytes) in world.objects.written.lock().expect("no panic").iter() {
        let Some(segment) = name.strip_prefix("transcript/") else {
            continue;
        };
        let file = segment.splitn(3, '/').nth(2).expect("fence, segment, file");
        let lines = zstd::decode_all(&bytes[..]).expect("zstd");
        stored
            .entry(file.strip_suffix(".zst").expect("an ending").to_owned())
            .or_default()
            .push_str(&String::from_utf8(lines).expect("text"));
    }
    stored
}

#[tokio::test]
async fn the_transcript_is_the_clis_own_byte_for_byte() {
    let odd = "tab\t, \u{e9}, \u{1f980}, \u{2028}, \"quotes\", \\u0041 and 1e2\n";
    let steps = json!([
        {"tool": "Write", "input": {"file_path": "odd.txt", "content": odd}},
        {"tool": "Bash", "input": {"command": "cat odd.txt; printf '\\033[1m'", "description": "look"}},
        {"text": odd},
    ]);
    let mut world = world(PermissionMode::Bypass, &script(steps)).await;
    world.start();
    world.idle_after(1).await;
    let again = script(json!([{"text": "second"}]));
    world.send("m2", testkit::message(&again)).await;
    world.idle_after(2).await;
    let cancel = CommandBody::Cancel {
        reason: String::new(),
    };
    world.send("c1", cancel).await;
    assert_eq!(world.outcome().await, Outcome::Ended(State::Cancelled));
    let projects = world.base.path().join("claude/projects/-workspace");
    let mut own = BTreeMap::new();
    for entry in std::fs::read_dir(projects).expect("a project") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "jsonl") {
            let name = path.file_name().expect("a name").to_string_lossy();
            let text = std::fs::read_to_string(&path).expect("a transcript");
            assert!(text.ends_with('\n'));
            // What it noted of its own requests, which it does not mirror: nothing reads it again.
            let kept = text
                .split_inclusive('\n')
                .filter(|line| !line.starts_with("{\"type\":\"api-request"));
            own.insert(name.into_owned(), kept.collect::<String>());
        }
    }
    assert_eq!(own.len(), 1);
    assert!(
        own.values().all(|text| text.lines().count() > 8),
        "{own:#?}"
    );
    assert_eq!(stored_transcripts(&world), own);
}
