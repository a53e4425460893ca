//! The first look at a request of either era: HTTP, JSON, JSON-RPC, the request class. After this
//! it is one JSON-RPC request: a modern one fully checked, one of the initialize era in the form
//! that rmcp's HTTP layer expects (it refuses with plain text, and knows no classes).

use bytes::Bytes;
use domain::Principal;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use rmcp::model::JsonObject;
use serde_json::Value;

use crate::Class;
use crate::answer::{
    Body, HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR,
    error_response, json_bytes_response,
};
use crate::trace::TraceParent;
use crate::{headers, modern, rendered};

/// Characters of a name that logs show: clients can send any.
const NAME_SHOWN: usize = 128;

/// A request that may be served.
#[derive(Debug)]
pub(crate) struct Checked {
    /// JSON-RPC id.
    pub(crate) id: Value,
    /// JSON-RPC method.
    pub(crate) method: String,
    /// As [`record_request`] gives it.
    pub(crate) name: Option<String>,
    /// The rest, by era.
    pub(crate) era: Era,
}

/// Says in the current span who calls, before anything can refuse.
pub(crate) fn record_principal(principal: &Principal) {
    tracing::Span::current().record("principal", principal.owner.as_str());
}

/// Names the request in the current span as soon as it can be read, so that a refusal has it too.
/// Gives what it names: a tool, a prompt, a resource, a task.
pub(crate) fn record_request(
    headers: &HeaderMap,
    method: &str,
    parameters: Option<&Value>,
) -> Option<String> {
    let span = tracing::Span::current();
    // One that does not exist may be as long as the body.
    span.record("mcp_method", &method[..method.floor_char_boundary(64)]);
    let name: Option<String> = headers::name_parameter(method)
        .and_then(|parameter| parameters?.get(parameter))
        .and_then(Value::as_str)
        .map(|name| name.chars().take(NAME_SHOWN).collect());
    if let Some(name) = &name {
        span.record("mcp_name", name.as_str());
    }
    let meta = parameters.and_then(|parameters| parameters.get("_meta"));
    if let Some(trace) = TraceParent::of(headers, meta) {
        span.record("trace_id", trace.trace_id.as_str());
        span.record("parent_id", trace.parent_id.as_str());
    }
    name
}

/// The body of a request, parsed: an extension of a request that somebody read before.
#[derive(Clone)]
pub(crate) struct Parsed(pub(crate) Value);

/// By whose rules a request is served.
#[derive(Debug)]
pub(crate) enum Era {
    /// 2026-07-28 and later.
    Modern(Box<modern::Request>, HeaderMap),
    /// The initialize era, with normalised headers; the body is what was checked, written again.
    Legacy(Request<Bytes>),
}

/// What the front decides.
pub(crate) enum Front {
    /// Go on.
    Request(Box<Checked>),
    /// Notifications change nothing here: requests are not tied to each other, and a client that
    /// stops waiting closes its connection.
    Notification,
    /// Answered already.
    Refused(Response<Body>),
}

/// Checks a request of this class.
pub(crate) fn check(class: Class, max_body_bytes: usize, request: Request<Bytes>) -> Front {
    match read(class, max_body_bytes, request) {
        Ok(front) => front,
        Err(refused) => Front::Refused(*refused),
    }
}

type Refusal = Box<Response<Body>>;

fn refuse<T>(status: StatusCode, id: &Value, code: i64, message: &str) -> Result<T, Refusal> {
    Err(Box::new(error_response(status, id, code, message)))
}

fn read(
    class: Class,
    max_body_bytes: usize,
    mut request: Request<Bytes>,
) -> Result<Front, Refusal> {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    let none = Value::Null;
    if request.method() != Method::POST {
        let mut refused = error_response(
            StatusCode::METHOD_NOT_ALLOWED,
            &none,
            INVALID_REQUEST,
            "only POST is served here: there are no streams to resume and no sessions to delete",
        );
        refused
            .headers_mut()
            .insert(http::header::ALLOW, HeaderValue::from_static("POST"));
        return Err(Box::new(refused));
    }
    if !is_json(request.headers()) {
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            &none,
            INVALID_REQUEST,
            "Content-Type must be application/json",
        );
    }
    if !accepts(request.headers()) {
        return refuse(
            StatusCode::NOT_ACCEPTABLE,
            &none,
            INVALID_REQUEST,
            "Accept must allow application/json or text/event-stream",
        );
    }
    if request.body().len() > max_body_bytes {
        let message = format!(
            "the request has {} bytes and may have {max_body_bytes}; send files with create_upload",
            request.body().len()
        );
        return refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            &none,
            INVALID_REQUEST,
            &message,
        );
    }
    let parsed = match request.extensions_mut().remove::<Parsed>() {
        Some(Parsed(message)) => Ok(message),
        None => serde_json::from_slice(request.body()),
    };
    let message: Value = match parsed {
        Ok(message) => message,
        Err(_) if request.body().is_empty() => {
            return refuse(
                BAD,
                &none,
                PARSE_ERROR,
                "the body is empty; send one JSON-RPC request",
            );
        }
        // The parser's own words quote the input; line and column are enough to find the fault.
        Err(error) => {
            let message = format!(
                "the body is no JSON: line {}, column {}",
                error.line(),
                error.column()
            );
            return refuse(BAD, &none, PARSE_ERROR, &message);
        }
    };
    let mut object = match message {
        Value::Object(object) => object,
        Value::Array(_) => {
            return refuse(
                BAD,
                &none,
                INVALID_REQUEST,
                "batches are not served; send one request at a time",
            );
        }
        _ => {
            return refuse(
                BAD,
                &none,
                INVALID_REQUEST,
                "a JSON-RPC request is an object",
            );
        }
    };
    let id = match object.get("id") {
        None => None,
        Some(id @ Value::String(_)) => Some(id.clone()),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
            Some(Value::Number(number.clone()))
        }
        Some(_) => {
            return refuse(
                BAD,
                &none,
                INVALID_REQUEST,
                "id must be a string or a whole number",
            );
        }
    };
    let shown = id.clone().unwrap_or(Value::Null);
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return refuse(BAD, &shown, INVALID_REQUEST, "jsonrpc must be \"2.0\"");
    }
    let Some(method) = object.get("method").and_then(Value::as_str) else {
        return refuse(
            BAD,
            &shown,
            INVALID_REQUEST,
            "method is missing; this server asks nothing, so it takes no JSON-RPC responses",
        );
    };
    let method = method.to_owned();
    let parameters = object.get("params");
    let name = record_request(request.headers(), &method, parameters);
    let Some(id) = id else {
        return Ok(Front::Notification);
    };
    if !class.serves(&method) {
        // A header that says something else is why it came here, and that is what to mend. One that
        // is missing led to no class.
        if modern::claims(request.headers(), &method, parameters)
            && request.headers().contains_key("mcp-method")
            && let Err(mismatch) = headers::check_method(request.headers(), &method)
        {
            return refuse(BAD, &id, HEADER_MISMATCH, &mismatch);
        }
        let message = format!(
            "{method} is not served at /mcp/{}; send it to /mcp",
            class.as_str()
        );
        return refuse(StatusCode::NOT_FOUND, &id, METHOD_NOT_FOUND, &message);
    }
    if parameters.is_some_and(|parameters| !parameters.is_object()) {
        return refuse(BAD, &id, INVALID_PARAMS, "params must be an object");
    }
    if method == "tools/call" {
        if name.is_none() {
            return refuse(BAD, &id, INVALID_PARAMS, "params.name must name a tool");
        }
        let arguments = parameters.and_then(|parameters| parameters.get("arguments"));
        if arguments.is_some_and(|arguments| !arguments.is_object()) {
            return refuse(
                BAD,
                &id,
                INVALID_PARAMS,
                "params.arguments must be an object",
            );
        }
    }
    // Only that class serves both eras; what came to another by itself is told what it lacks.
    if class != Class::Legacy || modern::claims(request.headers(), &method, parameters) {
        let params = match object.shift_remove("params") {
            Some(Value::Object(params)) => params,
            _ => JsonObject::new(),
        };
        let headers = std::mem::take(request.headers_mut());
        return match modern::check(&headers, &id, method.clone(), params) {
            Ok(request) => Ok(Front::Request(Box::new(Checked {
                id,
                method,
                name,
                era: Era::Modern(Box::new(request), headers),
            }))),
            Err((status, error)) => {
                let refused = rendered::error(&id, error);
                Err(Box::new(json_bytes_response(status, refused.message)))
            }
        };
    }
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        ACCEPT,
        HeaderValue::from_static("application/json, text/event-stream"),
    );
    // rmcp wants one; [`crate::Edge`] has looked at the client's own.
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    // Written again, so that rmcp reads what was checked: of a name that comes twice we took the last.
    *request.body_mut() = Bytes::from(Value::Object(object).to_string());
    Ok(Front::Request(Box::new(Checked {
        id,
        method,
        name,
        era: Era::Legacy(request),
    })))
}

/// The type's case does not matter, and parameters may follow it.
fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Clients must accept both kinds of answers; those that say less (or nothing) get what they can
/// read in practice. Only a client that names neither is refused.
fn accepts(headers: &HeaderMap) -> bool {
    const KINDS: [&str; 5] = [
        "*/*",
        "application/*",
        "application/json",
        "text/*",
        "text/event-stream",
    ];
    let mut named = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .peekable();
    named.peek().is_none()
        || named.any(|range| KINDS.iter().any(|kind| range.eq_ignore_ascii_case(kind)))
}
