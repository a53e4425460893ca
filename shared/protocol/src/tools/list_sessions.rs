//! `list_sessions`: finding sessions again, newest first, page by page.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::ports::{ListPosition, ListQuery, SessionPage};
use domain::use_cases::{self, ListError};
use domain::{Principal, SessionId, State, UnixMillis, limits};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::get_session::session_schema;
use super::{ASK_AGAIN, Definition, Done, Effect, Refused, refused, state_schema};
use crate::resources::CONTENT_CHARACTERS;
use crate::show;
use crate::timestamp::from_rfc3339;
use crate::work::{Ports, Sessions};

const DEFAULT_LIMIT: usize = 20;

pub(super) const DEFINITION: Definition = Definition {
    name: "list_sessions",
    title: "List sessions",
    description: "Lists your Claude Code sessions, newest first, ended ones included. Narrow it down by states, tags \
        and time of creation. When next_cursor is present there are older ones: pass it as cursor with the same \
        filters.",
    effect: Effect::Reads,
    input,
    output,
};

pub(super) fn time_schema(description: &str) -> Value {
    json!({"type": ["string", "integer"], "minimum": 0, "description": description})
}

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "states": {"type": "array", "items": state_schema(), "description": "Only sessions in one of these states."},
            "tags": {"type": "array", "maxItems": limits::TAGS, "items": {"type": "string"}, "description": "Only sessions that have all of these tags."},
            "created_from": time_schema("Only sessions created at or after this time: RFC 3339 (2026-11-20T12:00:00Z) or milliseconds since 1970."),
            "created_before": time_schema("Only sessions created before this time, written likewise."),
            "limit": {"type": "integer", "minimum": 1, "maximum": limits::LIST_PAGE, "default": DEFAULT_LIMIT, "description": "Sessions on one page."},
            "cursor": {"type": "string", "description": "next_cursor of the page before."}
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["sessions"],
        "properties": {
            "sessions": {"type": "array", "items": session_schema()},
            "next_cursor": {"type": "string", "description": "Present when there are more."}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    #[serde(default)]
    states: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    created_from: Option<Time>,
    created_before: Option<Time>,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Time {
    UnixMillis(u64),
    Text(String),
}

impl Time {
    pub(super) fn read(self, field: &str) -> Result<UnixMillis, Refused> {
        match self {
            Self::UnixMillis(milliseconds) => Ok(UnixMillis(milliseconds)),
            Self::Text(text) => from_rfc3339(&text).ok_or_else(|| {
                Refused(format!(
                    "{field}: use RFC 3339, as 2026-11-20T12:00:00Z, or milliseconds since 1970"
                ))
            }),
        }
    }
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let reader = principal.authorize().map_err(Refused::because)?;
    let time = |time: Option<Time>, field| time.map(|time| time.read(field)).transpose();
    let query = ListQuery {
        // The schema has let only states through.
        states: input
            .states
            .iter()
            .filter_map(|state| State::parse(state))
            .collect(),
        tags: input.tags,
        created_from: time(input.created_from, "created_from")?,
        created_before: time(input.created_before, "created_before")?,
        after: match input.cursor.as_deref() {
            None => None,
            Some(cursor) => Some(position(cursor).ok_or_else(|| {
                Refused::because("cursor: use next_cursor of the page before, as it was")
            })?),
        },
        limit: input.limit.unwrap_or(DEFAULT_LIMIT),
    };
    let mut page = use_cases::list_sessions(&work.ports, &reader, &query)
        .await
        .map_err(|error| refused!(error, ListError::Unavailable, ASK_AGAIN))?;
    let sessions = fitting(&mut page);
    let mut text: Vec<String> = page.heads.iter().map(show::session_line).collect();
    if text.is_empty() {
        text.push("no sessions".to_owned());
    }
    let mut structured = json!({"sessions": sessions});
    if let Some(next) = &page.next {
        let cursor = cursor(next);
        text.push(format!("There are more: call again with cursor {cursor}"));
        structured["next_cursor"] = cursor.into();
    }
    Ok(Done::new(structured, text.join("\n")))
}

/// The sessions of the page as they are shown, as many as one answer takes; the page ends there.
pub(crate) fn fitting(page: &mut SessionPage) -> Vec<Value> {
    let mut characters = 0;
    let mut sessions = Vec::new();
    for head in &page.heads {
        let session = show::session(head);
        characters += show::characters(&session);
        if !sessions.is_empty() && characters > CONTENT_CHARACTERS / 2 {
            break;
        }
        sessions.push(session);
    }
    if sessions.len() < page.heads.len() {
        page.heads.truncate(sessions.len());
        page.next = page.heads.last().map(|last| ListPosition {
            created_at: last.created_at,
            session: last.key.session.clone(),
        });
    }
    sessions
}

/// Opaque to clients; says where the page ended.
pub(crate) fn cursor(position: &ListPosition) -> String {
    URL_SAFE_NO_PAD.encode(format!("l1.{}.{}", position.created_at.0, position.session))
}

/// Reads what [`cursor`] wrote; `None` for anything else.
pub(crate) fn position(cursor: &str) -> Option<ListPosition> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (created_at, session) = text.strip_prefix("l1.")?.split_once('.')?;
    let there = ListPosition {
        created_at: UnixMillis(created_at.parse().ok()?),
        session: SessionId::parse(session).ok()?,
    };
    // Signs and leading noughts are none of ours.
    (self::cursor(&there) == cursor).then_some(there)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_cursor_comes_back(created_at: u64, random: [u8; 17]) {
            let there = ListPosition {
                created_at: UnixMillis(created_at),
                session: SessionId::from_random(random),
            };
            prop_assert_eq!(position(&cursor(&there)), Some(there));
        }

        /// What is read is what we would have written: no two texts stand for one place.
        #[test]
        fn nothing_else_is_a_cursor(
            text in ".{0,60}",
            inside in "(l1\\.)?[0-9+-]{0,22}\\.(ses_)?[a-z2-7.]{0,30}",
        ) {
            for text in [text, URL_SAFE_NO_PAD.encode(inside)] {
                if let Some(there) = position(&text) {
                    prop_assert_eq!(cursor(&there), text);
                }
            }
        }
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is() {
        let there = ListPosition {
            created_at: UnixMillis(7),
            session: SessionId::from_random([1; 17]),
        };
        assert_eq!(position(&cursor(&there)).expect("ours"), there);
        for bad in ["", "made-up", "bDEuNy5zZXNf", "é", "bDEu"] {
            assert!(position(bad).is_none(), "{bad}");
        }
    }
}
