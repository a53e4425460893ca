//! The head of a session: the row that every change of a session goes through.

use domain::{FencingToken, Head, Sequence, SessionKey, State, UnixMillis, ports::Unavailable};

use crate::{
    Store, failure,
    item::{Row, UnreadableRow, number, text},
    keys::{self, LIVE_KEY, LIVE_UNTIL, OWNER_KEY, OWNER_SORT, PARTITION, Record},
    stored::spec,
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
pub(crate) const TASK: &str = "task";
pub(crate) const CLAUDE_SESSION_ID: &str = "claude_session_id";
pub(crate) const TOTAL_COST_USD: &str = "total_cost_usd";
/// The request token of the newest append, by which its repeat is recognised. Not part of
/// [`Head`].
pub(crate) const APPEND_TOKEN: &str = "append_token";
const TITLE: &str = "title";
pub(crate) const CREATED_AT: &str = "created_at";
const SPEC: &str = "spec";

/// The row of a new session.
pub(crate) fn write(head: &Head) -> Result<Row, UnreadableRow> {
    let spec =
        spec::write(&head.spec).map_err(|source| UnreadableRow::Json { name: SPEC, source })?;
    Ok(Row::at(&Record::Head(&head.key).key())
        .with(OWNER_KEY, text(head.key.owner.as_str()))
        .with(
            OWNER_SORT,
            text(keys::owner_sort(head.created_at, &head.key.session)),
        )
        .with(LIVE_KEY, text(keys::live_shard(&head.key.session)))
        .with_some(LIVE_UNTIL, head.look_at().map(|time| number(time.0)))
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
    Ok(Head {
        key: keys::session_of(row.text(PARTITION)?).ok_or(UnreadableRow::Rule(PARTITION))?,
        spec,
        title: row.text(TITLE)?.to_owned(),
        state: State::parse(row.text(STATE)?).ok_or(UnreadableRow::Rule(STATE))?,
        end_reason: optional(END_REASON)?,
        created_at: UnixMillis(row.number(CREATED_AT)?),
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
            if row.expired(system::now())? {
                return Ok(None);
            }
            let token = row.text_if(APPEND_TOKEN)?.map(ToOwned::to_owned);
            Ok(Some((read(&row)?, token)))
        };
        read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))
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
