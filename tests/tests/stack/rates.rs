//! Rates through the whole stack: what a client is told that asks too often.

use e2e::stack::{Options, Stack};
use serde_json::json;

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_when_to_come_again() {
    let options = Options::default()
        .with("SHANNON_RATE_LIMIT_PER_SECOND", "1")
        .with("SHANNON_RATE_LIMIT_BURST", "3");
    let stack = Stack::start(&options);
    let client = stack.client();
    let call = json!({"name": "list_sessions", "arguments": {}});
    let mut refused = None;
    // Of all classes together, also of those that have their instance still to start.
    for request in 0..30 {
        let (method, params) = if request % 2 == 0 {
            ("tools/call", call.clone())
        } else {
            ("tools/list", json!({}))
        };
        let answer = client.request(method, params).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.headers["x-ratelimit-limit"], "3");
    }
    let refused = refused.expect("more than three at once");
    assert_eq!(refused.error().0, -32010, "{}", refused.body);
    for (header, value) in [
        ("retry-after", "1"),
        ("x-ratelimit-limit", "3"),
        ("x-ratelimit-remaining", "0"),
    ] {
        assert_eq!(refused.headers[header], value, "{header}");
    }
    // What reads nothing is not counted.
    let answer = client.request("server/discover", json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn the_stage_takes_so_many_whoever_calls() {
    let options = Options::default()
        .with("SHANNON_STAGE_RATE_LIMIT_PER_SECOND", "10")
        .with("SHANNON_STAGE_RATE_LIMIT_BURST", "10");
    let stack = Stack::start(&options);
    let http = stack.client().http().clone();
    let url = format!("{}/health", stack.url());
    let asked = (0..40).map(|_| http.get(&url).send());
    let answers = futures_util::future::join_all(asked).await;
    let mut refused = 0;
    for answer in answers {
        let answer = answer.expect("an answer");
        if answer.status() == 429 {
            let text = answer.text().await.expect("a body");
            assert_eq!(text, r#"{"message":"Too Many Requests"}"#);
            refused += 1;
        } else {
            assert_eq!(answer.status(), 200);
        }
    }
    assert!((1..=30).contains(&refused), "{refused}");
}
