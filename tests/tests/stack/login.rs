//! Access tokens of an issuer, on the whole stack: an issuer of this test, its metadata and keys, and what
//! the gateway answers to whoever has no token of it, or one that allows too little.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::{Json, Router, routing::get};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e::mcp::Client;
use e2e::stack::{Options, Stack};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

/// An issuer on this machine, with one key.
struct Issuer {
    url: String,
    key: Ed25519KeyPair,
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

impl Issuer {
    async fn start() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let key = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let set = Arc::new(json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "one", "use": "sig", "x": encoded(key.public_key())},
        ]}));
        let metadata = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let keys = move || {
            let set = Arc::clone(&set);
            async move { Json((*set).clone()) }
        };
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(move || {
                    let metadata = metadata.clone();
                    async move { Json(metadata) }
                }),
            )
            .route("/keys", get(keys.clone()))
            .route("/elsewhere", get(keys));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, key }
    }

    fn options(&self) -> Options {
        Options::default()
            .with("SHANNON_OIDC_ISSUER", &self.url)
            .with("SHANNON_AUTHORIZATION_CACHE_SECONDS", "0")
    }

    /// A token of this person, with these claims on top.
    fn token(&self, audience: &str, more: Value) -> String {
        let header = json!({"alg": "EdDSA", "kid": "one", "typ": "at+jwt"});
        let mut claims = json!({
            "iss": self.url, "sub": "ann", "aud": audience, "exp": seconds() + 300,
            "scope": "openid sessions:read",
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        let signed = format!(
            "{}.{}",
            encoded(header.to_string()),
            encoded(claims.to_string())
        );
        let signature = encoded(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

fn with(stack: &Stack, token: &str) -> Client {
    stack.client().with_token(Some(token))
}

async fn status(stack: &Stack, token: &str) -> u16 {
    let client = with(stack, token);
    client.request("tools/list", json!({})).await.status
}

/// The challenge of an answer that no function gave.
fn challenge(answer: &e2e::mcp::Answer) -> String {
    let header = answer.headers.get("www-authenticate");
    let header = header.expect("a challenge under its own name");
    header.to_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_token_of_the_issuer_is_let_in() {
    let issuer = Issuer::start().await;
    let stack = Stack::start(&issuer.options());
    let resource = stack.mcp_url();

    // Without a token: where to get one, and for what.
    let nobody = stack.client().with_token(None);
    let refused = nobody.request("tools/list", json!({})).await;
    assert_eq!(refused.status, 401);
    let metadata = format!("{}/.well-known/oauth-protected-resource", stack.url());
    assert_eq!(
        challenge(&refused),
        format!(
            "Bearer scope=\"sessions:read sessions:write\", resource_metadata=\"{metadata}/mcp\""
        )
    );
    for url in [format!("{metadata}/mcp"), metadata.clone()] {
        let found = nobody.http().get(&url).send().await.expect("an answer");
        assert_eq!(found.status(), 200, "{url}");
        let found: Value = found.json().await.expect("JSON");
        assert_eq!(found["resource"], resource.as_str());
        assert_eq!(found["authorization_servers"], json!([issuer.url]));
    }

    // With one: sessions of one's own, and only what it allows.
    let token = issuer.token(&resource, json!({}));
    let ann = with(&stack, &token);
    let listed = ann.call("list_sessions", json!({})).await;
    assert_eq!(listed["sessions"], json!([]));
    let tools = ann.request("tools/list", json!({})).await.body;
    assert!(tools.contains(r#""name":"list_sessions""#));
    assert!(!tools.contains(r#""name":"create_session""#));
    let created = json!({"name": "create_session", "arguments": {"prompt": "x"}});
    let created = ann.request("tools/call", created).await;
    assert_eq!(created.status, 403);
    let (_, words) = created.error();
    assert!(words.contains("sessions:write"), "{words}");
    let writer = issuer.token(&resource, json!({"scope": "sessions:read sessions:write"}));
    let writer = with(&stack, &writer);
    let session = writer.call("create_session", json!({"prompt": "x"})).await;
    let listed = ann.call("list_sessions", json!({})).await;
    assert_eq!(listed["sessions"][0]["session_id"], session["session_id"]);
    let bob = with(&stack, &issuer.token(&resource, json!({"sub": "bob"})));
    assert_eq!(
        bob.call("list_sessions", json!({})).await["sessions"],
        json!([])
    );
    // The deployment's own token is somebody else.
    let own = stack.client().call("list_sessions", json!({})).await;
    assert_eq!(own["sessions"], json!([]));

    // A token without any of our scopes is known and denied, by the gateway.
    let weak = issuer.token(&resource, json!({"scope": "openid"}));
    let weak = with(&stack, &weak).request("tools/list", json!({})).await;
    assert_eq!(weak.status, 403);
    assert_eq!(
        challenge(&weak),
        format!(
            "Bearer error=\"insufficient_scope\", scope=\"sessions:read sessions:write\", \
             resource_metadata=\"{metadata}/mcp\""
        )
    );

    // What is no good is answered like no token.
    let other = Issuer::start().await;
    let unsigned = token.rsplit_once('.').expect("a signature").0.to_owned();
    for (bad, what) in [
        (
            issuer.token("https://other.example/mcp", json!({})),
            "audience",
        ),
        (issuer.token(&resource, json!({"iss": other.url})), "issuer"),
        (
            issuer.token(&resource, json!({"exp": seconds() - 300})),
            "expired",
        ),
        (
            issuer.token(&resource, json!({"nbf": seconds() + 300})),
            "not yet",
        ),
        (
            other.token(&resource, json!({"iss": issuer.url})),
            "other key",
        ),
        (format!("{unsigned}."), "unsigned"),
        (
            issuer.token(&resource, json!({"x": "x".repeat(6200)})),
            "huge",
        ),
    ] {
        assert_eq!(status(&stack, &bad).await, 401, "{what}");
    }
    assert_eq!(status(&stack, &token).await, 200);
    assert!(!stack.logs().contains(&token), "no log has it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_say_which_tokens_count_and_what_they_allow() {
    let issuer = Issuer::start().await;
    let options = issuer
        .options()
        .with("SHANNON_OIDC_OWNERS", "shannon")
        .with("SHANNON_OIDC_AUDIENCE", "shannon,other")
        .with(
            "SHANNON_OIDC_JWKS_URL",
            &format!("{}/elsewhere", issuer.url),
        )
        .with("SHANNON_OIDC_SCOPE_CLAIMS", "groups")
        .with("SHANNON_OIDC_SCOPE_MAP", "ops=role:developer");
    let stack = Stack::start(&options);
    let groups = |names: Value| json!({"groups": names, "scope": "admin"});
    let ops = issuer.token("shannon", groups(json!(["ops"])));
    // A group of that name was made for something else.
    let admins = issuer.token("shannon", groups(json!(["ops", "admin", "approve"])));
    let tools = with(&stack, &admins).request("tools/list", json!({})).await;
    assert!(
        !tools.body.contains(r#""name":"query_audit""#),
        "{}",
        tools.body
    );
    // Its people are known under the name that was said: here one of them is who the token is.
    let same = issuer.token("shannon", json!({"sub": "access-token", "groups": ["ops"]}));
    let own = json!({"prompt": "x"});
    let own = stack.client().call("create_session", own).await["session_id"].clone();
    let listed = with(&stack, &same).call("list_sessions", json!({})).await;
    assert_eq!(listed["sessions"][0]["session_id"], own);
    let tools = with(&stack, &ops).request("tools/list", json!({})).await;
    assert_eq!(tools.status, 200);
    assert!(tools.body.contains(r#""name":"create_session""#));
    assert!(!tools.body.contains(r#""name":"query_audit""#));
    assert_eq!(
        status(&stack, &issuer.token("other", groups(json!("ops")))).await,
        200
    );
    let own = issuer.token(&stack.mcp_url(), groups(json!(["ops"])));
    assert_eq!(status(&stack, &own).await, 401);
    drop(stack);
    let stack = Stack::start(&options.with("SHANNON_OIDC_ALGORITHMS", "RS256,ES256"));
    assert_eq!(status(&stack, &ops).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_on_this_machine_is_for_local_deployments() {
    let issuer = Issuer::start().await;
    let stack = Stack::start(&issuer.options().with("SHANNON_OIDC_ADDRESSES", "public"));
    let token = issuer.token(&stack.mcp_url(), json!({}));
    // The authorizer does not start, and so lets nobody in.
    assert_eq!(status(&stack, &token).await, 500);
    assert!(
        stack.logs().contains("the address is not https"),
        "{}",
        stack.logs()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stack_has_an_issuer_of_its_own_unless_it_is_told_otherwise() {
    const METADATA: &str = ".well-known/oauth-authorization-server";
    const DOCUMENTS: &str = "client_id_metadata_document_supported";
    let issuer = Issuer::start().await;
    for (options, is_there, documents) in [
        (Options::default(), true, false),
        (
            Options::default().with("SHANNON_DEV_ISSUER", "documents"),
            true,
            true,
        ),
        (
            Options::default().with("SHANNON_DEV_ISSUER", "off"),
            false,
            false,
        ),
        (issuer.options(), false, false),
    ] {
        let stack = Stack::start(&options);
        let client = stack.client();
        let found = client.http().get(format!("{}/{METADATA}", stack.url()));
        let found = found.send().await.expect("an answer");
        assert_eq!(found.status() == 200, is_there);
        if is_there {
            let found: Value = found.json().await.expect("JSON");
            assert_eq!(found["issuer"], stack.url());
            assert_eq!(found[DOCUMENTS] == true, documents);
        }
    }
}
