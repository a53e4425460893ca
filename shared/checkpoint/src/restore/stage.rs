//! The place beside the old content of a directory where the new is built, and its way from there.

use rustix::{
    fs::{
        AtFlags, Dir, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod,
        fchown, fstat, futimens, mkdirat, openat, renameat, statat, symlinkat, utimensat,
    },
    io::Errno,
};
use std::os::fd::{AsFd, OwnedFd};

use crate::{dirs::Directories, limits::STAGING, path::split, stamp::Stamp};

use super::{TargetRoot, remove::remove};

/// A directory whose mode and time are set once everything is in it.
#[derive(Debug)]
struct Pending {
    path: Vec<u8>,
    mode: u16,
    mtime: i64,
}

/// A root under construction.
#[derive(Debug)]
pub(super) struct Stage {
    target: Directories,
    staging: Directories,
    pending: Vec<Pending>,
    owner: Option<(Uid, Gid)>,
}

impl Stage {
    /// Opens the target, removes what a dead restore left, and makes an empty place.
    pub(super) fn new(root: &TargetRoot, owner: Option<(u32, u32)>) -> Result<Self, Errno> {
        let mut target = Directories::open(&root.directory)?;
        for name in names(&target)? {
            if name.starts_with(STAGING) {
                remove(&mut target, &name)?;
            }
        }
        mkdirat(target.root(), STAGING, Mode::RWXU)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let staging = openat(target.root(), STAGING, flags, Mode::empty())?;
        Ok(Self {
            target,
            staging: Directories::below(staging),
            pending: Vec::new(),
            owner: owner.map(|(user, group)| (Uid::from_raw(user), Gid::from_raw(group))),
        })
    }

    /// A directory that its owner alone may use until [`Stage::replace`].
    pub(super) fn directory(&mut self, path: &[u8], mode: u16, mtime: i64) -> Result<(), Errno> {
        let (parent, name) = split(path);
        mkdirat(self.staging.at(parent)?, name, Mode::RWXU)?;
        self.pending.push(Pending {
            path: path.to_vec(),
            mode,
            mtime,
        });
        Ok(())
    }

    pub(super) fn symlink(&mut self, path: &[u8], target: &[u8], mtime: i64) -> Result<(), Errno> {
        let (parent, name) = split(path);
        let parent = self.staging.at(parent)?;
        symlinkat(target, parent, name)?;
        if let Some((user, group)) = self.owner {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            chownat(parent, name, Some(user), Some(group), flags)?;
        }
        utimensat(parent, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Opens a file that must not be there.
    pub(super) fn create(&mut self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        self.open(path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC)
    }

    /// Opens a file that was created before.
    pub(super) fn reopen(&mut self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC)
    }

    fn open(&mut self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let (parent, name) = split(path);
        openat(
            self.staging.at(parent)?,
            name,
            flags,
            Mode::RUSR | Mode::WUSR,
        )
    }

    /// The content of a file is complete.
    pub(super) fn finish(&self, file: &OwnedFd, mode: u16, mtime: i64) -> Result<Stamp, Errno> {
        self.settle(file, mode, mtime)?;
        Ok(Stamp::of(&fstat(file)?))
    }

    fn settle(&self, file: impl AsFd, mode: u16, mtime: i64) -> Result<(), Errno> {
        if let Some((user, group)) = self.owner {
            fchown(&file, Some(user), Some(group))?;
        }
        fchmod(&file, Mode::from_raw_mode(mode.into()))?;
        futimens(&file, &times(mtime))
    }

    /// Sets what directories below the top shall have: the deepest first, as long as all may still
    /// be entered.
    pub(super) fn settle_inner(&mut self) -> Result<(), Errno> {
        let (top, inner): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|it| !it.path.contains(&b'/'));
        for it in inner.iter().rev() {
            let directory = self.staging.at(&it.path)?.try_clone_to_owned();
            let directory = directory.map_err(|_| Errno::MFILE)?;
            self.settle(&directory, it.mode, it.mtime)?;
        }
        self.pending = top;
        Ok(())
    }

    /// Replaces the old content by the new.
    pub(super) fn replace(&mut self) -> Result<(), Errno> {
        for name in names(&self.target)? {
            if name != STAGING {
                remove(&mut self.target, &name)?;
            }
        }
        // Handles into the old content are of no use any more.
        self.target.at(&[])?;
        for name in names(&self.staging)? {
            let from = self.staging.root();
            renameat(from, name.as_slice(), self.target.root(), name.as_slice())?;
        }
        remove(&mut self.target, STAGING)?;
        for it in std::mem::take(&mut self.pending) {
            let directory = self.target.at(&it.path)?.try_clone_to_owned();
            let directory = directory.map_err(|_| Errno::MFILE)?;
            self.settle(&directory, it.mode, it.mtime)?;
        }
        Ok(())
    }

    /// A file at the top, after it was moved there.
    pub(super) fn stamp(&self, name: &[u8]) -> Result<Stamp, Errno> {
        let stat = statat(self.target.root(), name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Stamp::of(&stat))
    }

    /// Removes what was built. The old content was not touched.
    pub(super) fn abandon(mut self) {
        self.target = match self.target.root().try_clone_to_owned() {
            Ok(root) => Directories::below(root),
            Err(_) => return,
        };
        // What cannot be removed now is removed by the next restore, which meets the same trouble
        // and names it.
        let _ = remove(&mut self.target, STAGING);
    }
}

fn names(directory: &Directories) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory.root())? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

fn times(mtime: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.div_euclid(1_000_000_000),
            tv_nsec: mtime.rem_euclid(1_000_000_000),
        },
    }
}
