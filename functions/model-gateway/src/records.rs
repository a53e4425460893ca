//! What the gateway needs of a session's records.

use bytes::Bytes;
use domain::event::TokenUsage;
use domain::ports::{Checkpoints, Clock, GitSecrets, SessionDirectory, Unavailable};
use domain::{SessionKey, TreeKey, UnixMillis};
use store::Store;

/// Sessions, their large request bodies, and what they used.
pub(crate) trait Records: SessionDirectory + GitSecrets + Clock + Clone + 'static {
    /// An object of the session; `None` when there is none of that name.
    fn object(
        &self,
        key: &SessionKey,
        name: &str,
    ) -> impl Future<Output = Result<Option<Bytes>, Unavailable>> + Send;

    /// Whether the session is one of the tree's, as the tree's own record says: a session writes its
    /// head, and the record of its own tree only.
    fn is_in_tree(
        &self,
        key: &SessionKey,
        tree: &TreeKey,
    ) -> impl Future<Output = Result<bool, Unavailable>> + Send;

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

    async fn is_in_tree(&self, key: &SessionKey, tree: &TreeKey) -> Result<bool, Unavailable> {
        // Its own is new with it, and has no record before its first checkpoint.
        if *tree.tree.root() == key.session {
            return Ok(true);
        }
        let recorded = Checkpoints::tree(self, tree).await?;
        Ok(recorded.members.contains(&key.session))
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
