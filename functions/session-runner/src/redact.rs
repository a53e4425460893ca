//! Takes secrets out of text before it becomes an event or a log line.
//!
//! Known secrets of this session are taken out wherever they stand; what only looks like a key of
//! Anthropic or AWS is too. Transcripts are not touched: they stay byte for byte.

const MASK: &str = "[redacted]";

/// Prefixes of keys that are recognised by their look, and how many characters follow at least.
const PATTERNS: [(&str, usize); 3] = [("sk-ant-", 8), ("AKIA", 16), ("ASIA", 16)];

/// Knows the secrets of one session.
#[derive(Clone, Default)]
pub struct Redactor {
    secrets: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Redactor({} secrets)", self.secrets.len())
    }
}

impl Redactor {
    /// Secrets under eight bytes are ignored: they would blank out ordinary words.
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut secrets: Vec<String> = secrets
            .into_iter()
            .filter(|secret| secret.len() >= 8)
            .collect();
        // A secret that contains another must go first, or its rest would stay.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Redactor { secrets }
    }

    /// The text without secrets.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.secrets {
            if clean.contains(secret.as_str()) {
                clean = clean.replace(secret.as_str(), MASK);
            }
        }
        for (prefix, least) in PATTERNS {
            if clean.contains(prefix) {
                clean = without_pattern(&clean, prefix, least);
            }
        }
        clean
    }
}

fn without_pattern(text: &str, prefix: &str, least: usize) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(prefix) {
        let after = &rest[start + prefix.len()..];
        let length = after
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_')
            .count();
        clean.push_str(&rest[..start]);
        if length >= least {
            clean.push_str(MASK);
        } else {
            clean.push_str(&rest[start..start + prefix.len() + length]);
        }
        rest = &after[length..];
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_and_recognisable_secrets_go() {
        let redactor = Redactor::new([
            "relay-secret-1".to_owned(),
            "relay-secret-12".to_owned(),
            "short".to_owned(),
        ]);
        assert_eq!(
            redactor.clean("a relay-secret-12 b sk-ant-api03-AbC_d-9 c AKIAIOSFODNN7EXAMPLE short AKIA sk-ant-x"),
            "a [redacted] b [redacted] c [redacted] short AKIA sk-ant-x"
        );
    }

    proptest! {
        #[test]
        fn no_secret_survives(before in ".{0,20}", after in ".{0,20}", secret in "[a-zA-Z0-9._-]{8,40}") {
            let text = format!("{before}{secret}{after}{secret}");
            let cleaned = Redactor::new([secret.clone()]).clean(&text);
            // The mask itself may happen to contain what was asked to be hidden.
            prop_assume!(!MASK.contains(&secret));
            prop_assert!(!cleaned.contains(&secret));
        }
    }
}
