//! The table of what begins a secret. Every secret is found by such an anchor, a fixed text; what
//! follows the anchor says whether it is one. That is why a stream knows what to hold back: the
//! beginning of an anchor, and an anchor that is not decided yet.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// Which bytes a secret is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Letters and digits.
    Alnum,
    /// Those and `_`.
    Word,
    /// Those and `-`: base64url.
    Dash,
    /// Those and `.`.
    Dot,
    /// Hexadecimal digits.
    Hex,
    /// Capitals and digits.
    Upper,
    /// Base64 with its padding.
    Base64,
    /// What RFC 6750 allows in a bearer token.
    Bearer,
    /// Up to what ends a value that has no quotes.
    Value,
}

impl Class {
    pub(crate) const COUNT: usize = 9;

    pub(crate) const fn has(self, byte: u8) -> bool {
        match self {
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Word => byte.is_ascii_alphanumeric() || byte == b'_',
            Self::Dash => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Dot => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'),
            Self::Hex => byte.is_ascii_hexdigit(),
            Self::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='),
            Self::Bearer => {
                byte.is_ascii_alphanumeric()
                    || matches!(byte, b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b'-')
            }
            Self::Value => !matches!(
                byte,
                b'"' | b'\''
                    | b'`'
                    | b'<'
                    | b'>'
                    | b'&'
                    | b';'
                    | b'|'
                    | b')'
                    | b']'
                    | b'}'
                    | b','
                    | b'\\'
                    | 0..=b' ' | 0x7f
            ),
        }
    }
}

/// What follows an anchor, if it is the beginning of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// At least so many bytes of a class; the anchor is part of the secret.
    Token(Class, usize),
    /// Exactly so many bytes of a class, and then no letter or digit.
    Exact(Class, usize),
    /// Three parts of base64url with dots between them.
    Jwt,
    /// A token of a session of this platform: `v1.OWNER.ses_….FENCE.EXPIRY.SIGNATURE`.
    OfSession,
    /// A second part after a dot, as SendGrid has it.
    TwoParts,
    /// A private key over several lines.
    Pem,
    /// The name of something secret: a separator and the value follow.
    Name(Name),
    /// A scheme of authorization: spaces and the credential follow.
    Bearer,
    /// `user:password@` may follow.
    Url,
}

/// What kind of a name stands before a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// People choose it: also short values and words count.
    Password,
    /// Several words.
    Passphrase,
    /// Machines make it.
    Made,
    /// The header: a scheme may stand before the value.
    Authorization,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Anchor {
    pub(crate) text: &'static str,
    /// What the replacement says.
    pub(crate) kind: &'static str,
    pub(crate) shape: Shape,
    /// It counts only where a word begins: the text is short enough to stand within other words.
    pub(crate) at_word: bool,
}

const fn token(
    text: &'static str,
    kind: &'static str,
    class: Class,
    least: usize,
    at_word: bool,
) -> Anchor {
    Anchor {
        text,
        kind,
        shape: Shape::Token(class, least),
        at_word,
    }
}

const fn name(text: &'static str, kind: &'static str, name: Name) -> Anchor {
    Anchor {
        text,
        kind,
        shape: Shape::Name(name),
        at_word: false,
    }
}

const fn other(text: &'static str, kind: &'static str, shape: Shape, at_word: bool) -> Anchor {
    Anchor {
        text,
        kind,
        shape,
        at_word,
    }
}

use Class::{Alnum, Base64, Dash, Dot, Hex, Upper, Word};
use Name::{Authorization, Made, Passphrase, Password};

/// The table. Prefixes as the providers document them; lengths are the least that they have had,
/// not what they have today.
pub(crate) const ANCHORS: &[Anchor] = &[
    // Models.
    token("sk-ant-", "anthropic key", Dash, 8, false),
    token("sk-proj-", "openai key", Dash, 20, false),
    token("sk-svcacct-", "openai key", Dash, 20, false),
    token("sk-admin-", "openai key", Dash, 20, false),
    token("sk-or-v1-", "openrouter key", Alnum, 32, false),
    token("sk-", "openai key", Alnum, 32, true),
    token("gsk_", "groq key", Alnum, 40, true),
    token("xai-", "xai key", Alnum, 60, true),
    token("pplx-", "perplexity key", Alnum, 40, true),
    token("r8_", "replicate token", Alnum, 36, true),
    token("hf_", "hugging face token", Alnum, 30, true),
    // Code.
    token("ghp_", "github token", Word, 36, false),
    token("gho_", "github token", Word, 36, false),
    token("ghu_", "github token", Word, 36, false),
    token("ghs_", "github token", Word, 36, false),
    token("ghr_", "github token", Word, 36, false),
    token("github_pat_", "github token", Word, 22, false),
    token("glpat-", "gitlab token", Dot, 20, false),
    token("gldt-", "gitlab token", Dash, 20, false),
    token("glrt-", "gitlab token", Dot, 20, false),
    token("glcbt-", "gitlab token", Dash, 20, false),
    token("glptt-", "gitlab token", Dash, 20, false),
    token("npm_", "npm token", Alnum, 36, true),
    token("pypi-AgE", "pypi token", Dash, 50, false),
    token("cio", "crates.io token", Alnum, 32, true),
    token("rubygems_", "rubygems token", Hex, 48, false),
    token("dckr_pat_", "docker token", Dash, 24, false),
    token("dckr_oat_", "docker token", Dash, 24, false),
    token("ATATT3", "atlassian token", Bearer, 60, true),
    token("lin_api_", "linear key", Alnum, 32, false),
    token("ntn_", "notion token", Alnum, 40, true),
    token("PMAK-", "postman key", Dash, 40, false),
    // Clouds.
    other("AKIA", "aws key id", Shape::Exact(Upper, 16), true),
    other("ASIA", "aws key id", Shape::Exact(Upper, 16), true),
    name("secret_access_key", "aws secret key", Made),
    name("secretaccesskey", "aws secret key", Made),
    name("secret-access-key", "aws secret key", Made),
    token("AIza", "google key", Dash, 35, false),
    token("ya29.", "google token", Dash, 20, true),
    token("GOCSPX-", "google client secret", Dash, 24, false),
    name("accountkey", "azure key", Made),
    name("sharedaccesskey", "azure key", Made),
    token("dop_v1_", "digitalocean token", Hex, 64, false),
    token("doo_v1_", "digitalocean token", Hex, 64, false),
    token("dor_v1_", "digitalocean token", Hex, 64, false),
    token("dapi", "databricks token", Hex, 32, true),
    token("hvs.", "vault token", Dash, 24, true),
    token("hvb.", "vault token", Dash, 24, true),
    token("HRKU-", "heroku key", Dash, 36, true),
    token("sbp_", "supabase token", Hex, 40, true),
    token("pscale_tkn_", "planetscale token", Dot, 32, false),
    token("pscale_pw_", "planetscale password", Dot, 32, false),
    token("tskey-", "tailscale key", Dash, 20, true),
    token("dp.pt.", "doppler token", Alnum, 40, true),
    token("AGE-SECRET-KEY-1", "private key", Upper, 58, false),
    token("NRAK-", "new relic key", Upper, 27, true),
    token("glsa_", "grafana token", Word, 32, false),
    token("sntrys_", "sentry token", Base64, 60, false),
    // Messages and money.
    token("xoxb-", "slack token", Dash, 10, false),
    token("xoxa-", "slack token", Dash, 10, false),
    token("xoxp-", "slack token", Dash, 10, false),
    token("xoxr-", "slack token", Dash, 10, false),
    token("xoxs-", "slack token", Dash, 10, false),
    token("xoxe-", "slack token", Dash, 10, false),
    token("xoxe.xox", "slack token", Dash, 10, false),
    token("xapp-", "slack token", Dash, 20, false),
    token(
        "hooks.slack.com/services/",
        "slack webhook",
        Base64,
        20,
        false,
    ),
    token(
        "discord.com/api/webhooks/",
        "discord webhook",
        Bearer,
        60,
        false,
    ),
    token("sk_live_", "stripe key", Alnum, 16, false),
    token("rk_live_", "stripe key", Alnum, 16, false),
    token("sk_test_", "stripe key", Alnum, 16, false),
    token("rk_test_", "stripe key", Alnum, 16, false),
    token("whsec_", "stripe key", Base64, 24, true),
    token("shpat_", "shopify token", Hex, 32, false),
    token("shpss_", "shopify token", Hex, 32, false),
    token("sq0atp-", "square token", Dash, 22, false),
    token("sq0csp-", "square token", Dash, 40, false),
    other("SG.", "sendgrid key", Shape::TwoParts, true),
    other("SK", "twilio key", Shape::Exact(Hex, 32), true),
    token("key-", "mailgun key", Hex, 32, true),
    // Formats.
    other("eyJ", "jwt", Shape::Jwt, true),
    other("v1.", OWN, Shape::OfSession, true),
    token("shn_", "shannon key", Word, 60, false),
    other("-----BEGIN ", "private key", Shape::Pem, false),
    // Places.
    other("bearer", "authorization", Shape::Bearer, true),
    name("authorization", "authorization", Authorization),
    other("://", "password", Shape::Url, false),
    name("password", "password", Password),
    name("passwd", "password", Password),
    name("passphrase", "password", Passphrase),
    name("pwd", "password", Password),
    name("secret", "secret", Made),
    name("secret_key", "secret", Made),
    name("secretkey", "secret", Made),
    name("secret-key", "secret", Made),
    name("token", "token", Made),
    name("api_key", "api key", Made),
    name("apikey", "api key", Made),
    name("api-key", "api key", Made),
    name("access_key", "access key", Made),
    name("accesskey", "access key", Made),
    name("access-key", "access key", Made),
    name("private_key", "private key", Made),
    name("privatekey", "private key", Made),
    name("private-key", "private key", Made),
    name("auth_key", "secret", Made),
    name("authkey", "secret", Made),
    name("encryption_key", "secret", Made),
    name("signing_key", "secret", Made),
];

use Class::Bearer;

/// What the session's own credentials are called.
pub(crate) const OWN: &str = "session credential";

impl Anchor {
    /// Names and schemes are written in any case.
    pub(crate) const fn any_case(&self) -> bool {
        matches!(self.shape, Shape::Name(_) | Shape::Bearer)
    }

    /// The anchor begins with these bytes.
    pub(crate) fn begins_with(&self, bytes: &[u8]) -> bool {
        let Some(own) = self.text.as_bytes().get(..bytes.len()) else {
            return false;
        };
        if self.any_case() {
            own.eq_ignore_ascii_case(bytes)
        } else {
            own == bytes
        }
    }
}

/// Finds every anchor in one pass, those within others too.
pub(crate) static FINDER: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(ANCHORS.iter().map(|anchor| anchor.text))
        // It is built from this table alone: every test would fail.
        .expect("the table of anchors")
});

/// The longest anchor in bytes.
pub(crate) static LONGEST_ANCHOR: LazyLock<usize> = LazyLock::new(|| {
    ANCHORS
        .iter()
        .map(|anchor| anchor.text.len())
        .max()
        .unwrap_or(0)
});

/// What stands in the place of a secret.
pub(crate) fn mask(kind: &str) -> String {
    format!("{MASK_BEGINS}: {kind}]")
}

/// How every replacement begins.
pub(crate) const MASK_BEGINS: &str = "[redacted";

/// The text ends with a replacement.
pub(crate) fn ends_with_mask(text: &[u8]) -> bool {
    const LONGEST_MASK: usize = 48;
    if text.last() != Some(&b']') {
        return false;
    }
    let tail = &text[text.len().saturating_sub(LONGEST_MASK)..];
    let Some(from) = tail.iter().rposition(|byte| *byte == b'[') else {
        return false;
    };
    tail[from..].starts_with(MASK_BEGINS.as_bytes())
}
