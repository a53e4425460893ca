//! One request of the CLI, brought to the gateway and its answer back, both as streams.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::RelayOptions;
use super::assemble::{Assembled, assemble};
use super::token::SessionToken;
use crate::objects::SessionObjects;

/// Above this a body travels through the bucket: API Gateway hands a function at most 6 MB, base64
/// and wrapping included (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
const BODY_BY_REFERENCE_BYTES: usize = 4 * 1024 * 1024;

/// Names the object that holds the body, within the session's part of the bucket.
const BODY_OBJECT: HeaderName = HeaderName::from_static("x-shannon-body-object");

pub(super) struct Forward<O> {
    client: reqwest::Client,
    gateway_url: String,
    model_timeout: Duration,
    token: SessionToken,
    objects: O,
}

impl<O: SessionObjects> Forward<O> {
    pub(super) fn new(
        client: reqwest::Client,
        options: &RelayOptions,
        token: SessionToken,
        objects: O,
    ) -> Self {
        Self {
            client,
            gateway_url: options.gateway_url.clone(),
            model_timeout: options.model_timeout,
            token,
            objects,
        }
    }

    /// Sends the request and gives the answer. Cut by a CLI that goes away, the gateway's answer
    /// is dropped, which ends the model's work too.
    pub(super) async fn send(&self, parts: &Parts, body: Bytes) -> Response<Body> {
        let counts_tokens = parts.uri.path().ends_with("/count_tokens");
        let (body, streams) = match streaming_form(&body, counts_tokens) {
            Some(changed) => (changed, false),
            None => (body, true),
        };
        let query = parts
            .uri
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        let url = format!("{}/model{}{query}", self.gateway_url, parts.uri.path());
        let (body, reference) = match self.by_reference(body).await {
            Ok(both) => both,
            Err(answer) => return answer,
        };
        let headers = passed_on(&parts.headers, reference.as_deref());
        let mut answer = self.ask(&url, &headers, body.clone()).await;
        if answer
            .as_ref()
            .is_ok_and(|answer| answer.status() == StatusCode::UNAUTHORIZED)
        {
            // The token ran out between two renewals (a machine that slept): once more with a new one.
            match self.token.renew(&self.client, &self.gateway_url).await {
                Ok(()) => answer = self.ask(&url, &headers, body).await,
                Err(error) => tracing::warn!(error, "a refused session token was not renewed"),
            }
        }
        match answer {
            Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED => {
                // The CLI would repeat a 401 for minutes; this one never gets better.
                refusal(
                    StatusCode::FORBIDDEN,
                    "permission_error",
                    "the model gateway refused this session's token",
                )
            }
            Ok(answer) if streams || !answer.status().is_success() => pass_back(answer),
            Ok(answer) => assembled(answer).await,
            Err(reason) => {
                tracing::warn!(reason, "the model gateway was not reached");
                refusal(
                    StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
                    "overloaded_error",
                    "the model gateway cannot be reached; the request is repeated",
                )
            }
        }
    }

    async fn by_reference(&self, body: Bytes) -> Result<(Bytes, Option<String>), Response<Body>> {
        if body.len() <= BODY_BY_REFERENCE_BYTES {
            return Ok((body, None));
        }
        let name = format!("relay/{}.json", uuid::Uuid::new_v4());
        match self.objects.put(&name, body.to_vec()).await {
            Ok(()) => Ok((Bytes::new(), Some(name))),
            Err(error) => {
                tracing::warn!(%error, "a large request was not stored");
                Err(refusal(
                    StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
                    "overloaded_error",
                    "a request over 4 MiB could not be stored on its way; it is repeated",
                ))
            }
        }
    }

    async fn ask(
        &self,
        url: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<reqwest::Response, String> {
        let request = self
            .client
            .post(url)
            .headers(headers.clone())
            .bearer_auth(self.token.current())
            .body(body);
        match tokio::time::timeout(self.model_timeout, request.send()).await {
            Ok(answer) => answer.map_err(|error| error.without_url().to_string()),
            Err(_) => Err(format!(
                "no answer within {} s",
                self.model_timeout.as_secs()
            )),
        }
    }
}

/// The same request as a streaming one, unless it is one already or answers with little anyway. A
/// body that is no JSON object goes on as it is: the API says what is wrong with it.
fn streaming_form(body: &Bytes, counts_tokens: bool) -> Option<Bytes> {
    if counts_tokens {
        return None;
    }
    let mut request: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(body).ok()?;
    if request.get("stream") == Some(&serde_json::Value::Bool(true)) {
        return None;
    }
    request.insert("stream".to_owned(), serde_json::Value::Bool(true));
    serde_json::to_vec(&request).ok().map(Bytes::from)
}

/// What the API may read. Hop-by-hop headers, the relay's secret and encodings stay here.
fn passed_on(headers: &HeaderMap, reference: Option<&str>) -> HeaderMap {
    let wanted = |name: &HeaderName| {
        let name = name.as_str();
        ["anthropic-", "x-claude-", "x-stainless-"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            || ["accept", "content-type", "user-agent", "x-app"].contains(&name)
    };
    let mut passed: HeaderMap = headers
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(value) = reference.and_then(|name| HeaderValue::from_str(name).ok()) {
        passed.insert(BODY_OBJECT, value);
    }
    passed
}

fn answer_headers(headers: &HeaderMap, answer: &mut HeaderMap) {
    for (name, value) in headers {
        let text = name.as_str();
        if text.starts_with("anthropic-")
            || ["content-type", "request-id", "retry-after"].contains(&text)
        {
            answer.insert(name.clone(), value.clone());
        }
    }
}

fn pass_back(answer: reqwest::Response) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    answer_headers(answer.headers(), response.headers_mut());
    // A stream that breaks ends the connection in the middle, and the CLI asks again.
    *response.body_mut() = Body::from_stream(
        answer
            .bytes_stream()
            .map(|piece| piece.map_err(reqwest::Error::without_url)),
    );
    response
}

async fn assembled(answer: reqwest::Response) -> Response<Body> {
    let mut headers = HeaderMap::new();
    answer_headers(answer.headers(), &mut headers);
    let (status, body) = match assemble(answer.bytes_stream()).await {
        Assembled::Message(message) => (StatusCode::OK, message),
        Assembled::Error { status, body } => (status, body),
    };
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An error in the Messages API's own form.
pub(super) fn refusal(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    let body = serde_json::json!({"type": "error", "error": {"type": kind, "message": message}});
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
