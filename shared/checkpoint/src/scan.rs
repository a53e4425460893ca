//! The thread that walks the roots, compares them with the base, and reads what changed.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use rustix::{fs::readlinkat, io::Errno};

use crate::{
    base::{BaseCursor, BaseEntry, BasePart},
    codec::Malformed,
    content::{Content, ContentReader},
    create::SourceRoot,
    dirs::Directories,
    entry::{Entry, Node},
    limits::{PART_BYTES, PART_ENTRIES_MOST, SKIPPED_NAMED},
    manifest::{RootName, SkipReason, Skipped, Statistics},
    output::{Output, PendingPart, Slot, Work},
    part::ends_part,
    path::{RelativePath, compare, split},
    stamp::{Known, Stamp, now},
    walk::{Found, Met, WALKED_AHEAD, Walk},
};

/// Why a scan ended early.
#[derive(Debug)]
pub(crate) enum ScanError {
    /// Nobody wants its result any more, or the packing thread has failed.
    Stopped,
    /// A root cannot be read at all.
    Root(RootName, io::Error),
    /// The machine has no thread left.
    Thread(io::Error),
    /// What was remembered is damaged.
    Base(Malformed),
}

impl From<Malformed> for ScanError {
    fn from(malformed: Malformed) -> Self {
        Self::Base(malformed)
    }
}

/// A scan under way.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) output: Output,
    pub(crate) stop: Arc<AtomicBool>,
    reader: ContentReader,
    statistics: Statistics,
    /// When it started.
    since: i64,
}

impl Scan {
    pub(crate) fn new(output: Output, stop: Arc<AtomicBool>) -> Self {
        Self {
            output,
            stop,
            reader: ContentReader::new(),
            statistics: Statistics::default(),
            since: now(),
        }
    }

    /// All roots, in order, and what they hold.
    pub(crate) fn run(
        mut self,
        roots: &[SourceRoot],
        base: &[Arc<Vec<BasePart>>],
    ) -> Result<Statistics, ScanError> {
        for (number, (root, base)) in roots.iter().zip(base).enumerate() {
            self.root(number, root, base)?;
        }
        self.statistics.new_bytes = self.output.end()?;
        Ok(self.statistics)
    }

    /// A thread of its own walks ahead: asking the system about each file takes most of the time when
    /// little has changed. It ends with this; should it panic, so does this.
    fn root(
        &mut self,
        number: usize,
        root: &SourceRoot,
        base: &Arc<Vec<BasePart>>,
    ) -> Result<(), ScanError> {
        let unreadable = |error: Errno| ScanError::Root(root.name, error.into());
        let open = || Directories::open(&root.directory).map_err(unreadable);
        let (walked, read) = (open()?, open()?);
        std::thread::scope(|scope| {
            let (sender, found) = mpsc::sync_channel(WALKED_AHEAD);
            let walk = Walk::new(walked, &root.ignore);
            std::thread::Builder::new()
                .name("checkpoint-walk".to_owned())
                .spawn_scoped(scope, || walk.run(sender))
                .map_err(ScanError::Thread)?;
            self.found(number, root.name, read, base, found)
        })
    }

    /// Takes over what the walk of a root finds.
    fn found(
        &mut self,
        number: usize,
        root: RootName,
        mut directories: Directories,
        base: &Arc<Vec<BasePart>>,
        found: mpsc::Receiver<Found>,
    ) -> Result<(), ScanError> {
        let mut cursor = BaseCursor::new(Arc::clone(base));
        let mut run = Run::default();
        for piece in found {
            let piece = piece.map_err(|error| ScanError::Root(root, error.into()))?;
            for (path, met) in piece {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(ScanError::Stopped);
                }
                let stamp = match met {
                    Met::Entry(stamp) => stamp,
                    Met::Ignored => {
                        self.statistics.ignored += 1;
                        continue;
                    }
                    Met::Skipped(why) => {
                        self.skip(root, &path, why);
                        continue;
                    }
                };
                let before = same_path(&mut cursor, &path)?;
                let entry = self.entry(root, &mut directories, path, stamp, &before)?;
                let Some((entry, known)) = entry else {
                    continue;
                };
                self.count(&entry.node);
                let ends = ends_part(entry.path.as_bytes());
                let place = before
                    .filter(|before| is_unchanged(&entry, &before.entry))
                    .map(|before| (before.part, before.place));
                run.push(entry, known, place);
                if ends || run.is_full() {
                    run.close(number, base, &self.output)?;
                }
            }
        }
        run.close(number, base, &self.output)
    }

    /// What the checkpoint holds at this path; nothing when it vanished or cannot be read.
    fn entry(
        &mut self,
        root: RootName,
        directories: &mut Directories,
        path: Vec<u8>,
        stamp: Stamp,
        before: &Option<BaseEntry>,
    ) -> Result<Option<(Entry<Slot>, Known)>, ScanError> {
        let (parent, name) = split(&path);
        let node = if stamp.kind.is_dir() {
            Node::Directory { mode: stamp.mode }
        } else {
            let Ok(directory) = directories.at(parent) else {
                return Ok(None);
            };
            if stamp.kind.is_symlink() {
                match readlinkat(directory, name, Vec::new()) {
                    Ok(target) => Node::Symlink {
                        target: target.into_bytes(),
                    },
                    Err(_) => return Ok(None),
                }
            } else {
                if let Some(node) = carried(before, &stamp, |known| known.is(&stamp)) {
                    let known = Known::of(&stamp, self.since);
                    return Ok(Some((finish(path, &stamp, node), known)));
                }
                self.statistics.files_read += 1;
                match self.reader.read(directory, name, &mut self.output)? {
                    Content::Gone => return Ok(None),
                    Content::Skipped(why) => {
                        // Only its permissions changed: its content is known all the same.
                        let node = carried(before, &stamp, |known| known.is_inode(&stamp));
                        if let Some(node) = node {
                            return Ok(Some((finish(path, &stamp, node), Known::NOTHING)));
                        }
                        self.skip(root, &path, why);
                        return Ok(None);
                    }
                    Content::Read {
                        extents,
                        stamp,
                        stable,
                    } => {
                        let node = Node::File {
                            mode: stamp.mode,
                            size: stamp.size,
                            extents,
                        };
                        let known = if stable {
                            Known::of(&stamp, self.since)
                        } else {
                            self.skip(root, &path, SkipReason::Changing);
                            Known::NOTHING
                        };
                        return Ok(Some((finish(path, &stamp, node), known)));
                    }
                }
            }
        };
        Ok(Some((finish(path, &stamp, node), Known::NOTHING)))
    }

    fn count(&mut self, node: &Node<Slot>) {
        match node {
            Node::Directory { .. } => self.statistics.directories += 1,
            Node::Symlink { .. } => self.statistics.symlinks += 1,
            Node::File { size, .. } => {
                self.statistics.files += 1;
                self.statistics.bytes = self.statistics.bytes.saturating_add(*size);
            }
        }
    }

    fn skip(&mut self, root: RootName, path: &[u8], why: SkipReason) {
        self.statistics.skipped += u64::from(why.is_left_out());
        if self.statistics.skipped_named.len() < SKIPPED_NAMED {
            let mut path = format!("{}/{}", root.as_str(), String::from_utf8_lossy(path));
            // A path may be of any length here; its beginning tells where it is.
            if path.len() > domain::limits::PATH_BYTES {
                path.truncate(path.floor_char_boundary(domain::limits::PATH_BYTES));
            }
            self.statistics.skipped_named.push(Skipped { path, why });
        }
    }
}

fn finish(path: Vec<u8>, stamp: &Stamp, node: Node<Slot>) -> Entry<Slot> {
    Entry {
        path: RelativePath::from_walk(path),
        mtime: stamp.mtime,
        node,
    }
}

/// The entry of the base at this path; those before it are gone.
fn same_path(cursor: &mut BaseCursor, path: &[u8]) -> Result<Option<BaseEntry>, Malformed> {
    while let Some(before) = cursor.peek()? {
        match compare(before.entry.path.as_bytes(), path) {
            std::cmp::Ordering::Less => drop(cursor.next()?),
            std::cmp::Ordering::Equal => return cursor.next(),
            std::cmp::Ordering::Greater => break,
        }
    }
    Ok(None)
}

/// The content that a file had, when what is known of it proves that it has it still.
fn carried(
    before: &Option<BaseEntry>,
    stamp: &Stamp,
    proves: impl Fn(&Known) -> bool,
) -> Option<Node<Slot>> {
    let before = before.as_ref()?;
    let Node::File { size, extents, .. } = &before.entry.node else {
        return None;
    };
    if *size != stamp.size || before.entry.mtime != stamp.mtime || !proves(&before.known) {
        return None;
    }
    let node = Node::File {
        mode: stamp.mode,
        size: *size,
        extents: extents.clone(),
    };
    node.map(|frame| Ok::<_, ScanError>(Slot::Stored(frame)))
        .ok()
}

fn is_unchanged(entry: &Entry<Slot>, before: &Entry) -> bool {
    let same_mode = match (&entry.node, &before.node) {
        (Node::Directory { mode }, Node::Directory { mode: before })
        | (Node::File { mode, .. }, Node::File { mode: before, .. }) => mode == before,
        _ => true,
    };
    same_mode && entry.mtime == before.mtime && entry.node.same_content(&before.node)
}

/// The part that is being collected.
#[derive(Debug, Default)]
struct Run {
    entries: Vec<Entry<Slot>>,
    known: Vec<Known>,
    bytes: usize,
    /// The part of the base that it equals so far, from its first entry on.
    same: Option<usize>,
}

impl Run {
    /// `place`: part and place of the equal entry of the base.
    fn push(&mut self, entry: Entry<Slot>, known: Known, place: Option<(usize, usize)>) {
        self.same = match place {
            Some((part, 0)) if self.entries.is_empty() => Some(part),
            Some((part, place)) if self.same == Some(part) && place == self.entries.len() => {
                self.same
            }
            _ => None,
        };
        self.bytes += 32 + entry.path.as_bytes().len() + 48 * entry.node.chunks().count();
        self.entries.push(entry);
        self.known.push(known);
    }

    const fn is_full(&self) -> bool {
        self.entries.len() >= PART_ENTRIES_MOST || self.bytes >= PART_BYTES
    }

    fn close(&mut self, root: usize, base: &[BasePart], output: &Output) -> Result<(), ScanError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let Self {
            entries,
            known,
            same,
            ..
        } = std::mem::take(self);
        let same = same
            .and_then(|part| base.get(part))
            .filter(|part| part.part.entries as usize == entries.len());
        output.send(match same {
            Some(part) => Work::Same(
                root,
                BasePart {
                    part: part.part.clone(),
                    bytes: Arc::clone(&part.bytes),
                    known: known.into(),
                },
            ),
            None => Work::Part(root, PendingPart { entries, known }),
        })
    }
}
