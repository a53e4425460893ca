//! What the file system says about a file, and whether that proves that its content is as it was.

use rustix::fs::{FileType, Stat};

use crate::{entry::MODE_BITS, limits::CLOCK_TICK_NANOSECONDS};

/// The parts of a `stat` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) kind: FileType,
    pub(crate) mode: u16,
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) ctime: i64,
    pub(crate) inode: u64,
    /// It takes less space than its size.
    pub(crate) sparse: bool,
}

impl Stamp {
    pub(crate) fn of(stat: &Stat) -> Self {
        let time = |seconds: i64, nanoseconds: i64| {
            seconds
                .saturating_mul(1_000_000_000)
                .saturating_add(nanoseconds)
        };
        // How wide these fields are, and whether they have a sign, differs between systems.
        let part = |nanoseconds| i64::try_from(nanoseconds).unwrap_or(0);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: (u64::from(stat.st_mode) & MODE_BITS) as u16,
            size,
            mtime: time(stat.st_mtime, part(stat.st_mtime_nsec)),
            ctime: time(stat.st_ctime, part(stat.st_ctime_nsec)),
            inode: stat.st_ino,
            sparse: blocks.saturating_mul(512) < size,
        }
    }

    /// Both say that nothing was written in between.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        (self.kind, self.size, self.mtime, self.ctime, self.inode)
            == (
                other.kind,
                other.size,
                other.mtime,
                other.ctime,
                other.inode,
            )
    }
}

/// What this machine knows of a file whose content is in a manifest. Never stored: inodes and
/// change times mean nothing elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    inode: u64,
    /// Nothing is known when it is [`Known::NOTHING`]'s.
    ctime: i64,
}

impl Known {
    pub(crate) const NOTHING: Self = Self {
        inode: 0,
        ctime: i64::MIN,
    };

    /// Of a file that was read (or written by us), under a stamp, by someone who started at `since`.
    ///
    /// A file that was touched when that started or later may be written again within the same tick
    /// of the clock, and look as it does now: it is read again next time.
    pub(crate) fn of(stamp: &Stamp, since: i64) -> Self {
        let newest = stamp.mtime.max(stamp.ctime);
        if newest >= since.saturating_sub(CLOCK_TICK_NANOSECONDS) {
            return Self::NOTHING;
        }
        Self {
            inode: stamp.inode,
            ctime: stamp.ctime,
        }
    }

    /// Whether it is the same file, whatever was done to its permissions since.
    pub(crate) fn is_inode(&self, stamp: &Stamp) -> bool {
        self.ctime != i64::MIN && self.inode == stamp.inode
    }

    /// Whether a file with this stamp is still what was known; its size and mtime are compared with
    /// the manifest's.
    pub(crate) fn is(&self, stamp: &Stamp) -> bool {
        self.ctime != i64::MIN && self.inode == stamp.inode && self.ctime == stamp.ctime
    }
}

/// Nanoseconds since 1970 on the machine's clock, which also stamps the files on its disks.
pub(crate) fn now() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec)
}
