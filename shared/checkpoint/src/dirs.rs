//! Handles of directories below a root. No link inside the root is ever followed: each name is
//! opened in the handle of its parent, and only if it is a directory itself.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, open, openat},
    io::Errno,
};

use crate::limits::OPEN_DIRECTORIES;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A root and the directories that were opened on the way to the last one that was asked for.
#[derive(Debug)]
pub(crate) struct Directories {
    root: OwnedFd,
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    name: Vec<u8>,
    /// Closed where there are many below it; opened again on the way back.
    handle: Option<OwnedFd>,
}

impl Directories {
    /// Opens the root itself, which must be a directory and no link to one.
    pub(crate) fn open(root: &Path) -> Result<Self, Errno> {
        Ok(Self::below(open(root, DIRECTORY, Mode::empty())?))
    }

    pub(crate) const fn below(root: OwnedFd) -> Self {
        Self {
            root,
            levels: Vec::new(),
        }
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory at a path below the root; the root itself for an empty path.
    pub(crate) fn at(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, Errno> {
        let mut depth = 0;
        for name in path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
        {
            if self
                .levels
                .get(depth)
                .is_none_or(|level| level.name != name)
            {
                self.levels.truncate(depth);
                self.levels.push(Level {
                    name: name.to_vec(),
                    handle: None,
                });
            }
            depth += 1;
        }
        self.levels.truncate(depth);
        let opened = self.levels.iter().rposition(|level| level.handle.is_some());
        for place in opened.map_or(0, |place| place + 1)..depth {
            let handle = openat(
                self.handle(place)?,
                self.levels[place].name.as_slice(),
                DIRECTORY,
                Mode::empty(),
            )?;
            self.levels[place].handle = Some(handle);
            if let Some(far) = place.checked_sub(OPEN_DIRECTORIES) {
                self.levels[far].handle = None;
            }
        }
        self.handle(depth)
    }

    /// The handle above the level at `place`.
    fn handle(&self, place: usize) -> Result<BorrowedFd<'_>, Errno> {
        match place.checked_sub(1) {
            None => Ok(self.root.as_fd()),
            Some(above) => self.levels[above]
                .handle
                .as_ref()
                .map(AsFd::as_fd)
                .ok_or(Errno::BADF),
        }
    }
}
