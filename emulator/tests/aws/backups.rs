//! Backups of the state while clients write to it: of one moment, whole, and told from damaged ones.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use aws_sdk_dynamodb::types::AttributeValue;
use emulator::backup::{self, BackupError, Problem};
use tokio::task::JoinSet;

use crate::harness::{Aws, TABLE, Wanted, get, put};

/// As many as the sessions of the drill.
const WRITERS: usize = 20;

/// Writes an object and then a row that names it, again and again, as the runner writes its log.
async fn write(aws: Arc<Aws>, writer: usize, written: Arc<AtomicUsize>, stop: Arc<AtomicBool>) {
    let (s3, dynamodb) = (aws.s3(), aws.dynamodb());
    for number in 0.. {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let key = format!("{writer}/{number}");
        put(&s3, &key, &format!("object {key}")).await;
        dynamodb
            .put_item()
            .table_name(TABLE)
            .item("pk", AttributeValue::S(format!("writer-{writer}")))
            .item("sk", AttributeValue::S(format!("{number:06}")))
            .item("object", AttributeValue::S(key))
            .send()
            .await
            .unwrap();
        written.fetch_add(1, Ordering::AcqRel);
    }
}

/// The services on a state directory.
async fn on(state: &Path) -> Aws {
    let wanted = Wanted {
        state: Some(state),
        ..Wanted::default()
    };
    Aws::with(wanted).await.unwrap()
}

/// The objects that the rows of a writer name, in their order.
async fn rows(aws: &Aws, writer: usize) -> Vec<String> {
    let mut pages = aws
        .dynamodb()
        .query()
        .table_name(TABLE)
        .key_condition_expression("pk = :pk")
        .expression_attribute_values(":pk", AttributeValue::S(format!("writer-{writer}")))
        .into_paginator()
        .items()
        .send();
    let mut rows = Vec::new();
    while let Some(item) = pages.next().await {
        rows.push(item.unwrap()["object"].as_s().unwrap().clone());
    }
    rows
}

async fn wait_for(written: &AtomicUsize, count: usize) {
    while written.load(Ordering::Acquire) < count {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

async fn take(state: &Path, to: &Path) -> Result<backup::Taken, BackupError> {
    let (state, to) = (state.to_owned(), to.to_owned());
    tokio::task::spawn_blocking(move || backup::take(&state, &to, None))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_that_is_taken_while_twenty_write_is_of_one_moment() {
    let directory = tempfile::tempdir().unwrap();
    let [state, to, restored] =
        ["state", "backups", "restored"].map(|it| directory.path().join(it));
    let aws = Arc::new(on(&state).await);
    let (written, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (written, stop) = (Arc::clone(&written), Arc::clone(&stop));
        writers.spawn(write(Arc::clone(&aws), writer, written, stop));
    }
    wait_for(&written, 100).await;
    let first = take(&state, &to).await.unwrap();
    let before_second = written.load(Ordering::Acquire);
    wait_for(&written, before_second + 50).await;
    let acknowledged = written.load(Ordering::Acquire);
    let second = take(&state, &to).await.unwrap();
    let after = written.load(Ordering::Acquire);
    wait_for(&written, after + 20).await;
    stop.store(true, Ordering::Release);
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    assert!(
        first.shared_bytes == 0 && second.shared_bytes > 0,
        "{second:?}"
    );
    assert!(second.manifest.taken_at_ms > first.manifest.taken_at_ms);
    assert!(!state.join("s3/held").exists(), "nothing is held any more");
    drop(Arc::try_unwrap(aws).ok().unwrap());

    for (taken, at_least) in [(&first, 100), (&second, acknowledged)] {
        backup::verify(&taken.path).unwrap();
        let restored = restored.join(taken.path.file_name().unwrap());
        backup::restore(&taken.path, &restored, None).unwrap();
        let aws = on(&restored).await;
        let mut found = 0;
        for writer in 0..WRITERS {
            let rows = rows(&aws, writer).await;
            // No hole, and every object that a row names is there.
            for (number, key) in rows.iter().enumerate() {
                assert_eq!(*key, format!("{writer}/{number}"));
            }
            for key in rows.iter().rev().take(3) {
                assert_eq!(get(&aws.s3(), key).await, format!("object {key}"));
            }
            found += rows.len();
        }
        assert!(found >= at_least, "{found} rows of {at_least}");
        aws.running.shutdown().await;
    }
    // The list shows both, and the first stays whole without what it shares with the second.
    let listed = backup::list(&to).unwrap();
    assert_eq!(listed.len(), 2);
    fs::remove_dir_all(&second.path).unwrap();
    backup::verify(&first.path).unwrap();
}

/// A small backup.
async fn small(directory: &Path) -> backup::Taken {
    let state = directory.join("state");
    let aws = on(&state).await;
    put(&aws.s3(), "a", "the object").await;
    aws.running.shutdown().await;
    fs::write(state.join("token"), "a token that is long enough to be one").unwrap();
    take(&state, &directory.join("backups")).await.unwrap()
}

/// Every file below a directory.
fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[tokio::test]
async fn every_file_that_is_cut_changed_or_missing_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let taken = small(directory.path()).await;
    let files = files_below(&taken.path);
    let named: BTreeSet<String> = files
        .iter()
        .map(|file| {
            file.strip_prefix(&taken.path)
                .unwrap()
                .display()
                .to_string()
        })
        .collect();
    for wanted in [
        "dynamodb.sqlite",
        "manifest.json",
        "manifest.sha256",
        "token",
    ] {
        assert!(named.contains(wanted), "{named:?}");
    }
    assert!(named.iter().any(|name| name.starts_with("s3/objects/")));
    for file in files {
        let name = file
            .strip_prefix(&taken.path)
            .unwrap()
            .display()
            .to_string();
        let whole = fs::read(&file).unwrap();
        let middle = whole.len() / 2;
        let mut changed = whole.clone();
        changed[middle] ^= 1;
        let damages: [Option<&[u8]>; 4] = [
            Some(&whole[..whole.len() - 1]),
            Some(&[]),
            Some(&changed),
            None,
        ];
        for damage in damages {
            match damage {
                Some(bytes) => fs::write(&file, bytes).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            let into = directory.path().join("into");
            for error in [
                backup::verify(&taken.path).map(|_| ()).unwrap_err(),
                backup::restore(&taken.path, &into, None)
                    .map(|_| ())
                    .unwrap_err(),
            ] {
                let BackupError::Damaged { damage: found, .. } = &error else {
                    panic!("{name}: {error}");
                };
                assert!(found.0.iter().any(|(it, _)| *it == name), "{name}: {error}");
                assert!(error.to_string().contains(&name), "{error}");
                if !name.starts_with("manifest") {
                    let wanted = match damage {
                        None => Problem::Missing,
                        Some(bytes) if bytes.len() == whole.len() => Problem::Changed,
                        Some(bytes) => Problem::Size {
                            found: bytes.len() as u64,
                            wanted: whole.len() as u64,
                        },
                    };
                    assert_eq!(found.0, [(name.clone(), wanted)]);
                }
            }
            assert!(!into.exists(), "{name}: nothing was restored");
            fs::write(&file, &whole).unwrap();
        }
    }
    backup::verify(&taken.path).unwrap();
}

#[tokio::test]
async fn what_is_damaged_in_one_backup_is_copied_anew_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let first = small(directory.path()).await;
    let (state, to) = (
        directory.path().join("state"),
        directory.path().join("backups"),
    );
    let object = first
        .manifest
        .files
        .iter()
        .find(|file| file.path.starts_with("s3/objects/"))
        .unwrap();
    let file = first.path.join(&object.path);
    let good = fs::read(&file).unwrap();
    fs::write(&file, vec![b'x'; good.len()]).unwrap();
    let second = take(&state, &to).await.unwrap();
    assert_eq!(second.shared_bytes, 0);
    assert_eq!(fs::read(second.path.join(&object.path)).unwrap(), good);
    backup::verify(&second.path).unwrap();
    assert!(backup::verify(&first.path).is_err());
    // An object that the state itself has lost is no backup.
    fs::remove_file(state.join(&object.path)).unwrap();
    let refused = take(&state, &to).await;
    assert!(
        matches!(refused, Err(BackupError::LostObject(_))),
        "{refused:?}"
    );
    assert_eq!(
        backup::list(&to).unwrap().len(),
        2,
        "no half backup is left"
    );
    assert!(
        !files_below(&to)
            .iter()
            .any(|it| it.display().to_string().contains("partial"))
    );
}

#[tokio::test]
async fn a_restore_goes_into_an_empty_directory_only_and_is_whole_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let taken = small(directory.path()).await;
    let into = directory.path().join("into");
    fs::create_dir(&into).unwrap();
    backup::restore(&taken.path, &into, None).unwrap();
    let again = backup::restore(&taken.path, &into, None);
    assert!(matches!(again, Err(BackupError::NotEmpty(_))), "{again:?}");
    // As one that was cut: no stack starts on it.
    fs::write(into.join("restoring"), "").unwrap();
    let refused = emulator::stack::state::StateDirectory::open(&into, None).map(|_| ());
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("did not end"), "{message}");
    let elsewhere = directory.path().join("elsewhere");
    let no_state = take(&elsewhere, &directory.path().join("backups")).await;
    assert!(
        matches!(no_state, Err(BackupError::NoState(_))),
        "{no_state:?}"
    );
}

#[tokio::test]
async fn old_backups_go_and_the_newest_stays() {
    let directory = tempfile::tempdir().unwrap();
    let first = small(directory.path()).await;
    let (state, to) = (
        directory.path().join("state"),
        directory.path().join("backups"),
    );
    let second = take(&state, &to).await.unwrap();
    let day = 24 * 60 * 60 * 1000;
    let now = second.manifest.taken_at_ms;
    assert!(backup::prune(&to, 1, now).unwrap().is_empty());
    // A clock that runs away takes all but one.
    let gone = backup::prune(&to, 1, now + 400 * day).unwrap();
    assert_eq!(gone, std::slice::from_ref(&first.path));
    backup::verify(&second.path).unwrap();
    assert_eq!(backup::list(&to).unwrap().len(), 1);
}
