//! The arguments of the service and of what brings clients to it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// The template; without it template.yaml beside this program
    #[arg(long, value_name = "FILE")]
    pub(super) template: Option<PathBuf>,
    /// Start although sessions cannot be isolated here: they can read what the service can
    #[arg(long)]
    pub(super) unisolated: bool,
}

/// Arguments of `connect`.
#[derive(Debug, Args)]
pub(super) struct ConnectArguments {
    /// The client
    #[arg(value_enum)]
    pub(super) client: ConnectClient,
    /// Write it into the client's file, or into .mcp.json here for Claude Code
    #[arg(long)]
    pub(super) write: bool,
    /// Another file than the client's own
    #[arg(long, value_name = "FILE", requires = "write")]
    pub(super) file: Option<PathBuf>,
    /// MCP endpoint of a deployed stack, for example https://shannon.example.com/mcp
    ///
    /// The token comes from SHANNON_ACCESS_TOKEN or the file that SHANNON_ACCESS_TOKEN_FILE names.
    #[arg(long, value_name = "URL", conflicts_with = "ssh")]
    pub(super) url: Option<String>,
    /// The machine of the stack, reached with ssh; a key must open it
    #[arg(long, value_name = "HOST", value_parser = ssh_host)]
    pub(super) ssh: Option<String>,
    /// This program on that machine, with arguments and variables as the shell there takes them
    #[arg(
        long,
        value_name = "PROGRAM",
        default_value = "emulator",
        requires = "ssh"
    )]
    pub(super) remote_program: String,
    /// The name that the client shows
    #[arg(long, default_value = "shannon", value_parser = server_name)]
    pub(super) name: String,
    /// The system that the client runs on, if it is not this one
    #[arg(long, value_enum)]
    pub(super) platform: Option<ConnectPlatform>,
}

/// An MCP client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ConnectClient {
    /// Claude Desktop; this program is its bridge
    Desktop,
    /// Claude Code
    Code,
    /// Any client that starts servers as programs; mcp-remote (npm) is its bridge
    McpRemote,
}

/// A system that clients run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ConnectPlatform {
    /// macOS
    Macos,
    /// Linux
    Linux,
    /// Windows
    Windows,
}

fn server_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-') {
        Ok(text.to_owned())
    } else {
        Err("use 1 to 64 characters of a-z, A-Z, 0-9, '-' and '_'".to_owned())
    }
}

/// Arguments of `stdio`.
#[derive(Debug, Args)]
pub(super) struct StdioArguments {
    /// MCP endpoint of a deployed stack, for example https://api.example.com/production/mcp
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// Start a stack when none runs here; it ends with the bridge
    #[arg(long, conflicts_with_all = ["url", "ssh"])]
    pub(super) start: bool,
    /// The machine of the stack, reached with ssh; a key must open it
    #[arg(long, value_name = "HOST", conflicts_with = "url", value_parser = ssh_host)]
    pub(super) ssh: Option<String>,
    /// This program on that machine, with arguments and variables as the shell there takes them
    #[arg(
        long,
        value_name = "PROGRAM",
        default_value = "emulator",
        requires = "ssh"
    )]
    pub(super) remote_program: String,
}

/// What ssh would not take for an option.
fn ssh_host(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('-') || text.contains(char::is_whitespace) {
        Err("it is no host".to_owned())
    } else {
        Ok(text.to_owned())
    }
}
