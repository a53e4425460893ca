//! What is left of a session at its end, and that everything of it that can be seen is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use checkpoint::{RestoreOptions, RootName, Snapshots, SweepOptions, TargetRoot};
use domain::ports::Clock;
use domain::{Checkpoint, CheckpointId, CommandBody};

use super::life::head;
use crate::support::World;

/// What is left of a session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// Of the newest checkpoint.
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) conversation: Vec<String>,
    /// What readers have of it.
    pub(crate) stream: String,
}

/// Every checkpoint that can be seen is whole, before a sweep and after it, and of one cut; and after
/// the sweep there is nothing else. Gives what the newest holds.
pub(crate) async fn all_is_whole(world: &World) -> (BTreeMap<String, String>, Vec<String>) {
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
        let lines = |file: &str| files.get(file).map_or(0, |text| text.lines().count());
        let said = |what: &str| {
            let times = conversation.iter().map(|it| it.matches(what).count());
            times.max().unwrap_or_default()
        };
        let asked = said(r#""content":"message"#);
        let settled = messages(world, record.commands_settled);
        assert!(
            lines("log") == asked && asked >= settled,
            "{record:?}: {files:?}"
        );
        assert_eq!(lines("answers"), said(r#""content":"Blue""#), "{files:?}");
        last = Some((files, conversation));
    }
    last.expect("a checkpoint")
}

/// So many of the commands up to this ordinal are messages.
fn messages(world: &World, ordinal: u64) -> usize {
    let commands = world.ports.peek_commands(&world.key);
    let messages = commands.iter().filter(|command| {
        command.ordinal <= ordinal && matches!(command.body, CommandBody::Message { .. })
    });
    messages.count()
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
pub(crate) fn stream(world: &World) -> String {
    let written = world.objects.written.lock().expect("no panic");
    let segments = written
        .iter()
        .filter(|(name, _)| name.starts_with("transcript/"));
    let pieces = segments.flat_map(|(_, bytes)| zstd::decode_all(&bytes[..]).expect("a segment"));
    String::from_utf8(pieces.collect()).expect("a text")
}
