//! `git config`: some keys name programs that git runs.

use crate::meaning::Known;
use crate::shell::Word;
use crate::shell::options::Options;

/// Keys that name no program and change nothing outside the workspace.
const HARMLESS: &[&str] = &[
    "advice.",
    "color.",
    "column.",
    "commit.gpgsign",
    "core.abbrev",
    "core.autocrlf",
    "core.eol",
    "core.filemode",
    "core.ignorecase",
    "core.longpaths",
    "core.quotepath",
    "diff.algorithm",
    "diff.colormoved",
    "diff.context",
    "diff.mnemonicprefix",
    "diff.noprefix",
    "diff.renames",
    "fetch.prune",
    "init.defaultbranch",
    "log.",
    "merge.conflictstyle",
    "pull.ff",
    "pull.rebase",
    "push.autosetupremote",
    "push.default",
    "rebase.autosquash",
    "rebase.autostash",
    "safe.directory",
    "status.",
    "tag.gpgsign",
    "user.email",
    "user.name",
];

/// Options by which it reads, or says how and where.
const READING: Options = Options::new(
    "f<lz",
    "get get-all get-regexp get-urlmatch get-color get-colorbool list null name-only show-origin
     show-scope type: bool int bool-or-int path expiry-date local global system worktree file< blob:
     includes no-includes default: all url: value: fixed-value regexp",
);

/// Options of these that say that it reads.
const READ: &[&str] = &[
    "get",
    "get-all",
    "get-regexp",
    "get-urlmatch",
    "get-color",
    "get-colorbool",
    "l",
    "list",
];

/// Whether a key names no program.
pub(super) fn is_harmless(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    HARMLESS.iter().any(|harmless| {
        if harmless.ends_with('.') {
            key.starts_with(harmless)
        } else {
            key == *harmless
        }
    })
}

pub(super) fn known(rest: &[Word], known: &mut Known) {
    let given = READING.read(rest);
    let mut operands: Vec<String> = given.operands.iter().map(Word::shown).collect();
    let command = operands.first().cloned().unwrap_or_default();
    // Newer ones have commands; any other single word is a key that is shown.
    let by_command = matches!(command.as_str(), "get" | "list");
    let shows_key = operands.len() == 1 && command.contains('.');
    let is_known = given.strange.is_empty() && !given.unsure;
    if is_known && (given.has(READ) || by_command || shows_key) {
        known.has("reads");
        return;
    }
    if command == "set" {
        operands.remove(0);
    }
    let key = operands.first().cloned().unwrap_or_default();
    let elsewhere = given.has(&["global", "system", "file", "f"]);
    if elsewhere || !is_known || !is_harmless(&key) {
        known.has("persists");
    }
}
