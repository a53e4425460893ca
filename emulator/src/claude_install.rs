//! The claude binary that runs sessions: found on this machine, or installed from npm into the state
//! directory, at the one version that is supported.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::process::Command;

use crate::{build::Group, settings::Settings};

mod remembered;

/// Each candidate is given 5 s by the search; a machine has a handful.
const SEARCH_DEADLINE: Duration = Duration::from_secs(60);

/// What of the environment the search depends on.
const VARIABLES: [&str; 3] = ["PATH", "HOME", "NVM_DIR"];
/// What of the settings it depends on.
const SETTINGS: [&str; 3] = [
    "SHANNON_CLAUDE_VERSION",
    "SHANNON_CLAUDE_SEARCH_PATHS",
    "SHANNON_CLAUDE_NVM_CHECK",
];

/// One claude binary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claude {
    /// Absolute path.
    pub path: PathBuf,
    /// What `--version` says; absent when it says nothing.
    pub version: Option<String>,
    /// Where it was found (`path`, `managed`, `npm_global`, ..).
    pub source: String,
    /// Whether it is the supported version.
    pub supported: bool,
}

/// What the search says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Found {
    /// The one to use.
    pub selected: Option<Claude>,
    /// All.
    pub candidates: Vec<Claude>,
    /// The version that is supported.
    pub supported_version: String,
}

/// Why there is no claude binary.
#[derive(Debug, Error)]
pub enum ClaudeError {
    /// The search did not run or gave something else.
    #[error("cannot look for claude with {}: {problem}", program.display())]
    Search {
        /// The session runner.
        program: PathBuf,
        /// What went wrong.
        problem: String,
    },
    /// npm is not there.
    #[error(
        "no claude {version} is on this machine and npm, which would fetch it, cannot be run ({problem}); install Node.js with npm, or claude {version} itself: npm install -g @anthropic-ai/claude-code@{version}"
    )]
    NoNpm {
        /// The supported version.
        version: String,
        /// What the operating system says.
        problem: String,
    },
    /// npm failed; it has said why.
    #[error("npm could not install {package} (it ended with {status}); what is wrong stands above")]
    Npm {
        /// Package and version.
        package: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// There is no package for this machine.
    #[error("there is no native claude for {0}")]
    Platform(String),
    /// The installed binary is not what it should be.
    #[error("{package} was installed into {}, but no claude {version} is found there{said}", directory.display())]
    NotUsable {
        /// Package and version.
        package: String,
        /// Where.
        directory: PathBuf,
        /// The supported version.
        version: String,
        /// What it says of itself, if anything.
        said: String,
    },
    /// The disk refused.
    #[error("cannot install claude into {}", path.display())]
    Disk {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The claude to use. Installs it when none is supported; doing that again replaces what is there.
/// Cut at any moment it leaves either nothing or a whole install, besides a directory
/// `.installing-*` that the next install removes.
///
/// # Errors
/// See [`ClaudeError`].
pub async fn ensure(
    runner: &Path,
    state: &Path,
    settings: &Settings,
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<Claude, ClaudeError> {
    let question = remembered::Question::of(state, settings);
    if let Some(claude) = question.answer() {
        return Ok(claude);
    }
    let found = search(runner, state, settings).await?;
    let version = found.supported_version.clone();
    if let Some(claude) = found.selected {
        question.remember(&claude);
        return Ok(claude);
    }
    let others: Vec<String> = found
        .candidates
        .iter()
        .map(|claude| {
            let version = claude.version.as_deref().unwrap_or("no version");
            format!("{} ({version})", claude.path.display())
        })
        .collect();
    let package = format!("{}@{version}", package_name()?);
    if others.is_empty() {
        say(&format!(
            "no claude was found; installing {package} from npm (about 170 MB) ..."
        ));
    } else {
        let others = others.join(", ");
        say(&format!(
            "claude {version} is needed, found were {others}; installing {package} from npm (about 170 MB) ..."
        ));
    }
    let directory = state.join("claude").join(&version);
    install(&package, &version, &directory).await?;
    let found = search(runner, state, settings).await?;
    let said = found
        .candidates
        .iter()
        .find(|claude| claude.path.starts_with(&directory))
        .and_then(|claude| claude.version.as_deref())
        .map_or(String::new(), |version| {
            format!("; it says it is {version}")
        });
    let claude = found.selected.ok_or_else(|| ClaudeError::NotUsable {
        package,
        directory: directory.clone(),
        version: version.clone(),
        said,
    })?;
    say(&format!(
        "claude {version} is installed in {}",
        directory.display()
    ));
    Ok(claude)
}

/// For the parameter `ClaudePlaces`: where a function, whose environment has none of it, finds what a
/// person has. Directories that a colon-separated list cannot hold are left out.
pub(crate) fn places(state: &Path, variable: impl Fn(&str) -> Option<OsString>) -> String {
    let one = |name: &str| variable(name).map(PathBuf::from);
    let named = [
        ("managed", Some(state.to_owned())),
        ("home", one("HOME")),
        ("nvm", one("NVM_DIR")),
    ];
    let path = variable("PATH").unwrap_or_default();
    let path = std::env::split_paths(&path).map(|entry| ("path", Some(entry)));
    let places = named.into_iter().chain(path);
    let texts = places.filter_map(|(kind, directory)| {
        let directory = directory?.into_os_string().into_string().ok()?;
        (directory.starts_with('/') && !directory.contains(':'))
            .then(|| format!("{kind}={directory}"))
    });
    texts.collect::<Vec<_>>().join(":")
}

async fn search(runner: &Path, state: &Path, settings: &Settings) -> Result<Found, ClaudeError> {
    let problem = |problem: String| ClaudeError::Search {
        program: runner.to_owned(),
        problem,
    };
    let mut command = Command::new(runner);
    command
        .args(["find-claude", "--json", "--managed"])
        .arg(state)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    for name in VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    for name in SETTINGS {
        if let Some(value) = settings.text(name) {
            command.env(name, value);
        }
    }
    let output = tokio::time::timeout(SEARCH_DEADLINE, command.output())
        .await
        .map_err(|_| {
            problem(format!(
                "it took longer than {} s",
                SEARCH_DEADLINE.as_secs()
            ))
        })?
        .map_err(|error| problem(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(problem(format!(
            "it ended with {}: {}",
            output.status,
            said.trim()
        )));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| problem(format!("its answer cannot be read: {error}")))
}

/// The package with the native binary for this machine.
fn package_name() -> Result<String, ClaudeError> {
    let unknown = || {
        ClaudeError::Platform(format!(
            "{} on {}",
            std::env::consts::OS,
            std::env::consts::ARCH
        ))
    };
    let system = match std::env::consts::OS {
        "linux" => "linux",
        "macos" => "darwin",
        _ => return Err(unknown()),
    };
    let (processor, loader) = match std::env::consts::ARCH {
        "x86_64" => ("x64", "/lib64/ld-linux-x86-64.so.2"),
        "aarch64" => ("arm64", "/lib/ld-linux-aarch64.so.1"),
        _ => return Err(unknown()),
    };
    let musl = system == "linux" && !Path::new(loader).exists();
    let library = if musl { "-musl" } else { "" };
    Ok(format!(
        "@anthropic-ai/claude-code-{system}-{processor}{library}"
    ))
}

async fn install(package: &str, version: &str, directory: &Path) -> Result<(), ClaudeError> {
    let disk = |source| ClaudeError::Disk {
        path: directory.to_owned(),
        source,
    };
    let parent = directory.parent().unwrap_or(directory);
    fs::create_dir_all(parent).map_err(disk)?;
    let fetched = tempfile::Builder::new()
        .prefix(".installing-")
        .tempdir_in(parent)
        .map_err(disk)?;
    remove_abandoned(parent, fetched.path()).map_err(disk)?;
    let mut command = Command::new("npm");
    command
        .args([
            "install",
            "--no-save",
            "--no-package-lock",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
        ])
        .arg("--prefix")
        .arg(fetched.path())
        .arg(package)
        .current_dir(fetched.path())
        .env_remove("ANTHROPIC_API_KEY")
        .env_remove("SHANNON_DEV_TOKEN")
        .env_remove("SHANNON_ACCESS_TOKEN")
        .stdin(Stdio::null())
        // nothing may come on standard output that the person did not ask for
        .stdout(Stdio::from(io::stderr()))
        .stderr(Stdio::inherit())
        .process_group(0);
    let child = command.spawn().map_err(|error| ClaudeError::NoNpm {
        version: version.to_owned(),
        problem: error.to_string(),
    })?;
    let status = Group::of(child).wait().await.map_err(disk)?;
    if !status.success() {
        return Err(ClaudeError::Npm {
            package: package.to_owned(),
            status,
        });
    }
    // what is there was not usable, or it would have been selected
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(disk(error)),
        _ => {}
    }
    let fetched = fetched.keep();
    fs::rename(&fetched, directory).map_err(disk)
}

/// Removes what installs that were killed have left. One that runs beside us would fail and say so;
/// the lock of the state directory keeps that from happening.
fn remove_abandoned(parent: &Path, ours: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let abandoned = entry
            .file_name()
            .to_string_lossy()
            .starts_with(".installing-");
        if abandoned && entry.path() != ours {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_of_a_person_are_named_one_by_one() {
        let variable = |name: &str| match name {
            "HOME" => Some("/home/p".into()),
            "NVM_DIR" => Some("/home/p/no:de".into()),
            "PATH" => Some("/home/p/bin:relative:/usr/bin".into()),
            _ => None,
        };
        assert_eq!(
            places(Path::new("/s/.shannon"), variable),
            "managed=/s/.shannon:home=/home/p:path=/home/p/bin:path=/usr/bin"
        );
        assert_eq!(places(Path::new("/s"), |_| None), "managed=/s");
    }
}
