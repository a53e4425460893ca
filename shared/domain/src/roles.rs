//! The scopes that there are, and the named sets of them.

use thiserror::Error;

use crate::authorization::{Administer, Approve, ReadSessions, Scope, WriteSessions};

/// Every scope, in the order in which they are shown.
pub const SCOPES: [&str; 4] = [
    ReadSessions::NAME,
    WriteSessions::NAME,
    Approve::NAME,
    Administer::NAME,
];

/// A named set of scopes; each has what the one before has, and one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Looks.
    Viewer,
    /// Works. What clients of models get unless more is asked for.
    Developer,
    /// Decides as well.
    Operator,
    /// And looks after the deployment.
    Admin,
}

impl Role {
    /// All of them, from the least.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Developer, Self::Operator, Self::Admin];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Developer => "developer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Reads what [`Role::as_str`] gives.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// What it may do.
    #[must_use]
    pub fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::Viewer => &SCOPES[..1],
            Self::Developer => &SCOPES[..2],
            Self::Operator => &SCOPES[..3],
            Self::Admin => &SCOPES,
        }
    }
}

/// There is no such scope.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "there is no scope of that name; those there are: sessions:read, sessions:write, approve, admin"
)]
pub struct NoSuchScope;

/// The scopes of these names: each once, in the order of [`SCOPES`].
///
/// # Errors
/// [`NoSuchScope`] when one is none.
pub fn scopes<'name>(
    names: impl IntoIterator<Item = &'name str>,
) -> Result<Vec<String>, NoSuchScope> {
    let names: Vec<&str> = names.into_iter().collect();
    if names.iter().any(|name| !SCOPES.contains(name)) {
        return Err(NoSuchScope);
    }
    Ok(known(names))
}

/// Those of these names that are scopes: each once, in the order of [`SCOPES`]. For what others wrote,
/// who have scopes of their own.
pub fn known<'name>(names: impl IntoIterator<Item = &'name str>) -> Vec<String> {
    let names: Vec<&str> = names.into_iter().collect();
    let has = |scope: &&str| names.contains(scope);
    let found = SCOPES.into_iter().filter(has);
    found.map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_sets_that_grow() {
        for pair in Role::ALL.windows(2) {
            let [less, more] = [pair[0].scopes(), pair[1].scopes()];
            assert!(more.starts_with(less) && more.len() == less.len() + 1);
        }
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert_eq!(Role::parse("root"), None);
        assert!(!Role::Developer.scopes().contains(&"approve"));
        assert_eq!(Role::Admin.scopes(), SCOPES);
    }

    #[test]
    fn scopes_are_named_exactly_and_each_once() {
        let some = scopes(["approve", "sessions:read", "approve"]);
        assert_eq!(
            some,
            Ok(vec!["sessions:read".to_owned(), "approve".to_owned()])
        );
        assert_eq!(scopes(["sessions:Read"]), Err(NoSuchScope));
        assert_eq!(known(["openid", "admin", "Approve"]), ["admin"]);
        assert!(known([]).is_empty());
    }
}
