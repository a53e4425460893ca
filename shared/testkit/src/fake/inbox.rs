//! Commands, in memory.

use domain::{
    Command, CommandId, CommandOutcome, CommandState, EventBody, SessionKey, State, UnixMillis,
    event::NewEvent,
    ports::{
        AppendError, EnqueueError, Enqueued, Inbox, Lease, NewCommand, Unavailable, Withdrawal,
    },
};

use super::{Fake, world::World};

impl Inbox for Fake {
    async fn enqueue(
        &self,
        key: &SessionKey,
        command: NewCommand,
    ) -> Result<Enqueued, EnqueueError> {
        self.call("enqueue", |world| world.enqueue(key, command))
            .await
    }

    async fn command(
        &self,
        key: &SessionKey,
        id: &CommandId,
    ) -> Result<Option<Command>, Unavailable> {
        self.call("command", |world| {
            Ok(world
                .sessions
                .get(key)
                .and_then(|session| session.commands.iter().find(|it| it.id == *id).cloned()))
        })
        .await
    }

    async fn commands_after(
        &self,
        key: &SessionKey,
        ordinal: u64,
        limit: usize,
    ) -> Result<Vec<Command>, Unavailable> {
        self.call("commands_after", |world| {
            Ok(world
                .sessions
                .get(key)
                .map(|session| {
                    session
                        .commands
                        .iter()
                        .filter(|command| command.ordinal > ordinal)
                        .take(limit)
                        .cloned()
                        .collect()
                })
                .unwrap_or_default())
        })
        .await
    }

    async fn withdraw(
        &self,
        key: &SessionKey,
        id: &CommandId,
        now: UnixMillis,
    ) -> Result<Withdrawal, Unavailable> {
        self.call("withdraw", |world| Ok(world.withdraw(key, id, now)))
            .await
    }

    async fn finish(
        &self,
        lease: &Lease,
        command: &Command,
        outcome: CommandOutcome,
    ) -> Result<(), AppendError> {
        let outcome = outcome.kept(None);
        self.call("finish", |world| {
            let fence = lease.fence;
            let session = world.under(lease)?;
            let stored = session
                .command(command.ordinal)
                .ok_or(AppendError::CommandWithdrawn)?;
            if stored.state == CommandState::Taken(fence) {
                stored.state = CommandState::Done;
                stored.outcome = Some(outcome);
                return Ok(());
            }
            if stored.state == CommandState::Done && stored.outcome.as_ref() == Some(&outcome) {
                return Ok(());
            }
            Err(AppendError::CommandWithdrawn)
        })
        .await
    }
}

impl World {
    fn enqueue(&mut self, key: &SessionKey, command: NewCommand) -> Result<Enqueued, EnqueueError> {
        let session = self.sessions.get_mut(key).ok_or(EnqueueError::NoSession)?;
        let suspended = session.head.state == State::Suspended;
        if let Some(known) = session.commands.iter().find(|it| it.id == command.id) {
            return if known.body == command.body {
                Ok(Enqueued {
                    command: known.clone(),
                    suspended,
                    repeated: true,
                })
            } else {
                Err(EnqueueError::IdReused)
            };
        }
        let head = &mut session.head;
        if head.state.is_ended() {
            return Err(EnqueueError::Ended(head.state));
        }
        if suspended && !command.body.is_awaited() {
            return Err(EnqueueError::Suspended);
        }
        if head.commands_accepted - head.commands_taken >= u64::from(command.max_queued) {
            return Err(EnqueueError::Full);
        }
        head.commands_accepted += 1;
        head.updated_at = command.now;
        if suspended {
            head.runner_asked_at = command.now;
        }
        let accepted = Command {
            id: command.id,
            ordinal: head.commands_accepted,
            accepted_at: command.now,
            body: command.body,
            state: CommandState::Queued,
            outcome: None,
        };
        session.commands.push(accepted.clone());
        Ok(Enqueued {
            command: accepted,
            suspended,
            repeated: false,
        })
    }

    fn withdraw(&mut self, key: &SessionKey, id: &CommandId, now: UnixMillis) -> Withdrawal {
        let Some(session) = self.sessions.get_mut(key) else {
            return Withdrawal::Unknown;
        };
        let head = &session.head;
        let Some(command) = session
            .commands
            .iter_mut()
            .find(|it| it.id == *id && it.body.can_be_withdrawn())
        else {
            return Withdrawal::Unknown;
        };
        match command.state_for(head) {
            CommandState::Queued => {}
            CommandState::Withdrawn => return Withdrawal::Withdrawn,
            state => return Withdrawal::TooLate(state),
        }
        command.state = CommandState::Withdrawn;
        let event = NewEvent {
            turn: session.head.turn,
            time: now,
            cause: Some(id.clone()),
            body: EventBody::MessageWithdrawn,
        };
        session.log(session.head.fence, &[event]);
        session.head.commands_taken = session.passed(session.head.commands_taken);
        session.head.updated_at = now;
        Withdrawal::Withdrawn
    }
}
