//! Isolation by namespaces: the three stages between the runner and the program.

use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getegid, geteuid};

use super::stages::{Attempted, KILL_NOW, StageError, die_with_parent, read_plan};
use super::{root, user};

/// First stage: leaves the machine's namespaces, then only waits and passes signals on.
pub(crate) fn enter(plan: &Path) -> Result<i32, StageError> {
    let signals = catch_signals()?;
    let rest = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    if geteuid().is_root() {
        unshare(rest).attempted("make namespaces")?;
    } else {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        unshare(CloneFlags::CLONE_NEWUSER | rest).attempted(
            "make namespaces as an ordinary user (does this machine allow unprivileged user namespaces?)",
        )?;
        map_user(0, uid, 0, gid)?;
    }
    let first = again("first")
        .arg(plan)
        .arg(std::process::id().to_string())
        .spawn()
        .attempted("start the first process of the sandbox")?;
    let first = identity(&first);
    supervise(&signals, first, |signal| {
        let signal = if signal == KILL_NOW {
            Signal::SIGKILL
        } else {
            signal
        };
        // Gone already is what was wanted.
        let _ = kill(first, signal);
    })
}

/// First process of the namespace: builds the root, gives up root, starts the last stage, reaps.
pub(crate) fn first(plan: &Path, parent: u32) -> Result<i32, StageError> {
    let plan = read_plan(plan)?;
    die_with_parent()?;
    // A parent that died before the line above is not seen by the kernel's promise, so look once,
    // while the machine's /proc is there. The open file keeps looking at it afterwards.
    let witness =
        std::fs::File::open(format!("/proc/{parent}/stat")).map_err(|_| StageError::Orphaned)?;
    still_there(&witness)?;
    let signals = catch_signals()?;
    let helper = root::build(&plan)?;
    if let Some(user) = plan
        .user
        .filter(|_| geteuid().is_root() && root::is_real_root(&plan))
    {
        user::become_user(user)?;
        // Becoming another user unbinds the process from its parent's life: bind, and look again.
        die_with_parent()?;
        still_there(&witness)?;
    }
    drop(witness);
    nix::sys::prctl::set_dumpable(false)
        .attempted("hide the memory of the sandbox's first process")?;
    let mut last = Command::new(helper);
    last.args(["sandbox", "last"])
        .args(&plan.command)
        .env_clear()
        .envs(plan.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&plan.working_directory);
    let last = last
        .spawn()
        .attempted("start the last stage of the sandbox")?;
    let last = identity(&last);
    supervise(&signals, last, |signal| {
        let _ = kill(last, signal);
    })
    // Returning ends the namespace's first process, and the kernel kills all others in it.
}

/// Last stage: one more user namespace, without any privilege over the others, then the program.
/// Returns only if that fails.
pub(crate) fn last(program: &OsString, arguments: &[&OsString]) -> StageError {
    match give_up_everything() {
        Ok(()) => {
            let error = Command::new(program).args(arguments).exec();
            StageError::System {
                attempted: format!("start {}", program.display()),
                source: error,
            }
        }
        Err(error) => error,
    }
}

/// Uid and gid of the session inside its namespace.
const SESSION_USER: u32 = 1000;

fn give_up_everything() -> Result<(), StageError> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    // The blocked signals of the stage before are inherited; the session must hear them.
    SigSet::empty()
        .thread_set_mask()
        .attempted("unblock signals")?;
    unshare(CloneFlags::CLONE_NEWUSER).attempted("make the session's user namespace")?;
    map_user(SESSION_USER, uid, SESSION_USER, gid)?;
    nix::sys::prctl::set_no_new_privs().attempted("refuse new privileges")
}

fn map_user(
    inside: u32,
    outside: u32,
    inside_group: u32,
    outside_group: u32,
) -> Result<(), StageError> {
    std::fs::write("/proc/self/setgroups", "deny").attempted("deny setgroups")?;
    std::fs::write("/proc/self/uid_map", format!("{inside} {outside} 1"))
        .attempted("map the user")?;
    std::fs::write(
        "/proc/self/gid_map",
        format!("{inside_group} {outside_group} 1"),
    )
    .attempted("map the group")
}

fn again(stage: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("session-runner")
        .args(["sandbox", stage])
        .env_clear();
    command
}

fn identity(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

fn still_there(mut stat: &std::fs::File) -> Result<(), StageError> {
    let mut text = String::new();
    stat.seek(SeekFrom::Start(0))
        .map_err(|_| StageError::Orphaned)?;
    stat.read_to_string(&mut text)
        .map_err(|_| StageError::Orphaned)?;
    // The state follows the name in parentheses: Z and X are dead.
    match text
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next())
    {
        Some('Z' | 'X') | None => Err(StageError::Orphaned),
        Some(_) => Ok(()),
    }
}

/// Blocks the signals that this stage waits for. Children inherit that; [`last`] undoes it.
fn catch_signals() -> Result<SigSet, StageError> {
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGCHLD,
    ] {
        signals.add(signal);
    }
    signals.thread_block().attempted("block signals")?;
    Ok(signals)
}

/// Reaps children until `child` has ended; gives its exit code. Other signals go to `pass_on`.
fn supervise(signals: &SigSet, child: Pid, pass_on: impl Fn(Signal)) -> Result<i32, StageError> {
    loop {
        if let Some(code) = reap(child)? {
            return Ok(code);
        }
        match signals.wait() {
            Ok(Signal::SIGCHLD) | Err(Errno::EINTR) => {}
            Ok(signal) => pass_on(signal),
            Err(error) => return Err(error).attempted("wait for signals"),
        }
    }
}

fn reap(child: Pid) -> Result<Option<i32>, StageError> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return Ok(None),
            Ok(WaitStatus::Exited(pid, code)) if pid == child => return Ok(Some(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Ok(Some(128 + signal as i32));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).attempted("wait for the session"),
        }
    }
}
