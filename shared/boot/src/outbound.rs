//! The HTTP client for calls that leave the deployment (the model API) or cross it (runner to
//! gateway): one TLS stack, the same as the AWS SDK's, with the machine's own root certificates.

use std::sync::Arc;
use std::time::Duration;

mod reach;

pub use reach::{ForbiddenAddress, Reach};

/// Why there is no client; the function cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the HTTP client")]
pub struct ClientError(#[source] reqwest::Error);

/// A client for the server at `url`, without redirects, proxies or a total timeout: streams last as
/// long as they last, so callers bound their own waiting. `connect_timeout` covers name, connection
/// and TLS.
///
/// For an `http` address no certificates are read, which takes longer than all else: such a client
/// trusts no server that speaks TLS.
///
/// # Errors
/// [`ClientError`], when the machine has no usable root certificates.
pub fn client(url: &str, connect_timeout: Duration) -> Result<reqwest::Client, ClientError> {
    builder(url, connect_timeout).build().map_err(ClientError)
}

/// A client for addresses that somebody else chose, which `reach` may forbid: it calls no other. Check
/// each with [`Reach::check`] first: what is no name is not looked up. `timeout` covers a whole call.
///
/// # Errors
/// As [`client`].
pub fn client_within(
    url: &str,
    reach: Reach,
    connect_timeout: Duration,
    timeout: Duration,
) -> Result<reqwest::Client, ClientError> {
    builder(url, connect_timeout)
        .timeout(timeout)
        .https_only(reach == Reach::Public)
        .dns_resolver(Arc::new(reach::Guard(reach)))
        .build()
        .map_err(ClientError)
}

fn builder(url: &str, connect_timeout: Duration) -> reqwest::ClientBuilder {
    // Another part of this process may have installed it already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .connect_timeout(connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if url.starts_with("http://") {
        builder = builder.tls_certs_only([]);
    }
    builder
}

#[cfg(test)]
mod tests {
    /// A listener whose queue is full answers no more connection.
    #[tokio::test]
    async fn a_server_that_takes_no_connection_is_given_up() {
        use std::time::{Duration, Instant};
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket
            .bind("127.0.0.1:0".parse().expect("an address"))
            .expect("a free port");
        let listener = socket.listen(1).expect("it listens");
        let address = listener.local_addr().expect("an address");
        let mut waiting = Vec::new();
        let moment = Duration::from_millis(300);
        while let Ok(connection) =
            tokio::time::timeout(moment, tokio::net::TcpStream::connect(address)).await
        {
            waiting.push(connection.expect("a place in the queue"));
            assert!(waiting.len() < 100, "the queue is never full");
        }
        let url = format!("http://{address}");
        for timeout in [moment, 3 * moment] {
            let begun = Instant::now();
            let client = super::client(&url, timeout).expect("a client");
            let refused = client.get(&url).send().await.expect_err("nobody answers");
            assert!(refused.is_connect(), "{refused:?}");
            assert!(begun.elapsed() >= timeout, "{:?}", begun.elapsed());
        }
    }

    #[test]
    fn a_client_can_be_made_twice() {
        let second = std::time::Duration::from_secs(1);
        for url in [
            "https://a.example",
            "http://127.0.0.1:1",
            "https://a.example",
        ] {
            assert!(super::client(url, second).is_ok(), "{url}");
        }
    }
}
