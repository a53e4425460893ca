//! Records of checkpoints, their names, and the tree of a session and its forks.

use domain::{
    Checkpoint, CheckpointId, RefName, SessionId, SessionKey, TreeKey, UnixMillis,
    checkpoint::CheckpointRef,
    ids::base32,
    limits,
    ports::{
        CheckpointError, Checkpoints, IdSource, RefError, RemoveError, SweepError, Tree,
        Unavailable,
    },
};

use crate::{
    Store, failure, head,
    item::{Row, UnreadableRow, number, text, texts},
    keys::{self, CHECKPOINT_PREFIX, LIVE_KEY, LIVE_UNTIL, PARTITION, REF_PREFIX, Record, SORT},
    stored::checkpoint,
    table::{NotWritten, pause},
    write::Write,
};

const RECORD: &str = "record";
const PINNED: &str = "pinned";
const NAMED: &str = "named";
const ORDINAL: &str = "ordinal";
const CHECKPOINT: &str = "checkpoint";
const SET_AT: &str = "set_at";
pub(crate) const GENERATION: &str = "generation";
const SWEPT_AT: &str = "swept_at";
pub(crate) const MEMBERS: &str = "members";
/// How often others may be faster. Own.
const ATTEMPTS: u32 = 10;

impl Checkpoints for Store {
    async fn checkpoint(
        &self,
        key: &SessionKey,
        id: &CheckpointId,
    ) -> Result<Option<Checkpoint>, Unavailable> {
        const ATTEMPTED: &str = "read the checkpoint";
        let Some(ordinal) = self.checkpoint_ordinal(key, id).await? else {
            return Ok(None);
        };
        let row = Record::Checkpoint(key, ordinal).key();
        let row = self.table.get(ATTEMPTED, &row).await?;
        let checkpoint = row.as_ref().map(read).transpose();
        checkpoint.map_err(|error| failure::own(ATTEMPTED, error))
    }

    async fn checkpoints(
        &self,
        key: &SessionKey,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Checkpoint>, Unavailable> {
        const ATTEMPTED: &str = "list the checkpoints";
        let mut next = before.unwrap_or(1_000_000_000_000);
        let mut found: Vec<Checkpoint> = Vec::new();
        while found.len() < limit && next > 1 {
            let (rows, more) = self
                .table
                .range_back(
                    ATTEMPTED,
                    &keys::session_partition(key),
                    &keys::checkpoint_sort(0),
                    &keys::checkpoint_sort(next - 1),
                    limit - found.len(),
                )
                .await?;
            for row in rows {
                let checkpoint = read(&row).map_err(|error| failure::own(ATTEMPTED, error))?;
                next = checkpoint.ordinal;
                found.push(checkpoint);
            }
            if !more {
                break;
            }
        }
        Ok(found)
    }

    async fn pin(
        &self,
        key: &SessionKey,
        id: &CheckpointId,
        pinned: bool,
    ) -> Result<(), CheckpointError> {
        let Some(ordinal) = self.checkpoint_ordinal(key, id).await? else {
            return Err(CheckpointError::NoSuchCheckpoint);
        };
        let update = Write::update(Record::Checkpoint(key, ordinal).key())
            .set(PINNED, number(u8::from(pinned)))
            .when_present(PARTITION);
        match self.table.write("pin the checkpoint", update).await {
            Ok(()) => Ok(()),
            Err(NotWritten::Refused(_)) => Err(CheckpointError::NoSuchCheckpoint),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable.into()),
        }
    }

    async fn refs(&self, key: &SessionKey) -> Result<Vec<CheckpointRef>, Unavailable> {
        const ATTEMPTED: &str = "read the refs";
        let partition = keys::session_partition(key);
        // Names are ASCII, so everything that begins with the prefix lies before this.
        let end = format!("{REF_PREFIX}\u{7f}");
        let mut from = REF_PREFIX.to_owned();
        let mut found = Vec::new();
        loop {
            let limit = limits::REFS + 1 - found.len();
            let rows = self
                .table
                .range(ATTEMPTED, &partition, &from, &end, limit)
                .await?;
            for row in rows.0 {
                let sort = row.text(SORT).map(ToOwned::to_owned);
                let named = sort.and_then(|sort| Ok((read_ref(&row)?, sort)));
                let (named, sort) = named.map_err(|error| failure::own(ATTEMPTED, error))?;
                found.push(named);
                // The next key there can be.
                from = format!("{sort}-");
            }
            if !rows.1 || found.len() >= limits::REFS {
                found.truncate(limits::REFS);
                return Ok(found);
            }
        }
    }

    async fn set_ref(
        &self,
        key: &SessionKey,
        named: &CheckpointRef,
        replace: bool,
    ) -> Result<(), RefError> {
        const ATTEMPTED: &str = "name the checkpoint";
        for attempt in 0..ATTEMPTS {
            let Some(ordinal) = self.checkpoint_ordinal(key, &named.checkpoint).await? else {
                return Err(RefError::NoSuchCheckpoint);
            };
            let known = self.known_ref(ATTEMPTED, key, &named.name).await?;
            let mut writes = ref_writes(key, named, ordinal, known.as_ref());
            if let Some(known) = known {
                if known.checkpoint == named.checkpoint {
                    return Ok(());
                }
                if !replace {
                    return Err(RefError::Taken);
                }
                writes.extend(self.unname(key, &known.checkpoint).await?);
            }
            let token = base32(&IdSource::random(self));
            match self.table.transact(ATTEMPTED, &token, writes).await {
                Ok(()) => return Ok(()),
                Err(NotWritten::Refused(_)) => pause(attempt).await,
                Err(NotWritten::Unavailable(unavailable)) => return Err(unavailable.into()),
            }
        }
        Err(failure::own(ATTEMPTED, "the name keeps changing").into())
    }

    async fn delete_ref(&self, key: &SessionKey, name: &RefName) -> Result<(), Unavailable> {
        const ATTEMPTED: &str = "take the name of the checkpoint away";
        for attempt in 0..ATTEMPTS {
            let Some(known) = self.known_ref(ATTEMPTED, key, name).await? else {
                return Ok(());
            };
            let mut writes = vec![Write::delete(Record::Ref(key, name).key()).when(
                CHECKPOINT,
                "=",
                text(known.checkpoint.as_str()),
            )];
            writes.extend(self.unname(key, &known.checkpoint).await?);
            let token = base32(&IdSource::random(self));
            match self.table.transact(ATTEMPTED, &token, writes).await {
                Ok(()) => return Ok(()),
                Err(NotWritten::Refused(_)) => pause(attempt).await,
                Err(NotWritten::Unavailable(unavailable)) => return Err(unavailable),
            }
        }
        Err(failure::own(ATTEMPTED, "the name keeps changing"))
    }

    async fn remove_checkpoint(
        &self,
        key: &SessionKey,
        id: &CheckpointId,
    ) -> Result<(), RemoveError> {
        const ATTEMPTED: &str = "remove the checkpoint";
        let Some(ordinal) = self.checkpoint_ordinal(key, id).await? else {
            return Ok(());
        };
        let writes = vec![
            Write::check(Record::Head(key).key()).when_absent_or(
                head::CHECKPOINT,
                "<>",
                text(id.as_str()),
            ),
            Write::delete(Record::Checkpoint(key, ordinal).key())
                .when(PINNED, "=", number(0))
                .when(NAMED, "=", number(0)),
            Write::delete(Record::CheckpointName(key, id).key()),
        ];
        let token = base32(&IdSource::random(self));
        match self.table.transact(ATTEMPTED, &token, writes).await {
            Ok(()) => Ok(()),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable.into()),
            Err(NotWritten::Refused(_)) => match self.checkpoint_ordinal(key, id).await? {
                None => Ok(()),
                Some(_) => Err(RemoveError::InUse),
            },
        }
    }

    async fn tree(&self, tree: &TreeKey) -> Result<Tree, Unavailable> {
        const ATTEMPTED: &str = "read the tree";
        let root_alone = || vec![tree.tree.root().clone()];
        let row = self
            .table
            .get(ATTEMPTED, &Record::Tree(tree).key())
            .await?
            .unwrap_or_default();
        let read = || {
            let mut members = Vec::new();
            for name in row.texts(MEMBERS)? {
                members.push(SessionId::parse(name).map_err(|_| UnreadableRow::Rule(MEMBERS))?);
            }
            members.sort();
            Ok(Tree {
                generation: row.number_if(GENERATION)?.unwrap_or(0),
                swept_at: UnixMillis(row.number_if(SWEPT_AT)?.unwrap_or(0)),
                members: if members.is_empty() {
                    root_alone()
                } else {
                    members
                },
            })
        };
        read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))
    }

    async fn overdue_trees(
        &self,
        now: UnixMillis,
        limit: usize,
    ) -> Result<Vec<TreeKey>, Unavailable> {
        let shards = (0..keys::LIVE_SHARDS).map(keys::tree_key);
        let tree = |partition: &str, _: &str| keys::tree_of(partition);
        self.overdue_rows(shards, tree, now, limit).await
    }

    async fn begin_sweep(
        &self,
        tree: &TreeKey,
        generation: u64,
        now: UnixMillis,
    ) -> Result<u64, SweepError> {
        let update = Write::update(Record::Tree(tree).key())
            // An erased tree does not come back.
            .when_present(PARTITION)
            .set(GENERATION, number(generation + 1))
            .set(SWEPT_AT, number(now.0));
        let update = due(
            update,
            tree,
            Some(now.plus(limits::TREE_SWEEP_MILLISECONDS)),
        );
        let update = of_generation(update, generation);
        match self.table.write("begin a sweep", update).await {
            Ok(()) => Ok(generation + 1),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable.into()),
            Err(NotWritten::Refused(_)) => {
                let newer = Checkpoints::tree(self, tree).await?.generation;
                if newer == generation {
                    let gone = "nothing is recorded of the tree";
                    return Err(failure::own("begin a sweep", gone).into());
                }
                Err(SweepError::Overtaken(newer))
            }
        }
    }
}

/// Requires that no sweep began since `generation`.
pub(crate) fn of_generation(write: Write, generation: u64) -> Write {
    match generation {
        0 => write.when_absent_or(GENERATION, "=", number(0)),
        generation => write.when(GENERATION, "=", number(generation)),
    }
}

/// Adds sessions to a tree.
pub(crate) fn join(tree: &TreeKey, sessions: &[&SessionId]) -> Write {
    let members = sessions.iter().map(ToString::to_string);
    due(Write::update(Record::Tree(tree).key()), tree, None).add(MEMBERS, texts(members))
}

/// Lets the tree be swept at `at`; or as was planned, and now when nothing was.
pub(crate) fn due(write: Write, tree: &TreeKey, at: Option<UnixMillis>) -> Write {
    let write = write.set(LIVE_KEY, text(keys::tree_shard(tree)));
    match at {
        Some(at) => write.set(LIVE_UNTIL, number(at.0)),
        None => write.set_if_absent(LIVE_UNTIL, number(0)),
    }
}

/// Requires that no other session is in the tree.
pub(crate) fn has_only(write: Write, session: &SessionId) -> Write {
    write.when_absent_or(MEMBERS, "=", texts([session.to_string()]))
}

/// Requires that the checkpoint is there.
pub(crate) fn is_there(key: &SessionKey, ordinal: u64) -> Write {
    Write::check(Record::Checkpoint(key, ordinal).key()).when_present(PARTITION)
}

/// The rows of a checkpoint that is recorded, `named` by so many refs.
pub(crate) fn record(
    key: &SessionKey,
    checkpoint: &Checkpoint,
    named: u8,
) -> Result<[Write; 2], Unavailable> {
    let json = checkpoint::write(checkpoint)
        .map_err(|error| failure::own("record the checkpoint", error))?;
    Ok([
        Write::put_new(
            Row::at(&Record::Checkpoint(key, checkpoint.ordinal).key())
                .with(RECORD, text(json))
                .with(PINNED, number(u8::from(checkpoint.pinned)))
                .with(NAMED, number(named)),
        ),
        Write::put_new(
            Row::at(&Record::CheckpointName(key, &checkpoint.id).key())
                .with(ORDINAL, number(checkpoint.ordinal)),
        ),
    ])
}

/// The writes that give a checkpoint a name.
pub(crate) fn ref_writes(
    key: &SessionKey,
    named: &CheckpointRef,
    ordinal: u64,
    known: Option<&CheckpointRef>,
) -> Vec<Write> {
    let row = Row::at(&Record::Ref(key, &named.name).key())
        .with(CHECKPOINT, text(named.checkpoint.as_str()))
        .with(SET_AT, number(named.set_at.0));
    vec![
        match known {
            None => Write::put_new(row),
            Some(known) => Write::put(row).when(CHECKPOINT, "=", text(known.checkpoint.as_str())),
        },
        Write::update(Record::Checkpoint(key, ordinal).key())
            .add(NAMED, number(1))
            .when_present(PARTITION),
    ]
}

impl Store {
    /// The place of a checkpoint; `None` when the session has none of that id.
    pub(crate) async fn checkpoint_ordinal(
        &self,
        key: &SessionKey,
        id: &CheckpointId,
    ) -> Result<Option<u64>, Unavailable> {
        const ATTEMPTED: &str = "look the checkpoint up";
        let name = Record::CheckpointName(key, id).key();
        let row = self.table.get(ATTEMPTED, &name).await?;
        let ordinal = row.map(|row| row.number(ORDINAL)).transpose();
        ordinal.map_err(|error| failure::own(ATTEMPTED, error))
    }

    async fn known_ref(
        &self,
        attempted: &'static str,
        key: &SessionKey,
        name: &RefName,
    ) -> Result<Option<CheckpointRef>, Unavailable> {
        let row = Record::Ref(key, name).key();
        let row = self.table.get(attempted, &row).await?;
        let named = row.as_ref().map(read_ref).transpose();
        named.map_err(|error| failure::own(attempted, error))
    }

    /// One ref less for a checkpoint.
    async fn unname(
        &self,
        key: &SessionKey,
        id: &CheckpointId,
    ) -> Result<Option<Write>, Unavailable> {
        let ordinal = self.checkpoint_ordinal(key, id).await?;
        Ok(ordinal.map(|ordinal| {
            Write::update(Record::Checkpoint(key, ordinal).key())
                .add(NAMED, number(-1))
                .when_present(PARTITION)
        }))
    }
}

fn read(row: &Row) -> Result<Checkpoint, UnreadableRow> {
    let ordinal = row
        .text(SORT)?
        .strip_prefix(CHECKPOINT_PREFIX)
        .and_then(|digits| digits.parse().ok())
        .ok_or(UnreadableRow::Rule(SORT))?;
    let pinned = row.number(PINNED)? != 0;
    checkpoint::read(row.text(RECORD)?, ordinal, pinned).map_err(|source| UnreadableRow::Json {
        name: RECORD,
        source,
    })
}

fn read_ref(row: &Row) -> Result<CheckpointRef, UnreadableRow> {
    let name = row
        .text(SORT)?
        .strip_prefix(REF_PREFIX)
        .ok_or(UnreadableRow::Rule(SORT))?;
    Ok(CheckpointRef {
        name: RefName::parse(name).map_err(|_| UnreadableRow::Rule(SORT))?,
        checkpoint: CheckpointId::parse(row.text(CHECKPOINT)?)
            .map_err(|_| UnreadableRow::Rule(CHECKPOINT))?,
        set_at: UnixMillis(row.number(SET_AT)?),
    })
}
