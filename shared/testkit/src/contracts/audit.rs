//! The audit's chains and what they are made of.

use domain::{
    ChainDigest, SessionKey, UnixMillis,
    audit::{AuditChain, Finding, LogPiece, Refusals, Seal, Subject},
    chain::Walk,
    event::EventBody,
    ids::base32,
    ports::{AuditTrail, Lease, LogChain, RecordError, RefusalCounts, Seals},
    session_token::SigningKey,
    use_cases::{Check, CheckPosition, audit_erasure, audit_session, keep_audit, verify_audit},
};

use super::{Ports, acquired, head, text};
use crate::{builders, join_all, scheduler::yield_once};

const RETENTION_MILLISECONDS: u64 = 30 * 24 * 60 * 60 * 1000;

/// Every port of the audit, as one value has them.
pub trait AuditPorts: Ports + LogChain + AuditTrail + RefusalCounts + Seals {}
impl<P: Ports + LogChain + AuditTrail + RefusalCounts + Seals> AuditPorts for P {}

fn key() -> SigningKey {
    SigningKey::new(&[7; 32]).expect("long enough")
}

/// Everything that a check finds, and how many entries, links and seals it saw.
pub async fn checked<P: AuditPorts>(
    ports: &P,
    session: Option<&SessionKey>,
) -> (Vec<Finding>, [u64; 3]) {
    let key = key();
    let check = Check {
        owner: session.map(|it| &it.owner),
        key: &key,
        retention_milliseconds: RETENTION_MILLISECONDS,
    };
    let mut position: Option<CheckPosition> = None;
    let (mut findings, mut seen) = (Vec::new(), [0; 3]);
    loop {
        let part = verify_audit(ports, check, position).await.expect("checked");
        findings.extend(part.findings);
        for (sum, count) in seen.iter_mut().zip([part.entries, part.links, part.seals]) {
            *sum += count;
        }
        position = part.next;
        if position.is_none() {
            return (findings, seen);
        }
    }
}

/// A session with a log of several appends.
async fn session<P: Ports>(ports: &P) -> Lease {
    let (lease, _) = acquired(ports).await;
    for said in ["one", "two", "three"] {
        say(ports, &lease, vec![text(said)]).await;
    }
    lease
}

async fn say<P: Ports>(ports: &P, lease: &Lease, bodies: Vec<EventBody>) {
    let next = head(ports, &lease.key).await.last_sequence.next();
    let append = builders::append(ports, next, bodies);
    ports.append(lease, &append).await.expect("appended");
}

/// The log of a session is a chain, whoever writes to it.
pub async fn log_chain_contract<P: AuditPorts>(ports: &P) {
    let lease = session(ports).await;
    let key = &lease.key;
    // Not by its runner.
    let id = domain::CommandId::parse("m-2").expect("an id");
    let message = builders::new_command(ports, "m-2", builders::message("never mind"));
    ports.enqueue(key, message).await.expect("accepted");
    ports.withdraw(key, &id, ports.now()).await.expect("asked");

    let end = ports.log_end(key).await.expect("read").expect("a session");
    let head = head(ports, key).await;
    assert_eq!(end.last, head.last_sequence);
    let mut walk = Walk::default();
    loop {
        let after = domain::Sequence(walk.position);
        let links = ports.log_links(key, after, 2).await.expect("read");
        if links.is_empty() {
            break;
        }
        for link in links {
            assert_eq!(walk.step(&link), [], "{link:?}");
        }
    }
    assert_eq!(walk.end(end.last.0, end.digest), None);
    assert!(end.digest.is_some());
    let unknown = SessionKey {
        session: domain::SessionId::from_random([9; 17]),
        ..key.clone()
    };
    let none = ports.log_end(&unknown).await.expect("read");
    assert_eq!(none, None);
}

/// Entries of an owner's chain.
pub async fn audit_trail_contract<P: AuditPorts>(ports: &P) {
    let lease = session(ports).await;
    let key = &lease.key;
    let chain = AuditChain::Owner(key.owner.clone());
    assert_eq!(ports.chain_end(&chain).await.expect("read"), None);
    assert_eq!(checked(ports, Some(key)).await.0, []);

    let entries = audit_session(ports, key).await.expect("recorded");
    assert_eq!(entries, 1);
    assert_eq!(audit_session(ports, key).await.expect("recorded"), 0);
    let head = head(ports, key).await;
    let recorded = ports.recorded(key).await.expect("read");
    assert_eq!(recorded, head.last_sequence);

    // What does not begin where the last one ends is not taken, also by one that was late.
    for first in [1, recorded.0, recorded.0 + 2] {
        let piece = LogPiece {
            session: key.session.clone(),
            first: domain::Sequence(first),
            last: domain::Sequence(first + 1),
            digest: ChainDigest::of(None, "", 0, b""),
            facts: Vec::new(),
        };
        let late = ports.record(&chain, Subject::Log(piece), ports.now()).await;
        assert!(
            matches!(late, Err(RecordError::Recorded)),
            "{first}: {late:?}"
        );
    }

    // Two that record at once write each piece once.
    say(ports, &lease, vec![text("four"), text("five")]).await;
    let both = join_all([audit_session(ports, key), audit_session(ports, key)]).await;
    let written: u64 = both.into_iter().map(|it| it.expect("recorded")).sum();
    assert_eq!(written, 1);

    let all = ports.entries(&chain, 0, 10).await.expect("read");
    assert_eq!(all.len(), 2);
    let numbers: Vec<u64> = all.iter().map(|entry| entry.number()).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(all[1].previous_time, Some(all[0].time));
    let behind = ports.entries(&chain, 1, 10).await.expect("read");
    assert_eq!(behind, all[1..]);
    for (before, expected) in [
        (u64::MAX, vec![2, 1]),
        (2, vec![1]),
        (1, vec![]),
        (0, vec![]),
    ] {
        let earlier = ports.entries_before(&chain, before, 10).await;
        let earlier: Vec<u64> = earlier
            .expect("read")
            .iter()
            .map(|it| it.number())
            .collect();
        assert_eq!(earlier, expected, "before {before}");
    }
    let (end, _) = ports
        .chain_end(&chain)
        .await
        .expect("read")
        .expect("an end");
    assert_eq!((end.number, end.digest), (2, all[1].link.stored));
    let (findings, [entries, links, _]) = checked(ports, Some(key)).await;
    assert_eq!((findings, entries), (vec![], 2));
    assert!(links >= 4, "{links}");

    // An erasure is an entry too, once, and behind it nothing comes.
    audit_erasure(ports, key).await.expect("recorded");
    audit_erasure(ports, key).await.expect("recorded");
    assert!(ports.is_erased(key).await.expect("read"));
    let all = ports.entries(&chain, 2, 10).await.expect("read");
    assert!(
        matches!(&all[..], [entry] if matches!(entry.subject, Subject::Erased { .. })),
        "{all:?}"
    );
}

/// Refused requests are counted by source and minute, and each count becomes one entry.
pub async fn refusals_contract<P: AuditPorts>(ports: &P) {
    // Of nobody else who uses this store.
    let source = base32(&ports.random()[..8]);
    let minute = |time: UnixMillis| UnixMillis(time.0 - time.0 % 60_000);
    let now = ports.now();
    for _ in 0..3 {
        ports.count_refusal(&source, now).await.expect("counted");
    }
    let long = "x".repeat(1000);
    ports.count_refusal(&long, now).await.expect("counted");
    let of = async |time: UnixMillis| {
        let mut found = ports.refusals(time, 1000).await.expect("read");
        found.retain(|it| it.source == source);
        found
    };
    // The minute is not over.
    assert_eq!(of(minute(now)).await, []);
    let expected = Refusals {
        minute: minute(now),
        source: source.clone(),
        count: 3,
    };
    let after = now.plus(60_000);
    assert_eq!(of(after).await, std::slice::from_ref(&expected));

    // One more came meanwhile: that count is no more, and is counted again.
    ports.count_refusal(&source, now).await.expect("counted");
    let chain = AuditChain::Deployment;
    let outdated = Subject::Refused(expected.clone());
    let refused = ports.record(&chain, outdated, after).await;
    assert!(matches!(refused, Err(RecordError::Recorded)), "{refused:?}");
    let now_counted = Refusals {
        count: 4,
        ..expected
    };
    let subject = Subject::Refused(now_counted.clone());
    let entry = ports.record(&chain, subject.clone(), after).await;
    assert_eq!(entry.expect("recorded").subject, subject);
    assert_eq!(of(after).await, []);
    let again = ports.record(&chain, subject, after).await;
    assert!(matches!(again, Err(RecordError::Recorded)), "{again:?}");
    assert_eq!(checked(ports, None).await.0, []);
}

/// What has moved is sealed, later, and again when it moves again.
pub async fn seals_contract<P: AuditPorts>(ports: &P) {
    let lease = session(ports).await;
    let session = &lease.key;
    let chain = AuditChain::Owner(session.owner.clone());
    audit_session(ports, session).await.expect("recorded");
    let due = async |after: u64, expected: bool| {
        let at = ports.now().plus(after);
        for _ in 0..1_000 {
            // It may lag.
            let due = ports.to_seal(at, 10_000).await.expect("read");
            if due.contains(&chain) == expected {
                return;
            }
            yield_once().await;
        }
        panic!("{after} ms from now: not {expected}");
    };
    due(0, false).await;
    due(1_000_000, true).await;
    let (end, _) = ports
        .chain_end(&chain)
        .await
        .expect("read")
        .expect("an end");
    let seal = Seal::sign(&key(), chain.clone(), end, ports.now());
    ports.keep_seal(&seal).await.expect("kept");
    due(1_000_000, false).await;
    let found = ports.seals(&chain, 0, u64::MAX, 10).await.expect("read");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].number, found[0].seal.as_ref()), (1, Some(&seal)));
    assert_eq!(
        ports.seals(&chain, 1, u64::MAX, 10).await.expect("read"),
        []
    );
    assert_eq!(ports.seals(&chain, 0, 0, 10).await.expect("read"), []);
    let (findings, [.., seals]) = checked(ports, Some(session)).await;
    assert_eq!((findings, seals), (vec![], 1));

    // It moves while it is sealed.
    say(ports, &lease, vec![text("more")]).await;
    audit_session(ports, session).await.expect("recorded");
    ports.keep_seal(&seal).await.expect("kept");
    due(1_000_000, true).await;

    // One that says something else than the chain is found.
    let other = domain::audit::ChainEnd {
        number: 2,
        digest: ChainDigest::of(None, "", 0, b""),
    };
    let forged = Seal::sign(
        &SigningKey::new(&[8; 32]).expect("long enough"),
        chain.clone(),
        end,
        ports.now(),
    );
    ports.keep_seal(&forged).await.expect("kept");
    let ours = Seal::sign(&key(), chain.clone(), other, ports.now());
    ports.keep_seal(&ours).await.expect("kept");
    let (findings, _) = checked(ports, Some(session)).await;
    let expected = [
        Finding::Signature { entry: 1 },
        Finding::OtherThanSealed {
            entry: 2,
            sealed_at: ours.time,
        },
    ];
    assert_eq!(findings, expected);
    keep_audit(ports, &key()).await.expect("kept");
}

/// What matters of each kind of event stands in the entries, and nothing of what was said.
pub async fn facts_contract<P: AuditPorts>(ports: &P) {
    let lease = session(ports).await;
    let session = &lease.key;
    let denied = EventBody::ToolDenied {
        tool_use_id: "t-1".to_owned(),
        tool: "Bash".to_owned(),
        reason: "the words of a person".to_owned(),
        policies: vec!["p-1".to_owned()],
    };
    say(ports, &lease, vec![denied]).await;
    audit_session(ports, session).await.expect("recorded");
    let chain = AuditChain::Owner(session.owner.clone());
    let entries = ports.entries(&chain, 0, 10).await.expect("read");
    let Some(Subject::Log(piece)) = entries.last().map(|entry| &entry.subject) else {
        panic!("{entries:?}")
    };
    let fact = piece.facts.last().expect("a fact");
    assert_eq!(
        (
            fact.kind,
            fact.tool.as_deref(),
            fact.about.as_deref(),
            &fact.policies[..]
        ),
        (
            domain::audit::FactKind::Denial,
            Some("Bash"),
            Some("t-1"),
            &["p-1".to_owned()][..]
        )
    );
    assert!(!format!("{entries:?}").contains("words"));
}
