//! What callers can do, one file each. Every use case is safe to run twice and safe to cut at any
//! `await`; its doc comment says how.

mod answer_question;
mod api_keys;
mod audit;
mod cancel_session;
mod change_policy;
mod checkpoints;
mod create_session;
mod create_upload;
mod decide_approval;
mod delete_session;
mod fork_session;
mod get_session;
mod git_credentials;
mod interrupt_session;
mod list_sessions;
mod note_release;
mod observe;
mod query_audit;
mod read_file;
mod reconcile;
mod restore_checkpoint;
mod run_command;
mod send_message;
mod stopwatch;
mod suspend_session;
mod sweep_tree;
mod task;
mod tell;
mod timeline;
mod verify_audit;
mod wait_session;
mod wake;

use redact::Redactor;
use thiserror::Error;

pub use answer_question::{
    AnswerError, AnswerQuestion, answer_question, given_answers, open_question,
};
pub use api_keys::{
    CreateKey, CreateKeyError, KeyRefused, KeyRevoked, check_key, create_key, list_keys, revoke_key,
};
pub use audit::{AuditKept, audit_erasure, audit_session, keep_audit};
pub use cancel_session::{CancelError, cancel_session};
pub use change_policy::{
    ChangePolicy, ChangePolicyError, PolicyChanged, PolicyEditor, PolicyFault, PolicyLanguage,
    Seen, change_policy,
};
pub use checkpoints::{
    CheckpointPage, FindCheckpointError, NameCheckpointError, find_checkpoint, list_checkpoints,
    name_checkpoint, pin_checkpoint, unname_checkpoint,
};
pub use create_session::{CreateSession, CreateSessionError, create_session};
pub use create_upload::{CreateUploadError, create_upload};
pub use decide_approval::{
    ApprovalPage, DecideApproval, DecideError, Decided, decide_approval, expire_approval,
    given_decision, list_approvals,
};
pub use delete_session::{DeleteError, Deletion, Erased, delete_session, erase_session};
pub use fork_session::{ForkSession, ForkSessionError, fork_session};
pub use get_session::{GetError, get_session};
pub use git_credentials::{
    StoreGitCredentialError, list_git_credentials, remove_git_credential, store_git_credential,
};
pub use interrupt_session::{InterruptError, Interrupted, interrupt_session};
pub use list_sessions::{ListError, list_sessions};
pub use note_release::note_release;
pub use query_audit::{AuditPage, QueryAudit, query_audit};
pub use read_file::{ReadFile, ReadFileError, read_file};
pub use reconcile::{Reconciled, reconcile_session, task_stopped};
pub use restore_checkpoint::{RestoreCheckpoint, RestoreError, restore_checkpoint};
pub use run_command::{RunCommand, RunCommandError, run_command};
pub use send_message::{AttachmentError, SendMessage, SendMessageError, send_message};
pub use suspend_session::{
    RequestCheckpoint, Requested, SuspendError, request_checkpoint, suspend_session,
};
pub use sweep_tree::{TreeSwept, sweep_tree};
pub use task::{TaskError, TaskState, cancel_task, get_task};
pub use tell::post_to_owner;
pub use timeline::{Timeline, TimelineSession, get_timeline};
pub use verify_audit::{AuditChecked, Check, CheckPosition, verify_audit};
pub use wait_session::{Observer, Until, WaitError, WaitSession, Waited, wait_session};
pub use wake::Woken;

/// What a caller wrote, as it is shown: titles, reasons, tags and words about checkpoints are stored
/// without secrets. The texts of messages and answers are stored as they were sent, because the CLI
/// gets them so; what is shown of them are events, from which the runner takes the secrets out.
fn shown(text: &str) -> String {
    Redactor::default().clean(text)
}

/// No such session of this owner: an unknown id and a foreign one look the same.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no session with this id; list_sessions shows yours")]
pub struct NoSuchSession;
