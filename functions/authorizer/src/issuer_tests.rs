//! Tokens of an issuer, and attacks with what looks like one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;

use super::*;
use crate::test_issuer::{Published, Signer, encoded};

const ISSUER: &str = "https://issuer.example/tenant";
const AUDIENCE: &str = "https://shannon.example/mcp";
const NOW: u64 = 1_800_000_000;
const SKEW_SECONDS: u64 = 60;

fn every_algorithm() -> Vec<Algorithm> {
    signature::ALGORITHMS.map(|it| it.1).to_vec()
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "user-1", "aud": AUDIENCE, "exp": NOW + 300,
        "scope": "openid sessions:read sessions:write",
    })
}

fn header(signer: &Signer) -> Value {
    json!({"alg": signer.algorithm(), "kid": "k", "typ": "at+jwt"})
}

fn rules() -> ScopeRules {
    ScopeRules::new(vec!["scope".to_owned(), "groups".to_owned()], &[]).expect("rules")
}

fn issuer_with(jwks: &[Value], algorithms: Vec<Algorithm>) -> Issuer<Published> {
    let keys = Keys::new(Published::new([Published::keys(jwks)]), 300);
    let audiences = [AUDIENCE.to_owned()];
    Issuer::new(ISSUER, &audiences, algorithms, SKEW_SECONDS, rules(), keys)
}

fn issuer(signer: &Signer) -> Issuer<Published> {
    issuer_with(&[signer.jwk("k")], every_algorithm())
}

async fn check(issuer: &Issuer<Published>, token: &str) -> Result<Caller, TokenRefused> {
    issuer.check(token, UnixMillis(NOW * 1000)).await
}

/// With other claims than the usual ones.
async fn with(changes: Value) -> Result<Caller, TokenRefused> {
    let signer = Signer::ed();
    let mut claims = claims();
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    check(&issuer(&signer), &signer.token(&header(&signer), &claims)).await
}

#[tokio::test]
async fn a_token_of_each_kind_says_who_calls_what_for_and_until_when() {
    for signer in [Signer::rsa(), Signer::ec(), Signer::ed()] {
        let token = signer.token(&header(&signer), &claims());
        let caller = check(&issuer(&signer), &token).await.expect("let in");
        assert_eq!(caller.principal.owner, OwnerId::of(ISSUER, "user-1"));
        assert_eq!(caller.principal.scopes, ["sessions:read", "sessions:write"]);
        let end = (NOW + 300 + SKEW_SECONDS) * 1000;
        assert_eq!(caller.expires_at, Some(UnixMillis(end)));
    }
    let several = with(json!({"aud": ["https://other.example", AUDIENCE]})).await;
    assert!(several.is_ok());
}

#[tokio::test]
async fn no_other_issuer_audience_or_person() {
    for (changes, what) in [
        (json!({"iss": "https://issuer.example"}), "issuer"),
        (json!({"iss": format!("{ISSUER}/")}), "issuer"),
        (json!({"iss": [ISSUER]}), "list of issuers"),
        (
            json!({"iss": ["https://evil.example", ISSUER]}),
            "list of issuers",
        ),
        (json!({"iss": null}), "no issuer"),
        (json!({"aud": "https://other.example/mcp"}), "audience"),
        (json!({"aud": ["https://other.example/mcp"]}), "audiences"),
        (json!({"aud": []}), "no audience"),
        (json!({"aud": null}), "no audience"),
        (json!({"aud": format!("{AUDIENCE}/")}), "audience"),
        (json!({"aud": 1}), "number for an audience"),
        (json!({"sub": null}), "no subject"),
        (json!({"sub": ""}), "empty subject"),
        (json!({"sub": 7}), "number for a subject"),
        (
            json!({"sub": "x".repeat(limits::SUBJECT_BYTES + 1)}),
            "long subject",
        ),
    ] {
        assert!(with(changes.clone()).await.is_err(), "{what}: {changes}");
    }
}

/// An access token as Cognito makes it for a client that asks for no resource: without an audience.
fn of_cognito() -> Value {
    let prefix = format!("{AUDIENCE}/");
    json!({
        "iss": ISSUER, "sub": "user-1", "exp": NOW + 300, "auth_time": NOW, "iat": NOW,
        "client_id": "client-1", "origin_jti": "o", "jti": "j", "version": 2, "token_use": "access",
        "username": "ann", "event_id": "e",
        "scope": format!("openid {prefix}sessions:read {prefix}sessions:write approve"),
    })
}

async fn cognito(clients: &[&str], prefix: &str, changes: Value) -> Result<Caller, TokenRefused> {
    let signer = Signer::rsa();
    let keys = Keys::new(Published::new([Published::keys(&[signer.jwk("k")])]), 300);
    let audiences = [AUDIENCE.to_owned()];
    let clients = clients.iter().map(|it| (*it).to_owned()).collect();
    let rules = rules().with_prefix(prefix);
    let issuer = Issuer::new(
        ISSUER,
        &audiences,
        every_algorithm(),
        SKEW_SECONDS,
        rules,
        keys,
    )
    .with_clients(clients);
    let mut claims = of_cognito();
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    check(&issuer, &signer.token(&header(&signer), &claims)).await
}

#[tokio::test]
async fn a_token_without_an_audience_is_good_for_clients_that_are_named() {
    let prefix = format!("{AUDIENCE}/");
    let clients = ["other", "client-1"];
    let caller = cognito(&clients, &prefix, json!({})).await.expect("let in");
    assert_eq!(caller.principal.owner, OwnerId::of(ISSUER, "user-1"));
    // What has our name without the prefix was made for something else.
    assert_eq!(caller.principal.scopes, ["sessions:read", "sessions:write"]);
    for (clients, changes) in [
        (&[] as &[&str], json!({})),
        (&["other"], json!({})),
        (&[""], json!({"client_id": ""})),
        (&clients, json!({"client_id": "client-1 "})),
        (&clients, json!({"client_id": ["client-1"]})),
        (&clients, json!({"client_id": null})),
        // One that names an audience is for that.
        (&clients, json!({"aud": "https://other.example/mcp"})),
        (&clients, json!({"aud": []})),
        (&clients, json!({"aud": null})),
        (&clients, json!({"aud": "client-1"})),
        // Who somebody is says nothing about what may be done.
        (&clients, json!({"token_use": "id"})),
        (&clients, json!({"token_use": "id", "aud": AUDIENCE})),
        (&clients, json!({"token_use": null})),
    ] {
        let refused = cognito(clients, &prefix, changes.clone()).await;
        let refused = matches!(refused, Err(TokenRefused::Audience));
        let empty = clients == [""] && changes == json!({"client_id": ""});
        assert!(refused || empty, "{clients:?} {changes}");
    }
    // With a resource it has one, and needs no client.
    let bound = cognito(&[], &prefix, json!({"aud": AUDIENCE})).await;
    assert!(bound.is_ok(), "{bound:?}");
}

#[tokio::test]
async fn the_prefix_of_the_issuer_is_taken_off_its_scopes() {
    let scopes = async |prefix: &str| {
        let caller = cognito(&["client-1"], prefix, json!({})).await;
        caller.expect("let in").principal.scopes
    };
    let prefix = format!("{AUDIENCE}/");
    assert_eq!(scopes(&prefix).await, ["sessions:read", "sessions:write"]);
    assert_eq!(scopes("").await, ["approve"]);
    assert!(scopes("https://evil.example/").await.is_empty());
}

#[tokio::test]
async fn only_in_its_time_give_or_take_the_skew() {
    let skew = SKEW_SECONDS;
    for (changes, good) in [
        (json!({"exp": NOW - skew + 1}), true),
        (json!({"exp": NOW - skew}), false),
        (json!({"exp": NOW as f64 - skew as f64 + 0.5}), true),
        (json!({"exp": 0}), false),
        (json!({"exp": -1}), false),
        (json!({"exp": null}), false),
        (json!({"exp": "1900000000"}), false),
        (json!({"exp": 1e300}), false),
        (json!({"nbf": NOW + skew}), true),
        (json!({"nbf": NOW + skew + 1}), false),
        (json!({"nbf": "soon"}), false),
        (json!({"nbf": 1e300}), false),
    ] {
        let outcome = with(changes.clone()).await;
        assert_eq!(outcome.is_ok(), good, "{changes}: {outcome:?}");
    }
    // As much as the setting says.
    let signer = Signer::ed();
    for (seconds, good) in [(0, false), (300, true)] {
        let keys = Keys::new(Published::new([Published::keys(&[signer.jwk("k")])]), 300);
        let audiences = [AUDIENCE.to_owned()];
        let issuer = Issuer::new(
            ISSUER,
            &audiences,
            every_algorithm(),
            seconds,
            rules(),
            keys,
        );
        let mut old = claims();
        old["exp"] = (NOW - 200).into();
        let outcome = check(&issuer, &signer.token(&header(&signer), &old)).await;
        assert_eq!(outcome.is_ok(), good, "{outcome:?}");
    }
}

/// What is signed by nobody, or in a way that nobody permitted.
#[tokio::test]
async fn unsigned_tokens_and_confused_keys_open_nothing() {
    let rsa = Signer::rsa();
    let issuer = issuer(&rsa);
    let body = encoded(claims().to_string());
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let head = encoded(json!({"alg": none, "kid": "k"}).to_string());
        for signature in ["", "x"] {
            let token = format!("{head}.{body}.{signature}");
            assert!(check(&issuer, &token).await.is_err(), "{none} {signature}");
        }
    }
    // The public key, which everybody has, as the secret of an HMAC: in each form that somebody might use.
    let jwk = rsa.jwk("k");
    let modulus = jwk["n"].as_str().expect("text");
    let secrets = [
        modulus.as_bytes().to_vec(),
        URL_SAFE_NO_PAD.decode(modulus).expect("base64"),
        jwk.to_string().into_bytes(),
    ];
    for algorithm in ["HS256", "RS256", "ES256", "EdDSA"] {
        let head = encoded(json!({"alg": algorithm, "kid": "k"}).to_string());
        for secret in &secrets {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length");
            let signed = format!("{head}.{body}");
            mac.update(signed.as_bytes());
            let token = format!("{signed}.{}", encoded(mac.finalize().into_bytes()));
            assert!(check(&issuer, &token).await.is_err(), "{algorithm}");
        }
    }
    // A key of another kind under the same name, and one that the token brings itself.
    for signer in [Signer::ec(), Signer::ed()] {
        let mut head = header(&signer);
        assert!(
            check(&issuer, &signer.token(&head, &claims()))
                .await
                .is_err()
        );
        head["alg"] = "RS256".into();
        assert!(
            check(&issuer, &signer.token(&head, &claims()))
                .await
                .is_err()
        );
        head["jwk"] = signer.jwk("k");
        head["jku"] = "https://evil.example/keys".into();
        assert!(
            check(&issuer, &signer.token(&head, &claims()))
                .await
                .is_err()
        );
    }
    let good = rsa.token(&header(&rsa), &claims());
    assert!(check(&issuer, &good).await.is_ok());
}

#[tokio::test]
async fn only_permitted_algorithms_count() {
    let (ed, ec) = (Signer::ed(), Signer::ec());
    let both = [ed.jwk("k"), ec.jwk("k")];
    let only_ec = issuer_with(&both, vec![Algorithm::ES256]);
    let token = |signer: &Signer| signer.token(&header(signer), &claims());
    assert!(check(&only_ec, &token(&ec)).await.is_ok());
    let refused = check(&only_ec, &token(&ed)).await;
    assert!(matches!(refused, Err(TokenRefused::Form(_))), "{refused:?}");
    let nothing = issuer_with(&both, Vec::new());
    assert!(check(&nothing, &token(&ec)).await.is_err());
}

#[tokio::test]
async fn every_changed_part_is_noticed() {
    let signer = Signer::ec();
    let issuer = issuer(&signer);
    let token = signer.token(&header(&signer), &claims());
    let [head, body, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts");
    };
    let mut others = claims();
    others["sub"] = "somebody else".into();
    let others = encoded(others.to_string());
    let other_key = Signer::ec().token(&header(&signer), &claims());
    let unknown = signer.token(&json!({"alg": "ES256", "kid": "unknown"}), &claims());
    let critical = json!({"alg": "ES256", "kid": "k", "crit": ["exp"], "exp": 1});
    let critical = signer.token(&critical, &claims());
    for (bad, what) in [
        (format!("{head}.{others}.{signature}"), "body"),
        (format!("{head}.{body}.{}", &signature[2..]), "signature"),
        (format!("{head}.{body}."), "no signature"),
        (format!("{head}.{body}"), "two parts"),
        (format!("{token}.x"), "four parts"),
        (format!("{head}..{signature}"), "no body"),
        (format!(".{body}.{signature}"), "no head"),
        ("..".to_owned(), "nothing"),
        (other_key, "other key"),
        (unknown, "unknown key"),
        (critical, "critical header"),
        (format!("{head}.{body}.{}", "A".repeat(86)), "zeros"),
    ] {
        assert!(check(&issuer, &bad).await.is_err(), "{what}");
    }
    // A claim twice: whoever checks must read what whoever uses it reads.
    for twice in [
        format!(
            r#"{{"iss":"https://evil.example","iss":"{ISSUER}","sub":"u","aud":"{AUDIENCE}","exp":{}}}"#,
            NOW + 9
        ),
        format!(
            r#"{{"iss":"{ISSUER}","sub":"u","aud":"https://evil.example","aud":"{AUDIENCE}","exp":{}}}"#,
            NOW + 9
        ),
        format!(
            r#"{{"iss":"{ISSUER}","sub":"u","sub":"v","aud":"{AUDIENCE}","exp":{}}}"#,
            NOW + 9
        ),
        format!(
            r#"{{"iss":"{ISSUER}","sub":"u","aud":"{AUDIENCE}","exp":1,"exp":{}}}"#,
            NOW + 9
        ),
    ] {
        let signed = format!("{head}.{}", encoded(&twice));
        let token = format!("{signed}.{}", encoded(signer.sign(&signed)));
        assert!(check(&issuer, &token).await.is_err(), "{twice}");
    }
    assert!(check(&issuer, &token).await.is_ok());
}

#[tokio::test]
async fn where_keys_cannot_be_had_it_is_said_so() {
    let signer = Signer::ed();
    let keys = Keys::new(Published::new([None]), 300);
    let audiences = [AUDIENCE.to_owned()];
    let issuer = Issuer::new(ISSUER, &audiences, every_algorithm(), 0, rules(), keys);
    let refused = check(&issuer, &signer.token(&header(&signer), &claims())).await;
    assert!(matches!(refused, Err(TokenRefused::Unavailable(_))));
}

#[test]
fn scopes_come_from_claims_of_either_form_by_their_names_or_the_map() {
    let pairs = [
        "shannon/run=sessions:write",
        "ops=role:operator",
        "a=b=admin",
    ];
    let pairs = pairs.map(str::to_owned);
    let claims = ["scope", "scp", "groups"].map(str::to_owned).to_vec();
    let rules = ScopeRules::new(claims, &pairs).expect("rules");
    let scopes = |claims: Value| {
        rules
            .scopes(claims.as_object().expect("an object"))
            .join(" ")
    };
    for (claims, expected) in [
        (json!({}), ""),
        (
            json!({"scope": "openid admin", "other": "approve"}),
            "admin",
        ),
        (json!({"scp": ["sessions:read", 7, null]}), "sessions:read"),
        (
            json!({"scope": "shannon/run", "scp": ["sessions:read"]}),
            "sessions:read sessions:write",
        ),
        (
            json!({"groups": ["ops"]}),
            "sessions:read sessions:write approve",
        ),
        (json!({"groups": "a=b"}), "admin"),
        (json!({"scope": {"admin": true}, "groups": 1}), ""),
    ] {
        assert_eq!(scopes(claims.clone()), expected, "{claims}");
    }
    for wrong in ["admin", "x=root", "x=role:root", "x="] {
        let refused = ScopeRules::new(Vec::new(), &[wrong.to_owned()]);
        assert_eq!(refused.err().as_deref(), Some(wrong));
    }
}
