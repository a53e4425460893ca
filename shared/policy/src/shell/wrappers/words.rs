//! Words of programs that start another.

use crate::shell::word::{Piece, Word};

/// `place` in a word replaced by each of what is given.
pub(super) fn replaced(word: &Word, place: &str, given: &[Word]) -> Vec<Word> {
    let holds = |piece: &Piece| matches!(piece, Piece::Literal(text) if text.contains(place));
    if place.is_empty() || !word.pieces.iter().any(holds) {
        return vec![word.clone()];
    }
    let mut made = Vec::new();
    for value in given {
        let mut new = Word::default();
        for piece in &word.pieces {
            let Piece::Literal(text) = piece else {
                new.push(piece.clone());
                continue;
            };
            for (index, part) in text.split(place).enumerate() {
                if index > 0 {
                    value
                        .pieces
                        .iter()
                        .for_each(|piece| new.push(piece.clone()));
                }
                if !part.is_empty() {
                    new.push(Piece::Literal(part.to_owned()));
                }
            }
        }
        made.push(new);
    }
    made
}

pub(in crate::shell) fn joined(words: &[Word]) -> Word {
    let mut whole = Word::default();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            whole.push(Piece::Literal(" ".to_owned()));
        }
        word.pieces
            .iter()
            .for_each(|piece| whole.push(piece.clone()));
    }
    if whole.pieces.is_empty() {
        return Word::literal("");
    }
    whole
}

pub(crate) fn is(word: Option<&Word>, text: &str) -> bool {
    word.and_then(Word::text).is_some_and(|word| word == text)
}

pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `-c`, or a cluster of short options with it.
pub(crate) fn is_flag(word: &Word, flag: char) -> bool {
    let start = word.literal_start();
    start.starts_with('-') && !start.starts_with("--") && start.contains(flag)
}
