//! Walking a session's files without ever following a link.
//!
//! The session owns these files and may change them at any moment, so nothing here trusts a path:
//! each component is opened by itself, from its parent's descriptor, with `O_NOFOLLOW`.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};

/// The root of a walk.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
}

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, socket or pipe.
    Special,
}

impl Kind {
    fn of(stat: &FileStat) -> Self {
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Kind::File,
            SFlag::S_IFDIR => Kind::Directory,
            SFlag::S_IFLNK => Kind::Link,
            _ => Kind::Special,
        }
    }

    /// In words, with an article.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Kind::File => "a file",
            Kind::Directory => "a directory",
            Kind::Link => "a symbolic link",
            Kind::Special => "a device, socket or pipe",
        }
    }
}

/// Why a walk ended early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// There is nothing of that name.
    #[error("{0} does not exist")]
    Missing(String),
    /// A link stands on the way or at its end.
    #[error("{0} is a symbolic link, and links are not followed")]
    Link(String),
    /// Something else than wanted stands there.
    #[error("{path} is {found}, not {wanted}")]
    Kind {
        /// Where.
        path: String,
        /// What is there.
        found: &'static str,
        /// What should be.
        wanted: &'static str,
    },
    /// The system refused.
    #[error("{path} cannot be used: {error}")]
    System {
        /// Where.
        path: String,
        /// Why.
        error: Errno,
    },
}

const DIRECTORY: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

impl Tree {
    /// Opens the root, which the caller vouches for.
    ///
    /// # Errors
    /// [`WalkError`].
    pub fn open(root: &Path) -> Result<Self, WalkError> {
        match open(root, DIRECTORY | OFlag::O_RDONLY, Mode::empty()) {
            Ok(root) => Ok(Tree { root }),
            Err(error) => Err(WalkError::System {
                path: root.display().to_string(),
                error,
            }),
        }
    }

    /// What stands at `components`, links not followed.
    ///
    /// # Errors
    /// [`WalkError`], also for a link on the way.
    pub fn kind(&self, components: &[&str]) -> Result<Kind, WalkError> {
        let Some((name, parents)) = components.split_last() else {
            return Ok(Kind::Directory);
        };
        let parent = self.directory(parents)?;
        match fstatat(&parent, *name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Kind::of(&stat)),
            Err(error) => Err(refused(components, error)),
        }
    }

    /// Whether a walk to `components` meets a link; also when that cannot be told.
    #[must_use]
    pub fn meets_link(&self, components: &[&str]) -> bool {
        for end in 1..=components.len() {
            match self.kind(&components[..end]) {
                Ok(Kind::Link) => return true,
                Ok(Kind::Directory) => {}
                // What is no directory has nothing below it.
                Ok(Kind::File | Kind::Special) => return false,
                Err(WalkError::Missing(_)) => return false,
                Err(_) => return true,
            }
        }
        false
    }

    /// Opens the directory at `components`.
    ///
    /// # Errors
    /// [`WalkError`].
    pub fn directory(&self, components: &[&str]) -> Result<OwnedFd, WalkError> {
        let mut at = self.root.try_clone().map_err(|error| WalkError::System {
            path: ".".to_owned(),
            error: Errno::from_raw(error.raw_os_error().unwrap_or_default()),
        })?;
        for (index, name) in components.iter().enumerate() {
            let so_far = &components[..=index];
            at = match openat(&at, *name, DIRECTORY | OFlag::O_RDONLY, Mode::empty()) {
                Ok(next) => next,
                Err(error) => return Err(not_directory(&at, so_far, name, error)),
            };
        }
        Ok(at)
    }

    /// Opens the regular file at `components` for reading.
    ///
    /// # Errors
    /// [`WalkError`]; a directory says what it is.
    pub fn file(&self, components: &[&str]) -> Result<(File, FileStat), WalkError> {
        let Some((name, parents)) = components.split_last() else {
            return Err(wrong(components, Kind::Directory, "a file"));
        };
        let parent = self.directory(parents)?;
        // Without waiting: opening a pipe would block until somebody writes.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(&parent, *name, flags, Mode::empty())
            .map_err(|error| refused(components, error))?;
        let stat = fstat(&file).map_err(|error| refused(components, error))?;
        match Kind::of(&stat) {
            Kind::File => Ok((File::from(file), stat)),
            found => Err(wrong(components, found, "a file")),
        }
    }

    /// Makes the directory at `components` and those above it; existing ones are fine.
    ///
    /// # Errors
    /// [`WalkError`].
    pub fn make_directory(&self, components: &[&str]) -> Result<OwnedFd, WalkError> {
        for end in 1..=components.len() {
            let parent = self.directory(&components[..end - 1])?;
            match mkdirat(
                &parent,
                components[end - 1],
                Mode::from_bits_truncate(0o755),
            ) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(refused(&components[..end], error)),
            }
        }
        self.directory(components)
    }

    /// Makes a new file at `components`, with the directories above it. What stood there before
    /// (except a directory) is replaced, a link by itself and not its target.
    ///
    /// # Errors
    /// [`WalkError`].
    pub fn create_file(&self, components: &[&str], mode: u32) -> Result<File, WalkError> {
        let (parent, name) = self.replace(components)?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate((mode & 0o777) as nix::libc::mode_t);
        let file =
            openat(&parent, name, flags, mode).map_err(|error| refused(components, error))?;
        Ok(File::from(file))
    }

    /// Removes the file or link at `components`. Gone already is fine.
    ///
    /// # Errors
    /// [`WalkError`].
    pub fn remove_file(&self, components: &[&str]) -> Result<(), WalkError> {
        self.replace(components).map(drop)
    }

    /// Makes a link at `components` that points to `target`, whatever that is.
    ///
    /// # Errors
    /// [`WalkError`].
    pub fn create_link(&self, components: &[&str], target: &Path) -> Result<(), WalkError> {
        let (parent, name) = self.replace(components)?;
        nix::unistd::symlinkat(target, &parent, name).map_err(|error| refused(components, error))
    }

    fn replace<'a>(&self, components: &[&'a str]) -> Result<(OwnedFd, &'a str), WalkError> {
        let Some((name, parents)) = components.split_last() else {
            return Err(wrong(components, Kind::Directory, "a file"));
        };
        let parent = self.make_directory(parents)?;
        match nix::unistd::unlinkat(&parent, *name, nix::unistd::UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok((parent, name)),
            Err(Errno::EISDIR | Errno::EPERM) => Err(wrong(components, Kind::Directory, "a file")),
            Err(error) => Err(refused(components, error)),
        }
    }
}

fn not_directory(parent: &OwnedFd, so_far: &[&str], name: &str, error: Errno) -> WalkError {
    if matches!(error, Errno::ENOTDIR | Errno::ELOOP)
        && let Ok(stat) = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)
    {
        return match Kind::of(&stat) {
            Kind::Link => WalkError::Link(so_far.join("/")),
            found => wrong(so_far, found, "a directory"),
        };
    }
    refused(so_far, error)
}

fn wrong(components: &[&str], found: Kind, wanted: &'static str) -> WalkError {
    let path = if components.is_empty() {
        ".".to_owned()
    } else {
        components.join("/")
    };
    WalkError::Kind {
        path,
        found: found.words(),
        wanted,
    }
}

fn refused(components: &[&str], error: Errno) -> WalkError {
    let path = components.join("/");
    match error {
        Errno::ENOENT => WalkError::Missing(path),
        Errno::ELOOP => WalkError::Link(path),
        Errno::ENXIO => WalkError::Kind {
            path,
            found: Kind::Special.words(),
            wanted: "a file",
        },
        error => WalkError::System { path, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, Tree) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/b/file"), "inside").unwrap();
        symlink("/etc/passwd", root.join("out")).unwrap();
        symlink("/etc", root.join("a/etc")).unwrap();
        symlink("b", root.join("a/same")).unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), Mode::S_IRWXU).unwrap();
        let tree = Tree::open(root).unwrap();
        (directory, tree)
    }

    #[test]
    fn only_real_files_are_opened() {
        let (_keep, tree) = tree();
        let mut text = String::new();
        tree.file(&["a", "b", "file"])
            .unwrap()
            .0
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "inside");
        let refused = |components: &[&str]| tree.file(components).unwrap_err().to_string();
        assert_eq!(
            refused(&["out"]),
            "out is a symbolic link, and links are not followed"
        );
        assert_eq!(
            refused(&["a", "etc", "passwd"]),
            "a/etc is a symbolic link, and links are not followed"
        );
        assert_eq!(
            refused(&["a", "same", "file"]),
            "a/same is a symbolic link, and links are not followed"
        );
        assert_eq!(refused(&["a"]), "a is a directory, not a file");
        assert_eq!(refused(&[]), ". is a directory, not a file");
        assert_eq!(
            refused(&["pipe"]),
            "pipe is a device, socket or pipe, not a file"
        );
        assert_eq!(
            refused(&["a", "b", "file", "x"]),
            "a/b/file is a file, not a directory"
        );
        assert_eq!(refused(&["a", "c"]), "a/c does not exist");
    }

    #[test]
    fn links_are_seen_wherever_they_stand() {
        let (_keep, tree) = tree();
        for (components, expected) in [
            (&["out"][..], true),
            (&["a", "etc", "x", "y"], true),
            (&["a", "b", "file"], false),
            (&["a", "b", "new", "file"], false),
            (&["a", "b", "file", "below"], false),
        ] {
            assert_eq!(tree.meets_link(components), expected, "{components:?}");
        }
    }

    #[test]
    fn writing_replaces_links_and_never_their_targets() {
        let (keep, tree) = tree();
        let target = keep.path().join("target");
        std::fs::write(&target, "kept").unwrap();
        symlink(&target, keep.path().join("victim")).unwrap();
        tree.create_file(&["victim"], 0o644)
            .unwrap()
            .write_all(b"new")
            .unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "kept");
        assert_eq!(
            std::fs::read_to_string(keep.path().join("victim")).unwrap(),
            "new"
        );
        assert!(
            tree.create_file(&["a", "etc", "shannon-probe"], 0o644)
                .is_err()
        );
        assert!(tree.create_file(&["a"], 0o644).is_err());
        tree.create_link(&["x", "y"], Path::new("../..")).unwrap();
        assert!(matches!(
            tree.create_file(&["x", "y", "z"], 0o644),
            Err(WalkError::Link(_))
        ));
    }
}
