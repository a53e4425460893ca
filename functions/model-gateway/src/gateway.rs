//! One request: who asks, what is forwarded, what comes back.

use std::sync::Arc;

use boot::http::{Body, full, json_response};
use bytes::Bytes;
use domain::ports::GitSecretError;
use domain::session_token::{SessionClaims, SigningKey};
use domain::workspace::WorkspaceSource;
use domain::{GitHost, Head};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::records::Records;
use crate::refusal::Refusal;
use crate::response::answer;
use crate::upstream::Upstream;

/// Where a body that does not fit a Lambda event lies: `<owner>/<session>/<name>`.
const BODY_OBJECT: &str = "x-shannon-body-object";

/// The gateway; one per process.
pub(crate) struct Gateway<R, B> {
    records: R,
    broker: B,
    signing_key: SigningKey,
    token_seconds: u64,
    upstream: Arc<Upstream>,
}

impl<R: Records, B: Broker> Gateway<R, B> {
    pub(crate) fn new(
        (records, broker): (R, B),
        signing_key: SigningKey,
        token_seconds: u64,
        upstream: Arc<Upstream>,
    ) -> Self {
        Self {
            records,
            broker,
            signing_key,
            token_seconds,
            upstream,
        }
    }

    /// Answers one request. Repeating one asks the model again; its usage is counted once per
    /// answer of the model.
    pub(crate) async fn handle(&self, request: Request<Bytes>) -> Response<Body> {
        match self.forward(request).await {
            Ok(response) => response,
            Err(refusal) => refusal.response(),
        }
    }

    async fn forward(&self, request: Request<Bytes>) -> Result<Response<Body>, Refusal> {
        if request.method() != Method::POST {
            return Err(Refusal::NotPost);
        }
        if request.uri().path() == "/model/session-credentials" {
            return self.credentials(request.headers()).await;
        }
        let (claims, head) = self.claims(request.headers()).await?;
        if request.uri().path() == "/model/git-credential" {
            return self.git_credential(&head, request.body()).await;
        }
        let path = match request.uri().path() {
            "/model/session-token" => return Ok(self.renew(claims)),
            path @ ("/model/v1/messages" | "/model/v1/messages/count_tokens") => {
                path.trim_start_matches("/model").to_owned()
            }
            _ => return Err(Refusal::NoSuchPath),
        };
        let (parts, body) = request.into_parts();
        let body = self.body(&claims, &parts.headers, body).await?;
        let target = match parts.uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        let upstream = Arc::clone(&self.upstream);
        let served = upstream.send(&target, &parts.headers, body).await?;
        Ok(answer(served, self.records.clone(), claims.key).await)
    }

    /// The session behind the token: it must be alive, and this runner the one that has it.
    async fn claims(&self, headers: &HeaderMap) -> Result<(SessionClaims, Head), Refusal> {
        let (claims, head) = self.signed(headers).await?;
        if head.fence != claims.fence || head.state.is_ended() {
            return Err(useless(&claims, &head));
        }
        Ok((claims, head))
    }

    /// Credentials of the session, for the runner that has it, and for the one that is about to take
    /// it: without them it could not. A runner from which the session was taken gets none.
    async fn credentials(&self, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
        let (claims, head) = self.signed(headers).await?;
        let has_it = head.fence == claims.fence || head.fence.next() == claims.fence;
        if !has_it || head.state.is_ended() {
            return Err(useless(&claims, &head));
        }
        let tree = head.tree_key();
        let in_tree = self.records.is_in_tree(&claims.key, &tree).await;
        let in_tree = in_tree.map_err(|unavailable| {
            tracing::warn!(
                error = &unavailable as &dyn std::error::Error,
                "a session's tree was not checked"
            );
            Refusal::RecordsUnavailable
        })?;
        if !in_tree {
            tracing::error!(
                session = %claims.key.session,
                tree = %tree.tree,
                "the head of a session names a tree that does not know the session"
            );
            return Err(Refusal::NotAllowed);
        }
        let made = self.broker.credentials(&claims.key, &tree).await;
        let made = made.map_err(|unavailable| {
            tracing::warn!(
                error = &unavailable as &dyn std::error::Error,
                "a session got no credentials"
            );
            Refusal::RecordsUnavailable
        })?;
        let answer = json!({
            "access_key_id": made.access_key_id,
            "secret_access_key": made.secret_access_key,
            "session_token": made.session_token,
            "expires_at_unix_ms": made.expires_at.0,
        });
        Ok(json_response(StatusCode::OK, &answer))
    }

    /// What the owner stored for the host of the session's repository, for the runner that has the session;
    /// 204 when that is nothing, 410 when its token is gone. Asking again gives the same.
    async fn git_credential(&self, head: &Head, body: &Bytes) -> Result<Response<Body>, Refusal> {
        let body: Value = serde_json::from_slice(body).map_err(|_| Refusal::NoHost)?;
        let host = body["host"].as_str().ok_or(Refusal::NoHost)?;
        let host = GitHost::parse(host).map_err(|_| Refusal::NoHost)?;
        let own = match &head.spec.workspace.source {
            WorkspaceSource::Git { url, .. } => GitHost::of(url),
            _ => None,
        };
        if own.as_ref() != Some(&host) {
            tracing::warn!(
                session = %head.key.session,
                %host,
                "a runner asked for the credential of a host that its session does not clone from"
            );
            return Err(Refusal::NotAllowed);
        }
        let found = self.records.git_secret(&head.key.owner, &host).await;
        let found = found.map_err(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                %host,
                "a git credential was not read"
            );
            match error {
                GitSecretError::Gone => Refusal::TokenGone,
                GitSecretError::Unavailable(_) => Refusal::RecordsUnavailable,
            }
        })?;
        let Some(found) = found else {
            let mut none = Response::new(full(Bytes::new()));
            *none.status_mut() = StatusCode::NO_CONTENT;
            return Ok(none);
        };
        tracing::info!(session = %head.key.session, %host, "a git credential is handed out");
        let answer = json!({"username": found.username(), "token": found.expose_token()});
        Ok(json_response(StatusCode::OK, &answer))
    }

    /// What a token says that we signed, and the session as it is.
    async fn signed(&self, headers: &HeaderMap) -> Result<(SessionClaims, Head), Refusal> {
        let token = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or(Refusal::NotAllowed)?;
        let claims = self
            .signing_key
            .verify(token, self.records.now())
            .map_err(|_| Refusal::NotAllowed)?;
        let head = self
            .records
            .head(&claims.key)
            .await
            .map_err(|unavailable| {
                tracing::warn!(
                    error = &unavailable as &dyn std::error::Error,
                    "a session was not checked"
                );
                Refusal::RecordsUnavailable
            })?;
        let head = head.ok_or(Refusal::NotAllowed)?;
        Ok((claims, head))
    }

    fn renew(&self, claims: SessionClaims) -> Response<Body> {
        let expires_at = self.records.now().plus(self.token_seconds * 1000);
        let token = self.signing_key.sign(&SessionClaims {
            expires_at,
            ..claims
        });
        let renewed = json!({"token": token, "expires_at_unix_ms": expires_at.0});
        json_response(StatusCode::OK, &renewed)
    }

    /// The body itself, or what the header names; only objects of the session itself are read.
    async fn body(
        &self,
        claims: &SessionClaims,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Bytes, Refusal> {
        let Some(object) = headers.get(BODY_OBJECT) else {
            return if body.is_empty() {
                Err(Refusal::NoBody)
            } else {
                Ok(body)
            };
        };
        let prefix = format!("{}/{}/", claims.key.owner, claims.key.session);
        let name = object
            .to_str()
            .ok()
            .and_then(|object| object.strip_prefix(&prefix))
            .filter(|name| !name.is_empty())
            .ok_or(Refusal::NoBody)?;
        match self.records.object(&claims.key, name).await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(Refusal::NoBody),
            Err(unavailable) => {
                tracing::warn!(
                    error = &unavailable as &dyn std::error::Error,
                    "a body was not fetched"
                );
                Err(Refusal::RecordsUnavailable)
            }
        }
    }
}

/// Says in the log why a token that we signed is refused.
fn useless(claims: &SessionClaims, head: &Head) -> Refusal {
    tracing::info!(
        session = %claims.key.session,
        fence = claims.fence.0,
        head_fence = head.fence.0,
        state = %head.state,
        "a token is good for nothing any more"
    );
    Refusal::NotAllowed
}

#[cfg(test)]
mod tests;
