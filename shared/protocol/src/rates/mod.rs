//! How often one principal may ask, and how many streams they may have open: above, 429 with
//! `Retry-After` and `X-RateLimit-*`, as a JSON-RPC error. Nobody else is slower for it.
//!
//! What counts is in the store, one row for each owner, so it holds for all instances together. Two
//! things an instance may remember without being wrong: that an owner is refused until a time (their
//! bucket only empties), and requests that it took in advance. The latter is done where a bucket
//! holds 40 or more: a twentieth of it at once, good for a second. With the default of 20 every
//! request asks the row.
//!
//! A place for a stream is taken before the work of a request that will stream (a wait, a
//! subscription, the standing streams of the initialize era), because only then it can be refused
//! without losing anything. An answer that becomes a stream for another reason is never refused; it
//! has a place all the same, so that the next one may be. A place is kept while its stream is
//! written, and given back at its end; when the function dies, it is free a minute later.
//!
//! Not counted: `server/discover` and the public pages, which read nothing. The throttle of the
//! stage holds for them.

mod held;
mod later;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::ports::{Clock, IdSource, Rates};
use domain::rate::{RateLimit, Taken, microseconds};
use domain::{OwnerId, UnixMillis, ids::base32};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::answer::{Body, error_message, json_response};

pub use held::{Held, Place};
pub(crate) use held::{holding, is_stream};
pub use later::Later;

/// JSON-RPC: asked too often; the data say when to ask again. Own, from the range for servers.
const TOO_OFTEN: i64 = -32010;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// A bucket of that many times more is taken from in advance.
const IN_ADVANCE: u32 = 20;
/// How long what was taken in advance is good for.
const ADVANCE_MILLISECONDS: u64 = 1000;
/// Owners that an instance remembers something of.
const REMEMBERED: usize = 1000;
/// How long a place is taken for; it is kept again after a third of that.
pub(crate) const PLACE_MILLISECONDS: u64 = 60_000;
/// When a stream is worth trying again: nobody can know when another one ends.
const PLACE_RETRY_SECONDS: u64 = 5;
/// More places than anybody has streams.
const ANY_PLACE: u32 = 1_000_000;

/// What one principal may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateSettings {
    /// Requests.
    pub requests: RateLimit,
    /// Streams that are open at a time.
    pub open_streams: u32,
}

impl RateSettings {
    /// Reads them with the given way to read a number.
    ///
    /// # Errors
    /// The first error of it.
    pub fn read<E>(number: impl Fn(&str) -> Result<u32, E>) -> Result<Self, E> {
        Ok(Self {
            requests: RateLimit {
                per_second: number("SHANNON_RATE_LIMIT_PER_SECOND")?,
                burst: number("SHANNON_RATE_LIMIT_BURST")?,
            },
            open_streams: number("SHANNON_MAX_OPEN_STREAMS")?,
        })
    }
}

/// Where a principal stands; headers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    limit: u32,
    remaining: u32,
    /// Until all of it is there again.
    reset_seconds: u64,
}

impl Standing {
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(self.reset_seconds));
    }
}

/// Why a request is not served now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooOften {
    what: &'static str,
    standing: Standing,
    retry_seconds: u64,
}

impl TooOften {
    pub(crate) fn response(self, id: &Value) -> Response<Body> {
        let Self {
            what,
            standing,
            retry_seconds,
        } = self;
        let limit = standing.limit;
        let words = match what {
            STREAMS => format!(
                "you have {limit} streams open, as many as you may; end one, or try again in \
                 {retry_seconds} s"
            ),
            _ => format!(
                "you ask too often: at most {limit} requests at once; try again in {retry_seconds} s"
            ),
        };
        let mut message = error_message(id, TOO_OFTEN, &words);
        message["error"]["data"] = json!({"limit": what, "retry_after_seconds": retry_seconds});
        let mut response = json_response(StatusCode::TOO_MANY_REQUESTS, &message);
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from(retry_seconds));
        standing.tell(headers);
        response
    }
}

const REQUESTS: &str = "requests";
const STREAMS: &str = "streams";

/// Who counts.
pub trait Limiter: Clone + Send + Sync + 'static {
    /// A place that a stream has.
    type Held: Held;

    /// One more request of the owner; where they stand then, if that is known.
    fn request(
        &self,
        owner: &OwnerId,
    ) -> impl Future<Output = Result<Option<Standing>, TooOften>> + Send;

    /// A place for a stream that begins; `None` where nobody counts.
    fn stream(
        &self,
        owner: &OwnerId,
    ) -> impl Future<Output = Result<Option<Self::Held>, TooOften>> + Send;

    /// A place for a stream that has begun already, also above the limit.
    fn begun_stream(&self, owner: &OwnerId) -> impl Future<Output = Option<Self::Held>> + Send;
}

/// Nobody counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlimited;

impl Limiter for Unlimited {
    type Held = std::convert::Infallible;

    async fn request(&self, _owner: &OwnerId) -> Result<Option<Standing>, TooOften> {
        Ok(None)
    }
    async fn stream(&self, _owner: &OwnerId) -> Result<Option<Self::Held>, TooOften> {
        Ok(None)
    }
    async fn begun_stream(&self, _owner: &OwnerId) -> Option<Self::Held> {
        None
    }
}

/// Counts in the store. Where that cannot be reached, the log says so and the request goes on.
pub struct Limited<P, C> {
    rates: P,
    clock: C,
    settings: RateSettings,
    remembered: Arc<Mutex<HashMap<OwnerId, Remembered>>>,
}

impl<P: Clone, C: Clone> Clone for Limited<P, C> {
    fn clone(&self) -> Self {
        Self {
            rates: self.rates.clone(),
            clock: self.clock.clone(),
            settings: self.settings,
            remembered: Arc::clone(&self.remembered),
        }
    }
}

/// What an instance knows of an owner.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    /// Requests that were taken in advance, and until when they are good.
    advance: u32,
    advance_until: UnixMillis,
    /// Refused until then, in microseconds.
    refused_until: u64,
    /// When the bucket was to be full again, in microseconds.
    full_at: u64,
}

impl<P, C> Limited<P, C> {
    /// Counts with these ports.
    pub fn new(rates: P, clock: C, settings: RateSettings) -> Self {
        Self {
            rates,
            clock,
            settings,
            remembered: Arc::default(),
        }
    }
}

impl<P, C> Limited<P, C>
where
    P: Rates + Clone + 'static,
    C: Clock + IdSource + Clone + 'static,
{
    /// What memory alone says.
    fn known(&self, owner: &OwnerId, now: UnixMillis) -> Option<Result<Standing, TooOften>> {
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = remembered.get_mut(owner)?;
        // What is refused for longer than that was refused on a clock that was set back since.
        let refused = microseconds(now) + 1..=self.settings.requests.latest(now);
        if refused.contains(&known.refused_until) {
            return Some(Err(self.too_often(known.refused_until, now)));
        }
        if known.advance > 0 && known.advance_until > now {
            known.advance -= 1;
            return Some(Ok(self.standing(known.advance, known.full_at, now)));
        }
        None
    }

    fn remember(&self, owner: &OwnerId, known: Remembered) {
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            // Forgetting costs a question, and is never wrong.
            remembered.clear();
        }
        remembered.insert(owner.clone(), known);
    }

    fn standing(&self, remaining: u32, full_at: u64, now: UnixMillis) -> Standing {
        Standing {
            limit: self.settings.requests.burst,
            remaining,
            reset_seconds: seconds_until(full_at, now),
        }
    }

    fn too_often(&self, allowed_at: u64, now: UnixMillis) -> TooOften {
        let limit = self.settings.requests;
        let full_at = allowed_at + limit.whole() - limit.interval();
        TooOften {
            what: REQUESTS,
            standing: self.standing(0, full_at, now),
            retry_seconds: seconds_until(allowed_at, now).max(1),
        }
    }

    async fn place(&self, owner: &OwnerId, places: u32) -> Result<Option<Place<P, C>>, ()> {
        let now = self.clock.now();
        let holder = base32(&self.clock.random());
        let until = now.plus(PLACE_MILLISECONDS);
        match self
            .rates
            .take_place(owner, &holder, places, until, now)
            .await
        {
            Ok(Some(place)) => Ok(Some(Place::new(
                self.rates.clone(),
                self.clock.clone(),
                place,
            ))),
            Ok(None) => Err(()),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a stream was not counted"
                );
                Ok(None)
            }
        }
    }
}

impl<P, C> Limiter for Limited<P, C>
where
    P: Rates + Clone + 'static,
    C: Clock + IdSource + Clone + 'static,
{
    type Held = Place<P, C>;

    async fn request(&self, owner: &OwnerId) -> Result<Option<Standing>, TooOften> {
        let now = self.clock.now();
        if let Some(known) = self.known(owner, now) {
            return known.map(Some);
        }
        let limit = self.settings.requests;
        // What is not used in time is lost: no more than a part of what comes back meanwhile.
        let count = (limit.burst.min(limit.per_second) / IN_ADVANCE).max(1);
        let mut taken = self.rates.take_requests(owner, count, limit, now).await;
        let mut advance = count - 1;
        if advance > 0 && matches!(taken, Ok(Taken::Refused { .. })) {
            advance = 0;
            taken = self.rates.take_requests(owner, 1, limit, now).await;
        }
        match taken {
            Ok(Taken::Allowed { remaining, full_at }) => {
                if advance > 0 {
                    let known = Remembered {
                        advance,
                        advance_until: now.plus(ADVANCE_MILLISECONDS),
                        refused_until: 0,
                        full_at,
                    };
                    self.remember(owner, known);
                }
                let remaining = remaining.saturating_add(advance);
                Ok(Some(self.standing(remaining, full_at, now)))
            }
            Ok(Taken::Refused { allowed_at }) => {
                let known = Remembered {
                    advance: 0,
                    advance_until: now,
                    refused_until: allowed_at,
                    full_at: 0,
                };
                self.remember(owner, known);
                Err(self.too_often(allowed_at, now))
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a request was not counted"
                );
                Ok(None)
            }
        }
    }

    async fn stream(&self, owner: &OwnerId) -> Result<Option<Self::Held>, TooOften> {
        let places = self.settings.open_streams;
        self.place(owner, places).await.map_err(|()| TooOften {
            what: STREAMS,
            standing: Standing {
                limit: places,
                remaining: 0,
                reset_seconds: PLACE_RETRY_SECONDS,
            },
            retry_seconds: PLACE_RETRY_SECONDS,
        })
    }

    async fn begun_stream(&self, owner: &OwnerId) -> Option<Self::Held> {
        self.place(owner, ANY_PLACE).await.ok().flatten()
    }
}

fn seconds_until(time: u64, now: UnixMillis) -> u64 {
    time.saturating_sub(microseconds(now)).div_ceil(1_000_000)
}
