//! Commands and their outcomes as stored.

use domain::{
    CallDigest, CheckpointId, CommandBody, CommandId, CommandOutcome, Decision, QuestionId,
    Sequence, UploadId,
    approval::Way,
    command::{FileContent, WholeText},
    event::{RunEnd, TurnEnd},
    session::Attachment,
    workspace::RelativePath,
};
use serde::{Deserialize, Serialize};

use super::{
    event::{StoredRunEnd, StoredTurnEnd, optional_sequence},
    stored_list,
};

/// A command's body: its JSON, and the text of a message or of what a shell reads beside it, because
/// escaping could multiply the size of a long one.
pub(crate) fn write_body(
    body: &CommandBody,
) -> Result<(String, Option<String>), serde_json::Error> {
    let (body, text) = match body {
        CommandBody::Message { text, attachments } => (
            CommandBody::Message {
                text: String::new(),
                attachments: attachments.clone(),
            },
            Some(text.clone()),
        ),
        CommandBody::Run {
            command,
            timeout_seconds,
        } => (
            CommandBody::Run {
                command: String::new(),
                timeout_seconds: *timeout_seconds,
            },
            Some(command.clone()),
        ),
        other => (other.clone(), None),
    };
    Ok((to_text(|it| StoredCommandBody::serialize(&body, it))?, text))
}

/// Reads what [`write_body`] wrote.
pub(crate) fn read_body(json: &str, text: Option<&str>) -> Result<CommandBody, serde_json::Error> {
    let body = StoredCommandBody::deserialize(&mut serde_json::Deserializer::from_str(json))?;
    Ok(match body {
        CommandBody::Message { attachments, .. } => CommandBody::Message {
            text: text.unwrap_or_default().to_owned(),
            attachments,
        },
        CommandBody::Run {
            timeout_seconds, ..
        } => CommandBody::Run {
            command: text.unwrap_or_default().to_owned(),
            timeout_seconds,
        },
        other => other,
    })
}

/// An outcome: its JSON, and the bytes of a file beside it.
pub(crate) fn write_outcome(
    outcome: &CommandOutcome,
) -> Result<(String, Option<Vec<u8>>), serde_json::Error> {
    let (outcome, content) = match outcome {
        CommandOutcome::File(content) => (
            CommandOutcome::File(FileContent {
                bytes: Vec::new(),
                file_bytes: content.file_bytes,
            }),
            Some(content.bytes.clone()),
        ),
        other => (other.clone(), None),
    };
    Ok((
        to_text(|it| StoredOutcome::serialize(&outcome, it))?,
        content,
    ))
}

/// Reads what [`write_outcome`] wrote.
pub(crate) fn read_outcome(
    json: &str,
    content: Option<&[u8]>,
) -> Result<CommandOutcome, serde_json::Error> {
    let outcome = StoredOutcome::deserialize(&mut serde_json::Deserializer::from_str(json))?;
    Ok(match outcome {
        CommandOutcome::File(file) => CommandOutcome::File(FileContent {
            bytes: content.unwrap_or_default().to_vec(),
            file_bytes: file.file_bytes,
        }),
        other => other,
    })
}

fn to_text(
    write: impl FnOnce(&mut serde_json::Serializer<&mut Vec<u8>>) -> Result<(), serde_json::Error>,
) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    write(&mut serde_json::Serializer::new(&mut bytes))?;
    // JSON of serde is UTF-8.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "CommandBody", tag = "kind", rename_all = "snake_case")]
enum StoredCommandBody {
    Message {
        #[serde(skip)]
        text: String,
        #[serde(with = "attachments")]
        attachments: Vec<Attachment>,
    },
    Run {
        #[serde(skip)]
        command: String,
        timeout_seconds: u32,
    },
    StopRun {
        #[serde(with = "super::command_id")]
        run: CommandId,
    },
    Interrupt,
    Cancel {
        reason: String,
    },
    Answer {
        #[serde(with = "super::question_id")]
        question: QuestionId,
        answers: String,
    },
    Decide {
        #[serde(with = "super::question_id")]
        approval: QuestionId,
        #[serde(with = "super::approval::call_digest")]
        digest: CallDigest,
        #[serde(with = "super::approval::StoredDecision")]
        decision: Decision,
        #[serde(with = "super::approval::StoredWay")]
        way: Way,
    },
    Suspend,
    Checkpoint {
        message: Option<String>,
        tags: Vec<String>,
        pinned: bool,
    },
    ReadFile {
        #[serde(with = "super::relative_path")]
        path: RelativePath,
        offset: u64,
        length: u64,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Attachment")]
struct StoredAttachment {
    #[serde(with = "super::upload_id")]
    upload: UploadId,
    name: String,
}

stored_list!(
    attachments,
    domain::session::Attachment,
    "super::StoredAttachment"
);

#[derive(Serialize, Deserialize)]
#[serde(remote = "CommandOutcome", rename_all = "snake_case")]
enum StoredOutcome {
    Turn(#[serde(with = "StoredTurnEnd")] TurnEnd),
    CutTurn(
        #[serde(with = "StoredTurnEnd")] TurnEnd,
        #[serde(with = "StoredWholeText")] WholeText,
    ),
    Interrupted(bool),
    Cancelled,
    File(#[serde(with = "StoredFile")] FileContent),
    Ran(#[serde(with = "StoredRunEnd")] RunEnd),
    Answered,
    Suspended,
    Checkpointed(#[serde(with = "super::checkpoint_id")] CheckpointId),
    Refused(String),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "WholeText")]
struct StoredWholeText {
    bytes: u64,
    #[serde(with = "optional_sequence")]
    sequence: Option<Sequence>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "FileContent")]
struct StoredFile {
    #[serde(skip)]
    bytes: Vec<u8>,
    file_bytes: u64,
}
