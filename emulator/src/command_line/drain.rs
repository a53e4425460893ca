//! `emulator drain`: asks the stack of a state directory to stop, and waits until another may use it.

use std::time::{Duration, Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{FAILED, NO_STACK, SUCCESS, in_one_line, say};
use crate::{settings::Settings, stack::state};

/// The time of a stop unless the settings say.
const STOP_SECONDS: u64 = 110;
/// What comes after it: functions and services end.
const REST: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(50);

/// SIGTERM to the process, then the lock.
pub(super) async fn run(settings: &Settings) -> u8 {
    let directory = super::place::directory(settings);
    let running = match state::running(directory) {
        Ok(Some(running)) => running,
        Ok(None) => {
            say(&format!("no stack runs on {}", directory.display()));
            return NO_STACK;
        }
        Err(error) => {
            say(&in_one_line(&error));
            return FAILED;
        }
    };
    let Some(process) = i32::try_from(running.pid).ok().filter(|id| *id > 1) else {
        say("the description of the running stack names no process");
        return FAILED;
    };
    if let Err(error) = kill(Pid::from_raw(process), Signal::SIGTERM) {
        say(&format!("cannot ask process {process} to stop: {error}"));
        return FAILED;
    }
    let seconds = settings.integer("SHANNON_STOP_TIMEOUT_SECONDS");
    let limit = Duration::from_secs(seconds.unwrap_or(STOP_SECONDS)) + REST;
    let began = Instant::now();
    while began.elapsed() < limit {
        match state::in_use(directory) {
            Ok(false) => return SUCCESS,
            Ok(true) => tokio::time::sleep(LOOK).await,
            Err(error) => {
                say(&in_one_line(&error));
                return FAILED;
            }
        }
    }
    say(&format!(
        "process {process} still uses {}",
        directory.display()
    ));
    FAILED
}
