//! The audit, in memory.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    ChainDigest, Event, Sequence, SessionKey, UnixMillis,
    audit::{AuditChain, AuditEntry, ChainEnd, FoundSeal, Refusals, Seal, Subject},
    chain::Link,
    limits,
    ports::{
        AuditTrail, LogBatch, LogChain, LogEnd, RecordError, RefusalCounts, Seals, Unavailable,
    },
};

use super::{
    Fake,
    world::{Session, World},
};

const MINUTE_MILLISECONDS: u64 = 60_000;

/// The chains of the audit.
#[derive(Debug, Default)]
pub(super) struct Audit {
    chains: BTreeMap<AuditChain, Vec<AuditEntry>>,
    recorded: BTreeMap<SessionKey, Sequence>,
    erased: BTreeSet<SessionKey>,
    refused: BTreeMap<(UnixMillis, String), u64>,
    to_seal: BTreeMap<AuditChain, UnixMillis>,
    seals: BTreeMap<(AuditChain, u64), Seal>,
}

/// Each event is a link.
fn links(session: &Session) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    for event in &session.events {
        let previous = links.last().map(|link| link.stored);
        let at = event.sequence.0;
        let content = format!("{event:?}");
        let digest = ChainDigest::of(previous, "log", at, content.as_bytes());
        links.push(Link {
            first: at,
            last: at,
            previous,
            stored: digest,
            computed: digest,
        });
    }
    links
}

impl LogChain for Fake {
    async fn log_links(
        &self,
        key: &SessionKey,
        after: Sequence,
        limit: usize,
    ) -> Result<Vec<Link>, Unavailable> {
        self.call("log_links", |world| {
            let mut links = world.sessions.get(key).map_or(Vec::new(), links);
            links.retain(|link| link.last > after.0);
            links.truncate(limit);
            Ok(links)
        })
        .await
    }

    async fn log_batches(
        &self,
        key: &SessionKey,
        after: Sequence,
        limit: usize,
    ) -> Result<Vec<LogBatch>, Unavailable> {
        self.call("log_batches", |world| {
            let Some(session) = world.sessions.get(key) else {
                return Ok(Vec::new());
            };
            let batch = |(link, event): (Link, &Event)| LogBatch {
                link,
                events: Some(vec![event.clone()]),
            };
            let batches = links(session).into_iter().zip(&session.events).map(batch);
            let behind = batches.filter(|batch| batch.link.last > after.0);
            Ok(behind.take(limit).collect())
        })
        .await
    }

    async fn changed_bodies(
        &self,
        _key: &SessionKey,
        _after: Sequence,
        _last: Sequence,
    ) -> Result<Vec<Sequence>, Unavailable> {
        // Its events are whole.
        self.call("changed_bodies", |_| Ok(Vec::new())).await
    }

    async fn log_end(&self, key: &SessionKey) -> Result<Option<LogEnd>, Unavailable> {
        self.call("log_end", |world| {
            Ok(world.sessions.get(key).map(|session| LogEnd {
                last: session.head.last_sequence,
                digest: links(session).last().map(|link| link.stored),
            }))
        })
        .await
    }
}

impl AuditTrail for Fake {
    async fn record(
        &self,
        chain: &AuditChain,
        subject: Subject,
        now: UnixMillis,
    ) -> Result<AuditEntry, RecordError> {
        self.call("record", |world| world.record(chain, subject, now))
            .await
    }

    async fn recorded(&self, key: &SessionKey) -> Result<Sequence, Unavailable> {
        self.call("recorded", |world| {
            let recorded = world.audit.recorded.get(key);
            Ok(recorded.copied().unwrap_or(Sequence(0)))
        })
        .await
    }

    async fn is_erased(&self, key: &SessionKey) -> Result<bool, Unavailable> {
        self.call("is_erased", |world| Ok(world.audit.erased.contains(key)))
            .await
    }

    async fn chain_end(
        &self,
        chain: &AuditChain,
    ) -> Result<Option<(ChainEnd, UnixMillis)>, Unavailable> {
        self.call("chain_end", |world| {
            let last = world.audit.chains.get(chain).and_then(|it| it.last());
            Ok(world.audit.end(chain).zip(last.map(|entry| entry.time)))
        })
        .await
    }

    async fn entries(
        &self,
        chain: &AuditChain,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Unavailable> {
        self.call("entries", |world| {
            let entries = world.audit.chains.get(chain).into_iter().flatten();
            let behind = entries.filter(|entry| entry.number() > after);
            Ok(behind.take(limit).cloned().collect())
        })
        .await
    }

    async fn entries_before(
        &self,
        chain: &AuditChain,
        before: u64,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, Unavailable> {
        self.call("entries_before", |world| {
            let entries = world.audit.chains.get(chain).into_iter().flatten();
            let earlier = entries.rev().filter(|entry| entry.number() < before);
            Ok(earlier.take(limit).cloned().collect())
        })
        .await
    }
}

impl RefusalCounts for Fake {
    async fn count_refusal(&self, source: &str, now: UnixMillis) -> Result<(), Unavailable> {
        self.call("count_refusal", |world| {
            let minute = UnixMillis(now.0 - now.0 % MINUTE_MILLISECONDS);
            let refused = world.audit.refused.entry((minute, source.to_owned()));
            *refused.or_default() += 1;
            Ok(())
        })
        .await
    }

    async fn refusals(&self, now: UnixMillis, limit: usize) -> Result<Vec<Refusals>, Unavailable> {
        self.call("refusals", |world| {
            let over = |minute: UnixMillis| minute.0 + MINUTE_MILLISECONDS <= now.0;
            let refused = world.audit.refused.iter();
            let refused = refused.filter(|((minute, _), _)| over(*minute));
            Ok(refused
                .take(limit)
                .map(|((minute, source), count)| Refusals {
                    minute: *minute,
                    source: source.clone(),
                    count: *count,
                })
                .collect())
        })
        .await
    }
}

impl Seals for Fake {
    async fn to_seal(&self, now: UnixMillis, limit: usize) -> Result<Vec<AuditChain>, Unavailable> {
        self.call("to_seal", |world| {
            let due = world.audit.to_seal.iter().filter(|(_, at)| **at < now);
            Ok(due.take(limit).map(|(chain, _)| chain.clone()).collect())
        })
        .await
    }

    async fn keep_seal(&self, seal: &Seal) -> Result<(), Unavailable> {
        self.call("keep_seal", |world| {
            let audit = &mut world.audit;
            let chain = &seal.chain;
            audit
                .seals
                .insert((chain.clone(), seal.end.number), seal.clone());
            if audit.end(chain) == Some(seal.end) {
                audit.to_seal.remove(chain);
            } else {
                let again = seal.time.plus(limits::SEAL_MILLISECONDS);
                audit.to_seal.insert(chain.clone(), again);
            }
            Ok(())
        })
        .await
    }

    async fn seals(
        &self,
        chain: &AuditChain,
        after: u64,
        to: u64,
        limit: usize,
    ) -> Result<Vec<FoundSeal>, Unavailable> {
        self.call("seals", |world| {
            let seals = world.audit.seals.iter();
            let seals = seals
                .filter(|((of, number), _)| of == chain && *number > after && *number <= to)
                .take(limit);
            Ok(seals
                .map(|((_, number), seal)| FoundSeal {
                    number: *number,
                    seal: Some(seal.clone()),
                })
                .collect())
        })
        .await
    }
}

impl Audit {
    fn end(&self, chain: &AuditChain) -> Option<ChainEnd> {
        let last = self.chains.get(chain)?.last()?;
        Some(ChainEnd {
            number: last.number(),
            digest: last.link.stored,
        })
    }
}

impl World {
    fn record(
        &mut self,
        chain: &AuditChain,
        subject: Subject,
        now: UnixMillis,
    ) -> Result<AuditEntry, RecordError> {
        let audit = &mut self.audit;
        let key = |session: &domain::SessionId| match chain {
            AuditChain::Owner(owner) => Some(SessionKey {
                owner: owner.clone(),
                session: session.clone(),
            }),
            AuditChain::Deployment => None,
        };
        let new = match &subject {
            Subject::Log(piece) => key(&piece.session).is_some_and(|key| {
                let recorded = audit.recorded.get(&key).map_or(0, |it| it.0);
                let follows = recorded + 1 == piece.first.0 && !audit.erased.contains(&key);
                if follows {
                    audit.recorded.insert(key, piece.last);
                }
                follows
            }),
            Subject::Erased { session, .. } => {
                key(session).is_some_and(|key| audit.erased.insert(key))
            }
            Subject::Refused(it) => {
                let at = (it.minute, it.source.clone());
                let same = audit.refused.get(&at) == Some(&it.count);
                same && audit.refused.remove(&at).is_some()
            }
            Subject::Policy(_)
            | Subject::Key(_)
            | Subject::GitCredential(_)
            | Subject::Unreadable => false,
        };
        if !new {
            return Err(RecordError::Recorded);
        }
        Ok(self.add_entry(chain, subject, now))
    }

    pub(super) fn add_entry(
        &mut self,
        chain: &AuditChain,
        subject: Subject,
        now: UnixMillis,
    ) -> AuditEntry {
        let audit = &mut self.audit;
        let end = audit.end(chain);
        let entries = audit.chains.entry(chain.clone()).or_default();
        let previous_time = entries.last().map(|entry| entry.time);
        let number = end.map_or(0, |end| end.number) + 1;
        let previous = end.map(|end| end.digest);
        let content = format!("{subject:?}");
        let digest = ChainDigest::of(previous, chain.name(), number, content.as_bytes());
        let entry = AuditEntry {
            link: Link {
                first: number,
                last: number,
                previous,
                stored: digest,
                computed: digest,
            },
            time: previous_time.map_or(now, |before| before.max(now)),
            previous_time,
            subject,
        };
        entries.push(entry.clone());
        let due = now.plus(limits::SEAL_MILLISECONDS);
        audit.to_seal.entry(chain.clone()).or_insert(due);
        entry
    }
}
