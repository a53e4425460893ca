//! What a person allowed for the rest of a session, beside its policies.
//!
//! The gate reads it for every call; the supervisor adds to it behind a decision that is in the log.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use domain::{CallDigest, Grant, Tier};
use policy::rules::{Added, Author, Policies, Unusable};

/// Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Granted(Arc<RwLock<Inner>>);

#[derive(Debug)]
struct Inner {
    policies: Arc<Policies>,
    calls: HashSet<CallDigest>,
    /// Calls on which the CLI did not agree with the policies that they only read.
    to_ask: HashSet<CallDigest>,
}

impl Granted {
    /// The policies of a tier, and what was granted before. A grant that cannot be read any more is
    /// left out: then a person is asked again.
    ///
    /// # Errors
    /// The policies of this program cannot be used; then nothing may run.
    pub fn new(tier: Tier, grants: &[Grant]) -> Result<Self, Unusable> {
        let inner = Inner {
            policies: Arc::new(Policies::new(tier, &[])?),
            calls: HashSet::new(),
            to_ask: HashSet::new(),
        };
        let granted = Self(Arc::new(RwLock::new(inner)));
        // Reading the policies takes most of a start's time here: twice only where there is a reason.
        if !grants.is_empty() {
            granted.set(grants)?;
        }
        Ok(granted)
    }

    /// Exactly these count from here on.
    ///
    /// # Errors
    /// As [`Granted::new`]; then what counted before goes on counting.
    pub fn set(&self, grants: &[Grant]) -> Result<(), Unusable> {
        let mut calls = HashSet::new();
        let mut patterns = Vec::new();
        for grant in grants {
            match grant {
                Grant::Call(digest) => {
                    calls.insert(digest.clone());
                }
                Grant::Pattern(text) if patterns.contains(text) => {}
                Grant::Pattern(text) => match Added::parse(Author::Session, text) {
                    Ok(_) => patterns.push(text.clone()),
                    Err(error) => {
                        tracing::warn!(%error, "a pattern that a person allowed cannot be read");
                    }
                },
            }
        }
        // One text, so that its policies have names of their own.
        let added = Added::parse(Author::Session, &patterns.join("\n\n"));
        let added = added.map_err(|error| tracing::warn!(%error, "the patterns do not count"));
        let added: Vec<Added> = added.into_iter().collect();
        let added: Vec<&Added> = added.iter().collect();
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.policies = Arc::new(Policies::new(inner.policies.tier(), &added)?);
        inner.calls = calls;
        Ok(())
    }

    pub(crate) fn policies(&self) -> Arc<Policies> {
        self.inner().policies.clone()
    }

    pub(crate) fn allows(&self, digest: &CallDigest) -> bool {
        self.inner().calls.contains(digest)
    }

    pub(crate) fn must_ask(&self, digest: &CallDigest) -> bool {
        self.inner().to_ask.contains(digest)
    }

    pub(crate) fn ask_about(&self, digest: CallDigest) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.to_ask.insert(digest);
    }

    fn inner(&self) -> std::sync::RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
