//! Every call to the store fails once, before and after its effect; and everything is cut off at
//! every wait. Afterwards the store holds only whole checkpoints, and nothing live is gone.

use std::{
    collections::BTreeSet,
    fs,
    pin::pin,
    task::{Context, Poll, Waker},
};

use checkpoint::{Base, CreateError, DiffOptions, RelativePath, RootName, SweepOptions};
use domain::{CheckpointId, UnixMillis, ports::IdSource as _};
use testkit::{FaultTime, Random};

use crate::tree::{Place, assert_same, edit, look, text};

const TIMES: [FaultTime; 2] = [FaultTime::Before, FaultTime::After];

/// A tree that takes several packs.
fn fill(place: &Place) {
    let mut random = Random::new(11);
    for number in 0..6 {
        // Not compressible, so that packs fill up.
        let bytes: Vec<u8> = (0..1_600_000 / 8)
            .flat_map(|_| random.next().to_le_bytes())
            .collect();
        fs::write(place.files().join(format!("large{number}")), bytes).expect("written");
    }
    fs::write(place.files().join("small"), text(&mut random, 500)).expect("written");
}

/// Every manifest that is stored can be restored.
async fn all_are_whole(place: &Place) {
    for name in place.objects("manifests/") {
        let id = name.trim_start_matches("manifests/");
        let id = CheckpointId::parse(id).expect("an id");
        let manifest = place.snapshots().manifest(&id).await.expect("read");
        let found = place.snapshots().verify(&manifest).await.expect("verified");
        assert!(found.is_whole(), "{found:?}");
    }
}

#[tokio::test]
async fn a_checkpoint_fails_at_every_call_and_is_made_again() {
    for time in TIMES {
        let mut failed = 0;
        for call in 1.. {
            let place = Place::new();
            fill(&place);
            place.fake.fail_call(call, time);
            let new = place.new_snapshot(None);
            let id = new.id.clone();
            let result = place.snapshots().create(new.clone()).await;
            if !place.fake.no_more_faults() {
                assert!(
                    matches!(result, Err(CreateError::Unavailable(_))),
                    "{result:?}"
                );
                failed += 1;
            }
            all_are_whole(&place).await;
            let again = place.snapshots().create(new).await.expect("made");
            assert_eq!(again.manifest.map(|it| it.id), Some(id.clone()));
            place.restore(&id).await;
            assert_same(&place.files(), &place.back());
            assert_eq!(place.objects("manifests/").len(), 1);
            if result.is_ok() {
                break;
            }
        }
        assert!(failed >= 3, "only {failed} calls were made");
    }
}

#[tokio::test]
async fn a_restore_fails_at_every_call_and_leaves_the_old_content() {
    let place = Place::new();
    fill(&place);
    let (manifest, _) = place.create(None).await;
    for time in TIMES {
        for call in 1.. {
            fs::remove_dir_all(place.back()).expect("removed");
            fs::create_dir(place.back()).expect("created");
            fs::write(place.back().join("old"), "content").expect("written");
            let before = look(&place.back());
            place.fake.fail_call(call, time);
            let result = place.try_restore(&manifest.id).await;
            place.fake.no_more_faults();
            if result.is_ok() {
                assert!(call > 3, "only {call} calls were made");
                break;
            }
            assert!(look(&place.back()) == before, "nothing half visible");
            place.restore(&manifest.id).await;
            assert_same(&place.files(), &place.back());
        }
    }
}

#[tokio::test]
async fn reading_fails_at_every_call_and_changes_nothing() {
    let place = Place::new();
    let mut random = Random::new(8);
    for _ in 0..10 {
        edit(&place.files(), &mut random);
    }
    fs::write(place.files().join("file"), "one").expect("written");
    let (old, created) = place.create(None).await;
    fs::write(place.files().join("file"), "two").expect("written");
    let (new, _) = place.create(Some(&created.base)).await;
    let before = place.objects("");
    let root = RootName::Workspace;
    let path = RelativePath::parse(b"file").expect("a path");
    let options = DiffOptions::default();
    for call in 1.. {
        let snapshots = place.snapshots();
        let mut failed = 0;
        for kind in 0..4 {
            place.fake.fail_call(call, FaultTime::After);
            let result = match kind {
                0 => snapshots.verify(&new).await.map(drop).map_err(drop),
                1 => snapshots
                    .diff(&old, &new, root, &options)
                    .await
                    .map(drop)
                    .map_err(drop),
                2 => snapshots
                    .export(&new, root, Vec::new())
                    .await
                    .map(drop)
                    .map_err(drop),
                _ => snapshots
                    .read_file(&new, root, &path, 0, 9)
                    .await
                    .map(drop)
                    .map_err(drop),
            };
            let not_struck = place.fake.no_more_faults();
            assert_eq!(result.is_ok(), not_struck, "{kind} at call {call}");
            failed += usize::from(result.is_err());
        }
        if failed == 0 {
            assert!(call > 2, "only {call} calls were made");
            break;
        }
    }
    assert_eq!(place.objects(""), before);
}

#[tokio::test]
async fn a_sweep_fails_at_every_call_and_takes_nothing_that_is_needed() {
    let mut random = Random::new(5);
    for time in TIMES {
        for call in 1.. {
            let place = Place::new();
            let (live, dead) = history(&place, &mut random).await;
            let options = SweepOptions {
                now: UnixMillis(u64::MAX / 2),
                grace_milliseconds: 1_000,
                dry_run: false,
            };
            let keep = BTreeSet::from([live.clone()]);
            place.fake.fail_call(call, time);
            let result = place.snapshots().sweep(&keep, options).await;
            place.fake.no_more_faults();
            all_are_whole(&place).await;
            place
                .snapshots()
                .sweep(&keep, options)
                .await
                .expect("swept");
            all_are_whole(&place).await;
            assert_eq!(place.objects("manifests/"), [format!("manifests/{live}")]);
            assert!(place.snapshots().manifest(&dead).await.is_err());
            place.restore(&live).await;
            assert_same(&place.files(), &place.back());
            if result.is_ok() {
                assert!(call > 5, "only {call} calls were made");
                break;
            }
        }
    }
}

/// Some checkpoints: the last, and one that is not needed.
async fn history(place: &Place, random: &mut Random) -> (CheckpointId, CheckpointId) {
    let mut base: Option<Base> = None;
    let mut ids = Vec::new();
    for _ in 0..3 {
        fs::write(place.files().join("always"), text(random, 9_000)).expect("written");
        for _ in 0..5 {
            edit(&place.files(), random);
        }
        let (manifest, created) = place.create(base.as_ref()).await;
        base = Some(created.base);
        ids.push(manifest.id);
    }
    (ids[2].clone(), ids[0].clone())
}

#[tokio::test]
async fn a_checkpoint_that_is_cut_off_anywhere_leaves_only_whole_ones() {
    let place = Place::new();
    fill(&place);
    for polls in 1..40 {
        let id = CheckpointId::from_random(place.fake.random());
        let mut new = place.new_snapshot(None);
        new.id = id.clone();
        let snapshots = place.snapshots();
        let done = {
            let mut future = pin!(snapshots.create(new.clone()));
            let mut context = Context::from_waker(Waker::noop());
            (0..polls).any(|_| {
                // Lets the threads go on a little; how far does not matter.
                std::thread::yield_now();
                matches!(future.as_mut().poll(&mut context), Poll::Ready(_))
            })
        };
        if done {
            break;
        }
        all_are_whole(&place).await;
    }
    let (manifest, _) = place.create(None).await;
    place.restore(&manifest.id).await;
    assert_same(&place.files(), &place.back());
}

#[tokio::test]
async fn a_restore_that_is_cut_off_anywhere_leaves_the_old_content() {
    let place = Place::new();
    fill(&place);
    let (manifest, _) = place.create(None).await;
    fs::write(place.back().join("old"), "content").expect("written");
    let before = look(&place.back());
    for polls in 1..60 {
        let done = {
            let mut future = pin!(place.try_restore(&manifest.id));
            let mut context = Context::from_waker(Waker::noop());
            (0..polls).any(|_| {
                std::thread::yield_now();
                matches!(future.as_mut().poll(&mut context), Poll::Ready(_))
            })
        };
        if done {
            break;
        }
        let now = look(&place.back());
        // All was there already, and it was cut off while it only waited for that to be said.
        if now != before {
            assert_same(&place.files(), &place.back());
            break;
        }
    }
    place.restore(&manifest.id).await;
    assert_same(&place.files(), &place.back());
}

#[tokio::test]
async fn an_id_is_good_for_one_checkpoint() {
    let place = Place::new();
    fs::write(place.files().join("a"), "one").expect("written");
    let new = place.new_snapshot(None);
    place.snapshots().create(new.clone()).await.expect("made");
    let again = place
        .snapshots()
        .create(new.clone())
        .await
        .expect("the same again");
    assert!(again.manifest.is_some());
    fs::write(place.files().join("a"), "two").expect("written");
    let other = place.snapshots().create(new.clone()).await;
    assert!(matches!(other, Err(CreateError::IdTaken(id)) if id == new.id));
}
