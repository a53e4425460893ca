//! What each line of the CLI means.

use claude::message::{Block, Message, Spoken, TurnResult};
use domain::event::{EventBody, NewEvent, TokenUsage, TurnEnd};
use domain::{Command, CommandOutcome, State, UnixMillis};

use super::{Conversation, Effect};
use crate::journal::Entry;

impl Conversation {
    /// What a line of the CLI means.
    pub fn read(&mut self, message: Message, now: UnixMillis) -> Vec<Effect> {
        match message {
            Message::Init(init) => {
                let mut entry = self.woken(now);
                let mut effects = Vec::new();
                if !self.turn_open {
                    self.turn += 1;
                    self.turn_open = true;
                    effects.push(Effect::TurnBegan);
                }
                entry.turn = Some(self.turn);
                entry.events.push(self.event(
                    now,
                    None,
                    EventBody::TurnStarted { model: init.model },
                ));
                effects.push(Effect::Note(entry));
                effects
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
                        policies: Vec::new(),
                    },
                )]
            }
            Message::Assistant(spoken) => self.assistant(spoken, now),
            Message::User(spoken) => self.tool_results(&spoken, now),
            Message::Delta(delta) if delta.parent_tool_use_id.is_none() && !delta.thinking => {
                let block = (delta.message_id, delta.block_index);
                vec![Effect::Show(Some(self.shown(&delta.text, block)))]
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
        self.cli_rests = false;
        if self.state == State::Idle {
            self.change_to(State::Running, now)
        } else {
            Entry::default()
        }
    }

    fn idle(&mut self, now: UnixMillis) -> Vec<Effect> {
        // A caller's command may wait for a person meanwhile.
        let waits_for_caller = self.caller_runs && self.state == State::Waiting;
        if self.state != State::Running && !waits_for_caller {
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
        self.cli_rests = true;
        self.nothing_live();
        effects.extend([Effect::Show(None), Effect::WentIdle]);
        if !self.caller_runs {
            effects.push(Effect::Note(self.change_to(State::Idle, now)));
        }
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
            self.nothing_live();
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
        let total_cost_usd = self.costs.hear(result.total_cost_usd);
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
            total_cost_usd,
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
            total_cost_usd: Some(total_cost_usd),
            finish,
            ..Entry::default()
        })]
    }
}

/// What can be done when a session has spent what it may.
pub(crate) const BUDGET_SPENT: &str = "This session has spent what it may (max_budget_usd of create_session) and takes no \
    more messages: fork_session goes on from here, in a session that may spend as much again.";

fn what_it_says(result: &TurnResult) -> String {
    if let Some(text) = &result.result {
        return text.clone();
    }
    let mut errors: Vec<String> = result
        .errors
        .iter()
        .map(|error| {
            error
                .as_str()
                .map_or_else(|| error.to_string(), str::to_owned)
        })
        .collect();
    errors.extend(what_to_do(&result.subtype).map(str::to_owned));
    errors.join("\n")
}

/// What can be done when a limit ended the turn.
fn what_to_do(subtype: &str) -> Option<&'static str> {
    match subtype {
        "error_max_turns" => Some(
            "send_message goes on from here: each message may take as many model requests as \
             max_turns of create_session says.",
        ),
        "error_max_budget_usd" => Some(BUDGET_SPENT),
        _ => None,
    }
}

fn whole(number: f64) -> u64 {
    // Saturates; a negative or undefined duration is none.
    number as u64
}
