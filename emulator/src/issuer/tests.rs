//! The issuer over its routes, as clients and browsers use it.

use std::collections::BTreeMap;

use axum::{Router, body::Body, routing::get};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use url::{Url, form_urlencoded};

use super::*;

const URL: &str = "http://127.0.0.1:8080";
const TOKEN: &str = "the-development-token-of-this-test";
const REDIRECT: &str = "http://localhost:50123/callback";
const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters";

struct Tested {
    router: Router,
    _directory: tempfile::TempDir,
}

struct Answered {
    status: StatusCode,
    location: Option<String>,
    text: String,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// What the browser brings to the client.
    fn brought(&self) -> BTreeMap<String, String> {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.text);
        let url = Url::parse(self.location.as_deref().expect("a place")).expect("an address");
        assert!(url.as_str().starts_with(REDIRECT));
        url.query_pairs().into_owned().collect()
    }
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

impl Tested {
    fn new(documents: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let issuer = Issuer::open(IssuerOptions {
            url: URL.to_owned(),
            resource: format!("{URL}/mcp"),
            token: TOKEN.to_owned(),
            file: directory.path().join("issuer.json"),
            key: None,
            documents,
        });
        let others = Router::new().fallback(|| async { "others" });
        Self {
            router: before(Some(&issuer.unwrap()), others),
            _directory: directory,
        }
    }

    async fn send(&self, method: &str, path: &str, body: impl Into<Body>) -> Answered {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let location = response.headers().get("location");
        let location = location.map(|value| value.to_str().unwrap().to_owned());
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answered {
            status,
            location,
            text: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    async fn register(&self) -> String {
        let client =
            json!({"client_name": "<b>x</b>", "redirect_uris": ["http://localhost/callback"]});
        let answered = self
            .send("POST", "/oauth/register", client.to_string())
            .await;
        assert_eq!(answered.status, StatusCode::CREATED);
        answered.json()["client_id"].as_str().unwrap().to_owned()
    }

    async fn ask(&self, pairs: &[(&str, &str)]) -> Answered {
        let path = format!("/oauth/authorize?{}", encoded(pairs));
        self.send("GET", &path, Body::empty()).await
    }

    async fn decide(&self, asked: &[(&str, &str)], decided: &[(&str, &str)]) -> Answered {
        let form = encoded(&[asked, decided].concat());
        self.send("POST", "/oauth/authorize", form).await
    }

    async fn token(&self, pairs: &[(&str, &str)]) -> Answered {
        self.send("POST", "/oauth/token", encoded(pairs)).await
    }

    /// Checks the signature with the public key, and gives the claims.
    async fn claims(&self, token: &str) -> Value {
        let keys = self.send("GET", "/oauth/keys", Body::empty()).await.json();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let header: Value = decoded(signed.split_once('.').unwrap().0);
        assert_eq!(header["kid"], keys["keys"][0]["kid"]);
        let key = BASE64
            .decode(keys["keys"][0]["x"].as_str().unwrap())
            .unwrap();
        let signature = BASE64.decode(signature).unwrap();
        UnparsedPublicKey::new(&ED25519, key)
            .verify(signed.as_bytes(), &signature)
            .expect("signed by the key that is published");
        decoded(signed.split_once('.').unwrap().1)
    }
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&BASE64.decode(part).unwrap()).unwrap()
}

fn challenge() -> String {
    BASE64.encode(<sha2::Sha256 as sha2::Digest>::digest(VERIFIER))
}

/// The parameters of a request, without the one that is named in `but`.
fn asked<'a>(client: &'a str, challenge: &'a str, but: &str) -> Vec<(&'a str, &'a str)> {
    let all = [
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", REDIRECT),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
        ("scope", "openid sessions:read sessions:write approve"),
        ("state", "s & t"),
        ("resource", "http://127.0.0.1:8080/mcp"),
    ];
    all.into_iter().filter(|(name, _)| *name != but).collect()
}

#[tokio::test]
async fn a_person_logs_a_client_in() {
    let tested = Tested::new(false);
    let metadata = "/.well-known/oauth-authorization-server";
    let metadata = tested.send("GET", metadata, Body::empty()).await.json();
    assert_eq!(metadata["issuer"], URL);
    assert!(
        metadata
            .get("client_id_metadata_document_supported")
            .is_none()
    );
    let (client, challenge) = (tested.register().await, challenge());
    let asked = asked(&client, &challenge, "");
    let page = tested.ask(&asked).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("&lt;b&gt;x&lt;/b&gt;"), "{}", page.text);
    assert!(
        page.text.contains("value=\"approve\"> decide"),
        "{}",
        page.text
    );
    assert!(page.text.contains("value=\"sessions:read\" checked"));

    let denied = tested.decide(&asked, &[("decision", "deny")]).await;
    let denied = denied.brought();
    assert_eq!(
        (&*denied["error"], &*denied["state"]),
        ("access_denied", "s & t")
    );
    assert_eq!(denied["iss"], URL);
    for decided in [
        vec![("decision", "allow"), ("granted", "sessions:read")],
        vec![
            ("decision", "allow"),
            ("granted", "sessions:read"),
            ("development_token", "x"),
        ],
        vec![("decision", "allow"), ("development_token", TOKEN)],
        // More than was asked for is nothing.
        vec![
            ("decision", "allow"),
            ("development_token", TOKEN),
            ("granted", "admin"),
        ],
    ] {
        let refused = tested.decide(&asked, &decided).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{decided:?}");
        assert!(refused.text.contains("role=\"alert\""));
        assert!(!refused.text.contains(TOKEN), "a page never has it");
    }
    let allow = [
        ("decision", "allow"),
        ("development_token", TOKEN),
        ("granted", "sessions:read"),
    ];
    let allowed = tested.decide(&asked, &allow).await.brought();
    assert_eq!(allowed["state"], "s & t");
    let fetch = [
        ("grant_type", "authorization_code"),
        ("code", &allowed["code"]),
        ("client_id", &client),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
        ("resource", "http://127.0.0.1:8080/mcp"),
    ];
    let tokens = tested.token(&fetch).await;
    assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text);
    let tokens = tokens.json();
    assert_eq!(tokens["scope"], "sessions:read");
    let claims = tested
        .claims(tokens["access_token"].as_str().unwrap())
        .await;
    assert_eq!(
        (&claims["iss"], &claims["sub"]),
        (&json!(URL), &json!(SUBJECT))
    );
    assert_eq!(
        (&claims["aud"], &claims["scope"]),
        (&json!("http://127.0.0.1:8080/mcp"), &json!("sessions:read"))
    );
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
        ("client_id", &client),
    ];
    let refreshed = tested.token(&refresh).await;
    assert_eq!(refreshed.status, StatusCode::OK);
    assert_ne!(refreshed.json()["refresh_token"], tokens["refresh_token"]);
    let again = tested.token(&refresh).await;
    assert_eq!(
        (again.status, &again.json()["error"]),
        (StatusCode::BAD_REQUEST, &json!("invalid_grant"))
    );
    // What is not the issuer's is the gateway's.
    assert_eq!(
        tested.send("GET", "/mcp", Body::empty()).await.text,
        "others"
    );
    let wrong = tested.send("GET", "/oauth/token", Body::empty()).await;
    assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn what_is_wrong_is_said_to_whom_it_concerns() {
    let tested = Tested::new(false);
    let (client, challenge) = (tested.register().await, challenge());
    // The browser is sent nowhere that is not known.
    for (but, instead) in [
        ("client_id", None),
        ("client_id", Some("someone")),
        (
            "client_id",
            Some("https://claude.ai/oauth/claude-code-client-metadata"),
        ),
        ("redirect_uri", None),
        ("redirect_uri", Some("http://localhost:50123/elsewhere")),
        ("redirect_uri", Some("https://evil.example/callback")),
    ] {
        let mut asked = asked(&client, &challenge, but);
        asked.extend(instead.map(|instead| (but, instead)));
        let page = tested.ask(&asked).await;
        assert_eq!(
            (page.status, page.location),
            (StatusCode::BAD_REQUEST, None),
            "{but}"
        );
        let posted = tested
            .decide(
                &asked,
                &[("decision", "allow"), ("development_token", TOKEN)],
            )
            .await;
        assert_eq!(posted.location, None, "{but}");
    }
    for (but, instead, error) in [
        ("response_type", Some("token"), "unsupported_response_type"),
        ("code_challenge_method", None, "invalid_request"),
        ("code_challenge_method", Some("plain"), "invalid_request"),
        ("code_challenge", None, "invalid_request"),
        ("code_challenge", Some("short"), "invalid_request"),
        (
            "resource",
            Some("https://other.example/mcp"),
            "invalid_target",
        ),
        ("scope", Some("openid profile"), "invalid_scope"),
    ] {
        let mut asked = asked(&client, &challenge, but);
        asked.extend(instead.map(|instead| (but, instead)));
        let brought = tested.ask(&asked).await.brought();
        assert_eq!(brought["error"], error, "{but}: {brought:?}");
        assert_eq!(brought["state"], "s & t");
    }
    let mut twice = asked(&client, &challenge, "");
    twice.push(("state", "other"));
    assert_eq!(tested.ask(&twice).await.status, StatusCode::BAD_REQUEST);

    for (pairs, error) in [
        (vec![], "invalid_request"),
        (vec![("grant_type", "password")], "unsupported_grant_type"),
        (
            vec![("grant_type", "authorization_code")],
            "invalid_request",
        ),
        (
            vec![
                ("grant_type", "refresh_token"),
                ("refresh_token", "x.y"),
                ("client_id", "c"),
            ],
            "invalid_grant",
        ),
        (
            vec![("resource", "https://other.example")],
            "invalid_target",
        ),
    ] {
        let refused = tested.token(&pairs).await;
        assert_eq!(refused.json()["error"], error, "{pairs:?}");
    }
    for (body, error) in [
        ("", "invalid_client_metadata"),
        ("{}", "invalid_redirect_uri"),
        (
            r#"{"redirect_uris": ["http://evil.example/"]}"#,
            "invalid_redirect_uri",
        ),
        (
            r#"{"redirect_uris": ["https://a.example/"], "token_endpoint_auth_method": "private_key_jwt"}"#,
            "invalid_client_metadata",
        ),
    ] {
        let refused = tested.send("POST", "/oauth/register", body).await;
        assert_eq!(refused.json()["error"], error, "{body}");
    }
    let huge = tested
        .send("POST", "/oauth/token", "x".repeat(100_000))
        .await;
    assert_eq!(huge.json()["error"], "invalid_request");
}

#[tokio::test]
async fn a_client_may_be_a_document_where_that_is_wanted() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let document = |id: String| {
        json!({"client_id": id, "client_name": "a document", "redirect_uris": [REDIRECT]})
            .to_string()
    };
    let (good, other) = (
        document(format!("{base}/good")),
        document(format!("{base}/good")),
    );
    let served = Router::new()
        .route("/good", get(move || async { good }))
        .route("/other", get(move || async { other }))
        .route("/huge", get(|| async { "x".repeat(100_000) }))
        .route("/text", get(|| async { "no document" }));
    tokio::spawn(async move { axum::serve(listener, served).await });
    let tested = Tested::new(true);
    let metadata = "/.well-known/openid-configuration";
    let metadata = tested.send("GET", metadata, Body::empty()).await.json();
    assert_eq!(metadata["client_id_metadata_document_supported"], true);
    let challenge = challenge();
    let client = format!("{base}/good");
    let page = tested.ask(&asked(&client, &challenge, "")).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(page.text.contains("a document"));
    for (path, words) in [
        ("other", "about another client"),
        ("huge", "more than"),
        ("text", "cannot be used"),
        ("missing", "404"),
    ] {
        let client = format!("{base}/{path}");
        let page = tested.ask(&asked(&client, &challenge, "")).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
        assert!(page.text.contains(words), "{path}: {}", page.text);
    }
    let not_here = Tested::new(false)
        .ask(&asked(&client, &challenge, ""))
        .await;
    assert_eq!(not_here.status, StatusCode::BAD_REQUEST);
}
