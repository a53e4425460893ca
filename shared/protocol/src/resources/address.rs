//! `shannon://` addresses: what each names, read from a URI and written as one.

use std::borrow::Cow;
use std::fmt;

use domain::checkpoint::CheckpointName;
use domain::workspace::RelativePath;
use domain::{Sequence, SessionId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

/// Longest URI that is looked at: a path of the workspace, each byte of it encoded, and the rest.
const URI_BYTES: usize = 3 * domain::limits::PATH_BYTES + 256;

/// What stays as it is in a path: what RFC 6570 leaves alone in `{+path}`, less `?`, `#` and `%`.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b'!')
    .remove(b'$')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b',')
    .remove(b';')
    .remove(b':')
    .remove(b'@');
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// The caller's sessions, a page of them.
    Sessions { cursor: Option<String> },
    /// Where a session stands.
    Session(SessionId),
    /// Events of its log after one of them.
    Events {
        session: SessionId,
        after: Sequence,
        limit: Option<usize>,
    },
    /// One event, whole.
    Event {
        session: SessionId,
        sequence: Sequence,
    },
    /// A file of its workspace, from a byte on: as it is, or as it was at a checkpoint.
    File {
        session: SessionId,
        path: RelativePath,
        checkpoint: Option<CheckpointName>,
        offset: u64,
    },
    /// What its turns did to the workspace, as patches: of one turn, or of all after one.
    Diff {
        session: SessionId,
        turn: Option<u32>,
        after: Sequence,
    },
    /// Its checkpoints, a page of them.
    Checkpoints {
        session: SessionId,
        before: Option<u64>,
    },
    /// What changed in its files from one checkpoint to another, from a byte of the patch on.
    Comparison {
        session: SessionId,
        from: CheckpointName,
        to: CheckpointName,
        offset: u64,
    },
    /// The tree that it belongs to.
    Timeline(SessionId),
    /// Its log as a person reads it, after an event.
    Transcript { session: SessionId, after: Sequence },
    /// The kinds of subagents that sessions have.
    Agents,
    /// The settings of the deployment.
    Config,
}

/// Why a URI names nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum NoAddress {
    /// Nothing of ours looks like this.
    #[error(
        "there is no such resource; resources/list and resources/templates/list show those there are"
    )]
    Unknown,
    /// A part of it is wrong.
    #[error("{0}")]
    Part(String),
}

impl Address {
    pub(crate) fn parse(uri: &str) -> Result<Self, NoAddress> {
        let rest = uri
            .strip_prefix("shannon://")
            .filter(|_| uri.len() <= URI_BYTES)
            .ok_or(NoAddress::Unknown)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut query = Query::parse(query)?;
        let address = match path {
            "sessions" => Self::Sessions {
                cursor: query.take("cursor").map(Cow::into_owned),
            },
            "agents" => Self::Agents,
            "config" => Self::Config,
            _ => {
                let below = path.strip_prefix("sessions/").ok_or(NoAddress::Unknown)?;
                let (id, part) = below.split_once('/').unwrap_or((below, ""));
                let id = decoded("id", id)?;
                let session =
                    SessionId::parse(&id).map_err(|error| NoAddress::Part(error.to_string()))?;
                Self::of_session(session, part, &mut query)?
            }
        };
        query.finish()?;
        Ok(address)
    }

    fn of_session(
        session: SessionId,
        part: &str,
        query: &mut Query<'_>,
    ) -> Result<Self, NoAddress> {
        if let Some(path) = part.strip_prefix("files/") {
            let path = decoded("path", path)?;
            return Ok(Self::File {
                session,
                path: RelativePath::parse(&path)
                    .map_err(|error| NoAddress::Part(format!("path: {error}")))?,
                checkpoint: query.checkpoint("checkpoint")?,
                offset: query.number("offset")?.unwrap_or(0),
            });
        }
        let comparison = part.strip_prefix("checkpoints/");
        if let Some(from) = comparison.and_then(|part| part.strip_suffix("/diff")) {
            return Ok(Self::Comparison {
                session,
                from: checkpoint("from", &decoded("from", from)?)?,
                to: query.checkpoint("to")?.unwrap_or(CheckpointName::Latest),
                offset: query.number("offset")?.unwrap_or(0),
            });
        }
        if let Some(sequence) = part.strip_prefix("events/") {
            return Ok(Self::Event {
                session,
                sequence: number("sequence", sequence).map(Sequence)?,
            });
        }
        match part {
            "" => Ok(Self::Session(session)),
            "events" => Ok(Self::Events {
                session,
                after: Sequence(query.number("after")?.unwrap_or(0)),
                limit: query.number("limit")?,
            }),
            "diff" => Ok(Self::Diff {
                session,
                turn: query.number("turn")?,
                after: Sequence(query.number("after")?.unwrap_or(0)),
            }),
            "checkpoints" => Ok(Self::Checkpoints {
                session,
                before: query.number("before")?,
            }),
            "timeline" => Ok(Self::Timeline(session)),
            "transcript" => Ok(Self::Transcript {
                session,
                after: Sequence(query.number("after")?.unwrap_or(0)),
            }),
            _ => Err(NoAddress::Unknown),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("shannon://")?;
        let mut query: Vec<(&str, String)> = Vec::new();
        match self {
            Self::Sessions { cursor } => {
                formatter.write_str("sessions")?;
                query.extend(cursor.clone().map(|cursor| ("cursor", cursor)));
            }
            Self::Session(session) => write!(formatter, "sessions/{session}")?,
            Self::Events {
                session,
                after,
                limit,
            } => {
                write!(formatter, "sessions/{session}/events")?;
                add(&mut query, "after", after.0);
                add(&mut query, "limit", limit.unwrap_or_default() as u64);
            }
            Self::Event { session, sequence } => {
                write!(formatter, "sessions/{session}/events/{sequence}")?;
            }
            Self::File {
                session,
                path,
                checkpoint,
                offset,
            } => {
                let path = utf8_percent_encode(path.as_str(), IN_PATH);
                write!(formatter, "sessions/{session}/files/{path}")?;
                if let Some(checkpoint) = checkpoint {
                    query.push(("checkpoint", checkpoint.as_str().to_owned()));
                }
                add(&mut query, "offset", *offset);
            }
            Self::Comparison {
                session,
                from,
                to,
                offset,
            } => {
                let from = from.as_str();
                write!(formatter, "sessions/{session}/checkpoints/{from}/diff")?;
                if *to != CheckpointName::Latest {
                    query.push(("to", to.as_str().to_owned()));
                }
                add(&mut query, "offset", *offset);
            }
            Self::Agents => formatter.write_str("agents")?,
            Self::Diff {
                session,
                turn,
                after,
            } => {
                write!(formatter, "sessions/{session}/diff")?;
                add(&mut query, "turn", u64::from(turn.unwrap_or_default()));
                add(&mut query, "after", after.0);
            }
            Self::Checkpoints { session, before } => {
                write!(formatter, "sessions/{session}/checkpoints")?;
                add(&mut query, "before", before.unwrap_or_default());
            }
            Self::Timeline(session) => write!(formatter, "sessions/{session}/timeline")?,
            Self::Transcript { session, after } => {
                write!(formatter, "sessions/{session}/transcript")?;
                add(&mut query, "after", after.0);
            }
            Self::Config => formatter.write_str("config")?,
        }
        let mut separator = '?';
        for (name, value) in query {
            let value = utf8_percent_encode(&value, IN_QUERY);
            write!(formatter, "{separator}{name}={value}")?;
            separator = '&';
        }
        Ok(())
    }
}

/// Nothing and nought are left out.
fn add(query: &mut Vec<(&str, String)>, name: &'static str, value: u64) {
    if value > 0 {
        query.push((name, value.to_string()));
    }
}

fn checkpoint(what: &str, text: &str) -> Result<CheckpointName, NoAddress> {
    CheckpointName::parse(text).map_err(|error| NoAddress::Part(format!("{what}: {error}")))
}

fn decoded<'a>(what: &str, text: &'a str) -> Result<Cow<'a, str>, NoAddress> {
    percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| NoAddress::Part(format!("{what}: it is not UTF-8")))
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, NoAddress> {
    // A sign would be accepted by the standard library.
    if text.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(number) = text.parse()
    {
        return Ok(number);
    }
    Err(NoAddress::Part(format!("{name}: use a whole number")))
}

/// What stands behind the question mark; each name may come once and must be asked for.
struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    fn parse(text: &'a str) -> Result<Self, NoAddress> {
        let mut pairs: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded("query", name)?;
            if pairs.iter().any(|(there, _)| *there == name) {
                return Err(NoAddress::Part(
                    "a name comes twice in the query".to_owned(),
                ));
            }
            pairs.push((name, decoded("query", value)?));
        }
        Ok(Self(pairs))
    }

    fn take(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let at = self.0.iter().position(|(there, _)| there == name)?;
        Some(self.0.remove(at).1)
    }

    /// An empty value is none: that is how a template is expanded without it.
    fn number<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, NoAddress> {
        match self.take(name) {
            Some(text) if !text.is_empty() => number(name, &text).map(Some),
            _ => Ok(None),
        }
    }

    fn checkpoint(&mut self, name: &str) -> Result<Option<CheckpointName>, NoAddress> {
        match self.take(name) {
            Some(text) if !text.is_empty() => checkpoint(name, &text).map(Some),
            _ => Ok(None),
        }
    }

    fn finish(self) -> Result<(), NoAddress> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(NoAddress::Part(
                "the query has a name that this resource does not know".to_owned(),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "ses_abcdefghijklmnopqrstuvwxyz";

    #[test]
    fn what_is_written_is_read_again() {
        let session = SessionId::parse(ID).expect("an id");
        for text in [
            "shannon://sessions".to_owned(),
            "shannon://sessions?cursor=bDE".to_owned(),
            "shannon://agents".to_owned(),
            "shannon://config".to_owned(),
            format!("shannon://sessions/{ID}/checkpoints/good/diff"),
            format!(
                "shannon://sessions/{ID}/checkpoints/chk_abcdefghijklmnopqrstuvwxyz/diff?to=v1.2&offset=9"
            ),
            format!("shannon://sessions/{ID}/files/a?checkpoint=latest&offset=5"),
            format!("shannon://sessions/{ID}"),
            format!("shannon://sessions/{ID}/events"),
            format!("shannon://sessions/{ID}/events?after=7&limit=2"),
            format!("shannon://sessions/{ID}/events/12"),
            format!("shannon://sessions/{ID}/diff?turn=2"),
            format!("shannon://sessions/{ID}/checkpoints"),
            format!("shannon://sessions/{ID}/checkpoints?before=9"),
            format!("shannon://sessions/{ID}/timeline"),
            format!("shannon://sessions/{ID}/transcript?after=3"),
            format!("shannon://sessions/{ID}/files/src/a%20b%3F%C3%A9.rs?offset=5"),
        ] {
            let address = Address::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.to_string(), text);
        }
        // As a template is expanded when nothing is given for its query, and unencoded.
        assert_eq!(
            Address::parse(&format!("shannon://sessions/{ID}/events?after=&limit=")),
            Ok(Address::Events {
                session: session.clone(),
                after: Sequence(0),
                limit: None
            })
        );
        assert_eq!(
            Address::parse(&format!("shannon://sessions/{ID}/files//workspace/é")),
            Ok(Address::File {
                session,
                path: RelativePath::parse("é").expect("a path"),
                checkpoint: None,
                offset: 0
            })
        );
    }

    #[test]
    fn nothing_else_is_an_address() {
        for (text, unknown) in [
            (String::new(), true),
            ("file:///etc/passwd".to_owned(), true),
            ("shannon://".to_owned(), true),
            ("shannon://other".to_owned(), true),
            ("SHANNON://config".to_owned(), true),
            (format!("shannon://sessions/{ID}/secrets"), true),
            ("shannon://sessions/".to_owned(), false),
            ("shannon://sessions/ses_x".to_owned(), false),
            (format!("shannon://sessions/{ID}/files/"), false),
            (format!("shannon://sessions/{ID}/files/../x"), false),
            (format!("shannon://sessions/{ID}/files/a/%2e%2e/x"), false),
            (format!("shannon://sessions/{ID}/files/%2Fetc"), false),
            (format!("shannon://sessions/{ID}/files/%ff"), false),
            (format!("shannon://sessions/{ID}/files/a%00"), false),
            (format!("shannon://sessions/{ID}/events?after=-1"), false),
            (format!("shannon://sessions/{ID}/events?after=+1"), false),
            (
                format!("shannon://sessions/{ID}/events?after=99999999999999999999"),
                false,
            ),
            (format!("shannon://sessions/{ID}/events?other=1"), false),
            (
                format!("shannon://sessions/{ID}/events?after=1&after=2"),
                false,
            ),
            (format!("shannon://sessions/{ID}/events/x"), false),
            (format!("shannon://sessions/{ID}?x"), false),
            (
                format!("shannon://sessions/{ID}/checkpoints?before=x"),
                false,
            ),
            (format!("shannon://sessions/{ID}/timeline?after=1"), false),
            (format!("shannon://sessions/{ID}/timeline/x"), true),
            (format!("shannon://sessions/{ID}/checkpoints/good"), true),
            ("shannon://agents/x".to_owned(), true),
            ("shannon://agents?x=1".to_owned(), false),
            (format!("shannon://sessions/{ID}/checkpoints//diff"), false),
            (
                format!("shannon://sessions/{ID}/checkpoints/a%2Fb/diff"),
                false,
            ),
            (
                format!("shannon://sessions/{ID}/checkpoints/chk_x/diff"),
                false,
            ),
            (
                format!("shannon://sessions/{ID}/checkpoints/a/diff?to=../x"),
                false,
            ),
            (
                format!("shannon://sessions/{ID}/files/a?checkpoint=chk_x"),
                false,
            ),
            (format!("shannon://sessions/{}", "x".repeat(20_000)), true),
        ] {
            let refused = Address::parse(&text).expect_err(&text);
            assert_eq!(refused == NoAddress::Unknown, unknown, "{text}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn any_path_comes_back(path in "[^\\x00]{1,60}") {
            if let Ok(path) = RelativePath::parse(&path) {
                let session = SessionId::parse(ID).expect("an id");
                let address = Address::File { session, path, checkpoint: None, offset: 0 };
                prop_assert_eq!(Address::parse(&address.to_string()), Ok(address));
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = Address::parse(&text);
            let _ = Address::parse(&format!("shannon://sessions/{ID}/{text}"));
        }
    }
}
