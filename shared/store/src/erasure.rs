//! Erasing sessions: their rows in portions, their place in the tree, and last their head.

use domain::{
    Head, SessionId, SessionKey, State, TreeKey, UnixMillis,
    ids::base32,
    ports::{Checkpoints, Erasure, ExpireError, IdSource, Unavailable},
};

use crate::{
    Store, checkpoints, failure, head,
    item::{Row, UnreadableRow, number, text, texts},
    keys::{self, Key, LIVE_KEY, LIVE_UNTIL, PARTITION, Record, SORT},
    table::{NotWritten, pause},
    write::Write,
};

/// Parts of one transaction.
const AT_ONCE: usize = 100;
/// How often others may be faster. Own.
const ATTEMPTS: u32 = 10;

impl Erasure for Store {
    async fn expire(&self, key: &SessionKey, now: UnixMillis) -> Result<(), ExpireError> {
        let until = number(now.0.saturating_sub(1));
        let update = Write::update(Record::Head(key).key())
            .set(head::KEPT_UNTIL, until.clone())
            .set(LIVE_KEY, text(keys::live_shard(&key.session)))
            .set(LIVE_UNTIL, until)
            .when_one_of(head::STATE, ended());
        match self.table.write("give the session up", update).await {
            Ok(()) => Ok(()),
            Err(NotWritten::Refused(_)) => Err(ExpireError::NotEnded),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable.into()),
        }
    }

    async fn condemned(
        &self,
        key: &SessionKey,
        now: UnixMillis,
    ) -> Result<Option<Head>, Unavailable> {
        const ATTEMPTED: &str = "read what is to be erased";
        let row = self.table.get(ATTEMPTED, &Record::Head(key).key()).await?;
        let head = row.as_ref().map(head::read).transpose();
        let head = head.map_err(|error| failure::own(ATTEMPTED, error))?;
        Ok(head.filter(|head| head.state.is_ended() && head.kept_long_enough(now)))
    }

    async fn erase_rows(&self, key: &SessionKey, limit: usize) -> Result<usize, Unavailable> {
        const ATTEMPTED: &str = "erase the session";
        let partition = keys::session_partition(key);
        let stays = ["head", "tree"];
        let most = limit.min(AT_ONCE);
        let (rows, _) = self
            .table
            .range(ATTEMPTED, &partition, " ", "~", most + stays.len())
            .await?;
        let read = |row: &Row| -> Result<Key, UnreadableRow> {
            Ok(Key {
                partition: row.text(PARTITION)?.to_owned(),
                sort: row.text(SORT)?.to_owned(),
            })
        };
        let mut writes = Vec::new();
        for row in &rows {
            let key = read(row).map_err(|error| failure::own(ATTEMPTED, error))?;
            if !stays.contains(&key.sort.as_str()) && writes.len() < most {
                writes.push(Write::delete(key));
            }
        }
        if writes.is_empty() {
            return Ok(0);
        }
        let erased = writes.len();
        let token = base32(&IdSource::random(self));
        match self.table.transact(ATTEMPTED, &token, writes).await {
            Ok(()) => Ok(erased),
            Err(NotWritten::Refused(_)) => {
                Err(failure::own(ATTEMPTED, "refused, without a condition"))
            }
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable),
        }
    }

    async fn leave_tree(
        &self,
        tree: &TreeKey,
        session: &SessionId,
    ) -> Result<Vec<SessionId>, Unavailable> {
        const ATTEMPTED: &str = "leave the tree";
        for attempt in 0..ATTEMPTS {
            let mut members = Checkpoints::tree(self, tree).await?.members;
            members.retain(|member| member != session);
            let row = Record::Tree(tree).key();
            // What was read must still hold: a fork adds itself.
            let count = members.len();
            let write = if members.is_empty() {
                let gone = Write::delete(row);
                checkpoints::has_only(gone, session)
            } else {
                let others = texts(members.iter().map(ToString::to_string));
                Write::update(row)
                    .set(checkpoints::MEMBERS, others)
                    .when_size_at_most(checkpoints::MEMBERS, number(count + 1))
            };
            match self.table.write(ATTEMPTED, write).await {
                Ok(()) => return Ok(members),
                Err(NotWritten::Refused(_)) => pause(attempt).await,
                Err(NotWritten::Unavailable(unavailable)) => return Err(unavailable),
            }
        }
        Err(failure::own(ATTEMPTED, "it is forked all the time"))
    }

    async fn erase_head(&self, key: &SessionKey, now: UnixMillis) -> Result<(), Unavailable> {
        let delete = Write::delete(Record::Head(key).key())
            .when_absent_or(head::KEPT_UNTIL, "<", number(now.0))
            .when_absent_or_one_of(head::STATE, ended());
        match self.table.write("erase the session", delete).await {
            Ok(()) | Err(NotWritten::Refused(_)) => Ok(()),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable),
        }
    }
}

fn ended() -> impl Iterator<Item = aws_sdk_dynamodb::types::AttributeValue> {
    State::ALL
        .into_iter()
        .filter(|state| state.is_ended())
        .map(|state| text(state.as_str()))
}
