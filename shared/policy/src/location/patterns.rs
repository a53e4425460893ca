//! Names of files that may be patterns, whose wild characters stand in them as characters that no path
//! holds.

use crate::shell::{Piece, Word};

/// Any character but a dot.
pub(super) const NO_DOT: char = '\u{e004}';
/// Any text in one name.
pub(super) const MANY: char = '\u{e000}';
/// Something with a name that is not known, but not everything.
pub(super) const SOME: char = '\u{e003}';
/// Any character.
pub(super) const ONE: char = '\u{e001}';
/// Any text, slashes included.
pub(super) const UNKNOWN: char = '\u{e002}';

/// `[!...]`
pub(super) fn is_negated(pattern: &str) -> bool {
    pattern.starts_with("[!") || pattern.starts_with("[^")
}

/// The word with each name that may be `..` written so: patterns that start with a dot find that in
/// many shells.
pub(crate) fn upwards(word: &Word) -> Option<Word> {
    let mut made = Word::default();
    let mut pieces = word.pieces.iter().peekable();
    let mut found = false;
    while let Some(piece) = pieces.next() {
        let starts_with_dot = match piece {
            Piece::Literal(text) => text == "." || text.ends_with("/."),
            _ => false,
        };
        let finds_dot = matches!(pieces.peek(), Some(Piece::Pattern(pattern))
            if !is_negated(pattern));
        made.push(piece.clone());
        if starts_with_dot && finds_dot {
            pieces.next();
            let ends = match pieces.peek() {
                None => true,
                Some(Piece::Literal(text)) => text.starts_with('/'),
                Some(_) => false,
            };
            if !ends {
                return None;
            }
            made.push(Piece::Literal(".".to_owned()));
            found = true;
        }
    }
    found.then_some(made)
}

/// Whether a name, which may be a pattern, may be `name`. Names that differ only in case are the
/// same on some systems.
pub(super) fn agrees_name(pattern: &str, name: &str) -> bool {
    if !pattern.contains([MANY, ONE, NO_DOT, SOME]) {
        return pattern.eq_ignore_ascii_case(name);
    }
    // A pattern does not find what starts with a dot, unless it does too.
    if name.starts_with('.') && pattern.starts_with([MANY, ONE, NO_DOT, SOME]) {
        return false;
    }
    let pattern: Vec<char> = pattern.chars().flat_map(char::to_lowercase).collect();
    let name: Vec<char> = name.chars().flat_map(char::to_lowercase).collect();
    // reachable[i]: the pattern read so far may have matched the first i characters.
    let mut reachable = vec![false; name.len() + 1];
    reachable[0] = true;
    for c in pattern {
        let mut next = vec![false; name.len() + 1];
        for index in 0..=name.len() {
            if !reachable[index] {
                continue;
            }
            match c {
                MANY | SOME => next[index..].iter_mut().for_each(|reached| *reached = true),
                _ if index < name.len()
                    && (c == ONE || c == name[index] || c == NO_DOT && name[index] != '.') =>
                {
                    next[index + 1] = true
                }
                _ => {}
            }
        }
        reachable = next;
    }
    reachable[name.len()]
}
