//! The emulator as a program: its arguments, its exit codes, what it prints where.
//!
//! Standard output carries only what was asked for (the start message, a session, a table);
//! everything else goes to standard error or to files.

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode, sync::Arc};

use tracing_subscriber::EnvFilter;

use crate::{
    build::{self, BuildError, Functions},
    settings::{self, Inputs, Settings, SettingsError, Source},
    stack::{StackOptions, model::ModelOptions},
};

mod arguments;
mod audit;
mod calls;
mod git_credential_arguments;
mod git_credentials;
mod interrupt;
mod key_arguments;
mod keys;
mod load;
mod messages;
mod place;
mod policies;
mod policy;
mod stack_client;
mod start;
mod stdio;
mod tried;

use arguments::{Arguments, AuditCommand, Command, ConfigCommand, PolicyCommand, StartArguments};
pub(crate) use interrupt::Interrupts;

/// Everything went well.
const SUCCESS: u8 = 0;
/// What was asked for failed.
const FAILED: u8 = 1;
/// The arguments or the settings are wrong.
const USAGE: u8 = 2;
/// The stack that was needed did not start.
const NO_STACK: u8 = 3;
/// The person interrupted it.
const INTERRUPTED: u8 = 130;

/// Runs the command line of this process to its end.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Arguments = clap::Parser::parse();
    let settings = match resolve(&arguments.start) {
        Ok(settings) => settings,
        Err(error) => {
            say_error(&error);
            let checking = matches!(arguments.command, Some(Command::Config { .. }));
            return ExitCode::from(if checking { FAILED } else { USAGE });
        }
    };
    start_logging(
        &settings,
        matches!(
            arguments.command,
            Some(
                Command::Try(_)
                    | Command::Stdio(_)
                    | Command::Policy { .. }
                    | Command::Key { .. }
                    | Command::GitCredential { .. }
                    | Command::Audit { .. }
                    | Command::Load(_)
            )
        ),
    );
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            say_error(&error);
            return ExitCode::from(FAILED);
        }
    };
    let code = runtime.block_on(async {
        match arguments.command {
            None | Some(Command::Start) => start::run(&arguments.start, settings).await,
            Some(Command::Try(tried)) => tried::run(tried, &arguments.start, settings).await,
            Some(Command::Stdio(stdio)) => stdio::run(stdio, &arguments.start, settings).await,
            Some(Command::Config {
                command: ConfigCommand::Check,
            }) => check(&settings),
            Some(Command::Policy { command }) => {
                let start = &arguments.start;
                match command {
                    PolicyCommand::Check(checked) => policy::check(checked, start, settings).await,
                    PolicyCommand::List { json } => policies::list(json, start, &settings).await,
                    PolicyCommand::Show(named) => policies::show(named, start, &settings).await,
                    PolicyCommand::Put(stored) => policies::put(stored, start, &settings).await,
                    PolicyCommand::Remove(named) => policies::remove(named, start, &settings).await,
                }
            }
            Some(Command::Key { command }) => keys::run(command, &arguments.start, &settings).await,
            Some(Command::GitCredential { command }) => {
                git_credentials::run(command, &arguments.start, &settings).await
            }
            Some(Command::Audit {
                command: AuditCommand::Verify(asked),
            }) => audit::verify(asked, &arguments.start, settings).await,
            Some(Command::Calls { json }) => calls::run(&settings, json).await,
            Some(Command::Load(asked)) => load::run(asked, &arguments.start, settings).await,
            Some(Command::Messages { json }) => messages::run(&settings, json).await,
        }
    });
    // a thread that reads or resolves a name may hang; nothing of ours waits for it
    runtime.shutdown_background();
    ExitCode::from(code)
}

fn resolve(start: &StartArguments) -> Result<Settings, SettingsError> {
    let current_directory =
        std::env::current_dir().map_err(|source| SettingsError::Unreadable {
            name: "the current directory".to_owned(),
            path: PathBuf::from("."),
            source,
        })?;
    settings::resolve(&Inputs {
        environment: std::env::vars_os().collect(),
        command_line: start.settings(),
        current_directory,
    })
}

fn check(settings: &Settings) -> u8 {
    match settings.report() {
        Ok(report) => {
            out(&report);
            SUCCESS
        }
        Err(error) => {
            say_error(&error);
            FAILED
        }
    }
}

/// Our own log lines go to standard error; `try` shows only what is wrong unless a level was set.
fn start_logging(settings: &Settings, quiet: bool) {
    let given = |name: &str| {
        let effective = settings.iter().find(|(found, _)| *found == name);
        effective.is_some_and(|(_, effective)| effective.source != Source::Default)
    };
    let level = match settings.text("SHANNON_LOG_LEVEL") {
        _ if settings.on("SHANNON_DEBUG") => "debug",
        _ if quiet && !given("SHANNON_LOG_LEVEL") => "warn",
        Some(level) => level,
        None => "info",
    };
    // s3s calls every missing object an error; ours are in the log of the function that asked.
    let filter = format!("{level},s3s=off");
    let logging = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let json = settings.text("SHANNON_LOG_FORMAT") == Some("json") && given("SHANNON_LOG_FORMAT");
    let set = if json {
        logging.json().try_init()
    } else {
        logging.try_init()
    };
    if let Err(error) = set {
        eprintln!("emulator: no logging: {error}");
    }
}

fn stack_options(
    start: &StartArguments,
    settings: Settings,
    ephemeral: bool,
) -> Result<StackOptions, BuildError> {
    let current = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let variable = |name: &str| std::env::var(name).ok();
    Ok(StackOptions {
        settings,
        workspace: build::workspace(&current)?,
        functions: match &start.functions {
            Some(directory) => Functions::Directory(directory.clone()),
            None => Functions::Build {
                release: start.release,
            },
        },
        ephemeral,
        watch: start.watch,
        model: ModelOptions {
            key: variable("ANTHROPIC_API_KEY"),
            url: variable("ANTHROPIC_BASE_URL"),
            offline: start.offline,
        },
        test_hooks: start.test_hooks,
        emulator: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe")),
        say: Arc::new(say),
    })
}

/// A line about what goes on.
fn say(line: &str) {
    eprintln!("emulator: {line}");
}

/// An error with all its causes, in one line.
fn say_error(error: &dyn std::error::Error) {
    say(&in_one_line(error));
}

fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // transparent errors say the same as their cause
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}

/// To standard output. A reader that has gone away is no error of ours.
fn out(text: &str) {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    if let Err(error) = written {
        tracing::debug!(%error, "standard output is closed");
    }
}
