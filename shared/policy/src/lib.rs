//! What a tool call of a session may do, by policies in Cedar that people can read (`policies/`), add
//! to and test.
//!
//! [`check::check`] takes a call apart into programs, files, hosts and the tool itself ([`shell`],
//! [`meaning`]) and puts each part to the policies ([`rules`]): those of the session's tier, its
//! permission mode, and what was added. It fails closed: an unknown tool, a path that cannot be
//! understood and a fact that cannot be established never run by themselves. A denial's reason is
//! read by the model, so it says what the model can do instead.

pub mod approval;
pub mod check;
pub mod host;
pub mod location;
pub mod meaning;
mod path;
pub mod rules;
pub mod shell;
pub mod stored;
mod tools;

use serde_json::Value;

/// A tool call, as the CLI describes it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Name of the tool.
    pub tool: &'a str,
    /// Its input, as the model wrote it.
    pub input: &'a Value,
    /// The CLI's own permission mode for this call. A subagent may have another than `default`.
    pub cli_mode: Option<&'a str>,
}

/// What must be known about the session's files.
pub trait Files {
    /// Whether walking to this path, given by its components below the workspace, meets a link
    /// anywhere, its end included. `true` if that cannot be established.
    fn meets_link(&self, components: &[&str]) -> bool;
}

/// Where the session works, in paths that the CLI sees.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Root of the workspace: absolute, normalised.
    pub workspace: &'a str,
    /// Directory that relative paths start at; the workspace or below it.
    pub working_directory: &'a str,
    /// Further directories the session may read: its own spilled tool results.
    pub readable: &'a [&'a str],
    /// Git's configuration inside the workspace names no program. Git runs those that it names, so
    /// otherwise no git command is read-only.
    pub git_is_trusted: bool,
}

/// What must be known about where a session runs, beyond [`Place`].
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Its files.
    pub place: Place<'a>,
    /// Its home directory: absolute, normalised.
    pub home: &'a str,
    /// Directories of the gate: its settings and its socket.
    pub protected: &'a [&'a str],
}

const READ_TOOLS: [(&str, &str); 5] = [
    ("Read", "file_path"),
    ("NotebookRead", "notebook_path"),
    ("LS", "path"),
    ("Glob", "path"),
    ("Grep", "path"),
];

const EDIT_TOOLS: [(&str, &str); 4] = [
    ("Write", "file_path"),
    ("Edit", "file_path"),
    ("MultiEdit", "file_path"),
    ("NotebookEdit", "notebook_path"),
];

/// What an agent may be started with. Others move it elsewhere (a git worktree, whose creation runs
/// the repository's hooks) or give it another permission mode.
const AGENT_FIELDS: [&str; 7] = [
    "description",
    "max_turns",
    "model",
    "name",
    "prompt",
    "run_in_background",
    "subagent_type",
];

#[cfg(test)]
mod tests;
