//! The log of a session: leases, appends, reading, and the text that is not an event yet.

use domain::{
    Event, FencingToken, Head, Sequence, SessionKey, UnixMillis,
    event::{EventBody, NewEvent},
    ids::base32,
    ports::{AcquireError, Append, AppendError, Lease, LiveText, SessionLog, Unavailable},
};
use sha2::{Digest, Sha256};

use crate::{
    Store, batch, failure,
    head::{self, update_unmoved},
    item::{Row, UnreadableRow, expiry, number, text},
    keys::{self, EXPIRES_AT, LIVE_UNTIL, Record},
    system,
    table::{NotWritten, pause},
    write::Write,
};

/// Batches read at once. Own: a reader that follows the log needs one or two.
const BATCHES_READ: usize = 20;
/// How often others may be faster. Own.
const ATTEMPTS: u32 = 20;
const AFTER: &str = "after";
const TEXT: &str = "text";
const TIME: &str = "time";

impl SessionLog for Store {
    async fn acquire(
        &self,
        key: &SessionKey,
        task: &str,
        isolation: &str,
        lease_until: UnixMillis,
        now: UnixMillis,
    ) -> Result<(Lease, Head), AcquireError> {
        const ATTEMPTED: &str = "take the session over";
        for attempt in 0..ATTEMPTS {
            let Some((head, _)) = self.head_row(key).await? else {
                return Err(AcquireError::NotAvailable("unknown".to_owned()));
            };
            let Some(mut taken) = head.taken_over(task, lease_until, now) else {
                return if head.state.has_runner() && head.task.as_deref() == Some(task) {
                    Ok((head.lease(), head))
                } else {
                    Err(AcquireError::NotAvailable(head.state.to_string()))
                };
            };
            let first = head.last_sequence.next();
            let events = take_over_events(&head, &taken, task, isolation);
            taken.last_sequence = Sequence(head.last_sequence.0 + events.len() as u64);
            let update = head::changes(update_unmoved(&head), &head, &taken);
            let update = update.map_err(|error| failure::own(ATTEMPTED, error))?;
            let (batch, digest) = self
                .batch(key, &taken.tree_key(), first, taken.fence, &events)
                .await?;
            let writes = vec![head::with_log(update, digest), batch];
            let content = format!("{key:?} {task} {isolation} {lease_until:?} {now:?} {head:?}");
            let token = base32(&Sha256::digest(content));
            match self.table.transact(ATTEMPTED, &token[..36], writes).await {
                Ok(()) => return Ok((taken.lease(), taken)),
                Err(NotWritten::Unavailable(unavailable)) => return Err(unavailable.into()),
                Err(NotWritten::Refused(_)) => pause(attempt).await,
            }
        }
        Err(failure::own(ATTEMPTED, "too many others write to the session").into())
    }

    async fn append(&self, lease: &Lease, append: &Append) -> Result<Sequence, AppendError> {
        self.append_to_log(lease, append).await
    }

    async fn renew(&self, lease: &Lease, lease_until: UnixMillis) -> Result<(), AppendError> {
        let update = Write::update(Record::Head(&lease.key).key())
            .set(head::LEASE_UNTIL, number(lease_until.0))
            .set(LIVE_UNTIL, number(lease_until.0))
            .when(head::FENCE, "=", number(lease.fence))
            .when_one_of(head::STATE, head::with_runner());
        match self.table.write("renew the lease", update).await {
            Ok(()) => Ok(()),
            Err(NotWritten::Refused(_)) => Err(AppendError::LeaseLost),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable.into()),
        }
    }

    async fn read(
        &self,
        key: &SessionKey,
        after: Sequence,
        limit_bytes: usize,
    ) -> Result<Vec<Event>, Unavailable> {
        const ATTEMPTED: &str = "read the log";
        let partition = keys::session_partition(key);
        let end = keys::batch_sort(Sequence(u64::MAX));
        let mut events: Vec<Event> = Vec::new();
        let mut read_bytes = 0;
        let mut next = after.next();
        loop {
            // Batches are named by their last event, so the first one found contains the next.
            let (rows, more) = self
                .table
                .range(
                    ATTEMPTED,
                    &partition,
                    &keys::batch_sort(next),
                    &end,
                    BATCHES_READ,
                )
                .await?;
            for row in rows {
                let batch = batch::read(&row).map_err(|error| failure::own(ATTEMPTED, error))?;
                for (event, bytes) in batch {
                    if event.sequence < next {
                        continue;
                    }
                    let gap = event.sequence > next;
                    let full = !events.is_empty() && read_bytes + bytes > limit_bytes;
                    if gap || full {
                        return Ok(events);
                    }
                    read_bytes += bytes;
                    next = event.sequence.next();
                    events.push(event);
                }
            }
            if !more {
                return Ok(events);
            }
        }
    }

    async fn set_live(&self, lease: &Lease, live: Option<LiveText>) -> Result<(), AppendError> {
        // Without text the row still says who wrote last: whoever is older stays out.
        let time = live.as_ref().map_or_else(system::now, |live| live.time);
        let mut row = Row::at(&Record::Live(&lease.key).key())
            .with(head::FENCE, number(lease.fence))
            .with(EXPIRES_AT, expiry(time.plus(self.keep_deltas_milliseconds)));
        if let Some(live) = live {
            row = row
                .with(AFTER, number(live.after))
                .with(TEXT, text(live.text))
                .with(TIME, number(live.time.0));
        }
        let write = Write::put(row);
        let write = write.when_absent_or(head::FENCE, "<=", number(lease.fence));
        match self.table.write("write the live text", write).await {
            Ok(()) => Ok(()),
            Err(NotWritten::Refused(_)) => Err(AppendError::LeaseLost),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable.into()),
        }
    }

    async fn live(&self, key: &SessionKey) -> Result<Option<LiveText>, Unavailable> {
        const ATTEMPTED: &str = "read the live text";
        let Some(row) = self.table.get(ATTEMPTED, &Record::Live(key).key()).await? else {
            return Ok(None);
        };
        let read = || {
            if row.expired(system::now())? {
                return Ok(None);
            }
            let Some(text) = row.text_if(TEXT)? else {
                return Ok(None);
            };
            Ok(Some(LiveText {
                after: Sequence(row.number(AFTER)?),
                fence: FencingToken(row.number(head::FENCE)?),
                text: text.to_owned(),
                time: UnixMillis(row.number(TIME)?),
            }))
        };
        read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))
    }
}

fn take_over_events(head: &Head, taken: &Head, task: &str, isolation: &str) -> Vec<NewEvent> {
    [
        EventBody::RunnerStarted {
            task: task.to_owned(),
            isolation: isolation.to_owned(),
        },
        EventBody::StateChanged {
            from: head.state,
            to: taken.state,
        },
    ]
    .map(|body| NewEvent {
        turn: head.turn,
        time: taken.updated_at,
        cause: None,
        body,
    })
    .to_vec()
}
