//! Walks a root in the order of manifests, without following a link.

use std::sync::mpsc::SyncSender;

use rustix::{
    fs::{AtFlags, Dir, FileType, statat},
    io::Errno,
};

use crate::{
    dirs::Directories,
    ignoring::{IGNORE_FILE, IgnoreRules, Ignoring},
    limits::STAGING,
    manifest::SkipReason,
    path::split,
    stamp::Stamp,
};

/// What the walk met.
#[derive(Debug)]
pub(crate) enum Met {
    /// Something that is there.
    Entry(Stamp),
    /// Something that is left out by rule.
    Ignored,
    /// Something that cannot be kept.
    Skipped(SkipReason),
}

/// A piece of what a walk met, with the paths, in order; an error when the root cannot be read.
pub(crate) type Found = Result<Vec<(Vec<u8>, Met)>, Errno>;

/// What is met in one piece, and pieces that wait. Own: few enough to stay in the caches.
const IN_A_PIECE: usize = 256;
pub(crate) const WALKED_AHEAD: usize = 16;

/// A walk that has begun. Names of the directories it is in are in memory, nothing else.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    directories: Directories,
    ignoring: Ignoring<'a>,
    /// The directories that it is in.
    levels: Vec<Level>,
    /// The directory that it enters before it goes on.
    enter: Option<Vec<u8>>,
    /// What is wrong with the ignore file of the directory that it entered.
    rules: Option<SkipReason>,
}

#[derive(Debug)]
struct Level {
    path: Vec<u8>,
    names: Names,
    next: usize,
}

/// The names of a directory, sorted, in one buffer.
#[derive(Debug, Default)]
struct Names {
    bytes: Vec<u8>,
    places: Vec<(u32, u32, FileTypeHint)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileTypeHint {
    Directory,
    Other,
    Unknown,
}

impl Names {
    fn read(directory: Dir) -> Result<(Self, bool), Errno> {
        let mut names = Self::default();
        let mut ignore_file = false;
        for entry in directory {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            ignore_file |= name == IGNORE_FILE.as_bytes();
            let hint = match entry.file_type() {
                FileType::Directory => FileTypeHint::Directory,
                FileType::Unknown => FileTypeHint::Unknown,
                _ => FileTypeHint::Other,
            };
            // A directory's names are far from 4 GiB: each takes an inode.
            let place = names.bytes.len() as u32;
            names.bytes.extend_from_slice(name);
            names.places.push((place, name.len() as u32, hint));
        }
        let Self { bytes, places } = &mut names;
        let name = |place: &(u32, u32, FileTypeHint)| {
            &bytes[place.0 as usize..place.0 as usize + place.1 as usize]
        };
        places.sort_unstable_by(|left, right| name(left).cmp(name(right)));
        Ok((names, ignore_file))
    }

    fn get(&self, place: usize) -> Option<(&[u8], FileTypeHint)> {
        let (from, length, hint) = *self.places.get(place)?;
        let from = from as usize;
        Some((&self.bytes[from..from + length as usize], hint))
    }
}

impl<'a> Walk<'a> {
    pub(crate) fn new(directories: Directories, rules: &'a IgnoreRules) -> Self {
        Self {
            directories,
            ignoring: Ignoring::new(rules),
            levels: Vec::new(),
            enter: Some(Vec::new()),
            rules: None,
        }
    }

    /// Walks to the end, or until nobody takes over what is met.
    pub(crate) fn run(mut self, found: SyncSender<Found>) {
        loop {
            let next = std::iter::from_fn(|| self.next().transpose());
            let piece: Found = next.take(IN_A_PIECE).collect();
            let is_last = piece.as_ref().map_or(true, Vec::is_empty);
            if found.send(piece).is_err() || is_last {
                return;
            }
        }
    }

    /// What comes next, with its path. Fails only when the root itself cannot be read.
    ///
    /// A directory is given before what is in it. What vanished meanwhile was never there.
    fn next(&mut self) -> Result<Option<(Vec<u8>, Met)>, Errno> {
        if let Some(path) = self.enter.take() {
            match self.list(&path) {
                Ok(level) => {
                    self.levels.push(level);
                    if let Some(problem) = self.rules.take() {
                        let file = join(&path, IGNORE_FILE.as_bytes());
                        return Ok(Some((file, Met::Skipped(problem))));
                    }
                }
                Err(error) if path.is_empty() => return Err(error),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(Errno::ACCESS | Errno::PERM) => {
                    return Ok(Some((path, Met::Skipped(SkipReason::Unreadable))));
                }
                Err(_) => return Ok(Some((path, Met::Skipped(SkipReason::Failing)))),
            }
        }
        while let Some(level) = self.levels.last_mut() {
            let Some((name, hint)) = level.names.get(level.next) else {
                self.ignoring.leave(&level.path);
                self.levels.pop();
                continue;
            };
            level.next += 1;
            let path = join(&level.path, name);
            if level.path.is_empty() && name.starts_with(STAGING) {
                return Ok(Some((path, Met::Skipped(SkipReason::Reserved))));
            }
            if let Some(met) = self.look_at(&path, hint) {
                return Ok(Some((path, met)));
            }
        }
        Ok(None)
    }

    fn look_at(&mut self, path: &[u8], hint: FileTypeHint) -> Option<Met> {
        if path.len() > domain::limits::PATH_BYTES {
            return Some(Met::Skipped(SkipReason::PathTooLong));
        }
        if hint != FileTypeHint::Unknown
            && self.ignoring.ignores(path, hint == FileTypeHint::Directory)
        {
            return Some(Met::Ignored);
        }
        let (parent, name) = split(path);
        let stat = self
            .directories
            .at(parent)
            .and_then(|parent| statat(parent, name, AtFlags::SYMLINK_NOFOLLOW));
        let stamp = match stat {
            Ok(stat) => Stamp::of(&stat),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return None,
            Err(Errno::ACCESS | Errno::PERM) => {
                return Some(Met::Skipped(SkipReason::Unreadable));
            }
            Err(_) => return Some(Met::Skipped(SkipReason::Failing)),
        };
        if hint == FileTypeHint::Unknown && self.ignoring.ignores(path, stamp.kind.is_dir()) {
            return Some(Met::Ignored);
        }
        match stamp.kind {
            FileType::Directory => self.enter = Some(path.to_vec()),
            FileType::RegularFile | FileType::Symlink => {}
            _ => return Some(Met::Skipped(SkipReason::Special)),
        }
        Some(Met::Entry(stamp))
    }

    fn list(&mut self, path: &[u8]) -> Result<Level, Errno> {
        let handle = self.directories.at(path)?;
        let (names, ignore_file) = Names::read(Dir::read_from(handle)?)?;
        if ignore_file {
            self.rules = self.ignoring.enter(path, handle);
        }
        Ok(Level {
            path: path.to_vec(),
            names,
            next: 0,
        })
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    if !directory.is_empty() {
        path.extend_from_slice(directory);
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}
