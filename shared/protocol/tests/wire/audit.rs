//! `query_audit` and `verify_audit`: who may look, and what they are told.

use domain::ports::{Clock, RefusalCounts};
use domain::session_token::SigningKey;
use domain::use_cases::{audit_session, keep_audit};
use domain::{EventBody, OwnerId, SessionId, SessionKey, State};
use protocol::Class;
use serde_json::{Value, json};

use crate::client::Client;

fn denied(tool_use_id: &str) -> EventBody {
    EventBody::ToolDenied {
        tool_use_id: tool_use_id.to_owned(),
        tool: "Bash".to_owned(),
        reason: "the words of a person".to_owned(),
        policies: vec!["denials/privilege".to_owned()],
    }
}

/// A session that was denied something, and is in the audit.
async fn denied_session(client: &Client, name: &str) -> String {
    let prompt = json!({"prompt": name});
    let created = client.call("create_session", prompt).await;
    let id = created["session_id"].as_str().expect("an id").to_owned();
    let runner = client.runner(&id).await;
    runner.take().await;
    runner.events(State::Running, vec![denied(name)]).await;
    let key = SessionKey {
        owner: OwnerId::of("testkit", "me"),
        session: SessionId::parse(&id).expect("an id"),
    };
    audit_session(&client.fake, &key).await.expect("recorded");
    id
}

#[tokio::test]
async fn only_administrators_look_into_the_audit() {
    let client = Client::new(Class::Call);
    for tool in ["query_audit", "verify_audit"] {
        let refused = client
            .request("tools/call", json!({"name": tool, "arguments": {}}))
            .await;
        assert!(refused.text.contains("scope admin"), "{}", refused.text);
    }
    let tools = Client::new(Class::Legacy)
        .request("tools/list", json!({}))
        .await;
    assert!(!tools.text.contains("query_audit"));
    let tools = Client::new(Class::Legacy).administrator();
    let tools = tools.request("tools/list", json!({})).await;
    assert!(tools.text.contains("query_audit") && tools.text.contains("verify_audit"));
}

#[tokio::test]
async fn what_was_denied_is_listed_by_session_kind_and_time_without_words() {
    let client = Client::new(Class::Call).administrator();
    let (one, two) = (
        denied_session(&client, "one").await,
        denied_session(&client, "two").await,
    );
    let all = client.call("query_audit", json!({})).await;
    let entries = all["entries"].as_array().expect("entries");
    let sessions: Vec<&Value> = entries.iter().map(|entry| &entry["session_id"]).collect();
    assert_eq!(sessions, [two.as_str(), one.as_str()], "the newest first");
    assert!(!all.to_string().contains("words of a person"), "{all}");

    let denials = json!({"session_id": one, "kinds": ["denial"]});
    let denials = client.call("query_audit", denials).await;
    let facts = &denials["entries"][0]["facts"];
    assert_eq!(denials["entries"].as_array().map(Vec::len), Some(1));
    assert_eq!(facts.as_array().map(Vec::len), Some(1), "{facts}");
    assert_eq!(
        (
            &facts[0]["kind"],
            &facts[0]["tool"],
            &facts[0]["about"],
            &facts[0]["policies"][0]
        ),
        (
            &json!("denial"),
            &json!("Bash"),
            &json!("one"),
            &json!("denials/privilege")
        )
    );
    let none = json!({"session_id": one, "kinds": ["decision"]});
    assert_eq!(client.call("query_audit", none).await["entries"], json!([]));
    let now = client.fake.now().0;
    for (range, count) in [
        (json!({"from": 0, "to": now}), 2),
        (json!({"from": now + 1}), 0),
        (json!({"to": 0}), 0),
        (json!({"from": "2001-01-01T00:00:00Z"}), 2),
    ] {
        let found = client.call("query_audit", range.clone()).await;
        let found = found["entries"].as_array().map(Vec::len);
        assert_eq!(found, Some(count), "{range} at {now}");
    }
    // Of others nothing.
    let other = Client::of(Class::Call, client.fake.clone())
        .caller("other")
        .administrator();
    assert_eq!(
        other.call("query_audit", json!({})).await["entries"],
        json!([])
    );
    let theirs = other.call("query_audit", json!({"session_id": one})).await;
    assert_eq!(theirs["entries"], json!([]));

    for (bad, named) in [
        (json!({"from": "yesterday"}), "from"),
        (json!({"session_id": "x"}), "session"),
        (json!({"kinds": ["everything"]}), "kinds"),
        (json!({"cursor": -1}), "cursor"),
    ] {
        let refused = client.request(
            "tools/call",
            json!({"name": "query_audit", "arguments": bad}),
        );
        let refused = refused.await;
        assert_eq!(refused.result()["isError"], true, "{}", refused.text);
        assert!(refused.text.contains(named), "{named}: {}", refused.text);
    }
}

#[tokio::test]
async fn refused_logins_are_the_deployments() {
    let client = Client::new(Class::Call).administrator();
    let fake = &client.fake;
    fake.count_refusal("192.0.2.1", fake.now())
        .await
        .expect("counted");
    fake.clock().advance(60_000);
    let key = SigningKey::new(&[7; 32]).expect("long enough");
    keep_audit(fake, &key).await.expect("kept");
    assert_eq!(
        client.call("query_audit", json!({})).await["entries"],
        json!([])
    );
    let refused = client
        .call("query_audit", json!({"deployment": true}))
        .await;
    let entry = &refused["entries"][0];
    assert_eq!(
        (&entry["source"], &entry["count"]),
        (&json!("192.0.2.1"), &json!(1))
    );
    let verified = client
        .call("verify_audit", json!({"deployment": true}))
        .await;
    assert_eq!(
        (&verified["findings"], &verified["entries"]),
        (&json!([]), &json!(1))
    );
    assert!(verified.get("next_cursor").is_none());
}

#[tokio::test]
async fn the_audit_is_verified_part_by_part() {
    let client = Client::new(Class::Call).administrator();
    denied_session(&client, "one").await;
    denied_session(&client, "two").await;
    let (mut arguments, mut parts, mut batches) = (json!({}), 0, 0);
    loop {
        let part = client.call("verify_audit", arguments).await;
        assert_eq!(part["findings"], json!([]));
        parts += 1;
        batches += part["batches"].as_u64().expect("a count");
        match part.get("next_cursor") {
            Some(next) => arguments = json!({"cursor": next}),
            None => break,
        }
        assert!(parts < 100, "it ends");
    }
    assert!(
        parts >= 3 && batches >= 4,
        "{parts} parts, {batches} batches"
    );
    let bad = json!({"name": "verify_audit", "arguments": {"cursor": "x"}});
    let refused = client.request("tools/call", bad).await;
    assert!(refused.text.contains("cursor"), "{}", refused.text);
}
