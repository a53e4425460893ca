//! Computing the audit again: each entry, each log of a session, and what was sealed.

use std::collections::BTreeMap;

use crate::{
    ChainDigest, OwnerId, Sequence, SessionId, SessionKey, UnixMillis,
    audit::{AuditChain, AuditEntry, Finding, FoundSeal, LogPiece, Seal, Subject},
    chain::Walk,
    limits,
    ports::{
        AuditTrail, Clock, ListPosition, ListQuery, LogChain, LogEnd, Seals, SessionDirectory,
        Unavailable,
    },
    session_token::SigningKey,
};

/// Links of logs that one call looks at. Own: each is a row of up to some hundred KB, and its long
/// bodies are read too.
const LINKS: usize = 100;
/// Seals of one page of entries. Own: there is one in a quarter of an hour.
const SEALS: usize = 1000;

/// Where a check goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckPosition {
    /// Behind this entry.
    Entries(Walk),
    /// In the logs of the sessions that are older than this one.
    Sessions(Option<ListPosition>),
    /// Within the log of a session, up to where it ended when the check came to it.
    Within {
        /// Which session.
        session: ListPosition,
        /// How far.
        walk: Walk,
        /// Its end.
        end: (Sequence, Option<ChainDigest>),
    },
}

/// What a check found, and where it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditChecked {
    /// What does not hold.
    pub findings: Vec<Finding>,
    /// Entries that were computed.
    pub entries: u64,
    /// Links of session logs that were computed.
    pub links: u64,
    /// Seals that were checked.
    pub seals: u64,
    /// Where to go on; none when everything was looked at.
    pub next: Option<CheckPosition>,
}

/// What is checked, and with what.
#[derive(Clone, Copy)]
pub struct Check<'a> {
    /// Whose; of the deployment when absent.
    pub owner: Option<&'a OwnerId>,
    /// What seals were signed with.
    pub key: &'a SigningKey,
    /// For how long entries are kept.
    pub retention_milliseconds: u64,
}

/// Computes a part of the chain and of the logs again. Only reads; a log that grows meanwhile is looked
/// at up to where it was.
///
/// # Errors
/// [`Unavailable`]: ask for the same part again.
pub async fn verify_audit<P>(
    ports: &P,
    check: Check<'_>,
    position: Option<CheckPosition>,
) -> Result<AuditChecked, Unavailable>
where
    P: AuditTrail + Seals + LogChain + SessionDirectory + Clock,
{
    match (position, check.owner) {
        (None, _) => entries(ports, check, Walk::default()).await,
        (Some(CheckPosition::Entries(walk)), _) => entries(ports, check, walk).await,
        (Some(CheckPosition::Sessions(before)), Some(owner)) => {
            next_log(ports, owner, before).await
        }
        (Some(CheckPosition::Within { session, walk, end }), Some(owner)) => {
            log(ports, owner, session, walk, end).await
        }
        (Some(_), None) => Ok(AuditChecked::default()),
    }
}

async fn entries<P>(
    ports: &P,
    check: Check<'_>,
    mut walk: Walk,
) -> Result<AuditChecked, Unavailable>
where
    P: AuditTrail + Seals + LogChain + SessionDirectory + Clock,
{
    let chain = match check.owner {
        Some(owner) => AuditChain::Owner(owner.clone()),
        None => AuditChain::Deployment,
    };
    let mut checked = AuditChecked::default();
    let is_over = |time: UnixMillis| time.plus(check.retention_milliseconds) < ports.now();
    let page = ports
        .entries(&chain, walk.position, limits::AUDIT_PAGE)
        .await?;
    if let Some(first) = page.first() {
        pass_over(&mut walk, first, is_over);
    }
    let begun_at = walk.position;
    for entry in &page {
        pass_over(&mut walk, entry, is_over);
        let breaks = walk.step(&entry.link).into_iter().map(Finding::Chain);
        checked.findings.extend(breaks);
        if let (Subject::Log(piece), Some(owner)) = (&entry.subject, check.owner) {
            let finding = piece_of_log(ports, owner, piece, entry.number()).await?;
            checked.findings.extend(finding);
        }
        if entry.subject == Subject::Unreadable {
            let entry = entry.number();
            checked.findings.push(Finding::Unreadable { entry });
        }
        checked.entries += 1;
    }
    // Fewer may come because they are long, and one may come while this looks.
    let is_last = async || Ok(ports.entries(&chain, walk.position, 1).await?.is_empty());
    let mut last_page = page.len() < limits::AUDIT_PAGE && is_last().await?;
    let end = ports.chain_end(&chain).await?;
    let end_number = end.map_or(0, |(end, _)| end.number);
    if last_page && end_number > walk.position {
        last_page = is_last().await?;
    }
    let digests: BTreeMap<u64, ChainDigest> = page
        .iter()
        .map(|entry| (entry.number(), entry.link.stored))
        .collect();
    // On the last page those too that are of entries which are not there.
    let to = if last_page { u64::MAX } else { walk.position };
    for found in ports.seals(&chain, begun_at, to, SEALS).await? {
        let finding = of_seal(check.key, &chain, &found, &digests);
        checked.findings.extend(finding);
        checked.seals += 1;
    }
    if last_page {
        // All of it may be past its retention; the end is kept for ever.
        let all_over = end.is_some_and(|(_, time)| is_over(time)) && page.is_empty();
        if !all_over {
            let found = walk.end(end_number, end.map(|(end, _)| end.digest));
            checked.findings.extend(found.map(Finding::Chain));
        }
        checked.next = check.owner.map(|_| CheckPosition::Sessions(None));
    } else {
        checked.next = Some(CheckPosition::Entries(walk));
    }
    Ok(checked)
}

/// Goes on behind what is past its retention: entries expire, and in no order.
fn pass_over(walk: &mut Walk, next: &AuditEntry, is_over: impl Fn(UnixMillis) -> bool) {
    let gap = next.link.first > walk.position + 1;
    if gap && next.previous_time.is_some_and(is_over) {
        *walk = Walk {
            position: next.link.first - 1,
            digest: next.link.previous,
        };
    }
}

fn of_seal(
    key: &SigningKey,
    chain: &AuditChain,
    found: &FoundSeal,
    digests: &BTreeMap<u64, ChainDigest>,
) -> Option<Finding> {
    let entry = found.number;
    let is_ours =
        |seal: &&Seal| seal.chain == *chain && seal.end.number == entry && seal.verify(key).is_ok();
    let Some(seal) = found.seal.as_ref().filter(is_ours) else {
        return Some(Finding::Signature { entry });
    };
    let same = digests.get(&entry) == Some(&seal.end.digest);
    (!same).then_some(Finding::OtherThanSealed {
        entry,
        sealed_at: seal.time,
    })
}

/// Whether the log of the session has, at the end of the piece, the digest that the entry says.
async fn piece_of_log<P>(
    ports: &P,
    owner: &OwnerId,
    piece: &LogPiece,
    entry: u64,
) -> Result<Option<Finding>, Unavailable>
where
    P: AuditTrail + LogChain,
{
    let key = SessionKey {
        owner: owner.clone(),
        session: piece.session.clone(),
    };
    let before = Sequence(piece.last.0.saturating_sub(1));
    let links = ports.log_links(&key, before, 1).await?;
    let found = links.first().map(|link| (link.last, link.stored));
    if found == Some((piece.last.0, piece.digest)) || ports.is_erased(&key).await? {
        return Ok(None);
    }
    let session = piece.session.clone();
    Ok(Some(if ports.log_end(&key).await?.is_none() {
        Finding::NoLog { session, entry }
    } else {
        let at = piece.last;
        Finding::OtherLog { session, at, entry }
    }))
}

/// Begins with the log of the next older session.
async fn next_log<P>(
    ports: &P,
    owner: &OwnerId,
    before: Option<ListPosition>,
) -> Result<AuditChecked, Unavailable>
where
    P: LogChain + AuditTrail + SessionDirectory,
{
    let query = ListQuery {
        after: before,
        limit: 1,
        ..ListQuery::default()
    };
    let page = ports.list(owner, &query).await?;
    let Some(head) = page.heads.first() else {
        let next = page.next.map(|it| CheckPosition::Sessions(Some(it)));
        return Ok(AuditChecked {
            next,
            ..AuditChecked::default()
        });
    };
    let position = ListPosition {
        created_at: head.created_at,
        session: head.key.session.clone(),
    };
    match ports.log_end(&head.key).await? {
        // Erased since it was listed.
        None => Ok(AuditChecked {
            next: Some(CheckPosition::Sessions(Some(position))),
            ..AuditChecked::default()
        }),
        Some(LogEnd { last, digest }) => {
            log(ports, owner, position, Walk::default(), (last, digest)).await
        }
    }
}

async fn log<P: LogChain + AuditTrail>(
    ports: &P,
    owner: &OwnerId,
    position: ListPosition,
    mut walk: Walk,
    end: (Sequence, Option<ChainDigest>),
) -> Result<AuditChecked, Unavailable> {
    let session: SessionId = position.session.clone();
    let key = SessionKey {
        owner: owner.clone(),
        session: session.clone(),
    };
    let mut checked = AuditChecked::default();
    let mut links = ports
        .log_links(&key, Sequence(walk.position), LINKS)
        .await?;
    let none_left = links.is_empty();
    let begun_at = Sequence(walk.position);
    links.retain(|link| link.last <= end.0.0);
    for link in &links {
        let found = walk.step(link).into_iter();
        checked.findings.extend(found.map(|what| Finding::Log {
            session: session.clone(),
            what,
        }));
        checked.links += 1;
    }
    let to = Sequence(walk.position);
    for at in ports.changed_bodies(&key, begun_at, to).await? {
        let session = session.clone();
        checked.findings.push(Finding::Body { session, at });
    }
    let more = !none_left && walk.position < end.0.0 && !links.is_empty();
    if !more && let Some(what) = walk.end(end.0.0, end.1) {
        checked.findings.push(Finding::Log { session, what });
    }
    // One that is being erased loses its log before the rest, and that is no finding.
    if !checked.findings.is_empty() && ports.is_erased(&key).await? {
        checked.findings.clear();
    }
    checked.next = Some(if more {
        let session = position;
        CheckPosition::Within { session, walk, end }
    } else {
        CheckPosition::Sessions(Some(position))
    });
    Ok(checked)
}
