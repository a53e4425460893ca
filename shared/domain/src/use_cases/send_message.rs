//! Sending a message: it reaches a running session mid-turn and starts a turn on an idle one.

use thiserror::Error;

use crate::{
    Authorized, CommandBody, CommandId, Deployment, OwnerId, SessionKey, State, UploadId,
    authorization::WriteSessions,
    limits,
    ports::{
        Clock, Compute, EnqueueError, Enqueued, IdSource, Inbox, NewCommand, SessionDirectory,
        Unavailable, Uploads,
    },
    session::Attachment,
};

use super::{NoSuchSession, observe, wake};

/// What a caller sends.
#[derive(Clone, Debug, PartialEq)]
pub struct SendMessage {
    /// To which session.
    pub key: SessionKey,
    /// The text.
    pub text: String,
    /// Files that come with it.
    pub attachments: Vec<Attachment>,
    /// The client's name for it; ours when absent.
    pub message_id: Option<CommandId>,
}

/// Why a message was not accepted. Nothing was recorded.
#[derive(Debug, Error)]
pub enum SendMessageError {
    /// No such session of this owner.
    #[error(transparent)]
    NoSuchSession(#[from] NoSuchSession),
    /// The session has ended; start another one.
    #[error("the session has ended ({0}); create a new one")]
    Ended(State),
    /// The text breaks its rule.
    #[error("message: {0}")]
    Invalid(&'static str),
    /// An attachment cannot be used.
    #[error(transparent)]
    Attachment(#[from] AttachmentError),
    /// Wait until the session has caught up.
    #[error("{0} messages wait already; wait until the session has taken some")]
    Full(u32),
    /// Choose a new message id.
    #[error("message_id was used for a different message of this session; choose a new one")]
    IdReused,
    /// Try again, with the same message id.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why an attachment cannot be used.
#[derive(Debug, Error)]
pub enum AttachmentError {
    /// Too many.
    #[error("attachments: use at most 20")]
    TooMany,
    /// Not one path component.
    #[error(
        "attachments: a name is one file name of 1 to 255 bytes without '/' or control characters, not '.' or '..', and no two are the same"
    )]
    Name,
    /// Unknown, foreign or expired.
    #[error("no upload {0}; create_upload gives one")]
    NoSuchUpload(UploadId),
    /// The file was never sent.
    #[error(
        "the file of upload {0} has not arrived; send it with the request that create_upload returned"
    )]
    NotArrived(UploadId),
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Accepts a message for a session that has not ended, and wakes a suspended one; when no slot is
/// free, the message waits in it until one is.
///
/// Run twice with the same message id it gives the recorded command, and wakes the session if
/// that has not happened. Cut after the message was accepted, the sweep wakes the session.
///
/// # Errors
/// [`SendMessageError`].
pub async fn send_message<P>(
    ports: &P,
    deployment: &Deployment,
    caller: &Authorized<WriteSessions>,
    message: SendMessage,
) -> Result<Enqueued, SendMessageError>
where
    P: Inbox + SessionDirectory + Uploads + Compute + Clock + IdSource,
{
    check_text(&message.text).map_err(SendMessageError::Invalid)?;
    check_attachments(ports, caller.owner(), &message.attachments).await?;
    let id = message
        .message_id
        .unwrap_or_else(|| CommandId::from_random(ports.random()));
    // A dead runner must not keep the message waiting: whoever looks first has it replaced.
    observe::observe(ports, &message.key)
        .await?
        .ok_or(NoSuchSession)?;
    let enqueued = ports
        .enqueue(
            &message.key,
            NewCommand {
                id,
                body: CommandBody::Message {
                    text: message.text,
                    attachments: message.attachments,
                },
                now: ports.now(),
                max_queued: deployment.max_queued_messages,
            },
        )
        .await
        .map_err(|error| match error {
            EnqueueError::NoSession => SendMessageError::NoSuchSession(NoSuchSession),
            EnqueueError::Ended(state) => SendMessageError::Ended(state),
            EnqueueError::Full => SendMessageError::Full(deployment.max_queued_messages),
            EnqueueError::IdReused => SendMessageError::IdReused,
            // Messages are what wakes it.
            EnqueueError::Suspended => SendMessageError::Ended(State::Suspended),
            EnqueueError::Unavailable(unavailable) => SendMessageError::Unavailable(unavailable),
        })?;
    if enqueued.suspended {
        wake::wake(ports, deployment.slots(), &message.key).await?;
    }
    Ok(enqueued)
}

pub(super) fn check_text(text: &str) -> Result<(), &'static str> {
    if text.trim().is_empty() {
        Err("it must not be empty")
    } else if text.len() > limits::MESSAGE_BYTES {
        Err("it has more than 204800 bytes; send long material as an attachment (create_upload)")
    } else if text.contains('\0') {
        Err("it must not contain NUL")
    } else {
        Ok(())
    }
}

pub(super) async fn check_attachments<P: Uploads>(
    ports: &P,
    owner: &OwnerId,
    attachments: &[Attachment],
) -> Result<(), AttachmentError> {
    if attachments.len() > limits::ATTACHMENTS {
        return Err(AttachmentError::TooMany);
    }
    let mut names: Vec<&str> = attachments.iter().map(|file| file.name.as_str()).collect();
    names.sort_unstable();
    let repeated = names.windows(2).any(|pair| pair[0] == pair[1]);
    let good = |name: &&str| {
        (1..=limits::FILE_NAME_BYTES).contains(&name.len())
            && *name != "."
            && *name != ".."
            && !name.contains('/')
            && !name.chars().any(char::is_control)
    };
    if repeated || !names.iter().all(good) {
        return Err(AttachmentError::Name);
    }
    for attachment in attachments {
        match ports.upload(owner, &attachment.upload).await? {
            None => return Err(AttachmentError::NoSuchUpload(attachment.upload.clone())),
            Some((_, false)) => return Err(AttachmentError::NotArrived(attachment.upload.clone())),
            Some((_, true)) => {}
        }
    }
    Ok(())
}
