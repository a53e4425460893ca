//! What can be told of a text that cannot be read.
//!
//! A person is asked about such a text, and with the permission mode `bypass` it runs. So what a
//! session may never do is looked for in it all the same: every stretch between separators that is a
//! command by itself is visited as one, and of the others the words, quotes taken off. Words count at
//! the start of a stretch only where they name programs, since anywhere else they are mostly data;
//! paths and addresses count anywhere.

use super::Walker;
use crate::shell::word::{Piece, Word};
use crate::shell::{Access, Redirection, Started, grammar, lexer, wrappers};
use std::rc::Rc;

/// Most stretches that are looked at.
const STRETCHES: usize = 128;

/// Words after which a command starts.
const BEFORE_COMMANDS: [&str; 12] = [
    "!", "{", "}", "do", "elif", "else", "if", "then", "time", "until", "while", "coproc",
];

impl Walker {
    /// Visits what looks like commands in a text that cannot be read.
    pub(super) fn salvage(&mut self, text: &str) {
        // Of a substitution, the text around it has been salvaged or will be.
        let stretches = stretches(text);
        if stretches.len() > STRETCHES {
            self.leave_out("it cannot be read and is long");
        }
        for stretch in stretches.into_iter().take(STRETCHES) {
            let mut words = stretch.split_whitespace().peekable();
            while words
                .next_if(|word| BEFORE_COMMANDS.contains(word))
                .is_some()
            {}
            let rest: Vec<&str> = words.collect();
            let rest = rest.join(" ");
            if rest.is_empty() {
                continue;
            }
            match lexer::tokens(&rest).and_then(grammar::structure) {
                Ok((program, words)) => self.lists(&program, &Rc::new(words)),
                Err(_) => self.salvage_words(&rest),
            }
        }
        let mentioned: Vec<Word> = text
            .split(|c: char| c.is_whitespace() || "'\"`;|&<>(){}[]=,".contains(c))
            .filter(|word| word.starts_with(['/', '~']) || word.contains("://"))
            .map(plain_word)
            .collect();
        if !mentioned.is_empty() {
            self.push(Started {
                arguments: mentioned,
                ..Started::default()
            });
        }
    }

    fn salvage_words(&mut self, stretch: &str) {
        let mut started = Started::default();
        let mut words = Vec::new();
        let mut texts = stretch.split(' ').peekable();
        while let Some(text) = texts.next() {
            let without_descriptor =
                text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '&');
            let access = match without_descriptor.chars().next() {
                Some('>') => Access::Write,
                Some('<') => Access::Read,
                _ => {
                    words.push(plain_word(text));
                    continue;
                }
            };
            let file = without_descriptor.trim_start_matches(['>', '<', '|', '&']);
            let file = if file.is_empty() {
                texts.next().unwrap_or_default()
            } else {
                file
            };
            started.redirections.push(Redirection {
                access,
                file: plain_word(file),
            });
        }
        words.retain(|word| !word.pieces.is_empty());
        if words.is_empty() {
            self.push(started);
        } else {
            wrappers::start(self, words, started);
        }
    }
}

/// The text between what separates commands, wherever that stands.
fn stretches(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, c) in text.char_indices() {
        let after = text[at + c.len_utf8()..].chars().next();
        let before = text[..at].chars().next_back();
        let separates = match c {
            ';' | '\n' | '(' | ')' | '`' => true,
            // Not of `>|`, `2>&1` and `&>`.
            '|' => before != Some('>'),
            '&' => !matches!(before, Some('>' | '<')) && after != Some('>'),
            _ => false,
        };
        if separates {
            found.push(&text[start..at]);
            start = at + c.len_utf8();
        }
    }
    found.push(&text[start..]);
    found.retain(|stretch| !stretch.trim().is_empty());
    found
}

/// A word without its quotes; from the first expansion on it is not known.
fn plain_word(text: &str) -> Word {
    let mut word = Word::default();
    let mut rest = text;
    if rest == "~" || rest.starts_with("~/") {
        word.push(Piece::Home);
        rest = &rest[1..];
    }
    for c in rest.chars() {
        match c {
            '\'' | '"' | '\\' => {}
            '*' | '?' => word.push(Piece::Pattern(c.to_string())),
            '$' => {
                word.push(Piece::Variable {
                    name: String::new(),
                    quoted: false,
                });
                break;
            }
            c => word.push(Piece::Literal(c.to_string())),
        }
    }
    word
}
