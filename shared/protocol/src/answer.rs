//! Answers that are made here and not by rmcp: JSON-RPC errors with their HTTP status.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

/// The body of an answer: one piece or a stream of server-sent events. It cannot fail: an error
/// inside a stream is an event.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// JSON-RPC: the body is no JSON.
pub(crate) const PARSE_ERROR: i64 = -32700;
/// JSON-RPC: the JSON is no request.
pub(crate) const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC: no such method, or not here.
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC: the parameters are wrong.
pub(crate) const INVALID_PARAMS: i64 = -32602;
/// Headers and body disagree (MCP 2026-07-28).
pub(crate) const HEADER_MISMATCH: i64 = -32020;
/// JSON-RPC: our fault.
pub(crate) const INTERNAL_ERROR: i64 = -32603;

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

pub(crate) fn json_response(status: StatusCode, value: &Value) -> Response<Body> {
    json_bytes_response(status, Bytes::from(value.to_string()))
}

/// An answer that is JSON already.
pub(crate) fn json_bytes_response(status: StatusCode, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The JSON-RPC message of an error; `id` is null when the request's could not be read.
pub(crate) fn error_message(id: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

pub(crate) fn error_response(
    status: StatusCode,
    id: &Value,
    code: i64,
    message: &str,
) -> Response<Body> {
    json_response(status, &error_message(id, code, message))
}
