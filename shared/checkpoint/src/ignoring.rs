//! Which files a checkpoint leaves out: the caller's rules, then `.shannonignore` files, in the
//! syntax of `.gitignore`; the one that is nearest to a file decides.

use std::{
    ffi::OsStr,
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
    path::Path,
};

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};
use rustix::{
    fs::{Mode, OFlags, fstat, openat},
    io::{Errno, read},
};

use crate::{limits::IGNORE_FILE_BYTES, manifest::SkipReason};

/// The name of the file with rules that a workspace may hold, in any directory.
pub const IGNORE_FILE: &str = ".shannonignore";

/// Rules of the caller, as lines of a `.gitignore` at the top.
#[derive(Clone, Debug)]
pub struct IgnoreRules {
    lines: Vec<String>,
    matcher: Gitignore,
}

impl IgnoreRules {
    /// From lines. One that cannot be understood is left out and given back.
    #[must_use]
    pub fn new<T: AsRef<str>>(lines: &[T]) -> (Self, Vec<String>) {
        let mut builder = GitignoreBuilder::new("");
        let mut refused = Vec::new();
        let mut kept = Vec::new();
        for line in lines {
            let line = line.as_ref();
            if builder.add_line(None, line).is_err() {
                refused.push(line.to_owned());
            } else {
                kept.push(line.to_owned());
            }
        }
        match builder.build() {
            Ok(matcher) => (
                Self {
                    lines: kept,
                    matcher,
                },
                refused,
            ),
            // Too large together: none of them can be used.
            Err(_) => {
                refused.extend(kept);
                let none = Self {
                    lines: Vec::new(),
                    matcher: Gitignore::empty(),
                };
                (none, refused)
            }
        }
    }

    /// The lines in use.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

impl Default for IgnoreRules {
    /// Directories that can be built again: `target` and `node_modules`.
    fn default() -> Self {
        Self::new(&["target/", "node_modules/"]).0
    }
}

/// The rules that hold where a walk is.
#[derive(Debug)]
pub(crate) struct Ignoring<'a> {
    rules: &'a IgnoreRules,
    /// Of the directories that the walk is in: path and rules.
    files: Vec<(Vec<u8>, Gitignore)>,
}

impl<'a> Ignoring<'a> {
    pub(crate) const fn new(rules: &'a IgnoreRules) -> Self {
        Self {
            rules,
            files: Vec::new(),
        }
    }

    /// The walk enters a directory that holds an ignore file. Gives what is wrong with it.
    pub(crate) fn enter(&mut self, path: &[u8], directory: BorrowedFd<'_>) -> Option<SkipReason> {
        let Ok(text) = read_rules(directory) else {
            return Some(SkipReason::RulesUnread);
        };
        let mut builder = GitignoreBuilder::new(Path::new(OsStr::from_bytes(path)));
        let mut problem = None;
        for line in text.lines() {
            // A line that cannot be understood matches nothing, as in git.
            if builder.add_line(None, line).is_err() {
                problem = Some(SkipReason::RuleNotUnderstood);
            }
        }
        match builder.build() {
            Ok(matcher) => self.files.push((path.to_vec(), matcher)),
            Err(_) => problem = Some(SkipReason::RulesUnread),
        }
        problem
    }

    /// The walk leaves a directory.
    pub(crate) fn leave(&mut self, path: &[u8]) {
        if self.files.last().is_some_and(|(of, _)| of == path) {
            self.files.pop();
        }
    }

    pub(crate) fn ignores(&self, path: &[u8], is_directory: bool) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        let files = self.files.iter().rev().map(|(_, matcher)| matcher);
        for matcher in files.chain([&self.rules.matcher]) {
            match matcher.matched(path, is_directory) {
                Match::None => {}
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
            }
        }
        false
    }
}

fn read_rules(directory: BorrowedFd<'_>) -> Result<String, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(directory, IGNORE_FILE, flags, Mode::empty())?;
    let stat = fstat(&file)?;
    let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    let fits = u64::try_from(stat.st_size).is_ok_and(|size| size <= IGNORE_FILE_BYTES as u64);
    if !is_file || !fits {
        return Err(Errno::FBIG);
    }
    let mut bytes = vec![0; IGNORE_FILE_BYTES];
    let mut filled = 0;
    while filled < bytes.len() {
        match read(&file, &mut bytes[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
