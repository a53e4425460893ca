//! Whether sessions can have namespaces of their own on this machine.

use std::{path::Path, process::ExitCode};

/// The hidden subcommand that [`available`] runs: it changes the process it runs in, so it needs one
/// of its own, before any thread exists.
pub const PROBE: &str = "probe-namespaces";
/// Its second argument in the process that is the first of the new process namespace.
const INSIDE: &str = "inside";

/// Why sessions are not isolated, or `None` when they can be.
pub async fn problem(emulator: &Path) -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("namespaces need Linux".to_owned());
    }
    let probe = tokio::process::Command::new(emulator)
        .arg(PROBE)
        .env_clear()
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    match probe {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("the probe did not run: {error}")),
    }
}

/// Does what the session runner will do first, and says with its exit code whether it worked.
#[must_use]
pub fn probe() -> ExitCode {
    let inside = std::env::args_os()
        .nth(2)
        .is_some_and(|word| word == INSIDE);
    let outcome = if inside { attempt_inside() } else { attempt() };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(target_os = "linux")]
fn attempt() -> Result<(), String> {
    use nix::{
        mount::{MsFlags, mount},
        sched::{CloneFlags, unshare},
        unistd::{getegid, geteuid},
    };
    let user = CloneFlags::CLONE_NEWUSER;
    let rest = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    let (uid, gid) = (geteuid(), getegid());
    let said = |action: &str, error: &dyn std::fmt::Display| format!("{action}: {error}");
    if uid.is_root() {
        unshare(rest).map_err(|error| said("this machine gives root no namespaces", &error))?;
    } else {
        unshare(user | rest)
            .map_err(|error| said("this machine gives users no namespaces", &error))?;
        for (file, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("0 {uid} 1")),
            ("gid_map", format!("0 {gid} 1")),
        ] {
            std::fs::write(format!("/proc/self/{file}"), text)
                .map_err(|error| said("users cannot be mapped into a namespace", &error))?;
        }
    }
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|error| said("nothing can be mounted in a namespace", &error))?;
    let inside = std::process::Command::new("/proc/self/exe")
        .args([PROBE, INSIDE])
        .output()
        .map_err(|error| said("nothing runs in a process namespace", &error))?;
    if !inside.status.success() {
        return Err(String::from_utf8_lossy(&inside.stderr).trim().to_owned());
    }
    // the innermost stage of a session gives up all privileges in one more
    unshare(user).map_err(|error| said("namespaces cannot be nested", &error))
}

/// A container with a masked /proc permits everything else.
#[cfg(target_os = "linux")]
fn attempt_inside() -> Result<(), String> {
    let none: Option<&str> = None;
    nix::mount::mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        nix::mount::MsFlags::empty(),
        none,
    )
    .map_err(|error| format!("/proc cannot be mounted in a namespace: {error}"))
}

#[cfg(not(target_os = "linux"))]
fn attempt_inside() -> Result<(), String> {
    attempt()
}

#[cfg(not(target_os = "linux"))]
fn attempt() -> Result<(), String> {
    Err("namespaces need Linux".to_owned())
}
