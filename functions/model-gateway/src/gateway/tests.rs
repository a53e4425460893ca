//! The gateway in front of a scripted API on loopback.

mod stage;

use axum::body::Body as ScriptedBody;
use domain::event::TokenUsage;
use domain::ports::{Clock, GitCredentials, Inbox, SessionLog};
use domain::{FencingToken, SessionKey, UnixMillis};
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpListener;

use super::*;
use crate::upstream::tests::upstream;
use stage::{GONE, MINUTE, ok, sign, signing_key, stage};

fn kind(text: &str) -> String {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(value["type"], "error", "{text}");
    value["error"]["type"].as_str().expect("a kind").to_owned()
}

#[tokio::test]
async fn the_key_is_put_in_and_nothing_of_ours_gets_out() {
    let answer = || {
        ok(
            "application/json",
            r#"{"id":"msg_1","model":"m","usage":{"input_tokens":3,"output_tokens":4}}"#,
        )
    };
    let mut stage = stage(MINUTE, answer).await;
    let mut request = stage.request("/model/v1/messages?beta=true", "{\"a\":1}");
    for (name, value) in [
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "x"),
        ("user-agent", "claude-cli"),
        ("x-api-key", "the relay's"),
        ("accept-encoding", "gzip"),
        ("connection", "keep-alive"),
        ("x-forwarded-for", "198.51.100.7"),
        ("cookie", "c=1"),
        ("host", "shannon.example"),
    ] {
        request
            .headers_mut()
            .insert(name, http::HeaderValue::from_static(value));
    }
    let (status, headers, text) = stage.send(request).await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("msg_1"));
    assert_eq!(headers["request-id"], "req_1");
    assert_eq!(headers["anthropic-ratelimit-requests-remaining"], "7");
    assert!(!headers.contains_key("set-cookie") && !headers.contains_key("content-length"));

    let (parts, body) = stage.seen.recv().await.expect("the API was asked");
    assert_eq!(parts.uri, "/v1/messages?beta=true");
    assert_eq!(body, "{\"a\":1}");
    assert_eq!(
        parts.headers["x-api-key"],
        "sk-test-0123456789-0123456789-0123456789"
    );
    assert_eq!(parts.headers["anthropic-version"], "2023-06-01");
    assert_eq!(parts.headers["anthropic-beta"], "x");
    assert_eq!(parts.headers["user-agent"], "claude-cli");
    for name in [
        "authorization",
        "accept-encoding",
        "x-forwarded-for",
        "cookie",
    ] {
        assert!(!parts.headers.contains_key(name), "{name}");
    }
    assert_ne!(parts.headers["host"], "shannon.example");
    assert!(!format!("{parts:?}").contains(&stage.token));
    let tokens = TokenUsage {
        input_tokens: 3,
        output_tokens: 4,
        ..TokenUsage::default()
    };
    assert_eq!(
        stage.usage(),
        [("msg_1".to_owned(), "m".to_owned(), tokens)]
    );
}

#[tokio::test]
async fn only_the_runner_of_a_living_session_is_served() {
    let mut stage = stage(MINUTE, || ok("application/json", "{}")).await;
    let now = stage.records.fake.now();
    let stranger = SessionKey {
        owner: testkit::owner("stranger"),
        session: stage.key.session.clone(),
    };
    let (fence, later) = (stage.lease.fence, now.plus(60_000));
    let foreign = SigningKey::new(&[8; 32])
        .expect("long enough")
        .sign(&SessionClaims {
            key: stage.key.clone(),
            fence,
            expires_at: later,
        });
    for authorization in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer nonsense".to_owned(),
        format!("Basic {}", stage.token),
        format!("Bearer {foreign}"),
        format!(
            "Bearer {}",
            sign(&stage.key, FencingToken(fence.0 - 1), later)
        ),
        format!("Bearer {}", sign(&stage.key, fence.next(), later)),
        format!("Bearer {}", sign(&stage.key, fence, UnixMillis(now.0 - 1))),
        format!("Bearer {}", sign(&stranger, fence, later)),
    ] {
        for path in ["/model/v1/messages", "/model/session-token"] {
            let mut request = stage.request(path, "{}");
            let value = http::HeaderValue::from_str(&authorization).expect("a value");
            request.headers_mut().insert("authorization", value);
            let (status, _, text) = stage.send(request).await;
            assert_eq!(
                (status, kind(&text).as_str()),
                (StatusCode::FORBIDDEN, "permission_error")
            );
        }
    }
    let mut none = stage.request("/model/v1/messages", "{}");
    none.headers_mut().remove("authorization");
    assert_eq!(stage.send(none).await.0, StatusCode::FORBIDDEN);

    let ended = vec![domain::EventBody::MessageWithdrawn];
    let head = stage.records.fake.peek_head(&stage.key).expect("there");
    let mut append = testkit::append(&stage.records.fake, head.last_sequence.next(), ended);
    append.state = domain::State::Failed;
    append.end_reason = Some("done".to_owned());
    let waiting = stage.records.fake.commands_after(&stage.key, 0, 10).await;
    append.take = waiting.expect("read");
    stage
        .records
        .fake
        .append(&stage.lease, &append)
        .await
        .expect("ended");
    let after = stage.request("/model/v1/messages", "{}");
    assert_eq!(stage.send(after).await.0, StatusCode::FORBIDDEN);
    assert!(stage.seen.try_recv().is_err(), "the API was never asked");
}

#[tokio::test]
async fn a_token_is_renewed_for_the_same_runner() {
    let stage = stage(MINUTE, || ok("application/json", "{}")).await;
    let (status, _, text) = stage.send(stage.request("/model/session-token", "")).await;
    assert_eq!(status, StatusCode::OK);
    let renewed: Value = serde_json::from_str(&text).expect("JSON");
    let now = stage.records.fake.now();
    let claims = signing_key()
        .verify(renewed["token"].as_str().expect("text"), now)
        .expect("a good token");
    assert_eq!(
        (claims.key, claims.fence),
        (stage.key.clone(), stage.lease.fence)
    );
    assert_eq!(claims.expires_at, now.plus(900_000));
    assert_eq!(renewed["expires_at_unix_ms"], now.0 + 900_000);
}

/// The next runner asks before it takes the session; one from which it was taken asks in vain.
#[tokio::test]
async fn credentials_are_for_the_runner_that_has_the_session_or_is_about_to() {
    let stage = stage(MINUTE, || ok("application/json", "{}")).await;
    let (fence, now) = (stage.lease.fence, stage.records.fake.now());
    let later = UnixMillis(now.0 + 60_000);
    for (token, expected) in [
        (sign(&stage.key, fence, later), StatusCode::OK),
        (sign(&stage.key, fence.next(), later), StatusCode::OK),
        (
            sign(&stage.key, fence.next().next(), later),
            StatusCode::FORBIDDEN,
        ),
        (
            sign(&stage.key, FencingToken(fence.0 - 1), later),
            StatusCode::FORBIDDEN,
        ),
        (
            sign(&stage.key, fence, UnixMillis(now.0 - 1)),
            StatusCode::FORBIDDEN,
        ),
    ] {
        let mut request = stage.request("/model/session-credentials", "");
        let value = http::HeaderValue::from_str(&format!("Bearer {token}")).expect("a value");
        request.headers_mut().insert("authorization", value);
        let (status, _, text) = stage.send(request).await;
        assert_eq!(status, expected, "{text}");
        if status == StatusCode::OK {
            let made: Value = serde_json::from_str(&text).expect("JSON");
            let whom = format!("{} {}", stage.key.owner, stage.key.session);
            assert_eq!(made["access_key_id"], whom);
            assert_eq!(made["secret_access_key"], stage.key.session.as_str());
            assert_eq!(made["expires_at_unix_ms"], 7);
        }
    }
}

/// The head is the session's own to write, its tree's record is not.
#[tokio::test]
async fn credentials_are_not_for_a_tree_that_does_not_know_the_session() {
    let mut stage = stage(MINUTE, || ok("application/json", "{}")).await;
    stage.records.in_tree = false;
    let broken = Gateway::new(
        (stage.records.clone(), stage::Tags),
        signing_key(),
        900,
        upstream("http://127.0.0.1:1", MINUTE).into(),
    );
    stage.gateway = broken;
    let request = stage.request("/model/session-credentials", "");
    let (status, _, text) = stage.send(request).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{text}");
}

#[tokio::test]
async fn a_git_credential_is_for_the_host_of_the_repository_and_the_runner_that_has_the_session() {
    let stage = stage(MINUTE, || ok("application/json", "{}")).await;
    let fake = &stage.records.fake;
    let ask = async |body: &'static str| {
        let (status, _, text) = stage
            .send(stage.request("/model/git-credential", body))
            .await;
        (status.as_u16(), text)
    };
    const OWN: &str = r#"{"host":"git.example.com"}"#;
    assert_eq!(ask(OWN).await, (204, String::new()));
    let store = async |owner: &domain::OwnerId, host: &str, token: &str| {
        let new = domain::ports::NewGitCredential {
            owner: owner.clone(),
            host: GitHost::parse(host).expect("a host"),
            credential: domain::GitCredential::parse("user", token).expect("valid"),
            now: fake.now(),
        };
        fake.store_git_credential(&new).await.expect("stored");
    };
    store(&testkit::owner("another"), "git.example.com", "theirs").await;
    store(&stage.key.owner, "git.example.com:8443", "other-port").await;
    store(&stage.key.owner, "evil.example", "other-host").await;
    assert_eq!(ask(OWN).await, (204, String::new()));
    store(&stage.key.owner, "git.example.com", "mine").await;
    let (status, text) = ask(OWN).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(text, r#"{"username":"user","token":"mine"}"#);
    for (body, expected) in [
        (r#"{"host":"git.example.com:8443"}"#, 403),
        (r#"{"host":"evil.example"}"#, 403),
        (r#"{"host":"GIT.example.com"}"#, 200),
        (r#"{"host":""}"#, 400),
        (r#"{"host":7}"#, 400),
        ("{}", 400),
        ("", 400),
    ] {
        let (status, text) = ask(body).await;
        assert_eq!(status, expected, "{body}: {text}");
        assert!(expected == 200 || !text.contains("other-"), "{text}");
    }
    store(&stage.key.owner, "git.example.com", GONE).await;
    let (status, text) = ask(OWN).await;
    assert_eq!(status, 410, "{text}");
    assert!(text.contains("store it again"), "{text}");
    // The next runner has to take the session first.
    let (fence, later) = (stage.lease.fence, fake.now().plus(60_000));
    for fence in [fence.next(), FencingToken(fence.0 - 1)] {
        let mut request = stage.request("/model/git-credential", OWN);
        let token = format!("Bearer {}", sign(&stage.key, fence, later));
        let value = http::HeaderValue::from_str(&token).expect("a value");
        request.headers_mut().insert("authorization", value);
        assert_eq!(stage.send(request).await.0, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn large_bodies_come_from_the_session_s_own_objects() {
    let mut stage = stage(MINUTE, || ok("application/json", "{}")).await;
    let own = format!("{}/{}", stage.key.owner, stage.key.session);
    let other = format!(
        "{}/ses_aaaaaaaaaaaaaaaaaaaaaaaaaa/model-requests/1.json",
        stage.key.owner
    );
    for (object, served) in [
        (format!("{own}/model-requests/1.json"), true),
        (format!("{own}/model-requests/2.json"), false),
        (format!("{own}/"), false),
        (format!("{own}x/model-requests/1.json"), false),
        ("model-requests/1.json".to_owned(), false),
        (other, false),
    ] {
        let mut request = stage.request("/model/v1/messages", "");
        let value = http::HeaderValue::from_str(&object).expect("a value");
        request.headers_mut().insert("x-shannon-body-object", value);
        let (status, _, text) = stage.send(request).await;
        if served {
            assert_eq!(status, StatusCode::OK, "{object}");
            let (parts, body) = stage.seen.recv().await.expect("asked");
            assert_eq!(body, "{\"large\":true}");
            assert!(!parts.headers.contains_key("x-shannon-body-object"));
        } else {
            assert_eq!(status, StatusCode::BAD_REQUEST, "{object}");
            assert_eq!(kind(&text), "invalid_request_error");
        }
    }
    let empty = stage.request("/model/v1/messages", "");
    assert_eq!(stage.send(empty).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn other_paths_and_methods_are_not_forwarded() {
    let mut stage = stage(MINUTE, || ok("application/json", "{}")).await;
    for path in [
        "/model/v1/models",
        "/model/v1/messages/batches",
        "/model/",
        "/v1/messages",
        "/model/v1/messages/../models",
    ] {
        let (status, _, text) = stage.send(stage.request(path, "{}")).await;
        assert_eq!(
            (status, kind(&text).as_str()),
            (StatusCode::NOT_FOUND, "not_found_error"),
            "{path}"
        );
    }
    let mut get = stage.request("/model/v1/messages", "");
    *get.method_mut() = Method::GET;
    assert_eq!(stage.send(get).await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert!(stage.seen.try_recv().is_err());
    let count = stage.request("/model/v1/messages/count_tokens", "{}");
    assert_eq!(stage.send(count).await.0, StatusCode::OK);
    assert_eq!(stage.usage(), []);
}

#[tokio::test]
async fn errors_of_the_api_pass_except_what_it_says_of_our_key() {
    for (status, passed) in [
        (401, 403),
        (400, 400),
        (403, 403),
        (429, 429),
        (500, 500),
        (529, 529),
    ] {
        let stage = stage(MINUTE, move || {
            Response::builder()
                .status(status)
                .header("content-type", "application/json")
                .header("retry-after", "1")
                .body(ScriptedBody::from(
                    r#"{"type":"error","error":{"type":"t","message":"m"}}"#,
                ))
                .expect("an answer")
        })
        .await;
        let (got, headers, text) = stage.send(stage.request("/model/v1/messages", "{}")).await;
        assert_eq!(got.as_u16(), passed);
        if status == 401 {
            assert_eq!(kind(&text), "permission_error");
            assert!(text.contains("SHANNON_ANTHROPIC_API_KEY"), "{text}");
        } else {
            assert_eq!(kind(&text), "t");
            assert_eq!(headers["retry-after"], "1");
        }
        assert_eq!(stage.usage(), []);
    }
}

const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\",\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n";

#[tokio::test]
async fn a_stream_passes_as_it_comes() {
    // The second piece is sent only when the first has arrived.
    let (go_on, may_go_on) = tokio::sync::watch::channel(false);
    let answer = move || {
        let mut may_go_on = may_go_on.clone();
        let pieces = stream::once(async { START }).chain(stream::once(async move {
            let _ = may_go_on.wait_for(|go_on| *go_on).await;
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":25}}\n\n"
        }));
        Response::builder()
            .header("content-type", "text/event-stream; charset=utf-8")
            .body(ScriptedBody::from_stream(
                pieces.map(Ok::<_, std::io::Error>),
            ))
            .expect("an answer")
    };
    let stage = stage(MINUTE, answer).await;
    let response = stage
        .gateway
        .handle(stage.request("/model/v1/messages", "{}"))
        .await;
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut body = response.into_body();
    let first = body.frame().await.expect("a piece").expect("cannot fail");
    assert_eq!(first.into_data().expect("data"), START);
    assert_eq!(stage.usage(), []);
    go_on.send(true).expect("the API waits for it");
    body.collect().await.expect("cannot fail");
    // Recorded before the end of the stream was passed on.
    let usage = stage.usage();
    assert_eq!(
        (usage[0].2.input_tokens, usage[0].2.output_tokens),
        (10, 25)
    );
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_error_and_counts_what_was_said() {
    for broken in [true, false] {
        // It breaks off only when the first piece has arrived.
        let (go_on, may_go_on) = tokio::sync::watch::channel(false);
        let answer = move || {
            let mut may_go_on = may_go_on.clone();
            let end = stream::once(async move {
                let _ = may_go_on.wait_for(|go_on| *go_on).await;
                if broken {
                    Err(std::io::Error::other("cut"))
                } else {
                    std::future::pending().await
                }
            });
            let pieces = stream::once(async { Ok(START) }).chain(end);
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(ScriptedBody::from_stream(pieces))
                .expect("an answer")
        };
        let longest = if broken {
            MINUTE
        } else {
            Duration::from_millis(300)
        };
        let stage = stage(longest, answer).await;
        let request = stage.request("/model/v1/messages", "{}");
        let mut body = stage.gateway.handle(request).await.into_body();
        let first = body.frame().await.expect("a piece").expect("cannot fail");
        assert_eq!(first.into_data().expect("data"), START);
        go_on.send(true).expect("the API waits for it");
        let rest = body.collect().await.expect("cannot fail").to_bytes();
        let error = String::from_utf8(rest.to_vec()).expect("UTF-8");
        let data = error
            .strip_prefix("event: error\ndata: ")
            .expect("an error event");
        assert_eq!(
            kind(data.trim()),
            if broken { "api_error" } else { "timeout_error" }
        );
        assert_eq!(stage.usage()[0].2.input_tokens, 10);
    }
}

#[tokio::test]
async fn an_api_that_is_not_there_or_silent_is_an_error_that_is_tried_again() {
    let stage = stage(Duration::from_millis(300), || ok("application/json", "{}")).await;
    // A listener that accepts and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = silent.local_addr().expect("bound");
    let base = format!("http://{address}");
    let gateway = |base: &str| {
        let upstream = upstream(base, Duration::from_millis(300));
        Gateway::new(
            (stage.records.clone(), stage::Tags),
            signing_key(),
            900,
            upstream.into(),
        )
    };
    let response = gateway(&base)
        .handle(stage.request("/model/v1/messages", "{}"))
        .await;
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    drop(silent);
    let response = gateway(&base)
        .handle(stage.request("/model/v1/messages", "{}"))
        .await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);

    stage.records.fake.fail_call(1, testkit::FaultTime::Before);
    let (status, _, text) = stage.send(stage.request("/model/v1/messages", "{}")).await;
    assert_eq!(
        (status.as_u16(), kind(&text).as_str()),
        (529, "overloaded_error")
    );
}

/// An alarm is made of these lines.
#[tokio::test]
async fn what_the_prompt_cache_had_is_told_of_each_answer() {
    for (usage, hits, misses) in [
        (r#""cache_read_input_tokens":2000"#, 1, 0),
        (r#""cache_creation_input_tokens":2000"#, 0, 1),
        (r#""output_tokens":4"#, 0, 0),
    ] {
        let body = format!(r#"{{"id":"msg_1","model":"m","usage":{{"input_tokens":3,{usage}}}}}"#);
        let body: &'static str = body.leak();
        let stage = stage(MINUTE, move || ok("application/json", body)).await;
        // Another test that came here first, while only this one listens, would turn the line off for both.
        let (first, ..) = stage.send(stage.request("/model/v1/messages", "{}")).await;
        assert_eq!(first, StatusCode::OK);
        let lines = testkit::Written::default();
        let writer = lines.clone();
        let subscriber = boot::logging::json_into("model-gateway", move || writer.clone());
        let listening = tracing::subscriber::set_default(subscriber);
        tracing::callsite::rebuild_interest_cache();
        let (status, ..) = stage.send(stage.request("/model/v1/messages", "{}")).await;
        drop(listening);
        assert_eq!(status, StatusCode::OK);
        let text = lines.text();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        let told: Vec<serde_json::Value> = lines
            .filter(|line: &serde_json::Value| line["message"] == "the model answered")
            .collect();
        assert_eq!(told.len(), 1, "{text}");
        assert_eq!(told[0]["shannon_cache_hits_total"], hits, "{usage}");
        assert_eq!(told[0]["shannon_cache_misses_total"], misses, "{usage}");
    }
}
