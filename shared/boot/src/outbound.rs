//! The HTTP client for calls that leave the deployment (the model API) or cross it (runner to
//! gateway): one TLS stack, the same as the AWS SDK's, with the machine's own root certificates.

use std::time::Duration;

/// Why there is no client; the function cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the HTTP client")]
pub struct ClientError(#[source] reqwest::Error);

/// A client without redirects, proxies or a total timeout: streams last as long as they last, so
/// callers bound their own waiting. `connect_timeout` covers name, connection and TLS.
///
/// # Errors
/// [`ClientError`], when the machine has no usable root certificates.
pub fn client(connect_timeout: Duration) -> Result<reqwest::Client, ClientError> {
    // Another part of this process may have installed it already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .connect_timeout(connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(ClientError)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_client_can_be_made_twice() {
        assert!(super::client(std::time::Duration::from_secs(1)).is_ok());
        assert!(super::client(std::time::Duration::from_secs(1)).is_ok());
    }
}
