//! OAuth 2.0 Protected Resource Metadata (RFC 9728): where clients get a token for this deployment.
//!
//! Public, and the same for everybody. The path form belongs to the MCP endpoint; clients that do not find
//! it ask for the root form, and get the same.

use bytes::Bytes;
use domain::roles::Role;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::answer::{Body, json_response};
use crate::challenge::{METADATA_PATH, asked_for};

/// The root form.
const ROOT_PATH: &str = "/.well-known/oauth-protected-resource";
/// How long others may keep it. Own: the issuer of a deployment changes about never.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// The metadata of one deployment.
#[derive(Clone, Debug)]
pub struct ProtectedResource {
    /// The deployment's own address; without it that of the request.
    public_url: Option<String>,
    /// First part of the path below the API's own address.
    stage: String,
    /// Who gives tokens for it, if anybody does.
    issuer: Option<String>,
    /// The scopes that clients ask it for at first.
    scopes: Vec<String>,
}

impl ProtectedResource {
    /// Of a deployment at this address, whose tokens come from this issuer, which puts `scope_prefix` before
    /// the names of our scopes.
    #[must_use]
    pub fn new(
        public_url: Option<&str>,
        stage: &str,
        issuer: Option<&str>,
        scope_prefix: Option<&str>,
    ) -> Self {
        let without_slash = |url: &str| url.trim_end_matches('/').to_owned();
        Self {
            public_url: public_url.map(without_slash),
            stage: stage.to_owned(),
            issuer: issuer.map(str::to_owned),
            // They get no more than they need to work. Whoever approves, or looks after the deployment, asks
            // for that.
            scopes: asked_for(Role::Developer.scopes().iter().copied(), scope_prefix),
        }
    }

    /// Answers a request for the metadata; `None` when it is about something else.
    #[must_use]
    pub fn answer(&self, request: &Request<Bytes>) -> Option<Response<Body>> {
        if ![ROOT_PATH, METADATA_PATH].contains(&request.uri().path()) {
            return None;
        }
        let mut response = if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let words = "the metadata is there to be read: GET";
            let mut refused = refused(StatusCode::METHOD_NOT_ALLOWED, words);
            let methods = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, methods);
            refused
        } else if let Some(issuer) = &self.issuer {
            let base = self.base(request.headers());
            let mut found = json_response(StatusCode::OK, &document(&base, issuer, &self.scopes));
            found.headers_mut().insert(CACHE_CONTROL, KEPT);
            found
        } else {
            let words = "nobody logs in here: this deployment has no issuer (SHANNON_OIDC_ISSUER). Send an \
                         API key as bearer token; an administrator makes one";
            refused(StatusCode::NOT_FOUND, words)
        };
        // Pages of any origin may read what is the same for everybody.
        let anybody = HeaderValue::from_static("*");
        response
            .headers_mut()
            .insert(ACCESS_CONTROL_ALLOW_ORIGIN, anybody);
        Some(response)
    }

    fn base(&self, headers: &HeaderMap) -> String {
        self.public_url.clone().unwrap_or_else(|| {
            let host = headers.get(HOST).and_then(|host| host.to_str().ok());
            format!("https://{}/{}", host.unwrap_or_default(), self.stage)
        })
    }
}

fn document(base: &str, issuer: &str, scopes: &[String]) -> Value {
    json!({
        "resource": format!("{base}/mcp"),
        "resource_name": "Shannon",
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
        "scopes_supported": scopes,
    })
}

fn refused(status: StatusCode, words: &str) -> Response<Body> {
    json_response(status, &json!({"error": "not_found", "message": words}))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn asked(of: &ProtectedResource, method: Method, path: &str) -> Option<(u16, Value)> {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("host", "abc.execute-api.example");
        let answer = of.answer(&request.body(Bytes::new()).expect("a request"))?;
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.expect("cannot fail");
        Some((
            status,
            serde_json::from_slice(&bytes.to_bytes()).expect("JSON"),
        ))
    }

    #[tokio::test]
    async fn both_forms_say_who_gives_tokens_for_what() {
        let public = Some("https://shannon.example/");
        let issuer = Some("https://issuer.example");
        let of = ProtectedResource::new(public, "production", issuer, None);
        let expected = json!({
            "resource": "https://shannon.example/mcp",
            "resource_name": "Shannon",
            "authorization_servers": ["https://issuer.example"],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["sessions:read", "sessions:write"],
        });
        for path in [ROOT_PATH, METADATA_PATH] {
            let answer = asked(&of, Method::GET, path).await;
            assert_eq!(answer, Some((200, expected.clone())), "{path}");
            let posted = asked(&of, Method::POST, path).await;
            assert_eq!(posted.map(|it| it.0), Some(405));
        }
        for other in [
            "/mcp",
            "/.well-known/oauth-protected-resource/other",
            "/health",
        ] {
            assert_eq!(asked(&of, Method::GET, other).await, None, "{other}");
        }
        // Without an address of its own it has that of its API.
        let of = ProtectedResource::new(None, "production", issuer, Some("https://a.example/mcp/"));
        let (_, document) = asked(&of, Method::GET, ROOT_PATH).await.expect("an answer");
        let resource = "https://abc.execute-api.example/production/mcp";
        assert_eq!(document["resource"], resource);
        // And scopes as the issuer calls them.
        assert_eq!(
            document["scopes_supported"],
            json!([
                "https://a.example/mcp/sessions:read",
                "https://a.example/mcp/sessions:write"
            ])
        );
    }

    #[tokio::test]
    async fn without_an_issuer_it_is_said_what_to_send() {
        let of = ProtectedResource::new(Some("https://shannon.example"), "production", None, None);
        let (status, answer) = asked(&of, Method::GET, METADATA_PATH)
            .await
            .expect("an answer");
        assert_eq!(status, 404);
        assert!(
            answer["message"]
                .as_str()
                .is_some_and(|it| it.contains("API key"))
        );
    }
}
