//! Rates whose store is connected to when the first of them is asked for.

use domain::ports::{Rates, StreamPlace, Unavailable};
use domain::rate::{RateLimit, Taken};
use domain::{OwnerId, UnixMillis};

/// The ports that `connect` makes; it makes them once and gives them again.
#[derive(Clone)]
pub struct Later<C>(pub C);

impl<P, C, F> Rates for Later<C>
where
    P: Rates,
    C: Fn() -> F + Send + Sync,
    F: Future<Output = P> + Send,
{
    async fn take_requests(
        &self,
        owner: &OwnerId,
        count: u32,
        limit: RateLimit,
        now: UnixMillis,
    ) -> Result<Taken, Unavailable> {
        let ports = (self.0)().await;
        ports.take_requests(owner, count, limit, now).await
    }

    async fn take_place(
        &self,
        owner: &OwnerId,
        holder: &str,
        places: u32,
        until: UnixMillis,
        now: UnixMillis,
    ) -> Result<Option<StreamPlace>, Unavailable> {
        let ports = (self.0)().await;
        ports.take_place(owner, holder, places, until, now).await
    }

    async fn keep_place(&self, place: &StreamPlace, until: UnixMillis) -> Result<(), Unavailable> {
        let ports = (self.0)().await;
        ports.keep_place(place, until).await
    }

    async fn free_place(&self, place: &StreamPlace) -> Result<(), Unavailable> {
        let ports = (self.0)().await;
        ports.free_place(place).await
    }
}
