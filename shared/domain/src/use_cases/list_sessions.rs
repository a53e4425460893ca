//! Finding sessions again.

use thiserror::Error;

use crate::{
    Authorized,
    authorization::ReadSessions,
    limits,
    ports::{ListQuery, SessionDirectory, SessionPage, Unavailable},
};

/// Why there is no list.
#[derive(Debug, Error)]
pub enum ListError {
    /// Not a page size.
    #[error("limit: use 1 to {}", limits::LIST_PAGE)]
    Limit,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A page of the caller's sessions, newest first. Reads only.
///
/// # Errors
/// [`ListError`].
pub async fn list_sessions<P: SessionDirectory>(
    ports: &P,
    caller: &Authorized<ReadSessions>,
    query: &ListQuery,
) -> Result<SessionPage, ListError> {
    if !(1..=limits::LIST_PAGE).contains(&query.limit) {
        return Err(ListError::Limit);
    }
    Ok(ports.list(caller.owner(), query).await?)
}
