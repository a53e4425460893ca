//! The binaries of the functions: found in a directory, or built from the workspace.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde::Deserialize;
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

pub mod watch;

/// Where the binaries come from.
#[derive(Clone, Debug)]
pub enum Functions {
    /// `cargo build`.
    Build {
        /// With optimisation.
        release: bool,
    },
    /// A directory that holds them.
    Directory(PathBuf),
}

/// Why there are no binaries.
#[derive(Debug, Error)]
pub enum BuildError {
    /// No `template.yaml` here or above.
    #[error("there is no template.yaml in {} or above it; run this inside a checkout of Shannon", .0.display())]
    NoWorkspace(PathBuf),
    /// Cargo did not start.
    #[error("cannot run cargo ({}): install Rust from https://rustup.rs, or give built binaries with --functions", program.display())]
    NoCargo {
        /// What was tried.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Cargo's output cannot be read.
    #[error("cannot read what cargo says")]
    Output(#[source] io::Error),
    /// The build failed; cargo has said why.
    #[error("building the functions failed (cargo ended with {0}); what is wrong stands above")]
    Failed(std::process::ExitStatus),
    /// A binary is not there.
    #[error("{} holds no program {name}", directory.display())]
    Missing {
        /// The function.
        name: String,
        /// Where it should be.
        directory: PathBuf,
    },
}

/// The checkout: the nearest directory upward with a `template.yaml`.
///
/// # Errors
/// [`BuildError::NoWorkspace`].
pub fn workspace(start: &Path) -> Result<PathBuf, BuildError> {
    start
        .ancestors()
        .find(|directory| directory.join("template.yaml").is_file())
        .map(Path::to_owned)
        .ok_or_else(|| BuildError::NoWorkspace(start.to_owned()))
}

/// The binary of each function, by name. Building again what has not changed takes cargo a moment
/// and changes nothing. Dropping the future stops cargo and what it started.
///
/// # Errors
/// See [`BuildError`].
pub async fn binaries(
    functions: &Functions,
    workspace: &Path,
    names: &[String],
) -> Result<BTreeMap<String, PathBuf>, BuildError> {
    match functions {
        Functions::Build { release } => cargo(workspace, names, *release).await,
        Functions::Directory(directory) => {
            let directory = directory
                .canonicalize()
                .unwrap_or_else(|_| directory.clone());
            names
                .iter()
                .map(|name| {
                    let path = directory.join(name);
                    if path.is_file() {
                        Ok((name.clone(), path))
                    } else {
                        Err(BuildError::Missing {
                            name: name.clone(),
                            directory: directory.clone(),
                        })
                    }
                })
                .collect()
        }
    }
}

/// One line of cargo's messages; the others have other reasons.
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

async fn cargo(
    workspace: &Path,
    names: &[String],
    release: bool,
) -> Result<BTreeMap<String, PathBuf>, BuildError> {
    let program = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut command = Command::new(&program);
    command
        .arg("build")
        .arg("--message-format=json-render-diagnostics")
        .current_dir(workspace)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .process_group(0);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        // what `cargo run` tells us about our own package is not true of what is built now, and
        // build scripts have no use for secrets
        let own_package = name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if own_package || name == "ANTHROPIC_API_KEY" || name.starts_with("SHANNON_") {
            command.env_remove(&*name);
        }
    }
    if release {
        command.arg("--release");
    }
    for name in names {
        command.args(["-p", name]);
    }
    let child = command.spawn().map_err(|source| BuildError::NoCargo {
        program: program.clone(),
        source,
    })?;
    let mut child = Group::of(child);
    let mut found = BTreeMap::new();
    if let Some(output) = child.process.stdout.take() {
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await.map_err(BuildError::Output)? {
            // anything that is not a message was printed by a build script
            let Ok(message) = serde_json::from_str::<Message>(&line) else {
                continue;
            };
            if let (Message { reason, .. }, Some(target), Some(executable)) =
                (&message, &message.target, &message.executable)
                && reason == "compiler-artifact"
                && names.contains(&target.name)
            {
                found.insert(target.name.clone(), executable.clone());
            }
        }
    }
    let status = child.wait().await.map_err(BuildError::Output)?;
    if !status.success() {
        return Err(BuildError::Failed(status));
    }
    match names.iter().find(|name| !found.contains_key(*name)) {
        Some(missing) => Err(BuildError::Missing {
            name: missing.clone(),
            directory: workspace.join("target"),
        }),
        None => Ok(found),
    }
}

/// A program of ours in a process group of its own: when this is dropped before the program has
/// ended, the whole group is killed.
pub(crate) struct Group {
    pub(crate) process: Child,
    ended: bool,
}

impl Group {
    /// The child must have been started with `process_group(0)`.
    pub(crate) fn of(process: Child) -> Self {
        Self {
            process,
            ended: false,
        }
    }

    pub(crate) async fn wait(&mut self) -> io::Result<std::process::ExitStatus> {
        let status = self.process.wait().await;
        self.ended = status.is_ok();
        status
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if let Some(id) = self.process.id().and_then(|id| i32::try_from(id).ok()) {
            let group = nix::unistd::Pid::from_raw(id);
            if let Err(error) = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL) {
                tracing::warn!(%error, "cannot kill a process group");
            }
        }
    }
}
