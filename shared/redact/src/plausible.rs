//! Whether a value is one that a person or a machine chose as a secret, and not a word, a type, a
//! piece of code or a placeholder.

use crate::anchors::{MASK_BEGINS, Name};
use crate::names::Setting;

/// Values that stand for one, in lower case.
const WORDS: &[&str] = &[
    "boolean",
    "changeme",
    "change-me",
    "change_me",
    "disabled",
    "enabled",
    "example",
    "hidden",
    "integer",
    "invalid",
    "masked",
    "missing",
    "number",
    "object",
    "optional",
    "password",
    "passphrase",
    "placeholder",
    "redacted",
    "required",
    "secret",
    "string",
    "undefined",
    "unknown",
];

/// Beginnings of what stands for one, in lower case.
const BEGINNINGS: &[&str] = &[
    "!",
    "your",
    "<",
    "{",
    "$",
    "%",
    "[",
    "*",
    "/",
    "./",
    "../",
    "~/",
    "http://",
    "https://",
    "file:",
    "env.",
    "env:",
    "process.env",
    "os.environ",
    "os.getenv",
    "secrets.",
    "vault:",
    "op://",
    "arn:",
    "&",
    "@",
    "example",
    "placeholder",
    "dummy",
    "insert",
    "replace",
    "not-a-",
    "xxx",
    "...",
];

/// What no secret contains, but code and templates do.
const INSIDE: &[&str] = &["${", "$(", "{{", "}}", "::", "->", "://", "...", "=>"];

/// Bytes of a value that are looked at: names within a long value are each looked at.
const LOOKED_AT: usize = 256;

/// More characters than a placeholder such as `xxxxxxxx` has.
pub(crate) fn is_varied(value: &[u8], least: usize) -> bool {
    distinct(value) >= if least < 16 { 4 } else { 6 }
}

fn distinct(value: &[u8]) -> usize {
    let mut seen = [false; 256];
    for byte in value.iter().take(256) {
        seen[usize::from(*byte)] = true;
    }
    seen.iter().filter(|seen| **seen).count()
}

fn digits(value: &[u8]) -> usize {
    value.iter().filter(|byte| byte.is_ascii_digit()).count()
}

/// Small and capital letters follow each other often: no words.
fn changes_case(value: &[u8]) -> usize {
    let letters = value.windows(2).filter(|pair| {
        pair.iter().all(u8::is_ascii_alphabetic)
            && pair[0].is_ascii_uppercase() != pair[1].is_ascii_uppercase()
    });
    letters.count()
}

/// Made by a machine: neither words nor names of variables.
pub(crate) fn is_random(value: &[u8]) -> bool {
    let value = &value[..value.len().min(LOOKED_AT)];
    if distinct(value) < 5 {
        return false;
    }
    let wordy = |part: &[u8]| {
        let letters = part
            .iter()
            .take_while(|byte| byte.is_ascii_alphabetic())
            .count();
        let rest = &part[letters..];
        let most = if letters > 0 { 3 } else { 4 };
        rest.len() <= most && rest.iter().all(u8::is_ascii_digit) && changes_case(part) < 5
    };
    !value
        .split(|byte| matches!(byte, b'.' | b'_' | b'-' | b'/' | b':' | b'=' | b'+' | b'~'))
        .all(wordy)
}

/// Whether a value at a place for secrets is one, as its beginning says.
pub(crate) fn plausible(value: &[u8], name: Name, setting: Setting) -> bool {
    let value = &value[..value.len().min(LOOKED_AT)];
    let small = String::from_utf8_lossy(value).to_ascii_lowercase();
    let stands_for_one = value.is_empty()
        || WORDS.contains(&small.as_str())
        || BEGINNINGS
            .iter()
            .any(|beginning| small.starts_with(beginning))
        || INSIDE.iter().any(|inside| small.contains(inside))
        || small.contains(MASK_BEGINS)
        || distinct(value) < 4
        || (!setting.quoted && small.contains(['(', '{', '[']))
        || (name != Name::Passphrase && small.contains(char::is_whitespace));
    if stands_for_one {
        return false;
    }
    match name {
        Name::Password | Name::Passphrase => is_password(value, name, setting),
        Name::Made => is_made(value, setting),
        Name::Authorization => {
            value.len() >= 8
                && (is_random(value) || value.ends_with(b"=") || changes_case(value) > 1)
        }
    }
}

fn is_password(value: &[u8], name: Name, setting: Setting) -> bool {
    if value.len() < 6 {
        return false;
    }
    let letters = value.iter().all(u8::is_ascii_alphabetic);
    if letters {
        let title = value[0].is_ascii_uppercase() && !value[1..].iter().any(u8::is_ascii_uppercase);
        return (setting.quoted && !title && changes_case(value) != 1)
            || (setting.tight && setting.capitals);
    }
    let spaces = value
        .iter()
        .filter(|byte| byte.is_ascii_whitespace())
        .count();
    if spaces > 0 {
        return name == Name::Passphrase && setting.quoted && spaces >= 2;
    }
    // `config.password`, `forms.password-label`, `current_password`
    let path = value
        .iter()
        .all(|byte| byte.is_ascii_alphabetic() || b"._-/".contains(byte));
    let symbols = value.iter().any(|byte| b"!@#$%^*+~?".contains(byte));
    !path && (setting.quoted || symbols || digits(value) > 0)
}

fn is_made(value: &[u8], setting: Setting) -> bool {
    let least = if setting.quoted || setting.tight {
        8
    } else {
        12
    };
    if value.len() < least {
        return false;
    }
    let only_digits = digits(value) == value.len();
    (only_digits && value.len() >= 16 && setting.quoted) || (!only_digits && is_random(value))
}
