//! A client of one edge, and a runner that plays a session's part.

use std::time::Duration;

use bytes::Bytes;
use domain::authorization::{Administer, Approve, ReadSessions, Scope, WriteSessions};
use domain::command::FileContent;
use domain::event::{TokenUsage, TurnEnd};
use domain::ports::{Inbox, Lease, SessionLog};
use domain::{
    CommandId, CommandOutcome, Deployment, EventBody, OwnerId, Principal, SessionId, SessionKey,
    State, UnixMillis,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use protocol::approval::Pages;
use protocol::{
    Alone, Body, Class, ClaudeFinder, Edge, EdgeSettings, FoundClaude, PolicyChecker,
    PolicyQuestion, RunnerReport, Sessions,
};
use serde_json::{Value, json};
use testkit::Fake;

pub(crate) const MODERN: &str = "2026-07-28";
pub(crate) const LEGACY: &str = "2025-11-25";
pub(crate) const TASKS: &str = "io.modelcontextprotocol/tasks";

pub(crate) struct FoundHere;

impl FoundHere {
    fn newest(&self) -> RunnerReport {
        RunnerReport {
            claude_version: "2.1.300".to_owned(),
            claude_path: "/usr/local/bin/claude".to_owned(),
            agents: vec![domain::Subagent {
                name: "Plan".to_owned(),
                description: "makes plans".to_owned(),
            }],
            noted_at: UnixMillis(1_795_000_000_000),
        }
    }
}

impl ClaudeFinder for FoundHere {
    async fn find(&self) -> Result<FoundClaude, domain::ports::Unavailable> {
        let here = json!({"path": "/usr/bin/claude", "version": "2.1.328", "source": "path", "supported": true});
        Ok(FoundClaude {
            selected: here.clone(),
            candidates: vec![here],
            supported_version: "2.1.328".to_owned(),
            runner: Some(self.newest()),
        })
    }

    async fn runner(&self) -> Result<Option<RunnerReport>, domain::ports::Unavailable> {
        Ok(Some(self.newest()))
    }
}

/// Says the question back, and that a person decides.
impl PolicyChecker for FoundHere {
    fn check_policy(&self, question: &PolicyQuestion) -> Result<Value, String> {
        if question.tool == "Broken" {
            return Err("the schema of the policies is gone".to_owned());
        }
        Ok(json!({
            "outcome": "ask",
            "reason": format!("{question:?}"),
            "policies": [{"policy_id": "tiers/review/a-person-decides", "text": "permit (principal, action, resource);"}],
            "parts": [],
        }))
    }
}

/// One whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// The messages of the answer, in order: one, or those of the stream.
    pub(crate) messages: Vec<Value>,
}

impl Answer {
    /// The last message: the response.
    pub(crate) fn response(&self) -> &Value {
        self.messages
            .last()
            .unwrap_or_else(|| panic!("no message in {:?} {}", self.status, self.text))
    }

    #[track_caller]
    pub(crate) fn result(&self) -> &Value {
        let response = self.response();
        assert!(response.get("result").is_some(), "{response}");
        &response["result"]
    }

    #[track_caller]
    pub(crate) fn code(&self) -> i64 {
        let response = self.response();
        response["error"]["code"]
            .as_i64()
            .unwrap_or_else(|| panic!("no error in {response}"))
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.headers["content-type"] == "text/event-stream"
    }
}

/// A deployment with one client.
pub(crate) struct Client {
    pub(crate) fake: Fake,
    edge: Edge<Sessions<Fake, FoundHere>, Alone<Sessions<Fake, FoundHere>>>,
    pub(crate) version: &'static str,
    pub(crate) extensions: Value,
    pub(crate) asks: bool,
    pub(crate) principal: Option<Principal>,
}

pub(crate) fn settings() -> EdgeSettings {
    EdgeSettings {
        max_request_body_bytes: 100_000,
        keep_alive_seconds: 15,
        catalog_ttl_seconds: 300,
        longest_seconds: 600,
        listen_seconds: 300,
        allowed_origins: vec!["https://app.example".to_owned()],
        allowed_hosts: vec![],
        public_url: Some("https://shannon.example".to_owned()),
        scope_prefix: None,
    }
}

pub(crate) fn principal(name: &str) -> Principal {
    Principal {
        owner: OwnerId::of("testkit", name),
        scopes: vec![
            ReadSessions::NAME.to_owned(),
            WriteSessions::NAME.to_owned(),
        ],
    }
}

/// Everything that a class can do, over this world.
pub(crate) fn work(fake: &Fake) -> Sessions<Fake, FoundHere> {
    work_of(fake, testkit::deployment())
}

/// The same in another deployment.
fn work_of(fake: &Fake, deployment: Deployment) -> Sessions<Fake, FoundHere> {
    Sessions::new(
        fake.clone(),
        deployment,
        FoundHere,
        Duration::from_secs(60),
        Pages::new(
            Some("https://shannon.example/"),
            domain::session_token::SigningKey::new(&[7; 32]).expect("long enough"),
        ),
    )
    .with_config(json!({"settings": [{"name": "SHANNON_STAGE"}]}))
}

impl Client {
    pub(crate) fn new(class: Class) -> Self {
        Self::of(class, Fake::new(7))
    }

    pub(crate) fn of(class: Class, fake: Fake) -> Self {
        Self {
            edge: Edge::alone(class, settings(), work(&fake)),
            fake,
            version: MODERN,
            extensions: json!({}),
            asks: false,
            principal: Some(principal("me")),
        }
    }

    /// In a deployment where forms of these clients decide on approvals.
    pub(crate) fn where_forms_approve(mut self, class: Class, clients: &[&str]) -> Self {
        let deployment = Deployment {
            elicitation_approves: clients.iter().map(|name| (*name).to_owned()).collect(),
            ..testkit::deployment()
        };
        self.edge = Edge::alone(class, settings(), work_of(&self.fake, deployment));
        self
    }

    /// With a token that may approve.
    pub(crate) fn approver(mut self) -> Self {
        let principal = self.principal.as_mut().expect("a caller");
        principal.scopes.push(Approve::NAME.to_owned());
        self
    }

    /// With a token that may see how the deployment is set up, and what it did.
    pub(crate) fn administrator(mut self) -> Self {
        let principal = self.principal.as_mut().expect("a caller");
        principal.scopes.push(Administer::NAME.to_owned());
        self
    }

    pub(crate) fn with_tasks(mut self) -> Self {
        self.extensions = json!({TASKS: {}});
        self
    }

    /// The client can ask its person.
    pub(crate) fn asking(mut self) -> Self {
        self.asks = true;
        self
    }

    pub(crate) fn caller(mut self, name: &str) -> Self {
        self.principal = Some(principal(name));
        self
    }

    pub(crate) fn legacy(mut self) -> Self {
        self.version = LEGACY;
        self
    }

    pub(crate) fn prepare(&self, method: &str, mut params: Value) -> Request<Bytes> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri("/mcp")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", self.version);
        if self.version == MODERN {
            request = request.header("mcp-method", method);
            let name = ["name", "taskId", "uri"]
                .into_iter()
                .find_map(|name| params[name].as_str());
            if let Some(name) = name {
                request = request.header("mcp-name", name);
            }
            let meta = &mut params["_meta"];
            meta["io.modelcontextprotocol/protocolVersion"] = self.version.into();
            meta["io.modelcontextprotocol/clientCapabilities"] =
                json!({"extensions": self.extensions});
            if self.asks {
                meta["io.modelcontextprotocol/clientCapabilities"]["elicitation"] = json!({});
            }
            meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "test", "version": "1"});
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        request
            .body(Bytes::from(body.to_string()))
            .expect("a request")
    }

    /// The answer as it comes.
    pub(crate) async fn send_raw(&self, request: Request<Bytes>) -> Response<Body> {
        self.edge.handle(request, self.principal.clone()).await
    }

    pub(crate) async fn send(&self, request: Request<Bytes>) -> Answer {
        let response = self.send_raw(request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("cannot fail").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("answers are UTF-8");
        let messages = if text.starts_with('{') {
            vec![serde_json::from_str(&text).expect("one JSON document")]
        } else {
            text.lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .map(|data| serde_json::from_str(data).expect("JSON in an event"))
                .collect()
        };
        Answer {
            status: parts.status,
            headers: parts.headers,
            text,
            messages,
        }
    }

    pub(crate) async fn request(&self, method: &str, params: Value) -> Answer {
        self.send(self.prepare(method, params)).await
    }

    pub(crate) async fn tool(&self, name: &str, arguments: Value) -> Answer {
        self.request("tools/call", json!({"name": name, "arguments": arguments}))
            .await
    }

    /// Calls a tool that must succeed.
    pub(crate) async fn call(&self, name: &str, arguments: Value) -> Value {
        let answer = self.tool(name, arguments).await;
        let result = answer.result().clone();
        assert_eq!(result["isError"], false, "{name}: {result}");
        result["structuredContent"].clone()
    }

    /// Calls a tool that must refuse, and gives what it says.
    pub(crate) async fn refusal(&self, name: &str, arguments: Value) -> String {
        let answer = self.tool(name, arguments.clone()).await;
        let result = answer.result();
        assert_eq!(result["isError"], true, "{name} {arguments}: {result}");
        assert!(result.get("structuredContent").is_none(), "{result}");
        result["content"][0]["text"]
            .as_str()
            .expect("a refusal is text")
            .to_owned()
    }

    pub(crate) fn key(&self, session_id: &str) -> SessionKey {
        SessionKey {
            owner: self.principal.as_ref().expect("a caller").owner.clone(),
            session: SessionId::parse(session_id).expect("a session id"),
        }
    }

    /// A runner takes the session over.
    pub(crate) async fn runner(&self, session_id: &str) -> Runner {
        let key = self.key(session_id);
        let now = self.fake.clock().now();
        let (lease, _) = self
            .fake
            .acquire(&key, "task-1", "none", now.plus(10_000), now)
            .await
            .expect("the session is to be had");
        Runner {
            fake: self.fake.clone(),
            lease,
        }
    }
}

/// The runner of one session.
pub(crate) struct Runner {
    pub(crate) fake: Fake,
    pub(crate) lease: Lease,
}

pub(crate) fn turn_end(message: &str, text: &str) -> TurnEnd {
    TurnEnd {
        subtype: "success".to_owned(),
        is_error: false,
        text: text.to_owned(),
        terminal_reason: Some("completed".to_owned()),
        total_cost_usd: 0.25,
        duration_milliseconds: 1500,
        model_turns: 1,
        usage: TokenUsage {
            input_tokens: 10,
            output_tokens: 20,
            ..TokenUsage::default()
        },
        messages: vec![CommandId::parse(message).expect("a message id")],
    }
}

impl Runner {
    /// Appends events, in `state`.
    pub(crate) async fn events(&self, state: State, bodies: Vec<EventBody>) {
        let head = self
            .fake
            .peek_head(&self.lease.key)
            .expect("the session is there");
        let mut append = testkit::append(&self.fake, head.last_sequence.next(), bodies);
        append.state = state;
        append.turn = head.turn.max(1);
        append.total_cost_usd = head.total_cost_usd;
        self.fake
            .append(&self.lease, &append)
            .await
            .expect("appended");
    }

    /// Takes every waiting command.
    pub(crate) async fn take(&self) {
        let head = self
            .fake
            .peek_head(&self.lease.key)
            .expect("the session is there");
        let commands = self
            .fake
            .commands_after(&self.lease.key, head.commands_taken, 100)
            .await
            .expect("read");
        let taken = vec![EventBody::MessageTaken {
            text: "hello".to_owned(),
        }];
        let mut append = testkit::append(&self.fake, head.last_sequence.next(), taken);
        append.take = commands;
        append.state = State::Running;
        self.fake
            .append(&self.lease, &append)
            .await
            .expect("appended");
    }

    /// Finishes the command of that name, the session idle afterwards.
    pub(crate) async fn finish(&self, id: &str, outcome: CommandOutcome) {
        let head = self
            .fake
            .peek_head(&self.lease.key)
            .expect("the session is there");
        let id = CommandId::parse(id).expect("an id");
        let command = self
            .fake
            .command(&self.lease.key, &id)
            .await
            .expect("read")
            .expect("there is that command");
        let event = match &outcome {
            CommandOutcome::Turn(end) => EventBody::TurnEnded(end.clone()),
            _ => EventBody::Notice {
                code: "done".to_owned(),
                message: "done".to_owned(),
            },
        };
        let mut append = testkit::append(&self.fake, head.last_sequence.next(), vec![event]);
        append.finish = vec![(command, outcome)];
        append.state = State::Idle;
        append.total_cost_usd = 0.25;
        self.fake
            .append(&self.lease, &append)
            .await
            .expect("appended");
    }

    /// Answers the next request for a file as soon as it is there.
    pub(crate) async fn serve_file(&self, bytes: &[u8]) {
        loop {
            let asked = || {
                let commands = self.fake.peek_commands(&self.lease.key);
                commands
                    .into_iter()
                    .find(|command| command.body.kind() == "read_file" && command.outcome.is_none())
            };
            if asked().is_none() {
                tokio::task::yield_now().await;
                continue;
            }
            self.take().await;
            let command = asked().expect("it is still there");
            let content = FileContent {
                bytes: bytes.to_vec(),
                file_bytes: bytes.len() as u64,
            };
            self.fake
                .finish(&self.lease, &command, CommandOutcome::File(content))
                .await
                .expect("recorded");
            return;
        }
    }
}
