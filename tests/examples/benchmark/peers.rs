//! The servers that ours is compared with, each in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::{checkout, installed, process};

/// A running peer; it is killed when dropped.
pub(crate) struct Peer {
    child: Child,
    pub(crate) url: String,
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("ending a peer: {error}");
        }
    }
}

/// An example of this package, built beside this program when it is not there.
pub(crate) fn example(name: &str) -> PathBuf {
    let program = std::env::current_exe()
        .expect("a running program has a path")
        .with_file_name(name);
    if !program.is_file() {
        installed::run(
            checkout::cargo()
                .args(["build", "--release", "--package", "e2e", "--example", name])
                .arg("--target-dir")
                .arg(checkout::target_directory())
                .current_dir(checkout::root()),
        );
    }
    program
}

/// The least that an rmcp server can be.
pub(crate) fn bare_rmcp() -> Peer {
    let program = example("bare_server");
    let mut child = Command::new(&program)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let mut url = String::new();
    BufReader::new(child.stdout.take().expect("a pipe"))
        .read_line(&mut url)
        .expect("it prints its address");
    Peer {
        child,
        url: url.trim().to_owned(),
    }
}

/// The high-level server of the Python SDK.
pub(crate) fn python() -> Peer {
    let port = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.local_addr().expect("an address").port()
    };
    let child = Command::new(installed::python_clients().interpreter())
        .arg(checkout::root().join("tests/clients/python_server.py"))
        .arg(port.to_string())
        .spawn()
        .expect("Python starts");
    let peer = Peer {
        child,
        url: format!("http://127.0.0.1:{port}/mcp"),
    };
    let up = process::eventually(Duration::from_secs(30), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    assert!(up, "the Python server does not listen");
    peer
}
