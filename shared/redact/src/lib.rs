//! Takes secrets out of text before it is stored, logged or shown. Pure: no I/O, no clock.
//!
//! ```text
//! text ─→ anchors (one pass) ─→ what follows each: a secret, nothing, or not decided yet
//!      └→ the session's own credentials (one pass) ─┘        │
//!                       overlapping ones become one ─→ `[redacted: github token]`
//! ```
//! Three things are secrets: what a provider made recognisable (`anchors`), a plausible value at
//! a place for secrets (`password=…`, `Authorization: …`, `scheme://user:…@host`), and what the
//! caller says is one, in its usual encodings. A text is read in linear time. Cleaning twice
//! changes nothing more. A [`Stream`] gives the same as cleaning the whole, however it is cut.
//!
//! What this does not do: find a secret that only a person recognises, or one that is spelled so
//! that nobody finds it (reversed, in pieces, encrypted). It keeps accidents out of logs; it is no
//! wall against a program that wants to print a secret. Such a wall is that the secret is not there.

mod anchors;
mod finding;
mod json;
mod keys;
mod literals;
mod names;
mod plausible;
mod reading;
mod stream;

use std::sync::Arc;

use finding::{Found, find};
use literals::Literals;

pub use stream::Stream;

/// Longest secret in bytes that is looked for without a limit of its own. Own: a token of 8 KiB is
/// the longest that HTTP servers take in a header.
const LONGEST_SECRET: usize = 16 * 1024;

/// Takes secrets out of text. Cheap to clone.
///
/// The default one knows no credentials of its own and finds what looks like a secret.
#[derive(Clone, Default)]
pub struct Redactor {
    own: Arc<Literals>,
}

/// Whether what was taken out of a text are words of letters, digits and a few marks: then whoever reads
/// the cleaned text sees everything that a shell or a program would read otherwise than as a word.
///
/// The cleaned text and such words in the places of its replacements must give the original; which
/// words stood where does not matter to that.
#[must_use]
pub fn hides_only_words(original: &str, cleaned: &str) -> bool {
    if original == cleaned {
        return true;
    }
    let is_word = |hidden: &str| {
        hidden
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._~+/=%-".contains(&byte))
    };
    let mut pieces = cleaned.split(anchors::MASK_BEGINS);
    let Some(mut rest) = original.strip_prefix(pieces.next().unwrap_or_default()) else {
        return false;
    };
    let pieces: Vec<&str> = pieces.collect();
    for (number, piece) in pieces.iter().enumerate() {
        let Some((_, shown)) = piece.split_once(']') else {
            return false;
        };
        let at = if number + 1 == pieces.len() {
            // The last piece is the end.
            rest.len()
                .checked_sub(shown.len())
                .filter(|_| rest.ends_with(shown))
        } else {
            rest.find(shown)
        };
        let Some(at) = at.filter(|at| is_word(&rest[..*at])) else {
            return false;
        };
        rest = &rest[at + shown.len()..];
    }
    rest.is_empty()
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Redactor({} secrets)", self.own.len())
    }
}

impl Redactor {
    /// One that also knows these credentials: as they are, and in base64, hexadecimal,
    /// percent-encoding and as within JSON. Those under eight bytes are ignored: they would blank
    /// out ordinary words.
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        Redactor {
            own: Arc::new(Literals::new(secrets)),
        }
    }

    /// The text without secrets.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        let seen = find(text, &self.own, 0, true);
        if seen.found.is_empty() {
            return text.to_owned();
        }
        let mut clean = String::with_capacity(text.len());
        replace(text, 0, text.len(), &seen.found, &mut clean);
        clean
    }

    /// The text has no secret in it.
    #[must_use]
    pub fn is_clean(&self, text: &str) -> bool {
        find(text, &self.own, 0, true).found.is_empty()
    }

    /// The beginning of a longer text that was cut, without secrets and without the beginning of
    /// one at its end.
    #[must_use]
    pub fn clean_beginning(&self, text: &str) -> String {
        let seen = find(text, &self.own, 0, false);
        let mut clean = String::with_capacity(text.len());
        replace(text, 0, seen.hold, &seen.found, &mut clean);
        if seen.hold < text.len() {
            clean.push('…');
        }
        clean
    }

    /// The text without secrets and with as many lines as before, so that the line numbers of a
    /// patch stay true: a secret over several lines is replaced on each of them.
    #[must_use]
    pub fn clean_lines(&self, text: &str) -> String {
        let seen = find(text, &self.own, 0, true);
        let mut clean = String::with_capacity(text.len());
        let mut at = 0;
        for found in &seen.found {
            clean.push_str(&text[at..found.from]);
            let mask = anchors::mask(found.kind);
            for (number, line) in text[found.from..found.to].split('\n').enumerate() {
                if number > 0 {
                    clean.push('\n');
                    // A line of a patch says by its first character what happened to it.
                    clean.extend(line.chars().next().filter(|first| "+- ".contains(*first)));
                }
                clean.push_str(&mask);
            }
            at = found.to;
        }
        clean.push_str(&text[at..]);
        clean
    }

    /// The same bytes with `*` in the place of each byte of a secret: lines and offsets stay what they
    /// were. What is no UTF-8 is no secret, and stays.
    #[must_use]
    pub fn blank(&self, bytes: &[u8]) -> Vec<u8> {
        let mut blank = bytes.to_vec();
        let mut at = 0;
        for chunk in bytes.utf8_chunks() {
            let text = chunk.valid();
            for found in find(text, &self.own, 0, true).found {
                blank_out(&mut blank[at + found.from..at + found.to]);
            }
            at += text.len() + chunk.invalid().len();
        }
        blank
    }

    /// The same of a text.
    #[must_use]
    pub fn blank_text(&self, text: &str) -> String {
        // Whole characters are replaced, so nothing is lost here.
        String::from_utf8_lossy(&self.blank(text.as_bytes())).into_owned()
    }

    /// JSON text without secrets, which stays the same JSON but for them: each of its strings is
    /// read without its escapes, and the name of a member counts for its value. What is no JSON is
    /// cleaned as text.
    #[must_use]
    pub fn clean_json(&self, text: &str) -> String {
        let Some(json) = json::clean(self, text) else {
            return self.clean(text);
        };
        // What lies across several strings, such as the lines of a key.
        let across = self.clean(&json);
        if across == json || json::clean(self, &across).is_none() {
            json
        } else {
            across
        }
    }

    /// The value of a field, a member or a header with this name.
    #[must_use]
    pub fn clean_value(&self, name: &str, value: &str) -> String {
        match names::of_value(name, value) {
            Some(kind) => anchors::mask(kind),
            None => self.clean(value),
        }
    }

    /// Takes a text in pieces.
    #[must_use]
    pub fn stream(&self) -> Stream {
        Stream::new(self.clone())
    }
}

/// Stars, but for the ends of lines and what a patch says about a line by its first character.
fn blank_out(secret: &mut [u8]) {
    let mut line_begins = false;
    for byte in secret {
        let kept = *byte == b'\n' || (line_begins && b"+- ".contains(byte));
        line_begins = *byte == b'\n';
        if !kept {
            *byte = b'*';
        }
    }
}

/// Appends `text[from..to]` with the secrets replaced; none of them lies across an end of it.
fn replace(text: &str, from: usize, to: usize, found: &[Found], clean: &mut String) {
    let mut at = from;
    for secret in found {
        if secret.from < at || secret.to > to {
            continue;
        }
        clean.push_str(&text[at..secret.from]);
        clean.push_str(&anchors::mask(secret.kind));
        at = secret.to;
    }
    clean.push_str(&text[at..to]);
}

#[cfg(test)]
mod tests;
