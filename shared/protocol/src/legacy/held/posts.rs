//! What a client of 2024-11-05 posts, as the holder of its stream takes it and begins to work on it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::client_session::ClientKey;
use domain::ports::{Posted, Unavailable};
use http::Request;
use serde_json::Value;
use tokio::time::Instant;

use super::super::worked::Working;
use super::super::{CANCELLED, ClientPorts, introduction};
use super::{HELD, Held, LIVELY};
use crate::answer::{INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, error_message};
use crate::work::Work;

/// How long a request is taken back from whoever held the stream before: that one listens once it has
/// worked on the request for a second.
const TAKING_BACK: Duration = Duration::from_secs(5);
/// Requests that are taken back in this way at once. More than this nobody worked on.
const TAKEN_BACK_AT_ONCE: usize = 128;

impl<W, P> Held<W, P>
where
    W: Work,
    P: ClientPorts,
{
    /// Takes what the client posted, and works on it.
    pub(super) async fn take_posts(&mut self) {
        match self.take().await {
            Ok(Some(posts)) => {
                for post in posts {
                    self.lively_until = Instant::now() + LIVELY;
                    // One that could not be removed comes again.
                    if self.taken.insert(post.name) {
                        self.work_on(&post.message).await;
                    }
                }
                self.remove_taken().await;
            }
            Ok(None) => {
                tracing::info!(
                    client_session = self.key.session.short(),
                    "the client has another stream, or its session has ended"
                );
                self.is_newest = false;
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "posted messages were not read"
            ),
        }
    }

    /// The posts, or `None` when another stream of the client is to take them. What may have been
    /// taken for us nobody else gets, so it is asked for again in any case.
    async fn take(&mut self) -> Result<Option<Vec<Posted>>, Unavailable> {
        let ports = &self.bridge.ports;
        if !self.unsure {
            let state = ports.stream(&self.key, HELD).await?;
            if state.is_none_or(|state| state.request != self.at.stream) {
                return Ok(None);
            }
        }
        self.unsure = true;
        let posts = ports.take_posted(&self.key, &self.at.stream).await?;
        self.unsure = false;
        Ok(Some(posts))
    }

    /// Removes the posts that are here. What is not removed is in nobody's way, and expires.
    async fn remove_taken(&mut self) {
        let ports = &self.bridge.ports;
        while let Some(name) = self.taken.first() {
            let removed = ports.remove_posted(&self.key, &self.at.stream, name).await;
            if let Err(error) = removed {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a posted message was not removed"
                );
                return;
            }
            self.taken.pop_first();
        }
    }

    /// Takes back what the client no longer wants, from whoever held its stream before.
    pub(super) async fn take_back(&mut self) {
        for (id, until) in std::mem::take(&mut self.taken_back) {
            match self.bridge.withdraw(&self.key, &id).await {
                Ok(true) => {}
                Ok(false) if Instant::now() >= until => {}
                Ok(false) => self.taken_back.push((id, until)),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a request was not taken back"
                    );
                    self.taken_back.push((id, until));
                }
            }
        }
    }

    /// The client takes a request back: one that is worked on here, or by whoever held its stream
    /// before. Any other is over.
    fn cancel(&mut self, id: &Value) {
        if let Some(working) = self.by_id.remove(&id.to_string()) {
            tracing::info!("a request was taken back");
            working.stop();
        } else if self.former.is_some()
            && self.taken_back.len() < TAKEN_BACK_AT_ONCE
            && !self.taken_back.iter().any(|(other, _)| other == id)
        {
            let until = Instant::now() + TAKING_BACK;
            self.taken_back.push((id.clone(), until));
        }
    }

    /// Works on one message beside the others. Of notifications only the one counts that takes a
    /// request back.
    async fn work_on(&mut self, message: &str) {
        let message: Value = serde_json::from_str(message).unwrap_or_default();
        let (Some(method), Some(id)) = (message["method"].as_str(), message.get("id")) else {
            if message["method"] == CANCELLED
                && let Some(id) = message.pointer("/params/requestId")
            {
                self.cancel(id);
            }
            return;
        };
        let (initializes, id) = (method == "initialize", id.clone());
        let refusal = |code, text| error_message(&id, code, text).to_string();
        let name = id.to_string();
        if self.by_id.contains_key(&name) {
            // Posted again, as when the acknowledgement was lost. An error under this id would be
            // taken for the answer of the one that runs.
            tracing::debug!("a request with this id is worked on");
            return;
        }
        let client = match (&self.client, initializes) {
            (_, true) => None,
            (Some(client), false) => Some((ClientKey::clone(&self.key), client.clone())),
            (None, false) => {
                let refusal = refusal(INVALID_REQUEST, "initialize comes first");
                return self.send(&refusal).await;
            }
        };
        let request = Request::new(Bytes::from(message.to_string()));
        let Ok(run) = self.bridge.run(client, request, &self.principal) else {
            let refusal = refusal(INVALID_PARAMS, "the parameters do not fit the method");
            return self.send(&refusal).await;
        };
        if initializes {
            // Alone and at once: what follows depends on it.
            let answer = match run.answer().await {
                Some(answer) => self.introduced(message, answer).await,
                None => Err("the request was not answered; ask again"),
            };
            let answer = answer.map(|answer| answer.to_string());
            let answer = answer.unwrap_or_else(|text| refusal(INTERNAL_ERROR, text));
            return self.send(&answer).await;
        }
        self.begun += 1;
        let (key, answers) = (Arc::clone(&self.key), self.answers.clone());
        let working = Working::begin(run, key, id, self.begun, answers);
        self.by_id.insert(name, working);
    }

    /// Notes who the client is, when that is what the answer says.
    async fn introduced(&mut self, request: Value, answer: Value) -> Result<Value, &'static str> {
        let Some(said) = introduction(request, &answer) else {
            return Ok(answer);
        };
        if let Err(error) = self.bridge.ports.introduce(&self.key, &said).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a client's introduction was not recorded"
            );
            return Err("initialize was not recorded; ask again");
        }
        self.client = serde_json::from_str(&said).ok();
        Ok(answer)
    }
}
