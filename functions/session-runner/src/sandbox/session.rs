//! A running program in its sandbox, and the end of everything that it started.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::launch::Sandbox;
use super::plan::{Isolation, STAGE_FAILED_CODE};
use super::processes;
use super::stages::KILL_NOW;

/// A running program and all that it started.
#[derive(Debug)]
pub struct Session {
    /// The first stage; its standard streams are the program's.
    pub child: Child,
    isolation: Isolation,
    /// The first stage stays beside the program, and ends what it started.
    stage_stays: bool,
    user: Option<u32>,
    runner_program: PathBuf,
    /// Lives as long as the session: stages may read it late. Only the runner's user can.
    #[expect(dead_code, reason = "dropping it deletes the file")]
    plan: tempfile::NamedTempFile,
}

/// How long it may take until all that a stage kills has ended, before the stage itself is killed.
const STAGE_END: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

impl Session {
    /// What `sandbox` has just started according to `plan`.
    pub(super) fn new(
        child: Child,
        sandbox: &Sandbox,
        stage_stays: bool,
        plan: tempfile::NamedTempFile,
    ) -> Self {
        Session {
            child,
            isolation: sandbox.isolation(),
            stage_stays,
            user: sandbox.user(),
            runner_program: sandbox.runner_program().to_owned(),
            plan,
        }
    }

    /// Asks the program to end by itself (SIGTERM). Its process may be gone already.
    pub fn terminate(&self) {
        if let Some(pid) = self.pid() {
            // Fails only if it is gone, which is what was asked for.
            let _ = kill(pid, Signal::SIGTERM);
        }
    }

    fn pid(&self) -> Option<Pid> {
        self.child.id().map(|pid| Pid::from_raw(pid.cast_signed()))
    }

    /// Kills the program and everything it started, and returns when all of it is gone. Repeating
    /// it is harmless.
    ///
    /// # Errors
    /// The system's, if something survives; say so in a log, there is nothing else to do.
    pub async fn kill_all(&mut self) -> std::io::Result<ExitStatus> {
        match self.isolation {
            // A stage that was waited for has ended, and with it everything.
            _ if self.stage_stays => self.kill_by_stage().await,
            Isolation::Namespaces | Isolation::None => self.kill_by_stage().await,
            Isolation::Uid => {
                // Also after the program ended by itself: what it left belongs to its user.
                self.kill_child()?;
                self.kill_user().await?;
                self.child.wait().await
            }
        }
    }

    fn kill_child(&mut self) -> std::io::Result<()> {
        // One that has been waited for has no process id any more, and needs no signal.
        if self.child.id().is_some() {
            self.child.start_kill()
        } else {
            Ok(())
        }
    }

    async fn kill_by_stage(&mut self) -> std::io::Result<ExitStatus> {
        if let Some(pid) = self.pid() {
            // The first stage kills the others and ends when they are gone.
            let _ = kill(pid, KILL_NOW);
        }
        let (status, in_time) = match tokio::time::timeout(STAGE_END, self.child.wait()).await {
            Ok(status) => (status?, true),
            Err(_) => {
                self.kill_child()?;
                (self.child.wait().await?, false)
            }
        };
        // A namespace dies with its stage. Without one only the stage can say that all is gone.
        let problem = match self.stage_stays {
            true if !in_time => "was killed",
            true if status.code() == Some(STAGE_FAILED_CODE) => "failed",
            _ => return Ok(status),
        };
        Err(std::io::Error::other(format!(
            "the stage of the sandbox {problem}; what it kept may live"
        )))
    }

    async fn kill_user(&self) -> std::io::Result<()> {
        let Some(user) = self.user else {
            return Ok(());
        };
        loop {
            let mut killer = Command::new(&self.runner_program);
            killer
                .args(["sandbox", "kill-user", &user.to_string()])
                .env_clear()
                .stdin(Stdio::null());
            killer
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .process_group(0);
            // It kills itself too, so its status says nothing.
            killer.status().await?;
            if !user_has_processes(user)? {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.stage_stays
            && let Some(pid) = self.pid()
        {
            // Gone already is what was wanted.
            let _ = kill(pid, KILL_NOW);
        }
    }
}

fn user_has_processes(user: u32) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let table = processes::table()?;
    // A process that ended meanwhile has no data any more. A dead one that nobody has waited for has
    // no user's memory or files any more either.
    Ok(table.iter().filter(|process| !process.is_dead).any(|it| {
        let data = std::fs::metadata(format!("/proc/{}", it.id));
        data.is_ok_and(|data| data.uid() == user)
    }))
}
