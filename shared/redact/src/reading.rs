//! What follows an anchor: a secret, nothing, or more text is needed to say so.

use crate::LONGEST_SECRET;
use crate::anchors::{Anchor, Class, MASK_BEGINS, Shape, ends_with_mask};
use crate::plausible::{is_random, is_varied};
use crate::{keys, names};

/// What an anchor turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing to hide.
    Nothing,
    /// These bytes.
    Secret(usize, usize),
    /// The text ends too early to say.
    Open,
}

/// Longest user and password of a URL in bytes. Own.
const USER_INFO: usize = 1024;
/// Most white space between the parts of an assignment. Own: more is layout, not an assignment.
const SPACES: usize = 16;

/// A text, and what was learned about it so far.
pub(crate) struct Reader<'t> {
    pub(crate) text: &'t [u8],
    /// Nothing follows the text.
    pub(crate) complete: bool,
    /// The last run that was looked at, of each class: so that no byte is looked at for every
    /// anchor before it.
    runs: [(usize, usize); Class::COUNT],
    /// Where the next end of a key was looked for, and where it is.
    pub(crate) key_ends: Option<(usize, Option<usize>)>,
}

/// Where a run ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) end: usize,
    /// It may go on after the end of the text.
    pub(crate) open: bool,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(text: &'t [u8], complete: bool) -> Self {
        Reader {
            text,
            complete,
            runs: [(0, 0); Class::COUNT],
            key_ends: None,
        }
    }

    /// The byte at a place; `Err` when it may still come.
    pub(crate) fn at(&self, at: usize) -> Result<Option<u8>, Undecided> {
        match self.text.get(at) {
            None if !self.complete => Err(Undecided),
            byte => Ok(byte.copied()),
        }
    }

    /// Whether this stands here; `Err` when the text ends within it.
    pub(crate) fn stands(&self, at: usize, what: &[u8]) -> Result<bool, Undecided> {
        let rest = self.text.get(at..).unwrap_or_default();
        if rest.len() >= what.len() || self.complete {
            return Ok(rest.starts_with(what));
        }
        if what.starts_with(rest) {
            Err(Undecided)
        } else {
            Ok(false)
        }
    }

    /// The run of a class from here.
    pub(crate) fn run(&mut self, class: Class, from: usize) -> Run {
        let known = &mut self.runs[class as usize];
        if !(known.0..known.1).contains(&from) {
            let rest = self.text.get(from..).unwrap_or_default();
            let length = rest.iter().position(|byte| !class.has(*byte));
            *known = (from, from + length.unwrap_or(rest.len()));
        }
        let end = known.1.min(from.saturating_add(LONGEST_SECRET));
        Run {
            end,
            open: end == self.text.len() && !self.complete && end - from < LONGEST_SECRET,
        }
    }

    /// The end of the white space from here; not of lines.
    pub(crate) fn after_spaces(&self, from: usize) -> Result<usize, Undecided> {
        let mut at = from;
        while at - from < SPACES && matches!(self.at(at)?, Some(b' ' | b'\t')) {
            at += 1;
        }
        Ok(at)
    }

    /// Reads on from an anchor that stands at `from..to`.
    pub(crate) fn judge(&mut self, anchor: &Anchor, from: usize, to: usize) -> Verdict {
        if anchor.at_word && !self.begins_word(from) {
            return Verdict::Nothing;
        }
        let verdict = match anchor.shape {
            Shape::Token(class, least) => self.token(from, to, class, least),
            Shape::Exact(class, count) => self.exact(from, to, class, count),
            Shape::Jwt => self.jwt(from),
            Shape::OfSession => self.of_session(from, to),
            Shape::TwoParts => self.two_parts(from, to),
            Shape::Pem => keys::judge(self, from, to),
            Shape::Name(name) => names::judge(self, name, from, to),
            Shape::Bearer => self.bearer(to),
            Shape::Url => self.url(to),
        };
        verdict.unwrap_or(Verdict::Open)
    }

    /// A word begins here: no letter, digit or `_` stands before it, unless that belongs to an
    /// escape. What follows a replacement does not begin one: otherwise cleaning twice would find
    /// more than cleaning once.
    fn begins_word(&self, at: usize) -> bool {
        let before = &self.text[..at];
        match before {
            [.., b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => true,
            [.., b'\\', b'n' | b'r' | b't'] => true,
            [.., last] if Class::Word.has(*last) => false,
            _ => !ends_with_mask(before),
        }
    }

    fn token(&mut self, from: usize, to: usize, class: Class, least: usize) -> Judged {
        let run = self.run(class, to);
        if run.open {
            return Err(Undecided);
        }
        let good = run.end - to >= least && is_varied(&self.text[to..run.end], least);
        Ok(if good {
            Verdict::Secret(from, run.end)
        } else {
            Verdict::Nothing
        })
    }

    fn exact(&mut self, from: usize, to: usize, class: Class, count: usize) -> Judged {
        let run = self.run(class, to);
        if run.end - to > count {
            return Ok(Verdict::Nothing);
        }
        let next = self.at(run.end)?;
        // What was replaced behind it may have been more of the word.
        let goes_on = next.is_some_and(|byte| Class::Word.has(byte))
            || self.stands(run.end, MASK_BEGINS.as_bytes())?;
        let good = run.end - to == count && !goes_on && is_varied(&self.text[to..run.end], count);
        Ok(if good {
            Verdict::Secret(from, run.end)
        } else {
            Verdict::Nothing
        })
    }

    fn jwt(&mut self, from: usize) -> Judged {
        let mut parts = [0; 3];
        let mut at = from;
        for (number, part) in parts.iter_mut().enumerate() {
            if number > 0 {
                if self.at(at)? != Some(b'.') {
                    return Ok(Verdict::Nothing);
                }
                at += 1;
            }
            let run = self.run(Class::Dash, at);
            if run.open {
                return Err(Undecided);
            }
            *part = run.end - at;
            at = run.end;
        }
        if parts[0] < 12 || parts[1] < 4 || parts[2] < 10 {
            return Ok(Verdict::Nothing);
        }
        // An encrypted one has five parts.
        for _ in 0..2 {
            if self.at(at)? != Some(b'.') {
                break;
            }
            let run = self.run(Class::Dash, at + 1);
            if run.open {
                return Err(Undecided);
            }
            if run.end == at + 1 {
                break;
            }
            at = run.end;
        }
        Ok(Verdict::Secret(from, at))
    }

    fn of_session(&mut self, from: usize, to: usize) -> Judged {
        let run = self.run(Class::Dot, to);
        if run.open {
            return Err(Undecided);
        }
        let mut parts = self.text[to..run.end].split(|byte| *byte == b'.').skip(1);
        let number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        // One after the other, so that what is none is left at once.
        let good = parts
            .next()
            .is_some_and(|session| session.starts_with(b"ses_"))
            && parts.next().is_some_and(number)
            && parts.next().is_some_and(number)
            && parts.next().is_some_and(|signature| signature.len() >= 20);
        Ok(if good {
            Verdict::Secret(from, run.end)
        } else {
            Verdict::Nothing
        })
    }

    fn two_parts(&mut self, from: usize, to: usize) -> Judged {
        let first = self.run(Class::Dash, to);
        if first.open {
            return Err(Undecided);
        }
        if first.end - to < 16 || self.at(first.end)? != Some(b'.') {
            return Ok(Verdict::Nothing);
        }
        let second = self.run(Class::Dash, first.end + 1);
        if second.open {
            return Err(Undecided);
        }
        let good = second.end - first.end > 16;
        Ok(if good {
            Verdict::Secret(from, second.end)
        } else {
            Verdict::Nothing
        })
    }

    fn bearer(&mut self, to: usize) -> Judged {
        let at = self.after_spaces(to)?;
        if at == to {
            return Ok(Verdict::Nothing);
        }
        let run = self.run(Class::Bearer, at);
        if run.open {
            return Err(Undecided);
        }
        let value = &self.text[at..run.end];
        let good = value.len() >= 16 && is_random(value);
        Ok(if good {
            Verdict::Secret(at, run.end)
        } else {
            Verdict::Nothing
        })
    }

    fn url(&self, to: usize) -> Judged {
        let mut end = to;
        while end - to < USER_INFO {
            match self.at(end)? {
                Some(b'/' | b'"' | b'\'' | b'`' | b'<' | b'>' | b'\\' | 0..=b' ') | None => break,
                Some(_) => end += 1,
            }
        }
        let authority = &self.text[to..end];
        let Some(host) = authority.iter().rposition(|byte| *byte == b'@') else {
            return Ok(Verdict::Nothing);
        };
        let Some(colon) = authority[..host].iter().position(|byte| *byte == b':') else {
            return Ok(Verdict::Nothing);
        };
        let password = &authority[colon + 1..host];
        let digits = password
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let a_port = matches!(password.get(digits), Some(b'?' | b'#')) && digits > 0;
        let placeholder = matches!(password.first(), None | Some(b'$' | b'{' | b'*' | b'['));
        Ok(if placeholder || a_port {
            Verdict::Nothing
        } else {
            Verdict::Secret(to + colon + 1, to + host)
        })
    }
}

/// The text ends too early to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Undecided;

/// A verdict, or that there is none yet.
pub(crate) type Judged = Result<Verdict, Undecided>;
