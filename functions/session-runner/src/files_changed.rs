//! What a turn did to the workspace: files added, modified and deleted, and a unified diff.
//!
//! A baseline is taken when the workspace is ready and after each look. Text files of up to 1 MiB
//! each and 64 MiB in all are remembered whole; others by hash, and are named without a patch.
//! Links are compared by their target and never followed.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use domain::event::{ChangeKind, EventBody, FileChange};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use redact::Redactor;
use sha2::{Digest, Sha256};
use similar::TextDiff;

use crate::workspace::prepare::ATTACHMENTS;

/// Largest file that is remembered whole.
const TEXT_BYTES: u64 = 1024 * 1024;
/// All of them together.
const ALL_TEXT_BYTES: usize = 64 * 1024 * 1024;
/// Most files that are looked at. Own: beyond it a look would take longer than a turn.
const FILES: usize = 200_000;
/// Longest patch of one event. Own: a reader looks at no more, and files can be read.
const PATCH_BYTES: usize = 1024 * 1024;
/// Most files that one event names.
const NAMED_FILES: usize = 2_000;

/// Directories that are not looked into.
const SKIPPED: [&str; 4] = [".git", "target", "node_modules", ATTACHMENTS];

#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: i64,
    modified: (i64, i64),
    /// Cannot be set by the session, so an equal stamp means an equal file.
    changed: (i64, i64),
    mode: nix::libc::mode_t,
}

#[derive(Clone, PartialEq, Eq)]
enum Content {
    Text(String),
    Hash([u8; 32]),
    Link(std::ffi::OsString),
}

#[derive(Clone)]
struct Known {
    stamp: Stamp,
    content: Content,
}

/// The workspace as it was.
#[derive(Default)]
pub struct Baseline {
    files: BTreeMap<String, Known>,
    redactor: Redactor,
}

impl Baseline {
    /// Looks at the workspace. What cannot be read is left out: the session may be changing it.
    #[must_use]
    pub fn take(workspace: &Path, redactor: Redactor) -> Self {
        let nothing = Self {
            redactor,
            ..Self::default()
        };
        nothing.look(workspace)
    }

    /// Looks again. Gives the new baseline and, if anything changed, the event.
    #[must_use]
    pub fn compare(&self, workspace: &Path) -> (Self, Option<EventBody>) {
        let now = self.look(workspace);
        let event = difference(self, &now);
        (now, event)
    }

    fn look(&self, workspace: &Path) -> Self {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut look = Look {
            before: self,
            now: Baseline {
                redactor: self.redactor.clone(),
                ..Baseline::default()
            },
            text_bytes: 0,
        };
        if let Ok(root) = nix::fcntl::open(workspace, flags, Mode::empty()) {
            look.directory(root, "");
        }
        look.now
    }
}

struct Look<'a> {
    before: &'a Baseline,
    now: Baseline,
    text_bytes: usize,
}

impl Look<'_> {
    fn directory(&mut self, directory: OwnedFd, at: &str) {
        let Ok(own) = directory.try_clone() else {
            return;
        };
        let Ok(mut listing) = Dir::from_fd(own) else {
            return;
        };
        let names = listing
            .iter()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
        let mut names: Vec<String> = names.filter(|name| name != "." && name != "..").collect();
        names.sort();
        for name in names {
            if self.now.files.len() >= FILES {
                return;
            }
            let path = if at.is_empty() {
                name.clone()
            } else {
                format!("{at}/{name}")
            };
            let Ok(stat) = fstatat(&directory, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else {
                continue;
            };
            match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
                SFlag::S_IFDIR if SKIPPED.contains(&name.as_str()) => {}
                SFlag::S_IFDIR => {
                    let flags =
                        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                    if let Ok(next) = openat(&directory, name.as_str(), flags, Mode::empty()) {
                        self.directory(next, &path);
                    }
                }
                SFlag::S_IFLNK => {
                    if let Ok(target) = readlinkat(&directory, name.as_str()) {
                        self.now.files.insert(
                            path,
                            Known {
                                stamp: stamp(&stat),
                                content: Content::Link(target),
                            },
                        );
                    }
                }
                SFlag::S_IFREG => self.file(&directory, &name, path),
                _ => {}
            }
        }
    }

    fn file(&mut self, directory: &impl AsFd, name: &str, path: String) {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let Ok(opened) = openat(directory, name, flags, Mode::empty()) else {
            return;
        };
        let Ok(stat) = fstat(&opened) else { return };
        let stamp = stamp(&stat);
        let known = self
            .before
            .files
            .get(&path)
            .filter(|known| known.stamp == stamp);
        let content = match known {
            Some(known) => Some(known.content.clone()),
            None => self.read(std::fs::File::from(opened), &stat),
        };
        if let Some(content) = content {
            if let Content::Text(text) = &content {
                self.text_bytes += text.len();
            }
            self.now.files.insert(path, Known { stamp, content });
        }
    }

    fn read(&self, mut file: std::fs::File, stat: &FileStat) -> Option<Content> {
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let mut hash = Sha256::new();
        if size <= TEXT_BYTES && self.text_bytes < ALL_TEXT_BYTES {
            let mut bytes = Vec::new();
            (&mut file)
                .take(TEXT_BYTES + 1)
                .read_to_end(&mut bytes)
                .ok()?;
            if bytes.len() as u64 <= TEXT_BYTES && !bytes.contains(&0) {
                match String::from_utf8(bytes) {
                    Ok(text) => return Some(Content::Text(text)),
                    Err(error) => hash.update(error.as_bytes()),
                }
            } else {
                hash.update(&bytes);
            }
        }
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match file.read(&mut chunk).ok()? {
                0 => return Some(Content::Hash(hash.finalize().into())),
                count => hash.update(&chunk[..count]),
            }
        }
    }
}

fn stamp(stat: &FileStat) -> Stamp {
    Stamp {
        inode: stat.st_ino,
        size: stat.st_size,
        modified: (stat.st_mtime, stat.st_mtime_nsec),
        changed: (stat.st_ctime, stat.st_ctime_nsec),
        mode: stat.st_mode,
    }
}

fn difference(before: &Baseline, now: &Baseline) -> Option<EventBody> {
    let mut files = Vec::new();
    let mut patch = String::new();
    let mut left_out = 0_usize;
    let paths: std::collections::BTreeSet<&String> =
        before.files.keys().chain(now.files.keys()).collect();
    for path in paths {
        let (old, new) = (before.files.get(path), now.files.get(path));
        let (change, old_text, new_text) = match (old, new) {
            (None, Some(new)) => (ChangeKind::Added, Some(""), text(new)),
            (Some(old), None) => (ChangeKind::Deleted, text(old), Some("")),
            (Some(old), Some(new))
                if old.content != new.content || old.stamp.mode != new.stamp.mode =>
            {
                (ChangeKind::Modified, text(old), text(new))
            }
            _ => continue,
        };
        if files.len() >= NAMED_FILES {
            left_out += 1;
            continue;
        }
        let lines = match (old_text, new_text) {
            (Some(old_text), Some(new_text)) => {
                let (text, added, removed) =
                    file_patch(path, change, old_text, new_text, &now.redactor);
                if patch.len() + text.len() > PATCH_BYTES {
                    patch.push_str(&format!(
                        "# {path}: left out, the patch would be too long\n"
                    ));
                } else {
                    patch.push_str(&text);
                }
                Some((added, removed))
            }
            _ => None,
        };
        files.push(FileChange {
            path: path.clone(),
            change,
            added_lines: lines.map(|(added, _)| added),
            removed_lines: lines.map(|(_, removed)| removed),
        });
    }
    if left_out > 0 {
        patch.push_str(&format!("# {left_out} more files changed\n"));
    }
    (!files.is_empty()).then_some(EventBody::FilesChanged { files, patch })
}

fn text(known: &Known) -> Option<&str> {
    match &known.content {
        Content::Text(text) => Some(text),
        Content::Hash(_) | Content::Link(_) => None,
    }
}

/// The patch between the texts without their secrets: a change within a key shows no line of it. The
/// numbers count what really changed.
fn file_patch(
    path: &str,
    change: ChangeKind,
    old: &str,
    new: &str,
    redactor: &Redactor,
) -> (String, u32, u32) {
    let compare = TextDiff::configure()
        .timeout(std::time::Duration::from_secs(2))
        .to_owned();
    let diff = compare.diff_lines(old, new);
    let (mut added, mut removed) = (0, 0);
    for change in diff.iter_all_changes() {
        match change.tag() {
            similar::ChangeTag::Insert => added += 1,
            similar::ChangeTag::Delete => removed += 1,
            similar::ChangeTag::Equal => {}
        }
    }
    let before = if change == ChangeKind::Added {
        "/dev/null".to_owned()
    } else {
        format!("a/{path}")
    };
    let after = if change == ChangeKind::Deleted {
        "/dev/null".to_owned()
    } else {
        format!("b/{path}")
    };
    let (clean_old, clean_new) = (redactor.clean_lines(old), redactor.clean_lines(new));
    let clean = (clean_old != old || clean_new != new)
        .then(|| compare.diff_lines(clean_old.as_str(), clean_new.as_str()));
    let text = clean
        .as_ref()
        .unwrap_or(&diff)
        .unified_diff()
        .context_radius(3)
        .header(&before, &after)
        .to_string();
    (text, added, removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::write;

    fn changed(event: Option<EventBody>) -> (Vec<FileChange>, String) {
        match event {
            Some(EventBody::FilesChanged { files, patch }) => (files, patch),
            other => panic!("{other:?}"),
        }
    }

    fn change(path: &str, change: ChangeKind, lines: Option<(u32, u32)>) -> FileChange {
        FileChange {
            path: path.to_owned(),
            change,
            added_lines: lines.map(|lines| lines.0),
            removed_lines: lines.map(|lines| lines.1),
        }
    }

    #[test]
    fn changes_are_named_and_shown() {
        let workspace = tempfile::tempdir().unwrap();
        let at = |name: &str| workspace.path().join(name);
        for directory in [".git", "node_modules", "src"] {
            std::fs::create_dir(at(directory)).unwrap();
        }
        write(at("src/kept"), "same").unwrap();
        write(at("src/edited"), "one\ntwo\n").unwrap();
        write(at("gone"), "old\n").unwrap();
        write(at("image"), b"\0\x01").unwrap();
        let baseline = Baseline::take(workspace.path(), Redactor::default());
        assert!(baseline.compare(workspace.path()).1.is_none());

        write(at("src/edited"), "one\n2\nthree\n").unwrap();
        std::fs::remove_file(at("gone")).unwrap();
        write(at("image"), b"\0\x02").unwrap();
        write(at("new"), "new\n").unwrap();
        write(at(".git/x"), "x").unwrap();
        write(at("node_modules/x"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at("link")).unwrap();
        let (next, event) = baseline.compare(workspace.path());
        let (files, patch) = changed(event);
        assert_eq!(
            files,
            [
                change("gone", ChangeKind::Deleted, Some((0, 1))),
                change("image", ChangeKind::Modified, None),
                change("link", ChangeKind::Added, None),
                change("new", ChangeKind::Added, Some((1, 0))),
                change("src/edited", ChangeKind::Modified, Some((2, 1))),
            ]
        );
        assert_eq!(
            patch,
            "--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-old\n\
             --- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+new\n\
             --- a/src/edited\n+++ b/src/edited\n@@ -1,2 +1,3 @@\n one\n-two\n+2\n+three\n"
        );
        assert!(!patch.contains("root:"));
        assert!(next.compare(workspace.path()).1.is_none());
    }

    #[test]
    fn a_change_within_a_key_shows_no_line_of_it() {
        let workspace = tempfile::tempdir().unwrap();
        let at = |name: &str| workspace.path().join(name);
        let line = |last| {
            format!(
                "{}{last}\n",
                "0123456789abcdefABCDEFGHIJKLMNOPQ+/".repeat(2)
            )
        };
        let key = |last| {
            let (begin, end) = (
                concat!("-----BEGIN", " PRIVATE KEY-----"),
                "-----END PRIVATE KEY-----",
            );
            let lines = line('x').repeat(9);
            format!("a\n{begin}\n{lines}{}{lines}{end}\nb\n", line(last))
        };
        write(at("key"), key('y')).unwrap();
        write(at(".env"), "A=1\n").unwrap();
        let baseline = Baseline::take(workspace.path(), Redactor::default());
        write(at("key"), key('z')).unwrap();
        write(at(".env"), "A=1\nDB_PASSWORD=hunter22\n").unwrap();
        let (files, patch) = changed(baseline.compare(workspace.path()).1);
        assert_eq!(files[1], change("key", ChangeKind::Modified, Some((1, 1))));
        assert_eq!(
            patch,
            "--- a/.env\n+++ b/.env\n@@ -1 +1,2 @@\n A=1\n+DB_PASSWORD=[redacted: password]\n"
        );
    }

    #[test]
    fn a_large_file_is_named_without_a_patch() {
        let workspace = tempfile::tempdir().unwrap();
        let path = workspace.path().join("large");
        write(&path, vec![b'a'; 2 * 1024 * 1024]).unwrap();
        let baseline = Baseline::take(workspace.path(), Redactor::default());
        write(&path, vec![b'b'; 2 * 1024 * 1024]).unwrap();
        let (files, patch) = changed(baseline.compare(workspace.path()).1);
        assert_eq!(files, [change("large", ChangeKind::Modified, None)]);
        assert_eq!(patch, "");
    }
}
