//! A request, and what the policies say to it: an explicit refusal wins, and what nothing permits is
//! refused.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    document::{Document, Effect, Statement},
    role::Policy,
};

/// What is known about a call: values by condition key. Keys are the same in every spelling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Context(BTreeMap<String, Vec<String>>);

impl Context {
    /// The same with one more key; without a value, as if the key were not there.
    #[must_use]
    pub fn with(mut self, key: &str, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let values: BTreeSet<String> = values.into_iter().map(Into::into).collect();
        if !values.is_empty() {
            self.0
                .insert(key.to_ascii_lowercase(), values.into_iter().collect());
        }
        self
    }

    /// The same with everything of another one.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.0.extend(
            other
                .0
                .iter()
                .map(|(key, values)| (key.clone(), values.clone())),
        );
        self
    }

    pub(super) fn values(&self, key: &str) -> Option<&[String]> {
        self.0.get(&key.to_ascii_lowercase()).map(Vec::as_slice)
    }

    pub(super) fn single(&self, key: &str) -> Option<&str> {
        match self.values(key) {
            Some([value]) => Some(value),
            _ => None,
        }
    }
}

/// One thing that somebody wants to do. A call of an API may be several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Request {
    /// `dynamodb:GetItem`.
    pub action: String,
    /// An ARN, or `*` where an action knows none.
    pub resource: String,
    /// What else is known.
    pub context: Context,
}

impl Request {
    /// A request about which nothing else is known.
    #[must_use]
    pub fn new(action: &str, resource: impl Into<String>) -> Self {
        Self {
            action: action.to_owned(),
            resource: resource.into(),
            context: Context::default(),
        }
    }

    /// The same with one more condition key.
    #[must_use]
    pub fn with(mut self, key: &str, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.context = self.context.with(key, values);
        self
    }
}

/// What the policies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A statement permits it and none refuses it.
    Allowed,
    /// A statement refuses it.
    Refused,
    /// No statement is about it.
    NotAllowed,
}

/// One permission: a combination that a statement permits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// Name of the policy.
    pub policy: String,
    /// Place of the statement in it.
    pub statement: usize,
    /// The action, in lower case.
    pub action: String,
    /// The resource, as the policy has it.
    pub resource: String,
    /// One of the patterns that a condition names; empty when there is none.
    pub condition: String,
}

fn applies(statement: &Statement, request: &Request) -> bool {
    let action = request.action.to_ascii_lowercase();
    let context = &request.context;
    statement
        .actions
        .iter()
        .any(|pattern| pattern.matches(&action, context))
        && statement
            .resources
            .iter()
            .any(|pattern| pattern.matches(&request.resource, context))
        && statement.conditions_hold(context)
}

/// Decides on a request; `documents` are all that its sender has.
#[must_use]
pub fn decide<'document>(
    documents: impl IntoIterator<Item = &'document Document>,
    request: &Request,
) -> Decision {
    let mut decision = Decision::NotAllowed;
    for document in documents {
        for statement in &document.statements {
            if applies(statement, request) {
                match statement.effect {
                    Effect::Deny => return Decision::Refused,
                    Effect::Allow => decision = Decision::Allowed,
                }
            }
        }
    }
    decision
}

impl Policy {
    /// All that it permits, one by one.
    #[must_use]
    pub fn grants(&self) -> BTreeSet<Grant> {
        self.collect(|statement| {
            let texts = |patterns: &[super::pattern::Pattern]| -> Vec<String> {
                patterns.iter().map(|one| one.text().to_owned()).collect()
            };
            let conditions = statement
                .conditions
                .iter()
                .flat_map(|one| one.patterns().map(str::to_owned))
                .collect();
            Some((
                texts(&statement.actions),
                texts(&statement.resources),
                conditions,
            ))
        })
    }

    /// Of these, the ones that a request needs.
    #[must_use]
    pub fn used(&self, request: &Request) -> BTreeSet<Grant> {
        self.collect(|statement| {
            if !applies(statement, request) {
                return None;
            }
            let matching = |patterns: &[super::pattern::Pattern], text: &str| -> Vec<String> {
                patterns
                    .iter()
                    .filter(|pattern| pattern.matches(text, &request.context))
                    .map(|pattern| pattern.text().to_owned())
                    .collect()
            };
            let conditions = statement
                .conditions
                .iter()
                .flat_map(|one| one.used(&request.context))
                .collect();
            Some((
                matching(&statement.actions, &request.action.to_ascii_lowercase()),
                matching(&statement.resources, &request.resource),
                conditions,
            ))
        })
    }

    fn collect(
        &self,
        of: impl Fn(&Statement) -> Option<(Vec<String>, Vec<String>, Vec<String>)>,
    ) -> BTreeSet<Grant> {
        let mut grants = BTreeSet::new();
        for (number, statement) in self.document.statements.iter().enumerate() {
            if statement.effect != Effect::Allow {
                continue;
            }
            let Some((actions, resources, mut conditions)) = of(statement) else {
                continue;
            };
            if conditions.is_empty() {
                conditions.push(String::new());
            }
            for action in &actions {
                for resource in &resources {
                    for condition in &conditions {
                        grants.insert(Grant {
                            policy: self.name.clone(),
                            statement: number,
                            action: action.clone(),
                            resource: resource.clone(),
                            condition: condition.clone(),
                        });
                    }
                }
            }
        }
        grants
    }
}
