//! Entries of the audit and seals, as they are stored: JSON, entries packed.

use domain::{
    ChainDigest, GitHost, KeyId, KeyName, OwnerId, PolicyName, Sequence, SessionId, UnixMillis,
    approval::Way,
    audit::{
        AuditChain, ChainEnd, Fact, FactKind, GitCredentialChange, KeyChange, KeyTerms, LogPiece,
        PolicyChange, Refusals, Seal, Subject,
    },
};
use serde::{Deserialize, Serialize, de::Error};

/// An entry without its links.
#[derive(Serialize, Deserialize)]
struct StoredEntry {
    time: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous_time: Option<u64>,
    subject: StoredSubject,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum StoredSubject {
    Log {
        session: String,
        first: u64,
        last: u64,
        digest: String,
        facts: Vec<StoredFact>,
    },
    Erased {
        session: String,
        last: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
    },
    Policy {
        name: String,
        version: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
        by: String,
    },
    Key {
        key: String,
        name: String,
        owner: String,
        /// Of one that was made.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        scopes: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        valid_until: Option<u64>,
        by: String,
    },
    GitCredential {
        host: String,
        stored: bool,
        by: String,
    },
    Refused {
        minute: u64,
        source: String,
        count: u64,
    },
    /// Never written; what another version wrote is read as this.
    #[serde(other)]
    Unreadable,
}

#[derive(Serialize, Deserialize)]
struct StoredFact {
    sequence: u64,
    time: u64,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    about: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    way: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    policies: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredSeal {
    chain: String,
    number: u64,
    digest: String,
    time_unix_ms: u64,
    signature: String,
}

/// What an entry says, apart from its links.
pub(crate) struct Content {
    pub(crate) time: UnixMillis,
    pub(crate) previous_time: Option<UnixMillis>,
    pub(crate) subject: Subject,
}

pub(crate) fn write_content(content: &Content) -> Result<String, serde_json::Error> {
    serde_json::to_string(&StoredEntry {
        time: content.time.0,
        previous_time: content.previous_time.map(|it| it.0),
        subject: StoredSubject::of(&content.subject),
    })
}

pub(crate) fn read_content(json: &[u8]) -> Result<Content, serde_json::Error> {
    let entry: StoredEntry = serde_json::from_slice(json)?;
    Ok(Content {
        time: UnixMillis(entry.time),
        previous_time: entry.previous_time.map(UnixMillis),
        subject: entry.subject.read()?,
    })
}

pub(crate) fn write_seal(seal: &Seal) -> Result<String, serde_json::Error> {
    serde_json::to_string(&StoredSeal {
        chain: seal.chain.name().to_owned(),
        number: seal.end.number,
        digest: seal.end.digest.to_string(),
        time_unix_ms: seal.time.0,
        signature: hex(&seal.signature),
    })
}

pub(crate) fn read_seal(json: &[u8]) -> Result<Seal, serde_json::Error> {
    let seal: StoredSeal = serde_json::from_slice(json)?;
    Ok(Seal {
        chain: AuditChain::parse(&seal.chain)
            .ok_or_else(|| serde_json::Error::custom("not a chain"))?,
        end: ChainEnd {
            number: seal.number,
            digest: digest(&seal.digest)?,
        },
        time: UnixMillis(seal.time_unix_ms),
        signature: unhex(&seal.signature)
            .ok_or_else(|| serde_json::Error::custom("not a signature"))?,
    })
}

impl StoredSubject {
    fn of(subject: &Subject) -> Self {
        match subject {
            Subject::Log(piece) => Self::Log {
                session: piece.session.to_string(),
                first: piece.first.0,
                last: piece.last.0,
                digest: piece.digest.to_string(),
                facts: piece.facts.iter().map(StoredFact::of).collect(),
            },
            Subject::Erased {
                session,
                last,
                digest,
            } => Self::Erased {
                session: session.to_string(),
                last: last.0,
                digest: digest.map(|it| it.to_string()),
            },
            Subject::Policy(change) => Self::Policy {
                name: change.name.to_string(),
                version: change.version,
                digest: change.digest.clone(),
                by: change.by.to_string(),
            },
            Subject::Key(change) => Self::Key {
                key: change.key.to_string(),
                name: change.name.to_string(),
                owner: change.owner.to_string(),
                scopes: change
                    .made
                    .as_ref()
                    .map_or_else(Vec::new, |it| it.scopes.clone()),
                valid_until: change.made.as_ref().map(|it| it.expires_at.0),
                by: change.by.to_string(),
            },
            Subject::GitCredential(change) => Self::GitCredential {
                host: change.host.to_string(),
                stored: change.stored,
                by: change.by.to_string(),
            },
            Subject::Refused(refusals) => Self::Refused {
                minute: refusals.minute.0,
                source: refusals.source.clone(),
                count: refusals.count,
            },
            Subject::Unreadable => Self::Unreadable,
        }
    }

    fn read(self) -> Result<Subject, serde_json::Error> {
        let session = |id: &str| SessionId::parse(id).map_err(serde_json::Error::custom);
        let owner = |id: &str| OwnerId::parse(id).map_err(serde_json::Error::custom);
        Ok(match self {
            Self::Log {
                session: id,
                first,
                last,
                digest: of,
                facts,
            } => Subject::Log(LogPiece {
                session: session(&id)?,
                first: Sequence(first),
                last: Sequence(last),
                digest: digest(&of)?,
                facts: facts
                    .into_iter()
                    .map(StoredFact::read)
                    .collect::<Result<_, _>>()?,
            }),
            Self::Erased {
                session: id,
                last,
                digest: of,
            } => Subject::Erased {
                session: session(&id)?,
                last: Sequence(last),
                digest: of.as_deref().map(digest).transpose()?,
            },
            Self::Policy {
                name,
                version,
                digest,
                by,
            } => Subject::Policy(PolicyChange {
                name: PolicyName::parse(&name).map_err(serde_json::Error::custom)?,
                version,
                digest,
                by: owner(&by)?,
            }),
            Self::Key {
                key,
                name,
                owner: of,
                scopes,
                valid_until,
                by,
            } => Subject::Key(KeyChange {
                key: KeyId::parse(&key).map_err(serde_json::Error::custom)?,
                name: KeyName::parse(&name).map_err(serde_json::Error::custom)?,
                owner: owner(&of)?,
                made: valid_until.map(|until| KeyTerms {
                    scopes,
                    expires_at: UnixMillis(until),
                }),
                by: owner(&by)?,
            }),
            Self::GitCredential { host, stored, by } => {
                Subject::GitCredential(GitCredentialChange {
                    host: GitHost::parse(&host).map_err(serde_json::Error::custom)?,
                    stored,
                    by: owner(&by)?,
                })
            }
            Self::Refused {
                minute,
                source,
                count,
            } => Subject::Refused(Refusals {
                minute: UnixMillis(minute),
                source,
                count,
            }),
            Self::Unreadable => Subject::Unreadable,
        })
    }
}

impl StoredFact {
    fn of(fact: &Fact) -> Self {
        Self {
            sequence: fact.sequence.0,
            time: fact.time.0,
            kind: fact.kind.as_str().to_owned(),
            about: fact.about.clone(),
            tool: fact.tool.clone(),
            call: fact.call.clone(),
            outcome: fact.outcome.clone(),
            way: fact.way.map(|way| way.as_str().to_owned()),
            policies: fact.policies.clone(),
        }
    }

    fn read(self) -> Result<Fact, serde_json::Error> {
        let way = self.way.map(|way| {
            let way = Way::parse(&way);
            way.ok_or_else(|| serde_json::Error::custom("not a way of deciding"))
        });
        Ok(Fact {
            sequence: Sequence(self.sequence),
            time: UnixMillis(self.time),
            kind: FactKind::parse(&self.kind)
                .ok_or_else(|| serde_json::Error::custom("not a kind of fact"))?,
            about: self.about,
            tool: self.tool,
            call: self.call,
            outcome: self.outcome,
            way: way.transpose()?,
            policies: self.policies,
        })
    }
}

fn digest(text: &str) -> Result<ChainDigest, serde_json::Error> {
    ChainDigest::parse(text).map_err(serde_json::Error::custom)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_stored_in_one_shape() {
        let session = SessionId::from_random([0; 17]);
        let by = OwnerId::of("i", "s");
        let some = ChainDigest::of(None, "c", 1, b"");
        let key = KeyId::from_random([0; 17]);
        let name = KeyName::parse("ci").unwrap();
        let fact = Fact {
            sequence: Sequence(2),
            time: UnixMillis(3),
            kind: FactKind::Decision,
            about: Some("q-1".to_owned()),
            tool: Some("Bash".to_owned()),
            call: Some("ab".to_owned()),
            outcome: Some("deny".to_owned()),
            way: Some(Way::Page),
            policies: vec!["p".to_owned()],
        };
        let subjects = [
            Subject::Log(LogPiece {
                session: session.clone(),
                first: Sequence(1),
                last: Sequence(2),
                digest: some,
                facts: vec![fact],
            }),
            Subject::Erased {
                session,
                last: Sequence(2),
                digest: None,
            },
            Subject::Policy(PolicyChange {
                name: PolicyName::parse("no-npm").unwrap(),
                version: 3,
                digest: None,
                by: by.clone(),
            }),
            Subject::Key(KeyChange {
                key: key.clone(),
                name: name.clone(),
                owner: by.clone(),
                made: Some(KeyTerms {
                    scopes: vec!["approve".to_owned()],
                    expires_at: UnixMillis(9),
                }),
                by: by.clone(),
            }),
            Subject::Key(KeyChange {
                key,
                name,
                owner: by.clone(),
                made: None,
                by: by.clone(),
            }),
            Subject::Refused(Refusals {
                minute: UnixMillis(60_000),
                source: "192.0.2.1".to_owned(),
                count: 7,
            }),
        ];
        let mut stored = Vec::new();
        for subject in subjects {
            let content = Content {
                time: UnixMillis(5),
                previous_time: None,
                subject,
            };
            let json = write_content(&content).unwrap();
            let read = read_content(json.as_bytes()).unwrap();
            assert_eq!(read.subject, content.subject);
            stored.push(json);
        }
        assert_eq!(
            stored,
            [
                format!(
                    r#"{{"time":5,"subject":{{"kind":"log","session":"ses_aaaaaaaaaaaaaaaaaaaaaaaaaa","first":1,"last":2,"digest":"{some}","facts":[{{"sequence":2,"time":3,"kind":"decision","about":"q-1","tool":"Bash","call":"ab","outcome":"deny","way":"page","policies":["p"]}}]}}}}"#
                ),
                r#"{"time":5,"subject":{"kind":"erased","session":"ses_aaaaaaaaaaaaaaaaaaaaaaaaaa","last":2}}"#.to_owned(),
                format!(r#"{{"time":5,"subject":{{"kind":"policy","name":"no-npm","version":3,"by":"{by}"}}}}"#),
                format!(r#"{{"time":5,"subject":{{"kind":"key","key":"key_aaaaaaaaaaaaaaaaaaaaaaaaaa","name":"ci","owner":"{by}","scopes":["approve"],"valid_until":9,"by":"{by}"}}}}"#),
                format!(r#"{{"time":5,"subject":{{"kind":"key","key":"key_aaaaaaaaaaaaaaaaaaaaaaaaaa","name":"ci","owner":"{by}","by":"{by}"}}}}"#),
                r#"{"time":5,"subject":{"kind":"refused","minute":60000,"source":"192.0.2.1","count":7}}"#.to_owned(),
            ]
        );
        assert!(read_content(b"{}").is_err());
    }

    #[test]
    fn a_seal_is_read_as_it_was_written() {
        let key = domain::session_token::SigningKey::new(&[1; 32]).unwrap();
        let end = ChainEnd {
            number: 3,
            digest: ChainDigest::of(None, "c", 1, b""),
        };
        let owner = AuditChain::Owner(OwnerId::of("i", "s"));
        for chain in [owner, AuditChain::Deployment] {
            let seal = Seal::sign(&key, chain, end, UnixMillis(9));
            let json = write_seal(&seal).unwrap();
            let read = read_seal(json.as_bytes()).unwrap();
            assert_eq!(read, seal);
            assert!(read.verify(&key).is_ok());
            let forged = json.replace("\"number\":3", "\"number\":4");
            let forged = read_seal(forged.as_bytes()).unwrap();
            assert!(forged.verify(&key).is_err());
        }
        assert!(read_seal(b"{}").is_err());
    }
}
