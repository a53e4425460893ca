//! The audit: what was decided, refused and done, as an owner and a deployment can prove it later.
//!
//! The log of each session is a [chain](crate::chain). Its digests, with what matters of its events,
//! go into the chain of its owner, which outlives the session; refused logins and changes of API keys
//! go into the chain of the deployment. The ends of these chains are signed and kept where nobody can change them.

use crate::{
    ChainDigest, EventBody, KeyId, KeyName, OwnerId, PolicyName, PolicyScope, Sequence, SessionId,
    UnixMillis,
    approval::Way,
    chain::{Break, Link},
    event::Event,
    git_credential::GitHost,
    limits,
    session_token::{InvalidToken, SigningKey},
};

/// A chain of entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AuditChain {
    /// Of one owner.
    Owner(OwnerId),
    /// Of the deployment.
    Deployment,
}

impl AuditChain {
    /// As stored and shown.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Owner(owner) => owner.as_str(),
            Self::Deployment => "deployment",
        }
    }

    /// In which the changes of policies of this scope are.
    #[must_use]
    pub fn of_policies(scope: &PolicyScope) -> Self {
        match scope {
            PolicyScope::Owner(owner) => Self::Owner(owner.clone()),
            PolicyScope::Deployment => Self::Deployment,
        }
    }

    /// Reads what [`AuditChain::name`] wrote.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == "deployment" {
            return Some(Self::Deployment);
        }
        OwnerId::parse(name).ok().map(Self::Owner)
    }
}

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A piece of a session's log.
    Log(LogPiece),
    /// A session was erased: its log is gone because its time was up, or its owner said so.
    Erased {
        /// Which.
        session: SessionId,
        /// The last event of its log.
        last: Sequence,
        /// The digest of its log.
        digest: Option<ChainDigest>,
    },
    /// A stored policy was changed.
    Policy(PolicyChange),
    /// An API key was made, or taken back.
    Key(KeyChange),
    /// A credential for a git host was stored, or taken away.
    GitCredential(GitCredentialChange),
    /// Requests were refused because their caller could not be told.
    Refused(Refusals),
    /// What is stored says nothing that this version understands.
    Unreadable,
}

impl Subject {
    /// The session that it is about.
    #[must_use]
    pub const fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Log(LogPiece { session, .. }) | Self::Erased { session, .. } => Some(session),
            Self::Policy(_)
            | Self::Key(_)
            | Self::GitCredential(_)
            | Self::Refused(_)
            | Self::Unreadable => None,
        }
    }
}

/// A piece of a session's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPiece {
    /// Of which session.
    pub session: SessionId,
    /// Its first event.
    pub first: Sequence,
    /// Its last event, the last of a batch too.
    pub last: Sequence,
    /// The digest of the log up to there.
    pub digest: ChainDigest,
    /// What matters of its events.
    pub facts: Vec<Fact>,
}

/// A change of a stored policy, without its text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyChange {
    /// Its name.
    pub name: PolicyName,
    /// The revision of all policies of the scope with this change: the version of a stored one.
    pub version: u64,
    /// SHA-256 of its text; none when it was removed.
    pub digest: Option<String>,
    /// Who changed it.
    pub by: OwnerId,
}

/// A change of an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// Which key.
    pub key: KeyId,
    /// Its name.
    pub name: KeyName,
    /// For whom its holder acts.
    pub owner: OwnerId,
    /// What it allows; `None` when it was taken back.
    pub made: Option<KeyTerms>,
    /// Who did it.
    pub by: OwnerId,
}

/// What a new key allows, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTerms {
    /// Its scopes.
    pub scopes: Vec<String>,
    /// Until when.
    pub expires_at: UnixMillis,
}

/// A change of a credential for a git host, without what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitCredentialChange {
    /// For which host.
    pub host: GitHost,
    /// Whether it was stored; otherwise it was taken away.
    pub stored: bool,
    /// Whose it is, and who did it.
    pub by: OwnerId,
}

/// Requests of one minute that were refused because their caller could not be told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusals {
    /// When the minute began.
    pub minute: UnixMillis,
    /// Where they came from: an address as the front of the deployment saw it.
    pub source: String,
    /// How many.
    pub count: u64,
}

/// Of what kind a [`Fact`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FactKind {
    /// A message, an answer or a command of the caller was taken, or ended.
    Command,
    /// The model asked for a tool.
    Call,
    /// The gate let a call go.
    Allowance,
    /// The gate refused a call.
    Denial,
    /// A person was asked for a decision.
    Request,
    /// A person decided, or the time for it was over.
    Decision,
    /// The session ended.
    End,
}

impl FactKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Command,
        Self::Call,
        Self::Allowance,
        Self::Denial,
        Self::Request,
        Self::Decision,
        Self::End,
    ];

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Call => "call",
            Self::Allowance => "allowance",
            Self::Denial => "denial",
            Self::Request => "request",
            Self::Decision => "decision",
            Self::End => "end",
        }
    }

    /// Reads what [`FactKind::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What matters of an event, without what was said: the words go with the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Which event.
    pub sequence: Sequence,
    /// When, on the clock of whoever wrote it.
    pub time: UnixMillis,
    /// Of what kind.
    pub kind: FactKind,
    /// What it is about: the id of a call, a message or an approval.
    pub about: Option<String>,
    /// The CLI's name of the tool.
    pub tool: Option<String>,
    /// The SHA-256 of the call on which was decided.
    pub call: Option<String>,
    /// What came of it, as the kind of a decision or the state of an end.
    pub outcome: Option<String>,
    /// By which way a person decided.
    pub way: Option<Way>,
    /// The policies that decided.
    pub policies: Vec<String>,
}

impl Fact {
    /// Of an event, if it matters.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        let fact = |kind| Self {
            sequence: event.sequence,
            time: event.time,
            kind,
            about: None,
            tool: None,
            call: None,
            outcome: None,
            way: None,
            policies: Vec::new(),
        };
        let cause = event.cause.as_ref().map(ToString::to_string);
        Some(match &event.body {
            EventBody::MessageTaken { .. } | EventBody::MessageWithdrawn => Self {
                about: cause,
                outcome: Some(event.body.kind().to_owned()),
                ..fact(FactKind::Command)
            },
            EventBody::CommandStarted { .. } | EventBody::CommandEnded { .. } => Self {
                about: cause,
                outcome: Some(event.body.kind().to_owned()),
                ..fact(FactKind::Command)
            },
            EventBody::QuestionAnswered { question, .. } => Self {
                about: Some(question.to_string()),
                outcome: Some(event.body.kind().to_owned()),
                ..fact(FactKind::Command)
            },
            EventBody::ToolCall {
                tool_use_id, tool, ..
            } => Self {
                about: Some(short(tool_use_id)),
                tool: Some(short(tool)),
                ..fact(FactKind::Call)
            },
            EventBody::ToolAllowed {
                tool_use_id,
                tool,
                policies,
            } => Self {
                about: Some(short(tool_use_id)),
                tool: Some(short(tool)),
                policies: first(policies),
                ..fact(FactKind::Allowance)
            },
            EventBody::ToolDenied {
                tool_use_id,
                tool,
                policies,
                ..
            } => Self {
                about: Some(short(tool_use_id)),
                tool: Some(short(tool)),
                policies: first(policies),
                ..fact(FactKind::Denial)
            },
            EventBody::ApprovalRequested {
                approval, request, ..
            } => Self {
                about: Some(approval.to_string()),
                tool: Some(short(&request.tool)),
                call: Some(request.digest.as_str().to_owned()),
                policies: first(&request.policies),
                ..fact(FactKind::Request)
            },
            EventBody::ApprovalDecided {
                approval,
                digest,
                decision,
                way,
            } => Self {
                about: Some(approval.to_string()),
                call: Some(digest.as_str().to_owned()),
                outcome: Some(decision.kind().to_owned()),
                way: Some(*way),
                ..fact(FactKind::Decision)
            },
            EventBody::SessionEnded { state, .. } => Self {
                outcome: Some(state.to_string()),
                ..fact(FactKind::End)
            },
            _ => return None,
        })
    }
}

/// Names come from the CLI and may be of any length.
fn short(name: &str) -> String {
    name[..name.floor_char_boundary(limits::AUDIT_NAME_BYTES)].to_owned()
}

fn first(policies: &[String]) -> Vec<String> {
    let most = policies.iter().take(limits::AUDIT_POLICIES);
    most.map(|policy| short(policy)).collect()
}

/// An entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its place in the chain.
    pub link: Link,
    /// When it was written.
    pub time: UnixMillis,
    /// When the one before it was; none before the first. By this a chain whose beginning is past its
    /// retention is told from one whose beginning was cut off.
    pub previous_time: Option<UnixMillis>,
    /// What it is about.
    pub subject: Subject,
}

impl AuditEntry {
    /// How many facts it has.
    #[must_use]
    pub const fn facts(&self) -> usize {
        match &self.subject {
            Subject::Log(piece) => piece.facts.len(),
            _ => 0,
        }
    }

    /// Its number in the chain, from 1.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.link.last
    }
}

/// Where a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainEnd {
    /// Its last entry.
    pub number: u64,
    /// The digest of it.
    pub digest: ChainDigest,
}

/// The end of a chain at some time, signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Of which chain.
    pub chain: AuditChain,
    /// Where it ended.
    pub end: ChainEnd,
    /// When.
    pub time: UnixMillis,
    /// HMAC-SHA256 with the deployment's signing key.
    pub signature: [u8; 32],
}

const PURPOSE: &str = "shannon-audit-seal-v1\n";

impl Seal {
    /// Signs where a chain ends.
    #[must_use]
    pub fn sign(key: &SigningKey, chain: AuditChain, end: ChainEnd, time: UnixMillis) -> Self {
        let signature = key.sign_for(PURPOSE, &payload(&chain, end, time));
        Self {
            chain,
            end,
            time,
            signature,
        }
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`InvalidToken::Signature`]: it was signed by somebody else, or changed.
    pub fn verify(&self, key: &SigningKey) -> Result<(), InvalidToken> {
        let payload = payload(&self.chain, self.end, self.time);
        if key.is_signed_for(PURPOSE, &payload, &self.signature) {
            Ok(())
        } else {
            Err(InvalidToken::Signature)
        }
    }
}

fn payload(chain: &AuditChain, end: ChainEnd, time: UnixMillis) -> String {
    let (chain, ChainEnd { number, digest }) = (chain.name(), end);
    format!("{chain}\n{number}\n{digest}\n{}", time.0)
}

/// A seal as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundSeal {
    /// The number of the entry, by the name of the seal.
    pub number: u64,
    /// What it says; `None` when it cannot be read.
    pub seal: Option<Seal>,
}

/// What does not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// In the chain itself; positions are numbers of entries.
    Chain(Break),
    /// In the log of a session; positions are sequences of events.
    Log {
        /// Which session.
        session: SessionId,
        /// Where.
        what: Break,
    },
    /// The long body of an event, which is kept apart from the log, is not what the log says of it.
    Body {
        /// Which session.
        session: SessionId,
        /// Which event.
        at: Sequence,
    },
    /// The log of a session is not the one that an entry has the digest of.
    OtherLog {
        /// Which session.
        session: SessionId,
        /// The last event of the piece.
        at: Sequence,
        /// The entry.
        entry: u64,
    },
    /// A session of which there are entries is gone, and no entry says that it was erased.
    NoLog {
        /// Which session.
        session: SessionId,
        /// The newest entry about it.
        entry: u64,
    },
    /// An entry that cannot be read.
    Unreadable {
        /// Which entry.
        entry: u64,
    },
    /// A seal that cannot be read, or whose signature is not of this deployment.
    Signature {
        /// Which entry it seals.
        entry: u64,
    },
    /// The entry is not the one that was sealed, or there is none any more.
    OtherThanSealed {
        /// Which entry.
        entry: u64,
        /// When it was sealed.
        sealed_at: UnixMillis,
    },
}
