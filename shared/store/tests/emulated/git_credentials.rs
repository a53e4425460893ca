//! Credentials for git hosts that are stored and taken away at the same time, and one whose token is gone.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    GitCredential, GitHost, OwnerId,
    ports::{
        Clock, GitCredentials, GitSecretError, GitSecrets, NewGitCredential, RemovedGitCredential,
    },
};
use store::{Endpoint, Store};
use testkit::owner;

use crate::{
    line::Line,
    services::{GIT_PARAMETERS, Services},
};

struct Stage {
    services: Services,
    /// What the slow one sends.
    line: Line,
    /// Whose next writing of the row gets no answer when a test asks for it.
    slow: Store,
    quick: Store,
    me: OwnerId,
    host: GitHost,
}

impl Stage {
    async fn new() -> Self {
        let services = Services::start().await;
        let line = Line::to(&services.endpoint().url).await;
        let endpoint = Endpoint {
            url: line.url.clone(),
            ..services.endpoint()
        };
        let slow = Store::connect_to(services.settings(), endpoint).await;
        Self {
            line,
            slow: slow.with_git_credentials(GIT_PARAMETERS),
            quick: services.store().await,
            me: owner("me"),
            host: GitHost::parse("git.example.com:8443").expect("a host"),
            services,
        }
    }

    fn new_credential(&self, token: &str) -> NewGitCredential {
        NewGitCredential {
            owner: self.me.clone(),
            host: self.host.clone(),
            credential: GitCredential::parse("u", token).expect("valid"),
            now: self.quick.now(),
        }
    }

    fn removal(&self) -> RemovedGitCredential {
        RemovedGitCredential {
            owner: self.me.clone(),
            host: self.host.clone(),
            now: self.quick.now(),
        }
    }

    /// Once the slow one writes its row, which takes it seconds.
    async fn meanwhile(&self, before: usize) {
        while self.rows_sent() == before {
            tokio::task::yield_now().await;
        }
    }

    fn rows_sent(&self) -> usize {
        self.line.said().matches("TransactWriteItems").count()
    }

    async fn hold_the_next_row(&self) -> usize {
        let hang = self.services.plan_fault("TransactWriteItems", "Hang", 1);
        hang.await;
        self.rows_sent()
    }

    async fn kept(&self) -> Option<String> {
        let found = self.quick.git_secret(&self.me, &self.host).await;
        let found = found.expect("an answer");
        let listed = self.quick.git_credentials(&self.me).await;
        assert_eq!(listed.expect("listed").len(), usize::from(found.is_some()));
        found.map(|found| found.expose_token().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_away_while_it_is_stored_is_not_half_there() {
    let stage = Stage::new().await;
    for first in [None, Some("first")] {
        if let Some(first) = first {
            let new = stage.new_credential(first);
            stage
                .quick
                .store_git_credential(&new)
                .await
                .expect("stored");
        }
        let before = stage.hold_the_next_row().await;
        let new = stage.new_credential("second");
        let (stored, removed) = tokio::join!(stage.slow.store_git_credential(&new), async {
            stage.meanwhile(before).await;
            stage.quick.remove_git_credential(&stage.removal()).await
        });
        stored.expect("stored");
        // Without one there was nothing to take away; what was being stored came after it.
        assert_eq!(removed.expect("an answer"), first.is_some());
        assert_eq!(stage.kept().await.as_deref(), Some("second"));
        let removed = stage.quick.remove_git_credential(&stage.removal()).await;
        assert!(removed.expect("an answer"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_while_another_is_taken_away_is_all_there_or_not_at_all() {
    let stage = Stage::new().await;
    let first = stage.new_credential("first");
    stage
        .quick
        .store_git_credential(&first)
        .await
        .expect("stored");
    let before = stage.hold_the_next_row().await;
    let removal = stage.removal();
    let (removed, stored) = tokio::join!(stage.slow.remove_git_credential(&removal), async {
        stage.meanwhile(before).await;
        let new = stage.new_credential("second");
        stage
            .quick
            .store_git_credential(&new)
            .await
            .expect("stored");
        stage.kept().await
    });
    assert_eq!(stored.as_deref(), Some("second"));
    assert!(
        removed.expect("an answer"),
        "whatever is there when it comes to its row"
    );
    assert_eq!(stage.kept().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_token_is_gone_says_so_until_it_is_stored_again() {
    let stage = Stage::new().await;
    let new = stage.new_credential("first");
    stage
        .quick
        .store_git_credential(&new)
        .await
        .expect("stored");
    // As a restored table whose parameter was deleted since, or as one from before the row named it.
    let text = |text: String| AttributeValue::S(text);
    let change = stage.services.dynamodb().update_item();
    let changed = change
        .table_name(stage.services.settings().table)
        .key("pk", text(format!("git#{}", stage.me)))
        .key("sk", text(format!("host#{}", stage.host)))
        .update_expression("REMOVE #parameter")
        .expression_attribute_names("#parameter", "parameter")
        .send();
    changed.await.expect("changed");
    let found = stage.quick.git_secret(&stage.me, &stage.host).await;
    match found {
        Err(error @ GitSecretError::Gone) => {
            assert!(error.to_string().contains("store it again"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    for _ in 0..2 {
        let again = stage.new_credential("again");
        stage
            .quick
            .store_git_credential(&again)
            .await
            .expect("stored");
        assert_eq!(stage.kept().await.as_deref(), Some("again"));
    }
    let removed = stage.quick.remove_git_credential(&stage.removal()).await;
    assert!(removed.expect("an answer"));
    assert_eq!(stage.kept().await, None);
}
