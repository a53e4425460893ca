//! Credentials for git hosts: what an owner does with theirs. No tool leads here.

use thiserror::Error;

use crate::{
    Authorized,
    authorization::WriteSessions,
    git_credential::{GitCredential, GitCredentialRecord, GitHost},
    limits,
    ports::{Clock, GitCredentials, NewGitCredential, RemovedGitCredential, Unavailable},
};

/// Why a credential was not stored.
#[derive(Debug, Error)]
pub enum StoreGitCredentialError {
    /// Remove one.
    #[error(
        "you have credentials for {} hosts already; remove those that you do not need",
        limits::GIT_CREDENTIALS
    )]
    TooMany,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Stores a credential for a host, in the place of the one before. Whoever may create sessions may say
/// with what they clone; nobody reads a token back.
///
/// Run twice, it is stored once, with two entries of the audit. Cut, see
/// [`GitCredentials::store_git_credential`]. Of many at once some may pass the limit together.
///
/// # Errors
/// [`StoreGitCredentialError`].
pub async fn store_git_credential<P: GitCredentials + Clock>(
    ports: &P,
    person: &Authorized<WriteSessions>,
    host: GitHost,
    credential: GitCredential,
) -> Result<GitCredentialRecord, StoreGitCredentialError> {
    let owner = person.owner();
    let there = ports.git_credentials(owner).await?;
    let is_there = there.iter().any(|it| it.host == host);
    if !is_there && there.len() >= limits::GIT_CREDENTIALS {
        return Err(StoreGitCredentialError::TooMany);
    }
    let new = NewGitCredential {
        owner: owner.clone(),
        host,
        credential,
        now: ports.now(),
    };
    ports.store_git_credential(&new).await?;
    Ok(new.record())
}

/// The owner's, by host, without tokens.
///
/// # Errors
/// [`Unavailable`]: try again.
pub async fn list_git_credentials<P: GitCredentials>(
    ports: &P,
    person: &Authorized<WriteSessions>,
) -> Result<Vec<GitCredentialRecord>, Unavailable> {
    ports.git_credentials(person.owner()).await
}

/// Takes the one for a host away; says whether there was one.
///
/// Run twice, the second time finds none. Cut, see [`GitCredentials::remove_git_credential`].
///
/// # Errors
/// [`Unavailable`]: try again.
pub async fn remove_git_credential<P: GitCredentials + Clock>(
    ports: &P,
    person: &Authorized<WriteSessions>,
    host: GitHost,
) -> Result<bool, Unavailable> {
    let removed = RemovedGitCredential {
        owner: person.owner().clone(),
        host,
        now: ports.now(),
    };
    ports.remove_git_credential(&removed).await
}
