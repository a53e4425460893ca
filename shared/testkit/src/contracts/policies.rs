//! Stored policies.

use domain::{
    OwnerId, PolicyBook, PolicyName, PolicyScope,
    audit::{AuditChain, PolicyChange, Subject},
    limits,
    policy_book::digest,
    ports::{AuditTrail, BookChange, Clock, IdSource, NotChanged, PolicyBooks},
};

use super::{assert_refused, new_owner};
use crate::join_all;

/// All of [`PolicyBooks`]. The deployment's book is shared: one contract at a time on one store.
pub async fn policy_books_contract<P: PolicyBooks + AuditTrail + Clock + IdSource>(ports: &P) {
    writing(ports, &PolicyScope::Owner(new_owner(ports))).await;
    writing(ports, &PolicyScope::Deployment).await;
    of_many_at_once_one_writes(ports).await;
    a_full_book(ports).await;
}

async fn book<P: PolicyBooks>(ports: &P, scope: &PolicyScope) -> PolicyBook {
    ports.policy_book(scope).await.expect("an answer")
}

fn change<P: Clock>(
    ports: &P,
    scope: &PolicyScope,
    based_on: u64,
    name: &str,
    text: Option<&str>,
) -> BookChange {
    BookChange {
        scope: scope.clone(),
        based_on,
        name: PolicyName::parse(name).expect("valid"),
        text: text.map(|text| (text.to_owned(), 2)),
        by: editor(),
        now: ports.now(),
    }
}

fn editor() -> OwnerId {
    OwnerId::of("testkit", "an editor")
}

async fn writing<P: PolicyBooks + AuditTrail + Clock + IdSource>(ports: &P, scope: &PolicyScope) {
    let start = book(ports, scope).await;
    assert_eq!(start, PolicyBook::empty(scope.clone()));
    let stored = change(ports, scope, 0, "one", Some("permit\n\u{e9}"));
    ports.change_policy_book(&stored).await.expect("stored");
    let first = book(ports, scope).await;
    assert_eq!((first.revision, first.policies.len()), (1, 1));
    let policy = first.policies[0].clone();
    assert_eq!(policy.text, "permit\n\u{e9}");
    assert_eq!(
        (policy.name.as_str(), policy.policies, policy.version),
        ("one", 2, 1)
    );
    assert_eq!(policy.changed_at, stored.now);
    // Again: it never happens twice.
    match ports.change_policy_book(&stored).await {
        Ok(()) | Err(NotChanged::Moved) => {}
        Err(error) => panic!("{error}"),
    }
    assert_eq!(book(ports, scope).await, first);
    // Based on what was.
    let late = change(ports, scope, 0, "two", Some("late"));
    assert_refused!(ports.change_policy_book(&late).await, NotChanged::Moved);
    let early = change(ports, scope, 2, "two", Some("early"));
    assert_refused!(ports.change_policy_book(&early).await, NotChanged::Moved);
    assert_eq!(book(ports, scope).await, first);
    // By name, and other policies stay.
    for (based_on, name, text) in [(1, "another", "x"), (2, "one", "y")] {
        let next = change(ports, scope, based_on, name, Some(text));
        ports.change_policy_book(&next).await.expect("stored");
    }
    let both = book(ports, scope).await;
    let names: Vec<_> = both.policies.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["another", "one"]);
    assert_eq!([both.policies[0].version, both.policies[1].version], [2, 3]);
    assert_eq!(both.policies[1].text, "y");
    // Of another owner there is nothing.
    let other = PolicyScope::Owner(new_owner(ports));
    assert_eq!(book(ports, &other).await, PolicyBook::empty(other.clone()));
    // Removed is removed, and a version never comes again.
    let removal = change(ports, scope, 3, "one", None);
    ports.change_policy_book(&removal).await.expect("removed");
    let left = book(ports, scope).await;
    assert_eq!((left.revision, left.policies.len()), (4, 1));
    let again = change(ports, scope, 4, "one", Some("y"));
    ports.change_policy_book(&again).await.expect("stored");
    let again = book(ports, scope).await;
    assert_eq!(again.policies[1].version, 5);
    assert!(again.unreadable.is_empty());
    let expected = [
        ("one", Some("permit\n\u{e9}")),
        ("another", Some("x")),
        ("one", Some("y")),
        ("one", None),
        ("one", Some("y")),
    ];
    let audited = audited(ports, scope).await;
    for (version, ((name, text), audited)) in (1..).zip(expected.iter().zip(&audited)) {
        assert_eq!((audited.name.as_str(), audited.version), (*name, version));
        assert_eq!(audited.digest, text.map(digest));
        assert_eq!(audited.by, editor());
    }
    assert_eq!(audited.len(), expected.len());
}

/// Every change that happened is one entry of the audit, and no other is.
async fn audited<P: AuditTrail>(ports: &P, scope: &PolicyScope) -> Vec<PolicyChange> {
    let chain = AuditChain::of_policies(scope);
    let entries = ports.entries(&chain, 0, 100).await.expect("an answer");
    let subjects = entries.into_iter().map(|entry| entry.subject);
    let changes = subjects.filter_map(|subject| match subject {
        Subject::Policy(change) => Some(change),
        _ => None,
    });
    changes.collect()
}

async fn of_many_at_once_one_writes<P: PolicyBooks + AuditTrail + Clock + IdSource>(ports: &P) {
    let scope = PolicyScope::Owner(new_owner(ports));
    let changes: Vec<BookChange> = ["a", "b", "c", "a", "b"]
        .iter()
        .zip(["1", "2", "3", "4", "5"])
        .map(|(name, text)| change(ports, &scope, 0, name, Some(text)))
        .collect();
    let written = join_all(changes.iter().map(|it| ports.change_policy_book(it))).await;
    let won: Vec<&BookChange> = changes
        .iter()
        .zip(&written)
        .filter_map(|(change, written)| written.is_ok().then_some(change))
        .collect();
    assert_eq!(won.len(), 1, "{written:?}");
    let book = book(ports, &scope).await;
    assert_eq!((book.revision, book.policies.len()), (1, 1));
    let text = won[0].text.as_ref().map(|(text, _)| text);
    assert_eq!(Some(&book.policies[0].text), text);
    assert_eq!(audited(ports, &scope).await.len(), 1);
}

/// As much as a scope may have is read whole.
async fn a_full_book<P: PolicyBooks + AuditTrail + Clock + IdSource>(ports: &P) {
    let scope = PolicyScope::Owner(new_owner(ports));
    let long = "x".repeat(limits::STORED_POLICY_BYTES);
    for number in 0..limits::STORED_POLICIES {
        let name = format!("{number:03}");
        let stored = change(ports, &scope, number as u64, &name, Some(&long));
        ports.change_policy_book(&stored).await.expect("stored");
    }
    let book = book(ports, &scope).await;
    assert_eq!(book.policies.len(), limits::STORED_POLICIES);
    assert!(book.policies.iter().all(|policy| policy.text == long));
}
