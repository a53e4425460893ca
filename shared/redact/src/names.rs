//! A value behind the name of something secret: `password=…`, `"token": "…"`, `--api-key …`,
//! `let secret: &str = "…"`, `Authorization: Basic …`, `<password>…</password>`.

use crate::anchors::{ANCHORS, Class, MASK_BEGINS, Name, Shape, ends_with_mask};
use crate::plausible::plausible;
use crate::reading::{Judged, Reader, Undecided, Verdict};

/// Longest value in quotes in bytes. Own.
const QUOTED: usize = 4096;
/// Longest type between a name and its value in bytes. Own.
const TYPE: usize = 48;

/// How a value stands there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Setting {
    /// In quotes.
    pub(crate) quoted: bool,
    /// Right behind `=`, as in a shell, a URL or a form.
    pub(crate) tight: bool,
    /// The name is in capitals.
    pub(crate) capitals: bool,
}

/// What follows a name, which stands at `from..to`.
pub(crate) fn judge(reader: &mut Reader<'_>, name: Name, from: usize, to: usize) -> Judged {
    // The user of a URL: what follows is its password and its host.
    if word_before(reader.text, from).ends_with(b"//") {
        return Ok(Verdict::Nothing);
    }
    let mut at = to;
    let closed = quote(reader, at)?;
    at += closed;
    if closed > 0 && reader.at(at)? == Some(b']') {
        at += 1;
    }
    let after_name = at;
    at = reader.after_spaces(at)?;
    let option = at > after_name && is_option(reader.text, from);
    let mut typed = false;
    let next = reader.at(at)?;
    let mut setting = Setting {
        capitals: reader.text[from..to]
            .iter()
            .all(|byte| !byte.is_ascii_lowercase()),
        ..Setting::default()
    };
    match next {
        Some(b':') => {
            at += 1;
            match reader.at(at)? {
                Some(b':') => return Ok(Verdict::Nothing),
                Some(b'=') => at += 1,
                _ => typed = true,
            }
        }
        Some(b'=') => {
            at += 1;
            match reader.at(at)? {
                Some(b'=' | b'~') => return Ok(Verdict::Nothing),
                Some(b'>') => at += 1,
                _ => setting.tight = at == after_name + 1,
            }
        }
        Some(b'>') if at == to && from > 0 && is_tag(reader.text, from) => {
            at += 1;
            setting.tight = true;
        }
        _ if option => {}
        _ => return Ok(Verdict::Nothing),
    }
    let separated = at;
    at = reader.after_spaces(at)?;
    setting.tight &= at == separated;
    if let Some((from, to)) = value(reader, name, at, setting)? {
        return Ok(Verdict::Secret(from, to));
    }
    // `password: string = "…"`
    if typed && let Some(at) = after_type(reader, at)? {
        let at = reader.after_spaces(at)?;
        if quote(reader, at)? > 0
            && let Some((from, to)) = value(reader, name, at, Setting::default())?
        {
            return Ok(Verdict::Secret(from, to));
        }
    }
    Ok(Verdict::Nothing)
}

/// How many bytes of a quote stand here: `"`, `'`, `` ` ``, or an escaped one.
fn quote(reader: &Reader<'_>, at: usize) -> Result<usize, Undecided> {
    let is_quote = |byte| matches!(byte, Some(b'"' | b'\'' | b'`'));
    Ok(match reader.at(at)? {
        Some(b'\\') if is_quote(reader.at(at + 1)?) => 2,
        byte if is_quote(byte) => 1,
        _ => 0,
    })
}

/// What stands before the word that the name at `from` belongs to. A replacement within the word is
/// of the word: it is there only after the first cleaning.
fn word_before(text: &[u8], from: usize) -> &[u8] {
    const LONGEST_WORD: usize = 88;
    let mut before = &text[..from];
    while from - before.len() < LONGEST_WORD {
        if ends_with_mask(before) {
            let begins = before.iter().rposition(|byte| *byte == b'[');
            before = &before[..begins.unwrap_or(0)];
        } else if before.last().is_some_and(|last| Class::Dot.has(*last)) {
            before = &before[..before.len() - 1];
        } else {
            break;
        }
    }
    before
}

/// The word that the name belongs to begins with `--`, or has it within.
fn is_option(text: &[u8], from: usize) -> bool {
    let word = &text[word_before(text, from).len()..from];
    word.windows(2).any(|pair| pair == b"--")
}

/// `<name>`, or `<prefix.name>`.
fn is_tag(text: &[u8], from: usize) -> bool {
    word_before(text, from).ends_with(b"<")
}

/// The place behind the `=` that follows a type, if one does on this line.
fn after_type(reader: &Reader<'_>, from: usize) -> Result<Option<usize>, Undecided> {
    let mut at = from;
    while at - from < TYPE {
        match reader.at(at)? {
            Some(b'=') => return Ok((at > from).then_some(at + 1)),
            // What stands in the place of a value is no type.
            Some(b'[') if reader.stands(at, MASK_BEGINS.as_bytes())? => return Ok(None),
            Some(byte) if Class::Word.has(byte) || b" &'<>[]|:.?".contains(&byte) => at += 1,
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// The plausible value that begins here.
fn value(
    reader: &mut Reader<'_>,
    name: Name,
    from: usize,
    setting: Setting,
) -> Result<Option<(usize, usize)>, Undecided> {
    let mut at = from;
    // `b"…"`, `r"…"`
    if reader.at(at)?.is_some_and(|byte| b"bfru".contains(&byte)) && quote(reader, at + 1)? > 0 {
        at += 1;
    }
    let opened = quote(reader, at)?;
    if opened > 0
        && let Some(end) = closing(reader, at + opened, &reader.text[at..at + opened])?
    {
        let (from, to) = (
            behind_scheme(&reader.text[at + opened..end], name),
            end - at - opened,
        );
        let value = &reader.text[at + opened + from..end];
        let setting = Setting {
            quoted: true,
            ..setting
        };
        return Ok(
            (from < to && plausible(value, name, setting)).then_some((at + opened + from, end))
        );
    }
    at += opened;
    if name == Name::Authorization {
        let scheme = reader.run(Class::Dash, at);
        if scheme.open {
            return Err(Undecided);
        }
        let after = reader.after_spaces(scheme.end)?;
        if scheme.end > at && after > scheme.end {
            at = after;
        }
    }
    let run = reader.run(Class::Value, at);
    if run.open {
        return Err(Undecided);
    }
    let mut end = run.end;
    while end > at && matches!(reader.text[end - 1], b'.' | b':' | b'!' | b'?') {
        end -= 1;
    }
    let good = plausible(&reader.text[at..end], name, setting);
    Ok(good.then_some((at, end)))
}

/// Where the quote closes again on this line.
fn closing(reader: &Reader<'_>, from: usize, quote: &[u8]) -> Result<Option<usize>, Undecided> {
    let mut at = from;
    while at - from < QUOTED {
        match reader.at(at)? {
            None | Some(b'\n') => return Ok(None),
            Some(_) if reader.stands(at, quote)? => return Ok(Some(at)),
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
    Ok(None)
}

/// Where the credential begins in the value of an authorization header.
fn behind_scheme(value: &[u8], name: Name) -> usize {
    if name != Name::Authorization {
        return 0;
    }
    let scheme = value
        .iter()
        .take_while(|byte| Class::Dash.has(**byte))
        .count();
    let spaces = value[scheme..]
        .iter()
        .take_while(|byte| **byte == b' ')
        .count();
    if scheme > 0 && spaces > 0 {
        scheme + spaces
    } else {
        0
    }
}

/// What the value of this name is, when it is a secret: the name ends with one of the table.
pub(crate) fn of_value(name: &str, value: &str) -> Option<&'static str> {
    let value = value.as_bytes();
    let setting = Setting {
        quoted: true,
        ..Setting::default()
    };
    let named = ANCHORS.iter().filter(|anchor| {
        let at = name
            .len()
            .checked_sub(anchor.text.len())
            .and_then(|at| name.get(at..));
        matches!(anchor.shape, Shape::Name(_))
            && at.is_some_and(|end| end.eq_ignore_ascii_case(anchor.text))
    });
    named
        .filter_map(|anchor| match anchor.shape {
            Shape::Name(name) => {
                let value = &value[behind_scheme(value, name)..];
                plausible(value, name, setting).then_some((anchor.text.len(), anchor.kind))
            }
            _ => None,
        })
        .max()
        .map(|(_, kind)| kind)
}
