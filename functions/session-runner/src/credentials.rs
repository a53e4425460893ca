//! The session's AWS credentials: the model gateway gives them for the session token, for an hour at a
//! time. The role of the task itself may do nothing.

use std::error::Error;
use std::time::Duration;

use domain::UnixMillis;
use http::StatusCode;
use serde::Deserialize;
use store::{CredentialSource, SessionCredentials};

use crate::relay::SessionToken;

/// Pauses between tries. Own. While there are credentials, the store waits less long than all of them.
const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(900)];
/// Bound of one try, a cold start of the gateway included.
const TRY_TIMEOUT: Duration = Duration::from_secs(6);

/// The gateway, and the token that it asks for.
pub struct FromGateway {
    client: reqwest::Client,
    url: String,
    token: SessionToken,
}

#[derive(Deserialize)]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expires_at_unix_ms: u64,
}

impl FromGateway {
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(
        gateway_url: &str,
        connect_timeout: Duration,
        token: SessionToken,
    ) -> Result<Self, boot::outbound::ClientError> {
        Ok(Self {
            client: boot::outbound::client(gateway_url, connect_timeout)?,
            url: format!("{gateway_url}/model/session-credentials"),
            token,
        })
    }

    /// One try; whether another one may help.
    async fn ask(&self) -> Result<Answer, (String, bool)> {
        let sent = self
            .client
            .post(&self.url)
            .timeout(TRY_TIMEOUT)
            .bearer_auth(self.token.current())
            .send()
            .await;
        let answer = sent.map_err(|error| (error.without_url().to_string(), true))?;
        let status = answer.status();
        if !status.is_success() {
            // A session that has another runner never is for this one again.
            let why = format!("the gateway answered {status}");
            let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            return Err((why, passes));
        }
        let read = answer.json().await;
        read.map_err(|error| (error.without_url().to_string(), true))
    }
}

impl CredentialSource for FromGateway {
    async fn fetch(&self) -> Result<SessionCredentials, Box<dyn Error + Send + Sync>> {
        let mut pauses = PAUSES.iter();
        let answer = loop {
            let (why, again) = match self.ask().await {
                Ok(answer) => break answer,
                Err(problem) => problem,
            };
            match pauses.next().filter(|_| again) {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => return Err(why.into()),
            }
        };
        boot::logging::hide([
            answer.secret_access_key.clone(),
            answer.session_token.clone(),
        ]);
        Ok(SessionCredentials {
            access_key_id: answer.access_key_id,
            secret_access_key: answer.secret_access_key,
            session_token: answer.session_token,
            expires_at: UnixMillis(answer.expires_at_unix_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::response::IntoResponse;

    use super::*;

    /// A gateway that gives these answers, then credentials; and who asked.
    async fn gateway(statuses: Vec<u16>) -> (FromGateway, Arc<Mutex<Vec<String>>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, statuses) = (asked.clone(), Arc::new(Mutex::new(statuses)));
        let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
            let token = request.headers()["authorization"]
                .to_str()
                .expect("text")
                .to_owned();
            seen.lock()
                .expect("no panic")
                .push(format!("{} {token}", request.uri()));
            let status = statuses.lock().expect("no panic").pop();
            async move {
                match status.and_then(|status| StatusCode::from_u16(status).ok()) {
                    Some(status) => status.into_response(),
                    None => axum::Json(serde_json::json!({
                        "access_key_id": "a", "secret_access_key": "s", "session_token": "t",
                        "expires_at_unix_ms": 7,
                    }))
                    .into_response(),
                }
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        let token = SessionToken::from("token".to_owned());
        let source = FromGateway::new(&url, Duration::from_secs(1), token);
        (source.expect("a client"), asked)
    }

    #[tokio::test]
    async fn a_gateway_that_fails_is_asked_again_and_one_that_refuses_is_not() {
        let (source, asked) = gateway(vec![529, 500]).await;
        let got = source.fetch().await.expect("credentials");
        assert_eq!((got.access_key_id.as_str(), got.expires_at.0), ("a", 7));
        let asked = asked.lock().expect("no panic").clone();
        assert_eq!(asked.len(), 3);
        assert_eq!(asked[0], "/model/session-credentials Bearer token");

        let (source, asked) = gateway(vec![403]).await;
        let refused = source.fetch().await.expect_err("another runner has it");
        assert_eq!(refused.to_string(), "the gateway answered 403 Forbidden");
        assert_eq!(asked.lock().expect("no panic").len(), 1);
    }
}
