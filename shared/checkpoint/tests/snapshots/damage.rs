//! Stored bytes that changed are noticed, named, and never written.

use std::fs;

use checkpoint::{DiffOptions, ReadError, ReadFileError, RelativePath, RestoreError, RootName};
use domain::{CheckpointId, FencingToken, Sequence, UnixMillis};
use testkit::Random;

use crate::tree::{Place, look, text};

#[tokio::test]
async fn a_flipped_bit_is_noticed_before_anything_changes_or_changes_nothing() {
    let place = Place::new();
    let mut random = Random::new(2);
    for number in 0..40 {
        let path = place.files().join(format!("d{}/f{number}", number % 3));
        fs::create_dir_all(path.parent().expect("inside")).expect("created");
        fs::write(path, text(&mut random, 900)).expect("written");
    }
    let (manifest, _) = place.create(None).await;
    fs::write(place.back().join("old"), "content").expect("written");
    let whole = look(&place.files());
    let mut before = look(&place.back());
    for name in place.objects("") {
        let mut length = 0;
        place
            .fake
            .damage_object(&place.key, &name, |bytes| length = bytes.len());
        for _ in 0..60 {
            let bit = random.below(length as u64 * 8) as usize;
            let flip = |bytes: &mut Vec<u8>| bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(place.fake.damage_object(&place.key, &name, flip));
            match place.try_restore(&manifest.id).await {
                Err(RestoreError::Damaged(damage)) => {
                    assert_eq!(damage.object, name);
                    assert!(look(&place.back()) == before, "nothing half visible");
                }
                // The first bytes of a pack say whose it is, which nothing reads; and a compressed frame
                // has bits that mean nothing. Then all that was stored is there.
                Ok(_) if name.starts_with("packs/") => {
                    assert!(look(&place.back()) == whole, "bit {bit} of {name}");
                    fs::remove_dir_all(place.back()).expect("removed");
                    fs::create_dir(place.back()).expect("created");
                    fs::write(place.back().join("old"), "content").expect("written");
                    before = look(&place.back());
                }
                other => panic!("bit {bit} of {name}: {other:?}"),
            }
            place.fake.damage_object(&place.key, &name, flip);
        }
    }
}

#[tokio::test]
async fn a_lost_pack_names_a_file_and_the_newest_whole_checkpoint_is_found() {
    let place = Place::new();
    fs::write(place.files().join("first"), "one").expect("written");
    let (old, created) = place.create(None).await;
    let packs = place.objects("packs/");
    fs::write(place.files().join("second"), "two").expect("written");
    let (new, _) = place.create(Some(&created.base)).await;
    let added = place.objects("packs/");
    let added = added
        .iter()
        .find(|name| !packs.contains(name))
        .expect("a pack");
    // The content of the new file goes, the part of the manifest in the same pack stays.
    let range = 38..40;
    place
        .fake
        .damage_object(&place.key, added, |bytes| bytes[range].fill(0xee));
    let found = place.snapshots().verify(&new).await.expect("looked");
    assert_eq!(found.damage.len(), 1);
    assert_eq!(found.damage[0].file.as_deref(), Some("workspace/second"));
    assert_eq!(&found.damage[0].object, added);
    match place.try_restore(&new.id).await {
        Err(RestoreError::Damaged(damage)) => {
            assert_eq!(damage.file.as_deref(), Some("workspace/second"));
            assert!(damage.to_string().contains("workspace/second"));
        }
        other => panic!("{other:?}"),
    }
    let path = RelativePath::parse(b"second").expect("a path");
    let read = place.snapshots();
    let read = read
        .read_file(&new, RootName::Workspace, &path, 0, 10)
        .await;
    assert!(matches!(read, Err(ReadFileError::Damaged(_))), "{read:?}");
    let options = DiffOptions::default();
    let diff = place.snapshots();
    let diff = diff.diff(&old, &new, RootName::Workspace, &options).await;
    assert!(matches!(diff, Err(ReadError::Damaged(_))), "{diff:?}");
    let gone = CheckpointId::from_random([9; 17]);
    let record = |files: &CheckpointId, conversation: &CheckpointId| {
        let mut new = testkit::checkpoint(&place.fake, 1, None);
        (new.files, new.conversation) = (files.clone(), conversation.clone());
        new.record(FencingToken(1), Sequence(1), UnixMillis(1))
    };
    // Damaged in both, in one of them, gone, and whole.
    let candidates = [
        record(&new.id, &new.id),
        record(&old.id, &new.id),
        record(&gone, &gone),
        record(&old.id, &old.id),
    ];
    let snapshots = place.snapshots();
    let whole = snapshots.newest_whole(&candidates).await.expect("looked");
    assert_eq!(whole, Some(&candidates[3]));
    let whole = snapshots.newest_whole(&candidates[..3]).await;
    assert_eq!(whole.expect("looked"), None);
}

#[tokio::test]
async fn a_manifest_of_another_version_or_checkpoint_is_refused() {
    let place = Place::new();
    let (manifest, _) = place.create(None).await;
    let name = format!("manifests/{}", manifest.id);
    let mut bytes = Vec::new();
    place
        .fake
        .damage_object(&place.key, &name, |it| bytes.clone_from(it));
    let (other, _) = place.create(None).await;
    let other_name = format!("manifests/{}", other.id);
    place
        .fake
        .damage_object(&place.key, &other_name, |it| it.clone_from(&bytes));
    let read = place.snapshots().manifest(&other.id).await;
    let Err(ReadError::Damaged(damage)) = read else {
        panic!("{read:?}");
    };
    assert_eq!(damage.what, "it is the manifest of another checkpoint");
    for cut in [0, 5, 31, 32, 40, bytes.len() - 1] {
        place
            .fake
            .damage_object(&place.key, &name, |it| it.truncate(cut));
        let read = place.snapshots().manifest(&manifest.id).await;
        assert!(
            matches!(read, Err(ReadError::Damaged(_))),
            "{cut}: {read:?}"
        );
        place
            .fake
            .damage_object(&place.key, &name, |it| it.clone_from(&bytes));
    }
}
