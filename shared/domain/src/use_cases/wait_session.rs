//! Watching a session: wait, for a bounded time, for what its log has after a cursor.

use thiserror::Error;

use crate::{
    Authorized, Cursor, Deployment, Event, Head, Sequence, SessionKey, State,
    authorization::ReadSessions,
    ports::{Clock, Compute, Inbox, LiveText, SessionDirectory, SessionLog, Unavailable},
};

use super::{NoSuchSession, observe, stopwatch::Stopwatch};

/// Between looks while events flow.
const BUSY_POLL_MILLISECONDS: u64 = 50;
/// Between looks when it is quiet.
const QUIET_POLL_MILLISECONDS: u64 = 1000;

/// When to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// When the session has nothing left to do, the budget is full, or the time is up.
    #[default]
    Idle,
    /// Also as soon as there is an event.
    Event,
}

/// What a caller wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitSession {
    /// Which session.
    pub key: SessionKey,
    /// After which event.
    pub cursor: Cursor,
    /// When to answer.
    pub until: Until,
    /// At most this long; the deployment's default when absent.
    pub wait_seconds: Option<u64>,
    /// At most about this many characters of events; the deployment's default when absent.
    pub response_budget_characters: Option<usize>,
}

/// What there was to see.
#[derive(Clone, Debug, PartialEq)]
pub struct Waited {
    /// The session, read after the events.
    pub head: Head,
    /// The events, in order.
    pub events: Vec<Event>,
    /// Where to go on.
    pub next_cursor: Cursor,
    /// There are more events than the budget allowed.
    pub more: bool,
    /// What is being written right now.
    pub live: Option<LiveText>,
}

/// Why there is nothing to see.
#[derive(Debug, Error)]
pub enum WaitError {
    /// No such session of this owner.
    #[error(transparent)]
    NoSuchSession(#[from] NoSuchSession),
    /// Longer than the deployment allows.
    #[error("wait_seconds: use 0 to {0} (SHANNON_WAIT_MAX_SECONDS)")]
    TooLong(u64),
    /// Outside its range.
    #[error("response_budget_characters: use 500 to 100000")]
    Budget,
    /// Ahead of the log: it belongs to another session.
    #[error("cursor: it is not of this session; leave it out to start at the beginning")]
    ForeignCursor,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Told of events as they are read, before the answer is complete.
pub trait Observer: Send {
    /// One event, in order. `came`: it was not in the log yet when the wait began.
    fn event(&mut self, event: &Event, came: bool) -> impl Future<Output = ()> + Send;
    /// About how many characters the event will take in the answer.
    fn characters(&self, event: &Event) -> usize;
}

/// Waits and reads. Changes nothing, except that what is overdue in the session is done; may be cut
/// at any point and repeated with the same cursor.
///
/// # Errors
/// [`WaitError`].
pub async fn wait_session<P>(
    ports: &P,
    deployment: &Deployment,
    _caller: &Authorized<ReadSessions>,
    request: &WaitSession,
    observer: &mut impl Observer,
) -> Result<Waited, WaitError>
where
    P: SessionDirectory + SessionLog + Inbox + Compute + Clock,
{
    let wait_seconds = request
        .wait_seconds
        .unwrap_or(deployment.wait_default_seconds);
    if wait_seconds > deployment.wait_max_seconds {
        return Err(WaitError::TooLong(deployment.wait_max_seconds));
    }
    let budget = request
        .response_budget_characters
        .unwrap_or(deployment.response_budget_characters);
    if !(500..=100_000).contains(&budget) {
        return Err(WaitError::Budget);
    }

    let wait_milliseconds = wait_seconds * 1000;
    let mut stopwatch = Stopwatch::start(ports.now());
    let mut position = request.cursor.0;
    let mut events: Vec<Event> = Vec::new();
    let mut spent = 0_usize;
    let mut pause = BUSY_POLL_MILLISECONDS;
    let mut there_already = None;
    loop {
        let head = observe::observe(ports, &request.key)
            .await?
            .ok_or(NoSuchSession)?;
        if position > head.last_sequence {
            return Err(WaitError::ForeignCursor);
        }
        let there_already = *there_already.get_or_insert(head.last_sequence);
        let mut full = false;
        if position < head.last_sequence {
            pause = BUSY_POLL_MILLISECONDS;
            // Four bytes a character is the most that UTF-8 needs.
            for event in ports.read(&request.key, position, budget * 4).await? {
                let characters = observer.characters(&event);
                if !events.is_empty() && spent + characters > budget {
                    full = true;
                    break;
                }
                observer.event(&event, event.sequence > there_already).await;
                spent += characters;
                position = event.sequence;
                events.push(event);
            }
        }
        let caught_up = position >= head.last_sequence;
        // A question is for the caller to answer, so nothing more comes by waiting.
        let rests = matches!(head.state, State::Idle | State::Waiting | State::Suspended);
        let settled = head.state.is_ended() || (rests && !head.has_queued());
        let satisfied = full
            || (caught_up && settled)
            || (request.until == Until::Event && !events.is_empty() && caught_up)
            || spent >= budget;
        let waited = stopwatch.read(ports.now());
        if satisfied || waited >= wait_milliseconds {
            let live = live(ports, &request.key, &head, position).await?;
            return Ok(Waited {
                more: position < head.last_sequence,
                head,
                events,
                next_cursor: Cursor(position),
                live,
            });
        }
        if caught_up {
            ports.sleep(pause.min(wait_milliseconds - waited)).await;
            pause = (pause * 2).min(poll_limit(&head, ports.now()));
        }
    }
}

/// While something runs or is about to, events are near: look twenty times a second just after one,
/// then ten times. Otherwise once a second.
fn poll_limit(head: &Head, now: crate::UnixMillis) -> u64 {
    let running = head.state.has_runner() && head.state != State::Idle;
    let quiet_for = now.since(head.updated_at);
    let about_to_run =
        matches!(head.state, State::Requested | State::Resuming) && quiet_for < 5_000;
    match quiet_for {
        ..1_000 if running => BUSY_POLL_MILLISECONDS,
        ..5_000 if running || about_to_run => 2 * BUSY_POLL_MILLISECONDS,
        _ if running => QUIET_POLL_MILLISECONDS / 4,
        _ => QUIET_POLL_MILLISECONDS,
    }
}

/// Live text counts only while its runner has the session and nothing newer is in the log.
async fn live<P: SessionLog>(
    ports: &P,
    key: &SessionKey,
    head: &Head,
    position: Sequence,
) -> Result<Option<LiveText>, Unavailable> {
    if head.state != State::Running || position < head.last_sequence {
        return Ok(None);
    }
    let live = ports.live(key).await?;
    Ok(live.filter(|live| live.fence == head.fence && live.after == head.last_sequence))
}
