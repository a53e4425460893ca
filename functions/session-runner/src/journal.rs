//! The one writer of the session's log: batches events, keeps the lease, and knows when it is lost.
//!
//! Entries are written in the order they were given. An append starts at least the batch interval
//! after the last one began; but when somebody waits for an entry, as soon as none is under way: such
//! entries come one at a time, and a message waits for its own. An append whose outcome is
//! unknown is repeated with its request token, which the store recognises. When only the sequence
//! moved on, the batch is numbered again. No entry is taken before its secrets are out. When the lease is lost, or cannot be renewed before it
//! runs out on our clock, nothing is written any more and everybody waiting is told.

mod cleaning;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use domain::checkpoint::{NewCheckpoint, PendingQuestion};
use domain::event::{EventBody, NewEvent};
use domain::ports::{Append, AppendError, Clock, IdSource, Lease, LiveText, SessionLog};
use domain::{Command, CommandOutcome, Grant, Head, Sequence, State, UnixMillis, limits};
use redact::Redactor;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::heartbeat::Heartbeat;

/// What is to be written together.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Events, in order.
    pub events: Vec<NewEvent>,
    /// The session's state from here on.
    pub state: Option<State>,
    /// Turns started, from here on.
    pub turn: Option<u32>,
    /// Cost so far, from here on.
    pub total_cost_usd: Option<f64>,
    /// The CLI's session id.
    pub claude_session_id: Option<String>,
    /// Commands to take.
    pub take: Vec<Command>,
    /// Commands to finish.
    pub finish: Vec<(Command, CommandOutcome)>,
    /// Why the session ends, when `state` is an end.
    pub end_reason: Option<String>,
    /// The question that waits for a person from here on, or none.
    pub question: Option<Option<PendingQuestion>>,
    /// What a person has allowed for the rest of the session, all of it, when that changes.
    pub grants: Option<Vec<Grant>>,
    /// A checkpoint that becomes visible.
    pub checkpoint: Option<NewCheckpoint>,
}

impl Entry {
    /// About how much memory it takes.
    fn bytes(&self) -> usize {
        let events = self.events.iter();
        events.map(|event| EVENT_BYTES + text_bytes(event)).sum()
    }

    /// Must be decided by the store as a whole, so nothing else may be in its append.
    fn stands_alone(&self) -> bool {
        !self.take.is_empty()
            || !self.finish.is_empty()
            || self.end_reason.is_some()
            || self.checkpoint.is_some()
            || self.state == Some(State::Suspended)
    }
}

/// Why an entry was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing can be written any more: end everything.
    #[error("the lease was lost")]
    LeaseLost,
    /// A command came that nobody has taken.
    #[error("a command came meanwhile")]
    CommandCame,
    /// A command to be taken is not queued any more.
    #[error("a command was withdrawn meanwhile")]
    CommandWithdrawn,
    /// What the checkpoint reuses may be gone: take another one that reuses nothing.
    #[error("a sweep of the tree began meanwhile")]
    SweepBegan,
}

type Reply = oneshot::Sender<Result<Sequence, Refused>>;

type Request = (Box<Entry>, Option<Reply>);

/// Gives entries to the writer. Cheap to clone.
///
/// Giving never waits, so that a checkpoint or an end is not held up. Who gives without end, as the
/// CLI does, asks first whether there is [`Journal::room`].
#[derive(Clone)]
pub struct Journal {
    redactor: Redactor,
    requests: mpsc::UnboundedSender<Request>,
    /// Bytes of entries that are not written yet.
    waiting: watch::Sender<usize>,
    buffer_bytes: usize,
    live: watch::Sender<Option<String>>,
    lost: watch::Receiver<bool>,
    last: watch::Receiver<Sequence>,
}

/// How the writer paces itself.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Least time between the starts of two appends.
    pub batch: Duration,
    /// Most bytes of bodies in one append.
    pub batch_bytes: usize,
    /// Longest time without renewing the lease.
    pub heartbeat: Duration,
    /// For how long a renewal holds.
    pub lease: Duration,
    /// Least time between two writes of live text.
    pub live: Duration,
    /// Bytes that wait to be written, above which there is no room.
    pub buffer_bytes: usize,
}

/// Least time between two writes of live text. Own: ten a second look live.
pub const LIVE_INTERVAL: Duration = Duration::from_millis(100);

impl Journal {
    /// Starts the writer for a session just acquired. What it writes has no secrets that the
    /// redactor finds.
    pub fn start<P>(
        ports: Arc<P>,
        lease: Lease,
        head: &Head,
        lease_until: UnixMillis,
        pace: Pace,
        redactor: Redactor,
        heartbeat: Heartbeat,
    ) -> Self
    where
        P: SessionLog + Clock + IdSource + 'static,
    {
        let (requests, receiver) = mpsc::unbounded_channel();
        let (lost_sender, lost) = watch::channel(false);
        let (live, shown) = watch::channel(None);
        let waiting = watch::Sender::new(0);
        let (written, last) = watch::channel(head.last_sequence);
        let writer = Writer {
            ports,
            lease,
            pace,
            last: head.last_sequence,
            written,
            state: head.state,
            turn: head.turn,
            total_cost_usd: head.total_cost_usd,
            claude_session_id: None,
            question: head.question.clone(),
            lease_until,
            heartbeat,
            queue: VecDeque::new(),
            waiting: waiting.clone(),
            live: shown,
            live_shown: false,
        };
        tokio::spawn(async move {
            writer.run(receiver).await;
            // Ended by its last sender, or without the lease; those who still ask hear the latter.
            let _ = lost_sender.send(true);
        });
        Journal {
            redactor,
            requests,
            waiting,
            buffer_bytes: pace.buffer_bytes,
            live,
            lost,
            last,
        }
    }

    /// More waits to be written than should.
    #[must_use]
    pub fn is_full(&self) -> bool {
        *self.waiting.borrow() > self.buffer_bytes
    }

    /// Returns when there is room for more, or nothing can be written any more.
    pub async fn room(&self) {
        let mut waiting = self.waiting.subscribe();
        tokio::select! {
            // This journal keeps the channel open, so there is no error.
            _ = waiting.wait_for(|bytes| *bytes <= self.buffer_bytes) => {}
            () = self.lost() => {}
        }
    }

    fn give(&self, mut entry: Entry, reply: Option<Reply>) -> Result<(), Refused> {
        cleaning::clean(&self.redactor, &mut entry);
        let bytes = entry.bytes();
        self.waiting.send_modify(|waiting| *waiting += bytes);
        self.requests
            .send((Box::new(entry), reply))
            .map_err(|_| Refused::LeaseLost)
    }

    /// Writes when it can; nobody waits for it.
    pub fn note(&self, entry: Entry) {
        // A writer that is gone has lost the lease, which `lost` tells.
        let _ = self.give(entry, None);
    }

    /// Writes, and returns once it is durable.
    ///
    /// # Errors
    /// [`Refused`]; nothing of the entry was written.
    pub async fn write(&self, entry: Entry) -> Result<Sequence, Refused> {
        let (reply, answer) = oneshot::channel();
        self.give(entry, Some(reply))?;
        answer.await.unwrap_or(Err(Refused::LeaseLost))
    }

    /// Shows text that is not an event yet; the newest wins. It comes from a stream that holds back
    /// what may become a secret: here it is too late to know.
    pub fn show(&self, text: Option<String>) {
        self.live.send_replace(text);
    }

    /// The last event that is known to be in the log.
    pub fn last(&self) -> Sequence {
        *self.last.borrow()
    }

    /// Returns when nothing can be written any more.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        // An error means the writer is gone, which is the same.
        let _ = lost.wait_for(|lost| *lost).await;
    }
}

struct Writer<P> {
    ports: Arc<P>,
    lease: Lease,
    pace: Pace,
    last: Sequence,
    written: watch::Sender<Sequence>,
    state: State,
    turn: u32,
    total_cost_usd: f64,
    claude_session_id: Option<String>,
    question: Option<PendingQuestion>,
    lease_until: UnixMillis,
    /// Shown each time the lease was written.
    heartbeat: Heartbeat,
    queue: VecDeque<Request>,
    waiting: watch::Sender<usize>,
    live: watch::Receiver<Option<String>>,
    live_shown: bool,
}

struct LeaseLost;

impl<P: SessionLog + Clock + IdSource> Writer<P> {
    async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        let mut next_append = Instant::now();
        let mut next_live = Instant::now();
        let mut renewed = Instant::now();
        let mut open = true;
        while open || !self.queue.is_empty() {
            while let Ok(request) = requests.try_recv() {
                self.queue.push_back(request);
            }
            // An error means that nobody shows any more, nor gives entries.
            let to_show = self.live.has_changed().unwrap_or(false);
            let awaited = self.queue.iter().any(|(_, reply)| reply.is_some());
            let due = awaited || Instant::now() >= next_append;
            let done = if !self.queue.is_empty() && due {
                next_append = Instant::now() + self.pace.batch;
                renewed = Instant::now();
                self.append().await
            } else if renewed.elapsed() >= self.pace.heartbeat {
                renewed = Instant::now();
                self.renew().await
            } else if to_show && self.queue.is_empty() && Instant::now() >= next_live {
                next_live = Instant::now() + self.pace.live;
                self.show().await
            } else {
                let mut wake = renewed + self.pace.heartbeat;
                if !self.queue.is_empty() {
                    wake = wake.min(next_append);
                } else if to_show {
                    wake = wake.min(next_live);
                }
                tokio::select! {
                    request = requests.recv(), if open => match request {
                        Some(request) => self.queue.push_back(request),
                        None => open = false,
                    },
                    Ok(()) = self.live.changed(), if !to_show => self.live.mark_changed(),
                    () = tokio::time::sleep_until(wake) => {}
                }
                Ok(())
            };
            if let Err(LeaseLost) = done {
                tracing::warn!("the lease was lost");
                for (_, reply) in self.queue.drain(..) {
                    answer(reply, Err(Refused::LeaseLost));
                }
                return;
            }
        }
    }

    async fn append(&mut self) -> Result<(), LeaseLost> {
        let mut entry = Entry::default();
        let mut replies = Vec::new();
        let (mut bytes, mut held) = (0, 0);
        while let Some((next, _)) = self.queue.front() {
            let next_bytes: usize = next.events.iter().map(weight).sum();
            let fits = bytes + next_bytes <= self.pace.batch_bytes
                && entry.events.len() + next.events.len() <= limits::EVENTS_PER_BATCH;
            if !replies.is_empty() && (!fits || next.stands_alone()) {
                break;
            }
            let Some((next, reply)) = self.queue.pop_front() else {
                break;
            };
            let alone = next.stands_alone();
            bytes += next_bytes;
            held += next.bytes();
            merge(&mut entry, *next);
            replies.push(reply);
            if alone {
                break;
            }
        }
        let result = self.append_entry(entry).await?;
        self.waiting.send_modify(|waiting| *waiting -= held);
        for reply in replies {
            answer(reply, result);
        }
        Ok(())
    }

    async fn append_entry(&mut self, entry: Entry) -> Result<Result<Sequence, Refused>, LeaseLost> {
        let now = self.ports.now();
        let claude_session_id = entry
            .claude_session_id
            .or_else(|| self.claude_session_id.clone());
        let mut append = Append {
            request_token: self.token(),
            first: self.last.next(),
            events: entry.events,
            state: entry.state.unwrap_or(self.state),
            turn: entry.turn.unwrap_or(self.turn),
            lease_until: now.plus(milliseconds(self.pace.lease)),
            take: entry.take,
            finish: entry.finish,
            total_cost_usd: entry.total_cost_usd.unwrap_or(self.total_cost_usd),
            claude_session_id,
            end_reason: entry.end_reason,
            only_if_inbox_empty: false,
            question: entry.question.unwrap_or_else(|| self.question.clone()),
            grants: entry.grants,
            checkpoint: entry.checkpoint,
            now,
        };
        let mut backoff = Backoff::new();
        loop {
            match self.ports.append(&self.lease, &append).await {
                Ok(last) => {
                    self.last = last;
                    self.written.send_replace(last);
                    self.state = append.state;
                    self.turn = append.turn;
                    self.total_cost_usd = append.total_cost_usd;
                    self.claude_session_id = append.claude_session_id;
                    self.question = append.question;
                    self.lease_until = append.lease_until;
                    self.heartbeat.beat();
                    return Ok(Ok(last));
                }
                Err(AppendError::LeaseLost) => return Err(LeaseLost),
                Err(AppendError::SequenceTaken { last_sequence }) => {
                    append.first = last_sequence.next();
                    append.request_token = self.token();
                }
                Err(AppendError::CommandCame) => return Ok(Err(Refused::CommandCame)),
                Err(AppendError::CommandWithdrawn) => return Ok(Err(Refused::CommandWithdrawn)),
                Err(AppendError::SweepBegan { .. }) => return Ok(Err(Refused::SweepBegan)),
                Err(AppendError::Unavailable(unavailable)) => {
                    self.wait_or_lose(&mut backoff, &unavailable).await?;
                }
            }
        }
    }

    async fn renew(&mut self) -> Result<(), LeaseLost> {
        let mut backoff = Backoff::new();
        loop {
            let until = self.ports.now().plus(milliseconds(self.pace.lease));
            match self.ports.renew(&self.lease, until).await {
                Ok(()) => {
                    self.lease_until = until;
                    self.heartbeat.beat();
                    return Ok(());
                }
                Err(AppendError::Unavailable(unavailable)) => {
                    self.wait_or_lose(&mut backoff, &unavailable).await?;
                }
                Err(_) => return Err(LeaseLost),
            }
        }
    }

    async fn wait_or_lose(
        &self,
        backoff: &mut Backoff,
        problem: &domain::ports::Unavailable,
    ) -> Result<(), LeaseLost> {
        tracing::warn!(error = %problem, "the log cannot be written now");
        if self.ports.now() > self.lease_until {
            return Err(LeaseLost);
        }
        backoff.wait(&*self.ports).await;
        Ok(())
    }

    async fn show(&mut self) -> Result<(), LeaseLost> {
        let text = self.live.borrow_and_update().clone();
        if text.is_none() && !self.live_shown {
            return Ok(());
        }
        self.live_shown = text.is_some();
        let live = text.map(|text| LiveText {
            after: self.last,
            fence: self.lease.fence,
            text,
            time: self.ports.now(),
        });
        match self.ports.set_live(&self.lease, live).await {
            Err(AppendError::LeaseLost) => Err(LeaseLost),
            // Only a preview: the next one, or the event itself, follows.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn token(&self) -> String {
        domain::ids::base32(&self.ports.random())
    }
}

fn answer(reply: Option<Reply>, result: Result<Sequence, Refused>) {
    if let Some(reply) = reply {
        // Who stopped waiting does not need the answer.
        let _ = reply.send(result);
    }
}

fn merge(entry: &mut Entry, next: Entry) {
    entry.events.extend(next.events);
    entry.state = next.state.or(entry.state);
    entry.turn = next.turn.or(entry.turn);
    entry.total_cost_usd = next.total_cost_usd.or(entry.total_cost_usd);
    entry.claude_session_id = next.claude_session_id.or(entry.claude_session_id.take());
    entry.take.extend(next.take);
    entry.finish.extend(next.finish);
    entry.end_reason = next.end_reason.or(entry.end_reason.take());
    entry.question = next.question.or(entry.question.take());
    entry.grants = next.grants.or(entry.grants.take());
    entry.checkpoint = next.checkpoint.or(entry.checkpoint.take());
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What an event takes besides its text.
const EVENT_BYTES: usize = 128;

/// About how much of the batch an event takes; larger bodies leave a preview.
fn weight(event: &NewEvent) -> usize {
    EVENT_BYTES + text_bytes(event).min(limits::EVENT_BODY_BYTES)
}

fn text_bytes(event: &NewEvent) -> usize {
    match &event.body {
        EventBody::Text { text, .. }
        | EventBody::Thinking { text }
        | EventBody::MessageTaken { text }
        | EventBody::ToolResult { text, .. } => text.len(),
        EventBody::ToolCall { input, .. } => input.len(),
        EventBody::ToolDenied { reason, .. } | EventBody::SessionEnded { reason, .. } => {
            reason.len()
        }
        EventBody::Notice { message, .. } | EventBody::Retry { message, .. } => message.len(),
        EventBody::CommandStarted { command, .. } => command.len(),
        EventBody::CommandEnded { stdout, stderr, .. } => stdout.len() + stderr.len(),
        EventBody::TurnEnded(end) => end.text.len(),
        EventBody::QuestionAsked { input, .. } => input.len(),
        EventBody::QuestionAnswered { answers, .. } => answers.len(),
        EventBody::ApprovalRequested { input, request, .. } => {
            input.len() + request.preview.as_ref().map_or(0, String::len)
        }
        EventBody::FilesChanged { files, patch } => {
            patch.len() + files.iter().map(|file| file.path.len() + 32).sum::<usize>()
        }
        _ => 0,
    }
}

struct Backoff(u64);

impl Backoff {
    const fn new() -> Self {
        Backoff(50)
    }

    async fn wait(&mut self, clock: &impl Clock) {
        clock.sleep(self.0).await;
        self.0 = (self.0 * 2).min(1000);
    }
}

#[cfg(test)]
mod tests;
