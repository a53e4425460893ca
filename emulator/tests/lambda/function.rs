//! The function that these tests run: a real one, on the unmodified runtime, that can be told to
//! misbehave. It lives in the tests' own binary, which is started again as the function's process,
//! so that it is always built with them. `ECHO_KIND` says which kind of function it is.

#![expect(clippy::print_stdout, reason = "what it prints is its log")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
};

use lambda_http::{
    Body, Error, Request, RequestExt, Response,
    http::header::{CONTENT_TYPE, WWW_AUTHENTICATE},
    service_fn,
};
use lambda_runtime::LambdaEvent;
use serde_json::{Value, json};

static CALLS: AtomicUsize = AtomicUsize::new(0);

/// No test of its own: what a function's process runs.
#[test]
fn process() {
    if let Ok(kind) = std::env::var("ECHO_KIND") {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(run(&kind)).unwrap();
    }
}

async fn run(kind: &str) -> Result<(), Error> {
    println!("starting");
    eprintln!("on standard error");
    match kind {
        "streaming" => lambda_http::run_with_streaming_response(service_fn(streaming)).await,
        "buffered" => lambda_http::run(service_fn(buffered)).await,
        "authorizer" => lambda_runtime::run(lambda_runtime::service_fn(authorizer)).await,
        "exit" => std::process::exit(3),
        "init_error" => {
            init_error();
            std::process::exit(1)
        }
        "hang" => std::future::pending().await,
        "event" => lambda_runtime::run(lambda_runtime::service_fn(event)).await,
        other => panic!("there is no kind {other}"),
    }
}

/// Blocks until the test that listens at `address` says something or hangs up.
fn wait_for(address: &str) {
    let mut gate = TcpStream::connect(address).expect("the test listens");
    let mut byte = [0];
    let _ = gate.read(&mut byte);
}

async fn event(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let calls = CALLS.fetch_add(1, Ordering::SeqCst) + 1;
    println!("handling {}", event.context.request_id);
    match event.payload["do"].as_str() {
        Some("panic") => panic!("as told"),
        Some("fail") => return Err("as told".into()),
        Some("exit") => std::process::exit(7),
        Some("wait") => {
            let address = event.payload["gate"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            tokio::task::spawn_blocking(move || wait_for(&address)).await?;
        }
        Some("hang") => std::future::pending().await,
        Some("large") => return Ok(json!("x".repeat(7 * 1024 * 1024))),
        _ => {}
    }
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    Ok(json!({
        "payload": event.payload,
        "process": std::process::id(),
        "calls": calls,
        "environment": environment,
        "deadline": event.context.deadline,
        "arn": event.context.invoked_function_arn,
    }))
}

fn describe(request: &Request) -> Value {
    let headers: BTreeMap<String, String> = request
        .headers()
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into(),
            )
        })
        .collect();
    let body = match request.body() {
        Body::Text(text) => json!(text),
        Body::Binary(bytes) => json!(bytes),
        _ => Value::Null,
    };
    let context = request.request_context_ref().map(|context| json!(context));
    json!({
        "method": request.method().as_str(),
        "uri": request.uri().to_string(),
        "path": request.raw_http_path(),
        "query": request.query_string_parameters().all("q"),
        "path_parameters": request.path_parameters().iter().collect::<BTreeMap<_, _>>(),
        "headers": headers,
        "body": body,
        "context": context,
        "process": std::process::id(),
    })
}

async fn buffered(request: Request) -> Result<Response<Body>, Error> {
    if let Some(gate) = request.headers().get("x-gate") {
        wait_for(gate.to_str()?);
    }
    if request.headers().contains_key("x-fail") {
        return Err("as told".into());
    }
    Ok(Response::builder()
        .status(201)
        .header("x-calls", CALLS.fetch_add(1, Ordering::SeqCst) + 1)
        .header(WWW_AUTHENTICATE, "Bearer realm=\"x\"")
        .header("set-cookie", "a=1")
        .header("set-cookie", "b=2")
        .body(Body::from(describe(&request).to_string()))?)
}

async fn streaming(
    request: Request,
) -> Result<Response<http_body_util::StreamBody<Frames>>, Error> {
    if request.headers().contains_key("x-fail") {
        return Err("as told".into());
    }
    let header = |name: &str| {
        let value = request.headers().get(name)?;
        Some(value.to_str().ok()?.to_owned())
    };
    let (gate, exit) = (header("x-gate"), header("x-exit"));
    let description = describe(&request).to_string();
    let (frames, body) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let send = async |text: String| {
            let frame = http_body::Frame::data(bytes::Bytes::from(text));
            frames.send(Ok(frame)).await.is_ok()
        };
        if !send(format!("{description}\n")).await {
            return;
        }
        if let Some(gate) = exit {
            let _ = tokio::task::spawn_blocking(move || wait_for(&gate)).await;
            std::process::exit(9);
        }
        if let Some(gate) = gate {
            // More than the sockets hold, so that a reader who left is noticed if anyone cares.
            let _ = tokio::task::spawn_blocking(move || wait_for(&gate)).await;
            for _ in 0..64 {
                if !send("x".repeat(64 * 1024)).await {
                    println!("the stream was cut");
                    return;
                }
            }
            println!("the stream was read to its end");
        }
        send("\nend".to_owned()).await;
    });
    Ok(Response::builder()
        .header(CONTENT_TYPE, "text/plain")
        .header(WWW_AUTHENTICATE, "Bearer realm=\"x\"")
        .header("set-cookie", "a=1")
        .header("set-cookie", "b=2")
        .body(http_body_util::StreamBody::new(
            tokio_stream::wrappers::ReceiverStream::new(body),
        ))?)
}

type Frames =
    tokio_stream::wrappers::ReceiverStream<Result<http_body::Frame<bytes::Bytes>, Infallible>>;

async fn authorizer(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let calls = CALLS.fetch_add(1, Ordering::SeqCst) + 1;
    let token = event.payload["headers"]["authorization"].as_str();
    let effect = match token {
        Some("allow" | "allow-again") => "Allow",
        Some("deny") => "Deny",
        Some("nobody") => return Err("Unauthorized".into()),
        Some("bad-context") => {
            return Ok(json!({"principalId": "p", "policyDocument": {"Statement": [
                {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": "*"}]},
                "context": {"nested": {}}}));
        }
        _ => return Err("as told".into()),
    };
    // As the product does it: all of the API, so that a cached answer fits each of its routes.
    let arn = event.payload["methodArn"].as_str().unwrap_or_default();
    let api: Vec<&str> = arn.splitn(3, '/').collect();
    let statement = json!({
        "Action": "execute-api:Invoke", "Effect": effect,
        "Resource": format!("{}/{}/*", api[0], api.get(1).unwrap_or(&"")),
    });
    Ok(json!({
        "principalId": "someone",
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": {"owner": "o", "calls": calls, "yes": true},
    }))
}

/// Tells the Runtime API that it cannot start, in the words of a runtime that does.
fn init_error() {
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").expect("an instance");
    let api = api.strip_prefix("http://").unwrap_or(&api);
    let (host, path) = api.split_once('/').expect("a path");
    let body = r#"{"errorType":"Function.Broken","errorMessage":"no settings"}"#;
    let mut socket = TcpStream::connect(host).expect("the Runtime API");
    write!(
        socket,
        "POST /{path}/2018-06-01/runtime/init/error HTTP/1.1\r\nhost: {host}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}
