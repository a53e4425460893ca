//! The addresses of git credentials as clients get them, over a fake store.

use domain::OwnerId;
use domain::limits;
use domain::ports::GitSecrets;
use http_body_util::BodyExt;
use testkit::{Fake, FaultTime};

use super::*;

fn principal(name: &str, scopes: &[&str]) -> Principal {
    Principal {
        owner: OwnerId::of("issuer", name),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
    }
}

async fn send_as(
    fake: &Fake,
    principal: Option<&Principal>,
    method: Method,
    path: &str,
    body: &str,
) -> (u16, Value) {
    let mut request = Request::new(Bytes::from(body.to_owned()));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("a path");
    let answer = answer(fake, &request, principal).await;
    let (parts, body) = answer.expect("it is about git credentials").into_parts();
    let bytes = body.collect().await.expect("cannot fail").to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    (parts.status.as_u16(), body)
}

async fn send(fake: &Fake, method: Method, path: &str, body: &str) -> (u16, Value) {
    let me = principal("me", &["sessions:write"]);
    send_as(fake, Some(&me), method, path, body).await
}

const GOOD: &str = r#"{"username":"u","token":"secret-1"}"#;

#[tokio::test]
async fn a_token_goes_in_and_does_not_come_out() {
    let fake = Fake::new(1);
    let path = "/git-credentials/git.example.com";
    let (status, stored) = send(&fake, Method::PUT, path, GOOD).await;
    assert_eq!(status, 200, "{stored}");
    assert_eq!(stored["host"], "git.example.com");
    assert!(!stored.to_string().contains("secret"), "{stored}");
    // Both ways of writing a port are the same host.
    for path in [
        "/git-credentials/a.example:81",
        "/git-credentials/A.example%3a81",
    ] {
        assert_eq!(send(&fake, Method::PUT, path, GOOD).await.0, 200, "{path}");
    }
    let (status, listed) = send(&fake, Method::GET, "/git-credentials", "").await;
    let hosts = listed["git_credentials"].as_array().expect("a list");
    assert_eq!((status, hosts.len()), (200, 2), "{listed}");
    assert!(!listed.to_string().contains("secret"), "{listed}");
    let me = principal("me", &[]).owner;
    let host = GitHost::parse("git.example.com").expect("a host");
    let kept = fake.git_secret(&me, &host).await.expect("an answer");
    assert_eq!(kept.expect("one").expose_token(), "secret-1");

    // Others have their own, and cannot take this one away.
    let other = principal("other", &["sessions:write"]);
    let (_, theirs) = send_as(&fake, Some(&other), Method::GET, "/git-credentials", "").await;
    assert_eq!(theirs, json!({"git_credentials": []}));
    let (status, _) = send_as(&fake, Some(&other), Method::DELETE, path, "").await;
    assert_eq!(status, 404);
    for expected in [204, 404] {
        let (status, _) = send(&fake, Method::DELETE, path, "").await;
        assert_eq!(status, expected);
    }
    assert_eq!(fake.git_secret(&me, &host).await.expect("an answer"), None);
}

#[tokio::test]
async fn only_who_creates_sessions_may() {
    let fake = Fake::new(1);
    let reader = principal("me", &["sessions:read", "approve"]);
    for (method, path, body) in [
        (Method::GET, "/git-credentials", ""),
        (Method::PUT, "/git-credentials/a.example", GOOD),
        (Method::DELETE, "/git-credentials/a.example", ""),
    ] {
        let (status, body_of) = send_as(&fake, Some(&reader), method.clone(), path, body).await;
        assert_eq!(
            (status, &body_of["error"]["scope"]),
            (403, &json!("sessions:write"))
        );
        assert_eq!(send_as(&fake, None, method, path, body).await.0, 401);
    }
    assert!(
        answer(&fake, &Request::new(Bytes::new()), None)
            .await
            .is_none()
    );
    assert_eq!(fake.calls(), 0);
}

#[tokio::test]
async fn what_is_wrong_is_named_without_what_was_given() {
    let fake = Fake::new(1);
    let long = "s".repeat(limits::GIT_TOKEN_BYTES + 1);
    let long = json!({"username": "u", "token": long}).to_string();
    for (body, named) in [
        ("", "the body must be"),
        ("secret", "the body must be"),
        ("[]", "the body must be"),
        (r#"{"token":"secret"}"#, "the body must be"),
        (r#"{"username":"u","token":7}"#, "the body must be"),
        (
            r#"{"username":"u","token":"secret","x":"secret"}"#,
            "the body must be",
        ),
        (r#"{"username":"a:b","token":"secret"}"#, "user name"),
        (
            r#"{"username":"u","token":"secret\nhost=evil.example"}"#,
            "visible ASCII",
        ),
        (r#"{"username":"u","token":""}"#, "visible ASCII"),
        (&long, "1 to 2048"),
    ] {
        let (status, got) = send(&fake, Method::PUT, "/git-credentials/a.example", body).await;
        let message = got["error"]["message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains(named), "{body}: {got}");
        assert!(!got.to_string().contains("secret"), "{got}");
    }
    for host in ["", "a%2fb", "a@b.example", "a.example:", "*.example"] {
        for method in [Method::PUT, Method::DELETE] {
            let path = format!("/git-credentials/{host}");
            let (status, got) = send(&fake, method, &path, GOOD).await;
            assert_eq!((status, &got["error"]["code"]), (400, &json!("wrong_host")));
        }
    }
    let (status, _) = send(&fake, Method::POST, "/git-credentials", GOOD).await;
    assert_eq!(status, 405);
    let (status, _) = send(&fake, Method::GET, "/git-credentials/a.example", "").await;
    assert_eq!(status, 405);
    fake.fail_call(1, FaultTime::Before);
    let (status, got) = send(&fake, Method::PUT, "/git-credentials/a.example", GOOD).await;
    assert_eq!(
        (status, &got["error"]["code"]),
        (503, &json!("unavailable"))
    );
    let (_, listed) = send(&fake, Method::GET, "/git-credentials", "").await;
    assert_eq!(listed, json!({"git_credentials": []}));
}

#[tokio::test]
async fn an_owner_has_some_hosts_and_replaces_within_them() {
    let fake = Fake::new(1);
    let put = async |number: usize| {
        let path = format!("/git-credentials/h{number}.example");
        send(&fake, Method::PUT, &path, GOOD).await.0
    };
    for number in 0..limits::GIT_CREDENTIALS {
        assert_eq!(put(number).await, 200);
    }
    assert_eq!(put(limits::GIT_CREDENTIALS).await, 409);
    assert_eq!(put(0).await, 200);
}
