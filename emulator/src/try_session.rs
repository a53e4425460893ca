//! `emulator try`: one session, from its prompt to its diff, as a plain MCP client of the stack.

use serde_json::{Value, json};
use thiserror::Error;

mod client;
mod replay;
mod show;

pub use client::{Client, ClientError};
pub use replay::{ReplayOptions, replay};
use show::Show;
pub use show::Style;

/// How long one `wait_session` waits at most; shorter than every timeout between us and the function.
const WAIT_SECONDS: u64 = 20;
/// The same where unfinished text is shown, which ends no wait by itself.
const LIVE_WAIT_SECONDS: u64 = 1;
/// Failed waits in a row after which the stack counts as gone. Waiting again loses nothing.
const WAIT_ATTEMPTS: u32 = 3;

/// What the session is to be.
pub struct TryOptions {
    /// Arguments of `create_session`.
    pub arguments: Value,
    /// Leave it running at the end.
    pub keep: bool,
    /// How to show it.
    pub style: Style,
    /// The longest wait that the deployment grants (`SHANNON_WAIT_MAX_SECONDS`).
    pub longest_wait_seconds: u64,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryEnd {
    /// The session did what it was asked.
    Success,
    /// It failed.
    Failed,
    /// The person interrupted it; it was cancelled.
    Interrupted,
}

/// Why the session could not be followed.
#[derive(Debug, Error)]
pub enum TryError {
    /// The stack did not answer as it should.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A tool refused; its text says what to do.
    #[error("{tool}: {text}")]
    Refused {
        /// The tool.
        tool: &'static str,
        /// What it said.
        text: String,
    },
    /// An answer lacks what its schema promises.
    #[error("the answer of {tool} has no {field}")]
    Answer {
        /// The tool.
        tool: &'static str,
        /// The field.
        field: &'static str,
    },
}

/// Runs one session and shows it through `print`. `interrupted` ends it early: the session is then
/// cancelled. Every call is made with a name of its own, so that repeating one does nothing twice.
///
/// # Errors
/// See [`TryError`]; a session that was created is cancelled first, unless it is to be kept.
pub async fn run(
    client: &Client,
    options: TryOptions,
    interrupted: impl Future<Output = ()>,
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<TryEnd, TryError> {
    let mut arguments = options.arguments;
    arguments["client_token"] = json!(uuid::Uuid::new_v4().to_string());
    let created = call(client, "create_session", arguments).await?;
    let session = created["session_id"]
        .as_str()
        .ok_or(TryError::Answer {
            tool: "create_session",
            field: "session_id",
        })?
        .to_owned();
    let mut show = Show::new(options.style, session.clone());
    let wait = if options.style == Style::Colours {
        LIVE_WAIT_SECONDS
    } else {
        WAIT_SECONDS
    };
    let wait = wait.min(options.longest_wait_seconds);
    print(&show.begin());
    let end = tokio::select! {
        end = follow(client, &session, wait, &mut show, print) => end,
        () = interrupted => Ok(TryEnd::Interrupted),
    };
    if !options.keep || matches!(end, Ok(TryEnd::Interrupted)) {
        let cancelled = call(client, "cancel_session", json!({"session_id": session})).await;
        // a session that has ended by itself needs no cancelling, and an error before is the one to tell
        if let Err(error) = cancelled
            && end.is_ok()
            && !show.has_ended()
        {
            return Err(error);
        }
    }
    let end = end?;
    print(&show.finish(end == TryEnd::Interrupted, options.keep));
    Ok(end)
}

/// Follows the log until the turn is over and nothing more is to be read.
async fn follow(
    client: &Client,
    session: &str,
    longest: u64,
    show: &mut Show,
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<TryEnd, TryError> {
    let mut cursor: Option<String> = None;
    let mut failures = 0;
    loop {
        // what is over can be read without waiting
        let wait = if show.is_over() { 0 } else { longest };
        let mut arguments = json!({
            "session_id": session, "wait_seconds": wait,
            // as things happen, and with room for a whole diff
            "until": "event", "response_budget_characters": 100_000,
        });
        if let Some(cursor) = &cursor {
            arguments["cursor"] = json!(cursor);
        }
        let answer = match call(client, "wait_session", arguments).await {
            Err(TryError::Client(error)) if failures + 1 < WAIT_ATTEMPTS => {
                failures += 1;
                tracing::warn!(%error, "waiting for the session failed; trying again");
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                continue;
            }
            answer => answer?,
        };
        failures = 0;
        if let Some(next) = answer["next_cursor"].as_str() {
            cursor = Some(next.to_owned());
        }
        let events = answer["events"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        for event in events {
            print(&show.event(event));
        }
        print(&show.approval(&answer["approval"], client.token()));
        if let Some(text) = answer["live"]["text"].as_str() {
            print(&show.live(text));
        }
        let state = answer["state"].as_str().ok_or(TryError::Answer {
            tool: "wait_session",
            field: "state",
        })?;
        if events.is_empty() && ["waiting", "suspended"].contains(&state) {
            // nothing happens until a person decides, and such a session is not waited for
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
        let more = answer["more"].as_bool().unwrap_or(false) || !events.is_empty();
        if show.state(state) && !more {
            return Ok(if show.succeeded() {
                TryEnd::Success
            } else {
                TryEnd::Failed
            });
        }
    }
}

async fn call(client: &Client, tool: &'static str, arguments: Value) -> Result<Value, TryError> {
    let answer = client.call_tool(tool, arguments).await?;
    if answer.is_error {
        return Err(TryError::Refused {
            tool,
            text: answer.text,
        });
    }
    Ok(answer.structured)
}
