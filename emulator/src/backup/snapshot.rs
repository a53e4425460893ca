//! One moment of a state directory, held while it is copied.
//!
//! All databases are locked for writing at once; then a reading transaction is begun in each, and the
//! locks are let go: writers wait milliseconds, and what the transactions see is from that one moment.
//! Objects are files that never change, so a second name for each keeps it for as long as the copy
//! takes; those that are there already get theirs before the lock is taken. It needs nothing of the
//! emulator that runs on the state, and none has to.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, backup::Backup};

use super::{BackupError, files};
use crate::{
    encryption::{StateKey, database, mark},
    file_lock,
};

/// The databases, as far as there are; in the order in which they are locked.
const DATABASES: [&str; 5] = [
    "dynamodb.sqlite",
    "ecs.sqlite",
    "messages.sqlite",
    "parameters.sqlite",
    OBJECT_ROWS,
];
const OBJECT_ROWS: &str = "s3/metadata.sqlite";
/// Files beside them.
const FILES: [&str; 4] = [mark::NAME, "issuer.json", "signing-key", "token"];
/// Where objects keep their names, in the state directory: links need the same file system.
const HELD: &str = "s3/held";
/// Only one backup of a state at a time: the next removes what one that was killed has held.
const LOCK: &str = "backup.lock";
/// How long one lock is waited for while others are held. Writers give up after 5 s.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long all are tried for.
const LONGEST: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// The moment. Dropping it lets it go.
pub(super) struct Snapshot {
    databases: Vec<Reader>,
    held: Held,
    /// The objects, by name.
    pub(super) objects: Vec<String>,
    /// The small files, as they were.
    pub(super) files: Vec<(&'static str, Vec<u8>)>,
    /// Milliseconds since 1970.
    pub(super) taken_at: i64,
    /// How long writers were locked out.
    pub(super) locked: Duration,
    _lock: File,
}

struct Reader {
    name: &'static str,
    path: PathBuf,
    connection: Connection,
}

/// The directory with the second names.
struct Held(PathBuf);

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "what a backup held is left to the next one");
        }
    }
}

impl Held {
    fn open(state: &Path) -> Result<Self, BackupError> {
        let directory = state.join(HELD);
        files::remove_directory(&directory)?;
        files::make_directory(&directory)?;
        Ok(Self(directory))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Gives the object a second name; whether it was there.
    fn hold(&self, state: &Path, name: &str) -> Result<bool, BackupError> {
        let from = object_path(state, name);
        match fs::hard_link(&from, self.path(name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(BackupError::system("hold", &from)(error)),
        }
    }
}

/// Where an object is, in a state directory and in a backup.
pub(super) fn object_name(name: &str) -> String {
    format!("s3/objects/{}/{name}", name.get(..2).unwrap_or_default())
}

fn object_path(state: &Path, name: &str) -> PathBuf {
    state.join(object_name(name))
}

impl Snapshot {
    /// Takes it. Cut at any moment, nothing of the state is changed but for the names in `s3/held`, which
    /// the next one removes.
    pub(super) fn take(state: &Path, key: Option<&StateKey>) -> Result<Self, BackupError> {
        if !state.join(DATABASES[0]).is_file() {
            return Err(BackupError::NoState(state.to_owned()));
        }
        mark::check(state, key, true)?;
        let path = state.join(LOCK);
        let lock = file_lock::lock(&path).map_err(BackupError::system("lock", &path))?;
        let lock = lock.ok_or(BackupError::Busy(path))?;
        let held = Held::open(state)?;
        let open = || -> Result<Vec<Reader>, BackupError> {
            let there = DATABASES.iter().map(|name| (*name, state.join(name)));
            let there = there.filter(|(_, path)| path.is_file());
            let opened = there.map(|(name, path)| {
                let connection =
                    database::open_existing(&path, key).map_err(BackupError::database(&path))?;
                connection
                    .busy_timeout(PATIENCE)
                    .map_err(BackupError::database(&path))?;
                Ok(Reader {
                    name,
                    path,
                    connection,
                })
            });
            opened.collect()
        };
        let (readers, writers) = (open()?, open()?);
        // What is there already, while everybody goes on.
        let mut before = HashSet::new();
        for name in object_names(&readers)? {
            if held.hold(state, &name)? {
                before.insert(name);
            }
        }
        let start = Instant::now();
        let mut small = Vec::new();
        let (taken_at, locked) = loop {
            match at_once(&readers, &writers, || {
                hold_the_rest(&readers, state, &held, &before)?;
                small = small_files(state)?;
                Ok(())
            })? {
                Some(found) => break found,
                None if start.elapsed() > LONGEST => return Err(BackupError::Locked),
                None => std::thread::sleep(PAUSE),
            }
        };
        drop(writers);
        let mut objects = object_names(&readers)?.into_iter().collect::<Vec<_>>();
        objects.sort();
        Ok(Self {
            databases: readers,
            held,
            objects,
            files: small,
            taken_at,
            locked,
            _lock: lock,
        })
    }

    /// The held bytes of an object.
    pub(super) fn object(&self, name: &str) -> PathBuf {
        self.held.path(name)
    }

    /// Copies each database as it was in that moment; gives their names.
    pub(super) fn copy_databases(
        &self,
        to: &Path,
        key: Option<&StateKey>,
    ) -> Result<Vec<&'static str>, BackupError> {
        for reader in &self.databases {
            let path = to.join(reader.name);
            if let Some(parent) = path.parent() {
                files::make_directory(parent)?;
            }
            // So that it is private from the beginning.
            files::write(&path, b"")?;
            let fail = || BackupError::database(&path);
            // A database that is empty has no key to be checked.
            let mut target = Connection::open(&path).map_err(fail())?;
            if let Some(key) = key {
                database::set_key(&target, key).map_err(fail())?;
            }
            let copied = Backup::new(&reader.connection, &mut target).and_then(|backup| {
                // All pages in one step: nothing else uses the reading transaction.
                backup.step(-1)
            });
            match copied {
                Ok(rusqlite::backup::StepResult::Done) => {}
                Ok(_) => return Err(BackupError::Locked),
                Err(error) => return Err(BackupError::database(&reader.path)(error)),
            }
            target.close().map_err(|(_, error)| fail()(error))?;
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(BackupError::system("write", &path))?;
        }
        Ok(self.databases.iter().map(|reader| reader.name).collect())
    }
}

/// Locks all writers out, begins all reading transactions, does the work, and lets the writers go on.
/// `None` when a lock was not to be had in time: nothing is locked then.
fn at_once(
    readers: &[Reader],
    writers: &[Reader],
    work: impl FnOnce() -> Result<(), BackupError>,
) -> Result<Option<(i64, Duration)>, BackupError> {
    let start = Instant::now();
    let begin = |which: &[Reader], statement: &str| {
        for (number, reader) in which.iter().enumerate() {
            match reader.connection.execute_batch(statement) {
                Ok(()) => {}
                Err(error) => {
                    end(&which[..=number])?;
                    return match error.sqlite_error_code() {
                        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Ok(false),
                        _ => Err(BackupError::database(&reader.path)(error)),
                    };
                }
            }
        }
        Ok(true)
    };
    if !begin(writers, "BEGIN IMMEDIATE")? {
        return Ok(None);
    }
    let begun = begin(readers, "BEGIN; SELECT count(*) FROM sqlite_master");
    let taken_at = now();
    let worked = match begun {
        Ok(true) => work().map(|()| true),
        other => other,
    };
    end(writers)?;
    match worked {
        Ok(true) => Ok(Some((taken_at, start.elapsed()))),
        Ok(false) => Ok(None),
        Err(error) => {
            end(readers)?;
            Err(error)
        }
    }
}

fn end(which: &[Reader]) -> Result<(), BackupError> {
    for reader in which {
        // What could not be begun has nothing to end.
        if reader.connection.is_autocommit() {
            continue;
        }
        reader
            .connection
            .execute_batch("ROLLBACK")
            .map_err(BackupError::database(&reader.path))?;
    }
    Ok(())
}

/// What came since then, while everybody waits.
fn hold_the_rest(
    readers: &[Reader],
    state: &Path,
    held: &Held,
    before: &HashSet<String>,
) -> Result<(), BackupError> {
    for name in object_names(readers)? {
        if !before.contains(&name) && !held.hold(state, &name)? {
            return Err(BackupError::LostObject(name));
        }
    }
    Ok(())
}

/// Token, signing key, logins: each is replaced as a whole by whoever changes it.
fn small_files(state: &Path) -> Result<Vec<(&'static str, Vec<u8>)>, BackupError> {
    let mut found = Vec::new();
    for name in FILES {
        let path = state.join(name);
        match fs::read(&path) {
            Ok(bytes) => found.push((name, bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BackupError::system("read", &path)(error)),
        }
    }
    Ok(found)
}

fn object_names(readers: &[Reader]) -> Result<HashSet<String>, BackupError> {
    let Some(rows) = readers.iter().find(|reader| reader.name == OBJECT_ROWS) else {
        return Ok(HashSet::new());
    };
    crate::aws::object_files(&rows.connection).map_err(BackupError::database(&rows.path))
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
