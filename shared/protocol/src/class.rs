//! Which request class serves which method: the one table that the edge function, the template and
//! the functions are checked against.

/// A request class: a directory of `functions/`, and the last part of its path below `/mcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// What the server is.
    Discover,
    /// Lists that may be cached.
    Catalog,
    /// Reads of resources and prompts.
    Read,
    /// Calls of tools.
    Call,
    /// Turns as tasks.
    Tasks,
    /// Long subscriptions; `legacy` serves none.
    Listen,
    /// Everything of the initialize era, and whatever reached plain `/mcp`.
    Legacy,
}

/// The methods of each class that has any of its own; what is not here belongs to
/// [`Class::Legacy`], which serves all of them.
pub const METHODS: [(Class, &[&str]); 6] = [
    (Class::Discover, &["server/discover"]),
    (
        Class::Catalog,
        &[
            "tools/list",
            "prompts/list",
            "resources/list",
            "resources/templates/list",
        ],
    ),
    (
        Class::Read,
        &["resources/read", "prompts/get", "completion/complete"],
    ),
    (Class::Call, &["tools/call"]),
    (Class::Tasks, &["tasks/get", "tasks/update", "tasks/cancel"]),
    (Class::Listen, &["subscriptions/listen"]),
];

impl Class {
    /// The class of a method.
    #[must_use]
    pub fn of(method: &str) -> Self {
        METHODS
            .iter()
            .find(|(_, methods)| methods.contains(&method))
            .map_or(Self::Legacy, |(class, _)| *class)
    }

    /// Whether a function of this class answers the method.
    #[must_use]
    pub fn serves(self, method: &str) -> bool {
        self == Self::Legacy || Self::of(method) == self
    }

    /// Its directory below `functions/`, and its path below `/mcp`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discover => "discover",
            Self::Catalog => "catalog",
            Self::Read => "read",
            Self::Call => "call",
            Self::Tasks => "tasks",
            Self::Listen => "listen",
            Self::Legacy => "legacy",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_has_one_class_and_legacy_serves_all() {
        for (class, methods) in METHODS {
            for method in methods {
                assert_eq!(Class::of(method), class, "{method}");
                assert!(class.serves(method) && Class::Legacy.serves(method));
            }
        }
        assert!(!Class::Call.serves("tools/list"));
        assert_eq!(Class::of("initialize"), Class::Legacy);
        assert_eq!(Class::of(""), Class::Legacy);
    }
}
