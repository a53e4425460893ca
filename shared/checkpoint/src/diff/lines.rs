//! Which lines two texts share: the longest common subsequence, as Myers finds it ("An O(ND)
//! difference algorithm and its variations", 1986), in linear space.
//!
//! What bounds the work is a number of steps, never a time: two texts give the same answer on every
//! machine, however busy it is. Whoever takes a patch piece by piece has it computed anew for each
//! piece, and the pieces must be of one text.

use std::{collections::HashMap, iter};

use similar::DiffOp;

/// Steps that a comparison may take: a tenth of a second or so. It grows with the square of the
/// number of changed lines among those that both sides have: thousands of them fit. Own.
const STEPS: u64 = 20_000_000;

/// No path ends on this diagonal.
const NONE: usize = usize::MAX;

/// The lines of a text, each with its line feed. Git knows no other end of a line.
pub(super) fn split(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// How the old lines become the new ones: equal, deleted, inserted and replaced lines in their
/// order. What is not compared within the bound is replaced.
pub(super) fn compare(old: &[&[u8]], new: &[&[u8]]) -> Vec<DiffOp> {
    within(STEPS, old, new)
}

fn within(steps: u64, old: &[&[u8]], new: &[&[u8]]) -> Vec<DiffOp> {
    let mut pairs = pairs(steps, old, new);
    slide(&mut pairs, old, new);
    let (mut old_index, mut new_index) = (0, 0);
    let mut operations = Vec::new();
    let runs = pairs.chunk_by(|one, next| *next == (one.0 + 1, one.1 + 1));
    let runs = runs.map(|run| (run[0], run.len()));
    for ((old_at, new_at), len) in runs.chain(iter::once(((old.len(), new.len()), 0))) {
        match (old_at - old_index, new_at - new_index) {
            (0, 0) => {}
            (0, new_len) => operations.push(DiffOp::Insert {
                old_index,
                new_index,
                new_len,
            }),
            (old_len, 0) => operations.push(DiffOp::Delete {
                old_index,
                old_len,
                new_index,
            }),
            (old_len, new_len) => operations.push(DiffOp::Replace {
                old_index,
                old_len,
                new_index,
                new_len,
            }),
        }
        if len > 0 {
            operations.push(DiffOp::Equal {
                old_index: old_at,
                new_index: new_at,
                len,
            });
        }
        (old_index, new_index) = (old_at + len, new_at + len);
    }
    operations
}

/// Moves what came or went as far down as it goes, as git does: of a new function below another one
/// the patch then shows its own last line, not the other one's.
fn slide(pairs: &mut [(usize, usize)], old: &[&[u8]], new: &[&[u8]]) {
    let (mut old_next, mut new_next) = (0, 0);
    for pair in pairs {
        if pair.0 == old_next && new[new_next] == new[pair.1] {
            pair.1 = new_next;
        } else if pair.1 == new_next && old[old_next] == old[pair.0] {
            pair.0 = old_next;
        }
        (old_next, new_next) = (pair.0 + 1, pair.1 + 1);
    }
}

/// The places of the lines that both sides share, in their order.
fn pairs(steps: u64, old: &[&[u8]], new: &[&[u8]]) -> Vec<(usize, usize)> {
    let mut names: HashMap<&[u8], (usize, bool)> = HashMap::new();
    for line in old {
        let next = names.len();
        names.entry(line).or_insert((next, false));
    }
    for line in new {
        if let Some((_, in_both)) = names.get_mut(line) {
            *in_both = true;
        }
    }
    // Lines that only one side has are in no common subsequence.
    let kept = |lines: &[&[u8]]| -> (Vec<usize>, Vec<usize>) {
        let named = lines.iter().enumerate();
        named
            .filter_map(|(place, line)| match names.get(line) {
                Some((name, true)) => Some((place, *name)),
                _ => None,
            })
            .unzip()
    };
    let ((old_places, old_names), (new_places, new_names)) = (kept(old), kept(new));
    let mut comparison = Comparison {
        steps,
        pairs: Vec::new(),
    };
    comparison.compare((&old_names, 0), (&new_names, 0));
    let found = comparison.pairs.into_iter();
    found
        .map(|(old, new)| (old_places[old], new_places[new]))
        .collect()
}

struct Comparison {
    /// That are left.
    steps: u64,
    pairs: Vec<(usize, usize)>,
}

impl Comparison {
    /// Finds the pairs of two pieces; each comes with the place where it begins.
    fn compare(
        &mut self,
        (mut old, mut old_at): (&[usize], usize),
        (mut new, mut new_at): (&[usize], usize),
    ) {
        let same = |(old, new): &(&usize, &usize)| old == new;
        let before = iter::zip(old, new).take_while(same).count();
        self.pair(old_at, new_at, before);
        (old, old_at) = (&old[before..], old_at + before);
        (new, new_at) = (&new[before..], new_at + before);
        let behind = iter::zip(old.iter().rev(), new.iter().rev());
        let behind = behind.take_while(same).count();
        (old, new) = (&old[..old.len() - behind], &new[..new.len() - behind]);
        if !old.is_empty()
            && !new.is_empty()
            && let Some((x, y)) = self.middle(old, new)
        {
            // Each half has about half of the differences, so this does not go deep.
            self.compare((&old[..x], old_at), (&new[..y], new_at));
            self.compare((&old[x..], old_at + x), (&new[y..], new_at + y));
        }
        self.pair(old_at + old.len(), new_at + new.len(), behind);
    }

    fn pair(&mut self, old_at: usize, new_at: usize, lines: usize) {
        self.pairs
            .extend((0..lines).map(|line| (old_at + line, new_at + line)));
    }

    /// A point in the middle of a shortest way from the old lines to the new ones. `None` when the
    /// steps are used up.
    fn middle(&mut self, old: &[usize], new: &[usize]) -> Option<(usize, usize)> {
        let (n, m) = (old.len(), new.len());
        let mut forward = Paths::new(n, m);
        let mut backward = Paths::new(n, m);
        let forward_meets = (n + m) % 2 == 1;
        for changes in 0..=(n + m).div_ceil(2) {
            let mut met = None;
            self.steps = self.steps.checked_sub(forward.advance(
                changes,
                |x, y| old[x] == new[y],
                |diagonal, x| {
                    let other = backward.furthest[n + m - diagonal];
                    if forward_meets && other != NONE && x + other >= n {
                        met = Some((x, x + m - diagonal));
                    }
                    met.is_some()
                },
            ))?;
            if met.is_some() {
                return met;
            }
            self.steps = self.steps.checked_sub(backward.advance(
                changes,
                |x, y| old[n - 1 - x] == new[m - 1 - y],
                |diagonal, x| {
                    let other = forward.furthest[n + m - diagonal];
                    if !forward_meets && other != NONE && x + other >= n {
                        met = Some((n - x, m - (x + m - diagonal)));
                    }
                    met.is_some()
                },
            ))?;
            if met.is_some() {
                return met;
            }
        }
        None
    }
}

/// How far one can come from one corner with a number of changes, on each diagonal. A diagonal is
/// named by x - y + m, from 0 to n + m; x counts old lines from that corner and y new ones.
struct Paths {
    n: usize,
    m: usize,
    /// The largest x.
    furthest: Vec<usize>,
}

impl Paths {
    fn new(n: usize, m: usize) -> Self {
        Self {
            n,
            m,
            furthest: vec![NONE; n + m + 1],
        }
    }

    /// Goes one change further than before, until `met` says that it is far enough. Gives the steps
    /// that it took.
    fn advance(
        &mut self,
        changes: usize,
        same: impl Fn(usize, usize) -> bool,
        mut met: impl FnMut(usize, usize) -> bool,
    ) -> u64 {
        let (n, m) = (self.n, self.m);
        // Those within the grid, every other one.
        let first = if changes <= m {
            m - changes
        } else {
            (changes - m) % 2
        };
        let last = if changes <= n {
            m + changes
        } else {
            n + m - (changes - n) % 2
        };
        let mut steps = 0;
        for diagonal in (first..=last).step_by(2) {
            let from = if changes == 0 {
                0
            } else {
                let neighbour = |at: Option<usize>| {
                    let x = at.and_then(|at| self.furthest.get(at)).copied();
                    x.filter(|x| *x != NONE)
                };
                let deleting = neighbour(diagonal.checked_sub(1)).filter(|x| *x < n);
                // Where y is m, nothing is left to insert.
                let inserting = neighbour(Some(diagonal + 1)).filter(|x| *x <= diagonal);
                match deleting.map(|x| x + 1).max(inserting) {
                    Some(x) => x,
                    None => {
                        self.furthest[diagonal] = NONE;
                        continue;
                    }
                }
            };
            let mut x = from;
            while x < n && x + m - diagonal < m && same(x, x + m - diagonal) {
                x += 1;
            }
            steps += (x - from) as u64 + 1;
            self.furthest[diagonal] = x;
            if met(diagonal, x) {
                break;
            }
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(names: &[u8]) -> Vec<&[u8]> {
        names.chunks(1).collect()
    }

    /// Lines that both sides share, as many as can be.
    fn most(old: &[u8], new: &[u8]) -> usize {
        let mut row = vec![0; new.len() + 1];
        for line in old {
            let mut above_left = 0;
            for (place, other) in new.iter().enumerate() {
                let above = row[place + 1];
                row[place + 1] = if line == other {
                    above_left + 1
                } else {
                    above.max(row[place])
                };
                above_left = above;
            }
        }
        row[new.len()]
    }

    /// The new text made out of the old one, and how many lines were kept.
    fn applied<'a>(
        operations: &[DiffOp],
        old: &[&'a [u8]],
        new: &[&'a [u8]],
    ) -> (Vec<&'a [u8]>, usize) {
        let (mut made, mut kept, mut next) = (Vec::new(), 0, (0, 0));
        for operation in operations {
            let (from, to) = (operation.old_range(), operation.new_range());
            assert_eq!((from.start, to.start), next, "{operations:?}");
            next = (from.end, to.end);
            if matches!(operation, DiffOp::Equal { .. }) {
                assert_eq!(old[from.clone()], new[to.clone()]);
                kept += from.len();
                made.extend_from_slice(&old[from]);
            } else {
                made.extend_from_slice(&new[to]);
            }
        }
        assert_eq!(next, (old.len(), new.len()));
        (made, kept)
    }

    proptest! {
        #[test]
        fn as_much_as_can_be_stays(
            old in prop::collection::vec(0_u8..6, 0..40),
            new in prop::collection::vec(0_u8..6, 0..40),
        ) {
            let (a, b) = (lines(&old), lines(&new));
            let (made, kept) = applied(&compare(&a, &b), &a, &b);
            prop_assert_eq!(made, b);
            prop_assert_eq!(kept, most(&old, &new));
        }

        /// Whatever the bound, the new text comes out, and the same way each time.
        #[test]
        fn what_is_not_compared_is_replaced(
            steps in 0_u64..400,
            old in prop::collection::vec(0_u8..6, 0..60),
            new in prop::collection::vec(0_u8..6, 0..60),
        ) {
            let (a, b) = (lines(&old), lines(&new));
            let operations = within(steps, &a, &b);
            prop_assert_eq!(applied(&operations, &a, &b).0, b.clone());
            prop_assert_eq!(within(steps, &a, &b), operations);
        }
    }

    /// A comparison that takes long is made to its end all the same, on a machine that is slow or
    /// busy, too: a bound in time gave up on it there.
    #[test]
    fn a_hard_comparison_is_the_same_everywhere() {
        let mut state = 1_u32;
        let mut random = |count: usize| -> Vec<u8> {
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            };
            (0..count).map(|_| next()).collect()
        };
        let (old, new) = (random(2_500), random(2_500));
        let (a, b) = (lines(&old), lines(&new));
        let (made, kept) = applied(&compare(&a, &b), &a, &b);
        assert_eq!(made, b);
        assert_eq!(kept, most(&old, &new));
    }

    /// Two texts of the largest size that share every line and no order.
    #[test]
    fn the_bound_holds() {
        let old: Vec<u8> = (0..200_000_u32).map(|line| (line % 251) as u8).collect();
        let new: Vec<u8> = old.iter().rev().copied().collect();
        let (a, b) = (lines(&old), lines(&new));
        let (made, kept) = applied(&within(100_000, &a, &b), &a, &b);
        assert_eq!(made, b);
        assert!(kept < old.len());
    }

    #[test]
    fn what_came_stands_as_far_down_as_it_can() {
        let (old, new) = (lines(b"a{}b"), lines(b"a{}{}{}b"));
        let came = compare(&old, &new);
        let expected = [(0..3, 0..3), (3..3, 3..7), (3..4, 7..8)];
        let ranges = came.iter().map(|it| (it.old_range(), it.new_range()));
        assert_eq!(ranges.collect::<Vec<_>>(), expected);
        let went = compare(&new, &old);
        let ranges = went.iter().map(|it| (it.new_range(), it.old_range()));
        assert_eq!(ranges.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn only_a_line_feed_ends_a_line() {
        assert_eq!(split(b"a\rb\r\nc"), [&b"a\rb\r\n"[..], b"c"]);
        assert!(split(b"").is_empty());
    }
}
