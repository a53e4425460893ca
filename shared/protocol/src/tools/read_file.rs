//! `read_file`: a file of a session's workspace, as it is or as it was.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::checkpoint::CheckpointName;
use domain::use_cases::{self, ReadFileError};
use domain::workspace::RelativePath;
use domain::{Principal, limits};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::outcome::{Elsewhere, MOST_RESULT_CHARACTERS};
use super::{ASK_AGAIN, Definition, Done, Effect, Refused, key, refused, session_id_schema};
use crate::files::{self, NotRead};
use crate::history::{self, checkpoint_name_schema, content_refused};
use crate::resources::{Address, media_type};
use crate::snapshots::Snapshots;
use crate::work::{Ports, Sessions};

/// Bytes of one answer when no length is given: text stands in both forms of the answer, which
/// together stay within what clients take.
const DEFAULT_BYTES: u64 = 64 * 1024;

pub(super) const DEFINITION: Definition = Definition {
    name: "read_file",
    title: "Read a file of a session",
    description: "Reads a file of a Claude Code session's workspace: as it is while the session is running or idle, as its \
        newest checkpoint holds it while the session is suspended or has ended, or as it was at a checkpoint. Text comes \
        as text, anything else as base64. One call returns 65536 bytes unless length says otherwise; when next_offset is \
        present there is more: call again with it as offset. Links are not followed, and bytes of secrets are *.",
    effect: Effect::Reads,
    input,
    output,
};

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "path"],
        "properties": {
            "session_id": session_id_schema(),
            "path": {"type": "string", "minLength": 1, "description": "The file, relative to the workspace (or as the session names it, below /workspace/)."},
            "checkpoint": checkpoint_name_schema("Read it as it was at this checkpoint, which needs no running session"),
            "offset": {"type": "integer", "minimum": 0, "default": 0, "description": "First byte."},
            "length": {"type": "integer", "minimum": 1, "maximum": limits::READ_FILE_BYTES, "description": "At most this many bytes."}
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "path", "offset", "bytes", "file_bytes"],
        "properties": {
            "session_id": session_id_schema(),
            "path": {"type": "string"},
            "offset": {"type": "integer"},
            "bytes": {"type": "integer", "description": "How many bytes this is."},
            "file_bytes": {"type": "integer", "description": "Size of the whole file."},
            "checkpoint_id": {"type": "string", "description": "The checkpoint that it was read at; absent when it was read as it is."},
            "next_offset": {"type": "integer", "description": "Present when there is more: offset of the next call."},
            "text": {"type": "string", "description": "The bytes, when they are UTF-8 text."},
            "base64": {"type": "string", "description": "The bytes otherwise."}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    path: String,
    checkpoint: Option<String>,
    #[serde(default)]
    offset: u64,
    length: Option<u64>,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder + Snapshots>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let reader = principal.authorize().map_err(Refused::because)?;
    let path =
        RelativePath::parse(&input.path).map_err(|error| Refused(format!("path: {error}")))?;
    let key = key(principal, &input.session_id)?;
    let length = input.length.unwrap_or(DEFAULT_BYTES);
    let checkpoint = input.checkpoint.as_deref().map(CheckpointName::parse);
    let checkpoint = checkpoint.transpose().map_err(Refused::because)?;
    let request = use_cases::ReadFile {
        key: key.clone(),
        path: path.clone(),
        offset: input.offset,
        length: Some(length),
    };
    let name = checkpoint.as_ref();
    let (content, read_at) = files::read(&work.ports, &work.finder, &reader, request, name)
        .await
        .map_err(not_read)?;
    let at_end = input.offset.saturating_add(content.bytes.len() as u64) >= content.file_bytes;
    let (mut bytes, mut text) = as_text(content.bytes, at_end);
    if let (None, Some(text)) = (input.length, &mut text) {
        shorten(text);
        bytes.truncate(text.len());
    }
    let is_text = text.is_some();
    let next_offset = input.offset.saturating_add(bytes.len() as u64);
    let mut structured = json!({
        "session_id": input.session_id,
        "path": path.as_str(),
        "offset": input.offset,
        "bytes": bytes.len(),
        "file_bytes": content.file_bytes,
    });
    if let Some(read_at) = &read_at {
        structured["checkpoint_id"] = read_at.as_str().into();
    }
    let shown = match text {
        Some(text) => {
            structured["text"] = text.as_str().into();
            text
        }
        None => {
            structured["base64"] = STANDARD.encode(&bytes).into();
            format!(
                "{} bytes of {path} that are no text; they stand in base64 in the structured result",
                bytes.len(),
                path = path.as_str()
            )
        }
    };
    if next_offset < content.file_bytes && !bytes.is_empty() {
        structured["next_offset"] = next_offset.into();
    }
    let mut done = Done::new(structured, shown);
    done.elsewhere = Some(Elsewhere {
        address: Address::File {
            session: key.session,
            path: path.clone(),
            checkpoint: read_at.map(CheckpointName::Id),
            offset: input.offset,
        },
        always: false,
        media_type: media_type(path.as_str(), is_text),
        name: path.as_str().to_owned(),
        bytes: Some(content.file_bytes),
        fields: &["text", "base64"],
    });
    Ok(done)
}

fn not_read(error: NotRead) -> Refused {
    match error {
        NotRead::Runner(error) => refused!(error, ReadFileError::Unavailable, ASK_AGAIN),
        NotRead::Find(error) => history::not_found(error, ASK_AGAIN),
        NotRead::Content(error) => content_refused(error),
    }
}

/// Most characters of a text in both forms of an answer. Own: leaves room for what stands around it.
const BOTH_FORMS: usize = MOST_RESULT_CHARACTERS - 4_000;

/// Cuts a text of which nobody said how long it is to be, so that it fits an answer also when much of
/// it is escaped.
fn shorten(text: &mut String) {
    loop {
        let both = text.len() + json!(text.as_str()).to_string().len();
        if both <= BOTH_FORMS {
            return;
        }
        text.truncate(text.floor_char_boundary(text.len() * BOTH_FORMS / both));
    }
}

/// The bytes as text, if they are. A piece that ends inside a character leaves that character to
/// the next piece.
pub(crate) fn as_text(mut bytes: Vec<u8>, at_end: bool) -> (Vec<u8>, Option<String>) {
    let whole = match std::str::from_utf8(&bytes) {
        Ok(_) => bytes.len(),
        Err(error) if !at_end && error.error_len().is_none() && error.valid_up_to() > 0 => {
            error.valid_up_to()
        }
        Err(_) => return (bytes, None),
    };
    bytes.truncate(whole);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // NUL is UTF-8, and no text.
    let text = (!text.contains('\0')).then_some(text);
    (bytes, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_text_ends_at_a_character() {
        let whole = "aé".as_bytes().to_vec();
        assert_eq!(
            as_text(whole.clone(), true),
            (whole.clone(), Some("aé".to_owned()))
        );
        let piece = whole[..2].to_vec();
        assert_eq!(
            as_text(piece.clone(), false),
            (b"a".to_vec(), Some("a".to_owned()))
        );
        assert_eq!(as_text(piece.clone(), true), (piece, None));
        assert_eq!(as_text(vec![0xff, 0], false), (vec![0xff, 0], None));
        assert_eq!(as_text(vec![b'a', 0], true), (vec![b'a', 0], None));
        assert_eq!(as_text(vec![], true), (vec![], Some(String::new())));
    }
}
