//! API Gateway: the REST API of the template, with its authorizer, its limits and its way of
//! failing.
//!
//! ```text
//! request -> edge function -> route -> throttle -> authorizer (or its cache) -> Lambda -> response
//! ```
//!
//! The stage is not part of the path: this is the API behind its custom domain. Not emulated: the
//! bandwidth limit of a stream after its first 10 MB.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    response::Response,
    serve::ListenerExt,
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header, request::Parts};
use http_body_util::BodyExt;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, timeout_at},
};

use crate::{
    edge::EdgeFunction,
    lambda::{InvokeError, Lambda, MAX_PAYLOAD_BYTES, Outcome},
    template::{Authorizer, GatewayResponse, ResponseHeader, Route, Stack},
};

mod authorizer;
mod event;
mod proxies;
mod refusal;
mod respond;
mod routes;
mod throttle;

pub use proxies::TrustedProxies;

use authorizer::Authorizers;
use refusal::Refusal;
use throttle::Throttles;

/// Largest request body.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>
pub const MAX_REQUEST_BYTES: usize = 10 * 1024 * 1024;

/// Most bytes of request line and header values together, from the same table. It does not say how
/// more are refused; here as a body that is too large.
const MAX_HEADER_BYTES: usize = 10_240;

/// How much of a refused request is read before the refusal is sent, in bytes and in time.
const MAX_DISCARDED_BYTES: usize = 64 * 1024 * 1024;
const DISCARD: Duration = Duration::from_secs(5);

/// What the gateway can be told.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// What runs before the routes; without it paths are taken as they come.
    pub edge: Option<EdgeFunction>,
    /// What the distribution in front adds to every answer.
    pub headers: Vec<ResponseHeader>,
    /// Servers in front that say for whom they ask.
    pub trusted_proxies: TrustedProxies,
    /// Most that a buffered route may take: 29 s on AWS.
    pub buffered: Duration,
    /// A stream in which nothing is sent for this long is cut: 5 minutes on AWS.
    pub silent: Duration,
    /// A stream is cut after so many bytes: 200 MB on AWS, where it is Lambda that cuts it.
    pub longest_stream: usize,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            edge: None,
            headers: Vec::new(),
            trusted_proxies: TrustedProxies::default(),
            buffered: Duration::from_secs(29),
            silent: Duration::from_secs(300),
            longest_stream: 200 * 1024 * 1024,
        }
    }
}

struct Gateway {
    stage: String,
    routes: Vec<Route>,
    authorizers: Authorizers,
    responses: BTreeMap<String, GatewayResponse>,
    throttles: Throttles,
    lambda: Lambda,
    options: GatewayOptions,
}

/// Serves the API on a public listener until the future is dropped. Without this (a router in a
/// server of another kind) functions see the loopback address as that of every client.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener.tap_io(send_at_once), service).await
}

/// The same until `stop` is ready: then no connection is taken any more, and it ends when the requests
/// that run are answered.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve_until(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener.tap_io(send_at_once), service)
        .with_graceful_shutdown(stop)
        .await
}

/// Small pieces of a stream are not held back until the other side has acknowledged earlier ones.
pub(crate) fn send_at_once(connection: &mut TcpStream) {
    if let Err(error) = connection.set_nodelay(true) {
        tracing::debug!(%error, "a connection may delay small pieces");
    }
}

/// The API as a service, for [`serve`].
pub fn router(stack: &Stack, lambda: Lambda, options: GatewayOptions) -> Router {
    let gateway = Gateway {
        stage: stack.stage.clone(),
        routes: stack.routes.clone(),
        authorizers: Authorizers::new(stack.authorizers.clone()),
        responses: stack.gateway_responses.clone(),
        throttles: Throttles::new(stack.throttles.clone()),
        lambda,
        options,
    };
    Router::new()
        .fallback(handle)
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(Arc::new(gateway))
}

/// What every answer to one request needs.
struct Exchange {
    request_id: String,
    client: IpAddr,
}

/// As CloudFront does: its own answers and the API's get the headers of its policy.
async fn handle(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let mut response = answer(&gateway, request).await;
    for header in &gateway.options.headers {
        let name = HeaderName::try_from(&header.name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(&header.value))
            && (header.overrides || !response.headers().contains_key(&name))
        {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

async fn answer(gateway: &Gateway, request: Request) -> Response {
    let (mut parts, mut body) = request.into_parts();
    let client = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let exchange = Exchange {
        request_id: uuid::Uuid::new_v4().to_string(),
        client: gateway.options.trusted_proxies.client(
            client.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |client| client.0.ip()),
            &parts.headers,
        ),
    };
    if let Some(edge) = &gateway.options.edge {
        match edge.apply(&mut parts, exchange.client).await {
            Ok(None) => {}
            Ok(Some(response)) => return response,
            Err(error) => {
                tracing::error!(%error, "the edge failed");
                return Refusal::EdgeFailed.response(&exchange.request_id, &gateway.responses);
            }
        }
    }
    match gateway.serve(&exchange, parts, &mut body).await {
        Ok(mut response) => {
            if let Ok(id) = exchange.request_id.parse() {
                response.headers_mut().insert("x-amzn-requestid", id);
            }
            response
        }
        Err(refusal) => {
            discard(&mut body).await;
            refusal.response(&exchange.request_id, &gateway.responses)
        }
    }
}

impl Gateway {
    async fn serve(
        &self,
        exchange: &Exchange,
        parts: Parts,
        body: &mut Body,
    ) -> Result<Response, Refusal> {
        let began = Instant::now();
        if head_bytes(&parts) > MAX_HEADER_BYTES {
            return Err(Refusal::TooLarge);
        }
        let path = parts.uri.path();
        let (route, path_parameters) = routes::find(&self.routes, &parts.method, path)
            .ok_or(Refusal::MissingAuthenticationToken)?;
        if !self.throttles.admits(route) {
            return Err(Refusal::TooManyRequests);
        }
        let mut event = event::of_request(&self.stage, exchange, route, &path_parameters, &parts);
        if let Some(name) = &route.authorizer {
            let limit = began + self.options.buffered;
            let context = self
                .authorizers
                .check(name, &parts, &event, &self.lambda, limit)
                .await?;
            event["requestContext"]["authorizer"] = context;
        }
        let announced = parts.headers.get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > MAX_REQUEST_BYTES) {
            return Err(Refusal::TooLarge);
        }
        let body = read(body).await?;
        event::set_body(&mut event, &body);
        let payload = Bytes::from(event.to_string());
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(Refusal::TooLarge);
        }
        self.integrate(route, payload).await
    }

    /// Calls the function and turns what it answers into a response.
    async fn integrate(&self, route: &Route, payload: Bytes) -> Result<Response, Refusal> {
        let mut limit = Duration::from_millis(route.timeout_milliseconds.into());
        if !route.streaming {
            limit = limit.min(self.options.buffered);
        }
        let end = Instant::now() + limit;
        // Giving up waiting does not end the invocation: the function runs on, as on AWS.
        let outcome = timeout_at(end, self.lambda.invoke(&route.function, payload))
            .await
            .map_err(|_| Refusal::TimedOut)?;
        match outcome {
            Ok(Outcome::Failed(error)) => {
                tracing::debug!(
                    function = route.function,
                    error.error_type,
                    "function error"
                );
                Err(Refusal::BadGateway)
            }
            Ok(outcome) if route.streaming => {
                let options = &self.options;
                respond::streaming(outcome, end, options.silent, options.longest_stream).await
            }
            Ok(outcome) => match timeout_at(end, respond::buffered(outcome)).await {
                Ok(response) => response,
                Err(_) => Err(Refusal::TimedOut),
            },
            Err(InvokeError::TooLarge { .. }) => Err(Refusal::TooLarge),
            Err(error) => {
                tracing::warn!(function = route.function, %error, "cannot invoke");
                Err(Refusal::Internal)
            }
        }
    }
}

/// Request line and header values.
fn head_bytes(parts: &Parts) -> usize {
    let line = format!("{} {} {:?}", parts.method, parts.uri, parts.version);
    let values: usize = parts.headers.values().map(http::HeaderValue::len).sum();
    line.len() + values
}

/// The whole body, if it is not too large.
async fn read(body: &mut Body) -> Result<Vec<u8>, Refusal> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        // The client has gone, or breaks the protocol; nobody will read this.
        let frame = frame.map_err(|_| Refusal::BadRequest)?;
        if let Some(data) = frame.data_ref() {
            if read.len() + data.len() > MAX_REQUEST_BYTES {
                return Err(Refusal::TooLarge);
            }
            read.extend_from_slice(data);
        }
    }
    Ok(read)
}

/// Reads what the client still sends, within reason: a connection that is closed over unread bytes
/// is reset, and the client does not see why it was refused.
async fn discard(body: &mut Body) {
    let end = Instant::now() + DISCARD;
    let mut bytes = 0;
    while let Ok(Some(Ok(frame))) = timeout_at(end, body.frame()).await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > MAX_DISCARDED_BYTES {
            return;
        }
    }
}

/// Looks up an authorizer by name; `template` has checked that routes name existing ones only.
fn find_authorizer<'all>(all: &'all [Authorizer], name: &str) -> Option<&'all Authorizer> {
    all.iter().find(|authorizer| authorizer.name == name)
}
