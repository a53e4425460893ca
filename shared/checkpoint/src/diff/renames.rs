//! Finds files that were moved: first those with the same content, then those that are alike.

use std::collections::HashMap;

use domain::ports::TreeObjects;

use crate::{
    codec::Hash,
    entry::{Entry, Extent, Node},
    objects::ReadError,
    path::split,
};

use super::{Contents, Pair};

/// Candidates on each side for files that are alike; with more, only equal ones are found. As git's
/// limit, but smaller, because each is read.
const CANDIDATES: usize = 100;
/// Larger files are only found when they are equal.
const ALIKE_BYTES: u64 = 128 << 10;
/// At least so much of the lines is the same, in percent; as in git.
const ALIKE_PERCENT: u64 = 50;

/// What a file holds, as a key.
fn content(entry: &Entry) -> Option<Vec<(u64, Option<Hash>)>> {
    let Node::File { size, extents, .. } = &entry.node else {
        return None;
    };
    // Empty files are all alike; nobody would say that one became the other.
    (*size > 0).then(|| {
        extents
            .iter()
            .map(|extent| match extent {
                Extent::Hole(length) => (*length, None),
                Extent::Chunk(chunk) => (chunk.length.into(), Some(chunk.hash)),
            })
            .collect()
    })
}

fn is_file(entry: Option<&Entry>) -> bool {
    entry.is_some_and(|entry| matches!(entry.node, Node::File { .. }))
}

/// Joins deletions and additions that belong together.
pub(super) async fn find<O: TreeObjects>(
    pairs: Vec<Pair>,
    contents: &mut Contents<'_, '_, O>,
) -> Result<Vec<Pair>, ReadError> {
    let (mut deleted, mut added, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for pair in pairs {
        if pair.new.is_none() && is_file(pair.old.as_ref()) {
            deleted.extend(pair.old);
        } else if pair.old.is_none() && is_file(pair.new.as_ref()) {
            added.extend(pair.new);
        } else {
            rest.push(pair);
        }
    }
    let mut by_content: HashMap<_, Vec<usize>> = HashMap::new();
    for (place, entry) in deleted.iter().enumerate().rev() {
        if let Some(key) = content(entry) {
            by_content.entry(key).or_default().push(place);
        }
    }
    let mut deleted: Vec<Option<Entry>> = deleted.into_iter().map(Some).collect();
    let mut unmatched = Vec::new();
    for entry in added {
        let places = content(&entry).and_then(|key| by_content.get_mut(&key));
        // Of several with the same content, one with the same name.
        let place = places.and_then(|places| {
            let name = entry.path.split().1;
            let same_name = places.iter().position(|place| {
                let old = deleted[*place].as_ref();
                old.is_some_and(|old| old.path.split().1 == name)
            });
            match same_name {
                Some(position) => Some(places.remove(position)),
                None => places.pop(),
            }
        });
        match place.and_then(|place| deleted[place].take()) {
            Some(old) => rest.push(Pair {
                old: Some(old),
                new: Some(entry),
            }),
            None => unmatched.push(entry),
        }
    }
    let deleted: Vec<Entry> = deleted.into_iter().flatten().collect();
    alike(deleted, unmatched, &mut rest, contents).await?;
    rest.sort_by(|left, right| left.path().cmp(&right.path()));
    Ok(rest)
}

async fn alike<O: TreeObjects>(
    deleted: Vec<Entry>,
    added: Vec<Entry>,
    rest: &mut Vec<Pair>,
    contents: &mut Contents<'_, '_, O>,
) -> Result<(), ReadError> {
    let few = deleted.len() <= CANDIDATES && added.len() <= CANDIDATES;
    let mut old_lines = Vec::new();
    let mut new_lines = Vec::new();
    if few && !deleted.is_empty() && !added.is_empty() {
        for entry in &deleted {
            old_lines.push(lines(entry, contents).await?);
        }
        for entry in &added {
            new_lines.push(lines(entry, contents).await?);
        }
    }
    let mut scores = Vec::new();
    for (new_place, new) in new_lines.iter().enumerate() {
        for (old_place, old) in old_lines.iter().enumerate() {
            let score = likeness(old, new);
            if score >= ALIKE_PERCENT {
                let name = |entry: &Entry| split(entry.path.as_bytes()).1.to_vec();
                let same_name = name(&deleted[old_place]) == name(&added[new_place]);
                scores.push((score, same_name, old_place, new_place));
            }
        }
    }
    scores.sort_by_key(|(score, same_name, old, new)| {
        std::cmp::Reverse((*score, *same_name, usize::MAX - old, usize::MAX - new))
    });
    let mut deleted: Vec<Option<Entry>> = deleted.into_iter().map(Some).collect();
    let mut added: Vec<Option<Entry>> = added.into_iter().map(Some).collect();
    for (_, _, old, new) in scores {
        if deleted[old].is_some() && added[new].is_some() {
            rest.push(Pair {
                old: deleted[old].take(),
                new: added[new].take(),
            });
        }
    }
    rest.extend(deleted.into_iter().flatten().map(|old| Pair {
        old: Some(old),
        new: None,
    }));
    rest.extend(added.into_iter().flatten().map(|new| Pair {
        old: None,
        new: Some(new),
    }));
    Ok(())
}

/// How often each line comes, by its hash, with its length.
type Lines = HashMap<u64, (u64, u64)>;

async fn lines<O: TreeObjects>(
    entry: &Entry,
    contents: &mut Contents<'_, '_, O>,
) -> Result<Lines, ReadError> {
    let mut lines = Lines::new();
    let Node::File { size, .. } = &entry.node else {
        return Ok(lines);
    };
    if *size <= ALIKE_BYTES {
        for line in contents
            .read(entry)
            .await?
            .split_inclusive(|it| *it == b'\n')
        {
            let length = line.len() as u64;
            lines
                .entry(Hash::of(line).prefix())
                .or_insert((0, length))
                .0 += 1;
        }
    }
    Ok(lines)
}

/// Percent of the larger file's bytes whose lines are in the other too.
fn likeness(old: &Lines, new: &Lines) -> u64 {
    let size = |lines: &Lines| lines.values().map(|(count, length)| count * length).sum();
    let common: u64 = old
        .iter()
        .filter_map(|(line, (count, length))| Some(new.get(line)?.0.min(*count) * length))
        .sum();
    let larger: u64 = u64::max(size(old), size(new));
    (common * 100).checked_div(larger).unwrap_or(0)
}
