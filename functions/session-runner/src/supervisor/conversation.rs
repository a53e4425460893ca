//! What the CLI's lines mean for the session, as a state machine without any I/O.
//!
//! ```text
//! idle --message taken, or the CLI starts by itself--> running --idle, nothing outstanding--> idle
//! ```
//! Each line gives effects, which the supervisor carries out in order. A result is not the end of
//! the work (a background task may wake the model again); only the CLI's own `idle` is.

mod lines;

use std::collections::{BTreeMap, HashSet};

use claude::gate::ASK_TOOL;
use claude::message::{BackgroundTasks, CanUseTool, ControlResponse, TranscriptMirror};
use domain::event::{EventBody, NewEvent};
use domain::{Command, State, UnixMillis, limits};
use redact::{Redactor, Stream};

pub(crate) use self::lines::BUDGET_SPENT;
use super::costs::Costs;
use crate::gate_server::{Refusal, WaitingCall};
use crate::journal::Entry;

/// Longest text of one event. Own: readers page through it; the whole stays in the transcript.
const TEXT_BYTES: usize = 1024 * 1024;
/// Notices of one kind in a session. Own: a program that prints garbage must not fill the log.
const NOTICES: usize = 50;
/// Bytes of a line of no protocol that are looked at. Own: 500 of them are shown.
const STRAY_BYTES: usize = 16 * 1024;

/// What is to be done about a line.
#[derive(Debug)]
pub enum Effect {
    /// Write to the log.
    Note(Entry),
    /// The CLI began a turn for which it got no message: a task in the background was over.
    TurnBegan,
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
    /// The CLI has nothing to do.
    cli_rests: bool,
    /// A command of a caller runs, or waits for its turn or for a person.
    pub(crate) caller_runs: bool,
    outstanding: Vec<(String, Command)>,
    /// Messages that the CLI has queued or begun.
    begun: HashSet<String>,
    /// Messages that it has begun with.
    started: HashSet<String>,
    /// Messages that its restored transcript has: they belong to the turn that is run again.
    known: HashSet<String>,
    refused: HashSet<String>,
    /// The text of the block that is being written, as far as it has no secret for certain.
    live: String,
    live_stream: Stream,
    live_block: Option<(Option<String>, u64)>,
    /// How many of each kind were asked for.
    notices: BTreeMap<&'static str, usize>,
    /// Lines of standard error, and lines that are of no protocol: a secret may have several.
    warnings: Stream,
    strays: Stream,
    redactor: Redactor,
    /// What the session has cost.
    pub costs: Costs,
}

impl Conversation {
    /// Before the CLI is ready.
    #[must_use]
    pub fn new(turn: u32, redactor: Redactor) -> Self {
        Conversation {
            state: State::Provisioning,
            turn,
            turn_open: false,
            cli_rests: true,
            caller_runs: false,
            outstanding: Vec::new(),
            begun: HashSet::new(),
            started: HashSet::new(),
            known: HashSet::new(),
            refused: HashSet::new(),
            live: String::new(),
            live_stream: redactor.stream(),
            live_block: None,
            notices: BTreeMap::new(),
            warnings: redactor.stream(),
            strays: redactor.stream(),
            redactor,
            costs: Costs::default(),
        }
    }

    /// The same, of a session that has cost so much.
    #[must_use]
    pub fn after_costs(mut self, spent_usd: f64) -> Self {
        self.costs = Costs::after(spent_usd);
        self
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

    /// Text without secrets and of bounded length. JSON stays JSON.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        if text.len() <= TEXT_BYTES {
            return self.redactor.clean_json(text);
        }
        // Only what stays is looked at, and what cuts a secret at its end.
        let end = text.floor_char_boundary(TEXT_BYTES);
        let mut beginning = self.redactor.clean_beginning(&text[..end]);
        beginning.truncate(beginning.floor_char_boundary(TEXT_BYTES));
        with_rest(&beginning, text.len() - end)
    }

    /// What finds the secrets of this session.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Lines of the CLI's standard error without secrets, those that began in earlier ones too.
    pub fn warned(&mut self, lines: &str) -> String {
        let clean = self.warnings.push(&format!("{lines}\n"));
        shorten(clean.trim_end_matches('\n'), TEXT_BYTES)
    }

    /// A line that is of no protocol, likewise; of a long one the beginning.
    pub fn stray(&mut self, line: &[u8]) -> String {
        let clean = if line.len() > STRAY_BYTES {
            let beginning = String::from_utf8_lossy(&line[..STRAY_BYTES]);
            self.redactor.clean_beginning(&beginning)
        } else {
            let line = String::from_utf8_lossy(line);
            self.strays.push(&format!("{line}\n"))
        };
        shorten(clean.trim_end_matches('\n'), 500)
    }

    /// Text of a block that is being written; the rest of it follows.
    fn shown(&mut self, text: &str, block: (Option<String>, u64)) -> String {
        if self.live_block.as_ref() != Some(&block) {
            self.nothing_live();
            self.live_block = Some(block);
        }
        let decided = self.live_stream.push(text);
        self.live.push_str(&decided);
        let excess = self.live.len().saturating_sub(limits::LIVE_TEXT_BYTES);
        let cut = self.live.ceil_char_boundary(excess);
        self.live.drain(..cut);
        self.live.clone()
    }

    /// No block is being written.
    fn nothing_live(&mut self) {
        self.live.clear();
        self.live_block = None;
        self.live_stream = self.redactor.stream();
    }

    /// Messages that the CLI has and has not answered.
    pub fn outstanding(&self) -> impl Iterator<Item = &Command> {
        self.outstanding.iter().map(|(_, command)| command)
    }

    /// Nothing of the CLI runs, so a command of a caller may.
    #[must_use]
    pub const fn cli_rests(&self) -> bool {
        self.cli_rests
    }

    /// The CLI goes on with a turn that was open.
    pub fn cli_works(&mut self) {
        self.cli_rests = false;
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
        self.cli_rests = false;
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
            policies: refusal.policies,
        };
        Entry {
            events: vec![self.event(now, None, body)],
            ..Entry::default()
        }
    }

    /// The event for a call that the gate lets go; questions to a person are no calls of theirs.
    #[must_use]
    pub fn allowance(&self, call: &WaitingCall, now: UnixMillis) -> Entry {
        if call.tool == ASK_TOOL {
            return Entry::default();
        }
        let body = EventBody::ToolAllowed {
            tool_use_id: call.tool_use_id.clone(),
            tool: call.tool.clone(),
            policies: call.policies.clone(),
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
}

/// The text, cut at a character with a word about the rest.
#[must_use]
pub fn shorten(text: &str, most_bytes: usize) -> String {
    if text.len() <= most_bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most_bytes);
    with_rest(&text[..end], text.len() - end)
}

fn with_rest(beginning: &str, more: usize) -> String {
    format!("{beginning}… [{more} more bytes]")
}

#[cfg(test)]
mod tests;
