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
        let home = tempfile::tempdir().expect("a directory");
        let mut child = Command::new(installed::node())
            .arg(installed::mcp_remote())
            .arg(url)
            .args(["--transport", transport, "--protocol", protocol])
            .args([
                "--header",
                &format!("Authorization: Bearer {}", stack.token),
            ])
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
    let mut bridge = Bridge::start(url, transport, protocol);
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

/// As set-ups of Claude Desktop name it.
#[test]
fn the_oldest_transport() {
    drives_a_session(&stack::shared().sse_url(), "sse-only", "legacy");
}
