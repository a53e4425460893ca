//! Writes changes as a patch in git's format.

use std::io::Write as _;

use domain::ports::TreeObjects;
use similar::{DiffTag, group_diff_ops, udiff::UnifiedHunkHeader};

use crate::{
    entry::{Entry, Node},
    objects::ReadError,
    path::RelativePath,
};

use super::{Change, ChangeKind, Contents, Diff, DiffOptions, Pair, binary, lines, side};

/// Git looks for a NUL in so many bytes to tell binary files.
const BINARY_PREFIX: usize = 8_000;

/// One side of a change with its content.
struct Half<'a> {
    entry: &'a Entry,
    mode: u32,
    /// None when it is too large to be looked at.
    content: Option<Vec<u8>>,
}

/// Adds a change to the list and, as long as there is room, to the patch.
pub(super) async fn add<O: TreeObjects>(
    diff: &mut Diff,
    pair: &Pair,
    contents: &mut Contents<'_, '_, O>,
    options: &DiffOptions,
) -> Result<(), ReadError> {
    let Some(path) = pair.path().cloned() else {
        return Ok(());
    };
    let is_directory =
        |entry: Option<&Entry>| entry.is_some_and(|it| matches!(it.node, Node::Directory { .. }));
    let (old, new) = (pair.old.as_ref(), pair.new.as_ref());
    let old_path = old.map(|old| &old.path).filter(|old| **old != path);
    let kind = match (old, new) {
        (None, _) => ChangeKind::Added,
        (_, None) => ChangeKind::Deleted,
        (Some(_), Some(_)) if old_path.is_some() => ChangeKind::Renamed,
        (Some(old), Some(new)) if file_type(old) != file_type(new) => ChangeKind::Retyped,
        _ => ChangeKind::Modified,
    };
    let mut change = Change {
        path: path.clone(),
        old_path: old_path.cloned(),
        kind,
        old: old.map(side),
        new: new.map(side),
        lines: None,
        binary: false,
    };
    // A patch knows no directories.
    let old = half(old.filter(|it| !is_directory(Some(it))), contents, options).await?;
    let new = half(new.filter(|it| !is_directory(Some(it))), contents, options).await?;
    if old.is_some() || new.is_some() {
        let text = if kind == ChangeKind::Retyped {
            // As git does it: one is deleted, another is created.
            let mut text = Vec::new();
            let mut lines = (0, 0);
            for (old, new) in [(old.as_ref(), None), (None, new.as_ref())] {
                if old.is_some() || new.is_some() {
                    text.extend(one(&path, &path, old, new, &mut change, options));
                    let (came, went) = change.lines.take().unwrap_or_default();
                    lines = (lines.0 + came, lines.1 + went);
                }
            }
            change.lines = (!change.binary).then_some(lines);
            text
        } else {
            let from = old_path.unwrap_or(&path);
            one(
                from,
                &path,
                old.as_ref(),
                new.as_ref(),
                &mut change,
                options,
            )
        };
        if diff.patch.len() < options.patch_bytes {
            diff.patch.extend_from_slice(&text);
        } else if !text.is_empty() {
            diff.truncated = true;
        }
    }
    diff.changes.push(change);
    Ok(())
}

const fn file_type(entry: &Entry) -> u8 {
    match entry.node {
        Node::Directory { .. } => 0,
        Node::File { .. } => 1,
        Node::Symlink { .. } => 2,
    }
}

async fn half<'a, O: TreeObjects>(
    entry: Option<&'a Entry>,
    contents: &mut Contents<'_, '_, O>,
    options: &DiffOptions,
) -> Result<Option<Half<'a>>, ReadError> {
    let Some(entry) = entry else {
        return Ok(None);
    };
    let it = side(entry);
    let content = if it.size <= options.file_bytes {
        Some(contents.read(entry).await?)
    } else {
        None
    };
    Ok(Some(Half {
        entry,
        mode: it.git_mode,
        content,
    }))
}

/// The patch of one file.
fn one(
    from: &RelativePath,
    to: &RelativePath,
    old: Option<&Half<'_>>,
    new: Option<&Half<'_>>,
    change: &mut Change,
    options: &DiffOptions,
) -> Vec<u8> {
    let mut out = Vec::new();
    let (a, b) = (quoted(b"a/", from), quoted(b"b/", to));
    line(&mut out, &[b"diff --git ", &a, b" ", &b]);
    let mode = |half: &Half<'_>| format!("{:06o}", half.mode).into_bytes();
    match (old, new) {
        (None, Some(new)) => line(&mut out, &[b"new file mode ", &mode(new)]),
        (Some(old), None) => line(&mut out, &[b"deleted file mode ", &mode(old)]),
        (Some(old), Some(new)) if old.mode != new.mode => {
            line(&mut out, &[b"old mode ", &mode(old)]);
            line(&mut out, &[b"new mode ", &mode(new)]);
        }
        _ => {}
    }
    let same = match (old, new) {
        (Some(old), Some(new)) => old.entry.node.same_content(&new.entry.node),
        _ => false,
    };
    if from != to {
        let similarity = if same { "similarity index 100%\n" } else { "" };
        out.extend_from_slice(similarity.as_bytes());
        line(&mut out, &[b"rename from ", &quoted(b"", from)]);
        line(&mut out, &[b"rename to ", &quoted(b"", to)]);
    }
    if same {
        change.lines = Some((0, 0));
        // Only permissions that git does not know changed: nothing to apply.
        let header_only = old.map(|it| it.mode) == new.map(|it| it.mode) && from == to;
        return if header_only { Vec::new() } else { out };
    }
    let content = |half: Option<&Half<'_>>| match half {
        None => Some(Vec::new()),
        Some(half) => half.content.clone(),
    };
    let is_text = |bytes: &[u8]| !bytes[..bytes.len().min(BINARY_PREFIX)].contains(&0);
    match (content(old), content(new)) {
        (Some(before), Some(after)) if is_text(&before) && is_text(&after) => {
            let absent: &[u8] = b"/dev/null";
            let a = if old.is_some() { &a } else { absent };
            let b = if new.is_some() { &b } else { absent };
            let (hunks, lines) = hunks(&before, &after, options.context_lines);
            change.lines = Some(lines);
            if !hunks.is_empty() {
                line(&mut out, &[b"--- ", a, end_of_name(from)]);
                line(&mut out, &[b"+++ ", b, end_of_name(to)]);
                out.extend_from_slice(&hunks);
            }
        }
        (Some(before), Some(after)) if options.binary => {
            change.binary = true;
            let before = old.map(|_| before.as_slice());
            let after = new.map(|_| after.as_slice());
            out.extend_from_slice(&binary::patch(before, after));
        }
        _ => {
            change.binary = true;
            line(&mut out, &[b"Binary files ", &a, b" and ", &b, b" differ"]);
        }
    }
    out
}

/// The changed regions, and how many lines came and went.
fn hunks(before: &[u8], after: &[u8], context: usize) -> (Vec<u8>, (u64, u64)) {
    let (old, new) = (lines::split(before), lines::split(after));
    let operations = lines::compare(&old, &new);
    let (mut came, mut went) = (0, 0);
    for operation in &operations {
        if operation.tag() != DiffTag::Equal {
            came += operation.new_range().len() as u64;
            went += operation.old_range().len() as u64;
        }
    }
    let mut hunks = Vec::new();
    for group in group_diff_ops(operations, context) {
        let header = UnifiedHunkHeader::new(&group).to_string();
        line(&mut hunks, &[header.as_bytes()]);
        for operation in group {
            let (from, to) = (&old[operation.old_range()], &new[operation.new_range()]);
            if operation.tag() == DiffTag::Equal {
                signed(&mut hunks, b' ', from);
            } else {
                signed(&mut hunks, b'-', from);
                signed(&mut hunks, b'+', to);
            }
        }
    }
    (hunks, (came, went))
}

fn signed(out: &mut Vec<u8>, sign: u8, lines: &[&[u8]]) {
    for text in lines {
        out.push(sign);
        out.extend_from_slice(text);
        if !text.ends_with(b"\n") {
            out.extend_from_slice(b"\n\\ No newline at end of file\n");
        }
    }
}

fn line(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        out.extend_from_slice(piece);
    }
    out.push(b'\n');
}

/// Git ends a name that holds a space with a tab, so that nothing after it is taken for a part of it.
fn end_of_name(path: &RelativePath) -> &'static [u8] {
    if path.as_bytes().contains(&b' ') {
        b"\t"
    } else {
        b""
    }
}

/// A name as git writes it: in quotes when it holds something unusual.
fn quoted(prefix: &[u8], path: &RelativePath) -> Vec<u8> {
    let unusual = |byte: &u8| !(b' '..0x7f).contains(byte) || *byte == b'"' || *byte == b'\\';
    let path = path.as_bytes();
    if !path.iter().any(unusual) {
        return [prefix, path].concat();
    }
    let mut out = vec![b'"'];
    out.extend_from_slice(prefix);
    for byte in path {
        if !unusual(byte) {
            out.push(*byte);
        } else if matches!(byte, b'"' | b'\\') {
            out.extend_from_slice(&[b'\\', *byte]);
        } else {
            // Writing to a buffer cannot fail.
            let _ = write!(out, "\\{byte:03o}");
        }
    }
    out.push(b'"');
    out
}
