//! Builtins of shells that run texts, set variables or change how words are read.

use super::printed::printed;
use super::words::{is, is_flag, joined};
use super::{is_evaluated, not_known};
use crate::shell::options::Options;
use crate::shell::walk::Walker;
use crate::shell::word::{Piece, Word};
use crate::shell::{Doubt, Input, Started};

/// Builtins that evaluate the index of a variable that they name: `a[$(...)]` runs, even quoted.
const EVALUATING: &[&str] = &[
    "[",
    "declare",
    "export",
    "getopts",
    "let",
    "local",
    "mapfile",
    "printf",
    "read",
    "readarray",
    "readonly",
    "test",
    "typeset",
    "unset",
];

/// Settings of `shopt` that change neither what words mean nor what runs.
const SETTINGS: &[&str] = &[
    "checkwinsize",
    "cmdhist",
    "expand_aliases",
    "extglob",
    "failglob",
    "globstar",
    "histappend",
    "inherit_errexit",
    "nocaseglob",
    "nocasematch",
    "nullglob",
];

/// Options of `printf` as builtins have it.
pub(crate) const PRINTF: Options = Options::leading("v:", "");

const TRAP: Options = Options::leading("lpP", "");
const SET: Options = Options::leading("abefhkmnptuvxBCEHPTo:", "");
const READ: Options = Options::leading("ersa:d:i:n:N:p:t:u:", "");
const MAPFILE: Options = Options::leading("d:n:O:s:tu:C:c:", "");
const DECLARE: Options = Options::leading("aAfFgiIlnprtux", "");
const COMPLETE: Options = Options::leading("abcdefgjksuvprDEIo:A:G:W:F:C:X:P:S:", "");
const SHOPT: Options = Options::leading("pqsuo", "");
const CD: Options = Options::leading("LPen@", "");
const ENABLE: Options = Options::leading("adnpsf:", "");

/// Visits what a builtin does beside being started, if it is one of these.
pub(super) fn is_special(walker: &mut Walker, name: &str, started: &Started) -> bool {
    let arguments = &started.arguments;
    if EVALUATING.contains(&name)
        && (name != "printf" || PRINTF.read(arguments).has(&["v"]))
        && arguments.iter().any(is_evaluated)
    {
        not_known(walker, started);
        return true;
    }
    match name {
        "eval" => later(walker, &joined(arguments), "eval", started),
        "trap" => match TRAP.read(arguments).operands.as_slice() {
            [] => return false,
            [text, ..] if is(Some(text), "-") => return false,
            [text, ..] => {
                if text.text().is_none() {
                    not_known(walker, started);
                }
                walker.set_trap(&text.as_text());
            }
        },
        "alias" => {
            for argument in arguments {
                if argument.text().is_none() {
                    not_known(walker, started);
                }
                if let Some((name, value)) = argument.as_text().split_once('=') {
                    walker.set_alias(name, value);
                }
            }
            walker.push(started.clone());
        }
        "compgen" | "complete" => {
            let given = COMPLETE.read(arguments);
            for text in given.values(&["C"]) {
                later(walker, text, name, started);
            }
            walker.push(started.clone());
        }
        "mapfile" | "readarray" => {
            let given = MAPFILE.read(arguments);
            if let Some(text) = given.value(&["C"]) {
                not_known(walker, started);
                walker.same_shell(&text.as_text(), name);
                return true;
            }
            set_unknown(walker, &given.operands);
            walker.push(started.clone());
        }
        "hash"
            if arguments
                .iter()
                .any(|word| word.literal_start().starts_with("-p")) =>
        {
            not_known(walker, started);
        }
        "enable" if ENABLE.read(arguments).has(&["f"]) => not_known(walker, started),
        "bind" if arguments.iter().any(|word| is_flag(word, 'x')) => not_known(walker, started),
        "." | "source" => source(walker, name, started),
        "cd" | "pushd" | "popd" => {
            change_directory(walker, name, arguments);
            walker.push(started.clone());
        }
        "shopt" | "setopt" | "unsetopt" => settings(walker, name, started),
        _ => {
            if !sets(walker, name, started) {
                return false;
            }
            walker.push(started.clone());
        }
    }
    true
}

/// A file that this shell runs, unless it is what a command prints.
fn source(walker: &mut Walker, name: &str, started: &Started) {
    let from_command = started
        .arguments
        .first()
        .is_some_and(|word| word.is_unknown() || word.literal_start().starts_with("/dev/"));
    if !from_command {
        return walker.push(started.clone());
    }
    not_known(walker, started);
    if let Input::Text(text) | Input::Partly(text) = &started.input {
        walker.same_shell(text, name);
    }
}

/// A text that this shell runs, all of it known or not.
fn later(walker: &mut Walker, text: &Word, name: &str, started: &Started) {
    if text.text().is_none() {
        not_known(walker, started);
    }
    walker.same_shell(&text.as_text(), name);
}

/// Builtins that set variables.
fn sets(walker: &mut Walker, name: &str, started: &Started) -> bool {
    let arguments = &started.arguments;
    match name {
        "declare" | "export" | "local" | "readonly" | "typeset" => {
            let given = DECLARE.read(arguments);
            let straight = walker.is_straight();
            for word in &given.operands {
                let start = word.literal_start();
                if let Some(end) = start.find('=').filter(|end| *end > 0) {
                    let variable = start[..end].trim_end_matches('+');
                    let whole = variable.len() == end;
                    walker.assign(variable, vec![word.after(end + 1)], straight && whole);
                }
            }
        }
        "read" => {
            let given = READ.read(arguments);
            let values = match &started.input {
                Input::Text(text) | Input::Partly(text) => lines_and_words(text),
                _ => Vec::new(),
            };
            let names = given.operands.iter().chain(given.values(&["a"]));
            let mut names: Vec<String> = names.filter_map(Word::text).collect();
            if names.is_empty() {
                names.push("REPLY".to_owned());
            }
            for name in names {
                let choices = [vec![Word::unknown(&name)], values.clone()].concat();
                walker.assign(&name, choices, false);
            }
        }
        "printf" => {
            let given = PRINTF.read(arguments);
            let Some(name) = given.value(&["v"]).and_then(Word::text) else {
                return false;
            };
            let shown = Started {
                name: "printf".to_owned(),
                arguments: given.operands.clone(),
                ..Started::default()
            };
            let choices = match printed(&[shown]) {
                Input::Text(text) => vec![Word::literal(text)],
                _ => [vec![Word::unknown(&name)], given.operands].concat(),
            };
            walker.assign(&name, choices, false);
        }
        "getopts" => set_unknown(walker, arguments.get(1..2).unwrap_or_default()),
        "let" => set_unknown(walker, arguments),
        "set" => {
            let is_minus = |word: &&Word| word.literal_start().starts_with('+');
            let rest: Vec<Word> = arguments.iter().skip_while(is_minus).cloned().collect();
            let ends = rest.iter().any(|word| is(Some(word), "--"));
            let operands = SET.read(&rest).operands;
            if ends || !operands.is_empty() {
                walker.replace_parameters(&operands);
            }
        }
        "shift" => walker.shift_parameters(),
        _ => return false,
    }
    true
}

fn set_unknown(walker: &mut Walker, names: &[Word]) {
    for name in names {
        let start = name.literal_start();
        let end = start.find('=').unwrap_or(start.len());
        let name = &start[..end];
        if !name.is_empty() {
            walker.assign(name, vec![Word::unknown(name)], false);
        }
    }
}

/// What `read` may find in a text: a line, or a word of one.
fn lines_and_words(text: &str) -> Vec<Word> {
    let lines = text.lines().map(str::trim);
    let words = text.split_whitespace();
    let mut found: Vec<Word> = Vec::new();
    for part in lines.chain(words).take(8) {
        let word = Word::literal(part);
        if !part.is_empty() && !found.contains(&word) {
            found.push(word);
        }
    }
    found
}

/// Settings of the shell. Those that change how words are read are not understood, and what they do
/// to patterns is minded all the same.
fn settings(walker: &mut Walker, name: &str, started: &Started) {
    let given = SHOPT.read(&started.arguments);
    let mut started = started.clone();
    for setting in given.operands.iter().map(Word::text) {
        let setting = setting.unwrap_or_default();
        if ["dotglob", "globdots", "glob_dots"].contains(&setting.to_ascii_lowercase().as_str()) {
            walker.find_hidden();
        }
        let is_set = name != "shopt" || given.has(&["s", "u"]);
        if is_set && !SETTINGS.contains(&setting.as_str()) {
            started.unclear.push(Doubt::new(
                "environment",
                "a setting of the shell changes what its words mean",
            ));
        }
    }
    walker.push(started);
}

fn change_directory(walker: &mut Walker, name: &str, arguments: &[Word]) {
    let operands = CD.read(arguments).operands;
    let mut paths: Vec<Option<String>> = match operands.as_slice() {
        _ if name == "popd" => vec![None],
        [] if name == "cd" => {
            let home = Word {
                pieces: vec![Piece::Home],
            };
            walker.values_of(&home).iter().map(path).collect()
        }
        [] => vec![None],
        // More than one is what one may be.
        several => several.iter().map(path).collect(),
    };
    let is_dash = operands.iter().any(|word| is(Some(word), "-"));
    let goes_back = is_dash || name == "popd" || name == "pushd" && paths.contains(&None);
    if is_dash {
        let before = walker.values_of(&Word::unknown("OLDPWD"));
        paths.extend(before.iter().map(path));
    }
    // Elsewhere than here is looked at first.
    for base in walker.values_of(&Word::unknown("CDPATH")) {
        if base.literal_start().is_empty() && base == Word::unknown("CDPATH") {
            continue;
        }
        let bases = base.text().unwrap_or_default();
        let relative: Vec<String> = paths
            .iter()
            .flatten()
            .filter(|path| !path.starts_with(['/', '~', '.']))
            .cloned()
            .collect();
        for base in bases.split(':').filter(|base| !base.is_empty()) {
            paths.extend(relative.iter().map(|path| Some(format!("{base}/{path}"))));
        }
        if !relative.is_empty() {
            paths.push(None);
        }
    }
    walker.change_directory(&paths, goes_back);
}

/// The path that an operand of `cd` is.
fn path(word: &Word) -> Option<String> {
    match word.pieces.as_slice() {
        [Piece::Literal(text)]
            if !text.starts_with(['~', '+']) && text != "-" && !text.is_empty() =>
        {
            Some(text.clone())
        }
        [Piece::Home] => Some("~".to_owned()),
        [Piece::Home, Piece::Literal(rest)] if rest.starts_with('/') => Some(format!("~{rest}")),
        [Piece::Here] => Some(".".to_owned()),
        [Piece::Here, Piece::Literal(rest)] if rest.starts_with('/') => Some(format!(".{rest}")),
        _ => None,
    }
}
