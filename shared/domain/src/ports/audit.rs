//! Where chains are kept.

use thiserror::Error;

use crate::{
    Event, Sequence, SessionKey, UnixMillis,
    audit::{AuditChain, AuditEntry, ChainEnd, FoundSeal, Refusals, Seal, Subject},
    chain::Link,
};

use super::Unavailable;

/// Why an entry was not added.
#[derive(Debug, Error)]
pub enum RecordError {
    /// There is an entry about it, or the entries about its session do not end where it begins.
    #[error("there is an entry about it")]
    Recorded,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The links of session logs.
pub trait LogChain: Send + Sync {
    /// The links behind the event `after`, which is the last of its link; the oldest first.
    fn log_links(
        &self,
        key: &SessionKey,
        after: Sequence,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Link>, Unavailable>> + Send;

    /// The same with their events, for whoever wants to know what the log says.
    fn log_batches(
        &self,
        key: &SessionKey,
        after: Sequence,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<LogBatch>, Unavailable>> + Send;

    /// The events behind `after` up to `last` whose long bodies are kept apart and are not, or no longer,
    /// what the log says of them.
    fn changed_bodies(
        &self,
        key: &SessionKey,
        after: Sequence,
        last: Sequence,
    ) -> impl Future<Output = Result<Vec<Sequence>, Unavailable>> + Send;

    /// Where the log of a session ends, as the session itself has it; `None` when there is no session,
    /// and a chain without digest for one that has none.
    fn log_end(
        &self,
        key: &SessionKey,
    ) -> impl Future<Output = Result<Option<LogEnd>, Unavailable>> + Send;
}

/// A link of a log and its events.
#[derive(Clone, Debug, PartialEq)]
pub struct LogBatch {
    /// Its place in the log.
    pub link: Link,
    /// The events; `None` when somebody changed them so that they cannot be read, which the link shows.
    pub events: Option<Vec<Event>>,
}

/// Where a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// Its last event.
    pub last: Sequence,
    /// Its digest; none when the session does not say it.
    pub digest: Option<crate::ChainDigest>,
}

/// The chains of the audit.
pub trait AuditTrail: Send + Sync {
    /// Adds an entry behind the last one. About the same piece, erasure or minute there is one entry,
    /// however often this is called: a piece begins where the entries about its session end.
    fn record(
        &self,
        chain: &AuditChain,
        subject: Subject,
        now: UnixMillis,
    ) -> impl Future<Output = Result<AuditEntry, RecordError>> + Send;

    /// The last event of a session that an entry is about; 0 before the first.
    fn recorded(
        &self,
        key: &SessionKey,
    ) -> impl Future<Output = Result<Sequence, Unavailable>> + Send;

    /// Whether an entry says that the session was erased.
    fn is_erased(&self, key: &SessionKey)
    -> impl Future<Output = Result<bool, Unavailable>> + Send;

    /// Where a chain ends, and when that was written; `None` before its first entry.
    fn chain_end(
        &self,
        chain: &AuditChain,
    ) -> impl Future<Output = Result<Option<(ChainEnd, UnixMillis)>, Unavailable>> + Send;

    /// Entries behind the one with this number, the oldest first; fewer when they are long.
    fn entries(
        &self,
        chain: &AuditChain,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<AuditEntry>, Unavailable>> + Send;

    /// Entries before the one with this number, the newest first.
    fn entries_before(
        &self,
        chain: &AuditChain,
        before: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<AuditEntry>, Unavailable>> + Send;
}

/// Counting refused requests, before they are entries.
pub trait RefusalCounts: Send + Sync {
    /// One more of this source, in the minute of `now`.
    fn count_refusal(
        &self,
        source: &str,
        now: UnixMillis,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// What was counted in minutes that were over at `now`, the oldest first. Recording it as an entry
    /// takes it away.
    fn refusals(
        &self,
        now: UnixMillis,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Refusals>, Unavailable>> + Send;
}

/// Where the ends of chains are kept, signed, so that nobody can change them.
pub trait Seals: Send + Sync {
    /// Chains that have to be sealed at `now`.
    fn to_seal(
        &self,
        now: UnixMillis,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<AuditChain>, Unavailable>> + Send;

    /// Keeps a seal; the chain has to be sealed again when it has moved.
    fn keep_seal(&self, seal: &Seal) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Seals of entries behind the one with this number up to another, the oldest first.
    fn seals(
        &self,
        chain: &AuditChain,
        after: u64,
        to: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<FoundSeal>, Unavailable>> + Send;
}
