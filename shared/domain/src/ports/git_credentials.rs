//! Where the credentials for git hosts are kept.

use thiserror::Error;

use crate::{
    OwnerId, UnixMillis,
    audit::{GitCredentialChange, Subject},
    git_credential::{GitCredential, GitCredentialRecord, GitHost},
};

use super::Unavailable;

/// A credential that an owner stores; it takes the place of the one for the same host.
#[derive(Clone, Debug)]
pub struct NewGitCredential {
    /// Whose sessions may show it.
    pub owner: OwnerId,
    /// To which host.
    pub host: GitHost,
    /// What they show.
    pub credential: GitCredential,
    /// Now.
    pub now: UnixMillis,
}

impl NewGitCredential {
    /// What is known of it without its token.
    #[must_use]
    pub fn record(&self) -> GitCredentialRecord {
        GitCredentialRecord {
            host: self.host.clone(),
            username: self.credential.username().to_owned(),
            stored_at: self.now,
        }
    }

    /// What the audit says of it.
    #[must_use]
    pub fn audited(&self) -> Subject {
        Subject::GitCredential(GitCredentialChange {
            host: self.host.clone(),
            stored: true,
            by: self.owner.clone(),
        })
    }
}

/// A credential that is taken away.
#[derive(Clone, Debug)]
pub struct RemovedGitCredential {
    /// Whose.
    pub owner: OwnerId,
    /// For which host.
    pub host: GitHost,
    /// Now.
    pub now: UnixMillis,
}

impl RemovedGitCredential {
    /// What the audit says of it.
    #[must_use]
    pub fn audited(&self) -> Subject {
        Subject::GitCredential(GitCredentialChange {
            host: self.host.clone(),
            stored: false,
            by: self.owner.clone(),
        })
    }
}

/// Storing credentials and taking them away. Nobody gets a token back here. Each change and its entry of
/// the owner's audit are one.
pub trait GitCredentials: Send + Sync {
    /// All of the owner's, by host.
    fn git_credentials(
        &self,
        owner: &OwnerId,
    ) -> impl Future<Output = Result<Vec<GitCredentialRecord>, Unavailable>> + Send;

    /// Stores one. Cut, the old token counts on, and the new one may be kept where nothing names it and
    /// nobody is given it; or the new one counts, and the old one is kept like that until the next time. Of
    /// two at once, one counts, and whoever takes it away meanwhile takes away all of it or nothing.
    fn store_git_credential(
        &self,
        new: &NewGitCredential,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Takes one away; says whether there was one. Cut, the token is gone, and may still be listed;
    /// repeating it ends that. One that is stored meanwhile is taken away, or stored after it.
    fn remove_git_credential(
        &self,
        removed: &RemovedGitCredential,
    ) -> impl Future<Output = Result<bool, Unavailable>> + Send;
}

/// Why a credential is not handed out.
#[derive(Debug, Error)]
pub enum GitSecretError {
    /// The owner has stored it, and its token is not there any more: they store it again.
    #[error("the token that was stored for this host is gone; store it again")]
    Gone,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Handing a credential out, for the broker alone.
pub trait GitSecrets: Send + Sync {
    /// What the owner's sessions show to the host; `None` when the owner has stored nothing for it.
    fn git_secret(
        &self,
        owner: &OwnerId,
        host: &GitHost,
    ) -> impl Future<Output = Result<Option<GitCredential>, GitSecretError>> + Send;
}
