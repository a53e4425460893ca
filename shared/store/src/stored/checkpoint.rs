//! Checkpoints and questions as stored.

use domain::{
    ApprovalRequest, Checkpoint, CheckpointId, FencingToken, QuestionId, Sequence, UnixMillis,
    checkpoint::{CheckpointSize, CheckpointTrigger, PendingQuestion},
};
use serde::{Deserialize, Serialize};

/// The record of a checkpoint as JSON text, without what conditions look at and what its key says:
/// ordinal and pin.
pub(crate) fn write(checkpoint: &Checkpoint) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Stored {
        id: checkpoint.id.clone(),
        created_at: checkpoint.created_at.0,
        fence: checkpoint.fence.0,
        trigger: checkpoint.trigger,
        parent: checkpoint.parent.clone(),
        files: checkpoint.files.clone(),
        conversation: checkpoint.conversation.clone(),
        sequence: checkpoint.sequence.0,
        commands_settled: checkpoint.commands_settled,
        turn: checkpoint.turn,
        claude_session_id: checkpoint.claude_session_id.clone(),
        question: checkpoint.question.clone().map(Question),
        message: checkpoint.message.clone(),
        tags: checkpoint.tags.clone(),
        workspace_files: checkpoint.size.files,
        workspace_bytes: checkpoint.size.bytes,
        new_bytes: checkpoint.size.new_bytes,
    })
}

/// Reads what [`write`] wrote.
pub(crate) fn read(
    text: &str,
    ordinal: u64,
    pinned: bool,
) -> Result<Checkpoint, serde_json::Error> {
    let stored: Stored = serde_json::from_str(text)?;
    Ok(Checkpoint {
        id: stored.id,
        ordinal,
        created_at: UnixMillis(stored.created_at),
        fence: FencingToken(stored.fence),
        trigger: stored.trigger,
        parent: stored.parent,
        files: stored.files,
        conversation: stored.conversation,
        sequence: Sequence(stored.sequence),
        commands_settled: stored.commands_settled,
        turn: stored.turn,
        claude_session_id: stored.claude_session_id,
        question: stored.question.map(|question| question.0),
        message: stored.message,
        tags: stored.tags,
        pinned,
        size: CheckpointSize {
            files: stored.workspace_files,
            bytes: stored.workspace_bytes,
            new_bytes: stored.new_bytes,
        },
    })
}

/// A question as JSON text.
pub(crate) fn write_question(question: &PendingQuestion) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Question(question.clone()))
}

/// Reads what [`write_question`] wrote.
pub(crate) fn read_question(text: &str) -> Result<PendingQuestion, serde_json::Error> {
    serde_json::from_str::<Question>(text).map(|question| question.0)
}

#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(with = "super::checkpoint_id")]
    id: CheckpointId,
    created_at: u64,
    fence: u64,
    #[serde(with = "StoredTrigger")]
    trigger: CheckpointTrigger,
    #[serde(with = "super::optional_checkpoint_id")]
    parent: Option<CheckpointId>,
    #[serde(with = "super::checkpoint_id")]
    files: CheckpointId,
    #[serde(with = "super::checkpoint_id")]
    conversation: CheckpointId,
    sequence: u64,
    commands_settled: u64,
    turn: u32,
    claude_session_id: Option<String>,
    question: Option<Question>,
    message: Option<String>,
    tags: Vec<String>,
    workspace_files: u64,
    workspace_bytes: u64,
    new_bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "CheckpointTrigger", rename_all = "snake_case")]
pub(crate) enum StoredTrigger {
    Turn,
    Tool,
    Interval,
    Suspend,
    Stop,
    Request,
    Fork,
    Rewind,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Question(#[serde(with = "StoredQuestion")] PendingQuestion);

#[derive(Serialize, Deserialize)]
#[serde(remote = "PendingQuestion")]
struct StoredQuestion {
    #[serde(with = "super::question_id")]
    id: QuestionId,
    tool_use_id: String,
    input: String,
    #[serde(with = "milliseconds")]
    asked_at: UnixMillis,
    #[serde(
        with = "super::approval::optional_request",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    approval: Option<ApprovalRequest>,
}

pub(crate) mod milliseconds {
    use domain::UnixMillis;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde's `with` calls it with a reference"
    )]
    pub(crate) fn serialize<S: Serializer>(
        value: &UnixMillis,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.0)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<UnixMillis, D::Error> {
        u64::deserialize(deserializer).map(UnixMillis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_shape_stays() {
        let id = CheckpointId::from_random([0; 17]);
        let checkpoint = Checkpoint {
            id: id.clone(),
            ordinal: 7,
            created_at: UnixMillis(1),
            fence: FencingToken(2),
            trigger: CheckpointTrigger::Turn,
            parent: None,
            files: id.clone(),
            conversation: id,
            sequence: Sequence(9),
            commands_settled: 3,
            turn: 4,
            claude_session_id: Some("c".to_owned()),
            question: Some(PendingQuestion {
                id: QuestionId::parse("q").expect("valid"),
                tool_use_id: "t".to_owned(),
                input: "{}".to_owned(),
                asked_at: UnixMillis(5),
                approval: None,
            }),
            message: None,
            tags: vec!["x".to_owned()],
            pinned: true,
            size: CheckpointSize {
                files: 1,
                bytes: 2,
                new_bytes: 3,
            },
        };
        let text = write(&checkpoint).expect("serialises");
        assert_eq!(
            text,
            r#"{"id":"chk_aaaaaaaaaaaaaaaaaaaaaaaaaa","created_at":1,"fence":2,"trigger":"turn","parent":null,"files":"chk_aaaaaaaaaaaaaaaaaaaaaaaaaa","conversation":"chk_aaaaaaaaaaaaaaaaaaaaaaaaaa","sequence":9,"commands_settled":3,"turn":4,"claude_session_id":"c","question":{"id":"q","tool_use_id":"t","input":"{}","asked_at":5},"message":null,"tags":["x"],"workspace_files":1,"workspace_bytes":2,"new_bytes":3}"#
        );
        assert_eq!(read(&text, 7, true).expect("reads"), checkpoint);
    }
}
