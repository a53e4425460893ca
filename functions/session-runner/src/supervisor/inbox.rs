//! Follows the session's commands and hands them over in order.

use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Clock, Inbox};
use domain::{Command, SessionKey};
use tokio::sync::{mpsc, watch};

use crate::load::Queue;

/// While a turn runs: an interrupt should feel immediate. Own.
const RUNNING_POLL: Duration = Duration::from_millis(100);
/// While nothing runs, after a while. Own.
const IDLE_POLL: Duration = Duration::from_millis(500);
/// Commands read at once.
const AT_ONCE: usize = 50;

/// Starts following after `ordinal`. Ends when the receiver is dropped.
pub(super) fn follow<P>(
    ports: Arc<P>,
    key: SessionKey,
    ordinal: u64,
    running: watch::Receiver<bool>,
    queue: Queue,
) -> mpsc::Receiver<Command>
where
    P: Inbox + Clock + 'static,
{
    let (sender, receiver) = mpsc::channel(AT_ONCE);
    tokio::spawn(async move {
        let mut last = ordinal;
        let mut pause = RUNNING_POLL;
        while !sender.is_closed() {
            match ports.commands_after(&key, last, AT_ONCE).await {
                Ok(commands) => {
                    let found = !commands.is_empty();
                    if let Some(newest) = commands.last() {
                        queue.read(newest.ordinal);
                    }
                    for command in commands {
                        last = last.max(command.ordinal);
                        if sender.send(command).await.is_err() {
                            return;
                        }
                    }
                    pause = if found || *running.borrow() {
                        RUNNING_POLL
                    } else {
                        (pause + RUNNING_POLL / 2).min(IDLE_POLL)
                    };
                }
                Err(error) => {
                    tracing::warn!(%error, "commands cannot be read now");
                    pause = IDLE_POLL;
                }
            }
            ports
                .sleep(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))
                .await;
        }
    });
    receiver
}
