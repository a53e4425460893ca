//! The chains of the audit, and the links of session logs.

use std::io::Read;

use domain::{
    ChainDigest, Sequence, SessionKey, UnixMillis,
    audit::{AuditChain, AuditEntry, ChainEnd, Refusals, Subject},
    chain::Link,
    ids::base32,
    limits,
    ports::{
        AuditTrail, IdSource, LogBatch, LogChain, LogEnd, RecordError, RefusalCounts, Unavailable,
    },
};

use crate::{
    Store, batch, failure,
    head::{self, LOG_DIGEST},
    item::{Row, UnreadableRow, bytes, expiry, number, text},
    keys::{self, EXPIRES_AT, LIVE_KEY, LIVE_UNTIL, Record, SORT},
    stored::audit::{Content, read_content, write_content},
    table::{NotWritten, pause},
    write::Write,
};

const NUMBER: &str = "number";
const DIGEST: &str = "digest";
const PREVIOUS: &str = "previous";
const TIME: &str = "time";
const CONTENT: &str = "content";
const LAST: &str = "last";
const ERASED: &str = "erased";
const COUNT: &str = "count";
const RECORD: &str = "write to the audit";
/// How often others may be faster. Own.
pub(crate) const ATTEMPTS: u32 = 30;
const COMPRESSION_LEVEL: i32 = 3;
/// An entry never unpacks to more: a thousand facts with ten policies each.
const MOST_UNPACKED_BYTES: u64 = 4 * 1024 * 1024;
/// A count that nobody made an entry of goes. Own: the reconciler looks each minute.
const COUNT_KEPT_MILLISECONDS: u64 = 7 * 24 * 60 * 60 * 1000;
const MINUTE_MILLISECONDS: u64 = 60_000;
/// Longest source that is kept. Own: an address has 39 characters.
const MOST_SOURCE_BYTES: usize = 64;

/// The end of a chain as its row has it.
struct End {
    end: ChainEnd,
    time: UnixMillis,
}

impl LogChain for Store {
    async fn log_links(
        &self,
        key: &SessionKey,
        after: Sequence,
        limit: usize,
    ) -> Result<Vec<Link>, Unavailable> {
        const ATTEMPTED: &str = "read the links of the log";
        let rows = self.batches(ATTEMPTED, key, after, limit).await?;
        let links = rows.iter().map(batch::link).collect::<Result<_, _>>();
        links.map_err(|error| failure::own(ATTEMPTED, error))
    }

    async fn log_batches(
        &self,
        key: &SessionKey,
        after: Sequence,
        limit: usize,
    ) -> Result<Vec<LogBatch>, Unavailable> {
        const ATTEMPTED: &str = "read the batches of the log";
        let rows = self.batches(ATTEMPTED, key, after, limit).await?;
        let read = |row: &Row| {
            let link = batch::link(row)?;
            let events = match batch::read(row) {
                Ok(events) => Some(events.into_iter().map(|(event, _)| event).collect()),
                // As it was written: another version reads it, and will say what it says.
                Err(error) if link.stored == link.computed => return Err(error),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, last = link.last, "a batch of a log was changed");
                    None
                }
            };
            Ok(LogBatch { link, events })
        };
        let batches: Result<_, UnreadableRow> = rows.iter().map(read).collect();
        batches.map_err(|error| failure::own(ATTEMPTED, error))
    }

    async fn changed_bodies(
        &self,
        key: &SessionKey,
        after: Sequence,
        last: Sequence,
    ) -> Result<Vec<Sequence>, Unavailable> {
        self.bodies_not_in_log(key, after, last).await
    }

    async fn log_end(&self, key: &SessionKey) -> Result<Option<LogEnd>, Unavailable> {
        const ATTEMPTED: &str = "read where the log ends";
        let Some(row) = self.table.get(ATTEMPTED, &Record::Head(key).key()).await? else {
            return Ok(None);
        };
        let read = || {
            Ok(Some(LogEnd {
                last: Sequence(row.number(head::LAST_SEQUENCE)?),
                digest: batch::digest_if(&row, LOG_DIGEST)?,
            }))
        };
        read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))
    }
}

impl AuditTrail for Store {
    async fn record(
        &self,
        chain: &AuditChain,
        subject: Subject,
        now: UnixMillis,
    ) -> Result<AuditEntry, RecordError> {
        for attempt in 0..ATTEMPTS {
            let (entry, writes) = self.next_entry(chain, subject.clone(), now).await?;
            let expires = expiry(entry.time.plus(self.audit_retention_milliseconds));
            let Some(once) = once(chain, &subject, expires) else {
                return Err(failure::own(RECORD, "there is nothing to record").into());
            };
            let writes = writes.into_iter().chain([once]).collect();
            let request = base32(&IdSource::random(self));
            match self.table.transact(RECORD, &request, writes).await {
                Ok(()) => return Ok(entry),
                Err(NotWritten::Refused(parts)) if parts == [2] => {
                    return Err(RecordError::Recorded);
                }
                Err(NotWritten::Refused(_)) => pause(attempt).await,
                Err(NotWritten::Unavailable(unavailable)) => return Err(unavailable.into()),
            }
        }
        Err(too_many_write().into())
    }

    async fn recorded(&self, key: &SessionKey) -> Result<Sequence, Unavailable> {
        const ATTEMPTED: &str = "read how far the audit is";
        let last = self.mark(ATTEMPTED, key, LAST).await?;
        Ok(Sequence(last.unwrap_or(0)))
    }

    async fn is_erased(&self, key: &SessionKey) -> Result<bool, Unavailable> {
        const ATTEMPTED: &str = "read whether the session was erased";
        Ok(self.mark(ATTEMPTED, key, ERASED).await?.is_some())
    }

    async fn chain_end(
        &self,
        chain: &AuditChain,
    ) -> Result<Option<(ChainEnd, UnixMillis)>, Unavailable> {
        Ok(self.end_row(chain).await?.map(|it| (it.end, it.time)))
    }

    async fn entries(
        &self,
        chain: &AuditChain,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Unavailable> {
        const ATTEMPTED: &str = "read the audit";
        let (from, to) = (after.saturating_add(1), u64::MAX);
        let (partition, from, to) = keys::entry_range(chain, from, to);
        let rows = self.table.range(ATTEMPTED, &partition, &from, &to, limit);
        read_entries(chain, &rows.await?.0).map_err(|error| failure::own(ATTEMPTED, error))
    }

    async fn entries_before(
        &self,
        chain: &AuditChain,
        before: u64,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Unavailable> {
        const ATTEMPTED: &str = "read the audit";
        if before <= 1 {
            return Ok(Vec::new());
        }
        let (partition, from, to) = keys::entry_range(chain, 1, before - 1);
        let rows = self
            .table
            .range_back(ATTEMPTED, &partition, &from, &to, limit);
        read_entries(chain, &rows.await?.0).map_err(|error| failure::own(ATTEMPTED, error))
    }
}

/// To whoever came too late each time.
pub(crate) fn too_many_write() -> Unavailable {
    failure::own(RECORD, "too many others write to the chain")
}

impl Store {
    /// The entry behind the last one, and the two writes that add it: the end of the chain, and the
    /// entry. They are refused when another one is faster.
    pub(crate) async fn next_entry(
        &self,
        chain: &AuditChain,
        subject: Subject,
        now: UnixMillis,
    ) -> Result<(AuditEntry, [Write; 2]), Unavailable> {
        let before = self.end_row(chain).await?;
        let content = Content {
            // Clocks differ; entries are in the order of their times.
            time: before.as_ref().map_or(now, |it| it.time.max(now)),
            previous_time: before.as_ref().map(|it| it.time),
            subject,
        };
        let end = before.map(|it| it.end);
        let linked = link(chain, end, &content);
        let (link, packed) = linked.map_err(|error| failure::own(RECORD, error))?;
        let row = Row::at(&Record::AuditEntry(chain, link.last).key())
            .with_some(PREVIOUS, link.previous.map(|it| text(it.to_string())))
            .with(DIGEST, text(link.stored.to_string()))
            .with(CONTENT, bytes(packed))
            .with(
                EXPIRES_AT,
                expiry(content.time.plus(self.audit_retention_milliseconds)),
            );
        let look_at = content.time.plus(limits::SEAL_MILLISECONDS);
        let moved = Write::update(Record::AuditEnd(chain).key())
            .set(NUMBER, number(link.last))
            .set(DIGEST, text(link.stored.to_string()))
            .set(TIME, number(content.time.0))
            .set(LIVE_KEY, text(keys::SEAL_SHARD))
            .set_if_absent(LIVE_UNTIL, number(look_at.0));
        let moved = match end {
            Some(end) => moved.when(NUMBER, "=", number(end.number)),
            None => moved.when_absent(NUMBER),
        };
        let entry = AuditEntry {
            link,
            time: content.time,
            previous_time: content.previous_time,
            subject: content.subject,
        };
        Ok((entry, [moved, Write::put_new(row)]))
    }

    /// A change of one row with its entry of the audit; `false` when the condition of the row does not
    /// hold.
    pub(crate) async fn change_audited(
        &self,
        attempted: &'static str,
        write: impl Fn() -> Write,
        (chain, subject): (AuditChain, Subject),
        now: UnixMillis,
    ) -> Result<bool, Unavailable> {
        /// The place of the row among the writes.
        const CHANGED: usize = 0;
        for attempt in 0..ATTEMPTS {
            let (_, audited) = self.next_entry(&chain, subject.clone(), now).await?;
            let writes = [write()].into_iter().chain(audited).collect();
            let request = base32(&IdSource::random(self));
            match self.table.transact(attempted, &request, writes).await {
                Ok(()) => return Ok(true),
                Err(NotWritten::Refused(parts)) if parts.contains(&CHANGED) => return Ok(false),
                // Others write to the audit all the time.
                Err(NotWritten::Refused(_)) => pause(attempt).await,
                Err(NotWritten::Unavailable(unavailable)) => return Err(unavailable),
            }
        }
        Err(too_many_write())
    }

    /// What is noted of a session's entries.
    async fn mark(
        &self,
        attempted: &'static str,
        key: &SessionKey,
        what: &'static str,
    ) -> Result<Option<u64>, Unavailable> {
        let at = Record::AuditMark(&key.owner, &key.session).key();
        let row = self.table.get(attempted, &at).await?;
        let noted = row.map(|row| row.number_if(what)).transpose();
        Ok(noted
            .map_err(|error| failure::own(attempted, error))?
            .flatten())
    }

    async fn end_row(&self, chain: &AuditChain) -> Result<Option<End>, Unavailable> {
        const ATTEMPTED: &str = "read where the audit ends";
        let key = Record::AuditEnd(chain).key();
        let Some(row) = self.table.get(ATTEMPTED, &key).await? else {
            return Ok(None);
        };
        let read = || {
            let digest = batch::digest_if(&row, DIGEST)?;
            Ok(Some(End {
                end: ChainEnd {
                    number: row.number(NUMBER)?,
                    digest: digest.ok_or(UnreadableRow::Attribute(DIGEST))?,
                },
                time: UnixMillis(row.number(TIME)?),
            }))
        };
        read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))
    }

    /// The chain was sealed up to this entry: it is looked at again when it has moved since.
    pub(crate) async fn note_seal(
        &self,
        chain: &AuditChain,
        sealed: u64,
        now: UnixMillis,
    ) -> Result<(), Unavailable> {
        const ATTEMPTED: &str = "note that the audit is sealed";
        let end = || Write::update(Record::AuditEnd(chain).key());
        let rests = end()
            .remove(LIVE_KEY)
            .remove(LIVE_UNTIL)
            .when(NUMBER, "=", number(sealed));
        match self.table.write(ATTEMPTED, rests).await {
            Ok(()) => return Ok(()),
            Err(NotWritten::Unavailable(unavailable)) => return Err(unavailable),
            Err(NotWritten::Refused(_)) => {}
        }
        let again = end()
            .set(LIVE_UNTIL, number(now.plus(limits::SEAL_MILLISECONDS).0))
            .when_present(NUMBER);
        match self.table.write(ATTEMPTED, again).await {
            Ok(()) | Err(NotWritten::Refused(_)) => Ok(()),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable),
        }
    }
}

/// The link behind `end`, and what the row of it keeps of its content.
fn link(
    chain: &AuditChain,
    end: Option<ChainEnd>,
    content: &Content,
) -> Result<(Link, Vec<u8>), std::io::Error> {
    let json = write_content(content)?;
    let packed = zstd::bulk::compress(json.as_bytes(), COMPRESSION_LEVEL)?;
    let number = end.map_or(0, |end| end.number) + 1;
    let previous = end.map(|end| end.digest);
    let digest = digest(chain, previous, number, &packed);
    let link = Link {
        first: number,
        last: number,
        previous,
        stored: digest,
        computed: digest,
    };
    Ok((link, packed))
}

fn digest(
    chain: &AuditChain,
    previous: Option<ChainDigest>,
    number: u64,
    packed: &[u8],
) -> ChainDigest {
    ChainDigest::of(previous, &keys::audit_partition(chain), number, packed)
}

/// What makes sure that there is one entry about a thing; `None` for what is none.
fn once(
    chain: &AuditChain,
    subject: &Subject,
    expires: aws_sdk_dynamodb::types::AttributeValue,
) -> Option<Write> {
    let mark = |session| match chain {
        AuditChain::Deployment => None,
        AuditChain::Owner(owner) => {
            let key = Record::AuditMark(owner, session).key();
            Some(Write::update(key).set(EXPIRES_AT, expires.clone()))
        }
    };
    Some(match subject {
        // A change of a policy, a key or a credential is written with it, and so once.
        Subject::Unreadable | Subject::Policy(_) | Subject::Key(_) | Subject::GitCredential(_) => {
            return None;
        }
        Subject::Log(piece) => {
            let mark = mark(&piece.session)?
                .set(LAST, number(piece.last))
                .when_absent(ERASED);
            match piece.first.0 {
                ..=1 => mark.when_absent(LAST),
                first => mark.when(LAST, "=", number(first - 1)),
            }
        }
        Subject::Erased { session, .. } => {
            mark(session)?.set(ERASED, number(1)).when_absent(ERASED)
        }
        Subject::Refused(refusals) => Write::delete(
            Record::RefusalCount(refusals.minute, &refusals.source).key(),
        )
        .when(COUNT, "=", number(refusals.count)),
    })
}

fn read_entries(chain: &AuditChain, rows: &[Row]) -> Result<Vec<AuditEntry>, UnreadableRow> {
    rows.iter().map(|row| read_entry(chain, row)).collect()
}

fn read_entry(chain: &AuditChain, row: &Row) -> Result<AuditEntry, UnreadableRow> {
    let number = keys::entry_number(row.text(SORT)?).ok_or(UnreadableRow::Rule(SORT))?;
    let packed = row.bytes(CONTENT).unwrap_or_default();
    let previous = batch::digest_or_unreadable(row, PREVIOUS);
    let stored = batch::digest_or_unreadable(row, DIGEST).unwrap_or(ChainDigest::UNREADABLE);
    let mut json = Vec::new();
    let unpacked = zstd::stream::read::Decoder::new(packed)
        .and_then(|decoder| decoder.take(MOST_UNPACKED_BYTES).read_to_end(&mut json));
    // Somebody may have changed it, which whoever computes it again is to hear.
    let content = unpacked.ok().and_then(|_| read_content(&json).ok());
    let content = content.unwrap_or(Content {
        time: UnixMillis(0),
        previous_time: None,
        subject: Subject::Unreadable,
    });
    Ok(AuditEntry {
        link: Link {
            first: number,
            last: number,
            previous,
            stored,
            computed: digest(chain, previous, number, packed),
        },
        time: content.time,
        previous_time: content.previous_time,
        subject: content.subject,
    })
}

impl RefusalCounts for Store {
    async fn count_refusal(&self, source: &str, now: UnixMillis) -> Result<(), Unavailable> {
        let minute = UnixMillis(now.0 - now.0 % MINUTE_MILLISECONDS);
        let source = &source[..source.floor_char_boundary(MOST_SOURCE_BYTES)];
        let count = Write::update(Record::RefusalCount(minute, source).key())
            .add(COUNT, number(1))
            .set(EXPIRES_AT, expiry(now.plus(COUNT_KEPT_MILLISECONDS)));
        match self.table.write("count a refusal", count).await {
            Ok(()) | Err(NotWritten::Refused(_)) => Ok(()),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable),
        }
    }

    async fn refusals(&self, now: UnixMillis, limit: usize) -> Result<Vec<Refusals>, Unavailable> {
        const ATTEMPTED: &str = "read what was refused";
        // The minute that is not over has the next name.
        let (partition, from, to) =
            keys::refusals_before(UnixMillis(now.0 - now.0 % MINUTE_MILLISECONDS));
        let rows = self.table.range(ATTEMPTED, &partition, &from, &to, limit);
        let read = |row: &Row| -> Result<Refusals, UnreadableRow> {
            let (minute, source) =
                keys::refusal(row.text(SORT)?).ok_or(UnreadableRow::Rule(SORT))?;
            Ok(Refusals {
                minute,
                source: source.to_owned(),
                count: row.number(COUNT)?,
            })
        };
        let refusals = rows.await?.0.iter().map(read).collect::<Result<_, _>>();
        refusals.map_err(|error| failure::own(ATTEMPTED, error))
    }
}
