//! The stream of a client of 2024-11-05, as the instance that holds it writes it.
//!
//! A stream ends before its function has to, or when its client has opened another. What it has
//! begun goes on to its end all the same: every message is kept before it is sent, and whoever holds
//! the client's stream next hands on what the client has not seen. So a client that connects again,
//! with the id of the last event it saw, misses no answer. What is still not done when the time is
//! over is answered with an error, never with silence.
//!
//! When this instance dies, what it kept is handed on, and what it worked on is not answered: the
//! one thing that this transport has no remedy for.

mod posts;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::client_session::ClientKey;
use domain::ids::base32;
use domain::limits::{POSTED_MILLISECONDS, STREAM_KEPT_MILLISECONDS};
use domain::ports::{ClientStream, Unavailable};
use domain::{Principal, UnixMillis};
use futures_util::stream;
use http::Response;
use rmcp::model::InitializeRequestParams;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::exchange::is_answer;
use super::recorded::EventId;
use super::worked::{Said, Working};
use super::{Bridge, ClientPorts, KEEP_ALIVE, event_stream};
use crate::answer::{Body, INTERNAL_ERROR, error_message};
use crate::work::Work;

/// Between two looks for posts while nothing happens.
const SLOW_LOOK_MILLISECONDS: u64 = 1000;
/// The same while something does: requests run, or came a moment ago.
const FAST_LOOK_MILLISECONDS: u64 = 100;
/// How long a moment is.
const LIVELY: Duration = Duration::from_secs(5);
/// So long before its end a stream takes nothing new, and ends once nothing runs.
const LEAVING: Duration = Duration::from_secs(60);
/// Requests of one client that are worked on at once; others wait.
const AT_ONCE: usize = 16;
/// Events that a client may lag behind. One that lags more is let go, and connects again.
const EVENTS_AHEAD: usize = 256;
/// The name under which it is noted who holds the stream of a client.
const HELD: &str = "sse";
const RETRY_MILLISECONDS: u64 = 1000;
/// Kept as the last message of a stream: nothing follows. No message is empty.
const END: &str = "";

/// The stream of one client, held by this instance.
pub(super) struct Held<W: Work, P> {
    bridge: Bridge<W, P>,
    principal: Principal,
    key: Arc<ClientKey>,
    /// The last message that was kept. The stream is named as its holder is.
    at: EventId,
    client: Option<InitializeRequestParams>,
    /// The way to the client; `None` once it is gone.
    told: Option<mpsc::Sender<Bytes>>,
    /// The client is too far behind to be told more here. Its way stays open, because a function
    /// ends with its answer, and what runs has not ended.
    is_lagging: bool,
    /// What could neither be kept nor told yet.
    undelivered: VecDeque<String>,
    /// The client has no other stream.
    is_newest: bool,
    /// Who held the client's stream before, while there may be more from there.
    former: Option<Former>,
    /// From the requests that are worked on.
    answers: mpsc::Sender<Said>,
    answered: mpsc::Receiver<Said>,
    /// What is worked on, by its id as JSON: what the client can take back.
    by_id: HashMap<String, Working>,
    /// Ids that the client takes back and that are not worked on here: by its former holder, until
    /// this is over.
    taken_back: Vec<(Value, Instant)>,
    /// Requests so far: tells two with the same id apart.
    begun: u64,
    /// Names of posts that are here, and whose removal is not certain.
    taken: BTreeSet<String>,
    /// Posts may have been taken for us without our having them.
    unsure: bool,
    lively_until: Instant,
    quiet_until: Instant,
    next_look: Instant,
    /// From then on nothing new is taken.
    leaving: Instant,
    deadline: Instant,
}

/// A stream that the client had before.
struct Former {
    stream: String,
    /// The client has seen everything up to there.
    position: u64,
    /// Nothing more comes after this, on its holder's clock.
    until: UnixMillis,
}

impl<W, P> Held<W, P>
where
    W: Work,
    P: ClientPorts,
{
    /// From now on this is the one stream of the client. Of two that begin at the same moment, one
    /// is: what the other one takes meanwhile is answered on its own connection alone.
    ///
    /// # Errors
    /// The store cannot be asked; the client connects again.
    pub(super) async fn begin(
        bridge: Bridge<W, P>,
        principal: Principal,
        key: ClientKey,
        client: Option<InitializeRequestParams>,
        last: Option<EventId>,
    ) -> Result<Response<Body>, Unavailable> {
        let ports = &bridge.ports;
        let former = match last {
            // A client that has no stream before this one.
            None => None,
            Some(last) => ports.stream(&key, HELD).await?.map(|before| Former {
                position: match last.stream == before.request {
                    true => last.position,
                    // It has seen nothing of the stream that it had last.
                    false => 0,
                },
                stream: before.request,
                until: before.written_until,
            }),
        };
        let at = EventId {
            session: key.session.clone(),
            stream: base32(&ports.random())[..26].to_owned(),
            position: 0,
        };
        let seconds = bridge.settings.sessions.pair_stream_seconds;
        let until = ports.now().plus(seconds * 1000 + POSTED_MILLISECONDS);
        let state = ClientStream {
            request: at.stream.clone(),
            written_until: until,
            complete: false,
            expires_at: until.plus(STREAM_KEPT_MILLISECONDS),
        };
        ports.note_stream(&key, HELD, &state).await?;
        tracing::info!(
            client_session = key.session.short(),
            "a stream of 2024-11-05 is held"
        );
        let (answers, answered) = mpsc::channel(AT_ONCE);
        let (told, frames) = mpsc::channel(EVENTS_AHEAD);
        let (begun, longest) = (Instant::now(), Duration::from_secs(seconds));
        let mut held = Self {
            bridge,
            principal,
            key: Arc::new(key),
            at,
            client,
            told: Some(told),
            is_lagging: false,
            undelivered: VecDeque::new(),
            is_newest: true,
            former,
            answers,
            answered,
            by_id: HashMap::new(),
            taken_back: Vec::new(),
            begun: 0,
            taken: BTreeSet::new(),
            unsure: false,
            lively_until: begun + LIVELY,
            quiet_until: begun,
            next_look: begun,
            leaving: begun + longest.saturating_sub(LEAVING.min(longest / 4)),
            deadline: begun + longest,
        };
        // Where messages go: relative, so that it holds below any prefix.
        let (id, session) = (held.at.text(), held.key.session.as_str());
        let opening = format!(
            "event: endpoint\nid: {id}\nretry: {RETRY_MILLISECONDS}\ndata: messages?session_id={session}\n\n"
        );
        held.tell(Bytes::from(opening));
        tokio::spawn(held.write().in_current_span());
        Ok(event_stream(stream::unfold(frames, |mut frames| async {
            frames.recv().await.map(|bytes| (bytes, frames))
        })))
    }

    /// Until nothing more is to be done for the client here. The connection stays open as long as
    /// something runs, even when nobody reads it: a function ends with its answer.
    async fn write(mut self) {
        loop {
            // Before looking whether anything still runs: what ended has answered.
            if let Ok(said) = self.answered.try_recv() {
                self.pass_on(said).await;
                continue;
            }
            let now = Instant::now();
            if now >= self.deadline {
                self.give_up().await;
                break;
            }
            let alone = !self.is_newest || self.told.is_none() || self.is_lagging;
            let leaving = alone || now >= self.leaving;
            let is_done = self.by_id.is_empty()
                && self.undelivered.is_empty()
                && self.taken_back.is_empty()
                && !self.unsure;
            if leaving && is_done && self.former.is_none() {
                break;
            }
            if now >= self.quiet_until {
                self.tell(KEEP_ALIVE);
            }
            let wake = self.next_look.min(self.quiet_until).min(self.deadline);
            tokio::select! {
                Some(said) = self.answered.recv() => {
                    self.pass_on(said).await;
                    self.lively_until = Instant::now() + LIVELY;
                }
                () = gone(self.told.as_ref()) => self.told = None,
                () = tokio::time::sleep_until(wake) => {
                    if Instant::now() >= self.next_look {
                        self.look(leaving).await;
                    }
                }
            }
        }
        self.deliver_rest().await;
        // Without it, whoever follows looks for more until our time is over.
        self.keep(END).await;
    }

    /// Gives bytes to the client, if it is there and keeps up; says whether it is and does.
    fn tell(&mut self, bytes: Bytes) -> bool {
        let silence = Duration::from_secs(self.bridge.settings.keep_alive_seconds);
        self.quiet_until = Instant::now() + silence;
        let Some(told) = self.told.as_ref().filter(|_| !self.is_lagging) else {
            return false;
        };
        match told.try_send(bytes) {
            Ok(()) => return true,
            Err(mpsc::error::TrySendError::Full(_)) => self.is_lagging = true,
            Err(mpsc::error::TrySendError::Closed(_)) => self.told = None,
        }
        false
    }

    /// Keeps a message as the next one; says whether it could. Of one whose fate is unknown the place
    /// is not used again: there it would count as kept, whatever it is.
    async fn keep(&mut self, text: &str) -> bool {
        let ports = &self.bridge.ports;
        let until = ports.now().plus(STREAM_KEPT_MILLISECONDS);
        self.at.position += 1;
        let kept = ports.keep_message(&self.key, &self.at.stream, self.at.position, text, until);
        match kept.await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a message was not kept"
                );
                false
            }
        }
    }

    /// An answer: kept and sent, or both tried again at the next look.
    async fn send(&mut self, text: &str) {
        if !self.undelivered.is_empty() || !self.deliver(text).await {
            self.undelivered.push_back(text.to_owned());
        }
    }

    /// What could not be delivered before, in its order.
    async fn deliver_rest(&mut self) {
        while let Some(text) = self.undelivered.pop_front() {
            if !self.deliver(&text).await {
                self.undelivered.push_front(text);
                return;
            }
        }
    }

    /// Keeps a message, then sends it; whoever holds a newer stream sends it there. Says whether at
    /// least one of them was done.
    async fn deliver(&mut self, text: &str) -> bool {
        let id = match self.keep(text).await {
            true => format!("id: {}\n", self.at.text()),
            // It cannot be taken up again.
            false => String::new(),
        };
        let told = self.is_newest
            && self.tell(Bytes::from(format!("event: message\n{id}data: {text}\n\n")));
        told || !id.is_empty()
    }

    async fn pass_on(&mut self, said: Said) {
        let running = self.by_id.get(&said.id).map(|working| working.number);
        if running != Some(said.number) {
            // Taken back a moment ago.
            return;
        }
        let Some(message) = said.message else {
            self.by_id.remove(&said.id);
            return;
        };
        let text = message.to_string();
        if message.get("id").is_none() {
            // A notification: one that is lost is not missed.
            self.deliver(&text).await;
            return;
        }
        if is_answer(&message) {
            self.by_id.remove(&said.id);
        }
        self.send(&text).await;
    }

    /// The time is over.
    async fn give_up(&mut self) {
        for (id, working) in std::mem::take(&mut self.by_id) {
            working.stop();
            let id: Value = serde_json::from_str(&id).unwrap_or_default();
            let message = error_message(
                &id,
                INTERNAL_ERROR,
                "the stream ended before the request was done; send it again",
            );
            self.send(&message.to_string()).await;
        }
    }

    /// Takes what the client posted, and what is left of its stream before.
    async fn look(&mut self, leaving: bool) {
        let lively = !self.by_id.is_empty() || Instant::now() < self.lively_until;
        let pause = if lively {
            FAST_LOOK_MILLISECONDS
        } else {
            SLOW_LOOK_MILLISECONDS
        };
        self.next_look = Instant::now() + Duration::from_millis(pause);
        self.deliver_rest().await;
        if let Err(error) = self.follow().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the client's stream before this one was not read"
            );
        }
        self.take_back().await;
        if self.unsure || (!leaving && self.by_id.len() < AT_ONCE) {
            self.take_posts().await;
        }
    }

    /// Hands on what the former holder kept. It goes on with what it had begun, and then says that
    /// nothing follows. Stopped in between, the next holder hands on from what this one kept.
    async fn follow(&mut self) -> Result<(), Unavailable> {
        let Some(former) = &self.former else {
            return Ok(());
        };
        let (ports, until) = (&self.bridge.ports, former.until);
        let messages = ports
            .messages_after(&self.key, &former.stream, former.position)
            .await?;
        if messages.is_empty() && ports.now() > until {
            self.former = None;
        }
        for (position, text) in messages {
            if text == END {
                self.former = None;
                break;
            }
            if !self.deliver(&text).await {
                // It is kept there: the next look finds it again.
                break;
            }
            self.next_look = Instant::now();
            if let Some(former) = &mut self.former {
                former.position = position;
            }
        }
        Ok(())
    }
}

/// Waits until the client is gone; for ever once it is.
async fn gone(told: Option<&mpsc::Sender<Bytes>>) {
    match told {
        Some(told) => told.closed().await,
        None => std::future::pending().await,
    }
}
