//! One request class, from an HTTP request to an HTTP answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::Principal;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN, VARY, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::Value;
use tokio::time::Instant;

use crate::answer::{Body, INVALID_REQUEST, error_response};
use crate::back::Back;
use crate::front::{Front, check};
use crate::server::{Server, server_info};
use crate::work::Work;
use crate::{Class, EdgeSettings};

/// Tools whose time goes by waiting for a session.
const WAITING_TOOLS: [&str; 2] = ["wait_session", "read_file"];

/// Serves one class. Cheap to clone; holds nothing of any request.
pub struct Edge<W: Work> {
    class: Class,
    settings: Arc<EdgeSettings>,
    service: StreamableHttpService<Server<W>, NeverSessionManager>,
}

impl<W: Work> Clone for Edge<W> {
    fn clone(&self) -> Self {
        Self {
            class: self.class,
            settings: Arc::clone(&self.settings),
            service: self.service.clone(),
        }
    }
}

impl<W: Work> Edge<W> {
    /// Serves `class` with `work` behind it.
    ///
    /// The `Host` header is not looked at: API Gateway routes by it before a function sees a
    /// request, and on a port every request needs the bearer token, which a page that rebinds a
    /// name to loopback does not have; its `Origin` gives it away as well.
    pub fn new(class: Class, settings: EdgeSettings, work: W) -> Self {
        let server = Server::new(work, settings.catalog_ttl_seconds);
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_sse_keep_alive(None)
            .with_sse_retry(None)
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_max_request_body_bytes(usize::MAX);
        Self {
            class,
            settings: Arc::new(settings),
            service: StreamableHttpService::new(
                move || Ok(server.clone()),
                Arc::new(NeverSessionManager::default()),
                config,
            ),
        }
    }

    /// Answers one request; never fails and never panics on its input.
    ///
    /// Time spent waiting for a session stands as a [`Duration`] among the extensions of the
    /// answer; the method and the tool are recorded as `mcp_method` and `tool` of the current span.
    /// Dropping the future or the body stops a wait; what a call has recorded stays recorded.
    pub async fn handle(
        &self,
        request: Request<Bytes>,
        principal: Option<Principal>,
    ) -> Response<Body> {
        let origin = request.headers().get(ORIGIN).cloned();
        if let Some(origin) = &origin
            && !self.allows(origin)
        {
            return error_response(
                StatusCode::FORBIDDEN,
                &Value::Null,
                INVALID_REQUEST,
                "this Origin may not call; SHANNON_ALLOWED_ORIGINS lists those that may",
            );
        }
        let mut response = self.answer_allowed(request, principal).await;
        if let Some(origin) = origin {
            let headers = response.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(VARY, HeaderValue::from_static("origin"));
        }
        response
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        origin.to_str().is_ok_and(|origin| {
            self.settings
                .allowed_origins
                .iter()
                .any(|allowed| allowed.trim_end_matches('/').eq_ignore_ascii_case(origin))
        })
    }

    async fn answer_allowed(
        &self,
        request: Request<Bytes>,
        principal: Option<Principal>,
    ) -> Response<Body> {
        let Some(principal) = principal else {
            let mut refused = error_response(
                StatusCode::UNAUTHORIZED,
                &Value::Null,
                INVALID_REQUEST,
                "the request carries no valid bearer token",
            );
            refused
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return refused;
        };
        let started = Instant::now();
        let checked = match check(self.class, self.settings.max_request_body_bytes, request) {
            Front::Request(checked) => *checked,
            Front::Notification => {
                let mut accepted = Response::new(crate::answer::full(Bytes::new()));
                *accepted.status_mut() = StatusCode::ACCEPTED;
                return accepted;
            }
            Front::Refused(refused) => return refused,
        };
        let span = tracing::Span::current();
        span.record("mcp_method", checked.method.as_str());
        if let Some(tool) = &checked.tool {
            span.record("tool", tool.as_str());
        }
        let waits = checked
            .tool
            .as_deref()
            .is_some_and(|tool| WAITING_TOOLS.contains(&tool));
        let back = Back {
            id: checked.id,
            method: checked.method,
            server_info: checked.modern.then(server_info),
            keep_alive: Duration::from_secs(self.settings.keep_alive_seconds),
            // A second is left to say so before the platform ends the function.
            deadline: started
                + Duration::from_secs(self.settings.longest_seconds.saturating_sub(1).max(1)),
        };
        let mut request = checked.request.map(Full::new);
        request.extensions_mut().insert(principal);
        let service = self.service.clone();
        let serving = Box::pin(async move { service.handle(request).await });
        let mut response = back.answer(serving).await;
        if waits {
            response.extensions_mut().insert(started.elapsed());
        }
        response
    }
}
