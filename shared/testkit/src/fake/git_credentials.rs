//! Credentials for git hosts, in memory.

use domain::{
    GitCredential, GitCredentialRecord, GitHost, OwnerId,
    audit::AuditChain,
    ports::{
        GitCredentials, GitSecretError, GitSecrets, NewGitCredential, RemovedGitCredential,
        Unavailable,
    },
};

use super::Fake;

impl GitCredentials for Fake {
    async fn git_credentials(
        &self,
        owner: &OwnerId,
    ) -> Result<Vec<GitCredentialRecord>, Unavailable> {
        self.call("git_credentials", |world| {
            let of_owner = world.git_credentials.iter();
            let of_owner = of_owner.filter(|((of, _), _)| of == owner);
            Ok(of_owner
                .map(|((_, host), (credential, stored_at))| GitCredentialRecord {
                    host: host.clone(),
                    username: credential.username().to_owned(),
                    stored_at: *stored_at,
                })
                .collect())
        })
        .await
    }

    async fn store_git_credential(&self, new: &NewGitCredential) -> Result<(), Unavailable> {
        self.call("store_git_credential", |world| {
            let key = (new.owner.clone(), new.host.clone());
            let kept = (new.credential.clone(), new.now);
            world.git_credentials.insert(key, kept);
            let chain = AuditChain::Owner(new.owner.clone());
            world.add_entry(&chain, new.audited(), new.now);
            Ok(())
        })
        .await
    }

    async fn remove_git_credential(
        &self,
        removed: &RemovedGitCredential,
    ) -> Result<bool, Unavailable> {
        self.call("remove_git_credential", |world| {
            let key = (removed.owner.clone(), removed.host.clone());
            if world.git_credentials.remove(&key).is_none() {
                return Ok(false);
            }
            let chain = AuditChain::Owner(removed.owner.clone());
            world.add_entry(&chain, removed.audited(), removed.now);
            Ok(true)
        })
        .await
    }
}

impl GitSecrets for Fake {
    async fn git_secret(
        &self,
        owner: &OwnerId,
        host: &GitHost,
    ) -> Result<Option<GitCredential>, GitSecretError> {
        let found = self.call("git_secret", |world| {
            let found = world.git_credentials.get(&(owner.clone(), host.clone()));
            Ok::<_, Unavailable>(found.map(|(credential, _)| credential.clone()))
        });
        Ok(found.await?)
    }
}
