//! Rates and places of streams.

use domain::{
    OwnerId,
    ports::{Clock, IdSource, Rates, StreamPlace},
    rate::{RateLimit, Taken, microseconds},
};

use super::new_owner;
use crate::join_all;

const LIMIT: RateLimit = RateLimit {
    per_second: 10,
    burst: 20,
};

/// All of [`Rates`]. Its times are far ahead of the store's clock, so that no row expires meanwhile.
pub async fn rates_contract<P: Rates + Clock + IdSource>(ports: &P) {
    a_bucket_is_taken_out_and_fills_again(ports).await;
    owners_do_not_feel_each_other(ports).await;
    all_at_once_get_the_burst(ports).await;
    places(ports).await;
    a_place_is_its_holders(ports).await;
    places_at_once(ports).await;
    a_clock_that_is_set_back(ports).await;
}

fn allowed(taken: &Taken) -> bool {
    matches!(taken, Taken::Allowed { .. })
}

async fn a_bucket_is_taken_out_and_fills_again<P: Rates + Clock + IdSource>(ports: &P) {
    let owner = new_owner(ports);
    let now = ports.now();
    let take = async |count, now| {
        let taken = ports.take_requests(&owner, count, LIMIT, now).await;
        taken.expect("an answer")
    };
    for left in (0..20).rev() {
        let expected = Taken::Allowed {
            remaining: left,
            full_at: microseconds(now) + u64::from(20 - left) * 100_000,
        };
        assert_eq!(take(1, now).await, expected);
    }
    let refused = Taken::Refused {
        allowed_at: microseconds(now) + 100_000,
    };
    assert_eq!(take(1, now).await, refused);
    assert_eq!(take(1, now).await, refused, "refusing takes nothing");
    assert!(!allowed(&take(1, now.plus(99)).await));
    assert!(allowed(&take(1, now.plus(100)).await));
    assert!(!allowed(&take(1, now.plus(100)).await));
    // Five have come back: six are nothing, five are there.
    let later = now.plus(600);
    assert!(!allowed(&take(6, later).await));
    assert!(allowed(&take(5, later).await));
    assert!(!allowed(&take(1, later).await));
    // It never holds more than the burst.
    let much_later = now.plus(60_000);
    assert!(allowed(&take(20, much_later).await));
    assert!(!allowed(&take(1, much_later).await));
}

/// Nobody waits for the time of a clock that was wrong.
async fn a_clock_that_is_set_back<P: Rates + Clock + IdSource>(ports: &P) {
    let owner = new_owner(ports);
    let now = ports.now();
    let wrong = now.plus(24 * 3_600_000);
    for (count, at, expected) in [
        (20, wrong, true),
        (1, wrong, false),
        (20, now, true),
        (1, now, false),
        (1, now.plus(100), true),
    ] {
        let taken = ports.take_requests(&owner, count, LIMIT, at).await;
        assert_eq!(allowed(&taken.expect("an answer")), expected, "{count}");
    }
    let take = async |at: domain::UnixMillis| {
        let taken = ports.take_place(&owner, "a", 1, at.plus(60_000), at);
        taken.await.expect("an answer")
    };
    let dead = take(wrong).await.expect("free");
    assert_eq!(take(wrong).await, None);
    let place = take(now)
        .await
        .expect("whoever had it comes from another time");
    assert_eq!(place.number, dead.number);
    assert_eq!(take(now).await, None);
}

async fn owners_do_not_feel_each_other<P: Rates + Clock + IdSource>(ports: &P) {
    let (one, other) = (new_owner(ports), new_owner(ports));
    let now = ports.now();
    let take = async |owner: &OwnerId, count| {
        let taken = ports.take_requests(owner, count, LIMIT, now).await;
        allowed(&taken.expect("an answer"))
    };
    assert!(take(&one, 20).await);
    assert!(!take(&one, 1).await);
    assert!(take(&other, 20).await);
}

async fn all_at_once_get_the_burst<P: Rates + Clock + IdSource>(ports: &P) {
    let owner = new_owner(ports);
    let now = ports.now();
    let asked = (0..30).map(|_| ports.take_requests(&owner, 1, LIMIT, now));
    let taken = join_all(asked).await;
    let served = taken.iter().filter(|taken| {
        let taken = taken.as_ref().expect("an answer");
        allowed(taken)
    });
    assert_eq!(served.count(), 20, "{taken:?}");
}

async fn place<P: Rates + Clock>(ports: &P, owner: &OwnerId, holder: &str) -> Option<StreamPlace> {
    let now = ports.now();
    let taken = ports.take_place(owner, holder, 2, now.plus(60_000), now);
    taken.await.expect("an answer")
}

async fn places<P: Rates + Clock + IdSource>(ports: &P) {
    let (owner, other) = (new_owner(ports), new_owner(ports));
    let first = place(ports, &owner, "a").await.expect("free");
    let second = place(ports, &owner, "b").await.expect("free");
    assert_ne!(first.number, second.number);
    assert_eq!(place(ports, &owner, "c").await, None);
    assert!(place(ports, &other, "c").await.is_some(), "another owner");
    // More places than two hold more.
    let now = ports.now();
    let third = ports.take_place(&owner, "c", 3, now.plus(60_000), now);
    let third = third.await.expect("an answer").expect("free");
    ports.free_place(&third).await.expect("freed");
    ports.free_place(&first).await.expect("freed");
    ports.free_place(&first).await.expect("freed already");
    let again = place(ports, &owner, "d").await.expect("free again");
    assert_eq!(again.number, first.number);
    assert_eq!(place(ports, &owner, "e").await, None);
}

async fn a_place_is_its_holders<P: Rates + Clock + IdSource>(ports: &P) {
    let owner = new_owner(ports);
    let now = ports.now();
    let take = async |holder: &str, until, at| {
        let taken = ports.take_place(&owner, holder, 1, until, at);
        taken.await.expect("an answer")
    };
    let first = take("dead", now.plus(60_000), now).await.expect("free");
    // Who took it is gone and says nothing: its time frees it.
    assert_eq!(
        take("next", now.plus(120_000), now.plus(59_999)).await,
        None
    );
    let next = take("next", now.plus(120_000), now.plus(60_000)).await;
    let next = next.expect("the time is up");
    // The first one comes back to life: it neither keeps nor frees what is not its own.
    ports
        .keep_place(&first, now.plus(900_000))
        .await
        .expect("passed over");
    ports.free_place(&first).await.expect("passed over");
    assert_eq!(
        take("third", now.plus(200_000), now.plus(119_999)).await,
        None
    );
    ports
        .keep_place(&next, now.plus(300_000))
        .await
        .expect("kept");
    assert_eq!(
        take("third", now.plus(400_000), now.plus(299_999)).await,
        None
    );
    let third = take("third", now.plus(400_000), now.plus(300_000)).await;
    assert!(third.is_some());
}

async fn places_at_once<P: Rates + Clock + IdSource>(ports: &P) {
    let owner = new_owner(ports);
    let now = ports.now();
    let holders: Vec<String> = (0..8).map(|number| format!("holder-{number}")).collect();
    let asked = holders
        .iter()
        .map(|holder| ports.take_place(&owner, holder, 5, now.plus(60_000), now));
    let taken = join_all(asked).await;
    let mut numbers: Vec<u32> = taken
        .iter()
        .filter_map(|taken| taken.as_ref().expect("an answer").as_ref())
        .map(|place| place.number)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
}
