//! From the table's stream to those who do not look: which sessions ended, which wait for a person; and
//! to the audit, which keeps what the logs of sessions say.
//!
//! Records may come late, twice, or again because another one failed. A notice has the same id each
//! time, by which its receivers know it. What could not be told is named in the answer: then Lambda
//! hands those records over again, and at last tells the queue for failures.

mod event;
mod payload;
mod webhooks;

use std::collections::{BTreeMap, BTreeSet};

use boot::events::EventError;
use domain::{
    SessionKey,
    notice::{Notice, notices},
    ports::{
        AuditTrail, Clock, LogChain, NoticeMessage, Notifier, Unavailable, WebhookDirectory,
        WebhookSender,
    },
    use_cases::{audit_session, post_to_owner},
};
use futures_util::future::{join, join_all};
use serde::Serialize;
use store::{UnreadableChange, head_change};

pub use event::{Event, Record};
pub use webhooks::{InvalidSecret, Webhooks, WebhooksError};

/// What Lambda reads: the records that have to come again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// All that failed; Lambda goes on at the lowest.
    pub batch_item_failures: Vec<Failure>,
}

/// A record that was not taken care of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Its sequence number.
    pub item_identifier: String,
}

/// A notice and the record that it comes from.
type DueNotice = (String, Notice);

/// What records ask for.
#[derive(Default)]
struct Due {
    /// What is to be told, by session and in order.
    told: BTreeMap<SessionKey, Vec<DueNotice>>,
    /// Sessions whose logs have more for the audit, and the records that say so.
    audited: BTreeMap<SessionKey, Vec<String>>,
    /// Records that cannot be read.
    unreadable: Vec<String>,
}

/// Tells what the records say. Sessions are told side by side, so that one whose receiver is slow
/// keeps no other waiting; of one session in order.
///
/// # Errors
/// [`EventError`] when the event is none of a stream.
pub async fn handle<T, W, A>(
    topic: &T,
    webhooks: &W,
    audit: &A,
    event: Event,
) -> Result<Answer, EventError>
where
    T: Notifier,
    W: WebhookDirectory + WebhookSender,
    A: LogChain + AuditTrail + Clock,
{
    let Event::Records(records) = event else {
        return Err(EventError {
            kind: "UnknownEvent",
            message: "projector knows events of a stream only".to_owned(),
        });
    };
    let Due {
        told,
        audited,
        unreadable: mut failed,
    } = due(records);
    let told = told
        .into_values()
        .map(|due| tell_session(topic, webhooks, due));
    let audited = audited
        .iter()
        .map(|(key, records)| record_session(audit, key, records));
    let (told, audited) = join(join_all(told), join_all(audited)).await;
    failed.extend(told.into_iter().flatten());
    failed.extend(audited.into_iter().flatten());
    failed.sort();
    failed.dedup();
    let batch_item_failures = failed
        .into_iter()
        .map(|item_identifier| Failure { item_identifier })
        .collect();
    Ok(Answer {
        batch_item_failures,
    })
}

/// What records ask for. Of equal notices about a session the newest counts: what it said before is
/// over.
fn due(records: Vec<Record>) -> Due {
    let mut all = Due::default();
    for record in records {
        let change = match head_change(&record.change) {
            Ok(Some(change)) => change,
            Ok(None) => continue,
            Err(error) => {
                unreadable(&error, &record.sequence);
                all.unreadable.push(record.sequence);
                continue;
            }
        };
        let audited = all.audited.entry(change.new.key.clone());
        audited.or_default().push(record.sequence.clone());
        for notice in notices(&change.old, &change.new) {
            let due = all.told.entry(notice.key.clone()).or_default();
            due.retain(|(_, earlier)| earlier.kind != notice.kind);
            due.push((record.sequence.clone(), notice));
        }
    }
    all
}

fn unreadable(error: &UnreadableChange, record: &str) {
    tracing::error!(
        error = error as &dyn std::error::Error,
        record,
        "a record cannot be read"
    );
}

/// Writes what the session's log says into the audit: the records that have to come again for it.
async fn record_session<A>(audit: &A, key: &SessionKey, records: &[String]) -> Vec<String>
where
    A: LogChain + AuditTrail + Clock,
{
    match audit_session(audit, key).await {
        Ok(entries) => {
            tracing::debug!(session = %key.session, entries, "wrote to the audit");
            Vec::new()
        }
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                session = %key.session,
                "a session's log is not in the audit yet"
            );
            records.to_vec()
        }
    }
}

/// The records that were not told. The topic hears everything first: a webhook that takes its time, or
/// is not there, keeps nothing from it. The webhook hears of a session in order, and nothing behind what
/// it did not take.
async fn tell_session<T, W>(topic: &T, webhooks: &W, due: Vec<DueNotice>) -> BTreeSet<String>
where
    T: Notifier,
    W: WebhookDirectory + WebhookSender,
{
    let mut failed = BTreeSet::new();
    let mut messages = Vec::new();
    for (sequence, notice) in due {
        let message = NoticeMessage {
            body: payload::of(&notice),
            notice,
        };
        if !was_told("topic", &message, topic.publish(&message).await) {
            failed.insert(sequence.clone());
        }
        messages.push((sequence, message));
    }
    let mut messages = messages.into_iter();
    while let Some((sequence, message)) = messages.next() {
        let posted = post_to_owner(webhooks, &message).await;
        if !was_told("webhook", &message, posted) {
            failed.insert(sequence);
            failed.extend(messages.map(|(sequence, _)| sequence));
            break;
        }
    }
    failed
}

fn was_told(receiver: &str, message: &NoticeMessage, told: Result<(), Unavailable>) -> bool {
    let notice = &message.notice;
    let (session, kind, id) = (&notice.key.session, notice.kind.as_str(), &notice.id);
    match &told {
        Ok(()) => tracing::info!(receiver, %session, kind, id, "a notice was told"),
        Err(error) => tracing::error!(
            error = error as &dyn std::error::Error,
            receiver,
            %session,
            kind,
            id,
            "a notice was not told"
        ),
    }
    told.is_ok()
}
