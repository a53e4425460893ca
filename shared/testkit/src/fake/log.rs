//! The log, in memory.

use domain::{
    CommandState, Event, EventBody, Head, Sequence, SessionKey, Transition, UnixMillis,
    event::NewEvent,
    limits,
    ports::{AcquireError, Append, AppendError, Lease, LiveText, SessionLog, Unavailable},
    state::after,
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

impl World {
    /// The session, if the lease is still the one that may write.
    pub(super) fn under(&mut self, lease: &Lease) -> Result<&mut Session, AppendError> {
        self.sessions
            .get_mut(&lease.key)
            .filter(|session| session.head.fence == lease.fence && !session.head.state.is_ended())
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
        let lease = |head: &Head| Lease {
            key: head.key.clone(),
            fence: head.fence,
        };
        let head = &mut session.head;
        let from = head.state;
        let Ok(to) = after(from, Transition::RunnerTookOver) else {
            return if from.has_runner() && head.task.as_deref() == Some(task) {
                Ok((lease(head), head.clone()))
            } else {
                Err(AcquireError::NotAvailable(from.to_string()))
            };
        };
        head.state = to;
        head.fence = head.fence.next();
        head.task = Some(task.to_owned());
        head.lease_until = lease_until;
        head.updated_at = now;
        let (fence, turn) = (head.fence, head.turn);
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
        Ok((lease(&session.head), session.head.clone()))
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
        let ends = append.state.is_ended();
        let taken = session.taken_after(lease, append)?;
        for command in &append.take {
            if command.state != CommandState::Withdrawn
                && let Some(command) = session.command(command.ordinal)
            {
                command.state = CommandState::Taken(lease.fence);
            }
        }
        for (command, outcome) in &append.finish {
            if let Some(command) = session.command(command.ordinal) {
                command.state = CommandState::Done;
                command.outcome = Some(outcome.clone());
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
        if ends {
            head.end_reason = Some(append.end_reason.clone().unwrap_or_default());
            self.free_slots(&lease.key.owner);
        }
        Ok(last)
    }
}

impl Session {
    /// Up to where commands are taken after this append, or why it is refused.
    fn taken_after(&mut self, lease: &Lease, append: &Append) -> Result<u64, AppendError> {
        let mut next = self.head.commands_taken + 1;
        for listed in &append.take {
            let listed_withdrawn = listed.state == CommandState::Withdrawn;
            for hole in next..listed.ordinal {
                if self.state_of(hole) != Some(CommandState::Withdrawn) {
                    return Err(AppendError::CommandWithdrawn);
                }
            }
            let expected = if listed_withdrawn {
                CommandState::Withdrawn
            } else {
                CommandState::Queued
            };
            if self.state_of(listed.ordinal) != Some(expected) {
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
        if append.only_if_inbox_empty || append.state.is_ended() {
            let passed = self.passed_withdrawn(taken);
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
    {
        return Err(Unavailable {
            attempted: "append to the log",
            outcome_unknown: false,
            source: "the append is beyond its limits".into(),
        });
    }
    Ok(())
}
