//! Programs that end others.

use super::Known;
use crate::shell::options::Options;
use crate::shell::wrappers::is;
use crate::shell::{Piece, Word};

/// Names of the programs that keep the gate.
const GATE: [&str; 3] = ["claude", "session-runner", "shannon"];

const KILL: Options = Options::new("s:n:lLq:", "signal: queue: list? table");

pub(super) fn kill(arguments: &[Word], known: &mut Known) {
    known.complete = true;
    let hits_first = KILL
        .read(arguments)
        .operands
        .iter()
        .any(|word| is(Some(word), "1"));
    let hits_all = arguments.len() > 1 && arguments[1..].iter().any(|word| is(Some(word), "-1"));
    let hits_parent = arguments
        .iter()
        .flat_map(|word| &word.pieces)
        .any(|piece| matches!(piece, Piece::Variable { name, .. } if name == "PPID"));
    if hits_first || hits_all || hits_parent {
        known.has("gate");
    } else if arguments.iter().any(Word::is_unknown) {
        known.has("kills");
    }
}

const BY_NAME: Options = Options::new(
    "aceE:fF:g:G:hiIklL:nos:P:qrt:u:U:vVwxy:Z:",
    "exact full ignore-case interactive list-name newest oldest count echo quiet wait regexp verbose
     inverse signal: uid: euid: user: parent: group: pgroup: session: terminal: older: younger-than:
     older-than: pidfile: ns: nslist: delimiter: list process-group context: runstates: help version",
);

/// Options that choose processes by something else than their name, or those that are not meant.
const OTHERWISE: &[&str] = &[
    "u", "U", "uid", "euid", "user", "g", "pgroup", "G", "group", "P", "parent", "s", "session",
    "t", "terminal", "v", "inverse",
];

/// `pkill` and `killall`.
pub(super) fn by_name(program: &str, arguments: &[Word], known: &mut Known) {
    let is_signal = |word: &&Word| {
        let start = word.literal_start();
        let name = start.trim_start_matches('-');
        start.starts_with('-')
            && !name.is_empty()
            && (name.bytes().all(|byte| byte.is_ascii_digit())
                || name.len() > 2
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()))
    };
    let words: Vec<Word> = arguments
        .iter()
        .filter(|word| !is_signal(word))
        .cloned()
        .collect();
    let given = BY_NAME.read(&words);
    let is_killall = program == "killall";
    let otherwise = OTHERWISE
        .iter()
        // Of `killall`, these are something else.
        .filter(|option| !(is_killall && ["s", "v", "g", "y", "o"].contains(option)))
        .any(|option| given.has(&[option]));
    let exact = is_killall && !given.has(&["r", "regexp"]) || given.has(&["x", "exact"]);
    let hits = given.operands.iter().any(|word| match word.text() {
        Some(text) => GATE.iter().any(|name| may_match(&text, name, exact)),
        None => false,
    });
    if otherwise || hits {
        known.has("gate");
    } else if given.operands.iter().any(|word| word.text().is_none()) {
        known.doubt(
            "program",
            "which programs it ends is not known before it runs",
        );
    }
}

/// Whether a pattern may match a name: a regular expression, of which only the literal parts are
/// looked at. They must be in the name in their order.
fn may_match(pattern: &str, name: &str, exact: bool) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    let is_plain = pattern
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_ /".contains(c));
    if exact && is_plain {
        return pattern == name;
    }
    pattern.split('|').any(|alternative| {
        let alternative = alternative.trim_start_matches('^').trim_end_matches('$');
        let mut rest = name;
        let mut in_brackets = false;
        let literal = alternative.split(|c: char| {
            let was = in_brackets;
            in_brackets = c == '[' || in_brackets && c != ']';
            was || !(c.is_ascii_alphanumeric() || "-_ /".contains(c))
        });
        for part in literal.filter(|part| !part.is_empty()) {
            // A letter before `*` or `?` may be missing.
            let part = part.get(..part.len().saturating_sub(1)).unwrap_or(part);
            let whole = if is_plain { pattern.as_str() } else { part };
            match rest.find(whole) {
                Some(at) => rest = &rest[at + whole.len()..],
                None => return false,
            }
        }
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_may_match_are_told_from_others() {
        for pattern in [
            "claude",
            "cl.*e",
            "[c]laude",
            "^claud",
            "run",
            "",
            "vite|claude",
            "session",
        ] {
            assert!(
                GATE.iter().any(|name| may_match(pattern, name, false)),
                "{pattern}"
            );
        }
        for pattern in [
            "vite",
            "node .*server",
            "test-runner",
            "npm run dev",
            "python3?",
            "gunicorn",
        ] {
            assert!(
                !GATE.iter().any(|name| may_match(pattern, name, false)),
                "{pattern}"
            );
        }
        assert!(!may_match("run", "session-runner", true));
        assert!(may_match("session-runner", "session-runner", true));
    }
}
