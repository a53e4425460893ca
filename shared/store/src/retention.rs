//! When everything that is stored goes: one row for each kind of record and object.
//!
//! Nothing else decides it. Deleting a session for good (`delete_session` with `erase`) waits for
//! none of these times: what ends [`Ends::WithSession`] goes with the next sweep, and what
//! [`Ends::Unneeded`] after the grace time. Logs of functions and tasks
//! (`SHANNON_LOG_RETENTION_DAYS`) are kept by their log groups. There are
//! no backups, rollups or memories yet: their retention comes into this table together with what it
//! keeps.

/// Where a kind of record is kept. `*` stands for a part without `#`, `/` or blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// In the table: partition, a blank, sort key.
    Row(&'a str),
    /// In the bucket: the object's key. `**` at its end stands for the rest of it.
    Object(&'a str),
}

/// What ends it, and who takes it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// `SHANNON_RETENTION_DAYS` after its session ended (which a suspended one does when nobody used
    /// it for as long). Readers see nothing of it from then on; the reconciler erases it.
    WithSession,
    /// `SHANNON_CHECKPOINT_GRACE_HOURS` after its session was erased, two hours at least. By the
    /// reconciler.
    AfterErasure,
    /// When the last session of its tree is erased.
    WithTree,
    /// `SHANNON_CHECKPOINT_RETENTION_DAYS` after it was taken, or when
    /// `SHANNON_MAX_CHECKPOINTS` are newer, unless it is pinned, named, or what its session goes on
    /// from; at the latest with its session. By the reconciler.
    AsCheckpoint,
    /// `SHANNON_CHECKPOINT_GRACE_HOURS` after it was stored, once no checkpoint of its tree needs
    /// it. By the reconciler.
    Unneeded,
    /// At the time in its `expires_at`, by the table's TTL; which setting (or what) the writer
    /// takes that time from. Readers do not wait for the TTL.
    Expires(&'static str),
    /// So many days after it was stored, by the bucket's rule for its prefix; the setting.
    ByRule(&'static str),
    /// When a person takes it away.
    WhenRemoved,
    /// Never: one row for the deployment, or for each owner.
    Never,
}

/// A kind of record or object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What it is.
    pub name: &'static str,
    /// Where it lies.
    pub place: Place<'static>,
    /// When it goes.
    pub ends: Ends,
}

const fn row(name: &'static str, place: &'static str, ends: Ends) -> Kind {
    let place = Place::Row(place);
    Kind { name, place, ends }
}

const fn object(name: &'static str, place: &'static str, ends: Ends) -> Kind {
    let place = Place::Object(place);
    Kind { name, place, ends }
}

/// The table of retention.
pub const RETENTION: [Kind; 41] = [
    row("head", "*#* head", Ends::WithSession),
    row("tombstone", "*#* tombstone", Ends::AfterErasure),
    row("events", "*#* log#*", Ends::WithSession),
    row(
        "live text",
        "*#* live",
        Ends::Expires("SHANNON_KEEP_DELTAS_HOURS"),
    ),
    row("command", "*#* command#*", Ends::WithSession),
    row("command by name", "*#* command-id#*", Ends::WithSession),
    row("checkpoint", "*#* checkpoint#*", Ends::AsCheckpoint),
    row(
        "checkpoint by id",
        "*#* checkpoint-id#*",
        Ends::AsCheckpoint,
    ),
    row("name of a checkpoint", "*#* ref#*", Ends::WithSession),
    row("tree", "tree#*#* tree", Ends::WithTree),
    row(
        "usage",
        "*#* usage",
        Ends::Expires("SHANNON_RETENTION_DAYS"),
    ),
    row(
        "usage of a request",
        "*#* usage#*",
        Ends::Expires("SHANNON_RETENTION_DAYS"),
    ),
    row(
        "client token",
        "* create#*",
        Ends::Expires("SHANNON_RETENTION_DAYS"),
    ),
    row(
        "upload",
        "* upload#*",
        Ends::Expires("SHANNON_UPLOAD_URL_SECONDS, and a day"),
    ),
    row("slots", "slots#* slots", Ends::Never),
    row("newest runner", "runner runner", Ends::Never),
    row("newest release", "releases claude-code", Ends::Never),
    row("book of policies", "policies#* policies", Ends::Never),
    row("policy", "policies#* policy#*", Ends::WhenRemoved),
    row(
        "API key",
        "keys *",
        Ends::Expires("its own end, and SHANNON_RETENTION_DAYS"),
    ),
    row("git credential", "git#* host#*", Ends::WhenRemoved),
    row(
        "client session",
        "*#* client",
        Ends::Expires("SHANNON_CLIENT_SESSION_DAYS"),
    ),
    row(
        "reply of a client",
        "*#* reply#*",
        Ends::Expires("the wait for it"),
    ),
    row(
        "stream to a client",
        "*#* stream#*",
        Ends::Expires("an hour after its last change"),
    ),
    row(
        "message to a client",
        "*#* message#*#*",
        Ends::Expires("its stream"),
    ),
    row(
        "message from a client",
        "*#* posted#*",
        Ends::Expires("minutes"),
    ),
    row(
        "round of questions",
        "* round#*",
        Ends::Expires("the state of the round"),
    ),
    row(
        "entry of the audit",
        "audit#* entry#*",
        Ends::Expires("SHANNON_AUDIT_RETENTION_DAYS"),
    ),
    row("end of an audit chain", "audit#* end", Ends::Never),
    row(
        "session in the audit",
        "audit#* session#*",
        Ends::Expires("SHANNON_AUDIT_RETENTION_DAYS"),
    ),
    row(
        "count of refused requests",
        "refused *#*",
        Ends::Expires("a week, or until it is an entry of the audit"),
    ),
    row(
        "bucket of requests",
        "rate#* requests",
        Ends::Expires("the time in which it fills, and a minute"),
    ),
    row(
        "place of a stream",
        "rate#* place#*",
        Ends::Expires("a minute after its function last kept it, and a minute"),
    ),
    object(
        "seal of the audit",
        "audit/*/*",
        Ends::ByRule("SHANNON_AUDIT_RETENTION_DAYS"),
    ),
    object("manifest", "*/*/manifests/*", Ends::Unneeded),
    object("pack", "*/*/packs/*", Ends::Unneeded),
    object("long event", "*/*/sessions/*/events/*", Ends::WithSession),
    object(
        "transcript",
        "*/*/sessions/*/transcript/**",
        Ends::WithSession,
    ),
    object("export", "*/*/sessions/*/exports/*", Ends::WithSession),
    object(
        "large model request",
        "*/*/sessions/*/relay/*",
        Ends::WithSession,
    ),
    object(
        "upload",
        "uploads/*/*",
        Ends::ByRule("SHANNON_RETENTION_DAYS"),
    ),
];

/// The kinds to which a row (`partition sort`) or an object belongs: exactly one.
pub fn kinds_of(place: Place<'_>) -> impl Iterator<Item = Kind> {
    RETENTION
        .into_iter()
        .filter(move |kind| match (kind.place, place) {
            (Place::Row(pattern), Place::Row(key))
            | (Place::Object(pattern), Place::Object(key)) => fits(pattern, key),
            _ => false,
        })
}

fn fits(pattern: &str, key: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern == key;
    };
    let Some(rest) = key.strip_prefix(before) else {
        return false;
    };
    if after == "*" {
        return !rest.is_empty();
    }
    let end = rest.find(['#', '/', ' ']).unwrap_or(rest.len());
    end > 0 && fits(after, &rest[end..])
}
