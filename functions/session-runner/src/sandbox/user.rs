//! Isolation by uid: the program runs as a user of its own, and everything of that user dies.

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid};

use super::bare;
use super::plan::Plan;
use super::stages::{Attempted, StageError, die_with_parent, replace};

/// Gives up every privilege of root and becomes `user`.
pub(crate) fn become_user(user: u32) -> Result<(), StageError> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    if uid.is_root() {
        return Err(StageError::Plan("a session may not run as root".to_owned()));
    }
    nix::unistd::setgroups(&[]).attempted("leave all groups")?;
    nix::unistd::setresgid(gid, gid, gid).attempted(format!("become group {user}"))?;
    nix::unistd::setresuid(uid, uid, uid).attempted(format!("become user {user}"))
}

/// Becomes the plan's user and then its program. Returns only if that fails.
pub(crate) fn become_and_run(plan: &Plan) -> StageError {
    match prepare(plan) {
        Ok(()) => replace(plan),
        Err(error) => error,
    }
}

/// Becomes the plan's user and stays beside its program, whose end is not the end of that user's other
/// programs. Gives its exit code.
pub(crate) fn become_and_keep(plan: &Plan) -> Result<i32, StageError> {
    become_user_of(plan)?;
    nix::sys::prctl::set_no_new_privs().attempted("refuse new privileges")?;
    bare::enter(plan)
}

fn prepare(plan: &Plan) -> Result<(), StageError> {
    become_user_of(plan)?;
    // Becoming another user unbinds the process from its parent's life.
    die_with_parent()?;
    if nix::unistd::getppid().as_raw() as u32 != plan.runner {
        return Err(StageError::Orphaned);
    }
    nix::sys::prctl::set_no_new_privs().attempted("refuse new privileges")?;
    Ok(())
}

fn become_user_of(plan: &Plan) -> Result<(), StageError> {
    let Some(user) = plan.user else {
        return Err(StageError::Plan(
            "the isolation \"uid\" needs a user to become".to_owned(),
        ));
    };
    become_user(user)
}

/// Kills every process of `user`, this one included. Call it until the user has no process.
pub(crate) fn kill_all(user: u32) -> Result<(), StageError> {
    become_user(user)?;
    // To all that this user may signal, in one system call: nothing can fork away in between.
    kill(Pid::from_raw(-1), Signal::SIGKILL).attempted(format!("kill the processes of user {user}"))
}
