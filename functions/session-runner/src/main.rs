//! `session-runner`: runs one session (no arguments), or is one of its own small helpers.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use session_runner::{find_claude, gate_helper, heartbeat, sandbox, task};

const USAGE: &str = "session-runner runs the session that the SHANNON_ environment names.
  session-runner
  session-runner health [FILE]        (whether the runner of this container lives)
  session-runner find-claude --json [--managed DIRECTORY]
  session-runner gate SOCKET          (started by the CLI)
  session-runner sandbox STAGE ..     (started by the runner)";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments
        .iter()
        .map(|word| word.to_str().unwrap_or_default())
        .collect();
    match words[..] {
        [] => boot::run("session-runner", task::run),
        ["gate", _] => {
            let code = gate_helper::run(
                &arguments[1],
                std::io::stdin(),
                std::io::stdout(),
                std::io::stderr(),
            );
            exit(code)
        }
        ["health"] => health(heartbeat::IN_CONTAINER.as_ref()),
        ["health", _] => health(arguments[1].as_ref()),
        // Before any thread: unsharing a user namespace needs a process with one.
        ["sandbox", ..] => match sandbox::stages::run(&arguments[1..]) {
            Ok(code) => exit(code),
            Err(error) => {
                say(&sandbox::stages::failure_line(&error));
                exit(sandbox::plan::STAGE_FAILED_CODE)
            }
        },
        ["find-claude", ..] => match find_claude(&arguments[1..]) {
            Ok(line) => exit(i32::from(writeln!(std::io::stdout(), "{line}").is_err())),
            Err(problem) => {
                say(&problem);
                exit(64)
            }
        },
        _ => {
            say(USAGE);
            exit(64)
        }
    }
}

/// Exit code 0 or 1, as a container's health check wants it.
fn health(file: &std::path::Path) -> ExitCode {
    let lease = boot::Settings::from_environment()
        .and_then(|settings| settings.integer("SHANNON_LEASE_SECONDS"));
    let checked = match lease {
        Ok(seconds) => heartbeat::check(file, std::time::Duration::from_secs(seconds)),
        Err(error) => Err(error.to_string()),
    };
    match checked {
        Ok(()) => exit(0),
        Err(problem) => {
            say(&problem);
            exit(1)
        }
    }
}

fn find_claude(arguments: &[OsString]) -> Result<String, String> {
    let search = find_claude::search(arguments, |name| std::env::var_os(name))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(find_claude::report(&search))
}

fn exit(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn say(text: &str) {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}
