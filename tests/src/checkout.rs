//! Where the project lies on this machine, and what cargo and the template say about it.
//!
//! Everything is found from the compiled-in manifest directory and from the path of the running
//! test, so that the tests work in any checkout and any target directory.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{Metadata, MetadataCommand};

/// Root of the checkout: the directory that holds `template.yaml`.
///
/// # Panics
/// When the test runs after its checkout was moved or deleted.
pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests directory has a parent")
        .to_path_buf();
    assert!(
        root.join("template.yaml").is_file(),
        "no template.yaml in {}: build the tests again where the checkout now is",
        root.display()
    );
    root
}

/// Directory of the binaries of the profile under test, such as `target/debug`.
///
/// # Panics
/// When the running program does not lie in `<profile>/deps`, `<profile>/examples` or `<profile>`.
pub fn profile_directory() -> PathBuf {
    let program = std::env::current_exe().expect("the running test has a path");
    let directory = program.parent().expect("a program lies in a directory");
    if directory
        .file_name()
        .is_some_and(|name| name == "deps" || name == "examples")
    {
        directory
            .parent()
            .expect("it lies in a profile directory")
            .to_path_buf()
    } else {
        directory.to_path_buf()
    }
}

/// The target directory that the running test was built into.
pub fn target_directory() -> PathBuf {
    profile_directory()
        .parent()
        .expect("a profile directory lies in a target directory")
        .to_path_buf()
}

/// Cargo, as a person starts it: without what it sets for a test about the test's own package. Build
/// scripts (ring's) depend on those, and everything above them would be built again, back and forth.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// What cargo knows about the workspace, dependencies outside of it not resolved.
///
/// # Panics
/// When a manifest of the workspace cannot be read; cargo's own message says which.
pub fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap_or_else(|error| panic!("cargo metadata: {error}"))
}

/// Names of the directories directly under `path` (relative to the checkout), sorted.
///
/// # Panics
/// When the directory is missing.
pub fn directories(path: &str) -> BTreeSet<String> {
    let directory = root().join(path);
    let entries = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("reading {}: {error}", directory.display()));
    entries
        .map(|entry| entry.expect("a directory entry is readable"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Every file under the checkout that git tracks or would track, relative to its root, sorted.
///
/// # Panics
/// When git is missing or the checkout is no git repository.
pub fn files() -> Vec<PathBuf> {
    let listing = std::process::Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .current_dir(root())
        .output()
        .expect("git is installed");
    assert!(
        listing.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&listing.stderr)
    );
    let mut files: Vec<PathBuf> = String::from_utf8(listing.stdout)
        .expect("our file names are UTF-8")
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .filter(|name| root().join(name).is_file())
        .collect();
    files.sort();
    files
}

/// Text of a file of the checkout.
///
/// # Panics
/// When it is missing or not UTF-8.
pub fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()))
}
