//! `diff_checkpoints`: what changed in the files of a session between two of its checkpoints.

use domain::authorization::ReadSessions;
use domain::checkpoint::CheckpointName;
use domain::use_cases::{self, RequestCheckpoint, Requested, SuspendError};
use domain::{Authorized, Checkpoint, Head, Principal, SessionKey};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::outcome::Elsewhere;
use super::{ASK_AGAIN, Definition, Done, Effect, Refused, key, refused, session_id_schema};
use crate::history::{self, checkpoint_name_schema, content_refused};
use crate::resources::{Address, CONTENT_CHARACTERS, DIFF};
use crate::show;
use crate::snapshots::{DiffLimits, SnapshotChange, SnapshotDiff, Snapshots};
use crate::work::{Ports, Sessions};

const DEFAULT_CONTEXT: usize = 3;
/// Most bytes of the patch: with the list beside it, in both forms, it is what clients take.
const PATCH_BYTES: usize = CONTENT_CHARACTERS / 5 * 2;
/// Most changes that are listed.
const CHANGES: usize = 200;
/// The files as they are: of a session that has a runner, in a checkpoint that is taken for it.
pub(super) const NOW: &str = "now";

pub(super) const DEFINITION: Definition = Definition {
    name: "diff_checkpoints",
    title: "Compare two checkpoints",
    description: "Shows what changed in the files of a Claude Code session from one checkpoint to another: the list of \
        files with lines added and removed (moved and binary files noted) and a patch. With binary the patch holds the \
        contents of binary files too. Bytes of secrets are * here; export_workspace gives a patch that git apply takes. To compare with the files as they are, use now: \
        of a session that has a runner a checkpoint is taken for it. A patch that is too long is cut after a whole file; \
        then truncated is true; the linked resource has the text of it in pieces, and export_workspace with since has all of it.",
    effect: Effect::MayAdd,
    input,
    output,
};

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "from"],
        "properties": {
            "session_id": session_id_schema(),
            "from": checkpoint_name_schema("The earlier checkpoint"),
            "to": checkpoint_name_schema("The later checkpoint, the latest when left out; or now for the files as they are"),
            "context_lines": {"type": "integer", "minimum": 0, "maximum": 20, "default": DEFAULT_CONTEXT, "description": "Unchanged lines around each change."},
            "binary": {"type": "boolean", "default": false, "description": "Contents of binary files are in the patch; else it only says that they differ."}
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "from", "to", "changes", "more_changes", "truncated"],
        "properties": {
            "session_id": session_id_schema(),
            "from": {"type": "string"},
            "to": {"type": "string"},
            "changes": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["path", "change", "binary"],
                    "properties": {
                        "path": {"type": "string"},
                        "old_path": {"type": "string", "description": "Where it was, when it was moved."},
                        "change": {"type": "string"},
                        "added_lines": {"type": "integer"},
                        "removed_lines": {"type": "integer"},
                        "binary": {"type": "boolean"}
                    }
                }
            },
            "more_changes": {"type": "integer", "description": "Changes that are not listed."},
            "patch": {"type": "string"},
            "truncated": {"type": "boolean", "description": "The patch does not hold all changes."}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    from: String,
    to: Option<String>,
    context_lines: Option<usize>,
    #[serde(default)]
    binary: bool,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder + Snapshots>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let reader = principal.authorize().map_err(Refused::because)?;
    let key = key(principal, &input.session_id)?;
    let (head, from) = find(&work.ports, &reader, &key, &input.from).await?;
    let to = match input.to.as_deref() {
        Some(NOW) => as_it_is(work, principal, &reader, &key).await?,
        to => {
            let to = to.unwrap_or("latest");
            find(&work.ports, &reader, &key, to).await?.1
        }
    };
    let limits = DiffLimits {
        context_lines: input.context_lines.unwrap_or(DEFAULT_CONTEXT),
        patch_bytes: PATCH_BYTES,
        changes: CHANGES,
        binary: input.binary,
    };
    let mut diff = work
        .finder
        .diff(&head.tree_key(), &key, &from.files, &to.files, limits)
        .await
        .map_err(content_refused)?
        .without_secrets();
    end_at_a_file(&mut diff);
    let changes = listed(&mut diff);
    let structured = json!({
        "session_id": key.session.as_str(),
        "from": from.id.as_str(),
        "to": to.id.as_str(),
        "changes": changes,
        "more_changes": diff.more_changes,
        "patch": diff.patch,
        "truncated": diff.truncated,
    });
    let mut text = show::cut(&diff.stat, CONTENT_CHARACTERS / 4);
    if !diff.patch.is_empty() {
        text.push('\n');
        text.push_str(&diff.patch);
    }
    if diff.truncated {
        text.push_str("\n(the patch does not hold everything: read the linked resource, take all of it with export_workspace and since, compare checkpoints that are closer together, or read single files with read_file and checkpoint)\n");
    }
    let mut done = Done::new(structured, text);
    done.elsewhere = Some(Elsewhere {
        name: format!("patch from {} to {}", from.id, to.id),
        address: Address::Comparison {
            session: key.session,
            from: CheckpointName::Id(from.id),
            to: CheckpointName::Id(to.id),
            offset: 0,
        },
        media_type: DIFF,
        bytes: None,
        fields: &["patch"],
        always: diff.truncated,
    });
    Ok(done)
}

/// A checkpoint of the files as they are. While a session has no runner nothing changes them: then
/// it is the latest. Run twice it takes two; stopped while waiting, it is taken all the same.
async fn as_it_is<P: Ports, F: ClaudeFinder + Snapshots>(
    work: &Sessions<P, F>,
    principal: &Principal,
    reader: &Authorized<ReadSessions>,
    key: &SessionKey,
) -> Result<Checkpoint, Refused> {
    let (head, latest) = find(&work.ports, reader, key, "latest").await?;
    if !head.state.has_runner() {
        return Ok(latest);
    }
    let writer = principal.authorize().map_err(Refused::because)?;
    let request = RequestCheckpoint {
        message: Some("compared with an earlier one".to_owned()),
        ..RequestCheckpoint::default()
    };
    let requested = use_cases::request_checkpoint(&work.ports, &writer, key, request).await;
    match requested {
        Ok(Requested::Taken(checkpoint)) => Ok(*checkpoint),
        Ok(Requested::Pending(_)) => Err(Refused(
            "to: the session finishes something before a checkpoint can be taken; call again in a \
             moment, or compare with latest"
                .to_owned(),
        )),
        // It ended meanwhile, and keeps what it had.
        Err(SuspendError::Ended(_)) => Ok(find(&work.ports, reader, key, "latest").await?.1),
        Err(error) => Err(refused!(error, SuspendError::Unavailable, ASK_AGAIN)),
    }
}

pub(super) async fn find<P: Ports>(
    ports: &P,
    reader: &Authorized<ReadSessions>,
    key: &SessionKey,
    name: &str,
) -> Result<(Head, Checkpoint), Refused> {
    let name = CheckpointName::parse(name).map_err(Refused::because)?;
    use_cases::find_checkpoint(ports, reader, key, &name)
        .await
        .map_err(|error| history::not_found(error, ASK_AGAIN))
}

/// A patch that is too long loses its last files, whole: what is left can still be applied.
fn end_at_a_file(diff: &mut SnapshotDiff) {
    while show::characters(&json!(diff.patch)) > PATCH_BYTES {
        let last = diff.patch.rfind("\ndiff --git ").map_or(0, |at| at + 1);
        diff.patch.truncate(last);
        diff.truncated = true;
    }
}

/// The changes as they are shown, as many as one answer takes beside its patch; the others are
/// counted.
fn listed(diff: &mut SnapshotDiff) -> Vec<Value> {
    let mut characters = 0;
    let mut shown = Vec::new();
    for change in &diff.changes {
        let change = listed_change(change);
        characters += show::characters(&change);
        if shown.len() == CHANGES || characters > CONTENT_CHARACTERS / 5 * 2 {
            break;
        }
        shown.push(change);
    }
    diff.more_changes += diff.changes.len().saturating_sub(shown.len()) as u64;
    shown
}

fn listed_change(change: &SnapshotChange) -> Value {
    let mut shown = json!({
        "path": change.path, "change": change.change, "binary": change.binary,
    });
    if let Some(old) = &change.old_path {
        shown["old_path"] = old.as_str().into();
    }
    if let Some((added, removed)) = change.lines {
        shown["added_lines"] = added.into();
        shown["removed_lines"] = removed.into();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_ends_at_a_file() {
        let file = |name: &str, lines: usize| {
            format!(
                "diff --git a/{name} b/{name}\n{}",
                "+diff --git \n".repeat(lines)
            )
        };
        let (one, two) = (file("a", 10), file("b", PATCH_BYTES));
        let mut diff = SnapshotDiff {
            patch: format!("{one}{two}"),
            ..SnapshotDiff::default()
        };
        end_at_a_file(&mut diff);
        assert_eq!((diff.patch.as_str(), diff.truncated), (one.as_str(), true));
        let mut whole = SnapshotDiff {
            patch: one.clone(),
            ..SnapshotDiff::default()
        };
        end_at_a_file(&mut whole);
        assert_eq!((whole.patch, whole.truncated), (one, false));
        let mut alone = SnapshotDiff {
            patch: two,
            ..SnapshotDiff::default()
        };
        end_at_a_file(&mut alone);
        assert_eq!((alone.patch.as_str(), alone.truncated), ("", true));
    }

    #[test]
    fn long_lists_are_counted() {
        let change = SnapshotChange {
            path: "p".repeat(4000),
            old_path: None,
            change: "added",
            lines: None,
            binary: false,
        };
        let mut diff = SnapshotDiff {
            changes: vec![change; 30],
            more_changes: 5,
            ..SnapshotDiff::default()
        };
        let shown = listed(&mut diff);
        assert!(shown.len() < 30);
        assert_eq!(diff.more_changes, 35 - shown.len() as u64);
    }
}
