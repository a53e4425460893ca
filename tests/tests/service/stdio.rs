//! A local host reaches the service of another machine through ssh, whatever the shell there prints.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use e2e::service::{Installation, Setup};
use serde_json::{Value, json};

/// Does what sshd does with a command: gives it to the shell of the account, which greets.
const SSH: &str = r#"#!/bin/sh
while [ "$1" != -- ] && [ "$1" != -T ]; do shift; done
[ "$1" = -T ] && shift
while [ "${1#-}" != "$1" ]; do case "$1" in -o) shift 2;; *) shift;; esac; done
host=$1; shift
[ "$host" = there ] || { echo "unknown host $host" >&2; exit 255; }
echo "Welcome to $host! { not JSON }"
echo
cd / && exec sh -c "echo 'a login shell says this'; $*"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn messages_pass_ssh_and_nothing_else_does() {
    let installation = Installation::make();
    let setup = Setup::new();
    let _service = setup.start(&installation);
    let programs = setup.path().join("programs");
    fs::create_dir(&programs).expect("a directory");
    let ssh = programs.join("ssh");
    fs::write(&ssh, SSH).expect("a file");
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("a mode");
    let path = format!("{}:/usr/bin:/bin", programs.display());
    // Of the other machine: where the token and the state are.
    let emulator = installation.path().join("emulator");
    let there = format!(
        "SHANNON_ACCESS_TOKEN_FILE={} {} --state {}",
        setup.path().join("access-token").display(),
        emulator.display(),
        setup.state().display()
    );
    let run = |host: &str, messages: &[Value]| {
        let mut host = Command::new(&emulator)
            .args(["stdio", "--ssh", host, "--remote-program", &there])
            .env_clear()
            .env("PATH", &path)
            .current_dir(setup.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the emulator");
        let mut input = host.stdin.take().expect("a pipe");
        for message in messages {
            writeln!(input, "{message}").expect("a line");
        }
        let mut lines = BufReader::new(host.stdout.take().expect("a pipe")).lines();
        let mut read = Vec::new();
        for _ in messages {
            match lines.next() {
                Some(line) => read.push(line.expect("text")),
                None => break,
            }
        }
        // The end of the input ends it all.
        drop(input);
        read.extend(lines.map(|line| line.expect("text")));
        let output = host.wait_with_output().expect("it ends");
        (
            output.status.code(),
            read,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"},
    }});
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
    let (code, lines, said) = run("there", &[hello.clone(), list]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(lines.len(), 2, "{lines:?}: {said}");
    let ids: Vec<i64> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter_map(|message| message["id"].as_i64())
        .collect();
    assert!(ids.contains(&1) && ids.contains(&2), "{lines:?}");
    assert!(said.contains("a login shell says this"), "{said}");
    let (code, lines, said) = run("elsewhere", &[hello]);
    assert_eq!((code, lines.len()), (Some(1), 0), "{said}");
    assert!(said.contains("unknown host"), "{said}");
}
