//! Text that comes in pieces: nothing of a secret is given before the secret is whole.

use crate::finding::find;
use crate::{Redactor, replace};

/// Bytes before the undecided text that are kept: what stands before an anchor counts. Own: longer
/// than any replacement and any name.
const CONTEXT: usize = 160;

/// Cleans a text that comes in pieces. What it gives, put together, is the text cleaned whole.
///
/// What may be the beginning of a secret is held back: a few bytes of ordinary text, and at most a
/// key of 32 KiB.
#[derive(Debug, Clone)]
pub struct Stream {
    redactor: Redactor,
    text: String,
    /// What stands before was given.
    given: usize,
}

impl Stream {
    pub(crate) fn new(redactor: Redactor) -> Self {
        Stream {
            redactor,
            text: String::new(),
            given: 0,
        }
    }

    /// Takes the next piece, and gives what is decided now.
    pub fn push(&mut self, piece: &str) -> String {
        self.text.push_str(piece);
        let seen = find(&self.text, &self.redactor.own, self.given, false);
        let mut clean = String::new();
        replace(&self.text, self.given, seen.hold, &seen.found, &mut clean);
        self.given = seen.hold;
        let behind = self
            .text
            .floor_char_boundary(self.given.saturating_sub(CONTEXT));
        self.text.drain(..behind);
        self.given -= behind;
        clean
    }

    /// Nothing follows: gives the rest.
    #[must_use]
    pub fn finish(self) -> String {
        let seen = find(&self.text, &self.redactor.own, self.given, true);
        let mut clean = String::new();
        replace(
            &self.text,
            self.given,
            self.text.len(),
            &seen.found,
            &mut clean,
        );
        clean
    }

    /// Bytes that are held back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.text.len() - self.given
    }
}
