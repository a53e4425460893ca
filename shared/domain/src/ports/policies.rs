//! Where policies are stored.

use thiserror::Error;

use crate::{
    OwnerId, PolicyBook, PolicyName, PolicyScope, UnixMillis,
    audit::{PolicyChange, Subject},
    policy_book::digest,
};

use super::Unavailable;

/// A change of a book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookChange {
    /// Of whose book.
    pub scope: PolicyScope,
    /// The revision that was looked at. The next one is the new policy's version.
    pub based_on: u64,
    /// The policy that changes.
    pub name: PolicyName,
    /// Its text, and how many policies that holds; `None` removes it.
    pub text: Option<(String, u64)>,
    /// Who changes it.
    pub by: OwnerId,
    /// Now.
    pub now: UnixMillis,
}

impl BookChange {
    /// The revision that the book gets by it.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.based_on + 1
    }

    /// What the audit says of it.
    #[must_use]
    pub fn audited(&self) -> Subject {
        Subject::Policy(PolicyChange {
            name: self.name.clone(),
            version: self.revision(),
            digest: self.text.as_ref().map(|(text, _)| digest(text)),
            by: self.by.clone(),
        })
    }
}

/// Why a book was not changed.
#[derive(Debug, Error)]
pub enum NotChanged {
    /// It has another revision by now: look again.
    #[error("the policies were changed meanwhile")]
    Moved,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Stored policies. They stay until a person removes them.
pub trait PolicyBooks: Send + Sync {
    /// The book of a scope as it is now, whole. What cannot be read is named in it.
    fn policy_book(
        &self,
        scope: &PolicyScope,
    ) -> impl Future<Output = Result<PolicyBook, Unavailable>> + Send;

    /// Changes the book if it still has the revision that the change is based on, and gives it the next
    /// one; together with the entry of the audit, so that there is none without the other. Of two changes with the same base one happens. Repeating one that happened gives
    /// [`NotChanged::Moved`] or, at once, success; it never happens twice.
    fn change_policy_book(
        &self,
        change: &BookChange,
    ) -> impl Future<Output = Result<(), NotChanged>> + Send;
}
