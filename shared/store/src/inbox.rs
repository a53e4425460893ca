//! Commands: accepted under the head, taken and finished by appends, withdrawn under both.

use domain::{
    Command, CommandBody, CommandId, CommandOutcome, CommandState, FencingToken, Head, SessionKey,
    State, UnixMillis,
    event::{EventBody, NewEvent},
    ids::base32,
    limits,
    ports::{
        AppendError, EnqueueError, Enqueued, Inbox, Lease, NewCommand, Unavailable, Withdrawal,
    },
};
use sha2::{Digest, Sha256};

use crate::{
    Store, failure,
    head::{self, update_unmoved},
    item::{Row, UnreadableRow, bytes, number, text},
    keys::{self, LIVE_KEY, LIVE_UNTIL, Record},
    stored::command::{read_body, read_outcome, write_body, write_outcome},
    table::{NotWritten, pause},
    write::Write,
};

const ID: &str = "id";
const ORDINAL: &str = "ordinal";
const ACCEPTED_AT: &str = "accepted_at";
const BODY: &str = "body";
const TEXT: &str = "text";
const STATE: &str = "state";
const TAKEN_BY: &str = "taken_by";
const OUTCOME: &str = "outcome";
const CONTENT: &str = "content";
const SORT: &str = keys::SORT;

const QUEUED: &str = CommandState::Queued.as_str();
const TAKEN: &str = CommandState::Taken(FencingToken(0)).as_str();
const DONE: &str = CommandState::Done.as_str();
const WITHDRAWN: &str = CommandState::Withdrawn.as_str();

/// How often others may be faster. Own: each attempt lets one other through, after a pause.
const ATTEMPTS: u32 = 30;

impl Inbox for Store {
    async fn enqueue(
        &self,
        key: &SessionKey,
        command: NewCommand,
    ) -> Result<Enqueued, EnqueueError> {
        const ATTEMPTED: &str = "accept the message";
        for attempt in 0..ATTEMPTS {
            let (head, known) =
                tokio::try_join!(self.head_row(key), self.command_named(key, &command.id))?;
            let Some((head, _)) = head else {
                return Err(EnqueueError::NoSession);
            };
            let suspended = head.state == State::Suspended;
            if let Some(known) = known {
                return if known.body == command.body {
                    Ok(Enqueued {
                        command: known,
                        suspended,
                        repeated: true,
                    })
                } else {
                    Err(EnqueueError::IdReused)
                };
            }
            if head.state.is_ended() {
                return Err(EnqueueError::Ended(head.state));
            }
            if suspended && !command.body.is_awaited() {
                return Err(EnqueueError::Suspended);
            }
            if head.commands_accepted - head.commands_taken >= u64::from(command.max_queued) {
                return Err(EnqueueError::Full);
            }
            let ordinal = head.commands_accepted + 1;
            let mut writes = vec![accept(&head, ordinal, command.now)];
            writes.extend(self.new_command(
                key,
                ordinal,
                &command.id,
                &command.body,
                command.now,
            )?);
            let token = base32(&Sha256::digest(format!("{key:?} {ordinal} {command:?}")));
            match self.table.transact(ATTEMPTED, &token[..36], writes).await {
                Ok(()) => {
                    return Ok(Enqueued {
                        command: Command {
                            id: command.id,
                            ordinal,
                            accepted_at: command.now,
                            body: command.body,
                            state: CommandState::Queued,
                            outcome: None,
                        },
                        suspended,
                        repeated: false,
                    });
                }
                Err(NotWritten::Unavailable(unavailable)) => return Err(unavailable.into()),
                Err(NotWritten::Refused(_)) => pause(attempt).await,
            }
        }
        Err(failure::own(ATTEMPTED, "too many others write to the session").into())
    }

    async fn command(
        &self,
        key: &SessionKey,
        id: &CommandId,
    ) -> Result<Option<Command>, Unavailable> {
        self.command_named(key, id).await
    }

    async fn commands_after(
        &self,
        key: &SessionKey,
        ordinal: u64,
        limit: usize,
    ) -> Result<Vec<Command>, Unavailable> {
        const ATTEMPTED: &str = "read the inbox";
        let last = keys::command_sort(999_999_999_999);
        let mut commands: Vec<Command> = Vec::new();
        // One read gives at most 1 MB, so a page may need several.
        while commands.len() < limit {
            let after = commands.last().map_or(ordinal, |command| command.ordinal);
            let (rows, more) = self
                .table
                .range(
                    ATTEMPTED,
                    &keys::session_partition(key),
                    &keys::command_sort(after.saturating_add(1)),
                    &last,
                    limit - commands.len(),
                )
                .await?;
            for row in rows {
                commands.push(read(&row).map_err(|error| failure::own(ATTEMPTED, error))?);
            }
            if !more {
                break;
            }
        }
        Ok(commands)
    }

    async fn withdraw(
        &self,
        key: &SessionKey,
        id: &CommandId,
        now: UnixMillis,
    ) -> Result<Withdrawal, Unavailable> {
        const ATTEMPTED: &str = "withdraw the message";
        for attempt in 0..ATTEMPTS {
            // The head first: read side by side, a command that is finished between the two reads
            // would look abandoned.
            let head = self.head_row(key).await?;
            let command = self.command_named(key, id).await?;
            let (Some((head, _)), Some(command)) = (head, command) else {
                return Ok(Withdrawal::Unknown);
            };
            if !command.body.can_be_withdrawn() {
                return Ok(Withdrawal::Unknown);
            }
            match command.state_for(&head) {
                CommandState::Queued => {}
                CommandState::Withdrawn => return Ok(Withdrawal::Withdrawn),
                state => return Ok(Withdrawal::TooLate(state)),
            }
            let passed = self
                .passed(key, head.commands_taken, head.fence, Some(command.ordinal))
                .await?;
            let event = NewEvent {
                turn: head.turn,
                time: now,
                cause: Some(id.clone()),
                body: EventBody::MessageWithdrawn,
            };
            let first = head.last_sequence.next();
            let mut after = head.clone();
            after.last_sequence = first;
            after.updated_at = now;
            after.commands_taken = passed;
            let mut update = update_unmoved(&head)
                .set(head::LAST_SEQUENCE, number(first))
                .set(head::UPDATED_AT, number(now.0))
                .set(head::COMMANDS_TAKEN, number(passed));
            if head.state == State::Suspended {
                // Nothing may wait in it any more.
                update = update.set_some(LIVE_UNTIL, after.look_at().map(|time| number(time.0)));
            }
            let (batch, digest) = self
                .batch(key, &head.tree_key(), first, head.fence, &[event])
                .await?;
            let writes = vec![
                head::with_log(update, digest),
                batch,
                Write::update(Record::Command(key, command.ordinal).key())
                    .set(STATE, text(WITHDRAWN))
                    .when(STATE, "=", text(QUEUED)),
            ];
            let token = base32(&Sha256::digest(format!("{key:?} {id} {first} {now:?}")));
            match self.table.transact(ATTEMPTED, &token[..36], writes).await {
                Ok(()) => return Ok(Withdrawal::Withdrawn),
                Err(NotWritten::Unavailable(unavailable)) => return Err(unavailable),
                Err(NotWritten::Refused(_)) => pause(attempt).await,
            }
        }
        Err(failure::own(
            ATTEMPTED,
            "too many others write to the session",
        ))
    }

    async fn finish(
        &self,
        lease: &Lease,
        command: &Command,
        outcome: CommandOutcome,
    ) -> Result<(), AppendError> {
        const ATTEMPTED: &str = "record what came of the command";
        let key = &lease.key;
        let outcome = outcome.kept(None);
        let writes = vec![
            Write::check(Record::Head(key).key())
                .when(head::FENCE, "=", number(lease.fence))
                .when_one_of(head::STATE, head::with_runner()),
            finish(key, command.ordinal, lease.fence, &outcome)?,
        ];
        let token = base32(&Sha256::digest(format!(
            "{lease:?} {command:?} {outcome:?}"
        )));
        match self.table.transact(ATTEMPTED, &token[..36], writes).await {
            Ok(()) => Ok(()),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable.into()),
            Err(NotWritten::Refused(parts)) if parts.contains(&0) => Err(AppendError::LeaseLost),
            Err(NotWritten::Refused(_)) => {
                let stored = self.command_named(key, &command.id).await?;
                if stored.is_some_and(|stored| {
                    stored.state == CommandState::Done && stored.outcome == Some(outcome)
                }) {
                    Ok(())
                } else {
                    Err(AppendError::CommandWithdrawn)
                }
            }
        }
    }
}

impl Store {
    /// The rows of a command that is accepted.
    pub(crate) fn new_command(
        &self,
        key: &SessionKey,
        ordinal: u64,
        id: &CommandId,
        body: &CommandBody,
        now: UnixMillis,
    ) -> Result<[Write; 2], Unavailable> {
        let (json, message) =
            write_body(body).map_err(|error| failure::own("write the message", error))?;
        Ok([
            Write::put_new(
                Row::at(&Record::Command(key, ordinal).key())
                    .with(ID, text(id.as_str()))
                    .with(BODY, text(json))
                    .with_some(TEXT, message.map(text))
                    .with(STATE, text(QUEUED))
                    .with(ACCEPTED_AT, number(now.0)),
            ),
            Write::put_new(
                Row::at(&Record::CommandName(key, id).key()).with(ORDINAL, number(ordinal)),
            ),
        ])
    }

    async fn command_named(
        &self,
        key: &SessionKey,
        id: &CommandId,
    ) -> Result<Option<Command>, Unavailable> {
        const ATTEMPTED: &str = "read the message";
        let unreadable = |error: UnreadableRow| failure::own(ATTEMPTED, error);
        let name = Record::CommandName(key, id).key();
        let Some(name) = self.table.get(ATTEMPTED, &name).await? else {
            return Ok(None);
        };
        let ordinal = name.number(ORDINAL).map_err(unreadable)?;
        let command = Record::Command(key, ordinal).key();
        match self.table.get(ATTEMPTED, &command).await? {
            Some(row) => read(&row).map(Some).map_err(unreadable),
            None => Ok(None),
        }
    }

    /// The last command directly after `ordinal` up to which none is to take by the runner with
    /// this fence (`also` counts as withdrawn); `ordinal` itself when the next one is.
    pub(crate) async fn passed(
        &self,
        key: &SessionKey,
        ordinal: u64,
        fence: FencingToken,
        also: Option<u64>,
    ) -> Result<u64, Unavailable> {
        let mut passed = ordinal;
        loop {
            let page = self.commands_after(key, passed, 50).await?;
            let full = page.len() == 50;
            let run = page
                .iter()
                .take_while(|command| !command.to_take(fence) || also == Some(command.ordinal))
                .count();
            if let Some(last) = page[..run].last() {
                passed = last.ordinal;
            }
            if !full || run < page.len() {
                return Ok(passed);
            }
        }
    }
}

/// The change of the head that accepts a command. A suspended session is then found by the sweep;
/// that it is, or is not, must still hold.
fn accept(head: &Head, ordinal: u64, now: UnixMillis) -> Write {
    let write = Write::update(Record::Head(&head.key).key())
        .set(head::COMMANDS_ACCEPTED, number(ordinal))
        .set(head::UPDATED_AT, number(now.0))
        .when(head::COMMANDS_ACCEPTED, "=", number(head.commands_accepted));
    if head.state == State::Suspended {
        let look_at = now.plus(limits::START_MILLISECONDS);
        write
            .set(head::RUNNER_ASKED_AT, number(now.0))
            .set(LIVE_KEY, text(keys::live_shard(&head.key.session)))
            .set(LIVE_UNTIL, number(look_at.0))
            .when(head::STATE, "=", text(State::Suspended.as_str()))
    } else {
        let others = head::going_on().filter(|state| *state != text(State::Suspended.as_str()));
        write.when_one_of(head::STATE, others)
    }
}

/// Takes a command for the runner with this fence: one that is queued, or that an earlier runner
/// had, as it was read.
pub(crate) fn take(key: &SessionKey, command: &Command, fence: FencingToken) -> Write {
    as_read(key, command, fence)
        .set(STATE, text(TAKEN))
        .set(TAKEN_BY, number(fence))
        .remove(OUTCOME)
}

fn as_read(key: &SessionKey, command: &Command, fence: FencingToken) -> Write {
    let write = Write::update(Record::Command(key, command.ordinal).key());
    match command.state {
        CommandState::Taken(by) => {
            write
                .when(STATE, "=", text(TAKEN))
                .when(TAKEN_BY, "=", number(by))
        }
        CommandState::Done => {
            let write = write.when(STATE, "=", text(DONE));
            write.when(TAKEN_BY, "<", number(fence))
        }
        _ => write.when(STATE, "=", text(QUEUED)),
    }
}

/// Finishes a command that this runner has taken.
pub(crate) fn finish(
    key: &SessionKey,
    ordinal: u64,
    fence: FencingToken,
    outcome: &CommandOutcome,
) -> Result<Write, Unavailable> {
    Ok(
        done(Write::update(Record::Command(key, ordinal).key()), outcome)?
            .when(STATE, "=", text(TAKEN))
            .when(TAKEN_BY, "=", number(fence)),
    )
}

/// Takes a command and finishes it at once.
pub(crate) fn take_and_finish(
    key: &SessionKey,
    command: &Command,
    fence: FencingToken,
    outcome: &CommandOutcome,
) -> Result<Write, Unavailable> {
    Ok(done(as_read(key, command, fence), outcome)?.set(TAKEN_BY, number(fence)))
}

fn done(update: Write, outcome: &CommandOutcome) -> Result<Write, Unavailable> {
    let (json, content) = write_outcome(outcome)
        .map_err(|error| failure::own("record what came of the command", error))?;
    Ok(update
        .set(STATE, text(DONE))
        .set(OUTCOME, text(json))
        .set_some(CONTENT, content.map(bytes)))
}

fn read(row: &Row) -> Result<Command, UnreadableRow> {
    let json = |name, source| UnreadableRow::Json { name, source };
    let state = match row.text(STATE)? {
        it if it == QUEUED => CommandState::Queued,
        it if it == TAKEN => CommandState::Taken(FencingToken(row.number(TAKEN_BY)?)),
        it if it == DONE => CommandState::Done,
        it if it == WITHDRAWN => CommandState::Withdrawn,
        _ => return Err(UnreadableRow::Rule(STATE)),
    };
    let outcome = match row.text_if(OUTCOME)? {
        None => None,
        Some(text) => Some(
            read_outcome(text, row.bytes_if(CONTENT)?).map_err(|source| json(OUTCOME, source))?,
        ),
    };
    Ok(Command {
        id: CommandId::parse(row.text(ID)?).map_err(|_| UnreadableRow::Rule(ID))?,
        ordinal: row
            .text(SORT)?
            .strip_prefix(keys::COMMAND_PREFIX)
            .and_then(|digits| digits.parse().ok())
            .ok_or(UnreadableRow::Rule(SORT))?,
        accepted_at: UnixMillis(row.number(ACCEPTED_AT)?),
        body: read_body(row.text(BODY)?, row.text_if(TEXT)?)
            .map_err(|source| json(BODY, source))?,
        state,
        outcome,
    })
}
