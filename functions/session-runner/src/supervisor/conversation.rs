//! What the CLI's lines mean for the session, as a state machine without any I/O.
//!
//! ```text
//! idle --message taken, or the CLI starts by itself--> running --idle, nothing outstanding--> idle
//! ```
//! Each line gives effects, which the supervisor carries out in order. A result is not the end of
//! the work (a background task may wake the model again); only the CLI's own `idle` is.

use std::collections::{BTreeMap, HashSet};

use claude::message::{
    BackgroundTasks, Block, CanUseTool, ControlResponse, Message, Spoken, TranscriptMirror,
    TurnResult,
};
use domain::event::{EventBody, NewEvent, TokenUsage, TurnEnd};
use domain::{Command, CommandOutcome, State, UnixMillis, limits};

use crate::gate_server::Refusal;
use crate::journal::Entry;
use crate::redact::Redactor;

/// Longest text of one event. Own: readers page through it; the whole stays in the transcript.
const TEXT_BYTES: usize = 1024 * 1024;
/// Notices of one kind in a session. Own: a program that prints garbage must not fill the log.
const NOTICES: usize = 50;

/// What is to be done about a line.
#[derive(Debug)]
pub enum Effect {
    /// Write to the log.
    Note(Entry),
    /// A turn ended: look at the files, then write this with what changed.
    TurnEnded(Entry),
    /// The turn stopped at a call that the gate deferred.
    TurnDeferred,
    /// Show (or take away) text that is not finished.
    Show(Option<String>),
    /// The CLI asks for permission.
    Asked(CanUseTool),
    /// The CLI asks something that nobody here answers.
    Unanswerable {
        /// Its request.
        request_id: String,
        /// What it asks.
        subtype: String,
    },
    /// Keep these transcript entries.
    Keep(TranscriptMirror),
    /// This runs beside the conversation from now on.
    Background(BackgroundTasks),
    /// The CLI has nothing left to do.
    WentIdle,
    /// An answer to a request of ours.
    Answered(Box<ControlResponse>),
    /// The CLI could not start, and says why.
    CannotStart(String),
}

/// Where the conversation with the CLI stands.
#[derive(Debug)]
pub struct Conversation {
    /// The session's state.
    pub state: State,
    /// Turns started.
    pub turn: u32,
    turn_open: bool,
    outstanding: Vec<(String, Command)>,
    /// Messages that the CLI has queued or begun.
    begun: HashSet<String>,
    /// Messages that it has begun with.
    started: HashSet<String>,
    /// Messages that its restored transcript has: they belong to the turn that is run again.
    known: HashSet<String>,
    refused: HashSet<String>,
    live: String,
    live_block: Option<(Option<String>, u64)>,
    /// How many of each kind were asked for.
    notices: BTreeMap<&'static str, usize>,
    redactor: Redactor,
}

impl Conversation {
    /// Before the CLI is ready.
    #[must_use]
    pub fn new(turn: u32, redactor: Redactor) -> Self {
        Conversation {
            state: State::Provisioning,
            turn,
            turn_open: false,
            outstanding: Vec::new(),
            begun: HashSet::new(),
            started: HashSet::new(),
            known: HashSet::new(),
            refused: HashSet::new(),
            live: String::new(),
            live_block: None,
            notices: BTreeMap::new(),
            redactor,
        }
    }

    /// An event of the current turn.
    #[must_use]
    pub fn event(&self, now: UnixMillis, cause: Option<&Command>, body: EventBody) -> NewEvent {
        NewEvent {
            turn: self.turn,
            time: now,
            cause: cause.map(|command| command.id.clone()),
            body,
        }
    }

    /// Text without secrets and of bounded length.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        shorten(&self.redactor.clean(text), TEXT_BYTES)
    }

    /// Messages that the CLI has and has not answered.
    pub fn outstanding(&self) -> impl Iterator<Item = &Command> {
        self.outstanding.iter().map(|(_, command)| command)
    }

    /// The CLI holds a message that it has not begun with.
    #[must_use]
    pub fn has_queued(&self) -> bool {
        self.outstanding
            .iter()
            .any(|(uuid, _)| !self.started.contains(uuid) && !self.known.contains(uuid))
    }

    /// The change to `state`, as an entry; empty if it is that already.
    #[must_use]
    pub fn change_to(&mut self, state: State, now: UnixMillis) -> Entry {
        if state == self.state {
            return Entry::default();
        }
        let change = EventBody::StateChanged {
            from: self.state,
            to: state,
        };
        self.state = state;
        Entry {
            events: vec![self.event(now, None, change)],
            state: Some(state),
            ..Entry::default()
        }
    }

    /// The entry that takes a message. Write it before the message is handed to the CLI, and only
    /// then call [`Conversation::handed_over`].
    #[must_use]
    pub fn take_message(
        &self,
        command: &Command,
        text: &str,
        again: bool,
        now: UnixMillis,
    ) -> (Entry, State, u32) {
        let starts = !self.turn_open && self.outstanding.is_empty();
        let turn = if starts { self.turn + 1 } else { self.turn };
        let event = |body| NewEvent {
            turn,
            time: now,
            cause: Some(command.id.clone()),
            body,
        };
        let mut events = Vec::new();
        // A question that waits goes on waiting.
        let state = match self.state {
            State::Waiting => State::Waiting,
            _ => State::Running,
        };
        if self.state != state {
            events.push(event(EventBody::StateChanged {
                from: self.state,
                to: state,
            }));
        }
        if !again {
            events.push(event(EventBody::MessageTaken {
                text: self.clean(text),
            }));
        }
        let entry = Entry {
            events,
            state: Some(state),
            turn: Some(turn),
            ..Entry::default()
        };
        (entry, state, turn)
    }

    /// The message was taken for good and goes to the CLI as `uuid`.
    pub fn handed_over(&mut self, uuid: String, command: Command, state: State, turn: u32) {
        if turn > self.turn {
            self.turn_open = true;
        }
        self.state = state;
        self.turn = turn;
        self.outstanding.push((uuid, command));
    }

    /// The event for a call that the gate refused.
    #[must_use]
    pub fn refusal(&mut self, refusal: Refusal, now: UnixMillis) -> Entry {
        self.refused.insert(refusal.tool_use_id.clone());
        let body = EventBody::ToolDenied {
            tool_use_id: refusal.tool_use_id,
            tool: refusal.tool,
            reason: self.clean(&refusal.reason),
        };
        Entry {
            events: vec![self.event(now, None, body)],
            ..Entry::default()
        }
    }

    /// A notice; nothing when there were too many of its kind.
    #[must_use]
    pub fn notice(&mut self, code: &'static str, message: &str, now: UnixMillis) -> Entry {
        let notices = self.notices.entry(code).or_default();
        *notices += 1;
        let message = match (*notices).cmp(&NOTICES) {
            std::cmp::Ordering::Less => shorten(&self.redactor.clean(message), 2000),
            std::cmp::Ordering::Equal => "further notices of this kind are left out".to_owned(),
            std::cmp::Ordering::Greater => return Entry::default(),
        };
        let body = EventBody::Notice {
            code: code.to_owned(),
            message,
        };
        Entry {
            events: vec![self.event(now, None, body)],
            ..Entry::default()
        }
    }

    /// What a line of the CLI means.
    pub fn read(&mut self, message: Message, now: UnixMillis) -> Vec<Effect> {
        match message {
            Message::Init(init) => {
                let mut entry = self.woken(now);
                if !self.turn_open {
                    self.turn += 1;
                    self.turn_open = true;
                }
                entry.turn = Some(self.turn);
                entry.events.push(self.event(
                    now,
                    None,
                    EventBody::TurnStarted { model: init.model },
                ));
                vec![Effect::Note(entry)]
            }
            Message::StateChanged(changed) => match changed.state.as_str() {
                "idle" => self.idle(now),
                "running" => vec![Effect::Note(self.woken(now))],
                _ => Vec::new(),
            },
            Message::ApiRetry(retry) => {
                let body = EventBody::Retry {
                    attempt: retry.attempt,
                    attempts: retry.max_retries.unwrap_or(retry.attempt),
                    delay_milliseconds: whole(retry.retry_delay_ms.unwrap_or_default()),
                    status: retry.error_status,
                    message: self.clean(retry.error.as_deref().unwrap_or("no answer")),
                };
                vec![self.note(now, body)]
            }
            Message::PermissionDenied(denied) => {
                let tool_use_id = denied.tool_use_id.unwrap_or_default();
                if !self.refused.insert(tool_use_id.clone()) {
                    return Vec::new();
                }
                let reason = self.clean(denied.message.as_deref().unwrap_or("refused by the CLI"));
                vec![self.note(
                    now,
                    EventBody::ToolDenied {
                        tool_use_id,
                        tool: denied.tool_name,
                        reason,
                    },
                )]
            }
            Message::Assistant(spoken) => self.assistant(spoken, now),
            Message::User(spoken) => self.tool_results(&spoken, now),
            Message::Delta(delta) if delta.parent_tool_use_id.is_none() && !delta.thinking => {
                let block = Some((delta.message_id, delta.block_index));
                if self.live_block != block {
                    self.live.clear();
                    self.live_block = block;
                }
                self.live.push_str(&delta.text);
                let excess = self.live.len().saturating_sub(limits::LIVE_TEXT_BYTES);
                let cut = (excess..self.live.len())
                    .find(|at| self.live.is_char_boundary(*at))
                    .unwrap_or(0);
                self.live.drain(..cut);
                vec![Effect::Show(Some(self.redactor.clean(&self.live)))]
            }
            Message::Result(result) => self.result(*result, now),
            Message::CanUseTool(asked) => vec![Effect::Asked(asked)],
            Message::OtherRequest {
                request_id,
                subtype,
            } => {
                vec![Effect::Unanswerable {
                    request_id,
                    subtype,
                }]
            }
            Message::ControlResponse(answer) => vec![Effect::Answered(answer)],
            Message::CommandLifecycle(command)
                if matches!(command.state.as_str(), "queued" | "started") =>
            {
                if command.state == "started" {
                    self.started.insert(command.command_uuid.clone());
                }
                self.begun.insert(command.command_uuid);
                Vec::new()
            }
            Message::CommandLifecycle(command) if command.state == "completed" => {
                if !self.begun.remove(&command.command_uuid) {
                    self.known.insert(command.command_uuid);
                }
                Vec::new()
            }
            Message::CommandLifecycle(command) if command.state == "cancelled" => {
                let dropped = self.settle(std::slice::from_ref(&command.command_uuid));
                let outcome = CommandOutcome::Refused(
                    "the message was dropped before it was read".to_owned(),
                );
                let finish: Vec<_> = dropped
                    .into_iter()
                    .map(|command| (command, outcome.clone()))
                    .collect();
                if finish.is_empty() {
                    return Vec::new();
                }
                vec![Effect::Note(Entry {
                    finish,
                    ..Entry::default()
                })]
            }
            Message::Transcript(mirror) => vec![Effect::Keep(mirror)],
            Message::BackgroundTasks(tasks) => vec![Effect::Background(tasks)],
            Message::Other {
                kind,
                problem: Some(problem),
            } => {
                let text = format!("a line of kind {kind} has an unknown shape: {problem}");
                vec![Effect::Note(self.notice("unknown_line", &text, now))]
            }
            Message::Delta(_)
            | Message::RequestCancelled { .. }
            | Message::CommandLifecycle(_)
            | Message::Other { problem: None, .. } => Vec::new(),
        }
    }

    /// The CLI works although nobody gave it anything: a background task woke it.
    fn woken(&mut self, now: UnixMillis) -> Entry {
        if self.state == State::Idle {
            self.change_to(State::Running, now)
        } else {
            Entry::default()
        }
    }

    fn idle(&mut self, now: UnixMillis) -> Vec<Effect> {
        if self.state != State::Running {
            return Vec::new();
        }
        // No turn of theirs is left to wait for.
        let known: Vec<String> = self.known.drain().collect();
        let over = self.settle(&known);
        let words = "its turn had ended when the session went on; the log says how";
        let mut effects = Vec::new();
        if !over.is_empty() {
            effects.push(Effect::Note(Entry {
                finish: over
                    .into_iter()
                    .map(|command| (command, CommandOutcome::Refused(words.to_owned())))
                    .collect(),
                ..Entry::default()
            }));
        }
        // A message that was written a moment ago has not been read yet; the CLI will say running.
        if !self.outstanding.is_empty() {
            return effects;
        }
        self.turn_open = false;
        self.live.clear();
        effects.extend([
            Effect::Show(None),
            Effect::WentIdle,
            Effect::Note(self.change_to(State::Idle, now)),
        ]);
        effects
    }

    fn note(&self, now: UnixMillis, body: EventBody) -> Effect {
        Effect::Note(Entry {
            events: vec![self.event(now, None, body)],
            ..Entry::default()
        })
    }

    fn assistant(&mut self, spoken: Spoken, now: UnixMillis) -> Vec<Effect> {
        let agent = spoken.parent_tool_use_id;
        let mut events = Vec::new();
        for block in spoken.blocks {
            let body = match block {
                Block::Text(text) => EventBody::Text {
                    text: self.clean(&text),
                    agent: agent.clone(),
                },
                Block::Thinking(text) if !text.is_empty() => EventBody::Thinking {
                    text: self.clean(&text),
                },
                Block::ToolUse { id, name, input } => EventBody::ToolCall {
                    tool_use_id: id,
                    tool: name,
                    input: self.clean(&input.to_string()),
                    agent: agent.clone(),
                },
                Block::Thinking(_) | Block::ToolResult { .. } | Block::Other(_) => continue,
            };
            events.push(self.event(now, None, body));
        }
        if agent.is_none() {
            self.live.clear();
            self.live_block = None;
        }
        vec![Effect::Note(Entry {
            events,
            ..Entry::default()
        })]
    }

    fn tool_results(&self, spoken: &Spoken, now: UnixMillis) -> Vec<Effect> {
        let results = spoken.blocks.iter().filter_map(|block| match block {
            Block::ToolResult {
                tool_use_id,
                text,
                is_error,
            } => Some(EventBody::ToolResult {
                tool_use_id: tool_use_id.clone(),
                is_error: *is_error,
                text: self.clean(text),
            }),
            _ => None,
        });
        let events: Vec<NewEvent> = results.map(|body| self.event(now, None, body)).collect();
        if events.is_empty() {
            Vec::new()
        } else {
            vec![Effect::Note(Entry {
                events,
                ..Entry::default()
            })]
        }
    }

    fn settle(&mut self, uuids: &[String]) -> Vec<Command> {
        let (done, open) = std::mem::take(&mut self.outstanding)
            .into_iter()
            .partition(|(uuid, _)| uuids.contains(uuid));
        self.outstanding = open;
        done.into_iter().map(|(_, command)| command).collect()
    }

    fn result(&mut self, result: TurnResult, now: UnixMillis) -> Vec<Effect> {
        if let Some(reason) = &result.startup_failure_reason {
            let text = result.result.as_deref().unwrap_or_default();
            return vec![Effect::CannotStart(self.clean(&format!("{reason} {text}")))];
        }
        if result.is_deferred() {
            return vec![Effect::TurnDeferred];
        }
        // Those that the transcript knew are not named where the turn began at a deferred call.
        let mut answered = result.user_message_uuids.clone();
        answered.extend(self.known.drain());
        let done = self.settle(&answered);
        let end = TurnEnd {
            is_error: result.is_error || result.subtype != "success",
            text: self.clean(&what_it_says(&result)),
            subtype: result.subtype,
            terminal_reason: result.terminal_reason,
            total_cost_usd: result.total_cost_usd,
            duration_milliseconds: whole(result.duration_ms),
            model_turns: result.num_turns,
            usage: TokenUsage {
                input_tokens: result.usage.input_tokens,
                output_tokens: result.usage.output_tokens,
                cache_creation_input_tokens: result.usage.cache_creation_input_tokens,
                cache_read_input_tokens: result.usage.cache_read_input_tokens,
            },
            messages: done.iter().map(|command| command.id.clone()).collect(),
        };
        let event = self.event(now, done.first(), EventBody::TurnEnded(end.clone()));
        let finish = done
            .into_iter()
            .map(|command| (command, CommandOutcome::Turn(end.clone())))
            .collect();
        self.turn_open = false;
        vec![Effect::TurnEnded(Entry {
            events: vec![event],
            total_cost_usd: Some(end.total_cost_usd),
            finish,
            ..Entry::default()
        })]
    }
}

fn what_it_says(result: &TurnResult) -> String {
    if let Some(text) = &result.result {
        return text.clone();
    }
    let errors: Vec<String> = result
        .errors
        .iter()
        .map(|error| {
            error
                .as_str()
                .map_or_else(|| error.to_string(), str::to_owned)
        })
        .collect();
    errors.join("\n")
}

fn whole(number: f64) -> u64 {
    // Saturates; a negative or undefined duration is none.
    number as u64
}

/// The text, cut at a character with a word about the rest.
#[must_use]
pub fn shorten(text: &str, most_bytes: usize) -> String {
    if text.len() <= most_bytes {
        return text.to_owned();
    }
    let end = (0..=most_bytes)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}… [{} more bytes]", &text[..end], text.len() - end)
}

#[cfg(test)]
mod tests;
