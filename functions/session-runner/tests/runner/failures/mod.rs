//! What goes wrong with a CLI, a lease or a session's files, and how the session ends for it.
//! The CLI is a script here: it does what the real one never should.

mod floods;
#[cfg(target_os = "linux")]
mod full_disk;

use std::path::PathBuf;
use std::time::Duration;

use crate::support::{World, bodies, model};
use domain::session::Attachment;
use domain::workspace::{RelativePath, Workspace, WorkspaceSource};
use domain::{
    CommandBody, CommandOutcome, CommandState, EventBody, SessionSpec, State, Transition, UploadId,
};
use session_runner::supervisor::Outcome;

/// A CLI in a shell. `body` runs after the version check.
struct Script {
    directory: tempfile::TempDir,
}

impl Script {
    fn new(body: &str) -> Self {
        Self::with_version("2.1.328 (Claude Code)", body)
    }

    fn with_version(version: &str, body: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("claude");
        let text = format!(
            "#!/bin/bash\nif [ \"$1\" = --version ]; then echo '{version}'; exit 0; fi\n{body}\n"
        );
        testkit::executable(&path, &text);
        Script { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("claude")
    }
}

/// Becomes ready, then for each message: `turn`.
fn polite(turn: &str) -> String {
    format!(
        r#"read line
echo '{{"type":"control_response","response":{{"subtype":"success","request_id":"initialize","response":{{"claude_code_version":"2.1.328"}}}}}}'
while read -r line; do
  case "$line" in
    *'"type":"user"'*)
      uuid=$(printf %s "$line" | sed 's/.*"uuid":"\([^"]*\)".*/\1/')
      echo '{{"type":"system","subtype":"session_state_changed","state":"running"}}'
      echo '{{"type":"system","subtype":"init","session_id":"s"}}'
      {turn}
      echo '{{"type":"result","subtype":"success","result":"ok","user_message_uuids":["'$uuid'"]}}'
      echo '{{"type":"system","subtype":"session_state_changed","state":"idle"}}'
      ;;
  esac
done"#
    )
}

async fn world(script: &Script) -> World {
    world_with(script, testkit::spec()).await
}

async fn world_with(script: &Script, spec: SessionSpec) -> World {
    World::new(model().await, script.path(), spec, "first").await
}

async fn reason(world: &World) -> String {
    world.head().await.end_reason.expect("a reason")
}

#[tokio::test]
async fn a_cli_that_cannot_work_ends_the_session_with_what_to_do() {
    let cases = [
        (
            Script::with_version("2.1.1 (Claude Code)", ""),
            "has version 2.1.1, and this deployment supports 2.1.328",
        ),
        (
            Script::with_version("hello", ""),
            "answered --version with something else than a version",
        ),
        (
            Script::new("echo 'bad option' >&2; exit 3"),
            "ended before it was ready (exit code 3); it said: bad option",
        ),
        (
            Script::new("echo garbage; exit 0"),
            "ended before it was ready (exit code 0); it said: garbage",
        ),
        (
            Script::new(
                r#"echo '{"type":"result","subtype":"success","is_error":true,"result":"why","startup_failure_reason":"config_file_invalid"}'; cat >/dev/null"#,
            ),
            "could not start: config_file_invalid why",
        ),
        (
            Script::new(
                r#"read line; echo '{"type":"control_response","response":{"subtype":"error","request_id":"initialize","error":"no"}}'; cat >/dev/null"#,
            ),
            "refused to start a session: no",
        ),
    ];
    for (script, expected) in cases {
        let mut world = world(&script).await;
        world.start();
        assert_eq!(
            world.outcome().await,
            Outcome::Ended(State::Failed),
            "{expected}"
        );
        let reason = reason(&world).await;
        assert!(
            reason.contains(expected),
            "{reason:?} does not say {expected:?}"
        );
        // The message that nobody read is named.
        let events = world.events().await;
        let Some(EventBody::SessionEnded { unfinished, .. }) =
            events.last().map(|event| &event.body)
        else {
            panic!("{:#?}", bodies(&events))
        };
        assert_eq!(unfinished.len(), 1, "{expected}");
    }
    let script = Script::new("");
    let mut absent = world(&script).await;
    absent.settings.claude_path = PathBuf::from("/nonexistent/claude");
    absent.start();
    absent.outcome().await;
    let reason = reason(&absent).await;
    assert!(
        reason.contains("there is no such file") && reason.contains("SHANNON_CLAUDE_PATH"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_cli_that_never_becomes_ready_is_given_up() {
    let script = Script::new("cat >/dev/null");
    let mut world = world(&script).await;
    world.settings.startup_timeout = Duration::from_millis(300);
    world.start();
    assert_eq!(world.outcome().await, Outcome::Ended(State::Failed));
    assert!(reason(&world).await.contains("did not become ready"));
}

#[tokio::test]
async fn garbage_and_endless_lines_do_not_end_a_session() {
    let turn = "echo 'not json'; echo '[SandboxDebug] {}'; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo warning >&2
      echo '{\"type\":\"brand_new\"}'; echo; echo '{\"type\":\"result\",\"subtype\":7}'";
    let script = Script::new(&polite(turn));
    let mut world = world(&script).await;
    world.settings.max_line_bytes = 1024 * 1024;
    world.start();
    let events = world.idle_after(1).await;
    let notices: Vec<&str> = bodies(&events)
        .into_iter()
        .filter_map(|body| match body {
            EventBody::Notice { code, .. } => Some(code.as_str()),
            _ => None,
        })
        .collect();
    for (code, count) in [("unknown_line", 3), ("long_line", 1), ("cli_warning", 1)] {
        assert_eq!(
            notices.iter().filter(|seen| **seen == code).count(),
            count,
            "{notices:?}"
        );
    }
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn a_cli_that_dies_in_a_turn_fails_the_session() {
    let script = Script::new(&polite("echo 'out of luck' >&2; kill -9 $$"));
    let mut world = world(&script).await;
    world.start();
    assert_eq!(world.outcome().await, Outcome::Ended(State::Failed));
    let reason = reason(&world).await;
    assert!(
        reason.contains("ended unexpectedly (exit code 137)"),
        "{reason}"
    );
    let events = world.events().await;
    let Some(EventBody::SessionEnded { unfinished, .. }) = events.last().map(|event| &event.body)
    else {
        panic!("{:#?}", bodies(&events))
    };
    assert_eq!(unfinished.len(), 1);
}

#[tokio::test]
async fn a_silent_cli_is_interrupted_and_goes_on() {
    // The interrupt is the next line it reads.
    let script = Script::new(&polite(
        "read -r interrupt; case \"$interrupt\" in *interrupt*) ;; *) exit 9 ;; esac",
    ));
    let mut world = world(&script).await;
    world.settings.silence_timeout = Duration::from_millis(300);
    world.start();
    let events = world.idle_after(1).await;
    assert!(
        bodies(&events)
            .iter()
            .any(|body| matches!(body, EventBody::Notice { code, .. } if code == "silent"))
    );
    world.stop();
    world.outcome().await;
}

#[tokio::test]
async fn an_idle_session_is_suspended_and_a_long_one_times_out() {
    let script = Script::new(&polite(""));
    let mut idle = world(&script).await;
    idle.settings.idle_time = Duration::from_millis(300);
    idle.start();
    assert_eq!(idle.outcome().await, Outcome::Suspended);
    let head = idle.head().await;
    assert_eq!(head.state, State::Suspended);
    assert!(head.checkpoint.is_some());
    let script = Script::new(&polite("tail -f /dev/null"));
    let mut long = world(&script).await;
    long.settings.session_timeout = Duration::from_millis(300);
    long.settings.kill_grace = Duration::from_millis(300);
    long.start();
    assert_eq!(long.outcome().await, Outcome::Ended(State::TimedOut));
}

#[tokio::test]
async fn a_stopped_runner_leaves_its_session_to_the_next() {
    let script = Script::new(&polite("trap '' TERM; tail -f /dev/null"));
    let mut world = world(&script).await;
    world.settings.kill_grace = Duration::from_millis(2_500);
    world.start();
    world
        .until("turn", |body| matches!(body, EventBody::TurnStarted { .. }))
        .await;
    let asked = std::time::Instant::now();
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Left);
    let took = asked.elapsed();
    assert!(
        took >= Duration::from_millis(2_500),
        "a CLI that does not end by itself is given its grace: {took:?}"
    );
    let head = world.head().await;
    assert_eq!(head.state, State::Running);
    assert!(head.checkpoint.is_some());
    assert_eq!(head.commands_settled, 0);
}

#[tokio::test]
async fn without_the_lease_everything_dies_and_nothing_is_written() {
    let script = Script::new(&polite(
        "while :; do echo '{\"type\":\"system\",\"subtype\":\"api_retry\",\"attempt\":1}'; sleep 0.02; done",
    ));
    let mut world = world(&script).await;
    world.start();
    world
        .until("retry", |body| matches!(body, EventBody::Retry { .. }))
        .await;
    // Somebody declares the runner lost.
    world.control(Transition::RunnerVanished).await;
    let before = world.events().await.len();
    assert_eq!(world.outcome().await, Outcome::LeaseLost);
    assert_eq!(world.events().await.len(), before);
    assert_eq!(world.head().await.state, State::Lost);
}

#[tokio::test]
async fn only_one_runner_gets_a_session() {
    let script = Script::new(&polite(""));
    let mut world = world(&script).await;
    world.start();
    world.idle_after(1).await;
    let first = world.running.take();
    world.assignment.task = "task-2".to_owned();
    world.start();
    assert!(matches!(world.outcome().await, Outcome::NotOurs(_)));
    world.stop();
    world.running = first;
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn a_cancel_before_the_cli_is_ready_ends_at_once() {
    let script = Script::new("cat >/dev/null");
    let mut world = world(&script).await;
    world.start();
    world
        .until("workspace", |body| {
            matches!(body, EventBody::WorkspaceReady { .. })
        })
        .await;
    world
        .send(
            "c",
            CommandBody::Cancel {
                reason: "changed my mind".to_owned(),
            },
        )
        .await;
    assert_eq!(world.outcome().await, Outcome::Ended(State::Cancelled));
    assert_eq!(
        world.command("c").await.outcome,
        Some(CommandOutcome::Cancelled)
    );
}

#[tokio::test]
async fn attachments_arrive_beside_the_message() {
    let script = Script::new(&polite(
        "cat .attachments/notes.txt > seen; printf %s \"$line\" >> seen",
    ));
    let mut world = world(&script).await;
    let upload = UploadId::from_random([1; 17]);
    world
        .objects
        .uploads
        .lock()
        .expect("no panic")
        .insert(upload.as_str().to_owned(), b"attached ".to_vec());
    world.start();
    world.idle_after(1).await;
    let attach = |upload: &UploadId, name: &str| CommandBody::Message {
        text: "look".to_owned(),
        attachments: vec![Attachment {
            upload: upload.clone(),
            name: name.to_owned(),
        }],
    };
    world.send("m1", attach(&upload, "notes.txt")).await;
    world.idle_after(2).await;
    let seen = std::fs::read_to_string(world.base.path().join("workspace/seen")).expect("seen");
    assert!(
        seen.starts_with("attached ") && seen.contains("/workspace/.attachments/notes.txt"),
        "{seen}"
    );
    world
        .send("m2", attach(&UploadId::from_random([2; 17]), "gone.txt"))
        .await;
    world.send("m3", attach(&upload, "../../escape")).await;
    world
        .until(
            "notices",
            |body| matches!(body, EventBody::Notice { message, .. } if message.contains("escape")),
        )
        .await;
    for id in ["m2", "m3"] {
        let command = world.command(id).await;
        assert_eq!(command.state, CommandState::Done);
        assert!(
            matches!(command.outcome, Some(CommandOutcome::Refused(_))),
            "{command:?}"
        );
    }
    world.stop();
    world.outcome().await;
}

#[tokio::test]
async fn a_workspace_that_cannot_be_made_says_why() {
    let script = Script::new(&polite(""));
    let root = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(root.path().join("project")).expect("made");
    std::fs::write(root.path().join("project/a"), "1").expect("written");
    let directory = |path: &str| WorkspaceSource::Directory {
        path: root.path().join(path).display().to_string(),
    };
    let below = |path: &str| Some(RelativePath::parse(path).expect("a path"));
    let cases = [
        (directory("absent"), None, "does not exist"),
        (
            WorkspaceSource::Directory {
                path: "/etc".to_owned(),
            },
            None,
            "not under a directory of SHANNON_WORKSPACE_ROOTS",
        ),
        (
            WorkspaceSource::Upload(UploadId::from_random([3; 17])),
            None,
            "has no file",
        ),
        (
            directory("project"),
            below("missing"),
            "the subdirectory cannot be used: missing does not exist",
        ),
        (
            directory("project"),
            below("a"),
            "the subdirectory cannot be used: a is a file",
        ),
    ];
    for (source, subdirectory, expected) in cases {
        let mut spec = testkit::spec();
        spec.workspace = Workspace {
            source,
            subdirectory,
        };
        let mut world = world_with(&script, spec).await;
        world.settings.workspace_roots = vec![root.path().to_owned()];
        world.start();
        assert_eq!(
            world.outcome().await,
            Outcome::Ended(State::Failed),
            "{expected}"
        );
        let reason = reason(&world).await;
        assert!(
            reason.contains(expected),
            "{reason:?} does not say {expected:?}"
        );
    }
    let mut spec = testkit::spec();
    spec.workspace = Workspace {
        source: directory("project"),
        subdirectory: None,
    };
    let mut world = world_with(&script, spec).await;
    world.settings.workspace_roots = vec![root.path().to_owned()];
    world.start();
    world.idle_after(1).await;
    assert!(world.base.path().join("workspace/a").exists());
    world.stop();
    world.outcome().await;
}
