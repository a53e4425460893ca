//! The cost of a checkpoint grows with what changed.

use std::{fs, io::Write as _, path::Path};

use checkpoint::{IgnoreRules, RootName};
use testkit::Random;

use crate::tree::{Place, assert_same, text};

/// Lets the clock of the file system move on from what was just written, so that it is settled.
fn settle(directory: &Path) {
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let probe = directory.join("probe");
    let start = std::time::Instant::now();
    while start.elapsed() < std::time::Duration::from_millis(60) {
        fs::write(&probe, "x").expect("written");
    }
    fs::File::open(&probe)
        .and_then(|file| file.set_modified(long_ago))
        .expect("touched");
    fs::remove_file(&probe).expect("removed");
}

fn many_files(place: &Place, count: usize) {
    let mut random = Random::new(7);
    for number in 0..count {
        let directory = place.files().join(format!("d{}", number / 50));
        fs::create_dir_all(&directory).expect("created");
        let length = 200 + random.below(3_000) as usize;
        fs::write(
            directory.join(format!("f{number}")),
            text(&mut random, length),
        )
        .expect("written");
    }
}

#[tokio::test]
async fn an_unchanged_file_is_not_read_again() {
    let place = Place::new();
    many_files(&place, 1_000);
    settle(place.directory.path());
    let (_, first) = place.create(None).await;
    assert_eq!(first.statistics.files_read, 1_000);
    let (_, second) = place.create(Some(&first.base)).await;
    assert_eq!(second.statistics.files_read, 0);
    fs::write(place.files().join("d3/f150"), "another line").expect("written");
    let (manifest, third) = place.create(Some(&second.base)).await;
    assert_eq!(third.statistics.files_read, 1);
    assert_eq!(third.statistics.new_bytes, 12);
    assert_eq!(third.statistics.packs, 1);
    let all = first.statistics.stored_bytes;
    assert!(
        third.statistics.stored_bytes * 10 < all,
        "{} after {all}",
        third.statistics.stored_bytes
    );
    place.restore(&manifest.id).await;
    assert_same(&place.files(), &place.back());
}

#[tokio::test]
async fn a_file_that_was_just_written_is_read_again() {
    let place = Place::new();
    let path = place.files().join("a");
    fs::write(&path, "one").expect("written");
    let (_, first) = place.create(None).await;
    // The same size within the same tick of the clock, and its time set back on top of it.
    let before = fs::metadata(&path)
        .and_then(|it| it.modified())
        .expect("a time");
    fs::write(&path, "two").expect("written");
    fs::File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_modified(before))
        .expect("set back");
    let (manifest, _) = place.create(Some(&first.base)).await;
    place.restore(&manifest.id).await;
    assert_eq!(
        fs::read_to_string(place.back().join("a")).expect("read"),
        "two"
    );
}

#[tokio::test]
async fn a_time_that_is_set_back_hides_nothing() {
    let place = Place::new();
    let path = place.files().join("a");
    fs::write(&path, "one").expect("written");
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    let set_back = |path: &Path| {
        fs::File::options()
            .write(true)
            .open(path)
            .and_then(|file| file.set_modified(long_ago))
            .expect("set back");
    };
    set_back(&path);
    settle(place.directory.path());
    let (_, first) = place.create(None).await;
    fs::write(&path, "two").expect("written");
    set_back(&path);
    let (manifest, _) = place.create(Some(&first.base)).await;
    place.restore(&manifest.id).await;
    assert_eq!(
        fs::read_to_string(place.back().join("a")).expect("read"),
        "two"
    );
}

#[tokio::test]
async fn times_in_the_future_and_before_1970_are_kept() {
    let place = Place::new();
    for (name, seconds) in [("future", 4_000_000_000_i64), ("past", -86_400)] {
        let path = place.files().join(name);
        fs::write(&path, name).expect("written");
        let offset = std::time::Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 {
            std::time::UNIX_EPOCH - offset
        } else {
            std::time::UNIX_EPOCH + offset
        };
        fs::File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(time))
            .expect("set");
    }
    let (_, first) = place.create(None).await;
    let (manifest, _) = place.create(Some(&first.base)).await;
    place.restore(&manifest.id).await;
    assert_same(&place.files(), &place.back());
}

#[tokio::test]
async fn a_file_that_grows_costs_its_tail() {
    let place = Place::new();
    let path = place.files().join("transcript.jsonl");
    let mut random = Random::new(3);
    fs::write(&path, text(&mut random, 6 << 20)).expect("written");
    let (_, first) = place.create(None).await;
    let mut file = fs::File::options()
        .append(true)
        .open(&path)
        .expect("opened");
    file.write_all(&text(&mut random, 2_000)).expect("written");
    drop(file);
    let (manifest, second) = place.create(Some(&first.base)).await;
    assert!(
        second.statistics.new_bytes <= 258 << 10,
        "{:?}",
        second.statistics
    );
    place.restore(&manifest.id).await;
    assert_same(&place.files(), &place.back());
}

#[tokio::test]
async fn a_moved_tree_is_not_stored_again() {
    let place = Place::new();
    many_files(&place, 300);
    let (_, first) = place.create(None).await;
    fs::create_dir(place.files().join("new")).expect("created");
    fs::rename(place.files().join("d2"), place.files().join("new/place")).expect("moved");
    let (manifest, second) = place.create(Some(&first.base)).await;
    assert_eq!(second.statistics.new_bytes, 0);
    place.restore(&manifest.id).await;
    assert_same(&place.files(), &place.back());
}

#[tokio::test]
async fn nothing_is_stored_for_nothing() {
    let place = Place::new();
    many_files(&place, 20);
    let (_, first) = place.create(None).await;
    let before = place.objects("");
    let mut new = place.new_snapshot(Some(&first.base));
    new.unless_unchanged = true;
    let same = place.snapshots().create(new).await.expect("looked");
    assert_eq!(same.manifest, None);
    assert_eq!(place.objects(""), before);
    fs::create_dir(place.files().join("empty")).expect("created");
    let mut new = place.new_snapshot(Some(&same.base));
    new.unless_unchanged = true;
    let changed = place.snapshots().create(new).await.expect("created");
    assert!(changed.manifest.is_some());
}

#[tokio::test]
async fn ignored_files_are_left_out_by_the_nearest_rule() {
    let place = Place::new();
    let files = place.files();
    for path in [
        "target/debug/app",
        "web/node_modules/left-pad/index.js",
        "web/dist/app.js",
        "web/keep.log",
        "src/target",
        "a.log",
        "sub/target/kept",
    ] {
        let path = files.join(path);
        fs::create_dir_all(path.parent().expect("inside")).expect("created");
        fs::write(path, "x").expect("written");
    }
    fs::write(files.join(".shannonignore"), "*.log\n/web/dist/\n{a\n").expect("written");
    fs::write(files.join("web/.shannonignore"), "!keep.log\n").expect("written");
    fs::write(files.join("sub/.shannonignore"), "!target/\n").expect("written");
    let (manifest, created) = place.create(None).await;
    assert_eq!(created.statistics.ignored, 4);
    place.restore(&manifest.id).await;
    let kept: Vec<String> = crate::tree::look(&place.back())
        .into_keys()
        .map(|path| path.display().to_string())
        .collect();
    let expected = [
        ".shannonignore",
        "src",
        "src/target",
        "sub",
        "sub/.shannonignore",
        "sub/target",
        "sub/target/kept",
        "web",
        "web/.shannonignore",
        "web/keep.log",
    ];
    assert_eq!(kept, expected);

    let mut new = place.new_snapshot(None);
    let (rules, refused) = IgnoreRules::new(&["/src", "{a", "*.js"]);
    assert_eq!(refused, ["{a"]);
    new.roots[0].ignore = rules;
    let created = place.snapshots().create(new).await.expect("created");
    assert_eq!(
        created.manifest.expect("made").roots().next(),
        Some(RootName::Workspace)
    );
    // The caller's rules replaced the defaults, so `target` at the top is in it now.
    assert_eq!(created.statistics.files, 6);
}

#[tokio::test]
async fn the_level_decides_how_small_it_becomes_and_not_what_comes_back() {
    let mut stored = Vec::new();
    for level in [1, 19] {
        let place = Place::new();
        many_files(&place, 200);
        let snapshots = place.snapshots().with_compression(level);
        let created = snapshots.create(place.new_snapshot(None)).await;
        let created = created.expect("created");
        stored.push(created.statistics.stored_bytes);
        let manifest = created.manifest.expect("a checkpoint was made");
        place.restore(&manifest.id).await;
        assert_same(&place.files(), &place.back());
        // Another level finds the same files stored.
        let again = place.create(Some(&created.base)).await.1;
        assert_eq!(again.statistics.new_bytes, 0);
    }
    assert!(stored[1] < stored[0], "{stored:?}");
}
