//! Commands of the inbox: each is taken durably before anything comes of it, in order.

use claude::control;
use domain::checkpoint::CheckpointTrigger;
use domain::{Command, CommandBody, CommandOutcome, CommandState, State, Transition};

use super::conversation::BUDGET_SPENT;
use super::starting::{Started, message_uuid};
use super::suspending::Suspend;
use super::{End, Ports, Stop, Supervision};
use crate::journal::{Entry, Refused};
use crate::objects::SessionObjects;
use crate::workspace::{prepare, read};

/// An earlier runner refused it, so nothing came of it that could be lost: it stays refused.
pub(super) fn was_refused(command: &Command) -> bool {
    command.state == CommandState::Done
        && matches!(command.outcome, Some(CommandOutcome::Refused(_)))
}

impl<P: Ports, O: SessionObjects> Supervision<P, O> {
    /// Carries a command out. Taken durably first, in order.
    pub(super) async fn obey(
        &mut self,
        command: Command,
        started: &mut Started,
    ) -> Result<(), Stop> {
        let mut command = command;
        let ordinal = command.ordinal;
        loop {
            if !command.to_take(self.fence) {
                let entry = Entry {
                    take: vec![command],
                    ..Entry::default()
                };
                self.write(entry).await?;
                self.taken = self.taken.max(ordinal);
                return Ok(());
            }
            let taken = match &command.body {
                _ if was_refused(&command) => {
                    let outcome = command.outcome.clone().into_iter();
                    let entry = Entry {
                        take: vec![command.clone()],
                        finish: outcome.map(|outcome| (command.clone(), outcome)).collect(),
                        ..Entry::default()
                    };
                    self.write(entry).await?
                }
                CommandBody::Cancel { reason } => {
                    let reason = if reason.is_empty() {
                        "cancelled".to_owned()
                    } else {
                        self.conversation.clean(reason)
                    };
                    self.pending.push_front(command);
                    return Err(Stop::End(End {
                        transition: Transition::WasCancelled,
                        reason,
                    }));
                }
                CommandBody::Message { .. } if self.runs.are_before() => {
                    self.take_behind(&command).await?
                }
                CommandBody::Message { .. } => self.take_message(&command, true, started).await?,
                CommandBody::Run { .. } => self.take_run(&command).await?,
                CommandBody::StopRun { run } => self.stop_run(&command, run, started).await?,
                CommandBody::Interrupt => {
                    let running =
                        matches!(self.conversation.state, State::Running | State::Waiting);
                    let cli_runs = running && !self.conversation.cli_rests();
                    let taken = self.interrupt_run(&command, running, started).await?;
                    if taken && cli_runs {
                        started.cli.tell(control::interrupt(command.id.as_str()));
                    }
                    taken
                }
                CommandBody::Answer { .. } | CommandBody::Decide { .. } => {
                    self.answer_question(&command, true, started).await?
                }
                CommandBody::Suspend if self.conversation.state == State::Running => {
                    let words = "a turn is running: wait for its end, or interrupt it, and suspend \
                                 the session then";
                    self.take_and_finish(&command, CommandOutcome::Refused(words.to_owned()))
                        .await?
                }
                CommandBody::Suspend if self.must_stay(started) => {
                    let words = "a subagent is at work or asks something; the session cannot be \
                                 suspended without losing that";
                    self.take_and_finish(&command, CommandOutcome::Refused(words.to_owned()))
                        .await?
                }
                CommandBody::Suspend => {
                    return Err(Stop::Suspend(Suspend {
                        trigger: CheckpointTrigger::Suspend,
                        command: Some(Box::new(command)),
                    }));
                }
                CommandBody::Checkpoint { .. } => {
                    let entry = Entry {
                        take: vec![command.clone()],
                        ..Entry::default()
                    };
                    let taken = self.write(entry).await?;
                    if taken {
                        self.cuts.request(command.clone());
                    }
                    taken
                }
                CommandBody::ReadFile {
                    path,
                    offset,
                    length,
                } => {
                    let workspace = started.sandbox.directories().workspace.outside.clone();
                    let (path, offset, length) = (path.clone(), *offset, *length);
                    let redactor = self.conversation.redactor().clone();
                    let reading =
                        move || read::read_file(&workspace, &path, offset, length, &redactor);
                    let outcome = match tokio::task::spawn_blocking(reading).await {
                        Ok(Ok(content)) => CommandOutcome::File(content),
                        Ok(Err(words)) => CommandOutcome::Refused(words),
                        Err(_) => CommandOutcome::Refused("the file could not be read".to_owned()),
                    };
                    self.take_and_finish(&command, outcome).await?
                }
            };
            if taken {
                self.taken = self.taken.max(ordinal);
                return Ok(());
            }
            command = self.look_again(command).await?;
        }
    }

    /// Writes; `false` when a command was withdrawn meanwhile.
    pub(crate) async fn write(&mut self, entry: Entry) -> Result<bool, Stop> {
        match self.journal.write(entry).await {
            Ok(_) => Ok(true),
            Err(Refused::LeaseLost) => Err(Stop::LeaseLost),
            Err(Refused::CommandWithdrawn) => Ok(false),
            // Only ends and suspensions require an empty inbox, and only checkpoints meet sweeps.
            Err(Refused::CommandCame | Refused::SweepBegan) => Ok(false),
        }
    }

    pub(crate) async fn take_and_finish(
        &mut self,
        command: &Command,
        outcome: CommandOutcome,
    ) -> Result<bool, Stop> {
        let entry = Entry {
            take: vec![command.clone()],
            finish: vec![(command.clone(), outcome)],
            ..Entry::default()
        };
        self.write(entry).await
    }

    async fn look_again(&self, command: Command) -> Result<Command, Stop> {
        loop {
            match self.ports.command(&self.assignment.key, &command.id).await {
                Ok(Some(now)) => return Ok(now),
                Ok(None) => {
                    return Ok(Command {
                        state: CommandState::Withdrawn,
                        ..command
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a command cannot be read now");
                    tokio::select! {
                        () = self.journal.lost() => return Err(Stop::LeaseLost),
                        () = self.ports.sleep(200) => {}
                    }
                }
            }
        }
    }

    /// A message that the CLI does not get: whoever sent it reads why, and so does whoever follows.
    async fn refuse_message(
        &mut self,
        command: &Command,
        code: &'static str,
        words: &str,
        take: bool,
    ) -> Result<bool, Stop> {
        let outcome = CommandOutcome::Refused(words.to_owned());
        let entry = Entry {
            take: take.then(|| command.clone()).into_iter().collect(),
            finish: vec![(command.clone(), outcome)],
            ..Entry::default()
        };
        let taken = self.write(entry).await?;
        if taken {
            let notice = self.conversation.notice(code, words, self.ports.now());
            self.note(notice);
        }
        Ok(taken)
    }

    /// Hands a message over. `take` unless it was taken already.
    pub(super) async fn take_message(
        &mut self,
        command: &Command,
        take: bool,
        started: &Started,
    ) -> Result<bool, Stop> {
        let CommandBody::Message { text, attachments } = &command.body else {
            return Ok(true);
        };
        // The CLI asks the model once more before it looks at what it has spent. What is done again is
        // of a turn that goes on.
        if !self.redone.contains(&command.id)
            && self.conversation.costs.spent() >= self.budget_usd()
        {
            return self
                .refuse_message(command, "budget_spent", BUDGET_SPENT, take)
                .await;
        }
        let limits = self.limits();
        let mut handed = text.clone();
        match prepare::attach(&started.sandbox, attachments, &limits, &self.objects).await {
            Ok(names) if names.is_empty() => {}
            Ok(names) => {
                let workspace = started
                    .sandbox
                    .directories()
                    .workspace
                    .inside
                    .display()
                    .to_string();
                handed.push_str("\n\nFiles attached to this message:");
                for name in names {
                    handed.push_str(&format!("\n- {workspace}/{name}"));
                }
            }
            Err(error) => {
                let words = format!("an attachment could not be fetched: {error}");
                return self
                    .refuse_message(command, "attachment_failed", &words, take)
                    .await;
            }
        }
        let again = self.within_the_cut.contains(&command.id);
        let (mut entry, state, turn) =
            self.conversation
                .take_message(command, text, again, self.ports.now());
        entry.take = take.then(|| command.clone()).into_iter().collect();
        if !self.write(entry).await? {
            return Ok(false);
        }
        if turn > self.conversation.turn {
            self.renew_policies(started).await?;
        }
        let uuid = message_uuid(self.assignment.key.session.as_str(), command.id.as_str());
        started.cli.tell(control::user_message(&uuid, &handed));
        self.conversation
            .handed_over(uuid, command.clone(), state, turn);
        Ok(true)
    }
}
