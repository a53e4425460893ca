//! Copies a directory of this machine into an empty workspace. Only local stacks do that.
//!
//! Links are copied as links. What is no file, directory or link is left out, and so are build
//! caches (they say so themselves, with a `CACHEDIR.TAG`) and the state of a local stack.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};

use super::tree::Tree;
use super::{Amount, WorkspaceError};

/// Directories that are never copied.
const STATE: &str = ".shannon";
const CACHE_TAG: &str = "CACHEDIR.TAG";

/// What was copied.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files and bytes.
    pub amount: Amount,
    /// What was left out, relative to the directory.
    pub skipped: Vec<String>,
}

/// Copies the directory at `path`, which must lie under one of `roots` without a link between.
///
/// # Errors
/// [`WorkspaceError`]; what was copied so far stays, the session must not use it.
pub fn copy(path: &str, roots: &[PathBuf], to: &Path) -> Result<Copied, WorkspaceError> {
    let from = source(Path::new(path), roots)?;
    let target = Tree::open(to)?;
    let mut copied = Copied::default();
    directory(&from, &mut Vec::new(), &target, &mut copied)?;
    Ok(copied)
}

fn source(path: &Path, roots: &[PathBuf]) -> Result<std::os::fd::OwnedFd, WorkspaceError> {
    let outside = || {
        WorkspaceError::Refused(format!(
            "{} is not under a directory of SHANNON_WORKSPACE_ROOTS",
            path.display()
        ))
    };
    for root in roots {
        let Ok(below) = path.strip_prefix(root) else {
            continue;
        };
        let components: Option<Vec<&str>> = below.iter().map(|part| part.to_str()).collect();
        let components = components
            .ok_or_else(|| WorkspaceError::Refused("the path is not UTF-8".to_owned()))?;
        if components.contains(&"..") {
            return Err(outside());
        }
        // The root is the deployment's own word and may be reached through links.
        let real = root
            .canonicalize()
            .map_err(|error| WorkspaceError::system(format!("find {}", root.display()), error))?;
        return Ok(Tree::open(&real)?.directory(&components)?);
    }
    Err(outside())
}

fn directory(
    from: &impl AsFd,
    at: &mut Vec<String>,
    target: &Tree,
    copied: &mut Copied,
) -> Result<(), WorkspaceError> {
    let shown = |at: &[String]| {
        if at.is_empty() {
            "the directory".to_owned()
        } else {
            at.join("/")
        }
    };
    let failed = |at: &[String], error: nix::errno::Errno| {
        WorkspaceError::system(format!("copy {}", shown(at)), error.into())
    };
    let own = from
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| WorkspaceError::system("copy", error))?;
    let mut listing = Dir::from_fd(own).map_err(|error| failed(at, error))?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let entry = entry.map_err(|error| failed(at, error))?;
        match entry.file_name().to_str() {
            Ok("." | "..") => {}
            Ok(name) => names.push(name.to_owned()),
            Err(_) => copied
                .skipped
                .push(format!("{} (a name that is not UTF-8)", shown(at))),
        }
    }
    names.sort();
    if !at.is_empty() && names.iter().any(|name| name == CACHE_TAG) {
        copied
            .skipped
            .push(format!("{} (a build cache)", shown(at)));
        return Ok(());
    }
    let parents: Vec<&str> = at.iter().map(String::as_str).collect();
    target.make_directory(&parents)?;
    for name in names {
        at.push(name.clone());
        entry(from, &name, at, target, copied)?;
        at.pop();
    }
    Ok(())
}

fn entry(
    from: &impl AsFd,
    name: &str,
    at: &mut Vec<String>,
    target: &Tree,
    copied: &mut Copied,
) -> Result<(), WorkspaceError> {
    let shown = at.join("/");
    let failed =
        |error: nix::errno::Errno| WorkspaceError::system(format!("copy {shown}"), error.into());
    let stat = fstatat(from, name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW).map_err(failed)?;
    let place: Vec<&str> = shown.split('/').collect();
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR if name == STATE => copied
            .skipped
            .push(format!("{shown} (the state of a local stack)")),
        SFlag::S_IFDIR => {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let next = openat(from, name, flags, Mode::empty()).map_err(failed)?;
            directory(&next, at, target, copied)?;
        }
        SFlag::S_IFLNK => {
            let link = readlinkat(from, name).map_err(failed)?;
            target.create_link(&place, Path::new(&link))?;
        }
        SFlag::S_IFREG => {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let opened = openat(from, name, flags, Mode::empty()).map_err(failed)?;
            let opened_stat = fstat(&opened).map_err(failed)?;
            if SFlag::from_bits_truncate(opened_stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
                copied
                    .skipped
                    .push(format!("{shown} (it changed while it was copied)"));
                return Ok(());
            }
            let mode = if opened_stat.st_mode & 0o111 == 0 {
                0o644
            } else {
                0o755
            };
            let mut to = target.create_file(&place, mode)?;
            let bytes = std::io::copy(&mut File::from(opened), &mut to)
                .map_err(|error| WorkspaceError::system(format!("copy {shown}"), error))?;
            copied.amount.files += 1;
            copied.amount.bytes += bytes;
        }
        _ => copied
            .skipped
            .push(format!("{shown} (no file, directory or link)")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_directory_is_copied_as_it_is() {
        let machine = tempfile::tempdir().unwrap();
        let root = machine.path().join("code");
        std::fs::create_dir_all(root.join("project/src")).unwrap();
        std::fs::create_dir_all(root.join("project/.shannon")).unwrap();
        std::fs::create_dir_all(root.join("project/target/debug")).unwrap();
        std::fs::write(root.join("project/target/CACHEDIR.TAG"), "Signature").unwrap();
        std::fs::write(root.join("project/.shannon/token"), "secret").unwrap();
        std::fs::write(root.join("project/src/a"), "12345").unwrap();
        std::fs::write(machine.path().join("secret"), "secret").unwrap();
        symlink("../secret", root.join("project/out")).unwrap();
        nix::unistd::mkfifo(&root.join("project/pipe"), Mode::S_IRWXU).unwrap();
        let to = tempfile::tempdir().unwrap();
        let path = root.join("project").display().to_string();
        let copied = copy(&path, std::slice::from_ref(&root), to.path()).unwrap();
        assert_eq!(copied.amount, Amount { files: 1, bytes: 5 });
        assert_eq!(
            copied.skipped,
            [
                ".shannon (the state of a local stack)",
                "pipe (no file, directory or link)",
                "target (a build cache)"
            ]
        );
        assert_eq!(
            std::fs::read_link(to.path().join("out")).unwrap(),
            Path::new("../secret")
        );
    }

    #[test]
    fn nothing_outside_the_roots_is_copied() {
        let machine = tempfile::tempdir().unwrap();
        let root = machine.path().join("code");
        std::fs::create_dir_all(machine.path().join("private")).unwrap();
        std::fs::create_dir_all(&root).unwrap();
        symlink(machine.path().join("private"), root.join("way-out")).unwrap();
        let to = tempfile::tempdir().unwrap();
        for path in [
            "private",
            "code/way-out",
            "code/../private",
            "code/absent",
            "codex",
        ] {
            let path = machine.path().join(path).display().to_string();
            let refused = copy(&path, std::slice::from_ref(&root), to.path());
            assert!(
                matches!(refused, Err(WorkspaceError::Refused(_))),
                "{path}: {refused:?}"
            );
        }
    }
}
