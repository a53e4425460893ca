//! What a deployment and its owners have stored, as it counts for a session.
//!
//! A stored policy that cannot be used closes the session: nobody knows what it forbids, so nothing
//! runs until a person has corrected or removed it.

use std::fmt;

use domain::use_cases::{PolicyFault, PolicyLanguage};
use domain::{PolicyBook, PolicyName, PolicyScope, Tier};

use crate::rules::{Added, Policies, PolicyError, Unusable};

/// The language of policies, for whoever stores them.
#[derive(Debug, Clone, Copy)]
pub struct Cedar;

impl PolicyLanguage for Cedar {
    fn check(
        &self,
        scope: &PolicyScope,
        name: &PolicyName,
        text: &str,
    ) -> Result<u64, PolicyFault> {
        match Added::stored(scope.into(), name, text) {
            Ok(added) => Ok(added.len() as u64),
            Err(PolicyError::At {
                line,
                column,
                reason,
            }) => Err(PolicyFault {
                line: Some(line),
                column: Some(column),
                reason,
            }),
            Err(error @ (PolicyError::TooLong { .. } | PolicyError::TooMany { .. })) => {
                Err(PolicyFault {
                    line: None,
                    column: None,
                    reason: error.to_string(),
                })
            }
        }
    }
}

/// What books add, read once.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    added: Vec<Added>,
    closed: Option<String>,
}

impl Stored {
    /// Reads the books that count for a session: its deployment's and its owner's.
    #[must_use]
    pub fn of(books: &[PolicyBook]) -> Self {
        let mut added = Vec::new();
        let mut broken = Vec::new();
        for book in books {
            for policy in &book.policies {
                match Added::stored((&book.scope).into(), &policy.name, &policy.text) {
                    Ok(policies) => added.push(policies),
                    Err(error) => {
                        broken.push(Broken(book, policy.name.as_str(), error.to_string()))
                    }
                }
            }
            for policy in &book.unreadable {
                broken.push(Broken(book, &policy.name, policy.problem.clone()));
            }
        }
        let closed = (!broken.is_empty()).then(|| {
            let named: Vec<String> = broken.iter().map(ToString::to_string).collect();
            because(&format!(
                "a stored policy cannot be used, and nobody knows what it forbids: {}",
                named.join("; ")
            ))
        });
        Self { added, closed }
    }

    /// Nothing is known of what is stored.
    #[must_use]
    pub fn not_known() -> Self {
        Self {
            added: Vec::new(),
            closed: Some(because("the stored policies cannot be read at the moment")),
        }
    }

    /// Why nothing runs, if that is so.
    #[must_use]
    pub fn why_closed(&self) -> Option<&str> {
        self.closed.as_deref()
    }

    /// The policies of a tier with these, and with what a person allowed for the session.
    ///
    /// # Errors
    /// As [`Policies::new`].
    pub fn policies(&self, tier: Tier, session: Option<&Added>) -> Result<Policies, Unusable> {
        let added: Vec<&Added> = self.added.iter().chain(session).collect();
        let policies = Policies::new(tier, &added)?;
        Ok(match &self.closed {
            Some(reason) => policies.closed(reason.clone()),
            None => policies,
        })
    }
}

/// Read by the model, and by people.
fn because(what: &str) -> String {
    format!(
        "Nothing runs now: {what}. Do not try it in another form; say this to the person, who can look at \
         the policies, correct or remove what is wrong, and send the next message then."
    )
}

struct Broken<'a>(&'a PolicyBook, &'a str, String);

impl fmt::Display for Broken<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(book, name, problem) = self;
        write!(formatter, "{}/{name} ({problem})", book.scope)
    }
}

#[cfg(test)]
mod tests;
