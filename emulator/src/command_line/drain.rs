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
    match state::running(directory) {
        Ok(Some(running)) => {
            if let Err(problem) = ask(running.pid) {
                say(&problem);
                return FAILED;
            }
        }
        // It starts, or somebody asked already.
        Ok(None) if matches!(state::in_use(directory), Ok(true)) => {}
        Ok(None) => {
            say(&format!("no stack runs on {}", directory.display()));
            return NO_STACK;
        }
        Err(error) => {
            say(&in_one_line(&error));
            return FAILED;
        }
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
    say(&format!("{} is still used", directory.display()));
    FAILED
}

fn ask(process: u32) -> Result<(), String> {
    // 0 and 1 would mean others, and so would what is no process id.
    let id = i32::try_from(process).ok().filter(|id| *id > 1);
    let id = id.ok_or("the description of the running stack names no process")?;
    kill(Pid::from_raw(id), Signal::SIGTERM)
        .map_err(|error| format!("cannot ask process {id} to stop: {error}"))
}
