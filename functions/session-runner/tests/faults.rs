//! The life of a session - a turn, a suspension, a second turn on another machine - and of a fork,
//! with each call that is made to the store for it failing once, before its effect and after it:
//! whatever that does to a runner, the session comes to the same end, and all that is visible is
//! whole.
//!
//! The runners are the real code in the real sandbox; the CLI is a script that keeps a transcript.
//! `SHANNON_TEST_FAULT="put_new 3 After"` repeats one fault alone.

#[expect(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use checkpoint::{RestoreOptions, RootName, Snapshots, SweepOptions, TargetRoot};
use domain::checkpoint::{CheckpointName, RestoreScope};
use domain::ports::Clock;
use domain::use_cases::{ForkSession, SendMessage, fork_session, reconcile_session, send_message};
use domain::{Checkpoint, CheckpointId, CommandId, CommandOutcome, EventBody, Head, State};
use session_runner::supervisor::Outcome;
use support::{Memory, World};
use testkit::{FaultTime, caller, deployment};
use tokio::sync::watch;

/// Calls of a runner that checkpoints, suspends and restores.
const CALLS: [&str; 8] = [
    "acquire",
    "append",
    "checkpoint",
    "get_object",
    "get_range",
    "put_new",
    "tree",
    OBJECT,
];
/// Runs at once: most of a run is waiting.
const AT_ONCE: usize = 6;
/// Calls whose number depends on the time: a planned one may not come, but not none of those above.
const BY_TIME: [&str; 4] = ["append", "commands_after", "renew", OBJECT];
/// Of those that ask again and again, so many are spread over the run.
const SPREAD: usize = 5;
/// The name of a write of a transcript segment.
const OBJECT: &str = "object";
/// So often is asked again, or a runner started, before that is no way to an end.
const TRIES: usize = 200;

/// A CLI in a shell that says in each turn how many there were, and keeps and mirrors a transcript.
const CLI: &str = r#"#!/bin/bash
if [ "$1" = --version ]; then echo '2.1.328 (Claude Code)'; exit 0; fi
for argument in "$@"; do
  case "$argument" in
    --session-id=*) id=${argument#*=};;
    --resume=*) of=${argument#*=};;
  esac
done
kept=$CLAUDE_CONFIG_DIR/projects/-workspace/${id:-$of}.jsonl
mkdir -p "${kept%/*}"
touch "$kept"
mirror() {
  echo "$1" >> "$kept"
  echo '{"type":"transcript_mirror","filePath":"'$kept'","entries":['"$1"']}'
}
read -r line
echo '{"type":"control_response","response":{"subtype":"success","request_id":"initialize","response":{"claude_code_version":"2.1.328"}}}'
while read -r line; do
  case "$line" in
    *'"type":"user"'*)
      uuid=$(printf %s "$line" | sed 's/.*"uuid":"\([^"]*\)".*/\1/')
      echo '{"type":"system","subtype":"session_state_changed","state":"running"}'
      echo '{"type":"system","subtype":"init","session_id":"s"}'
      if [ -n "$id" ] && [ -n "$of" ]; then
        while read -r entry; do mirror "$entry"; done < "${kept%/*}/$of.jsonl"
        of=
      fi
      text=$(printf %s "$line" | grep -o 'message [a-z]*' | head -n 1)
      mirror '{"type":"user","message":{"role":"user","content":"'"$text"'"}}'
      turn=$(grep -c '"type":"user"' "$kept")
      echo "turn $turn" >> log
      mkdir -p "empty/$turn"
      ln -s log "link-$turn"
      chmod 700 log
      mirror '{"type":"assistant","message":{"content":[{"type":"text","text":"turn '$turn', after '"$text"'"}]}}'
      echo '{"type":"result","subtype":"success","result":"ok","user_message_uuids":["'$uuid'"]}'
      echo '{"type":"system","subtype":"session_state_changed","state":"idle"}'
      mirror '{"type":"last-prompt","turn":'$turn'}'
      ;;
  esac
done
"#;

/// What fails: the calls of the session's whole life, or those of its fork.
#[derive(Clone, Copy, Debug)]
enum Story {
    Resumed,
    Forked,
}

/// Which call fails.
#[derive(Clone, Debug)]
struct Fault {
    call: String,
    number: usize,
    time: FaultTime,
}

impl Fault {
    fn parse(text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        let [call, number, time] = words[..] else {
            panic!("{text:?} is no call, number and time")
        };
        Fault {
            call: call.to_owned(),
            number: number.parse().expect("a number"),
            time: match time {
                "Before" => FaultTime::Before,
                "After" => FaultTime::After,
                _ => panic!("{time:?} is neither Before nor After"),
            },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.call, self.number, self.time)
    }
}

/// What is left of a session.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    /// Of the newest checkpoint.
    files: BTreeMap<String, String>,
    conversation: Vec<String>,
    /// What readers have of it.
    stream: String,
}

/// How it came there.
struct Way {
    calls: BTreeMap<String, usize>,
    struck: bool,
}

fn head(world: &World) -> Head {
    world.ports.peek_head(&world.key).expect("a session")
}

/// The task that the session waits for, as the sweep of overdue sessions has it started.
async fn next_task(world: &World) -> String {
    for _ in 0..TRIES {
        let head = head(world);
        assert!(!head.state.is_ended(), "{:?}", head.end_reason);
        if let (true, Some(task)) = (head.state.awaits_runner(), head.task) {
            return task;
        }
        world.ports.clock().advance(1_000);
        // One that fails is made again.
        let _ = reconcile_session(&world.ports, deployment().slots(), &world.key).await;
    }
    panic!("nobody runs it: {:#?}", head(world));
}

/// Runs one runner after the other, each on a machine that has nothing of the session, until that
/// many commands are settled and it is suspended.
async fn until_settled(world: &mut World, commands: u64) {
    for _ in 0..TRIES {
        world.assignment.task = next_task(world).await;
        world.base = tempfile::tempdir().expect("a directory");
        world.assignment.base = world.base.path().to_owned();
        (world.stop, world.stopped) = watch::channel(false);
        world.start();
        let outcome = world.outcome().await;
        assert!(!matches!(outcome, Outcome::Ended(_)), "{outcome:?}");
        let head = head(world);
        if head.state == State::Suspended && head.commands_settled == commands {
            return;
        }
    }
    panic!("it comes to no end: {:#?}", head(world));
}

/// From here on the world is about a fork of its session.
async fn fork(world: &mut World) {
    let request = ForkSession {
        key: world.key.clone(),
        checkpoint: CheckpointName::Latest,
        what: RestoreScope::Both,
        prompt: Some("message two".to_owned()),
        message_id: None,
        client_token: Some("token".to_owned()),
    };
    let me = caller(&world.key.owner);
    for _ in 0..TRIES {
        let forked = fork_session(&world.ports, &deployment(), &me, request.clone()).await;
        if let Ok(forked) = forked {
            world.key = forked.head.key.clone();
            world.assignment.key = forked.head.key;
            return;
        }
    }
    panic!("it was not forked");
}

async fn say(world: &World, id: &str, text: &str) {
    let message = SendMessage {
        key: world.key.clone(),
        text: text.to_owned(),
        attachments: vec![],
        message_id: Some(CommandId::parse(id).expect("an id")),
    };
    let me = caller(&world.key.owner);
    for _ in 0..TRIES {
        let sent = send_message(&world.ports, &deployment(), &me, message.clone()).await;
        if sent.is_ok() {
            return;
        }
    }
    panic!("it was not accepted");
}

/// From here on calls count, and that one fails.
fn arm(world: &mut World, fault: Option<&Fault>) -> BTreeMap<&'static str, usize> {
    // Each session's objects are its own.
    world.objects = Memory::default();
    match fault {
        Some(fault) if fault.call == OBJECT => {
            let failing = Some((fault.number, fault.time));
            *world.objects.failing_put.lock().expect("no panic") = failing;
        }
        Some(fault) => world
            .ports
            .fail_call_of(&fault.call, fault.number, fault.time),
        None => {}
    }
    world.ports.calls_by_name()
}

/// The whole life. Other than its one fault nothing goes wrong.
async fn life(claude: PathBuf, story: Story, fault: Option<Fault>) -> (Left, Way) {
    let nowhere = "http://127.0.0.1:9".to_owned();
    let mut world = World::new(nowhere, claude, testkit::spec(), "message one").await;
    world.settings.idle_time = Duration::from_millis(250);
    let before = match story {
        Story::Resumed => {
            let before = arm(&mut world, fault.as_ref());
            until_settled(&mut world, 1).await;
            say(&world, "second", "message two").await;
            until_settled(&mut world, 2).await;
            before
        }
        Story::Forked => {
            until_settled(&mut world, 1).await;
            let before = arm(&mut world, fault.as_ref());
            fork(&mut world).await;
            until_settled(&mut world, 1).await;
            before
        }
    };

    let mut calls = BTreeMap::new();
    for (name, count) in world.ports.calls_by_name() {
        let earlier = before.get(name).copied().unwrap_or_default();
        calls.insert(name.to_owned(), count - earlier);
    }
    let puts = *world.objects.puts.lock().expect("no panic");
    calls.insert(OBJECT.to_owned(), puts);
    let unstruck = world.objects.failing_put.lock().expect("no panic").take();
    let struck = !world.ports.no_more_faults() && unstruck.is_none();
    for command in world.ports.peek_commands(&world.key) {
        let outcome = &command.outcome;
        assert!(
            matches!(outcome, Some(CommandOutcome::Turn(_))),
            "{command:?}"
        );
    }
    let turns = world.ports.peek_events(&world.key);
    let turns = turns
        .iter()
        .filter(|event| matches!(event.body, EventBody::TurnEnded(_)));
    let commands = world.ports.peek_commands(&world.key).len();
    assert_eq!(turns.count(), commands);
    let (files, conversation) = all_is_whole(&world).await;
    let left = Left {
        files,
        conversation,
        stream: stream(&world),
    };
    (left, Way { calls, struck })
}

/// Every checkpoint that can be seen is whole, before a sweep and after it, and of one cut; and after
/// the sweep there is nothing else. Gives what the newest holds.
async fn all_is_whole(world: &World) -> (BTreeMap<String, String>, Vec<String>) {
    let tree = head(world).tree_key();
    let snapshots = Snapshots::new(&world.ports, tree.clone());
    let records = world.ports.peek_checkpoints(&world.key);
    let newest = records.last().expect("a checkpoint");
    assert_eq!(Some(&newest.id), head(world).checkpoint.as_ref());
    let keys = world.ports.session_keys();
    let live: BTreeSet<CheckpointId> = keys
        .iter()
        .flat_map(|key| world.ports.peek_checkpoints(key))
        .flat_map(|it| [it.files.clone(), it.conversation.clone()])
        .collect();
    for sweeps in [false, true] {
        if sweeps {
            let options = SweepOptions {
                now: world.ports.now().plus(10_000_000),
                grace_milliseconds: 1_000,
                dry_run: false,
            };
            let swept = snapshots.sweep(&live, options).await.expect("swept");
            assert_eq!(swept.unreadable, []);
        }
        for id in &live {
            let manifest = snapshots.manifest(id).await.expect("a manifest");
            let found = snapshots.verify(&manifest).await.expect("verified");
            assert!(found.is_whole(), "{found:?}");
        }
    }
    let objects = world.ports.peek_objects(&tree);
    let manifests = objects.iter().filter(|it| it.starts_with("manifests/"));
    assert_eq!(manifests.count(), live.len());
    let mut last = None;
    for record in &records {
        let (files, conversation) = restored(&snapshots, record).await;
        // What was done by turns that are not settled is in both or in none.
        let done = files.get("log").map_or(0, |log| log.lines().count());
        let asked = conversation
            .iter()
            .map(|it| it.matches(r#""type":"user""#).count());
        let asked = asked.max().unwrap_or_default();
        let settled = usize::try_from(record.commands_settled).expect("small");
        assert!(done == asked && asked >= settled, "{record:?}: {files:?}");
        last = Some((files, conversation));
    }
    last.expect("a checkpoint")
}

async fn restored(
    snapshots: &Snapshots<'_, testkit::Fake>,
    record: &Checkpoint,
) -> (BTreeMap<String, String>, Vec<String>) {
    let place = tempfile::tempdir().expect("a directory");
    let root = |name, directory: &str| {
        let directory = place.path().join(directory);
        std::fs::create_dir(&directory).expect("a directory");
        TargetRoot { name, directory }
    };
    let workspace = root(RootName::Workspace, "workspace");
    let transcript = root(RootName::Transcript, "transcript");
    for (id, target) in [
        (&record.files, &workspace),
        (&record.conversation, &transcript),
    ] {
        let manifest = snapshots.manifest(id).await.expect("a manifest");
        let options = RestoreOptions::default();
        let target = std::slice::from_ref(target);
        let restored = snapshots.restore(&manifest, target, options).await;
        restored.expect("restored");
    }
    let mut files = BTreeMap::new();
    read(&workspace.directory, "", &mut files);
    let mut conversations = BTreeMap::new();
    read(&transcript.directory, "", &mut conversations);
    conversations.retain(|name, _| name.ends_with(".jsonl"));
    // Their names differ from one fork to the next.
    let mut conversations: Vec<String> = conversations.into_values().collect();
    conversations.sort();
    (files, conversations)
}

/// What is below a directory: files with their modes, links, directories.
fn read(directory: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(directory).expect("files") {
        let entry = entry.expect("an entry");
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let data = entry.metadata().expect("its kind");
        if data.is_dir() {
            read(&entry.path(), &format!("{name}/"), found);
            found.insert(name, "a directory".to_owned());
        } else if data.is_symlink() {
            let to = std::fs::read_link(entry.path()).expect("a link");
            found.insert(name, format!("to {}", to.display()));
        } else {
            let text = std::fs::read_to_string(entry.path()).expect("a text");
            if data.permissions().mode() & 0o100 != 0 {
                found.insert(format!("{name} is executable"), String::new());
            }
            found.insert(name, text);
        }
    }
}

/// All that readers have of the transcript, in order.
fn stream(world: &World) -> String {
    let written = world.objects.written.lock().expect("no panic");
    let segments = written
        .iter()
        .filter(|(name, _)| name.starts_with("transcript/"));
    let pieces = segments.flat_map(|(_, bytes)| zstd::decode_all(&bytes[..]).expect("a segment"));
    String::from_utf8(pieces.collect()).expect("a text")
}

/// Runs a life on a thread of its own, which is named after its fault.
fn on_a_thread(
    claude: &Path,
    story: Story,
    fault: Option<Fault>,
) -> std::thread::Result<(Left, Way)> {
    let name = fault
        .as_ref()
        .map_or("undisturbed".to_owned(), Fault::to_string);
    let claude = claude.to_owned();
    let run = move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        runtime.block_on(life(claude, story, fault))
    };
    let thread = std::thread::Builder::new().name(name).spawn(run);
    thread.expect("a thread").join()
}

/// Every call of an undisturbed life, before and after; of those that ask again and again, some.
fn planned(calls: &BTreeMap<String, usize>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (call, count) in calls {
        let step = if ["commands_after", "renew"].contains(&call.as_str()) {
            count.div_ceil(SPREAD)
        } else {
            1
        };
        for number in (1..=*count).step_by(step.max(1)) {
            for time in [FaultTime::Before, FaultTime::After] {
                faults.push(Fault {
                    call: call.clone(),
                    number,
                    time,
                });
            }
        }
    }
    faults
}

#[test]
fn whatever_call_fails_once_the_session_comes_to_the_same_end() {
    let left = each_fault_alone(Story::Resumed);
    assert_eq!(left.files["log"], "turn 1\nturn 2\n");
    let [conversation] = &left.conversation[..] else {
        panic!("{left:?}")
    };
    assert_eq!(conversation.matches("turn 1, after message one").count(), 1);
    assert_eq!(conversation.matches("turn 2, after message two").count(), 1);
    assert_eq!(left.stream, *conversation);
}

#[test]
fn whatever_call_fails_once_a_fork_comes_to_the_same_end() {
    let left = each_fault_alone(Story::Forked);
    assert_eq!(left.files["log"], "turn 1\nturn 2\n");
    let [of, own] = &left.conversation[..] else {
        panic!("{left:?}")
    };
    assert!(own.starts_with(of) && own.contains("turn 2, after message two"));
    assert_eq!(left.stream, *own);
}

/// What an undisturbed life leaves, and all the others.
fn each_fault_alone(story: Story) -> Left {
    let directory = tempfile::tempdir().expect("a directory");
    let claude = directory.path().join("claude");
    std::fs::write(&claude, CLI).expect("written");
    std::fs::set_permissions(&claude, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let (expected, way) = on_a_thread(&claude, story, None).expect("an undisturbed life");
    let named = std::env::var("SHANNON_TEST_FAULT").ok();
    let must_strike = if named.is_none() { &CALLS[..] } else { &[] };
    let faults = named.map_or_else(|| planned(&way.calls), |text| vec![Fault::parse(&text)]);
    for call in CALLS {
        assert!(way.calls.get(call) > Some(&0), "{call} is not made");
    }
    let waiting = Mutex::new(faults);
    let failed = Mutex::new(Vec::new());
    let struck = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(fault) = waiting.lock().expect("no panic").pop() else {
                        return;
                    };
                    let problem = match on_a_thread(&claude, story, Some(fault.clone())) {
                        Err(_) => "see above".to_owned(),
                        Ok((left, _)) if left != expected => format!("{left:#?}"),
                        Ok((_, way)) if !way.struck && !BY_TIME.contains(&&*fault.call) => {
                            "it did not come".to_owned()
                        }
                        Ok((_, way)) => {
                            if way.struck {
                                struck.lock().expect("no panic").insert(fault.call);
                            }
                            continue;
                        }
                    };
                    let failed = &mut *failed.lock().expect("no panic");
                    failed.push(format!("SHANNON_TEST_FAULT=\"{fault}\": {problem}"));
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(
        failed.is_empty(),
        "not as {expected:#?}, each of these:\n{}",
        failed.join("\n")
    );
    let struck = struck.into_inner().expect("no panic");
    for call in must_strike {
        assert!(
            struck.contains(*call),
            "no fault of {call} came: {struck:?}"
        );
    }
    expected
}
