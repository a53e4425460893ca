//! Brace expansion: one word that bash makes several of.

use super::word::{Piece, Word};

/// Most words that braces may make of one.
const WORDS: usize = 64;
/// Most braces that are taken apart in one word.
const STEPS: usize = 256;

/// A part of a word before brace expansion.
#[derive(Debug, Clone)]
pub(super) enum Atom {
    /// A character outside quotes.
    Bare(char),
    /// Anything else.
    Piece(Piece),
}

impl Atom {
    pub(super) fn bare(&self) -> Option<char> {
        match self {
            Self::Bare(c) => Some(*c),
            Self::Piece(_) => None,
        }
    }

    fn into_piece(self) -> Piece {
        match self {
            Self::Bare(c) => Piece::Literal(c.to_string()),
            Self::Piece(piece) => piece,
        }
    }

    pub(super) fn join(atoms: Vec<Atom>) -> Word {
        let mut word = Word::default();
        for atom in atoms {
            word.push(atom.into_piece());
        }
        word
    }
}

/// The words that a word becomes; nothing when they are too many.
pub(super) fn braces(atoms: Vec<Atom>) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut waiting = vec![atoms];
    let mut steps = 0;
    while let Some(atoms) = waiting.pop() {
        steps += 1;
        if words.len() + waiting.len() > WORDS || steps > STEPS {
            return None;
        }
        match split(&atoms) {
            Some(mut alternatives) => {
                alternatives.reverse();
                waiting.append(&mut alternatives);
            }
            None => words.push(Atom::join(atoms)),
        }
    }
    Some(words)
}

/// The first brace expression taken apart.
fn split(atoms: &[Atom]) -> Option<Vec<Vec<Atom>>> {
    let opens = (0..atoms.len()).filter(|index| atoms[*index].bare() == Some('{'));
    for open in opens.take(WORDS) {
        let mut depth = 0_usize;
        let mut commas = Vec::new();
        for (index, atom) in atoms.iter().enumerate().skip(open) {
            match atom.bare() {
                Some('{') => depth += 1,
                Some(',') if depth == 1 => commas.push(index),
                Some('}') => {
                    depth -= 1;
                    if depth == 0 {
                        let inside = &atoms[open + 1..index];
                        if commas.is_empty() {
                            if let Some(sequence) = sequence(inside) {
                                return Some(vec![joined(
                                    &atoms[..open],
                                    &sequence,
                                    &atoms[index + 1..],
                                )]);
                            }
                            break;
                        }
                        commas.push(index);
                        let mut start = open + 1;
                        let mut alternatives = Vec::new();
                        for comma in commas {
                            alternatives.push(joined(
                                &atoms[..open],
                                &atoms[start..comma],
                                &atoms[index + 1..],
                            ));
                            start = comma + 1;
                        }
                        return Some(alternatives);
                    }
                }
                _ => {}
            }
        }
    }
    None
}

fn joined(before: &[Atom], inside: &[Atom], after: &[Atom]) -> Vec<Atom> {
    [before, inside, after].concat()
}

/// `1..9` and `a..z`: words that differ in what nobody needs to know.
fn sequence(inside: &[Atom]) -> Option<Vec<Atom>> {
    let text: Option<String> = inside.iter().map(Atom::bare).collect();
    let text = text?;
    let ends: Vec<&str> = text.split("..").collect();
    let plausible = ends.len() >= 2
        && ends.iter().all(|end| {
            !end.is_empty() && end.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        });
    plausible.then(|| vec![Atom::Piece(Piece::Pattern("*".to_owned()))])
}
