//! What the session's owner stored for the host of its repository: the model gateway gives it for the
//! session token, when the workspace is made. It goes to git; of it the runner keeps what it takes out of its log lines.

use std::time::Duration;

use domain::workspace::{Workspace, WorkspaceSource};
use domain::{GitCredential, GitHost};
use http::StatusCode;
use serde::Deserialize;

use crate::relay::SessionToken;

/// Pauses between tries. Own.
const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(900)];
/// Bound of one try, a cold start of the gateway included.
const TRY_TIMEOUT: Duration = Duration::from_secs(6);

/// The gateway, and the token that it asks for.
pub struct Asking {
    /// Base address of the gateway.
    pub gateway_url: String,
    /// Bound of a connection.
    pub connect_timeout: Duration,
    /// Whose session it is.
    pub token: SessionToken,
}

#[derive(Deserialize)]
struct Answer {
    username: String,
    token: String,
}

/// The credential for the repository of the workspace; `None` when there is nothing stored for its host,
/// and for everything that is no repository over https. Asking again gives the same.
///
/// # Errors
/// In words, when the gateway does not answer. A public repository can be cloned all the same.
pub async fn of(workspace: &Workspace, asking: Asking) -> Result<Option<GitCredential>, String> {
    let host = match &workspace.source {
        WorkspaceSource::Git { url, .. } => GitHost::of(url),
        _ => None,
    };
    let Some(host) = host else {
        return Ok(None);
    };
    let client = boot::outbound::client(&asking.gateway_url, asking.connect_timeout)
        .map_err(|error| error.to_string())?;
    let mut pauses = PAUSES.iter();
    loop {
        let (why, again) = match ask(&client, &asking, &host).await {
            Ok(found) => return Ok(found),
            Err(problem) => problem,
        };
        match pauses.next().filter(|_| again) {
            Some(pause) => tokio::time::sleep(*pause).await,
            None => {
                tracing::warn!(problem = why, %host, "no git credential could be asked for");
                return Err(why);
            }
        }
    }
}

/// One try; whether another one may help.
async fn ask(
    client: &reqwest::Client,
    asking: &Asking,
    host: &GitHost,
) -> Result<Option<GitCredential>, (String, bool)> {
    let sent = client
        .post(format!("{}/model/git-credential", asking.gateway_url))
        .timeout(TRY_TIMEOUT)
        .bearer_auth(asking.token.current())
        .json(&serde_json::json!({"host": host.as_str()}))
        .send()
        .await;
    let answer = sent.map_err(|error| (error.without_url().to_string(), true))?;
    match answer.status() {
        StatusCode::NO_CONTENT => return Ok(None),
        StatusCode::OK => {}
        StatusCode::GONE => {
            let why =
                format!("its token is gone; store it again: emulator git-credential set {host}");
            return Err((why, false));
        }
        status => {
            let why = format!("the gateway answered {status}");
            let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            return Err((why, passes));
        }
    }
    let answer: Answer = answer
        .json()
        .await
        .map_err(|error| (error.without_url().to_string(), true))?;
    boot::logging::hide([answer.token.clone()]);
    GitCredential::parse(&answer.username, &answer.token)
        .map(Some)
        .map_err(|error| (error.to_string(), false))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::response::IntoResponse;
    use domain::workspace::GitUrl;

    use super::*;

    fn cloned(url: &str) -> Workspace {
        let url = GitUrl::parse(url, true).expect("a URL");
        Workspace {
            source: WorkspaceSource::Git {
                url,
                reference: None,
            },
            subdirectory: None,
        }
    }

    /// A gateway that gives these answers from the last on, then a credential; and what it was asked.
    async fn gateway(statuses: Vec<u16>) -> (impl Fn() -> Asking, Arc<Mutex<Vec<String>>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, statuses) = (asked.clone(), Arc::new(Mutex::new(statuses)));
        let router = axum::Router::new().fallback(
            move |headers: http::HeaderMap, uri: http::Uri, body: String| {
                let token = headers["authorization"].to_str().expect("text").to_owned();
                let line = format!("{uri} {token} {body}");
                seen.lock().expect("no panic").push(line);
                let status = statuses.lock().expect("no panic").pop();
                async move {
                    match status.and_then(|status| StatusCode::from_u16(status).ok()) {
                        Some(status) => status.into_response(),
                        None => axum::Json(serde_json::json!({"username": "u", "token": "t-1"}))
                            .into_response(),
                    }
                }
            },
        );
        tokio::spawn(async move { axum::serve(listener, router).await });
        let asking = move || Asking {
            gateway_url: url.clone(),
            connect_timeout: Duration::from_secs(1),
            token: SessionToken::from("token".to_owned()),
        };
        (asking, asked)
    }

    #[tokio::test]
    async fn the_gateway_is_asked_for_the_host_and_again_when_it_fails() {
        let (asking, asked) = gateway(vec![204, 529, 500]).await;
        let workspace = cloned("https://git.example.com:8443/a.git");
        assert_eq!(of(&workspace, asking()).await, Ok(None));
        let given = of(&workspace, asking()).await.expect("an answer");
        assert_eq!(given.expect("one").expose_token(), "t-1");
        let asked = asked.lock().expect("no panic").clone();
        assert_eq!(asked.len(), 4);
        let expected = "/model/git-credential Bearer token {\"host\":\"git.example.com:8443\"}";
        assert!(asked.iter().all(|line| line == expected), "{asked:?}");
    }

    #[tokio::test]
    async fn a_refusal_is_said_and_what_needs_none_does_not_ask() {
        let (asking, asked) = gateway(vec![403]).await;
        let refused = of(&cloned("https://git.example.com/a.git"), asking()).await;
        assert_eq!(
            refused,
            Err("the gateway answered 403 Forbidden".to_owned())
        );
        for workspace in [
            cloned("ssh://git@git.example.com/a.git"),
            Workspace {
                source: WorkspaceSource::Empty,
                subdirectory: None,
            },
        ] {
            assert_eq!(of(&workspace, asking()).await, Ok(None));
        }
        assert_eq!(asked.lock().expect("no panic").len(), 1);
    }

    #[tokio::test]
    async fn a_token_that_is_gone_is_to_be_stored_again() {
        let (asking, asked) = gateway(vec![410]).await;
        let refused = of(&cloned("https://git.example.com/a.git"), asking()).await;
        let said = refused.expect_err("there is none");
        assert!(
            said.ends_with("git-credential set git.example.com"),
            "{said}"
        );
        assert_eq!(asked.lock().expect("no panic").len(), 1, "once is enough");
    }
}
