//! Lambda's two HTTP APIs as their clients see them.

use crate::echo::{Gate, client, function, options, start};
use std::time::Duration;

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use bytes::{Bytes, BytesMut};

use emulator::lambda::{Lambda, Outcome, StreamError};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

/// The control API at an address of its own.
async fn control(lambda: &Lambda) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = lambda.control();
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn call(lambda: &Lambda, name: &str, kind: &str, body: &str) -> Response {
    let url = format!(
        "{}/2015-03-31/functions/{name}/invocations",
        control(lambda).await
    );
    let request = client().post(url).header("x-amz-invocation-type", kind);
    request.body(body.to_owned()).send().await.unwrap()
}

#[tokio::test]
async fn a_function_is_called_by_its_alias() {
    let mut aliased = function("f", "event");
    aliased.alias = Some("live".into());
    let lambda = start(vec![aliased, function("plain", "event")]).await;
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:test-f";
    for name in [
        "f:live",
        "test-f:live",
        &format!("{arn}:live"),
        "f?Qualifier=live",
        "f",
    ] {
        let (name, query) = name.split_once('?').unwrap_or((name, ""));
        let url = control(&lambda).await;
        let url = format!("{url}/2015-03-31/functions/{name}/invocations?{query}");
        let response = client().post(url).body("{}").send().await.unwrap();
        assert_eq!(response.status(), 200, "{name}?{query}");
        assert_eq!(response.headers()["x-amz-executed-version"], "1");
    }
    for name in ["f:other", "plain:live", &format!("{arn}:other")] {
        let response = call(&lambda, name, "RequestResponse", "{}").await;
        assert_eq!(response.status(), 404, "{name}");
    }
    lambda.shutdown().await;
}

#[tokio::test]
async fn invoke_as_boto3_does() {
    let mut options = options(vec![function("f", "event")]);
    options.event_retries.clear();
    let mut feed = options.logs.subscribe();
    let lambda = Lambda::start(options).await.unwrap();
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:test-f";
    for name in ["f", "test-f", arn, &format!("{arn}:$LATEST")] {
        let response = call(&lambda, name, "RequestResponse", r#"{"a":1}"#).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-amz-executed-version"], "$LATEST");
        assert!(!response.headers().contains_key("x-amz-function-error"));
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["payload"], json!({"a": 1}));
    }
    let response = call(&lambda, "f", "RequestResponse", r#"{"do":"fail"}"#).await;
    assert_eq!(response.status(), 200, "a function error is no HTTP error");
    assert_eq!(response.headers()["x-amz-function-error"], "Unhandled");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["errorMessage"], "as told");

    let response = call(&lambda, "f", "DryRun", "{}").await;
    assert_eq!(response.status(), 204);
    let gate = Gate::new().await;
    let wait = json!({"do": "wait", "gate": gate.address()}).to_string();
    let response = call(&lambda, "f", "Event", &wait).await;
    assert_eq!(response.status(), 202, "before it has run");
    drop(gate.arrival().await);

    for (name, kind, body, status, error) in [
        (
            "nothing",
            "RequestResponse",
            "{}",
            404,
            "ResourceNotFoundException",
        ),
        (
            "f",
            "RequestResponse",
            "{",
            400,
            "InvalidRequestContentException",
        ),
        (
            "f",
            "Sometimes",
            "{}",
            400,
            "InvalidParameterValueException",
        ),
    ] {
        let response = call(&lambda, name, kind, body).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["x-amzn-errortype"], error);
    }
    let large = format!("\"{}\"", "x".repeat(6 * 1024 * 1024));
    let response = call(&lambda, "f", "RequestResponse", &large).await;
    assert_eq!(response.status(), 413);
    lambda.shutdown().await;
    let mut handled = 0;
    while let Ok(line) = feed.try_recv() {
        handled += usize::from(line.line.starts_with("handling "));
    }
    assert_eq!(handled, 6, "what was refused has not reached the function");
}

/// A request as the gateway would make it, with nothing that is not needed.
fn http_event(headers: Value) -> Value {
    json!({
        "resource": "/s", "path": "/s", "httpMethod": "POST", "headers": headers,
        "multiValueHeaders": {}, "body": null,
        "requestContext": {"stage": "test", "httpMethod": "POST", "identity": {}},
    })
}

fn decode(buffer: &mut BytesMut) -> Option<(String, Bytes)> {
    match MessageFrameDecoder::new()
        .decode_frame(&mut *buffer)
        .unwrap()
    {
        DecodedFrame::Incomplete => None,
        DecodedFrame::Complete(message) => {
            let kind = message
                .headers()
                .iter()
                .find(|header| header.name().as_str() == ":event-type")
                .map(|header| header.value().as_string().unwrap().as_str().to_owned());
            Some((kind.unwrap(), message.payload().clone()))
        }
    }
}

#[tokio::test]
async fn a_response_stream_comes_in_frames_while_the_function_writes() {
    let lambda = start(vec![function("f", "streaming")]).await;
    let url = format!(
        "{}/2021-11-15/functions/f/response-streaming-invocations",
        control(&lambda).await
    );
    let gate = Gate::new().await;
    let event = http_event(json!({"x-gate": gate.address()}));
    let mut response = client()
        .post(&url)
        .body(event.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["content-type"],
        "application/vnd.amazon.eventstream"
    );
    let (mut buffer, mut payload, mut complete) = (BytesMut::new(), Vec::new(), None);
    let held = gate.arrival().await;
    let mut held = Some(held);
    while let Some(chunk) = response.chunk().await.unwrap() {
        buffer.extend_from_slice(&chunk);
        // Frames may be split: decode from a copy until one is whole.
        loop {
            let mut attempt = buffer.clone();
            let Some((kind, bytes)) = decode(&mut attempt) else {
                break;
            };
            buffer = attempt;
            match kind.as_str() {
                "PayloadChunk" => payload.extend_from_slice(&bytes),
                "InvokeComplete" => complete = Some(bytes),
                other => panic!("{other}"),
            }
        }
        // The function is still held: what came, came before its end.
        if payload.contains(&b'\n') {
            held.take();
        }
    }
    assert!(held.is_none());
    assert_eq!(complete.unwrap(), "{}");
    assert!(payload.ends_with(b"\nend"));
    assert!(
        payload.windows(8).any(|window| window == [0; 8]),
        "prelude and all"
    );

    let event = http_event(json!({"x-fail": "1"}));
    let response = client()
        .post(&url)
        .body(event.to_string())
        .send()
        .await
        .unwrap();
    let mut buffer = BytesMut::from(&response.bytes().await.unwrap()[..]);
    let (kind, bytes) = decode(&mut buffer).unwrap();
    assert_eq!(kind, "InvokeComplete");
    let end: Value = serde_json::from_slice(&bytes).unwrap();
    assert!(end["ErrorCode"].is_string(), "{end}");
    lambda.shutdown().await;
}

async fn stream(lambda: &Lambda, headers: Value) -> emulator::lambda::ResponseStream {
    let payload = Bytes::from(http_event(headers).to_string());
    match lambda.invoke("f", payload).await.unwrap() {
        Outcome::Streaming(stream) => stream,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_off_is_no_complete_one() {
    let mut slow = function("f", "streaming");
    slow.timeout_seconds = 3.0;
    let lambda = start(vec![slow]).await;
    let gate = Gate::new().await;
    let mut begun = stream(&lambda, json!({"x-exit": gate.address()})).await;
    assert!(begun.next().await.unwrap().is_ok());
    drop(gate.arrival().await);
    let cut = begun.collect().await;
    assert!(matches!(cut, Err(StreamError::Cut)), "{cut:?}");

    let mut held = stream(&lambda, json!({"x-gate": gate.address()})).await;
    assert!(held.next().await.unwrap().is_ok());
    let _never_released = gate.arrival().await;
    let end = held.collect().await;
    assert!(matches!(end, Err(StreamError::TimedOut)), "{end:?}");
    lambda.shutdown().await;
}

#[tokio::test]
async fn a_reader_that_leaves_is_not_noticed_by_the_function() {
    let options = options(vec![function("f", "streaming")]);
    let mut feed = options.logs.subscribe();
    let lambda = Lambda::start(options).await.unwrap();
    let gate = Gate::new().await;
    let mut held = stream(&lambda, json!({"x-gate": gate.address()})).await;
    assert!(held.next().await.unwrap().is_ok());
    let arrival = gate.arrival().await;
    drop(held);
    drop(arrival);
    // The function writes the one line and the pool the other: either may be first.
    let both = async {
        let (mut read, mut reported) = (None, false);
        while read.is_none() || !reported {
            let line = feed.recv().await.unwrap().line;
            reported |= line.starts_with("REPORT ");
            if line.starts_with("the stream was ") {
                read = Some(line);
            }
        }
        read
    };
    let read = tokio::time::timeout(Duration::from_secs(30), both).await;
    assert_eq!(
        read.expect("both lines come").as_deref(),
        Some("the stream was read to its end")
    );
    assert_eq!(lambda.instances("f").unwrap(), 1, "it lives on");
    assert!(stream(&lambda, json!({})).await.collect().await.is_ok());
    lambda.shutdown().await;
}

#[tokio::test]
async fn the_runtime_api_refuses_what_makes_no_sense() {
    let lambda = start(vec![function("f", "event")]).await;
    let answer = call(&lambda, "f", "RequestResponse", "{}").await;
    let answer: Value = answer.json().await.unwrap();
    let api = answer["environment"]["AWS_LAMBDA_RUNTIME_API"]
        .as_str()
        .unwrap();
    let client = client();
    let post = |path: String| client.post(path).body("{}").send();
    let unknown = post(format!("{api}/2018-06-01/runtime/invocation/none/response"));
    assert_eq!(unknown.await.unwrap().status(), StatusCode::BAD_REQUEST);
    let unknown = post(format!("{api}/2018-06-01/runtime/invocation/none/error"));
    assert_eq!(unknown.await.unwrap().status(), StatusCode::BAD_REQUEST);
    let stranger = format!(
        "{}/stranger/2018-06-01/runtime/invocation/x/response",
        lambda.url()
    );
    assert_eq!(
        post(stranger).await.unwrap().status(),
        StatusCode::FORBIDDEN
    );
    let path = format!("{api}/2018-06-01/runtime/invocation/none/response");
    let odd = client
        .post(path)
        .header("lambda-runtime-function-response-mode", "odd");
    assert_eq!(odd.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    // Nobody invokes a function here: callers are not authenticated, and an event says who calls.
    for path in [
        "2015-03-31/functions/f/invocations",
        "2021-11-15/functions/f/response-streaming-invocations",
    ] {
        let answer = post(format!("{}/{path}", lambda.url())).await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    // None of it has hurt the instance.
    let again: Value = call(&lambda, "f", "RequestResponse", "{}")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(again["process"], answer["process"]);
    lambda.shutdown().await;
}
