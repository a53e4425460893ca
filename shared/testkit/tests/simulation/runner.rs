//! A runner that follows the contract of the ports, without a CLI.

use domain::{
    Command, CommandBody, CommandId, CommandOutcome, EventBody, Sequence, SessionKey, State,
    event::{TokenUsage, TurnEnd},
    ports::{AcquireError, Append, AppendError, Clock, Inbox, Lease, SessionLog},
};
use testkit::{Fake, Random, append};

/// After so long without a message it ends.
const IDLE_MILLISECONDS: u64 = 4_000;

/// Why a runner stops.
enum Stop {
    /// It may not write any more.
    LeaseLost,
    /// The session has ended by its own hand.
    Ended,
}

struct Runner<'a> {
    fake: &'a Fake,
    lease: Lease,
    last: Sequence,
    taken: u64,
    /// Taken and not finished.
    open: Vec<Command>,
    turn: u32,
}

/// Runs the session until it ends or is lost.
pub(crate) async fn run(fake: &Fake, key: &SessionKey, task: &str, random: &mut Random) {
    let (lease, head) = loop {
        let now = fake.now();
        match fake.acquire(key, task, "none", now.plus(10_000), now).await {
            Ok(acquired) => break acquired,
            Err(AcquireError::NotAvailable(_)) => return,
            Err(AcquireError::Unavailable(_)) => fake.sleep(50).await,
        }
    };
    let mut runner = Runner {
        fake,
        lease,
        last: head.last_sequence,
        taken: head.commands_taken,
        open: Vec::new(),
        turn: 0,
    };
    match runner.work(random).await {
        Stop::LeaseLost => {}
        Stop::Ended => {
            let head = fake.peek_head(key).expect("there");
            assert!(head.state.is_ended());
        }
    }
}

impl Runner<'_> {
    async fn work(&mut self, random: &mut Random) -> Stop {
        match self.live(random).await {
            Ok(()) => Stop::Ended,
            Err(stop) => stop,
        }
    }

    async fn live(&mut self, random: &mut Random) -> Result<(), Stop> {
        self.write(
            vec![state_changed(State::Provisioning, State::Idle)],
            State::Idle,
        )
        .await?;
        let mut idle_since = self.fake.now();
        loop {
            let waiting = self.waiting().await;
            if waiting.is_empty() {
                if self.fake.now().since(idle_since) > IDLE_MILLISECONDS {
                    if self.end(State::Completed, None).await? {
                        return Ok(());
                    }
                } else {
                    self.renew().await?;
                    self.fake.sleep(random.below(600)).await;
                }
                continue;
            }
            let Some(cancel) = self.take(waiting).await? else {
                continue;
            };
            if let Some(cancel) = cancel {
                while !self.end(State::Cancelled, Some(&cancel)).await? {}
                return Ok(());
            }
            for step in 0..random.below(3) {
                let text = EventBody::Text {
                    text: format!("step {step}"),
                    agent: None,
                };
                self.write(vec![text], State::Running).await?;
                self.fake.sleep(random.below(2_000)).await;
            }
            self.finish_turn().await?;
            idle_since = self.fake.now();
        }
    }

    async fn waiting(&self) -> Vec<Command> {
        loop {
            match self
                .fake
                .commands_after(&self.lease.key, self.taken, 20)
                .await
            {
                Ok(commands) => return commands,
                Err(_) => self.fake.sleep(50).await,
            }
        }
    }

    /// Takes what waits; `None` when it changed meanwhile, `Some(Some(..))` when it says to cancel.
    async fn take(&mut self, waiting: Vec<Command>) -> Result<Option<Option<Command>>, Stop> {
        let events = waiting
            .iter()
            .filter(|command| command.to_take(self.lease.fence))
            .filter_map(|command| match &command.body {
                CommandBody::Message { text, .. } => {
                    Some(EventBody::MessageTaken { text: text.clone() })
                }
                _ => None,
            })
            .collect();
        let mut append = self.append(events, State::Running);
        append.take.clone_from(&waiting);
        if !self.send(append).await? {
            return Ok(None);
        }
        self.taken = waiting.last().map_or(self.taken, |last| last.ordinal);
        let queued: Vec<Command> = waiting
            .into_iter()
            .filter(|command| command.to_take(self.lease.fence))
            .collect();
        let cancel = queued
            .iter()
            .find(|command| matches!(command.body, CommandBody::Cancel { .. }))
            .cloned();
        self.open.extend(queued);
        Ok(Some(cancel))
    }

    async fn finish_turn(&mut self) -> Result<(), Stop> {
        self.turn += 1;
        let end = TurnEnd {
            subtype: "success".to_owned(),
            is_error: false,
            text: "done".to_owned(),
            terminal_reason: None,
            total_cost_usd: 0.0,
            duration_milliseconds: 1,
            model_turns: 1,
            usage: TokenUsage::default(),
            messages: self.open.iter().map(|command| command.id.clone()).collect(),
        };
        let mut append = self.append(vec![EventBody::TurnEnded(end.clone())], State::Idle);
        append.finish = self
            .open
            .iter()
            .map(|command| (command.clone(), CommandOutcome::Turn(end.clone())))
            .collect();
        // Nothing of it can have been withdrawn: it was all taken.
        assert!(self.send(append).await?);
        self.open.clear();
        Ok(())
    }

    /// Ends the session; false when a message came between, which then has to be looked at.
    async fn end(&mut self, state: State, cancel: Option<&Command>) -> Result<bool, Stop> {
        // A cancelled session does nothing with what came meanwhile, but names it.
        let late = if cancel.is_some() {
            self.waiting().await
        } else {
            Vec::new()
        };
        let queued = late
            .iter()
            .filter(|command| command.to_take(self.lease.fence));
        let unfinished: Vec<CommandId> = self
            .open
            .iter()
            .chain(queued)
            .filter(|command| matches!(command.body, CommandBody::Message { .. }))
            .map(|command| command.id.clone())
            .collect();
        let ended = EventBody::SessionEnded {
            state,
            reason: "over".to_owned(),
            unfinished,
        };
        let mut append = self.append(vec![ended], state);
        append.take = late;
        append.end_reason = Some("over".to_owned());
        append.finish = cancel
            .map(|command| (command.clone(), CommandOutcome::Cancelled))
            .into_iter()
            .collect();
        self.send(append).await
    }

    async fn write(&mut self, events: Vec<EventBody>, state: State) -> Result<(), Stop> {
        let append = self.append(events, state);
        assert!(self.send(append).await?, "it takes nothing");
        Ok(())
    }

    fn append(&self, events: Vec<EventBody>, state: State) -> Append {
        let mut append = append(self.fake, self.last.next(), events);
        append.state = state;
        append.turn = self.turn;
        append
    }

    /// Sends an append until its outcome is known, numbered again when a withdrawal came between.
    /// False when the inbox has to be read again.
    async fn send(&mut self, mut append: Append) -> Result<bool, Stop> {
        loop {
            match self.fake.append(&self.lease, &append).await {
                Ok(last) => {
                    self.last = last;
                    return Ok(true);
                }
                Err(AppendError::LeaseLost) => return Err(Stop::LeaseLost),
                Err(AppendError::SequenceTaken { last_sequence }) => {
                    self.last = last_sequence;
                    append.first = last_sequence.next();
                }
                Err(
                    AppendError::CommandWithdrawn
                    | AppendError::CommandCame
                    | AppendError::SweepBegan { .. },
                ) => return Ok(false),
                Err(AppendError::Unavailable(_)) => self.fake.sleep(50).await,
            }
        }
    }

    async fn renew(&self) -> Result<(), Stop> {
        let until = self.fake.now().plus(10_000);
        match self.fake.renew(&self.lease, until).await {
            // A failed renewal is one heartbeat lost; the next one comes.
            Ok(()) | Err(AppendError::Unavailable(_)) => Ok(()),
            Err(_) => Err(Stop::LeaseLost),
        }
    }
}

fn state_changed(from: State, to: State) -> EventBody {
    EventBody::StateChanged { from, to }
}
