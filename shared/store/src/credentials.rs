//! The credentials of a session: for an hour, good for its own rows and its tree's objects. The model
//! gateway makes them from a role; a runner fetches them there, again before they end.

use std::{
    error::Error,
    fmt,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
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
        .buffer_time(RENEWED_BEFORE)
        .load_timeout(FETCHED_WITHIN)
        .build();
    let loader = loader
        .identity_cache(cache)
        .credentials_provider(Provider(Arc::new(source)));
    Box::pin(loader.load()).await
}

struct Provider<S>(Arc<S>);

impl<S> fmt::Debug for Provider<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Provider")
    }
}

impl<S: CredentialSource> ProvideCredentials for Provider<S> {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            let fetched = self.0.fetch().await;
            let fetched = fetched.map_err(CredentialsError::provider_error)?;
            let expires_at = UNIX_EPOCH + Duration::from_millis(fetched.expires_at.0);
            Ok(Credentials::new(
                fetched.access_key_id,
                fetched.secret_access_key,
                Some(fetched.session_token),
                Some(expires_at),
                "session",
            ))
        })
    }
}
