//! What reaches somebody who does not look: from a real session over the table's stream to a webhook
//! and the topic.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::script;
use e2e::session::Session;
use e2e::stack::{Options, Stack};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::watch;

const SECRET: &[u8] = b"the thirty-two bytes of a secret";
const PATIENCE: Duration = Duration::from_secs(120);

/// A post that it took.
#[derive(Clone, Debug)]
struct Taken {
    id: String,
    body: Value,
}

/// A receiver that fails once for each id before it takes it.
#[derive(Clone)]
struct Receiver {
    url: String,
    attempts: Arc<Mutex<BTreeMap<String, u32>>>,
    taken: watch::Sender<Vec<Taken>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback has a free port");
        let address = listener.local_addr().expect("an address");
        let receiver = Self {
            url: format!("http://{address}/hook"),
            attempts: Arc::default(),
            taken: watch::Sender::new(Vec::new()),
        };
        let router = Router::new()
            .fallback(Self::take)
            .with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    async fn take(State(receiver): State<Self>, headers: HeaderMap, body: String) -> StatusCode {
        let header = |name: &str| headers[name].to_str().expect("text").to_owned();
        let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("a key");
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        if header("webhook-signature") != signature {
            return StatusCode::UNAUTHORIZED;
        }
        let attempt = {
            let mut attempts = receiver.attempts.lock().expect("no panic");
            let attempt = attempts.entry(id.clone()).or_default();
            *attempt += 1;
            *attempt
        };
        if attempt == 1 {
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        let body = serde_json::from_str(&body).expect("JSON");
        receiver
            .taken
            .send_modify(|taken| taken.push(Taken { id, body }));
        StatusCode::NO_CONTENT
    }

    /// Waits until it took a post of this type.
    async fn wait_for(&self, kind: &str) -> Taken {
        let mut taken = self.taken.subscribe();
        let is_it = |it: &&Taken| it.body["type"] == kind;
        let found = taken.wait_for(|taken| taken.iter().any(|it| is_it(&it)));
        let found = tokio::time::timeout(PATIENCE, found).await;
        let found = found.unwrap_or_else(|_| panic!("no {kind} among {:?}", self.taken.borrow()));
        let found = found.expect("it is not closed").clone();
        found
            .iter()
            .find(is_it)
            .cloned()
            .expect("it was just there")
    }
}

#[tokio::test]
async fn a_webhook_and_the_topic_hear_that_a_session_asks_and_ends() {
    let receiver = Receiver::start().await;
    let secret = format!("whsec_{}", STANDARD.encode(SECRET));
    let options = Options::default()
        .with("SHANNON_WEBHOOK_URL", &receiver.url)
        .with("SHANNON_WEBHOOK_SECRET", &secret);
    let stack = Stack::start(&options);
    let client = stack.client();
    let steps = [script::question(), script::text("blue it is")];
    let mut session = Session::scripted(&client, &steps).await;

    let asked = receiver.wait_for("session.question_asked").await;
    let question = &asked.body["data"]["question_id"];
    let shown = client
        .call("get_session", json!({"session_id": session.id}))
        .await;
    assert_eq!(&shown["question"]["question_id"], question);
    let answer = json!({
        "session_id": session.id, "question_id": question, "answers": {"Which color?": "Blue"},
    });
    client.call("answer_question", answer).await;
    receiver.wait_for("session.turn_finished").await;
    session.until_turns_ended(1).await;
    session.cancel().await;
    receiver.wait_for("session.finished").await;

    // Each was tried twice and taken once, and nothing of the conversation is in it.
    let taken = receiver.taken.borrow().clone();
    let told: Vec<_> = taken.iter().map(|it| it.body["type"].clone()).collect();
    assert_eq!(
        told,
        [
            "session.question_asked",
            "session.turn_finished",
            "session.finished"
        ]
    );
    let attempts = receiver.attempts.lock().expect("no panic").clone();
    assert_eq!(attempts.len(), taken.len());
    assert!(attempts.values().all(|count| *count == 2), "{attempts:?}");
    for Taken { id, body } in &taken {
        assert_eq!(&body["data"]["id"], id);
        assert_eq!(body["data"]["session_id"], session.id);
        let text = body.to_string();
        assert!(!text.contains("Red") && !text.contains("it is"), "{text}");
    }
    assert_eq!(taken[2].body["data"]["state"], "cancelled");

    // The topic has the same, once each: a webhook that fails first is no reason to publish again.
    let published = client
        .http()
        .get(format!("{}/_emulator/messages", stack.aws_url()))
        .bearer_auth(&stack.token)
        .send()
        .await
        .expect("the emulator answers");
    let published: Value =
        serde_json::from_str(&published.text().await.expect("a text")).expect("JSON");
    let published = published["messages"].as_array().expect("messages");
    let bodies: Vec<Value> = published
        .iter()
        .map(|message| {
            let destination = message["destination"].as_str().expect("an ARN");
            assert!(destination.ends_with(":shannon-notices"), "{message}");
            serde_json::from_str(message["body"].as_str().expect("a text")).expect("JSON")
        })
        .collect();
    let posted: Vec<Value> = taken.into_iter().map(|it| it.body).collect();
    assert_eq!(bodies, posted);
}
