//! Whether git may be run on files that somebody else put in place.
//!
//! Git runs programs that a repository's configuration names, even for `git status`. A clone made
//! here has a configuration that git wrote itself. A copied or uploaded repository is trusted only
//! if it has one `.git` directory, at the root, whose configuration says nothing but what is known
//! to be harmless. Whatever cannot be read or understood is not trusted.

use std::io::Read;
use std::path::Path;

use super::tree::{Kind, Tree, WalkError};

/// Longest configuration that is read. Own: an ordinary one has a few hundred bytes.
const CONFIGURATION_BYTES: u64 = 256 * 1024;

/// Sections, and the keys in them that name no program and include no other file.
const HARMLESS: [(&str, &[&str]); 7] = [
    (
        "core",
        &[
            "repositoryformatversion",
            "filemode",
            "bare",
            "logallrefupdates",
            "ignorecase",
            "precomposeunicode",
            "symlinks",
            "autocrlf",
            "eol",
        ],
    ),
    ("remote", &["url", "fetch", "pushurl"]),
    ("branch", &["remote", "merge", "rebase"]),
    ("user", &["name", "email"]),
    ("init", &["defaultbranch"]),
    ("lfs", &["repositoryformatversion"]),
    ("pull", &["rebase", "ff"]),
];

/// Looks at the workspace at `root`, once, before anything of the session runs.
#[must_use]
pub fn is_trusted(root: &Path) -> bool {
    let Ok(tree) = Tree::open(root) else {
        return false;
    };
    if nested(root, true) {
        return false;
    }
    match tree.kind(&[".git"]) {
        Err(WalkError::Missing(_)) => return true,
        Ok(Kind::Directory) => {}
        _ => return false,
    }
    // Either would make git read another configuration.
    for name in ["commondir", "config.worktree"] {
        if !matches!(tree.kind(&[".git", name]), Err(WalkError::Missing(_))) {
            return false;
        }
    }
    let mut text = String::new();
    let read = tree
        .file(&[".git", "config"])
        .map(|(file, _)| file.take(CONFIGURATION_BYTES + 1).read_to_string(&mut text));
    match read {
        Ok(Ok(_)) => text.len() as u64 <= CONFIGURATION_BYTES && is_harmless(&text),
        Err(WalkError::Missing(_)) => true,
        _ => false,
    }
}

/// Whether a repository lies somewhere below the root's own.
fn nested(directory: &Path, at_root: bool) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return true;
    };
    for entry in entries {
        let Ok(entry) = entry else { return true };
        let is_git = entry.file_name() == ".git";
        if is_git && !at_root {
            return true;
        }
        let Ok(kind) = entry.file_type() else {
            return true;
        };
        // Links are not followed; what they lead to is outside or is looked at by itself.
        if kind.is_dir() && !is_git && nested(&entry.path(), false) {
            return true;
        }
    }
    false
}

fn is_harmless(text: &str) -> bool {
    let mut keys: &[&str] = &[];
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        // A value that goes on in the next line would hide what that line is.
        if line.ends_with('\\') || line.chars().any(|c| c.is_control() && c != '\t') {
            return false;
        }
        if let Some(header) = line.strip_prefix('[') {
            let Some(header) = header.strip_suffix(']') else {
                return false;
            };
            let name = header
                .split([' ', '\t', '.', '"'])
                .next()
                .unwrap_or_default()
                .to_ascii_lowercase();
            let known = HARMLESS.iter().find(|(section, _)| *section == name);
            match known {
                Some((_, known)) if !header.contains(']') => keys = known,
                _ => return false,
            }
            continue;
        }
        let key = line
            .split('=')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        if !keys.contains(&key.as_str()) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDINARY: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\
        # a comment\n[remote \"origin\"]\n\turl = https://example.com/a.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\
        [branch \"main\"]\n\tremote = origin\n\tmerge = refs/heads/main\n";

    fn workspace(configuration: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join(".git/hooks")).unwrap();
        std::fs::create_dir_all(root.path().join("src/deep")).unwrap();
        std::fs::write(root.path().join(".git/config"), configuration).unwrap();
        root
    }

    #[test]
    fn an_ordinary_repository_is_trusted() {
        assert!(is_trusted(workspace(ORDINARY).path()));
        assert!(is_trusted(tempfile::tempdir().unwrap().path()));
    }

    #[test]
    fn a_configuration_that_could_run_something_is_not() {
        for line in [
            "[core]\n\tfsmonitor = /bin/evil",
            "[core] fsmonitor = /bin/evil",
            "[CORE]\n\tFsMonitor=/bin/evil",
            "[core]\n\tpager = evil",
            "[core]\n\thooksPath = .",
            "[include]\n\tpath = ../evil",
            "[includeIf \"gitdir:/\"]\n\tpath = evil",
            "[filter \"x\"]\n\tclean = evil",
            "[diff]\n\texternal = evil",
            "[diff \"x\"]\n\ttextconv = evil",
            "[remote \"x\"]\n\tuploadpack = evil",
            "[alias]\n\tstatus = !evil",
            "[core]\n\tbare = \\\n[core]\n\tfsmonitor = evil",
            "[remote \"a]\"]\n\turl = x",
            "fsmonitor = evil",
        ] {
            assert!(
                !is_trusted(workspace(&format!("{ORDINARY}{line}\n")).path()),
                "{line}"
            );
        }
    }

    #[test]
    fn a_repository_in_another_place_is_not() {
        type Change = fn(&Path);
        let changes: [Change; 5] = [
            |root| std::fs::create_dir_all(root.join("src/deep/.git")).unwrap(),
            |root| std::fs::write(root.join("src/.git"), "gitdir: /x").unwrap(),
            |root| std::fs::write(root.join(".git/commondir"), "../x").unwrap(),
            |root| std::fs::write(root.join(".git/config.worktree"), "").unwrap(),
            |root| {
                std::fs::remove_dir_all(root.join(".git")).unwrap();
                std::os::unix::fs::symlink("src", root.join(".git")).unwrap();
            },
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let root = workspace(ORDINARY);
            change(root.path());
            assert!(!is_trusted(root.path()), "{index}");
        }
    }
}
