//! Looking at checkpoints: single files, differences, archives.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use checkpoint::{
    ChangeKind, Diff, DiffOptions, FileRange, Manifest, ReadFileError, RelativePath, RootName,
};
use proptest::prelude::*;
use testkit::Random;

use crate::tree::{Place, assert_same, edit, look, text};

async fn read(
    place: &Place,
    manifest: &Manifest,
    path: &str,
    offset: u64,
    length: u64,
) -> Result<FileRange, ReadFileError> {
    let path = RelativePath::parse(path.as_bytes()).expect("a path");
    let snapshots = place.snapshots();
    let root = RootName::Workspace;
    snapshots
        .read_file(manifest, root, &path, offset, length)
        .await
}

#[tokio::test]
async fn one_file_is_read_with_few_requests() {
    let place = Place::new();
    let mut random = Random::new(9);
    for number in 0..600 {
        let content = text(&mut random, 700);
        fs::write(place.files().join(format!("f{number}")), content).expect("written");
    }
    let large = text(&mut random, 3 << 20);
    fs::write(place.files().join("large"), &large).expect("written");
    symlink("f1", place.files().join("link")).expect("linked");
    fs::create_dir(place.files().join("directory")).expect("created");
    let (manifest, _) = place.create(None).await;
    let before = place.fake.calls();
    let range = read(&place, &manifest, "f77", 0, 1 << 20)
        .await
        .expect("read");
    assert_eq!(place.fake.calls() - before, 2, "a part and a frame");
    assert_eq!(
        range.bytes,
        fs::read(place.files().join("f77")).expect("read")
    );
    assert_eq!(range.size, 700);
    for (offset, length) in [
        (0, 10),
        (1_000_000, 300_000),
        ((3 << 20) - 5, 100),
        (1 << 30, 5),
    ] {
        let range = read(&place, &manifest, "large", offset, length)
            .await
            .expect("read");
        let from = (offset as usize).min(large.len());
        let to = (from + length as usize).min(large.len());
        assert!(range.bytes == large[from..to], "{offset}");
    }
    let is = |result: Result<FileRange, ReadFileError>| result.expect_err("not a file").to_string();
    assert_eq!(
        is(read(&place, &manifest, "link", 0, 1).await),
        "it is a symbolic link to f1"
    );
    assert_eq!(
        is(read(&place, &manifest, "directory", 0, 1).await),
        "it is a directory"
    );
    for missing in ["nothing", "directory/x", "0", "zz"] {
        let result = read(&place, &manifest, missing, 0, 1).await;
        assert!(matches!(result, Err(ReadFileError::Missing)), "{missing}");
    }
}

async fn diff(place: &Place, old: &Manifest, new: &Manifest, options: &DiffOptions) -> Diff {
    let snapshots = place.snapshots();
    let diff = snapshots.diff(old, new, RootName::Workspace, options).await;
    diff.expect("compared")
}

#[tokio::test]
async fn a_diff_says_what_a_person_wants_to_know() {
    let place = Place::new();
    let files = place.files();
    let long = (0..60)
        .map(|line| format!("line {line}\n"))
        .collect::<String>();
    fs::write(files.join("changed.txt"), &long).expect("written");
    fs::write(files.join("moved.txt"), &long[..300]).expect("written");
    fs::write(files.join("gone"), "no newline").expect("written");
    fs::write(files.join("image"), b"\x89PNG\0\0").expect("written");
    fs::write(files.join("kind"), "file\n").expect("written");
    let (old, created) = place.create(None).await;
    fs::write(
        files.join("changed.txt"),
        long.replace("line 30\n", "line thirty\n"),
    )
    .expect("written");
    fs::create_dir(files.join("sub")).expect("created");
    let moved = long[..300].replace("line 3\n", "line three\n");
    fs::remove_file(files.join("moved.txt")).expect("removed");
    fs::write(files.join("sub/renamed.txt"), moved).expect("written");
    fs::remove_file(files.join("gone")).expect("removed");
    fs::write(files.join("image"), b"\x89PNG\0\0\0").expect("written");
    fs::remove_file(files.join("kind")).expect("removed");
    symlink("changed.txt", files.join("kind")).expect("linked");
    let (new, _) = place.create(Some(&created.base)).await;
    let it = diff(&place, &old, &new, &DiffOptions::default()).await;
    let said: Vec<_> = it
        .changes
        .iter()
        .map(|change| (change.kind.letter(), change.path.to_string(), change.lines))
        .collect();
    let expected = [
        ('M', "changed.txt", Some((1, 1))),
        ('D', "gone", Some((0, 1))),
        ('M', "image", None),
        ('T', "kind", Some((1, 1))),
        ('A', "sub", None),
        ('R', "sub/renamed.txt", Some((1, 1))),
    ];
    let expected = expected.map(|(kind, path, lines)| (kind, path.to_owned(), lines));
    assert_eq!(said, expected);
    let patch = String::from_utf8(it.patch.clone()).expect("UTF-8");
    for expected in [
        "diff --git a/changed.txt b/changed.txt\n--- a/changed.txt\n+++ b/changed.txt\n@@ -28,7 +28,7 @@\n",
        "-line 30\n+line thirty\n",
        "deleted file mode 100644\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-no newline\n\\ No newline at end of file\n",
        "Binary files a/image and b/image differ\n",
        "rename from moved.txt\nrename to sub/renamed.txt\n--- a/moved.txt\n+++ b/sub/renamed.txt\n",
        "new file mode 120000\n--- /dev/null\n+++ b/kind\n@@ -0,0 +1 @@\n+changed.txt\n\\ No newline at end of file\n",
    ] {
        assert!(patch.contains(expected), "{expected}\nis not in\n{patch}");
    }
    assert!(
        it.stat()
            .contains("R moved.txt => sub/renamed.txt | +1 -1\n"),
        "{}",
        it.stat()
    );
    assert!(it.stat().contains("M image | binary, 6 -> 7 bytes\n"));
    assert!(
        it.stat().ends_with("6 changed, 3 lines added, 4 removed\n"),
        "{}",
        it.stat()
    );
    let back = diff(&place, &new, &new, &DiffOptions::default()).await;
    assert_eq!(back, Diff::default());
    let few = DiffOptions {
        changes: 2,
        patch_bytes: 10,
        ..DiffOptions::default()
    };
    let it = diff(&place, &old, &new, &few).await;
    assert!(it.truncated && it.changes.len() == 2 && it.more_changes > 0);
}

/// Whoever reads a patch in pieces has it made anew for each of them, with more room.
#[tokio::test]
async fn a_patch_with_less_room_is_the_beginning_of_the_whole() {
    let place = Place::new();
    let file = |number: usize| place.files().join(format!("f{number}"));
    let lines = |of: &str| (0..200).map(|line| format!("{of} {line}\n")).collect();
    for number in 0..6 {
        let text: String = lines("old");
        fs::write(file(number), text).expect("written");
    }
    let (old, created) = place.create(None).await;
    for number in 0..6 {
        let text: String = lines(if number % 2 == 0 { "new" } else { "old" });
        fs::write(file(number), text.replace(" 17\n", " seventeen\n")).expect("written");
    }
    let (new, _) = place.create(Some(&created.base)).await;
    let whole = diff(&place, &old, &new, &DiffOptions::default()).await;
    assert!(!whole.truncated);
    for patch_bytes in (0..whole.patch.len()).step_by(500) {
        let options = DiffOptions {
            patch_bytes,
            ..DiffOptions::default()
        };
        let it = diff(&place, &old, &new, &options).await;
        assert!(whole.patch.starts_with(&it.patch), "{patch_bytes}");
        assert!(it.patch.len() >= patch_bytes, "{patch_bytes}");
        assert_eq!(it.truncated, it.patch.len() < whole.patch.len());
    }
}

/// Git knows one end of a line; a carriage return alone is none.
#[tokio::test]
async fn a_carriage_return_stands_within_its_line() {
    let place = Place::new();
    let path = place.files().join("old-mac");
    fs::write(&path, "a\rb\rc\n").expect("written");
    let (old, created) = place.create(None).await;
    fs::write(&path, "a\rx\rc\n").expect("written");
    let (new, _) = place.create(Some(&created.base)).await;
    let it = diff(&place, &old, &new, &DiffOptions::default()).await;
    assert_eq!(it.changes[0].lines, Some((1, 1)));
    let patch = String::from_utf8(it.patch).expect("UTF-8");
    assert!(
        patch.ends_with("@@ -1 +1 @@\n-a\rb\rc\n+a\rx\rc\n"),
        "{patch:?}"
    );
}

#[tokio::test]
async fn equal_parts_are_not_fetched() {
    let place = Place::new();
    for number in 0..3_000 {
        fs::write(place.files().join(format!("f{number}")), "x").expect("written");
    }
    let (old, created) = place.create(None).await;
    fs::write(place.files().join("f1500"), "y").expect("written");
    let (new, _) = place.create(Some(&created.base)).await;
    let before = place.fake.calls();
    let it = diff(&place, &old, &new, &DiffOptions::default()).await;
    assert_eq!(it.changes.len(), 1);
    assert_eq!(
        place.fake.calls() - before,
        4,
        "a part and a frame on each side"
    );
}

fn git(directory: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .args(["-c", "core.autocrlf=false", "-c", "core.safecrlf=false"])
        .args(arguments)
        .current_dir(directory)
        .env(
            "GIT_CEILING_DIRECTORIES",
            directory.parent().expect("inside"),
        )
        .output()
        .expect("git runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {said}");
}

/// Git knows no empty directories, and does not replace one by a file.
fn prune(directory: &Path) {
    let paths: Vec<_> = look(directory).into_keys().collect();
    // The deepest first; one that holds something stays.
    for path in paths.iter().rev() {
        let _ = fs::remove_dir(directory.join(path));
    }
}

/// What git would keep: no empty directories, no times, only the executable bit.
fn in_git(directory: &Path) -> Vec<(std::path::PathBuf, String)> {
    look(directory)
        .into_iter()
        .filter_map(|(path, seen)| Some((path, seen.in_git()?)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn git_applies_every_patch(seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let place = Place::new();
            let mut random = Random::new(seed);
            // No hole of 5 MiB: it would be too large for a patch.
            let change = |random: &mut Random| {
                for _ in 0..12 {
                    edit(&place.files(), random);
                }
                for path in look(&place.files()).into_keys() {
                    let path = place.files().join(path);
                    let large = fs::symlink_metadata(&path).is_ok_and(|it| it.len() > 4 << 20);
                    if large {
                        fs::write(&path, b"bin\0ary").expect("written");
                    }
                    // Git knows nothing of its own directory.
                    if path.file_name().is_some_and(|name| name == ".git") {
                        let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
                    }
                }
            };
            change(&mut random);
            let (old, created) = place.create(None).await;
            place.restore(&old.id).await;
            change(&mut random);
            let (new, _) = place.create(Some(&created.base)).await;
            let options = DiffOptions { binary: true, file_bytes: 8 << 20, ..DiffOptions::default() };
            let it = diff(&place, &old, &new, &options).await;
            assert!(!it.truncated);
            if !it.patch.is_empty() {
                let patch = place.directory.path().join("patch");
                fs::write(&patch, &it.patch).expect("written");
                let patch = patch.to_str().expect("UTF-8");
                prune(&place.back());
                git(&place.back(), &["apply", "--whitespace=nowarn", patch]);
            }
            assert_eq!(in_git(&place.back()), in_git(&place.files()));
        });
    }
}

#[tokio::test]
async fn moved_files_are_found() {
    let place = Place::new();
    let files = place.files();
    let mut random = Random::new(5);
    for name in ["a/one", "a/two", "b/one"] {
        let path = files.join(name);
        fs::create_dir_all(path.parent().expect("inside")).expect("created");
        fs::write(path, text(&mut random, 2_000)).expect("written");
    }
    let (old, created) = place.create(None).await;
    fs::rename(files.join("a"), files.join("c")).expect("moved");
    fs::write(files.join("other"), text(&mut random, 2_000)).expect("written");
    let (new, _) = place.create(Some(&created.base)).await;
    let it = diff(&place, &old, &new, &DiffOptions::default()).await;
    let renamed: Vec<_> = it
        .changes
        .iter()
        .filter(|change| change.kind == ChangeKind::Renamed)
        .map(|change| {
            (
                change.old_path.as_ref().map(ToString::to_string),
                change.path.to_string(),
            )
        })
        .collect();
    let pair = |old: &str, new: &str| (Some(old.to_owned()), new.to_owned());
    assert_eq!(renamed, [pair("a/one", "c/one"), pair("a/two", "c/two")]);
    assert!(
        it.changes
            .iter()
            .any(|it| it.kind == ChangeKind::Added && it.path.to_string() == "other")
    );
    let without = DiffOptions {
        renames: false,
        ..DiffOptions::default()
    };
    let it = diff(&place, &old, &new, &without).await;
    assert!(it.changes.iter().all(|change| change.old_path.is_none()));
}

#[tokio::test]
async fn tar_unpacks_an_export_to_the_same_tree() {
    let place = Place::new();
    let mut random = Random::new(21);
    for _ in 0..60 {
        edit(&place.files(), &mut random);
    }
    let deep = place.files().join("n".repeat(150)).join("m".repeat(200));
    fs::create_dir_all(&deep).expect("created");
    fs::write(deep.join("file"), "deep").expect("written");
    symlink("t".repeat(300), deep.join("link")).expect("linked");
    let (manifest, created) = place.create(None).await;
    let archive = place.directory.path().join("archive.tar.zst");
    let file = fs::File::create(&archive).expect("created");
    let snapshots = place.snapshots();
    let (_, exported) = snapshots
        .export(&manifest, RootName::Workspace, file)
        .await
        .expect("exported");
    let statistics = &created.statistics;
    let entries = statistics.files + statistics.directories + statistics.symlinks;
    assert_eq!(exported.entries, entries);
    assert_eq!(exported.bytes, statistics.bytes);
    let tar = fs::File::open(&archive).expect("opened");
    let tar = zstd::stream::read::Decoder::new(tar).expect("zstd");
    let unpack = |mut tar: Box<dyn std::io::Read>| {
        let mut child = Command::new("tar")
            .args(["-xpf", "-", "-C"])
            .arg(place.back())
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("tar runs");
        let mut input = child.stdin.take().expect("piped");
        std::io::copy(&mut tar, &mut input).expect("piped");
        drop(input);
        assert!(child.wait().expect("ended").success());
    };
    unpack(Box::new(tar));
    assert_same(&place.files(), &place.back());
    let (again, _) = snapshots
        .export(&manifest, RootName::Workspace, Vec::new())
        .await
        .expect("exported");
    assert!(again == fs::read(&archive).expect("read"), "the same bytes");
}
