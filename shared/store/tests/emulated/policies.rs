//! Stored policies that something else wrote: named, never left out.

use domain::ports::{BookChange, Clock, PolicyBooks};
use domain::{OwnerId, PolicyName, PolicyScope};

use crate::services::Services;

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_named_and_can_be_removed() {
    let services = Services::start().await;
    let store = services.store().await;
    let owner = OwnerId::of("issuer", "subject");
    let scope = PolicyScope::Owner(owner.clone());
    let change = |based_on, name: &str, text: Option<&str>| BookChange {
        scope: scope.clone(),
        based_on,
        name: PolicyName::parse(name).expect("valid"),
        text: text.map(|text| (text.to_owned(), 1)),
        by: owner.clone(),
        now: store.now(),
    };
    for (based_on, name) in [(0, "good"), (1, "changed")] {
        let stored = change(based_on, name, Some("permit"));
        store.change_policy_book(&stored).await.expect("stored");
    }
    let partition = format!("policies#{owner}");
    let row = |sort| (partition.as_str(), sort);
    services
        .overwrite(row("policy#changed"), "text", "permit all")
        .await;
    services
        .overwrite(row("policy#Of-Another-Version"), "body", "?")
        .await;
    let book = store.policy_book(&scope).await.expect("read");
    assert_eq!(book.policies.len(), 1);
    let named: Vec<(&str, &str)> = book
        .unreadable
        .iter()
        .map(|it| (it.name.as_str(), it.problem.as_str()))
        .collect();
    assert_eq!(
        named,
        [
            (
                "Of-Another-Version",
                "attribute sk does not follow its rule"
            ),
            ("changed", "attribute digest does not follow its rule"),
        ]
    );
    let removal = change(2, "changed", None);
    store.change_policy_book(&removal).await.expect("removed");
    let book = store.policy_book(&scope).await.expect("read");
    assert_eq!((book.revision, book.unreadable.len()), (3, 1));
    // Without a revision nobody knows what a change would be based on.
    services
        .overwrite(row("policies"), "revision", "many")
        .await;
    let error = store.policy_book(&scope).await.expect_err("unreadable");
    assert_eq!(error.to_string(), "could not read the policies");
}
