//! Requests that no SDK makes: unsigned ones, presigned URLs, the emulator's own routes.

use axum::body::Body;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// Sends one request on a connection of its own.
pub(crate) async fn send(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Answer {
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let response = client
        .request(request.body(body.into()).unwrap())
        .await
        .unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(Body::new(response.into_body()), usize::MAX)
        .await
        .unwrap();
    Answer {
        status,
        text: String::from_utf8(body.to_vec()).unwrap(),
    }
}

pub(crate) async fn get(url: &str) -> Answer {
    send("GET", url, &[], Body::empty()).await
}
