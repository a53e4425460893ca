//! Events in batches: compressed JSON, with long bodies in the bucket.

use std::io::Read;

use domain::{
    Event, EventBody, FencingToken, Sequence, SessionKey, TreeKey,
    event::NewEvent,
    ids::base32,
    ports::{Unavailable, WholeBodies},
};
use sha2::{Digest, Sha256};

use crate::{
    Store, failure,
    item::{Row, UnreadableRow, bytes, number},
    keys::Record,
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
/// Fast, and text shrinks to a quarter all the same.
const COMPRESSION_LEVEL: i32 = 3;
/// A batch never unpacks to more: 500 events with bodies under 8 KiB and their envelopes.
const MOST_UNPACKED_BYTES: u64 = 16 * 1024 * 1024;

impl Store {
    /// The batch row for `events` from `first` on. Puts long bodies into the bucket first: when
    /// the row is not written after all, they lie there unused until the session is erased.
    /// The same events give the same objects and the same row.
    pub(crate) async fn batch(
        &self,
        key: &SessionKey,
        tree: &TreeKey,
        first: Sequence,
        fence: FencingToken,
        events: &[NewEvent],
    ) -> Result<Write, Unavailable> {
        const ATTEMPTED: &str = "write the events";
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
        Ok(Write::put_new(
            Row::at(&Record::Batch(key, last).key())
                .with(FIRST, number(first))
                .with(COUNT, number(events.len()))
                .with(EVENTS, bytes(packed)),
        ))
    }
}

impl WholeBodies for Store {
    async fn whole_body(
        &self,
        key: &SessionKey,
        sequence: Sequence,
    ) -> Result<Option<EventBody>, Unavailable> {
        const ATTEMPTED: &str = "read the whole event";
        let partition = crate::keys::session_partition(key);
        let (rows, _) = self
            .table
            .range(
                ATTEMPTED,
                &partition,
                &crate::keys::batch_sort(sequence),
                &crate::keys::batch_sort(Sequence(u64::MAX)),
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
            let body = serde_json::from_slice(&text)
                .and_then(read_body)
                .map_err(|error| failure::own(ATTEMPTED, error))?;
            return Ok(Some(body));
        }
        Ok(None)
    }
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
