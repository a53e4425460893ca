//! Files as they should not be, and directories that cannot be written.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use checkpoint::{
    CreateError, ReadFileError, RelativePath, RestoreError, RestoreOptions, RootName, SkipReason,
    TargetRoot,
};
use domain::CheckpointId;
use testkit::Random;

use crate::tree::{Place, assert_same, look, restore, text};

#[tokio::test]
async fn what_cannot_be_kept_is_named() {
    let place = Place::new();
    let files = place.files();
    fs::write(files.join("kept"), "x").expect("written");
    let _socket = UnixListener::bind(files.join("socket")).expect("bound");
    let fifo = std::process::Command::new("mkfifo")
        .arg(files.join("fifo"))
        .status();
    assert!(fifo.expect("run").success());
    fs::create_dir(files.join(".shannon-restore-x")).expect("created");
    let (manifest, created) = place.create(None).await;
    let named: Vec<_> = created
        .statistics
        .skipped_named
        .iter()
        .map(|it| (it.path.as_str(), it.why))
        .collect();
    let expected = [
        ("workspace/.shannon-restore-x", SkipReason::Reserved),
        ("workspace/fifo", SkipReason::Special),
        ("workspace/socket", SkipReason::Special),
    ];
    assert_eq!(named, expected);
    assert_eq!(created.statistics.skipped, 3);
    let read = place
        .snapshots()
        .manifest(&manifest.id)
        .await
        .expect("read");
    assert_eq!(read.statistics, created.statistics, "and stay named");
    place.restore(&manifest.id).await;
    assert_eq!(look(&place.back()).len(), 1);
}

#[tokio::test]
async fn ignore_rules_that_are_not_used_are_named() {
    let place = Place::new();
    for (directory, rules) in [
        ("bad", "a{\nhidden\n".to_owned()),
        ("good", "hidden\n".to_owned()),
        ("large", "hidden\n".repeat(10_000)),
    ] {
        let directory = place.files().join(directory);
        fs::create_dir(&directory).expect("created");
        fs::write(directory.join(".shannonignore"), rules).expect("written");
        fs::write(directory.join("hidden"), "x").expect("written");
    }
    let (_, created) = place.create(None).await;
    let named = created.statistics.skipped_named;
    let named: Vec<_> = named.iter().map(|it| (it.path.as_str(), it.why)).collect();
    let expected = [
        (
            "workspace/bad/.shannonignore",
            SkipReason::RuleNotUnderstood,
        ),
        ("workspace/large/.shannonignore", SkipReason::RulesUnread),
    ];
    assert_eq!(named, expected);
    // The files with the rules are kept, and what a rule does not hide.
    assert_eq!(
        (created.statistics.files, created.statistics.ignored),
        (4, 2)
    );
    assert_eq!(created.statistics.skipped, 0);
}

#[tokio::test]
async fn links_are_kept_and_never_followed() {
    let place = Place::new();
    let files = place.files();
    let outside = place.directory.path().join("outside");
    fs::create_dir(&outside).expect("created");
    fs::write(outside.join("secret"), "s3cret").expect("written");
    symlink(&outside, files.join("directory")).expect("linked");
    symlink(outside.join("secret"), files.join("file")).expect("linked");
    symlink("loop", files.join("loop")).expect("linked");
    symlink(outside.join("secret"), files.join(".shannonignore")).expect("linked");
    let (manifest, created) = place.create(None).await;
    assert_eq!(created.statistics.symlinks, 4);
    assert_eq!(created.statistics.files, 0);
    place.restore(&manifest.id).await;
    assert_same(&files, &place.back());
    let path = RelativePath::parse(b"directory/secret").expect("a path");
    let snapshots = place.snapshots();
    let read = snapshots.read_file(&manifest, RootName::Workspace, &path, 0, 10);
    assert!(matches!(read.await, Err(ReadFileError::Missing)));
}

#[tokio::test]
async fn set_uid_is_never_kept() {
    let place = Place::new();
    let path = place.files().join("tool");
    fs::write(&path, "#!/bin/sh\n").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).expect("changed");
    let (manifest, _) = place.create(None).await;
    place.restore(&manifest.id).await;
    let mode = fs::metadata(place.back().join("tool"))
        .expect("a stat")
        .mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[tokio::test]
async fn a_file_that_never_stands_still_is_named_and_kept_as_it_was_read() {
    let place = Place::new();
    let path = place.files().join("log");
    fs::write(&path, text(&mut Random::new(1), 20 << 20)).expect("written");
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (path, stop) = (path.clone(), Arc::clone(&stop));
        move || {
            use std::io::Write as _;
            let mut file = fs::File::options().append(true).open(path).expect("opened");
            while !stop.load(Ordering::Relaxed) {
                file.write_all(b"one more line\n").expect("written");
            }
        }
    });
    let (manifest, created) = place.create(None).await;
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("ended");
    let named = &created.statistics.skipped_named;
    assert_eq!(named.len(), 1);
    assert_eq!(named[0].why, SkipReason::Changing);
    assert_eq!(created.statistics.skipped, 0, "it is not left out");
    place.restore(&manifest.id).await;
    let back = fs::read(place.back().join("log")).expect("read");
    let now = fs::read(&path).expect("read");
    assert!(now.starts_with(&back) && back.len() >= 20 << 20);
    // It is read again, whatever its stamp says.
    let (manifest, _) = place.create(Some(&created.base)).await;
    place.restore(&manifest.id).await;
    assert_same(&place.files(), &place.back());
}

#[tokio::test]
async fn paths_of_4_kib_and_deep_trees() {
    let place = Place::new();
    // Made step by step, as no call takes such a path.
    let name = "d".repeat(200);
    let root = rustix::fs::open(
        place.files(),
        rustix::fs::OFlags::DIRECTORY,
        rustix::fs::Mode::empty(),
    );
    let mut directory = root.expect("opened");
    let mut length = 0;
    while length + 201 <= 6_000 {
        rustix::fs::mkdirat(&directory, name.as_str(), rustix::fs::Mode::RWXU).expect("created");
        let next = rustix::fs::openat(
            &directory,
            name.as_str(),
            rustix::fs::OFlags::DIRECTORY,
            rustix::fs::Mode::empty(),
        );
        directory = next.expect("opened");
        length += 201;
    }
    let mut short = place.files();
    for _ in 0..300 {
        short.push("e");
    }
    fs::create_dir_all(&short).expect("created");
    fs::write(short.join("bottom"), "x").expect("written");
    let (manifest, created) = place.create(None).await;
    let too_long: Vec<_> = created
        .statistics
        .skipped_named
        .iter()
        .map(|it| it.why)
        .collect();
    assert_eq!(too_long, [SkipReason::PathTooLong]);
    assert_eq!(created.statistics.directories, 20 + 300);
    let restored = place.restore(&manifest.id).await;
    assert_eq!(restored.files, 1);
    let path = [b"e/".repeat(300), b"bottom".to_vec()].concat();
    let path = RelativePath::parse(&path).expect("a path");
    let snapshots = place.snapshots();
    let read = snapshots.read_file(&manifest, RootName::Workspace, &path, 0, 10);
    assert_eq!(read.await.expect("read").bytes, b"x");
    // And removed again: a tree as deep as that is replaced.
    place.restore(&manifest.id).await;
}

#[tokio::test]
async fn closed_files_and_directories_come_back_closed() {
    let place = Place::new();
    let files = place.files();
    fs::create_dir_all(files.join("closed/inner")).expect("created");
    fs::write(files.join("closed/inner/file"), "x").expect("written");
    fs::write(files.join("closed/secret"), "y").expect("written");
    for (path, mode) in [
        ("closed/secret", 0o000),
        ("closed/inner", 0o555),
        ("closed", 0o500),
    ] {
        let path = files.join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
    }
    let (manifest, created) = place.create(None).await;
    place.restore(&manifest.id).await;
    place.restore(&manifest.id).await;
    if rustix::process::geteuid().is_root() {
        assert_same(&files, &place.back());
    } else {
        assert_eq!(
            created.statistics.skipped_named[0].why,
            SkipReason::Unreadable
        );
    }
    // So that the directory of the test can be removed by whoever runs it.
    for root in [files, place.back()] {
        for path in ["closed", "closed/inner"] {
            let open = fs::Permissions::from_mode(0o700);
            fs::set_permissions(root.join(path), open).expect("changed");
        }
    }
}

/// Set in the process that sees a small disk at this directory.
const SMALL_DISK: &str = "CHECKPOINT_TEST_SMALL_DISK";

/// A disk of 2 MiB that only a child of this test sees.
#[test]
fn a_full_disk_leaves_the_old_content() {
    if let Some(disk) = std::env::var_os(SMALL_DISK) {
        return restore_onto_a_full_disk(PathBuf::from(disk));
    }
    let disk = tempfile::tempdir().expect("a directory");
    let script = "mount -t tmpfs -o size=2m tmpfs \"$0\" && exec \"$@\"";
    let child = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(disk.path())
        .arg(std::env::current_exe().expect("a test binary"))
        .args(["--exact", "bad_input::a_full_disk_leaves_the_old_content"])
        .env(SMALL_DISK, disk.path())
        .output()
        .expect("run");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{child:?}"
    );
}

fn restore_onto_a_full_disk(disk: PathBuf) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        let place = Place::new();
        let mut random = Random::new(4);
        let bytes: Vec<u8> = (0..(6 << 20) / 8)
            .flat_map(|_| random.next().to_le_bytes())
            .collect();
        fs::write(place.files().join("a"), "small").expect("written");
        fs::write(place.files().join("large"), bytes).expect("written");
        let (manifest, _) = place.create(None).await;
        fs::write(disk.join("old"), "content").expect("written");
        let before = look(&disk);
        let result = restore(&place.fake, &place.key, &manifest.id, &disk).await;
        match result {
            Err(RestoreError::Directory {
                path,
                replacing,
                source,
            }) => {
                assert_eq!(path, "workspace/large");
                assert!(!replacing);
                assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
            }
            other => panic!("{other:?}"),
        }
        assert!(look(&disk) == before, "nothing half visible");
    });
}

#[tokio::test]
async fn unknown_checkpoints_and_missing_roots_are_clear() {
    let place = Place::new();
    let (manifest, _) = place.create(None).await;
    let unknown = CheckpointId::from_random([9; 17]);
    let result = place.try_restore(&unknown).await;
    assert!(matches!(result, Err(RestoreError::Unknown(id)) if id == unknown));
    let target = |name, directory: PathBuf| [TargetRoot { name, directory }];
    let snapshots = place.snapshots();
    let options = RestoreOptions::default();
    let no_root = target(RootName::Claude, place.back());
    let result = snapshots.restore(&manifest, &no_root, options).await;
    assert!(matches!(
        result,
        Err(RestoreError::NoRoot(RootName::Claude))
    ));
    let nowhere = target(RootName::Workspace, place.back().join("nowhere"));
    let result = snapshots.restore(&manifest, &nowhere, options).await;
    assert!(
        matches!(result, Err(RestoreError::Directory { .. })),
        "{result:?}"
    );
    let mut new = place.new_snapshot(None);
    new.roots[0].directory = place.files().join("nowhere");
    let result = snapshots.create(new).await;
    assert!(matches!(
        result,
        Err(CreateError::Root(RootName::Workspace, _))
    ));
    let mut new = place.new_snapshot(None);
    new.about.message = Some("m".repeat(20_000));
    let result = snapshots.create(new).await;
    assert!(matches!(result, Err(CreateError::About(_))));
    // A root that is a link is not followed.
    symlink(place.files(), place.directory.path().join("link")).expect("linked");
    let mut new = place.new_snapshot(None);
    new.roots[0].directory = place.directory.path().join("link");
    let result = snapshots.create(new).await;
    assert!(matches!(
        result,
        Err(CreateError::Root(RootName::Workspace, _))
    ));
}

/// Whatever a session leaves in a directory that is restored into, nothing is written through it.
#[tokio::test]
async fn no_link_leads_a_restore_elsewhere() {
    let place = Place::new();
    let files = place.files();
    fs::create_dir_all(files.join("a/b")).expect("created");
    fs::write(files.join("a/b/file"), "new").expect("written");
    let (manifest, _) = place.create(None).await;
    let outside = place.directory.path().join("outside");
    fs::create_dir_all(outside.join("b")).expect("created");
    fs::write(outside.join("b/file"), "mine").expect("written");

    let back = place.back();
    for planted in ["a", ".shannon-restore", ".shannon-restore-x"] {
        symlink(&outside, back.join(planted)).expect("linked");
    }
    place.restore(&manifest.id).await;
    assert_same(&files, &back);

    // The directory itself is no link either.
    let link = place.directory.path().join("link");
    symlink(&outside, &link).expect("linked");
    let target = [TargetRoot {
        name: RootName::Workspace,
        directory: link,
    }];
    let refused = place
        .snapshots()
        .restore(&manifest, &target, RestoreOptions::default())
        .await;
    assert!(refused.is_err(), "{refused:?}");
    let mine = fs::read_to_string(outside.join("b/file")).expect("still there");
    assert_eq!(mine, "mine");
    assert_eq!(look(&outside).len(), 2, "{:?}", look(&outside));
}
