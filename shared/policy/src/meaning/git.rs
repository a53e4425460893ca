//! What git commands do. Git runs programs that its options and its configuration name.

mod config;

use super::Known;
use super::programs::abbreviates;
use crate::Surroundings;
use crate::host::Host;
use crate::shell::options::Options;
use crate::shell::wrappers::{GIT, is, is_flag};
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

/// Options that run a program or write a file. Git takes them shortened.
const RUNNING: &[&str] = &[
    "--exec",
    "--ext-diff",
    "--extcmd",
    "--filters",
    "--open-files-in-pager",
    "--output",
    "--receive-pack",
    "--sendmail-cmd",
    "--smtp-server",
    "--template",
    "--textconv",
    "--upload-archive",
    "--upload-pack",
    "--web",
];

/// Options that only look like one of these shortened.
const OTHERS: &[&str] = &["--ext", "--filter", "--text"];

/// Commands that start programs which configuration names, or listen to others.
const STARTING: &[&str] = &[
    "citool",
    "daemon",
    "difftool",
    "fast-import",
    "for-each-repo",
    "gui",
    "hook",
    "instaweb",
    "mergetool",
    "p4",
    "shell",
    "web--browse",
];

pub(super) fn known(arguments: &[Word], surroundings: &Surroundings<'_>, known: &mut Known) {
    known.complete = true;
    if !surroundings.place.git_is_trusted {
        known.doubt(
            "git",
            "the workspace was copied or uploaded with a git configuration that may name programs, and git runs them",
        );
    }
    let given = GIT.read(arguments);
    let sets = given.values(&["c"]).any(|setting| {
        !setting
            .text()
            .is_some_and(|text| config::is_harmless(text.split('=').next().unwrap_or_default()))
    });
    let names = ["exec-path", "config-env"]
        .iter()
        .any(|option| given.values(&[option]).next().is_some());
    if sets || names || !given.strange.is_empty() || given.unsure {
        known.doubt(
            "options",
            "an option of git can name programs that git runs",
        );
    }
    for value in given.values(&["C", "git-dir", "work-tree"]) {
        known.files.push((Access::Use, value.clone()));
    }
    let Some((command, rest)) = given.operands.split_first() else {
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
    // Files anywhere can be compared, listed and shown by their paths.
    if command != "commit" && command != "tag" {
        for word in rest {
            known
                .files
                .extend(super::path_in(word).map(|path| (Access::Read, path)));
        }
    }
    if runs(&command, rest) {
        known.doubt(
            "options",
            "an option of git runs a program or writes a file",
        );
    }
    subcommand(&command, rest, known);
}

/// Whether an option runs a program or writes a file.
fn runs(command: &str, rest: &[Word]) -> bool {
    let rest = before_paths(rest);
    let shortened = rest.iter().any(|word| {
        let start = word.literal_start();
        let option = start.split('=').next().unwrap_or_default();
        option.len() > 3
            && !OTHERS.contains(&option)
            && RUNNING.iter().any(|running| running.starts_with(option))
    });
    // In a cluster too: `grep -nOless`.
    let letters: &[char] = match command {
        "grep" | "diff" | "log" | "show" => &['O'],
        "clone" => &['c', 'u'],
        "rebase" => &['x'],
        "difftool" => &['x'],
        "archive" | "format-patch" => &['o'],
        _ => &[],
    };
    let has_letter = letters.iter().any(|letter| {
        rest.iter()
            .any(|word| starts_with_letter(word, *letter, command))
    });
    shortened || has_letter || command == "clone" && abbreviates(rest, "--config")
}

/// Whether a word is a cluster of letters with this one among the first, which have no value.
fn starts_with_letter(word: &Word, letter: char, command: &str) -> bool {
    let start = word.literal_start();
    let plain = if command == "grep" {
        "aEFGhHiIlLnopPqrvwWz"
    } else {
        ""
    };
    let cluster = start.strip_prefix('-').unwrap_or_default();
    !start.starts_with("--")
        && cluster
            .trim_start_matches(|c: char| plain.contains(c))
            .starts_with(letter)
}

/// What stands before `--`.
fn before_paths(rest: &[Word]) -> &[Word] {
    let end = rest.iter().position(|word| is(Some(word), "--"));
    &rest[..end.unwrap_or(rest.len())]
}

fn subcommand(command: &str, rest: &[Word], known: &mut Known) {
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
    let operands = Options::NONE.read(rest).operands;
    let first = operands.first().and_then(Word::text).unwrap_or_default();
    match command {
        name if READING.contains(&name) => {
            // A word that is not known, or a pattern, may be an option that writes.
            let given = Options::NONE.read(rest);
            if !given.unsure && !given.may_find_option {
                known.has("reads");
            }
        }
        // With options it may start a browser.
        "help" if operands.len() == rest.len() => known.has("reads"),
        "branch" | "tag" if lists(rest, &operands) => known.has("reads"),
        "remote" => remotes(rest, &operands, known),
        "stash" | "worktree" | "notes" | "bundle" if matches!(first.as_str(), "list" | "show") => {
            known.has("reads");
        }
        "reflog" if operands.is_empty() || first == "show" => known.has("reads"),
        "submodule" if first == "status" => known.has("reads"),
        "submodule" if first == "foreach" => {
            known.doubt("text", "git submodule foreach runs a text")
        }
        "config" => config::known(rest, known),
        "push" | "send-email" | "svn" => {
            known.has("publishes");
            addresses(&operands, known);
        }
        "fetch" | "pull" | "clone" | "ls-remote" => {
            known.has("network");
            addresses(&operands, known);
            if command == "clone"
                && let Some(target) = operands.get(1)
            {
                known.files.push((Access::Write, target.clone()));
            }
        }
        "clean" => known.has("discards"),
        "reset" if abbreviates(rest, "--hard") => known.has("discards"),
        "checkout" if has(&["-f", "--"]) || abbreviates(rest, "--force") || first == "." => {
            known.has("discards");
        }
        "switch"
            if has(&["-f"])
                || abbreviates(rest, "--force")
                || abbreviates(rest, "--discard-changes") =>
        {
            known.has("discards");
        }
        "restore" | "filter-branch" | "filter-repo" | "gc" | "prune" | "update-ref" => {
            known.has("discards");
            if command.starts_with("filter-") {
                known.doubt("text", "git filters run texts");
            }
        }
        "stash" if matches!(first.as_str(), "drop" | "clear") => known.has("discards"),
        "branch" if rest.iter().any(|word| is_flag(word, 'D')) => known.has("discards"),
        "bisect" if first == "run" => known.doubt("text", "git bisect run starts a program"),
        "maintenance" if matches!(first.as_str(), "start" | "register") => known.has("persists"),
        "credential" | "credential-store" | "credential-cache" => known.has("credentials"),
        name if STARTING.contains(&name) => {
            known.doubt("text", "it starts programs that git's configuration names");
        }
        _ => {}
    }
}

/// Whether `git branch` or `git tag` only lists.
fn lists(rest: &[Word], operands: &[Word]) -> bool {
    const LISTING: Options = Options::new(
        "alvrniq#",
        "list all remotes verbose no-color color? column? no-column sort: format: abbrev? no-abbrev
         contains? no-contains? merged? no-merged? points-at: show-current ignore-case omit-empty",
    );
    let given = LISTING.read(rest);
    let told = given.has(&[
        "l",
        "list",
        "contains",
        "no-contains",
        "merged",
        "no-merged",
        "points-at",
        "show-current",
    ]);
    given.strange.is_empty() && !given.unsure && (operands.is_empty() || told)
}

/// `git remote`: some of it asks the other machine, and runs what it takes for that.
fn remotes(rest: &[Word], operands: &[Word], known: &mut Known) {
    let first = operands.first().and_then(Word::text).unwrap_or_default();
    let locally = rest.iter().any(|word| is(Some(word), "-n"));
    let plain = rest.iter().all(|word| {
        let start = word.literal_start();
        !start.starts_with('-') || ["-v", "--verbose", "-n", "--all", "--push"].contains(&start)
    });
    let reads = match first.as_str() {
        "" => operands.is_empty(),
        "get-url" => true,
        "show" => operands.len() == 1 || locally,
        _ => false,
    };
    if reads && plain {
        known.has("reads");
        return;
    }
    known.has("network");
    addresses(operands, known);
}

fn addresses(operands: &[Word], known: &mut Known) {
    for word in operands {
        let Some(text) = word.text() else { continue };
        // `name::` is a program of its own; `host:path` is a machine, a bare name is a configured
        // remote.
        let helper = text.split_once("::").map(|(name, _)| name);
        if helper.is_some_and(|name| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }) {
            known.doubt("text", "the address runs a program");
        } else if !text.contains("://") && text.contains('@') && text.contains(':') {
            known.hosts.push(Host::of(&text));
        }
    }
}
