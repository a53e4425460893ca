//! What an owner's sessions show to a git host, so that they can clone what is not public: a user and a
//! token for exactly one host.
//!
//! They go to git for that host and nowhere else: [`GitHost`] is what is compared.

use std::fmt;

use thiserror::Error;
use url::{Host, Url};

use crate::{UnixMillis, limits, workspace::GitUrl};

/// A host, with its port where that is not the usual one: `git.example.com`, `git.example.com:8443`.
/// Lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GitHost(String);

/// Why a credential was refused; the caller corrects it. Never says what was given.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidGitCredential {
    /// Not a host.
    #[error(
        "not a host: write a name or an IPv4 address as in https://HOST/, with its port if it has one, \
         and nothing else"
    )]
    Host,
    /// Not a user name.
    #[error(
        "a user name has 1 to {} visible ASCII characters without ':'",
        limits::GIT_USERNAME_BYTES
    )]
    Username,
    /// Not a token.
    #[error(
        "a token has 1 to {} visible ASCII characters",
        limits::GIT_TOKEN_BYTES
    )]
    Token,
}

impl GitHost {
    /// # Errors
    /// [`InvalidGitCredential::Host`].
    pub fn parse(text: &str) -> Result<Self, InvalidGitCredential> {
        const INVALID: InvalidGitCredential = InvalidGitCredential::Host;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
        if text.is_empty() || text.len() > limits::GIT_HOST_BYTES || !text.bytes().all(plain) {
            return Err(INVALID);
        }
        let url = Url::parse(&format!("https://{text}/")).map_err(|_| INVALID)?;
        let host = Self::of_url(&url).ok_or(INVALID)?;
        // What a parser would make another host of (`1.2` is an address) is no host here.
        let written = text.to_ascii_lowercase();
        let written = written.strip_suffix(":443").unwrap_or(&written);
        if host.0 == written {
            Ok(host)
        } else {
            Err(INVALID)
        }
    }

    /// The host that a URL is on, and for which git asks for a credential: of `https` URLs, and of
    /// `http` ones, which [`GitUrl`] allows to the machine itself only. `None` where git might read
    /// another host from the text than we do.
    #[must_use]
    pub fn of(url: &GitUrl) -> Option<Self> {
        let text = url.as_str();
        let parsed = Url::parse(text).ok()?;
        if !matches!(parsed.scheme(), "https" | "http") || text.contains('\\') {
            return None;
        }
        let host = Self::of_url(&parsed)?;
        let (_, after) = text.split_once("://")?;
        let written = after.split(['/', '?', '#']).next()?.to_ascii_lowercase();
        let usual = if parsed.scheme() == "https" {
            ":443"
        } else {
            ":80"
        };
        let written = written.strip_suffix(usual).unwrap_or(&written);
        (host.0 == written).then_some(host)
    }

    fn of_url(url: &Url) -> Option<Self> {
        let name = match url.host()? {
            Host::Domain(name) if !name.starts_with(['-', '.']) && !name.ends_with('.') => {
                name.to_owned()
            }
            Host::Ipv4(address) => address.to_string(),
            Host::Domain(_) | Host::Ipv6(_) => return None,
        };
        Some(Self(match url.port() {
            Some(port) => format!("{name}:{port}"),
            None => name,
        }))
    }

    /// As it was parsed, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GitHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A user and a token. What has it never shows the token.
#[derive(Clone, PartialEq, Eq)]
pub struct GitCredential {
    username: String,
    token: String,
}

impl fmt::Debug for GitCredential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("GitCredential")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl GitCredential {
    /// Takes what git's protocol for credentials can carry: one line each.
    ///
    /// # Errors
    /// [`InvalidGitCredential::Username`], [`InvalidGitCredential::Token`].
    pub fn parse(username: &str, token: &str) -> Result<Self, InvalidGitCredential> {
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let fits = |text: &str, most| (1..=most).contains(&text.len()) && visible(text);
        if !fits(username, limits::GIT_USERNAME_BYTES) || username.contains(':') {
            return Err(InvalidGitCredential::Username);
        }
        if !fits(token, limits::GIT_TOKEN_BYTES) {
            return Err(InvalidGitCredential::Token);
        }
        Ok(Self {
            username: username.to_owned(),
            token: token.to_owned(),
        })
    }

    /// The user.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The token, for whoever hands it on.
    #[must_use]
    pub fn expose_token(&self) -> &str {
        &self.token
    }
}

/// What is known of a stored credential without its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitCredentialRecord {
    /// For which host.
    pub host: GitHost,
    /// The user.
    pub username: String,
    /// When it was stored.
    pub stored_at: UnixMillis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_nothing_else() {
        for (text, host) in [
            ("git.example.com", "git.example.com"),
            ("Git.Example.COM", "git.example.com"),
            ("git.example.com:443", "git.example.com"),
            ("git.example.com:8443", "git.example.com:8443"),
            ("127.0.0.1:3000", "127.0.0.1:3000"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            let parsed = GitHost::parse(text).map(|it| it.0);
            assert_eq!(parsed.as_deref(), Ok(host), "{text}");
        }
        let long = "a".repeat(limits::GIT_HOST_BYTES + 1);
        for text in [
            "",
            "https://a.example",
            "a.example/",
            "u@a.example",
            "a.example:",
            "a.example:0x1",
            "a.example:99999",
            "*.example.com",
            "a b",
            "a\n",
            "[::1]",
            "-a.example",
            ".a",
            "a.",
            "1.2",
            "0x7f.1",
            "bücher.example",
            "a_b",
            "a\\b",
            "a?b",
            "a#b",
            "a%2eb",
            &long,
        ] {
            assert_eq!(
                GitHost::parse(text),
                Err(InvalidGitCredential::Host),
                "{text}"
            );
        }
    }

    #[test]
    fn the_host_of_a_url_is_the_one_that_git_asks_for() {
        for (url, host) in [
            ("https://git.example.com/a/b.git", Some("git.example.com")),
            ("https://GIT.example.com:443/a", Some("git.example.com")),
            (
                "https://git.example.com:8443/a",
                Some("git.example.com:8443"),
            ),
            ("https://git.example.com?x", Some("git.example.com")),
            ("http://127.0.0.1:3000/a", Some("127.0.0.1:3000")),
            ("ssh://git@git.example.com/a", None),
            // Where parsers differ there is none.
            ("https://git.example.com\\@evil.example/a", None),
            ("https://git.exämple.com/a", None),
            ("https://0x7f.1/a", None),
            ("https:git.example.com/a", None),
            ("https:///git.example.com/a", None),
            ("https://git.example.com./a", None),
        ] {
            let parsed = GitUrl::parse(url, true);
            let found = parsed.ok().and_then(|url| GitHost::of(&url)).map(|it| it.0);
            assert_eq!(found.as_deref(), host, "{url}");
        }
    }

    #[test]
    fn a_credential_is_two_lines_for_git_and_shows_no_token() {
        let good = GitCredential::parse("x-access-token", "ghp_secret=&").expect("valid");
        assert_eq!(good.username(), "x-access-token");
        assert!(!format!("{good:?}").contains("secret"));
        let most = "a".repeat(limits::GIT_TOKEN_BYTES);
        assert!(GitCredential::parse("u", &most).is_ok());
        for username in ["", "a b", "a:b", "a\nhost=evil", "é", &most] {
            let refused = GitCredential::parse(username, "t");
            assert_eq!(refused, Err(InvalidGitCredential::Username), "{username}");
        }
        for token in ["", "a b", "a\nb", "a\r", "a\0", "é", &format!("{most}a")] {
            let refused = GitCredential::parse("u", token);
            assert_eq!(refused, Err(InvalidGitCredential::Token), "{token}");
        }
    }
}
