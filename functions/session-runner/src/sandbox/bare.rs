//! No isolation: this stage stays beside the program, and ends what the program started with it.
//!
//! On Linux whatever loses its parent becomes a child of this stage, so nothing can leave it.
//! Elsewhere it looks at the table of processes twice a second and remembers who belongs to the
//! session, and which process groups: what leaves both its parent and its group between two looks is
//! not seen.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgid, getpgrp, getppid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::plan::Plan;
use super::processes::{self, Process};
use super::stages::{Attempted, StageError, failure_line};

/// Between two looks at the table of processes, and at whether the runner lives.
const LOOK: Duration = Duration::from_millis(500);
/// Between two attempts to end everything.
const AGAIN: Duration = Duration::from_millis(5);
/// Looks that may fail before the end is given up.
const TRIES: u32 = 200;

/// Runs the plan's program until it has ended, or is to be killed, or the runner is gone; nothing of
/// it is left then. Gives its exit code.
///
/// # Errors
/// [`StageError`]; [`StageError::Survivors`] names what runs as somebody else and could not be killed.
pub(crate) fn enter(plan: &Plan) -> Result<i32, StageError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .attempted("wait for the session")?;
    runtime.block_on(keep(plan))
}

async fn keep(plan: &Plan) -> Result<i32, StageError> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(true).attempted("take in what loses its parent")?;
    let hear = |kind| signal(kind).attempted("listen to signals");
    let mut ended = hear(SignalKind::child())?;
    let mut kill_now = hear(SignalKind::quit())?;
    let mut terminate = hear(SignalKind::terminate())?;
    let mut interrupt = hear(SignalKind::interrupt())?;
    let mut hang_up = hear(SignalKind::hangup())?;
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut family = Family::new();
    let child = Command::new(&plan.command[0])
        .args(&plan.command[1..])
        .env_clear()
        .envs(plan.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&plan.working_directory)
        .spawn()
        .attempted(format!("start {}", plan.command[0]))?;
    let child = Pid::from_raw(child.id().cast_signed());
    let code = loop {
        if let Some(code) = reap(Some(child))? {
            break code;
        }
        let pass_on = tokio::select! {
            _ = ended.recv() => continue,
            _ = kill_now.recv() => break 128 + Signal::SIGKILL as i32,
            _ = terminate.recv() => Signal::SIGTERM,
            _ = interrupt.recv() => Signal::SIGINT,
            _ = hang_up.recv() => Signal::SIGHUP,
            _ = look.tick() => {
                if getppid().as_raw().cast_unsigned() != plan.runner {
                    break 128 + Signal::SIGKILL as i32;
                }
                if let Err(error) = family.look() {
                    // A look that fails is one that comes half a second later.
                    eprintln!("{}", failure_line(&error));
                }
                continue;
            }
        };
        // Gone already is what was wanted.
        let _ = kill(child, pass_on);
    };
    // Before anything that may fail: the program itself.
    let _ = kill(child, Signal::SIGKILL);
    family.end().await?;
    Ok(code)
}

/// Waits for whoever has ended; gives the exit code of `child` once it has.
fn reap(child: Option<Pid>) -> Result<Option<i32>, StageError> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            Ok(WaitStatus::Exited(pid, code)) if Some(pid) == child => return Ok(Some(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if Some(pid) == child => {
                return Ok(Some(128 + signal as i32));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).attempted("wait for the session"),
        }
    }
}

/// Who belongs to the session, as of the last look.
#[derive(Debug)]
struct Family {
    /// This stage.
    stage: u32,
    /// The runner's process group.
    foreign: Option<u32>,
    /// With the time of its start, which tells it from a later process with the same number.
    known: BTreeSet<(u32, String)>,
    /// Process groups with a member that is known. A number is not used again while a group has
    /// members, and none goes unseen for long enough to come round.
    groups: BTreeSet<u32>,
    /// Those that may not be killed: they run as somebody else.
    untouchable: BTreeSet<u32>,
}

impl Family {
    fn new() -> Self {
        let own = getpgrp().as_raw().cast_unsigned();
        let runners = getpgid(Some(getppid())).ok();
        let foreign = runners.map(|group| group.as_raw().cast_unsigned());
        Family {
            stage: std::process::id(),
            foreign,
            known: BTreeSet::new(),
            groups: BTreeSet::from_iter(Some(own).filter(|own| Some(*own) != foreign)),
            untouchable: BTreeSet::new(),
        }
    }

    /// Looks at the table, and gives those who live, also those that may not be killed.
    fn look(&mut self) -> Result<Vec<u32>, StageError> {
        let table = processes::table().attempted("list the processes")?;
        Ok(self.members(&table))
    }

    fn members(&mut self, table: &[Process]) -> Vec<u32> {
        let mut found: BTreeSet<u32> = BTreeSet::from([self.stage]);
        loop {
            let before = found.len();
            for process in table {
                let known = self.known.contains(&(process.id, process.started.clone()));
                if known || found.contains(&process.parent) || self.groups.contains(&process.group)
                {
                    found.insert(process.id);
                }
            }
            if found.len() == before {
                break;
            }
        }
        found.remove(&self.stage);
        let members = || table.iter().filter(|process| found.contains(&process.id));
        self.known = members()
            .map(|process| (process.id, process.started.clone()))
            .collect();
        self.groups = members()
            .map(|process| process.group)
            .filter(|group| Some(*group) != self.foreign)
            .collect();
        members()
            .filter(|process| !process.is_dead)
            .map(|process| process.id)
            .collect()
    }

    /// Whether those who live are only such as may not be killed, and what to tell then.
    fn is_over(&self, living: &[u32]) -> Option<Result<(), StageError>> {
        if !living
            .iter()
            .all(|process| self.untouchable.contains(process))
        {
            return None;
        }
        Some(match living {
            [] => Ok(()),
            survivors => Err(StageError::Survivors(survivors.to_vec())),
        })
    }

    /// Kills until nobody lives: what a dying process starts is found by the next look.
    async fn end(&mut self) -> Result<(), StageError> {
        let mut tries = TRIES;
        loop {
            let living = match self.look() {
                Ok(living) => match self.is_over(&living) {
                    Some(over) => return over,
                    None => living,
                },
                Err(error) if tries == 0 => return Err(error),
                Err(_) => {
                    tries -= 1;
                    vec![]
                }
            };
            for process in living {
                // Gone already is what was wanted.
                let killed = kill(Pid::from_raw(process.cast_signed()), Signal::SIGKILL);
                if killed == Err(Errno::EPERM) {
                    self.untouchable.insert(process);
                }
            }
            tokio::time::sleep(AGAIN).await;
            reap(None)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(id: u32, parent: u32, group: u32) -> Process {
        Process {
            id,
            parent,
            group,
            started: "then".to_owned(),
            is_dead: false,
        }
    }

    fn family() -> Family {
        Family {
            stage: 10,
            foreign: Some(5),
            known: BTreeSet::new(),
            groups: BTreeSet::from([10]),
            untouchable: BTreeSet::new(),
        }
    }

    #[test]
    fn who_was_seen_once_stays_known_by_itself_or_by_its_group() {
        let mut family = family();
        let runner = process(5, 1, 5);
        let others = [runner.clone(), process(7, 5, 7), process(8, 1, 8)];
        // The CLI, its shell in a group of its own, and two that the shell started.
        let at_first = [
            process(11, 10, 10),
            process(12, 11, 12),
            process(13, 12, 13),
            process(14, 12, 12),
        ];
        let table: Vec<Process> = others.iter().chain(&at_first).cloned().collect();
        assert_eq!(family.members(&table), [11, 12, 13, 14]);
        // CLI and shell are gone: one went to a group of its own, one has started another since.
        let later = [
            process(13, 1, 13),
            process(14, 1, 12),
            process(15, 1, 12),
            process(16, 13, 16),
        ];
        let table: Vec<Process> = others.iter().chain(&later).cloned().collect();
        assert_eq!(family.members(&table), [13, 14, 15, 16]);
        // The same number, but another process.
        let mut stranger = process(13, 1, 20);
        stranger.started = "later".to_owned();
        assert_eq!(family.members(&[runner, stranger]), Vec::<u32>::new());
    }

    #[test]
    fn who_may_not_be_killed_is_named_once_it_is_alone() {
        let mut family = family();
        let table = [process(11, 10, 10), process(12, 10, 12)];
        let living = family.members(&table);
        assert!(family.is_over(&living).is_none());
        family.untouchable.insert(12);
        assert!(family.is_over(&living).is_none());
        let living = family.members(&table[1..]);
        let over = family.is_over(&living).expect("it is over");
        let told = over.expect_err("one lives on").to_string();
        assert!(told.ends_with("lives on: processes [12]"), "{told}");
        // It has ended by itself meanwhile.
        let mut table = table;
        table[1].is_dead = true;
        let living = family.members(&table[1..]);
        assert!(matches!(family.is_over(&living), Some(Ok(()))));
    }

    #[test]
    fn who_joins_the_runners_group_does_not_make_the_runner_one_of_the_session() {
        let mut family = family();
        let table = [process(5, 1, 5), process(6, 1, 5), process(11, 10, 5)];
        assert_eq!(family.members(&table), [11]);
        assert_eq!(family.members(&table), [11]);
    }
}
