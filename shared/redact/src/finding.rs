//! All secrets of a text in their order, and how much of it is decided.

use crate::anchors::{ANCHORS, FINDER, LONGEST_ANCHOR, OWN, Shape};
use crate::literals::Literals;
use crate::reading::{Reader, Verdict};

/// A secret in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) kind: &'static str,
    /// Where the anchor stands by which it was found.
    anchor: usize,
    /// Whose name the replacement has, when several overlap.
    rank: u8,
}

/// What is in a text.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The secrets, in order and apart from each other.
    pub(crate) found: Vec<Found>,
    /// From here on a secret may have begun: what follows says.
    pub(crate) hold: usize,
}

/// Looks for secrets that begin at `start` or later; what stands before it is only context.
pub(crate) fn find(text: &str, own: &Literals, start: usize, complete: bool) -> Seen {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut hold = bytes.len();
    let mut reader = Reader::new(bytes, complete);
    for hit in FINDER.find_overlapping_iter(bytes) {
        let anchor = &ANCHORS[hit.pattern().as_usize()];
        if hit.start() < start || !anchor.begins_with(&bytes[hit.range()]) {
            continue;
        }
        match reader.judge(anchor, hit.start(), hit.end()) {
            Verdict::Nothing => {}
            Verdict::Open => hold = hold.min(hit.start()),
            Verdict::Secret(from, to) => found.push(Found {
                from,
                // A limit may lie within a character.
                to: text.ceil_char_boundary(to),
                kind: anchor.kind,
                anchor: hit.start(),
                rank: u8::from(!matches!(
                    anchor.shape,
                    Shape::Name(_) | Shape::Bearer | Shape::Url
                )),
            }),
        }
    }
    own.each(bytes, |from, to| {
        if from >= start {
            found.push(Found {
                from,
                to,
                kind: OWN,
                anchor: from,
                rank: 2,
            });
        }
    });
    if !complete {
        hold = hold.min(own.begun(bytes, start)).min(begun(bytes, start));
    }
    let found = apart(found);
    // A secret is given whole or held whole, and its anchor with it: otherwise nobody would find
    // it the next time.
    while let Some(cut) = found.iter().find(|cut| cut.anchor < hold && hold < cut.to) {
        hold = cut.anchor;
    }
    Seen { found, hold }
}

/// Where an anchor may have begun that the end of the text cuts.
fn begun(bytes: &[u8], start: usize) -> usize {
    let first = bytes.len().saturating_sub(*LONGEST_ANCHOR - 1).max(start);
    (first..bytes.len())
        .find(|at| {
            ANCHORS
                .iter()
                .any(|anchor| anchor.begins_with(&bytes[*at..]))
        })
        .unwrap_or(bytes.len())
}

/// What overlaps becomes one.
fn apart(mut found: Vec<Found>) -> Vec<Found> {
    // Of two names for one value the longer says more.
    found.sort_by_key(|secret| (secret.from, secret.to, secret.anchor));
    let mut apart: Vec<Found> = Vec::with_capacity(found.len());
    for secret in found {
        match apart.last_mut() {
            Some(last) if secret.from < last.to => {
                last.to = last.to.max(secret.to);
                last.anchor = last.anchor.min(secret.anchor);
                if secret.rank > last.rank {
                    (last.kind, last.rank) = (secret.kind, secret.rank);
                }
            }
            _ => apart.push(secret),
        }
    }
    apart
}
