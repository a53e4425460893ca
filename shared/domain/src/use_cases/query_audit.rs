//! Looking into the audit.

use crate::{
    SessionId, UnixMillis,
    audit::{AuditChain, AuditEntry, FactKind, Subject},
    authorization::{Administer, Authorized},
    limits,
    ports::{AuditTrail, Unavailable},
};

/// Entries that one call looks through. Own: each page of them is one query.
const LOOKED_THROUGH: usize = 10 * limits::AUDIT_PAGE;

/// Which entries are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryAudit {
    /// Of the deployment instead of the caller.
    pub deployment: bool,
    /// About this session.
    pub session: Option<SessionId>,
    /// Not before.
    pub from: Option<UnixMillis>,
    /// Not after.
    pub to: Option<UnixMillis>,
    /// Of these kinds; all when empty.
    pub kinds: Vec<FactKind>,
    /// Before the entry with this number.
    pub before: Option<u64>,
}

/// What was found, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// Entries, with those of their facts that were asked for.
    pub entries: Vec<AuditEntry>,
    /// Where to go on, when there may be more.
    pub next: Option<u64>,
}

/// Entries of the caller's chain, or of the deployment's. Only reads.
///
/// # Errors
/// [`Unavailable`]: ask again.
pub async fn query_audit<P: AuditTrail>(
    ports: &P,
    caller: &Authorized<Administer>,
    query: &QueryAudit,
) -> Result<AuditPage, Unavailable> {
    let chain = if query.deployment {
        AuditChain::Deployment
    } else {
        AuditChain::Owner(caller.owner().clone())
    };
    let mut page = AuditPage::default();
    let mut before = query.before.unwrap_or(u64::MAX);
    let (mut seen, mut facts) = (0, 0);
    while seen < LOOKED_THROUGH
        && page.entries.len() < limits::AUDIT_PAGE
        && facts < limits::AUDIT_PAGE_FACTS
    {
        let entries = ports
            .entries_before(&chain, before, limits::AUDIT_PAGE)
            .await?;
        if entries.is_empty() {
            return Ok(page);
        }
        for entry in entries {
            before = entry.number();
            seen += 1;
            // Nothing in an entry is younger than the entry, and entries are ordered.
            let is_old = |from| entry.subject != Subject::Unreadable && entry.time < from;
            if query.from.is_some_and(is_old) {
                return Ok(page);
            }
            if let Some(entry) = matching(query, entry) {
                facts += entry.facts();
                page.entries.push(entry);
            }
            if page.entries.len() == limits::AUDIT_PAGE || facts >= limits::AUDIT_PAGE_FACTS {
                break;
            }
        }
    }
    page.next = (before > 1).then_some(before);
    Ok(page)
}

/// The entry with those of its facts that are asked for; `None` when there is nothing of it.
fn matching(query: &QueryAudit, mut entry: AuditEntry) -> Option<AuditEntry> {
    let about = entry.subject.session();
    if query.session.as_ref().is_some_and(|it| about != Some(it)) {
        return None;
    }
    let in_time = |time: UnixMillis| {
        query.from.is_none_or(|from| time >= from) && query.to.is_none_or(|to| time <= to)
    };
    let is = match &mut entry.subject {
        Subject::Log(piece) => {
            let of_kind = |kind| query.kinds.is_empty() || query.kinds.contains(&kind);
            piece
                .facts
                .retain(|fact| of_kind(fact.kind) && in_time(fact.time));
            !piece.facts.is_empty()
        }
        Subject::Erased { .. }
        | Subject::Policy(_)
        | Subject::Key(_)
        | Subject::GitCredential(_) => query.kinds.is_empty() && in_time(entry.time),
        Subject::Refused(refusals) => query.kinds.is_empty() && in_time(refusals.minute),
        Subject::Unreadable => query.kinds.is_empty(),
    };
    is.then_some(entry)
}
