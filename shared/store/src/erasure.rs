//! Erasing sessions: their rows in portions, their place in the tree, and last their head, in whose
//! place a tombstone stands until something has looked again.

use domain::{
    SessionId, SessionKey, State, TreeId, TreeKey, UnixMillis,
    ids::base32,
    ports::{Checkpoints, Condemned, Erasure, ExpireError, IdSource, Unavailable},
};

use crate::{
    Store, checkpoints, create, failure, head,
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
    async fn expire(&self, key: &SessionKey) -> Result<(), ExpireError> {
        let until = number(0);
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
    ) -> Result<Option<Condemned>, Unavailable> {
        const ATTEMPTED: &str = "read what is to be erased";
        let unreadable = |error| failure::own(ATTEMPTED, error);
        if let Some(row) = self.table.get(ATTEMPTED, &Record::Head(key).key()).await? {
            let head = head::read(&row).map_err(unreadable)?;
            return Ok(head.is_over(now).then(|| Condemned {
                tree: head.tree_key(),
                buried: false,
            }));
        }
        let tombstone = Record::Tombstone(key).key();
        let Some(row) = self.table.get(ATTEMPTED, &tombstone).await? else {
            return Ok(None);
        };
        let read = || {
            let tree = TreeId::parse(row.text(head::TREE)?);
            let tree = tree.map_err(|_| UnreadableRow::Rule(head::TREE))?;
            let due = row.number(LIVE_UNTIL)? < now.0;
            Ok(due.then(|| Condemned {
                tree: TreeKey {
                    owner: key.owner.clone(),
                    tree,
                },
                buried: true,
            }))
        };
        read().map_err(unreadable)
    }

    async fn erase_rows(&self, key: &SessionKey, limit: usize) -> Result<usize, Unavailable> {
        const ATTEMPTED: &str = "erase the session";
        let partition = keys::session_partition(key);
        let stays = ["head", "tombstone"];
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
            let row = Record::Tree(tree).key();
            // Whoever shares the tree would have recorded it.
            if self.table.get(ATTEMPTED, &row).await?.is_none() {
                return Ok(Vec::new());
            }
            let mut members = Checkpoints::tree(self, tree).await?.members;
            members.retain(|member| member != session);
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

    async fn bury(
        &self,
        key: &SessionKey,
        now: UnixMillis,
        until: UnixMillis,
    ) -> Result<(), Unavailable> {
        const ATTEMPTED: &str = "erase the session";
        let at = Record::Head(key).key();
        let Some(row) = self.table.get(ATTEMPTED, &at).await? else {
            return Ok(());
        };
        let unreadable = |error| failure::own(ATTEMPTED, error);
        let head = head::read(&row).map_err(unreadable)?;
        let token = create::unremember(key, &row).map_err(unreadable)?;
        if !head.is_over(now) {
            return Ok(());
        }
        // First, because without the head nobody finds it; twice is harmless, and one that stands
        // for another session by now is refused.
        if let Some(token) = token
            && let Err(NotWritten::Unavailable(unavailable)) =
                self.table.write(ATTEMPTED, token).await
        {
            return Err(unavailable);
        }
        let gone = Write::delete(at)
            .when(head::KEPT_UNTIL, "<", number(now.0))
            .when_one_of(head::STATE, ended());
        let tombstone = Row::at(&Record::Tombstone(key).key())
            .with(head::TREE, text(head.tree.as_str()))
            .with(LIVE_KEY, text(keys::live_shard(&key.session)))
            .with(LIVE_UNTIL, number(until.0));
        let writes = vec![gone, Write::put(tombstone)];
        let request = base32(&IdSource::random(self));
        match self.table.transact(ATTEMPTED, &request, writes).await {
            // Refused: somebody else was faster.
            Ok(()) | Err(NotWritten::Refused(_)) => Ok(()),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable),
        }
    }

    async fn forget(&self, key: &SessionKey, now: UnixMillis) -> Result<(), Unavailable> {
        let delete = Write::delete(Record::Tombstone(key).key()).when_absent_or(
            LIVE_UNTIL,
            "<",
            number(now.0),
        );
        match self.table.write("forget the session", delete).await {
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
