//! What goes in comes out: content, mode, time, links, holes.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
};

use checkpoint::{RestoreOptions, RootName, SourceRoot, TargetRoot};
use proptest::prelude::*;
use testkit::Random;

use crate::tree::{Place, assert_same, edit, text};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_tree_after_any_edits_comes_back(seed: u64) {
        run(async {
            let place = Place::new();
            let mut random = Random::new(seed);
            let mut base = None;
            for _ in 0..3 {
                for _ in 0..random.below(25) {
                    edit(&place.files(), &mut random);
                }
                let (manifest, created) = place.create(base.as_ref()).await;
                place.restore(&manifest.id).await;
                assert_same(&place.files(), &place.back());

                let before = place.objects("packs/");
                let (again, created) = place.create(Some(&created.base)).await;
                assert_eq!(place.objects("packs/"), before, "only a manifest is stored");
                assert_eq!(created.statistics.stored_bytes, 0);
                place.restore(&again.id).await;
                assert_same(&place.files(), &place.back());
                base = Some(created.base);
            }
        });
    }

    #[test]
    fn a_session_goes_on_from_what_it_restored(seed: u64) {
        run(async {
            let mut place = Place::new();
            let mut random = Random::new(seed);
            for _ in 0..30 {
                edit(&place.files(), &mut random);
            }
            let (manifest, _) = place.create(None).await;
            // Another machine: only the store is left.
            let fresh = tempfile::tempdir().expect("a directory");
            fs::create_dir(fresh.path().join("back")).expect("created");
            fs::create_dir(fresh.path().join("files")).expect("created");
            let old = std::mem::replace(&mut place.directory, fresh);
            let target = TargetRoot { name: RootName::Workspace, directory: place.files() };
            let restored = place
                .snapshots()
                .restore(&manifest, &[target], RestoreOptions::default())
                .await
                .expect("restored");
            assert_same(&old.path().join("files"), &place.files());
            for _ in 0..random.below(3) {
                edit(&place.files(), &mut random);
            }
            let (next, _) = place.create(Some(&restored.base)).await;
            place.restore(&next.id).await;
            assert_same(&place.files(), &place.back());
        });
    }
}

#[tokio::test]
async fn a_large_file_with_holes_stays_sparse() {
    use std::io::{Seek as _, SeekFrom, Write as _};
    let place = Place::new();
    let path = place.files().join("disk.img");
    let mut file = fs::File::create(&path).expect("created");
    file.set_len(8 << 30).expect("sized");
    file.seek(SeekFrom::Start(5 << 30)).expect("moved");
    file.write_all(&text(&mut Random::new(1), 3 << 20))
        .expect("written");
    drop(file);
    let (manifest, created) = place.create(None).await;
    assert!(created.statistics.new_bytes < 4 << 20, "holes are not read");
    place.restore(&manifest.id).await;
    let back = fs::metadata(place.back().join("disk.img")).expect("a stat");
    assert_eq!(back.len(), 8 << 30);
    assert!(back.blocks() * 512 < 4 << 20, "holes are not written");
    let part = |path: &std::path::Path| {
        let mut file = fs::File::open(path).expect("opened");
        let mut bytes = vec![0; 4 << 20];
        file.seek(SeekFrom::Start((5 << 30) - 1000)).expect("moved");
        std::io::Read::read_exact(&mut file, &mut bytes).expect("read");
        bytes
    };
    assert!(part(&path) == part(&place.back().join("disk.img")));
}

#[tokio::test]
async fn three_roots_are_one_checkpoint_and_come_back_apart() {
    let place = Place::new();
    let mut new = place.new_snapshot(None);
    for (name, text) in [
        (RootName::Transcript, "one\ntwo\n"),
        (RootName::Claude, "result"),
    ] {
        let directory = place.directory.path().join(name.as_str());
        fs::create_dir(&directory).expect("created");
        fs::write(directory.join("it.jsonl"), text).expect("written");
        new.roots.push(SourceRoot {
            name,
            directory,
            ignore: checkpoint::IgnoreRules::new::<&str>(&[]).0,
        });
    }
    fs::write(place.files().join("a"), "file").expect("written");
    let about = new.about.clone();
    let id = new.id.clone();
    let first = place.snapshots().create(new).await.expect("created");
    assert_eq!(place.objects("").len(), 2, "one pack, one manifest");
    let manifest = place.snapshots().manifest(&id).await.expect("read");
    assert_eq!(Some(&manifest), first.manifest.as_ref());
    assert_eq!(manifest.about, about);
    assert_eq!(manifest.roots().collect::<Vec<_>>(), RootName::ALL);
    let target = TargetRoot {
        name: RootName::Transcript,
        directory: place.back(),
    };
    place
        .snapshots()
        .restore(&manifest, &[target], RestoreOptions::default())
        .await
        .expect("restored");
    assert_same(&place.directory.path().join("transcript"), &place.back());
}

#[tokio::test]
async fn what_was_in_the_directory_is_replaced() {
    let place = Place::new();
    fs::write(place.files().join("same"), "new").expect("written");
    let (manifest, _) = place.create(None).await;
    let back = place.back();
    fs::create_dir_all(back.join("old/deep/closed")).expect("created");
    fs::write(back.join("same"), "old").expect("written");
    let outside = place.directory.path().join("outside");
    fs::write(&outside, "mine").expect("written");
    symlink(&outside, back.join("link")).expect("linked");
    symlink(place.directory.path(), back.join("directory-link")).expect("linked");
    fs::create_dir(back.join(".shannon-restore")).expect("created");
    fs::write(back.join(".shannon-restore/left"), "by a dead one").expect("written");
    place.restore(&manifest.id).await;
    assert_same(&place.files(), &back);
    assert_eq!(fs::read_to_string(&outside).expect("still there"), "mine");
}
