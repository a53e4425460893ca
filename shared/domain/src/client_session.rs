//! What a client of the initialize era is remembered by between its requests, and the sealed state
//! that a modern client carries itself.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use thiserror::Error;

use crate::ids::{InvalidName, base32};
use crate::session_token::SigningKey;
use crate::{OwnerId, UnixMillis};

/// A name of `prefix` and 26 base32 characters; `None` when it is anything else.
fn named(prefix: &str, text: &str) -> Option<String> {
    let rest = text.strip_prefix(prefix)?;
    let valid = rest.len() == 26
        && rest
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte));
    valid.then(|| text.to_owned())
}

/// An MCP session of a client (`Mcp-Session-Id`): `mcp_` and 26 base32 characters (130 random
/// bits). Together with the owner's token it speaks for one client, so it is never shown whole:
/// there is no `Display`, and `Debug` gives its beginning.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientSessionId(String);

impl ClientSessionId {
    /// From 17 random bytes (136 bits, of which 130 are used).
    #[must_use]
    pub fn from_random(bytes: [u8; 17]) -> Self {
        Self(format!("mcp_{}", &base32(&bytes)[..26]))
    }

    /// Takes an id as a client sent it.
    ///
    /// # Errors
    /// [`InvalidName`]: it is none of ours, hence unknown.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        named("mcp_", text).map(Self).ok_or(InvalidName {
            what: "Mcp-Session-Id",
            rule: "as the answer to initialize gave it",
        })
    }

    /// The whole id, for headers and keys.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its beginning, for logs: enough to tell sessions apart, not enough to use one.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..10]
    }
}

impl fmt::Debug for ClientSessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}…", self.short())
    }
}

/// Where a client's session lives: owner-bound, as everything stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientKey {
    /// From the caller's token.
    pub owner: OwnerId,
    /// Which of their clients.
    pub session: ClientSessionId,
}

/// One round of questions to a person: `rnd_` and 26 base32 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoundId(String);

impl RoundId {
    /// From 17 random bytes (136 bits, of which 130 are used).
    #[must_use]
    pub fn from_random(bytes: [u8; 17]) -> Self {
        Self(format!("rnd_{}", &base32(&bytes)[..26]))
    }

    /// Takes an id as it stands in a sealed state.
    ///
    /// # Errors
    /// [`InvalidName`]: it is none of ours.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        named("rnd_", text).map(Self).ok_or(InvalidName {
            what: "round",
            rule: "`rnd_` followed by 26 characters of a-z and 2-7",
        })
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a client carries from a question to its answer. Clients can read it, and change nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundState {
    /// Which round of questions.
    pub round: RoundId,
    /// Until when it can be answered, on the sealer's clock.
    pub expires_at: UnixMillis,
    /// What the one who asked wants back.
    pub payload: Vec<u8>,
}

/// What a sealed state is good for: this caller repeating this very request.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The caller.
    pub owner: &'a OwnerId,
    /// Digest of the method and everything it was given.
    pub request_digest: &'a str,
}

/// A state that cannot be used.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidState {
    /// It is none of ours, was changed, or belongs to another caller or request: ask anew. Which of
    /// these it was is not said.
    #[error("the state does not belong to this request")]
    Foreign,
    /// The answer came too late: ask anew.
    #[error("the question has expired")]
    Expired,
}

/// Separates these signatures from those of session tokens under the same key.
const PURPOSE: &str = "shannon-round-state-v1\n";

impl SigningKey {
    /// Seals a state for one caller and request. Signed, not encrypted.
    #[must_use]
    pub fn seal_state(&self, binding: Binding<'_>, state: &RoundState) -> String {
        let shown = format!(
            "s1.{}.{}.{}",
            state.round.as_str(),
            state.expires_at.0,
            URL_SAFE_NO_PAD.encode(&state.payload)
        );
        let mac = self.sign_for(PURPOSE, &bound(binding, &shown));
        format!("{shown}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// Opens a state that [`SigningKey::seal_state`] sealed with the same binding.
    ///
    /// # Errors
    /// [`InvalidState`]; either way the caller has to ask anew.
    pub fn open_state(
        &self,
        binding: Binding<'_>,
        text: &str,
        now: UnixMillis,
    ) -> Result<RoundState, InvalidState> {
        const FOREIGN: InvalidState = InvalidState::Foreign;
        let (shown, mac) = text.rsplit_once('.').ok_or(FOREIGN)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| FOREIGN)?;
        if !self.is_signed_for(PURPOSE, &bound(binding, shown), &mac) {
            return Err(FOREIGN);
        }
        let parts: Vec<&str> = shown.split('.').collect();
        let ["s1", round, expires_at, payload] = parts[..] else {
            return Err(FOREIGN);
        };
        let state = RoundState {
            round: RoundId::parse(round).map_err(|_| FOREIGN)?,
            expires_at: UnixMillis(expires_at.parse().map_err(|_| FOREIGN)?),
            payload: URL_SAFE_NO_PAD.decode(payload).map_err(|_| FOREIGN)?,
        };
        if now > state.expires_at {
            return Err(InvalidState::Expired);
        }
        Ok(state)
    }
}

/// Neither an owner nor a digest has a line feed in it, so the parts cannot be shifted.
fn bound(binding: Binding<'_>, shown: &str) -> String {
    format!("{}\n{}\n{shown}", binding.owner, binding.request_digest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> SigningKey {
        SigningKey::new(&[7; 32]).expect("long enough")
    }

    fn state(payload: &[u8]) -> RoundState {
        RoundState {
            round: RoundId::from_random([3; 17]),
            expires_at: UnixMillis(1000),
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn ids_are_not_shown_whole() {
        let id = ClientSessionId::from_random([9; 17]);
        assert_eq!(ClientSessionId::parse(id.as_str()), Ok(id.clone()));
        assert!(!format!("{id:?}").contains(id.as_str()));
        for bad in ["", "mcp_", "ses_aaaaaaaaaaaaaaaaaaaaaaaaaa", "mcp_a\n"] {
            assert!(ClientSessionId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_state_opens_for_its_own_request_until_it_expires() {
        let (key, owner, other) = (key(), OwnerId::of("i", "s"), OwnerId::of("i", "t"));
        let binding = Binding {
            owner: &owner,
            request_digest: "d",
        };
        let state = state(b"payload");
        let sealed = key.seal_state(binding, &state);
        assert_eq!(
            key.open_state(binding, &sealed, UnixMillis(1000)),
            Ok(state)
        );
        assert_eq!(
            key.open_state(binding, &sealed, UnixMillis(1001)),
            Err(InvalidState::Expired)
        );
        for foreign in [
            Binding {
                owner: &other,
                ..binding
            },
            Binding {
                request_digest: "e",
                ..binding
            },
        ] {
            assert_eq!(
                key.open_state(foreign, &sealed, UnixMillis(0)),
                Err(InvalidState::Foreign)
            );
        }
        let another_key = SigningKey::new(&[8; 32]).expect("long enough");
        assert!(
            another_key
                .open_state(binding, &sealed, UnixMillis(0))
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn no_changed_character_is_accepted(payload: Vec<u8>, at: prop::sample::Index, to in "[ -~]") {
            let owner = OwnerId::of("i", "s");
            let binding = Binding { owner: &owner, request_digest: "d" };
            let sealed = key().seal_state(binding, &state(&payload));
            let at = at.index(sealed.len());
            let mut changed = sealed.clone();
            changed.replace_range(at..=at, &to);
            prop_assume!(changed != sealed);
            prop_assert_eq!(key().open_state(binding, &changed, UnixMillis(0)), Err(InvalidState::Foreign));
        }

        #[test]
        fn no_flipped_bit_is_accepted(payload: Vec<u8>, at: prop::sample::Index, bit in 0_u8..7) {
            let owner = OwnerId::of("i", "s");
            let binding = Binding { owner: &owner, request_digest: "d" };
            let sealed = key().seal_state(binding, &state(&payload));
            let mut bytes = sealed.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let changed = String::from_utf8(bytes).expect("seven bits are ASCII");
            prop_assert!(key().open_state(binding, &changed, UnixMillis(0)).is_err());
        }

        /// It opens for exactly who asked exactly that, and not later than it says.
        #[test]
        fn a_state_is_bound_to_caller_request_and_time(
            (owner, other) in ("[a-z]{1,6}", "[a-z]{1,6}"),
            (digest, another) in ("[a-z2-7]{0,20}", "[a-z2-7]{0,20}"),
            payload: Vec<u8>,
            (expires_at, now) in (0_u64..2000, 0_u64..2000),
        ) {
            let (owner, other) = (OwnerId::of("i", &owner), OwnerId::of("i", &other));
            let binding = Binding { owner: &owner, request_digest: &digest };
            let state = RoundState { expires_at: UnixMillis(expires_at), ..state(&payload) };
            let sealed = key().seal_state(binding, &state);
            let opened = key().open_state(binding, &sealed, UnixMillis(now));
            let expected = if now > expires_at { Err(InvalidState::Expired) } else { Ok(state) };
            prop_assert_eq!(opened, expected.clone());
            for (owner, digest) in [(&other, &digest), (&owner, &another), (&other, &another)] {
                let presented = Binding { owner, request_digest: digest };
                let is_same = owner == binding.owner && *digest == binding.request_digest;
                let opened = key().open_state(presented, &sealed, UnixMillis(now));
                if is_same {
                    prop_assert_eq!(opened, expected.clone());
                } else {
                    // Also when it is too late: whoever it is not for learns nothing of it.
                    prop_assert_eq!(opened, Err(InvalidState::Foreign));
                }
            }
        }

        #[test]
        fn hostile_text_never_panics(text in ".{0,120}") {
            let owner = OwnerId::of("i", "s");
            let binding = Binding { owner: &owner, request_digest: "d" };
            prop_assert!(key().open_state(binding, &text, UnixMillis(0)).is_err());
            let _ = ClientSessionId::parse(&text);
        }
    }
}
