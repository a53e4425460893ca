//! What a function answered, as the response to the client.

use std::{io, time::Duration};

use axum::{body::Body, response::Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::refusal::Refusal;
use crate::lambda::{Outcome, ResponseStream};

/// What separates the prelude of a streaming response from its payload.
const SEPARATOR: [u8; 8] = [0; 8];
/// A prelude is status and headers: more than this is none.
const MAX_PRELUDE_BYTES: usize = 64 * 1024;

/// Headers of a function's response that API Gateway gives another name, so that its own stand.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html>
const REMAPPED: &[&str] = &[
    "connection",
    "content-length",
    "date",
    "host",
    "server",
    "user-agent",
    "www-authenticate",
];
/// Headers that are lost.
const DROPPED: &[&str] = &[
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The response of a buffered integration.
pub(super) async fn buffered(outcome: Outcome) -> Result<Response, Refusal> {
    let body = match outcome {
        Outcome::Buffered(body) => body,
        // Invoke collects a streaming function's response, prelude included, which is no JSON.
        Outcome::Streaming(stream) => stream.collect().await.map_err(|_| Refusal::BadGateway)?,
        Outcome::Failed(_) => return Err(Refusal::BadGateway),
    };
    let answer: Value = serde_json::from_slice(&body).map_err(|_| Refusal::BadGateway)?;
    let body = match &answer["body"] {
        Value::Null => String::new(),
        // Without binary media types the text of a base64 body is what the client gets.
        Value::String(body) => body.clone(),
        _ => return Err(Refusal::BadGateway),
    };
    build(&answer, Body::from(body))
}

/// The response of a streaming integration: its head as soon as the function has written it, then
/// each piece when it comes, until `end`, until nothing came for `silent`, or until the payload would
/// be more than `longest` bytes.
pub(super) async fn streaming(
    outcome: Outcome,
    end: Instant,
    silent: Duration,
    longest: usize,
) -> Result<Response, Refusal> {
    let Outcome::Streaming(mut stream) = outcome else {
        // A function that does not stream gives no prelude.
        return Err(Refusal::BadGateway);
    };
    let (prelude, first) = timeout_at(end, read_prelude(&mut stream))
        .await
        .map_err(|_| Refusal::TimedOut)??;
    let answer: Value = serde_json::from_slice(&prelude).map_err(|_| Refusal::BadGateway)?;
    let state = Some((Some(first).filter(|first| !first.is_empty()), stream, 0));
    let pieces = stream::unfold(state, move |state| async move {
        let (first, mut stream, sent) = state?;
        let limit = end.min(Instant::now() + silent);
        let next = match first {
            Some(first) => Ok(Some(Ok(first))),
            None => timeout_at(limit, stream.next()).await,
        };
        match next {
            Ok(Some(Ok(piece))) if sent + piece.len() > longest => {
                let error = io::Error::other(format!("the stream is longer than {longest} bytes"));
                Some((Err(error), None))
            }
            Ok(Some(Ok(piece))) => {
                let sent = sent + piece.len();
                Some((Ok(piece), Some((None, stream, sent))))
            }
            Ok(None) => None,
            // An error cuts the connection, which is what the client of AWS sees.
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Err(_) => Some((Err(io::Error::from(io::ErrorKind::TimedOut)), None)),
        }
    });
    build(&answer, Body::from_stream(pieces))
}

/// Reads up to the separator, wherever the pieces begin and end.
async fn read_prelude(stream: &mut ResponseStream) -> Result<(Bytes, Bytes), Refusal> {
    let mut read = BytesMut::new();
    let mut searched = 0;
    loop {
        let found = read[searched..]
            .windows(SEPARATOR.len())
            .position(|window| window == SEPARATOR);
        if let Some(position) = found {
            let prelude = read.split_to(searched + position).freeze();
            let payload = read.split_off(SEPARATOR.len()).freeze();
            return Ok((prelude, payload));
        }
        // The separator may have begun in what was read.
        searched = read.len().saturating_sub(SEPARATOR.len() - 1);
        if read.len() > MAX_PRELUDE_BYTES {
            return Err(Refusal::BadGateway);
        }
        match stream.next().await {
            Some(Ok(piece)) => read.extend_from_slice(&piece),
            Some(Err(_)) | None => return Err(Refusal::BadGateway),
        }
    }
}

fn build(answer: &Value, body: Body) -> Result<Response, Refusal> {
    let status = match &answer["statusCode"] {
        Value::Number(status) => status.as_u64(),
        Value::String(status) => status.parse().ok(),
        _ => None,
    };
    let status = status
        .and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok())
        .ok_or(Refusal::BadGateway)?;
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let multiple = answer["multiValueHeaders"].as_object();
    for (name, values) in multiple.into_iter().flatten() {
        add(headers, name, values)?;
    }
    for (name, value) in answer["headers"].as_object().into_iter().flatten() {
        // Named in both: the list has it already.
        if !multiple.is_some_and(|multiple| multiple.contains_key(name)) {
            add(headers, name, value)?;
        }
    }
    for cookie in answer["cookies"].as_array().into_iter().flatten() {
        add(headers, header::SET_COOKIE.as_str(), cookie)?;
    }
    headers
        .entry(header::CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/json"));
    Ok(response)
}

fn add(headers: &mut HeaderMap, name: &str, value: &Value) -> Result<(), Refusal> {
    let lower = name.to_lowercase();
    if DROPPED.contains(&lower.as_str()) {
        return Ok(());
    }
    let name = if REMAPPED.contains(&lower.as_str()) {
        format!("x-amzn-remapped-{lower}")
    } else {
        lower
    };
    let name = HeaderName::try_from(name).map_err(|_| Refusal::BadGateway)?;
    let values = match value {
        Value::Array(values) => values.as_slice(),
        value => std::slice::from_ref(value),
    };
    for value in values {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            _ => return Err(Refusal::BadGateway),
        };
        let value = HeaderValue::try_from(text).map_err(|_| Refusal::BadGateway)?;
        headers.append(name.clone(), value);
    }
    Ok(())
}
