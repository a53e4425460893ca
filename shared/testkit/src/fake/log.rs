//! The log, in memory.

use domain::{
    CommandState, Event, EventBody, Head, Sequence, SessionKey, State, UnixMillis,
    event::NewEvent,
    limits,
    ports::{
        AcquireError, Append, AppendError, Lease, LiveText, SessionLog, Unavailable, WholeBodies,
    },
};

use super::{
    Fake,
    world::{Session, World},
};

impl SessionLog for Fake {
    async fn acquire(
        &self,
        key: &SessionKey,
        task: &str,
        isolation: &str,
        lease_until: UnixMillis,
        now: UnixMillis,
    ) -> Result<(Lease, Head), AcquireError> {
        self.call("acquire", |world| {
            world.acquire(key, task, isolation, lease_until, now)
        })
        .await
    }

    async fn append(&self, lease: &Lease, append: &Append) -> Result<Sequence, AppendError> {
        self.call("append", |world| world.append(lease, append))
            .await
    }

    async fn renew(&self, lease: &Lease, lease_until: UnixMillis) -> Result<(), AppendError> {
        self.call("renew", |world| {
            world.under(lease)?.head.lease_until = lease_until;
            Ok(())
        })
        .await
    }

    async fn read(
        &self,
        key: &SessionKey,
        after: Sequence,
        limit_bytes: usize,
    ) -> Result<Vec<Event>, Unavailable> {
        self.call("read", |world| {
            let Some(session) = world.sessions.get(key) else {
                return Ok(Vec::new());
            };
            let mut events: Vec<Event> = Vec::new();
            let mut bytes = 0;
            for event in session.events_after(after) {
                let size = format!("{:?}", event.body).len();
                if !events.is_empty() && bytes + size > limit_bytes {
                    break;
                }
                bytes += size;
                events.push(event.clone());
            }
            Ok(events)
        })
        .await
    }

    async fn set_live(&self, lease: &Lease, live: Option<LiveText>) -> Result<(), AppendError> {
        self.call("set_live", |world| {
            let session = world
                .sessions
                .get_mut(&lease.key)
                .ok_or(AppendError::LeaseLost)?;
            if session.live_fence > lease.fence {
                return Err(AppendError::LeaseLost);
            }
            session.live_fence = lease.fence;
            session.live = live.map(|live| LiveText {
                fence: lease.fence,
                ..live
            });
            Ok(())
        })
        .await
    }

    async fn live(&self, key: &SessionKey) -> Result<Option<LiveText>, Unavailable> {
        self.call("live", |world| {
            Ok(world
                .sessions
                .get(key)
                .and_then(|session| session.live.clone()))
        })
        .await
    }
}

/// Nothing is too long for this log.
impl WholeBodies for Fake {
    async fn whole_body(
        &self,
        key: &SessionKey,
        sequence: Sequence,
    ) -> Result<Option<EventBody>, Unavailable> {
        self.call("whole_body", |world| {
            let events = world.sessions.get(key).map(|session| &session.events);
            let event = events
                .into_iter()
                .flatten()
                .find(|event| event.sequence == sequence);
            Ok(event.map(|event| event.body.clone()))
        })
        .await
    }
}

impl World {
    /// The session, if the lease is still the one that may write.
    pub(super) fn under(&mut self, lease: &Lease) -> Result<&mut Session, AppendError> {
        self.sessions
            .get_mut(&lease.key)
            .filter(|session| session.head.fence == lease.fence && session.head.state.has_runner())
            .ok_or(AppendError::LeaseLost)
    }

    fn acquire(
        &mut self,
        key: &SessionKey,
        task: &str,
        isolation: &str,
        lease_until: UnixMillis,
        now: UnixMillis,
    ) -> Result<(Lease, Head), AcquireError> {
        let Some(session) = self.sessions.get_mut(key) else {
            return Err(AcquireError::NotAvailable("unknown".to_owned()));
        };
        let from = session.head.state;
        let Some(taken) = session.head.taken_over(task, lease_until, now) else {
            return if from.has_runner() && session.head.task.as_deref() == Some(task) {
                Ok((session.head.lease(), session.head.clone()))
            } else {
                Err(AcquireError::NotAvailable(from.to_string()))
            };
        };
        session.head = taken;
        let (fence, turn, to) = (session.head.fence, session.head.turn, session.head.state);
        let events = [
            EventBody::RunnerStarted {
                task: task.to_owned(),
                isolation: isolation.to_owned(),
            },
            EventBody::StateChanged { from, to },
        ]
        .map(|body| NewEvent {
            turn,
            time: now,
            cause: None,
            body,
        });
        session.log(fence, &events);
        Ok((session.head.lease(), session.head.clone()))
    }

    fn append(&mut self, lease: &Lease, append: &Append) -> Result<Sequence, AppendError> {
        check(append)?;
        let last = Sequence(append.first.0 + append.events.len() as u64 - 1);
        let repeated = self.sessions.get(&lease.key).is_some_and(|session| {
            session.append_token.as_deref() == Some(append.request_token.as_str())
        });
        if repeated {
            return Ok(last);
        }
        let session = self.under(lease)?;
        if session.head.last_sequence.next() != append.first {
            return Err(AppendError::SequenceTaken {
                last_sequence: session.head.last_sequence,
            });
        }
        let taken = session.taken_after(lease, append)?;
        self.check_checkpoint(lease, append)?;
        let session = self.under(lease)?;
        for command in &append.take {
            if command.to_take(lease.fence)
                && let Some(command) = session.command(command.ordinal)
            {
                command.state = CommandState::Taken(lease.fence);
                command.outcome = None;
            }
        }
        for (command, outcome) in &append.finish {
            if let Some(command) = session.command(command.ordinal) {
                command.state = CommandState::Done;
                command.outcome = Some(outcome.kept(append.end_of(&command.id)));
            }
        }
        session.log(lease.fence, &append.events);
        session.append_token = Some(append.request_token.clone());
        let head = &mut session.head;
        head.state = append.state;
        head.turn = append.turn;
        head.lease_until = append.lease_until;
        head.updated_at = append.now;
        head.total_cost_usd = append.total_cost_usd;
        head.commands_taken = taken;
        if append.claude_session_id.is_some() {
            head.claude_session_id.clone_from(&append.claude_session_id);
        }
        head.question.clone_from(&append.question);
        if let Some(grants) = &append.grants {
            head.grants.clone_from(grants);
        }
        let ends_turn = |event: &NewEvent| matches!(event.body, EventBody::TurnEnded(_));
        if append.checkpoint.is_some() || append.events.iter().any(ends_turn) {
            head.recoveries = 0;
        }
        if append.state.is_ended() {
            head.end_reason = Some(append.end_reason.clone().unwrap_or_default());
        }
        if !append.state.has_runner() {
            head.kept_until = Some(append.now.plus(super::RETENTION_MILLISECONDS));
        }
        if let Some(checkpoint) = append.checkpoint.clone() {
            let record = checkpoint.record(lease.fence, last, append.now);
            head.checkpoint = Some(record.id.clone());
            head.cut_sequence = record.sequence;
            head.checkpoints = record.ordinal;
            head.commands_settled = record.commands_settled;
            session.checkpoints.push(record);
        }
        if append.checkpoint.is_some() {
            self.trees.entry(lease.tree_key()).or_default();
        }
        if !append.state.holds_slot() {
            self.free_slots(&lease.key.owner);
        }
        Ok(last)
    }

    fn check_checkpoint(&self, lease: &Lease, append: &Append) -> Result<(), AppendError> {
        let Some(checkpoint) = &append.checkpoint else {
            return Ok(());
        };
        let generation = self.tree(&lease.tree_key()).generation;
        if generation != checkpoint.generation {
            return Err(AppendError::SweepBegan { generation });
        }
        let next = self
            .sessions
            .get(&lease.key)
            .map(|session| session.head.checkpoints + 1);
        if next == Some(checkpoint.ordinal) {
            Ok(())
        } else {
            Err(beyond("the checkpoint's ordinal is not the next").into())
        }
    }
}

impl Session {
    /// Up to where commands are taken after this append, or why it is refused.
    fn taken_after(&mut self, lease: &Lease, append: &Append) -> Result<u64, AppendError> {
        let mut next = self.head.commands_taken + 1;
        for listed in &append.take {
            for hole in next..listed.ordinal {
                if self
                    .command(hole)
                    .is_none_or(|command| command.to_take(lease.fence))
                {
                    return Err(AppendError::CommandWithdrawn);
                }
            }
            let stored = self.state_of(listed.ordinal);
            let has_it = stored == Some(CommandState::Taken(lease.fence));
            if stored != Some(listed.state) || has_it {
                return Err(AppendError::CommandWithdrawn);
            }
            next = next.max(listed.ordinal + 1);
        }
        let taken = next - 1;
        for (finished, _) in &append.finish {
            let takes = append
                .take
                .iter()
                .any(|listed| listed.ordinal == finished.ordinal);
            let has = self.state_of(finished.ordinal) == Some(CommandState::Taken(lease.fence));
            if !takes && !has {
                return Err(AppendError::CommandWithdrawn);
            }
        }
        if append.only_if_inbox_empty || !append.state.has_runner() {
            let passed = self.passed(taken);
            if passed < self.head.commands_accepted {
                return Err(AppendError::CommandCame);
            }
            return Ok(passed);
        }
        Ok(taken)
    }

    fn state_of(&mut self, ordinal: u64) -> Option<CommandState> {
        self.command(ordinal).map(|command| command.state)
    }
}

fn check(append: &Append) -> Result<(), Unavailable> {
    let commands = append.take.len() + append.finish.len();
    if append.first < Sequence(1)
        || append.events.len() > limits::EVENTS_PER_BATCH
        || commands > limits::COMMANDS_PER_APPEND
        || append.request_token.is_empty()
        || append.state.awaits_runner()
        || append.state == State::Lost
    {
        return Err(beyond("the append is beyond its limits"));
    }
    Ok(())
}

fn beyond(problem: &'static str) -> Unavailable {
    Unavailable {
        attempted: "append to the log",
        outcome_unknown: false,
        source: problem.into(),
    }
}
