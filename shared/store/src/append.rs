//! One append: the transaction over head, batch, commands and slots, and what its refusal means.

use std::collections::BTreeMap;

use domain::{
    ChainDigest, EventBody, Head, NewCheckpoint, Sequence, State,
    event::NewEvent,
    ids::base32,
    limits,
    ports::{Append, AppendError, Checkpoints, Inbox, Lease, Unavailable},
};
use sha2::{Digest, Sha256};

use crate::{
    Store, checkpoints, failure,
    head::{self, APPEND_TOKEN},
    inbox,
    item::{number, text},
    keys::{LIVE_UNTIL, Record},
    stored,
    table::{NotWritten, pause},
    write::Write,
};

const ATTEMPTED: &str = "append to the log";
/// How often a refusal may turn out to be one that a second look removes. Own.
const ATTEMPTS: u32 = 10;

/// What an append does to the inbox beyond what it lists.
#[derive(Clone, Copy, Default)]
struct Passing {
    /// Everything up to here was taken before, seen in the head; what lies between this and the
    /// first listed command must not be to take.
    after: Option<u64>,
    /// Commands that are not to take behind the last listed one count as taken, up to this one.
    to: Option<u64>,
}

impl Store {
    pub(crate) async fn append_to_log(
        &self,
        lease: &Lease,
        append: &Append,
    ) -> Result<Sequence, AppendError> {
        check(append)?;
        let mut passing = Passing::default();
        let last = Sequence(append.first.0 + append.events.len() as u64 - 1);
        for attempt in 0..ATTEMPTS {
            self.check_holes(lease, append, passing.after).await?;
            let (writes, digest) = self.append_writes(lease, append, last, passing).await?;
            let content = format!(
                "{} {lease:?} {:?} {:?} {:?} {:?} {:?}",
                append.request_token,
                append.first,
                append.lease_until,
                append.now,
                passing.after,
                passing.to
            );
            let token = base32(&Sha256::digest(content));
            // The first part is the head, then come the commands.
            let commands = 1..=command_writes(lease, append)?.len();
            let refused = match self.table.transact(ATTEMPTED, &token[..36], writes).await {
                Ok(()) => {
                    if let Some(digest) = digest {
                        self.log_end.note(&lease.key, last, digest);
                    }
                    return Ok(last);
                }
                Err(NotWritten::Unavailable(unavailable)) => return Err(unavailable.into()),
                Err(NotWritten::Refused(refused)) => refused,
            };
            let Some((head, newest)) = self.head_row(&lease.key).await? else {
                return Err(AppendError::LeaseLost);
            };
            if newest.as_deref() == Some(append.request_token.as_str()) {
                // This very append had happened.
                return Ok(last);
            }
            if head.fence != lease.fence || !head.state.has_runner() {
                return Err(AppendError::LeaseLost);
            }
            if head.last_sequence.next() != append.first {
                return Err(AppendError::SequenceTaken {
                    last_sequence: head.last_sequence,
                });
            }
            if refused.iter().any(|part| commands.contains(part)) {
                return Err(AppendError::CommandWithdrawn);
            }
            passing = self.passing(append, &head).await?;
            if let Some(checkpoint) = &append.checkpoint {
                self.check_checkpoint(checkpoint, &head).await?;
            }
            pause(attempt).await;
        }
        Err(failure::own(ATTEMPTED, "too many others write to the session").into())
    }

    /// Nothing about a checkpoint that a second attempt could change may stand in the way.
    async fn check_checkpoint(
        &self,
        checkpoint: &NewCheckpoint,
        head: &Head,
    ) -> Result<(), AppendError> {
        if checkpoint.ordinal != head.checkpoints + 1 {
            return Err(failure::own(ATTEMPTED, "the checkpoint's ordinal is not the next").into());
        }
        let tree = Checkpoints::tree(self, &head.tree_key()).await?;
        if tree.generation == checkpoint.generation {
            Ok(())
        } else {
            Err(AppendError::SweepBegan {
                generation: tree.generation,
            })
        }
    }

    /// What stands between the commands taken before and the listed ones, and is not listed, must
    /// not be to take. That is so for ever, so it is enough to have seen it.
    async fn check_holes(
        &self,
        lease: &Lease,
        append: &Append,
        after: Option<u64>,
    ) -> Result<(), AppendError> {
        let (Some(first), Some(last)) = (append.take.first(), append.take.last()) else {
            return Ok(());
        };
        let after = after.unwrap_or(first.ordinal - 1);
        let places = usize::try_from(last.ordinal - after).unwrap_or(usize::MAX);
        if places == append.take.len() {
            return Ok(());
        }
        let between = self.commands_after(&lease.key, after, places).await?;
        let mut not_listed = between.iter().filter(|command| {
            !append
                .take
                .iter()
                .any(|listed| listed.ordinal == command.ordinal)
        });
        if not_listed.all(|command| !command.to_take(lease.fence)) {
            Ok(())
        } else {
            Err(AppendError::CommandWithdrawn)
        }
    }

    /// What a refusal leaves that is nobody's fault: only the counts of the inbox stand in the way,
    /// or nothing any more.
    async fn passing(&self, append: &Append, head: &Head) -> Result<Passing, AppendError> {
        let first = append.take.first().map(|command| command.ordinal);
        let listed = append.take.last().map_or(0, |command| command.ordinal);
        let taken = head.commands_taken.max(listed);
        let mut passing = Passing {
            after: first
                .filter(|first| head.commands_taken + 1 < *first)
                .map(|_| head.commands_taken),
            to: (head.commands_taken > listed && first.is_some()).then_some(taken),
        };
        if requires_empty_inbox(append) {
            let passed = self.passed(&head.key, taken, head.fence, None).await?;
            if passed < head.commands_accepted {
                return Err(AppendError::CommandCame);
            }
            passing.to = Some(passed);
        }
        Ok(passing)
    }

    /// The parts of the transaction: head, commands, batch, and the slots of an end. And the digest of
    /// the log with the batch.
    async fn append_writes(
        &self,
        lease: &Lease,
        append: &Append,
        last: Sequence,
        passing: Passing,
    ) -> Result<(Vec<Write>, Option<ChainDigest>), Unavailable> {
        let key = &lease.key;
        let taken = passing
            .to
            .or_else(|| append.take.last().map(|command| command.ordinal));
        let mut change = Write::update(Record::Head(key).key())
            .set(head::STATE, text(append.state.as_str()))
            .set(head::TURN, number(append.turn))
            .set(head::LAST_SEQUENCE, number(last))
            .set(head::LEASE_UNTIL, number(append.lease_until.0))
            .set(head::UPDATED_AT, number(append.now.0))
            .set(head::TOTAL_COST_USD, number(append.total_cost_usd))
            .set(APPEND_TOKEN, text(append.request_token.as_str()))
            .set_some(
                head::CLAUDE_SESSION_ID,
                append.claude_session_id.as_deref().map(text),
            )
            .set_some(head::COMMANDS_TAKEN, taken.map(number))
            .when(head::FENCE, "=", number(lease.fence))
            .when(head::LAST_SEQUENCE, "=", number(append.first.0 - 1))
            .when_one_of(head::STATE, head::with_runner());
        change = match &append.question {
            None => change.remove(head::QUESTION),
            Some(question) => {
                let json = stored::checkpoint::write_question(question)
                    .map_err(|error| failure::own(ATTEMPTED, error))?;
                change.set(head::QUESTION, text(json))
            }
        };
        if let Some(grants) = &append.grants {
            let json = stored::approval::write_grants(grants)
                .map_err(|error| failure::own(ATTEMPTED, error))?;
            change = change.set(head::GRANTS, text(json));
        }
        if gets_further(append) {
            change = change.set(head::RECOVERIES, number(0));
        }
        if let Some(checkpoint) = &append.checkpoint {
            let cut = checkpoint.sequence.unwrap_or(last);
            change = change
                .set(head::CHECKPOINT, text(checkpoint.id.as_str()))
                .set(head::CUT_SEQUENCE, number(cut))
                .set(head::CHECKPOINTS, number(checkpoint.ordinal))
                .set(head::COMMANDS_SETTLED, number(checkpoint.commands_settled));
            let before = checkpoint.ordinal.saturating_sub(1);
            change = match before {
                0 => change.when_absent_or(head::CHECKPOINTS, "=", number(0)),
                before => change.when(head::CHECKPOINTS, "=", number(before)),
            };
        }
        if let Some(first) = append.take.first() {
            let before = passing.after.unwrap_or(first.ordinal - 1);
            change = change.when(head::COMMANDS_TAKEN, ">=", number(before));
        }
        if let Some(taken) = taken {
            change = change.when(head::COMMANDS_TAKEN, "<=", number(taken));
        }
        if requires_empty_inbox(append) {
            change = match taken {
                Some(taken) => change.when(head::COMMANDS_ACCEPTED, "=", number(taken)),
                None => change.when_same(head::COMMANDS_ACCEPTED, head::COMMANDS_TAKEN),
            };
        }
        change = if append.state.has_runner() {
            change.set(LIVE_UNTIL, number(append.lease_until.0))
        } else {
            let reason = append.end_reason.as_deref();
            let question = append.question.as_ref();
            self.leave(change, append.state, reason, question, append.now)
        };

        let mut batch = None;
        let mut log = None;
        if !append.events.is_empty() {
            let tree = lease.tree_key();
            let (write, digest) = self
                .batch(key, &tree, append.first, lease.fence, &append.events)
                .await?;
            change = head::with_log(change, digest);
            (batch, log) = (Some(write), Some(digest));
        }
        let mut writes = vec![change];
        writes.extend(command_writes(lease, append)?);
        writes.extend(batch);
        if !append.state.holds_slot() {
            writes.extend(Self::free_slots(key));
        }
        if let Some(checkpoint) = &append.checkpoint {
            let record = checkpoint.clone().record(lease.fence, last, append.now);
            writes.extend(checkpoints::record(key, &record, 0)?);
            let tree = lease.tree_key();
            let row = Record::Tree(&tree).key();
            // From its first checkpoint on a session has something to sweep.
            let write = match checkpoint.ordinal {
                1 => checkpoints::due(Write::update(row), &tree, None),
                _ => Write::check(row),
            };
            writes.push(checkpoints::of_generation(write, checkpoint.generation));
        }
        Ok((writes, log))
    }
}

/// An end frees the runner, and so does a suspension: a message that came must keep it.
fn requires_empty_inbox(append: &Append) -> bool {
    append.only_if_inbox_empty || !append.state.has_runner()
}

/// What a runner that is lost now would not have done in vain.
fn gets_further(append: &Append) -> bool {
    let ends_turn = |event: &NewEvent| matches!(event.body, EventBody::TurnEnded(_));
    append.checkpoint.is_some() || append.events.iter().any(ends_turn)
}

/// What the append does to commands: one write each, because a transaction may touch a row only
/// once.
fn command_writes(lease: &Lease, append: &Append) -> Result<Vec<Write>, Unavailable> {
    let (key, fence) = (&lease.key, lease.fence);
    let finished: BTreeMap<u64, _> = append
        .finish
        .iter()
        .map(|(command, outcome)| (command.ordinal, outcome.kept(append.end_of(&command.id))))
        .collect();
    let mut writes = Vec::new();
    for command in &append.take {
        if !command.to_take(fence) {
            continue;
        }
        writes.push(match finished.get(&command.ordinal) {
            Some(outcome) => inbox::take_and_finish(key, command, fence, outcome)?,
            None => inbox::take(key, command, fence),
        });
    }
    for (ordinal, outcome) in &finished {
        if !append
            .take
            .iter()
            .any(|command| command.ordinal == *ordinal)
        {
            writes.push(inbox::finish(key, *ordinal, fence, outcome)?);
        }
    }
    Ok(writes)
}

/// Bounds that the caller keeps; an append beyond them is a defect there.
fn check(append: &Append) -> Result<(), Unavailable> {
    let problem = if append.first < Sequence(1) {
        "the first sequence is 1"
    } else if append.events.len() > limits::EVENTS_PER_BATCH {
        "too many events for one append"
    } else if append.take.len() + append.finish.len() > limits::COMMANDS_PER_APPEND {
        "too many commands for one append"
    } else if append.request_token.is_empty() {
        "an append needs a request token"
    } else if append.state.awaits_runner() || append.state == State::Lost {
        "a runner does not ask for a runner"
    } else {
        return Ok(());
    };
    Err(failure::own(ATTEMPTED, problem))
}
