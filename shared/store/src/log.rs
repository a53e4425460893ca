//! The log of a session: leases, appends, reading, and the text that is not an event yet.

use domain::{
    Event, FencingToken, Head, Sequence, SessionKey, State, Transition, UnixMillis,
    event::{EventBody, NewEvent},
    ids::base32,
    ports::{AcquireError, Append, AppendError, Lease, LiveText, SessionLog, Unavailable},
    state::after,
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
            let Ok(state) = after(head.state, Transition::RunnerTookOver) else {
                return if head.state.has_runner() && head.task.as_deref() == Some(task) {
                    Ok((lease(&head), head))
                } else {
                    Err(AcquireError::NotAvailable(head.state.to_string()))
                };
            };
            let taken = take_over(&head, state, task, lease_until, now);
            let first = head.last_sequence.next();
            let events = take_over_events(&head, state, task, isolation, now);
            let writes = vec![
                update_unmoved(&head)
                    .set(head::STATE, text(taken.state.as_str()))
                    .set(head::FENCE, number(taken.fence))
                    .set(head::TASK, text(task))
                    .set(head::LEASE_UNTIL, number(lease_until.0))
                    .set(LIVE_UNTIL, number(lease_until.0))
                    .set(head::UPDATED_AT, number(now.0))
                    .set(head::LAST_SEQUENCE, number(taken.last_sequence)),
                self.batch(key, first, taken.fence, &events, now).await?,
            ];
            let content = format!("{key:?} {task} {isolation} {lease_until:?} {now:?} {head:?}");
            let token = base32(&Sha256::digest(content));
            match self.table.transact(ATTEMPTED, &token[..36], writes).await {
                Ok(()) => return Ok((lease(&taken), taken)),
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
            .when_one_of(head::STATE, head::going_on());
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

fn lease(head: &Head) -> Lease {
    Lease {
        key: head.key.clone(),
        fence: head.fence,
    }
}

fn take_over(
    head: &Head,
    state: State,
    task: &str,
    lease_until: UnixMillis,
    now: UnixMillis,
) -> Head {
    let mut taken = head.clone();
    taken.state = state;
    taken.fence = head.fence.next();
    taken.task = Some(task.to_owned());
    taken.lease_until = lease_until;
    taken.updated_at = now;
    taken.last_sequence = head.last_sequence.next().next();
    taken
}

fn take_over_events(
    head: &Head,
    state: State,
    task: &str,
    isolation: &str,
    now: UnixMillis,
) -> Vec<NewEvent> {
    [
        EventBody::RunnerStarted {
            task: task.to_owned(),
            isolation: isolation.to_owned(),
        },
        EventBody::StateChanged {
            from: head.state,
            to: state,
        },
    ]
    .map(|body| NewEvent {
        turn: head.turn,
        time: now,
        cause: None,
        body,
    })
    .to_vec()
}
