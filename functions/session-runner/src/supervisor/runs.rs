//! Commands of callers: taken in order, run when no turn does, once at the most.
//!
//! ```text
//! taken ─→ in line ─ no turn runs ─→ at the gate ─ allowed ─→ begun (in the log) ─→ runs ─→ ended
//!             ↑                          ├─ denied, withdrawn ─→ done
//!             └──── suspended, lost ─────┘
//! ```
//! A command is done once it has ended, so a runner that goes on from a cut takes one that has not
//! again. It begins it unless the log, behind the cut, says that it was begun before: then it may have
//! run, and has ended with that. A cut that is taken while one runs lies before its begin.
//!
//! Messages that come behind a command wait in the line too, and what comes for the turn that runs
//! (answers, decisions, interrupts) passes it.

mod process;
mod stopping;

use std::collections::VecDeque;

use claude::gate::Answer;
use domain::event::{EventBody, RunEnd, RunHow};
use domain::{Command, CommandBody, CommandId, CommandOutcome, Event, QuestionId, Sequence, State};
use policy::Call;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::starting::Started;
use super::{Ports, Stop, Supervision};
use crate::gate_server::{CALLER_MODE, Decided, SHELL, WaitingCall, id_of_command, is_of_caller};
use crate::journal::Entry;
use crate::objects::SessionObjects;
use crate::shell_command::ShellCommand;

/// Commands of callers that may wait for each other. Own: taken, they do not count as queued any more.
const LINE: usize = 100;

/// Told of one that an earlier runner began.
const MAY_HAVE_RUN: &str = "its runner was lost while it ran: it may have run, in whole or in part. Look \
    at what it was to do, and send it again under another message_id if it has to run";

/// Commands of callers that are taken and have not ended.
#[derive(Default)]
pub(crate) struct Runs {
    /// Not begun yet, in their order, with the messages behind them.
    line: VecDeque<Command>,
    current: Option<Current>,
    /// Those that an earlier runner began, and did not see end.
    pub(crate) begun: Vec<CommandId>,
}

struct Current {
    command: Command,
    stage: Stage,
}

enum Stage {
    /// The gate has not let it go.
    Asks(oneshot::Receiver<Answer>),
    Runs {
        process: Box<ShellCommand>,
        /// The last event before it began.
        before: Sequence,
    },
}

/// What happened to the current one.
pub(crate) enum Moved {
    /// The gate, or a person, has decided.
    Answered(Answer),
    /// It has ended, or is to end.
    Ended,
}

/// Where a command is.
enum Found {
    InLine(usize),
    Asks,
    Runs,
}

impl Runs {
    /// Returns when there is something to do about the current one. Cut off, nothing is lost.
    pub(crate) async fn moved(&mut self) -> Moved {
        match self.current.as_mut().map(|current| &mut current.stage) {
            None => std::future::pending().await,
            Some(Stage::Asks(answer)) => {
                let answer = answer.await;
                Moved::Answered(answer.unwrap_or_else(|_| Answer::Deny {
                    reason: "The gate gave no answer.".to_owned(),
                }))
            }
            Some(Stage::Runs { process, .. }) => {
                process.ended().await;
                Moved::Ended
            }
        }
    }

    /// A message that comes now waits for a command.
    pub(crate) fn are_before(&self) -> bool {
        self.current.is_some() || !self.line.is_empty()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running().is_some()
    }

    fn running(&self) -> Option<(&ShellCommand, Sequence)> {
        match &self.current.as_ref()?.stage {
            Stage::Runs { process, before } => Some((process, *before)),
            Stage::Asks(_) => None,
        }
    }

    /// A checkpoint that is taken now lies here, not at its own event.
    pub(crate) fn cut_before(&self) -> Option<Sequence> {
        self.running().map(|(_, before)| before)
    }

    /// Whatever is taken and not done, in no order.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = &Command> {
        let current = self.current.iter().map(|current| &current.command);
        current.chain(&self.line)
    }

    fn find(&self, id: &CommandId) -> Option<Found> {
        match &self.current {
            Some(current) if current.command.id == *id => Some(match current.stage {
                Stage::Asks(_) => Found::Asks,
                Stage::Runs { .. } => Found::Runs,
            }),
            _ => {
                let at = self.line.iter().position(|command| command.id == *id);
                at.map(Found::InLine)
            }
        }
    }

    /// The one at the gate is to be asked about again.
    pub(crate) fn put_back(&mut self) {
        match self.current.take() {
            Some(Current {
                command,
                stage: Stage::Asks(_),
            }) => self.line.push_front(command),
            other => self.current = other,
        }
    }

    fn take_running(&mut self) -> Option<(Command, ShellCommand)> {
        match self.current.take() {
            Some(Current {
                command,
                stage: Stage::Runs { process, .. },
            }) => Some((command, *process)),
            other => {
                self.current = other;
                None
            }
        }
    }
}

impl<P: Ports, O: SessionObjects> Supervision<P, O> {
    /// Takes a command of a caller. `false` when it was withdrawn meanwhile.
    pub(super) async fn take_run(&mut self, command: &Command) -> Result<bool, Stop> {
        let now = self.ports.now();
        if self.runs.begun.contains(&command.id) {
            let end = RunEnd {
                how: RunHow::Interrupted,
                exit_code: None,
                duration_milliseconds: 0,
                reason: Some(MAY_HAVE_RUN.to_owned()),
            };
            let body = EventBody::CommandEnded {
                end: end.clone(),
                stdout: String::new(),
                stderr: String::new(),
                stdout_bytes: 0,
                stderr_bytes: 0,
            };
            let entry = Entry {
                events: vec![self.conversation.event(now, Some(command), body)],
                take: vec![command.clone()],
                finish: vec![(command.clone(), CommandOutcome::Ran(end))],
                ..Entry::default()
            };
            return self.write(entry).await;
        }
        if self.runs.line.len() >= LINE {
            let words = format!("{LINE} commands and messages wait already");
            let outcome = CommandOutcome::Refused(words);
            return self.take_and_finish(command, outcome).await;
        }
        let mut entry = Entry {
            take: vec![command.clone()],
            ..Entry::default()
        };
        let wakes = self.conversation.state == State::Idle;
        if wakes {
            let change = EventBody::StateChanged {
                from: State::Idle,
                to: State::Running,
            };
            let event = self.conversation.event(now, Some(command), change);
            entry.events.push(event);
            entry.state = Some(State::Running);
        }
        if !self.write(entry).await? {
            return Ok(false);
        }
        if wakes {
            self.conversation.state = State::Running;
        }
        self.conversation.caller_runs = true;
        self.runs.line.push_back(command.clone());
        Ok(true)
    }

    /// Takes a message that stands behind a command.
    pub(super) async fn take_behind(&mut self, command: &Command) -> Result<bool, Stop> {
        if self.runs.line.len() >= LINE {
            let words = format!("{LINE} commands and messages wait already");
            let outcome = CommandOutcome::Refused(words);
            return self.take_and_finish(command, outcome).await;
        }
        let entry = Entry {
            take: vec![command.clone()],
            ..Entry::default()
        };
        let taken = self.write(entry).await?;
        if taken {
            self.runs.line.push_back(command.clone());
        }
        Ok(taken)
    }

    /// Goes on with the line, if it is its turn; whether it did something.
    pub(super) async fn serve_line(&mut self, started: &mut Started) -> Result<bool, Stop> {
        if started.question.is_none()
            && let Some(call) = started.later.pop_front()
        {
            self.ask(call, started).await?;
            return Ok(true);
        }
        if self.runs.current.is_some() {
            return Ok(false);
        }
        let runs = |command: &Command| matches!(command.body, CommandBody::Run { .. });
        let Some(next) = self.runs.line.front() else {
            return Ok(false);
        };
        if runs(next) && !self.conversation.cli_rests() {
            return Ok(false);
        }
        if runs(next) {
            // What was stored since the last turn counts. Before it leaves the line: whatever ends the
            // session here finds it there.
            self.renew_policies(started).await?;
        }
        let Some(command) = self.runs.line.pop_front() else {
            return Ok(false);
        };
        if runs(&command) {
            self.ask_gate(command, started).await?;
        } else {
            self.take_message(&command, false, started).await?;
            // One that could not be handed over leaves nothing to do.
            let rests = self.rests(self.ports.now());
            self.note(rests);
        }
        Ok(true)
    }

    async fn ask_gate(&mut self, command: Command, started: &mut Started) -> Result<(), Stop> {
        let CommandBody::Run {
            command: script, ..
        } = &command.body
        else {
            return Ok(());
        };
        let input = json!({ "command": script });
        let id = id_of_command(&command.id);
        let call = Call {
            tool: SHELL,
            input: &input,
            cli_mode: Some(CALLER_MODE),
        };
        let decided = started.rules.decide(&call, &id, false);
        if !matches!(decided, Decided::Asks(_)) {
            self.ask_nobody(&command, started);
        }
        let (approval, policies) = match decided {
            Decided::Goes { policies, .. } => (None, policies),
            Decided::Asks(approval) => (Some(approval), Vec::new()),
            Decided::Refused(refusal) => {
                return self
                    .deny_run(&command, &refusal.reason, refusal.policies)
                    .await;
            }
        };
        let asks = approval.is_some();
        let (call, answer) = WaitingCall::of_caller(&command.id, &input, approval, policies);
        self.runs.current = Some(Current {
            command,
            stage: Stage::Asks(answer),
        });
        if asks {
            self.ask(call, started).await
        } else {
            started.hold(call);
            Ok(())
        }
    }

    /// A person was asked about the command before it was put off, and policies settle it now.
    fn ask_nobody(&mut self, command: &Command, started: &Started) {
        let mut entry = Entry::default();
        if self.conversation.state == State::Waiting && started.question.is_none() {
            let now = self.ports.now();
            entry = self.conversation.change_to(State::Running, now);
        }
        self.forget_question_of(command, &mut entry);
        self.journal.note(entry);
    }

    /// Goes on with the current one.
    pub(super) async fn run_moved(
        &mut self,
        moved: Moved,
        started: &mut Started,
    ) -> Result<(), Stop> {
        let answer = match moved {
            Moved::Answered(Answer::Defer) => {
                self.runs.put_back();
                return Ok(());
            }
            Moved::Answered(answer) => answer,
            Moved::Ended => return self.end_run(None, true, started).await,
        };
        let Some(Current { command, .. }) = self.runs.current.take() else {
            return Ok(());
        };
        let CommandBody::Run {
            command: script, ..
        } = &command.body
        else {
            return Ok(());
        };
        let edited = |input: &Value| {
            let command = input["command"].as_str().map(str::to_owned);
            command.ok_or_else(|| "The edited input has no command.".to_owned())
        };
        let script = match answer {
            Answer::AllowWith { input } => edited(&input),
            Answer::Allow => Ok(script.clone()),
            Answer::Deny { reason } => Err(reason),
            // Nobody else judges it, and put off it came back above.
            Answer::Judge | Answer::Defer => Err("The gate gave no answer.".to_owned()),
        };
        match script {
            Ok(script) => self.begin_run(command, &script, started).await,
            Err(reason) => {
                started.calls.ended(&id_of_command(&command.id));
                self.deny_run(&command, &reason, Vec::new()).await
            }
        }
    }

    /// The question of a caller's command was deferred, but the session goes on: it is asked about again.
    pub(super) fn ask_again(&mut self, started: &mut Started) {
        started.deferring = false;
        self.known_questions.extend(started.deferred.take());
        self.runs.put_back();
    }

    /// Finds out about the commands that an earlier runner took: which of them it had begun. Gives the
    /// place of the first. Only they may be asked about again.
    pub(super) fn take_up_runs(&mut self, again: &[Command], tail: &[Event]) -> Option<u64> {
        let taken = || {
            let runs = |command: &&Command| matches!(command.body, CommandBody::Run { .. });
            again.iter().filter(runs)
        };
        let begun = |id: &CommandId| {
            tail.iter().any(|event| {
                event.cause.as_ref() == Some(id)
                    && matches!(event.body, EventBody::CommandStarted { .. })
            })
        };
        let ids = taken().map(|command| command.id.clone());
        self.runs.begun = ids.filter(begun).collect();
        let ids: Vec<String> = taken().map(|command| id_of_command(&command.id)).collect();
        let stays = |known: &str| !is_of_caller(known) || ids.iter().any(|id| id == known);
        self.known_questions
            .retain(|known| stays(&known.tool_use_id));
        let on_head = self.head.question.as_ref();
        if on_head.is_some_and(|question| !stays(&question.tool_use_id)) {
            self.question_on_head = false;
            self.journal.note(Entry {
                question: Some(None),
                ..Entry::default()
            });
        }
        taken().map(|command| command.ordinal).min()
    }

    /// The CLI never had this of an earlier runner: a message behind the first of the commands that had
    /// not ended, or a decision on one of them.
    pub(super) fn waits_for_run(&self, command: &Command, first: Option<u64>) -> bool {
        match &command.body {
            CommandBody::Message { .. } => first.is_some_and(|first| command.ordinal > first),
            CommandBody::Decide { approval, .. } => self.questions_of_callers().contains(approval),
            _ => false,
        }
    }

    /// Commands of callers wait for these, whatever becomes of the CLI's turn.
    pub(super) fn questions_of_callers(&self) -> Vec<QuestionId> {
        let of_callers = self
            .known_questions
            .iter()
            .filter(|known| is_of_caller(&known.tool_use_id));
        of_callers.map(|known| known.id.clone()).collect()
    }
}
