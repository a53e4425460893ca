//! What differs between two checkpoints: as a list, and as a patch that `git apply` takes.
//!
//! To compare a checkpoint with the files as they are now, take a checkpoint of them first: it costs
//! what changed.

mod binary;
mod lines;
mod patch;
mod renames;

use std::{cmp::Ordering, collections::BTreeSet, fmt::Write as _};

use domain::ports::TreeObjects;

use crate::{
    Snapshots,
    entry::{Entry, Frame, Node},
    manifest::{Manifest, Part, RootName},
    objects::{ReadError, damaged, pack_name},
    part::Order,
    path::RelativePath,
};

/// How a comparison is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiffOptions {
    /// Unchanged lines around each change.
    pub context_lines: usize,
    /// Finds files that were moved, changed a little or not at all.
    pub renames: bool,
    /// Contents of binary files are in the patch too, so that it is complete; else they are noted.
    pub binary: bool,
    /// The lines of larger files are not compared: they are treated as binary and only noted.
    pub file_bytes: u64,
    /// The patch ends with the file that makes it longer than this.
    pub patch_bytes: usize,
    /// More changes than this are counted, not listed.
    pub changes: usize,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self {
            context_lines: 3,
            renames: true,
            binary: false,
            file_bytes: 1 << 20,
            patch_bytes: 4 << 20,
            changes: 10_000,
        }
    }
}

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was not there.
    Added,
    /// It is not there any more.
    Deleted,
    /// Its content or its permissions changed.
    Modified,
    /// It was at [`Change::old_path`].
    Renamed,
    /// It became another kind of thing: a file, a directory, a link.
    Retyped,
}

impl ChangeKind {
    /// As `git status` shows it.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Deleted => 'D',
            Self::Modified => 'M',
            Self::Renamed => 'R',
            Self::Retyped => 'T',
        }
    }
}

/// One side of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// As in git: 100644, 100755, 120000 for a link, 40000 for a directory; octal.
    pub git_mode: u32,
    /// The permission bits; of a link, none.
    pub mode: u16,
    /// Bytes of a file or of a link's target.
    pub size: u64,
}

/// One path that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where it is now, or was.
    pub path: RelativePath,
    /// Where it was, if it was moved.
    pub old_path: Option<RelativePath>,
    /// What happened.
    pub kind: ChangeKind,
    /// How it was.
    pub old: Option<Side>,
    /// How it is.
    pub new: Option<Side>,
    /// Lines that came and went; none for directories and binary or very large files.
    pub lines: Option<(u64, u64)>,
    /// Its lines were not compared: it is binary or very large.
    pub binary: bool,
}

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// By path.
    pub changes: Vec<Change>,
    /// Changes that are not listed.
    pub more_changes: u64,
    /// The patch. Empty directories, times and permissions other than "executable" are not in it.
    pub patch: Vec<u8>,
    /// The patch does not hold all changes.
    pub truncated: bool,
}

impl Diff {
    /// The list as text, like `git diff --stat`.
    #[must_use]
    pub fn stat(&self) -> String {
        let mut text = String::new();
        let (mut came, mut went) = (0, 0);
        for change in &self.changes {
            // Writing to a string cannot fail.
            let _ = write!(text, "{} ", change.kind.letter());
            if let Some(old) = &change.old_path {
                let _ = write!(text, "{old} => ");
            }
            let _ = match change.lines {
                Some((more, less)) => {
                    came += more;
                    went += less;
                    writeln!(text, "{} | +{more} -{less}", change.path)
                }
                None if change.binary => {
                    let size = |side: Option<Side>| side.map_or(0, |side| side.size);
                    let (old, new) = (size(change.old), size(change.new));
                    writeln!(text, "{} | binary, {old} -> {new} bytes", change.path)
                }
                None => writeln!(text, "{}/", change.path),
            };
        }
        if self.more_changes > 0 {
            let _ = writeln!(text, "and {} more", self.more_changes);
        }
        let count = self.changes.len() as u64 + self.more_changes;
        let _ = writeln!(text, "{count} changed, {came} lines added, {went} removed");
        text
    }
}

/// A pair of entries that differ.
#[derive(Clone, Debug)]
struct Pair {
    old: Option<Entry>,
    new: Option<Entry>,
}

impl Pair {
    fn path(&self) -> Option<&RelativePath> {
        self.new.as_ref().or(self.old.as_ref()).map(|it| &it.path)
    }
}

impl<O: TreeObjects> Snapshots<'_, O> {
    /// Compares a root of two checkpoints; one that a checkpoint does not hold is empty there.
    ///
    /// Parts of the manifests that both share are not fetched. Changes nothing. The same two give the
    /// same patch each time, on any machine: with more room for it, it only goes on. Every call
    /// compares anew, within bounds: [`DiffOptions`] has those of what is read, and comparing two
    /// files takes a bounded number of steps.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn diff(
        &self,
        old: &Manifest,
        new: &Manifest,
        root: RootName,
        options: &DiffOptions,
    ) -> Result<Diff, ReadError> {
        let (mut pairs, more_changes) = self.pairs(old, new, root, options.changes).await?;
        let mut contents = Contents::new(self, root);
        if options.renames {
            pairs = renames::find(pairs, &mut contents).await?;
        }
        let mut diff = Diff {
            more_changes,
            truncated: more_changes > 0,
            ..Diff::default()
        };
        for pair in &pairs {
            patch::add(&mut diff, pair, &mut contents, options).await?;
        }
        Ok(diff)
    }

    /// The entries that differ, and how many more there are.
    async fn pairs(
        &self,
        old: &Manifest,
        new: &Manifest,
        root: RootName,
        most: usize,
    ) -> Result<(Vec<Pair>, u64), ReadError> {
        let parts = |manifest: &Manifest| manifest.roots.get(&root).cloned().unwrap_or_default();
        let (old, new) = (parts(old), parts(new));
        let hashes = |parts: &[Part]| -> BTreeSet<_> {
            parts.iter().map(|part| (part.hash, part.pack)).collect()
        };
        let (in_old, in_new) = (hashes(&old), hashes(&new));
        let mut old = Stream::new(old, &in_new);
        let mut new = Stream::new(new, &in_old);
        let mut pairs = Vec::new();
        let mut more = 0;
        loop {
            let order = match (old.peek(self).await?, new.peek(self).await?) {
                (None, None) => return Ok((pairs, more)),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.path.cmp(&new.path),
            };
            let pair = Pair {
                old: if order.is_le() {
                    old.entries.pop()
                } else {
                    None
                },
                new: if order.is_ge() {
                    new.entries.pop()
                } else {
                    None
                },
            };
            if let (Some(old), Some(new)) = (&pair.old, &pair.new)
                && is_same(old, new)
            {
                continue;
            }
            if pairs.len() < most {
                pairs.push(pair);
            } else {
                more += 1;
            }
        }
    }
}

fn is_same(old: &Entry, new: &Entry) -> bool {
    let mode = |entry: &Entry| side(entry).mode;
    old.node.same_content(&new.node) && mode(old) == mode(new)
}

fn side(entry: &Entry) -> Side {
    match &entry.node {
        Node::Directory { mode } => Side {
            git_mode: 0o40_000,
            mode: *mode,
            size: 0,
        },
        Node::File { mode, size, .. } => Side {
            git_mode: if mode & 0o100 == 0 {
                0o100_644
            } else {
                0o100_755
            },
            mode: *mode,
            size: *size,
        },
        Node::Symlink { target } => Side {
            git_mode: 0o120_000,
            mode: 0,
            size: target.len() as u64,
        },
    }
}

/// The entries of one side, without the parts that the other side has too.
struct Stream {
    /// The next one last.
    parts: Vec<Part>,
    /// The next one last.
    entries: Vec<Entry>,
    order: Order,
}

impl Stream {
    fn new(
        mut parts: Vec<Part>,
        other: &BTreeSet<(crate::codec::Hash, crate::entry::PackId)>,
    ) -> Self {
        parts.retain(|part| !other.contains(&(part.hash, part.pack)));
        parts.reverse();
        Self {
            parts,
            entries: Vec::new(),
            order: Order::default(),
        }
    }

    async fn peek<O: TreeObjects>(
        &mut self,
        snapshots: &Snapshots<'_, O>,
    ) -> Result<Option<&Entry>, ReadError> {
        while self.entries.is_empty() {
            let Some(part) = self.parts.pop() else {
                return Ok(None);
            };
            let mut read = snapshots.parts(std::slice::from_ref(&part)).await?;
            if let Some((entries, _)) = read.pop() {
                self.entries = entries;
            }
            for entry in &self.entries {
                self.order
                    .ascends(entry)
                    .map_err(|malformed| damaged(pack_name(&part.pack), malformed))?;
            }
            self.entries.reverse();
        }
        Ok(self.entries.last())
    }
}

/// Reads contents of entries; keeps the frames that were used last, because changed files lie
/// together.
struct Contents<'a, 'b, O> {
    snapshots: &'a Snapshots<'b, O>,
    root: RootName,
    frames: Vec<(Frame, Vec<u8>)>,
}

impl<'a, 'b, O: TreeObjects> Contents<'a, 'b, O> {
    /// Frames that are kept: 8 MiB or a little more.
    const FRAMES: usize = 8;

    const fn new(snapshots: &'a Snapshots<'b, O>, root: RootName) -> Self {
        Self {
            snapshots,
            root,
            frames: Vec::new(),
        }
    }

    /// What a patch shows: the content of a file or the target of a link.
    async fn read(&mut self, entry: &Entry) -> Result<Vec<u8>, ReadError> {
        match &entry.node {
            Node::Directory { .. } => Ok(Vec::new()),
            Node::Symlink { target } => Ok(target.clone()),
            Node::File { extents, size, .. } => {
                let file = format!("{}/{}", self.root.as_str(), entry.path);
                self.snapshots
                    .extents_with(extents, 0..*size, &file, &mut self.frames, Self::FRAMES)
                    .await
            }
        }
    }
}
