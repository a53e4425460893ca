//! Private keys in armour: from `-----BEGIN … PRIVATE KEY-----` to the line that ends them, in
//! whatever they stand: plain, on one line, within JSON or source code, numbered, in a patch.

use crate::anchors::Class;
use crate::reading::{Judged, Reader, Undecided, Verdict};

/// Longest key in bytes that is hidden as one. Own: an RSA key of 16384 bits has 13 KiB in armour,
/// and line numbers or escapes stand in it.
const LONGEST_KEY: usize = 32 * 1024;
/// Longest label.
const LABEL: usize = 64;
/// Shortest piece of base64 that is a line of a key by itself.
const LINE: usize = 32;
/// Most bytes between two lines of a key.
const GAP: usize = 24;

const ENDS: &[u8] = b"-----END ";

/// What follows `-----BEGIN `, which stands at `from..to`.
pub(crate) fn judge(reader: &mut Reader<'_>, from: usize, to: usize) -> Judged {
    let Some(body) = label(reader, to)? else {
        return Ok(Verdict::Nothing);
    };
    // Prose about keys has other words here.
    if !begins_like_a_key(reader, body)? {
        return Ok(Verdict::Nothing);
    }
    match end_after(reader, body) {
        Some(end) if end - from <= LONGEST_KEY => {
            let after = label(reader, end + ENDS.len())?;
            Ok(Verdict::Secret(from, after.unwrap_or(end)))
        }
        None if !reader.complete && reader.text.len() - from <= LONGEST_KEY + ENDS.len() => {
            Err(Undecided)
        }
        _ => Ok(Verdict::Secret(
            from,
            last_line(reader, body, from + LONGEST_KEY),
        )),
    }
}

/// The end of `… PRIVATE KEY-----` or `… PRIVATE KEY BLOCK-----` from here, if it stands here.
fn label(reader: &Reader<'_>, from: usize) -> Result<Option<usize>, Undecided> {
    let mut at = from;
    while at - from < LABEL
        && reader
            .at(at)?
            .is_some_and(|byte| byte == b' ' || Class::Upper.has(byte))
    {
        at += 1;
    }
    let label = &reader.text[from..at];
    if !(label.ends_with(b"PRIVATE KEY") || label.ends_with(b"PRIVATE KEY BLOCK")) {
        return Ok(None);
    }
    Ok(reader.stands(at, b"-----")?.then_some(at + 5))
}

/// The next byte from here that is not between the lines of a key.
fn after_gap(reader: &Reader<'_>, from: usize) -> Result<usize, Undecided> {
    let mut at = from;
    loop {
        match reader.at(at)? {
            Some(b'\\') => {
                at += 1;
                if reader.at(at)?.is_some() {
                    at += 1;
                }
            }
            Some(byte) if !byte.is_ascii_alphanumeric() && byte != b'/' && byte != b'-' => at += 1,
            Some(b'-') if !reader.stands(at, ENDS)? => at += 1,
            _ => return Ok(at),
        }
        if at - from > GAP {
            return Ok(at);
        }
    }
}

/// Base64, a header, or the end follows; a number of a line may stand before it.
fn begins_like_a_key(reader: &mut Reader<'_>, from: usize) -> Result<bool, Undecided> {
    let mut at = from;
    for _ in 0..3 {
        at = after_gap(reader, at)?;
        if reader.stands(at, ENDS)? {
            return Ok(true);
        }
        let run = reader.run(Class::Base64, at);
        let long = run.end - at >= 16;
        if run.open && !long {
            return Err(Undecided);
        }
        let word = &reader.text[at..run.end];
        // `Proc-Type: 4,ENCRYPTED`, `Version: …`, `Comment: …`
        let header = [
            &b"Proc"[..],
            b"DEK",
            b"Version",
            b"Comment",
            b"Hash",
            b"Charset",
        ];
        if long || header.contains(&word) {
            return Ok(true);
        }
        if !word.iter().all(u8::is_ascii_digit) {
            return Ok(false);
        }
        at = run.end;
    }
    Ok(false)
}

/// Where the line that ends a key begins, after this place.
fn end_after(reader: &mut Reader<'_>, from: usize) -> Option<usize> {
    if let Some((since, end)) = reader.key_ends
        && since <= from
        && end.is_none_or(|end| from <= end)
    {
        return end;
    }
    let rest = &reader.text[from.min(reader.text.len())..];
    let end = position(rest, ENDS).map(|at| from + at);
    reader.key_ends = Some((from, end));
    end
}

fn position(text: &[u8], what: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(next) = text[at..].iter().position(|byte| *byte == what[0]) {
        at += next;
        if text[at..].starts_with(what) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The end of the last line that looks like one of a key; its end is not there.
fn last_line(reader: &mut Reader<'_>, from: usize, most: usize) -> usize {
    let mut end = from;
    let mut at = from;
    let text = &reader.text[..most.min(reader.text.len())];
    while at < text.len() {
        let next = text[at..]
            .iter()
            .position(|byte| Class::Alnum.has(*byte) || *byte == b'/');
        let Some(next) = next.map(|gap| at + gap) else {
            break;
        };
        if next - end > GAP * 4 {
            break;
        }
        let run = reader.run(Class::Base64, next);
        let word = &text[next..run.end.min(text.len())];
        let cut = word.len() >= 8 && next - end <= GAP && word.iter().any(u8::is_ascii_digit);
        if word.len() >= LINE || cut {
            end = next + word.len();
        }
        at = next + word.len().max(1);
    }
    end
}
