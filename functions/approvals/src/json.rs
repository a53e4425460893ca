//! What the addresses for people with a token answer when they do not do it: a JSON object `error` with a
//! code for programs and words for people.

use boot::http::{Body, json_response};
use domain::authorization::MissingScope;
use domain::ports::Unavailable;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

/// An answer, or why there is none.
pub(crate) type Answer = Result<Response<Body>, Box<Response<Body>>>;

pub(crate) fn error(status: StatusCode, error: &Value) -> Box<Response<Body>> {
    Box::new(json_response(status, &json!({ "error": error })))
}

pub(crate) fn refused(status: StatusCode, code: &str, message: &str) -> Box<Response<Body>> {
    error(status, &json!({"code": code, "message": message}))
}

pub(crate) fn nobody() -> Box<Response<Body>> {
    let words = "this needs Authorization: Bearer with a token or an API key of this deployment";
    let mut response = refused(StatusCode::UNAUTHORIZED, "no_token", words);
    let challenge = HeaderValue::from_static("Bearer");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    response
}

pub(crate) fn lacks(missing: &MissingScope) -> Box<Response<Body>> {
    let error_body = json!({
        "code": "insufficient_scope", "message": missing.to_string(), "scope": missing.scope,
    });
    error(StatusCode::FORBIDDEN, &error_body)
}

pub(crate) fn not_allowed(methods: &'static str) -> Box<Response<Body>> {
    let words = format!("this address takes {methods}");
    let mut response = refused(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", &words);
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

/// `what`: as "policies". `again`: what the same request does when it had happened after all.
pub(crate) fn unavailable(what: &str, again: &str, error: &Unavailable) -> Box<Response<Body>> {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        what,
        "records cannot be reached now"
    );
    let words = format!("the {what} cannot be reached now; {again}");
    refused(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &words)
}
