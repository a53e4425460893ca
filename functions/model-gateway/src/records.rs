//! What the gateway needs of a session's records.

use bytes::Bytes;
use domain::event::TokenUsage;
use domain::ports::{Clock, SessionDirectory, Unavailable};
use domain::{SessionKey, UnixMillis};
use store::Store;

/// Sessions, their large request bodies, and what they used.
pub(crate) trait Records: SessionDirectory + Clock + Clone + 'static {
    /// An object of the session; `None` when there is none of that name.
    fn object(
        &self,
        key: &SessionKey,
        name: &str,
    ) -> impl Future<Output = Result<Option<Bytes>, Unavailable>> + Send;

    /// Adds the tokens of one model request; repeating it with the same id changes nothing.
    fn record(
        &self,
        key: &SessionKey,
        request_id: &str,
        model: &str,
        tokens: TokenUsage,
        now: UnixMillis,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}

impl Records for Store {
    async fn object(&self, key: &SessionKey, name: &str) -> Result<Option<Bytes>, Unavailable> {
        // It lies under the tree, which only the head knows.
        match self.head(key).await? {
            Some(head) => self.get_session_object(&head.tree_key(), key, name).await,
            None => Ok(None),
        }
    }

    async fn record(
        &self,
        key: &SessionKey,
        request_id: &str,
        model: &str,
        tokens: TokenUsage,
        now: UnixMillis,
    ) -> Result<(), Unavailable> {
        self.record_usage(key, request_id, model, tokens, now).await
    }
}
