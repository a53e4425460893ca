//! The emulator as a program: what it says, what it leaves, how it ends. The functions are stand-ins
//! that are never asked for anything here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

const FUNCTIONS: [&str; 12] = [
    "discover",
    "catalog",
    "call",
    "read",
    "tasks",
    "legacy",
    "listen",
    "approvals",
    "authorizer",
    "model-gateway",
    "reconciler",
    "projector",
];

/// Answers `find-claude` with the file `claude` beside it or, without one, with what the managed
/// directory holds.
const RUNNER: &str = r#"#!/bin/sh
here=$(dirname "$0")
for path in "$here/claude" "$4"/claude/2.1.328/node_modules/*/claude; do
  if [ -f "$path" ]; then
    selected="{\"path\":\"$path\",\"version\":\"2.1.328\",\"source\":\"path\",\"supported\":true}"
    break
  fi
done
echo "{\"selected\":${selected:-null},\"candidates\":[],\"supported_version\":\"2.1.328\"}"
"#;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// A machine with all functions and a supported claude.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Self { directory };
        for part in ["functions", "programs", "home"] {
            fs::create_dir(place.path(part)).unwrap();
        }
        for name in FUNCTIONS {
            place.program(&format!("functions/{name}"), "#!/bin/sh\nexit 1\n");
        }
        place.program("functions/session-runner", RUNNER);
        place.program("functions/claude", "#!/bin/sh\n");
        place
    }

    fn path(&self, part: &str) -> PathBuf {
        self.directory.path().join(part)
    }

    fn state(&self) -> PathBuf {
        self.path("state")
    }

    fn program(&self, part: &str, text: &str) {
        // Another process puts it there: what this one had open for writing may still be open in a
        // child that another test is just starting, and then it cannot be run.
        let (draft, path) = (self.path(&format!("{part}.draft")), self.path(part));
        fs::write(&draft, text).unwrap();
        let mut install = Command::new("install");
        install.args(["-m", "755"]).args([&draft, &path]);
        assert!(install.status().unwrap().success());
        fs::remove_file(draft).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let functions = self.path("functions");
        let mut all = vec!["--functions", functions.to_str().unwrap()];
        all.extend(arguments);
        self.building(&all)
    }

    /// Without built functions.
    fn building(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_emulator"));
        command
            .args(arguments)
            .arg("--state")
            .arg(self.state())
            .args(["--port", "0"])
            .env_clear()
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.path("programs").display()),
            )
            .env("HOME", self.path("home"))
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self, arguments: &[&str]) -> Running {
        Running::of(&mut self.command(arguments))
    }

    /// Runs it to its end.
    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

/// A started emulator that has said its start message.
struct Running {
    process: Child,
    banner: String,
}

impl Running {
    fn of(command: &mut Command) -> Self {
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut banner = String::new();
        loop {
            let Some(line) = lines.next() else {
                let mut said = String::new();
                process
                    .stderr
                    .take()
                    .unwrap()
                    .read_to_string(&mut said)
                    .unwrap();
                panic!(
                    "it ended ({}) before it was ready: {said}",
                    process.wait().unwrap()
                );
            };
            let line = line.unwrap();
            let last = line.starts_with("Ctrl-C");
            banner.push_str(&(line + "\n"));
            if last {
                return Self { process, banner };
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).unwrap();
    }

    /// Exit code and what it said on standard error.
    fn stop(self) -> (Option<i32>, String) {
        self.stop_by(Signal::SIGTERM)
    }

    fn stop_by(mut self, signal: Signal) -> (Option<i32>, String) {
        self.signal(signal);
        let mut said = String::new();
        self.process
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        (self.process.wait().unwrap().code(), said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // it may have ended already
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

mod backups;
mod building;
mod connect;
mod logs;
mod usage;

#[test]
fn a_stack_starts_says_where_it_is_and_stops() {
    let place = Place::new();
    let running = place.start(&[]);
    let token = fs::read_to_string(place.state().join("token")).unwrap();
    let text = fs::read(place.state().join("emulator.json")).unwrap();
    let about: Value = serde_json::from_slice(&text).unwrap();
    let field = |name: &str| about[name].as_str().unwrap().to_owned();
    assert_eq!(about["pid"], running.process.id());
    for part in [
        field("mcp_url").as_str(),
        &field("aws_url"),
        &format!(
            "claude mcp add --transport http shannon {} --header \"Authorization: Bearer {token}\"",
            field("mcp_url")
        ),
        "\"mcp-remote\"",
        "AWS_ENDPOINT_URL=",
        "offline model",
        "2.1.328",
        &place.state().join("logs").display().to_string(),
    ] {
        assert!(
            running.banner.contains(part),
            "{part} is not in {}",
            running.banner
        );
    }
    assert!(token.len() >= 43);
    for (file, mode) in [("token", 0o600), ("signing-key", 0o600), (".", 0o700)] {
        let permissions = fs::metadata(place.state().join(file))
            .unwrap()
            .permissions();
        assert_eq!(permissions.mode() & 0o777, mode, "{file}");
    }
    assert!(
        !String::from_utf8(text).unwrap().contains(&token),
        "the description holds no secret"
    );
    let (code, said) = running.stop();
    assert_eq!(code, Some(0));
    assert!(
        said.contains("stopping") && said.contains("stopped"),
        "{said}"
    );
    assert!(!place.state().join("emulator.json").exists());
    let again = place.start(&[]);
    assert!(again.banner.contains(&token), "the token stays");
    // twice at once is one wish: some programs pass a signal on in two ways
    again.signal(Signal::SIGINT);
    assert_eq!(again.stop_by(Signal::SIGINT).0, Some(0));
}

#[test]
fn a_state_directory_has_one_user() {
    let place = Place::new();
    let running = place.start(&[]);
    let output = place.run(&[]);
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(
        text.contains("another emulator uses the state directory"),
        "{text}"
    );
    assert!(
        text.contains(&format!("process {}", running.process.id())),
        "{text}"
    );
    let calls = place.run(&["calls"]);
    assert!(calls.status.success(), "{}", said(&calls));
    let messages = place.run(&["messages"]);
    assert!(messages.status.success(), "{}", said(&messages));
    let ephemeral = place.start(&["--ephemeral"]);
    assert!(ephemeral.banner.contains("none is kept"));
    drop(ephemeral);
    running.signal(Signal::SIGKILL);
    drop(running);
    assert!(
        place.state().join("emulator.json").exists(),
        "what a killed one leaves"
    );
    let calls = place.run(&["calls"]);
    assert_eq!(
        calls.status.code(),
        Some(3),
        "is not taken for a running one"
    );
    assert!(said(&calls).contains("no stack runs"));
    assert_eq!(place.start(&[]).stop().0, Some(0));
}

#[test]
fn an_ephemeral_stack_leaves_nothing() {
    let place = Place::new();
    let mut command = place.command(&["--ephemeral"]);
    let temporary = place.path("temporary");
    fs::create_dir(&temporary).unwrap();
    let running = Running::of(command.env("TMPDIR", &temporary));
    assert_eq!(
        fs::read_dir(&temporary).unwrap().count(),
        2,
        "ours and that of the AWS services"
    );
    assert_eq!(running.stop().0, Some(0));
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    assert!(!place.state().exists());
}

#[test]
fn a_used_port_is_said() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut command = place.command(&[]);
    command.env("SHANNON_PORT", &port);
    // the last --port of `command` would win over the environment
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut bare = Command::new(env!("CARGO_BIN_EXE_emulator"));
    bare.args(&arguments[..arguments.len() - 2])
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(command.get_current_dir().unwrap());
    let output = bare.output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&port) && text.contains("already in use") && text.contains("--port"),
        "{text}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn an_address_for_others_is_warned_of() {
    let place = Place::new();
    let open = Running::of(place.command(&[]).env("SHANNON_BIND", "0.0.0.0"));
    assert!(
        open.banner.contains("REACHABLE FROM OTHER MACHINES"),
        "{}",
        open.banner
    );
    assert!(
        open.banner.contains("MCP        http://127.0.0.1:"),
        "{}",
        open.banner
    );
    drop(open);
    assert!(!place.start(&[]).banner.contains("REACHABLE"));
}

#[test]
fn the_token_can_be_given() {
    let place = Place::new();
    let token = "given-token-0123456789-abcdefghijklmnop";
    let running = Running::of(place.command(&[]).env("SHANNON_DEV_TOKEN", token));
    assert!(running.banner.contains(token));
    assert!(!place.state().join("token").exists());
    drop(running);
    let output = place
        .command(&[])
        .env("SHANNON_DEV_TOKEN", "sesame")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = said(&output);
    assert!(
        text.contains("SHANNON_DEV_TOKEN") && !text.contains("sesame"),
        "{text}"
    );
}

#[test]
fn a_key_decides_the_model_and_is_not_shown() {
    let place = Place::new();
    let key = "sk-ant-not-a-real-key-of-32-bytes-or-more";
    let with_key = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env("ANTHROPIC_API_KEY", key);
        Running::of(&mut command)
    };
    let real = with_key(&[]);
    assert!(
        real.banner
            .contains("the Anthropic API at https://api.anthropic.com"),
        "{}",
        real.banner
    );
    assert!(!real.banner.contains(key));
    drop(real);
    let offline = with_key(&["--offline"]);
    assert!(
        offline.banner.contains("as --offline asks"),
        "{}",
        offline.banner
    );
    drop(offline);
    let refused = place
        .command(&[])
        .env("ANTHROPIC_API_KEY", "sk-ant-short")
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let text = said(&refused);
    assert!(
        text.contains("ANTHROPIC_API_KEY has 12 bytes") && !text.contains("sk-ant"),
        "{text}"
    );
}

/// The answer of the gateway that the start message names. The request has no body.
fn ask(banner: &str, request: &str) -> String {
    use std::io::Write as _;
    let address = banner
        .split_once("http://")
        .and_then(|(_, rest)| rest.split_once("/mcp"))
        .map(|(address, _)| address.to_owned())
        .unwrap_or_else(|| panic!("no endpoint in {banner}"));
    let mut connection = std::net::TcpStream::connect(&address).unwrap();
    let rest = format!("host: {address}\r\nconnection: close\r\n\r\n");
    connection
        .write_all(format!("{request}{rest}").as_bytes())
        .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn missing_functions_are_named() {
    let place = Place::new();
    fs::remove_file(place.path("functions/tasks")).unwrap();
    let output = place.run(&[]);
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(
        text.contains("not started:") && text.contains("holds no program tasks"),
        "{text}"
    );
}

/// The id that a stand-in wrote into a file beside itself, once it is there.
fn written_id(path: &Path) -> Pid {
    let begun = std::time::Instant::now();
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if let Some(id) = text.strip_suffix('\n') {
            return Pid::from_raw(id.parse().unwrap());
        }
        assert!(
            begun.elapsed().as_secs() < 60,
            "{} stays empty",
            path.display()
        );
        std::thread::yield_now();
    }
}

#[test]
fn ctrl_c_leaves_no_child_of_a_child() {
    let place = Place::new();
    // Neither asks for work: the second is its child and hears no polite signal.
    let hanging = "#!/bin/sh\nhere=$(dirname \"$0\")\n\
        sh -c 'trap \"\" TERM INT HUP; echo $$ > \"$0/child\"; exec sleep 1000' \"$here\" &\n\
        echo $$ > \"$here/parent\"\nwait\n";
    place.program("functions/authorizer", hanging);
    let running = place.start(&[]);
    let banner = running.banner.clone();
    // It gets no answer: its connection ends with the stack.
    let asking = std::thread::spawn(move || {
        std::panic::catch_unwind(|| {
            ask(&banner, "POST /mcp HTTP/1.1\r\nauthorization: Bearer x\r\n")
        })
    });
    let ids = ["parent", "child"].map(|name| written_id(&place.path("functions").join(name)));
    for id in ids {
        assert!(kill(id, None).is_ok(), "{id} runs");
    }
    assert_eq!(running.stop_by(Signal::SIGINT).0, Some(0));
    for id in ids {
        // Gone, or a zombie that somebody else has still to collect.
        let state = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let zombie = state
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z"));
        assert!(zombie || kill(id, None).is_err(), "{id} is left: {state}");
    }
    drop(asking.join());
}
