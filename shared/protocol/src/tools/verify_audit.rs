//! `verify_audit`: computing the audit again, part by part.

use domain::audit::Finding;
use domain::chain::{Break, Walk};
use domain::ports::ListPosition;
use domain::use_cases::{self, AuditChecked, Check, CheckPosition};
use domain::{ChainDigest, Principal, Sequence, SessionId, UnixMillis};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{ASK_AGAIN, Definition, Done, Effect, Refused, session_id_schema};
use crate::timestamp::to_rfc3339;
use crate::work::{Ports, Sessions};

const DAY_MILLISECONDS: u64 = 24 * 60 * 60 * 1000;

pub(super) const DEFINITION: Definition = Definition {
    name: "verify_audit",
    title: "Verify the audit",
    description: "Computes a part of the audit again: each entry and its place in the chain, the logs of sessions, and \
        the signed ends of the chain in the bucket. Names what was changed, replaced, or is missing; no findings means \
        that the part is whole. When next_cursor is present there is more: call again with it until there is none.",
    effect: Effect::Administers,
    input,
    output,
};

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "deployment": {"type": "boolean", "default": false, "description": "The audit of the deployment (refused logins) instead of yours."},
            "cursor": {"type": "string", "description": "next_cursor of the part before."}
        }
    })
}

fn output() -> Value {
    let count = |of: &str| json!({"type": "integer", "description": format!("{of} that were computed again.")});
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["findings", "entries", "batches", "seals"],
        "properties": {
            "findings": {"type": "array", "items": {
                "type": "object",
                "additionalProperties": false,
                "required": ["what", "message"],
                "properties": {
                    "what": {"type": "string", "enum": ["changed", "replaced", "missing", "body", "other_log", "no_log", "unreadable", "signature", "other_than_sealed"]},
                    "message": {"type": "string", "description": "In words."},
                    "session_id": session_id_schema(),
                    "from": {"type": "integer", "description": "The number of the first entry, or the sequence of the first event of a session's log, that it is about."},
                    "to": {"type": "integer", "description": "The last one."}
                }
            }},
            "entries": count("Entries"),
            "batches": count("Batches of session logs"),
            "seals": count("Signed ends of the chain"),
            "next_cursor": {"type": "string", "description": "Present when there is more."}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    #[serde(default)]
    deployment: bool,
    cursor: Option<String>,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let administrator: domain::Authorized<domain::authorization::Administer> =
        principal.authorize().map_err(Refused::because)?;
    let position = match input.cursor.as_deref() {
        None => None,
        Some(text) => Some(read(text).ok_or_else(|| {
            Refused::because("cursor: use next_cursor of the part before, as it was")
        })?),
    };
    let check = Check {
        owner: (!input.deployment).then(|| administrator.owner()),
        key: work.pages.key(),
        retention_milliseconds: work.deployment.audit_retention_days * DAY_MILLISECONDS,
    };
    let checked = use_cases::verify_audit(&work.ports, check, position)
        .await
        .map_err(|error| Refused::unavailable(&error, ASK_AGAIN))?;
    if !checked.findings.is_empty() {
        // A metric is made of it.
        tracing::error!(
            shannon_audit_failures_total = checked.findings.len(),
            "the audit does not hold"
        );
    }
    Ok(shown(&checked))
}

fn shown(checked: &AuditChecked) -> Done {
    let findings: Vec<Value> = checked.findings.iter().map(finding).collect();
    let mut text: Vec<String> = findings
        .iter()
        .filter_map(|finding| finding["message"].as_str())
        .map(ToOwned::to_owned)
        .collect();
    let (entries, batches, seals) = (checked.entries, checked.links, checked.seals);
    text.push(format!(
        "{entries} entries, {batches} batches of session logs and {seals} seals were computed again: {}.",
        match findings.len() {
            0 => "all hold".to_owned(),
            1 => "1 finding".to_owned(),
            more => format!("{more} findings"),
        }
    ));
    let mut structured = json!({
        "findings": findings, "entries": entries, "batches": batches, "seals": seals,
    });
    if let Some(next) = &checked.next {
        let cursor = written(next);
        text.push(format!("There is more: call again with cursor {cursor}"));
        structured["next_cursor"] = cursor.into();
    }
    Done::new(structured, text.join("\n"))
}

fn finding(finding: &Finding) -> Value {
    let (what, from, to, session, message) = match finding {
        Finding::Chain(broken) => {
            let (what, from, to) = place(*broken);
            let words = match broken {
                Break::Changed { at } => format!("entry {at} was changed"),
                Break::Replaced { at } => {
                    format!(
                        "entry {at} does not follow the one before it: one of them was put there later"
                    )
                }
                Break::Missing { from, to } => format!("entries {from} to {to} are missing"),
            };
            (what, from, to, None, words)
        }
        Finding::Log {
            session,
            what: broken,
        } => {
            let (what, from, to) = place(*broken);
            let words = match broken {
                Break::Changed { at } => format!("the batch up to event {at} was changed"),
                Break::Replaced { at } => {
                    format!("the batch up to event {at} does not follow the one before it")
                }
                Break::Missing { from, to } => format!("events {from} to {to} are missing"),
            };
            (what, from, to, Some(session), format!("{session}: {words}"))
        }
        Finding::Body { session, at } => (
            "body",
            at.0,
            at.0,
            Some(session),
            format!("{session}: the long body of event {at} was changed, or is missing"),
        ),
        Finding::OtherLog { session, at, entry } => (
            "other_log",
            at.0,
            at.0,
            Some(session),
            format!(
                "{session}: its log up to event {at} is not the one that entry {entry} is about"
            ),
        ),
        Finding::NoLog { session, entry } => (
            "no_log",
            *entry,
            *entry,
            Some(session),
            format!(
                "{session}: entry {entry} is about its log, which is gone though nothing says that it was erased"
            ),
        ),
        Finding::Unreadable { entry } => (
            "unreadable",
            *entry,
            *entry,
            None,
            format!("entry {entry} cannot be read"),
        ),
        Finding::Signature { entry } => (
            "signature",
            *entry,
            *entry,
            None,
            format!("the seal of entry {entry} is not of this deployment, or was changed"),
        ),
        Finding::OtherThanSealed { entry, sealed_at } => (
            "other_than_sealed",
            *entry,
            *entry,
            None,
            format!(
                "entry {entry} is not the one that was sealed at {}",
                to_rfc3339(*sealed_at)
            ),
        ),
    };
    let mut shown = json!({"what": what, "message": message, "from": from, "to": to});
    if let Some(session) = session {
        shown["session_id"] = session.as_str().into();
    }
    shown
}

const fn place(broken: Break) -> (&'static str, u64, u64) {
    match broken {
        Break::Changed { at } => ("changed", at, at),
        Break::Replaced { at } => ("replaced", at, at),
        Break::Missing { from, to } => ("missing", from, to),
    }
}

/// Whoever changes a cursor gets another part of their own audit.
fn written(position: &CheckPosition) -> String {
    match position {
        CheckPosition::Entries(it) => format!("entries.{}", walk(it)),
        CheckPosition::Sessions(None) => "sessions".to_owned(),
        CheckPosition::Sessions(Some(it)) => format!("sessions.{}", session(it)),
        CheckPosition::Within {
            session: it,
            walk: at,
            end: (last, end),
        } => format!("log.{}.{}.{last}.{}", session(it), walk(at), digest(*end)),
    }
}

fn session(position: &ListPosition) -> String {
    format!("{}.{}", position.created_at.0, position.session)
}

fn walk(walk: &Walk) -> String {
    format!("{}.{}", walk.position, digest(walk.digest))
}

fn digest(digest: Option<ChainDigest>) -> String {
    digest.map_or("-".to_owned(), |digest| digest.to_string())
}

fn read(cursor: &str) -> Option<CheckPosition> {
    let digest = |text: &str| match text {
        "-" => Some(None),
        text => ChainDigest::parse(text).ok().map(Some),
    };
    let walk = |position: &str, of: &str| {
        Some(Walk {
            position: position.parse().ok()?,
            digest: digest(of)?,
        })
    };
    let session = |created_at: &str, id: &str| {
        Some(ListPosition {
            created_at: UnixMillis(created_at.parse().ok()?),
            session: SessionId::parse(id).ok()?,
        })
    };
    let parts: Vec<&str> = cursor.split('.').collect();
    match parts[..] {
        ["entries", position, of] => Some(CheckPosition::Entries(walk(position, of)?)),
        ["sessions"] => Some(CheckPosition::Sessions(None)),
        ["sessions", created_at, id] => {
            Some(CheckPosition::Sessions(Some(session(created_at, id)?)))
        }
        ["log", created_at, id, position, of, last, end] => Some(CheckPosition::Within {
            session: session(created_at, id)?,
            walk: walk(position, of)?,
            end: (Sequence(last.parse().ok()?), digest(end)?),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let some = ChainDigest::of(None, "c", 1, b"");
        let at = ListPosition {
            created_at: UnixMillis(5),
            session: SessionId::from_random([1; 17]),
        };
        let walk = Walk {
            position: 3,
            digest: Some(some),
        };
        for position in [
            CheckPosition::Entries(Walk::default()),
            CheckPosition::Entries(walk),
            CheckPosition::Sessions(None),
            CheckPosition::Sessions(Some(at.clone())),
            CheckPosition::Within {
                session: at,
                walk,
                end: (Sequence(9), None),
            },
        ] {
            assert_eq!(read(&written(&position)), Some(position));
        }
        for bad in [
            "",
            "entries",
            "entries.x.-",
            "entries.1.zz",
            "sessions.1.ses",
            "log.1.2.3",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
