//! Who is calling and what they may do. What needs an authenticated caller takes an
//! [`Authorized`], which only [`Principal::authorize`] makes: forgetting the check does not compile.

use std::marker::PhantomData;

use thiserror::Error;

use crate::OwnerId;

/// A permission that a token carries.
pub trait Scope {
    /// As it stands in tokens and challenges.
    const NAME: &'static str;
}

/// Look at sessions: `sessions:read`.
#[derive(Clone, Copy, Debug)]
pub struct ReadSessions;
/// Create sessions and talk to them: `sessions:write`.
#[derive(Clone, Copy, Debug)]
pub struct WriteSessions;

/// See how the deployment is set up: `admin`.
#[derive(Clone, Copy, Debug)]
pub struct Administer;

/// Decide what a session may do: `approve`. Whoever only talks to sessions does not have it.
#[derive(Clone, Copy, Debug)]
pub struct Approve;

impl Scope for Approve {
    const NAME: &'static str = "approve";
}
impl Scope for ReadSessions {
    const NAME: &'static str = "sessions:read";
}
impl Scope for WriteSessions {
    const NAME: &'static str = "sessions:write";
}
impl Scope for Administer {
    const NAME: &'static str = "admin";
}

/// An authenticated caller, as the authorizer established it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Whose sessions these are.
    pub owner: OwnerId,
    /// What the token allows.
    pub scopes: Vec<String>,
}

/// The token lacks a scope.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("this needs a token with the scope {scope}")]
pub struct MissingScope {
    /// The scope to ask for.
    pub scope: &'static str,
}

/// Proof that the caller holds scope `S`, and whose sessions they may touch.
#[derive(Clone, Debug)]
pub struct Authorized<S> {
    owner: OwnerId,
    scope: PhantomData<S>,
}

impl<S> Authorized<S> {
    /// The owner from the token.
    #[must_use]
    pub const fn owner(&self) -> &OwnerId {
        &self.owner
    }
}

impl Principal {
    /// Checks that the token carries `S`.
    ///
    /// # Errors
    /// [`MissingScope`]: the caller needs another token.
    pub fn authorize<S: Scope>(&self) -> Result<Authorized<S>, MissingScope> {
        if self.scopes.iter().any(|scope| scope == S::NAME) {
            Ok(Authorized {
                owner: self.owner.clone(),
                scope: PhantomData,
            })
        } else {
            Err(MissingScope { scope: S::NAME })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_must_be_named_exactly() {
        let principal = Principal {
            owner: OwnerId::of("i", "s"),
            scopes: vec!["sessions:read".to_owned(), "sessions:writer".to_owned()],
        };
        assert!(principal.authorize::<ReadSessions>().is_ok());
        assert_eq!(
            principal.authorize::<WriteSessions>().err(),
            Some(MissingScope {
                scope: "sessions:write"
            })
        );
    }
}
