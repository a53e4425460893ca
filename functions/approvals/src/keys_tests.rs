//! The addresses of API keys as clients get them, over a fake store.

use domain::roles::SCOPES;
use domain::use_cases::check_key;
use domain::{ApiKey, OwnerId};
use http_body_util::BodyExt;
use testkit::{Fake, FaultTime};

use super::*;

fn principal(scopes: &[&str]) -> Principal {
    Principal {
        owner: OwnerId::of("issuer", "administrator"),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
    }
}

async fn send(
    fake: &Fake,
    scopes: &[&str],
    method: Method,
    path: &str,
    body: &str,
) -> (u16, Value) {
    let mut request = Request::new(Bytes::from(body.to_owned()));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("a path");
    let answer = answer(fake, &request, Some(&principal(scopes))).await;
    let (parts, body) = answer.expect("it is about keys").into_parts();
    let bytes = body.collect().await.expect("cannot fail").to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    (parts.status.as_u16(), body)
}

async fn make(fake: &Fake, body: Value) -> (u16, Value) {
    send(fake, &SCOPES, Method::POST, "/keys", &body.to_string()).await
}

#[tokio::test]
async fn a_key_is_shown_once_and_opens_until_it_is_revoked() {
    let fake = Fake::new(1);
    let (status, made) = make(&fake, json!({"name": "ci"})).await;
    assert_eq!(status, 201, "{made}");
    let text = made["key"].as_str().expect("the key").to_owned();
    assert_eq!(made["scopes"], json!(["sessions:read", "sessions:write"]));
    let days = made["expires_at_unix_ms"].as_u64().expect("a time");
    let days = (days - fake.now().0) / (24 * 60 * 60 * 1000);
    assert_eq!(days, limits::KEY_DEFAULT_DAYS);
    let record = check_key(&fake, &text).await.expect("it opens");
    assert_eq!(record.owner, principal(&[]).owner);
    // What is kept does not have it.
    let (status, listed) = send(&fake, &SCOPES, Method::GET, "/keys", "").await;
    assert_eq!(
        (status, listed["keys"].as_array().map(Vec::len)),
        (200, Some(1))
    );
    assert_eq!(listed["keys"][0]["good"], true);
    let secret = text.rsplit('_').next().expect("a secret");
    assert!(!listed.to_string().contains(secret), "{listed}");
    assert!(!format!("{record:?}").contains(secret));

    let path = format!("/keys/{}", made["id"].as_str().expect("an id"));
    for _ in 0..2 {
        let (status, _) = send(&fake, &SCOPES, Method::DELETE, &path, "").await;
        assert_eq!(status, 204);
    }
    assert!(check_key(&fake, &text).await.is_err());
    let (_, listed) = send(&fake, &SCOPES, Method::GET, "/keys", "").await;
    assert_eq!(listed["keys"][0]["good"], false);
    assert!(listed["keys"][0]["revoked_at_unix_ms"].is_u64(), "{listed}");
}

#[tokio::test]
async fn keys_are_for_administrators_who_give_away_only_what_they_have() {
    let fake = Fake::new(1);
    let not_admin = ["sessions:read", "sessions:write", "approve"];
    let id = ApiKey::from_random([0; 17], [[0; 17]; 2]).id().to_string();
    for (method, path) in [
        (Method::GET, "/keys".to_owned()),
        (Method::POST, "/keys".to_owned()),
        (Method::DELETE, format!("/keys/{id}")),
    ] {
        let (status, body) = send(&fake, &not_admin, method, &path, "{}").await;
        assert_eq!((status, &body["error"]["scope"]), (403, &json!("admin")));
    }
    let only_admin = json!({"name": "x", "scopes": ["approve"]}).to_string();
    let (status, body) = send(&fake, &["admin"], Method::POST, "/keys", &only_admin).await;
    assert_eq!((status, &body["error"]["scope"]), (403, &json!("approve")));
    let request = Request::new(Bytes::new());
    let nobody = Request::builder().uri("/keys").body(Bytes::new());
    let nobody = answer(&fake, &nobody.expect("a request"), None).await;
    assert_eq!(nobody.expect("about keys").status(), 401);
    assert!(answer(&fake, &request, None).await.is_none());
    assert_eq!(fake.calls(), 0);
}

#[tokio::test]
async fn a_person_without_another_way_in_has_sessions_of_their_own() {
    let fake = Fake::new(1);
    let of = async |person: &str| {
        let wanted = json!({"name": "k", "person": person, "role": "operator", "days": 1});
        let (status, made) = make(&fake, wanted).await;
        assert_eq!(status, 201, "{made}");
        assert_eq!(made["scopes"].as_array().map(Vec::len), Some(3));
        made["owner"].as_str().expect("an owner").to_owned()
    };
    let ann = of("ann").await;
    assert_eq!(of(" ann ").await, ann);
    assert_ne!(of("bob").await, ann);
    assert_ne!(ann, principal(&[]).owner.as_str());
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_is_made() {
    let fake = Fake::new(1);
    for (body, named) in [
        (json!([]), "must be an object"),
        (json!({}), "name is missing"),
        (json!({"name": "a b"}), "name of a key"),
        (json!({"name": "a", "role": "root"}), "viewer, developer"),
        (json!({"name": "a", "scopes": []}), "at least one scope"),
        (
            json!({"name": "a", "scopes": ["all"]}),
            "no scope of that name",
        ),
        (json!({"name": "a", "scopes": "admin"}), "list of texts"),
        (
            json!({"name": "a", "scopes": ["admin"], "role": "admin"}),
            "not both",
        ),
        (json!({"name": "a", "days": 0}), "1 to 366 days"),
        (json!({"name": "a", "days": 367}), "1 to 366 days"),
        (json!({"name": "a", "days": "90"}), "whole number"),
        (json!({"name": "a", "person": ""}), "1 to 128 characters"),
        (json!({"name": "a", "expires": 1}), "expires is none of"),
    ] {
        let (status, got) = make(&fake, body.clone()).await;
        let message = got["error"]["message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains(named), "{body}: {got}");
    }
    for path in ["/keys/x", "/keys/key_"] {
        let (status, got) = send(&fake, &SCOPES, Method::DELETE, path, "").await;
        assert_eq!((status, &got["error"]["code"]), (400, &json!("wrong_id")));
    }
    let unknown = format!("/keys/key_{}", "a".repeat(26));
    let (status, _) = send(&fake, &SCOPES, Method::DELETE, &unknown, "").await;
    assert_eq!(status, 404);
    let (status, _) = send(&fake, &SCOPES, Method::PATCH, "/keys", "").await;
    assert_eq!(status, 405);
    fake.fail_call(1, FaultTime::Before);
    let (status, got) = make(&fake, json!({"name": "a"})).await;
    assert_eq!(
        (status, &got["error"]["code"]),
        (503, &json!("unavailable"))
    );
    let (_, listed) = send(&fake, &SCOPES, Method::GET, "/keys", "").await;
    assert_eq!(listed, json!({"keys": []}));
}
