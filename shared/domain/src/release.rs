//! Versions of the Claude Code CLI, and what is known of newer ones.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::UnixMillis;

/// Three numbers. Pre-releases are none that anybody should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version([u32; 3]);

/// It is not three numbers with dots between them.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a version has three numbers with dots between them, as 2.1.328")]
pub struct NoVersion;

impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let mut numbers = [0; 3];
        let mut parts = text.split('.');
        for number in &mut numbers {
            let digits = parts.next().ok_or(NoVersion)?;
            // `u32` alone would take a sign.
            let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
            *number = all_digits
                .then(|| digits.parse().ok())
                .flatten()
                .ok_or(NoVersion)?;
        }
        parts
            .next()
            .is_none()
            .then_some(Self(numbers))
            .ok_or(NoVersion)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(formatter, "{major}.{minor}.{patch}")
    }
}

/// The newest release, as the registry said it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its version.
    pub newest: Version,
    /// Operators were told of it.
    pub told: bool,
    /// When the registry said it.
    pub seen_at: UnixMillis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        let version = |text: &str| text.parse::<Version>().expect("a version");
        assert!(version("2.1.328") > version("2.1.99"));
        assert!(version("10.0.0") > version("9.9.9"));
        assert_eq!(version("2.1.328").to_string(), "2.1.328");
        for text in [
            "",
            "2",
            "2.1",
            "2.1.",
            "2.1.3.4",
            "2.1.x",
            "2.1.3-beta",
            "+2.1.3",
            " 2.1.3",
            "2.1.99999999999",
        ] {
            assert_eq!(text.parse::<Version>(), Err(NoVersion), "{text}");
        }
    }
}
