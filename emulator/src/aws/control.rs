//! Routes of the endpoint that AWS does not have: the counted calls and what was published, for whoever has
//! the development token, and hooks for tests. Only for callers that mean this machine: a web page that reaches us
//! through a name of its own is refused.

use axum::{
    Json,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::{
    calls::Calls,
    events::EventBus,
    faults::{Faults, PlannedFault},
    messages::Messages,
    permissions::Permissions,
};
use crate::token;

/// Bodies of these routes are small.
const BODY_BYTES: usize = 64 * 1024;

/// What the routes work on. Cheap to clone.
#[derive(Clone)]
pub(super) struct Control {
    pub(super) calls: Calls,
    pub(super) faults: Faults,
    pub(super) bus: EventBus,
    pub(super) messages: Messages,
    pub(super) permissions: Permissions,
    /// SHA-256 of the token that may read calls and messages.
    pub(super) reader: String,
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}

impl Control {
    /// Answers a request below `/_emulator/`; `path` is what follows.
    pub(super) async fn answer(&self, path: &str, request: Request) -> Response {
        if !names_this_machine(&request) {
            return refuse(
                StatusCode::FORBIDDEN,
                "the Host header does not name this machine",
            );
        }
        match (request.method(), path) {
            (_, "calls" | "messages" | "permissions") if !self.may_read(&request) => refuse(
                StatusCode::UNAUTHORIZED,
                "calls, messages and permissions need the development token: Authorization: Bearer <token>",
            ),
            (&Method::GET, "messages") => match self.messages.all() {
                Ok(messages) => Json(json!({ "messages": messages })).into_response(),
                Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
            },
            (_, "messages") => refuse(StatusCode::METHOD_NOT_ALLOWED, "messages can only be read"),
            (&Method::GET, "calls") => Json(json!({ "calls": self.calls.all() })).into_response(),
            (_, "calls") => refuse(StatusCode::METHOD_NOT_ALLOWED, "calls can only be read"),
            (&Method::GET, "permissions") => match self.permissions.recorded() {
                Some(recorded) => Json(json!({ "requests": recorded })).into_response(),
                None => refuse(
                    StatusCode::NOT_FOUND,
                    "requests are remembered only when the emulator is started with test hooks",
                ),
            },
            (_, "permissions") => refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "permissions can only be read",
            ),
            _ if !self.faults.enabled() => refuse(
                StatusCode::NOT_FOUND,
                "no such route; test hooks exist only when the emulator is started with them",
            ),
            (&Method::POST, "faults") => self.plan(request.into_body()).await,
            (&Method::POST, path) => match path.strip_prefix("schedules/") {
                Some(function) => match self.bus.fire(function).await {
                    0 => refuse(StatusCode::NOT_FOUND, "this function has no schedule"),
                    fired => Json(json!({ "fired": fired })).into_response(),
                },
                None => refuse(StatusCode::NOT_FOUND, "no such route"),
            },
            _ => refuse(StatusCode::NOT_FOUND, "no such route"),
        }
    }

    /// Hashes are compared, so that the time it takes says nothing about the token.
    fn may_read(&self, request: &Request) -> bool {
        request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .is_some_and(|token| token::sha256_hex(token.trim()) == self.reader)
    }

    async fn plan(&self, body: Body) -> Response {
        let Ok(bytes) = axum::body::to_bytes(body, BODY_BYTES).await else {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the fault could not be read");
        };
        let fault = match serde_json::from_slice::<PlannedFault>(&bytes) {
            Ok(fault) => fault,
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        if !["dynamodb", "s3", "ecs", "sns", "ssm", "sts"].contains(&fault.service.as_str()) {
            return refuse(
                StatusCode::BAD_REQUEST,
                "service has to be dynamodb, s3, ecs, sns, ssm or sts",
            );
        }
        let answer: Json<Value> = Json(json!({ "planned": fault }));
        self.faults.plan(fault);
        answer.into_response()
    }
}

fn names_this_machine(request: &Request) -> bool {
    let Some(host) = request
        .headers()
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost"
        || name
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
