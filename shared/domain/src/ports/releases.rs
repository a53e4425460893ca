//! What is known of newer versions of the CLI, and whom it is told.

use crate::release::Release;

use super::Unavailable;

/// The one place where the newest release is kept.
pub trait Releases: Send + Sync {
    /// What was kept last; `None` before the first time.
    fn release(&self) -> impl Future<Output = Result<Option<Release>, Unavailable>> + Send;

    /// Keeps it. Of two, the one that was seen later stays; repeating it changes nothing.
    fn keep_release(
        &self,
        release: &Release,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}

/// Those who run the deployment.
pub trait Operators: Send + Sync {
    /// Tells them something. Repeating it tells it again.
    fn tell(
        &self,
        subject: &str,
        text: &str,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}
