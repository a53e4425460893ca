//! A development issuer: OAuth 2.1 for one person on one machine, so that the whole login of an MCP
//! client is there without an identity provider. It proves who somebody is by the development token.
//!
//! | path | what it is |
//! | --- | --- |
//! | `/.well-known/openid-configuration`, `/.well-known/oauth-authorization-server` | metadata (RFC 8414) |
//! | `/oauth/keys` | the public key (JWKS) |
//! | `/oauth/register` | registration of clients (RFC 7591) |
//! | `/oauth/authorize` | asks the person; code flow with PKCE (S256 only), `iss` in the answer (RFC 9207) |
//! | `/oauth/token` | codes and refresh tokens to access tokens (RFC 9068) for the resource (RFC 8707) |
//!
//! A code is good once, for a minute; a refresh token once, each answer has the next one, and using one
//! twice ends the login. Key and logins are kept in the state directory; of codes a restart forgets
//! all, and the client asks again.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    response::Response,
    routing::{get, post},
};
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use thiserror::Error;

mod authorize;
mod clients;
mod form;
mod grants;
mod page;
mod signing;
mod tokens;

#[cfg(test)]
mod tests;

use clients::Registration;
use grants::Grants;
use signing::Signer;

/// The one person of a development stack, as the claim `sub` has them. With [`OWNERS`] they are who the
/// development token is too: a login has the same sessions, and the token approves for it.
pub const SUBJECT: &str = "access-token";
/// Under which name the people of this issuer are owners, whatever port the stack has.
pub const OWNERS: &str = "shannon";
/// What tokens may allow. The first two are what clients get that ask for nothing.
pub const SCOPES: [&str; 4] = ["sessions:read", "sessions:write", "approve", "admin"];

/// Why there is no issuer.
#[derive(Debug, Error)]
pub enum IssuerError {
    /// What is kept cannot be read or written.
    #[error("cannot keep the logins in {}", path.display())]
    Kept {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no longer what was written.
    #[error("{} cannot be read: {problem}; delete it, and everybody logs in again", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// No randomness, or no key from it.
    #[error("cannot make a key: {0}")]
    Key(String),
}

/// What the issuer is told.
#[derive(Clone, Debug)]
pub struct IssuerOptions {
    /// Its address without a trailing slash: the claim `iss`.
    pub url: String,
    /// What its tokens are for: the claim `aud`.
    pub resource: String,
    /// By this the person proves who they are.
    pub token: String,
    /// Where key and logins are kept.
    pub file: PathBuf,
    /// What that file is encrypted with.
    pub key: Option<crate::encryption::StateKey>,
    /// Whether clients may be documents at an https address as well as registered ones.
    pub documents: bool,
}

/// The issuer; clones are the same one.
#[derive(Clone)]
pub struct Issuer(Arc<Inner>);

struct Inner {
    options: IssuerOptions,
    signer: Signer,
    registration: Registration,
    grants: Mutex<Grants>,
}

impl Issuer {
    /// Reads what is kept, or makes a key.
    ///
    /// # Errors
    /// [`IssuerError`].
    pub fn open(options: IssuerOptions) -> Result<Self, IssuerError> {
        let (grants, seed) = Grants::open(&options.file, options.key.as_ref())?;
        let signer = Signer::new(&seed)?;
        let registration = Registration::new(&seed, options.documents);
        Ok(Self(Arc::new(Inner {
            options,
            signer,
            registration,
            grants: Mutex::new(grants),
        })))
    }

    /// Its routes.
    pub fn router(&self) -> Router {
        let metadata = |State(issuer): State<Self>| async move { Json(issuer.metadata()) };
        let keys = |State(issuer): State<Self>| async move { Json(issuer.0.signer.public()) };
        Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/.well-known/oauth-authorization-server", get(metadata))
            .route("/oauth/keys", get(keys))
            .route("/oauth/register", post(clients::register))
            .route(
                "/oauth/authorize",
                get(authorize::ask).post(authorize::decide),
            )
            .route("/oauth/token", post(tokens::give))
            .with_state(self.clone())
    }

    fn metadata(&self) -> Value {
        let url = &self.0.options.url;
        let mut metadata = json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/oauth/authorize"),
            "token_endpoint": format!("{url}/oauth/token"),
            "registration_endpoint": format!("{url}/oauth/register"),
            "jwks_uri": format!("{url}/oauth/keys"),
            "scopes_supported": SCOPES,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA"],
            "token_endpoint_auth_methods_supported": ["none"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        });
        if self.0.options.documents {
            metadata["client_id_metadata_document_supported"] = true.into();
        }
        metadata
    }

    fn grants(&self) -> MutexGuard<'_, Grants> {
        self.0.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a token may be for this; a client may write it with a slash at its end.
    fn is_resource(&self, named: &str) -> bool {
        named.trim_end_matches('/') == self.0.options.resource.trim_end_matches('/')
    }
}

/// Seconds since 1970 on this machine's clock.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// JSON that no cache keeps.
fn answer(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let json = header::HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    let store = header::HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, store);
    response
}

/// An error as RFC 6749 and RFC 7591 spell it.
fn refusal(error: &str, description: &str) -> Response {
    let body = json!({"error": error, "error_description": description});
    answer(StatusCode::BAD_REQUEST, &body)
}

/// The service that answers what is the issuer's, and leaves the rest to `others`.
pub(crate) fn before(issuer: Option<&Issuer>, others: Router) -> Router {
    match issuer {
        None => others,
        Some(issuer) => issuer
            .router()
            .method_not_allowed_fallback(|method: Method| async move {
                let said = format!("{method} is not served here");
                answer(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": said}))
            })
            .fallback_service(others),
    }
}
