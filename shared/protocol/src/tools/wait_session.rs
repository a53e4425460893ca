//! `wait_session`: the events of a session after a cursor, waited for during a bounded time.

use domain::use_cases::{self, Observer, Until, WaitError};
use domain::{Cursor, Event, Principal};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{
    ASK_AGAIN, Definition, Done, Effect, Refused, key, refused, session_id_schema, state_schema,
};
use crate::asked::Progress;
use crate::resources::CONTENT_CHARACTERS;
use crate::show;
use crate::work::{Ports, Sessions};

/// Most characters of events in one answer, whatever the budget: with what stands around them, and
/// live text, they stay within what clients take.
const MOST_BUDGET_CHARACTERS: usize = CONTENT_CHARACTERS / 5 * 4;

pub(super) const DEFINITION: Definition = Definition {
    name: "wait_session",
    title: "Watch a session",
    description: "Waits for a Claude Code session to get somewhere and returns what happened since the cursor: \
        texts, tool calls with inputs and results, changed files, costs. Answers when the session has nothing left \
        to do, when the answer is full, or when wait_seconds are over. Pass next_cursor of one answer as cursor of \
        the next until state is idle or an end and more is false; the same cursor always gives the same events.",
    effect: Effect::Reads,
    input,
    output,
};

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id"],
        "properties": {
            "session_id": session_id_schema(),
            "cursor": {"type": "string", "description": "next_cursor of the answer before; from the beginning when left out."},
            "wait_seconds": {"type": "integer", "minimum": 0, "description": "Longest wait; 0 answers at once. Usually 25 when left out, and at most 50."},
            "until": {"type": "string", "enum": ["idle", "event"], "default": "idle", "description": "idle waits until the session has nothing left to do; event also answers as soon as anything new happened."},
            "response_budget_characters": {"type": "integer", "minimum": 500, "maximum": 100_000, "description": "About how many characters of events one answer may have; more than 80000 never come at once."}
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "state", "cursor", "next_cursor", "more", "events", "total_cost_usd", "pending_messages"],
        "properties": {
            "session_id": session_id_schema(),
            "state": state_schema(),
            "end_reason": {"type": "string", "description": "Why it ended, and what to do about it."},
            "cursor": {"type": "string", "description": "Where this answer begins."},
            "next_cursor": {"type": "string", "description": "Where the next call goes on."},
            "more": {"type": "boolean", "description": "There are more events already: call again at once with next_cursor."},
            "events": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["sequence", "turn", "time_unix_ms", "kind", "body"],
                    "properties": {
                        "sequence": {"type": "integer", "description": "Its place in the log, without gaps."},
                        "turn": {"type": "integer"},
                        "time_unix_ms": {"type": "integer"},
                        "kind": {"type": "string", "description": "session_created, runner_started, workspace_ready, session_ready, message_taken, message_withdrawn, turn_started, text, thinking, tool_call, tool_result, tool_denied, retry, turn_ended, files_changed, checkpoint_created, question_asked, question_answered, runner_lost, session_resumed, session_forked, rewound, notice, state_changed or session_ended."},
                        "message_id": {"type": "string", "description": "The message that caused it."},
                        "body": {"type": "object", "description": "What the kind says."},
                        "whole_body_bytes": {"type": "integer", "description": "Present when body is only the beginning of something this long."},
                        "shortened": {"type": "boolean", "description": "Texts of body were cut to fit response_budget_characters; a larger budget shows more."}
                    }
                }
            },
            "live": {
                "type": "object",
                "additionalProperties": false,
                "required": ["text"],
                "description": "What the session is writing right now; it comes again as an event when it is finished.",
                "properties": {"text": {"type": "string"}}
            },
            "total_cost_usd": {"type": "number"},
            "pending_messages": {"type": "integer", "description": "Messages that the session has not taken yet."}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    cursor: Option<String>,
    wait_seconds: Option<u64>,
    until: Option<String>,
    response_budget_characters: Option<usize>,
}

/// Tells the client of each event while the answer is not there yet.
struct Watching<'a> {
    progress: Option<&'a Progress>,
    budget: usize,
}

impl Observer for Watching<'_> {
    async fn event(&mut self, event: &Event) {
        if let Some(progress) = self.progress {
            // Sequences only grow, as progress must.
            #[expect(
                clippy::cast_precision_loss,
                reason = "a log has far fewer than 2^53 events"
            )]
            let position = event.sequence.0 as f64;
            progress.report(position, None, show::line(event)).await;
        }
    }

    fn characters(&self, event: &Event) -> usize {
        // A longer one is shortened to the budget when it is shown.
        show::characters(&show::event(event)).min(self.budget)
    }
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    progress: Option<&Progress>,
    input: Input,
) -> Result<Done, Refused> {
    let reader = principal.authorize().map_err(Refused::because)?;
    let key = key(principal, &input.session_id)?;
    let cursor = match input.cursor.as_deref() {
        None => Cursor::default(),
        Some(text) => Cursor::parse(text).map_err(Refused::because)?,
    };
    let budget = input
        .response_budget_characters
        .unwrap_or(work.deployment.response_budget_characters)
        .min(MOST_BUDGET_CHARACTERS);
    let request = use_cases::WaitSession {
        key,
        cursor,
        until: match input.until.as_deref() {
            Some("event") => Until::Event,
            _ => Until::Idle,
        },
        wait_seconds: input.wait_seconds,
        response_budget_characters: Some(budget),
    };
    let mut watching = Watching { progress, budget };
    let waited = use_cases::wait_session(
        &work.ports,
        &work.deployment,
        &reader,
        &request,
        &mut watching,
    )
    .await
    .map_err(|error| refused!(error, WaitError::Unavailable, ASK_AGAIN))?;
    let head = &waited.head;
    let events: Vec<Value> = waited
        .events
        .iter()
        .map(|event| {
            let mut shown = show::event(event);
            if show::shorten(&mut shown["body"], budget) {
                shown["shortened"] = true.into();
            }
            shown
        })
        .collect();
    let mut structured = json!({
        "session_id": head.key.session.as_str(),
        "state": head.state.as_str(),
        "cursor": cursor.to_string(),
        "next_cursor": waited.next_cursor.to_string(),
        "more": waited.more,
        "events": events,
        "total_cost_usd": head.total_cost_usd,
        "pending_messages": show::pending(head),
    });
    let mut text: Vec<String> = waited.events.iter().map(show::paragraph).collect();
    if let Some(live) = &waited.live {
        structured["live"] = json!({"text": live.text});
        text.push(format!("(writing) {}", live.text));
    }
    if let Some(reason) = &head.end_reason {
        structured["end_reason"] = reason.as_str().into();
    }
    text.push(format!(
        "{}; next_cursor {}",
        show::session_line(head),
        waited.next_cursor
    ));
    if waited.more {
        text.push("There is more: call wait_session again with next_cursor.".to_owned());
    }
    Ok(Done::new(structured, text.join("\n")))
}
