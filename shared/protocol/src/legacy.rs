//! The initialize era, with sessions that outlive instances: 2025-03-26, 2025-06-18 and 2025-11-25
//! on `/mcp`, and the pair of 2024-11-05 on `/sse` and `/messages`.
//!
//! Nothing about a client is kept here. Its session is a row that any instance reads; a question
//! goes out on the stream of the request that asks, and the answer, which may reach any other
//! instance, comes back through the store; what was sent on a stream is kept for a while, so that a
//! client whose stream broke takes it up again, wherever that request arrives.
//!
//! A request without a session is served all the same, by itself, and can ask nothing.

mod alone;
mod asked;
mod cancelled;
mod exchange;
mod held;
mod pair;
mod recorded;
mod resumed;
mod running;
mod worked;

use std::convert::Infallible;

use bytes::Bytes;
use domain::Principal;
use domain::client_session::{ClientKey, ClientSessionId};
use domain::ports::{
    ClientSession, ClientSessions, Clock, IdSource, PostedMessages, ReplyMailbox, StreamEvents,
    Unavailable, Withdrawals,
};
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use rmcp::model::{InitializeRequestParams, ProtocolVersion};
use serde_json::Value;
use tokio::time::Instant;

use crate::answer::{Body, INTERNAL_ERROR, INVALID_REQUEST, error_response, full};
use crate::back::Served;
use crate::front::{Era, Front, Parsed, check, record_request};
use crate::modern::{self, Sharing};
use crate::work::Work;
use crate::{Class, EdgeSettings};

pub use alone::Alone;

/// The header that names a client's session.
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// The notification with which a client takes a request back.
const CANCELLED: &str = "notifications/cancelled";

/// JSON-RPC: the session is unknown or has expired; `initialize` gives a new one. The code that the
/// official SDKs use.
const NO_SESSION: i64 = -32001;

/// What sessions of clients are kept with.
pub trait ClientPorts:
    ClientSessions
    + ReplyMailbox
    + Withdrawals
    + StreamEvents
    + PostedMessages
    + Clock
    + IdSource
    + Clone
    + 'static
{
}
impl<P> ClientPorts for P where
    P: ClientSessions
        + ReplyMailbox
        + Withdrawals
        + StreamEvents
        + PostedMessages
        + Clock
        + IdSource
        + Clone
        + 'static
{
}

/// What a deployment may change of this era.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSessionSettings {
    /// How long an unused session lives, in days.
    pub days: u64,
    /// The pair of 2024-11-05 is served.
    pub pair: bool,
    /// How long one stream of the pair is held before its client is let go to connect again, in
    /// seconds.
    pub pair_stream_seconds: u64,
}

impl ClientSessionSettings {
    /// Reads them with the given ways to read a number and a yes or no.
    ///
    /// # Errors
    /// The first error of these ways.
    pub fn read<E>(
        number: impl Fn(&str) -> Result<u64, E>,
        boolean: impl Fn(&str) -> Result<bool, E>,
    ) -> Result<Self, E> {
        Ok(Self {
            days: number("SHANNON_CLIENT_SESSION_DAYS")?,
            pair: boolean("SHANNON_SSE_PAIR")?,
            pair_stream_seconds: number("SHANNON_SSE_STREAM_SECONDS")?,
        })
    }
}

/// The settings that the bridge goes by.
#[derive(Clone, Debug)]
struct BridgeSettings {
    sessions: ClientSessionSettings,
    max_request_body_bytes: usize,
    keep_alive_seconds: u64,
    longest_seconds: u64,
}

/// Marks a request whose client can be asked on its stream: the extension of an HTTP request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Askable;

/// A request, answered or given back: it belongs to no session.
pub type Bridged = Result<Response<Body>, Box<Request<Bytes>>>;

/// Who serves the requests of the initialize era.
pub trait Sessioned: Clone + Send + Sync + 'static {
    /// Answers a request that belongs to a session.
    fn serve(
        &self,
        request: Request<Bytes>,
        principal: &Principal,
    ) -> impl Future<Output = Bridged> + Send;

    /// The work of a request that belongs to none; nothing of it has begun. `None` where this era is
    /// not served: the programs of those classes do without what it takes.
    fn alone(
        &self,
        request: Request<Bytes>,
        principal: Principal,
    ) -> Option<BoxFuture<'static, Served>>;
}

/// Nobody: classes that clients of the initialize era do not reach.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSessions;

impl Sessioned for NoSessions {
    async fn serve(&self, request: Request<Bytes>, _principal: &Principal) -> Bridged {
        Err(Box::new(request))
    }

    fn alone(
        &self,
        _request: Request<Bytes>,
        _principal: Principal,
    ) -> Option<BoxFuture<'static, Served>> {
        None
    }
}

/// Serves them with the work behind it, on any instance.
pub struct Bridge<W: Work, P> {
    shared: Sharing<W>,
    alone: Alone<W>,
    ports: P,
    settings: BridgeSettings,
}

impl<W: Work, P: Clone> Clone for Bridge<W, P> {
    fn clone(&self) -> Self {
        Self {
            shared: Sharing::clone(&self.shared),
            alone: self.alone.clone(),
            ports: self.ports.clone(),
            settings: self.settings.clone(),
        }
    }
}

impl<W: Work, P> Bridge<W, P> {
    /// `shared` answers; `ports` keep what is between requests.
    pub(crate) fn new(
        shared: Sharing<W>,
        ports: P,
        settings: &EdgeSettings,
        sessions: ClientSessionSettings,
    ) -> Self {
        Self {
            alone: Alone::new(Sharing::clone(&shared)),
            shared,
            ports,
            settings: BridgeSettings {
                sessions,
                max_request_body_bytes: settings.max_request_body_bytes,
                keep_alive_seconds: settings.keep_alive_seconds,
                longest_seconds: settings.longest_seconds,
            },
        }
    }
}

impl<W, P> Sessioned for Bridge<W, P>
where
    W: Work,
    P: ClientPorts,
{
    async fn serve(&self, request: Request<Bytes>, principal: &Principal) -> Bridged {
        let path = request.uri().path();
        if path.ends_with("/sse") || path.ends_with("/messages") {
            return Ok(self.pair(request, principal).await);
        }
        let headers = request.headers();
        let modern = modern::claims(headers, "", None);
        match *request.method() {
            Method::POST => self.posted(request, principal).await,
            Method::GET if !modern => Ok(self.resumed(headers, principal).await),
            Method::DELETE if !modern && headers.contains_key(SESSION) => {
                Ok(self.deleted(headers, principal).await)
            }
            // Without a session there is nothing to resume and nothing to delete.
            _ => Err(Box::new(request)),
        }
    }

    fn alone(
        &self,
        request: Request<Bytes>,
        principal: Principal,
    ) -> Option<BoxFuture<'static, Served>> {
        Some(self.alone.serving(request, principal))
    }
}

/// What of a message decides its way.
struct Peek {
    id: Value,
    method: Option<String>,
    is_reply: bool,
}

impl Peek {
    /// `None` when it is nothing that could belong to a session; whoever gets it then says why.
    fn at(body: &[u8]) -> Option<(Self, Value)> {
        let message: Value = serde_json::from_slice(body).ok()?;
        let object = message.as_object()?;
        let method = object.get("method").map(|method| method.as_str());
        let peek = Self {
            id: object.get("id").cloned().unwrap_or(Value::Null),
            method: match method {
                Some(method) => Some(method?.to_owned()),
                None => None,
            },
            is_reply: object.contains_key("result") || object.contains_key("error"),
        };
        Some((peek, message))
    }
}

impl<W, P> Bridge<W, P>
where
    W: Work,
    P: ClientPorts,
{
    async fn posted(&self, mut request: Request<Bytes>, principal: &Principal) -> Bridged {
        let headers = request.headers();
        let version = headers.get(VERSION).map(HeaderValue::as_bytes);
        let small = request.body().len() <= self.settings.max_request_body_bytes;
        let Some((peek, message)) = small.then(|| Peek::at(request.body())).flatten() else {
            return Err(Box::new(request));
        };
        let initializes = peek.method.as_deref() == Some("initialize");
        let method = peek.method.as_deref().unwrap_or_default();
        let modern = modern::claims(headers, method, message.get("params"));
        if modern || (!initializes && !headers.contains_key(SESSION)) {
            // Whoever gets it need not read it again.
            request.extensions_mut().insert(Parsed(message));
            return Err(Box::new(request));
        }
        record_request(headers, method, message.get("params"));
        if initializes {
            return Ok(self.initialized(request, principal).await);
        }
        let (key, session) = match self.session(headers, principal, &peek.id).await {
            Ok(found) => found,
            Err(refused) => return Ok(*refused),
        };
        if let Some(version) = version
            && !is_known(version)
        {
            return Ok(error_response(
                StatusCode::BAD_REQUEST,
                &peek.id,
                INVALID_REQUEST,
                &format!(
                    "MCP-Protocol-Version {} is not served",
                    String::from_utf8_lossy(version)
                ),
            ));
        }
        Ok(match (&peek.method, peek.is_reply) {
            (None, true) => self.replied(&key, &peek.id, &message).await,
            (Some(method), _) if method == CANCELLED && peek.id.is_null() => {
                self.cancelled(&key, &message).await
            }
            _ => self.requested(key, &session, request, principal).await,
        })
    }

    /// The session that the headers name, which then lives on.
    async fn session(
        &self,
        headers: &HeaderMap,
        principal: &Principal,
        id: &Value,
    ) -> Result<(ClientKey, ClientSession), Box<Response<Body>>> {
        let named = headers.get(SESSION).and_then(|name| name.to_str().ok());
        let name = named.and_then(|name| ClientSessionId::parse(name).ok());
        self.session_named(name, principal, id).await
    }

    async fn session_named(
        &self,
        name: Option<ClientSessionId>,
        principal: &Principal,
        id: &Value,
    ) -> Result<(ClientKey, ClientSession), Box<Response<Body>>> {
        // An id that is none of ours is as unknown as any other.
        let Some(session) = name else {
            return Err(Box::new(no_session(id)));
        };
        let key = ClientKey {
            owner: principal.owner.clone(),
            session,
        };
        let found = self.ports.client(&key).await;
        let found = found.map_err(|error| Box::new(unavailable(&error, id)))?;
        let Some(session) = found else {
            tracing::info!(client_session = key.session.short(), "unknown session");
            return Err(Box::new(no_session(id)));
        };
        let lives = self.lives_until();
        let left = session.expires_at.since(self.ports.now());
        // Once in a quarter of its life is enough, and a session that was used is not lost.
        if left < lives.since(self.ports.now()) / 4 * 3
            && let Err(error) = self.ports.keep(&key, lives).await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a client's session was not kept longer"
            );
        }
        Ok((key, session))
    }

    fn lives_until(&self) -> domain::UnixMillis {
        const DAY_MILLISECONDS: u64 = 24 * 60 * 60 * 1000;
        let days = self.settings.sessions.days;
        self.ports.now().plus(days * DAY_MILLISECONDS)
    }

    /// `initialize`: a new session, recorded before the client hears of it. Repeating the request
    /// gives another; one that nobody uses expires.
    async fn initialized(&self, request: Request<Bytes>, principal: &Principal) -> Response<Body> {
        let max_body_bytes = self.settings.max_request_body_bytes;
        let checked = match check(Class::Legacy, max_body_bytes, request) {
            Front::Request(checked) => *checked,
            Front::Notification => return accepted(),
            Front::Refused(refused) => return refused,
        };
        let Era::Legacy(request) = checked.era else {
            return unreadable(&checked.id);
        };
        let asked = serde_json::from_slice(request.body()).unwrap_or_default();
        let Ok(run) = self.run(None, request, principal) else {
            return unreadable(&checked.id);
        };
        let Some(answer) = run.answer().await else {
            return lost(&checked.id);
        };
        let Some(introduction) = introduction(asked, &answer) else {
            return crate::answer::json_response(StatusCode::OK, &answer);
        };
        let key = ClientKey {
            owner: principal.owner.clone(),
            session: ClientSessionId::from_random(self.ports.random()),
        };
        let session = ClientSession {
            introduction,
            expires_at: self.lives_until(),
        };
        if let Err(error) = self.ports.open(&key, &session).await {
            return unavailable(&error, &checked.id);
        }
        tracing::info!(client_session = key.session.short(), "session opened");
        let mut response = crate::answer::json_response(StatusCode::OK, &answer);
        if let Ok(name) = HeaderValue::from_str(key.session.as_str()) {
            response.headers_mut().insert(SESSION, name);
        }
        response
    }

    /// A reply to a question. One that nobody asked for (any more) changes nothing: clients take a
    /// refusal here for a broken connection.
    async fn replied(&self, key: &ClientKey, id: &Value, message: &Value) -> Response<Body> {
        let Some(request) = id.as_str().filter(|id| asked::is_question(id)) else {
            tracing::info!("a reply to no question of ours");
            return accepted();
        };
        let delivered = self.ports.deliver(key, request, &message.to_string()).await;
        match delivered {
            Ok(wanted) => {
                tracing::info!(question = request, wanted, "a reply came");
                accepted()
            }
            Err(error) => unavailable(&error, &Value::Null),
        }
    }

    async fn requested(
        &self,
        key: ClientKey,
        session: &ClientSession,
        request: Request<Bytes>,
        principal: &Principal,
    ) -> Response<Body> {
        let max_body_bytes = self.settings.max_request_body_bytes;
        let checked = match check(Class::Legacy, max_body_bytes, request) {
            Front::Request(checked) => *checked,
            Front::Notification => return accepted(),
            Front::Refused(refused) => return refused,
        };
        if let Some(refused) = self.shared.refusal(&checked, principal) {
            return refused;
        }
        let waits = self.shared.waits(&checked);
        let Era::Legacy(request) = checked.era else {
            return unreadable(&checked.id);
        };
        let Ok(client) = serde_json::from_str(&session.introduction) else {
            tracing::error!(
                client_session = key.session.short(),
                "an unreadable session"
            );
            return no_session(&checked.id);
        };
        let started = Instant::now();
        let Ok(run) = self.run(Some((key.clone(), client)), request, principal) else {
            return unreadable(&checked.id);
        };
        let mut response = run.response(key, checked.id).await;
        if waits {
            response.extensions_mut().insert(started.elapsed());
        }
        response
    }

    async fn deleted(&self, headers: &HeaderMap, principal: &Principal) -> Response<Body> {
        let name = headers.get(SESSION).and_then(|named| named.to_str().ok());
        let Some(session) = name.and_then(|name| ClientSessionId::parse(name).ok()) else {
            return no_session(&Value::Null);
        };
        let key = ClientKey {
            owner: principal.owner.clone(),
            session,
        };
        match self.ports.close(&key).await {
            Ok(true) => {
                tracing::info!(client_session = key.session.short(), "session closed");
                with_status(StatusCode::NO_CONTENT)
            }
            Ok(false) => no_session(&Value::Null),
            Err(error) => unavailable(&error, &Value::Null),
        }
    }
}

/// What to keep of a client after a successful `initialize`: its parameters with the version that
/// was agreed on.
fn introduction(request: Value, answer: &Value) -> Option<String> {
    let version = answer.pointer("/result/protocolVersion")?.clone();
    let mut client = request.get("params")?.clone();
    client["protocolVersion"] = version;
    // Only what can be read again.
    let client: InitializeRequestParams = serde_json::from_value(client).ok()?;
    serde_json::to_string(&client).ok()
}

fn is_known(version: &[u8]) -> bool {
    ProtocolVersion::KNOWN_VERSIONS
        .iter()
        .any(|known| known.as_str().as_bytes() == version)
}

fn with_status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn accepted() -> Response<Body> {
    with_status(StatusCode::ACCEPTED)
}

fn no_session(id: &Value) -> Response<Body> {
    error_response(
        StatusCode::NOT_FOUND,
        id,
        NO_SESSION,
        "the session is unknown or has expired; send initialize to begin another",
    )
}

fn unavailable(error: &Unavailable, id: &Value) -> Response<Body> {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "a client's session was not served"
    );
    let message = format!("{error}; send it again");
    error_response(
        StatusCode::SERVICE_UNAVAILABLE,
        id,
        INTERNAL_ERROR,
        &message,
    )
}

fn unreadable(id: &Value) -> Response<Body> {
    error_response(
        StatusCode::BAD_REQUEST,
        id,
        crate::answer::INVALID_PARAMS,
        "the parameters do not fit the method",
    )
}

fn lost(id: &Value) -> Response<Body> {
    error_response(
        StatusCode::INTERNAL_SERVER_ERROR,
        id,
        INTERNAL_ERROR,
        "the request was not answered; send it again",
    )
}

fn no_streams() -> Response<Body> {
    let mut refused = error_response(
        StatusCode::METHOD_NOT_ALLOWED,
        &Value::Null,
        INVALID_REQUEST,
        "there is no standing stream here: everything comes on the streams of requests; GET takes a \
         broken one up with Last-Event-ID",
    );
    refused
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("POST, DELETE"));
    refused
}

/// A stream of events, as proxies let it through at once.
fn event_stream<F>(frames: F) -> Response<Body>
where
    F: Stream<Item = Bytes> + Send + 'static,
{
    let frames = frames.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A comment, which clients pass over.
const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");
