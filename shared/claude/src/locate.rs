//! Finds `claude` on this machine.
//!
//! Places, in order of preference: an explicit path, the managed install of this deployment, then
//! wherever people install it: `PATH`, extra search paths, npm's global prefix, nvm's versions.
//! Each candidate is run once with `--version` under a deadline; a file that hangs or prints
//! something else is a candidate without version, and never selected.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

/// A version check takes 10 ms; a machine under load may need a hundred times that.
const VERSION_DEADLINE: Duration = Duration::from_secs(5);

/// What a place on this machine is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Named in the settings, and in none of the other places.
    Explicit,
    /// Installed by the deployment itself.
    Managed,
    /// In a directory of `PATH`.
    Path,
    /// In a directory of the search path setting.
    SearchPath,
    /// In npm's global prefix.
    NpmGlobal,
    /// In a Node version kept by nvm.
    Nvm,
}

/// Where to look. Nothing is read from the process environment here.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// `SHANNON_CLAUDE_PATH`.
    pub explicit: Option<PathBuf>,
    /// State directory whose `claude/<version>/` holds a managed install.
    pub managed: Option<PathBuf>,
    /// `PATH`.
    pub path: Option<std::ffi::OsString>,
    /// `SHANNON_CLAUDE_SEARCH_PATHS`, separated like `PATH`; a leading `~` is the home directory.
    pub search_paths: Option<String>,
    /// Home directory.
    pub home: Option<PathBuf>,
    /// `NVM_DIR`; `~/.nvm` when absent.
    pub nvm_directory: Option<PathBuf>,
    /// `SHANNON_CLAUDE_NVM_CHECK`.
    pub nvm_check: bool,
    /// The version that is supported.
    pub supported_version: String,
}

/// Something in a list of places that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no place: home=, nvm=, managed= or path=, then a directory")]
pub struct NoPlace(String);

impl Search {
    /// The same search where the machine of a person is described: `places` has colons between
    /// `home=`, `nvm=`, `managed=` and `path=` directories. A function has none of them in its own
    /// environment. Directories of `path=`, if there are any, take the place of its `PATH`.
    ///
    /// # Errors
    /// [`NoPlace`] for anything else in the list.
    pub fn with_places(mut self, places: &str) -> Result<Self, NoPlace> {
        let mut path = Vec::new();
        for place in places.split(':').filter(|place| !place.is_empty()) {
            let directory = |directory: &str| Some(PathBuf::from(directory));
            match place.split_once('=') {
                Some(("home", home)) => self.home = directory(home),
                Some(("nvm", nvm)) => self.nvm_directory = directory(nvm),
                Some(("managed", managed)) => self.managed = directory(managed),
                Some(("path", entry)) => path.push(entry),
                _ => return Err(NoPlace(place.to_owned())),
            }
        }
        if !path.is_empty() {
            self.path = Some(path.join(":").into());
        }
        Ok(self)
    }
}

/// One binary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Absolute path as it was found.
    pub path: PathBuf,
    /// What it says about itself.
    pub version: Option<String>,
    /// Where it was found.
    pub source: Source,
    /// It is the supported version.
    pub supported: bool,
    /// Why there is no version.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The first supported one.
    pub selected: Option<Candidate>,
    /// All, in order of preference.
    pub candidates: Vec<Candidate>,
    /// The version that is supported.
    pub supported_version: String,
}

/// Looks everywhere. Runs each distinct candidate once; repeating it changes nothing.
pub async fn find(search: &Search) -> Found {
    let mut seen = BTreeSet::new();
    let mut candidates = Vec::new();
    let places: Vec<_> = places(search).await.into_iter().map(resolved).collect();
    for (source, path, real) in &places {
        // A deployment names the binary that it found: where that was says more.
        let same = |(_, path, other): &&(_, PathBuf, _)| other == real && is_executable(path);
        let elsewhere = places.iter().skip(1).find(same);
        let source = match (source, elsewhere) {
            (Source::Explicit, Some((source, ..))) => *source,
            _ => *source,
        };
        // What was named explicitly is reported even if it is not there.
        if (source != Source::Explicit && !is_executable(path)) || !seen.insert(real) {
            continue;
        }
        candidates.push(examine(source, path.clone(), &search.supported_version).await);
    }
    Found {
        selected: candidates
            .iter()
            .find(|candidate| candidate.supported)
            .cloned(),
        candidates,
        supported_version: search.supported_version.clone(),
    }
}

/// A place with the file it leads to.
fn resolved((source, path): (Source, PathBuf)) -> (Source, PathBuf, PathBuf) {
    let real = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
    (source, path, real)
}

async fn places(search: &Search) -> Vec<(Source, PathBuf)> {
    let mut places = Vec::new();
    let mut add = |source, path: PathBuf| places.push((source, path));
    if let Some(path) = &search.explicit {
        add(Source::Explicit, path.clone());
    }
    if let Some(managed) = &search.managed {
        let mut versions = vec![managed.join("claude").join(&search.supported_version)];
        versions.extend(subdirectories(&managed.join("claude")));
        for version in versions {
            for path in package_binaries(&version.join("node_modules")) {
                add(Source::Managed, path);
            }
        }
    }
    for directory in search
        .path
        .iter()
        .flat_map(|path| std::env::split_paths(path))
    {
        add(Source::Path, directory.join("claude"));
    }
    for directory in search
        .search_paths
        .iter()
        .flat_map(|paths| std::env::split_paths(OsStr::new(paths)))
    {
        add(
            Source::SearchPath,
            expand_home(&directory, search.home.as_deref()).join("claude"),
        );
    }
    for root in npm_roots(search).await {
        if let Some(prefix) = root.parent().and_then(Path::parent) {
            add(Source::NpmGlobal, prefix.join("bin/claude"));
        }
        for path in package_binaries(&root) {
            add(Source::NpmGlobal, path);
        }
    }
    if search.nvm_check {
        let nvm = search
            .nvm_directory
            .clone()
            .or_else(|| search.home.as_ref().map(|home| home.join(".nvm")));
        for version in nvm
            .iter()
            .flat_map(|nvm| subdirectories(&nvm.join("versions/node")))
        {
            add(Source::Nvm, version.join("bin/claude"));
            for path in package_binaries(&version.join("lib/node_modules")) {
                add(Source::Nvm, path);
            }
        }
    }
    places
}

/// The native binary inside a `node_modules`: beside the main package or nested in it.
fn package_binaries(node_modules: &Path) -> Vec<PathBuf> {
    let mut binaries = Vec::new();
    let scopes = [
        node_modules.join("@anthropic-ai"),
        node_modules.join("@anthropic-ai/claude-code/node_modules/@anthropic-ai"),
    ];
    for scope in scopes {
        for package in subdirectories(&scope) {
            let name = package
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            if name.is_some_and(|name| name.starts_with("claude-code-")) {
                binaries.push(package.join("claude"));
            }
        }
    }
    binaries
}

/// `node_modules` directories of global installs: the usual prefixes and what npm itself says.
async fn npm_roots(search: &Search) -> Vec<PathBuf> {
    let mut roots = Vec::new();
    if let Some(npm) = search
        .path
        .iter()
        .flat_map(|path| std::env::split_paths(path))
        .map(|d| d.join("npm"))
        .find(|npm| is_executable(npm))
    {
        let asked = Command::new(npm)
            .args(["root", "-g"])
            .env_clear()
            .envs(search.path.iter().map(|path| ("PATH", path.as_os_str())))
            .envs(search.home.iter().map(|home| ("HOME", home.as_os_str())))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .output();
        // npm absent, broken or slow is the same as no global prefix: others are looked at anyway.
        if let Ok(Ok(output)) = tokio::time::timeout(VERSION_DEADLINE, asked).await
            && output.status.success()
        {
            let text = String::from_utf8_lossy(&output.stdout);
            let root = PathBuf::from(text.trim());
            if root.is_absolute() {
                roots.push(root);
            }
        }
    }
    roots.push(PathBuf::from("/usr/local/lib/node_modules"));
    roots.push(PathBuf::from("/usr/lib/node_modules"));
    roots.push(PathBuf::from("/opt/homebrew/lib/node_modules"));
    if let Some(home) = &search.home {
        roots.push(home.join(".npm-global/lib/node_modules"));
    }
    roots
}

/// Subdirectories in descending order of their names' numbers, so that newer versions come first.
fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort_by_key(|path| std::cmp::Reverse(numbers(path)));
    found
}

fn numbers(path: &Path) -> (Vec<u64>, PathBuf) {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let parts = name
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok());
    (parts.collect(), path.to_owned())
}

fn expand_home(path: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

async fn examine(source: Source, path: PathBuf, supported: &str) -> Candidate {
    let checked = version_of(&path).await;
    let (version, problem) = match checked {
        Ok(version) => (Some(version), None),
        Err(problem) => (None, Some(problem.to_string())),
    };
    let supported = version.as_deref() == Some(supported);
    Candidate {
        path,
        version,
        source,
        supported,
        problem,
    }
}

/// Why a binary told no version.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// There is no such file.
    #[error("there is no such file")]
    Missing,
    /// It cannot be started.
    #[error("it cannot be started")]
    NotStartable(#[source] std::io::Error),
    /// It did not answer within five seconds.
    #[error("it did not answer --version within five seconds")]
    Silent,
    /// It answered something that is not a version of Claude Code.
    #[error("it answered --version with something else than a version")]
    Strange,
}

/// Asks one binary for its version, with an empty environment and a throw-away home.
///
/// # Errors
/// [`VersionError`], which says what is wrong with the file.
pub async fn version_of(path: &Path) -> Result<String, VersionError> {
    // A script installed by npm needs its interpreter on PATH; the native binary needs nothing.
    let beside = path.parent().map(Path::to_owned).unwrap_or_default();
    let search = std::env::join_paths([
        beside,
        "/usr/local/bin".into(),
        "/usr/bin".into(),
        "/bin".into(),
    ])
    .unwrap_or_default();
    let running = Command::new(path)
        .arg("--version")
        .env_clear()
        .env("PATH", search)
        .env("HOME", "/nonexistent")
        .env("DISABLE_AUTOUPDATER", "1")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(VERSION_DEADLINE, running).await {
        Err(_) => return Err(VersionError::Silent),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(VersionError::Missing);
        }
        Ok(Err(error)) => return Err(VersionError::NotStartable(error)),
        Ok(Ok(output)) => output,
    };
    let text = String::from_utf8_lossy(&output.stdout);
    match text.trim().split_once(' ') {
        Some((version, "(Claude Code)")) if output.status.success() && is_version(version) => {
            Ok(version.to_owned())
        }
        _ => Err(VersionError::Strange),
    }
}

fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}
