//! The same binaries without Lambda: each serves its class as plain HTTP on `$PORT`, with the same
//! table and bucket, and ends when it is asked to.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use e2e::mcp::Client;
use e2e::stack::{self, Stack};
use e2e::{process, script};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// One of the served methods of each class, and its parameters.
fn classes(task: &str) -> Vec<(&'static str, &'static str, Value)> {
    let (session, _) = task.split_once('.').expect("it begins with the session");
    vec![
        ("discover", "server/discover", json!({})),
        ("catalog", "tools/list", json!({})),
        (
            "call",
            "tools/call",
            json!({"name": "get_session", "arguments": {"session_id": session}}),
        ),
        ("tasks", "tasks/get", json!({"taskId": task})),
        (
            "read",
            "resources/read",
            json!({"uri": format!("shannon://sessions/{session}")}),
        ),
    ]
}

/// A function as a server of its own, with the settings that the deployment gives its instances.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    /// Its environment is the one of an instance that serves in this stack, but for Lambda's address.
    fn start(stack: &Stack, function: &str) -> Self {
        let program = format!("/{function}");
        let mut found = process::running_with(&stack.aws_url());
        found.retain(|process| process.command_line.trim_end().ends_with(&program));
        let instance = found
            .first()
            .unwrap_or_else(|| panic!("no instance of {function}"));
        let environ =
            std::fs::read(format!("/proc/{}/environ", instance.id)).expect("our own child");
        let variables = environ.split(|byte| *byte == 0).filter_map(|variable| {
            let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
            (name != "AWS_LAMBDA_RUNTIME_API").then(|| (name.to_owned(), value.to_owned()))
        });
        let digest = Sha256::digest(stack.token.as_bytes());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut child = Command::new(stack::binaries().join(function))
            .env_clear()
            .envs(variables)
            .env("PORT", "0")
            .env("SHANNON_ACCESS_TOKEN_SHA256", digest)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{function}: {error}"));
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let said: Value = serde_json::from_str(&line).ok()?;
                Some(said["address"].as_str()?.to_owned())
            })
            .unwrap_or_else(|| panic!("{function} does not say where it serves"));
        // Its log must be read, or it would wait for a reader.
        std::thread::spawn(move || lines.map_while(Result::ok).count());
        Self {
            child,
            url: format!("http://{address}/mcp"),
        }
    }

    fn end(mut self) -> std::process::ExitStatus {
        let id = i32::try_from(self.child.id()).expect("a process id is a small number");
        kill(Pid::from_raw(id), Signal::SIGTERM).expect("it runs");
        self.child.wait().expect("our own child")
    }
}

#[tokio::test]
async fn every_class_is_served_on_a_port() {
    let stack = stack::shared();
    let client = stack.client().with_tasks();
    let arguments = json!({"prompt": script::prompt(&["TEXT:on a port"])});
    let call = json!({"name": "create_session", "arguments": arguments});
    let started = client.request("tools/call", call).await;
    let task = started.result()["taskId"]
        .as_str()
        .expect("a task")
        .to_owned();
    for (function, method, params) in classes(&task) {
        // Through the deployment first, so that there is an instance whose settings can be read.
        let expected = client.request(method, params.clone()).await;
        assert_eq!(expected.status, 200, "{function}: {}", expected.body);
        let server = Server::start(&stack, function);
        let direct = Client::new(&server.url, &stack.token).with_tasks();
        let answer = direct.request(method, params.clone()).await;
        assert_eq!(answer.status, 200, "{function}: {}", answer.body);
        let form = |result: &Value| -> Vec<String> {
            let fields = result.as_object().expect("an object");
            fields.keys().cloned().collect()
        };
        assert_eq!(form(answer.result()), form(expected.result()), "{function}");
        let elsewhere = if method == "tools/list" {
            "server/discover"
        } else {
            "tools/list"
        };
        let refused = direct.request(elsewhere, json!({})).await;
        assert_eq!(
            (refused.status, refused.error().0),
            (404, -32601),
            "{function}"
        );
        let stranger = Client::new(&server.url, "wrong").with_tasks();
        let refused = stranger.request(method, params).await;
        assert_eq!(refused.status, 401, "{function}: {}", refused.body);
        let status = server.end();
        assert!(status.success(), "{function}: {status}");
    }
    let session = task.split('.').next().expect("it begins with the session");
    client
        .call("cancel_session", json!({"session_id": session}))
        .await;
}

#[tokio::test]
async fn the_initialize_era_is_served_on_a_port() {
    let stack = stack::shared();
    let introduction = json!({"protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "shannon-tests", "version": "1"}});
    let client = stack.client().legacy();
    client
        .request("initialize", introduction.clone())
        .await
        .result();
    let server = Server::start(&stack, "legacy");
    let direct = Client::new(&server.url, &stack.token).legacy();
    let opened = direct.request("initialize", introduction).await;
    assert_eq!(
        opened.result()["serverInfo"]["name"],
        "shannon",
        "{}",
        opened.body
    );
    // Sessions belong to the deployment, not to who serves it.
    let id = opened.headers["mcp-session-id"]
        .to_str()
        .expect("text")
        .to_owned();
    let (mut headers, body) = client.prepare("tools/list", json!({}));
    headers.push(("mcp-session-id".to_owned(), id));
    let answer = client.post(headers, body.to_string()).await;
    assert!(answer.result()["tools"].is_array(), "{}", answer.body);
    let status = server.end();
    assert!(status.success(), "{status}");
}
