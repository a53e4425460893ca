//! The emulator as a program: its arguments, its exit codes, what it prints where.
//!
//! Standard output carries only what was asked for (the start message, a session, a table);
//! everything else goes to standard error or to files.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use crate::{
    build::{self, Functions},
    process::OwnLog,
    settings::{self, Inputs, Settings, SettingsError},
    stack::{StackOptions, model::ModelOptions},
};

mod arguments;
mod audit;
mod backup_arguments;
mod backups;
mod calls;
mod connect;
mod drain;
mod git_credential_arguments;
mod git_credentials;
mod interrupt;
mod key_arguments;
mod keys;
mod load;
mod logging;
mod messages;
mod place;
mod policies;
mod policy;
mod serve;
mod service_arguments;
mod stack_client;
mod start;
mod state_keys;
mod stdio;
mod tried;

use arguments::{Arguments, AuditCommand, Command, ConfigCommand, PolicyCommand, StartArguments};
pub(crate) use interrupt::Interrupts;
use logging::Reader;

/// The key of the Anthropic API, and the file that may hold it.
const KEY: &str = "ANTHROPIC_API_KEY";
const KEY_FILE: &str = "ANTHROPIC_API_KEY_FILE";
/// The edge function, in the checkout.
const EDGE_FUNCTION: &str = "infra/edge/viewer-request.js";

/// How long threads may take to end at the very end.
const THREADS_END_WITHIN: Duration = Duration::from_secs(1);
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
    let is_service = matches!(arguments.command, Some(Command::Serve(_)));
    let settings = match resolve(&arguments.start, is_service) {
        Ok(settings) => settings,
        Err(error) => {
            say_error(&error);
            let checking = matches!(arguments.command, Some(Command::Config { .. }));
            return ExitCode::from(if checking { FAILED } else { USAGE });
        }
    };
    let reader = match arguments.command {
        Some(Command::Serve(_)) => Reader::Collector,
        Some(
            Command::Try(_)
            | Command::Stdio(_)
            | Command::Policy { .. }
            | Command::Key { .. }
            | Command::GitCredential { .. }
            | Command::Audit { .. }
            | Command::Load(_)
            | Command::Backup(_)
            | Command::Restore(_)
            | Command::Drill(_),
        ) => Reader::Busy,
        _ => Reader::Person,
    };
    let own = OwnLog::default();
    logging::start(&settings, reader, own.clone());
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
            Some(Command::Serve(served)) => {
                serve::run(served, &arguments.start, settings, own).await
            }
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
            Some(Command::Connect(asked)) => connect::run(asked, &arguments.start, &settings),
            Some(Command::Drain) => drain::run(&settings).await,
            Some(Command::Calls { json }) => calls::run(&settings, json).await,
            Some(Command::Load(asked)) => load::run(asked, &arguments.start, settings).await,
            Some(Command::Backup(asked)) => backups::run(asked, &settings).await,
            Some(Command::Restore(asked)) => backups::restore(&asked, &settings).await,
            Some(Command::Drill(asked)) => backups::drill(asked, &arguments.start, settings).await,
            Some(Command::StateKey { command }) => state_keys::run(&command),
            Some(Command::Messages { json }) => messages::run(&settings, json).await,
        }
    });
    // A thread that reads or resolves a name may hang, and is not waited for. The others are: threads that
    // end while the process does would clean up after libcrypto, which an encrypted state works with, twice.
    runtime.shutdown_timeout(THREADS_END_WITHIN);
    ExitCode::from(code)
}

fn resolve(start: &StartArguments, is_service: bool) -> Result<Settings, SettingsError> {
    let current_directory =
        std::env::current_dir().map_err(|source| SettingsError::Unreadable {
            name: "the current directory".to_owned(),
            path: PathBuf::from("."),
            source,
        })?;
    let inputs = Inputs {
        environment: std::env::vars_os().collect(),
        command_line: start.settings(),
        current_directory,
        deployed: false,
    };
    if is_service {
        settings::resolve(&serve::inputs(inputs))
    } else {
        settings::resolve(&inputs)
    }
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

/// What a person has given for the model: the key itself, or a file with it.
fn model_options(offline: bool) -> Result<ModelOptions, String> {
    let variable = |name: &str| std::env::var(name).ok();
    let mut key = variable(KEY);
    if let Some(path) = std::env::var_os(KEY_FILE) {
        if key.is_some() {
            return Err(format!(
                "{KEY} and {KEY_FILE} are both set; right is one of the two"
            ));
        }
        let path = PathBuf::from(path);
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("{KEY_FILE}: cannot read {}: {error}", path.display()))?;
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return Err(format!("{KEY_FILE}: {} is empty", path.display()));
        }
        key = Some(text.to_owned());
    }
    Ok(ModelOptions {
        key,
        url: variable("ANTHROPIC_BASE_URL"),
        offline,
    })
}

fn stack_options(
    start: &StartArguments,
    settings: Settings,
    ephemeral: bool,
) -> Result<StackOptions, String> {
    let current = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let workspace = build::workspace(&current).map_err(|error| in_one_line(&error))?;
    Ok(StackOptions {
        settings,
        template: workspace.join("template.yaml"),
        edge: Some(workspace.join(EDGE_FUNCTION)),
        workspace,
        service: None,
        functions: match &start.functions {
            Some(directory) => Functions::Directory(directory.clone()),
            None => Functions::Build {
                release: start.release,
            },
        },
        ephemeral,
        watch: start.watch,
        model: model_options(start.offline)?,
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

pub(crate) fn in_one_line(error: &dyn std::error::Error) -> String {
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
