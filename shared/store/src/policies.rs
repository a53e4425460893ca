//! Stored policies: one row for each, and one for the book's revision, on which every change depends.

use domain::{
    PolicyBook, PolicyName, PolicyScope, StoredPolicy, UnixMillis,
    audit::AuditChain,
    ids::base32,
    policy_book::{UnreadablePolicy, digest},
    ports::{BookChange, IdSource, NotChanged, PolicyBooks, Unavailable},
};

use crate::{
    Store, audit, failure,
    item::{Row, UnreadableRow, number, text},
    keys::{self, Record, SORT},
    table::{NotWritten, pause},
    write::Write,
};

const REVISION: &str = "revision";
const TEXT: &str = "text";
const DIGEST: &str = "digest";
const POLICIES: &str = "policies";
const VERSION: &str = "version";
const CHANGED_AT: &str = "changed_at";

/// Rows asked for at once: a whole book.
const PAGE: usize = domain::limits::STORED_POLICIES + 1;

impl PolicyBooks for Store {
    async fn policy_book(&self, scope: &PolicyScope) -> Result<PolicyBook, Unavailable> {
        const ATTEMPTED: &str = "read the policies";
        let mut book = PolicyBook::empty(scope.clone());
        let (partition, mut from, to) = keys::book_range(scope);
        loop {
            let page = self.table.range(ATTEMPTED, &partition, &from, &to, PAGE);
            let (rows, more) = page.await?;
            let last = rows.last().map(|row| row.text(SORT).map(keys::after));
            for row in rows {
                take(&mut book, &row).map_err(|error| failure::own(ATTEMPTED, error))?;
            }
            // A part of what is forbidden is not what is forbidden: to the end.
            match last {
                Some(last) if more => {
                    from = last.map_err(|error| failure::own(ATTEMPTED, error))?;
                }
                _ => return Ok(book),
            }
        }
    }

    async fn change_policy_book(&self, change: &BookChange) -> Result<(), NotChanged> {
        const ATTEMPTED: &str = "change the policies";
        let chain = AuditChain::of_policies(&change.scope);
        for attempt in 0..audit::ATTEMPTS {
            let (_, audited) = self
                .next_entry(&chain, change.audited(), change.now)
                .await?;
            let writes = book_writes(change).into_iter().chain(audited).collect();
            let request = base32(&IdSource::random(self));
            match self.table.transact(ATTEMPTED, &request, writes).await {
                Ok(()) => return Ok(()),
                Err(NotWritten::Refused(parts)) if parts.contains(&BOOK) => {
                    return Err(NotChanged::Moved);
                }
                // Others write to the audit all the time.
                Err(NotWritten::Refused(_)) => pause(attempt).await,
                Err(NotWritten::Unavailable(unavailable)) => return Err(unavailable.into()),
            }
        }
        Err(audit::too_many_write().into())
    }
}

/// The place of the book's row among the writes.
const BOOK: usize = 0;

/// The book's row and the policy's.
fn book_writes(change: &BookChange) -> [Write; 2] {
    let revision = change.revision();
    let state = Row::at(&Record::PolicyBook(&change.scope).key()).with(REVISION, number(revision));
    let state = if change.based_on == 0 {
        Write::put_new(state)
    } else {
        Write::put(state).when(REVISION, "=", number(change.based_on))
    };
    let key = Record::Policy(&change.scope, &change.name).key();
    let policy = match &change.text {
        // Its own condition would say no more than the book's.
        None => Write::delete(key),
        Some((written, policies)) => Write::put(
            Row::at(&key)
                .with(TEXT, text(written.as_str()))
                .with(DIGEST, text(digest(written)))
                .with(POLICIES, number(policies))
                .with(VERSION, number(revision))
                .with(CHANGED_AT, number(change.now.0)),
        ),
    };
    [state, policy]
}

/// Adds a row to the book. A policy that cannot be read is in it as such; a book whose revision cannot
/// be read is none.
fn take(book: &mut PolicyBook, row: &Row) -> Result<(), UnreadableRow> {
    let Some(name) = keys::policy_name(row.text(SORT)?) else {
        book.revision = row.number(REVISION)?;
        return Ok(());
    };
    match read(name, row) {
        Ok(policy) => book.policies.push(policy),
        Err(error) => book.unreadable.push(UnreadablePolicy {
            name: name.to_owned(),
            problem: error.to_string(),
        }),
    }
    Ok(())
}

fn read(name: &str, row: &Row) -> Result<StoredPolicy, UnreadableRow> {
    let policy = StoredPolicy {
        name: PolicyName::parse(name).map_err(|_| UnreadableRow::Rule(SORT))?,
        text: row.text(TEXT)?.to_owned(),
        policies: row.number(POLICIES)?,
        version: row.number(VERSION)?,
        changed_at: UnixMillis(row.number(CHANGED_AT)?),
    };
    if policy.digest() != row.text(DIGEST)? {
        return Err(UnreadableRow::Rule(DIGEST));
    }
    Ok(policy)
}
