//! mcp-remote, the bridge for hosts that only start local servers, driven over its stdio.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use e2e::mcp::TOOLS;
use e2e::{installed, script, stack};
use serde_json::{Value, json};

/// What a host like Claude Desktop would start from its configuration.
struct Bridge {
    child: Child,
    input: ChildStdin,
    output: Receiver<String>,
    home: tempfile::TempDir,
    /// What the person was asked.
    asked: Vec<String>,
}

impl Bridge {
    fn start(url: &str, transport: &str, protocol: &str) -> Self {
        let stack = stack::shared();
        let mut command = Command::new(installed::node());
        command
            .arg(installed::mcp_remote())
            .arg(url)
            .args(["--transport", transport, "--protocol", protocol])
            .args([
                "--header",
                &format!("Authorization: Bearer {}", stack.token),
            ]);
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let mut child = command
            .env("HOME", home.path())
            .env("MCP_REMOTE_CONFIG_DIR", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(home.path().join("stderr")).expect("a file"))
            .spawn()
            .expect("node starts");
        let input = child.stdin.take().expect("a pipe");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            input,
            output,
            home,
            asked: Vec::new(),
        }
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.input, "{message}").expect("the bridge reads");
    }

    /// What it told a person meanwhile.
    fn said(&self) -> String {
        std::fs::read_to_string(self.home.path().join("stderr")).unwrap_or_default()
    }

    /// Sends a request and returns its result, passing over notifications; a question to the person
    /// is answered as somebody would at the host, and noted.
    fn request(&mut self, id: u64, method: &str, params: Value) -> Value {
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        loop {
            let line = self
                .output
                .recv_timeout(Duration::from_secs(90))
                .unwrap_or_else(|error| panic!("no answer to {method}: {error}\n{}", self.said()));
            let message: Value = serde_json::from_str(&line).expect("stdout carries JSON lines");
            if message["method"] == "elicitation/create" {
                let question = message["params"]["message"].as_str();
                self.asked.push(question.expect("a question").to_owned());
                self.send(&json!({"jsonrpc": "2.0", "id": message["id"],
                    "result": {"action": "accept", "content": {"Which color?": "Blue"}}}));
            } else if message["id"] == json!(id) {
                assert!(message.get("result").is_some(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("ending mcp-remote: {error}");
        }
    }
}

fn drives_a_session(url: &str, transport: &str, protocol: &str) {
    drives_a_session_over(Bridge::start(url, transport, protocol));
}

fn drives_a_session_over(mut bridge: Bridge) {
    let initialized = bridge.request(
        1,
        "initialize",
        json!({"protocolVersion": "2025-06-18", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "host", "version": "1"}}),
    );
    assert_eq!(
        initialized["serverInfo"]["name"], "shannon",
        "{initialized}"
    );
    bridge.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let tools = bridge.request(2, "tools/list", json!({}));
    assert_eq!(
        tools["tools"].as_array().expect("tools").len(),
        TOOLS.len(),
        "{tools}"
    );
    let call = |name: &str, arguments: Value| json!({"name": name, "arguments": arguments});
    let created = bridge.request(
        3,
        "tools/call",
        call(
            "create_session",
            json!({"prompt": script::prompt(&[script::question(), script::text("over the bridge")])}),
        ),
    );
    let session = created["structuredContent"]["session_id"].clone();
    assert!(session.is_string(), "{created}");
    let mut said = String::new();
    let mut cursor = Value::Null;
    for id in 4..30 {
        let mut arguments = json!({"session_id": session});
        if cursor.is_string() {
            arguments["cursor"] = cursor;
        }
        let waited = bridge.request(id, "tools/call", call("wait_session", arguments));
        let content = &waited["structuredContent"];
        said.push_str(&content["events"].to_string());
        cursor = content["next_cursor"].clone();
        if said.contains("turn_ended") {
            break;
        }
    }
    assert!(said.contains("over the bridge"), "{said}");
    assert_eq!(bridge.asked.len(), 1, "{:?}", bridge.asked);
    assert!(
        bridge.asked[0].contains("Which color?"),
        "{:?}",
        bridge.asked
    );
    assert!(said.contains(r#"{"Which color?":"Blue"}"#), "{said}");
    bridge.request(
        30,
        "tools/call",
        call("cancel_session", json!({"session_id": session})),
    );
}

#[test]
fn the_legacy_protocol() {
    drives_a_session(&stack::shared().mcp_url(), "http-only", "legacy");
}

#[test]
fn the_protocol_it_finds() {
    drives_a_session(&stack::shared().mcp_url(), "http-only", "auto");
}

#[test]
fn the_transport_that_people_have() {
    drives_a_session(&stack::shared().mcp_url(), "http-first", "legacy");
}

/// Exactly what `emulator connect` writes into the file of Claude Desktop, started as that does. npx finds
/// the version that is installed here, since it looks below the directory that it runs in first.
#[test]
fn as_connect_writes_it() {
    let stack = stack::shared();
    let file = stack.directory.join("mcp-remote.json");
    let state = stack.state.display().to_string();
    let written = stack::run_emulator(
        &[
            "connect",
            "mcp-remote",
            "--platform",
            "linux",
            "--state",
            &state,
            "--write",
            "--file",
            file.to_str().expect("UTF-8"),
        ],
        &stack::Options::default(),
    );
    let said = String::from_utf8_lossy(&written.stderr);
    assert!(written.status.success(), "{said}");
    let entry: Value =
        serde_json::from_slice(&std::fs::read(file).expect("it is written")).expect("JSON");
    let entry = &entry["mcpServers"]["shannon"];
    assert_eq!(entry["command"], "npx", "{entry}");
    let node = installed::node();
    let programs = node.parent().expect("a directory");
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(programs.to_owned()).chain(std::env::split_paths(&inherited));
    let remote = installed::mcp_remote();
    let modules = remote
        .ancestors()
        .find(|it| it.ends_with("node_modules"))
        .expect("npm installs there");
    let mut command = Command::new("npx");
    command
        .current_dir(modules.parent().expect("a project"))
        .env("PATH", std::env::join_paths(path).expect("a search path"))
        // What is not there is not fetched: the version is the pinned one, or there is none.
        .env("npm_config_offline", "true");
    for word in entry["args"].as_array().expect("arguments") {
        command.arg(word.as_str().expect("text"));
    }
    for (name, value) in entry["env"].as_object().expect("an environment") {
        command.env(name, value.as_str().expect("text"));
    }
    drives_a_session_over(Bridge::of(command));
}

/// As set-ups of Claude Desktop name it.
#[test]
fn the_oldest_transport() {
    drives_a_session(&stack::shared().sse_url(), "sse-only", "legacy");
}
