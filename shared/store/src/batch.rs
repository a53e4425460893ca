//! Events in batches: compressed JSON, with long bodies in the bucket.

use std::{
    io::Read,
    sync::{Arc, Mutex, PoisonError},
};

use domain::{
    ChainDigest, Event, EventBody, FencingToken, Sequence, SessionKey, TreeKey,
    chain::Link,
    event::NewEvent,
    ids::base32,
    ports::{Unavailable, WholeBodies},
};
use sha2::{Digest, Sha256};

use crate::{
    Store, failure,
    item::{Row, UnreadableRow, bytes, number, text},
    keys::{self, Record},
    objects::session_object,
    stored::{
        event::{StoredEvent, WholeBody, body_json, read_body},
        preview::preview,
    },
    write::Write,
};

const EVENTS: &str = "events";
const FIRST: &str = "first";
const COUNT: &str = "count";
const PREVIOUS: &str = "previous";
const DIGEST: &str = "digest";
/// Fast, and text shrinks to a quarter all the same.
const COMPRESSION_LEVEL: i32 = 3;
/// Batches whose bodies are compared at once. Own.
const BODIES_BATCHES: usize = 20;
/// A batch never unpacks to more: 500 events with bodies under 8 KiB and their envelopes.
const MOST_UNPACKED_BYTES: u64 = 16 * 1024 * 1024;

impl Store {
    /// The batch row for `events` from `first` on. Puts long bodies into the bucket first: when
    /// the row is not written after all, they lie there unused until the session is erased.
    /// The same events after the same ones give the same objects and the same row. Its digest
    /// belongs into the head, in the same transaction.
    pub(crate) async fn batch(
        &self,
        key: &SessionKey,
        tree: &TreeKey,
        first: Sequence,
        fence: FencingToken,
        events: &[NewEvent],
    ) -> Result<(Write, ChainDigest), Unavailable> {
        const ATTEMPTED: &str = "write the events";
        let previous = self.log_digest(key, Sequence(first.0 - 1)).await?;
        let mut stored = Vec::with_capacity(events.len());
        let mut sequence = first;
        for event in events {
            let body = body_json(&event.body).map_err(|error| failure::own(ATTEMPTED, error))?;
            let text = body.to_string();
            let (body, whole) = match preview(&body, text.len()) {
                None => (body, None),
                Some(preview) => {
                    let whole = WholeBody {
                        object: base32(&Sha256::digest(&text)),
                        bytes: text.len() as u64,
                    };
                    self.put(
                        tree,
                        &body_object(tree, key, &whole.object),
                        text.into_bytes(),
                    )
                    .await?;
                    (preview, Some(whole))
                }
            };
            stored.push(StoredEvent::new(event, sequence, fence, body, whole));
            sequence = sequence.next();
        }
        let json = serde_json::to_vec(&stored).map_err(|error| failure::own(ATTEMPTED, error))?;
        let packed = zstd::bulk::compress(&json, COMPRESSION_LEVEL)
            .map_err(|error| failure::own(ATTEMPTED, error))?;
        let last = Sequence(first.0 + events.len() as u64 - 1);
        let at = Record::Batch(key, last).key();
        let digest = digest(previous, &at.partition, first, last, &packed);
        let row = Row::at(&at)
            .with(FIRST, number(first))
            .with(COUNT, number(events.len()))
            .with_some(PREVIOUS, previous.map(|it| text(it.to_string())))
            .with(DIGEST, text(digest.to_string()))
            .with(EVENTS, bytes(packed));
        Ok((Write::put_new(row), digest))
    }

    /// The rows of the batches behind the event `after`, which is the last of its batch.
    pub(crate) async fn batches(
        &self,
        attempted: &'static str,
        key: &SessionKey,
        after: Sequence,
        limit: usize,
    ) -> Result<Vec<Row>, Unavailable> {
        let (from, to) = (after.next(), Sequence(u64::MAX));
        let (from, to) = (keys::batch_sort(from), keys::batch_sort(to));
        let partition = keys::session_partition(key);
        let rows = self.table.range(attempted, &partition, &from, &to, limit);
        Ok(rows.await?.0)
    }

    /// The events behind `after` up to `last` whose whole bodies are not what their batch names. What a
    /// batch names is part of the log's digest; a batch that cannot be read names nothing.
    pub(crate) async fn bodies_not_in_log(
        &self,
        key: &SessionKey,
        after: Sequence,
        last: Sequence,
    ) -> Result<Vec<Sequence>, Unavailable> {
        const ATTEMPTED: &str = "read the whole events";
        let Some((head, _)) = self.head_row(key).await? else {
            return Ok(Vec::new());
        };
        let tree = head.tree_key();
        let mut changed = Vec::new();
        let mut at = after;
        while at < last {
            let rows = self.batches(ATTEMPTED, key, at, BODIES_BATCHES).await?;
            let Some(newest) = rows.last() else { break };
            for row in &rows {
                let link = link(row).map_err(|error| failure::own(ATTEMPTED, error))?;
                let named = match named(row) {
                    // Changed, which its digest says; as it was written, another version reads it.
                    Err(_) if link.stored != link.computed => continue,
                    named => named.map_err(|error| failure::own(ATTEMPTED, error))?,
                };
                for (sequence, object) in named {
                    let object_key = body_object(&tree, key, &object);
                    let body = self.get(&object_key).await?;
                    if body.is_none_or(|body| base32(&Sha256::digest(body)) != object) {
                        changed.push(sequence);
                    }
                }
            }
            let link = link(newest).map_err(|error| failure::own(ATTEMPTED, error))?;
            at = Sequence(link.last);
        }
        changed.retain(|sequence| *sequence <= last);
        Ok(changed)
    }

    /// The digest of a session's log up to this event, the last of a batch; none before the first, and
    /// of a batch that is not there. Then the log is broken, which keeps nobody from going on with it:
    /// whoever looks at its chain sees where.
    async fn log_digest(
        &self,
        key: &SessionKey,
        last: Sequence,
    ) -> Result<Option<ChainDigest>, Unavailable> {
        const ATTEMPTED: &str = "read the log's digest";
        if last.0 == 0 {
            return Ok(None);
        }
        if let Some(known) = self.log_end.of(key, last) {
            return Ok(Some(known));
        }
        let row = self
            .table
            .get(ATTEMPTED, &Record::Batch(key, last).key())
            .await?;
        let digest = row.map(|row| digest_if(&row, DIGEST)).transpose();
        let digest = digest.map_err(|error| failure::own(ATTEMPTED, error))?;
        Ok(digest.flatten())
    }
}

/// The batch that this process wrote last, for whoever writes the next one of the same log. It never
/// changes, so that what is known of it stays true.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogEnd(Arc<Mutex<Option<(SessionKey, Sequence, ChainDigest)>>>);

impl LogEnd {
    /// The batch that ends here was written.
    pub(crate) fn note(&self, key: &SessionKey, last: Sequence, digest: ChainDigest) {
        let end = Some((key.clone(), last, digest));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }

    fn of(&self, key: &SessionKey, last: Sequence) -> Option<ChainDigest> {
        let end = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = end.as_ref()?;
        (end.0 == *key && end.1 == last).then_some(end.2)
    }
}

/// Of a batch of a session's log. The packed events name the objects of long bodies by their SHA-256.
fn digest(
    previous: Option<ChainDigest>,
    log: &str,
    first: Sequence,
    last: Sequence,
    packed: &[u8],
) -> ChainDigest {
    let content = [&first.0.to_be_bytes(), packed].concat();
    ChainDigest::of(previous, log, last.0, &content)
}

/// A batch as a link of its log.
pub(crate) fn link(row: &Row) -> Result<Link, UnreadableRow> {
    let last = keys::batch_last(row.text(keys::SORT)?).ok_or(UnreadableRow::Rule(keys::SORT))?;
    let log = row.text(keys::PARTITION)?;
    // Somebody may have changed these, which whoever computes the link again is to hear.
    let first = row.number(FIRST).unwrap_or(0);
    let packed = row.bytes(EVENTS).unwrap_or_default();
    let previous = digest_or_unreadable(row, PREVIOUS);
    let stored = digest_or_unreadable(row, DIGEST).unwrap_or(ChainDigest::UNREADABLE);
    Ok(Link {
        first,
        last,
        previous,
        stored,
        computed: digest(previous, log, Sequence(first), Sequence(last), packed),
    })
}

/// For whoever looks for what was changed: what is no digest is one that fits nothing.
pub(crate) fn digest_or_unreadable(row: &Row, name: &'static str) -> Option<ChainDigest> {
    digest_if(row, name).unwrap_or(Some(ChainDigest::UNREADABLE))
}

pub(crate) fn digest_if(
    row: &Row,
    name: &'static str,
) -> Result<Option<ChainDigest>, UnreadableRow> {
    let digest = row.text_if(name)?.map(ChainDigest::parse).transpose();
    digest.map_err(|_| UnreadableRow::Rule(name))
}

impl WholeBodies for Store {
    async fn whole_body(
        &self,
        key: &SessionKey,
        sequence: Sequence,
    ) -> Result<Option<EventBody>, Unavailable> {
        const ATTEMPTED: &str = "read the whole event";
        let partition = keys::session_partition(key);
        let (rows, _) = self
            .table
            .range(
                ATTEMPTED,
                &partition,
                &keys::batch_sort(sequence),
                &keys::batch_sort(Sequence(u64::MAX)),
                1,
            )
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let stored = unpack(row).map_err(|error| failure::own(ATTEMPTED, error))?;
        for event in stored {
            let whole = event.whole.clone();
            let event = event
                .read()
                .map_err(|error| failure::own(ATTEMPTED, error))?;
            if event.sequence != sequence {
                continue;
            }
            let Some(whole) = whole else {
                return Ok(Some(event.body));
            };
            let Some((head, _)) = self.head_row(key).await? else {
                return Ok(None);
            };
            let object = body_object(&head.tree_key(), key, &whole.object);
            let Some(text) = self.get(&object).await? else {
                return Ok(Some(event.body));
            };
            if base32(&Sha256::digest(&text)) != whole.object {
                let problem = "the stored event is not the one that the log names";
                return Err(failure::own(ATTEMPTED, problem));
            }
            let body = serde_json::from_slice(&text)
                .and_then(read_body)
                .map_err(|error| failure::own(ATTEMPTED, error))?;
            return Ok(Some(body));
        }
        Ok(None)
    }
}

/// The events of a batch whose whole bodies lie in the bucket, and the names of these there.
fn named(row: &Row) -> Result<Vec<(Sequence, String)>, UnreadableRow> {
    let named = |event: StoredEvent| Some((event.sequence(), event.whole?.object));
    Ok(unpack(row)?.into_iter().filter_map(named).collect())
}

/// Where a body lies that is too long for the log.
fn body_object(tree: &TreeKey, key: &SessionKey, hash: &str) -> String {
    session_object(tree, key, &format!("events/{hash}"))
}

fn unpack(row: &Row) -> Result<Vec<StoredEvent>, UnreadableRow> {
    let mut json = Vec::new();
    zstd::stream::read::Decoder::new(row.bytes(EVENTS)?)
        .and_then(|decoder| decoder.take(MOST_UNPACKED_BYTES).read_to_end(&mut json))
        .map_err(UnreadableRow::Compression)?;
    serde_json::from_slice(&json).map_err(|source| UnreadableRow::Json {
        name: EVENTS,
        source,
    })
}

/// The events of a batch row, in order, and about how many bytes their bodies have.
pub(crate) fn read(row: &Row) -> Result<Vec<(Event, usize)>, UnreadableRow> {
    unpack(row)?
        .into_iter()
        .map(|stored| {
            let bytes = stored.body_bytes();
            let event = stored.read().map_err(|source| UnreadableRow::Json {
                name: EVENTS,
                source,
            })?;
            Ok((event, bytes))
        })
        .collect()
}
