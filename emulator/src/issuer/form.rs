//! Parameters of queries and forms. A parameter that comes twice is refused, as RFC 6749 wants it.

use std::collections::BTreeMap;

use url::form_urlencoded;

/// Longest form: a `state` may be long.
pub(super) const MOST_BYTES: usize = 64 * 1024;

/// Parameters by name, without those that are empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Form {
    values: BTreeMap<String, String>,
    /// The boxes of the page, which are several.
    pub(super) granted: Vec<String>,
}

impl Form {
    /// Reads it; the error names what came twice.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(text) {
            if value.is_empty() {
                continue;
            }
            if name == "granted" {
                form.granted.push(value.into_owned());
                continue;
            }
            let name = name.into_owned();
            if form
                .values
                .insert(name.clone(), value.into_owned())
                .is_some()
            {
                return Err(format!("{name} is there twice"));
            }
        }
        Ok(form)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// One that has to be there.
    pub(super) fn need(&self, name: &str) -> Result<&str, String> {
        self.get(name).ok_or_else(|| format!("{name} is missing"))
    }

    /// All but the secret ones, for the page to send again.
    pub(super) fn repeated(&self) -> impl Iterator<Item = (&str, &str)> {
        let secret = ["development_token", "decision"];
        let values = self.values.iter().map(|(name, value)| (&**name, &**value));
        values.filter(move |(name, _)| !secret.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_there_twice_or_empty() {
        let form = Form::parse(b"a=1&b=&granted=x&granted=y&c=%20").unwrap();
        assert_eq!(form.get("a"), Some("1"));
        assert_eq!(form.need("b").unwrap_err(), "b is missing");
        assert_eq!(form.granted, ["x", "y"]);
        assert_eq!(form.get("c"), Some(" "));
        assert_eq!(Form::parse(b"a=1&a=1").unwrap_err(), "a is there twice");
        assert!(Form::parse(b"%ff&&=").is_ok());
    }
}
