//! A running local stack: the built emulator with the built functions, on free loopback ports.
//!
//! The emulator runs under a small shell that watches a pipe from the test: when the test program
//! ends in whatever way, the pipe closes and the emulator is asked to stop, then made to. State,
//! logs and what the emulator printed lie in a directory of their own, which is removed afterwards
//! unless a test failed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Once, OnceLock};
use std::time::Duration;

use serde_json::Value;

use crate::mcp::Client;
use crate::{checkout, installed, process};

/// How long the emulator may take until it is ready; much longer than it needs on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// $1: directory, $2: remove it at the end (yes or no), then the command.
const WATCH: &str = r#"
directory=$1; remove=$2; shift 2
exec 3<&0
"$@" </dev/null 3<&- >"$directory/stdout" 2>"$directory/stderr" &
child=$!
(
  cat <&3 >/dev/null
  kill -TERM "$child" 2>/dev/null
  rounds=0
  while kill -0 "$child" 2>/dev/null && [ "$rounds" -lt 60 ]; do sleep 0.5; rounds=$((rounds + 1)); done
  kill -KILL "$child" 2>/dev/null
) >/dev/null 2>&1 &
wait "$child"
status=$?
if [ "$remove" = yes ] && [ ! -e "$directory/failed" ]; then rm -rf "$directory"; fi
exit "$status"
"#;

/// How to start a stack.
#[derive(Debug, Clone)]
pub struct Options {
    /// Arguments after the ones that every test needs.
    pub arguments: Vec<String>,
    /// The whole environment of the emulator apart from `PATH` and `HOME`.
    pub environment: BTreeMap<String, String>,
    /// Where its state is; a new directory when absent.
    pub state: Option<PathBuf>,
    /// The directory that holds the `claude` the stack finds; the pinned one when absent.
    pub claude_directory: Option<PathBuf>,
    /// The directory of the functions' programs; the ones that were built when absent.
    pub functions: Option<PathBuf>,
    /// A program and its arguments that become the emulator, for a changed surrounding.
    pub through: Vec<String>,
}

impl Default for Options {
    /// Room for many sessions at once, every permission mode, the offline model.
    fn default() -> Self {
        let settings = [
            ("SHANNON_ALLOW_BYPASS_PERMISSIONS", "true"),
            ("SHANNON_MAX_SESSIONS", "100"),
            ("SHANNON_MAX_SESSIONS_PER_OWNER", "100"),
            ("SHANNON_CLONE_TIMEOUT_SECONDS", "10"),
        ];
        Self {
            arguments: Vec::new(),
            environment: settings
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            state: None,
            claude_directory: None,
            functions: None,
            through: Vec::new(),
        }
    }
}

impl Options {
    /// The same with one more variable in the emulator's environment.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// A running stack.
#[derive(Debug)]
pub struct Stack {
    /// Everything that belongs to it: `state`, `home`, `roots`, what the emulator printed.
    pub directory: PathBuf,
    /// Its state directory.
    pub state: PathBuf,
    /// What `<state>/emulator.json` says.
    pub description: Value,
    /// The token that may use it.
    pub token: String,
    watch: Child,
}

impl Stack {
    /// Builds what is missing and starts the stack.
    ///
    /// # Panics
    /// When it does not become ready; the message holds what the emulator said.
    pub fn start(options: &Options) -> Self {
        Self::try_start(options).unwrap_or_else(|said| panic!("the stack did not start: {said}"))
    }

    /// The same, for stacks that must not start.
    ///
    /// # Errors
    /// What the emulator printed before it ended, and its exit code.
    pub fn try_start(options: &Options) -> Result<Self, String> {
        let directory = tempfile::Builder::new()
            .prefix("shannon-test-")
            .tempdir()
            .expect("a temporary directory can be made")
            .keep();
        let state = options
            .state
            .clone()
            .unwrap_or_else(|| directory.join("state"));
        for made in ["home", "roots"] {
            fs::create_dir(directory.join(made)).expect("a directory can be made");
        }
        // What an emulator that was killed, or one that runs, left there is not the new one's.
        let description = state.join("emulator.json");
        let previous = read_json(&description);
        let fresh = || read_json(&description).filter(|found| Some(found) != previous.as_ref());
        let mut watch = watch_command(&directory, options.state.is_none());
        watch
            .args(&options.through)
            .arg(emulator())
            .args(["--port", "0", "--functions"])
            .arg(options.functions.clone().unwrap_or_else(binaries))
            .arg("--state")
            .arg(&state)
            .args(&options.arguments);
        clean_environment(&mut watch, &directory, options);
        let mut watch = watch
            .stdin(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let ready = process::eventually(READY_WITHIN, || {
            fresh().is_some()
                || watch
                    .try_wait()
                    .expect("our own child can be asked")
                    .is_some()
        });
        let Some(description) = fresh().filter(|_| ready) else {
            drop(watch.stdin.take());
            let status = watch.wait().expect("our own child can be waited for");
            let said = printed(&directory);
            return Err(format!("{status}\n{said}"));
        };
        let token = match options.environment.get("SHANNON_DEV_TOKEN") {
            Some(token) => token.clone(),
            None => fs::read_to_string(state.join("token"))
                .unwrap_or_else(|error| panic!("reading the token: {error}")),
        };
        Ok(Self {
            directory,
            state,
            description,
            token: token.trim().to_owned(),
            watch,
        })
    }

    /// The base address that clients use, without `/mcp`.
    pub fn url(&self) -> String {
        self.address("url")
    }

    /// The MCP endpoint.
    pub fn mcp_url(&self) -> String {
        format!("{}/mcp", self.url())
    }

    /// The endpoint of the pair of 2024-11-05.
    pub fn sse_url(&self) -> String {
        format!("{}/sse", self.url())
    }

    /// The endpoint of the emulated AWS services.
    pub fn aws_url(&self) -> String {
        self.address("aws_url")
    }

    /// Access key id and secret of a person at this machine, as the start message shows them.
    ///
    /// # Panics
    /// When the start message does not.
    pub fn operator_key(&self) -> (String, String) {
        let value = |name: &str| {
            let said = fs::read_to_string(self.directory.join("stdout")).ok()?;
            let rest = said.split_once(&format!("{name}="))?.1;
            rest.split_whitespace().next().map(ToOwned::to_owned)
        };
        let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        // The message is printed just after the description was written.
        let shown = process::eventually(READY_WITHIN, || {
            names.iter().all(|name| value(name).is_some())
        });
        assert!(shown, "no keys in:\n{}", printed(&self.directory));
        let [id, secret] = names.map(|name| value(name).expect("just seen"));
        (id, secret)
    }

    /// Plans failures of the emulated AWS (`service`, `operation`, `error`, `count`); the stack has
    /// to be started with `--test-hooks`.
    ///
    /// # Panics
    /// When the stack does not take it.
    pub async fn plan_fault(&self, fault: Value) {
        let answer = self
            .client()
            .http()
            .post(format!("{}/_emulator/faults", self.aws_url()))
            .body(fault.to_string())
            .send()
            .await
            .expect("the emulator answers");
        assert!(answer.status().is_success(), "{fault}: {}", answer.status());
    }

    /// The sweep of a minute, at once.
    ///
    /// # Panics
    /// When it fails.
    pub async fn sweep(&self) {
        let url = format!("{}/_emulator/schedules/reconciler", self.aws_url());
        let answer = self.client().http().post(url).send().await;
        assert_eq!(answer.expect("an answer").status(), 200);
    }

    fn address(&self, name: &str) -> String {
        self.description[name]
            .as_str()
            .unwrap_or_else(|| panic!("emulator.json has no {name}: {}", self.description))
            .trim_end_matches('/')
            .to_owned()
    }

    /// The emulator's process.
    pub fn process_id(&self) -> u32 {
        self.description["pid"]
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .unwrap_or_else(|| panic!("emulator.json has no pid: {}", self.description))
    }

    /// A directory whose subdirectories may be copied into sessions.
    pub fn roots(&self) -> PathBuf {
        self.directory.join("roots")
    }

    /// A client of the 2026-07-28 era with the token.
    pub fn client(&self) -> Client {
        Client::new(&self.mcp_url(), &self.token)
    }

    /// A person who has the token.
    pub fn approver(&self) -> crate::approver::Approver {
        crate::approver::Approver::new(&self.token)
    }

    /// Asks it to stop and waits until it has; says how it ended and what it printed.
    pub fn stop(mut self) -> (std::process::ExitStatus, String) {
        // The directory holds what it printed, so it must outlive the shell.
        fs::write(self.directory.join("failed"), "").expect("the directory is writable");
        drop(self.watch.stdin.take());
        let status = self.watch.wait().expect("our own child can be waited for");
        let said = printed(&self.directory);
        fs::remove_dir_all(&self.directory).expect("our own directory can be removed");
        (status, said)
    }

    /// Everything that helps to understand a failure: the end of each log.
    pub fn logs(&self) -> String {
        let mut logs = printed(&self.directory);
        let mut files: Vec<PathBuf> = fs::read_dir(self.state.join("logs"))
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        files.sort();
        for file in files {
            let text = fs::read(&file).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(40)..].join("\n");
            logs.push_str(&format!("--- {}\n{last}\n", file.display()));
        }
        logs
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            report(self);
        }
        drop(self.watch.stdin.take());
        if let Err(error) = self.watch.wait() {
            eprintln!("waiting for the emulator: {error}");
        }
    }
}

/// The one stack of this test program, with [`Options::default`]. What it guards: when the test
/// fails, the logs are printed and kept.
#[derive(Debug)]
pub struct Shared(&'static Stack);

impl std::ops::Deref for Shared {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            report(self.0);
        }
    }
}

/// Starts the stack that the tests of this program share, or finds it running.
pub fn shared() -> Shared {
    static SHARED: OnceLock<Stack> = OnceLock::new();
    Shared(SHARED.get_or_init(|| Stack::start(&Options::default())))
}

/// Runs the emulator's command line to its end, without a stack of ours.
///
/// # Panics
/// When it cannot be started.
pub fn run_emulator(arguments: &[&str], options: &Options) -> std::process::Output {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    for made in ["home", "roots"] {
        fs::create_dir(directory.path().join(made)).expect("a directory can be made");
    }
    let mut command = Command::new(emulator());
    command.args(arguments).stdin(Stdio::null());
    clean_environment(&mut command, directory.path(), options);
    command.output().expect("the emulator can be started")
}

/// The emulator's program.
pub fn emulator() -> PathBuf {
    binaries().join("emulator")
}

/// The directory with the emulator and the function binaries of the profile under test, built once
/// per test program. `SHANNON_TEST_BINARIES` names one that is already built.
pub fn binaries() -> PathBuf {
    static BUILD: Once = Once::new();
    if let Some(directory) = std::env::var_os("SHANNON_TEST_BINARIES") {
        return PathBuf::from(directory);
    }
    let directory = checkout::profile_directory();
    BUILD.call_once(|| {
        let mut build = checkout::cargo();
        if directory.file_name().is_some_and(|name| name == "release") {
            build.args(["build", "--workspace", "--bins", "--quiet", "--release"]);
        } else {
            // All targets, so that the same features are chosen as for the tests and nothing is
            // built twice; after `cargo test --workspace` only the binaries are left to link.
            build.args(["build", "--workspace", "--all-targets", "--quiet"]);
        }
        build
            .arg("--target-dir")
            .arg(checkout::target_directory())
            .current_dir(checkout::root());
        installed::run(&mut build);
    });
    directory
}

/// The emulator as a process of its own, with its standard output to be read: for who measures it.
/// `directory` needs the directories `home` and `roots`.
pub fn bare_command(directory: &Path, options: &Options) -> Command {
    let mut command = Command::new(emulator());
    command
        .args(["--port", "0", "--functions"])
        .arg(options.functions.clone().unwrap_or_else(binaries))
        .args(&options.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    clean_environment(&mut command, directory, options);
    command
}

/// The shell that watches over a program, which is to follow as its arguments.
pub(crate) fn watch_command(directory: &Path, remove: bool) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", WATCH, process::WATCH_NAME])
        .arg(directory)
        .arg(if remove { "yes" } else { "no" });
    command
}

fn clean_environment(command: &mut Command, directory: &Path, options: &Options) {
    let claude = options.claude_directory.clone().unwrap_or_else(|| {
        installed::claude()
            .parent()
            .expect("a program lies in a directory")
            .to_path_buf()
    });
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths(std::iter::once(claude).chain(std::env::split_paths(&inherited)))
            .expect("the search path can be joined");
    command
        .env_clear()
        .env("PATH", path)
        .env("HOME", directory.join("home"))
        .env("SHANNON_WORKSPACE_ROOTS", directory.join("roots"))
        .envs(&options.environment)
        .current_dir(checkout::root());
}

fn read_json(path: &Path) -> Option<Value> {
    // The file appears by a rename, but an emulator that is just ending may remove it.
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

fn printed(directory: &Path) -> String {
    let mut said = String::new();
    for name in ["stdout", "stderr"] {
        let mut text = Vec::new();
        if let Ok(mut file) = fs::File::open(directory.join(name)) {
            file.read_to_end(&mut text).expect("a file can be read");
        }
        let text = String::from_utf8_lossy(&text);
        said.push_str(&format!("--- {name}\n{text}\n"));
    }
    said
}

fn report(stack: &Stack) {
    let kept = stack.directory.join("failed");
    if let Err(error) = fs::write(&kept, "") {
        eprintln!("writing {}: {error}", kept.display());
    }
    eprintln!("{}\nkept in {}", stack.logs(), stack.directory.display());
}
