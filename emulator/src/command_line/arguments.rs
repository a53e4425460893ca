//! The arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{
    backup_arguments::{BackupArguments, DrillArguments, RestoreArguments, StateKeyCommand},
    git_credential_arguments::GitCredentialCommand,
    key_arguments::KeyCommand,
    service_arguments::{ConnectArguments, ServeArguments, StdioArguments},
};

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
  ANTHROPIC_API_KEY       answers come from the Anthropic API; without it from the offline model
  ANTHROPIC_API_KEY_FILE  a file with that key
  ANTHROPIC_BASE_URL      another address of that API
  SHANNON_...             settings; `emulator config check` shows all of them with their values

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
    /// Run the stack as a service of this machine
    ///
    /// Needs no checkout: the functions are in the directory `functions` beside this program and the
    /// template is the file template.yaml beside it. SHANNON_ACCESS_TOKEN (or the file that
    /// SHANNON_ACCESS_TOKEN_FILE names) is the token of its clients, ANTHROPIC_API_KEY (or
    /// ANTHROPIC_API_KEY_FILE) the key of the model. State is in /var/lib/shannon unless
    /// SHANNON_STATE_DIRECTORY says otherwise. Settings that are not given are as in a deployment;
    /// PORT counts where SHANNON_PORT is not set. Log lines go to standard error, as JSON, and to the
    /// directory `logs` of the state.
    ///
    /// SIGTERM stops it: requests that run are answered, sessions take a last checkpoint and go on at
    /// the next start.
    ///
    /// Exit code: 0 it was stopped and everything ended in time, 1 it could not start or go on, 2 a
    /// setting, a secret or the usage is wrong, 4 it was stopped and SHANNON_STOP_TIMEOUT_SECONDS
    /// passed before everything had ended.
    Serve(ServeArguments),
    /// Stop the stack that runs on the state directory, as SIGTERM does, and wait until it has ended
    ///
    /// Then another one can start on the same state: `emulator drain && emulator serve`.
    ///
    /// Exit code: 0 it has ended, 1 it has not, 3 none runs.
    Drain,
    /// Print what an MCP client has to be told of a stack, or write it into the client's file
    ///
    /// Of the stack that runs here, of the one at --url, or of the one on another machine (--ssh). In
    /// a file, everything else stays, and a copy of what it was is kept beside it.
    ///
    /// Exit code: 0 it is printed or written, 1 the file cannot be used (it is as it was), 2 wrong
    /// usage, 3 no stack runs here.
    Connect(ConnectArguments),
    /// Run one session and show it; starts a stack when none runs
    ///
    /// Exit code: 0 the session did it, 1 it failed, 2 wrong usage, 3 the stack could not start,
    /// 130 interrupted (the session is cancelled).
    Try(TryArguments),
    /// Bridge the stdin and stdout of a local MCP host to a stack
    ///
    /// Standard output carries JSON-RPC messages and nothing else. Without --url it is the stack that
    /// runs here, with the token it keeps (or SHANNON_DEV_TOKEN); with --url the token comes from
    /// SHANNON_ACCESS_TOKEN or the file that SHANNON_ACCESS_TOKEN_FILE names. With --ssh it is the stack
    /// that runs on another machine, which this program reaches by `emulator stdio` there; what a
    /// shell there prints besides goes to standard error.
    ///
    /// Exit code: 0 the host went away, 1 ssh or the program there failed, 2 wrong usage, 3 no stack,
    /// 130 interrupted.
    Stdio(StdioArguments),
    /// Look at the settings
    Config {
        /// What to do with them.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Ask the policies of the stack; look at stored ones, and change them
    Policy {
        /// What about them.
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Make API keys, list them, take them back
    Key {
        /// What about them.
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Store what your sessions show to a git host when they clone, list it, take it away
    GitCredential {
        /// What about it.
        #[command(subcommand)]
        command: GitCredentialCommand,
    },
    /// Look after the audit of the stack
    Audit {
        /// What about it.
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Count the AWS calls that the running stack has made, for each session
    Calls {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Call the stack by many callers at once, and say where the limit of the machine lies
    ///
    /// Starts a stack when none runs. Each caller sends its next request when the last one was
    /// answered. What a deployed stack counts is the principal of the token: raise its limits first.
    ///
    /// Exit code: 0 nothing failed and the 95th percentile is within --p95-milliseconds, 1 something
    /// is not so, 2 wrong usage, 3 no stack.
    Load(LoadArguments),
    /// Copy the state of the stack that runs here or is stopped; list copies, and check them
    ///
    /// Exit code: 0 the copy is there (list: shown; verify: all are whole), 1 it is not, 2 wrong usage.
    Backup(BackupArguments),
    /// Check a backup, and copy it into an empty state directory (--state)
    ///
    /// Exit code: 0 a stack can be started on the directory, 1 it cannot, 2 wrong usage.
    Restore(RestoreArguments),
    /// Lose a stack with sessions at work on purpose, restore it from a backup, and see that they go on
    ///
    /// In a directory of its own, with the offline model; nothing of yours is touched. Prints how long it
    /// took and what was lost.
    ///
    /// Exit code: 0 recovered within 15 minutes and nothing older than 5 minutes was lost, 1 not so, 2
    /// wrong usage, 3 a stack could not start.
    Drill(DrillArguments),
    /// Make the key that SHANNON_STATE_KEY_FILE names
    StateKey {
        /// What to do.
        #[command(subcommand)]
        command: StateKeyCommand,
    },
    /// Show the notices that the running stack has published, and what could not be delivered
    Messages {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// What to do with the audit.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Compute it all again: entries, logs of sessions, and sealed ends
    ///
    /// Yours, and the deployment's (refused logins). Names what was changed, replaced, or is missing.
    ///
    /// Exit code: 0 it holds, 1 something does not, or it could not be asked, 2 wrong usage, 3 no
    /// stack.
    Verify(AuditVerifyArguments),
}

/// Arguments of `audit verify`.
#[derive(Debug, Args)]
pub(super) struct AuditVerifyArguments {
    /// MCP endpoint of a deployed stack, for example https://api.example.com/production/mcp; without
    /// it the stack that runs here, or a new one over the state that is kept
    ///
    /// The token comes from SHANNON_ACCESS_TOKEN or the file that SHANNON_ACCESS_TOKEN_FILE names.
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `load`.
#[derive(Debug, Args)]
pub(super) struct LoadArguments {
    /// MCP endpoint of a deployed stack, for example https://api.example.com/production/mcp; without
    /// it the stack that runs here, or a new one
    ///
    /// The token comes from SHANNON_ACCESS_TOKEN or the file that SHANNON_ACCESS_TOKEN_FILE names.
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// How many call at the same time
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = callers)]
    pub(super) callers: usize,
    /// For how long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(super) seconds: u64,
    /// The aim: 95 of 100 requests are answered in that time
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 500)]
    pub(super) p95_milliseconds: u64,
    /// Do not look for the limit afterwards
    #[arg(long)]
    pub(super) no_limit: bool,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

fn callers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(callers) if (1..=1000).contains(&callers) => Ok(callers),
        _ => Err("use 1 to 1000".to_owned()),
    }
}

/// About settings.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check all settings and show each with its value and where it comes from
    Check,
}

/// About policies.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Say what would happen with a command, and which policies decide; runs nothing
    ///
    /// Starts a stack when none runs.
    ///
    /// Exit code: 0 it runs, 4 a person decides, 5 it does not run, 1 it could not be asked, 2 wrong
    /// usage, 3 the stack could not start.
    Check(PolicyCheckArguments),
    /// List the stored policies of the running stack: the deployment's and yours
    ///
    /// Exit code: 0 they are shown, 1 they could not be read, 3 no stack runs.
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the text of a stored policy
    ///
    /// Exit code: 0 it is printed, 1 there is none or it cannot be read, 3 no stack runs.
    Show(PolicyNameArguments),
    /// Store a policy, in Cedar; it counts from the next turn of a session on
    ///
    /// It is checked first. Of what denials.cedar forbids, no stored policy permits anything.
    ///
    /// Exit code: 0 it is stored (or was there already), 1 it is refused, 2 the file cannot be read, 3 no
    /// stack runs.
    Put(PolicyPutArguments),
    /// Remove a stored policy
    ///
    /// Exit code: 0 it is gone, 1 there was none or it could not be removed, 3 no stack runs.
    Remove(PolicyNameArguments),
}

/// Which stored policy.
#[derive(Debug, Args)]
pub(super) struct PolicyNameArguments {
    /// Its name: a-z, 0-9 and '-'
    #[arg(value_parser = policy_name)]
    pub(super) name: String,
    /// The deployment's, which counts for every owner, instead of yours
    #[arg(long)]
    pub(super) deployment: bool,
}

impl PolicyNameArguments {
    /// Its address below that of all policies.
    pub(super) fn path(&self) -> String {
        format!("/{}/{}", self.scope(), self.name)
    }

    /// Whose it is.
    pub(super) const fn scope(&self) -> &'static str {
        if self.deployment {
            "deployment"
        } else {
            "owner"
        }
    }
}

fn policy_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("use 1 to 64 characters of a-z, 0-9 and '-'".to_owned())
    }
}

/// Arguments of `policy put`.
#[derive(Debug, Args)]
pub(super) struct PolicyPutArguments {
    #[command(flatten)]
    pub(super) policy: PolicyNameArguments,
    /// A file with the policy, or - for standard input
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Replace only this version, as show or list said; without it, what is there now
    #[arg(long, value_name = "VERSION")]
    pub(super) replaces: Option<u64>,
}

/// Arguments of `policy check`.
#[derive(Debug, Args)]
pub(super) struct PolicyCheckArguments {
    /// A shell command, in one argument
    #[arg(required_unless_present = "tool", conflicts_with = "tool")]
    pub(super) command: Option<String>,
    /// A tool of Claude Code instead: Write, WebFetch, ...
    #[arg(long, value_name = "NAME")]
    pub(super) tool: Option<String>,
    /// What that tool is given
    #[arg(long, value_name = "JSON", requires = "tool")]
    pub(super) input: Option<String>,
    /// As this session would make it (ses_...); without one, a new session
    #[arg(long, value_name = "SESSION")]
    pub(super) session: Option<String>,
    /// In this tier, where it is stricter
    #[arg(long, value_enum)]
    pub(super) tier: Option<Tier>,
    /// In this permission mode
    #[arg(long, value_enum)]
    pub(super) permission_mode: Option<PermissionMode>,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// How much sessions do by themselves.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Tier {
    /// They work by themselves in their workspace
    Auto,
    /// They read by themselves
    Review,
    /// They read by themselves, whatever else permits more
    Strict,
}

impl Tier {
    /// As the tool has it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Review => "review",
            Self::Strict => "strict",
        }
    }
}

/// Arguments of `try`.
#[derive(Debug, Args)]
pub(super) struct TryArguments {
    /// What the session is to do
    #[arg(required_unless_present = "replay")]
    pub(super) prompt: Option<String>,
    /// Play the log of a session again instead (ses_...); changes nothing
    #[arg(long, value_name = "SESSION", conflicts_with_all = ["prompt", "workspace", "model", "keep"])]
    pub(super) replay: Option<String>,
    /// How many times as fast as it was recorded, or `max` for no pauses
    #[arg(long, value_name = "FACTOR", default_value = "1", requires = "replay", value_parser = speed)]
    pub(super) speed: Speed,
    /// A directory to copy or a git URL to clone; without it the session starts empty
    #[arg(long, value_name = "DIR_OR_GIT_URL")]
    pub(super) workspace: Option<String>,
    /// What the session may do without asking
    #[arg(long, value_enum, default_value = "accept_edits")]
    pub(super) permission_mode: PermissionMode,
    /// How much it does by itself; the deployment's tier, or a stricter one
    #[arg(long, value_enum)]
    pub(super) tier: Option<Tier>,
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

/// How fast a log is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Speed {
    /// Without pauses.
    Max,
    /// So many times as fast as it was recorded.
    Times(f64),
}

impl Speed {
    pub(super) const fn factor(self) -> Option<f64> {
        match self {
            Self::Max => None,
            Self::Times(factor) => Some(factor),
        }
    }
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.parse() {
        Ok(factor) if (0.01..=1000.0).contains(&factor) => Ok(Speed::Times(factor)),
        _ => Err("use 0.01 to 1000, or max".to_owned()),
    }
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
