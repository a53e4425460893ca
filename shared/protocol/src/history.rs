//! Checkpoints and trees of sessions as clients see them.

use domain::checkpoint::CheckpointRef;
use domain::use_cases::{CheckpointPage, FindCheckpointError, Timeline, TimelineSession};
use domain::{Checkpoint, SessionId};
use serde_json::{Value, json};

use crate::resources::CONTENT_CHARACTERS;
use crate::show;
use crate::snapshots::SnapshotError;
use crate::timestamp::to_rfc3339;
use crate::tools::{ASK_AGAIN, Refused};

/// Characters of a checkpoint's message where many are shown.
const MESSAGE_CHARACTERS: usize = 100;
/// Forks of forks are indented up to here.
const MOST_DEPTH: usize = 8;

/// A checkpoint in the results of tools.
pub(crate) fn checkpoint_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["checkpoint_id", "ordinal", "created_at_unix_ms", "trigger", "turn", "sequence", "files", "bytes", "new_bytes", "tags", "pinned", "refs"],
        "properties": {
            "checkpoint_id": {"type": "string"},
            "ordinal": {"type": "integer", "description": "Its place among those of the session, from 1."},
            "created_at_unix_ms": {"type": "integer"},
            "trigger": {"type": "string", "description": "What it was taken for: turn, tool, interval, suspend, stop, request, fork or rewind."},
            "parent": {"type": "string", "description": "The checkpoint before it."},
            "turn": {"type": "integer", "description": "Turns started within the cut."},
            "sequence": {"type": "integer", "description": "The last event of the log within the cut."},
            "files": {"type": "integer"},
            "bytes": {"type": "integer", "description": "Of all files."},
            "new_bytes": {"type": "integer", "description": "Stored for it, compressed; the rest is shared with earlier ones."},
            "message": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "pinned": {"type": "boolean"},
            "refs": {"type": "array", "items": {"type": "string"}, "description": "Names given to it."}
        }
    })
}

/// How an argument names a checkpoint.
pub(crate) fn checkpoint_name_schema(what: &str) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 64, "description": format!("{what}: its id (chk_…), a name given to it, or latest.")})
}

pub(crate) fn checkpoint(checkpoint: &Checkpoint, refs: &[CheckpointRef]) -> Value {
    let mut shown = json!({
        "checkpoint_id": checkpoint.id.as_str(),
        "ordinal": checkpoint.ordinal,
        "created_at_unix_ms": checkpoint.created_at.0,
        "trigger": checkpoint.trigger.as_str(),
        "turn": checkpoint.turn,
        "sequence": checkpoint.sequence.0,
        "files": checkpoint.size.files,
        "bytes": checkpoint.size.bytes,
        "new_bytes": checkpoint.size.new_bytes,
        "tags": checkpoint.tags,
        "pinned": checkpoint.pinned,
        "refs": names(checkpoint, refs),
    });
    if let Some(parent) = &checkpoint.parent {
        shown["parent"] = parent.as_str().into();
    }
    if let Some(message) = &checkpoint.message {
        shown["message"] = message.as_str().into();
    }
    shown
}

fn names<'a>(checkpoint: &Checkpoint, refs: &'a [CheckpointRef]) -> Vec<&'a str> {
    refs.iter()
        .filter(|named| named.checkpoint == checkpoint.id)
        .map(|named| named.name.as_str())
        .collect()
}

/// The checkpoints of the page as they are shown, as many as one answer takes; the page ends there.
pub(crate) fn page(page: &mut CheckpointPage) -> Vec<Value> {
    let mut characters = 0;
    let mut checkpoints = Vec::new();
    for checkpoint in &page.checkpoints {
        let checkpoint = self::checkpoint(checkpoint, &page.refs);
        characters += show::characters(&checkpoint);
        if !checkpoints.is_empty() && characters > CONTENT_CHARACTERS / 2 {
            break;
        }
        checkpoints.push(checkpoint);
    }
    if checkpoints.len() < page.checkpoints.len() {
        page.checkpoints.truncate(checkpoints.len());
        page.next = page.checkpoints.last().map(|last| last.ordinal);
    }
    checkpoints
}

/// A checkpoint in one line.
pub(crate) fn line(checkpoint: &Checkpoint, refs: &[CheckpointRef]) -> String {
    let mut line = format!(
        "#{} {} {} ({}), turn {}, {} files",
        checkpoint.ordinal,
        checkpoint.id,
        to_rfc3339(checkpoint.created_at),
        checkpoint.trigger.as_str(),
        checkpoint.turn,
        checkpoint.size.files,
    );
    if checkpoint.pinned {
        line.push_str(", pinned");
    }
    for name in names(checkpoint, refs) {
        line.push_str(", named ");
        line.push_str(name);
    }
    if let Some(message) = &checkpoint.message {
        line.push_str(": ");
        line.push_str(&show::cut(
            &message.replace(['\n', '\r', '\t'], " "),
            MESSAGE_CHARACTERS,
        ));
    }
    line
}

/// A checkpoint in a tree: what tells it apart.
pub(crate) fn point_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["checkpoint_id", "ordinal", "created_at_unix_ms", "trigger", "turn", "pinned", "refs"],
        "properties": {
            "checkpoint_id": {"type": "string"},
            "ordinal": {"type": "integer"},
            "created_at_unix_ms": {"type": "integer"},
            "trigger": {"type": "string"},
            "turn": {"type": "integer"},
            "message": {"type": "string", "description": "Shortened."},
            "pinned": {"type": "boolean"},
            "refs": {"type": "array", "items": {"type": "string"}}
        }
    })
}

fn point(checkpoint: &Checkpoint, refs: &[CheckpointRef]) -> Value {
    let mut shown = json!({
        "checkpoint_id": checkpoint.id.as_str(),
        "ordinal": checkpoint.ordinal,
        "created_at_unix_ms": checkpoint.created_at.0,
        "trigger": checkpoint.trigger.as_str(),
        "turn": checkpoint.turn,
        "pinned": checkpoint.pinned,
        "refs": names(checkpoint, refs),
    });
    if let Some(message) = &checkpoint.message {
        shown["message"] = show::cut(message, MESSAGE_CHARACTERS).into();
    }
    shown
}

/// A tree as structure, as many sessions as one answer takes and of each at most `most` checkpoints;
/// what is left out is taken out of the tree, too.
pub(crate) fn timeline(timeline: &mut Timeline, most: usize) -> Value {
    let mut characters = 0;
    let mut sessions = Vec::new();
    for session in &mut timeline.sessions {
        let hidden = session.checkpoints.len().saturating_sub(most);
        session.checkpoints.drain(..hidden);
        session.older |= hidden > 0;
        let session = branch(session);
        characters += show::characters(&session);
        if !sessions.is_empty() && characters > CONTENT_CHARACTERS / 2 {
            break;
        }
        sessions.push(session);
    }
    let more = timeline.sessions.len() - sessions.len();
    timeline.sessions.truncate(sessions.len());
    json!({
        "tree_id": timeline.tree.as_str(),
        "sessions": sessions,
        "more_sessions": more,
    })
}

fn branch(session: &TimelineSession) -> Value {
    let head = &session.head;
    let checkpoints: Vec<Value> = session
        .checkpoints
        .iter()
        .map(|it| point(it, &session.refs))
        .collect();
    let mut shown = json!({
        "session_id": head.key.session.as_str(),
        "title": head.title,
        "state": head.state.as_str(),
        "checkpoints": checkpoints,
        "has_older_checkpoints": session.older,
    });
    if let Some(parent) = &head.parent {
        shown["parent_session_id"] = parent.session.as_str().into();
        shown["parent_checkpoint_id"] = parent.checkpoint.as_str().into();
    }
    if let Some(latest) = &head.checkpoint {
        shown["latest"] = latest.as_str().into();
    }
    shown
}

/// A tree as a person reads it, each session indented below the one that it was forked from.
pub(crate) fn drawn(timeline: &Timeline, more_sessions: u64, asked: &SessionId) -> String {
    let mut lines = Vec::new();
    for session in &timeline.sessions {
        let indent = "    ".repeat(depth(timeline, session));
        let head = &session.head;
        let mark = if head.key.session == *asked { "*" } else { "o" };
        lines.push(format!("{indent}{mark} {}", show::session_line(head)));
        if let Some(parent) = &head.parent {
            lines.push(format!(
                "{indent}|   forked from {} at {}",
                parent.session, parent.checkpoint
            ));
        }
        if session.older {
            lines.push(format!("{indent}|   … older ones: list_checkpoints"));
        }
        for checkpoint in &session.checkpoints {
            let here = head.checkpoint.as_ref() == Some(&checkpoint.id);
            let mark = if here { ">" } else { "-" };
            let line = line(checkpoint, &session.refs);
            lines.push(format!("{indent}|  {mark} {line}"));
        }
    }
    if more_sessions > 0 {
        lines.push(format!("and {more_sessions} more sessions"));
    }
    lines.push("* the session asked for; > where a session would go on from".to_owned());
    lines.join("\n")
}

/// Forks between a session and the root of what is shown; deeper ones are not indented further.
fn depth(timeline: &Timeline, session: &TimelineSession) -> usize {
    let mut depth = 0;
    let mut parent = session.head.parent.as_ref();
    while let Some(above) = parent
        && depth < MOST_DEPTH
        && let Some(found) = timeline
            .sessions
            .iter()
            .find(|it| it.head.key.session == above.session)
    {
        depth += 1;
        parent = found.head.parent.as_ref();
    }
    depth
}

/// Why there is no such checkpoint. `repeat` says how to ask again.
pub(crate) fn not_found(error: FindCheckpointError, repeat: &str) -> Refused {
    match error {
        FindCheckpointError::Unavailable(unavailable) => Refused::unavailable(&unavailable, repeat),
        other => Refused::because(other),
    }
}

/// Why the content of a checkpoint is not shown.
pub(crate) fn content_refused(error: SnapshotError) -> Refused {
    match error {
        SnapshotError::Unavailable(unavailable) => Refused::unavailable(&unavailable, ASK_AGAIN),
        other => Refused::because(other),
    }
}
