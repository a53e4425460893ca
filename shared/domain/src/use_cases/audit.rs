//! Keeping the audit: pieces of session logs, erasures and refusals become entries, and the ends of
//! the chains are sealed.

use crate::{
    Sequence, SessionKey,
    audit::{AuditChain, Fact, LogPiece, Seal, Subject},
    limits,
    ports::{AuditTrail, Clock, LogChain, RecordError, RefusalCounts, Seals, Unavailable},
    session_token::SigningKey,
};

/// Batches of a log that are read at once. Own: each is a row of up to some hundred KB.
const BATCHES: usize = 20;
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
    P: LogChain + AuditTrail + Clock,
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

/// The piece of a log behind an event; `None` when there is nothing behind it. A batch that cannot be
/// read has no facts: whoever verifies the log finds it, and it keeps nothing behind it from the audit.
async fn next_piece<P: LogChain>(
    ports: &P,
    key: &SessionKey,
    after: Sequence,
) -> Result<Option<LogPiece>, Unavailable> {
    let mut batches = ports.log_batches(key, after, BATCHES).await?;
    let fits = |last: u64| last - after.0 <= limits::AUDIT_PIECE_EVENTS;
    let fitting = batches.iter().take_while(|batch| fits(batch.link.last));
    batches.truncate(fitting.count().max(1));
    let Some(end) = batches.last().map(|batch| batch.link) else {
        return Ok(None);
    };
    let events = batches.iter().filter_map(|batch| batch.events.as_ref());
    Ok(Some(LogPiece {
        session: key.session.clone(),
        first: after.next(),
        last: Sequence(end.last),
        digest: end.stored,
        facts: events.flatten().filter_map(Fact::of).collect(),
    }))
}

/// Writes the last entries about a session that is about to be erased, and one that says so. Again, it
/// changes nothing.
///
/// # Errors
/// [`Unavailable`]: the session must not be erased yet.
pub async fn audit_erasure<P>(ports: &P, key: &SessionKey) -> Result<(), Unavailable>
where
    P: LogChain + AuditTrail + Clock,
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

/// What [`keep_audit`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditKept {
    /// Entries about refused requests.
    pub refusals: usize,
    /// The most requests of one address that were refused in one minute.
    pub most_refused: u64,
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
        let count = refusals.count;
        let subject = Subject::Refused(refusals);
        let recorded = ports.record(&AuditChain::Deployment, subject, ports.now());
        match recorded.await {
            Ok(_) => {
                kept.refusals += 1;
                kept.most_refused = kept.most_refused.max(count);
            }
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
