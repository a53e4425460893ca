//! Stopping a caller's command that runs, and taking back one that does not yet.

use domain::event::EventBody;
use domain::{Command, CommandId, CommandOutcome, State};

use super::super::starting::Started;
use super::super::{Ports, Stop, Supervision};
use super::{Found, Stage};
use crate::gate_server::{WaitingCall, id_of_command};
use crate::journal::Entry;
use crate::objects::SessionObjects;

/// Told of one that was taken back in time.
const NOT_BEGUN: &str = "it was taken back before it began";

/// Told of one that was stopped.
const STOPPED: &str = "it was interrupted";

impl Started {
    /// Forgets the call of a command that will not go.
    fn forget_call(&mut self, tool_use_id: &str) {
        let other = |call: &WaitingCall| call.tool_use_id != tool_use_id;
        self.waiting.retain(other);
        self.later.retain(other);
        if self.waiting.is_empty() {
            self.held_since = None;
        }
        if self.asks_about(tool_use_id) {
            self.question = None;
        }
        self.calls.ended(tool_use_id);
    }

    fn asks_about(&self, tool_use_id: &str) -> bool {
        let held = self.question.as_ref();
        held.is_some_and(|held| held.call.tool_use_id == tool_use_id)
    }
}

impl<P: Ports, O: SessionObjects> Supervision<P, O> {
    /// Interrupts the command that runs, or takes back the one that waits for a person. `false` when
    /// `by` was withdrawn meanwhile.
    pub(in super::super) async fn interrupt_run(
        &mut self,
        by: &Command,
        running: bool,
        started: &mut Started,
    ) -> Result<bool, Stop> {
        let current = self.runs.current.as_ref();
        let id = current.map(|current| current.command.id.clone());
        self.stop_one(
            by,
            id.as_ref(),
            CommandOutcome::Interrupted(running),
            started,
        )
        .await
    }

    /// Stops the command `run` of a caller wherever it is. `false` as there.
    pub(in super::super) async fn stop_run(
        &mut self,
        by: &Command,
        run: &CommandId,
        started: &mut Started,
    ) -> Result<bool, Stop> {
        let found = self.runs.find(run).is_some();
        let outcome = CommandOutcome::Interrupted(found);
        self.stop_one(by, Some(run), outcome, started).await
    }

    async fn stop_one(
        &mut self,
        by: &Command,
        run: Option<&CommandId>,
        outcome: CommandOutcome,
        started: &mut Started,
    ) -> Result<bool, Stop> {
        let found = run.and_then(|run| self.runs.find(run));
        let stopped = match &found {
            Some(Found::InLine(at)) => self.runs.line.get(*at).cloned(),
            Some(Found::Asks) => self.runs.current.as_ref().map(|it| it.command.clone()),
            Some(Found::Runs) | None => None,
        };
        let mut entry = Entry {
            take: vec![by.clone()],
            finish: vec![(by.clone(), outcome)],
            ..Entry::default()
        };
        let asks = stopped
            .as_ref()
            .is_some_and(|command| started.asks_about(&id_of_command(&command.id)));
        if let Some(command) = &stopped {
            let now = self.ports.now();
            let event = self
                .conversation
                .event(now, Some(command), EventBody::MessageWithdrawn);
            entry.events.push(event);
            let words = CommandOutcome::Refused(NOT_BEGUN.to_owned());
            entry.finish.push((command.clone(), words));
            if asks {
                entry.question = Some(None);
            }
        }
        if !self.write(entry).await? {
            return Ok(false);
        }
        match found {
            None => return Ok(true),
            Some(Found::Runs) => {
                let current = self.runs.current.as_mut().map(|it| &mut it.stage);
                if let Some(Stage::Runs { process, .. }) = current {
                    process.stop(STOPPED);
                }
                return Ok(true);
            }
            Some(Found::InLine(at)) => drop(self.runs.line.remove(at)),
            Some(Found::Asks) => self.runs.current = None,
        }
        if let Some(command) = &stopped {
            started.forget_call(&id_of_command(&command.id));
            let now = self.ports.now();
            let mut rest = Entry::default();
            if asks {
                self.question_on_head = false;
                rest = self.conversation.change_to(State::Running, now);
            }
            self.forget_question_of(command, &mut rest);
            let rests = self.rests(now);
            rest.events.extend(rests.events);
            rest.state = rests.state.or(rest.state);
            self.note(rest);
        }
        Ok(true)
    }
}
