//! `export_workspace`: the files of a checkpoint, or what changed since another one, as one file that
//! a client fetches itself.

use domain::checkpoint::CheckpointName;
use domain::{CheckpointId, Principal, limits};
use serde::Deserialize;
use serde_json::{Value, json};

use super::diff_checkpoints::find;
use super::find_claude_binary::ClaudeFinder;
use super::{Definition, Done, Effect, Refused, key, session_id_schema};
use crate::history::{checkpoint_name_schema, content_refused};
use crate::snapshots::Snapshots;
use crate::timestamp::to_rfc3339;
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "export_workspace",
    title: "Export the files of a session",
    description: "Packs the files of a Claude Code session's checkpoint into a .tar.zst, or with since what changed from \
        another checkpoint into a patch that git apply takes, and returns an address from which it can be \
        fetched with a plain GET until it expires. Whoever has the address can fetch it. Files that checkpoints leave \
        out (target/ and node_modules/, unless the session says otherwise) are not in it. Repeating the call gives a new \
        address.",
    effect: Effect::Reads,
    input,
    output,
};

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id"],
        "properties": {
            "session_id": session_id_schema(),
            "checkpoint": checkpoint_name_schema("What to export; the latest when left out"),
            "since": checkpoint_name_schema("Export what changed from this checkpoint to that one, as a patch")
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "checkpoint_id", "format", "url", "file_name", "bytes", "sha256", "expires_at_unix_ms"],
        "properties": {
            "session_id": session_id_schema(),
            "checkpoint_id": {"type": "string"},
            "since_checkpoint_id": {"type": "string", "description": "Of a patch: where it begins."},
            "format": {"type": "string", "enum": ["tar.zst", "patch"]},
            "url": {"type": "string", "description": "Fetch it with GET, without any header."},
            "file_name": {"type": "string"},
            "bytes": {"type": "integer", "description": "Size of what is fetched."},
            "sha256": {"type": "string", "description": "SHA-256 of what is fetched, in hexadecimal."},
            "entries": {"type": "integer", "description": "Files, directories and links in the archive."},
            "expires_at_unix_ms": {"type": "integer"}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    checkpoint: Option<String>,
    since: Option<String>,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder + Snapshots>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let reader = principal.authorize().map_err(Refused::because)?;
    let key = key(principal, &input.session_id)?;
    for name in [&input.checkpoint, &input.since].into_iter().flatten() {
        CheckpointName::parse(name).map_err(Refused::because)?;
    }
    let name = input.checkpoint.as_deref().unwrap_or("latest");
    let (head, checkpoint) = find(&work.ports, &reader, &key, name).await?;
    let mut since: Option<(CheckpointId, CheckpointId)> = None;
    if let Some(name) = &input.since {
        let (_, older) = find(&work.ports, &reader, &key, name).await?;
        since = Some((older.id, older.files));
    }
    let files = since.as_ref().map(|(_, files)| files);
    let tree = head.tree_key();
    let export = work.finder.export(
        &tree,
        &key,
        &checkpoint.files,
        files,
        limits::EXPORT_URL_MILLISECONDS,
    );
    let export = export.await.map_err(content_refused)?;
    let mut structured = json!({
        "session_id": key.session.as_str(),
        "checkpoint_id": checkpoint.id.as_str(),
        "format": if since.is_some() { "patch" } else { "tar.zst" },
        "url": export.url,
        "file_name": export.file_name,
        "bytes": export.bytes,
        "sha256": export.sha256,
        "expires_at_unix_ms": export.expires_at.0,
    });
    if let Some(entries) = export.entries {
        structured["entries"] = entries.into();
    }
    if let Some((id, _)) = &since {
        structured["since_checkpoint_id"] = id.as_str().into();
    }
    let text = format!(
        "{} ({} bytes, SHA-256 {}) until {}: {}",
        export.file_name,
        export.bytes,
        export.sha256,
        to_rfc3339(export.expires_at),
        export.url
    );
    Ok(Done::new(structured, text))
}
