//! Variables: what the command itself sets them to.

use super::Walker;
use crate::shell::Within;
use crate::shell::word::{Piece, Word};

/// Most words that the values of variables may make of one.
const CHOICES: usize = 32;
/// Most variables with known values in one word; more are left as unknown.
const SET: usize = 32;

/// What a variable is set to, somewhere in the command.
#[derive(Debug, Clone, Default)]
pub(super) struct Assigned {
    pub(super) values: Vec<Word>,
    /// It is set where the order of events is not the order of the text.
    pub(super) out_of_order: bool,
}

/// What a variable is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) choices: Vec<Word>,
    pub(super) certain: bool,
}

impl Walker {
    pub(in crate::shell) fn assign(&mut self, name: &str, choices: Vec<Word>, straight: bool) {
        // `a[$(...)]` in a value runs when the value is used in arithmetic.
        if choices
            .iter()
            .filter_map(Word::text)
            .any(|text| text.contains("$(") || text.contains('`'))
        {
            self.unclear("a variable holds text that a shell may run");
        }
        self.note(name, &choices, !straight);
        let value = Value {
            choices,
            certain: straight,
        };
        self.variables.insert(name.to_owned(), value);
    }

    pub(super) fn note(&mut self, name: &str, values: &[Word], out_of_order: bool) {
        let assigned = self.history.entry(name.to_owned()).or_default();
        for value in values {
            if assigned.values.len() < CHOICES && !assigned.values.contains(value) {
                assigned.values.push(value.clone());
            }
        }
        assigned.out_of_order |= out_of_order;
    }

    /// Variables replaced by what they are set to.
    pub(super) fn with_values(&self, words: &[Word]) -> Vec<Word> {
        let mut done = Vec::new();
        for word in words {
            let is_set = |piece: &Piece| matches!(piece, Piece::Variable { name, .. } if name == "IFS" || self.values.contains_key(name));
            let set = word.pieces.iter().filter(|piece| is_set(piece)).count();
            if set == 0 || set > SET {
                if !word.pieces.is_empty() {
                    done.push(word.clone());
                }
                continue;
            }
            // Each alternative: words that are finished, and the one that is being made.
            let mut made = vec![(Vec::new(), Word::default())];
            for piece in &word.pieces {
                let choices = self.choices(piece);
                made = made
                    .iter()
                    .flat_map(|start| choices.iter().map(|choice| append(start, choice)))
                    .collect();
                if made.len() > CHOICES {
                    made = vec![(Vec::new(), word.clone())];
                    break;
                }
            }
            for (mut finished, last) in made {
                finished.push(last);
                done.extend(finished.into_iter().filter(|word| !word.pieces.is_empty()));
            }
        }
        done
    }

    /// What a part of a word may be: each a list of words, of which the first continues the word.
    fn choices(&self, piece: &Piece) -> Vec<Vec<Word>> {
        let as_is = vec![Word {
            pieces: vec![piece.clone()],
        }];
        let Piece::Variable { name, quoted } = piece else {
            return vec![as_is];
        };
        let Some(assigned) = self.values.get(name) else {
            // Unless it is set, it separates words.
            let blank = vec![Word::default(), Word::default()];
            return vec![if name == "IFS" && !quoted {
                blank
            } else {
                as_is
            }];
        };
        let split = |value: &Word| split(value, *quoted);
        match self.variables.get(name) {
            // A function runs later, when it may be something else.
            Some(value)
                if value.certain
                    && !assigned.out_of_order
                    && !self.within.contains(&Within::Function) =>
            {
                value.choices.iter().map(split).collect()
            }
            _ => {
                let mut all: Vec<Vec<Word>> = assigned.values.iter().map(split).collect();
                all.push(as_is);
                all
            }
        }
    }
}

/// The words that a value makes: one inside quotes, else one for each stretch without blanks.
fn split(value: &Word, quoted: bool) -> Vec<Word> {
    let Some(text) = value.text() else {
        return vec![value.clone()];
    };
    if quoted {
        return vec![Word::literal(text)];
    }
    let mut words: Vec<Word> = text.split_ascii_whitespace().map(patterns).collect();
    // A blank at an end separates from what is beside the variable.
    if text.starts_with(|c: char| c.is_ascii_whitespace()) {
        words.insert(0, Word::default());
    }
    if text.ends_with(|c: char| c.is_ascii_whitespace()) {
        words.push(Word::default());
    }
    if words.is_empty() {
        words.push(Word::default());
    }
    words
}

/// An unquoted value is a pattern again.
fn patterns(text: &str) -> Word {
    let mut word = Word::default();
    for c in text.chars() {
        word.push(if matches!(c, '*' | '?' | '[') {
            Piece::Pattern(if c == '?' { "?" } else { "*" }.to_owned())
        } else {
            Piece::Literal(c.to_string())
        });
    }
    word
}

/// `start` continued by the first of `words`, and the others.
fn append(start: &(Vec<Word>, Word), words: &[Word]) -> (Vec<Word>, Word) {
    let (mut finished, mut current) = start.clone();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            finished.push(std::mem::take(&mut current));
        }
        for piece in &word.pieces {
            current.push(piece.clone());
        }
    }
    (finished, current)
}
