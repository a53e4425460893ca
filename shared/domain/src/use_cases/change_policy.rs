//! Changing the policies of a deployment or an owner: by a person, never by a tool.

use thiserror::Error;

use crate::{
    Authorized, OwnerId, PolicyBook, PolicyName, PolicyScope, StoredPolicy,
    authorization::{Administer, Approve},
    limits,
    ports::{BookChange, Clock, NotChanged, PolicyBooks, Unavailable},
};

/// How often a change is tried that met changes of other policies. Own.
const ATTEMPTS: usize = 5;

/// Who changes which policies: the right to do so is part of it.
#[derive(Clone, Debug)]
pub enum PolicyEditor {
    /// A person who may approve changes their own.
    Owner(Authorized<Approve>),
    /// An administrator changes the deployment's.
    Deployment(Authorized<Administer>),
}

impl PolicyEditor {
    /// Whose policies they are.
    #[must_use]
    pub fn scope(&self) -> PolicyScope {
        match self {
            Self::Owner(person) => PolicyScope::Owner(person.owner().clone()),
            Self::Deployment(_) => PolicyScope::Deployment,
        }
    }

    /// Who changes them.
    #[must_use]
    pub const fn person(&self) -> &OwnerId {
        match self {
            Self::Owner(person) => person.owner(),
            Self::Deployment(person) => person.owner(),
        }
    }
}

/// What whoever changes a policy knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// There was none of that name.
    Nothing,
    /// It had this version.
    Version(u64),
    /// Whatever there is: only for removing, and for what cannot be read.
    Anything,
}

/// A change that a person wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangePolicy {
    /// Which policy.
    pub name: PolicyName,
    /// Its new text; `None` removes it.
    pub text: Option<String>,
    /// What they know of it.
    pub seen: Seen,
}

/// What is wrong with a policy's text. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{reason}", place(.line, .column))]
pub struct PolicyFault {
    /// Line of the text.
    pub line: Option<usize>,
    /// Character in the line.
    pub column: Option<usize>,
    /// What is wrong there.
    pub reason: String,
}

fn place(line: &Option<usize>, column: &Option<usize>) -> String {
    match (line, column) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: "),
        (Some(line), None) => format!("line {line}: "),
        (None, _) => String::new(),
    }
}

/// Knows the language of policies.
pub trait PolicyLanguage {
    /// How many policies the text holds.
    ///
    /// # Errors
    /// It cannot be read, or is not about what there is here.
    fn check(&self, scope: &PolicyScope, name: &PolicyName, text: &str)
    -> Result<u64, PolicyFault>;
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyChanged {
    /// It is new, or has a new text.
    Stored(StoredPolicy),
    /// It had this text already; nothing was done.
    Unchanged(StoredPolicy),
    /// It is gone.
    Removed,
    /// There was none; nothing was done.
    NotThere,
}

/// Why a policy was not changed. Nothing was stored.
#[derive(Debug, Error)]
pub enum ChangePolicyError {
    /// The text is wrong; whoever wrote it corrects it.
    #[error("the policy {name} is not stored: {fault}. Correct it there and store it again")]
    Wrong {
        /// Which policy.
        name: PolicyName,
        /// What is wrong.
        fault: PolicyFault,
    },
    /// The text is too long: split it, or shorten it.
    #[error(
        "the policy {name} is not stored: it has {actual} bytes, and at most {} are allowed. Split it",
        limits::STORED_POLICY_BYTES
    )]
    TooLong {
        /// Which policy.
        name: PolicyName,
        /// Its length.
        actual: usize,
    },
    /// The scope has as many as it can have: remove some.
    #[error("the policy {name} is not stored: {what}. Remove one that is not needed")]
    Full {
        /// Which policy.
        name: PolicyName,
        /// Of what there are too many.
        what: String,
    },
    /// Somebody changed it meanwhile, or it is there although nobody saw it: look at it first.
    #[error("the policy {name} was not changed: {}", now_there(.current))]
    Conflict {
        /// Which policy.
        name: PolicyName,
        /// Its version now, if it is there and can be read.
        current: Option<u64>,
    },
    /// Other policies of the scope change all the time. Try again.
    #[error("other policies were changed at the same time; try again")]
    Busy,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

fn now_there(current: &Option<u64>) -> String {
    match current {
        Some(version) => format!(
            "it has version {version} now. Read it, and say that this version is to be replaced"
        ),
        None => "there is none of that name any more. Store it as a new one".to_owned(),
    }
}

/// Changes one policy: the one way to do so. Checks the text, that nobody changed it meanwhile, and
/// that there are not too many.
///
/// Run twice, the second time changes nothing: the text is there, or gone. Cut anywhere, it has
/// happened whole or not at all, because it is one transaction. Of two people who change the same
/// policy one is told.
///
/// # Errors
/// [`ChangePolicyError`].
pub async fn change_policy<P: PolicyBooks + Clock>(
    ports: &P,
    language: &impl PolicyLanguage,
    editor: &PolicyEditor,
    change: ChangePolicy,
) -> Result<PolicyChanged, ChangePolicyError> {
    let scope = editor.scope();
    let name = &change.name;
    let text = match change.text {
        Some(text) => Some(checked(language, &scope, name, text)?),
        None => None,
    };
    for _ in 0..ATTEMPTS {
        let book = ports.policy_book(&scope).await?;
        let there = book.policy(name);
        match (&text, there) {
            (None, None) if book.problem(name).is_none() => return Ok(PolicyChanged::NotThere),
            (Some((text, _)), Some(there)) if there.text == *text => {
                return Ok(PolicyChanged::Unchanged(there.clone()));
            }
            _ => {}
        }
        let fits = match (change.seen, there) {
            (Seen::Anything, _) => true,
            (Seen::Nothing, there) => there.is_none(),
            (Seen::Version(seen), there) => there.is_some_and(|it| it.version == seen),
        };
        if !fits {
            return Err(ChangePolicyError::Conflict {
                name: name.clone(),
                current: there.map(|it| it.version),
            });
        }
        if let Some((text, policies)) = &text {
            has_room(&book, name, text, *policies)?;
        }
        let now = ports.now();
        let wanted = BookChange {
            scope: scope.clone(),
            based_on: book.revision,
            name: name.clone(),
            text: text.clone(),
            by: editor.person().clone(),
            now,
        };
        match ports.change_policy_book(&wanted).await {
            Ok(()) => {
                return Ok(match text {
                    None => PolicyChanged::Removed,
                    Some((text, policies)) => PolicyChanged::Stored(StoredPolicy {
                        name: name.clone(),
                        text,
                        policies,
                        version: wanted.revision(),
                        changed_at: now,
                    }),
                });
            }
            Err(NotChanged::Moved) => {}
            Err(NotChanged::Unavailable(unavailable)) => return Err(unavailable.into()),
        }
    }
    Err(ChangePolicyError::Busy)
}

fn checked(
    language: &impl PolicyLanguage,
    scope: &PolicyScope,
    name: &PolicyName,
    text: String,
) -> Result<(String, u64), ChangePolicyError> {
    if text.len() > limits::STORED_POLICY_BYTES {
        return Err(ChangePolicyError::TooLong {
            name: name.clone(),
            actual: text.len(),
        });
    }
    let wrong = |fault| ChangePolicyError::Wrong {
        name: name.clone(),
        fault,
    };
    let policies = language.check(scope, name, &text).map_err(wrong)?;
    if policies == 0 {
        return Err(wrong(PolicyFault {
            line: None,
            column: None,
            reason: "it holds no policy".to_owned(),
        }));
    }
    Ok((text, policies))
}

/// A scope holds no more than can be decided on in time.
fn has_room(
    book: &PolicyBook,
    name: &PolicyName,
    text: &str,
    policies: u64,
) -> Result<(), ChangePolicyError> {
    let others = || book.policies.iter().filter(|it| it.name != *name);
    let unreadable = book.unreadable.iter().filter(|it| it.name != name.as_str());
    let stored = others().count() + unreadable.count() + 1;
    let bytes = text.len() + others().map(|it| it.text.len()).sum::<usize>();
    let policies = policies + others().map(|it| it.policies).sum::<u64>();
    let what = if stored > limits::STORED_POLICIES {
        format!(
            "the {} has {} stored policies already",
            book.scope,
            limits::STORED_POLICIES
        )
    } else if bytes > limits::POLICIES_BYTES {
        format!(
            "the stored policies of the {} would have {bytes} bytes together, and at most {} are allowed",
            book.scope,
            limits::POLICIES_BYTES
        )
    } else if policies > limits::POLICIES as u64 {
        format!(
            "the texts of the {} would hold {policies} policies together, and at most {} are allowed",
            book.scope,
            limits::POLICIES
        )
    } else {
        return Ok(());
    };
    Err(ChangePolicyError::Full {
        name: name.clone(),
        what,
    })
}
