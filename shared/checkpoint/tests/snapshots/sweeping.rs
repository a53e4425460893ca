//! What a sweep takes and what it leaves.

use std::{collections::BTreeSet, fs};

use checkpoint::{SweepOptions, Swept};
use domain::{UnixMillis, ports::Clock as _};

use crate::tree::{Place, assert_same};

const HOUR: u64 = 3_600_000;

fn options(place: &Place) -> SweepOptions {
    SweepOptions {
        now: place.fake.now(),
        grace_milliseconds: HOUR,
        dry_run: false,
    }
}

#[tokio::test]
async fn only_what_no_live_checkpoint_needs_is_deleted() {
    let place = Place::new();
    fs::write(place.files().join("kept"), "in all of them").expect("written");
    fs::write(place.files().join("old"), "in the first").expect("written");
    let (first, created) = place.create(None).await;
    fs::remove_file(place.files().join("old")).expect("removed");
    fs::write(place.files().join("middle"), "in the second").expect("written");
    let (second, created) = place.create(Some(&created.base)).await;
    fs::remove_file(place.files().join("middle")).expect("removed");
    fs::write(place.files().join("new"), "in the third").expect("written");
    let (third, _) = place.create(Some(&created.base)).await;
    let live = BTreeSet::from([third.id.clone()]);
    let young = place
        .snapshots()
        .sweep(&live, options(&place))
        .await
        .expect("swept");
    assert_eq!((young.manifests_kept, young.manifests_deleted), (3, 0));
    assert_eq!((young.packs_kept, young.packs_deleted), (3, 0));

    place.fake.clock().advance(HOUR);
    let before = place.objects("");
    let dry = SweepOptions {
        dry_run: true,
        ..options(&place)
    };
    let dry = place.snapshots().sweep(&live, dry).await.expect("looked");
    assert_eq!(place.objects(""), before);
    assert_eq!((dry.manifests_kept, dry.manifests_deleted), (1, 2));
    // The first pack holds the file that all have.
    assert_eq!((dry.packs_kept, dry.packs_deleted), (2, 1));
    let swept = place
        .snapshots()
        .sweep(&live, options(&place))
        .await
        .expect("swept");
    assert_eq!(swept, dry);
    assert!(swept.bytes_reclaimed > 0);
    assert_eq!(place.objects("").len(), 3);
    place.restore(&third.id).await;
    assert_same(&place.files(), &place.back());
    for gone in [first, second] {
        assert!(place.snapshots().manifest(&gone.id).await.is_err());
    }
    let again = place
        .snapshots()
        .sweep(&live, options(&place))
        .await
        .expect("swept");
    assert_eq!(
        (
            again.manifests_deleted,
            again.packs_deleted,
            again.bytes_reclaimed
        ),
        (0, 0, 0)
    );
    let nothing = place
        .snapshots()
        .sweep(&BTreeSet::new(), options(&place))
        .await;
    let nothing = nothing.expect("swept");
    assert_eq!((nothing.manifests_deleted, nothing.packs_deleted), (1, 2));
    assert!(place.objects("").is_empty());
}

#[tokio::test]
async fn a_checkpoint_that_is_not_committed_yet_is_kept_while_it_is_young() {
    let place = Place::new();
    fs::write(place.files().join("a"), "base").expect("written");
    let (base, created) = place.create(None).await;
    place.fake.clock().advance(2 * HOUR);
    fs::write(place.files().join("b"), "more").expect("written");
    // Its base is no root any more (its session was rewound), and it is not committed.
    let (open, _) = place.create(Some(&created.base)).await;
    let none = BTreeSet::new();
    place
        .snapshots()
        .sweep(&none, options(&place))
        .await
        .expect("swept");
    assert!(place.snapshots().is_stored(&open).await.expect("looked"));
    place.restore(&open.id).await;
    assert_same(&place.files(), &place.back());
    assert!(place.snapshots().manifest(&base.id).await.is_err());
    place.fake.clock().advance(HOUR);
    place
        .snapshots()
        .sweep(&none, options(&place))
        .await
        .expect("swept");
    assert!(!place.snapshots().is_stored(&open).await.expect("looked"));
    assert!(place.objects("").is_empty());
}

#[tokio::test]
async fn no_pack_is_deleted_when_a_live_checkpoint_cannot_be_read() {
    let place = Place::new();
    fs::write(place.files().join("a"), "one").expect("written");
    let (live, _) = place.create(None).await;
    let (dead, _) = place.create(None).await;
    place.fake.clock().advance(2 * HOUR);
    let name = format!("manifests/{}", live.id);
    place
        .fake
        .damage_object(&place.key, &name, |bytes| bytes[20] ^= 1);
    let packs = place.objects("packs/");
    assert_eq!(packs.len(), 2);
    let gone = domain::CheckpointId::from_random([9; 17]);
    let roots = BTreeSet::from([live.id.clone(), gone.clone()]);
    let swept = place.snapshots().sweep(&roots, options(&place)).await;
    let swept = swept.expect("swept");
    assert_eq!(BTreeSet::from_iter(swept.unreadable), roots);
    assert_eq!((swept.manifests_deleted, swept.packs_deleted), (1, 0));
    assert!(place.snapshots().manifest(&dead.id).await.is_err());
    assert_eq!(place.objects("packs/"), packs);
    // Once a person has given it up, the rest goes.
    let swept = place
        .snapshots()
        .sweep(&BTreeSet::new(), options(&place))
        .await;
    assert_eq!(swept.expect("swept").packs_deleted, 2);
    assert!(place.objects("").is_empty());
}

#[tokio::test]
async fn a_clock_that_goes_backwards_deletes_nothing() {
    let place = Place::new();
    fs::write(place.files().join("a"), "one").expect("written");
    place.create(None).await;
    let past = SweepOptions {
        now: UnixMillis(0),
        ..options(&place)
    };
    let swept = place
        .snapshots()
        .sweep(&BTreeSet::new(), past)
        .await
        .expect("swept");
    let expected = Swept {
        manifests_kept: 1,
        packs_kept: 1,
        bytes_kept: swept.bytes_kept,
        ..Swept::default()
    };
    assert_eq!(swept, expected);
}
