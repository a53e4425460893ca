//! What every implementation of a port does, as code: each function panics with what is not so.
//!
//! They use owners of their own, so they can run side by side on one store, and take the time from
//! the store's clock, because rows expire by it.

mod api_keys;
mod audit;
mod checkpoints;
mod clients;
mod control;
mod creation;
mod durability;
mod erasure;
mod git_credentials;
mod inbox;
mod listing;
mod log;
mod objects;
mod outside;
mod policies;
mod rates;
mod releases;
mod slots;
mod withdrawal;

use domain::{
    Event, Head, OwnerId, SessionKey,
    event::EventBody,
    ports::{
        Checkpoints, Clock, Compute, IdSource, Inbox, Lease, SessionDirectory, SessionLog, Uploads,
    },
};

use crate::{builders, owner};

pub use api_keys::api_keys_contract;
pub use audit::{
    AuditPorts, audit_trail_contract, checked, facts_contract, log_chain_contract,
    refusals_contract, seals_contract,
};
pub use checkpoints::{checkpoints_contract, fork_contract, rewind_contract};
pub use clients::{
    ClientPorts, client_contract, client_sessions_contract, posted_messages_contract,
    reply_mailbox_contract, rounds_contract, stream_events_contract, withdrawals_contract,
};
pub use control::{control_contract, overdue_contract};
pub use creation::creation_contract;
pub use durability::{retaking_contract, suspension_contract};
pub use erasure::erasure_contract;
pub use git_credentials::git_credentials_contract;
pub use inbox::{inbox_contract, long_end_contract, taking_contract};
pub use listing::listing_contract;
pub use log::{append_contract, every_body, lease_contract, live_text_contract, reading_contract};
pub use objects::tree_objects_contract;
pub use outside::{compute_contract, uploads_contract};
pub use policies::policy_books_contract;
pub use rates::rates_contract;
pub use releases::releases_contract;
pub use slots::{slots_contract, slots_in_use_contract};
pub use withdrawal::withdrawal_contract;

/// Every port of sessions, as one value has them.
pub trait Ports: SessionDirectory + SessionLog + Inbox + Checkpoints + Clock + IdSource {}
impl<P> Ports for P where P: SessionDirectory + SessionLog + Inbox + Checkpoints + Clock + IdSource {}

/// All of [`SessionDirectory`].
pub async fn session_directory_contract<P: Ports>(ports: &P) {
    creation_contract(ports).await;
    listing_contract(ports).await;
    control_contract(ports).await;
    overdue_contract(ports).await;
    slots_contract(ports).await;
}

/// All of [`SessionLog`].
pub async fn session_log_contract<P: Ports>(ports: &P) {
    lease_contract(ports).await;
    append_contract(ports).await;
    reading_contract(ports).await;
    live_text_contract(ports).await;
}

/// What lets a session go on elsewhere: checkpoints, suspending, waking, setting back, forking.
pub async fn durability_contract<P: Ports>(ports: &P) {
    suspension_contract(ports).await;
    retaking_contract(ports).await;
    checkpoints_contract(ports).await;
    rewind_contract(ports).await;
    fork_contract(ports).await;
}

/// The audit and the chains that it is made of.
pub async fn audit_contract<P: AuditPorts>(ports: &P) {
    log_chain_contract(ports).await;
    audit_trail_contract(ports).await;
    facts_contract(ports).await;
    refusals_contract(ports).await;
    seals_contract(ports).await;
}

/// All of [`Inbox`].
pub async fn whole_inbox_contract<P: Ports>(ports: &P) {
    inbox_contract(ports).await;
    taking_contract(ports).await;
    long_end_contract(ports).await;
    withdrawal_contract(ports).await;
}

/// Both ports to the outside. `send` does what a client does with a signed request.
pub async fn outside_contract<P>(
    ports: &P,
    send: impl AsyncFn(&domain::upload::Upload, &domain::upload::SignedRequest),
) where
    P: Uploads + Compute + Clock + IdSource,
{
    uploads_contract(ports, send).await;
    compute_contract(ports).await;
}

/// An owner that nobody else uses.
fn new_owner<P: IdSource>(ports: &P) -> OwnerId {
    owner(&domain::ids::base32(&ports.random()))
}

/// A new session of a new owner.
async fn created<P: Ports>(ports: &P) -> Head {
    let owner = new_owner(ports);
    let creation = ports.create(builders::new_session(ports, &owner)).await;
    creation.expect("a session is created").head
}

/// A new session that a runner has.
async fn acquired<P: Ports>(ports: &P) -> (Lease, Head) {
    let head = created(ports).await;
    let now = ports.now();
    ports
        .acquire(&head.key, "task-1", "none", now.plus(10_000), now)
        .await
        .expect("a requested session can be acquired")
}

async fn head<P: Ports>(ports: &P, key: &SessionKey) -> Head {
    ports
        .head(key)
        .await
        .expect("the head can be read")
        .expect("the session is there")
}

async fn log<P: Ports>(ports: &P, key: &SessionKey) -> Vec<Event> {
    ports
        .read(key, domain::Sequence(0), 1 << 20)
        .await
        .expect("the log can be read")
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.body.kind()).collect()
}

fn text(text: &str) -> EventBody {
    EventBody::Text {
        text: text.to_owned(),
        agent: None,
    }
}

/// Asserts that a result is this error.
macro_rules! assert_refused {
    ($result:expr, $pattern:pat $(if $guard:expr)?) => {
        match $result {
            Err($pattern) $(if $guard)? => {}
            other => panic!("expected {}, got {other:?}", stringify!($pattern)),
        }
    };
}
use assert_refused;
