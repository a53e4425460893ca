//! Arithmetic: `((...))`, which may also be one subshell in another.

use super::{Lexed, NESTED, Reader, Token, Unreadable, follows_for, unquoted_body};
use crate::shell::word::{Piece, Word};

impl Reader<'_> {
    pub(super) fn arithmetic(&mut self, word: Word, start: usize, tokens: &mut Vec<Token>) {
        let is_loop = follows_for(tokens);
        let plain = |text: &str| Lexed {
            plain: Some(text.to_owned()),
            words: vec![Word::literal(text)],
            ..Lexed::default()
        };
        if is_loop {
            // `for ((...))` has the structure of `for _ in ...;`.
            tokens.push(Token::Word(plain("_"), start, start));
            tokens.push(Token::Word(plain("in"), start, start));
        }
        let lexed = Lexed {
            words: vec![word],
            arithmetic: true,
            ..Lexed::default()
        };
        tokens.push(Token::Word(lexed, start, self.at));
        if is_loop {
            while matches!(self.peek(), Some(' ' | '\t')) {
                self.next();
            }
            if !matches!(self.peek(), Some(';' | '\n')) {
                tokens.push(Token::Operator(";", self.at, self.at));
            }
        }
    }

    /// The rest of `((...))` after its first parenthesis, or nothing when it is not arithmetic but
    /// one subshell in another.
    pub(super) fn double_parentheses(&mut self, depth: usize) -> Result<Option<Word>, Unreadable> {
        if depth > NESTED {
            return Err(Unreadable("its substitutions are nested too deep"));
        }
        let before = self.at;
        self.next();
        let inside = self.at;
        let mut open = 1_usize;
        while let Some(c) = self.next() {
            self.spend()?;
            match c {
                '(' => open += 1,
                ')' => {
                    open -= 1;
                    if open == 0 {
                        break;
                    }
                }
                '\\' => {
                    self.next_raw();
                }
                '\'' | '"' | '`' => {
                    // Quotes hide parentheses in some versions of some shells.
                    self.at = before;
                    return Ok(None);
                }
                _ => {}
            }
        }
        if open == 0 && self.peek() == Some(')') {
            let end = self.at - 1;
            let body = self.text.get(inside..end).unwrap_or_default();
            let word = unquoted_body(body, self.steps, depth + 1)?;
            self.next();
            let mut pieces = vec![Piece::Number];
            pieces.extend(
                word.pieces
                    .into_iter()
                    .filter(|piece| matches!(piece, Piece::Output { .. })),
            );
            return Ok(Some(Word { pieces }));
        }
        self.at = before;
        Ok(None)
    }
}
