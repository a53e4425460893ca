//! A disk without room, wherever the runner meets it while the session lives.
//!
//! Each test runs itself once more in a mount namespace where its files lie on a small disk.

use std::path::Path;

use domain::session::Attachment;
use domain::{CommandBody, CommandOutcome, EventBody, SessionId, State, UploadId};
use session_runner::load::{Load, Processors, Queue};
use session_runner::supervisor::Outcome;

use super::{Script, polite, reason, world};
use crate::support::{World, bodies};

const INSIDE: &str = "SHANNON_TEST_ON_SMALL_DISK";

/// Whether this is the run on a small disk; else starts it, and fails as it does. `test` is the
/// whole name of the test that asks.
fn is_inside(mebibytes: u32, test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let disk = tempfile::tempdir().expect("a directory");
    let mount = format!("mount -t tmpfs -o size={mebibytes}m none \"$0\" && exec \"$@\"");
    let namespace: &[&str] = if nix::unistd::geteuid().is_root() {
        &["--mount"]
    } else {
        &["--user", "--map-current-user", "--keep-caps", "--mount"]
    };
    let output = std::process::Command::new("unshare")
        .args(namespace)
        .args(["sh", "-c", &mount])
        .arg(disk.path())
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .env("TMPDIR", disk.path())
        .output()
        .expect("unshare");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).expect("created");
    // Ends when there is no room.
    let filled = std::io::copy(&mut std::io::repeat(b'x'), &mut file);
    assert!(filled.is_err());
}

const TEXT: &str = r#"echo '{"type":"assistant","message":{"id":"m","content":[{"type":"text","text":"I begin"}]}}'"#;

/// The end says what to do, and what was said before it is there.
async fn ends_for_the_disk(world: &mut World, problem: &str) {
    assert_eq!(world.outcome().await, Outcome::Ended(State::Failed));
    let reason = reason(world).await;
    let expected = format!("the session's disk is full: {problem}");
    assert!(reason.contains(&expected), "{reason}");
    assert!(reason.contains("SHANNON_RUNNER_DISK_GIB"), "{reason}");
}

#[tokio::test]
async fn a_transcript_that_does_not_fit_ends_the_session_and_keeps_what_was_said() {
    let test = "failures::full_disk::a_transcript_that_does_not_fit_ends_the_session_and_keeps_what_was_said";
    if !is_inside(24, test) {
        return;
    }
    let mirror = r#"printf '{"type":"transcript_mirror","filePath":"/claude/projects/p/s.jsonl","entries":[{"a":"'
      head -c 100000 /dev/zero | tr '\0' x; echo '"}]}'"#;
    let turn = format!("{TEXT}; head -c 100M /dev/zero 2>/dev/null >fill; {mirror}");
    let script = Script::new(&polite(&turn));
    let mut world = world(&script).await;
    world.start();
    ends_for_the_disk(&mut world, "the session's transcript cannot be kept").await;
    let events = world.events().await;
    let said = bodies(&events);
    assert!(
        said.iter()
            .any(|body| matches!(body, EventBody::Text { text, .. } if text == "I begin")),
        "{said:#?}"
    );
    let numbers: Vec<u64> = events.iter().map(|event| event.sequence.0).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_transcript_that_does_not_fit_during_a_cut_ends_the_session_too() {
    let test =
        "failures::full_disk::a_transcript_that_does_not_fit_during_a_cut_ends_the_session_too";
    if !is_inside(24, test) {
        return;
    }
    let mirror = r#"printf '{"type":"transcript_mirror","filePath":"/claude/projects/p/s.jsonl","entries":[{"a":"'
      head -c 100000 /dev/zero | tr '\0' x; echo '"}]}'"#;
    let later = format!(
        "(until [ -e go ]; do sleep 0.02; done; head -c 100M /dev/zero 2>/dev/null >fill; {mirror}) &"
    );
    let script = Script::new(&polite(&later));
    let mut world = world(&script).await;
    world.ports.hold_storing(true);
    world.start();
    let start = std::time::Instant::now();
    while world.ports.held_back() == 0 {
        assert!(start.elapsed().as_secs() < 60, "no cut");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    std::fs::write(world.base.path().join("workspace/go"), "").expect("written");
    ends_for_the_disk(&mut world, "the session's transcript cannot be kept").await;
}

#[tokio::test]
async fn an_attachment_that_does_not_fit_is_refused_and_the_session_goes_on() {
    let test =
        "failures::full_disk::an_attachment_that_does_not_fit_is_refused_and_the_session_goes_on";
    if !is_inside(24, test) {
        return;
    }
    let script = Script::new(&polite("cat .attachments/* >> seen 2>/dev/null"));
    let mut world = world(&script).await;
    let uploads = world.objects.uploads.clone();
    // The first does not fit at all; of the second the download fits, but not the copy.
    for (id, bytes) in [(1, 40 << 20), (2, 15 << 20), (3, 1 << 20)] {
        let id = UploadId::from_random([id; 17]);
        let bytes = vec![b'x'; bytes];
        uploads
            .lock()
            .expect("no panic")
            .insert(id.as_str().to_owned(), bytes);
    }
    world.start();
    world.idle_after(1).await;
    for (id, turns) in [(1, 1), (2, 1), (3, 2)] {
        let command = format!("m{id}");
        let message = CommandBody::Message {
            text: "look".to_owned(),
            attachments: vec![Attachment {
                upload: UploadId::from_random([id; 17]),
                name: "notes.txt".to_owned(),
            }],
        };
        world.send(&command, message).await;
        if turns == 2 {
            // What did not fit left nothing behind: there is room again.
            world.idle_after(2).await;
            let seen = world.base.path().join("workspace/seen");
            assert_eq!(seen.metadata().expect("seen").len(), 1 << 20);
            continue;
        }
        let expected = format!("{command} to be refused");
        let start = std::time::Instant::now();
        let outcome = loop {
            if let Some(outcome) = world.command(&command).await.outcome {
                break outcome;
            }
            assert!(start.elapsed().as_secs() < 60, "{expected}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        let CommandOutcome::Refused(why) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(why.contains("the session's disk is full: cannot"), "{why}");
    }
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn a_session_for_which_there_is_no_room_says_so() {
    let test = "failures::full_disk::a_session_for_which_there_is_no_room_says_so";
    if !is_inside(8, test) {
        return;
    }
    let script = Script::new(&polite(""));
    let mut world = world(&script).await;
    fill(&world.base.path().join("fill"));
    world.start();
    ends_for_the_disk(&mut world, "cannot write").await;
}

/// Two alarms are made of this line, at 0.8 and at 0.9.
#[test]
fn a_disk_that_fills_is_told_before_it_is_full() {
    let test = "failures::full_disk::a_disk_that_fills_is_told_before_it_is_full";
    if !is_inside(8, test) {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let session = SessionId::from_random([1; 17]);
    let processors = Processors::of_task(None);
    let directory = place.path().to_owned();
    let mut load = Load::new(session, directory, processors, Queue::default());
    let mut said = || {
        let lines = testkit::Written::default();
        let writer = lines.clone();
        let subscriber = boot::logging::json_into("session-runner", move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::callsite::rebuild_interest_cache();
            load.say()
        });
        let line: serde_json::Value = serde_json::from_str(&lines.text()).expect("one JSON line");
        line["shannon_runner_disk_ratio"]
            .as_f64()
            .expect("a number")
    };
    assert!(said() < 0.1);
    std::fs::write(place.path().join("most"), vec![b'x'; 7 << 20]).expect("room");
    let filling = said();
    assert!(filling > 0.8 && filling < 0.9, "{filling}");
    fill(&place.path().join("fill"));
    assert!(said() > 0.9);
}
