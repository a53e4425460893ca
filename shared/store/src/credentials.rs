//! The credentials of a session: for an hour, good for its own rows and its tree's objects. The model
//! gateway makes them from a role; a runner fetches them there, again before they end.

use std::{
    error::Error,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_config::{ConfigLoader, SdkConfig, identity::IdentityCache};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, error::CredentialsError, future},
};
use aws_sdk_sts::types::Tag;
use domain::{SessionKey, TreeKey, UnixMillis, ports::Unavailable};

use crate::{
    Endpoint,
    failure::{self, Kind},
    settings,
};

/// How long they are good. STS gives no more to who has a role itself, as a function does.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html> (role chaining)
const LIFETIME_SECONDS: i32 = 3600;
/// They are fetched again so long before they end: own, several tries of the gateway.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);
/// Renewing them may take so long while those of before are good. Own: a part of a lease.
const RENEWED_WITHIN: Duration = Duration::from_secs(3);
/// Between two tries to renew them that fail. Own.
const BETWEEN_TRIES: Duration = Duration::from_secs(20);
/// Credentials that end sooner are as good as over. Own.
const LEFT: Duration = Duration::from_secs(5);
/// Bound on fetching them, a cold start of the gateway included. Own.
const FETCHED_WITHIN: Duration = Duration::from_secs(20);

/// What a runner works with instead of its task's role.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionCredentials {
    /// AWS access key id.
    pub access_key_id: String,
    /// AWS secret access key.
    pub secret_access_key: String,
    /// AWS session token.
    pub session_token: String,
    /// When they end.
    pub expires_at: UnixMillis,
}

impl fmt::Debug for SessionCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SessionCredentials")
            .field("access_key_id", &self.access_key_id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Where the credentials of a session come from. Asking again gives others that are as good.
pub trait CredentialSource: Send + Sync + 'static {
    /// New ones.
    fn fetch(
        &self,
    ) -> impl Future<Output = Result<SessionCredentials, Box<dyn Error + Send + Sync>>> + Send;
}

/// The role that sessions get, of which each may only what its tags say.
#[derive(Clone, Debug)]
pub struct SessionRole {
    sts: aws_sdk_sts::Client,
    arn: String,
}

impl SessionRole {
    /// Builds the client from the process's environment, as [`crate::Store::connect`] does.
    pub async fn connect(arn: &str) -> Self {
        Self::build(arn, &settings::sdk_config(None).await)
    }

    /// The same for an endpoint that the environment does not name.
    pub async fn connect_to(arn: &str, endpoint: Endpoint) -> Self {
        Self::build(arn, &settings::sdk_config(Some(endpoint)).await)
    }

    fn build(arn: &str, config: &SdkConfig) -> Self {
        Self {
            sts: aws_sdk_sts::Client::new(config),
            arn: arn.to_owned(),
        }
    }

    /// Credentials of a session, tagged with owner, session and tree. Cut or repeated, nothing is
    /// changed: there are more of them, and all of them end.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn credentials(
        &self,
        key: &SessionKey,
        tree: &TreeKey,
    ) -> Result<SessionCredentials, Unavailable> {
        const ATTEMPTED: &str = "make the session's credentials";
        let tag = |name: &str, value: &str| {
            let tag = Tag::builder().key(name).value(value).build();
            tag.map_err(|error| failure::own(ATTEMPTED, error))
        };
        let sent = Box::pin(
            self.sts
                .assume_role()
                .role_arn(&self.arn)
                .role_session_name(key.session.as_str())
                .duration_seconds(LIFETIME_SECONDS)
                .tags(tag("owner", key.owner.as_str())?)
                .tags(tag("session", key.session.as_str())?)
                .tags(tag("tree", tree.tree.as_str())?)
                .send(),
        )
        .await;
        let answer = sent.map_err(|error| failure::aws(ATTEMPTED, Kind::Read, error))?;
        let given = answer
            .credentials
            .ok_or_else(|| failure::own(ATTEMPTED, "the answer has none"))?;
        let expires_at = given.expiration().to_millis();
        let expires_at = expires_at.ok().and_then(|time| u64::try_from(time).ok());
        Ok(SessionCredentials {
            access_key_id: given.access_key_id,
            secret_access_key: given.secret_access_key,
            session_token: given.session_token,
            expires_at: UnixMillis(
                expires_at.ok_or_else(|| failure::own(ATTEMPTED, "they have no end"))?,
            ),
        })
    }
}

/// A configuration whose credentials come from `source`.
pub(crate) async fn config(loader: ConfigLoader, source: impl CredentialSource) -> SdkConfig {
    let cache = IdentityCache::lazy()
        // It renews at a random time in its buffer: ours is in the end that it is told.
        .buffer_time(Duration::ZERO)
        .load_timeout(FETCHED_WITHIN)
        .build();
    let provider = Provider {
        source: Arc::new(source),
        last: Mutex::default(),
    };
    let loader = loader.identity_cache(cache).credentials_provider(provider);
    Box::pin(loader.load()).await
}

/// Gives what is good as long as it is: where it cannot be renewed at once, the session goes on.
struct Provider<S> {
    source: Arc<S>,
    last: Mutex<Option<Last>>,
}

/// What was fetched last, and when it could not be renewed.
#[derive(Clone)]
struct Last {
    credentials: Credentials,
    expires_at: SystemTime,
    failed_at: Option<SystemTime>,
}

impl<S> fmt::Debug for Provider<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Provider")
    }
}

impl<S: CredentialSource> Provider<S> {
    async fn fetch(&self) -> Result<Credentials, CredentialsError> {
        let fetched = self.source.fetch().await;
        let fetched = fetched.map_err(CredentialsError::provider_error)?;
        let expires_at = UNIX_EPOCH + Duration::from_millis(fetched.expires_at.0);
        let credentials = Credentials::new(
            fetched.access_key_id,
            fetched.secret_access_key,
            Some(fetched.session_token),
            Some(expires_at - RENEWED_BEFORE),
            "session",
        );
        *self.last() = Some(Last {
            credentials: credentials.clone(),
            expires_at,
            failed_at: None,
        });
        Ok(credentials)
    }

    fn last(&self) -> MutexGuard<'_, Option<Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// New ones, or those of before as long as they are good: then nobody waits for long, because the
    /// lease ends meanwhile.
    async fn give(&self) -> Result<Credentials, CredentialsError> {
        let now = SystemTime::now();
        let last = self.last().clone();
        let Some(last) = last.filter(|last| last.expires_at > now + LEFT) else {
            return self.fetch().await;
        };
        let is_recent = |at: SystemTime| now < at + BETWEEN_TRIES;
        if last.failed_at.is_some_and(is_recent) {
            return Ok(last.credentials);
        }
        let problem = match tokio::time::timeout(RENEWED_WITHIN, self.fetch()).await {
            Ok(Ok(new)) => return Ok(new),
            Ok(Err(error)) => error
                .source()
                .map_or_else(|| error.to_string(), ToString::to_string),
            Err(late) => late.to_string(),
        };
        tracing::warn!(
            problem,
            "the session's credentials could not be renewed yet"
        );
        if let Some(kept) = &mut *self.last() {
            kept.failed_at = Some(now);
        }
        Ok(last.credentials)
    }
}

impl<S: CredentialSource> ProvideCredentials for Provider<S> {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.give())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Gives credentials that end then, one after the other; `None` is a failure, and after the last it
    /// never answers.
    struct Scripted(Vec<Option<Duration>>, AtomicUsize);

    impl CredentialSource for Scripted {
        async fn fetch(&self) -> Result<SessionCredentials, Box<dyn Error + Send + Sync>> {
            let number = self.1.fetch_add(1, Ordering::SeqCst);
            let Some(step) = self.0.get(number) else {
                return std::future::pending().await;
            };
            let left = step.ok_or("the gateway answered 500")?;
            let end = SystemTime::now() + left;
            let end = end.duration_since(UNIX_EPOCH)?.as_millis();
            Ok(SessionCredentials {
                access_key_id: number.to_string(),
                secret_access_key: "s".to_owned(),
                session_token: "t".to_owned(),
                expires_at: UnixMillis(u64::try_from(end)?),
            })
        }
    }

    fn provider(steps: &[Option<u64>]) -> Provider<Scripted> {
        let steps = steps.iter().map(|it| it.map(Duration::from_secs)).collect();
        Provider {
            source: Arc::new(Scripted(steps, AtomicUsize::new(0))),
            last: Mutex::default(),
        }
    }

    async fn key(provider: &Provider<Scripted>) -> Option<String> {
        let given = provider.give().await.ok();
        given.map(|given| given.access_key_id().to_owned())
    }

    #[tokio::test]
    async fn what_cannot_be_renewed_is_used_as_long_as_it_is_good() {
        let failing = provider(&[Some(200), None]);
        assert_eq!(key(&failing).await.as_deref(), Some("0"));
        assert_eq!(
            key(&failing).await.as_deref(),
            Some("0"),
            "in place of an error"
        );
        // Not asked again at once: a third fetch would never answer.
        let start = std::time::Instant::now();
        assert_eq!(key(&failing).await.as_deref(), Some("0"));
        assert!(start.elapsed() < RENEWED_WITHIN);

        let hanging = provider(&[Some(200)]);
        assert_eq!(key(&hanging).await.as_deref(), Some("0"));
        assert_eq!(
            key(&hanging).await.as_deref(),
            Some("0"),
            "in time for the lease"
        );

        let over = provider(&[Some(0), None, Some(200), Some(300)]);
        assert_eq!(key(&over).await.as_deref(), Some("0"));
        assert_eq!(key(&over).await, None, "what has ended is not given");
        assert_eq!(key(&over).await.as_deref(), Some("2"));
        assert_eq!(key(&over).await.as_deref(), Some("3"));
    }
}
