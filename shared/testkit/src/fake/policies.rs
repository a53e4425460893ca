//! Stored policies, in memory.

use domain::{
    PolicyBook, PolicyScope, StoredPolicy,
    audit::AuditChain,
    policy_book::UnreadablePolicy,
    ports::{BookChange, NotChanged, PolicyBooks, Unavailable},
};

use super::{Fake, world::World};

impl PolicyBooks for Fake {
    async fn policy_book(&self, scope: &PolicyScope) -> Result<PolicyBook, Unavailable> {
        self.call("policy_book", |world| Ok(book(world, scope).clone()))
            .await
    }

    async fn change_policy_book(&self, change: &BookChange) -> Result<(), NotChanged> {
        self.call("change_policy_book", |world| {
            let book = book(world, &change.scope);
            if book.revision != change.based_on {
                return Err(NotChanged::Moved);
            }
            book.revision += 1;
            book.policies.retain(|policy| policy.name != change.name);
            book.unreadable.retain(|it| it.name != change.name.as_str());
            if let Some((text, policies)) = &change.text {
                book.policies.push(StoredPolicy {
                    name: change.name.clone(),
                    text: text.clone(),
                    policies: *policies,
                    version: book.revision,
                    changed_at: change.now,
                });
            }
            book.policies.sort_by(|a, b| a.name.cmp(&b.name));
            let chain = AuditChain::of_policies(&change.scope);
            world.add_entry(&chain, change.audited(), change.now);
            Ok(())
        })
        .await
    }
}

fn book<'world>(world: &'world mut World, scope: &PolicyScope) -> &'world mut PolicyBook {
    let empty = || PolicyBook::empty(scope.clone());
    world.books.entry(scope.clone()).or_insert_with(empty)
}

impl Fake {
    /// The books in which somebody has written, looked at without a port call.
    #[must_use]
    pub fn peek_books(&self) -> Vec<PolicyBook> {
        let inner = self.lock();
        let written = inner.world.books.values().filter(|book| book.revision > 0);
        written.cloned().collect()
    }

    /// A policy of that name cannot be read from now on, as after a defect of what wrote it.
    pub fn spoil_policy(&self, scope: &PolicyScope, name: &str, problem: &str) {
        let mut inner = self.lock();
        let book = book(&mut inner.world, scope);
        book.revision += 1;
        book.policies.retain(|policy| policy.name.as_str() != name);
        book.unreadable.push(UnreadablePolicy {
            name: name.to_owned(),
            problem: problem.to_owned(),
        });
    }
}
