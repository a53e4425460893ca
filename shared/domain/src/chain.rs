//! Chains of digests: each link holds the digest of the one before, so that nobody can change, drop
//! or insert one without changing all that follow. The log of a session is one, and so are the
//! entries of the [audit](crate::audit).

use std::fmt::{self, Write as _};

use sha2::{Digest, Sha256};

use crate::ids::InvalidName;

/// Tells these digests from all others that are made with the same function.
const PURPOSE: &[u8] = b"shannon-chain-v1\n";

/// SHA-256 of a link and, through the one before, of all that came before it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainDigest([u8; 32]);

impl ChainDigest {
    /// What stands where no digest can be read. It is the digest of nothing.
    pub const UNREADABLE: Self = Self([0; 32]);

    /// Of the link at `position` of the chain that is called `chain`, after the link with the digest
    /// `previous`; none before the first.
    #[must_use]
    pub fn of(previous: Option<Self>, chain: &str, position: u64, content: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(PURPOSE);
        hash.update(previous.map_or([0; 32], |it| it.0));
        hash.update((chain.len() as u64).to_be_bytes());
        hash.update(chain);
        hash.update(position.to_be_bytes());
        hash.update(content);
        Self(hash.finalize().into())
    }

    /// Reads what [`fmt::Display`] wrote.
    ///
    /// # Errors
    /// It is not 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        const INVALID: InvalidName = InvalidName {
            what: "digest",
            rule: "64 characters of 0-9 and a-f",
        };
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(INVALID),
        };
        let text = <&[u8; 64]>::try_from(text.as_bytes()).map_err(|_| INVALID)?;
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
            *byte = digit(digits[0])? << 4 | digit(digits[1])?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for ChainDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for ChainDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        write!(text, "{self}")?;
        formatter.write_str(&text[..12])
    }
}

/// A stored link, and what its content gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The first position that it holds.
    pub first: u64,
    /// The last one, by which it is found.
    pub last: u64,
    /// Of the link before it, as it says.
    pub previous: Option<ChainDigest>,
    /// Its own, as it says.
    pub stored: ChainDigest,
    /// Its own, as it must be for that content after that link.
    pub computed: ChainDigest,
}

/// Where a chain does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The link was changed after it was written.
    Changed {
        /// Its last position.
        at: u64,
    },
    /// The link does not follow the one before it: one of them was put there later.
    Replaced {
        /// Its last position.
        at: u64,
    },
    /// Links are gone.
    Missing {
        /// The first position that is.
        from: u64,
        /// The last one.
        to: u64,
    },
}

/// Walks a chain from a known end, link by link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// The last position that was seen.
    pub position: u64,
    /// Its digest; none before the first link.
    pub digest: Option<ChainDigest>,
}

impl Walk {
    /// The next link. What breaks there; after it the walk goes on from this link, so that one break
    /// is told once.
    pub fn step(&mut self, link: &Link) -> Vec<Break> {
        let mut breaks = Vec::new();
        let expected = self.position + 1;
        if link.first > expected {
            breaks.push(Break::Missing {
                from: expected,
                to: link.first - 1,
            });
        } else if link.first < expected || link.previous != self.digest {
            breaks.push(Break::Replaced { at: link.last });
        }
        if link.computed != link.stored {
            breaks.push(Break::Changed { at: link.last });
        }
        *self = Self {
            position: link.last,
            digest: Some(link.stored),
        };
        breaks
    }

    /// The end, as whoever wrote the last link noted it elsewhere.
    #[must_use]
    pub fn end(&self, position: u64, digest: Option<ChainDigest>) -> Option<Break> {
        if self.position < position {
            return Some(Break::Missing {
                from: self.position + 1,
                to: position,
            });
        }
        let same = self.position == position && self.digest == digest;
        (!same).then_some(Break::Replaced { at: self.position })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(contents: &[&str]) -> Vec<Link> {
        let mut links: Vec<Link> = Vec::new();
        for (content, position) in contents.iter().zip(1..) {
            let previous = links.last().map(|link| link.stored);
            let digest = ChainDigest::of(previous, "c", position, content.as_bytes());
            links.push(Link {
                first: position,
                last: position,
                previous,
                stored: digest,
                computed: digest,
            });
        }
        links
    }

    fn breaks(links: &[Link]) -> Vec<Break> {
        let mut walk = Walk::default();
        links.iter().flat_map(|link| walk.step(link)).collect()
    }

    #[test]
    fn a_digest_is_of_everything_before_it_and_of_its_place() {
        let digest = ChainDigest::of(None, "c", 1, b"x");
        assert_eq!(digest, ChainDigest::of(None, "c", 1, b"x"));
        for other in [
            ChainDigest::of(Some(digest), "c", 1, b"x"),
            ChainDigest::of(None, "d", 1, b"x"),
            ChainDigest::of(None, "c", 2, b"x"),
            ChainDigest::of(None, "c", 1, b"y"),
        ] {
            assert_ne!(digest, other);
        }
        assert_eq!(ChainDigest::parse(&digest.to_string()), Ok(digest));
        // One way to write it.
        for text in ["", "ab", &"A".repeat(64), &"g".repeat(64), &"é".repeat(32)] {
            assert!(ChainDigest::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_whole_has_no_break() {
        let links = chain(&["a", "b", "c"]);
        assert_eq!(breaks(&links), []);
        let mut walk = Walk::default();
        links
            .iter()
            .for_each(|link| assert_eq!(walk.step(link), []));
        assert_eq!(walk.end(3, Some(links[2].stored)), None);
        assert_eq!(walk.end(4, None), Some(Break::Missing { from: 4, to: 4 }));
        assert_eq!(
            walk.end(3, Some(links[1].stored)),
            Some(Break::Replaced { at: 3 })
        );
        assert_eq!(
            walk.end(2, Some(links[1].stored)),
            Some(Break::Replaced { at: 3 })
        );
    }

    #[test]
    fn whatever_is_done_to_a_chain_shows_where() {
        let whole = chain(&["a", "b", "c", "d"]);
        let mut changed = whole.clone();
        changed[1].computed = ChainDigest::of(Some(whole[0].stored), "c", 2, b"other");
        assert_eq!(breaks(&changed), [Break::Changed { at: 2 }]);

        // Changed with its own digest: the next one does not follow.
        let mut rewritten = changed.clone();
        rewritten[1].stored = rewritten[1].computed;
        assert_eq!(breaks(&rewritten), [Break::Replaced { at: 3 }]);

        let mut missing = whole.clone();
        missing.remove(1);
        assert_eq!(breaks(&missing), [Break::Missing { from: 2, to: 2 }]);

        let mut twice = whole.clone();
        twice.insert(2, whole[1]);
        assert_eq!(breaks(&twice), [Break::Replaced { at: 2 }]);

        // Written anew from the second on: only who kept its end can tell.
        let mut anew = chain(&["a", "x", "c", "d"]);
        assert_eq!(breaks(&anew), []);
        let mut walk = Walk::default();
        anew.iter().for_each(|link| assert_eq!(walk.step(link), []));
        assert_eq!(
            walk.end(4, Some(whole[3].stored)),
            Some(Break::Replaced { at: 4 })
        );
        anew.truncate(2);
        assert_eq!(breaks(&anew), []);
    }
}
