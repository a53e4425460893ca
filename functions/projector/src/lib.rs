//! From the table's stream to those who do not look: which sessions ended, which wait for a person.
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
    ports::{NoticeMessage, Notifier, Unavailable, WebhookDirectory, WebhookSender},
    use_cases::post_to_owner,
};
use futures_util::future::join_all;
use serde::Serialize;
use store::head_change;

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
type Due = (String, Notice);

/// Tells what the records say. Sessions are told side by side, so that one whose receiver is slow
/// keeps no other waiting; of one session in order.
///
/// # Errors
/// [`EventError`] when the event is none of a stream.
pub async fn handle<T, W>(topic: &T, webhooks: &W, event: Event) -> Result<Answer, EventError>
where
    T: Notifier,
    W: WebhookDirectory + WebhookSender,
{
    let Event::Records(records) = event else {
        return Err(EventError {
            kind: "UnknownEvent",
            message: "projector knows events of a stream only".to_owned(),
        });
    };
    let (due, mut failed) = due(records);
    let told = join_all(
        due.into_values()
            .map(|due| tell_session(topic, webhooks, due)),
    );
    failed.extend(told.await.into_iter().flatten());
    let batch_item_failures = failed
        .into_iter()
        .map(|item_identifier| Failure { item_identifier })
        .collect();
    Ok(Answer {
        batch_item_failures,
    })
}

/// What is to be told, by session and in order, and the records that cannot be read. Of equal notices
/// about a session the newest counts: what it said before is over.
fn due(records: Vec<Record>) -> (BTreeMap<SessionKey, Vec<Due>>, Vec<String>) {
    let mut sessions: BTreeMap<SessionKey, Vec<Due>> = BTreeMap::new();
    let mut unreadable = Vec::new();
    for record in records {
        let change = match head_change(&record.change) {
            Ok(Some(change)) => change,
            Ok(None) => continue,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    record = record.sequence,
                    "a record cannot be read"
                );
                unreadable.push(record.sequence);
                continue;
            }
        };
        for notice in notices(&change.old, &change.new) {
            let due = sessions.entry(notice.key.clone()).or_default();
            due.retain(|(_, earlier)| earlier.kind != notice.kind);
            due.push((record.sequence.clone(), notice));
        }
    }
    (sessions, unreadable)
}

/// The records that were not told. The topic hears everything first: a webhook that takes its time, or
/// is not there, keeps nothing from it. The webhook hears of a session in order, and nothing behind what
/// it did not take.
async fn tell_session<T, W>(topic: &T, webhooks: &W, due: Vec<Due>) -> BTreeSet<String>
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
