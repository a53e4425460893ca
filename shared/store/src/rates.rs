//! Buckets of requests and places of streams: [`Rates`].
//!
//! **Why a row, and what it costs.** API Gateway throttles per API key only, and only keys that were
//! made beforehand and put into a usage plan; functions share no memory, and a count that each keeps
//! for itself lets a caller with ten connections have ten bursts. So a principal's bucket is one row,
//! one number, and taking a request is one conditional update: 1 write unit, 0.625 USD per million
//! (`infra/prices.toml`), beside 3.50 USD that API Gateway takes for the same million; in a region
//! about 4 ms. A caller who asks again before the bucket is full costs two, since the first of the
//! two conditions below fails. Refused requests cost next to nothing: who was refused is refused by
//! every instance from its memory until the time that the row said (`protocol`). It is exact: of any
//! number of callers at once no more are allowed than the bucket holds. Where the row cannot be
//! reached, the request goes on, and what it needs will say so itself.

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use domain::{
    OwnerId, UnixMillis,
    ports::{Rates, StreamPlace, Unavailable},
    rate::{CLOCKS_APART_MILLISECONDS, RateLimit, Taken, microseconds},
};

use crate::{
    Store,
    failure::{self, Kind},
    item::{Row, UnreadableRow, expiry, number, text},
    keys::{EXPIRES_AT, Record, SORT},
    table::{NotWritten, pause},
    write::Write,
};

const FULL_AT: &str = "full_at";
const HOLDER: &str = "holder";
const UNTIL: &str = "until";
/// Rows stay a while after they mean nothing, so that clocks need not agree to the second.
const SPARE_MILLISECONDS: u64 = 60_000;
/// How often a bucket is tried that others take from at the same moment.
const ATTEMPTS: u32 = 8;

/// What a conditional update of a bucket gave.
enum Tried {
    /// The bucket is full again then.
    Taken(u64),
    /// The condition did not hold; the bucket is full again then, if anybody used it.
    Met(Option<u64>),
}

impl Rates for Store {
    async fn take_requests(
        &self,
        owner: &OwnerId,
        count: u32,
        limit: RateLimit,
        now: UnixMillis,
    ) -> Result<Taken, Unavailable> {
        // Nobody else is there, for most requests.
        let mut taken = limit.take(None, count, now);
        let mut attempt = 0;
        let mut seen = None;
        loop {
            let Taken::Allowed { .. } = taken else {
                return Ok(taken);
            };
            match self.try_bucket(owner, count, limit, now, seen).await? {
                Tried::Taken(full_at) => {
                    let remaining = (microseconds(now) + limit.whole()).saturating_sub(full_at)
                        / limit.interval();
                    let remaining = u32::try_from(remaining).unwrap_or(u32::MAX);
                    return Ok(Taken::Allowed { remaining, full_at });
                }
                Tried::Met(full_at) => {
                    seen = full_at;
                    taken = limit.take(full_at, count, now);
                }
            }
            attempt += 1;
            if attempt == ATTEMPTS {
                let source = "others took from it all the while";
                return Err(failure::own("take a request", source));
            }
        }
    }

    async fn take_place(
        &self,
        owner: &OwnerId,
        holder: &str,
        places: u32,
        until: UnixMillis,
        now: UnixMillis,
    ) -> Result<Option<StreamPlace>, Unavailable> {
        const ATTEMPTED: &str = "take a place for a stream";
        for attempt in 0..ATTEMPTS {
            let latest = until.plus(CLOCKS_APART_MILLISECONDS);
            let Some(free) = self.free_number(owner, places, now, latest).await? else {
                return Ok(None);
            };
            let key = Record::StreamPlace(owner, free).key();
            let row = Row::at(&key)
                .with(HOLDER, text(holder))
                .with(UNTIL, number(until.0))
                .with(EXPIRES_AT, expiry(until.plus(SPARE_MILLISECONDS)));
            let write =
                Write::put(row).when_absent_or_outside(UNTIL, number(now.0), number(latest.0));
            match self.table.write(ATTEMPTED, write).await {
                Ok(()) => {
                    return Ok(Some(StreamPlace {
                        owner: owner.clone(),
                        number: free,
                        holder: holder.to_owned(),
                    }));
                }
                // Somebody else was quicker.
                Err(NotWritten::Refused(_)) => pause(attempt).await,
                Err(NotWritten::Unavailable(unavailable)) => return Err(unavailable),
            }
        }
        Err(failure::own(ATTEMPTED, "others took them all the while"))
    }

    async fn keep_place(&self, place: &StreamPlace, until: UnixMillis) -> Result<(), Unavailable> {
        let update = Write::update(Record::StreamPlace(&place.owner, place.number).key())
            .set(UNTIL, number(until.0))
            .set(EXPIRES_AT, expiry(until.plus(SPARE_MILLISECONDS)))
            .when(HOLDER, "=", text(place.holder.as_str()));
        self.if_held("keep the place of a stream", update).await
    }

    async fn free_place(&self, place: &StreamPlace) -> Result<(), Unavailable> {
        let delete = Write::delete(Record::StreamPlace(&place.owner, place.number).key()).when(
            HOLDER,
            "=",
            text(place.holder.as_str()),
        );
        self.if_held("free the place of a stream", delete).await
    }
}

impl Store {
    /// One conditional update. With nothing seen the bucket is taken for full; else it is known to be
    /// filling, and its number grows by what is taken, whatever it is by then.
    async fn try_bucket(
        &self,
        owner: &OwnerId,
        count: u32,
        limit: RateLimit,
        now: UnixMillis,
        seen: Option<u64>,
    ) -> Result<Tried, Unavailable> {
        const ATTEMPTED: &str = "take a request";
        let present = microseconds(now);
        let step = limit.interval() * u64::from(count);
        let gone = now.plus(limit.whole() / 1000 + SPARE_MILLISECONDS);
        let latest = limit.latest(now);
        let filling = seen.filter(|full_at| *full_at > present && *full_at <= latest);
        let update = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(Record::Bucket(owner).key().attributes()))
            .expression_attribute_names("#full", FULL_AT)
            .expression_attribute_names("#gone", EXPIRES_AT)
            .expression_attribute_values(":now", number(present))
            .expression_attribute_values(":gone", expiry(gone))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let update = if filling.is_some() {
            update
                .update_expression("SET #full = #full + :step, #gone = :gone")
                .condition_expression("#full > :now AND #full <= :most")
                .expression_attribute_values(":step", number(step))
                .expression_attribute_values(":most", number(present + limit.whole() - step))
        } else {
            update
                .update_expression("SET #full = :full, #gone = :gone")
                // Or it is of a clock that was set back since.
                .condition_expression(
                    "attribute_not_exists(#full) OR #full <= :now OR #full > :latest",
                )
                .expression_attribute_values(":full", number(present + step))
                .expression_attribute_values(":latest", number(latest))
        };
        let unreadable = |error: UnreadableRow| failure::own(ATTEMPTED, error);
        match Box::pin(update.send()).await {
            Ok(answer) => {
                let row = Row(answer.attributes.unwrap_or_default());
                row.number(FULL_AT).map(Tried::Taken).map_err(unreadable)
            }
            Err(error) => match met(&error) {
                Some(row) => row.number_if(FULL_AT).map(Tried::Met).map_err(unreadable),
                None => Err(failure::aws(ATTEMPTED, Kind::Write, error)),
            },
        }
    }

    /// The first of the owner's places that nobody has now; one that is held for longer than `latest` is of
    /// a clock that was set back since, or its holder says so itself soon.
    async fn free_number(
        &self,
        owner: &OwnerId,
        places: u32,
        now: UnixMillis,
        latest: UnixMillis,
    ) -> Result<Option<u32>, Unavailable> {
        const ATTEMPTED: &str = "look for a place for a stream";
        let first = Record::StreamPlace(owner, 0).key();
        let last = Record::StreamPlace(owner, places.saturating_sub(1)).key();
        let limit = usize::try_from(places).unwrap_or(usize::MAX);
        let read = self
            .table
            .range(ATTEMPTED, &first.partition, &first.sort, &last.sort, limit);
        let (rows, _) = read.await?;
        let mut held = Vec::new();
        for row in &rows {
            let read = || Ok((row.number(UNTIL)?, row.text(SORT)?));
            let (until, sort) =
                read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))?;
            if until > now.0 && until <= latest.0 {
                held.extend(place_number(sort));
            }
        }
        Ok((0..places).find(|number| !held.contains(number)))
    }

    async fn if_held(&self, attempted: &'static str, write: Write) -> Result<(), Unavailable> {
        match self.table.write(attempted, write).await {
            Ok(()) | Err(NotWritten::Refused(_)) => Ok(()),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable),
        }
    }
}

/// The number of a place is the last part of its key.
fn place_number(sort: &str) -> Option<u32> {
    sort.rsplit_once('#')?.1.parse().ok()
}

/// The row that a condition met, empty where there is none; `None` when something else failed.
fn met<R>(error: &SdkError<UpdateItemError, R>) -> Option<Row> {
    match error.as_service_error()? {
        UpdateItemError::ConditionalCheckFailedException(failed) => {
            let item: Option<&std::collections::HashMap<String, AttributeValue>> = failed.item();
            Some(Row(item.cloned().unwrap_or_default()))
        }
        _ => None,
    }
}
