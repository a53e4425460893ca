//! What one principal may ask at a time.

use crate::{
    OwnerId, UnixMillis,
    rate::{RateLimit, Taken},
};

use super::Unavailable;

/// A place for a stream, until its time is up or it is given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPlace {
    /// Whose.
    pub owner: OwnerId,
    /// Which of the owner's places, from 0.
    pub number: u32,
    /// The name of who has it.
    pub holder: String,
}

/// Rates of principals and their open streams. Each is the owner's own: what one takes, no other
/// lacks.
pub trait Rates: Send + Sync {
    /// Takes `count` requests at once out of the owner's bucket, or nothing. Of several who ask at
    /// once, together no more are allowed than the bucket holds. Repeating it takes as many again.
    fn take_requests(
        &self,
        owner: &OwnerId,
        count: u32,
        limit: RateLimit,
        now: UnixMillis,
    ) -> impl Future<Output = Result<Taken, Unavailable>> + Send;

    /// Takes a free place of the owner's first `places` until `until`; `None` when none is free. A
    /// place whose time is up is free. Repeating it with the same holder takes another place.
    fn take_place(
        &self,
        owner: &OwnerId,
        holder: &str,
        places: u32,
        until: UnixMillis,
        now: UnixMillis,
    ) -> impl Future<Output = Result<Option<StreamPlace>, Unavailable>> + Send;

    /// Keeps a place for longer. One that somebody else has by now stays theirs.
    fn keep_place(
        &self,
        place: &StreamPlace,
        until: UnixMillis,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Gives a place back. One that somebody else has by now stays theirs.
    fn free_place(
        &self,
        place: &StreamPlace,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}
