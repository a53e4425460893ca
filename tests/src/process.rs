//! What runs on this machine, as `/proc` shows it: for tests that nothing survives.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Name of the shell that watches over an emulator; it knows the emulator's arguments and is none
/// of its processes.
pub(crate) const WATCH_NAME: &str = "shannon-tests-watch";

/// A running process.
#[derive(Debug, Clone)]
pub struct Running {
    /// Its id in the namespace of the test.
    pub id: u32,
    /// Its arguments, separated by blanks.
    pub command_line: String,
    /// The environment it was started with; empty when it belongs to somebody else.
    pub environment: String,
}

/// Every process whose command line or environment contains `text`, this one and the shells that watch
/// over emulators excepted.
///
/// # Panics
/// Without `/proc` (these tests need Linux).
pub fn running_with(text: &str) -> Vec<Running> {
    let entries = fs::read_dir("/proc").expect("these tests need /proc");
    entries
        .filter_map(|entry| {
            let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            // A process may end while we look at it: then it is not running.
            let read = |file: &str| {
                let bytes = fs::read(PathBuf::from(format!("/proc/{id}/{file}"))).ok()?;
                Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
            };
            Some(Running {
                id,
                command_line: read("cmdline")?,
                environment: read("environ").unwrap_or_default(),
            })
        })
        .filter(|process| process.id != std::process::id())
        .filter(|process| !process.command_line.contains(WATCH_NAME))
        .filter(|process| process.command_line.contains(text) || process.environment.contains(text))
        .collect()
}

/// The runner of a session: the process that was given the session by name.
///
/// # Panics
/// When there is none.
pub fn runner_of(session: &str) -> Running {
    let variable = format!("SHANNON_SESSION={session} ");
    let mut found = running_with(&variable);
    found.retain(|process| process.environment.contains(&variable));
    assert!(!found.is_empty(), "no runner of {session}");
    // The oldest one: the runner may have started others with the same environment.
    found.sort_by_key(|process| process.id);
    found.swap_remove(0)
}

/// Kills with a signal that cannot be caught.
///
/// # Panics
/// When the process is already gone: the test meant to kill it.
pub fn kill_hard(id: u32) {
    let id = Pid::from_raw(i32::try_from(id).expect("a process id is a small number"));
    kill(id, Signal::SIGKILL).unwrap_or_else(|error| panic!("killing {id}: {error}"));
}

/// Asks a process to end (SIGTERM).
///
/// # Panics
/// When it is already gone.
pub fn ask_to_end(id: u32) {
    let id = Pid::from_raw(i32::try_from(id).expect("a process id is a small number"));
    kill(id, Signal::SIGTERM).unwrap_or_else(|error| panic!("asking {id} to end: {error}"));
}

/// Looks again until `done`, at most for `limit`; true when it came true.
pub fn eventually(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if done() {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
