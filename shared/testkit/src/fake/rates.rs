//! Rates and places of streams, in memory.

use domain::{
    OwnerId, UnixMillis,
    ports::{Rates, StreamPlace, Unavailable},
    rate::{CLOCKS_APART_MILLISECONDS, RateLimit, Taken},
};

use super::Fake;

impl Rates for Fake {
    async fn take_requests(
        &self,
        owner: &OwnerId,
        count: u32,
        limit: RateLimit,
        now: UnixMillis,
    ) -> Result<Taken, Unavailable> {
        self.call("take_requests", |world| {
            let full_at = world.buckets.get(owner).copied();
            let taken = limit.take(full_at, count, now);
            if let Taken::Allowed { full_at, .. } = taken {
                world.buckets.insert(owner.clone(), full_at);
            }
            Ok(taken)
        })
        .await
    }

    async fn take_place(
        &self,
        owner: &OwnerId,
        holder: &str,
        places: u32,
        until: UnixMillis,
        now: UnixMillis,
    ) -> Result<Option<StreamPlace>, Unavailable> {
        self.call("take_place", |world| {
            let free = (0..places).find(|number| {
                let held = world.places.get(&(owner.clone(), *number));
                let latest = until.plus(CLOCKS_APART_MILLISECONDS);
                held.is_none_or(|(_, until)| *until <= now || *until > latest)
            });
            Ok(free.map(|number| {
                let held = (holder.to_owned(), until);
                world.places.insert((owner.clone(), number), held);
                StreamPlace {
                    owner: owner.clone(),
                    number,
                    holder: holder.to_owned(),
                }
            }))
        })
        .await
    }

    async fn keep_place(&self, place: &StreamPlace, until: UnixMillis) -> Result<(), Unavailable> {
        self.call("keep_place", |world| {
            let key = (place.owner.clone(), place.number);
            if let Some((holder, end)) = world.places.get_mut(&key)
                && *holder == place.holder
            {
                *end = until;
            }
            Ok(())
        })
        .await
    }

    async fn free_place(&self, place: &StreamPlace) -> Result<(), Unavailable> {
        self.call("free_place", |world| {
            let key = (place.owner.clone(), place.number);
            if let Some((holder, _)) = world.places.get(&key)
                && *holder == place.holder
            {
                world.places.remove(&key);
            }
            Ok(())
        })
        .await
    }
}

impl Fake {
    /// How many places of streams an owner has taken now, looked at without a port call.
    #[must_use]
    pub fn peek_places(&self, owner: &OwnerId, now: UnixMillis) -> usize {
        let inner = self.lock();
        let places = inner.world.places.iter();
        places
            .filter(|((of, _), (_, until))| of == owner && *until > now)
            .count()
    }
}
