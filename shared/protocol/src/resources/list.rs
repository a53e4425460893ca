//! `resources/list` and `resources/templates/list`.
//!
//! The list is what a person picks from: the fixed resources, then their sessions, newest first,
//! page by page. What lies inside a session is reached through the templates.

use domain::ports::{ListQuery, SessionDirectory};
use domain::use_cases::{self, ListError};
use domain::{Head, limits};
use rmcp::ErrorData;
use rmcp::model::{ListResourcesResult, PaginatedRequestParams, Resource, ResourceTemplate};
use serde_json::Value;

use super::{Address, administers, missing_scope, unavailable};
use crate::asked::Asked;
use crate::show;
use crate::tools::list_sessions::{cursor, position};

/// How long a list that names sessions may be taken for fresh. Own: as long as a person takes to
/// open it again.
const TTL_MS: u64 = 5_000;

/// A page of what can be read. Reads only.
pub(crate) async fn list<P: SessionDirectory>(
    ports: &P,
    asked: &Asked,
    page: Option<PaginatedRequestParams>,
) -> Result<ListResourcesResult, ErrorData> {
    let principal = &asked.principal;
    let after = page.and_then(|page| page.cursor);
    let reader = principal.authorize().map_err(missing_scope)?;
    let position = match after.as_deref() {
        None => None,
        Some(text) => Some(position(text).ok_or_else(|| {
            ErrorData::invalid_params("cursor: use nextCursor of the page before, as it was", None)
        })?),
    };
    let mut resources = Vec::new();
    if position.is_none() {
        resources.push(sessions());
        resources.push(agents());
        if administers(principal) {
            resources.push(config());
        }
    }
    let query = ListQuery {
        after: position,
        limit: limits::LIST_PAGE,
        ..ListQuery::default()
    };
    let page = use_cases::list_sessions(ports, &reader, &query)
        .await
        .map_err(|error| match error {
            ListError::Unavailable(error) => unavailable(&error),
            ListError::Limit => ErrorData::internal_error(error.to_string(), None),
        })?;
    resources.extend(page.heads.iter().map(session));
    let mut result = ListResourcesResult::with_all_items(resources);
    result.next_cursor = page.next.as_ref().map(cursor);
    result.ttl_ms = asked.modern.then_some(TTL_MS);
    Ok(result)
}

fn sessions() -> Resource {
    Resource::new(Address::Sessions { cursor: None }.to_string(), "sessions")
        .with_title("Sessions")
        .with_description("Your Claude Code sessions, newest first, ended ones included.")
        .with_mime_type(JSON)
}

fn agents() -> Resource {
    Resource::new(Address::Agents.to_string(), "agents")
        .with_title("Subagents of sessions")
        .with_description(
            "The kinds of subagents to which Claude Code gives parts of its work in a session, as the \
             newest runner reported them; none before the first session has started.",
        )
        .with_mime_type(JSON)
}

fn config() -> Resource {
    Resource::new(Address::Config.to_string(), "config")
        .with_title("Settings of the deployment")
        .with_description(
            "The settings in effect, where each comes from and what it means; secrets are not shown.",
        )
        .with_mime_type(JSON)
}

/// A session of the list, with the size that reading it now gives.
fn session(head: &Head) -> Resource {
    let title: Vec<char> = head.title.chars().take(80).collect();
    Resource::new(
        Address::Session(head.key.session.clone()).to_string(),
        head.key.session.as_str(),
    )
    .with_title(title.into_iter().collect::<String>())
    .with_description(show::session_line(head))
    .with_mime_type(JSON)
    .with_size(session_text(&show::session(head)).len() as u64)
}

/// The text of the resource of a session.
pub(super) fn session_text(session: &Value) -> String {
    format!("{session:#}")
}

pub(super) const JSON: &str = "application/json";
pub(crate) const DIFF: &str = "text/x-diff";
pub(super) const TEXT: &str = "text/plain";

/// Every template, in a fixed order.
pub(crate) static TEMPLATES: [Template; 9] = [
    Template {
        uri: "shannon://sessions/{id}",
        name: "session",
        title: "A session",
        description: "Where a session stands: state, cost so far, turns, waiting messages, what was asked for.",
        media_type: Some(JSON),
    },
    Template {
        uri: "shannon://sessions/{id}/events{?after,limit}",
        name: "session_events",
        title: "The log of a session",
        description: "What happened in a session, in order: messages, texts, tool calls with inputs and results, \
            changed files, costs. after is the sequence of the last event you know, limit at most 500; next is the \
            address of what follows.",
        media_type: Some(JSON),
    },
    Template {
        uri: "shannon://sessions/{id}/events/{sequence}",
        name: "session_event",
        title: "One event of a session, whole",
        description: "One event of the log with its whole body, also when the log shows only the beginning \
            (whole_body_bytes).",
        media_type: Some(JSON),
    },
    Template {
        uri: "shannon://sessions/{id}/files/{+path}{?checkpoint}",
        name: "session_file",
        title: "A file of a session",
        description: "A file of the session's workspace, relative to it: as it is while the session has a runner, else \
            as its newest checkpoint holds it; with checkpoint (an id, a name, or latest) as it was there. Links are not followed. A long file comes in pieces; next is the address \
            of the following one.",
        media_type: None,
    },
    Template {
        uri: "shannon://sessions/{id}/diff{?turn}",
        name: "session_diff",
        title: "What a session changed",
        description: "What the turns of a session did to its workspace, as patches in the order of the turns; of one \
            turn when it is given.",
        media_type: Some(DIFF),
    },
    Template {
        uri: "shannon://sessions/{id}/checkpoints{?before}",
        name: "session_checkpoints",
        title: "Checkpoints of a session",
        description: "The cuts of files and conversation that a session can be set back to or forked at, newest first; \
            next is the address of older ones.",
        media_type: Some(JSON),
    },
    Template {
        uri: "shannon://sessions/{id}/checkpoints/{from}/diff{?to}",
        name: "session_comparison",
        title: "What changed between two checkpoints",
        description: "What changed in the files of a session from one checkpoint (an id, a name, or latest) to \
            another, the latest when to is left out, as a unified patch; next is the address of what follows.",
        media_type: Some(DIFF),
    },
    Template {
        uri: "shannon://sessions/{id}/timeline",
        name: "session_timeline",
        title: "The tree of a session",
        description: "A session with those that it was forked from and those forked from it, and their checkpoints.",
        media_type: Some(JSON),
    },
    Template {
        uri: "shannon://sessions/{id}/transcript{?after}",
        name: "session_transcript",
        title: "What was said and done in a session",
        description: "The log of a session as text for a person, an event a paragraph; long texts are shortened, \
            secrets are not shown. next is the address of what follows.",
        media_type: Some(TEXT),
    },
];

/// One template.
pub(crate) struct Template {
    /// RFC 6570.
    pub(crate) uri: &'static str,
    name: &'static str,
    title: &'static str,
    description: &'static str,
    media_type: Option<&'static str>,
}

/// The templates as a client sees them.
pub(crate) fn templates() -> Vec<ResourceTemplate> {
    TEMPLATES
        .iter()
        .map(|template| {
            let shown = ResourceTemplate::new(template.uri, template.name)
                .with_title(template.title)
                .with_description(template.description);
            match template.media_type {
                Some(kind) => shown.with_mime_type(kind),
                None => shown,
            }
        })
        .collect()
}
