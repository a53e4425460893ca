//! Policies that a deployment and its owners add to those that every deployment has.
//!
//! A *stored policy* is a text with a name; the text holds one or more policies. All of one scope are a
//! *book*, which changes as a whole: whoever changes it says on which revision the change is based.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::{OwnerId, PolicyName, UnixMillis};

/// For whose sessions a policy counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyScope {
    /// Everybody's.
    Deployment,
    /// Those of one owner.
    Owner(OwnerId),
}

impl PolicyScope {
    /// Its name in addresses and answers.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::Owner(_) => "owner",
        }
    }
}

impl fmt::Display for PolicyScope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.kind())
    }
}

/// A policy as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPolicy {
    /// What the person calls it.
    pub name: PolicyName,
    /// What the person wrote, in Cedar.
    pub text: String,
    /// How many policies the text holds.
    pub policies: u64,
    /// The revision of the book that brought this text: no two texts of a scope ever have the same.
    pub version: u64,
    /// When, on the clock of the function that changed it.
    pub changed_at: UnixMillis,
}

impl StoredPolicy {
    /// SHA-256 of the text, in hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        digest(&self.text)
    }
}

/// SHA-256 of a policy's text, in hexadecimal digits.
#[must_use]
pub fn digest(text: &str) -> String {
    let bytes = Sha256::digest(text);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A stored policy that cannot be read any more. It counts all the same: nothing runs where nobody
/// knows what it forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadablePolicy {
    /// Its name, as it is stored.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
}

/// All policies of one scope at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyBook {
    /// Whose.
    pub scope: PolicyScope,
    /// How many changes there were: 0 where nobody ever stored one.
    pub revision: u64,
    /// By name.
    pub policies: Vec<StoredPolicy>,
    /// What cannot be read, by name.
    pub unreadable: Vec<UnreadablePolicy>,
}

impl PolicyBook {
    /// The book in which nobody has written.
    #[must_use]
    pub const fn empty(scope: PolicyScope) -> Self {
        Self {
            scope,
            revision: 0,
            policies: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    /// The policy of that name.
    #[must_use]
    pub fn policy(&self, name: &PolicyName) -> Option<&StoredPolicy> {
        self.policies.iter().find(|policy| policy.name == *name)
    }

    /// Why the policy of that name cannot be read, if it is there and cannot.
    #[must_use]
    pub fn problem(&self, name: &PolicyName) -> Option<&str> {
        let found = self.unreadable.iter().find(|it| it.name == name.as_str());
        found.map(|it| it.problem.as_str())
    }
}
