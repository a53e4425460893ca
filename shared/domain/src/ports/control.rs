//! Changes of a session by someone who is not its runner, and forks.

use thiserror::Error;

use crate::{
    CheckpointId, Head, NewCheckpoint, RefName, Sequence, SessionKey, SessionSpec, State,
    Transition, UnixMillis, checkpoint::PendingQuestion, event::NewEvent, session::Parent,
    state::after,
};

use super::{ClientToken, Unavailable};

/// How many sessions may hold compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotLimits {
    /// Of the whole deployment.
    pub deployment: u32,
    /// Of one owner.
    pub owner: u32,
}

impl SlotLimits {
    /// For changes that take no slot.
    pub const NONE: Self = Self {
        deployment: 0,
        owner: 0,
    };
}

/// How many sessions hold compute now.
pub trait Slots: Send + Sync {
    /// Of the whole deployment. Changes nothing, so that cut, and twice, are harmless.
    ///
    /// # Errors
    /// [`Unavailable`]: ask again.
    fn slots_in_use(&self) -> impl Future<Output = Result<u32, Unavailable>> + Send;
}

/// A change of a session by someone who is not its runner.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlChange {
    /// The head this is based on: sequence, fence, state and commands (accepted and taken) must
    /// still be these, so that no message slips in between what the end names and the end.
    pub based_on: Head,
    /// What happens to it.
    pub transition: Transition,
    /// Why it ends.
    pub reason: String,
    /// For the log, `StateChanged` and `SessionEnded` included.
    pub events: Vec<NewEvent>,
    /// With `WasRewound`: to what.
    pub rewind: Option<Rewind>,
    /// Holds when the session begins to hold a slot; otherwise it is not looked at.
    pub slots: SlotLimits,
    /// Now.
    pub now: UnixMillis,
}

impl ControlChange {
    /// The head after it; `None` when the state does not know the transition. A session that is
    /// then suspended or ended is kept for `retention_milliseconds`.
    #[must_use]
    pub fn head_after(&self, retention_milliseconds: u64) -> Option<Head> {
        let mut head = self.based_on.clone();
        head.state = after(head.state, self.transition).ok()?;
        head.fence = head.fence.next();
        head.updated_at = self.now;
        head.last_sequence = Sequence(head.last_sequence.0 + self.events.len() as u64);
        match self.transition {
            Transition::WasWoken => {
                head.runner_asked_at = self.now;
                head.task = None;
                if self.based_on.state == State::Lost {
                    head.recoveries += 1;
                }
            }
            Transition::WasRewound => {
                let rewind = self.rewind.as_ref()?;
                head.checkpoint = Some(rewind.checkpoint.clone());
                head.cut_sequence = rewind.cut_sequence;
                head.checkpoints += u64::from(rewind.record.is_some());
                head.claude_session_id.clone_from(&rewind.claude_session_id);
                head.question.clone_from(&rewind.question);
                head.rewinds += 1;
                head.recoveries = 0;
                // What was under way is over; what waits is taken by the next runner.
                head.commands_settled = head.commands_taken;
                head.runner_asked_at = self.now;
            }
            _ => {}
        }
        if head.state.is_ended() {
            head.end_reason = Some(self.reason.clone());
            head.question = None;
        }
        let kept = head.state.is_ended() || head.state == State::Suspended;
        head.kept_until = kept.then(|| self.now.plus(retention_milliseconds));
        Some(head)
    }
}

/// What a session is set back to.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewind {
    /// The head's checkpoint from then on; it must be there.
    pub checkpoint: CheckpointId,
    /// Recorded with the change, when `checkpoint` is not there yet: another pair of files and
    /// conversation.
    pub record: Option<NewCheckpoint>,
    /// The checkpoint whose pinned, tagged or retained record the change relies on: refused when it
    /// is gone.
    pub target_ordinal: u64,
    /// The head's cut from then on.
    pub cut_sequence: Sequence,
    /// The CLI's session id in the transcript of the checkpoint.
    pub claude_session_id: Option<String>,
    /// The question that waits within the cut, under its new name.
    pub question: Option<PendingQuestion>,
    /// Keeps the head's checkpoint from before reachable: a new ref of that name.
    pub keep: Option<(RefName, CheckpointId)>,
}

/// Why a control change was not made.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The session moved on (or the checkpoint is gone); read it and decide again.
    #[error("the session changed meanwhile")]
    Changed,
    /// No slot of the deployment is free; try again later.
    #[error("the deployment already runs as many sessions as it may")]
    DeploymentFull,
    /// No slot of the owner is free; cancel or suspend a session.
    #[error("the owner already runs as many sessions as they may")]
    OwnerFull,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A fork to record.
#[derive(Clone, Debug, PartialEq)]
pub struct NewFork {
    /// Where; of the parent's owner.
    pub key: SessionKey,
    /// The parent as it was read: its tree becomes the fork's.
    pub parent: Head,
    /// Where the fork begins.
    pub begins_at: Parent,
    /// Ordinals of the parent's checkpoints whose manifests it uses, that one first: refused when
    /// one of them is gone.
    pub relies_on: Vec<u64>,
    /// The fork's own first checkpoint (ordinal 1), with the manifests of the parent's.
    pub checkpoint: NewCheckpoint,
    /// As the parent's.
    pub spec: SessionSpec,
    /// For lists.
    pub title: String,
    /// The first events, from sequence 1.
    pub events: Vec<NewEvent>,
    /// The client's token for repeating the request, with a digest of what it asks.
    pub client_token: Option<ClientToken>,
    /// Now.
    pub now: UnixMillis,
}

/// Why a fork was not recorded.
#[derive(Debug, Error)]
pub enum ForkError {
    /// The checkpoint is gone (or its session is).
    #[error("the checkpoint is not there any more")]
    CheckpointGone,
    /// The client token stands for another request; choose a new one.
    #[error("the client token was used for another request")]
    ClientTokenReused,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
