//! What a tool call of a session may do: the three permission modes as one pure function.
//!
//! The gate asks [`decide`] before each call, the permission prompt of the CLI asks
//! [`decide_prompt`]. Both fail closed: an unknown tool, a path that cannot be understood and a
//! fact that cannot be established are denials. A denial's reason is read by the model, so it says
//! what the model can do instead and what the person can.
//!
//! Beside them stands what the gate moves to: [`check::check`] decides by policies in Cedar that people
//! can read (`policies/`), add to and test ([`rules`]), on everything a call does ([`shell`],
//! [`meaning`]).
//!
//! | mode | reading in the workspace | shell | edits in the workspace | everything else |
//! | --- | --- | --- | --- | --- |
//! | `review` | runs | what the CLI itself knows to be read-only | denied | denied |
//! | `accept_edits` | runs | the same | run | denied |
//! | `bypass` | runs | runs | run | runs, where the deployment permits the mode |

pub mod check;
pub mod host;
pub mod location;
pub mod meaning;
mod path;
pub mod rules;
pub mod shell;
mod tools;

use domain::PermissionMode;
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

/// What is to happen with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It runs.
    Allow,
    /// The CLI judges as in its own `default` mode: a command it knows to be read-only runs, for
    /// every other it asks its permission prompt, which [`decide_prompt`] answers.
    Judge,
    /// It does not run.
    Deny {
        /// For the model.
        reason: String,
    },
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

/// Tools that touch nothing but the conversation itself.
const HARMLESS_TOOLS: [&str; 14] = [
    "BashOutput",
    "KillBash",
    "KillShell",
    "ReportFindings",
    "StructuredOutput",
    "TaskCreate",
    "TaskGet",
    "TaskList",
    "TaskOutput",
    "TaskStop",
    "TaskUpdate",
    "TodoRead",
    "TodoWrite",
    "ToolSearch",
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

/// Decides on a call before it runs.
#[must_use]
pub fn decide(
    mode: PermissionMode,
    bypass_permitted: bool,
    call: &Call<'_>,
    place: &Place<'_>,
    files: &impl Files,
) -> Decision {
    if mode == PermissionMode::Bypass {
        return if bypass_permitted {
            Decision::Allow
        } else {
            deny("This deployment does not permit the permission mode \"bypass\".")
        };
    }
    if matches!(call.tool, "Agent" | "Task") {
        return agent(mode, call);
    }
    if HARMLESS_TOOLS.contains(&call.tool) {
        return Decision::Allow;
    }
    if let Some((_, field)) = READ_TOOLS.iter().find(|(tool, _)| *tool == call.tool) {
        return read(call, field, place, files);
    }
    if let Some((_, field)) = EDIT_TOOLS.iter().find(|(tool, _)| *tool == call.tool) {
        return match mode {
            PermissionMode::AcceptEdits => edit(call, field, place, files),
            _ => needs_person(mode, "Changing files"),
        };
    }
    match call.tool {
        "Bash" => shell(mode, call, place),
        "AskUserQuestion" => deny(
            "Nobody can answer questions inside this session. Decide yourself and say what you \
             assumed, or end your turn with the question as text.",
        ),
        other => needs_person(mode, &format!("The tool {other}")),
    }
}

/// Answers the CLI's permission prompt: what nobody decided before would now ask a person.
#[must_use]
pub fn decide_prompt(
    mode: PermissionMode,
    bypass_permitted: bool,
    call: &Call<'_>,
    place: &Place<'_>,
    files: &impl Files,
) -> Decision {
    match decide(mode, bypass_permitted, call, place, files) {
        Decision::Judge => needs_person(mode, "This command is not known to be read-only, so it"),
        decided => decided,
    }
}

fn deny(reason: &str) -> Decision {
    Decision::Deny {
        reason: reason.to_owned(),
    }
}

fn needs_person(mode: PermissionMode, what: &str) -> Decision {
    let remedy = match mode {
        PermissionMode::Review => {
            "the person can start a session with permission_mode \"accept_edits\" (file edits in \
             the workspace) or \"bypass\" (everything, where permitted)"
        }
        _ => "the person can start a session with permission_mode \"bypass\", where permitted",
    };
    Decision::Deny {
        reason: format!(
            "{what} would need a person's approval, and approvals are not available in this \
             session (permission mode \"{mode}\"). Do not retry it. Go on without it and tell \
             what you would have done; {remedy}."
        ),
    }
}

fn read(call: &Call<'_>, field: &str, place: &Place<'_>, files: &impl Files) -> Decision {
    // Both may start anywhere in the file system, not only below `path`.
    for pattern in ["pattern", "glob"] {
        if call.tool == "Glob"
            && let Some(pattern) = call.input.get(pattern)
            && !pattern.as_str().is_some_and(path::is_plain_pattern)
        {
            return deny("Give a pattern relative to `path`, without '..', '~' or a leading '/'.");
        }
    }
    let target = match call.input.get(field) {
        None if call.tool == "Glob" || call.tool == "Grep" => place.working_directory,
        Some(Value::String(text)) => text,
        _ => return deny(&format!("The input has no usable `{field}`.")),
    };
    match path::below(place.workspace, place.working_directory, target) {
        Ok(components) if files.meets_link(&components) => {
            deny("The path leads through a symbolic link; name the file itself.")
        }
        Ok(_) => Decision::Allow,
        Err(refusal) => {
            let own = place
                .readable
                .iter()
                .any(|root| path::below(root, root, target).is_ok());
            if own {
                Decision::Allow
            } else {
                deny(refusal.reason())
            }
        }
    }
}

fn edit(call: &Call<'_>, field: &str, place: &Place<'_>, files: &impl Files) -> Decision {
    let Some(target) = call.input.get(field).and_then(Value::as_str) else {
        return deny(&format!("The input has no usable `{field}`."));
    };
    match path::below(place.workspace, place.working_directory, target) {
        Err(refusal) => deny(refusal.reason()),
        Ok(components) if components.is_empty() => deny("The path is the workspace itself."),
        Ok(components)
            if components
                .iter()
                .any(|part| part.eq_ignore_ascii_case(".git")) =>
        {
            deny("Files of .git may not be edited: git runs programs that they name.")
        }
        Ok(components) if files.meets_link(&components) => {
            deny("The path leads through a symbolic link; name the file itself.")
        }
        Ok(_) => Decision::Allow,
    }
}

/// Starting an agent is harmless: what it does is asked call by call.
fn agent(mode: PermissionMode, call: &Call<'_>) -> Decision {
    match call.input.as_object() {
        Some(input)
            if input
                .keys()
                .all(|field| AGENT_FIELDS.contains(&field.as_str())) =>
        {
            Decision::Allow
        }
        _ => needs_person(
            mode,
            "An agent in another place or with a permission mode of its own",
        ),
    }
}

fn shell(mode: PermissionMode, call: &Call<'_>, place: &Place<'_>) -> Decision {
    let Some(command) = call.input.get("command").and_then(Value::as_str) else {
        return deny("The input has no usable `command`.");
    };
    // Only in this mode the CLI runs read-only commands alone and asks for all others.
    if call.cli_mode != Some("default") {
        return needs_person(
            mode,
            "A command of an agent with a permission mode of its own",
        );
    }
    if !place.git_is_trusted && mentions_git(command) {
        return deny(
            "Git commands do not run here: this workspace was copied or uploaded with a git \
             configuration that may name programs, and git would run them. Read the files directly.",
        );
    }
    Decision::Judge
}

fn mentions_git(command: &str) -> bool {
    // Quotes and backslashes can hide the word from a search and not from the shell.
    let bare: String = command
        .chars()
        .filter(|c| !"'\"\\\n".contains(*c))
        .collect();
    bare.to_ascii_lowercase().contains("git")
}

#[cfg(test)]
mod tests;
