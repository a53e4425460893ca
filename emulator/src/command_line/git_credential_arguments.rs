//! The arguments of `emulator git-credential`.

use clap::{Args, Subcommand};

use super::key_arguments::StackArguments;

/// About credentials for git hosts.
#[derive(Debug, Subcommand)]
pub(super) enum GitCredentialCommand {
    /// Store a user and a token for one host; the token comes from standard input
    ///
    /// Sessions that you create show them to exactly this host, over https, when they clone their
    /// repository. A stored token cannot be read back. It takes the place of the one before.
    ///
    /// Exit code: 0 it is stored, 1 it is refused, 2 wrong usage, 3 no stack runs.
    Set(GitCredentialSetArguments),
    /// List the hosts for which there is one, with the user
    ///
    /// Exit code: 0 they are shown, 1 they could not be read, 2 wrong usage, 3 no stack runs.
    List {
        #[command(flatten)]
        stack: StackArguments,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take the one for a host away
    ///
    /// Exit code: 0 it is gone, 1 there is none or it could not be removed, 2 wrong usage, 3 no stack runs.
    Remove {
        /// Which host, as list shows it
        host: String,
        #[command(flatten)]
        stack: StackArguments,
    },
}

/// Arguments of `git-credential set`.
#[derive(Debug, Args)]
pub(super) struct GitCredentialSetArguments {
    /// The host as in https://HOST/, with its port if it has one
    pub(super) host: String,
    /// The user; hosts that only look at the token take any
    #[arg(long, value_name = "NAME", default_value = "x-access-token")]
    pub(super) username: String,
    #[command(flatten)]
    pub(super) stack: StackArguments,
}
