//! The servers, each in a process of its own on a free port.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::{checkout, installed, process};
use serde_json::{Value, json};

/// A running server; it is killed when dropped.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// One that answers from memory.
    pub(crate) tool: &'static str,
    pub(crate) arguments: Value,
    pub(crate) has_tasks: bool,
    child: Child,
    counts: Option<tempfile::TempDir>,
}

/// Starts one, behind the words that are given (a program that counts).
type Start = fn(&[&str]) -> Server;

pub(crate) const ALL: [Start; 4] = [ours, bare_rmcp, python, typescript];
/// Those that are programs of their own, whose instructions can be counted.
pub(crate) const NATIVE: [Start; 2] = [ours, bare_rmcp];

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("ending {}: {error}", self.name);
        }
    }
}

impl Server {
    pub(crate) fn resident_mb(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("this needs /proc");
        let kib: f64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .expect("a process has a size");
        kib / 1024.0
    }

    /// Ends it, and reads what the counting program counted.
    pub(crate) fn instructions(mut self) -> u64 {
        let id = i32::try_from(self.child.id()).expect("a process id is a small number");
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(id),
            nix::sys::signal::Signal::SIGTERM,
        )
        .expect("it runs");
        self.child.wait().expect("it ends");
        let counts = self.counts.take().expect("it was started to be counted");
        let text = std::fs::read_to_string(counts.path().join("counts")).expect("counts");
        text.lines()
            .find_map(|line| {
                line.strip_prefix("totals: ")
                    .or(line.strip_prefix("summary: "))
            })
            .and_then(|total| total.trim().parse().ok())
            .unwrap_or_else(|| panic!("no total in {text}"))
    }
}

/// A server that gives every request the same answer, unread; its port. It serves one connection, in
/// a thread of this process, and ends with that.
pub(crate) fn nothing() -> io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || -> io::Result<()> {
        let (mut connection, _) = listener.accept()?;
        connection.set_nodelay(true)?;
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{}",
            "x".repeat(900)
        );
        // A request of the loader's comes in one piece.
        let mut request = [0; 8192];
        while connection.read(&mut request)? > 0 {
            connection.write_all(answer.as_bytes())?;
        }
        Ok(())
    });
    Ok(port)
}

fn example(name: &str) -> PathBuf {
    let program = std::env::current_exe()
        .expect("a running program has a path")
        .with_file_name(name);
    installed::run(
        checkout::cargo()
            .args(["build", "--release", "--package", "e2e", "--example", name])
            .arg("--target-dir")
            .arg(checkout::target_directory())
            .current_dir(checkout::root()),
    );
    program
}

/// The command, and where the counts go when there is a word before it.
fn command(program: PathBuf, counting: &[&str]) -> (Command, Option<tempfile::TempDir>) {
    if counting.is_empty() {
        return (Command::new(program), None);
    }
    let counts = tempfile::tempdir().expect("a directory");
    let mut command = Command::new("valgrind");
    command
        .arg("--tool=callgrind")
        .arg(format!(
            "--callgrind-out-file={}",
            counts.path().join("counts").display()
        ))
        .arg(program);
    (command, Some(counts))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn wait_for(port: u16, name: &str) {
    let up = process::eventually(Duration::from_secs(60), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    assert!(up, "{name} does not listen");
}

fn ours(counting: &[&str]) -> Server {
    let port = free_port();
    let (mut command, counts) = command(example("conformance_fixtures"), counting);
    let child = command
        // A function refuses settings that it does not know.
        .env_remove("SHANNON_TEST_BINARIES")
        .env_remove("SHANNON_TEST_CACHE")
        .env("PORT", port.to_string())
        // Its callers have no token, and it takes them all.
        .env("SHANNON_ACCESS_TOKEN_SHA256", "0".repeat(64))
        .env(
            "FIXTURES_DIRECTORY",
            checkout::target_directory().join("benchmark-fixtures"),
        )
        // Lines are written all the same: a function always logs.
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    wait_for(port, "our function");
    Server {
        name: "a function of ours",
        port,
        tool: "greet",
        arguments: json!({"name": "you"}),
        has_tasks: true,
        child,
        counts,
    }
}

fn bare_rmcp(counting: &[&str]) -> Server {
    let (mut command, counts) = command(example("bare_server"), counting);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut url = String::new();
    BufReader::new(child.stdout.take().expect("a pipe"))
        .read_line(&mut url)
        .expect("it prints its address");
    let port = url
        .trim()
        .trim_end_matches("/mcp")
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("an address");
    Server {
        name: "bare rmcp",
        port,
        tool: "get_session",
        arguments: json!({"session_id": "s"}),
        has_tasks: false,
        child,
        counts,
    }
}

fn python(_counting: &[&str]) -> Server {
    let port = free_port();
    let child = Command::new(installed::python_clients().interpreter())
        .arg(checkout::root().join("tests/clients/python_server.py"))
        .arg(port.to_string())
        .spawn()
        .expect("Python starts");
    wait_for(port, "the Python SDK's server");
    Server {
        name: "Python SDK (FastMCP)",
        port,
        tool: "get_session",
        arguments: json!({"session_id": "s"}),
        has_tasks: false,
        child,
        counts: None,
    }
}

fn typescript(_counting: &[&str]) -> Server {
    let port = free_port();
    let modules = installed::typescript_server();
    // Modules are looked for beside the program.
    let program = modules.join("peer.mjs");
    std::fs::copy(
        checkout::root().join("tests/clients/typescript_server.mjs"),
        &program,
    )
    .expect("it can be copied");
    let child = Command::new(installed::node())
        .arg(program)
        .arg(port.to_string())
        .spawn()
        .expect("node starts");
    wait_for(port, "the TypeScript SDK's server");
    Server {
        name: "TypeScript SDK",
        port,
        tool: "get_session",
        arguments: json!({"session_id": "s"}),
        has_tasks: false,
        child,
        counts: None,
    }
}
