//! How often one may ask, and how many streams one may have open.

use std::time::Duration;

use domain::ports::{Clock, Rates};
use domain::rate::RateLimit;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use protocol::{Body, Class, Edge, EdgeSettings, Limited, RateSettings, Sessions, Watched};
use serde_json::{Value, json};
use testkit::{Fake, FaultTime};

use crate::client::{Client, FoundHere, principal, settings, work};

type Counted = Limited<Fake, Fake>;

/// Values of the settings, by their names.
fn limited(fake: &Fake, per_second: u32, burst: u32, streams: u32) -> Counted {
    let settings = RateSettings::read(|name| match name {
        "SHANNON_RATE_LIMIT_PER_SECOND" => Ok(per_second),
        "SHANNON_RATE_LIMIT_BURST" => Ok(burst),
        "SHANNON_MAX_OPEN_STREAMS" => Ok(streams),
        other => Err(format!("{other} was asked for")),
    });
    let settings = settings.expect("these three");
    assert_eq!(settings.requests, RateLimit { per_second, burst });
    Limited::new(fake.clone(), fake.clone(), settings)
}

/// An instance of `call`.
fn calling(
    fake: &Fake,
    limited: Counted,
) -> Edge<Sessions<Fake, FoundHere>, protocol::NoSessions, Counted> {
    Edge::new(Class::Call, settings(), work(fake)).limited(limited)
}

async fn whole(response: Response<Body>) -> (StatusCode, HeaderMap, Value) {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("cannot fail").to_bytes();
    let value = serde_json::from_slice(&bytes).unwrap_or_default();
    (parts.status, parts.headers, value)
}

fn asking() -> http::Request<bytes::Bytes> {
    let call = json!({"name": "list_sessions", "arguments": {}});
    Client::new(Class::Call).prepare("tools/call", call)
}

fn number(headers: &HeaderMap, name: &str) -> u64 {
    let value = headers[name].to_str().expect("text");
    value.parse().expect("a number")
}

#[tokio::test]
async fn above_the_burst_it_is_429_and_nobody_else_is_slower() {
    let fake = Fake::new(1);
    fake.clock().hold();
    // Two instances, which know nothing of each other.
    let edges = [(); 2].map(|()| calling(&fake, limited(&fake, 10, 4, 10)));
    let ask = async |instance: usize, who: &str| {
        whole(edges[instance].handle(asking(), Some(principal(who))).await).await
    };
    for (request, instance) in [0, 1, 1, 0].into_iter().enumerate() {
        let (status, headers, _) = ask(instance, "me").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(number(&headers, "x-ratelimit-limit"), 4);
        assert_eq!(
            number(&headers, "x-ratelimit-remaining"),
            3 - request as u64
        );
        assert_eq!(number(&headers, "x-ratelimit-reset"), 1);
        assert!(!headers.contains_key("retry-after"));
    }
    let (status, headers, body) = ask(0, "me").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(number(&headers, "retry-after"), 1);
    assert_eq!(number(&headers, "x-ratelimit-limit"), 4);
    assert_eq!(number(&headers, "x-ratelimit-remaining"), 0);
    assert_eq!(number(&headers, "x-ratelimit-reset"), 1);
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!((&body["jsonrpc"], &body["id"]), (&json!("2.0"), &json!(1)));
    assert_eq!(body["error"]["code"], -32010);
    assert_eq!(
        body["error"]["data"],
        json!({"limit": "requests", "retry_after_seconds": 1})
    );
    let words = body["error"]["message"].as_str().expect("words");
    assert!(words.contains("try again in 1 s"), "{words}");
    // Another principal has all of their own.
    for _ in 0..4 {
        assert_eq!(ask(0, "other").await.0, StatusCode::OK);
    }
    // One comes back each tenth of a second, on whichever instance.
    fake.clock().advance(99);
    assert_eq!(ask(0, "me").await.0, StatusCode::TOO_MANY_REQUESTS);
    fake.clock().advance(1);
    assert_eq!(ask(1, "me").await.0, StatusCode::OK);
    assert_eq!(ask(0, "me").await.0, StatusCode::TOO_MANY_REQUESTS);
    fake.clock().advance(60_000);
    assert_eq!(number(&ask(0, "me").await.1, "x-ratelimit-remaining"), 3);
}

#[tokio::test]
async fn who_was_refused_is_refused_from_memory() {
    let fake = Fake::new(2);
    fake.clock().hold();
    let edge = calling(&fake, limited(&fake, 1, 1, 10));
    let asked = || fake.calls_by_name()["take_requests"];
    let ask = async || edge.handle(asking(), Some(principal("me"))).await.status();
    assert_eq!(ask().await, StatusCode::OK);
    assert_eq!(ask().await, StatusCode::TOO_MANY_REQUESTS);
    let before = asked();
    for _ in 0..100 {
        assert_eq!(ask().await, StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(asked(), before);
    fake.clock().advance(1000);
    assert_eq!(ask().await, StatusCode::OK);
    assert_eq!(asked(), before + 1);
}

#[tokio::test]
async fn large_buckets_are_taken_from_in_advance_and_never_overdrawn() {
    let fake = Fake::new(3);
    fake.clock().hold();
    let edges = [(); 2].map(|()| calling(&fake, limited(&fake, 60, 60, 10)));
    let (mut served, mut refused) = (0, 0);
    for request in 0..80 {
        let edge = &edges[request % 2];
        match edge.handle(asking(), Some(principal("me"))).await.status() {
            StatusCode::OK => served += 1,
            StatusCode::TOO_MANY_REQUESTS => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((served, refused), (60, 20));
    let asked = || fake.calls_by_name()["take_requests"];
    assert!(asked() < 30, "{}", asked());
    // What was taken in advance is not kept for later.
    fake.clock().advance(1_000);
    let ask = async || {
        let answer = edges[0].handle(asking(), Some(principal("me"))).await;
        assert_eq!(answer.status(), StatusCode::OK);
        asked()
    };
    let first = ask().await;
    assert_eq!(ask().await, first);
    fake.clock().advance(1_001);
    assert_eq!(ask().await, first + 1);
}

/// Who asks seldom keeps a large bucket full: nothing is taken that would be lost.
#[tokio::test]
async fn a_large_bucket_that_fills_slowly_is_not_taken_from_in_advance() {
    let fake = Fake::new(5);
    fake.clock().hold();
    let limit = RateLimit {
        per_second: 10,
        burst: 1000,
    };
    let edge = calling(&fake, limited(&fake, limit.per_second, limit.burst, 10));
    for _ in 0..30 {
        let answer = edge.handle(asking(), Some(principal("me"))).await;
        assert_eq!(answer.headers()["x-ratelimit-remaining"], "999");
        fake.clock().advance(1_000);
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_stops_nobody() {
    let fake = Fake::new(4);
    let edge = calling(&fake, limited(&fake, 1, 1, 1));
    for _ in 0..3 {
        fake.fail_call_of("take_requests", 1, FaultTime::Before);
        let response = edge.handle(asking(), Some(principal("me"))).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(!response.headers().contains_key("x-ratelimit-limit"));
    }
}

/// An instance of `listen`, with two streams for each principal.
fn listening(fake: &Fake) -> Edge<Watched<Fake>, protocol::NoSessions, Counted> {
    let settings = EdgeSettings {
        listen_seconds: 840,
        ..settings()
    };
    let work = Watched::new(fake.clone(), testkit::deployment());
    Edge::new(Class::Listen, settings, work).limited(limited(fake, 1000, 1000, 2))
}

async fn listen(
    edge: &Edge<Watched<Fake>, protocol::NoSessions, Counted>,
    client: &Client,
    session: &str,
    who: &str,
) -> Response<Body> {
    let filter = json!({"resourceSubscriptions": [format!("shannon://sessions/{session}")]});
    let request = client.prepare("subscriptions/listen", json!({"notifications": filter}));
    edge.handle(request, Some(principal(who))).await
}

/// A world with a session of "me" and one of "other".
async fn world() -> (Fake, Client, String, String) {
    let fake = Fake::new(5);
    fake.clock().hold();
    let client = Client::of(Class::Call, fake.clone());
    let mine = client.call("create_session", json!({"prompt": "x"})).await;
    let other = Client::of(Class::Call, fake.clone()).caller("other");
    let theirs = other.call("create_session", json!({"prompt": "x"})).await;
    let id = |session: &Value| session["session_id"].as_str().expect("an id").to_owned();
    (fake, client, id(&mine), id(&theirs))
}

#[tokio::test(start_paused = true)]
async fn streams_are_counted_and_freed_when_they_end() {
    let (fake, client, mine, theirs) = world().await;
    let me = principal("me").owner;
    let edges = [listening(&fake), listening(&fake)];
    let first = listen(&edges[0], &client, &mine, "me").await;
    let second = listen(&edges[1], &client, &mine, "me").await;
    assert_eq!(first.headers()["content-type"], "text/event-stream");
    assert_eq!(fake.peek_places(&me, fake.now()), 2);
    let (status, headers, body) = whole(listen(&edges[0], &client, &mine, "me").await).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(number(&headers, "retry-after"), 5);
    assert_eq!(number(&headers, "x-ratelimit-limit"), 2);
    assert_eq!(body["error"]["data"]["limit"], "streams", "{body}");
    assert_eq!(body["id"], 1);
    let others = listen(&edges[0], &client, &theirs, "other").await;
    assert_eq!(others.status(), StatusCode::OK);
    // Its client goes away.
    drop(first);
    let freed = async {
        while fake.peek_places(&me, fake.now()) == 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), freed)
        .await
        .expect("freed");
    let third = listen(&edges[0], &client, &mine, "me").await;
    assert_eq!(third.status(), StatusCode::OK);
    drop((second, third, others));
}

#[tokio::test]
async fn a_wait_takes_a_place_before_it_begins_and_gives_it_back() {
    let fake = Fake::new(6);
    let edge = calling(&fake, limited(&fake, 1000, 1000, 1));
    let client = Client::of(Class::Call, fake.clone());
    let session = client.call("create_session", json!({"prompt": "x"})).await;
    let wait = || {
        let arguments = json!({"session_id": session["session_id"], "wait_seconds": 0});
        client.prepare(
            "tools/call",
            json!({"name": "wait_session", "arguments": arguments}),
        )
    };
    let me = principal("me");
    let (status, _, body) = whole(edge.handle(wait(), Some(me.clone())).await).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(fake.peek_places(&me.owner, fake.now()), 0);
    assert_eq!(fake.calls_by_name()["free_place"], 1);
    let now = fake.now();
    let taken = fake.take_place(&me.owner, "another", 1, now.plus(60_000), now);
    assert!(taken.await.expect("an answer").is_some());
    let (status, _, body) = whole(edge.handle(wait(), Some(me.clone())).await).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{body}");
    // What does not wait is served.
    let answer = edge.handle(asking(), Some(me)).await;
    assert_eq!(answer.status(), StatusCode::OK);
}
