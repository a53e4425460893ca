//! The relay against a gateway of the test's own, over real sockets.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::IntoResponse;
use domain::UploadId;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Relay, RelayOptions, start};
use crate::objects::{DownloadError, PutError, SessionObjects};

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<(String, usize)>>>);

impl SessionObjects for Kept {
    async fn download(&self, _: &UploadId, _: &Path, _: u64) -> Result<u64, DownloadError> {
        Err(DownloadError::Missing)
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), PutError> {
        self.0.lock().unwrap().push((name.to_owned(), bytes.len()));
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Gateway {
    seen: Arc<Mutex<Vec<Value>>>,
    /// Tokens that are refused.
    refused: Arc<Mutex<Vec<String>>>,
}

const STREAM: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\"}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

async fn gateway(State(gateway): State<Gateway>, request: Request) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let token = header("authorization");
    let (path, key, object, beta) = (
        parts.uri.to_string(),
        header("x-api-key"),
        header("x-shannon-body-object"),
        header("anthropic-beta"),
    );
    let renews = path == "/model/session-token";
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    gateway.seen.lock().unwrap().push(json!({
        "path": path, "token": token, "key": key, "object": object, "beta": beta, "stream": body["stream"],
    }));
    if renews {
        return axum::Json(json!({"token": "v1.o.s.1.99999999999999.fresh"})).into_response();
    }
    if gateway.refused.lock().unwrap().contains(&token) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if path.contains("count_tokens") {
        return axum::Json(json!({"input_tokens": 5})).into_response();
    }
    (
        [("content-type", "text/event-stream"), ("request-id", "r1")],
        STREAM,
    )
        .into_response()
}

async fn running(state: &Gateway) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new()
        .fallback(gateway)
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(state.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn relay_to(gateway_url: String, objects: Kept) -> Relay {
    let options = RelayOptions {
        gateway_url,
        session_token: "v1.o.s.1.99999999999999.old".to_owned().into(),
        connect_timeout: Duration::from_secs(1),
        model_timeout: Duration::from_secs(10),
    };
    start(options, objects).await.unwrap()
}

fn ask(relay: &Relay, path: &str, key: &str, body: Value) -> reqwest::RequestBuilder {
    reqwest::Client::new()
        .post(format!("{}{path}", relay.url()))
        .header("x-api-key", key)
        .header("anthropic-beta", "b1")
        .json(&body)
}

#[tokio::test]
async fn a_stream_passes_with_the_token_instead_of_the_secret() {
    let state = Gateway::default();
    let relay = relay_to(running(&state).await, Kept::default()).await;
    let answer = ask(
        &relay,
        "/v1/messages?beta=true",
        relay.secret(),
        json!({"stream": true}),
    )
    .send()
    .await
    .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["request-id"], "r1");
    assert_eq!(answer.text().await.unwrap(), STREAM);
    assert_eq!(
        state.seen.lock().unwrap().as_slice(),
        [json!({
            "path": "/model/v1/messages?beta=true", "token": "Bearer v1.o.s.1.99999999999999.old",
            "key": "", "object": "", "beta": "b1", "stream": true,
        })]
    );
}

#[tokio::test]
async fn a_plain_request_is_streamed_to_the_gateway_and_answered_as_one_message() {
    let state = Gateway::default();
    let relay = relay_to(running(&state).await, Kept::default()).await;
    let answer = ask(&relay, "/v1/messages", relay.secret(), json!({"a": 1}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(
        answer.json::<Value>().await.unwrap(),
        json!({"id": "m", "content": []})
    );
    assert_eq!(state.seen.lock().unwrap()[0]["stream"], true);
    let count = ask(
        &relay,
        "/v1/messages/count_tokens",
        relay.secret(),
        json!({}),
    )
    .send()
    .await
    .unwrap();
    assert_eq!(
        count.json::<Value>().await.unwrap(),
        json!({"input_tokens": 5})
    );
    assert_eq!(state.seen.lock().unwrap()[1]["stream"], Value::Null);
}

#[tokio::test]
async fn nobody_else_uses_the_relay() {
    let state = Gateway::default();
    let relay = relay_to(running(&state).await, Kept::default()).await;
    for key in ["", "wrong", "v1.o.s.1.99999999999999.old"] {
        let answer = ask(&relay, "/v1/messages", key, json!({}))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 403);
    }
    let answer = ask(&relay, "/v1/files", relay.secret(), json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 404);
    assert!(state.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_large_request_goes_by_reference() {
    let state = Gateway::default();
    let kept = Kept::default();
    let relay = relay_to(running(&state).await, kept.clone()).await;
    let large = json!({"stream": true, "text": "x".repeat(5 * 1024 * 1024)});
    let answer = ask(&relay, "/v1/messages", relay.secret(), large)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let (name, bytes) = kept.0.lock().unwrap()[0].clone();
    assert_eq!(state.seen.lock().unwrap()[0]["object"], name.as_str());
    assert!(bytes > 5 * 1024 * 1024);
    let too_large = json!({"text": "x".repeat(33 * 1024 * 1024)});
    let answer = ask(&relay, "/v1/messages", relay.secret(), too_large)
        .send()
        .await;
    // The refusal may come while the client still writes, which some clients see as a broken pipe.
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 413));
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let state = Gateway::default();
    let url = running(&state).await;
    let relay = relay_to(url, Kept::default()).await;
    state
        .refused
        .lock()
        .unwrap()
        .push("Bearer v1.o.s.1.99999999999999.old".to_owned());
    let answer = ask(
        &relay,
        "/v1/messages",
        relay.secret(),
        json!({"stream": true}),
    )
    .send()
    .await
    .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(relay.session_token(), "v1.o.s.1.99999999999999.fresh");
    state
        .refused
        .lock()
        .unwrap()
        .push("Bearer v1.o.s.1.99999999999999.fresh".to_owned());
    let answer = ask(
        &relay,
        "/v1/messages",
        relay.secret(),
        json!({"stream": true}),
    )
    .send()
    .await
    .unwrap();
    assert_eq!(answer.status(), 403);
}

#[tokio::test]
async fn a_gateway_that_is_not_there_looks_overloaded() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let relay = relay_to(nobody, Kept::default()).await;
    let answer = ask(
        &relay,
        "/v1/messages",
        relay.secret(),
        json!({"stream": true}),
    )
    .send()
    .await
    .unwrap();
    assert_eq!(answer.status().as_u16(), 529);
    assert_eq!(
        answer.json::<Value>().await.unwrap()["error"]["type"],
        "overloaded_error"
    );
}

#[tokio::test]
async fn a_stopped_relay_answers_nobody() {
    let state = Gateway::default();
    let mut relay = relay_to(running(&state).await, Kept::default()).await;
    relay.stop();
    for task in &mut relay.tasks {
        // Aborted or ended: either way it is over.
        let _ = task.await;
    }
    assert!(
        ask(&relay, "/v1/messages", relay.secret(), json!({}))
            .send()
            .await
            .is_err()
    );
}
