//! The arguments of `backup`, `restore`, `drill` and `state-key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Arguments of `backup`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct BackupArguments {
    /// What to do with copies that are there; without it, a new one is taken
    #[command(subcommand)]
    pub(super) command: Option<BackupCommand>,
    /// Directory that gets the copy, under a name with the time; old ones are not removed there
    ///
    /// Without it SHANNON_BACKUP_DIRECTORY, or `backups` in the state directory: there, those older than
    /// SHANNON_BACKUP_RETENTION_DAYS go.
    #[arg(long, value_name = "DIR")]
    pub(super) to: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What to do with copies.
#[derive(Debug, Subcommand)]
pub(super) enum BackupCommand {
    /// Show the copies in a directory, the oldest first; their files are not read
    List {
        /// The directory, as for `backup --to`
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Read every file of copies and name what was cut, changed or is missing
    Verify {
        /// The copies; without one, all that `list` shows
        #[arg(value_name = "BACKUP")]
        backups: Vec<PathBuf>,
    },
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub(super) struct RestoreArguments {
    /// The copy
    #[arg(value_name = "BACKUP")]
    pub(super) backup: PathBuf,
}

/// Arguments of `drill`.
#[derive(Debug, Args)]
pub(super) struct DrillArguments {
    /// How many sessions are at work when the backup is taken
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(super) sessions: u16,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// About the key of the state.
#[derive(Debug, Subcommand)]
pub(super) enum StateKeyCommand {
    /// Write a new key to a file that does not exist yet (mode 0600)
    ///
    /// Keep a copy of it elsewhere: without it the state, and every backup of it, is lost.
    New {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}
