//! A tool that asks a person, as a modern client sees it.

use insta::assert_json_snapshot;
use protocol::Class;
use serde_json::{Value, json};

use crate::client::{Answer, Client};

async fn cancel(client: &Client, session: &Value, more: Value) -> Answer {
    let mut params = json!({"name": "cancel_session", "arguments": {"session_id": session}});
    for (name, value) in more.as_object().expect("an object") {
        params[name] = value.clone();
    }
    client.request("tools/call", params).await
}

fn answers(confirm: bool) -> Value {
    json!({"confirm": {"action": "accept", "content": {"confirm": confirm}}})
}

/// A session whose first message waits, and the state of the question whether to end it.
async fn asked(client: &Client) -> (Value, Value) {
    let created = client.call("create_session", json!({"prompt": "x"})).await;
    let session = created["session_id"].clone();
    let question = cancel(client, &session, json!({})).await;
    assert_eq!(question.result()["resultType"], "input_required");
    let state = question.result()["requestState"].clone();
    (session, state)
}

fn text(answer: &Answer) -> &str {
    let text = &answer.result()["content"][0]["text"];
    text.as_str().unwrap_or_else(|| panic!("{answer:?}"))
}

#[tokio::test]
async fn a_session_with_waiting_messages_is_ended_when_the_person_confirms() {
    let client = Client::new(Class::Call).asking();
    let created = client.call("create_session", json!({"prompt": "x"})).await;
    let session = created["session_id"].clone();
    let mut question = cancel(&client, &session, json!({})).await.result().clone();
    let state = question["requestState"].take();
    let about = format!("Session {}", session.as_str().expect("an id"));
    let message = &mut question["inputRequests"]["confirm"]["params"]["message"];
    *message = message
        .as_str()
        .expect("text")
        .replace(&about, "Session S")
        .into();
    assert_json_snapshot!("input_required", question);

    let no = json!({"inputResponses": answers(false), "requestState": state});
    let refused = cancel(&client, &session, no.clone()).await;
    assert_eq!(refused.result()["isError"], true);
    assert!(
        text(&refused).contains("did not confirm"),
        "{}",
        text(&refused)
    );
    assert_eq!(
        client
            .call("get_session", json!({"session_id": session}))
            .await["state"],
        "requested"
    );
    // They had their say: another answer to the same question counts for nothing.
    let yes = json!({"inputResponses": answers(true), "requestState": state});
    let late = cancel(&client, &session, yes).await;
    assert_eq!(late.code(), -32602);

    let (session, state) = asked(&client).await;
    let yes = json!({"inputResponses": answers(true), "requestState": state});
    let done = cancel(&client, &session, yes.clone())
        .await
        .result()
        .clone();
    assert_eq!(done["structuredContent"]["state"], "cancelled", "{done}");
    // The same again gives what was recorded.
    let again = cancel(&client, &session, yes).await.result().clone();
    assert_eq!(done, again);
}

#[tokio::test]
async fn a_state_serves_nobody_else_and_nothing_else() {
    let client = Client::new(Class::Call).asking();
    let (session, state) = asked(&client).await;
    let (other_session, _) = asked(&client).await;
    let brought = json!({"inputResponses": answers(true), "requestState": state});
    let other_call = cancel(&client, &other_session, brought.clone()).await;
    assert_eq!(other_call.code(), -32602);
    let stranger = Client::of(Class::Call, client.fake.clone())
        .asking()
        .caller("you");
    assert_eq!(
        cancel(&stranger, &session, brought.clone()).await.code(),
        -32602
    );
    let mut changed = state.as_str().expect("text").to_owned();
    changed.pop();
    for bad in ["", "x", changed.as_str()] {
        let tampered = json!({"inputResponses": answers(true), "requestState": bad});
        assert_eq!(
            cancel(&client, &session, tampered).await.code(),
            -32602,
            "{bad}"
        );
    }
    client.fake.clock().advance(3_600_001);
    let late = cancel(&client, &session, brought).await;
    assert!(
        late.response()["error"]["message"]
            .as_str()
            .expect("text")
            .contains("expired")
    );
}

#[tokio::test]
async fn who_cannot_be_asked_decides_by_calling() {
    for client in [
        Client::new(Class::Call),
        Client::new(Class::Legacy).legacy(),
    ] {
        let created = client.call("create_session", json!({"prompt": "x"})).await;
        let session = json!({"session_id": created["session_id"]});
        assert_eq!(
            client.call("cancel_session", session).await["state"],
            "cancelled"
        );
    }
}

#[tokio::test]
async fn nothing_is_asked_when_nothing_waits() {
    let client = Client::new(Class::Call).asking();
    let created = client.call("create_session", json!({"prompt": "x"})).await;
    let session = created["session_id"].as_str().expect("an id").to_owned();
    client.runner(&session).await.take().await;
    let done = client
        .call("cancel_session", json!({"session_id": session}))
        .await;
    assert_eq!(done["session_id"], session.as_str());
    let again = client
        .call("cancel_session", json!({"session_id": session}))
        .await;
    assert_eq!(again["session_id"], session.as_str());
}
