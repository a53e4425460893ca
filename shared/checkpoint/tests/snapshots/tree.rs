//! Trees on disk for tests: making, editing and comparing them.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use checkpoint::{
    About, Base, CreateError, Created, IgnoreRules, Manifest, NewSnapshot, RestoreError,
    RestoreOptions, Restored, RootName, Snapshots, SourceRoot, TargetRoot,
};
use domain::{
    CheckpointId, OwnerId, Sequence, SessionId, TreeId, TreeKey, UnixMillis,
    ports::{IdSource as _, TreeObjects},
};
use testkit::{Fake, Random};

/// A store, a tree in it, and directories.
pub(crate) struct Place {
    pub(crate) fake: Fake,
    pub(crate) key: TreeKey,
    pub(crate) directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["files", "back"] {
            fs::create_dir(directory.path().join(name)).expect("created");
        }
        Self {
            fake: Fake::new(1),
            key: TreeKey {
                owner: OwnerId::of("test", "someone"),
                tree: TreeId::of(session()),
            },
            directory,
        }
    }

    /// The directory that is checkpointed.
    pub(crate) fn files(&self) -> PathBuf {
        self.directory.path().join("files")
    }

    /// The directory that is restored into.
    pub(crate) fn back(&self) -> PathBuf {
        self.directory.path().join("back")
    }

    pub(crate) fn snapshots(&self) -> Snapshots<'_, Fake> {
        Snapshots::new(&self.fake, self.key.clone())
    }

    pub(crate) fn new_snapshot(&self, base: Option<&Base>) -> NewSnapshot {
        NewSnapshot {
            id: CheckpointId::from_random(self.fake.random()),
            about: about(),
            roots: vec![SourceRoot {
                name: RootName::Workspace,
                directory: self.files(),
                ignore: IgnoreRules::default(),
            }],
            base: base.cloned(),
            unless_unchanged: false,
        }
    }

    pub(crate) async fn try_create(&self, base: Option<&Base>) -> Result<Created, CreateError> {
        self.snapshots().create(self.new_snapshot(base)).await
    }

    pub(crate) async fn create(&self, base: Option<&Base>) -> (Manifest, Created) {
        let created = self.try_create(base).await.expect("created");
        let manifest = created.manifest.clone().expect("a checkpoint was made");
        (manifest, created)
    }

    pub(crate) async fn try_restore(&self, id: &CheckpointId) -> Result<Restored, RestoreError> {
        restore(&self.fake, &self.key, id, &self.back()).await
    }

    pub(crate) async fn restore(&self, id: &CheckpointId) -> Restored {
        self.try_restore(id).await.expect("restored")
    }

    /// Names of stored objects that start so.
    pub(crate) fn objects(&self, prefix: &str) -> Vec<String> {
        let mut names = self.fake.peek_objects(&self.key);
        names.retain(|name| name.starts_with(prefix));
        names
    }
}

pub(crate) async fn restore<O: TreeObjects>(
    objects: &O,
    key: &TreeKey,
    id: &CheckpointId,
    to: &Path,
) -> Result<Restored, RestoreError> {
    let snapshots = Snapshots::new(objects, key.clone());
    let manifest = snapshots.manifest(id).await?;
    let roots = [TargetRoot {
        name: RootName::Workspace,
        directory: to.to_owned(),
    }];
    let options = RestoreOptions::default();
    snapshots.restore(&manifest, &roots, options).await
}

pub(crate) fn session() -> SessionId {
    SessionId::from_random([3; 17])
}

pub(crate) fn about() -> About {
    About {
        session: session(),
        parent: None,
        created_at: UnixMillis(1_700_000_000_000),
        author: "turn".to_owned(),
        message: Some("after the first turn".to_owned()),
        tags: vec!["green".to_owned()],
        claude_session: Some("0b7f2f0e".to_owned()),
        cut_sequence: Sequence(17),
        commands_settled: 2,
    }
}

/// What a checkpoint keeps of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    kind: &'static str,
    mode: u32,
    /// Seconds and nanoseconds.
    mtime: (i64, i64),
    content: Vec<u8>,
}

impl Seen {
    /// As git keeps it: no directories, no times, one bit of the mode.
    pub(crate) fn in_git(&self) -> Option<String> {
        let content = String::from_utf8_lossy(&self.content);
        match self.kind {
            "directory" => None,
            "link" => Some(format!("link {content}")),
            _ => Some(format!("{} {content}", self.mode & 0o100 != 0)),
        }
    }
}

/// Everything below a directory.
pub(crate) fn look(directory: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(directory.join(&path)).expect("a directory") {
            let path = path.join(entry.expect("an entry").file_name());
            let whole = directory.join(&path);
            let stat = fs::symlink_metadata(&whole).expect("a stat");
            let kind = stat.file_type();
            let (kind, mode, content) = if kind.is_dir() {
                todo.push(path.clone());
                ("directory", stat.mode() & 0o777, Vec::new())
            } else if kind.is_symlink() {
                let target = fs::read_link(&whole).expect("a link");
                ("link", 0, target.into_os_string().into_encoded_bytes())
            } else {
                let content = fs::read(&whole).expect("readable");
                ("file", stat.mode() & 0o777, content)
            };
            let mtime = (stat.mtime(), stat.mtime_nsec());
            let it = Seen {
                kind,
                mode,
                mtime,
                content,
            };
            seen.insert(path, it);
        }
    }
    seen
}

/// Fails with the first difference.
pub(crate) fn assert_same(left: &Path, right: &Path) {
    let (left, right) = (look(left), look(right));
    for (path, seen) in &left {
        let other = right.get(path);
        let short = |seen: &Seen| {
            let content = String::from_utf8_lossy(&seen.content[..seen.content.len().min(60)]);
            format!("{} {:o} {:?} {content}", seen.kind, seen.mode, seen.mtime)
        };
        assert!(
            other == Some(seen),
            "{}: {} is {}",
            path.display(),
            short(seen),
            other.map_or_else(|| "missing".to_owned(), short)
        );
    }
    assert_eq!(left.len(), right.len(), "the right side has more");
}

/// Bytes that compress about as source text does.
pub(crate) fn text(random: &mut Random, length: usize) -> Vec<u8> {
    const WORDS: [&str; 8] = [
        "let ", "mut ", "fn ", "state", "match ", ") -> ", "{\n", "value",
    ];
    let mut text = Vec::with_capacity(length + 16);
    while text.len() < length {
        text.extend_from_slice(WORDS[random.below(8) as usize].as_bytes());
        if random.one_in(4) {
            text.extend_from_slice(format!("{:x} ", random.below(1 << 24)).as_bytes());
        }
    }
    text.truncate(length);
    text
}

/// One random change of a tree. What is not possible is left.
pub(crate) fn edit(directory: &Path, random: &mut Random) {
    let path = directory.join(name(random));
    let _ = fs::create_dir_all(path.parent().expect("inside"));
    let mode = [0o644, 0o600, 0o755, 0o444, 0o777, 0o4755][random.below(6) as usize];
    let length = [0, 1, 100, 5_000, 40_000, 700_000][random.below(6) as usize];
    let _: std::io::Result<()> = match random.below(11) {
        0..4 => fs::write(&path, text(random, length))
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode))),
        4 => fs::create_dir_all(&path),
        5 => symlink("../anywhere/at all", &path),
        6 => fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path)),
        7 => fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(&text(random, 300))),
        8 => fs::rename(&path, directory.join(name(random))),
        9 => fs::File::create(&path).and_then(|mut file| {
            file.write_all(b"before the hole")?;
            file.seek(SeekFrom::Start(3 << 20))?;
            file.write_all(&text(random, length))?;
            file.set_len(5 << 20)
        }),
        _ => in_the_middle(&path, random),
    };
}

fn in_the_middle(path: &Path, random: &mut Random) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.read_to_end(&mut bytes)?;
    let place = random.below(bytes.len() as u64 + 1) as usize;
    bytes.splice(place..place, *b"an inserted line\n");
    fs::write(path, bytes)
}

fn name(random: &mut Random) -> PathBuf {
    const NAMES: [&str; 8] = ["a", "b", "A", "a-b", ".git", "ä ö", "x\ny", "src"];
    (0..=random.below(3))
        .map(|_| NAMES[random.below(8) as usize])
        .collect()
}
