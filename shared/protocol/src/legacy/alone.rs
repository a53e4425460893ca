//! Requests of the initialize era that belong to no session: rmcp serves each by itself.

use std::sync::Arc;

use bytes::Bytes;
use domain::Principal;
use futures_util::future::BoxFuture;
use http::Request;
use http_body_util::Full;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

use super::{Bridged, Sessioned};
use crate::back::Served;
use crate::modern::Sharing;
use crate::server::Server;
use crate::work::Work;

/// Serves them; nobody's session is kept.
pub struct Alone<W: Work>(StreamableHttpService<Server<W>, NeverSessionManager>);

impl<W: Work> Clone for Alone<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W: Work> Alone<W> {
    pub(crate) fn new(shared: Sharing<W>) -> Self {
        let server = Server::new(shared);
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_sse_keep_alive(None)
            .with_sse_retry(None)
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_max_request_body_bytes(usize::MAX);
        Self(StreamableHttpService::new(
            move || Ok(server.clone()),
            Arc::new(NeverSessionManager::default()),
            config,
        ))
    }

    /// The work of one request; nothing of it has begun.
    pub(crate) fn serving(
        &self,
        request: Request<Bytes>,
        principal: Principal,
    ) -> BoxFuture<'static, Served> {
        let mut request = request.map(Full::new);
        request.extensions_mut().insert(principal);
        let service = self.0.clone();
        Box::pin(async move { service.handle(request).await })
    }
}

impl<W: Work> Sessioned for Alone<W> {
    async fn serve(&self, request: Request<Bytes>, _principal: &Principal) -> Bridged {
        Err(Box::new(request))
    }

    fn alone(
        &self,
        request: Request<Bytes>,
        principal: Principal,
    ) -> Option<BoxFuture<'static, Served>> {
        Some(self.serving(request, principal))
    }
}
