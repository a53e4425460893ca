//! What trades a session token for the session's AWS credentials.

use domain::ports::Unavailable;
use domain::{SessionKey, TreeKey};
use store::{SessionCredentials, SessionRole};

/// Makes credentials that are good for one session.
pub(crate) trait Broker: Send + Sync + 'static {
    /// New ones for the session; asking again gives others that are as good.
    fn credentials(
        &self,
        key: &SessionKey,
        tree: &TreeKey,
    ) -> impl Future<Output = Result<SessionCredentials, Unavailable>> + Send;
}

impl Broker for SessionRole {
    async fn credentials(
        &self,
        key: &SessionKey,
        tree: &TreeKey,
    ) -> Result<SessionCredentials, Unavailable> {
        SessionRole::credentials(self, key, tree).await
    }
}
