//! Names and numbers as types; their rules live in `parse`, and whatever holds one has passed them.

use std::fmt;

use thiserror::Error;

/// A name that does not follow its rule. Says which rule, never repeats the value: it may be hostile.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("not a valid {what}: {rule}")]
pub struct InvalidName {
    /// What was expected (`session_id`).
    pub what: &'static str,
    /// The rule, in words a caller can act on.
    pub rule: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Checks the rule and takes the text as it is.
            ///
            /// # Errors
            /// [`InvalidName`] with the rule; the caller corrects the value.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidName { what: $what, rule: $rule })
                }
            }

            /// The text, exactly as parsed.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

fn is_base32(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte))
}

fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Lower-case base32 (RFC 4648 alphabet, no padding): fits DynamoDB keys, S3 prefixes and tags.
#[must_use]
pub fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut buffer, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        buffer = (buffer << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[((buffer >> bits) & 31) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[((buffer << (5 - bits)) & 31) as usize]));
    }
    text
}

text_id!(
    /// A session, ours: `ses_` and 26 base32 characters (130 random bits). The CLI's own session
    /// id is an attribute that changes on fork, rewind and `/clear`.
    SessionId,
    "session_id",
    "`ses_` followed by 26 characters of a-z and 2-7, as create_session returned it",
    |text| text
        .strip_prefix("ses_")
        .is_some_and(|rest| rest.len() == 26 && is_base32(rest))
);

text_id!(
    /// Who owns a session: base32 of SHA-256 over issuer and subject of the caller's token.
    OwnerId,
    "owner",
    "52 characters of a-z and 2-7",
    |text| text.len() == 52 && is_base32(text)
);

text_id!(
    /// A command, named by the client so that repeating it is harmless (`message_id`).
    CommandId,
    "message_id",
    "1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'",
    |text| (1..=64).contains(&text.len()) && is_plain(text)
);

text_id!(
    /// A file on its way in: `upl_` and 26 base32 characters.
    UploadId,
    "upload_id",
    "`upl_` followed by 26 characters of a-z and 2-7, as create_upload returned it",
    |text| text
        .strip_prefix("upl_")
        .is_some_and(|rest| rest.len() == 26 && is_base32(rest))
);

text_id!(
    /// A checkpoint: `chk_` and 26 base32 characters. It belongs to the session that made it;
    /// whoever shares the tree may go on from it.
    CheckpointId,
    "checkpoint_id",
    "`chk_` followed by 26 characters of a-z and 2-7, as list_checkpoints shows it",
    |text| text
        .strip_prefix("chk_")
        .is_some_and(|rest| rest.len() == 26 && is_base32(rest))
);

text_id!(
    /// A question to a person, named by its runner; a rewind names it anew.
    QuestionId,
    "question_id",
    "1 to 48 characters of A-Z, a-z, 0-9, '.', '_' and '-', as get_session shows it",
    |text| (1..=48).contains(&text.len()) && is_plain(text)
);

text_id!(
    /// A name for a checkpoint, chosen by a person.
    RefName,
    "ref",
    "1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'; not `latest`, not beginning with `chk_`",
    |text| (1..=64).contains(&text.len())
        && is_plain(text)
        && text != "latest"
        && !text.starts_with("chk_")
);

text_id!(
    /// A stored policy, named by the person who wrote it.
    PolicyName,
    "policy name",
    "1 to 64 characters of a-z, 0-9 and '-'",
    |text| (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
);

text_id!(
    /// An API key, by what may be shown of it: `key_` and 26 base32 characters.
    KeyId,
    "key_id",
    "`key_` followed by 26 characters of a-z and 2-7, as the list of keys shows it",
    |text| text
        .strip_prefix("key_")
        .is_some_and(|rest| rest.len() == 26 && is_base32(rest))
);

text_id!(
    /// What an administrator calls a key.
    KeyName,
    "name of a key",
    "1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'",
    |text| (1..=64).contains(&text.len()) && is_plain(text)
);

impl KeyId {
    /// From 17 random bytes (136 bits, of which 130 are used).
    #[must_use]
    pub fn from_random(bytes: [u8; 17]) -> Self {
        Self(format!("key_{}", &base32(&bytes)[..26]))
    }
}

impl OwnerId {
    /// The owner behind a token: SHA-256 over issuer, a line feed, and subject.
    #[must_use]
    pub fn of(issuer: &str, subject: &str) -> Self {
        use sha2::Digest;
        let mut hash = sha2::Sha256::new();
        hash.update(issuer.as_bytes());
        hash.update(b"\n");
        hash.update(subject.as_bytes());
        Self(base32(&hash.finalize()))
    }
}

impl SessionId {
    /// From 17 random bytes (136 bits, of which 130 are used).
    #[must_use]
    pub fn from_random(bytes: [u8; 17]) -> Self {
        Self(format!("ses_{}", &base32(&bytes)[..26]))
    }
}

impl UploadId {
    /// From 17 random bytes (136 bits, of which 130 are used).
    #[must_use]
    pub fn from_random(bytes: [u8; 17]) -> Self {
        Self(format!("upl_{}", &base32(&bytes)[..26]))
    }
}

impl CheckpointId {
    /// From 17 random bytes (136 bits, of which 130 are used).
    #[must_use]
    pub fn from_random(bytes: [u8; 17]) -> Self {
        Self(format!("chk_{}", &base32(&bytes)[..26]))
    }
}

impl CommandId {
    /// For a client that chose none: `msg_` and 26 characters from 17 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 17]) -> Self {
        Self(format!("msg_{}", &base32(&bytes)[..26]))
    }
}

/// Where a session lives: every stored key starts with the owner, so an id alone opens nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// From the caller's token, never from an argument.
    pub owner: OwnerId,
    /// The session.
    pub session: SessionId,
}

/// A session and its forks: named by the session at its root. What they share (packs of chunks,
/// manifests) lies under it, and is swept per tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TreeId(SessionId);

impl TreeId {
    /// The tree of which this session is the root.
    #[must_use]
    pub const fn of(root: SessionId) -> Self {
        Self(root)
    }

    /// Reads the id of the root.
    ///
    /// # Errors
    /// [`InvalidName`] as for a [`SessionId`].
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        SessionId::parse(text).map(Self)
    }

    /// The session at the root; it may be gone while its forks live.
    #[must_use]
    pub const fn root(&self) -> &SessionId {
        &self.0
    }

    /// The id of the root, as it was parsed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for TreeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Where the objects of a tree live: every stored name starts with the owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TreeKey {
    /// From the caller's token, never from an argument. All sessions of a tree have the same.
    pub owner: OwnerId,
    /// The tree.
    pub tree: TreeId,
}

impl TreeKey {
    /// Where the root session lives, in whose partition the records of the tree are.
    #[must_use]
    pub fn root(&self) -> SessionKey {
        SessionKey {
            owner: self.owner.clone(),
            session: self.tree.root().clone(),
        }
    }
}

/// An MCP task: one turn, named by the session and the command that started it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TaskId {
    /// The session of the turn.
    pub session: SessionId,
    /// The message that started the turn.
    pub command: CommandId,
}

impl TaskId {
    /// Reads `<session_id>.<message_id>`.
    ///
    /// # Errors
    /// [`InvalidName`] when either part is missing or breaks its rule.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName {
            what: "taskId",
            rule: "a session id, a '.', and a message id, as the server returned it",
        };
        let (session, command) = text.split_once('.').ok_or_else(invalid)?;
        Ok(Self {
            session: SessionId::parse(session).map_err(|_| invalid())?,
            command: CommandId::parse(command).map_err(|_| invalid())?,
        })
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.session, self.command)
    }
}

/// Position of an event in its session's log. The first event has sequence 1; 0 is "before all".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// A reader's place in the log, opaque to clients: they hand back what they were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(pub Sequence);

impl Cursor {
    /// Reads a cursor that [`Cursor::to_string`] wrote.
    ///
    /// # Errors
    /// [`InvalidName`]: the caller passes `next_cursor` as it was given, or none to start over.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        text.strip_prefix("c1-")
            .filter(|digits| !digits.starts_with('+'))
            .and_then(|digits| digits.parse().ok())
            .map(|sequence| Self(Sequence(sequence)))
            .ok_or(InvalidName {
                what: "cursor",
                rule: "a next_cursor of this session, or nothing to start at the beginning",
            })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "c1-{}", self.0)
    }
}

/// Which runner may write: it grows by one with each that takes the session over or is declared
/// lost. 0: no runner yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FencingToken(pub u64);

impl FencingToken {
    /// The token of whoever takes over from this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// Milliseconds since 1970-01-01 UTC on the clock of whoever wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// This time and `milliseconds` later.
    #[must_use]
    pub const fn plus(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// Milliseconds from `earlier` to this; 0 when it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_accept_what_we_make_and_refuse_the_rest() {
        let session = SessionId::from_random([7; 17]);
        assert_eq!(SessionId::parse(session.as_str()), Ok(session.clone()));
        for bad in [
            "",
            "ses_",
            "ses_A",
            "upl_aaaaaaaaaaaaaaaaaaaaaaaaaa",
            "ses_aaaaaaaaaaaaaaaaaaaaaaaaa1",
        ] {
            assert!(SessionId::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            TreeId::parse(session.as_str()),
            Ok(TreeId::of(session.clone()))
        );
        let checkpoint = CheckpointId::from_random([7; 17]);
        assert_eq!(
            CheckpointId::parse(checkpoint.as_str()),
            Ok(checkpoint.clone())
        );
        assert!(SessionId::parse(checkpoint.as_str()).is_err());
        let owner = OwnerId::of("local", "developer");
        assert_eq!(OwnerId::parse(owner.as_str()), Ok(owner));
        for bad in ["", "a b", "a#b", "../x", &"a".repeat(65)] {
            assert!(CommandId::parse(bad).is_err(), "{bad}");
        }
        let task = TaskId {
            session,
            command: CommandId::parse("m.1").expect("valid"),
        };
        assert_eq!(TaskId::parse(&task.to_string()), Ok(task));
    }

    #[test]
    fn owners_with_shifted_boundaries_differ() {
        assert_ne!(OwnerId::of("a", "bc"), OwnerId::of("ab", "c"));
    }

    proptest! {
        #[test]
        fn parsing_hostile_text_never_panics(text in ".{0,80}") {
            let _ = SessionId::parse(&text);
            let _ = TaskId::parse(&text);
            let _ = Cursor::parse(&text);
            let _ = CommandId::parse(&text);
            let _ = CheckpointId::parse(&text);
            let _ = TreeId::parse(&text);
        }

        #[test]
        fn cursors_round_trip(sequence: u64) {
            let cursor = Cursor(Sequence(sequence));
            prop_assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
        }
    }
}
