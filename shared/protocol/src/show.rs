//! Sessions and events as clients see them: as JSON, as one line, as a few lines of text.

mod commands;

use domain::event::{EventBody, TokenUsage, TurnEnd};
use domain::history::AbandonedRange;
use domain::workspace::{Workspace, WorkspaceSource};
use domain::{CommandId, Decision, Event, Head};
use serde_json::{Map, Value, json};

use crate::{approval, question};

/// Characters of one line for a person.
const LINE_CHARACTERS: usize = 200;
/// Characters of one text in the text form of an answer.
pub(crate) const TEXT_CHARACTERS: usize = 2000;

/// An event of the log.
pub(crate) fn event(event: &Event) -> Value {
    let mut shown = json!({
        "sequence": event.sequence.0,
        "turn": event.turn,
        "time_unix_ms": event.time.0,
        "kind": event.body.kind(),
        "body": body(&event.body),
    });
    if let Some(cause) = &event.cause {
        shown["message_id"] = cause.as_str().into();
    }
    if let Some(bytes) = event.whole_body_bytes {
        shown["whole_body_bytes"] = bytes.into();
    }
    shown
}

fn body(body: &EventBody) -> Value {
    match body {
        EventBody::SessionCreated | EventBody::MessageWithdrawn => json!({}),
        EventBody::RunnerStarted { task, isolation } => {
            json!({"task": task, "isolation": isolation})
        }
        EventBody::WorkspaceReady {
            source,
            files,
            bytes,
            commit,
        } => compact(json!({"source": source, "files": files, "bytes": bytes, "commit": commit})),
        EventBody::SessionReady {
            claude_version,
            claude_session_id,
        } => json!({"claude_version": claude_version, "claude_session_id": claude_session_id}),
        EventBody::MessageTaken { text } | EventBody::Thinking { text } => json!({"text": text}),
        EventBody::TurnStarted { model } => compact(json!({"model": model})),
        EventBody::Text { text, agent } => compact(json!({"text": text, "agent": agent})),
        EventBody::ToolCall {
            tool_use_id,
            tool,
            input,
            agent,
        } => {
            // A preview of a long input is cut JSON: then it is text.
            let input = serde_json::from_str(input).unwrap_or_else(|_| Value::from(input.as_str()));
            compact(
                json!({"tool_use_id": tool_use_id, "tool": tool, "input": input, "agent": agent}),
            )
        }
        EventBody::ToolResult {
            tool_use_id,
            is_error,
            text,
        } => json!({"tool_use_id": tool_use_id, "is_error": is_error, "text": text}),
        EventBody::ToolAllowed {
            tool_use_id,
            tool,
            policies,
        } => json!({"tool_use_id": tool_use_id, "tool": tool, "policies": policies}),
        EventBody::ToolDenied {
            tool_use_id,
            tool,
            reason,
            policies,
        } => {
            json!({"tool_use_id": tool_use_id, "tool": tool, "reason": reason, "policies": policies})
        }
        EventBody::Retry {
            attempt,
            attempts,
            delay_milliseconds,
            status,
            message,
        } => compact(json!({
            "attempt": attempt,
            "attempts": attempts,
            "delay_ms": delay_milliseconds,
            "status": status,
            "message": message,
        })),
        EventBody::TurnEnded(end) => turn_end(end),
        EventBody::FilesChanged { files, patch } => {
            let files: Vec<Value> = files
                .iter()
                .map(|file| {
                    compact(json!({
                        "path": file.path,
                        "change": file.change.as_str(),
                        "added_lines": file.added_lines,
                        "removed_lines": file.removed_lines,
                    }))
                })
                .collect();
            json!({"files": files, "patch": patch})
        }
        EventBody::CommandStarted { .. } | EventBody::CommandEnded { .. } => commands::body(body),
        EventBody::Notice { code, message } => json!({"code": code, "message": message}),
        EventBody::SessionForked {
            parent,
            checkpoint,
            what,
        } => json!({
            "parent_session_id": parent.as_str(),
            "checkpoint_id": checkpoint.as_str(),
            "what": what.as_str(),
        }),
        EventBody::CheckpointCreated {
            checkpoint,
            ordinal,
            trigger,
            files,
            bytes,
            new_bytes,
            message,
            cut_sequence,
        } => compact(json!({
            "checkpoint_id": checkpoint.as_str(),
            "ordinal": ordinal,
            "trigger": trigger.as_str(),
            "files": files,
            "bytes": bytes,
            "new_bytes": new_bytes,
            "message": message,
            "cut_sequence": cut_sequence.map(|cut| cut.0),
        })),
        EventBody::RunnerLost { reason } => json!({"reason": reason}),
        EventBody::SessionResumed {
            checkpoint,
            cut_sequence,
            abandoned,
            redone,
        } => compact(json!({
            "checkpoint_id": checkpoint.as_ref().map(|it| it.as_str()),
            "cut_sequence": cut_sequence.0,
            "abandoned_from": abandoned.map(|range| range.from.0),
            "abandoned_to": abandoned.map(|range| range.to.0),
            "redone": names(redone),
        })),
        EventBody::Rewound {
            checkpoint,
            what,
            kept_as,
            abandoned,
            not_done,
        } => compact(json!({
            "checkpoint_id": checkpoint.as_str(),
            "what": what.as_str(),
            "kept_as": kept_as.as_ref().map(|it| it.as_str()),
            "abandoned_from": abandoned.map(|range| range.from.0),
            "abandoned_to": abandoned.map(|range| range.to.0),
            "not_done": names(not_done),
        })),
        EventBody::QuestionAsked {
            question,
            tool_use_id,
            input,
        } => {
            let input = serde_json::from_str(input).unwrap_or_else(|_| Value::from(input.as_str()));
            json!({
                "question_id": question.as_str(),
                "tool_use_id": tool_use_id,
                "input": input,
            })
        }
        EventBody::QuestionAnswered { question, answers } => {
            let answers =
                serde_json::from_str(answers).unwrap_or_else(|_| Value::from(answers.as_str()));
            json!({"question_id": question.as_str(), "answers": answers})
        }
        EventBody::ApprovalRequested {
            approval,
            tool_use_id,
            input,
            request,
        } => {
            let input = serde_json::from_str(input).unwrap_or_else(|_| Value::from(input.as_str()));
            let mut shown = approval::facts(request);
            shown["approval_id"] = approval.as_str().into();
            shown["tool_use_id"] = tool_use_id.as_str().into();
            shown["input"] = input;
            shown
        }
        EventBody::ApprovalDecided {
            approval,
            digest,
            decision,
            way,
        } => {
            let mut shown = approval::decision(decision);
            shown["approval_id"] = approval.as_str().into();
            shown["digest"] = digest.as_str().into();
            shown["way"] = way.as_str().into();
            shown
        }
        EventBody::StateChanged { from, to } => json!({"from": from.as_str(), "to": to.as_str()}),
        EventBody::SessionEnded {
            state,
            reason,
            unfinished,
        } => {
            json!({"state": state.as_str(), "reason": reason, "unfinished": names(unfinished)})
        }
    }
}

fn names(ids: &[CommandId]) -> Vec<&str> {
    ids.iter().map(|id| id.as_str()).collect()
}

/// How a turn ended.
pub(crate) fn turn_end(end: &TurnEnd) -> Value {
    compact(json!({
        "subtype": end.subtype,
        "is_error": end.is_error,
        "text": end.text,
        "terminal_reason": end.terminal_reason,
        "total_cost_usd": end.total_cost_usd,
        "duration_ms": end.duration_milliseconds,
        "model_turns": end.model_turns,
        "usage": usage(end.usage),
        "messages": names(&end.messages),
    }))
}

fn usage(usage: TokenUsage) -> Value {
    json!({
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_creation_input_tokens": usage.cache_creation_input_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
    })
}

/// A session.
pub(crate) fn session(head: &Head) -> Value {
    let asked = head.question.as_ref();
    compact(json!({
        "session_id": head.key.session.as_str(),
        "title": head.title,
        "state": head.state.as_str(),
        "end_reason": head.end_reason,
        "created_at_unix_ms": head.created_at.0,
        "updated_at_unix_ms": head.updated_at.0,
        "turn": head.turn,
        "last_sequence": head.last_sequence.0,
        "pending_messages": head.queued(),
        "total_cost_usd": head.total_cost_usd,
        "workspace": workspace(&head.spec.workspace),
        "model": head.spec.model,
        "permission_mode": head.spec.permission_mode.as_str(),
        "tier": head.spec.tier.as_str(),
        "max_turns": head.spec.max_turns,
        "max_budget_usd": head.spec.max_budget_usd,
        "tags": head.spec.tags,
        "checkpoint_strategy": head.spec.checkpoint_strategy.map(|it| it.as_str()),
        "checkpoint_ignore": head.spec.checkpoint_ignore,
        "claude_session_id": head.claude_session_id,
        "question": asked.filter(|it| it.approval.is_none()).map(question::shown),
        "approval": asked.and_then(|it| {
            let mut shown = approval::shown(it, it.approval.as_ref()?, None);
            // Of many sessions it would be too much.
            shown.as_object_mut()?.remove("preview");
            Some(shown)
        }),
        "latest_checkpoint": head.checkpoint.as_ref().map(|it| it.as_str()),
        "parent_session_id": head.parent.as_ref().map(|it| it.session.as_str()),
    }))
}

fn workspace(workspace: &Workspace) -> Value {
    let mut shown = json!({"source": workspace.source.kind()});
    match &workspace.source {
        WorkspaceSource::Empty => {}
        WorkspaceSource::Git { url, reference } => {
            shown["git_url"] = redact::Redactor::default().clean(url.as_str()).into();
            shown["git_ref"] = reference.as_ref().map(|it| it.as_str()).into();
        }
        WorkspaceSource::Directory { path } => shown["directory"] = path.as_str().into(),
        WorkspaceSource::Upload(upload) => shown["upload_id"] = upload.as_str().into(),
    }
    shown["subdirectory"] = workspace.subdirectory.as_ref().map(|it| it.as_str()).into();
    compact(shown)
}

/// Leaves out what is not there.
fn compact(value: Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(
            object
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .collect::<Map<_, _>>(),
        ),
        other => other,
    }
}

/// A session in one line.
pub(crate) fn session_line(head: &Head) -> String {
    let mut line = format!(
        "{} {} \"{}\" turn {} ${:.4}",
        head.key.session, head.state, head.title, head.turn, head.total_cost_usd
    );
    if let Some(reason) = &head.end_reason {
        line.push_str(": ");
        line.push_str(&cut(reason, LINE_CHARACTERS));
    }
    line
}

/// How a turn ended, in one line.
pub(crate) fn turn_ended(end: &TurnEnd) -> String {
    format!(
        "turn ended: {}{}, {:.1} s, session cost ${:.4}",
        end.subtype,
        end.terminal_reason
            .as_ref()
            .map(|reason| format!(" ({reason})"))
            .unwrap_or_default(),
        seconds(end.duration_milliseconds),
        end.total_cost_usd
    )
}

fn seconds(milliseconds: u64) -> f64 {
    std::time::Duration::from_millis(milliseconds).as_secs_f64()
}

/// An event in one line that a person can read.
pub(crate) fn line(event: &Event) -> String {
    cut(
        &text(&event.body).replace(['\n', '\r', '\t'], " "),
        LINE_CHARACTERS,
    )
}

/// An event in the text form of an answer: long texts are shortened, since they stand in full in
/// the structured form.
pub(crate) fn paragraph(event: &Event) -> String {
    format!(
        "[{}] {}",
        event.sequence,
        cut(&text(&event.body), TEXT_CHARACTERS)
    )
}

fn text(body: &EventBody) -> String {
    match body {
        EventBody::SessionCreated => "session created".to_owned(),
        EventBody::RunnerStarted { isolation, .. } => {
            format!("runner started (isolation: {isolation})")
        }
        EventBody::WorkspaceReady {
            source,
            files,
            bytes,
            commit,
        } => format!(
            "workspace ready: {source}, {files} files, {bytes} bytes{}",
            commit
                .as_ref()
                .map(|commit| format!(", commit {commit}"))
                .unwrap_or_default()
        ),
        EventBody::SessionReady { claude_version, .. } => {
            format!("Claude Code {claude_version} is ready")
        }
        EventBody::MessageTaken { text } => format!("user: {text}"),
        EventBody::MessageWithdrawn => "message withdrawn".to_owned(),
        EventBody::TurnStarted { model } => match model {
            Some(model) => format!("turn started with {model}"),
            None => "turn started".to_owned(),
        },
        EventBody::Text { text, .. } => format!("assistant: {text}"),
        EventBody::Thinking { text } => format!("thinking: {text}"),
        EventBody::ToolCall { tool, input, .. } => format!("tool {tool}: {input}"),
        EventBody::ToolResult { is_error, text, .. } => {
            let kind = if *is_error {
                "tool failed"
            } else {
                "tool result"
            };
            format!("{kind}: {text}")
        }
        EventBody::ToolAllowed { tool, .. } => format!("tool {tool} allowed"),
        EventBody::ToolDenied { tool, reason, .. } => format!("tool {tool} denied: {reason}"),
        EventBody::Retry {
            attempt,
            attempts,
            delay_milliseconds,
            message,
            ..
        } => format!(
            "model request {attempt} of {attempts} failed ({message}), next in {:.1} s",
            seconds(*delay_milliseconds)
        ),
        EventBody::TurnEnded(end) => turn_ended(end),
        EventBody::FilesChanged { files, .. } => {
            let names: Vec<String> = files
                .iter()
                .map(|file| format!("{} {}", file.change.as_str(), file.path))
                .collect();
            format!("files changed: {}", names.join(", "))
        }
        EventBody::CommandStarted { .. } | EventBody::CommandEnded { .. } => commands::text(body),
        EventBody::Notice { code, message } => format!("notice {code}: {message}"),
        EventBody::SessionForked {
            parent, checkpoint, ..
        } => format!("forked from {parent} at {checkpoint}"),
        EventBody::CheckpointCreated {
            checkpoint,
            ordinal,
            new_bytes,
            message,
            ..
        } => format!(
            "checkpoint {ordinal} ({checkpoint}), {new_bytes} new bytes{}",
            message
                .as_ref()
                .map(|message| format!(": {message}"))
                .unwrap_or_default()
        ),
        EventBody::RunnerLost { reason } => format!("runner lost: {reason}"),
        EventBody::SessionResumed {
            checkpoint,
            abandoned,
            redone,
            ..
        } => format!(
            "resumed {}{}{}",
            checkpoint
                .as_ref()
                .map_or("from the beginning".to_owned(), |it| format!("from {it}")),
            abandoned_words(*abandoned),
            if redone.is_empty() {
                String::new()
            } else {
                format!("; done again: {}", names(redone).join(", "))
            }
        ),
        EventBody::Rewound {
            checkpoint,
            kept_as,
            abandoned,
            ..
        } => format!(
            "set back to {checkpoint}{}{}",
            abandoned_words(*abandoned),
            kept_as
                .as_ref()
                .map(|name| format!("; what was there is kept as {name}"))
                .unwrap_or_default()
        ),
        EventBody::QuestionAsked {
            question, input, ..
        } => format!("question {question}: {input}"),
        EventBody::QuestionAnswered { question, answers } => {
            format!("answer to {question}: {answers}")
        }
        EventBody::ApprovalRequested {
            approval,
            input,
            request,
            ..
        } => format!("{} needs approval ({approval}): {input}", request.tool),
        EventBody::ApprovalDecided {
            approval,
            decision,
            way,
            ..
        } => match decision {
            Decision::Deny { reason } if !reason.is_empty() => {
                format!("approval {approval}: deny ({}): {reason}", way.as_str())
            }
            decision => format!(
                "approval {approval}: {} ({})",
                decision.kind(),
                way.as_str()
            ),
        },
        EventBody::StateChanged { from, to } => format!("{from} → {to}"),
        EventBody::SessionEnded { state, reason, .. } => format!("session {state}: {reason}"),
    }
}

fn abandoned_words(range: Option<AbandonedRange>) -> String {
    range
        .map(|range| format!("; events {} to {} are abandoned", range.from, range.to))
        .unwrap_or_default()
}

/// At most that many characters; what was cut shows as an ellipsis.
pub(crate) fn cut(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        text.to_owned()
    } else {
        text.chars()
            .take(characters.saturating_sub(1))
            .chain(['…'])
            .collect()
    }
}

/// Characters of a value as JSON.
pub(crate) fn characters(value: &Value) -> usize {
    value.to_string().chars().count()
}

/// Shortens every text inside `value` until the whole has at most about `budget` characters.
/// Whether anything was shortened is for the caller to say.
pub(crate) fn shorten(value: &mut Value, budget: usize) -> bool {
    let (mut longest, mut items) = (budget / 2, 64);
    let mut shortened = false;
    while characters(value) > budget && longest >= 16 {
        shortened |= cut_texts(value, longest, items);
        longest /= 2;
        items = (items / 2).max(2);
    }
    shortened
}

fn cut_texts(value: &mut Value, longest: usize, items: usize) -> bool {
    match value {
        Value::String(text) if text.chars().count() > longest => {
            *text = cut(text, longest);
            true
        }
        Value::Array(array) => {
            let cut_here = array.len() > items;
            array.truncate(items);
            array
                .iter_mut()
                .fold(cut_here, |cut, item| cut_texts(item, longest, items) | cut)
        }
        Value::Object(object) => object
            .values_mut()
            .fold(false, |cut, item| cut_texts(item, longest, items) | cut),
        _ => false,
    }
}
