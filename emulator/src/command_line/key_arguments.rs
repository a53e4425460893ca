//! The arguments of `emulator key`.

use clap::{Args, Subcommand, ValueEnum};

/// About API keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key and print it: this once
    ///
    /// Without --scope or --role it is a developer's: it creates sessions and talks to them, and cannot
    /// approve what they ask for. Nobody can give away a scope that they do not have.
    ///
    /// Exit code: 0 it is printed, 1 it is refused, 2 wrong usage, 3 no stack runs.
    Create(KeyCreateArguments),
    /// List the keys: what they allow, until when, when they were last used (to within an hour)
    ///
    /// Exit code: 0 they are shown, 1 they could not be read, 2 wrong usage, 3 no stack runs.
    List {
        #[command(flatten)]
        stack: StackArguments,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a key back
    ///
    /// Exit code: 0 it opens nothing any more, 1 there is none or it could not be revoked, 2 wrong usage,
    /// 3 no stack runs.
    Revoke {
        /// Which key (key_...), as list shows it
        #[arg(value_name = "ID", value_parser = key_id)]
        id: String,
        #[command(flatten)]
        stack: StackArguments,
    },
}

/// Which stack.
#[derive(Debug, Args)]
pub(super) struct StackArguments {
    /// MCP endpoint of a deployed stack, for example https://api.example.com/production/mcp; without it
    /// the stack that runs here
    ///
    /// The token comes from SHANNON_ACCESS_TOKEN or the file that SHANNON_ACCESS_TOKEN_FILE names.
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
}

/// Arguments of `key create`.
#[derive(Debug, Args)]
pub(super) struct KeyCreateArguments {
    /// What it is called: A-Z, a-z, 0-9, '.', '_' and '-'
    pub(super) name: String,
    /// What it allows: sessions:read, sessions:write, approve, admin; may be repeated
    #[arg(long = "scope", value_name = "SCOPE", conflicts_with = "role")]
    pub(super) scopes: Vec<String>,
    /// The same by a named set; each has what the one before has
    #[arg(long, value_enum, default_value = "developer")]
    pub(super) role: KeyRole,
    /// For how many days it is good [default: 90]
    #[arg(long, value_name = "DAYS")]
    pub(super) days: Option<u64>,
    /// For a person with sessions of their own, by a name that you give them; without it, for yours
    #[arg(long, value_name = "NAME")]
    pub(super) person: Option<String>,
    /// Print all that is known of it, as JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) stack: StackArguments,
}

/// A named set of scopes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum KeyRole {
    /// Looks at sessions
    Viewer,
    /// And creates them and talks to them
    Developer,
    /// And approves what they ask for
    Operator,
    /// And looks after the deployment
    Admin,
}

impl KeyRole {
    /// As the stack has it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Developer => "developer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

fn key_id(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match text.strip_prefix("key_") {
        Some(rest) if rest.len() == 26 && rest.bytes().all(plain) => Ok(text.to_owned()),
        _ => Err("it begins with key_ and has 26 characters more; `key list` shows it".to_owned()),
    }
}
