//! Keeping the audit: pieces of session logs, erasures and refusals become entries, and the ends of
//! the chains are sealed.

use crate::{
    PolicyScope, Sequence, SessionKey,
    audit::{AuditChain, Fact, LogPiece, PolicyChange, Seal, Subject},
    event::Event,
    limits,
    ports::{
        AuditTrail, Clock, LogChain, RecordError, RefusalCounts, Seals, SessionLog, Unavailable,
    },
    session_token::SigningKey,
};

/// Links of a log that are read at once. Own.
const LINKS: usize = 20;
/// Bytes of events that are read at once. Own.
const EVENT_BYTES: usize = 1024 * 1024;
/// Minutes of refusals, and chains, of one call. Own: what is left is there in a minute.
const AT_ONCE: usize = 100;

/// Writes entries about what the log of a session says since the last one about it, and gives how
/// many.
///
/// The trail takes a piece only where the one before it ends. So whoever is cut begins again where the
/// entries end, and of two of us one writes each piece; the other looks again.
///
/// # Errors
/// [`Unavailable`]: do it again.
pub async fn audit_session<P>(ports: &P, key: &SessionKey) -> Result<u64, Unavailable>
where
    P: SessionLog + LogChain + AuditTrail + Clock,
{
    let chain = AuditChain::Owner(key.owner.clone());
    let mut entries = 0;
    loop {
        let after = ports.recorded(key).await?;
        let Some(piece) = next_piece(ports, key, after).await? else {
            return Ok(entries);
        };
        let subject = Subject::Log(piece);
        match ports.record(&chain, subject, ports.now()).await {
            Ok(_) => entries += 1,
            Err(RecordError::Recorded) => {}
            Err(RecordError::Unavailable(unavailable)) => return Err(unavailable),
        }
    }
}

/// The piece of a log behind an event; `None` when there is nothing behind it.
async fn next_piece<P>(
    ports: &P,
    key: &SessionKey,
    after: Sequence,
) -> Result<Option<LogPiece>, Unavailable>
where
    P: SessionLog + LogChain,
{
    let links = ports.log_links(key, after, LINKS).await?;
    let fits = |last: u64| last - after.0 <= limits::AUDIT_PIECE_EVENTS;
    let fitting = links.iter().take_while(|link| fits(link.last));
    let Some(end) = fitting.last().or(links.first()) else {
        return Ok(None);
    };
    let last = Sequence(end.last);
    let mut facts = Vec::new();
    let mut at = after;
    while at < last {
        let events = ports.read(key, at, EVENT_BYTES).await?;
        let Some(newest) = events.last().map(|event| event.sequence) else {
            // The log has a gap here, which whoever verifies it finds.
            break;
        };
        let of_piece = |event: &&Event| event.sequence <= last;
        facts.extend(events.iter().filter(of_piece).filter_map(Fact::of));
        at = newest;
    }
    Ok(Some(LogPiece {
        session: key.session.clone(),
        first: after.next(),
        last,
        digest: end.stored,
        facts,
    }))
}

/// Writes the last entries about a session that is about to be erased, and one that says so. Again, it
/// changes nothing.
///
/// # Errors
/// [`Unavailable`]: the session must not be erased yet.
pub async fn audit_erasure<P>(ports: &P, key: &SessionKey) -> Result<(), Unavailable>
where
    P: SessionLog + LogChain + AuditTrail + Clock,
{
    if ports.is_erased(key).await? {
        return Ok(());
    }
    let Some(end) = ports.log_end(key).await? else {
        return Ok(());
    };
    audit_session(ports, key).await?;
    let erased = Subject::Erased {
        session: key.session.clone(),
        last: end.last,
        digest: end.digest,
    };
    let chain = AuditChain::Owner(key.owner.clone());
    match ports.record(&chain, erased, ports.now()).await {
        Ok(_) | Err(RecordError::Recorded) => Ok(()),
        Err(RecordError::Unavailable(unavailable)) => Err(unavailable),
    }
}

/// Writes an entry about a change of a stored policy; again, it changes nothing.
///
/// # Errors
/// [`Unavailable`]: do it again.
pub async fn audit_policy<P>(
    ports: &P,
    scope: &PolicyScope,
    change: PolicyChange,
) -> Result<(), Unavailable>
where
    P: AuditTrail + Clock,
{
    let chain = AuditChain::of_policies(scope);
    let subject = Subject::Policy(change);
    match ports.record(&chain, subject, ports.now()).await {
        Ok(_) | Err(RecordError::Recorded) => Ok(()),
        Err(RecordError::Unavailable(unavailable)) => Err(unavailable),
    }
}

/// What [`keep_audit`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditKept {
    /// Entries about refused requests.
    pub refusals: usize,
    /// Chains that were sealed.
    pub sealed: usize,
}

/// Makes entries of the refusals of minutes that are over, and seals the chains that have moved.
///
/// A minute becomes an entry in the transaction that takes its count away. A seal says where a chain
/// ended at some time: a second one beside it says nothing else. So cut, and twice, are harmless.
///
/// # Errors
/// [`Unavailable`]: do it again.
pub async fn keep_audit<P>(ports: &P, key: &SigningKey) -> Result<AuditKept, Unavailable>
where
    P: AuditTrail + RefusalCounts + Seals + Clock,
{
    let mut kept = AuditKept::default();
    // One that fails keeps no other waiting; the error is the last of all.
    let mut failed = None;
    for chain in ports.to_seal(ports.now(), AT_ONCE).await? {
        match seal(ports, key, chain).await {
            Ok(sealed) => kept.sealed += usize::from(sealed),
            Err(error) => failed = Some(error),
        }
    }
    for refusals in ports.refusals(ports.now(), AT_ONCE).await? {
        let subject = Subject::Refused(refusals);
        let recorded = ports.record(&AuditChain::Deployment, subject, ports.now());
        match recorded.await {
            Ok(_) => kept.refusals += 1,
            Err(RecordError::Recorded) => {}
            Err(RecordError::Unavailable(error)) => failed = Some(error),
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(kept),
    }
}

/// Seals where a chain ends.
async fn seal<P>(ports: &P, key: &SigningKey, chain: AuditChain) -> Result<bool, Unavailable>
where
    P: AuditTrail + Seals + Clock,
{
    let Some((end, _)) = ports.chain_end(&chain).await? else {
        return Ok(false);
    };
    let seal = Seal::sign(key, chain, end, ports.now());
    ports.keep_seal(&seal).await?;
    Ok(true)
}
