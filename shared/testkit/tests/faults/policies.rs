//! Changing a stored policy.

use domain::use_cases::{
    ChangePolicy, PolicyEditor, PolicyFault, PolicyLanguage, Seen, change_policy,
};
use domain::{PolicyName, PolicyScope, Principal};
use testkit::{Fake, caller, owner};

use crate::world::disturb;

/// Everything is one policy.
struct Anything;

impl PolicyLanguage for Anything {
    fn check(&self, _: &PolicyScope, _: &PolicyName, _: &str) -> Result<u64, PolicyFault> {
        Ok(1)
    }
}

fn change(text: Option<&str>, seen: Seen) -> ChangePolicy {
    ChangePolicy {
        name: PolicyName::parse("mine").expect("valid"),
        text: text.map(str::to_owned),
        seen,
    }
}

async fn stored(fake: &Fake, editor: &PolicyEditor) {
    let first = change(Some("first"), Seen::Nothing);
    let stored = change_policy(fake, &Anything, editor, first).await;
    stored.expect("stored");
}

#[tokio::test]
async fn changing_a_policy_survives() {
    let administrator = Principal {
        owner: owner("me"),
        scopes: vec!["admin".to_owned()],
    };
    let editors = [
        PolicyEditor::Owner(caller(&owner("me"))),
        PolicyEditor::Deployment(administrator.authorize().expect("an administrator")),
    ];
    for editor in &editors {
        for (there, wanted) in [
            (false, change(Some("new"), Seen::Nothing)),
            (true, change(Some("new"), Seen::Version(1))),
            (true, change(None, Seen::Version(1))),
            (true, change(None, Seen::Anything)),
        ] {
            let runs = disturb(
                async |fake| {
                    if there {
                        stored(fake, editor).await;
                    }
                },
                async |fake, ()| change_policy(fake, &Anything, editor, wanted.clone()).await,
            )
            .await;
            assert_eq!(runs, 6);
        }
    }
}
