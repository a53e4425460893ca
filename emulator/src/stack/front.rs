//! Where the stack is reached: by clients at the address of the settings, by its own sessions at a
//! loopback address. The first can stop taking requests while the second goes on, so that sessions
//! are stopped with the model and their credentials at hand.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use futures_util::StreamExt as _;
use http::{Method, header};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::StackError;
use crate::{gateway, settings::Settings};

/// The method whose answer is a stream that only ends because its time is over.
const LISTEN: &str = "subscriptions/listen";

/// The addresses, before anybody serves them.
pub(super) struct Listening {
    public: TcpListener,
    internal: TcpListener,
    /// Of the public one, as this machine reaches it.
    pub(super) url: String,
    /// Of the other.
    pub(super) internal_url: String,
    /// Whether only this machine reaches it.
    pub(super) loopback: bool,
}

impl Listening {
    /// Takes both addresses.
    pub(super) async fn open(settings: &Settings) -> Result<Self, StackError> {
        let address: IpAddr = settings
            .text("SHANNON_BIND")
            .and_then(|text| text.parse().ok())
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let port = settings
            .integer("SHANNON_PORT")
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or_default();
        let (public, bound) = bind(SocketAddr::new(address, port)).await?;
        let (internal, inside) = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        // an address that means "all" is none that a client can call
        let host = match bound.ip() {
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        Ok(Self {
            public,
            internal,
            url: format!("http://{}", SocketAddr::new(host, bound.port())),
            internal_url: format!("http://{inside}"),
            loopback: bound.ip().is_loopback(),
        })
    }

    /// Serves: `public` for everybody, `internal` for sessions.
    pub(super) fn serve(self, public: Router, internal: Router) -> Front {
        let drain = CancellationToken::new();
        let public = public.layer(from_fn_with_state(drain.clone(), end_standing_streams));
        let until = drain.clone().cancelled_owned();
        Front {
            public: tokio::spawn(gateway::serve_until(self.public, public, until)),
            internal: tokio::spawn(gateway::serve(self.internal, internal)),
            drain,
        }
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StackError> {
    let fail = |source| StackError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    Ok((listener, bound))
}

/// A stream on which the client only listens is not waited for when the stack stops: it ends, as it
/// does when its time is over, and the client connects again.
async fn end_standing_streams(
    State(drain): State<CancellationToken>,
    request: Request,
    next: Next,
) -> Response {
    let listens = request
        .headers()
        .get("mcp-method")
        .is_some_and(|method| method == LISTEN);
    let standing = listens || request.method() == Method::GET;
    let response = next.run(request).await;
    let is_stream = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if !standing || !is_stream {
        return response;
    }
    let (parts, body) = response.into_parts();
    let until = Box::pin(drain.cancelled_owned());
    let stream = body.into_data_stream().take_until(until);
    Response::from_parts(parts, Body::from_stream(stream))
}

/// Both being served. Dropping it leaves them; [`Front::close`] ends them.
pub(super) struct Front {
    public: JoinHandle<io::Result<()>>,
    internal: JoinHandle<io::Result<()>>,
    drain: CancellationToken,
}

impl Front {
    /// Comes back when one of them serves no more although nobody asked for that.
    pub(super) async fn failed(&mut self) {
        let ended = tokio::select! {
            ended = &mut self.public => ended,
            ended = &mut self.internal => ended,
        };
        match ended {
            Ok(Ok(())) => tracing::error!("the gateway stopped serving"),
            Ok(Err(error)) => tracing::error!(%error, "the gateway stopped serving"),
            Err(error) => tracing::error!(%error, "the gateway panicked"),
        }
    }

    /// Takes no more requests of clients and waits for those that run. False when `limit` passed
    /// before they were all answered.
    pub(super) async fn drain(&mut self, limit: Duration) -> bool {
        self.drain.cancel();
        if self.public.is_finished() {
            return true;
        }
        tokio::time::timeout(limit, &mut self.public).await.is_ok()
    }

    /// Ends both at once.
    pub(super) async fn close(self) {
        for served in [self.public, self.internal] {
            served.abort();
            if served.is_finished() {
                continue;
            }
            if let Err(error) = served.await
                && !error.is_cancelled()
            {
                tracing::error!(%error, "the gateway panicked");
            }
        }
    }
}
