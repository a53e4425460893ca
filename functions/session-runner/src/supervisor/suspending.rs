//! Giving the machine back: suspending an idle or waiting session, and leaving a running one to the
//! next runner.
//!
//! A suspension is one append that requires an empty inbox: a command that came meanwhile is taken
//! by this runner after all. A held question is deferred first, so that exactly that call goes on
//! after the answer; from then on this CLI is of no use any more, and when a command comes it is
//! started again from its own transcript.

use std::time::Duration;

use claude::gate::Answer;
use claude::launch::Start;
use domain::checkpoint::CheckpointTrigger;
use domain::event::EventBody;
use domain::{Command, CommandOutcome, State};
use tokio::time::Instant;

use super::cutting::NoCut;
use super::questions::PROPOSE_AGAIN;
use super::starting::{Started, message_uuid};
use super::{Outcome, Ports, Stop, Supervision};
use crate::gate_server::Asked;
use crate::journal::{Entry, Refused};
use crate::objects::SessionObjects;
use crate::relay::Relay;

/// How long the CLI may take to end its turn at a deferred call. Measured: 20 ms.
const DEFER_TIME: Duration = Duration::from_secs(15);
/// Of the stop timeout, this part is for a tool to end by itself.
const QUIET_PART: u32 = 4;
/// And never more than this.
const QUIET_TIME: Duration = Duration::from_secs(15);
/// A checkpoint of a stop that failed is tried again after this. Own.
const AGAIN: Duration = Duration::from_millis(500);

/// Why a session is to be suspended.
#[derive(Debug, Clone)]
pub(crate) struct Suspend {
    pub(crate) trigger: CheckpointTrigger,
    /// The command that asks for it.
    pub(crate) command: Option<Box<Command>>,
}

/// What became of it.
pub(crate) enum Suspension {
    /// It is over for this runner.
    Done(Outcome),
    /// A command came, or the checkpoint failed; the CLI is as it was.
    GoOn,
    /// The same, and the CLI has to be started again.
    Relaunch,
}

impl<P: Ports, O: SessionObjects> Supervision<P, O> {
    /// Suspends the session if nothing has come meanwhile. Cut off anywhere before the append, the
    /// session is as it was; after it, suspended.
    pub(crate) async fn suspend(
        &mut self,
        why: &Suspend,
        started: &mut Started,
    ) -> Result<Suspension, Stop> {
        if why.command.is_none() && !self.pending.is_empty() {
            return self.no_suspension(why, started, false).await;
        }
        let deferred = started.question.is_some();
        let held = started.question.as_ref();
        // Its question is not the CLI's, which stays as it is.
        let of_caller = held.is_some_and(|held| held.call.is_of_caller());
        if deferred && why.command.is_none() {
            // Once deferred there is no way back for this CLI, so look first.
            let key = &self.assignment.key;
            let came = self.ports.commands_after(key, self.last_ordinal, 1).await;
            if came.is_ok_and(|commands| !commands.is_empty()) {
                return self.no_suspension(why, started, false).await;
            }
        }
        if deferred {
            self.defer(started).await?;
        }
        let now = self.ports.now();
        let change = EventBody::StateChanged {
            from: self.conversation.state,
            to: State::Suspended,
        };
        let take: Vec<Command> = why.command.as_deref().cloned().into_iter().collect();
        let entry = Entry {
            events: vec![self.conversation.event(now, why.command.as_deref(), change)],
            state: Some(State::Suspended),
            total_cost_usd: Some(self.conversation.costs.spent()),
            finish: take
                .iter()
                .map(|command| (command.clone(), CommandOutcome::Suspended))
                .collect(),
            take,
            ..Entry::default()
        };
        let written = match self.record(&entry, why.trigger, started).await? {
            Ok(()) => Ok(()),
            Err(NoCut::Unchanged(_)) => match self.journal.write(entry).await {
                Ok(_) => Ok(()),
                Err(Refused::LeaseLost) => return Err(Stop::LeaseLost),
                Err(refused) => Err(NoCut::Refused(refused)),
            },
            Err(no_cut) => Err(no_cut),
        };
        match written {
            Ok(()) => {
                self.conversation.state = State::Suspended;
                Ok(Suspension::Done(Outcome::Suspended))
            }
            Err(no_cut) => {
                let words = match no_cut {
                    NoCut::Failed(words) => {
                        self.cut_failed(&words);
                        words
                    }
                    _ => "something came meanwhile, so the session goes on".to_owned(),
                };
                if let Some(command) = &why.command {
                    let outcome = CommandOutcome::Refused(words);
                    self.take_and_finish(command, outcome).await?;
                    self.taken = self.taken.max(command.ordinal);
                }
                if of_caller {
                    self.ask_again(started);
                }
                self.no_suspension(why, started, deferred && !of_caller)
                    .await
            }
        }
    }

    async fn no_suspension(
        &mut self,
        why: &Suspend,
        started: &mut Started,
        deferred: bool,
    ) -> Result<Suspension, Stop> {
        started.stay_idle();
        if why.trigger == CheckpointTrigger::Stop {
            // There is no time; the next runner takes what came, and goes on from here.
            return self.leave(started).await.map(Suspension::Done);
        }
        Ok(if deferred {
            Suspension::Relaunch
        } else {
            Suspension::GoOn
        })
    }

    /// Ends the turn at the held question. A CLI that does not react leaves an open turn, which the
    /// next runner runs again.
    async fn defer(&mut self, started: &mut Started) -> Result<(), Stop> {
        started.deferring = true;
        for call in started.later.drain(..).chain(started.waiting.drain(..)) {
            call.put_off(PROPOSE_AGAIN);
        }
        let Some(held) = started.question.take() else {
            return Ok(());
        };
        let pending = held.pending;
        let of_caller = held.call.is_of_caller();
        held.call.answer(Answer::Defer);
        if of_caller {
            started.deferred = Some(pending);
            return Ok(());
        }
        let deadline = Instant::now() + DEFER_TIME;
        while !started.turn_deferred && Instant::now() < deadline {
            tokio::select! {
                () = self.journal.lost() => return Err(Stop::LeaseLost),
                heard = started.early.next(&mut started.cli.heard) => self.hear(heard, started).await?,
                Some(asked) = started.gate.recv() => self.gate_asked(asked, started).await?,
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
        if started.turn_deferred {
            started.deferred = Some(pending);
        }
        Ok(())
    }

    /// Leaves a session that cannot be suspended, because a turn runs or something came: a checkpoint,
    /// and the next runner goes on with it.
    pub(crate) async fn leave(&mut self, started: &mut Started) -> Result<Outcome, Stop> {
        let stopped = *started.stopped.get_or_insert_with(Instant::now);
        let deadline = stopped + self.quiet_time();
        self.end_run(Some(("its runner was stopped", deadline)), false, started)
            .await?;
        let is_quiet = |started: &Started| started.calls.is_quiet() && started.transcript.goes_on();
        self.hear_while_not(is_quiet, deadline, started).await?;
        if !is_quiet(started) {
            // What a tool says when it is ended belongs to the cut.
            started.cli.terminate();
            let grace = Instant::now() + self.settings.kill_grace;
            self.hear_until(started, grace).await;
            if let Err(error) = started.cli.kill_all().await {
                tracing::error!(%error, "a part of the session may have survived");
            }
            let rest = Instant::now() + Duration::from_secs(1);
            self.hear_until(started, rest).await;
        }
        self.keep_all(stopped + self.settings.stop_timeout, started)
            .await?;
        started.transcript.flush().await;
        Ok(Outcome::Left)
    }

    /// Of a stop, how long what runs may take to end by itself.
    pub(super) fn quiet_time(&self) -> Duration {
        (self.settings.stop_timeout / QUIET_PART).min(QUIET_TIME)
    }

    /// Hears the CLI until that is so, or until the deadline. Calls that it makes meanwhile wait.
    pub(super) async fn hear_while_not(
        &mut self,
        done: impl Fn(&Started) -> bool,
        deadline: Instant,
        started: &mut Started,
    ) -> Result<(), Stop> {
        while !done(started) && Instant::now() < deadline {
            tokio::select! {
                () = self.journal.lost() => return Err(Stop::LeaseLost),
                heard = started.early.next(&mut started.cli.heard) => self.hear(heard, started).await?,
                Some(asked) = started.gate.recv() => match asked {
                    Asked::Waits(call) => started.waiting.push(call),
                    refused @ Asked::Refused(_) => self.gate_asked(refused, started).await?,
                },
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
        Ok(())
    }

    /// The checkpoint of a stop. One that fails is tried again while there is time: it is the last
    /// chance of what was done since the one before.
    async fn keep_all(&mut self, until: Instant, started: &mut Started) -> Result<(), Stop> {
        loop {
            let entry = Entry {
                total_cost_usd: Some(self.conversation.costs.spent()),
                ..Entry::default()
            };
            let taken = self.record(&entry, CheckpointTrigger::Stop, started);
            let words = match taken.await? {
                Ok(()) | Err(NoCut::Unchanged(_)) => return Ok(()),
                Err(NoCut::Failed(words)) => words,
                Err(NoCut::Refused(error)) => error.to_string(),
            };
            tracing::warn!(words, "no checkpoint at the stop");
            let again = Instant::now() + AGAIN;
            if again >= until {
                return Ok(());
            }
            tokio::select! {
                () = self.journal.lost() => return Err(Stop::LeaseLost),
                () = tokio::time::sleep_until(again) => {}
            }
        }
    }

    /// Starts the CLI again where it stopped.
    pub(crate) async fn relaunch(
        &mut self,
        mut started: Started,
        relay: &Relay,
    ) -> Result<Started, Stop> {
        // What it mirrored belongs to the conversation that goes on.
        self.hear_until(&mut started, Instant::now()).await;
        started.shut_down(self.settings.kill_grace).await;
        let start = Start::Resume {
            id: self
                .claude_session_of(&started)
                .unwrap_or_else(|| self.claude_session_id()),
            replay: true,
        };
        self.known_questions.extend(started.deferred.take());
        let sandbox = started.sandbox.clone();
        let git_is_trusted = started.rules.git_is_trusted;
        let baseline = started.baseline.take();
        let transcript = started.transcript.clone();
        drop(started);
        let mut again = self.launch(sandbox, relay, git_is_trusted, start, transcript)?;
        again.baseline = baseline;
        if let Err(stop) = self.until_ready(&mut again).await {
            if let Err(error) = again.cli.kill_all().await {
                tracing::error!(%error, "a part of the session may have survived");
            }
            return Err(stop);
        }
        // It knows these and drops them; saying so it tells that their turn goes on.
        let session = self.assignment.key.session.as_str();
        for command in self.conversation.outstanding() {
            if let domain::CommandBody::Message { text, .. } = &command.body {
                let uuid = message_uuid(session, command.id.as_str());
                let line = claude::control::user_message(&uuid, text);
                again.cli.tell(line);
            }
        }
        Ok(again)
    }
}
