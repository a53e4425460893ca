//! `emulator`: starts the stack, says where it is, waits for Ctrl-C, stops it.

use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{
    FAILED, INTERRUPTED, Interrupts, SUCCESS, StartArguments, USAGE, out, say, say_error,
    stack_options,
};
use crate::{process::LogLine, settings::Settings, stack};

pub(super) async fn run(arguments: &StartArguments, settings: Settings) -> u8 {
    let interrupts = match Interrupts::listen() {
        Ok(interrupts) => interrupts,
        Err(error) => {
            say_error(&error);
            return FAILED;
        }
    };
    let options = match stack_options(arguments, settings, arguments.ephemeral) {
        Ok(options) => options,
        Err(problem) => {
            say(&problem);
            return USAGE;
        }
    };
    let started = tokio::select! {
        started = stack::start(options) => started,
        () = interrupts.asked() => {
            say("stopped before it was ready");
            return INTERRUPTED;
        }
    };
    let running = match started {
        Ok(running) => running,
        Err(error) => {
            say(&format!("not started: {}", super::in_one_line(&error)));
            return FAILED;
        }
    };
    out(&running.banner());
    let shown = arguments
        .logs
        .then(|| tokio::spawn(show(running.logs().subscribe())));
    interrupts.asked().await;
    running.shutdown(&say).await;
    if let Some(shown) = shown {
        shown.abort();
    }
    SUCCESS
}

/// Lines of functions and tasks, each with the name of its source.
pub(super) async fn show(mut lines: Receiver<LogLine>) {
    loop {
        match lines.recv().await {
            Ok(line) => eprintln!("[{}] {}", line.name, line.line),
            Err(RecvError::Lagged(missed)) => {
                eprintln!("[emulator] {missed} lines are only in the log files")
            }
            Err(RecvError::Closed) => return,
        }
    }
}
