//! The hidden subcommand `child`: ties a process to the life of the emulator that started it.
//!
//! On Linux it asks the kernel to kill it when its parent dies, checks that the parent has not died
//! before that, and becomes the program. Elsewhere it stays, as the program's parent, and kills the
//! process group when the pipe on its standard input closes, which the emulator's death does.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

/// Exit code when the program could not be run, as shells have it.
const CANNOT_RUN: u8 = 127;
/// Exit code when the emulator was gone before the program started.
const ORPHANED: u8 = 125;

/// How the child is tied to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Parent-death signal, then `exec`.
    Exec,
    /// Stay as its parent and watch a pipe.
    Keep,
}

impl Mode {
    pub(super) fn of_this_system() -> Self {
        if cfg!(target_os = "linux") {
            Self::Exec
        } else {
            Self::Keep
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Keep => "keep",
        }
    }
}

/// The command line that [`run_child`] understands.
pub(super) fn arguments(mode: Mode, program: &Path, arguments: &[String]) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec![
        "child".into(),
        mode.word().into(),
        std::process::id().to_string().into(),
        program.into(),
    ];
    line.extend(arguments.iter().map(Into::into));
    line
}

/// The first thing in the emulator's `main`, before any thread or runtime exists.
///
/// When the process was started as a child wrapper (`emulator child ..`), becomes the child and
/// gives the exit code if that fails or the child ended. Otherwise gives `None` and remembers that
/// this binary can be used as wrapper, which [`super::spawn`] needs.
pub fn run_child(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new("child")) {
        match own_binary() {
            Ok(binary) => super::set_wrapper(binary),
            Err(error) => tracing::error!(%error, "cannot tell where the emulator's binary is"),
        }
        return None;
    }
    let mode = arguments.next();
    let parent = arguments
        .next()
        .and_then(|text| text.to_str()?.parse::<i32>().ok());
    let (Some(mode), Some(parent), Some(program)) = (mode, parent, arguments.next()) else {
        eprintln!("usage: emulator child exec|keep <parent process id> <program> [<argument>..]");
        return Some(ExitCode::from(2));
    };
    let rest: Vec<OsString> = arguments.collect();
    Some(match mode.to_str() {
        #[cfg(target_os = "linux")]
        Some("exec") => exec(parent, &program, &rest),
        Some("keep") => keep(parent, &program, &rest),
        _ => {
            eprintln!("emulator child: unknown mode {}", mode.display());
            ExitCode::from(2)
        }
    })
}

/// On Linux the name that means the same binary even after a rebuild replaced the file.
fn own_binary() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    std::env::current_exe()
}

#[cfg(target_os = "linux")]
fn exec(parent: i32, program: &OsStr, arguments: &[OsString]) -> ExitCode {
    use std::os::unix::process::CommandExt;
    if let Err(error) = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL) {
        eprintln!("emulator child: cannot ask for the parent-death signal: {error}");
        return ExitCode::from(CANNOT_RUN);
    }
    // The signal covers deaths from now on; an earlier one shows as a different parent.
    if orphaned(parent) {
        return ExitCode::from(ORPHANED);
    }
    let error = std::process::Command::new(program).args(arguments).exec();
    eprintln!("emulator child: cannot run {}: {error}", program.display());
    ExitCode::from(CANNOT_RUN)
}

fn orphaned(parent: i32) -> bool {
    nix::unistd::getppid() != Pid::from_raw(parent)
}

fn keep(parent: i32, program: &OsStr, arguments: &[OsString]) -> ExitCode {
    if orphaned(parent) {
        return ExitCode::from(ORPHANED);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("emulator child: no runtime: {error}");
            return ExitCode::from(CANNOT_RUN);
        }
    };
    let code = match runtime.block_on(keep_running(program, arguments)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("emulator child: cannot run {}: {error}", program.display());
            ExitCode::from(CANNOT_RUN)
        }
    };
    // The thread that reads standard input may never end.
    runtime.shutdown_background();
    code
}

async fn keep_running(program: &OsStr, arguments: &[OsString]) -> io::Result<u8> {
    use std::os::unix::process::ExitStatusExt;
    use tokio::signal::unix::{SignalKind, signal};
    let mut asked_to_end = signal(SignalKind::terminate())?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .spawn()?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let mut lifeline = Box::pin(lifeline_closed());
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status?;
                return Ok(match (status.code(), status.signal()) {
                    (Some(code), _) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
                    (None, Some(number)) => u8::try_from(128 + (number & 0x7f)).unwrap_or(u8::MAX),
                    (None, None) => u8::MAX,
                });
            }
            _ = asked_to_end.recv() => if let Some(id) = id {
                signal::kill(Pid::from_raw(id), Signal::SIGTERM)?;
            },
            () = &mut lifeline => {
                // The emulator made us the leader of a group; this ends us too.
                signal::killpg(nix::unistd::getpgrp(), Signal::SIGKILL)?;
            }
        }
    }
}

async fn lifeline_closed() {
    use tokio::io::AsyncReadExt;
    let mut input = tokio::io::stdin();
    let mut bytes = [0; 64];
    // An error means the same as the end: nobody holds the other side any more.
    while let Ok(1..) = input.read(&mut bytes).await {}
}
