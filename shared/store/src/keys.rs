//! The table design: every kind of record, where it lies, who writes it and when it dies.
//!
//! One table, keys `pk` and `sk`, both strings. What a session's runner writes lies in the session's own
//! partition, `owner#session`; what it reads or counts beside that (its tree, policies, slots) in
//! partitions that hold nothing else: its credentials name partitions, not rows. Times are milliseconds
//! since 1970, except `expires_at`, which DynamoDB's TTL reads as seconds; readers treat an expired row
//! as gone, because the sweep may be late. Prefixes are stored for ever: the test below pins them. When
//! each kind goes is also in [`crate::retention`], as a table.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    CheckpointId, ClientKey, CommandId, GitHost, KeyId, OwnerId, PolicyName, PolicyScope, RefName,
    Sequence, SessionId, SessionKey, TreeId, TreeKey, UnixMillis, UploadId, audit::AuditChain,
    client_session::RoundId,
};

mod live;

pub(crate) use live::*;

pub(crate) const PARTITION: &str = "pk";
pub(crate) const SORT: &str = "sk";
/// Epoch seconds after which a row is gone.
pub(crate) const EXPIRES_AT: &str = "expires_at";

/// Index of an owner's sessions by creation: `owner_key` = owner, `owner_sort` = [`owner_sort`].
pub(crate) const BY_OWNER: &str = "by_owner";
pub(crate) const OWNER_KEY: &str = "owner_key";
pub(crate) const OWNER_SORT: &str = "owner_sort";

/// One variant per kind of record.
#[derive(Clone, Debug)]
pub(crate) enum Record<'a> {
    /// A session as it stands. Scope: session. Writer: everybody, each under its own condition.
    /// Unreadable `retention_days` after the end; the sweep then erases the whole session, this
    /// row last. Key: `owner#session`,
    /// `head`. Value: the attributes of `head.rs`; the spec as JSON text.
    Head(&'a SessionKey),
    /// What is left of an erased session while something may still write for it. Scope: session.
    /// Writer: the sweep, in the transaction that removes the head. Dies when the sweep has looked
    /// again. Key: `owner#session`, `tombstone`. Value: `tree`; in the live index until then.
    Tombstone(&'a SessionKey),
    /// One batch of events. Scope: session. Writer: whoever moves the head, in the same
    /// transaction; never changed. Dies before its head. Key: `owner#session`,
    /// `log#<sequence of its last event>`: a reader after sequence n asks for keys above n and
    /// gets the batch that contains n + 1 first. Value: `first`, `count`, `events` (zstd of a JSON
    /// array), `request_token` of the append.
    Batch(&'a SessionKey, Sequence),
    /// Text that is not an event yet. Scope: session. Writer: the runner; a newer fence wins. Dies
    /// after `keep_deltas_hours`. Key: `owner#session`, `live`. Value: `fence`,
    /// and `after`, `text`, `time` unless it was cleared.
    Live(&'a SessionKey),
    /// A command. Scope: session. Writer: a function when it is accepted or withdrawn, the runner
    /// afterwards. Dies before its head. Key: `owner#session`, `command#<ordinal>`. Value: `id`,
    /// `body` (JSON), `text` (of a message), `state`, `taken_by` (fence), `accepted_at`, `outcome`
    /// (JSON), `content` (bytes of a file that was read).
    Command(&'a SessionKey, u64),
    /// The ordinal of a command by its name. Writer: with the command. Dies with it. Key:
    /// `owner#session`, `command-id#<id>`. Value: `ordinal`.
    CommandName(&'a SessionKey, &'a CommandId),
    /// A checkpoint. Scope: session. Writer: the runner with the append that makes it visible, a
    /// fork or a rewind; pins and names change it. Dies by retention, or with its session. Key:
    /// `owner#session`, `checkpoint#<ordinal>`. Value: `record` (JSON), `pinned` (0 or 1), `named`
    /// (how many refs name it).
    Checkpoint(&'a SessionKey, u64),
    /// The ordinal of a checkpoint by its id. Writer: with the checkpoint. Dies with it. Key:
    /// `owner#session`, `checkpoint-id#<id>`. Value: `ordinal`.
    CheckpointName(&'a SessionKey, &'a CheckpointId),
    /// A name that was given to a checkpoint. Scope: session. Writer: a function. Dies when it is
    /// taken away, or with its session. Key: `owner#session`, `ref#<name>`. Value: `checkpoint`,
    /// `set_at`.
    Ref(&'a SessionKey, &'a RefName),
    /// What the sessions of a tree share. Scope: tree; may outlive its root. Writer: the first
    /// checkpoint of a session, forks, sweeps, and erasures; dies with the last session. Key:
    /// `tree#owner#root`, `tree`. Value: `generation`, `swept_at`, `members` (a
    /// set); in the live index under [`tree_shard`], until the next sweep.
    Tree(&'a TreeKey),
    /// Tokens of a session. Scope: session. Writer: the model gateway, together with a
    /// [`Record::UsageOfRequest`]. Dies after its head. Key: `owner#session`, `usage`. Value: sums.
    Usage(&'a SessionKey),
    /// Tokens of one model request; its presence makes recording it again harmless. Key:
    /// `owner#session`, `usage#<request id>`. Value: `model`, counts.
    UsageOfRequest(&'a SessionKey, &'a str),
    /// The session behind a client token. Scope: owner. Writer: the creation, in its transaction.
    /// Dies `retention_days` after it, or with its session's head. Key: `owner`, `create#<SHA-256 of the token>`. Value:
    /// `session`, `request_digest`.
    Creation(&'a OwnerId, &'a str),
    /// An upload. Scope: owner. Writer: the function that signs it. Dies a day after the signature
    /// does. Key: `owner`, `upload#<id>`. Value: `bytes`, `signed_until`.
    Upload(&'a OwnerId, &'a UploadId),
    /// How many of an owner's sessions hold compute. Writer: creation and end, in their
    /// transactions. Never dies. Key: `slots#owner`, `slots`. Value: `used`.
    OwnerSlots(&'a OwnerId),
    /// The same for the deployment. Key: `slots#deployment`, `slots`.
    DeploymentSlots,
    /// What a client of the initialize era said about itself. Scope: client session. Writer:
    /// `initialize`; its expiry moves while it is used. Dies `client_session_days` after its last use.
    /// Key: `owner#client session`, `client`. Value: `introduction` (JSON).
    Client(&'a ClientKey),
    /// An awaited reply to a request that was sent to the client. Scope: client session. Writer:
    /// the instance that waits, then once the one that the reply reached. Dies minutes after the
    /// wait. Key: `owner#client session`, `reply#<request id>`. Value: `reply` (zstd of JSON). Of a
    /// request of the client's that it may take back: `worker`, and `withdrawn` (1) once it did;
    /// gone when the work is over.
    ClientReply(&'a ClientKey, &'a str),
    /// Whether a stream to the client is being written. Scope: client session. Writer: the stream's
    /// one writer. Dies an hour after its last change. Key: `owner#client session`,
    /// `stream#<stream>`. Value: `request`, `written_until`, `complete` (0 or 1).
    ClientStream(&'a ClientKey, &'a str),
    /// A message that was sent on a stream. Writer: the stream's, once. Dies with the stream. Key:
    /// `owner#client session`, `message#<stream>#<position>`. Value: `position`, `message` (zstd of
    /// JSON).
    ClientMessage(&'a ClientKey, &'a str, u64),
    /// A message from a client of 2024-11-05. Writer: the instance it reached; then once the one that
    /// holds the client's stream and takes it, which deletes it when it has it. Key: `owner#client
    /// session`, `posted#<name>`. Value: `message` (zstd of JSON), `taker`.
    PostedMessage(&'a ClientKey, &'a str),
    /// The answers to a round of questions. Scope: owner. Writer: whoever brings them first, then
    /// once whoever finishes what they were for. Dies with the round's state. Key: `owner`,
    /// `round#<id>`. Value: `answers_digest`, `outcome` (zstd of JSON).
    Round(&'a OwnerId, &'a RoundId),
    /// An entry of the audit. Scope: owner or deployment. Writer: once, whoever records it. Dies
    /// `audit_retention_days` after it was written. Key: `audit#<owner, or deployment>`,
    /// `entry#<number>`. Value: `previous`, `digest`, `content` (zstd of JSON).
    AuditEntry(&'a AuditChain, u64),
    /// The end of such a chain. Writer: with each entry. Never dies. Key: the same, `end`. Value:
    /// `number`, `digest`, `time` of the last entry; in the live index under [`SEAL_SHARD`] until the
    /// end is sealed.
    AuditEnd(&'a AuditChain),
    /// How far the entries about a session are. Writer: with each of them. Dies with the last. Key:
    /// `audit#<owner>`, `session#<session>`. Value: `last`, and `erased` (1) once there is an entry
    /// that says so.
    AuditMark(&'a OwnerId, &'a SessionId),
    /// Requests of a minute that were refused. Writer: the authorizer; taken away with the entry that
    /// is made of it. Dies a week after its minute. Key: `refused`, `<minute>#<source>`. Value:
    /// `count`.
    RefusalCount(UnixMillis, &'a str),
    /// The state of a book of policies. Scope: owner, or deployment. Writer: whoever changes a policy,
    /// in the same transaction. Never dies. Key: `policies#<owner, or deployment>`, `policies`: just
    /// before those of the policies, so that one query reads the book. Value: `revision`.
    PolicyBook(&'a PolicyScope),
    /// A stored policy. Scope: owner, or deployment. Writer: a person, through a function. Dies when
    /// one removes it. Key: `policies#<owner, or deployment>`, `policy#<name>`. Value: `text`, `digest`
    /// (SHA-256 of it), `policies` (how many it holds), `version`, `changed_at`.
    Policy(&'a PolicyScope, &'a PolicyName),
    /// An API key. Scope: deployment; all in one partition, because whoever comes with one says only
    /// which it is. Writer: an administrator, through a function, in the transaction of its entry of the
    /// audit; the authorizer notes that it is used. Dies `retention_days` after it has expired. Key:
    /// `keys`, `<id>`. Value: `owner`, `name`, `scopes`, `digest` (bytes), `created_at`, `valid_until`,
    /// `revoked_at`, `used_at`.
    ApiKey(&'a KeyId),
    /// That there is a credential for a git host; its token is in a parameter of Systems Manager, and is
    /// handed out only while this row is there. Scope: owner. Writer: the owner, through a function, in
    /// the transaction of its entry of the audit. Dies when they remove it. Key: `git#<owner>`,
    /// `host#<host>`. Value: `username`, `stored_at`, `parameter` (its name below the owner's and host's),
    /// `former` (the name of the one before, which may still be there).
    GitCredential(&'a OwnerId, &'a GitHost),
    /// The bucket of an owner's requests. Writer: every function that serves the owner. Dies a minute
    /// after it would be full again if nobody used it. Key: `rate#<owner>`, `requests`. Value:
    /// `full_at` (microseconds since 1970).
    Bucket(&'a OwnerId),
    /// A place that an open stream of the owner's has. Writer: the function that serves it. Dies a
    /// minute after its time. Key: `rate#<owner>`, `place#<number>`. Value: `holder`, `until`.
    StreamPlace(&'a OwnerId, u32),
    /// What the newest runner found on its machine. Writer: any runner; the newest wins. Never
    /// dies. Key: `runner`, `runner`. Value: `claude_version`, `claude_path`,
    /// `noted_at`, `agents` (JSON: pairs of name and description).
    Runner,
    /// The newest release of the CLI that the registry named. Scope: deployment. Writer: the sweep, once a
    /// day. Never dies. Key: `releases`, `claude-code`. Value: `newest`, `told`, `seen_at`.
    Release,
}

/// Start of the sort keys of a session's batches.
pub(crate) const BATCH_PREFIX: &str = "log#";
/// Start of the sort keys of a session's commands.
pub(crate) const COMMAND_PREFIX: &str = "command#";

/// Start of the sort keys of a session's checkpoints.
pub(crate) const CHECKPOINT_PREFIX: &str = "checkpoint#";
/// Start of the sort keys of a session's refs.
pub(crate) const REF_PREFIX: &str = "ref#";

const BOOK: &str = "policies";
const POLICY_PREFIX: &str = "policy#";
const DEPLOYMENT: &str = "deployment";

/// Partition of the policies that a deployment or an owner has stored.
fn scope_partition(scope: &PolicyScope) -> String {
    match scope {
        PolicyScope::Deployment => format!("{BOOK}#{DEPLOYMENT}"),
        PolicyScope::Owner(owner) => format!("{BOOK}#{owner}"),
    }
}

/// Partition and range of a book: its state, then its policies.
pub(crate) fn book_range(scope: &PolicyScope) -> (String, String, String) {
    (
        scope_partition(scope),
        BOOK.to_owned(),
        // Names are ASCII.
        format!("{POLICY_PREFIX}~"),
    )
}

/// The name of the policy that a row of a book is, or `None` for the book's own row.
pub(crate) fn policy_name(sort: &str) -> Option<&str> {
    if sort == BOOK {
        return None;
    }
    Some(sort.strip_prefix(POLICY_PREFIX).unwrap_or(sort))
}

/// Partition and sort key of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) partition: String,
    pub(crate) sort: String,
}

impl Key {
    /// As the SDK takes it.
    pub(crate) fn attributes(&self) -> HashMap<String, AttributeValue> {
        HashMap::from([
            (
                PARTITION.to_owned(),
                AttributeValue::S(self.partition.clone()),
            ),
            (SORT.to_owned(), AttributeValue::S(self.sort.clone())),
        ])
    }
}

impl Record<'_> {
    /// Where the record lies.
    pub(crate) fn key(&self) -> Key {
        let (partition, sort) = match self {
            Self::Head(key) => (session_partition(key), "head".to_owned()),
            Self::Tombstone(key) => (session_partition(key), "tombstone".to_owned()),
            Self::Batch(key, last) => (session_partition(key), batch_sort(*last)),
            Self::Live(key) => (session_partition(key), "live".to_owned()),
            Self::Command(key, ordinal) => (session_partition(key), command_sort(*ordinal)),
            Self::CommandName(key, id) => (session_partition(key), format!("command-id#{id}")),
            Self::Checkpoint(key, ordinal) => (session_partition(key), checkpoint_sort(*ordinal)),
            Self::CheckpointName(key, id) => {
                (session_partition(key), format!("checkpoint-id#{id}"))
            }
            Self::Ref(key, name) => (session_partition(key), format!("{REF_PREFIX}{name}")),
            Self::Tree(tree) => (tree_partition(tree), "tree".to_owned()),
            Self::Usage(key) => (session_partition(key), "usage".to_owned()),
            Self::UsageOfRequest(key, request) => {
                (session_partition(key), format!("usage#{request}"))
            }
            Self::Creation(owner, hash) => (owner.to_string(), format!("create#{hash}")),
            Self::Upload(owner, id) => (owner.to_string(), format!("upload#{id}")),
            Self::OwnerSlots(owner) => (format!("slots#{owner}"), "slots".to_owned()),
            Self::DeploymentSlots => (format!("slots#{DEPLOYMENT}"), "slots".to_owned()),
            Self::Client(key) => (client_partition(key), "client".to_owned()),
            Self::ClientReply(key, request) => (client_partition(key), format!("reply#{request}")),
            Self::ClientStream(key, stream) => (client_partition(key), format!("stream#{stream}")),
            Self::ClientMessage(key, stream, position) => (
                client_partition(key),
                // 20 digits hold every position.
                format!("message#{stream}#{position:020}"),
            ),
            Self::PostedMessage(key, name) => {
                (client_partition(key), format!("{POSTED_PREFIX}{name}"))
            }
            Self::Round(owner, round) => (owner.to_string(), format!("round#{}", round.as_str())),
            Self::AuditEntry(chain, number) => (audit_partition(chain), entry_sort(*number)),
            Self::AuditEnd(chain) => (audit_partition(chain), "end".to_owned()),
            Self::AuditMark(owner, session) => (
                audit_partition(&AuditChain::Owner((*owner).clone())),
                format!("session#{session}"),
            ),
            Self::RefusalCount(minute, source) => {
                (REFUSED.to_owned(), format!("{:015}#{source}", minute.0))
            }
            Self::PolicyBook(scope) => (scope_partition(scope), BOOK.to_owned()),
            Self::Policy(scope, name) => (scope_partition(scope), format!("{POLICY_PREFIX}{name}")),
            Self::ApiKey(id) => (API_KEYS.to_owned(), id.to_string()),
            Self::GitCredential(owner, host) => {
                (git_partition(owner), format!("{GIT_HOST_PREFIX}{host}"))
            }
            Self::Bucket(owner) => (rate_partition(owner), "requests".to_owned()),
            Self::StreamPlace(owner, number) => {
                (rate_partition(owner), format!("place#{number:010}"))
            }
            Self::Runner => ("runner".to_owned(), "runner".to_owned()),
            Self::Release => ("releases".to_owned(), "claude-code".to_owned()),
        };
        Key { partition, sort }
    }
}

/// A partition apart, so that what serves an owner without writing for them may write here.
fn rate_partition(owner: &OwnerId) -> String {
    format!("rate#{owner}")
}

const GIT_HOST_PREFIX: &str = "host#";

fn git_partition(owner: &OwnerId) -> String {
    format!("git#{owner}")
}

/// Partition and range of an owner's credentials for git hosts; hosts are ASCII.
pub(crate) fn git_range(owner: &OwnerId) -> (String, String, String) {
    (
        git_partition(owner),
        GIT_HOST_PREFIX.to_owned(),
        format!("{GIT_HOST_PREFIX}~"),
    )
}

/// The host of such a row.
pub(crate) fn git_host(sort: &str) -> &str {
    sort.strip_prefix(GIT_HOST_PREFIX).unwrap_or(sort)
}

const POSTED_PREFIX: &str = "posted#";

/// Partition of all API keys.
pub(crate) const API_KEYS: &str = "keys";

const AUDIT_PREFIX: &str = "audit#";
const ENTRY_PREFIX: &str = "entry#";
const REFUSED: &str = "refused";

/// Partition of a chain of the audit.
pub(crate) fn audit_partition(chain: &AuditChain) -> String {
    format!("{AUDIT_PREFIX}{}", chain.name())
}

/// The chain of a partition.
pub(crate) fn chain_of(partition: &str) -> Option<AuditChain> {
    AuditChain::parse(partition.strip_prefix(AUDIT_PREFIX)?)
}

/// 20 digits hold every number.
fn entry_sort(number: u64) -> String {
    format!("{ENTRY_PREFIX}{number:020}")
}

/// The number of an entry.
pub(crate) fn entry_number(sort: &str) -> Option<u64> {
    sort.strip_prefix(ENTRY_PREFIX)?.parse().ok()
}

/// Partition and range of entries, both numbers included.
pub(crate) fn entry_range(chain: &AuditChain, from: u64, to: u64) -> (String, String, String) {
    (audit_partition(chain), entry_sort(from), entry_sort(to))
}

/// Partition and range of what was counted in minutes before this one.
pub(crate) fn refusals_before(minute: UnixMillis) -> (String, String, String) {
    (
        REFUSED.to_owned(),
        "0".to_owned(),
        format!("{:015}", minute.0),
    )
}

/// Minute and source of what was counted.
pub(crate) fn refusal(sort: &str) -> Option<(UnixMillis, &str)> {
    let (minute, source) = sort.split_once('#')?;
    Some((UnixMillis(minute.parse().ok()?), source))
}

/// Partition of everything that is kept for one client.
fn client_partition(key: &ClientKey) -> String {
    format!("{}#{}", key.owner, key.session.as_str())
}

/// Partition and range of the messages that a client posted; names are ASCII.
pub(crate) fn posted_range(key: &ClientKey) -> (String, String, String) {
    (
        client_partition(key),
        POSTED_PREFIX.to_owned(),
        format!("{POSTED_PREFIX}~"),
    )
}

/// The name of a message that a client posted.
pub(crate) fn posted_name(sort: &str) -> &str {
    sort.strip_prefix(POSTED_PREFIX).unwrap_or(sort)
}

/// The least sort key behind this one: no name has a blank.
pub(crate) fn after(sort: &str) -> String {
    format!("{sort} ")
}

/// Partition of everything that belongs to one session.
pub(crate) fn session_partition(key: &SessionKey) -> String {
    format!("{}#{}", key.owner, key.session)
}

/// Partition of what the sessions of a tree share.
fn tree_partition(tree: &TreeKey) -> String {
    format!("tree#{}", session_partition(&tree.root()))
}

/// The tree of a partition, or `None` when the partition is not a tree's.
pub(crate) fn tree_of(partition: &str) -> Option<TreeKey> {
    let SessionKey { owner, session } = session_of(partition.strip_prefix("tree#")?)?;
    let tree = TreeId::of(session);
    Some(TreeKey { owner, tree })
}

/// Sort key of the batch that ends with `last`; 20 digits hold every sequence.
pub(crate) fn batch_sort(last: Sequence) -> String {
    format!("{BATCH_PREFIX}{:020}", last.0)
}

/// The last event of a batch.
pub(crate) fn batch_last(sort: &str) -> Option<u64> {
    sort.strip_prefix(BATCH_PREFIX)?.parse().ok()
}

/// Sort key of a command; 12 digits are more than a session can accept.
pub(crate) fn command_sort(ordinal: u64) -> String {
    format!("{COMMAND_PREFIX}{ordinal:012}")
}

/// Sort key of a checkpoint; 12 digits are more than a session can take.
pub(crate) fn checkpoint_sort(ordinal: u64) -> String {
    format!("{CHECKPOINT_PREFIX}{ordinal:012}")
}

/// The session of a partition, or `None` when the partition is not a session's.
pub(crate) fn session_of(partition: &str) -> Option<SessionKey> {
    let (owner, session) = partition.split_once('#')?;
    Some(SessionKey {
        owner: OwnerId::parse(owner).ok()?,
        session: SessionId::parse(session).ok()?,
    })
}

/// The session of a row by which it is looked for: its head, or what is left of it.
pub(crate) fn live_session(partition: &str, sort: &str) -> Option<SessionKey> {
    session_of(partition).filter(|_| ["head", "tombstone"].contains(&sort))
}

/// Place of a session among its owner's.
pub(crate) fn owner_sort(created_at: UnixMillis, session: &SessionId) -> String {
    format!("{:015}#{session}", created_at.0)
}

#[cfg(test)]
mod tests;
