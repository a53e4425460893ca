//! Large tool results, which the CLI keeps in files beside its transcript and does not mirror.
//!
//! They lie where the session writes, so they are copied by handles that follow no link; a copy is
//! kept on the runner's own disk, goes into checkpoints, and is stored with the transcript. The CLI
//! writes each once, before it mirrors the entry that names it.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fstat};

/// The directory with them, below `<project>/<session id>/`.
pub const RESULTS: &str = "tool-results";
/// Most files that are kept. Own: the session could make any number.
const FILES: usize = 20_000;
/// Most bytes that are kept. Own.
const BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Opens a directory, and no link to one.
pub(crate) const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Files that are left out and named; more are counted. Own.
const NAMED: usize = 10;

#[derive(Default)]
struct Kept {
    files: usize,
    bytes: u64,
    found: Spilled,
}

/// What a look at the results gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Spilled {
    /// What was copied just now: its name below `projects`, its copy, and its size.
    pub copied: Vec<(String, PathBuf, u64)>,
    /// Files that are not kept, because there are too many or they cannot be read.
    pub left_out: u64,
    /// The first of them, with the reason.
    pub named: Vec<String>,
}

impl Spilled {
    fn leave_out(&mut self, name: &str, why: &str) {
        self.left_out += 1;
        if self.named.len() < NAMED {
            self.named.push(format!("{name} ({why})"));
        }
    }
}

/// Copies what is new below `projects` (the CLI's) to `kept` (the runner's), under the same names.
/// What cannot be read is left out; doing it again copies what is still missing.
///
/// # Errors
/// The runner's own disk's.
pub fn keep(projects: &Path, kept: &Path) -> std::io::Result<Spilled> {
    std::fs::create_dir_all(kept)?;
    let Ok(root) = open(projects, DIRECTORY, Mode::empty()) else {
        return Ok(Spilled::default());
    };
    let mut so_far = Kept::default();
    for project in names(&root) {
        let Ok(project_directory) = openat(&root, project.as_str(), DIRECTORY, Mode::empty())
        else {
            continue;
        };
        for session in names(&project_directory) {
            let results = openat(
                &project_directory,
                session.as_str(),
                DIRECTORY,
                Mode::empty(),
            )
            .and_then(|session| openat(&session, RESULTS, DIRECTORY, Mode::empty()));
            let Ok(results) = results else { continue };
            let name = format!("{project}/{session}/{RESULTS}");
            keep_files(&results, &name, &kept.join(&name), &mut so_far)?;
        }
    }
    Ok(so_far.found)
}

fn keep_files(
    from: &OwnedFd,
    directory: &str,
    to: &Path,
    so_far: &mut Kept,
) -> std::io::Result<()> {
    for name in names(from) {
        let shown = format!("{directory}/{name}");
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let Ok(file) = openat(from, name.as_str(), flags, Mode::empty()) else {
            so_far.found.leave_out(&shown, "it cannot be read");
            continue;
        };
        let Ok(stat) = fstat(&file) else { continue };
        let is_file = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        if !is_file {
            so_far.found.leave_out(&shown, "it is no file");
            continue;
        }
        if so_far.files >= FILES || so_far.bytes.saturating_add(size) > BYTES {
            let why = "large results of tools are kept up to 20,000 files and 2 GiB";
            so_far.found.leave_out(&shown, why);
            continue;
        }
        so_far.files += 1;
        so_far.bytes += size;
        let target = to.join(&name);
        if target.metadata().is_ok_and(|data| data.len() == size) {
            continue;
        }
        std::fs::create_dir_all(to)?;
        let mut copy = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&target)?;
        std::io::copy(&mut File::from(file).take(size), &mut copy)?;
        so_far.found.copied.push((shown, target, size));
    }
    Ok(())
}

/// What is in a directory.
pub(crate) fn names(directory: &OwnedFd) -> Vec<String> {
    let listing = directory
        .as_fd()
        .try_clone_to_owned()
        .map_err(|_| Errno::EMFILE)
        .and_then(Dir::from_fd);
    let Ok(mut listing) = listing else {
        return Vec::new();
    };
    let mut names: Vec<String> = listing
        .iter()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
        .filter(|name| name != "." && name != "..")
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn results_are_kept_and_links_are_not_followed() {
        let (projects, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let secret = kept.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        let results = projects.path().join("-workspace/s/tool-results");
        fs::create_dir_all(&results).unwrap();
        fs::write(results.join("a.txt"), "result").unwrap();
        symlink(&secret, results.join("b.txt")).unwrap();
        symlink(kept.path(), projects.path().join("other")).unwrap();
        fs::create_dir_all(projects.path().join("p/t")).unwrap();
        symlink(kept.path(), projects.path().join("p/t/tool-results")).unwrap();
        nix::unistd::mkfifo(&results.join("fifo"), Mode::S_IRWXU).unwrap();
        let to = kept.path().join("kept");
        let found = keep(projects.path(), &to).unwrap();
        let name = "-workspace/s/tool-results/a.txt";
        assert_eq!(found.copied, [(name.to_owned(), to.join(name), 6)]);
        assert_eq!(found.left_out, 2);
        assert!(found.named[0].starts_with("-workspace/s/tool-results/b.txt ("));
        assert_eq!(keep(projects.path(), &to).unwrap().copied, []);
        let copies = to.join("-workspace/s/tool-results");
        let found: Vec<_> = fs::read_dir(&copies).unwrap().flatten().collect();
        assert_eq!(found.len(), 1);
        assert_eq!(fs::read(copies.join("a.txt")).unwrap(), b"result");
        assert!(!to.join("p").exists() && !to.join("other").exists());
        keep(&projects.path().join("none"), &to).unwrap();
    }
}
