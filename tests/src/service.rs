//! `emulator serve` as a test runs it: an installation of its own, a state directory that outlives it,
//! and the secrets in files.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::mcp::{Client, http_client};
use crate::{checkout, installed, process, stack};

/// How long it may take until it is ready; much longer than it needs on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// The token of every service that a test starts.
pub const TOKEN: &str = "b4c1f0a97d2e4c5683aa01c7e95d3f62";

/// What an installed program consists of, made of what was built. Gone when dropped.
#[derive(Debug)]
pub struct Installation(tempfile::TempDir);

impl Installation {
    /// One more, beside the others.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn make() -> Self {
        // On the file system of what was built, so that a link is enough.
        let directory = tempfile::Builder::new()
            .prefix("installation-")
            .tempdir_in(checkout::target_directory())
            .expect("a directory can be made");
        let functions = directory.path().join("functions");
        fs::create_dir(&functions).expect("a directory");
        let built = stack::binaries();
        let link = |from: &Path, to: PathBuf| {
            fs::hard_link(from, &to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
        };
        link(&built.join("emulator"), directory.path().join("emulator"));
        for entry in fs::read_dir(checkout::root().join("functions")).expect("functions") {
            let name = entry.expect("an entry").file_name();
            link(&built.join(&name), functions.join(&name));
        }
        fs::copy(
            checkout::root().join("template.yaml"),
            directory.path().join("template.yaml"),
        )
        .expect("the template");
        Self(directory)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// How a service is to be started. Its directory holds state, secrets and what it printed.
#[derive(Debug)]
pub struct Setup {
    directory: tempfile::TempDir,
    /// Where it listens, also after a restart.
    pub port: u16,
    /// Its whole environment, apart from `PATH` and `HOME`.
    pub environment: BTreeMap<String, String>,
    /// Arguments after `serve`.
    pub arguments: Vec<String>,
    /// A program and its arguments that become the service, for a changed surrounding.
    pub through: Vec<String>,
}

impl Setup {
    /// The offline model, a token in a file, a free port.
    ///
    /// # Panics
    /// When the machine gives no port or directory.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("shannon-service-")
            .tempdir()
            .expect("a directory");
        fs::create_dir(directory.path().join("home")).expect("a directory");
        let token = directory.path().join("access-token");
        fs::write(&token, format!("{TOKEN}\n")).expect("a file");
        let port = free_port();
        let state = directory.path().join("state");
        let environment = [
            ("SHANNON_ACCESS_TOKEN_FILE", token.display().to_string()),
            ("SHANNON_STATE_DIRECTORY", state.display().to_string()),
            ("SHANNON_PORT", port.to_string()),
            ("SHANNON_ALLOW_BYPASS_PERMISSIONS", "true".to_owned()),
        ];
        Self {
            directory,
            port,
            environment: environment
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            arguments: vec!["--offline".to_owned()],
            through: Vec::new(),
        }
    }

    /// The same with one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same without one.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where its state is.
    pub fn state(&self) -> PathBuf {
        self.environment
            .get("SHANNON_STATE_DIRECTORY")
            .map_or_else(|| self.path().join("state"), PathBuf::from)
    }

    /// What [`Setup::through`] is for a surrounding in which `$0` is the state directory and this was done
    /// first, to mounts that nobody else sees.
    pub fn after(&self, first: &str) -> Vec<String> {
        let namespace: &[&str] = if nix::unistd::geteuid().is_root() {
            &["--mount"]
        } else {
            &["--user", "--map-current-user", "--keep-caps", "--mount"]
        };
        let script = format!("{first} && exec \"$@\"");
        let state = self.state().display().to_string();
        ["unshare"]
            .iter()
            .chain(namespace)
            .chain(&["sh", "-c", &script, &state])
            .map(|word| (*word).to_owned())
            .collect()
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it ends before.
    pub fn start(&self, installation: &Installation) -> Service {
        self.try_start(installation)
            .unwrap_or_else(|(status, said)| panic!("the service did not start: {status}\n{said}"))
    }

    /// The same, for one that must not start.
    ///
    /// # Errors
    /// How it ended, and what it printed.
    pub fn try_start(&self, installation: &Installation) -> Result<Service, (ExitStatus, String)> {
        let printed = tempfile::Builder::new()
            .prefix("printed-")
            .tempdir_in(self.path())
            .expect("a directory")
            .keep();
        let claude = installed::claude();
        let claude = claude.parent().expect("a program lies in a directory");
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(claude.to_owned()).chain(std::env::split_paths(&inherited));
        let mut watch = stack::watch_command(&printed, false);
        watch
            .args(&self.through)
            .arg(installation.path().join("emulator"))
            .arg("serve")
            .args(&self.arguments)
            .env_clear()
            .env("PATH", std::env::join_paths(path).expect("a search path"))
            .env("HOME", self.path().join("home"))
            .envs(&self.environment)
            // Neither a checkout nor anything else of ours is there.
            .current_dir(self.path())
            .stdin(Stdio::piped());
        let mut watch = watch.spawn().expect("there is a shell");
        let said = || fs::read_to_string(printed.join("stderr")).unwrap_or_default();
        let ready = || said().lines().find_map(ready_line);
        process::eventually(READY_WITHIN, || {
            ready().is_some() || watch.try_wait().expect("our own child").is_some()
        });
        let Some(about) = ready() else {
            drop(watch.stdin.take());
            let status = watch.wait().expect("our own child");
            return Err((status, said()));
        };
        let description = fs::read_to_string(self.state().join("emulator.json"));
        let description: Option<Value> = description
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        Ok(Service {
            url: format!("http://127.0.0.1:{}", self.port),
            process: description.and_then(|it| u32::try_from(it["pid"].as_u64()?).ok()),
            about,
            printed,
            watch,
        })
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

/// A port that nobody has at the moment.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn ready_line(line: &str) -> Option<Value> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line["message"] == "ready").then_some(line)
}

/// A running service. Dropped, it is stopped.
#[derive(Debug)]
pub struct Service {
    /// Its address, without `/mcp`.
    pub url: String,
    /// Its log line when it was ready.
    pub about: Value,
    process: Option<u32>,
    printed: PathBuf,
    watch: Child,
}

impl Service {
    /// A client of the 2026-07-28 era with the token.
    pub fn client(&self) -> Client {
        Client::new(&format!("{}/mcp", self.url), TOKEN)
    }

    /// What it has printed on standard error until now.
    pub fn said(&self) -> String {
        fs::read_to_string(self.printed.join("stderr")).unwrap_or_default()
    }

    /// What it has printed on standard output until now.
    pub fn printed(&self) -> String {
        fs::read_to_string(self.printed.join("stdout")).unwrap_or_default()
    }

    /// Its process.
    ///
    /// # Panics
    /// When its state does not say.
    pub fn process_id(&self) -> u32 {
        self.process.expect("emulator.json names the process")
    }

    /// Sends SIGTERM and does not wait.
    pub fn ask_to_end(&self) {
        process::ask_to_end(self.process_id());
    }

    /// Waits until it has ended; how it did, and what it printed.
    pub fn ended(mut self) -> (ExitStatus, String) {
        // Its end would be told to the service: waiting closes what is not taken out.
        let input = self.watch.stdin.take();
        let status = self.watch.wait().expect("our own child");
        drop(input);
        (status, self.said())
    }

    /// The status of a GET.
    pub async fn get(&self, path: &str) -> u16 {
        let answer = http_client()
            .get(format!("{}{path}", self.url))
            .send()
            .await;
        answer.map_or(0, |answer| answer.status().as_u16())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the service said\n{}", self.said());
        }
        drop(self.watch.stdin.take());
        if let Err(error) = self.watch.wait() {
            eprintln!("waiting for the service: {error}");
        }
    }
}
