//! What git commands do. Git runs programs that its options and its configuration name.

use super::Known;
use super::operands::{Arguments, Rule};
use crate::Surroundings;
use crate::host::Host;
use crate::shell::wrappers::is;
use crate::shell::{Access, Word};

/// Subcommands that only read, whatever their arguments, except [`RUNNING`] options.
const READING: &[&str] = &[
    "annotate",
    "blame",
    "cat-file",
    "check-attr",
    "check-ignore",
    "cherry",
    "count-objects",
    "describe",
    "diff",
    "diff-files",
    "diff-index",
    "diff-tree",
    "for-each-ref",
    "grep",
    "help",
    "log",
    "ls-files",
    "ls-tree",
    "merge-base",
    "name-rev",
    "rev-list",
    "rev-parse",
    "shortlog",
    "show",
    "show-branch",
    "show-ref",
    "status",
    "var",
    "version",
    "whatchanged",
];

/// Options that run a program or write a file.
const RUNNING: &[&str] = &[
    "--ext-diff",
    "--extcmd",
    "--textconv",
    "--output",
    "-O",
    "--open-files-in-pager",
    "--upload-pack",
    "--receive-pack",
    "--exec",
    "-x",
    "--filters",
    "--upload-archive",
];

/// Options before the subcommand that have a value.
const VALUED: &[&str] = &[
    "-C",
    "-c",
    "--git-dir",
    "--work-tree",
    "--namespace",
    "--exec-path",
    "--config-env",
];

pub(super) fn known(arguments: &[Word], surroundings: &Surroundings<'_>, known: &mut Known) {
    known.complete = true;
    if !surroundings.place.git_is_trusted {
        known.doubt(
            "git",
            "the workspace was copied or uploaded with a git configuration that may name programs, and git runs them",
        );
    }
    let mut index = 0;
    while let Some(word) = arguments.get(index) {
        let start = word.literal_start();
        if !start.starts_with('-') {
            break;
        }
        let option = start.split('=').next().unwrap_or_default();
        if ["-c", "--config-env", "--exec-path"]
            .iter()
            .any(|risky| start.starts_with(risky))
        {
            known.doubt(
                "options",
                &format!("git's option {option} can name programs that git runs"),
            );
        }
        if ["-C", "--git-dir", "--work-tree"].contains(&option) {
            let value = if start.contains('=') {
                Some(word.after(option.len() + 1))
            } else {
                arguments.get(index + 1).cloned()
            };
            known.files.extend(value.map(|value| (Access::Use, value)));
        }
        index += if VALUED.contains(&start) { 2 } else { 1 };
    }
    let Some(command) = arguments.get(index) else {
        known.has("reads");
        return;
    };
    let Some(command) = command.text() else {
        known.doubt(
            "options",
            "which git command it is is not known before it runs",
        );
        return;
    };
    let rest = arguments.get(index + 1..).unwrap_or_default();
    let has = |options: &[&str]| {
        rest.iter().any(|word| {
            let start = word.literal_start();
            options.iter().any(|option| {
                start == *option
                    || start
                        .strip_prefix(option)
                        .is_some_and(|rest| rest.starts_with('='))
            })
        })
    };
    let operands = Arguments::rule(Rule::None).take(rest).operands;
    let first = operands.first().and_then(Word::text).unwrap_or_default();
    if has(RUNNING) && !(command == "clean" || command == "cherry-pick") {
        known.doubt(
            "options",
            "an option of git runs a program or writes a file",
        );
    }
    // `grep -Oprogram`; `clone -c name=value`.
    let starts = |option: &str| {
        rest.iter()
            .any(|word| word.literal_start().starts_with(option))
    };
    if command == "grep" && starts("-O")
        || command == "clone" && (starts("-c") || starts("--config"))
    {
        known.doubt("options", "an option of git runs a program");
    }
    // Files anywhere can be compared, listed and shown by their paths.
    if command != "commit" && command != "tag" {
        for word in rest {
            known
                .files
                .extend(super::path_in(word).map(|path| (Access::Read, path)));
        }
    }
    match command.as_str() {
        name if READING.contains(&name) => known.has("reads"),
        "branch" | "tag"
            if (operands.is_empty()
                || has(&["--list", "-l", "--contains", "--merged", "--show-current"]))
                && !has(&["-d", "-D", "-m", "-M", "-f", "--delete"]) =>
        {
            known.has("reads");
        }
        "remote" if operands.is_empty() || matches!(first.as_str(), "show" | "get-url") => {
            known.has("reads");
        }
        "stash" | "worktree" | "notes" | "bundle" if matches!(first.as_str(), "list" | "show") => {
            known.has("reads");
        }
        "reflog" if operands.is_empty() || first == "show" => known.has("reads"),
        "submodule" if first == "status" => known.has("reads"),
        "submodule" if first == "foreach" => {
            known.doubt("text", "git submodule foreach runs a text")
        }
        "config" => config(rest, known),
        "push" | "send-email" | "svn" => {
            known.has("publishes");
            remote(&operands, known);
        }
        "fetch" | "pull" | "clone" | "ls-remote" | "remote" => {
            known.has("network");
            remote(&operands, known);
            if command == "clone"
                && let Some(target) = operands.get(1)
            {
                known.files.push((Access::Write, target.clone()));
            }
        }
        "clean" => known.has("discards"),
        "reset" if has(&["--hard"]) => known.has("discards"),
        "checkout" if has(&["-f", "--force", "--"]) || first == "." => known.has("discards"),
        "restore" | "filter-branch" | "filter-repo" | "gc" | "prune" | "update-ref" => {
            known.has("discards");
            if command.starts_with("filter-") {
                known.doubt("text", "git filters run texts");
            }
        }
        "branch" if has(&["-D"]) => known.has("discards"),
        "bisect" if first == "run" => known.doubt("text", "git bisect run starts a program"),
        "credential" | "credential-store" | "credential-cache" => known.has("credentials"),
        "init" if has(&["--template"]) => {
            known.doubt("options", "a template of git may hold hooks")
        }
        _ => {}
    }
}

fn config(rest: &[Word], known: &mut Known) {
    let reads = [
        "--get",
        "--get-all",
        "--get-regexp",
        "--list",
        "-l",
        "get",
        "list",
    ];
    let operands = Arguments::with(&["-f", "--file", "--type", "--default"], Rule::None)
        .take(rest)
        .operands;
    if rest
        .iter()
        .any(|word| reads.iter().any(|option| is(Some(word), option)))
        || operands.len() == 1
    {
        known.has("reads");
        return;
    }
    let key = operands
        .first()
        .and_then(Word::text)
        .unwrap_or_default()
        .to_ascii_lowercase();
    let harmless = [
        "user.",
        "init.defaultbranch",
        "pull.",
        "push.",
        "color.",
        "core.autocrlf",
        "core.filemode",
        "advice.",
        "safe.directory",
    ];
    if rest
        .iter()
        .any(|word| is(Some(word), "--global") || is(Some(word), "--system"))
        || !harmless.iter().any(|start| key.starts_with(start))
    {
        known.has("persists");
    }
}

fn remote(operands: &[Word], known: &mut Known) {
    for word in operands {
        let Some(text) = word.text() else { continue };
        // `ext::` runs a program; `host:path` is a machine, a bare name is a configured remote.
        if text.starts_with("ext::") || text.starts_with("fd::") {
            known.doubt("text", "the address runs a program");
        } else if !text.contains("://") && text.contains('@') && text.contains(':') {
            known.hosts.push(Host::of(&text));
        }
    }
}
