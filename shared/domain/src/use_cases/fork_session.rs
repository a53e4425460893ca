//! Branching: a new session that goes on from a checkpoint of another one.

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    Authorized, CheckpointId, CommandBody, CommandId, Deployment, Head, NewCheckpoint, SessionId,
    SessionKey,
    authorization::WriteSessions,
    checkpoint::{CheckpointName, CheckpointSize, CheckpointTrigger, RestoreScope},
    event::EventBody,
    ids::base32,
    limits,
    ports::{
        Checkpoints, ClientToken, Clock, Compute, Creation, EnqueueError, ForkError, IdSource,
        Inbox, NewCommand, NewFork, SessionDirectory, Unavailable,
    },
    session::Parent,
};

use super::{
    FindCheckpointError, NoSuchSession, checkpoints, create_session, observe,
    send_message::check_text, wake,
};

/// What a caller asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkSession {
    /// Which session to branch; it may have ended.
    pub key: SessionKey,
    /// Where.
    pub checkpoint: CheckpointName,
    /// What to take over.
    pub what: RestoreScope,
    /// The first message to the fork; without one it waits, suspended.
    pub prompt: Option<String>,
    /// The client's name for that message; `first` when absent.
    pub message_id: Option<CommandId>,
    /// Makes repeating the request harmless.
    pub client_token: Option<String>,
}

/// Why no fork was made.
#[derive(Debug, Error)]
pub enum ForkSessionError {
    /// There is no such session or checkpoint.
    #[error(transparent)]
    Find(#[from] FindCheckpointError),
    /// A field breaks its rule.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong and what is right.
        problem: &'static str,
    },
    /// The client token stands for another request; choose a new one.
    #[error("client_token was used for a different request; choose a new one")]
    ClientTokenReused,
    /// Try again, with the same client token.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Records a fork, suspended, and gives it its first message, which wakes it. It shares all that is
/// stored with its tree, and takes a slot only when it is woken.
///
/// Run twice with the same client token it gives the same session. Cut after it was recorded, the
/// repeat sends the message; cut after that, the sweep wakes it.
///
/// # Errors
/// [`ForkSessionError`].
pub async fn fork_session<P>(
    ports: &P,
    deployment: &Deployment,
    _caller: &Authorized<WriteSessions>,
    request: ForkSession,
) -> Result<Creation, ForkSessionError>
where
    P: SessionDirectory + Inbox + Checkpoints + Compute + Clock + IdSource,
{
    check(&request)?;
    let parent = observe::observe(ports, &request.key)
        .await?
        .ok_or(FindCheckpointError::NoSuchSession(NoSuchSession))?;
    let new = new_fork(ports, &request, parent).await?;
    let creation = ports.fork(new).await.map_err(|error| match error {
        ForkError::CheckpointGone => ForkSessionError::Find(FindCheckpointError::NoSuchCheckpoint),
        ForkError::ClientTokenReused => ForkSessionError::ClientTokenReused,
        ForkError::Unavailable(unavailable) => ForkSessionError::Unavailable(unavailable),
    })?;
    let Some(prompt) = request.prompt else {
        return Ok(creation);
    };
    let key = &creation.head.key;
    let command = NewCommand {
        id: request.message_id.map_or_else(first, Ok)?,
        body: CommandBody::Message {
            text: prompt,
            attachments: Vec::new(),
        },
        now: ports.now(),
        max_queued: u32::MAX,
    };
    match ports.enqueue(key, command).await {
        Ok(_) => {}
        // A repeat finds the fork ended, or with another message of that name: it is as it is.
        Err(EnqueueError::Ended(_) | EnqueueError::IdReused | EnqueueError::NoSession) => {
            return Ok(creation);
        }
        Err(EnqueueError::Suspended | EnqueueError::Full) => return Ok(creation),
        Err(EnqueueError::Unavailable(unavailable)) => return Err(unavailable.into()),
    }
    let head = match wake::wake(ports, deployment.slots(), key).await? {
        wake::Woken::Awake(head) | wake::Woken::NoSlot(head) | wake::Woken::Nothing(head) => head,
        wake::Woken::Gone => creation.head,
    };
    Ok(Creation {
        head,
        repeated: creation.repeated,
    })
}

fn first() -> Result<CommandId, ForkSessionError> {
    CommandId::parse("first").map_err(|error| ForkSessionError::Invalid {
        field: "message_id",
        problem: error.rule,
    })
}

fn check(request: &ForkSession) -> Result<(), ForkSessionError> {
    if let Some(prompt) = &request.prompt {
        check_text(prompt).map_err(|problem| ForkSessionError::Invalid {
            field: "prompt",
            problem,
        })?;
    }
    if let Some(token) = &request.client_token
        && !((1..=limits::CLIENT_TOKEN_CHARACTERS).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        return Err(ForkSessionError::Invalid {
            field: "client_token",
            problem: "use 1 to 64 printable ASCII characters without spaces",
        });
    }
    Ok(())
}

async fn new_fork<P>(
    ports: &P,
    request: &ForkSession,
    parent: Head,
) -> Result<NewFork, ForkSessionError>
where
    P: Checkpoints + Clock + IdSource,
{
    let at = checkpoints::find(ports, &parent, &request.checkpoint).await?;
    let mut relies_on = vec![at.ordinal];
    let (files, size) = match request.what {
        RestoreScope::Both => (at.files.clone(), at.size),
        RestoreScope::Conversation => {
            let newest = checkpoints::find(ports, &parent, &CheckpointName::Latest).await?;
            if newest.ordinal != at.ordinal {
                relies_on.push(newest.ordinal);
            }
            (newest.files, newest.size)
        }
    };
    let now = ports.now();
    let begins_at = Parent {
        session: parent.key.session.clone(),
        checkpoint: at.id.clone(),
    };
    let bodies = [
        EventBody::SessionCreated,
        EventBody::SessionForked {
            parent: begins_at.session.clone(),
            checkpoint: at.id.clone(),
            what: request.what,
        },
    ];
    Ok(NewFork {
        key: SessionKey {
            owner: parent.key.owner.clone(),
            session: SessionId::from_random(ports.random()),
        },
        checkpoint: NewCheckpoint {
            id: CheckpointId::from_random(ports.random()),
            ordinal: 1,
            trigger: CheckpointTrigger::Fork,
            parent: Some(at.id),
            files,
            conversation: at.conversation,
            sequence: None,
            // Its commands begin anew.
            commands_settled: 0,
            turn: at.turn,
            claude_session_id: at.claude_session_id,
            question: at.question,
            message: None,
            tags: Vec::new(),
            pinned: false,
            // All of it is shared.
            size: CheckpointSize {
                new_bytes: 0,
                ..size
            },
            generation: 0,
        },
        relies_on,
        spec: parent.spec.clone(),
        title: match &request.prompt {
            Some(prompt) => create_session::title(prompt),
            None => parent.title.clone(),
        },
        events: bodies
            .map(|body| observe::event(&parent, now, body))
            .to_vec(),
        client_token: request.client_token.clone().map(|token| ClientToken {
            token,
            request_digest: base32(&Sha256::digest(format!("fork {request:?}"))),
        }),
        begins_at,
        parent,
        now,
    })
}
