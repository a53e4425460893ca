//! Policies: the files that come with every deployment, and those that a deployment or an owner adds.
//!
//! Added policies are checked against the schema when they are stored. They can permit more and
//! forbid more; what `denials.cedar` forbids stays forbidden, because in Cedar one `forbid` outweighs
//! every `permit`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use cedar_policy::{Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
pub use domain::Tier;
use domain::limits::{POLICIES, POLICIES_BYTES, POLICY_ID_CHARACTERS};
use domain::{PolicyName, PolicyScope};
use miette::Diagnostic;

use crate::meaning::Part;

mod say;

use say::Say;

const SCHEMA: &str = include_str!("../policies/schema.cedarschema");
const DENIALS: &str = include_str!("../policies/denials.cedar");
const HARMLESS: &str = include_str!("../policies/harmless.cedar");
const MODES: &str = include_str!("../policies/modes.cedar");

/// The policy file of a tier.
#[must_use]
pub fn text_of(tier: Tier) -> &'static str {
    match tier {
        Tier::Auto => include_str!("../policies/auto.cedar"),
        Tier::Review => include_str!("../policies/review.cedar"),
        Tier::Strict => include_str!("../policies/strict.cedar"),
    }
}

/// Who added policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// The deployment, for everybody.
    Deployment,
    /// An owner, for their sessions.
    Owner,
    /// A person who approved calls of one session, for that one.
    Session,
}

impl Author {
    fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::Owner => "owner",
            Self::Session => "session",
        }
    }
}

impl From<&PolicyScope> for Author {
    fn from(scope: &PolicyScope) -> Self {
        match scope {
            PolicyScope::Deployment => Self::Deployment,
            PolicyScope::Owner(_) => Self::Owner,
        }
    }
}

/// Why added policies are refused. The person who wrote them corrects them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// They are too long.
    #[error("the policies are {actual} bytes long; at most {POLICIES_BYTES} are allowed")]
    TooLong {
        /// Their length in bytes.
        actual: usize,
    },
    /// They are too many.
    #[error("these are {actual} policies; at most {POLICIES} are allowed")]
    TooMany {
        /// Their number.
        actual: usize,
    },
    /// One cannot be read, or does not fit the schema.
    #[error("line {line}, column {column}: {reason}")]
    At {
        /// Line, from 1.
        line: usize,
        /// Character in the line, from 1.
        column: usize,
        /// What is wrong, for people.
        reason: String,
    },
}

/// Policies that a deployment or an owner added; they fit the schema.
#[derive(Debug, Clone)]
pub struct Added {
    author: Author,
    policies: Vec<(String, Policy)>,
}

impl Added {
    /// Checks policies.
    ///
    /// # Errors
    /// Too many, too long, not readable, or not about what the schema lists.
    pub fn parse(author: Author, text: &str) -> Result<Self, PolicyError> {
        Self::under(author, author.as_str(), text)
    }

    /// The same for a text that is stored under a name: that is a part of its policies' names.
    ///
    /// # Errors
    /// As [`Added::parse`].
    pub fn stored(author: Author, name: &PolicyName, text: &str) -> Result<Self, PolicyError> {
        Self::under(author, &format!("{}/{name}", author.as_str()), text)
    }

    fn under(author: Author, prefix: &str, text: &str) -> Result<Self, PolicyError> {
        if text.len() > POLICIES_BYTES {
            return Err(PolicyError::TooLong { actual: text.len() });
        }
        let policies = named(prefix, text)?;
        if policies.len() > POLICIES {
            return Err(PolicyError::TooMany {
                actual: policies.len(),
            });
        }
        Ok(Self { author, policies })
    }

    /// Who added them.
    #[must_use]
    pub fn author(&self) -> Author {
        self.author
    }

    /// How many they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }
}

/// The policies that decide about a session. Made once and used for many calls.
#[derive(Debug, Clone)]
pub struct Policies {
    tier: Tier,
    /// Why nothing may run: what is stored for the session is not known.
    closed: Option<String>,
    set: PolicySet,
    run: Say,
    ask: Say,
}

/// The files of this crate do not fit together; the deployment cannot start.
#[derive(Debug, thiserror::Error)]
#[error("the policies of this program cannot be used: {0}")]
pub struct Unusable(String);

impl Policies {
    /// The policies of a tier, and what was added.
    ///
    /// # Errors
    /// Never for the files of this crate, as its tests show; then nothing may run.
    pub fn new(tier: Tier, added: &[&Added]) -> Result<Self, Unusable> {
        let unusable = |error: &dyn fmt::Display| Unusable(error.to_string());
        let tier_name = format!("tiers/{tier}");
        let files = [
            ("denials", DENIALS),
            ("harmless", HARMLESS),
            ("modes", MODES),
            (tier_name.as_str(), text_of(tier)),
        ];
        let mut set = PolicySet::new();
        for (name, text) in files {
            for (_, policy) in named(name, text).map_err(|error| unusable(&error))? {
                set.add(policy).map_err(|error| unusable(&error))?;
            }
        }
        for (_, policy) in added.iter().flat_map(|added| &added.policies) {
            set.add(policy.clone()).map_err(|error| unusable(&error))?;
        }
        let say = |action| Say::about(action, &set).map_err(|error| unusable(&error));
        let (run, ask) = (say("run")?, say("ask")?);
        Ok(Self {
            tier,
            closed: None,
            set,
            run,
            ask,
        })
    }

    /// The same, for nothing to run: what is stored for the session cannot be read.
    #[must_use]
    pub(crate) fn closed(self, reason: String) -> Self {
        Self {
            closed: Some(reason),
            ..self
        }
    }

    /// Why nothing runs, where that is so whatever the policies say.
    #[must_use]
    pub fn why_closed(&self) -> Option<&str> {
        self.closed.as_deref()
    }

    /// The tier they are of.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The same and what this text adds, for looking what it would do; `None` when it is not valid.
    #[must_use]
    pub fn with(&self, text: &str) -> Option<Self> {
        let added = named("looked-at", text).ok()?;
        let mut set = self.set.clone();
        for (_, policy) in added {
            set.add(policy).ok()?;
        }
        Some(Self {
            tier: self.tier,
            closed: self.closed.clone(),
            run: Say::about("run", &set).ok()?,
            ask: Say::about("ask", &set).ok()?,
            set,
        })
    }

    /// Those with a say in whether the part runs by itself.
    pub(crate) fn on_running(&self, part: &Part) -> &PolicySet {
        self.run.on(part)
    }

    /// Those with a say in whether a person may decide about the part.
    pub(crate) fn on_asking(&self, part: &Part) -> &PolicySet {
        self.ask.on(part)
    }

    /// Why the policy decides as it does, in its author's words.
    pub(crate) fn reason_of(&self, id: &PolicyId) -> Option<&str> {
        self.set.annotation(id, "reason")
    }

    /// A policy as it is written, for people.
    #[must_use]
    pub fn text_of(&self, id: &str) -> Option<String> {
        self.set.policy(&PolicyId::new(id))?.to_cedar()
    }
}

static VALIDATOR: LazyLock<Result<Validator, String>> = LazyLock::new(|| {
    Schema::from_cedarschema_str(SCHEMA)
        .map(|(schema, _)| Validator::new(schema))
        .map_err(|error| error.to_string())
});

/// The schema, for tests that what is asked fits it.
#[cfg(test)]
pub(crate) fn schema() -> &'static Schema {
    VALIDATOR.as_ref().expect("a schema").schema()
}

/// Policies with the names `prefix/id`; without an `@id` it is their number, from 1.
fn named(prefix: &str, text: &str) -> Result<Vec<(String, Policy)>, PolicyError> {
    let set = PolicySet::from_str(text).map_err(|errors| {
        let reason = errors.to_string();
        let first = errors.iter().next();
        located(
            text,
            first.and_then(|error| offset(error)).unwrap_or(0),
            reason,
        )
    })?;
    if let Some(template) = set.templates().next() {
        let reason = format!(
            "{} is a template; write its principal and resource out",
            template.id()
        );
        return Err(located(text, 0, reason));
    }
    let validator = VALIDATOR
        .as_ref()
        .map_err(|error| located(text, 0, error.clone()))?;
    let result = validator.validate(&set, ValidationMode::Strict);
    if let Some(error) = result.validation_errors().next() {
        let help = error
            .help()
            .map(|help| format!(" ({help})"))
            .unwrap_or_default();
        return Err(located(
            text,
            offset(error).unwrap_or(0),
            format!("{error}{help}"),
        ));
    }
    let mut numbered: Vec<(usize, &Policy)> = Vec::new();
    for policy in set.policies() {
        // Cedar numbers the policies of a text: `policy0`, `policy1`.
        let number = policy.id().to_string();
        let number = number.trim_start_matches("policy").parse().unwrap_or(0);
        numbered.push((number, policy));
    }
    numbered.sort_by_key(|(number, _)| *number);
    let mut seen = BTreeSet::new();
    let mut policies = Vec::new();
    for (number, policy) in numbered {
        let name = policy
            .annotation("id")
            .map_or_else(|| (number + 1).to_string(), str::to_owned);
        let is_plain = !name.is_empty()
            && name.len() <= POLICY_ID_CHARACTERS
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let at = text.find(&format!("@id(\"{name}\")")).unwrap_or(0);
        if !is_plain {
            let reason =
                format!("the id {name:?} must be 1 to {POLICY_ID_CHARACTERS} of a-z, 0-9 and '-'");
            return Err(located(text, at, reason));
        }
        let name = format!("{prefix}/{name}");
        if !seen.insert(name.clone()) {
            return Err(located(text, at, format!("there are two policies {name}")));
        }
        policies.push((name.clone(), policy.new_id(PolicyId::new(name))));
    }
    Ok(policies)
}

/// Where in its text a complaint is, in bytes.
fn offset(error: &dyn Diagnostic) -> Option<usize> {
    error.labels()?.map(|label| label.offset()).min()
}

fn located(text: &str, offset: usize, reason: String) -> PolicyError {
    let before = text.get(..offset.min(text.len())).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    PolicyError::At {
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        reason,
    }
}

#[cfg(test)]
mod tests;
