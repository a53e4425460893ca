//! What the session's deployment and owner have stored: read when the session is taken, and again
//! before each turn begins and before a person's decision is carried out, so that a change counts from
//! the next turn on, and for every call that waits for a person.
//!
//! Nothing runs on what is not known. Where a book cannot be read after a few tries, or a policy in it
//! cannot be used, every call is denied with the reason, until a later turn reads it whole.

use domain::ports::Unavailable;
use domain::{PolicyBook, PolicyScope};
use policy::stored::Stored;

use super::starting::Started;
use super::{End, Ports, Stop, Supervision};
use crate::objects::SessionObjects;

/// Pauses between tries to read the books. Own: with those that the store makes by itself, longer than
/// a partition of the table needs to move.
const PAUSES_MILLISECONDS: [u64; 3] = [200, 500, 1000];

/// What was read last.
#[derive(Debug)]
pub(crate) struct StoredPolicies {
    /// `None` when it could not be read.
    books: Option<Vec<PolicyBook>>,
    pub(crate) read: Stored,
}

impl StoredPolicies {
    /// Before anything was read.
    pub(crate) fn unread() -> Self {
        Self {
            books: None,
            read: Stored::not_known(),
        }
    }
}

impl<P: Ports, O: SessionObjects> Supervision<P, O> {
    /// Reads the books; whether something changed. Cut or done twice, nothing is lost: it only reads.
    pub(crate) async fn read_stored(&mut self) -> Result<bool, Stop> {
        let books = self.books().await?;
        if books.is_some() && books == self.stored.books {
            return Ok(false);
        }
        let read = books
            .as_ref()
            .map_or_else(Stored::not_known, |books| Stored::of(books));
        if let Some(why) = read.why_closed() {
            let notice = self
                .conversation
                .notice("policies_closed", why, self.ports.now());
            self.note(notice);
        }
        self.stored = StoredPolicies { books, read };
        Ok(true)
    }

    /// A turn begins, or a person decided: from here on the gate decides by what is stored now.
    pub(crate) async fn renew_policies(&mut self, started: &Started) -> Result<(), Stop> {
        if !self.read_stored().await? {
            return Ok(());
        }
        let set = started.rules.granted.set_stored(self.stored.read.clone());
        // On policies that cannot be used, nothing goes on.
        set.map_err(|error| End::broke_down(error.to_string()))
    }

    async fn books(&self) -> Result<Option<Vec<PolicyBook>>, Stop> {
        let mut pauses = PAUSES_MILLISECONDS.iter();
        loop {
            let read = tokio::select! {
                () = self.journal.lost() => return Err(Stop::LeaseLost),
                read = self.both() => read,
            };
            let error = match read {
                Ok(books) => return Ok(Some(books)),
                Err(error) => error,
            };
            tracing::warn!(%error, "the stored policies cannot be read now");
            let Some(pause) = pauses.next() else {
                return Ok(None);
            };
            tokio::select! {
                () = self.journal.lost() => return Err(Stop::LeaseLost),
                () = self.ports.sleep(*pause) => {}
            }
        }
    }

    async fn both(&self) -> Result<Vec<PolicyBook>, Unavailable> {
        let owner = PolicyScope::Owner(self.assignment.key.owner.clone());
        let (deployment, owner) = tokio::join!(
            self.ports.policy_book(&PolicyScope::Deployment),
            self.ports.policy_book(&owner)
        );
        Ok(vec![deployment?, owner?])
    }
}
