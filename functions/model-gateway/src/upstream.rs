//! The Messages API: where it is, the key, and what of a request reaches it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use boot::{Secret, Settings, SettingsError, StartError};
use bytes::Bytes;
use domain::ports::Unavailable;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::refusal::Refusal;

const KEY: HeaderName = HeaderName::from_static("x-api-key");

/// An answer of the API, and until when it may go on.
pub(crate) struct Served {
    pub(crate) response: Response<hyper::body::Incoming>,
    pub(crate) deadline: Instant,
    /// How long its head took.
    pub(crate) waited: Duration,
}

type HttpsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// One connection pool to the API.
///
/// Its TLS side reads the certificate authorities of the machine, which takes 10 to 15 ms: longer
/// than the rest of the start together. So it is built on a thread beside the start, from
/// [`Upstream::build_ahead`] on. A first request that comes before it is there pays what is left of
/// that time; every later one pays nothing.
pub(crate) struct Upstream {
    client: OnceCell<HttpsClient>,
    connect: Duration,
    base: String,
    key: HeaderValue,
    longest: Duration,
}

impl Upstream {
    /// # Errors
    /// [`StartError`] when a setting is missing or is no address or no header value.
    pub(crate) fn from_settings(settings: &Settings) -> Result<Self, StartError> {
        let base = settings.text("SHANNON_MODEL_URL")?;
        let connect = settings.integer("SHANNON_CONNECT_TIMEOUT_SECONDS")?;
        let longest = settings.integer("SHANNON_MODEL_TIMEOUT_SECONDS")?;
        let key = settings.secret("SHANNON_ANTHROPIC_API_KEY")?;
        Self::new(
            base,
            &key,
            Duration::from_secs(connect),
            Duration::from_secs(longest),
        )
    }

    fn new(
        base: &str,
        key: &Secret,
        connect: Duration,
        longest: Duration,
    ) -> Result<Self, StartError> {
        let refuse = |name: &str, problem: &str, allowed: &str| SettingsError::Invalid {
            name: name.to_owned(),
            problem: problem.to_owned(),
            allowed: allowed.to_owned(),
        };
        let plain = base.strip_prefix("http://").is_some();
        if !plain && !base.starts_with("https://") {
            let error = refuse("SHANNON_MODEL_URL", "it is no HTTP address", "https://…");
            return Err(error.into());
        }
        let mut key = HeaderValue::from_str(key.expose()).map_err(|_| {
            refuse(
                "SHANNON_ANTHROPIC_API_KEY",
                "it is no header value",
                "printable ASCII",
            )
        })?;
        key.set_sensitive(true);
        Ok(Self {
            client: OnceCell::new(),
            connect,
            base: base.trim_end_matches('/').to_owned(),
            key,
            longest,
        })
    }

    /// Begins to build the client; returns at once. Where it fails, the next request tries again.
    pub(crate) fn build_ahead(self: &Arc<Self>) {
        let upstream = Arc::clone(self);
        // A failure is in the log, and no request has come that it would have to answer.
        drop(tokio::spawn(async move { upstream.client().await.is_ok() }));
    }

    /// The client, built at most once at a time. Stopped in between, the next caller builds it.
    async fn client(&self) -> Result<&HttpsClient, Refusal> {
        let build = || async {
            let connect = self.connect;
            let built = tokio::task::spawn_blocking(move || https_client(connect)).await;
            built.map_err(io::Error::other).flatten()
        };
        self.client.get_or_try_init(build).await.map_err(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the machine's certificate authorities cannot be read; install them (ca-certificates)"
            );
            Refusal::Unreachable
        })
    }

    /// Asks for the list of models, which costs nothing and needs a good key. An API that has no such
    /// list, or is asked too often, answers too, and that is what is asked.
    ///
    /// # Errors
    /// [`Unavailable`]: it is not reached, says that it fails, or refuses our key.
    pub(crate) async fn probe(&self) -> Result<(), Unavailable> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Unavailable {
            attempted: "reach the model API",
            outcome_unknown: false,
            source,
        };
        let request = Request::get(format!("{}/v1/models?limit=1", self.base))
            .header(KEY, self.key.clone())
            .header("anthropic-version", "2023-06-01")
            .body(Full::new(Bytes::new()))
            .map_err(|error| failed(error.into()))?;
        let client = self.client().await;
        let client = client.map_err(|_| failed("there is no client".into()))?;
        let answer = client.request(request).await;
        let status = answer.map_err(|error| failed(error.into()))?.status();
        if status.is_server_error() || [401, 403].contains(&status.as_u16()) {
            return Err(failed(format!("it answers {status}").into()));
        }
        Ok(())
    }

    /// Sends one request and gives the answer's head as soon as it is there.
    pub(crate) async fn send(
        &self,
        target: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Served, Refusal> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = format!("{}{target}", self.base)
            .parse()
            .map_err(|_| Refusal::NoSuchPath)?;
        for (name, value) in headers {
            if is_forwarded(name) {
                request.headers_mut().append(name, value.clone());
            }
        }
        request
            .headers_mut()
            .entry(CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("application/json"));
        request.headers_mut().insert(KEY, self.key.clone());
        request.headers_mut().remove(HOST);
        let client = self.client().await?;
        let started = Instant::now();
        let deadline = started + self.longest;
        match tokio::time::timeout_at(deadline, client.request(request)).await {
            Ok(Ok(response)) => Ok(Served {
                response,
                deadline,
                waited: started.elapsed(),
            }),
            Ok(Err(error)) => {
                // A metric is made of it.
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    shannon_model_failures_total = 1,
                    "the model API was not reached"
                );
                Err(Refusal::Unreachable)
            }
            Err(_) => Err(Refusal::TooSlow),
        }
    }
}

/// Reads the certificate authorities of the machine: blocks.
fn https_client(connect: Duration) -> io::Result<HttpsClient> {
    let mut http = HttpConnector::new();
    http.set_connect_timeout(Some(connect));
    http.set_nodelay(true);
    http.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_native_roots()?
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        // Shorter than what the API keeps open, so that a request seldom meets a closed one.
        .pool_idle_timeout(Duration::from_secs(20))
        .build(connector))
}

/// What the API needs of the CLI's headers. Everything else stays here: our authorization, whatever
/// the proxies in front added, and encodings, because usage is read from the answer.
fn is_forwarded(name: &HeaderName) -> bool {
    name.as_str().starts_with("anthropic-")
        || [ACCEPT, CONTENT_TYPE, USER_AGENT].contains(name)
        || name.as_str() == "x-app"
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::ffi::OsString;

    /// An upstream as a deployment with these values would have it.
    pub(crate) fn upstream(base: &str, longest: Duration) -> Upstream {
        let variables = [(
            OsString::from("SHANNON_ANTHROPIC_API_KEY"),
            OsString::from("sk-test-0123456789-0123456789-0123456789"),
        )];
        let settings = Settings::read(variables).expect("good settings");
        let key = settings.secret("SHANNON_ANTHROPIC_API_KEY").expect("set");
        Upstream::new(base, &key, Duration::from_secs(5), longest).expect("an address")
    }

    #[test]
    fn an_address_that_is_none_stops_the_start() {
        let settings = Settings::read([(
            OsString::from("SHANNON_ANTHROPIC_API_KEY"),
            OsString::from("sk-test-0123456789-0123456789-0123456789"),
        )])
        .expect("good settings");
        let key = settings.secret("SHANNON_ANTHROPIC_API_KEY").expect("set");
        let second = Duration::from_secs(1);
        assert!(Upstream::new("ftp://example.com", &key, second, second).is_err());
    }

    #[tokio::test]
    async fn the_client_is_built_beside_the_start_without_a_request() {
        let upstream = Arc::new(upstream("http://127.0.0.1:1", Duration::from_secs(1)));
        upstream.build_ahead();
        assert!(upstream.client.get().is_none(), "the start waited for it");
        let built = async {
            while upstream.client.get().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let built = tokio::time::timeout(Duration::from_secs(30), built).await;
        assert!(built.is_ok(), "nobody builds it");
    }
}
