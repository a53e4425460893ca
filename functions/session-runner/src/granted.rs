//! The policies of a session as they count now: those of its tier, what its deployment and its owner
//! have stored, and what a person allowed for the rest of it.
//!
//! The gate reads them for every call; the supervisor changes them, between turns and behind a decision
//! that is in the log.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use domain::{CallDigest, Grant, Tier};
use policy::rules::{Added, Author, Policies, Unusable};
use policy::stored::Stored;

/// Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Granted(Arc<RwLock<Inner>>);

#[derive(Debug)]
struct Inner {
    policies: Arc<Policies>,
    stored: Stored,
    /// The patterns that a person allowed.
    patterns: Option<Added>,
    calls: HashSet<CallDigest>,
    /// Calls on which the CLI did not agree with the policies that they only read.
    to_ask: HashSet<CallDigest>,
}

impl Granted {
    /// The policies of a tier, what is stored, and what was granted before. A grant that cannot be read
    /// any more is left out: then a person is asked again.
    ///
    /// # Errors
    /// The policies of this program cannot be used; then nothing may run.
    pub fn new(tier: Tier, stored: Stored, grants: &[Grant]) -> Result<Self, Unusable> {
        let (patterns, calls) = read(grants);
        let inner = Inner {
            policies: Arc::new(stored.policies(tier, patterns.as_ref())?),
            stored,
            patterns,
            calls,
            to_ask: HashSet::new(),
        };
        Ok(Self(Arc::new(RwLock::new(inner))))
    }

    /// Exactly these are granted from here on.
    ///
    /// # Errors
    /// As [`Granted::new`]; then what counted before goes on counting.
    pub fn set(&self, grants: &[Grant]) -> Result<(), Unusable> {
        let (patterns, calls) = read(grants);
        let mut inner = self.change();
        let tier = inner.policies.tier();
        inner.policies = Arc::new(inner.stored.policies(tier, patterns.as_ref())?);
        (inner.patterns, inner.calls) = (patterns, calls);
        Ok(())
    }

    /// Exactly these are stored from here on.
    ///
    /// # Errors
    /// As [`Granted::new`]; then what counted before goes on counting.
    pub fn set_stored(&self, stored: Stored) -> Result<(), Unusable> {
        let mut inner = self.change();
        let tier = inner.policies.tier();
        inner.policies = Arc::new(stored.policies(tier, inner.patterns.as_ref())?);
        inner.stored = stored;
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
        self.change().to_ask.insert(digest);
    }

    fn inner(&self) -> std::sync::RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Inner> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(grants: &[Grant]) -> (Option<Added>, HashSet<CallDigest>) {
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
    if patterns.is_empty() {
        return (None, calls);
    }
    // One text, so that its policies have names of their own.
    let added = Added::parse(Author::Session, &patterns.join("\n\n"));
    let added = added.map_err(|error| tracing::warn!(%error, "the patterns do not count"));
    (added.ok(), calls)
}
