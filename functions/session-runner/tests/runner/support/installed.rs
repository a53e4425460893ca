//! The real CLI for these tests: named, found on this machine, or installed from npm into the
//! cache that the end-to-end tests use too (same place, same lock, so it is installed once).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use claude::SUPPORTED_VERSION;
use claude::locate::{Search, find};

/// The CLI of the supported version. What cannot be installed fails the test with npm's own words.
pub(crate) async fn real_claude() -> PathBuf {
    let search = Search {
        explicit: std::env::var_os("SHANNON_TEST_CLAUDE").map(PathBuf::from),
        path: std::env::var_os("PATH"),
        home: std::env::var_os("HOME").map(PathBuf::from),
        nvm_check: true,
        supported_version: SUPPORTED_VERSION.to_owned(),
        ..Search::default()
    };
    match find(&search).await.selected {
        Some(selected) => selected.path,
        None => tokio::task::spawn_blocking(install)
            .await
            .expect("an installation"),
    }
}

fn install() -> PathBuf {
    let system = if cfg!(target_os = "macos") {
        "darwin"
    } else {
        "linux"
    };
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x64"
    };
    let musl = if cfg!(target_env = "musl") {
        "-musl"
    } else {
        ""
    };
    let package = format!("claude-code-{system}-{architecture}{musl}");
    let target = Path::new(env!("CARGO_BIN_EXE_session-runner"))
        .ancestors()
        .nth(2)
        .expect("a target directory");
    let cache = std::env::var_os("SHANNON_TEST_CACHE")
        .map_or_else(|| target.join("test-cache"), PathBuf::from);
    fs::create_dir_all(&cache).expect("the cache");
    let cache = cache.canonicalize().expect("the cache");
    let directory = cache.join(format!("anthropic-ai-{package}-{SUPPORTED_VERSION}"));
    let complete = directory.join(".complete");
    let lock =
        File::create(directory.with_extension(lock_extension(&directory))).expect("a lock file");
    lock.lock().expect("the lock");
    if !complete.is_file() {
        if directory.exists() {
            fs::remove_dir_all(&directory).expect("an unfinished installation removed");
        }
        fs::create_dir_all(&directory).expect("a directory");
        // Without a manifest of its own npm would walk up and install into the checkout.
        fs::write(directory.join("package.json"), "{\"private\":true}").expect("a manifest");
        let output = Command::new("npm")
            .args([
                "install",
                "--no-audit",
                "--no-fund",
                "--no-save",
                "--ignore-scripts",
                "--prefix",
            ])
            .arg(&directory)
            .arg(format!("@anthropic-ai/{package}@{SUPPORTED_VERSION}"))
            .current_dir(&directory)
            .output()
            .expect("npm, which these tests need when there is no claude of the supported version");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "npm could not install {package}: {errors}"
        );
        fs::write(&complete, "").expect("a mark");
    }
    directory
        .join("node_modules/@anthropic-ai")
        .join(package)
        .join("claude")
}

/// The version's last number looks like an extension and must stay.
fn lock_extension(directory: &Path) -> String {
    let last = directory
        .extension()
        .and_then(|last| last.to_str())
        .unwrap_or_default();
    format!("{last}.lock")
}
