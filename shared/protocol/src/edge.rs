//! One request class, from an HTTP request to an HTTP answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::Principal;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST,
    ORIGIN, VARY,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::answer::{Body, INVALID_REQUEST, error_response, json_bytes_response};
use crate::asked::{Asked, Notices};
use crate::back::{Back, Source};
use crate::front::{Checked, Era, Front, check, record_principal};
use crate::legacy::{Alone, Bridge, ClientPorts, ClientSessionSettings, NoSessions, Sessioned};
use crate::modern::{Shared, Sharing};
use crate::rates::{Held, Limiter, Unlimited, holding, is_stream};
use crate::work::Work;
use crate::{Class, EdgeSettings};

/// Serves one class. Cheap to clone; holds nothing of any request.
pub struct Edge<W: Work, E = NoSessions, L = Unlimited> {
    class: Class,
    settings: Arc<EdgeSettings>,
    shared: Sharing<W>,
    /// The initialize era.
    sessioned: E,
    limiter: L,
}

impl<W: Work, E: Clone, L: Clone> Clone for Edge<W, E, L> {
    fn clone(&self) -> Self {
        Self {
            class: self.class,
            settings: Arc::clone(&self.settings),
            shared: Sharing::clone(&self.shared),
            sessioned: self.sessioned.clone(),
            limiter: self.limiter.clone(),
        }
    }
}

/// What a page may read of an answer.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "mcp-session-id, www-authenticate, retry-after, x-ratelimit-limit, x-ratelimit-remaining, \
     x-ratelimit-reset",
);
/// What a page may send: what clients of either era do.
const SENT: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, accept, last-event-id, mcp-method, mcp-name, \
     mcp-protocol-version, mcp-session-id, traceparent",
);
const METHODS: HeaderValue = HeaderValue::from_static("POST, GET, DELETE");
/// How long a browser need not ask again, in seconds. Own: as long as Chromium remembers.
const ASKED_FOR_SECONDS: HeaderValue = HeaderValue::from_static("7200");

/// What of a message is needed before it is checked; everything else is passed over.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Glance {
    id: Value,
    method: String,
    params: GlanceAtParameters,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GlanceAtParameters {
    name: String,
}

impl Glance {
    /// Of what is no such message, nothing: whoever reads it will say why.
    fn at(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }
}

fn is_preflight(request: &Request<Bytes>) -> bool {
    *request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response<Body> {
    let mut response = Response::new(crate::answer::full(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, SENT);
    headers.insert(ACCESS_CONTROL_MAX_AGE, ASKED_FOR_SECONDS);
    response
}

impl<W: Work> Edge<W> {
    /// Serves `class` with `work` behind it, to clients of the modern era.
    pub fn new(class: Class, settings: EdgeSettings, work: W) -> Self {
        let shared = Sharing::new(Shared::new(work, &settings));
        Self::over(class, settings, shared, NoSessions)
    }
}

impl<W: Work> Edge<W, Alone<W>> {
    /// Serves `class`; where that is [`Class::Legacy`], each request of the initialize era by itself.
    pub fn alone(class: Class, settings: EdgeSettings, work: W) -> Self {
        let shared = Sharing::new(Shared::new(work, &settings));
        let alone = Alone::new(Sharing::clone(&shared));
        Self::over(class, settings, shared, alone)
    }
}

impl<W: Work, P: ClientPorts> Edge<W, Bridge<W, P>> {
    /// Serves [`Class::Legacy`], the sessions of its clients included, which `ports` keep.
    pub fn bridged(
        settings: EdgeSettings,
        sessions: ClientSessionSettings,
        work: W,
        ports: P,
    ) -> Self {
        let shared = Sharing::new(Shared::new(work, &settings));
        let bridge = Bridge::new(Sharing::clone(&shared), ports, &settings, sessions);
        Self::over(Class::Legacy, settings, shared, bridge)
    }
}

impl<W: Work, E: Sessioned> Edge<W, E> {
    fn over(class: Class, settings: EdgeSettings, shared: Sharing<W>, sessioned: E) -> Self {
        Self {
            class,
            settings: Arc::new(settings),
            shared,
            sessioned,
            limiter: Unlimited,
        }
    }

    /// The same, with requests and streams of each principal counted.
    pub fn limited<L: Limiter>(self, limiter: L) -> Edge<W, E, L> {
        Edge {
            class: self.class,
            settings: self.settings,
            shared: self.shared,
            sessioned: self.sessioned,
            limiter,
        }
    }
}

impl<W: Work, E: Sessioned, L: Limiter> Edge<W, E, L> {
    /// Answers one request; never fails and never panics on its input.
    ///
    /// Time spent waiting for something to happen stands as a [`Duration`] among the extensions of
    /// the answer; `mcp_method`, `mcp_name`, `principal`, `trace_id` and `parent_id` are recorded in
    /// the current span.
    /// Dropping the future or the body stops a wait; what a call has recorded stays recorded.
    pub async fn handle(
        &self,
        request: Request<Bytes>,
        principal: Option<Principal>,
    ) -> Response<Body> {
        if let Some(principal) = &principal {
            record_principal(principal);
        }
        if !self.allows_host(&request) {
            return error_response(
                StatusCode::FORBIDDEN,
                &Value::Null,
                INVALID_REQUEST,
                "this Host is not served; SHANNON_ALLOWED_HOSTS lists those that are",
            );
        }
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
        let Some(origin) = origin else {
            return self.answer_allowed(request, principal).await;
        };
        // A browser asks first, and has no token when it does.
        let mut response = if is_preflight(&request) {
            preflight()
        } else {
            self.answer_allowed(request, principal).await
        };
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        headers.insert(VARY, HeaderValue::from_static("origin"));
        response
    }

    /// Without a list every host is served: API Gateway routes by it before a function sees a
    /// request, and on a port every request needs the bearer token, which a page that rebinds a
    /// name to loopback does not have; its `Origin` gives it away as well.
    fn allows_host(&self, request: &Request<Bytes>) -> bool {
        let allowed = &self.settings.allowed_hosts;
        if allowed.is_empty() {
            return true;
        }
        let mut hosts = request.headers().get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let Some(host) = host.to_str().ok().map(str::to_ascii_lowercase) else {
            return false;
        };
        // With or without the port; the colons of an IPv6 address stand in brackets.
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => &host,
        };
        allowed.iter().any(|allowed| {
            allowed.eq_ignore_ascii_case(&host) || allowed.eq_ignore_ascii_case(name)
        })
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
            return self.shared.challenges.unauthenticated();
        };
        let owner = principal.owner.clone();
        let standing = match self.limiter.request(&owner).await {
            Ok(standing) => standing,
            Err(refused) => return refused.response(&Glance::at(request.body()).id),
        };
        let mut held = None;
        if let Some(id) = self.will_stream(&request) {
            match self.limiter.stream(&owner).await {
                Ok(place) => held = place,
                Err(refused) => return refused.response(&id),
            }
        }
        let mut response = self.answer_known(request, principal).await;
        if let Some(standing) = standing {
            standing.tell(response.headers_mut());
        }
        if is_stream(&response) && self.streams() {
            if held.is_none() {
                held = self.limiter.begun_stream(&owner).await;
            }
            return match held {
                Some(held) => holding(response, held),
                None => response,
            };
        }
        if let Some(held) = held {
            held.free().await;
        }
        response
    }

    /// Whether answers of this class may be streams for long.
    const fn streams(&self) -> bool {
        matches!(
            self.class,
            Class::Read | Class::Call | Class::Listen | Class::Legacy
        )
    }

    /// Whether it is known beforehand that the answer will be a stream, or will take long; then the
    /// JSON-RPC id.
    fn will_stream(&self, request: &Request<Bytes>) -> Option<Value> {
        match (self.class, request.method()) {
            (Class::Legacy, &Method::GET) => Some(Value::Null),
            (Class::Call | Class::Listen | Class::Legacy, &Method::POST) => {
                let glance = Glance::at(request.body());
                let listens = glance.method == "subscriptions/listen";
                let waits =
                    glance.method == "tools/call" && self.shared.tool_waits(&glance.params.name);
                (listens || waits).then_some(glance.id)
            }
            _ => None,
        }
    }

    async fn answer_known(&self, request: Request<Bytes>, principal: Principal) -> Response<Body> {
        let request = match self.sessioned.serve(request, &principal).await {
            Ok(answered) => return answered,
            Err(request) => *request,
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
        if let Some(refused) = self.shared.refusal(&checked, &principal) {
            return refused;
        }
        if let Era::Modern(request, _) = &checked.era
            && let Some(rendered) = self.shared.rendered(request, &principal)
        {
            return json_bytes_response(rendered.status, rendered.message);
        }
        let waits = self.shared.waits(&checked);
        let Checked {
            id, method, era, ..
        } = checked;
        let back = Back {
            id,
            method,
            keep_alive: Duration::from_secs(self.settings.keep_alive_seconds),
            // A second is left to say so before the platform ends the function.
            deadline: started
                + Duration::from_secs(self.settings.longest_seconds.saturating_sub(1).max(1)),
        };
        let Some(source) = self.source(era, principal) else {
            let message = format!(
                "only MCP {} is served here; send it to /mcp",
                crate::modern::FIRST
            );
            return error_response(StatusCode::BAD_REQUEST, &back.id, INVALID_REQUEST, &message);
        };
        let mut response = back.answer(source).await;
        if waits {
            response.extensions_mut().insert(started.elapsed());
        }
        response
    }

    /// The work of one request; nothing of it has begun. `None` where its era is not served.
    fn source(&self, era: Era, principal: Principal) -> Option<Source> {
        match era {
            Era::Modern(request, headers) => {
                let (notices, heard) = Notices::stream();
                let asked = Asked {
                    principal,
                    modern: true,
                    capabilities: request.capabilities.clone(),
                    meta: request.meta.clone(),
                    notices,
                    peer: None,
                };
                let shared = Sharing::clone(&self.shared);
                let work = Box::pin(async move { shared.serve(&headers, *request, asked).await });
                Some(Source::Modern { work, heard })
            }
            Era::Legacy(request) => self.sessioned.alone(request, principal).map(Source::Legacy),
        }
    }
}
