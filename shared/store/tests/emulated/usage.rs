//! Token usage, and what runners found.

use domain::{
    SessionId, SessionKey, UnixMillis,
    event::TokenUsage,
    ports::{Clock, IdSource},
};
use store::{RunnerFacts, UsageTotal};
use testkit::owner;

use crate::services::Services;

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_added_once_per_request() {
    let services = Services::start().await;
    let store = services.store().await;
    let key = SessionKey {
        owner: owner("me"),
        session: SessionId::from_random(store.random()),
    };
    assert_eq!(
        store.usage(&key).await.expect("read"),
        UsageTotal::default()
    );
    let tokens = TokenUsage {
        input_tokens: 10,
        output_tokens: 20,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: 5,
    };
    let hostile = "req#1/../x".repeat(300);
    for request in ["req_1", "req_2", "req_1", &hostile, &hostile] {
        store
            .record_usage(&key, request, "model", tokens, store.now())
            .await
            .expect("recorded");
    }
    let total = store.usage(&key).await.expect("read");
    assert_eq!(total.requests, 3);
    assert_eq!(
        total.tokens,
        TokenUsage {
            input_tokens: 30,
            output_tokens: 60,
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: 15,
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_runner_counts() {
    let services = Services::start().await;
    let store = services.store().await;
    assert_eq!(store.runner().await.expect("read"), None);
    let facts = |version: &str, time| RunnerFacts {
        claude_version: version.to_owned(),
        claude_path: "/usr/local/bin/claude".to_owned(),
        agents: vec![domain::Subagent {
            name: format!("agent of {version}"),
            description: "does \"things\"".to_owned(),
        }],
        noted_at: UnixMillis(time),
    };
    for noted in [facts("2.0.0", 2_000), facts("1.0.0", 1_000)] {
        store.note_runner(&noted).await.expect("noted");
    }
    let newest = store.runner().await.expect("read");
    assert_eq!(newest, Some(facts("2.0.0", 2_000)));
}
