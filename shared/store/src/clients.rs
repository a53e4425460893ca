//! What is kept for clients between their requests: sessions of the initialize era, awaited
//! replies, sent and posted messages, rounds of questions. Every row dies by itself.

use std::io::Read;

use domain::{
    ClientKey, OwnerId, UnixMillis,
    client_session::RoundId,
    ports::{
        Claim, ClientSession, ClientSessions, ClientStream, Posted, PostedMessages, ReplyMailbox,
        Rounds, StreamEvents, Unavailable, Withdrawals,
    },
};

use crate::{
    Store, failure,
    item::{Row, UnreadableRow, bytes, expiry, number, text},
    keys::{self, EXPIRES_AT, Key, PARTITION, Record},
    system,
    table::NotWritten,
    write::Write,
};

const INTRODUCTION: &str = "introduction";
const REPLY: &str = "reply";
const WORKER: &str = "worker";
const WITHDRAWN: &str = "withdrawn";
const REQUEST: &str = "request";
const WRITTEN_UNTIL: &str = "written_until";
const COMPLETE: &str = "complete";
const POSITION: &str = "position";
const MESSAGE: &str = "message";
const TAKER: &str = "taker";
const ANSWERS_DIGEST: &str = "answers_digest";
const OUTCOME: &str = "outcome";
/// Messages and posts that one read gives.
const MESSAGES_PER_READ: usize = 100;
/// Fast, and JSON shrinks to a quarter all the same.
const COMPRESSION_LEVEL: i32 = 3;
/// Nothing that is kept here unpacks to more: an answer has at most 6 MB
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
const MOST_UNPACKED_BYTES: u64 = 8 * 1024 * 1024;

fn pack(attempted: &'static str, json: &str) -> Result<Vec<u8>, Unavailable> {
    zstd::bulk::compress(json.as_bytes(), COMPRESSION_LEVEL)
        .map_err(|error| failure::own(attempted, error))
}

fn unpack(row: &Row, name: &'static str) -> Result<String, UnreadableRow> {
    let mut json = String::new();
    zstd::stream::read::Decoder::new(row.bytes(name)?)
        .and_then(|decoder| decoder.take(MOST_UNPACKED_BYTES).read_to_string(&mut json))
        .map_err(UnreadableRow::Compression)?;
    Ok(json)
}

/// Whole seconds, as the row has it.
fn expires_at(row: &Row) -> Result<UnixMillis, UnreadableRow> {
    Ok(UnixMillis(row.number(EXPIRES_AT)?.saturating_mul(1000)))
}

impl Store {
    /// A row that counts as there: it is stored and has not expired.
    async fn living(&self, attempted: &'static str, key: &Key) -> Result<Option<Row>, Unavailable> {
        let Some(row) = self.table.get(attempted, key).await? else {
            return Ok(None);
        };
        let expired = row
            .expired(system::now())
            .map_err(|error| failure::own(attempted, error))?;
        Ok((!expired).then_some(row))
    }

    /// Whether a posted message is this taker's from now on.
    async fn claim_posted(
        &self,
        attempted: &'static str,
        place: Key,
        taker: &str,
    ) -> Result<bool, Unavailable> {
        let write = Write::update(place)
            .when_present(PARTITION)
            .when_absent_or(TAKER, "=", text(taker))
            .set(TAKER, text(taker));
        written(self.table.write(attempted, write).await)
    }

    /// Writes a row unless it is there already.
    async fn once(&self, attempted: &'static str, row: Row) -> Result<(), Unavailable> {
        written(self.table.write(attempted, Write::put_new(row)).await).map(drop)
    }
}

/// Whether a write was made; a refused one found its condition unmet.
fn written(outcome: Result<(), NotWritten>) -> Result<bool, Unavailable> {
    match outcome {
        Ok(()) => Ok(true),
        Err(NotWritten::Refused(_)) => Ok(false),
        Err(NotWritten::Unavailable(unavailable)) => Err(unavailable),
    }
}

impl ClientSessions for Store {
    async fn open(&self, key: &ClientKey, session: &ClientSession) -> Result<(), Unavailable> {
        let row = Row::at(&Record::Client(key).key())
            .with(INTRODUCTION, text(session.introduction.as_str()))
            .with(EXPIRES_AT, expiry(session.expires_at));
        self.once("open the client's session", row).await
    }

    async fn client(&self, key: &ClientKey) -> Result<Option<ClientSession>, Unavailable> {
        const ATTEMPTED: &str = "read the client's session";
        let Some(row) = self.living(ATTEMPTED, &Record::Client(key).key()).await? else {
            return Ok(None);
        };
        let read = || {
            Ok(Some(ClientSession {
                introduction: row.text(INTRODUCTION)?.to_owned(),
                expires_at: expires_at(&row)?,
            }))
        };
        read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))
    }

    async fn introduce(&self, key: &ClientKey, introduction: &str) -> Result<bool, Unavailable> {
        let write = Write::update(Record::Client(key).key())
            .when(EXPIRES_AT, ">", number(system::now().0 / 1000))
            .set(INTRODUCTION, text(introduction));
        written(self.table.write("note who the client is", write).await)
    }

    async fn keep(&self, key: &ClientKey, until: UnixMillis) -> Result<(), Unavailable> {
        // Neither one that is gone nor one that lives longer.
        let write = Write::update(Record::Client(key).key())
            .when(EXPIRES_AT, "<", expiry(until))
            .set(EXPIRES_AT, expiry(until));
        written(self.table.write("keep the client's session", write).await).map(drop)
    }

    async fn close(&self, key: &ClientKey) -> Result<bool, Unavailable> {
        const ATTEMPTED: &str = "close the client's session";
        let Some(row) = self
            .table
            .take(ATTEMPTED, &Record::Client(key).key())
            .await?
        else {
            return Ok(false);
        };
        let expired = row.expired(system::now());
        Ok(!expired.map_err(|error| failure::own(ATTEMPTED, error))?)
    }
}

impl ReplyMailbox for Store {
    async fn await_reply(
        &self,
        key: &ClientKey,
        request: &str,
        until: UnixMillis,
    ) -> Result<(), Unavailable> {
        let row = Row::at(&Record::ClientReply(key, request).key()).with(EXPIRES_AT, expiry(until));
        self.once("await the client's reply", row).await
    }

    async fn deliver(
        &self,
        key: &ClientKey,
        request: &str,
        reply: &str,
    ) -> Result<bool, Unavailable> {
        const ATTEMPTED: &str = "deliver the client's reply";
        let packed = bytes(pack(ATTEMPTED, reply)?);
        let seconds = number(system::now().0 / 1000);
        let write = Write::update(Record::ClientReply(key, request).key())
            .when(EXPIRES_AT, ">", seconds)
            .when_absent_or(REPLY, "=", packed.clone())
            .set(REPLY, packed);
        written(self.table.write(ATTEMPTED, write).await)
    }

    async fn reply(&self, key: &ClientKey, request: &str) -> Result<Option<String>, Unavailable> {
        const ATTEMPTED: &str = "look for the client's reply";
        let row = self
            .table
            .get(ATTEMPTED, &Record::ClientReply(key, request).key())
            .await?;
        match row {
            Some(row) if row.0.contains_key(REPLY) => unpack(&row, REPLY)
                .map(Some)
                .map_err(|error| failure::own(ATTEMPTED, error)),
            _ => Ok(None),
        }
    }
}

impl Withdrawals for Store {
    async fn allow_withdrawal(
        &self,
        key: &ClientKey,
        request: &str,
        worker: &str,
        until: UnixMillis,
    ) -> Result<(), Unavailable> {
        let row = Row::at(&Record::ClientReply(key, request).key())
            .with(WORKER, text(worker))
            .with(EXPIRES_AT, expiry(until));
        // The newest counts, so that nothing old can stand in its way.
        let write = Write::put(row);
        written(
            self.table
                .write("let the request be taken back", write)
                .await,
        )
        .map(drop)
    }

    async fn withdraw(&self, key: &ClientKey, request: &str) -> Result<bool, Unavailable> {
        let write = Write::update(Record::ClientReply(key, request).key())
            .when(EXPIRES_AT, ">", number(system::now().0 / 1000))
            .when_present(WORKER)
            .set(WITHDRAWN, number(1));
        written(self.table.write("take the request back", write).await)
    }

    async fn is_withdrawn(
        &self,
        key: &ClientKey,
        request: &str,
        worker: &str,
    ) -> Result<bool, Unavailable> {
        const ATTEMPTED: &str = "look whether the request was taken back";
        let place = Record::ClientReply(key, request).key();
        let Some(row) = self.table.get(ATTEMPTED, &place).await? else {
            return Ok(false);
        };
        let of = row.text(WORKER);
        let of = of.map_err(|error| failure::own(ATTEMPTED, error))?;
        Ok(of == worker && row.0.contains_key(WITHDRAWN))
    }

    async fn end_withdrawal(
        &self,
        key: &ClientKey,
        request: &str,
        worker: &str,
    ) -> Result<(), Unavailable> {
        let write =
            Write::delete(Record::ClientReply(key, request).key()).when(WORKER, "=", text(worker));
        written(self.table.write("end the request", write).await).map(drop)
    }
}

impl StreamEvents for Store {
    async fn note_stream(
        &self,
        key: &ClientKey,
        stream: &str,
        state: &ClientStream,
    ) -> Result<(), Unavailable> {
        let row = Row::at(&Record::ClientStream(key, stream).key())
            .with(REQUEST, text(state.request.as_str()))
            .with(WRITTEN_UNTIL, number(state.written_until.0))
            .with(COMPLETE, number(u8::from(state.complete)))
            .with(EXPIRES_AT, expiry(state.expires_at));
        // A stream has one writer, so the last write is the newest.
        written(self.table.write("note the stream", Write::put(row)).await).map(drop)
    }

    async fn stream(
        &self,
        key: &ClientKey,
        stream: &str,
    ) -> Result<Option<ClientStream>, Unavailable> {
        const ATTEMPTED: &str = "read the stream";
        let place = Record::ClientStream(key, stream).key();
        let Some(row) = self.living(ATTEMPTED, &place).await? else {
            return Ok(None);
        };
        let read = || {
            Ok(Some(ClientStream {
                request: row.text(REQUEST)?.to_owned(),
                written_until: UnixMillis(row.number(WRITTEN_UNTIL)?),
                complete: row.number(COMPLETE)? != 0,
                expires_at: expires_at(&row)?,
            }))
        };
        read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))
    }

    async fn keep_message(
        &self,
        key: &ClientKey,
        stream: &str,
        position: u64,
        message: &str,
        until: UnixMillis,
    ) -> Result<(), Unavailable> {
        const ATTEMPTED: &str = "keep the message";
        let row = Row::at(&Record::ClientMessage(key, stream, position).key())
            .with(POSITION, number(position))
            .with(MESSAGE, bytes(pack(ATTEMPTED, message)?))
            .with(EXPIRES_AT, expiry(until));
        self.once(ATTEMPTED, row).await
    }

    async fn messages_after(
        &self,
        key: &ClientKey,
        stream: &str,
        position: u64,
    ) -> Result<Vec<(u64, String)>, Unavailable> {
        const ATTEMPTED: &str = "read the stream's messages";
        let place = |position| Record::ClientMessage(key, stream, position).key();
        let (from, to) = (place(position.saturating_add(1)), place(u64::MAX));
        let (rows, _) = self
            .table
            .range(
                ATTEMPTED,
                &from.partition,
                &from.sort,
                &to.sort,
                MESSAGES_PER_READ,
            )
            .await?;
        let now = system::now();
        let read = || {
            let mut messages = Vec::with_capacity(rows.len());
            for row in &rows {
                if !row.expired(now)? {
                    messages.push((row.number(POSITION)?, unpack(row, MESSAGE)?));
                }
            }
            Ok(messages)
        };
        read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))
    }
}

impl PostedMessages for Store {
    async fn post(
        &self,
        key: &ClientKey,
        name: &str,
        message: &str,
        until: UnixMillis,
    ) -> Result<(), Unavailable> {
        const ATTEMPTED: &str = "post the message";
        let row = Row::at(&Record::PostedMessage(key, name).key())
            .with(MESSAGE, bytes(pack(ATTEMPTED, message)?))
            .with(EXPIRES_AT, expiry(until));
        self.once(ATTEMPTED, row).await
    }

    async fn take_posted(&self, key: &ClientKey, taker: &str) -> Result<Vec<Posted>, Unavailable> {
        const ATTEMPTED: &str = "take the posted messages";
        let (partition, mut from, to) = keys::posted_range(key);
        let now = system::now();
        let mut taken = Vec::new();
        loop {
            let (rows, more) = self
                .table
                .range(ATTEMPTED, &partition, &from, &to, MESSAGES_PER_READ)
                .await?;
            for row in rows {
                let read = || {
                    let name = keys::posted_name(row.text(keys::SORT)?).to_owned();
                    Ok((name, row.text_if(TAKER)?, row.expired(now)?))
                };
                let (name, of, expired) =
                    read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))?;
                let place = Record::PostedMessage(key, &name).key();
                from = keys::after(&place.sort);
                let mine = match of {
                    _ if expired => false,
                    Some(of) => of == taker,
                    None => self.claim_posted(ATTEMPTED, place, taker).await?,
                };
                if mine {
                    let message =
                        unpack(&row, MESSAGE).map_err(|error| failure::own(ATTEMPTED, error))?;
                    taken.push(Posted { name, message });
                }
            }
            // What others took and what expired stands in nobody's way.
            if !more || !taken.is_empty() {
                return Ok(taken);
            }
        }
    }

    async fn remove_posted(
        &self,
        key: &ClientKey,
        taker: &str,
        name: &str,
    ) -> Result<(), Unavailable> {
        let place = Record::PostedMessage(key, name).key();
        let write = Write::delete(place).when(TAKER, "=", text(taker));
        written(self.table.write("remove the posted message", write).await).map(drop)
    }
}

impl Rounds for Store {
    async fn claim(
        &self,
        owner: &OwnerId,
        round: &RoundId,
        answers_digest: &str,
        until: UnixMillis,
    ) -> Result<Claim, Unavailable> {
        const ATTEMPTED: &str = "record the answers";
        let place = Record::Round(owner, round).key();
        let row = Row::at(&place)
            .with(ANSWERS_DIGEST, text(answers_digest))
            .with(EXPIRES_AT, expiry(until));
        if written(self.table.write(ATTEMPTED, Write::put_new(row)).await)? {
            return Ok(Claim::Open);
        }
        let Some(row) = self.table.get(ATTEMPTED, &place).await? else {
            return Err(failure::own(ATTEMPTED, "the round expired meanwhile"));
        };
        let read = || {
            Ok(if row.text(ANSWERS_DIGEST)? != answers_digest {
                Claim::Different
            } else if row.0.contains_key(OUTCOME) {
                Claim::Settled(unpack(&row, OUTCOME)?)
            } else {
                Claim::Open
            })
        };
        read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))
    }

    async fn settle(
        &self,
        owner: &OwnerId,
        round: &RoundId,
        outcome: &str,
    ) -> Result<String, Unavailable> {
        const ATTEMPTED: &str = "record what came of the answers";
        let place = Record::Round(owner, round).key();
        let write = Write::update(place.clone())
            .when_absent(OUTCOME)
            .when(EXPIRES_AT, ">", number(0))
            .set(OUTCOME, bytes(pack(ATTEMPTED, outcome)?));
        if written(self.table.write(ATTEMPTED, write).await)? {
            return Ok(outcome.to_owned());
        }
        // Recorded before, or expired meanwhile: then nobody can ask for it any more.
        match self.table.get(ATTEMPTED, &place).await? {
            Some(row) => unpack(&row, OUTCOME).map_err(|error| failure::own(ATTEMPTED, error)),
            None => Ok(outcome.to_owned()),
        }
    }
}
