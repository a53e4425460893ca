//! The head of a session: the row that every change of a session goes through.

use domain::{
    ChainDigest, CheckpointId, FencingToken, Head, Sequence, SessionId, SessionKey, State, TreeId,
    UnixMillis, checkpoint::PendingQuestion, ports::Unavailable, session::Parent,
};

use crate::{
    Store, failure,
    item::{Row, UnreadableRow, number, text},
    keys::{self, LIVE_KEY, LIVE_UNTIL, OWNER_KEY, OWNER_SORT, PARTITION, Record},
    stored::{approval, checkpoint, spec},
    system,
    write::Write,
};

pub(crate) const STATE: &str = "state";
pub(crate) const END_REASON: &str = "end_reason";
pub(crate) const UPDATED_AT: &str = "updated_at";
pub(crate) const LAST_SEQUENCE: &str = "last_sequence";
pub(crate) const FENCE: &str = "fence";
pub(crate) const LEASE_UNTIL: &str = "lease_until";
pub(crate) const TURN: &str = "turn";
pub(crate) const COMMANDS_ACCEPTED: &str = "commands_accepted";
pub(crate) const COMMANDS_TAKEN: &str = "commands_taken";
pub(crate) const COMMANDS_SETTLED: &str = "commands_settled";
pub(crate) const RUNNER_ASKED_AT: &str = "runner_asked_at";
pub(crate) const RECOVERIES: &str = "recoveries";
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const CUT_SEQUENCE: &str = "cut_sequence";
pub(crate) const CHECKPOINTS: &str = "checkpoints";
pub(crate) const QUESTION: &str = "question";
pub(crate) const GRANTS: &str = "grants";
const REWINDS: &str = "rewinds";
pub(crate) const KEPT_UNTIL: &str = "kept_until";
pub(crate) const TREE: &str = "tree";
const PARENT_SESSION: &str = "parent_session";
const PARENT_CHECKPOINT: &str = "parent_checkpoint";
pub(crate) const TASK: &str = "task";
pub(crate) const CLAUDE_SESSION_ID: &str = "claude_session_id";
pub(crate) const TOTAL_COST_USD: &str = "total_cost_usd";
/// The digest of the log up to its last event. Not part of [`Head`].
pub(crate) const LOG_DIGEST: &str = "log_digest";
/// The request token of the newest append, by which its repeat is recognised. Not part of
/// [`Head`].
pub(crate) const APPEND_TOKEN: &str = "append_token";
const TITLE: &str = "title";
pub(crate) const CREATED_AT: &str = "created_at";
const SPEC: &str = "spec";

/// Adds the digest of the log to a change of its head.
pub(crate) fn with_log(change: Write, digest: ChainDigest) -> Write {
    change.set(LOG_DIGEST, text(digest.to_string()))
}

/// The row of a new session, whose log has this digest.
pub(crate) fn write_new(head: &Head, digest: ChainDigest) -> Result<Row, UnreadableRow> {
    Ok(write(head)?.with(LOG_DIGEST, text(digest.to_string())))
}

/// The attributes of a head.
pub(crate) fn write(head: &Head) -> Result<Row, UnreadableRow> {
    let spec =
        spec::write(&head.spec).map_err(|source| UnreadableRow::Json { name: SPEC, source })?;
    let parent = head.parent.as_ref();
    let name = |name: &str| text(name.to_owned());
    Ok(Row::at(&Record::Head(&head.key).key())
        .with(OWNER_KEY, text(head.key.owner.as_str()))
        .with(
            OWNER_SORT,
            text(keys::owner_sort(head.created_at, &head.key.session)),
        )
        .with(LIVE_KEY, text(keys::live_shard(&head.key.session)))
        .with_some(LIVE_UNTIL, head.look_at().map(|time| number(time.0)))
        .with(TREE, name(head.tree.as_str()))
        .with_some(
            PARENT_SESSION,
            parent.map(|parent| name(parent.session.as_str())),
        )
        .with_some(
            PARENT_CHECKPOINT,
            parent.map(|parent| name(parent.checkpoint.as_str())),
        )
        .with_some(
            CHECKPOINT,
            head.checkpoint.as_ref().map(|it| name(it.as_str())),
        )
        .with(CUT_SEQUENCE, number(head.cut_sequence))
        .with(CHECKPOINTS, number(head.checkpoints))
        .with(REWINDS, number(head.rewinds))
        .with_some(QUESTION, question(head)?.map(text))
        .with_some(GRANTS, grants(head)?.map(text))
        .with(COMMANDS_SETTLED, number(head.commands_settled))
        .with(RUNNER_ASKED_AT, number(head.runner_asked_at.0))
        .with(RECOVERIES, number(head.recoveries))
        .with_some(KEPT_UNTIL, head.kept_until.map(|time| number(time.0)))
        .with_some(
            CLAUDE_SESSION_ID,
            head.claude_session_id.as_deref().map(name),
        )
        .with(SPEC, text(spec))
        .with(TITLE, text(head.title.as_str()))
        .with(STATE, text(head.state.as_str()))
        .with(CREATED_AT, number(head.created_at.0))
        .with(UPDATED_AT, number(head.updated_at.0))
        .with(LAST_SEQUENCE, number(head.last_sequence))
        .with(FENCE, number(head.fence))
        .with(LEASE_UNTIL, number(head.lease_until.0))
        .with(TURN, number(head.turn))
        .with(COMMANDS_ACCEPTED, number(head.commands_accepted))
        .with(COMMANDS_TAKEN, number(head.commands_taken))
        .with(TOTAL_COST_USD, number(head.total_cost_usd)))
}

/// Reads a head, also from the index by owner.
pub(crate) fn read(row: &Row) -> Result<Head, UnreadableRow> {
    let spec =
        spec::read(row.text(SPEC)?).map_err(|source| UnreadableRow::Json { name: SPEC, source })?;
    let optional = |name| Ok::<_, UnreadableRow>(row.text_if(name)?.map(ToOwned::to_owned));
    let count = |name| Ok::<_, UnreadableRow>(row.number_if(name)?.unwrap_or(0));
    let small = |name| u32::try_from(count(name)?).map_err(|_| UnreadableRow::Rule(name));
    let checkpoint = |name| {
        let id = row.text_if(name)?.map(CheckpointId::parse).transpose();
        id.map_err(|_| UnreadableRow::Rule(name))
    };
    let key = keys::session_of(row.text(PARTITION)?).ok_or(UnreadableRow::Rule(PARTITION))?;
    let parent_session = row
        .text_if(PARENT_SESSION)?
        .map(SessionId::parse)
        .transpose()
        .map_err(|_| UnreadableRow::Rule(PARENT_SESSION))?;
    let created_at = UnixMillis(row.number(CREATED_AT)?);
    Ok(Head {
        // Rows from before there were forks do not name their tree.
        tree: match row.text_if(TREE)? {
            Some(tree) => TreeId::parse(tree).map_err(|_| UnreadableRow::Rule(TREE))?,
            None => TreeId::of(key.session.clone()),
        },
        parent: parent_session
            .zip(checkpoint(PARENT_CHECKPOINT)?)
            .map(|(session, checkpoint)| Parent {
                session,
                checkpoint,
            }),
        checkpoint: checkpoint(CHECKPOINT)?,
        cut_sequence: Sequence(count(CUT_SEQUENCE)?),
        checkpoints: count(CHECKPOINTS)?,
        rewinds: small(REWINDS)?,
        question: row
            .text_if(QUESTION)?
            .map(checkpoint::read_question)
            .transpose()
            .map_err(|source| UnreadableRow::Json {
                name: QUESTION,
                source,
            })?,
        grants: row
            .text_if(GRANTS)?
            .map(approval::read_grants)
            .transpose()
            .map_err(|source| UnreadableRow::Json {
                name: GRANTS,
                source,
            })?
            .unwrap_or_default(),
        commands_settled: count(COMMANDS_SETTLED)?,
        runner_asked_at: row
            .number_if(RUNNER_ASKED_AT)?
            .map_or(created_at, UnixMillis),
        recoveries: small(RECOVERIES)?,
        kept_until: row.number_if(KEPT_UNTIL)?.map(UnixMillis),
        key,
        spec,
        title: row.text(TITLE)?.to_owned(),
        state: State::parse(row.text(STATE)?).ok_or(UnreadableRow::Rule(STATE))?,
        end_reason: optional(END_REASON)?,
        created_at,
        updated_at: UnixMillis(row.number(UPDATED_AT)?),
        last_sequence: Sequence(row.number(LAST_SEQUENCE)?),
        fence: FencingToken(row.number(FENCE)?),
        lease_until: UnixMillis(row.number(LEASE_UNTIL)?),
        turn: u32::try_from(row.number(TURN)?).map_err(|_| UnreadableRow::Rule(TURN))?,
        commands_accepted: row.number(COMMANDS_ACCEPTED)?,
        commands_taken: row.number(COMMANDS_TAKEN)?,
        task: optional(TASK)?,
        claude_session_id: optional(CLAUDE_SESSION_ID)?,
        total_cost_usd: row.fraction(TOTAL_COST_USD)?,
    })
}

fn grants(head: &Head) -> Result<Option<String>, UnreadableRow> {
    if head.grants.is_empty() {
        return Ok(None);
    }
    let written = approval::write_grants(&head.grants);
    written.map(Some).map_err(|source| UnreadableRow::Json {
        name: GRANTS,
        source,
    })
}

fn question(head: &Head) -> Result<Option<String>, UnreadableRow> {
    let question = head.question.as_ref().map(checkpoint::write_question);
    question.transpose().map_err(|source| UnreadableRow::Json {
        name: QUESTION,
        source,
    })
}

/// Adds to a change of the head whatever differs between `old`, which was read, and `new`. What is
/// the same stays as it is stored, so that a lease renewed meanwhile is not taken back.
pub(crate) fn changes(mut write: Write, old: &Head, new: &Head) -> Result<Write, UnreadableRow> {
    let name = |name: &str| text(name.to_owned());
    let mut numbers = vec![
        (LAST_SEQUENCE, old.last_sequence.0, new.last_sequence.0),
        (UPDATED_AT, old.updated_at.0, new.updated_at.0),
        (FENCE, old.fence.0, new.fence.0),
        (LEASE_UNTIL, old.lease_until.0, new.lease_until.0),
        (CUT_SEQUENCE, old.cut_sequence.0, new.cut_sequence.0),
        (CHECKPOINTS, old.checkpoints, new.checkpoints),
        (REWINDS, old.rewinds.into(), new.rewinds.into()),
        (COMMANDS_TAKEN, old.commands_taken, new.commands_taken),
        (COMMANDS_SETTLED, old.commands_settled, new.commands_settled),
        (
            RUNNER_ASKED_AT,
            old.runner_asked_at.0,
            new.runner_asked_at.0,
        ),
        (RECOVERIES, old.recoveries.into(), new.recoveries.into()),
    ];
    numbers.retain(|(_, old, new)| old != new);
    for (name, _, new) in numbers {
        write = write.set(name, number(new));
    }
    if old.state != new.state {
        write = write.set(STATE, name(new.state.as_str()));
    }
    let mut optional = vec![
        (
            CHECKPOINT,
            old.checkpoint.as_ref().map(|it| name(it.as_str())),
            new.checkpoint.as_ref().map(|it| name(it.as_str())),
        ),
        (QUESTION, question(old)?.map(text), question(new)?.map(text)),
        (
            TASK,
            old.task.as_deref().map(name),
            new.task.as_deref().map(name),
        ),
        (
            CLAUDE_SESSION_ID,
            old.claude_session_id.as_deref().map(name),
            new.claude_session_id.as_deref().map(name),
        ),
        (
            END_REASON,
            old.end_reason.as_deref().map(name),
            new.end_reason.as_deref().map(name),
        ),
        (
            KEPT_UNTIL,
            old.kept_until.map(|it| number(it.0)),
            new.kept_until.map(|it| number(it.0)),
        ),
    ];
    optional.retain(|(_, old, new)| old != new);
    for (name, _, new) in optional {
        write = match new {
            Some(new) => write.set(name, new),
            None => write.remove(name),
        };
    }
    Ok(match new.look_at() {
        Some(time) => write
            .set(LIVE_KEY, text(keys::live_shard(&new.key.session)))
            .set(LIVE_UNTIL, number(time.0)),
        None => write.remove(LIVE_KEY).remove(LIVE_UNTIL),
    })
}

/// States in which a runner may write.
pub(crate) fn with_runner() -> impl Iterator<Item = aws_sdk_dynamodb::types::AttributeValue> {
    State::ALL
        .into_iter()
        .filter(|state| state.has_runner())
        .map(|state| text(state.as_str()))
}

/// States in which a session goes on.
pub(crate) fn going_on() -> impl Iterator<Item = aws_sdk_dynamodb::types::AttributeValue> {
    State::ALL
        .into_iter()
        .filter(|state| !state.is_ended())
        .map(|state| text(state.as_str()))
}

/// A change of the head under the condition that nothing moved since `head` was read: state,
/// sequence, fence and commands.
pub(crate) fn update_unmoved(head: &Head) -> Write {
    Write::update(Record::Head(&head.key).key())
        .when(STATE, "=", text(head.state.as_str()))
        .when(LAST_SEQUENCE, "=", number(head.last_sequence))
        .when(FENCE, "=", number(head.fence))
        .when(COMMANDS_ACCEPTED, "=", number(head.commands_accepted))
        .when(COMMANDS_TAKEN, "=", number(head.commands_taken))
}

impl Store {
    /// The head with the token of its newest append; `None` once it has expired.
    pub(crate) async fn head_row(
        &self,
        key: &SessionKey,
    ) -> Result<Option<(Head, Option<String>)>, Unavailable> {
        const ATTEMPTED: &str = "read the session";
        let Some(row) = self.table.get(ATTEMPTED, &Record::Head(key).key()).await? else {
            return Ok(None);
        };
        let read = || {
            let head = read(&row)?;
            if head.is_over(system::now()) {
                return Ok(None);
            }
            let token = row.text_if(APPEND_TOKEN)?.map(ToOwned::to_owned);
            Ok(Some((head, token)))
        };
        read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))
    }

    /// Adds to a change of the head what it means that no runner has the session any more: it ended,
    /// or it is suspended.
    pub(crate) fn leave(
        &self,
        write: Write,
        state: State,
        end_reason: Option<&str>,
        question: Option<&PendingQuestion>,
        now: UnixMillis,
    ) -> Write {
        let until = self.head_expiry(now);
        let waits = question.filter(|_| !state.is_ended());
        let expiry = waits.and_then(|it| it.approval.as_ref());
        // As `Head::look_at` has it.
        let look_at = expiry.map_or(until, |request| request.expires_at.min(until));
        let write = write
            .set(KEPT_UNTIL, number(until.0))
            .set(LIVE_UNTIL, number(look_at.0));
        if state.is_ended() {
            write.set(END_REASON, text(end_reason.unwrap_or_default()))
        } else {
            write
        }
    }

    /// Writes that take the slots of a session that begins to hold them, if there are any left: of
    /// the deployment and of the owner, in this order.
    pub(crate) fn take_slots(key: &SessionKey, limits: domain::ports::SlotLimits) -> [Write; 2] {
        let slot = |slots: Record<'_>, most: u32| {
            Write::update(slots.key())
                .add(crate::create::USED, number(1))
                .when_absent_or(crate::create::USED, "<", number(most))
        };
        [
            slot(Record::DeploymentSlots, limits.deployment),
            slot(Record::OwnerSlots(&key.owner), limits.owner),
        ]
    }

    /// Writes that free the slots of a session that ends.
    pub(crate) fn free_slots(key: &SessionKey) -> [Write; 2] {
        [Record::DeploymentSlots, Record::OwnerSlots(&key.owner)].map(|slots| {
            // No condition of its own: the head's says that the session ends only once, and a
            // count that somebody changed by hand must not keep sessions from ending.
            Write::update(slots.key()).add(crate::create::USED, number(-1))
        })
    }
}
