//! Credentials that are known: as they are, and as they look within other formats.

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::anchors::{ANCHORS, OWN, mask};

/// Shortest credential in bytes that is looked for. Own: a shorter one may be an ordinary word.
const SHORTEST: usize = 8;

/// Known credentials in all their forms.
#[derive(Default)]
pub(crate) struct Literals {
    secrets: usize,
    forms: Vec<String>,
    finder: Option<AhoCorasick>,
}

impl Literals {
    pub(crate) fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let secrets: Vec<String> = secrets
            .into_iter()
            .map(|secret| secret.trim().to_owned())
            .filter(|secret| secret.len() >= SHORTEST && !is_within_a_mask(secret))
            .collect();
        let mut forms: Vec<String> = secrets.iter().flat_map(|secret| forms(secret)).collect();
        forms.retain(|form| form.len() >= SHORTEST && !is_within_a_mask(form));
        forms.sort_unstable();
        forms.dedup();
        // More of them than an automaton can number do not fit into memory either.
        let finder = if forms.is_empty() {
            None
        } else {
            AhoCorasick::new(&forms).ok()
        };
        Literals {
            secrets: secrets.len(),
            forms,
            finder,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.secrets
    }

    /// Names every place where one stands.
    pub(crate) fn each(&self, text: &[u8], mut each: impl FnMut(usize, usize)) {
        for hit in self
            .finder
            .iter()
            .flat_map(|finder| finder.find_overlapping_iter(text))
        {
            each(hit.start(), hit.end());
        }
    }

    /// Where one may have begun that the end of the text cuts.
    pub(crate) fn begun(&self, text: &[u8], start: usize) -> usize {
        let longest = |form: &String| {
            let form = form.as_bytes();
            let most = (form.len() - 1).min(text.len() - start);
            (1..=most)
                .rev()
                .find(|count| text.ends_with(&form[..*count]))
        };
        text.len() - self.forms.iter().filter_map(longest).max().unwrap_or(0)
    }
}

/// It would be found within the replacements themselves.
fn is_within_a_mask(text: &str) -> bool {
    let mut kinds = ANCHORS.iter().map(|anchor| anchor.kind).chain([OWN]);
    kinds.any(|kind| mask(kind).contains(text))
}

fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    for upper in [true, false] {
        let hex = |byte: u8| {
            if upper {
                format!("{byte:02X}")
            } else {
                format!("{byte:02x}")
            }
        };
        forms.push(secret.bytes().map(hex).collect());
        let percent = |byte: u8| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{}", hex(byte))
            }
        };
        forms.push(secret.bytes().map(percent).collect());
    }
    forms.push(escaped(secret, false));
    forms.push(escaped(secret, true));
    // Base64 of something longer: it depends on how many bytes stand before. The characters at the
    // ends depend on what stands there.
    for before in 0..3_usize {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(secret.as_bytes());
        let first = [0, 2, 3][before];
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&bytes);
            let last = encoded.len() - usize::from(!bytes.len().is_multiple_of(3));
            forms.push(encoded[first..last].to_owned());
        }
    }
    forms
}

/// As within a string of JSON; `slashes` are escaped by some writers.
fn escaped(text: &str, slashes: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => escaped.extend(['\\', character]),
            '/' if slashes => escaped.push_str("\\/"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            other if u32::from(other) < 0x20 => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(other)));
            }
            other => escaped.push(other),
        }
    }
    escaped
}
