//! Posting to a receiver that misbehaves, and what the settings permit.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use domain::notice::NoticeKind;
use domain::{SessionId, SessionKey, UnixMillis};

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The vector that implementations of Standard Webhooks share.
#[test]
fn signatures_are_those_of_standard_webhooks() {
    let secret = secret::read(SECRET).expect("a secret");
    let signature = sign(
        &secret,
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        r#"{"test": 2432232314}"#,
    );
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn pauses_grow_to_a_minute_and_are_shortened_by_half_at_most() {
    let seconds: Vec<u64> = (1..=6).map(|n| pause(FIRST_PAUSE, n).as_secs()).collect();
    assert_eq!(seconds, [1, 4, 16, 60, 60, 60]);
    assert_eq!(pause(FIRST_PAUSE, 40), LONGEST_PAUSE);
    let all = Duration::from_secs(4);
    assert_eq!(with_jitter(all, 0), all / 2);
    assert_eq!(with_jitter(all, u8::MAX), all);
    // Every attempt at its longest ends within the function's 900 seconds.
    let pauses: u64 = (1..10).map(|n| pause(FIRST_PAUSE, n).as_secs()).sum();
    assert!(pauses + 10 * 30 < 890, "{pauses}");
}

fn settings(given: &[(&str, &str)]) -> Settings {
    let named = |(name, value): &(&str, &str)| (format!("SHANNON_{name}").into(), value.into());
    Settings::read(given.iter().map(named)).expect("settings")
}

fn webhooks(given: &[(&str, &str)]) -> Result<Webhooks, WebhooksError> {
    Webhooks::from_settings(&settings(given))
}

#[test]
fn a_deployment_posts_to_public_addresses_and_signs() {
    let none = webhooks(&[("WEBHOOK_URL", ""), ("WEBHOOK_SECRET", "")]);
    assert_eq!(none.expect("no webhook").webhook, None);
    let public = ("WEBHOOK_URL", "https://example.com/hook");
    let secret = ("WEBHOOK_SECRET", SECRET);
    let set = webhooks(&[public, secret]).expect("a webhook").webhook;
    let set = set.expect("it is set");
    assert_eq!(set.secret.len(), 24);
    assert!(!format!("{set:?}").contains("MfKQ"), "{set:?}");
    let unsigned = webhooks(&[public]).expect_err("no secret");
    assert!(matches!(unsigned, WebhooksError::Settings(_)));
    let weak = ("WEBHOOK_SECRET", "no-secret-of-standard-webhooks-at-all");
    let weak = webhooks(&[public, weak]).expect_err("another secret");
    assert!(matches!(weak, WebhooksError::Secret(_)));
    for url in ["http://127.0.0.1:1/", "https://10.0.0.1/"] {
        let refused = webhooks(&[("WEBHOOK_URL", url), secret]).expect_err(url);
        assert!(matches!(refused, WebhooksError::Address(_)), "{url}");
        let local = ("WEBHOOK_ADDRESSES", "local");
        assert!(webhooks(&[("WEBHOOK_URL", url), secret, local]).is_ok());
    }
}

/// What a receiver saw, and what it says: the last answer is repeated.
#[derive(Clone)]
struct Receiver {
    seen: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    answers: Arc<Mutex<Vec<StatusCode>>>,
    url: String,
}

impl Receiver {
    async fn start(answers: &[u16]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let answer = |code: &u16| StatusCode::from_u16(*code).expect("a status");
        let receiver = Self {
            seen: Arc::default(),
            answers: Arc::new(Mutex::new(answers.iter().rev().map(answer).collect())),
            url: format!("http://{address}/hook"),
        };
        let router = Router::new().fallback(Self::take);
        let router = router.with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    async fn take(
        State(receiver): State<Self>,
        headers: HeaderMap,
        body: String,
    ) -> (StatusCode, [(&'static str, String); 1]) {
        let mut seen = receiver.seen.lock().expect("no panic");
        seen.push((headers, body));
        let mut answers = receiver.answers.lock().expect("no panic");
        let answer = if answers.len() > 1 {
            answers.pop()
        } else {
            answers.last().copied()
        };
        let elsewhere = receiver.url.replace("/hook", "/elsewhere");
        (answer.expect("an answer"), [("location", elsewhere)])
    }

    fn seen(&self) -> Vec<(HeaderMap, String)> {
        self.seen.lock().expect("no panic").clone()
    }
}

fn message() -> NoticeMessage {
    NoticeMessage {
        notice: domain::notice::Notice {
            id: "ntc_1".to_owned(),
            kind: NoticeKind::SessionFinished,
            key: SessionKey {
                owner: OwnerId::of("i", "s"),
                session: SessionId::from_random([1; 17]),
            },
            title: "a title".to_owned(),
            state: domain::State::Completed,
            time: UnixMillis(0),
            question: None,
        },
        body: r#"{"a":1}"#.to_owned(),
    }
}

async fn post(url: &str, attempts: &str) -> Result<(), Unavailable> {
    let mut webhooks = webhooks(&[
        ("WEBHOOK_URL", url),
        ("WEBHOOK_SECRET", SECRET),
        ("WEBHOOK_ADDRESSES", "local"),
        ("WEBHOOK_ATTEMPTS", attempts),
        ("WEBHOOK_TIMEOUT_SECONDS", "1"),
    ])
    .expect("settings that fit");
    webhooks.first_pause = Duration::from_millis(1);
    let owner = OwnerId::of("i", "s");
    let webhook = webhooks.webhook_of(&owner).await.expect("there");
    webhooks.post(&webhook.expect("set"), &message()).await
}

#[tokio::test]
async fn a_receiver_that_fails_first_gets_the_same_id_and_a_good_signature_again() {
    let receiver = Receiver::start(&[500, 503, 204]).await;
    post(&receiver.url, "5").await.expect("taken");
    let seen = receiver.seen();
    assert_eq!(seen.len(), 3);
    let secret = secret::read(SECRET).expect("a secret");
    for (headers, body) in seen {
        let header = |name: &str| headers[name].to_str().expect("text").to_owned();
        assert_eq!(header("webhook-id"), "ntc_1");
        assert_eq!(header("content-type"), "application/json");
        let signature = sign(&secret, "ntc_1", &header("webhook-timestamp"), &body);
        assert_eq!(header("webhook-signature"), signature);
        assert_eq!(body, message().body);
    }
}

#[tokio::test]
async fn it_is_given_up_after_its_attempts_and_no_redirect_is_followed() {
    for (status, attempts) in [(500, "3"), (307, "2"), (404, "1")] {
        let receiver = Receiver::start(&[status]).await;
        let error = post(&receiver.url, attempts).await.expect_err("given up");
        let source = error.source.to_string();
        assert!(source.contains(&status.to_string()), "{source}");
        assert_eq!(receiver.seen().len().to_string(), attempts, "{status}");
    }
}

#[tokio::test]
async fn a_silent_receiver_has_its_time_and_no_more() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let begun = tokio::time::Instant::now();
    let url = format!("http://{address}/secret-path");
    let error = post(&url, "1").await.expect_err("no answer");
    let elapsed = begun.elapsed();
    assert!(elapsed >= Duration::from_secs(1), "{elapsed:?}");
    assert!(elapsed < Duration::from_secs(9), "{elapsed:?}");
    let mut said = format!("{error} {}", error.source);
    let mut cause = error.source.source();
    while let Some(next) = cause {
        said.push_str(&next.to_string());
        cause = next.source();
    }
    assert!(!said.contains("secret-path"), "{said}");
}
