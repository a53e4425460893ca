//! The pair of 2024-11-05: `GET /sse` is a stream that stays, `POST /messages` a way in. Whichever
//! instance gets a post leaves it in the store; the one that holds the stream takes it from there,
//! works on it, and answers on the stream. So every stream holds a function as long as its client
//! is connected, and the pair is served only where the deployment wants to pay for that.
//!
//! A stream ends before its function has to. The client connects again with the id of the last
//! event, which carries its session, and finds everything as it was; posts wait meanwhile.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use domain::Principal;
use domain::client_session::{ClientKey, ClientSessionId};
use domain::ids::base32;
use domain::limits::POSTED_MILLISECONDS;
use domain::ports::{ClientSession, ClientStream, Unavailable};
use futures_util::stream;
use http::{Method, Request, Response, StatusCode};
use rmcp::model::InitializeRequestParams;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::exchange::is_answer;
use super::recorded::EventId;
use super::{
    Bridge, CANCELLED, ClientPorts, KEEP_ALIVE, LAST_EVENT, Peek, accepted, event_stream,
    introduction, unavailable,
};
use crate::answer::{
    Body, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR, error_message,
    error_response,
};
use crate::front::record_request;
use crate::work::Work;

/// Between two looks for posts while nothing happens.
const SLOW_LOOK_MILLISECONDS: u64 = 1000;
/// The same while something does: requests run, or came a moment ago.
const FAST_LOOK_MILLISECONDS: u64 = 100;
/// How long a moment is.
const LIVELY: Duration = Duration::from_secs(5);
/// So long before its end a stream takes nothing new, and ends once nothing runs.
const LEAVING: Duration = Duration::from_secs(60);
/// Requests of one client that are worked on at once; others wait.
const AT_ONCE: usize = 16;
/// The name under which a stream of the pair is noted: who holds it.
const HELD: &str = "sse";
const RETRY_MILLISECONDS: u64 = 1000;

impl<W, P> Bridge<W, P>
where
    W: Work,
    P: ClientPorts,
{
    /// A request on `/sse` or `/messages`.
    pub(super) async fn pair(
        &self,
        request: Request<Bytes>,
        principal: &Principal,
    ) -> Response<Body> {
        if !self.settings.sessions.pair {
            return error_response(
                StatusCode::NOT_FOUND,
                &Value::Null,
                INVALID_REQUEST,
                "this deployment does not serve the transport of 2024-11-05 (SHANNON_SSE_PAIR); \
                 connect to /mcp",
            );
        }
        let stream = request.uri().path().ends_with("/sse");
        match (stream, request.method()) {
            (true, &Method::GET) => self.held(&request, principal).await,
            (false, &Method::POST) => self.left(&request, principal).await,
            // Clients that try the newer transport first read this as "try the older one".
            _ => error_response(
                StatusCode::METHOD_NOT_ALLOWED,
                &Value::Null,
                INVALID_REQUEST,
                "GET /sse for the stream, POST /messages for messages",
            ),
        }
    }

    /// `POST /messages?session_id=…`
    async fn left(&self, request: &Request<Bytes>, principal: &Principal) -> Response<Body> {
        let none = Value::Null;
        let query = request.uri().query().unwrap_or_default();
        let name = query
            .split('&')
            .find_map(|part| part.strip_prefix("session_id="))
            .and_then(|name| ClientSessionId::parse(name).ok());
        if request.body().len() > self.settings.max_request_body_bytes {
            return error_response(
                StatusCode::PAYLOAD_TOO_LARGE,
                &none,
                INVALID_REQUEST,
                "the message is too long; send files with create_upload",
            );
        }
        let Some((peek, message)) = Peek::at(request.body()) else {
            return error_response(
                StatusCode::BAD_REQUEST,
                &none,
                PARSE_ERROR,
                "the body is no JSON-RPC message",
            );
        };
        if let Some(method) = &peek.method {
            record_request(request.headers(), method, message.get("params"));
        }
        let key = match self.session_named(name, principal, &peek.id).await {
            Ok((key, _)) => key,
            Err(refused) => return *refused,
        };
        if peek.method.is_none() {
            return match peek.is_reply {
                true => self.replied(&key, &peek.id, &message).await,
                false => error_response(
                    StatusCode::BAD_REQUEST,
                    &peek.id,
                    INVALID_REQUEST,
                    "method is missing",
                ),
            };
        }
        let now = self.ports.now();
        // In the order in which they came, as far as clocks agree.
        let name = format!("{:015}-{}", now.0, &base32(&self.ports.random())[..16]);
        let until = now.plus(POSTED_MILLISECONDS);
        match self
            .ports
            .post(&key, &name, &message.to_string(), until)
            .await
        {
            Ok(()) => accepted(),
            Err(error) => unavailable(&error, &peek.id),
        }
    }

    /// `GET /sse`
    async fn held(&self, request: &Request<Bytes>, principal: &Principal) -> Response<Body> {
        let last = request
            .headers()
            .get(LAST_EVENT)
            .and_then(|last| last.to_str().ok());
        let known = match last.and_then(EventId::parse) {
            Some(last) => {
                let name = Some(last.session);
                self.session_named(name, principal, &Value::Null).await.ok()
            }
            None => None,
        };
        let (key, session) = match known {
            Some(known) => known,
            // A new client, or one that was away for too long: it begins anew.
            None => {
                let key = ClientKey {
                    owner: principal.owner.clone(),
                    session: ClientSessionId::from_random(self.ports.random()),
                };
                let session = ClientSession {
                    introduction: String::new(),
                    expires_at: self.lives_until(),
                };
                if let Err(error) = self.ports.open(&key, &session).await {
                    return unavailable(&error, &Value::Null);
                }
                (key, session)
            }
        };
        let longest = Duration::from_secs(self.settings.sessions.pair_stream_seconds);
        let (answers, answered) = mpsc::channel(AT_ONCE);
        let mut held = Held {
            bridge: self.clone(),
            principal: principal.clone(),
            holder: base32(&self.ports.random())[..26].to_owned(),
            at: EventId {
                session: key.session.clone(),
                stream: HELD.to_owned(),
                position: 0,
            },
            key,
            client: serde_json::from_str(&session.introduction).ok(),
            answers,
            answered,
            running: JoinSet::new(),
            by_id: HashMap::new(),
            ready: VecDeque::new(),
            lively_until: Instant::now() + LIVELY,
            quiet_until: Instant::now() + Duration::from_secs(self.settings.keep_alive_seconds),
            next_look: Instant::now(),
            leaving: Instant::now() + longest.saturating_sub(LEAVING.min(longest / 4)),
            deadline: Instant::now() + longest,
            over: false,
        };
        if let Err(error) = held.take_over().await {
            return unavailable(&error, &Value::Null);
        }
        tracing::info!(
            client_session = held.key.session.short(),
            "a stream of 2024-11-05 is held"
        );
        let opening = held.opening();
        held.ready.push_back(opening);
        event_stream(stream::unfold(held, |mut held| async {
            held.next().await.map(|bytes| (bytes, held))
        }))
    }
}

/// The stream of one client, held by this instance. Dropping it stops the work on its requests: a
/// client of this transport has no other way to their answers.
struct Held<W, P> {
    bridge: Bridge<W, P>,
    principal: Principal,
    key: ClientKey,
    /// Tells this holder from one before or after it.
    holder: String,
    at: EventId,
    client: Option<InitializeRequestParams>,
    /// From the requests that are worked on.
    answers: mpsc::Sender<Value>,
    answered: mpsc::Receiver<Value>,
    running: JoinSet<()>,
    /// What the client can take back, by its id as JSON.
    by_id: HashMap<String, AbortHandle>,
    /// To be sent.
    ready: VecDeque<Bytes>,
    lively_until: Instant,
    quiet_until: Instant,
    next_look: Instant,
    /// From then on nothing new is taken.
    leaving: Instant,
    deadline: Instant,
    over: bool,
}

impl<W, P> Held<W, P>
where
    W: Work,
    P: ClientPorts,
{
    /// Where messages go: relative, so that it holds below any prefix.
    fn opening(&mut self) -> Bytes {
        let id = self.next_id();
        let session = self.key.session.as_str();
        Bytes::from(format!(
            "event: endpoint\nid: {id}\nretry: {RETRY_MILLISECONDS}\ndata: messages?session_id={session}\n\n"
        ))
    }

    fn message(&mut self, message: &Value) -> Bytes {
        let id = self.next_id();
        Bytes::from(format!("event: message\nid: {id}\ndata: {message}\n\n"))
    }

    fn next_id(&mut self) -> String {
        self.at.position += 1;
        self.at.text()
    }

    /// From now on this is the one stream of the client.
    async fn take_over(&self) -> Result<(), Unavailable> {
        let ports = &self.bridge.ports;
        let longest = self.bridge.settings.sessions.pair_stream_seconds * 1000;
        let until = ports.now().plus(longest + POSTED_MILLISECONDS);
        let state = ClientStream {
            request: self.holder.clone(),
            written_until: until,
            complete: false,
            expires_at: until,
        };
        ports.note_stream(&self.key, HELD, &state).await
    }

    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                let silence = Duration::from_secs(self.bridge.settings.keep_alive_seconds);
                self.quiet_until = Instant::now() + silence;
                return Some(bytes);
            }
            // Before looking whether anything still runs: what ended has answered.
            if let Ok(message) = self.answered.try_recv() {
                let bytes = self.message(&message);
                self.ready.push_back(bytes);
                continue;
            }
            let now = Instant::now();
            let leaving = now >= self.leaving;
            if self.over || now >= self.deadline || (leaving && self.running.is_empty()) {
                // Those that still run end with the stream; their clients ask again.
                return None;
            }
            if now >= self.quiet_until {
                self.ready.push_back(KEEP_ALIVE);
                continue;
            }
            let wake = self.next_look.min(self.quiet_until).min(self.deadline);
            tokio::select! {
                Some(message) = self.answered.recv() => {
                    let bytes = self.message(&message);
                    self.ready.push_back(bytes);
                    self.lively_until = Instant::now() + LIVELY;
                }
                Some(_) = self.running.join_next(), if !self.running.is_empty() => {}
                () = tokio::time::sleep_until(wake) => {
                    if Instant::now() >= self.next_look {
                        self.look(leaving).await;
                    }
                }
            }
        }
    }

    /// Takes what the client posted.
    async fn look(&mut self, leaving: bool) {
        let lively = !self.running.is_empty() || Instant::now() < self.lively_until;
        let pause = if lively {
            FAST_LOOK_MILLISECONDS
        } else {
            SLOW_LOOK_MILLISECONDS
        };
        self.next_look = Instant::now() + Duration::from_millis(pause);
        if leaving || self.running.len() >= AT_ONCE {
            return;
        }
        match self.take().await {
            Ok(Some(messages)) => {
                for message in messages {
                    self.lively_until = Instant::now() + LIVELY;
                    self.work_on(&message).await;
                }
            }
            Ok(None) => {
                tracing::info!(
                    client_session = self.key.session.short(),
                    "the client has another stream, or its session has ended"
                );
                self.over = true;
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "posted messages were not read"
            ),
        }
    }

    /// The posts, or `None` when another stream of the client is to take them.
    async fn take(&self) -> Result<Option<Vec<String>>, Unavailable> {
        let ports = &self.bridge.ports;
        let state = ports.stream(&self.key, HELD).await?;
        if state.is_none_or(|state| state.request != self.holder) {
            return Ok(None);
        }
        ports.take_posted(&self.key).await.map(Some)
    }

    /// Works on one message beside the others. Of notifications only the one counts that takes a
    /// request back.
    async fn work_on(&mut self, message: &str) {
        let message: Value = serde_json::from_str(message).unwrap_or_default();
        let (Some(method), Some(id)) = (message["method"].as_str(), message.get("id")) else {
            if message["method"] == CANCELLED
                && let Some(id) = message.pointer("/params/requestId")
                && let Some(work) = self.by_id.remove(&id.to_string())
            {
                tracing::info!("a request was taken back");
                work.abort();
            }
            return;
        };
        let (initializes, id) = (method == "initialize", id.clone());
        let refuse = |code, text| error_message(&id, code, text);
        let client = match (&self.client, initializes) {
            (_, true) => None,
            (Some(client), false) => Some((self.key.clone(), client.clone())),
            (None, false) => {
                let refusal = refuse(INVALID_REQUEST, "initialize comes first");
                let bytes = self.message(&refusal);
                self.ready.push_back(bytes);
                return;
            }
        };
        let request = Request::new(Bytes::from(message.to_string()));
        let Ok(run) = self.bridge.run(client, request, &self.principal) else {
            let refusal = refuse(INVALID_PARAMS, "the parameters do not fit the method");
            let bytes = self.message(&refusal);
            self.ready.push_back(bytes);
            return;
        };
        if initializes {
            // Alone and at once: what follows depends on it.
            let answer = run.answer().await;
            let answer = answer.unwrap_or_else(|| refuse(INTERNAL_ERROR, "ask again"));
            let answer = match introduction(message, &answer) {
                Some(said) => match self.bridge.ports.introduce(&self.key, &said).await {
                    Ok(_) => {
                        self.client = serde_json::from_str(&said).ok();
                        answer
                    }
                    Err(error) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "a client's introduction was not recorded"
                        );
                        refuse(INTERNAL_ERROR, "initialize was not recorded; ask again")
                    }
                },
                None => answer,
            };
            let bytes = self.message(&answer);
            self.ready.push_back(bytes);
            return;
        }
        let answers = self.answers.clone();
        let name = id.to_string();
        let work = self.running.spawn(async move {
            // All of it: what is left behind would stop the work.
            let mut run = run;
            let deadline = run.deadline;
            loop {
                let message = match tokio::time::timeout_at(deadline, run.messages.recv()).await {
                    Ok(Some(message)) => message,
                    _ => error_message(&id, INTERNAL_ERROR, "the request was cut off; ask again"),
                };
                let last = is_answer(&message);
                if answers.send(message).await.is_err() || last {
                    return;
                }
            }
        });
        self.by_id.retain(|_, work| !work.is_finished());
        self.by_id.insert(name, work);
    }
}
