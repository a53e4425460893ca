//! The end of a session: nothing of it survives, and the log says how it ended.

use std::time::Duration;

use claude::control;
use claude::lines::Piece;
use claude::message::parse;
use domain::event::{EventBody, NewEvent};
use domain::state::after;
use domain::{Command, CommandBody, CommandOutcome, CommandState, State};
use tokio::time::Instant;

use super::starting::Started;
use super::{Outcome, Ports, Stop, Supervision};
use crate::cli::Heard;
use crate::journal::{Entry, Refused};
use crate::objects::SessionObjects;

/// A command came that must be taken (or obeyed) before the session can end.
pub(crate) struct CommandCame;

/// Commands that one append takes and finishes at the most: each may need both.
const AT_ONCE: usize = domain::limits::COMMANDS_PER_APPEND / 2;

impl Started {
    /// Ends the CLI gently, then everything. For when nothing is to be heard any more.
    pub(crate) async fn shut_down(&mut self, grace: Duration) {
        self.cli.tell(control::end_session("end"));
        self.cli.close_input();
        self.cli.heard.close();
        if self.cli.ended_within(grace).await.is_none() {
            self.cli.terminate();
        }
        if let Err(error) = self.cli.kill_all().await {
            tracing::error!(%error, "a part of the session may have survived");
        }
    }
}

impl<P: Ports, O: SessionObjects> Supervision<P, O> {
    /// Ends the CLI and everything it started; hears its last lines unless the lease is gone.
    pub(crate) async fn stop_cli(&mut self, started: &mut Started, stop: &Stop) {
        if matches!(stop, Stop::LeaseLost) {
            self.kill_run().await;
            if let Err(error) = started.cli.kill_all().await {
                tracing::error!(%error, "a part of the session may have survived");
            }
            return;
        }
        let now = tokio::time::Instant::now();
        // Without the lease nothing can be said about it any more.
        let _ = self
            .end_run(Some(("its session ended", now)), false, started)
            .await;
        started.cli.terminate();
        let deadline = Instant::now() + self.settings.kill_grace;
        self.hear_until(started, deadline).await;
        if let Err(error) = started.cli.kill_all().await {
            tracing::error!(%error, "a part of the session may have survived");
        }
        // What it had said before it died is still in the pipe.
        let deadline = Instant::now() + Duration::from_secs(1);
        self.hear_until(started, deadline).await;
        if let Some(changed) = self.files_changed(started).await {
            let event = self.conversation.event(self.ports.now(), None, changed);
            self.note(Entry {
                events: vec![event],
                ..Entry::default()
            });
        }
        started.transcript.flush().await;
    }

    pub(crate) async fn hear_until(&mut self, started: &mut Started, deadline: Instant) {
        while let Ok(Some(heard)) =
            tokio::time::timeout_at(deadline, started.early.next(&mut started.cli.heard)).await
        {
            let line = match heard {
                Heard::Output(Piece::Line(line)) => line,
                Heard::Closed => return,
                Heard::Output(Piece::TooLong { .. }) | Heard::Warning { .. } => continue,
            };
            let Ok(message) = parse(&line) else { continue };
            for effect in self.conversation.read(message, self.ports.now()) {
                // It is ending already: a reason to end changes nothing.
                let _ = self.carry_out(effect, started).await;
            }
        }
    }

    /// Its time is over: the turn is interrupted, so that it ends as one, and what it did is kept for
    /// whoever goes on from there. A CLI that does not react, or ends, changes nothing of that.
    ///
    /// # Errors
    /// Only [`Stop::LeaseLost`].
    pub(crate) async fn end_turn_in_time(&mut self, started: &mut Started) -> Result<(), Stop> {
        started.cli.tell(control::interrupt("time-is-over"));
        let deadline = Instant::now() + self.settings.kill_grace;
        while self.conversation.state == State::Running && Instant::now() < deadline {
            let done = tokio::select! {
                () = self.journal.lost() => return Err(Stop::LeaseLost),
                heard = started.early.next(&mut started.cli.heard) => self.hear(heard, started).await,
                Some(asked) = started.gate.recv() => self.gate_asked(asked, started).await,
                () = tokio::time::sleep_until(deadline) => Ok(()),
            };
            match done {
                Ok(()) => {}
                Err(Stop::LeaseLost) => return Err(Stop::LeaseLost),
                Err(_) => break,
            }
        }
        match self.leave(started).await {
            Err(Stop::LeaseLost) => Err(Stop::LeaseLost),
            _ => Ok(()),
        }
    }

    /// Writes the end. The log then has nothing after it.
    pub(crate) async fn finish(&mut self, stop: &Stop) -> Result<Outcome, CommandCame> {
        let Stop::End(end) = stop else {
            return Ok(Outcome::LeaseLost);
        };
        self.read_rest().await;
        let from = self.conversation.state;
        let Ok(state) = after(from, end.transition) else {
            tracing::error!(%from, transition = ?end.transition, "the session cannot end like this");
            return self.finish_as(State::Failed, &end.reason).await;
        };
        self.finish_as(state, &end.reason).await
    }

    async fn finish_as(&mut self, state: State, reason: &str) -> Result<Outcome, CommandCame> {
        // A long queue needs more than one transaction; the last one carries the end.
        while self.pending.len() > self.at_once() {
            let count = self.at_once();
            let take: Vec<Command> = self.pending.iter().take(count).cloned().collect();
            let entry = Entry {
                events: self.what_they_say(&take),
                finish: last_outcomes(&take),
                take,
                ..Entry::default()
            };
            match self.journal.write(entry).await {
                Ok(_) => {
                    let gone: Vec<Command> = self.pending.drain(..count).collect();
                    self.unfinished.extend(
                        gone.into_iter()
                            .filter(is_not_done)
                            .map(|command| command.id),
                    );
                }
                Err(Refused::LeaseLost) => return Ok(Outcome::LeaseLost),
                Err(_) => self.look_at_pending().await,
            }
        }
        let take: Vec<Command> = self.pending.iter().cloned().collect();
        let mut unfinished: Vec<_> = self
            .conversation
            .outstanding()
            .map(|command| command.id.clone())
            .collect();
        unfinished.extend(self.early_answers.iter().map(|answer| answer.id.clone()));
        unfinished.extend(self.runs.unfinished().map(|command| command.id.clone()));
        unfinished.extend(self.unfinished.iter().cloned());
        unfinished.extend(
            take.iter()
                .filter(|command| is_not_done(command))
                .map(|command| command.id.clone()),
        );
        let now = self.ports.now();
        let from = self.conversation.state;
        let bodies = [
            EventBody::StateChanged { from, to: state },
            EventBody::SessionEnded {
                state,
                reason: reason.to_owned(),
                unfinished,
            },
        ];
        let mut events = self.what_they_say(&take);
        events.extend(self.what_waits_says());
        events.extend(bodies.map(|body| self.conversation.event(now, None, body)));
        let entry = Entry {
            events,
            state: Some(state),
            total_cost_usd: Some(self.conversation.costs.spent()),
            finish: last_outcomes(&take),
            take,
            end_reason: Some(reason.to_owned()),
            ..Entry::default()
        };
        match self.journal.write(entry).await {
            Ok(_) => {
                self.conversation.state = state;
                Ok(Outcome::Ended(state))
            }
            Err(Refused::LeaseLost) => Ok(Outcome::LeaseLost),
            Err(Refused::CommandWithdrawn) => {
                self.look_at_pending().await;
                Err(CommandCame)
            }
            Err(Refused::CommandCame | Refused::SweepBegan) => Err(CommandCame),
        }
    }

    /// How many of the pending commands one append takes: what they say is in it too.
    fn at_once(&self) -> usize {
        let mut bytes = 0;
        let fitting = self.pending.iter().take(AT_ONCE).take_while(|command| {
            let text = match &command.body {
                CommandBody::Message { text, .. } => text.len(),
                _ => 0,
            };
            bytes += text.min(domain::limits::EVENT_BODY_BYTES);
            bytes <= self.settings.append_batch_bytes
        });
        fitting.count().max(1)
    }

    /// What messages say that nobody has taken before, for the log: otherwise nobody could read them
    /// any more.
    fn what_they_say(&self, commands: &[Command]) -> Vec<NewEvent> {
        let now = self.ports.now();
        let said = |command: &Command| match &command.body {
            CommandBody::Message { text, .. } if command.state == CommandState::Queued => {
                let text = self.conversation.clean(text);
                let body = EventBody::MessageTaken { text };
                Some(self.conversation.event(now, Some(command), body))
            }
            _ => None,
        };
        commands.iter().filter_map(said).collect()
    }

    /// The same of messages that were taken and wait behind a command of the caller.
    fn what_waits_says(&self) -> Vec<NewEvent> {
        let now = self.ports.now();
        let said = |command: &Command| match &command.body {
            CommandBody::Message { text, .. } => {
                let text = self.conversation.clean(text);
                let body = EventBody::MessageTaken { text };
                Some(self.conversation.event(now, Some(command), body))
            }
            _ => None,
        };
        self.runs.unfinished().filter_map(said).collect()
    }

    /// Reads the commands that came and that the inbox has not brought yet.
    async fn read_rest(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.remember(command);
        }
        match self
            .ports
            .commands_after(&self.assignment.key, self.last_ordinal, 100)
            .await
        {
            Ok(commands) => {
                for command in commands {
                    self.remember(command);
                }
                // The inbox would bring them again.
                self.commands.close();
            }
            Err(error) => {
                // The store refuses the end until they are named, so this comes again.
                tracing::warn!(%error, "the last commands cannot be read now");
                self.ports.sleep(200).await;
            }
        }
    }

    async fn look_at_pending(&mut self) {
        for index in 0..self.pending.len() {
            let id = self.pending[index].id.clone();
            if let Ok(Some(command)) = self.ports.command(&self.assignment.key, &id).await {
                self.pending[index] = command;
            }
        }
    }
}

fn is_not_done(command: &Command) -> bool {
    command.state != CommandState::Withdrawn && command.body.is_awaited()
}

/// What becomes of commands that an ending session takes. Messages and what callers wanted to run stay
/// without an outcome: they were not done.
fn last_outcomes(commands: &[Command]) -> Vec<(Command, CommandOutcome)> {
    let outcome = |command: &Command| match &command.body {
        _ if command.state == CommandState::Withdrawn => None,
        CommandBody::Message { .. }
        | CommandBody::Run { .. }
        | CommandBody::Answer { .. }
        | CommandBody::Decide { .. } => None,
        CommandBody::Interrupt | CommandBody::StopRun { .. } => {
            Some(CommandOutcome::Interrupted(false))
        }
        CommandBody::Cancel { .. } => Some(CommandOutcome::Cancelled),
        CommandBody::ReadFile { .. } | CommandBody::Suspend | CommandBody::Checkpoint { .. } => {
            Some(CommandOutcome::Refused("the session has ended".to_owned()))
        }
    };
    commands
        .iter()
        .filter_map(|command| Some((command.clone(), outcome(command)?)))
        .collect()
}
