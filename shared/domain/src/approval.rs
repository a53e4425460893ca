//! Approvals: tool calls on which a person decides, and nobody else.
//!
//! An approval is a question that holds a turn up, with what a person must know to decide. It is bound
//! to the digest of exactly one call: a decision says which call it is about, and the runner lets that
//! one go. The first decision counts. "Once" is at most once: where a runner is lost after it let the
//! call go, the person is asked again.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::{
    KeyId, OwnerId, QuestionId, SessionId, SessionKey, UnixMillis,
    ids::InvalidName,
    limits,
    session_token::{InvalidToken, SigningKey},
};

/// SHA-256 over a tool's name and its input, in hexadecimal digits: which call it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallDigest(String);

impl CallDigest {
    /// Of a call. `input` is its JSON with sorted keys, so that the same input has the same digest.
    #[must_use]
    pub fn of(tool: &str, input: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update((tool.len() as u64).to_be_bytes());
        hash.update(tool);
        hash.update(input);
        let digest = hash.finalize();
        Self(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Reads what [`CallDigest::as_str`] gave.
    ///
    /// # Errors
    /// It is not 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName {
                what: "digest",
                rule: "64 characters of 0-9 and a-f, as list_approvals shows it",
            })
        }
    }

    /// As stored and shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a person must know about a call that waits for them. Texts are redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRequest {
    /// The CLI's name of the tool.
    pub tool: String,
    /// Which call.
    pub digest: CallDigest,
    /// Why it does not run by itself.
    pub reason: String,
    /// The policies that say so.
    pub policies: Vec<String>,
    /// What the call consists of, as the gate understood it: one line each.
    pub parts: Vec<String>,
    /// The policy (Cedar) that would let calls like this one run, where there is one.
    pub pattern: Option<String>,
    /// What an edit would change, as a unified diff.
    pub preview: Option<String>,
    /// The subagent that makes the call.
    pub agent: Option<String>,
    /// All of the call can be shown, but for words that look like secrets: what is hidden holds nothing
    /// that a shell or a program would read otherwise than as a word. Only then it can be allowed.
    pub visible: bool,
    /// The input that people see is the input itself: nothing was redacted or cut, so they can edit
    /// it.
    pub editable: bool,
    /// When it counts as denied, on the runner's clock.
    pub expires_at: UnixMillis,
}

impl ApprovalRequest {
    /// Nobody can decide any more.
    #[must_use]
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        now > self.expires_at
    }
}

/// What a person decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This call runs, now.
    AllowOnce,
    /// Exactly this call runs, whenever this session makes it.
    AllowCall,
    /// Calls that the shown policy permits run in this session.
    AllowPattern,
    /// It runs with another input (JSON text).
    AllowEdited {
        /// That input.
        input: String,
    },
    /// It does not run.
    Deny {
        /// What the model is told.
        reason: String,
    },
    /// Nobody decided in time, which is a denial. Not for people.
    Expire,
}

impl Decision {
    /// As stored and shown.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::AllowOnce => "allow_once",
            Self::AllowCall => "allow_call",
            Self::AllowPattern => "allow_pattern",
            Self::AllowEdited { .. } => "allow_edited",
            Self::Deny { .. } => "deny",
            Self::Expire => "expire",
        }
    }

    /// It goes on counting after this call.
    #[must_use]
    pub const fn is_for_the_session(&self) -> bool {
        matches!(self, Self::AllowCall | Self::AllowPattern)
    }

    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::AllowEdited { input } if input.len() > limits::APPROVAL_INPUT_BYTES => {
                Err("the edited input is too long")
            }
            Self::Deny { reason } if reason.len() > limits::DECISION_REASON_BYTES => {
                Err("a reason has at most 2000 bytes")
            }
            Self::Expire => Err("time decides that, not a person"),
            _ => Ok(()),
        }
    }
}

/// By which way a person decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// On the page of the approval.
    Page,
    /// In an MCP client that asked them, where the owner permits that.
    Elicitation,
    /// Not at all: time was up.
    Clock,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Page, Self::Elicitation, Self::Clock];

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Elicitation => "elicitation",
            Self::Clock => "clock",
        }
    }

    /// Reads what [`Way::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.as_str() == text)
    }
}

/// What a person allowed for the rest of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Exactly this call.
    Call(CallDigest),
    /// What this policy (Cedar) permits.
    Pattern(String),
}

/// Characters that show nothing, or turn or overlay what stands around them.
#[must_use]
pub fn is_treacherous(character: char) -> bool {
    matches!(character,
        '\u{0}'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        | '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}'
        | '\u{3000}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether any character of a text does.
#[must_use]
pub fn has_treacherous(text: &str) -> bool {
    text.chars().any(is_treacherous)
}

/// Where a person decides: what the address of an approval's page says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalLink {
    /// In which session.
    pub key: SessionKey,
    /// Which approval.
    pub approval: QuestionId,
    /// Until when the address is good.
    pub expires_at: UnixMillis,
}

/// Separates these signatures from others under the same key.
const PURPOSE: &str = "shannon-approval-link-v1\n";

impl ApprovalLink {
    /// The last part of the page's path. It says where the page is and permits nothing: who decides
    /// there has to log in.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        let payload = format!(
            "{}~{}~{}~{}",
            self.key.owner, self.key.session, self.approval, self.expires_at.0
        );
        let signature = URL_SAFE_NO_PAD.encode(key.sign_for(PURPOSE, &payload));
        format!("{payload}~{signature}")
    }

    /// # Errors
    /// [`InvalidToken`]; the page says that the address is not (any more) good.
    pub fn verify(text: &str, key: &SigningKey, now: UnixMillis) -> Result<Self, InvalidToken> {
        let (payload, signature) = text.rsplit_once('~').ok_or(InvalidToken::Malformed)?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| InvalidToken::Malformed)?;
        if !key.is_signed_for(PURPOSE, payload, &signature) {
            return Err(InvalidToken::Signature);
        }
        let parts: Vec<&str> = payload.split('~').collect();
        let [owner, session, approval, expires_at] = parts[..] else {
            return Err(InvalidToken::Malformed);
        };
        let link = Self {
            key: SessionKey {
                owner: OwnerId::parse(owner).map_err(|_| InvalidToken::Malformed)?,
                session: SessionId::parse(session).map_err(|_| InvalidToken::Malformed)?,
            },
            approval: QuestionId::parse(approval).map_err(|_| InvalidToken::Malformed)?,
            expires_at: UnixMillis(expires_at.parse().map_err(|_| InvalidToken::Malformed)?),
        };
        if now > link.expires_at {
            return Err(InvalidToken::Expired);
        }
        Ok(link)
    }
}

/// Who is logged in at the pages of approvals: what the cookie says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Who.
    pub owner: OwnerId,
    /// With which API key; `None` for the deployment's token.
    pub key: Option<KeyId>,
    /// Until when, on the signer's clock.
    pub expires_at: UnixMillis,
}

const LOGIN_PURPOSE: &str = "shannon-approver-login-v2\n";
const FORM_PURPOSE: &str = "shannon-approval-form-v1\n";

impl Login {
    /// The cookie's value. `credential` is what was shown (its hash): a login ends with it.
    #[must_use]
    pub fn sign(&self, credential: &str, key: &SigningKey) -> String {
        let with = self.key.as_ref().map_or("", KeyId::as_str);
        let payload = format!("{}~{with}~{}", self.owner, self.expires_at.0);
        let signed = key.sign_for(LOGIN_PURPOSE, &format!("{payload}\n{credential}"));
        format!("{payload}~{}", URL_SAFE_NO_PAD.encode(signed))
    }

    /// The key with which a cookie says that it was made, so that it can be looked up. Anybody can write
    /// anything there: [`Login::verify`] says whether it is so.
    #[must_use]
    pub fn claimed_key(text: &str) -> Option<KeyId> {
        KeyId::parse(text.split('~').nth(1)?).ok()
    }

    /// # Errors
    /// [`InvalidToken`]: they have to log in.
    pub fn verify(
        text: &str,
        credential: &str,
        key: &SigningKey,
        now: UnixMillis,
    ) -> Result<Self, InvalidToken> {
        let (payload, signature) = text.rsplit_once('~').ok_or(InvalidToken::Malformed)?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| InvalidToken::Malformed)?;
        if !key.is_signed_for(
            LOGIN_PURPOSE,
            &format!("{payload}\n{credential}"),
            &signature,
        ) {
            return Err(InvalidToken::Signature);
        }
        let parts: Vec<&str> = payload.split('~').collect();
        let [owner, with, expires_at] = parts[..] else {
            return Err(InvalidToken::Malformed);
        };
        let with = (!with.is_empty()).then(|| KeyId::parse(with));
        let login = Self {
            owner: OwnerId::parse(owner).map_err(|_| InvalidToken::Malformed)?,
            key: with.transpose().map_err(|_| InvalidToken::Malformed)?,
            expires_at: UnixMillis(expires_at.parse().map_err(|_| InvalidToken::Malformed)?),
        };
        if now > login.expires_at {
            return Err(InvalidToken::Expired);
        }
        Ok(login)
    }
}

/// What a form carries that our page made, for this login and this call: other sites cannot make it.
#[must_use]
pub fn form_token(
    login: &str,
    approval: &QuestionId,
    digest: &CallDigest,
    key: &SigningKey,
) -> String {
    let payload = format!("{login}\n{approval}\n{}", digest.as_str());
    URL_SAFE_NO_PAD.encode(key.sign_for(FORM_PURPOSE, &payload))
}

/// Whether a form carries its [`form_token`].
#[must_use]
pub fn is_form_token(
    token: &str,
    login: &str,
    approval: &QuestionId,
    digest: &CallDigest,
    key: &SigningKey,
) -> bool {
    let payload = format!("{login}\n{approval}\n{}", digest.as_str());
    let token = URL_SAFE_NO_PAD.decode(token);
    token.is_ok_and(|token| key.is_signed_for(FORM_PURPOSE, &payload, &token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_tool_or_input_is_another_call() {
        let digest = CallDigest::of("Bash", "{\"command\":\"ls\"}");
        assert_eq!(CallDigest::parse(digest.as_str()), Ok(digest.clone()));
        for (tool, input) in [
            ("Bash", "{\"command\":\"ls \"}"),
            ("Bas", "h{\"command\":\"ls\"}"),
            ("Write", "{\"command\":\"ls\"}"),
        ] {
            assert_ne!(CallDigest::of(tool, input), digest);
        }
        for bad in ["", "abc", &"g".repeat(64), &"A".repeat(64)] {
            assert!(CallDigest::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_says_what_was_signed_until_it_expires() {
        let key = SigningKey::new(&[1; 32]).expect("long enough");
        let link = ApprovalLink {
            key: SessionKey {
                owner: OwnerId::of("i", "s"),
                session: SessionId::from_random([3; 17]),
            },
            approval: QuestionId::parse("apr_x..1").expect("valid"),
            expires_at: UnixMillis(1_000),
        };
        let text = link.sign(&key);
        assert_eq!(
            ApprovalLink::verify(&text, &key, UnixMillis(1_000)),
            Ok(link)
        );
        assert_eq!(
            ApprovalLink::verify(&text, &key, UnixMillis(1_001)),
            Err(InvalidToken::Expired)
        );
        for index in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[index] = if bytes[index] == b'a' { b'b' } else { b'a' };
            let changed = String::from_utf8(bytes).expect("ascii");
            assert!(
                changed == text || ApprovalLink::verify(&changed, &key, UnixMillis(0)).is_err(),
                "{index}"
            );
        }
        let other = SigningKey::new(&[2; 32]).expect("long enough");
        assert!(ApprovalLink::verify(&text, &other, UnixMillis(0)).is_err());
        for bad in ["", "~", "a~b~c~d~e", "~~~~"] {
            assert!(ApprovalLink::verify(bad, &key, UnixMillis(0)).is_err());
        }
    }

    #[test]
    fn a_login_ends_with_its_time_and_its_credential() {
        let key = SigningKey::new(&[1; 32]).expect("long enough");
        let mut login = Login {
            owner: OwnerId::of("i", "s"),
            key: Some(KeyId::from_random([0; 17])),
            expires_at: UnixMillis(10),
        };
        let with_key = login.sign("hash", &key);
        assert_eq!(Login::claimed_key(&with_key), login.key);
        let read = Login::verify(&with_key, "hash", &key, UnixMillis(10));
        assert_eq!(read.as_ref(), Ok(&login));
        login.key = None;
        let text = login.sign("hash", &key);
        assert_eq!(Login::claimed_key(&text), None);
        assert_eq!(
            Login::verify(&text, "hash", &key, UnixMillis(10)),
            Ok(login)
        );
        assert!(Login::verify(&text, "hash", &key, UnixMillis(11)).is_err());
        assert!(Login::verify(&text, "other", &key, UnixMillis(0)).is_err());
        for bad in ["", "~", "a~b~c"] {
            assert!(Login::verify(bad, "hash", &key, UnixMillis(0)).is_err());
        }
    }

    #[test]
    fn a_form_is_for_one_login_and_one_call() {
        let key = SigningKey::new(&[1; 32]).expect("long enough");
        let approval = QuestionId::parse("apr_1").expect("valid");
        let digest = CallDigest::of("Bash", "{}");
        let token = form_token("me", &approval, &digest, &key);
        assert!(is_form_token(&token, "me", &approval, &digest, &key));
        let other = QuestionId::parse("apr_2").expect("valid");
        let another = CallDigest::of("Bash", "{\"a\":1}");
        assert!(!is_form_token(&token, "you", &approval, &digest, &key));
        assert!(!is_form_token(&token, "me", &other, &digest, &key));
        assert!(!is_form_token(&token, "me", &approval, &another, &key));
        assert!(!is_form_token("", "me", &approval, &digest, &key));
    }

    #[test]
    fn what_cannot_be_seen_is_known() {
        assert!(has_treacherous("a\u{0}b") && has_treacherous("\u{202e}x"));
        assert!(!has_treacherous("a\n\tb é"));
    }

    #[test]
    fn people_decide_within_limits_and_time_is_no_person() {
        let long = "x".repeat(limits::DECISION_REASON_BYTES + 1);
        assert!(Decision::Deny { reason: long }.check().is_err());
        assert!(Decision::Expire.check().is_err());
        assert!(Decision::AllowOnce.check().is_ok());
    }
}
