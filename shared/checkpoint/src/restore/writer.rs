//! The thread that writes what a restore fetches.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    fs::ftruncate,
    io::{Errno, pwrite},
};
use tokio::sync::mpsc::Receiver;

use crate::{
    codec::{Hash, Malformed, unpack},
    entry::{Entry, Extent, Frame, Node},
    objects::{Damage, damaged, pack_name},
    path::RelativePath,
    stamp::Stamp,
};

use super::{
    RestoreError, RestoreOptions, TargetRoot, Written,
    plan::{Fetch, Piece},
    stage::Stage,
};

/// In order.
#[derive(Debug)]
pub(super) enum Task {
    /// The next entries of a root; the bytes that follow are for them.
    Window(usize, Arc<Vec<Entry>>),
    /// A range that was fetched.
    Bytes(Fetch, Vec<u8>),
    /// Everything is there.
    Finish,
}

pub(super) struct Writer {
    targets: Vec<TargetRoot>,
    options: RestoreOptions,
    stop: Arc<AtomicBool>,
    stages: Vec<Stage>,
    written: Written,
    window: Option<Window>,
    /// Of each root: files at its top, and their places among its entries.
    tops: Vec<Vec<(usize, RelativePath)>>,
}

/// The entries that are being written.
struct Window {
    root: usize,
    entries: Arc<Vec<Entry>>,
    /// Of each entry: chunks that are still to come.
    missing: Vec<usize>,
    stamps: Vec<Option<Stamp>>,
    /// The file that was written last, when it has several chunks.
    open: Option<(usize, OwnedFd)>,
}

impl Writer {
    pub(super) fn new(
        targets: Vec<TargetRoot>,
        options: RestoreOptions,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self {
            written: Written {
                files: 0,
                bytes: 0,
                stamps: vec![Vec::new(); targets.len()],
            },
            tops: vec![Vec::new(); targets.len()],
            targets,
            options,
            stop,
            stages: Vec::new(),
            window: None,
        }
    }

    /// Writes until all is there. Whatever goes wrong before the old content is being replaced: what
    /// was built is removed.
    pub(super) fn run(mut self, mut tasks: Receiver<Task>) -> Result<Written, RestoreError> {
        match self.build(&mut tasks) {
            Ok(()) => {}
            Err(error) => {
                for stage in self.stages {
                    stage.abandon();
                }
                return Err(error);
            }
        }
        self.replace()?;
        Ok(self.written)
    }

    fn build(&mut self, tasks: &mut Receiver<Task>) -> Result<(), RestoreError> {
        for number in 0..self.targets.len() {
            let stage = Stage::new(&self.targets[number], self.options.owner)
                .map_err(|error| self.failed(number, b"", error, false))?;
            self.stages.push(stage);
        }
        loop {
            match tasks.blocking_recv() {
                None => return Err(RestoreError::Interrupted),
                Some(Task::Window(root, entries)) => {
                    self.end_window()?;
                    self.begin_window(root, entries)?;
                }
                Some(Task::Bytes(fetch, bytes)) => self.bytes(&fetch, &bytes)?,
                Some(Task::Finish) => break,
            }
        }
        self.end_window()?;
        for number in 0..self.stages.len() {
            self.stages[number]
                .settle_inner()
                .map_err(|error| self.failed(number, b"", error, false))?;
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(RestoreError::Interrupted);
        }
        Ok(())
    }

    fn failed(&self, root: usize, path: &[u8], error: Errno, replacing: bool) -> RestoreError {
        let root = self.targets[root].name.as_str();
        let path = format!("{root}/{}", String::from_utf8_lossy(path));
        if error == Errno::EXIST && !replacing {
            return RestoreError::Collision(path);
        }
        RestoreError::Directory {
            path,
            replacing,
            source: error.into(),
        }
    }

    /// Makes everything that needs no bytes.
    fn begin_window(&mut self, root: usize, entries: Arc<Vec<Entry>>) -> Result<(), RestoreError> {
        let mut window = Window {
            root,
            missing: vec![0; entries.len()],
            stamps: vec![None; entries.len()],
            entries: Arc::clone(&entries),
            open: None,
        };
        for (place, entry) in entries.iter().enumerate() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(RestoreError::Interrupted);
            }
            let path = entry.path.as_bytes();
            let stage = &mut self.stages[root];
            let made = match &entry.node {
                Node::Directory { mode } => stage.directory(path, *mode, entry.mtime),
                Node::Symlink { target } => stage.symlink(path, target, entry.mtime),
                Node::File {
                    mode,
                    size,
                    extents,
                } => {
                    self.written.files += 1;
                    window.missing[place] = entry.node.chunks().count();
                    match window.missing[place] {
                        // A file that is one chunk is made when the chunk comes.
                        1 if extents.len() == 1 => Ok(()),
                        0 => stage
                            .create(path)
                            .and_then(|file| {
                                ftruncate(&file, *size)?;
                                stage.finish(&file, *mode, entry.mtime)
                            })
                            .map(|stamp| window.stamps[place] = Some(stamp)),
                        _ => stage.create(path).and_then(|file| ftruncate(&file, *size)),
                    }
                }
            };
            made.map_err(|error| self.failed(root, path, error, false))?;
        }
        self.window = Some(window);
        Ok(())
    }

    fn end_window(&mut self) -> Result<(), RestoreError> {
        let Some(window) = self.window.take() else {
            return Ok(());
        };
        if window.missing.iter().any(|missing| *missing > 0) {
            return Err(RestoreError::Interrupted);
        }
        let stamps = &mut self.written.stamps[window.root];
        let tops = &mut self.tops[window.root];
        for (entry, stamp) in window.entries.iter().zip(window.stamps) {
            if stamp.is_some() && !entry.path.as_bytes().contains(&b'/') {
                tops.push((stamps.len(), entry.path.clone()));
            }
            stamps.push(stamp);
        }
        Ok(())
    }

    fn bytes(&mut self, fetch: &Fetch, bytes: &[u8]) -> Result<(), RestoreError> {
        let mut window = self.window.take().ok_or(RestoreError::Interrupted)?;
        let mut unpacked: Option<(Frame, Vec<u8>)> = None;
        for piece in &fetch.pieces {
            if self.stop.load(Ordering::Relaxed) {
                return Err(RestoreError::Interrupted);
            }
            let frame = match unpacked.take() {
                Some((frame, raw)) if frame == piece.frame => raw,
                _ => frame_in(fetch, bytes, piece.frame)
                    .map_err(|malformed| self.damage(&window, piece, malformed))?,
            };
            self.piece(&mut window, piece, &frame)?;
            unpacked = Some((piece.frame, frame));
        }
        self.window = Some(window);
        Ok(())
    }

    fn damage(&self, window: &Window, piece: &Piece, malformed: Malformed) -> RestoreError {
        let root = self.targets[window.root].name.as_str();
        let file = format!("{root}/{}", window.entries[piece.entry].path);
        RestoreError::Damaged(Damage {
            file: Some(file),
            ..damaged(pack_name(&piece.frame.pack), malformed)
        })
    }

    /// Verifies one chunk and writes it.
    fn piece(
        &mut self,
        window: &mut Window,
        piece: &Piece,
        frame: &[u8],
    ) -> Result<(), RestoreError> {
        let entries = Arc::clone(&window.entries);
        let entry = &entries[piece.entry];
        let Node::File { mode, extents, .. } = &entry.node else {
            return Err(RestoreError::Interrupted);
        };
        let Some(Extent::Chunk(chunk)) = extents.get(piece.extent) else {
            return Err(RestoreError::Interrupted);
        };
        let from = chunk.offset as usize;
        let bytes = frame
            .get(from..from + chunk.length as usize)
            .filter(|bytes| Hash::of(bytes) == chunk.hash)
            .ok_or(Malformed("a chunk is not what was stored"))
            .map_err(|malformed| self.damage(window, piece, malformed))?;
        let path = entry.path.as_bytes();
        let stage = &mut self.stages[window.root];
        let open = match window.open.take() {
            Some((place, file)) if place == piece.entry => Ok(file),
            _ if extents.len() == 1 => stage.create(path),
            _ => stage.reopen(path),
        };
        let written = open.and_then(|file| {
            write_at(&file, bytes, piece.at)?;
            window.missing[piece.entry] -= 1;
            if window.missing[piece.entry] == 0 {
                window.stamps[piece.entry] = Some(stage.finish(&file, *mode, entry.mtime)?);
            } else {
                window.open = Some((piece.entry, file));
            }
            Ok(())
        });
        written.map_err(|error| self.failed(window.root, path, error, false))?;
        self.written.bytes += u64::from(chunk.length);
        Ok(())
    }

    fn replace(&mut self) -> Result<(), RestoreError> {
        for number in 0..self.stages.len() {
            self.stages[number]
                .replace()
                .map_err(|error| self.failed(number, b"", error, true))?;
            // Moving a file changes its change time.
            for (place, path) in std::mem::take(&mut self.tops[number]) {
                let stamp = self.stages[number].stamp(path.as_bytes());
                let stamp =
                    stamp.map_err(|error| self.failed(number, path.as_bytes(), error, true))?;
                self.written.stamps[number][place] = Some(stamp);
            }
        }
        Ok(())
    }
}

fn frame_in(fetch: &Fetch, bytes: &[u8], frame: Frame) -> Result<Vec<u8>, Malformed> {
    let from = usize::try_from(frame.offset - fetch.offset).unwrap_or(usize::MAX);
    let stored = bytes
        .get(from..from.saturating_add(frame.stored as usize))
        .ok_or(Malformed("it is shorter than it was"))?;
    unpack(stored, frame.raw as usize)
}

fn write_at(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, at)? {
            0 => return Err(Errno::NOSPC),
            count => {
                at += count as u64;
                bytes = &bytes[count..];
            }
        }
    }
    Ok(())
}
