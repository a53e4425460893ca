//! A world for one session: every port in memory, a scripted model behind a gateway on loopback,
//! and the real `claude` CLI or a script that pretends to be one.

pub(crate) mod installed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::ports::{Inbox, NewCommand, SessionDirectory, SessionLog};
use domain::{
    Command, CommandBody, CommandId, Event, EventBody, Head, Sequence, SessionKey, SessionSpec,
    UploadId,
};
use serde_json::{Value, json};
use session_runner::objects::{DownloadError, PutError, SessionObjects};
use session_runner::sandbox::plan::Isolation;
use session_runner::settings::RunnerSettings;
use session_runner::supervisor::{self, Assignment, Outcome};
use testkit::{Fake, FaultTime};
use tokio::sync::watch;

/// Objects in memory: uploads by id, and what the runner wrote.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) uploads: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    pub(crate) written: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    /// How many were to be written, and which of them fails, once.
    pub(crate) puts: Arc<Mutex<usize>>,
    pub(crate) failing_put: Arc<Mutex<Option<(usize, FaultTime)>>>,
    /// Downloads wait while it is true.
    pub(crate) held: watch::Sender<bool>,
}

impl SessionObjects for Memory {
    async fn download(
        &self,
        upload: &UploadId,
        file: &Path,
        most: u64,
    ) -> Result<u64, DownloadError> {
        let mut held = self.held.subscribe();
        held.wait_for(|held| !held).await.expect("a sender");
        let bytes = self
            .uploads
            .lock()
            .expect("no panic")
            .get(upload.as_str())
            .cloned();
        let bytes = bytes.ok_or(DownloadError::Missing)?;
        if bytes.len() as u64 > most {
            return Err(DownloadError::TooLarge);
        }
        std::fs::write(file, &bytes)?;
        Ok(bytes.len() as u64)
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), PutError> {
        let number = {
            let mut puts = self.puts.lock().expect("no panic");
            *puts += 1;
            *puts
        };
        let mut failing = self.failing_put.lock().expect("no panic");
        let fault = failing.take_if(|(put, _)| *put == number);
        if !matches!(fault, Some((_, FaultTime::Before))) {
            let mut written = self.written.lock().expect("no panic");
            written.insert(name.to_owned(), bytes);
        }
        match fault {
            Some(_) => Err(PutError("an injected fault".to_owned())),
            None => Ok(()),
        }
    }
}

/// The session token that the model knows; as long as the real program wants one.
pub(crate) const TOKEN: &str = "session-token-for-tests-0123456789";

/// A model behind a gateway. The prompt carries the script: after `@@` a JSON list of steps, each
/// `{"text": ..}` or `{"tool": .., "input": ..}`; step N answers the N-th request.
pub(crate) async fn model() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn answer(request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let token = request.headers().get("authorization").cloned();
    let body = axum::body::to_bytes(request.into_body(), usize::MAX)
        .await
        .unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if token.is_none_or(|token| token != format!("Bearer {TOKEN}")) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if path != "/model/v1/messages" {
        return axum::Json(json!({"input_tokens": 1})).into_response();
    }
    let mut step = 0;
    let mut script = Vec::new();
    for message in body["messages"].as_array().into_iter().flatten().rev() {
        if message["role"] == "assistant" {
            step += 1;
        }
        let text = match &message["content"] {
            Value::String(text) => text.clone(),
            blocks => blocks
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|b| b["text"].as_str())
                .collect(),
        };
        if message["role"] == "user"
            && let Some((_, steps)) = text.split_once("@@")
        {
            script = serde_json::Deserializer::from_str(steps)
                .into_iter::<Vec<Value>>()
                .next()
                .and_then(Result::ok)
                .unwrap_or_default();
            break;
        }
    }
    let block = script.get(step).cloned().unwrap_or(json!({"text": "done"}));
    if let Some(status) = block["status"].as_u64() {
        let status =
            StatusCode::from_u16(u16::try_from(status).expect("a status")).expect("a status");
        return (
            status,
            axum::Json(
                json!({"type": "error", "error": {"type": "permission_error", "message": "no"}}),
            ),
        )
            .into_response();
    }
    let asks = serde_json::to_string(&body).unwrap_or_default();
    let text = block["text"].as_str().map(|text| {
        text.replace(
            "{saw}",
            if asks.contains("MARKER") {
                "MARKER"
            } else {
                "nothing"
            },
        )
    });
    let (start, delta, reason) = match (&text, block["tool"].as_str()) {
        (Some(text), _) => (
            json!({"type": "text", "text": ""}),
            json!({"type": "text_delta", "text": text}),
            "end_turn",
        ),
        (None, Some(tool)) => (
            json!({"type": "tool_use", "id": format!("toolu_{}_{}", std::process::id(), body["messages"].as_array().map_or(0, Vec::len)), "name": tool, "input": {}}),
            json!({"type": "input_json_delta", "partial_json": block["input"].to_string()}),
            "tool_use",
        ),
        _ => panic!("not a step: {block}"),
    };
    let usage = json!({"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0});
    let events = [
        json!({"type": "message_start", "message": {"id": format!("msg_{step}"), "type": "message", "role": "assistant",
            "model": body["model"], "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage}}),
        json!({"type": "content_block_start", "index": 0, "content_block": start}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": usage}),
        json!({"type": "message_stop"}),
    ];
    let mut stream = String::new();
    for event in events {
        stream.push_str(&format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap_or_default()
        ));
    }
    ([("content-type", "text/event-stream")], stream).into_response()
}

/// One session under supervision.
pub(crate) struct World {
    pub(crate) ports: Fake,
    pub(crate) key: SessionKey,
    pub(crate) objects: Memory,
    pub(crate) base: tempfile::TempDir,
    pub(crate) settings: RunnerSettings,
    pub(crate) assignment: Assignment,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) stopped: watch::Receiver<bool>,
    pub(crate) running: Option<tokio::task::JoinHandle<Outcome>>,
}

pub(crate) fn settings(gateway_url: String, claude: PathBuf) -> RunnerSettings {
    let seconds = Duration::from_secs;
    RunnerSettings {
        gateway_url,
        claude_path: claude,
        claude_version: claude::SUPPORTED_VERSION.to_owned(),
        workspace_roots: vec![],
        bypass_permitted: true,
        tier: domain::Tier::Review,
        approval_expiry: seconds(600),
        max_upload_bytes: 100 * 1024 * 1024,
        max_turns: 50,
        max_budget_usd: 5.0,
        session_timeout: seconds(120),
        silence_timeout: seconds(60),
        idle_time: seconds(60),
        heartbeat: seconds(3),
        lease: seconds(10),
        stop_timeout: seconds(60),
        kill_grace: seconds(5),
        clone_timeout: seconds(30),
        connect_timeout: seconds(5),
        model_timeout: seconds(60),
        buffer_bytes: 4 * 1024 * 1024,
        stream_chunk_bytes: 16 * 1024,
        max_line_bytes: 64 * 1024 * 1024,
        append_batch: Duration::from_millis(10),
        append_batch_bytes: 32 * 1024,
        checkpoint_strategy: session_runner::settings::Strategy::Smart,
        checkpoint_interval: seconds(240),
        checkpoint_compression: 3,
        transcript_flush: Duration::from_millis(200),
        startup_timeout: seconds(30),
    }
}

impl World {
    /// A session whose first message is `prompt`.
    pub(crate) async fn new(
        gateway: String,
        claude: PathBuf,
        spec: SessionSpec,
        prompt: &str,
    ) -> Self {
        let ports = Fake::new(7);
        // Virtual time follows real time here: the CLI is a real process.
        ports.clock().hold();
        let clock = ports.clock().clone();
        tokio::spawn(async move {
            let mut interval = tokio::time::interval(Duration::from_millis(5));
            loop {
                interval.tick().await;
                clock.advance(5);
            }
        });
        let owner = testkit::owner("owner");
        let mut new = testkit::new_session(&ports, &owner);
        new.spec = spec;
        new.first_message.1 = testkit::message(prompt);
        let head = ports.create(new).await.expect("a session").head;
        let base = tempfile::tempdir().expect("a directory");
        let (stop, stopped) = watch::channel(false);
        World {
            key: head.key.clone(),
            objects: Memory::default(),
            settings: settings(gateway, claude),
            assignment: Assignment {
                key: head.key,
                task: "task-1".to_owned(),
                session_token: TOKEN.to_owned(),
                secrets: vec![],
                isolation: if cfg!(target_os = "linux") {
                    Isolation::Namespaces
                } else {
                    Isolation::None
                },
                base: base.path().to_owned(),
                runner_program: PathBuf::from(env!("CARGO_BIN_EXE_session-runner")),
                claude: tokio::sync::watch::channel(None).0,
            },
            base,
            ports,
            stop,
            stopped,
            running: None,
        }
    }

    /// Starts the runner.
    pub(crate) fn start(&mut self) {
        let (ports, objects) = (Arc::new(self.ports.clone()), self.objects.clone());
        let (settings, assignment) = (self.settings.clone(), self.assignment.clone());
        self.running = Some(tokio::spawn(supervisor::run(
            ports,
            objects,
            settings,
            assignment,
            self.stopped.clone(),
        )));
    }

    /// What SIGTERM does.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// How the run ended.
    pub(crate) async fn outcome(&mut self) -> Outcome {
        let running = self.running.take().expect("it runs");
        tokio::time::timeout(Duration::from_secs(90), running)
            .await
            .expect("an end")
            .expect("no panic")
    }

    pub(crate) async fn head(&self) -> Head {
        self.ports
            .head(&self.key)
            .await
            .expect("a world")
            .expect("a session")
    }

    pub(crate) async fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut after = Sequence(0);
        loop {
            let more = self
                .ports
                .read(&self.key, after, usize::MAX)
                .await
                .expect("a log");
            match more.last() {
                Some(last) => after = last.sequence,
                None => return events,
            }
            events.extend(more);
        }
    }

    /// Waits for an event and gives the log until then.
    pub(crate) async fn until(
        &self,
        what: &str,
        wanted: impl Fn(&EventBody) -> bool,
    ) -> Vec<Event> {
        let start = std::time::Instant::now();
        loop {
            let events = self.events().await;
            if events.iter().any(|event| wanted(&event.body)) {
                return events;
            }
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "no {what} in {:#?}",
                bodies(&events)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the session is idle after `count` turns.
    pub(crate) async fn idle_after(&self, count: usize) -> Vec<Event> {
        let start = std::time::Instant::now();
        loop {
            let events = self.events().await;
            let turns = events
                .iter()
                .filter(|event| matches!(event.body, EventBody::TurnEnded(_)))
                .count();
            let state = self.head().await.state;
            if turns >= count && state == domain::State::Idle {
                return events;
            }
            assert!(!state.is_ended(), "it ended: {:#?}", bodies(&events));
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "not idle after {count} turns: {:#?}",
                bodies(&events)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn send(&self, id: &str, body: CommandBody) -> Command {
        let now = testkit::new_command(&self.ports, id, body.clone()).now;
        let command = NewCommand {
            id: CommandId::parse(id).expect("an id"),
            body,
            now,
            max_queued: 100,
        };
        self.ports
            .enqueue(&self.key, command)
            .await
            .expect("accepted")
            .command
    }

    pub(crate) async fn command(&self, id: &str) -> Command {
        let id = CommandId::parse(id).expect("an id");
        self.ports
            .command(&self.key, &id)
            .await
            .expect("a world")
            .expect("a command")
    }
}

pub(crate) fn bodies(events: &[Event]) -> Vec<&EventBody> {
    events.iter().map(|event| &event.body).collect()
}

/// The results of tools, in order.
pub(crate) fn results(events: &[Event]) -> Vec<(bool, String)> {
    let results = events.iter().filter_map(|event| match &event.body {
        EventBody::ToolResult { is_error, text, .. } => Some((*is_error, text.clone())),
        _ => None,
    });
    results.collect()
}

/// A prompt with a script for [`model`].
pub(crate) fn script(steps: Value) -> String {
    format!("do @@{steps}")
}
