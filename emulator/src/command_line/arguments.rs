//! The arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Runs Shannon on this machine: MCP endpoint, functions, DynamoDB, S3, ECS and a model, from
/// template.yaml, in one process on loopback.
#[derive(Debug, Parser)]
#[command(
    name = "emulator",
    version,
    subcommand_precedence_over_arg = true,
    after_help = "\
Without a subcommand the stack is started; Ctrl-C stops it, a second Ctrl-C at once.

Environment:
  ANTHROPIC_API_KEY    answers come from the Anthropic API; without it from the offline model
  ANTHROPIC_BASE_URL   another address of that API
  SHANNON_...          settings; `emulator config check` shows all of them with their values

Needs Linux or macOS. Sessions are isolated from this machine on Linux only; the start message says
whether they are."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) start: StartArguments,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Args)]
pub(super) struct StartArguments {
    /// Port of the MCP endpoint; 0 takes any free one [default: 8080]
    #[arg(long, global = true, value_name = "PORT")]
    port: Option<String>,
    /// Where state is kept [default: .shannon]
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Keep no state
    #[arg(long, global = true)]
    pub(super) ephemeral: bool,
    /// Build the functions with optimisation
    #[arg(long, global = true)]
    pub(super) release: bool,
    /// Take built binaries from this directory; build nothing
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "release")]
    pub(super) functions: Option<PathBuf>,
    /// Build again and swap a function when its source changes
    #[arg(long, global = true)]
    pub(super) watch: bool,
    /// Use the offline model although ANTHROPIC_API_KEY is set
    #[arg(long, global = true)]
    pub(super) offline: bool,
    /// Show what functions and sessions log, on standard error
    #[arg(long, global = true)]
    pub(super) logs: bool,
    /// Change a setting, for example --set max_turns=20; may be repeated
    #[arg(long, global = true, value_name = "NAME=VALUE", value_parser = name_and_value)]
    set: Vec<(String, String)>,
    /// Hooks that only tests of the stack need, at the AWS endpoint
    #[arg(long, global = true, hide = true)]
    pub(super) test_hooks: bool,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as name=value".to_owned()),
    }
}

impl StartArguments {
    /// What the command line says about settings.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let mut settings = self.set.clone();
        if let Some(port) = &self.port {
            settings.push(("SHANNON_PORT".to_owned(), port.clone()));
        }
        if let Some(state) = &self.state {
            settings.push((
                "SHANNON_STATE_DIRECTORY".to_owned(),
                state.display().to_string(),
            ));
        }
        settings
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start the stack (the same as no subcommand)
    Start,
    /// Run one session and show it; starts a stack when none runs
    ///
    /// Exit code: 0 the session did it, 1 it failed, 2 wrong usage, 3 the stack could not start,
    /// 130 interrupted (the session is cancelled).
    Try(TryArguments),
    /// Look at the settings
    Config {
        /// What to do with them.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Count the AWS calls that the running stack has made, for each session
    Calls {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// About settings.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check all settings and show each with its value and where it comes from
    Check,
}

/// Arguments of `try`.
#[derive(Debug, Args)]
pub(super) struct TryArguments {
    /// What the session is to do
    pub(super) prompt: String,
    /// A directory to copy or a git URL to clone; without it the session starts empty
    #[arg(long, value_name = "DIR_OR_GIT_URL")]
    pub(super) workspace: Option<String>,
    /// What the session may do without asking
    #[arg(long, value_enum, default_value = "accept_edits")]
    pub(super) permission_mode: PermissionMode,
    /// Model, as the claude CLI names it
    #[arg(long)]
    pub(super) model: Option<String>,
    /// Leave the session running at the end
    #[arg(long)]
    pub(super) keep: bool,
    /// Print the events as JSON lines
    #[arg(long)]
    pub(super) json: bool,
}

/// What a session may do without asking.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum PermissionMode {
    /// Read only
    Review,
    /// Read, and edit files of its workspace
    AcceptEdits,
    /// Everything; only where the settings allow it
    Bypass,
}

impl PermissionMode {
    /// As the tool has it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Review => "review",
            Self::AcceptEdits => "accept_edits",
            Self::Bypass => "bypass",
        }
    }
}
