//! JSON text: its strings are read without their escapes, and written with them again.

use std::rc::Rc;

use crate::Redactor;
use crate::anchors::{self, ends_with_mask};
use crate::names;

/// Deepest JSON that is read as such; deeper one is cleaned as text. Own: what programs write is far
/// flatter.
const DEPTH: usize = 128;

/// The cleaned JSON; `None` when it is not JSON as far as its strings go.
pub(crate) fn clean(redactor: &Redactor, text: &str) -> Option<String> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let mut clean = String::with_capacity(text.len());
    // Names of the members whose values are being read; an array takes the name of its member.
    let mut names: Vec<Option<Rc<str>>> = vec![None];
    let mut objects: Vec<bool> = Vec::new();
    // There is one value at the top.
    let mut begun = false;
    let mut rest = text;
    while let Some(at) = rest.find(['"', '{', '}', '[', ']', ',']) {
        is_between(&rest[..at], objects.last().copied()).then_some(())?;
        clean.push_str(&rest[..at]);
        let mark = rest.as_bytes()[at];
        rest = &rest[at..];
        if mark != b'"' {
            clean.push(char::from(mark));
            rest = &rest[1..];
            match mark {
                b'{' | b'[' => {
                    let inherited = if mark == b'[' {
                        names.last()?.clone()
                    } else {
                        None
                    };
                    names.push(inherited);
                    let another = objects.is_empty() && begun;
                    (!another && objects.len() < DEPTH).then_some(())?;
                    begun = true;
                    objects.push(mark == b'{');
                }
                b'}' | b']' => {
                    names.pop();
                    (objects.pop()? == (mark == b'}')).then_some(())?;
                }
                _ if *objects.last()? => *names.last_mut()? = None,
                _ => {}
            }
            continue;
        }
        let in_object = *objects.last()?;
        let end = 1 + closing(&rest[1..])?;
        let written = &rest[..=end];
        let read = unescaped(&written[1..end])?;
        rest = &rest[end + 1..];
        let is_name = in_object && names.last()?.is_none() && rest.trim_start().starts_with(':');
        let kind = names.last()?.as_deref().filter(|_| !is_name);
        let kind = kind.and_then(|name| names::of_value(name, &read));
        let new = match kind {
            Some(kind) => anchors::mask(kind),
            None => nested(redactor, &read),
        };
        if new == read {
            clean.push_str(written);
        } else {
            write(&mut clean, &new);
        }
        if is_name {
            *names.last_mut()? = Some(read.into());
        }
    }
    clean.push_str(rest);
    (objects.is_empty() && rest.trim().is_empty()).then_some(clean)
}

/// Between strings and brackets stand numbers, words and colons; the latter within objects only.
fn is_between(text: &str, in_object: Option<bool>) -> bool {
    let word =
        |word: &str| matches!(word, "" | "true" | "false" | "null") || word.parse::<f64>().is_ok();
    match in_object {
        None => text.trim().is_empty(),
        Some(false) => word(text.trim()),
        Some(true) => text.split(':').all(|part| word(part.trim())),
    }
}

/// A string may hold JSON itself.
fn nested(redactor: &Redactor, text: &str) -> String {
    let looks_so = text.starts_with(['{', '[']) && !ends_with_mask(text.as_bytes());
    let inner = looks_so.then(|| clean(redactor, text)).flatten();
    // What stands across its strings is found in the text.
    redactor.clean(&inner.unwrap_or_else(|| text.to_owned()))
}

/// Where the string closes.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            0..=0x1f => return None,
            _ => at += 1,
        }
    }
}

/// What a string of JSON says.
fn unescaped(written: &str) -> Option<String> {
    if !written.contains('\\') {
        return Some(written.to_owned());
    }
    let mut read = String::with_capacity(written.len());
    let mut characters = written.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            read.push(character);
            continue;
        }
        read.push(match characters.next()? {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let first = unit(&mut characters)?;
                if (0xd800..0xdc00).contains(&first) {
                    (characters.next()? == '\\' && characters.next()? == 'u').then_some(())?;
                    let second = unit(&mut characters)?.checked_sub(0xdc00)?;
                    char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + second)?
                } else {
                    char::from_u32(first)?
                }
            }
            other @ ('"' | '\\' | '/') => other,
            _ => return None,
        });
    }
    Some(read)
}

fn unit(characters: &mut std::str::Chars<'_>) -> Option<u32> {
    let digits = characters.as_str().get(..4)?;
    let unit = u32::from_str_radix(digits, 16).ok()?;
    characters.nth(3);
    Some(unit)
}

fn write(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            other if u32::from(other) < 0x20 => {
                json.push_str(&format!("\\u{:04x}", u32::from(other)))
            }
            other => json.push(other),
        }
    }
    json.push('"');
}
