//! Here-documents: their delimiters, and the lines up to them.

use super::{Reader, Token, Unreadable, unquoted_body};
use crate::shell::word::Word;

pub(super) struct HereDocument {
    delimiter: String,
    quoted: bool,
    strips_tabs: bool,
    /// Index of the token that is to hold the body.
    pub(super) body: usize,
}

impl Reader<'_> {
    pub(super) fn delimiter(
        &mut self,
        strips_tabs: bool,
        depth: usize,
        tokens: &mut Vec<Token>,
    ) -> Result<HereDocument, Unreadable> {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.next();
        }
        let start = self.at;
        let lexed = self.word(depth)?;
        let quoted = lexed.quoted;
        let delimiter = match lexed.words.as_slice() {
            [word] if lexed.assigned.is_none() => word.text(),
            _ => None,
        };
        let delimiter = delimiter
            .filter(|text| !text.contains('\n') && self.at > start)
            .ok_or(Unreadable("a here-document has no plain delimiter"))?;
        let end = self.at;
        for _ in 0..3 {
            tokens.push(Token::Word(lexed.clone(), start, end));
        }
        Ok(HereDocument {
            delimiter,
            quoted,
            strips_tabs,
            body: tokens.len() - 2,
        })
    }

    pub(super) fn here_document(
        &mut self,
        document: &HereDocument,
        depth: usize,
    ) -> Result<Word, Unreadable> {
        let mut body: Vec<char> = Vec::new();
        let mut continues = false;
        loop {
            self.spend()?;
            let mut line: Vec<char> = Vec::new();
            let mut ended = false;
            while let Some(c) = self.next_raw() {
                ended = c == '\n';
                if ended {
                    break;
                }
                line.push(c);
            }
            if line.is_empty() && !ended {
                return Err(Unreadable("a here-document has no end"));
            }
            if document.strips_tabs {
                let tabs = line.iter().take_while(|c| **c == '\t').count();
                line.drain(..tabs);
            }
            if line.iter().copied().eq(document.delimiter.chars()) {
                if continues && !document.quoted {
                    return Err(Unreadable("the end of a here-document is not clear"));
                }
                break;
            }
            let slashes = line.iter().rev().take_while(|c| **c == '\\').count();
            continues = slashes % 2 == 1;
            body.append(&mut line);
            body.push('\n');
            if !ended {
                return Err(Unreadable("a here-document has no end"));
            }
        }
        if document.quoted {
            return Ok(Word::literal(body.into_iter().collect::<String>()));
        }
        unquoted_body(&body, self.steps, depth + 1)
    }
}
