//! The check against a registry of its own, on the fake.

use std::ffi::OsString;

use axum::{Router, http::StatusCode, routing::get};
use testkit::Fake;

use super::*;

/// A registry that answers this, at the address that npm has for a version.
async fn registry(status: u16, body: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound");
    let status = StatusCode::from_u16(status).expect("a status");
    let answer = get(move || {
        let body = body.clone();
        async move { (status, body) }
    });
    let router = Router::new().route("/npm/{package}/latest", answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/npm/")
}

fn updates(registry: &str, interval: &str) -> Updates {
    let variables = [
        ("SHANNON_NPM_REGISTRY_URL", registry),
        ("SHANNON_CLAUDE_UPDATE_CHECK_SECONDS", interval),
        ("SHANNON_CLAUDE_VERSION", "2.1.328"),
    ];
    let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let settings = Settings::read(variables).expect("good settings");
    Updates::from_settings(&settings).expect("updates")
}

const MIDNIGHT: Event = Event::Sweep { minute: Some(0) };

async fn newest_of(fake: &Fake) -> Option<String> {
    let release = fake.release().await.expect("an answer");
    release.map(|release| release.newest.to_string())
}

#[tokio::test]
async fn a_newer_release_is_kept_and_told_once() {
    let fake = Fake::new(1);
    let answers = registry(200, r#"{"version": "2.2.0", "name": "x"}"#.to_owned()).await;
    let daily = updates(&answers, "86400");
    for event in [
        Event::Sweep { minute: Some(1) },
        Event::Sweep { minute: None },
    ] {
        daily.ask_if_due(&fake, &fake, &event).await;
        assert_eq!(newest_of(&fake).await, None);
    }
    daily.ask_if_due(&fake, &fake, &MIDNIGHT).await;
    daily.ask_if_due(&fake, &fake, &MIDNIGHT).await;
    assert_eq!(newest_of(&fake).await.as_deref(), Some("2.2.0"));
    let told = fake.peek_told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].0.contains("2.2.0") && told[0].1.contains("2.1.328"),
        "{told:?}"
    );
    // The next one is news again.
    let next = registry(200, r#"{"version": "2.2.1"}"#.to_owned()).await;
    updates(&next, "86400")
        .ask_if_due(&fake, &fake, &MIDNIGHT)
        .await;
    assert_eq!(fake.peek_told().len(), 2);
}

#[tokio::test]
async fn what_is_not_newer_is_kept_and_told_to_nobody() {
    for version in ["2.1.328", "2.1.9"] {
        let fake = Fake::new(1);
        let answers = registry(200, format!(r#"{{"version": "{version}"}}"#)).await;
        updates(&answers, "60")
            .ask_if_due(&fake, &fake, &MIDNIGHT)
            .await;
        assert_eq!(newest_of(&fake).await.as_deref(), Some(version));
        assert!(fake.peek_told().is_empty());
    }
}

#[tokio::test]
async fn what_cannot_be_known_is_no_release() {
    let long = format!(
        r#"{{"version": "2.2.0", "readme": "{}"}}"#,
        "x".repeat(ANSWER_BYTES)
    );
    for (status, body) in [
        (404, r#"{"version": "2.2.0"}"#.to_owned()),
        (200, String::new()),
        (200, "<html>".to_owned()),
        (200, r#"{"version": "latest"}"#.to_owned()),
        (200, long),
    ] {
        let fake = Fake::new(1);
        let answers = registry(status, body).await;
        updates(&answers, "60")
            .ask_if_due(&fake, &fake, &MIDNIGHT)
            .await;
        assert_eq!(newest_of(&fake).await, None);
    }
    let fake = Fake::new(1);
    // A port that was free a moment ago.
    updates("http://127.0.0.1:9", "60")
        .ask_if_due(&fake, &fake, &MIDNIGHT)
        .await;
    assert_eq!(newest_of(&fake).await, None);
    updates("http://127.0.0.1:9", "0")
        .ask_if_due(&fake, &fake, &MIDNIGHT)
        .await;
    assert_eq!(newest_of(&fake).await, None);
}
