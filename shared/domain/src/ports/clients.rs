//! What the protocol's edge keeps for clients between their requests. None of it is a session's own
//! state: losing all of it costs a client one `initialize` and an open question.

use super::Unavailable;
use crate::client_session::{ClientKey, RoundId};
use crate::{OwnerId, UnixMillis};

/// What a client of the initialize era said about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSession {
    /// The parameters of its `initialize`, as JSON; the version in it is the negotiated one. Empty
    /// while there was none.
    pub introduction: String,
    /// Gone after this, unless it is used.
    pub expires_at: UnixMillis,
}

/// Sessions of clients of the initialize era. Expired ones count as gone.
pub trait ClientSessions: Send + Sync {
    /// Records a session; recording the same one again changes nothing.
    fn open(
        &self,
        key: &ClientKey,
        session: &ClientSession,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// The session, or `None` when this owner has no such one (any more).
    fn client(
        &self,
        key: &ClientKey,
    ) -> impl Future<Output = Result<Option<ClientSession>, Unavailable>> + Send;

    /// Replaces what a client said about itself; says whether there is such a session.
    fn introduce(
        &self,
        key: &ClientKey,
        introduction: &str,
    ) -> impl Future<Output = Result<bool, Unavailable>> + Send;

    /// Lets a session live until then; one that is gone stays gone.
    fn keep(
        &self,
        key: &ClientKey,
        expires_at: UnixMillis,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Ends a session; says whether there was one.
    fn close(&self, key: &ClientKey) -> impl Future<Output = Result<bool, Unavailable>> + Send;
}

/// Answers of clients to requests that a server sent them: they reach whichever instance waits.
pub trait ReplyMailbox: Send + Sync {
    /// Notes that a reply to `request` is awaited until `expires_at`.
    fn await_reply(
        &self,
        key: &ClientKey,
        request: &str,
        expires_at: UnixMillis,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Leaves a reply (JSON). Only the first to a request that is awaited is kept; says whether
    /// this one was.
    fn deliver(
        &self,
        key: &ClientKey,
        request: &str,
        reply: &str,
    ) -> impl Future<Output = Result<bool, Unavailable>> + Send;

    /// The reply, once it is there. Reading does not remove it.
    fn reply(
        &self,
        key: &ClientKey,
        request: &str,
    ) -> impl Future<Output = Result<Option<String>, Unavailable>> + Send;
}

/// Requests that their client may take back while they are worked on, on whichever instance.
pub trait Withdrawals: Send + Sync {
    /// Lets `request` be taken back, until `expires_at`, from `worker` (a name for this one piece of
    /// work). What was there under that name before counts no more: a client that uses one again
    /// means the newer.
    fn allow_withdrawal(
        &self,
        key: &ClientKey,
        request: &str,
        worker: &str,
        expires_at: UnixMillis,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Takes a request back; says whether somebody works on it. Twice is once.
    fn withdraw(
        &self,
        key: &ClientKey,
        request: &str,
    ) -> impl Future<Output = Result<bool, Unavailable>> + Send;

    /// Whether the request was taken back from this worker.
    fn is_withdrawn(
        &self,
        key: &ClientKey,
        request: &str,
        worker: &str,
    ) -> impl Future<Output = Result<bool, Unavailable>> + Send;

    /// This worker has finished: nothing of its is left to take back.
    fn end_withdrawal(
        &self,
        key: &ClientKey,
        request: &str,
        worker: &str,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}

/// One stream of messages to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientStream {
    /// The JSON-RPC id (as JSON) of the request that it answers.
    pub request: String,
    /// Nobody writes it any more after this, on the writer's clock, unless the writer says so
    /// again; a reader then stops waiting.
    pub written_until: UnixMillis,
    /// The answer was written.
    pub complete: bool,
    /// Gone after this.
    pub expires_at: UnixMillis,
}

/// Messages that were sent to a client, kept so that a broken stream can be taken up again.
pub trait StreamEvents: Send + Sync {
    /// Notes a stream's state: that it began, goes on, or is complete.
    fn note_stream(
        &self,
        key: &ClientKey,
        stream: &str,
        state: &ClientStream,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// The stream's state, or `None` when there is no such one (any more).
    fn stream(
        &self,
        key: &ClientKey,
        stream: &str,
    ) -> impl Future<Output = Result<Option<ClientStream>, Unavailable>> + Send;

    /// Keeps message `position` (from 1) of a stream; writing it again changes nothing.
    fn keep_message(
        &self,
        key: &ClientKey,
        stream: &str,
        position: u64,
        message: &str,
        expires_at: UnixMillis,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Messages after `position`, in order, with their positions; not all at once when they are
    /// many.
    fn messages_after(
        &self,
        key: &ClientKey,
        stream: &str,
        position: u64,
    ) -> impl Future<Output = Result<Vec<(u64, String)>, Unavailable>> + Send;
}

/// A message of a client of 2024-11-05.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// Its name among the client's messages.
    pub name: String,
    /// JSON.
    pub message: String,
}

/// Messages of clients of 2024-11-05 on their way to the instance that holds the client's stream.
pub trait PostedMessages: Send + Sync {
    /// Leaves a message (JSON). `name` (ASCII, no blanks) orders messages and makes a repeat of this
    /// very call harmless.
    fn post(
        &self,
        key: &ClientKey,
        name: &str,
        message: &str,
        expires_at: UnixMillis,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Takes the waiting messages for `taker` (a name for one holder of the stream), in the order of
    /// their names; not all at once when they are many. Each has one taker, and is given to that one
    /// again until it is removed: so an answer that was lost loses nothing. What a taker had when it
    /// died is lost with it, as its stream is.
    fn take_posted(
        &self,
        key: &ClientKey,
        taker: &str,
    ) -> impl Future<Output = Result<Vec<Posted>, Unavailable>> + Send;

    /// The taker has this message, and need not be given it again. Twice is once.
    fn remove_posted(
        &self,
        key: &ClientKey,
        taker: &str,
        name: &str,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}

/// What became of a round of questions when answers to it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// These are the first answers, or the same as the first, whose outcome is not recorded: go on.
    Open,
    /// The same answers were given before, and this (JSON) came of them.
    Settled(String),
    /// Other answers were given before; these count for nothing.
    Different,
}

/// Rounds of questions to a person: each takes one set of answers.
pub trait Rounds: Send + Sync {
    /// Gives answers (their digest) to a round. The first ones count.
    fn claim(
        &self,
        owner: &OwnerId,
        round: &RoundId,
        answers_digest: &str,
        expires_at: UnixMillis,
    ) -> impl Future<Output = Result<Claim, Unavailable>> + Send;

    /// Records what came of the answers (JSON), unless that was recorded before: gives what is
    /// recorded.
    fn settle(
        &self,
        owner: &OwnerId,
        round: &RoundId,
        outcome: &str,
    ) -> impl Future<Output = Result<String, Unavailable>> + Send;
}
