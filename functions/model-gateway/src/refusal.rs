//! Errors in the shape of the Messages API (<https://docs.anthropic.com/en/api/errors>), so that the
//! CLI treats them as it treats the API's own: 403 ends the turn at once, 5xx is tried again.

use boot::http::{Body, json_response};
use http::{Response, StatusCode};
use serde_json::{Value, json};

/// Why a request is not forwarded, or got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No session token, a wrong one, or one of a session that has another runner or has ended.
    /// Not 401: the CLI would try that for three minutes.
    NotAllowed,
    /// The upstream refused our own key.
    KeyRefused,
    /// No such path here.
    NoSuchPath,
    /// Not POST.
    NotPost,
    /// The body is neither in the request nor where the request says.
    NoBody,
    /// The body does not say which host.
    NoHost,
    /// The token that is stored for the host is not there any more.
    TokenGone,
    /// The session's records cannot be read right now.
    RecordsUnavailable,
    /// The upstream cannot be reached, or broke off.
    Unreachable,
    /// The upstream took too long.
    TooSlow,
}

impl Refusal {
    const fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::NotAllowed => (
                403,
                "permission_error",
                "the session token is not valid: the session has ended, has another runner, or the token has expired",
            ),
            Self::KeyRefused => (
                403,
                "permission_error",
                "the model API refused the key of this deployment; its owner should check SHANNON_ANTHROPIC_API_KEY",
            ),
            Self::NoSuchPath => (
                404,
                "not_found_error",
                "only v1/messages and v1/messages/count_tokens are forwarded",
            ),
            Self::NotPost => (405, "invalid_request_error", "only POST is forwarded"),
            Self::NoBody => (
                400,
                "invalid_request_error",
                "the request has no body, and x-shannon-body-object names no object of this session",
            ),
            Self::NoHost => (
                400,
                "invalid_request_error",
                "the body must be {\"host\": \"HOST\"}, the host of the session's repository",
            ),
            Self::TokenGone => (
                410,
                "not_found_error",
                "the token that was stored for this host is gone; store it again (git-credential set)",
            ),
            Self::RecordsUnavailable => (
                529,
                "overloaded_error",
                "the session's records could not be read; try again",
            ),
            Self::Unreachable => (
                502,
                "api_error",
                "the model API could not be reached or broke off; try again",
            ),
            Self::TooSlow => (
                504,
                "timeout_error",
                "the model API took longer than SHANNON_MODEL_TIMEOUT_SECONDS; try again",
            ),
        }
    }

    pub(crate) fn json(self) -> Value {
        let (_, kind, message) = self.parts();
        json!({"type": "error", "error": {"type": kind, "message": message}})
    }

    pub(crate) fn response(self) -> Response<Body> {
        let status = StatusCode::from_u16(self.parts().0);
        // 529 is a status all the same; `from_u16` takes 100 to 999.
        json_response(status.unwrap_or(StatusCode::BAD_GATEWAY), &self.json())
    }

    /// The same inside a stream that has begun.
    pub(crate) fn event(self) -> String {
        format!("event: error\ndata: {}\n\n", self.json())
    }
}
