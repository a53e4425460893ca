//! The same handler as a plain HTTP server, for a container platform or a test: on `PORT`, on
//! loopback unless `SHANNON_BIND` says otherwise, until SIGTERM or SIGINT.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming as Arriving;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use lambda_http::http::{Method, Request, Response, StatusCode, header::AUTHORIZATION};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::AccessToken;
use crate::http::{Body, Incoming, LARGEST_BODY_BYTES, json_response, surround};

/// How long running requests may go on after SIGTERM: Cloud Run sends SIGKILL after 10 s.
const DRAIN: Duration = Duration::from_secs(8);
/// A client that has not sent its headers by then is dropped.
const HEADERS: Duration = Duration::from_secs(30);
/// The same for the whole body.
const ARRIVING: Duration = Duration::from_secs(60);

/// Where and how to serve.
pub(crate) struct Port {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) token: Option<AccessToken>,
    pub(crate) slow: Duration,
    /// What `GET /health` says, whichever function this is: a container platform asks each of its
    /// containers, where the deployment asks only `discover`.
    pub(crate) health: serde_json::Value,
}

/// Serves until SIGTERM or SIGINT, then lets running requests end.
pub(crate) async fn serve<H, F>(handler: H, port: Port) -> std::io::Result<()>
where
    H: Fn(Incoming) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(SocketAddr::new(port.address, port.port)).await?;
    tracing::info!(address = %listener.local_addr()?, "serving HTTP");
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve_on(listener, handler, port, stop).await
}

pub(crate) async fn serve_on<H, F>(
    listener: TcpListener,
    handler: H,
    port: Port,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()>
where
    H: Fn(Incoming) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let (handler, port) = (Arc::new(handler), Arc::new(port));
    let requests = Arc::new(AtomicU64::new(1));
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            // The listener itself is sound: this connection was aborted, or descriptors ran out.
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a connection was not accepted"
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Small answers leave at once; without it each one waits for the client's acknowledgement.
        let _ = stream.set_nodelay(true);
        let (handler, port, requests) = (
            Arc::clone(&handler),
            Arc::clone(&port),
            Arc::clone(&requests),
        );
        let service = service_fn(move |request: Request<Arriving>| {
            let (handler, port) = (Arc::clone(&handler), Arc::clone(&port));
            let request_id = format!("port-{}", requests.fetch_add(1, Ordering::Relaxed));
            async move { Ok::<_, Infallible>(answer(&*handler, &port, request_id, request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            // A client that went away is no fault of ours.
            if let Err(error) = connection.await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a connection ended early"
                );
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests were still running when the time to end them was over");
    }
    Ok(())
}

async fn answer<H, F>(
    handler: &H,
    port: &Port,
    request_id: String,
    request: Request<Arriving>,
) -> Response<Body>
where
    H: Fn(Incoming) -> F,
    F: Future<Output = Response<Body>>,
{
    let (parts, body) = request.into_parts();
    let (method, path) = (parts.method.to_string(), parts.uri.path().to_owned());
    // Kilobytes, which everything around it would otherwise carry in itself, each time it is moved.
    let handled = Box::pin(async {
        if parts.method == Method::GET && parts.uri.path() == "/health" {
            return json_response(StatusCode::OK, &port.health);
        }
        let bytes = match whole(body).await {
            Ok(bytes) => bytes,
            Err(refused) => return *refused,
        };
        let authorization = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let principal = port
            .token
            .as_ref()
            .and_then(|token| token.check(authorization).ok());
        handler(Incoming {
            request: Request::from_parts(parts, bytes),
            request_id: request_id.clone(),
            principal,
        })
        .await
    });
    surround(port.slow, method, path, request_id.clone(), handled).await
}

/// The whole body of a request, or why there is none.
async fn whole<B>(body: B) -> Result<Bytes, Box<Response<Body>>>
where
    B: hyper::body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let refused = |status, message: String| {
        let error = json!({"code": -32600, "message": message});
        let message = json!({"jsonrpc": "2.0", "id": null, "error": error});
        Err(Box::new(json_response(status, &message)))
    };
    let too_long = || {
        refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request body may have at most {LARGEST_BODY_BYTES} bytes"),
        )
    };
    // What announces itself as too long is refused before it is sent.
    if body.size_hint().lower() > LARGEST_BODY_BYTES as u64 {
        return too_long();
    }
    let arriving = Limited::new(body, LARGEST_BODY_BYTES).collect();
    match tokio::time::timeout(ARRIVING, arriving).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => too_long(),
        Ok(Err(error)) => {
            tracing::debug!(
                error = &*error as &dyn std::error::Error,
                "a body broke off"
            );
            refused(
                StatusCode::BAD_REQUEST,
                "the request body broke off".to_owned(),
            )
        }
        Err(_) => {
            let seconds = ARRIVING.as_secs();
            refused(
                StatusCode::REQUEST_TIMEOUT,
                format!("the request body did not arrive within {seconds} s; send it again"),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::full;
    use futures_util::{StreamExt, stream};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    async fn exchange(address: SocketAddr, request: String) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .await
            .expect("it answers");
        answer
    }

    #[tokio::test]
    async fn it_serves_until_it_is_told_to_stop_and_ends_what_runs() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let (entered, has_entered) = oneshot::channel::<()>();
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let gates = Arc::new(tokio::sync::Mutex::new(Some((entered, may_go_on))));
        let handler = move |incoming: Incoming| {
            let gates = Arc::clone(&gates);
            async move {
                if incoming.request.uri().path() == "/slow"
                    && let Some((entered, may_go_on)) = gates.lock().await.take()
                {
                    let _ = entered.send(());
                    let _ = may_go_on.await;
                }
                let known = incoming.principal.is_some();
                Response::new(full(format!("{known} {}", incoming.request.body().len())))
            }
        };
        let sha256 = "a".repeat(64);
        let port = Port {
            address: address.ip(),
            port: 0,
            token: Some(AccessToken::from_sha256_hex(&sha256).expect("a hash")),
            slow: Duration::from_secs(1),
            health: json!({"status": "ok"}),
        };
        let server = tokio::spawn(serve_on(listener, handler, port, async {
            let _ = stopped.await;
        }));
        let quick = "POST /quick HTTP/1.1\r\nhost: x\r\nauthorization: Bearer wrong\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc";
        assert!(
            exchange(address, quick.to_owned())
                .await
                .ends_with("false 3")
        );

        // Nobody has to be known for this, and the handler is not asked.
        let health = "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let health = exchange(address, health.to_owned()).await;
        assert!(health.starts_with("HTTP/1.1 200 "), "{health}");
        assert!(health.ends_with("{\"status\":\"ok\"}"), "{health}");

        let slow = tokio::spawn(exchange(
            address,
            "GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        ));
        has_entered.await.expect("the slow request runs");
        stop.send(()).expect("the server waits for it");
        go_on.send(()).expect("the slow request waits for it");
        assert!(slow.await.expect("no panic").ends_with("false 0"));
        server.await.expect("no panic").expect("a clean end");
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let port = Port {
            address: address.ip(),
            port: 0,
            token: None,
            slow: Duration::from_secs(1),
            health: json!({"status": "ok"}),
        };
        let handler = |_: Incoming| async { Response::new(full(Bytes::new())) };
        tokio::spawn(serve_on(listener, handler, port, std::future::pending()));
        let length = LARGEST_BODY_BYTES + 1;
        let head = format!(
            "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut start = [0; 12];
        stream
            .read_exact(&mut start)
            .await
            .expect("it answers before it read the body");
        assert_eq!(&start, b"HTTP/1.1 413");
    }

    type Piece = Result<Frame<Bytes>, std::io::Error>;

    fn piece(length: usize) -> Piece {
        Ok(Frame::data(Bytes::from(vec![b'x'; length])))
    }

    #[tokio::test(start_paused = true)]
    async fn each_way_in_which_a_body_fails_has_its_status() {
        let begun = tokio::time::Instant::now();
        let status = async |pieces: Vec<Piece>| {
            let body = StreamBody::new(stream::iter(pieces));
            whole(body).await.map_err(|refused| refused.status())
        };
        assert_eq!(status(vec![]).await, Ok(Bytes::new()));
        let whole_body = status(vec![piece(2), piece(1)]).await;
        assert_eq!(whole_body, Ok(Bytes::from_static(b"xxx")));
        let long = status(vec![piece(LARGEST_BODY_BYTES), piece(1)]).await;
        assert_eq!(long, Err(StatusCode::PAYLOAD_TOO_LARGE));
        let broken = Err(std::io::Error::other("reset"));
        let broken = status(vec![piece(1), broken]).await;
        assert_eq!(broken, Err(StatusCode::BAD_REQUEST));
        assert!(begun.elapsed() < ARRIVING);
        // One that stops in the middle.
        let stopped = stream::iter([piece(1)]).chain(stream::pending());
        let refused = whole(StreamBody::new(stopped)).await.expect_err("too slow");
        assert_eq!(refused.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(begun.elapsed(), ARRIVING);
    }
}
