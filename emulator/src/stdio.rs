//! `emulator stdio`: a local host's stdin and stdout, bridged to the MCP endpoint of a stack.
//!
//! One JSON-RPC message a line in, one a line out, and nothing else on the output, ever: what has to
//! be said besides goes to standard error. Each request is one POST; its answer, JSON or a stream,
//! comes out message by message. Both eras pass: a modern request carries its version in its body,
//! from which the headers are made; of the initialize era the version and the session that the
//! server gave are kept here and sent along.
//!
//! Nothing is kept that another process could not find again: cut at any point, the host starts a
//! new bridge and asks again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
};

mod events;
mod message;
pub mod ssh;

use events::Events;
use message::{Headers, Message};

/// Longest line that is read: above what a server takes, which then says so itself.
const LINE_BYTES: u64 = 16 * 1024 * 1024;
/// Longest message of an answer; far more than any of ours.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Requests on their way at once; the next line waits.
const REQUESTS: usize = 64;
/// How long a message without an answer may take.
const NOTIFICATION: Duration = Duration::from_secs(30);
/// How long the requests on their way may take after the input has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(60);
/// Silence of an answer that means it is gone: servers send a comment every 25 s at the latest.
const SILENCE: Duration = Duration::from_secs(90);

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const INTERNAL_ERROR: i64 = -32603;

/// The MCP endpoint of a stack.
#[derive(Clone)]
pub struct Endpoint {
    url: url::Url,
    token: String,
    http: reqwest::Client,
}

/// Why an address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Not an address.
    #[error("{0:?} is no http:// or https:// address")]
    Url(String),
    /// The token would travel unencrypted.
    #[error("http:// to another machine would send the token unencrypted; use https://")]
    Unencrypted,
    /// No HTTP client can be made.
    #[error("no HTTP client can be made")]
    Client(#[source] reqwest::Error),
}

impl Endpoint {
    /// The endpoint at `url`, used with `token`.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn new(url: &str, token: String) -> Result<Self, EndpointError> {
        let parsed: url::Url = url
            .parse()
            .map_err(|_| EndpointError::Url(url.to_owned()))?;
        let loopback = match parsed.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => return Err(EndpointError::Url(url.to_owned())),
        };
        match parsed.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => return Err(EndpointError::Unencrypted),
            _ => return Err(EndpointError::Url(url.to_owned())),
        }
        // Whoever comes first installs it; for the others it is there already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(SILENCE)
            // A redirect would carry the token to another place.
            .redirect(reqwest::redirect::Policy::none());
        if loopback {
            http = http.no_proxy();
        }
        Ok(Self {
            url: parsed,
            token,
            http: http.build().map_err(EndpointError::Client)?,
        })
    }

    /// A request to another address of the same stack, beside the one of MCP.
    pub(crate) fn beside(&self, method: http::Method, path: &str) -> reqwest::RequestBuilder {
        let mut url = self.url.clone();
        let base = url.path().trim_end_matches('/').trim_end_matches("/mcp");
        url.set_path(&format!("{base}{path}"));
        self.http.request(method, url).bearer_auth(&self.token)
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The host closed our input.
    Input,
    /// The host takes no output any more.
    Output,
    /// A signal came.
    Interrupted,
}

/// Bridges until the host closes the input, takes no output any more, or `interrupted` is ready.
/// After the end of the input the requests on their way are answered first, for a bounded time.
pub async fn run<I, O>(
    endpoint: Endpoint,
    input: I,
    output: O,
    interrupted: impl Future<Output = ()>,
) -> Ended
where
    I: AsyncBufRead + Unpin,
    O: AsyncWrite + Unpin + Send + 'static,
{
    let (lines, to_write) = mpsc::channel(64);
    let mut writer = tokio::spawn(write(output, to_write));
    let bridge = Bridge {
        endpoint,
        lines,
        era: Arc::default(),
        running: Arc::default(),
        places: Arc::new(Semaphore::new(REQUESTS)),
    };
    let mut requests = JoinSet::new();
    let ended = tokio::select! {
        () = bridge.read(input, &mut requests) => Ended::Input,
        _ = &mut writer => Ended::Output,
        () = interrupted => Ended::Interrupted,
    };
    if ended == Ended::Input {
        let answered = async { while requests.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_ANSWERS, answered).await.is_err() {
            tracing::warn!("requests were not answered in time after the end of the input");
        }
    }
    requests.shutdown().await;
    bridge.leave().await;
    drop(bridge);
    if ended == Ended::Input && writer.await.is_err() {
        tracing::debug!("the output was given up");
    }
    ended
}

async fn write<O: AsyncWrite + Unpin>(mut output: O, mut lines: mpsc::Receiver<Value>) {
    while let Some(message) = lines.recv().await {
        // JSON on one line: serde_json writes no line feeds.
        let line = format!("{message}\n");
        let written = async {
            output.write_all(line.as_bytes()).await?;
            output.flush().await
        };
        if let Err(error) = written.await {
            tracing::debug!(%error, "the host takes no output any more");
            return;
        }
    }
}

/// What the initialize era agreed on.
#[derive(Default)]
struct Era {
    version: Option<String>,
    session: Option<String>,
}

#[derive(Clone)]
struct Bridge {
    endpoint: Endpoint,
    lines: mpsc::Sender<Value>,
    era: Arc<Mutex<Era>>,
    /// Requests on their way, by their id as JSON.
    running: Arc<Mutex<HashMap<String, AbortHandle>>>,
    places: Arc<Semaphore>,
}

impl Bridge {
    async fn say(&self, message: Value) {
        if self.lines.send(message).await.is_err() {
            tracing::debug!("nobody writes any more");
        }
    }

    async fn fail(&self, id: &Value, code: i64, message: impl Into<String>) {
        let error = json!({"code": code, "message": message.into()});
        self.say(json!({"jsonrpc": "2.0", "id": id, "error": error}))
            .await;
    }

    async fn read<I: AsyncBufRead + Unpin>(&self, mut input: I, requests: &mut JoinSet<()>) {
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut input)
                .take(LINE_BYTES)
                .read_until(b'\n', &mut line)
                .await
            {
                Ok(0) => return,
                Ok(_) if line.len() as u64 == LINE_BYTES && !line.ends_with(b"\n") => {
                    self.fail(&Value::Null, INVALID_REQUEST, "the line is too long")
                        .await;
                    if !skip_line(&mut input).await {
                        return;
                    }
                    continue;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the input cannot be read any more");
                    return;
                }
            }
            while requests.try_join_next().is_some() {}
            if line.trim_ascii().is_empty() {
                continue;
            }
            let Ok(value) = serde_json::from_slice::<Value>(&line) else {
                self.fail(&Value::Null, PARSE_ERROR, "the line is no JSON")
                    .await;
                continue;
            };
            match Message::of(&value) {
                Message::Request { id, method } => self.start(id, &method, value, requests).await,
                Message::Cancelled { request } => {
                    let handle = self.running().remove(&request.to_string());
                    // To a modern server the closed connection is the cancellation.
                    self.pass_on(&value).await;
                    if let Some(handle) = handle {
                        handle.abort();
                    }
                }
                Message::Other => self.pass_on(&value).await,
                Message::None(reason) => {
                    let id = value.get("id").cloned().unwrap_or(Value::Null);
                    self.fail(&id, INVALID_REQUEST, reason).await;
                }
            }
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, AbortHandle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn era(&self) -> std::sync::MutexGuard<'_, Era> {
        self.era.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(&self, id: Value, method: &str, value: Value, requests: &mut JoinSet<()>) {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return;
        };
        let bridge = self.clone();
        let key = id.to_string();
        let initialize = method == "initialize";
        let known = key.clone();
        // Held until it is known, so that it cannot have ended before.
        let mut running = self.running();
        let handle = requests.spawn(async move {
            let answered = bridge.request(&id, initialize, &value).await;
            if let Err(problem) = answered {
                bridge.fail(&id, INTERNAL_ERROR, problem).await;
            }
            bridge.running().remove(&key);
            drop(place);
        });
        running.insert(known, handle);
    }

    fn post(&self, value: &Value) -> reqwest::RequestBuilder {
        let headers = {
            let era = self.era();
            Headers::of(value, era.version.as_deref(), era.session.as_deref())
        };
        let mut request = self
            .endpoint
            .http
            .post(self.endpoint.url.clone())
            .bearer_auth(&self.endpoint.token)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        for (name, value) in headers.0 {
            request = request.header(name, value);
        }
        request.body(value.to_string())
    }

    /// A notification or an answer to a question of the server; what comes back is of no interest.
    async fn pass_on(&self, value: &Value) {
        match tokio::time::timeout(NOTIFICATION, self.post(value).send()).await {
            Ok(Ok(response)) if response.status().is_success() => {}
            Ok(Ok(response)) => {
                tracing::warn!(
                    status = response.status().as_u16(),
                    "a message was not accepted"
                );
            }
            Ok(Err(error)) => tracing::warn!(%error, "a message was not delivered"),
            Err(_) => tracing::warn!("a message was not delivered in time"),
        }
    }

    /// One request and everything that comes back for it.
    async fn request(&self, id: &Value, initialize: bool, value: &Value) -> Result<(), String> {
        let response = self.post(value).send().await.map_err(|error| {
            tracing::warn!(%error, "a request was not answered");
            format!(
                "{} does not answer; is the stack running?",
                self.endpoint.url
            )
        })?;
        let status = response.status().as_u16();
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let session = header("mcp-session-id");
        let streams =
            header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        let mut events = Events::default();
        let mut whole = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| {
                tracing::warn!(%error, "an answer was cut");
                "the answer was cut; ask again".to_owned()
            })?;
            if events.waiting() + whole.len() + chunk.len() > ANSWER_BYTES {
                return Err("the answer is too long".to_owned());
            }
            if !streams {
                whole.extend_from_slice(&chunk);
                continue;
            }
            for message in events.take(&chunk) {
                if self.came(id, initialize, session.as_deref(), message).await {
                    return Ok(());
                }
            }
        }
        if streams {
            return Err("the answer ended before its result; ask again".to_owned());
        }
        match serde_json::from_slice::<Value>(&whole) {
            Ok(mut message) if message.is_object() && message.get("jsonrpc").is_some() => {
                // What the server could not read has no id there; the host still knows which it was.
                if message["id"].is_null() {
                    message["id"] = id.clone();
                }
                if self.came(id, initialize, session.as_deref(), message).await {
                    Ok(())
                } else {
                    Err(format!(
                        "the server answered something else (HTTP {status})"
                    ))
                }
            }
            _ if status == 401 || status == 403 => Err(format!(
                "the server refuses our token (HTTP {status}); see `emulator stdio --help`"
            )),
            _ => Err(format!("the server gives no MCP answer (HTTP {status})")),
        }
    }

    /// Passes a message on; says whether it was the answer.
    async fn came(
        &self,
        id: &Value,
        initialize: bool,
        session: Option<&str>,
        message: Value,
    ) -> bool {
        let answers = message.get("method").is_none() && message.get("id") == Some(id);
        if answers && initialize {
            let version = message["result"]["protocolVersion"].as_str();
            let mut era = self.era();
            era.version = version.map(str::to_owned);
            era.session = session.map(str::to_owned);
        }
        self.say(message).await;
        answers
    }

    /// Ends the session that the server gave, if it gave one.
    async fn leave(&self) {
        let (version, session) = {
            let era = self.era();
            (era.version.clone(), era.session.clone())
        };
        let Some(session) = session else {
            return;
        };
        let mut request = self
            .endpoint
            .http
            .delete(self.endpoint.url.clone())
            .bearer_auth(&self.endpoint.token)
            .header("mcp-session-id", session);
        if let Some(version) = version {
            request = request.header("mcp-protocol-version", version);
        }
        if !matches!(
            tokio::time::timeout(Duration::from_secs(5), request.send()).await,
            Ok(Ok(_))
        ) {
            tracing::debug!("the session was not ended; it expires");
        }
    }
}

/// Reads on to the end of a line; `false` at the end of the input.
async fn skip_line<I: AsyncBufRead + Unpin>(input: &mut I) -> bool {
    loop {
        let (used, found) = match input.fill_buf().await {
            Ok(bytes) if !bytes.is_empty() => match bytes.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (bytes.len(), false),
            },
            _ => return false,
        };
        input.consume(used);
        if found {
            return true;
        }
    }
}
