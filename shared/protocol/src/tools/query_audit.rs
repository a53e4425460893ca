//! `query_audit`: what was decided, refused and done, by session and time.

use domain::audit::{AuditEntry, Fact, FactKind, Subject};
use domain::use_cases::{self, QueryAudit};
use domain::{Principal, SessionId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::list_sessions::{Time, time_schema};
use super::{ASK_AGAIN, Definition, Done, Effect, Refused, session_id_schema};
use crate::timestamp::to_rfc3339;
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "query_audit",
    title: "Look into the audit",
    description: "Lists entries of the audit, newest first: messages that sessions took, tool calls, and whether they were let go or refused, with the \
        policies that decided, approvals asked for and decided, ends and erasures, and changes of stored policies. With \
        deployment: true those of the deployment, API keys that were made and revoked, and the refused logins by \
        source and minute. It says what happened and not what was said: get_session has the words for as \
        long as the session is kept. verify_audit says whether anything was changed.",
    effect: Effect::Administers,
    input,
    output,
};

fn input() -> Value {
    let kinds: Vec<&str> = FactKind::ALL.iter().map(|kind| kind.as_str()).collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "session_id": session_id_schema(),
            "kinds": {"type": "array", "items": {"type": "string", "enum": kinds}, "description": "Only facts of these kinds. command: a message or an answer was taken; call: the model asked for a tool; allowance: the gate let it go; denial: the gate refused it; request: a person was asked to decide; decision: they did, or their time was over; end: the session ended."},
            "from": time_schema("Nothing before this time: RFC 3339 (2026-11-20T12:00:00Z) or milliseconds since 1970."),
            "to": time_schema("Nothing after this time, written likewise."),
            "deployment": {"type": "boolean", "default": false, "description": "The audit of the deployment (API keys, refused logins) instead of yours."},
            "cursor": {"type": "integer", "minimum": 1, "description": "next_cursor of the page before."}
        }
    })
}

fn output() -> Value {
    let text = || json!({"type": "string"});
    let time = || json!({"type": "integer", "description": "Milliseconds since 1970."});
    let kinds: Vec<&str> = FactKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let fact = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["sequence", "time_unix_ms", "kind"],
        "properties": {
            "sequence": {"type": "integer", "description": "The event of the session's log."},
            "time_unix_ms": time(),
            "kind": {"type": "string", "enum": kinds},
            "about": {"type": "string", "description": "The call, message, question or approval, by its id."},
            "tool": text(),
            "call_sha256": {"type": "string", "description": "Which call was decided on, as list_approvals shows it."},
            "outcome": {"type": "string", "description": "As allow_once, deny, expire; completed, failed."},
            "way": {"type": "string", "description": "By which way a person decided: page, elicitation, or clock when their time was over."},
            "policies": {"type": "array", "items": text()}
        }
    });
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["entries"],
        "properties": {
            "entries": {"type": "array", "items": {
                "type": "object",
                "additionalProperties": false,
                "required": ["number", "time_unix_ms", "digest", "subject"],
                "properties": {
                    "number": {"type": "integer", "description": "Its place in the chain."},
                    "time_unix_ms": time(),
                    "digest": {"type": "string", "description": "SHA-256 of the entry and, through the one before, of all before it."},
                    "subject": {"type": "string", "enum": ["log", "erased", "policy", "key", "git_credential", "refused", "unreadable"]},
                    "session_id": session_id_schema(),
                    "first_sequence": {"type": "integer", "description": "The first event of the piece of the log that the entry is about."},
                    "last_sequence": {"type": "integer", "description": "The last one."},
                    "log_digest": {"type": "string", "description": "The digest of the session's log up to there."},
                    "facts": {"type": "array", "items": fact},
                    "policy": {"type": "string", "description": "The stored policy that was changed."},
                    "version": {"type": "integer", "description": "The version that was stored, or removed."},
                    "policy_sha256": {"type": "string", "description": "SHA-256 of its text."},
                    "removed": {"type": "boolean", "description": "The policy or the credential was removed, the key revoked."},
                    "changed_by": {"type": "string", "description": "The owner id of who changed the policy, the key or the credential."},
                    "key_id": {"type": "string", "description": "The API key that was made, or revoked."},
                    "key_name": {"type": "string", "description": "What it is called."},
                    "key_owner": {"type": "string", "description": "The owner id of whom its holder acts for."},
                    "git_host": {"type": "string", "description": "The host for which a git credential was stored, or removed."},
                    "scopes": {"type": "array", "items": text(), "description": "What a new key allows."},
                    "expires_at_unix_ms": time(),
                    "source": {"type": "string", "description": "Where refused requests came from."},
                    "minute_unix_ms": time(),
                    "count": {"type": "integer", "description": "How many were refused in that minute."}
                }
            }},
            "next_cursor": {"type": "integer", "description": "Present when there may be more."}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: Option<String>,
    #[serde(default)]
    kinds: Vec<String>,
    from: Option<Time>,
    to: Option<Time>,
    #[serde(default)]
    deployment: bool,
    cursor: Option<u64>,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let administrator = principal.authorize().map_err(Refused::because)?;
    let time = |time: Option<Time>, field| time.map(|time| time.read(field)).transpose();
    let session = input.session_id.as_deref().map(SessionId::parse);
    let query = QueryAudit {
        deployment: input.deployment,
        session: session.transpose().map_err(Refused::because)?,
        from: time(input.from, "from")?,
        to: time(input.to, "to")?,
        // The schema has let only kinds through.
        kinds: input
            .kinds
            .iter()
            .filter_map(|kind| FactKind::parse(kind))
            .collect(),
        before: input.cursor,
    };
    let page = use_cases::query_audit(&work.ports, &administrator, &query)
        .await
        .map_err(|error| Refused::unavailable(&error, ASK_AGAIN))?;
    let mut text: Vec<String> = page.entries.iter().map(words).collect();
    if text.is_empty() {
        text.push("No entries.".to_owned());
    }
    let entries: Vec<Value> = page.entries.iter().map(shown).collect();
    let mut structured = json!({"entries": entries});
    if let Some(next) = page.next {
        structured["next_cursor"] = next.into();
        text.push(format!("There may be more: call again with cursor {next}"));
    }
    Ok(Done::new(structured, text.join("\n")))
}

fn shown(entry: &AuditEntry) -> Value {
    let mut shown = json!({
        "number": entry.number(),
        "time_unix_ms": entry.time.0,
        "digest": entry.link.stored.to_string(),
    });
    if let Some(session) = entry.subject.session() {
        shown["session_id"] = session.as_str().into();
    }
    match &entry.subject {
        Subject::Log(piece) => {
            shown["subject"] = "log".into();
            shown["first_sequence"] = piece.first.0.into();
            shown["last_sequence"] = piece.last.0.into();
            shown["log_digest"] = piece.digest.to_string().into();
            shown["facts"] = piece.facts.iter().map(fact).collect();
        }
        Subject::Erased { last, digest, .. } => {
            shown["subject"] = "erased".into();
            shown["last_sequence"] = last.0.into();
            if let Some(digest) = digest {
                shown["log_digest"] = digest.to_string().into();
            }
        }
        Subject::Policy(change) => {
            shown["subject"] = "policy".into();
            shown["policy"] = change.name.as_str().into();
            shown["version"] = change.version.into();
            match &change.digest {
                Some(digest) => shown["policy_sha256"] = digest.as_str().into(),
                None => shown["removed"] = true.into(),
            }
            shown["changed_by"] = change.by.as_str().into();
        }
        Subject::Key(change) => {
            shown["subject"] = "key".into();
            shown["key_id"] = change.key.as_str().into();
            shown["key_name"] = change.name.as_str().into();
            shown["key_owner"] = change.owner.as_str().into();
            match &change.made {
                Some(terms) => {
                    shown["scopes"] = json!(terms.scopes);
                    shown["expires_at_unix_ms"] = terms.expires_at.0.into();
                }
                None => shown["removed"] = true.into(),
            }
            shown["changed_by"] = change.by.as_str().into();
        }
        Subject::GitCredential(change) => {
            shown["subject"] = "git_credential".into();
            shown["git_host"] = change.host.as_str().into();
            if !change.stored {
                shown["removed"] = true.into();
            }
            shown["changed_by"] = change.by.as_str().into();
        }
        Subject::Refused(refusals) => {
            shown["subject"] = "refused".into();
            shown["source"] = refusals.source.as_str().into();
            shown["minute_unix_ms"] = refusals.minute.0.into();
            shown["count"] = refusals.count.into();
        }
        Subject::Unreadable => shown["subject"] = "unreadable".into(),
    }
    shown
}

fn fact(fact: &Fact) -> Value {
    let mut shown = json!({
        "sequence": fact.sequence.0,
        "time_unix_ms": fact.time.0,
        "kind": fact.kind.as_str(),
    });
    let texts = [
        ("about", fact.about.as_deref()),
        ("tool", fact.tool.as_deref()),
        ("call_sha256", fact.call.as_deref()),
        ("outcome", fact.outcome.as_deref()),
        ("way", fact.way.map(domain::approval::Way::as_str)),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            shown[name] = text.into();
        }
    }
    if !fact.policies.is_empty() {
        shown["policies"] = json!(fact.policies);
    }
    shown
}

fn words(entry: &AuditEntry) -> String {
    let time = to_rfc3339(entry.time);
    let number = entry.number();
    match &entry.subject {
        Subject::Log(piece) => {
            let facts: Vec<String> = piece.facts.iter().map(fact_words).collect();
            format!(
                "{number} {time} {} events {}-{}: {}",
                piece.session,
                piece.first,
                piece.last,
                facts.join("; ")
            )
        }
        Subject::Erased { session, .. } => format!("{number} {time} {session} was erased"),
        Subject::Policy(change) => {
            let (name, by) = (&change.name, &change.by);
            match change.digest {
                None => format!("{number} {time} policy {name} was removed by {by}"),
                Some(_) => {
                    let version = change.version;
                    format!("{number} {time} policy {name} version {version} was stored by {by}")
                }
            }
        }
        Subject::Key(change) => {
            let (key, name, by) = (&change.key, &change.name, &change.by);
            match &change.made {
                None => format!("{number} {time} API key {key} ({name}) was revoked by {by}"),
                Some(terms) => {
                    let (owner, scopes) = (&change.owner, terms.scopes.join(" "));
                    format!(
                        "{number} {time} API key {key} ({name}) was made by {by} for {owner}: {scopes}"
                    )
                }
            }
        }
        Subject::GitCredential(change) => {
            let (host, by) = (&change.host, &change.by);
            let done = if change.stored { "stored" } else { "removed" };
            format!("{number} {time} the git credential for {host} was {done} by {by}")
        }
        Subject::Refused(refusals) => format!(
            "{number} {time} {} refused from {} in the minute of {}",
            refusals.count,
            refusals.source,
            to_rfc3339(refusals.minute)
        ),
        Subject::Unreadable => format!("{number} cannot be read: verify_audit says more"),
    }
}

fn fact_words(fact: &Fact) -> String {
    let mut words = fact.kind.as_str().to_owned();
    let parts = [
        fact.tool.as_deref(),
        fact.outcome.as_deref(),
        fact.about.as_deref(),
    ];
    for part in parts.into_iter().flatten() {
        words.push(' ');
        words.push_str(part);
    }
    if !fact.policies.is_empty() {
        words.push_str(&format!(" ({})", fact.policies.join(", ")));
    }
    words
}
