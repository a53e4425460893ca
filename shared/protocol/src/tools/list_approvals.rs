//! `list_approvals`: calls that wait for a person, and where the person decides.

use domain::use_cases::{self, GetError};
use domain::{Head, Principal};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::list_sessions::{cursor, position};
use super::{ASK_AGAIN, Definition, Done, Effect, Refused, key, refused, session_id_schema};
use crate::approval;
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "list_approvals",
    title: "List what waits for approval",
    description: "Lists tool calls of your sessions that wait until a person allows or denies them, each with the call, \
        why it does not run by itself, and the address of the page on which the person decides. Show your user the \
        address: no tool decides.",
    effect: Effect::Reads,
    input,
    output,
};

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "session_id": session_id_schema(),
            "cursor": {"type": "string", "description": "next_cursor of the page before."}
        }
    })
}

fn output() -> Value {
    let mut approval = approval::schema("A call that waits.");
    approval["properties"]["session_id"] = session_id_schema();
    approval["properties"]["session_title"] = json!({"type": "string"});
    if let Some(required) = approval["required"].as_array_mut() {
        required.extend([json!("session_id"), json!("session_title")]);
    }
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["approvals"],
        "properties": {
            "approvals": {"type": "array", "items": approval},
            "next_cursor": {"type": "string", "description": "Present when there may be more."}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: Option<String>,
    cursor: Option<String>,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let reader = principal.authorize().map_err(Refused::because)?;
    let unavailable = |error| Refused::unavailable(&error, ASK_AGAIN);
    let (heads, next) = match &input.session_id {
        Some(id) => {
            let key = key(principal, id)?;
            let head = use_cases::get_session(&work.ports, &reader, &key)
                .await
                .map_err(|error| refused!(error, GetError::Unavailable, ASK_AGAIN))?;
            let open = use_cases::open_question(&work.ports, &head)
                .await
                .map_err(unavailable)?;
            let waits = open.is_some_and(|open| open.approval.is_some());
            (Vec::from_iter(waits.then_some(head)), None)
        }
        None => {
            let after = match input.cursor.as_deref() {
                None => None,
                Some(text) => Some(position(text).ok_or_else(|| {
                    Refused::because("cursor: use next_cursor of the page before, as it was")
                })?),
            };
            let page = use_cases::list_approvals(&work.ports, &reader, after)
                .await
                .map_err(unavailable)?;
            (page.waiting, page.next)
        }
    };
    let listed: Vec<(Value, String)> = heads.iter().filter_map(|head| shown(work, head)).collect();
    let mut text: Vec<String> = listed.iter().map(|(_, words)| words.clone()).collect();
    if text.is_empty() {
        text.push("Nothing waits for approval.".to_owned());
    }
    let approvals: Vec<Value> = listed.into_iter().map(|(approval, _)| approval).collect();
    let mut structured = json!({"approvals": approvals});
    if let Some(next) = next {
        structured["next_cursor"] = cursor(&next).into();
        text.push("There may be more: call again with next_cursor.".to_owned());
    }
    Ok(Done::new(structured, text.join("\n\n")))
}

fn shown<P, F>(work: &Sessions<P, F>, head: &Head) -> Option<(Value, String)> {
    let question = head.question.as_ref()?;
    let request = question.approval.as_ref()?;
    let address = work.pages.address(&head.key, question, request);
    let mut shown = approval::shown(question, request, Some(&address));
    if let Some(shown) = shown.as_object_mut() {
        // Of many approvals it would be too much; get_session has it.
        shown.remove("preview");
    }
    shown["session_id"] = head.key.session.as_str().into();
    shown["session_title"] = head.title.as_str().into();
    let words = format!(
        "{} in session {} (\"{}\"): {}\n{}\nA person decides at {address}",
        question.id,
        head.key.session,
        head.title,
        approval::call(question, request),
        request.reason
    );
    Some((shown, words))
}
