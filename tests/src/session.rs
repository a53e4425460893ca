//! One session as a client sees it: created, followed with a cursor, talked to, read.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::mcp::Client;

/// Longest time a test waits for something that should take seconds.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a person says who denies everything.
pub const DENIED: &str = "this was not asked for";

/// A session and what was seen of it so far.
#[derive(Debug)]
pub struct Session<'client> {
    client: &'client Client,
    /// Its id.
    pub id: String,
    /// Where the next wait goes on.
    pub cursor: Option<String>,
    /// Its state in the last answer.
    pub state: String,
    /// Every event seen, in order.
    pub events: Vec<Value>,
}

impl<'client> Session<'client> {
    /// Creates one; `arguments` as for the tool.
    pub async fn create(client: &'client Client, arguments: Value) -> Self {
        let created = client.call("create_session", arguments).await;
        Self {
            client,
            id: created["session_id"]
                .as_str()
                .unwrap_or_else(|| panic!("no session_id in {created}"))
                .to_owned(),
            cursor: None,
            state: created["state"].as_str().unwrap_or_default().to_owned(),
            events: Vec::new(),
        }
    }

    /// One that somebody else created, from its beginning.
    pub fn follow(client: &'client Client, id: &str) -> Self {
        Self {
            client,
            id: id.to_owned(),
            cursor: None,
            state: String::new(),
            events: Vec::new(),
        }
    }

    /// One in `bypass` mode on an empty workspace, following a script.
    pub async fn scripted<S: AsRef<str>>(client: &'client Client, steps: &[S]) -> Self {
        let arguments =
            json!({"prompt": crate::script::prompt(steps), "permission_mode": "bypass"});
        Self::create(client, arguments).await
    }

    /// Follows the session until `done` says so of it.
    ///
    /// # Panics
    /// When that takes too long, or the sequence has a gap or a repetition.
    pub async fn until(&mut self, what: &str, done: impl FnMut(&Self) -> bool) {
        self.follow_until("event", what, done).await;
    }

    async fn follow_until(&mut self, until: &str, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(
                start.elapsed() < PATIENCE,
                "waited too long for: {what}. State {}, events:\n{}",
                self.state,
                self.story()
            );
            let answer = self.wait_for(until, 5).await;
            // A session with nothing to do answers at once.
            if answer["events"].as_array().is_none_or(Vec::is_empty) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// One `wait_session` of at most that many seconds; returns its answer.
    pub async fn wait(&mut self, seconds: u64) -> Value {
        self.wait_for("idle", seconds).await
    }

    async fn wait_for(&mut self, until: &str, seconds: u64) -> Value {
        let mut arguments = json!({"session_id": self.id, "until": until, "wait_seconds": seconds});
        if let Some(cursor) = &self.cursor {
            arguments["cursor"] = json!(cursor);
        }
        let answer = self.client.call("wait_session", arguments).await;
        self.take(&answer);
        answer
    }

    /// Takes the events of an answer into account.
    ///
    /// # Panics
    /// When the sequence has a gap or a repetition.
    pub fn take(&mut self, answer: &Value) {
        for event in answer["events"].as_array().into_iter().flatten() {
            let sequence = event["sequence"].as_u64().expect("an event has a sequence");
            let last = self.events.last().map_or(0, |event| {
                event["sequence"].as_u64().expect("an event has a sequence")
            });
            assert_eq!(
                sequence,
                last + 1,
                "a gap or a repetition after {}",
                self.story()
            );
            self.events.push(event.clone());
        }
        if let Some(cursor) = answer["next_cursor"].as_str() {
            self.cursor = Some(cursor.to_owned());
        }
        if let Some(state) = answer["state"].as_str() {
            self.state = state.to_owned();
        }
    }

    /// Follows until the turn that is running or about to run is over.
    pub async fn until_turns_ended(&mut self, turns: usize) {
        let what = format!("{turns} ended turns");
        self.follow_until("idle", &what, |session| {
            session.of_kind("turn_ended").len() >= turns && session.state != "running"
                || session.is_ended()
        })
        .await;
        assert!(
            self.of_kind("turn_ended").len() >= turns,
            "the session ended before: {}",
            self.story()
        );
    }

    /// Follows until it has ended and everything of it was seen.
    pub async fn until_ended(&mut self) {
        self.follow_until("idle", "the end", |session| {
            session
                .events
                .last()
                .is_some_and(|event| event["kind"] == "session_ended")
        })
        .await;
    }

    /// Follows until a call waits for a person's approval that is not `last`.
    ///
    /// # Panics
    /// When none does.
    pub async fn until_asked(&mut self, last: Option<&Value>) -> Value {
        let start = Instant::now();
        let mut idle = 0;
        loop {
            let answer = self.wait_for("idle", 5).await;
            let asked = &answer["approval"];
            if asked.is_object()
                && last.is_none_or(|last| last["approval_id"] != asked["approval_id"])
            {
                return asked.clone();
            }
            // The wait may be over in the moment between the start of the CLI and the turn's.
            idle += usize::from(self.state == "idle");
            assert!(
                start.elapsed() < PATIENCE && !self.is_ended() && idle < 2,
                "nothing waits for approval: {}, {}",
                self.state,
                self.story()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Follows until so many turns have ended; a person denies everything meanwhile.
    pub async fn until_turns_ended_and_all_denied(
        &mut self,
        turns: usize,
        person: &mut crate::approver::Approver,
    ) {
        let start = Instant::now();
        while self.of_kind("turn_ended").len() < turns || self.state == "running" {
            assert!(start.elapsed() < PATIENCE, "not ended: {}", self.story());
            let answer = self.wait_for("idle", 5).await;
            if let Some(url) = answer["approval"]["url"].as_str() {
                let reason = [("reason", DENIED)];
                let page = person.decide(url, "deny", &reason).await;
                assert_eq!(page.status, 303, "{}", page.text);
            }
        }
    }

    /// Whether it has ended.
    pub fn is_ended(&self) -> bool {
        ["completed", "failed", "cancelled", "timed_out"].contains(&self.state.as_str())
    }

    /// Bodies of the events of one kind, in order.
    pub fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.events
            .iter()
            .filter(|event| event["kind"] == kind)
            .map(|event| &event["body"])
            .collect()
    }

    /// The text of all tool results, in order.
    pub fn tool_results(&self) -> Vec<String> {
        self.of_kind("tool_result")
            .iter()
            .map(|body| body["text"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// The texts of the assistant, one after the other.
    pub fn said(&self) -> String {
        self.of_kind("text")
            .iter()
            .filter_map(|body| body["text"].as_str())
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Sends a message; returns what the tool answered.
    pub async fn send(&self, message: &str, message_id: &str) -> Value {
        self.client
            .call(
                "send_message",
                json!({"session_id": self.id, "message": message, "message_id": message_id}),
            )
            .await
    }

    /// Ends it and waits for the end, so that it leaves nothing running.
    pub async fn cancel(&mut self) {
        self.client
            .call("cancel_session", json!({"session_id": self.id}))
            .await;
        self.until_ended().await;
    }

    /// The events, one line each, for messages of failed tests.
    pub fn story(&self) -> String {
        self.events
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }
}
