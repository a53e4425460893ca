//! Credentials for git hosts.

use std::pin::Pin;

use domain::{
    GitCredential, GitHost, OwnerId,
    audit::{AuditChain, GitCredentialChange, Subject},
    ports::{
        AuditTrail, Clock, GitCredentials, GitSecrets, IdSource, NewGitCredential,
        RemovedGitCredential,
    },
};

use super::new_owner;
use crate::join_all;

/// All of [`GitCredentials`] and [`GitSecrets`].
pub async fn git_credentials_contract<
    P: GitCredentials + GitSecrets + AuditTrail + Clock + IdSource,
>(
    ports: &P,
) {
    let (me, other) = (new_owner(ports), new_owner(ports));
    let (host, with_port) = (host("git.example.com"), host("git.example.com:8443"));
    assert_eq!(secret(ports, &me, &host).await, None);
    for token in ["first", "second=/{{&"] {
        let new = new(ports, &me, &host, token);
        ports.store_git_credential(&new).await.expect("stored");
        let listed = ports.git_credentials(&me).await.expect("listed");
        assert_eq!(listed, [new.record()]);
        assert_eq!(secret(ports, &me, &host).await, Some(new.credential));
    }
    // It is for that owner and that host, with its port.
    assert_eq!(secret(ports, &other, &host).await, None);
    assert_eq!(secret(ports, &me, &with_port).await, None);
    let theirs = new(ports, &other, &host, "theirs");
    let longest = "t".repeat(domain::limits::GIT_TOKEN_BYTES);
    let long = new(ports, &me, &with_port, &longest);
    for stored in join_all([&theirs, &long].map(|it| ports.store_git_credential(it))).await {
        stored.expect("stored");
    }
    let listed = ports.git_credentials(&me).await.expect("listed");
    let hosts: Vec<&GitHost> = listed.iter().map(|it| &it.host).collect();
    assert_eq!(hosts, [&host, &with_port]);
    assert_eq!(secret(ports, &me, &with_port).await, Some(long.credential));

    let removed = RemovedGitCredential {
        owner: me.clone(),
        host: host.clone(),
        now: ports.now(),
    };
    for there in [true, false] {
        let done = ports.remove_git_credential(&removed).await;
        assert_eq!(done.expect("an answer"), there);
        assert_eq!(secret(ports, &me, &host).await, None);
    }
    // What is stored again counts again; that of others was never touched.
    let again = new(ports, &me, &host, "third");
    ports.store_git_credential(&again).await.expect("stored");
    assert_eq!(secret(ports, &me, &host).await, Some(again.credential));
    assert_eq!(secret(ports, &other, &host).await, Some(theirs.credential));

    at_once(ports).await;
    let entries = ports.entries(&AuditChain::Owner(me.clone()), 0, 100).await;
    let changes = entries.expect("an answer").into_iter();
    let changes: Vec<(String, bool)> = changes
        .filter_map(|entry| match entry.subject {
            Subject::GitCredential(GitCredentialChange { host, stored, by }) => {
                assert_eq!(by, me);
                Some((host.to_string(), stored))
            }
            _ => None,
        })
        .collect();
    let change = |host: &GitHost, stored| (host.to_string(), stored);
    assert_eq!(
        changes,
        [
            change(&host, true),
            change(&host, true),
            change(&with_port, true),
            change(&host, false),
            change(&host, true),
        ]
    );
}

/// Whoever is quicker: what is listed can be handed out, and what is not listed cannot.
async fn at_once<P: GitCredentials + GitSecrets + Clock + IdSource>(ports: &P) {
    let (me, host) = (new_owner(ports), host("git.example.com"));
    for number in 0..4 {
        let news = ["one", "other"].map(|token| new(ports, &me, &host, token));
        let removed = RemovedGitCredential {
            owner: me.clone(),
            host: host.clone(),
            now: ports.now(),
        };
        let stored: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async {
            for stored in join_all(news.each_ref().map(|it| ports.store_git_credential(it))).await {
                stored.expect("stored");
            }
        });
        let removed: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async {
            let removed = ports.remove_git_credential(&removed).await;
            removed.expect("an answer");
        });
        join_all([stored, removed]).await;
        let listed = ports.git_credentials(&me).await.expect("listed");
        let kept = secret(ports, &me, &host).await;
        assert_eq!(listed.len(), usize::from(kept.is_some()), "{number}");
        assert!(kept.is_none_or(|kept| news.iter().any(|it| it.credential == kept)));
    }
}

fn host(text: &str) -> GitHost {
    GitHost::parse(text).expect("a host")
}

fn new<P: Clock>(ports: &P, owner: &OwnerId, host: &GitHost, token: &str) -> NewGitCredential {
    NewGitCredential {
        owner: owner.clone(),
        host: host.clone(),
        credential: GitCredential::parse("x-access-token", token).expect("valid"),
        now: ports.now(),
    }
}

async fn secret<P: GitSecrets>(
    ports: &P,
    owner: &OwnerId,
    host: &GitHost,
) -> Option<GitCredential> {
    ports.git_secret(owner, host).await.expect("an answer")
}
