//! Who asks for tokens: clients that registered themselves (RFC 7591), and clients whose id is the
//! address of a document about them (client id metadata documents).
//!
//! A registration is kept by the client: its id holds what was registered, and a MAC. So nothing piles
//! up here, the same registration gives the same id, and it outlives a restart.

use std::time::Duration;

use axum::{body::Bytes, extract::State, response::Response};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use http::StatusCode;
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::{Host, Url};

use super::{Issuer, answer, now, refusal};

const PREFIX: &str = "dcr.";
const MOST_REDIRECTS: usize = 10;
const MOST_REDIRECT_BYTES: usize = 500;
const MOST_NAME_CHARACTERS: usize = 100;
/// Of a document about a client. The draft says 5 KB.
const MOST_DOCUMENT_BYTES: usize = 64 * 1024;
const DOCUMENT_DEADLINE: Duration = Duration::from_secs(5);

/// A client: what is known of it is what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Client {
    /// Its name for people.
    pub(super) name: String,
    /// Where codes may be sent.
    pub(super) redirects: Vec<String>,
}

impl Client {
    /// Checks what a client says of itself.
    fn read(said: &Value) -> Result<Self, String> {
        let name = said["client_name"].as_str().unwrap_or("a client");
        let redirects = said["redirect_uris"].as_array();
        let redirects = redirects.ok_or("redirect_uris is missing: a list of addresses")?;
        if redirects.is_empty() || redirects.len() > MOST_REDIRECTS {
            return Err(format!("redirect_uris has 1 to {MOST_REDIRECTS} addresses"));
        }
        let redirect = |uri: &Value| {
            let uri = uri
                .as_str()
                .ok_or("an address in redirect_uris is a text")?;
            may_redirect_to(uri)?;
            Ok::<_, String>(uri.to_owned())
        };
        if let Some(method) = said["token_endpoint_auth_method"].as_str()
            && method != "none"
        {
            return Err(format!(
                "token_endpoint_auth_method {method}: clients have no secret here, so it is none"
            ));
        }
        Ok(Self {
            name: name.chars().take(MOST_NAME_CHARACTERS).collect(),
            redirects: redirects.iter().map(redirect).collect::<Result<_, _>>()?,
        })
    }

    /// Whether a code may be sent there: one of its addresses, on a loopback address with any port
    /// (RFC 8252, section 7.3).
    pub(super) fn may_have(&self, redirect: &str) -> bool {
        self.redirects
            .iter()
            .any(|known| known == redirect || same_but_port(known, redirect))
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn same_but_port(known: &str, redirect: &str) -> bool {
    let (Ok(mut known), Ok(mut redirect)) = (Url::parse(known), Url::parse(redirect)) else {
        return false;
    };
    known.scheme() == "http"
        && is_loopback(&known)
        && known.set_port(None).is_ok()
        && redirect.set_port(None).is_ok()
        && known == redirect
}

/// A code is for the program that asked: https, this machine, or a scheme of a program's own.
fn may_redirect_to(uri: &str) -> Result<(), String> {
    let bad = |why: &str| Err(format!("redirect_uris: {uri:.200} {why}"));
    if uri.len() > MOST_REDIRECT_BYTES {
        return bad("is too long");
    }
    let Ok(url) = Url::parse(uri) else {
        return bad("is no absolute address");
    };
    if url.fragment().is_some() {
        return bad("has a fragment");
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(&url) => Ok(()),
        "http" => bad("is http to another machine"),
        "javascript" | "data" | "file" | "blob" | "about" | "vbscript" | "ws" | "wss" | "ftp" => {
            bad("is no address of a program")
        }
        _ => Ok(()),
    }
}

/// What is known of clients.
pub(super) struct Registration {
    key: hmac::Key,
    documents: bool,
}

impl Registration {
    pub(super) fn new(seed: &[u8; 32], documents: bool) -> Self {
        // Another key than the one that signs tokens.
        let seed = hmac::Key::new(hmac::HMAC_SHA256, seed);
        let key = hmac::sign(&seed, b"client registrations");
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()),
            documents,
        }
    }

    /// The id of a client that registers itself.
    fn register(&self, client: &Client) -> Result<String, serde_json::Error> {
        let content = BASE64.encode(serde_json::to_vec(client)?);
        let mac = BASE64.encode(hmac::sign(&self.key, content.as_bytes()));
        Ok(format!("{PREFIX}{content}.{mac}"))
    }

    fn registered(&self, id: &str) -> Option<Client> {
        let (content, mac) = id.strip_prefix(PREFIX)?.split_once('.')?;
        let mac = BASE64.decode(mac).ok()?;
        hmac::verify(&self.key, content.as_bytes(), &mac).ok()?;
        serde_json::from_slice(&BASE64.decode(content).ok()?).ok()
    }

    /// The client of an id; the error is for the person whose browser was sent here.
    pub(super) async fn client(&self, id: &str) -> Result<Client, String> {
        if id.starts_with(PREFIX) {
            let unknown = "this client is not registered here (any more): remove it in your program \
                and log in again";
            return self.registered(id).ok_or_else(|| unknown.to_owned());
        }
        match Url::parse(id) {
            Ok(url) if self.documents && (url.scheme() == "https" || is_loopback(&url)) => {
                let document = document(&url).await;
                let document = document.map_err(|problem| {
                    format!(
                        "the client's document {id:.200} cannot be used: {problem}. To log in without \
                         such documents, start the emulator with SHANNON_DEV_ISSUER=registration"
                    )
                })?;
                if document["client_id"] != id {
                    return Err("the client's document is about another client".to_owned());
                }
                Client::read(&document)
            }
            _ => Err("client_id is not one of a client that registered here".to_owned()),
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// What a client's address says of it.
async fn document(url: &Url) -> Result<Value, String> {
    // Whoever comes first installs it; for the others it is there already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = reqwest::Client::builder()
        .timeout(DOCUMENT_DEADLINE)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| with_causes(&error))?;
    let request = client.get(url.clone()).header("accept", "application/json");
    let failed = |error: reqwest::Error| with_causes(&error);
    let mut response = request.send().await.map_err(failed)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("it was answered with {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        if body.len() + piece.len() > MOST_DOCUMENT_BYTES {
            return Err(format!("it has more than {MOST_DOCUMENT_BYTES} bytes"));
        }
        body.extend_from_slice(&piece);
    }
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}

/// `POST /oauth/register`.
pub(super) async fn register(State(issuer): State<Issuer>, body: Bytes) -> Response {
    const CODE: &str = "invalid_client_metadata";
    let said: Value = match serde_json::from_slice(&body) {
        Ok(said) => said,
        Err(error) => return refusal(CODE, &format!("not JSON: {error}")),
    };
    let client = match Client::read(&said) {
        Ok(client) => client,
        Err(problem) if problem.starts_with("redirect_uris") => {
            return refusal("invalid_redirect_uri", &problem);
        }
        Err(problem) => return refusal(CODE, &problem),
    };
    match issuer.0.registration.register(&client) {
        Ok(id) => answer(
            StatusCode::CREATED,
            &json!({
                "client_id": id,
                "client_id_issued_at": now(),
                "client_name": client.name,
                "redirect_uris": client.redirects,
                "token_endpoint_auth_method": "none",
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
            }),
        ),
        Err(error) => refusal(CODE, &error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(redirects: &[&str]) -> Result<Client, String> {
        Client::read(&json!({"client_name": "x", "redirect_uris": redirects}))
    }

    #[test]
    fn codes_go_to_programs_and_nowhere_else() {
        for good in [
            "https://claude.ai/api/mcp/auth_callback",
            "http://localhost/callback",
            "http://127.0.0.1:3/callback",
            "http://[::1]/",
            "cursor://anysphere.cursor-retrieval/oauth",
        ] {
            assert!(client(&[good]).is_ok(), "{good}");
        }
        for bad in [
            "http://example.com/callback",
            "http://localhost.example.com/",
            "javascript:alert(1)",
            "data:text/html,x",
            "/callback",
            "https://example.com/#x",
            "",
            &format!("https://example.com/{}", "x".repeat(500)),
        ] {
            assert!(client(&[bad]).is_err(), "{bad}");
        }
        assert!(client(&[]).is_err());
        assert!(client(&["https://a.example/"; 11]).is_err());
        assert!(Client::read(&json!({"redirect_uris": ["https://a.example/"], "token_endpoint_auth_method": "client_secret_basic"})).is_err());
    }

    #[test]
    fn only_the_port_of_this_machine_may_differ() {
        let client = client(&["http://127.0.0.1/callback", "https://a.example/x"]).unwrap();
        for good in [
            "http://127.0.0.1:50123/callback",
            "http://127.0.0.1/callback",
            "https://a.example/x",
        ] {
            assert!(client.may_have(good), "{good}");
        }
        for bad in [
            "http://127.0.0.1:50123/other",
            "http://localhost:50123/callback",
            "http://127.0.0.1:1/callback?x=y",
            "https://a.example:8443/x",
            "https://a.example/x/",
            "https://a.example.evil.example/x",
        ] {
            assert!(!client.may_have(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_registration_is_good_where_it_was_made() {
        let here = Registration::new(&[1; 32], false);
        let client = client(&["http://localhost/callback"]).unwrap();
        let id = here.register(&client).unwrap();
        assert_eq!(here.register(&client).unwrap(), id, "and nothing piles up");
        assert_eq!(here.client(&id).await, Ok(client));
        let elsewhere = Registration::new(&[2; 32], false);
        assert!(elsewhere.client(&id).await.is_err());
        let (content, mac) = id.rsplit_once('.').unwrap();
        for bad in [
            format!("{content}."),
            format!("{content}.{}", &mac[..4]),
            format!("{content}x.{mac}"),
            "dcr.".to_owned(),
            "https://example.com/client.json".to_owned(),
            "someone".to_owned(),
        ] {
            assert!(here.client(&bad).await.is_err(), "{bad}");
        }
    }
}
