//! What the use cases need from outside, one small trait per need.
//!
//! Every method is safe to call again after an error whose outcome is unknown: writes carry
//! conditions, and repeating one that had happened gives what it gave the first time or a named
//! refusal. `testkit` has a fake for each and a contract that fake and real store both pass.

mod audit;
mod checkpoints;
mod clients;
mod control;
mod erasure;
mod git_credentials;
mod keys;
mod notices;
mod objects;
mod policies;
mod rates;
mod releases;

use std::error::Error;

use thiserror::Error;

use crate::{
    Command, CommandBody, CommandId, CommandOutcome, CommandState, Event, EventBody, FencingToken,
    Grant, Head, NewCheckpoint, OwnerId, Sequence, SessionId, SessionKey, SessionSpec, State,
    TreeId, TreeKey, UnixMillis, UploadId,
    checkpoint::PendingQuestion,
    event::NewEvent,
    upload::{SignedRequest, Upload},
};

pub use audit::{AuditTrail, LogBatch, LogChain, LogEnd, RecordError, RefusalCounts, Seals};
pub use checkpoints::{CheckpointError, Checkpoints, RefError, RemoveError, SweepError, Tree};
pub use clients::{
    Claim, ClientSession, ClientSessions, ClientStream, Posted, PostedMessages, ReplyMailbox,
    Rounds, StreamEvents, Withdrawals,
};
pub use control::{ControlChange, ControlError, ForkError, NewFork, Rewind, SlotLimits, Slots};
pub use erasure::{ChunkSweep, Chunks, Condemned, Erasure, ExpireError, Swept};
pub use git_credentials::{
    GitCredentials, GitSecretError, GitSecrets, NewGitCredential, RemovedGitCredential,
};
pub use keys::{ApiKeys, KeyRing, NewKey, RevokedKey};
pub use notices::{NoticeMessage, Notifier, Webhook, WebhookDirectory, WebhookSender};
pub use objects::{ObjectPage, PutNew, StoredObject, TreeObjects};
pub use policies::{BookChange, NotChanged, PolicyBooks};
pub use rates::{Rates, StreamPlace};
pub use releases::{Operators, Releases};

/// An outside service did not do it. The same call may succeed later.
#[derive(Debug, Error)]
#[error("could not {attempted}")]
pub struct Unavailable {
    /// What was tried, as "read the session".
    pub attempted: &'static str,
    /// The write may have happened all the same; repeat it to find out.
    pub outcome_unknown: bool,
    /// The service's own words, for logs only.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// The time, and waiting for it to pass.
pub trait Clock: Send + Sync {
    /// Now, on this machine's clock.
    fn now(&self) -> UnixMillis;
    /// Returns after at least `milliseconds`.
    fn sleep(&self, milliseconds: u64) -> impl Future<Output = ()> + Send;
}

/// Randomness that cannot be guessed.
pub trait IdSource: Send + Sync {
    /// 136 random bits.
    fn random(&self) -> [u8; 17];
}

/// A session to record.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSession {
    /// Where.
    pub key: SessionKey,
    /// What was asked for.
    pub spec: SessionSpec,
    /// For lists.
    pub title: String,
    /// The first message: command 1.
    pub first_message: (CommandId, CommandBody),
    /// The client's token for repeating the request, with a digest of what it asks.
    pub client_token: Option<ClientToken>,
    /// Now.
    pub now: UnixMillis,
    /// At most this many sessions may hold compute.
    pub max_sessions: u32,
    /// The same for this owner.
    pub max_sessions_per_owner: u32,
}

/// Makes repeating a creation harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientToken {
    /// As the client chose it.
    pub token: String,
    /// Digest of everything else that it asked for.
    pub request_digest: String,
}

/// What recording a session gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Creation {
    /// The session, new or found.
    pub head: Head,
    /// It was there already, by its client token (or this very call had happened before).
    pub repeated: bool,
}

/// Why a session was not recorded.
#[derive(Debug, Error)]
pub enum CreateError {
    /// All slots of the deployment are taken; wait or cancel one.
    #[error("the deployment already runs as many sessions as it may")]
    DeploymentFull,
    /// All slots of the owner are taken; cancel one.
    #[error("the owner already runs as many sessions as they may")]
    OwnerFull,
    /// The client token stands for another request; choose a new one.
    #[error("the client token was used for another request")]
    ClientTokenReused,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Which sessions to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// In one of these states; all when empty.
    pub states: Vec<State>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// Created at or after.
    pub created_from: Option<UnixMillis>,
    /// Created before.
    pub created_before: Option<UnixMillis>,
    /// Continue after this one (newest first).
    pub after: Option<ListPosition>,
    /// At most this many.
    pub limit: usize,
}

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPosition {
    /// Of the last session on it.
    pub created_at: UnixMillis,
    /// The last session on it.
    pub session: SessionId,
}

/// A page of sessions, newest first; the same time is ordered by id, from the highest. A page may
/// be short (even empty) though there is more: then `next` says where to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionPage {
    /// The sessions.
    pub heads: Vec<Head>,
    /// Where to go on, when there is more.
    pub next: Option<ListPosition>,
}

/// Sessions as records.
pub trait SessionDirectory: Send + Sync {
    /// Records the session in state `requested`, its first event and its first message, and takes
    /// one slot of deployment and owner; all or nothing.
    fn create(&self, new: NewSession)
    -> impl Future<Output = Result<Creation, CreateError>> + Send;

    /// The session as it is now (strongly consistent), or `None` when this owner has no such one.
    fn head(
        &self,
        key: &SessionKey,
    ) -> impl Future<Output = Result<Option<Head>, Unavailable>> + Send;

    /// A page of the owner's sessions. May lag behind by a moment.
    fn list(
        &self,
        owner: &OwnerId,
        query: &ListQuery,
    ) -> impl Future<Output = Result<SessionPage, Unavailable>> + Send;

    /// Records a fork in state `suspended`: its first events, its first checkpoint, and its place
    /// in the tree; all or nothing. It takes no slot. The checkpoint that it begins at must still
    /// be there. Repeating it, by its client token or this very call, gives the fork as it is.
    fn fork(&self, new: NewFork) -> impl Future<Output = Result<Creation, ForkError>> + Send;

    /// Applies the transition, appends the events without a runner, raises the fence so that the
    /// runner (if any) can write nothing any more, and frees or takes the slots when the session
    /// stops or begins to hold them. The events carry the fence of the head they are based on. A
    /// transition that the state does not know is [`ControlError::Changed`] too.
    ///
    /// `WasWoken` notes when the runner was asked for and forgets the task; from `lost` it counts
    /// one recovery.
    fn control(
        &self,
        change: ControlChange,
    ) -> impl Future<Output = Result<Head, ControlError>> + Send;

    /// Notes which task was started for a session that awaits a runner after this fence; otherwise
    /// nothing.
    fn note_task(
        &self,
        key: &SessionKey,
        fence: FencingToken,
        task: &str,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Notes that a suspended session in which commands wait found no slot, so that others are
    /// looked at before it; of other sessions nothing.
    fn postpone(
        &self,
        key: &SessionKey,
        now: UnixMillis,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Sessions that nobody looked at in time ([`Head::look_at`] is before `now`): their lease ran
    /// out, or their start may have to be repeated. Oldest first. May lag.
    fn overdue(
        &self,
        now: UnixMillis,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<SessionKey>, Unavailable>> + Send;
}

/// The right to append, held by one runner at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which session.
    pub key: SessionKey,
    /// The runner's number.
    pub fence: FencingToken,
    /// The tree of the session, under which its objects lie.
    pub tree: TreeId,
}

impl Lease {
    /// Where the objects of the session's tree live.
    #[must_use]
    pub fn tree_key(&self) -> TreeKey {
        TreeKey {
            owner: self.key.owner.clone(),
            tree: self.tree.clone(),
        }
    }
}

/// Why a runner did not get the session.
#[derive(Debug, Error)]
pub enum AcquireError {
    /// There is no such session, or it has ended, or another runner has it: leave.
    #[error("the session is {0} and not to be taken over")]
    NotAvailable(String),
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a runner's write was refused.
#[derive(Debug, Error)]
pub enum AppendError {
    /// Another has the session now: stop everything, write nothing.
    #[error("the lease was lost")]
    LeaseLost,
    /// Only the sequence moved on (a control event came between): read the head, number again.
    #[error("the log has moved on to {last_sequence}")]
    SequenceTaken {
        /// The log's last event now.
        last_sequence: Sequence,
    },
    /// A command came after the last taken one, and the append required that none had.
    #[error("a command came meanwhile")]
    CommandCame,
    /// A command that was to be taken is not queued any more (or one that was to be finished not
    /// taken by this runner): read the inbox again.
    #[error("a command was withdrawn meanwhile")]
    CommandWithdrawn,
    /// A sweep of the tree began since the checkpoint's [`NewCheckpoint::generation`] was read: see
    /// that everything it reuses is still there, and append it again with the new generation.
    #[error("a sweep of the tree began meanwhile")]
    SweepBegan {
        /// The generation now.
        generation: u64,
    },
    /// Try again with the same request token.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// One append: a single transaction over the head, one batch of events, and the commands it moves.
#[derive(Clone, Debug, PartialEq)]
pub struct Append {
    /// Makes a repeat of the same append harmless; new for every append.
    pub request_token: String,
    /// Sequence of the first event; the log must end right before it.
    pub first: Sequence,
    /// At most [`crate::limits::EVENTS_PER_BATCH`]; none when only commands move.
    pub events: Vec<NewEvent>,
    /// The session's state after it.
    pub state: State,
    /// Turns started so far.
    pub turn: u32,
    /// Renews the lease until then.
    pub lease_until: UnixMillis,
    /// Commands this append takes, in order, directly after the ones taken before; with the ones
    /// it finishes at most [`crate::limits::COMMANDS_PER_APPEND`]. List withdrawn ones as they
    /// were read: they are passed over, and count as taken; so are those of an earlier runner that
    /// need not be taken ([`Command::to_take`]). A hole is refused unless what stands in it was
    /// withdrawn.
    pub take: Vec<Command>,
    /// Commands this append finishes: taken by this runner before, or in this append. What is kept
    /// of an outcome says [`CommandOutcome::kept`].
    pub finish: Vec<(Command, CommandOutcome)>,
    /// Cost of the session so far.
    pub total_cost_usd: f64,
    /// The CLI's own session id, once known.
    pub claude_session_id: Option<String>,
    /// Set when `state` is an end: why.
    pub end_reason: Option<String>,
    /// Refuse with [`AppendError::CommandCame`] when commands wait that neither this append nor one
    /// before has taken. An append whose `state` is an end or `suspended` always does so: a message
    /// that came meanwhile must be named in `SessionEnded`, or keep the session awake, so take it
    /// and try again.
    pub only_if_inbox_empty: bool,
    /// The question that waits for a person after it; the head has exactly this one afterwards.
    pub question: Option<PendingQuestion>,
    /// What a person has allowed for the rest of the session, all of it; unchanged when absent.
    pub grants: Option<Vec<Grant>>,
    /// A checkpoint that becomes visible with this append; its manifests are stored. The session
    /// then goes on from it.
    pub checkpoint: Option<NewCheckpoint>,
    /// Now.
    pub now: UnixMillis,
}

impl Append {
    /// The event with which this append ends the turn of a message.
    #[must_use]
    pub fn end_of(&self, message: &CommandId) -> Option<Sequence> {
        let ends = |event: &NewEvent| match &event.body {
            EventBody::TurnEnded(end) => end.messages.contains(message),
            _ => false,
        };
        let at = self.events.iter().position(ends)?;
        Some(Sequence(self.first.0 + at as u64))
    }
}

/// The ordered log of one session.
pub trait SessionLog: Send + Sync {
    /// Takes a session over that awaits a runner: raises the fence, state `provisioning`, events
    /// `RunnerStarted` and `StateChanged`, and commands count as taken up to
    /// [`Head::commands_settled`] only. Repeating it with the same task gives the same lease and the
    /// head as it is.
    fn acquire(
        &self,
        key: &SessionKey,
        task: &str,
        isolation: &str,
        lease_until: UnixMillis,
        now: UnixMillis,
    ) -> impl Future<Output = Result<(Lease, Head), AcquireError>> + Send;

    /// Appends; an end or a suspension frees the slots in the same transaction. Gives the last
    /// sequence. Of several reasons for a refusal, the one that stands first in [`AppendError`] is
    /// given. A session that no runner has (it ended, it is suspended) is a lost lease.
    ///
    /// A checkpoint, and the end of a turn, forget the recoveries.
    fn append(
        &self,
        lease: &Lease,
        append: &Append,
    ) -> impl Future<Output = Result<Sequence, AppendError>> + Send;

    /// Keeps the lease when there is nothing to append.
    fn renew(
        &self,
        lease: &Lease,
        lease_until: UnixMillis,
    ) -> impl Future<Output = Result<(), AppendError>> + Send;

    /// Events after `after`, in order, up to about `limit_bytes` of bodies; stops at a gap. Bodies
    /// that are in the bucket come as previews.
    fn read(
        &self,
        key: &SessionKey,
        after: Sequence,
        limit_bytes: usize,
    ) -> impl Future<Output = Result<Vec<Event>, Unavailable>> + Send;

    /// Replaces the text that is being written right now; `None` clears it. Ordered after
    /// `after`; expires by itself. Refused with `LeaseLost` when a newer runner has written; a text
    /// that a lost runner leaves behind carries its fence, by which readers know it.
    fn set_live(
        &self,
        lease: &Lease,
        live: Option<LiveText>,
    ) -> impl Future<Output = Result<(), AppendError>> + Send;

    /// The text that is being written right now.
    fn live(
        &self,
        key: &SessionKey,
    ) -> impl Future<Output = Result<Option<LiveText>, Unavailable>> + Send;
}

/// Bodies of events that are too long for the log.
pub trait WholeBodies: Send + Sync {
    /// The body of an event as it was before it was shortened; the one of the log when it was not,
    /// or when the whole is gone. `None` when there is no such event.
    fn whole_body(
        &self,
        key: &SessionKey,
        sequence: Sequence,
    ) -> impl Future<Output = Result<Option<EventBody>, Unavailable>> + Send;
}

/// Text that is not an event yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveText {
    /// The last event before it.
    pub after: Sequence,
    /// Which runner wrote it.
    pub fence: FencingToken,
    /// The block so far; its tail when it is long.
    pub text: String,
    /// When, on the runner's clock.
    pub time: UnixMillis,
}

/// A command to accept.
#[derive(Clone, Debug, PartialEq)]
pub struct NewCommand {
    /// The client's name for it.
    pub id: CommandId,
    /// What is asked.
    pub body: CommandBody,
    /// Now.
    pub now: UnixMillis,
    /// Refuse when this many wait already; withdrawn ones wait until the runner has passed them.
    pub max_queued: u32,
}

/// What accepting a command gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Enqueued {
    /// The command, new or found.
    pub command: Command,
    /// The session was suspended then: whoever sent the command wakes it.
    pub suspended: bool,
    /// It was there already; nothing was done.
    pub repeated: bool,
}

/// Why a command was not accepted.
#[derive(Debug, Error)]
pub enum EnqueueError {
    /// No such session of this owner.
    #[error("no such session")]
    NoSession,
    /// The session has ended.
    #[error("the session is {0}")]
    Ended(State),
    /// The session is suspended, and the command is not worth a runner.
    #[error("the session is suspended")]
    Suspended,
    /// Too many wait; wait for the session to catch up.
    #[error("too many messages wait already")]
    Full,
    /// The name stands for another command; choose a new one.
    #[error("the message id was used for another message")]
    IdReused,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What withdrawing gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// The CLI will not see it (also when it had been withdrawn before).
    Withdrawn,
    /// Too late: it is in this state.
    TooLate(CommandState),
    /// No such message.
    Unknown,
}

/// Commands on their way to the runner.
pub trait Inbox: Send + Sync {
    /// Accepts a command of a session that has not ended; a suspended one accepts what is worth
    /// a runner ([`CommandBody::is_awaited`]), and is then overdue until it is woken. The same id
    /// with the same body again gives the recorded one.
    fn enqueue(
        &self,
        key: &SessionKey,
        command: NewCommand,
    ) -> impl Future<Output = Result<Enqueued, EnqueueError>> + Send;

    /// The command of that name.
    fn command(
        &self,
        key: &SessionKey,
        id: &CommandId,
    ) -> impl Future<Output = Result<Option<Command>, Unavailable>> + Send;

    /// Commands with an ordinal above `ordinal`, in order (withdrawn ones too).
    fn commands_after(
        &self,
        key: &SessionKey,
        ordinal: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Command>, Unavailable>> + Send;

    /// Takes a queued message back, with an event in the log. What an ended session left is
    /// `TooLate(NotDone)`. When everything up to it was taken or withdrawn, it counts as taken.
    fn withdraw(
        &self,
        key: &SessionKey,
        id: &CommandId,
        now: UnixMillis,
    ) -> impl Future<Output = Result<Withdrawal, Unavailable>> + Send;

    /// Records what came of a taken command outside an append (`read_file`): only under the lease.
    /// Repeating it with the same outcome is harmless; a command that this runner has not taken is
    /// [`AppendError::CommandWithdrawn`].
    fn finish(
        &self,
        lease: &Lease,
        command: &Command,
        outcome: CommandOutcome,
    ) -> impl Future<Output = Result<(), AppendError>> + Send;
}

/// Uploads.
pub trait Uploads: Send + Sync {
    /// Records the upload and signs the one request that fills it.
    fn sign(
        &self,
        upload: &Upload,
    ) -> impl Future<Output = Result<SignedRequest, Unavailable>> + Send;

    /// The upload of that owner, and whether the file has arrived.
    fn upload(
        &self,
        owner: &OwnerId,
        id: &UploadId,
    ) -> impl Future<Output = Result<Option<(Upload, bool)>, Unavailable>> + Send;
}

/// Where runners run.
pub trait Compute: Send + Sync {
    /// Starts a runner for the session unless one was started for this fence (same token), and
    /// gives the task's name.
    fn start_runner(
        &self,
        key: &SessionKey,
        fence: FencingToken,
    ) -> impl Future<Output = Result<String, Unavailable>> + Send;

    /// Stops a task; one that is gone already is no error.
    fn stop_runner(
        &self,
        task: &str,
        reason: &str,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}
