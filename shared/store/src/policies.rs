//! Stored policies: one row for each, and one for the book's revision, on which every change depends.

use domain::{
    PolicyBook, PolicyName, PolicyScope, StoredPolicy, UnixMillis,
    ids::base32,
    policy_book::{UnreadablePolicy, digest},
    ports::{BookChange, NotChanged, PolicyBooks, Unavailable},
};
use sha2::{Digest, Sha256};

use crate::{
    Store, failure,
    item::{Row, UnreadableRow, number, text},
    keys::{self, Record, SORT},
    table::NotWritten,
    write::Write,
};

const REVISION: &str = "revision";
const TEXT: &str = "text";
pub(crate) const DIGEST: &str = "digest";
const POLICIES: &str = "policies";
pub(crate) const VERSION: &str = "version";
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
        let next = change.based_on + 1;
        let state = Row::at(&Record::PolicyBook(&change.scope).key()).with(REVISION, number(next));
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
                    .with(VERSION, number(next))
                    .with(CHANGED_AT, number(change.now.0)),
            ),
        };
        // The same change of the same book is the same request; another one is not.
        let token = base32(&Sha256::digest(format!("{change:?}")));
        let writes = vec![state, policy];
        match self.table.transact(ATTEMPTED, &token[..36], writes).await {
            Ok(()) => Ok(()),
            Err(NotWritten::Refused(_)) => Err(NotChanged::Moved),
            Err(NotWritten::Unavailable(unavailable)) => Err(unavailable.into()),
        }
    }
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
