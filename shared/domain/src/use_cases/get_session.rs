//! Looking at a session.

use thiserror::Error;

use crate::{
    Authorized, Head, SessionKey,
    authorization::ReadSessions,
    ports::{Clock, Compute, Inbox, SessionDirectory, Unavailable},
};

use super::{NoSuchSession, observe::observe};

/// Why a session cannot be shown.
#[derive(Debug, Error)]
pub enum GetError {
    /// No such session of this owner.
    #[error(transparent)]
    NoSuchSession(#[from] NoSuchSession),
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The session as it is now; what was overdue in it is done first (a lost runner replaced). Reading
/// twice changes nothing more than reading once.
///
/// # Errors
/// [`GetError`].
pub async fn get_session<P: SessionDirectory + Inbox + Compute + Clock>(
    ports: &P,
    _caller: &Authorized<ReadSessions>,
    key: &SessionKey,
) -> Result<Head, GetError> {
    Ok(observe(ports, key).await?.ok_or(NoSuchSession)?)
}
