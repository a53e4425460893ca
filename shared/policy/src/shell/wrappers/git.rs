//! Texts that git gives to a shell: aliases, hooks of a kind, and programs that its configuration
//! names.

use super::shells::run_text;
use super::words::{is, joined};
use crate::shell::Started;
use crate::shell::options::Options;
use crate::shell::walk::Walker;
use crate::shell::word::Word;

/// Options of git before its command.
pub(crate) const GIT: Options = Options::leading(
    "C:c:pPhv",
    "git-dir: work-tree: namespace: exec-path? config-env: super-prefix: paginate no-pager
     no-replace-objects bare literal-pathspecs glob-pathspecs noglob-pathspecs icase-pathspecs
     no-optional-locks no-lazy-fetch html-path man-path info-path version help attr-source:",
);

/// Starts of keys whose values are not run.
const NOT_RUN: &[&str] = &[
    "user.", "color.", "branch.", "remote.", "url.", "http.", "advice.",
];

const REBASE: Options = Options::new("x:", "exec:");

/// Visits the texts that `git` with these arguments gives to a shell. That they are there is a doubt
/// of its own; what stands in them is refused like everywhere.
pub(super) fn texts(walker: &mut Walker, name: &str, started: &Started) {
    if name != "git" {
        return;
    }
    let given = GIT.read(&started.arguments);
    for setting in given.values(&["c"]) {
        if let Some((key, value)) = setting.as_text().split_once('=') {
            value_of_key(walker, key, value);
        }
    }
    let Some((command, rest)) = given.operands.split_first() else {
        return;
    };
    let command = command.text().unwrap_or_default();
    let operands = Options::NONE.read(rest).operands;
    match command.as_str() {
        "submodule" if is(operands.first(), "foreach") => {
            run(walker, &joined(&operands[1..]));
        }
        "bisect" if is(operands.first(), "run") => {
            let after = rest.iter().position(|word| is(Some(word), "run"));
            let words = after.and_then(|at| rest.get(at + 1..)).unwrap_or_default();
            run(walker, &joined(words));
        }
        "rebase" => {
            for text in REBASE.read(rest).values(&["x", "exec"]) {
                run(walker, text);
            }
        }
        "config" => {
            let pair: Vec<Word> = operands
                .into_iter()
                .skip_while(|word| is(Some(word), "set"))
                .collect();
            if let [key, value, ..] = pair.as_slice() {
                value_of_key(walker, &key.as_text(), &value.as_text());
            }
        }
        _ => {}
    }
}

fn value_of_key(walker: &mut Walker, key: &str, value: &str) {
    let key = key.to_ascii_lowercase();
    let is_alias = key.starts_with("alias.");
    let text = match value.strip_prefix('!') {
        Some(text) => text,
        None if is_alias || NOT_RUN.iter().any(|start| key.starts_with(start)) => return,
        None => value,
    };
    // A word alone is mostly a setting: `true`, `input`.
    if text.contains(char::is_whitespace) {
        run(walker, &Word::literal(text));
    }
}

fn run(walker: &mut Walker, text: &Word) {
    let inner = Started {
        name: "git".to_owned(),
        ..Started::default()
    };
    if !text.pieces.is_empty() {
        run_text(walker, text, "git", &inner, &[]);
    }
}
