//! What is kept for clients between their requests, in memory.

use std::collections::BTreeMap;

use domain::{
    ClientKey, OwnerId, UnixMillis,
    client_session::RoundId,
    ports::{
        Claim, ClientSession, ClientSessions, ClientStream, Posted, PostedMessages, ReplyMailbox,
        Rounds, StreamEvents, Unavailable, Withdrawals,
    },
};

use super::Fake;

/// By key; everything has the time after which it is gone.
#[derive(Debug, Default)]
pub(super) struct Clients {
    sessions: BTreeMap<ClientKey, ClientSession>,
    replies: BTreeMap<(ClientKey, String), (Option<String>, UnixMillis)>,
    /// Worker, whether it was taken back, until when it may be.
    withdrawals: BTreeMap<(ClientKey, String), (String, bool, UnixMillis)>,
    streams: BTreeMap<(ClientKey, String), ClientStream>,
    messages: BTreeMap<(ClientKey, String, u64), (String, UnixMillis)>,
    posted: BTreeMap<(ClientKey, String), InPost>,
    rounds: BTreeMap<(OwnerId, RoundId), Round>,
}

#[derive(Debug)]
struct InPost {
    message: String,
    expires_at: UnixMillis,
    taker: Option<String>,
}

#[derive(Debug)]
struct Round {
    answers_digest: String,
    outcome: Option<String>,
}

impl Fake {
    /// How many rows of each kind are kept for clients: sessions, awaited replies and
    /// withdrawals, streams,
    /// messages, posted messages, rounds.
    #[must_use]
    pub fn kept_for_clients(&self) -> [usize; 6] {
        let inner = self.lock();
        let it = &inner.world.clients;
        [
            it.sessions.len(),
            it.replies.len() + it.withdrawals.len(),
            it.streams.len(),
            it.messages.len(),
            it.posted.len(),
            it.rounds.len(),
        ]
    }
}

impl ClientSessions for Fake {
    async fn open(&self, key: &ClientKey, session: &ClientSession) -> Result<(), Unavailable> {
        self.call("open a client's session", |world| {
            let sessions = &mut world.clients.sessions;
            sessions
                .entry(key.clone())
                .or_insert_with(|| session.clone());
            Ok(())
        })
        .await
    }

    async fn client(&self, key: &ClientKey) -> Result<Option<ClientSession>, Unavailable> {
        let now = self.clock.now();
        self.call("read a client's session", |world| {
            let found = world.clients.sessions.get(key);
            Ok(found.filter(|it| it.expires_at > now).cloned())
        })
        .await
    }

    async fn introduce(&self, key: &ClientKey, introduction: &str) -> Result<bool, Unavailable> {
        let now = self.clock.now();
        self.call("introduce a client", |world| {
            let found = world.clients.sessions.get_mut(key);
            let Some(session) = found.filter(|it| it.expires_at > now) else {
                return Ok(false);
            };
            introduction.clone_into(&mut session.introduction);
            Ok(true)
        })
        .await
    }

    async fn keep(&self, key: &ClientKey, expires_at: UnixMillis) -> Result<(), Unavailable> {
        self.call("keep a client's session", |world| {
            if let Some(session) = world.clients.sessions.get_mut(key) {
                session.expires_at = session.expires_at.max(expires_at);
            }
            Ok(())
        })
        .await
    }

    async fn close(&self, key: &ClientKey) -> Result<bool, Unavailable> {
        let now = self.clock.now();
        self.call("close a client's session", |world| {
            let closed = world.clients.sessions.remove(key);
            Ok(closed.is_some_and(|it| it.expires_at > now))
        })
        .await
    }
}

impl ReplyMailbox for Fake {
    async fn await_reply(
        &self,
        key: &ClientKey,
        request: &str,
        expires_at: UnixMillis,
    ) -> Result<(), Unavailable> {
        self.call("await a reply", |world| {
            let key = (key.clone(), request.to_owned());
            let replies = &mut world.clients.replies;
            replies.entry(key).or_insert((None, expires_at));
            Ok(())
        })
        .await
    }

    async fn deliver(
        &self,
        key: &ClientKey,
        request: &str,
        reply: &str,
    ) -> Result<bool, Unavailable> {
        let now = self.clock.now();
        self.call("deliver a reply", |world| {
            let key = (key.clone(), request.to_owned());
            match world.clients.replies.get_mut(&key) {
                Some((it @ None, expires_at)) if *expires_at > now => {
                    *it = Some(reply.to_owned());
                    Ok(true)
                }
                // The very same again had happened before.
                Some((Some(first), _)) => Ok(first == reply),
                _ => Ok(false),
            }
        })
        .await
    }

    async fn reply(&self, key: &ClientKey, request: &str) -> Result<Option<String>, Unavailable> {
        self.call("look for a reply", |world| {
            let found = world
                .clients
                .replies
                .get(&(key.clone(), request.to_owned()));
            Ok(found.and_then(|(reply, _)| reply.clone()))
        })
        .await
    }
}

impl Withdrawals for Fake {
    async fn allow_withdrawal(
        &self,
        key: &ClientKey,
        request: &str,
        worker: &str,
        expires_at: UnixMillis,
    ) -> Result<(), Unavailable> {
        self.call("let a request be taken back", |world| {
            let key = (key.clone(), request.to_owned());
            let allowed = (worker.to_owned(), false, expires_at);
            world.clients.withdrawals.insert(key, allowed);
            Ok(())
        })
        .await
    }

    async fn withdraw(&self, key: &ClientKey, request: &str) -> Result<bool, Unavailable> {
        let now = self.clock.now();
        self.call("take a request back", |world| {
            let key = (key.clone(), request.to_owned());
            let found = world.clients.withdrawals.get_mut(&key);
            let Some((_, withdrawn, _)) = found.filter(|it| it.2 > now) else {
                return Ok(false);
            };
            *withdrawn = true;
            Ok(true)
        })
        .await
    }

    async fn is_withdrawn(
        &self,
        key: &ClientKey,
        request: &str,
        worker: &str,
    ) -> Result<bool, Unavailable> {
        self.call("look whether a request was taken back", |world| {
            let key = (key.clone(), request.to_owned());
            let found = world.clients.withdrawals.get(&key);
            Ok(found.is_some_and(|(of, withdrawn, _)| of == worker && *withdrawn))
        })
        .await
    }

    async fn end_withdrawal(
        &self,
        key: &ClientKey,
        request: &str,
        worker: &str,
    ) -> Result<(), Unavailable> {
        self.call("end a request", |world| {
            let key = (key.clone(), request.to_owned());
            let withdrawals = &mut world.clients.withdrawals;
            if withdrawals.get(&key).is_some_and(|(of, ..)| of == worker) {
                withdrawals.remove(&key);
            }
            Ok(())
        })
        .await
    }
}

impl StreamEvents for Fake {
    async fn note_stream(
        &self,
        key: &ClientKey,
        stream: &str,
        state: &ClientStream,
    ) -> Result<(), Unavailable> {
        self.call("note a stream", |world| {
            let key = (key.clone(), stream.to_owned());
            world.clients.streams.insert(key, state.clone());
            Ok(())
        })
        .await
    }

    async fn stream(
        &self,
        key: &ClientKey,
        stream: &str,
    ) -> Result<Option<ClientStream>, Unavailable> {
        let now = self.clock.now();
        self.call("read a stream", |world| {
            let found = world.clients.streams.get(&(key.clone(), stream.to_owned()));
            Ok(found.filter(|it| it.expires_at > now).cloned())
        })
        .await
    }

    async fn keep_message(
        &self,
        key: &ClientKey,
        stream: &str,
        position: u64,
        message: &str,
        expires_at: UnixMillis,
    ) -> Result<(), Unavailable> {
        self.call("keep a message", |world| {
            let key = (key.clone(), stream.to_owned(), position);
            let kept = (message.to_owned(), expires_at);
            world.clients.messages.entry(key).or_insert(kept);
            Ok(())
        })
        .await
    }

    async fn messages_after(
        &self,
        key: &ClientKey,
        stream: &str,
        position: u64,
    ) -> Result<Vec<(u64, String)>, Unavailable> {
        let now = self.clock.now();
        self.call("read messages", |world| {
            let place = |position| (key.clone(), stream.to_owned(), position);
            let kept = world
                .clients
                .messages
                .range(place(position.saturating_add(1))..);
            Ok(kept
                .take_while(|((at, name, _), _)| at == key && name == stream)
                .filter(|(_, (_, expires_at))| *expires_at > now)
                .map(|((_, _, position), (message, _))| (*position, message.clone()))
                .collect())
        })
        .await
    }
}

impl PostedMessages for Fake {
    async fn post(
        &self,
        key: &ClientKey,
        name: &str,
        message: &str,
        expires_at: UnixMillis,
    ) -> Result<(), Unavailable> {
        self.call("post a message", |world| {
            let key = (key.clone(), name.to_owned());
            let posted = &mut world.clients.posted;
            posted.entry(key).or_insert_with(|| InPost {
                message: message.to_owned(),
                expires_at,
                taker: None,
            });
            Ok(())
        })
        .await
    }

    async fn take_posted(&self, key: &ClientKey, taker: &str) -> Result<Vec<Posted>, Unavailable> {
        let now = self.clock.now();
        self.call("take messages", |world| {
            let posted = world.clients.posted.iter_mut();
            let waiting = posted.filter(|((at, _), it)| at == key && it.expires_at > now);
            let taken = waiting.filter_map(|((_, name), it)| {
                let of = it.taker.get_or_insert_with(|| taker.to_owned());
                (of == taker).then(|| Posted {
                    name: name.clone(),
                    message: it.message.clone(),
                })
            });
            Ok(taken.collect())
        })
        .await
    }

    async fn remove_posted(
        &self,
        key: &ClientKey,
        taker: &str,
        name: &str,
    ) -> Result<(), Unavailable> {
        self.call("remove a message", |world| {
            let key = (key.clone(), name.to_owned());
            let posted = &mut world.clients.posted;
            if posted
                .get(&key)
                .is_some_and(|it| it.taker.as_deref() == Some(taker))
            {
                posted.remove(&key);
            }
            Ok(())
        })
        .await
    }
}

impl Rounds for Fake {
    async fn claim(
        &self,
        owner: &OwnerId,
        round: &RoundId,
        answers_digest: &str,
        _expires_at: UnixMillis,
    ) -> Result<Claim, Unavailable> {
        self.call("claim a round", |world| {
            let round = world
                .clients
                .rounds
                .entry((owner.clone(), round.clone()))
                .or_insert_with(|| Round {
                    answers_digest: answers_digest.to_owned(),
                    outcome: None,
                });
            Ok(if round.answers_digest != answers_digest {
                Claim::Different
            } else if let Some(outcome) = &round.outcome {
                Claim::Settled(outcome.clone())
            } else {
                Claim::Open
            })
        })
        .await
    }

    async fn settle(
        &self,
        owner: &OwnerId,
        round: &RoundId,
        outcome: &str,
    ) -> Result<String, Unavailable> {
        self.call("settle a round", |world| {
            let round = world
                .clients
                .rounds
                .get_mut(&(owner.clone(), round.clone()));
            let Some(round) = round else {
                // It expired meanwhile: nobody can ask for its outcome any more.
                return Ok(outcome.to_owned());
            };
            Ok(round
                .outcome
                .get_or_insert_with(|| outcome.to_owned())
                .clone())
        })
        .await
    }
}
