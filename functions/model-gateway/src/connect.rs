//! The gateway and its readiness, from the settings of the deployment.

use std::sync::Arc;

use boot::http::Body;
use boot::{Boot, StartError};
use bytes::Bytes;
use domain::session_token::SigningKey;
use http::{Request, Response};
use store::{SessionRole, Store, StoreSettings};

use crate::gateway::Gateway;
use crate::ready::{self, Deployed, Readiness};
use crate::upstream::Upstream;

/// All that this function serves; one per process.
pub(crate) struct Served {
    gateway: Gateway<Store, SessionRole>,
    readiness: Readiness<Deployed>,
}

/// Builds the clients; connects to nothing yet.
///
/// # Errors
/// A setting is missing or wrong.
pub(crate) async fn connect(boot: &Boot) -> Result<Served, StartError> {
    let settings = &boot.settings;
    let signing_key = settings.secret("SHANNON_SIGNING_KEY")?;
    let signing_key = SigningKey::new(signing_key.expose().as_bytes())
        .map_err(|error| StartError::Part(error.into()))?;
    let records = Store::connect(StoreSettings {
        table: settings.text("SHANNON_TABLE")?.to_owned(),
        bucket: settings.text("SHANNON_BUCKET")?.to_owned(),
        retention_days: boot.deployment.retention_days,
        keep_deltas_hours: settings.integer("SHANNON_KEEP_DELTAS_HOURS")?,
        audit_retention_days: boot.deployment.audit_retention_days,
        compute: None,
    })
    .await
    .with_git_credentials(settings.text("SHANNON_GIT_PARAMETERS")?);
    let broker = SessionRole::connect(settings.text("SHANNON_SESSION_ROLE")?).await;
    let upstream = Arc::new(Upstream::from_settings(settings)?);
    upstream.build_ahead();
    let deployed = Deployed::from_settings(settings, records.clone(), Arc::clone(&upstream));
    let readiness = Readiness::new(settings, deployed.await?)?;
    let token_seconds = boot.deployment.session_token_seconds;
    Ok(Served {
        gateway: Gateway::new((records, broker), signing_key, token_seconds, upstream),
        readiness,
    })
}

impl Served {
    /// Answers one request, as [`Gateway::handle`] and [`Readiness::answer`] do.
    pub(crate) async fn handle(&self, request: Request<Bytes>) -> Response<Body> {
        if ready::is_asked(&request) {
            return self.readiness.answer().await;
        }
        self.gateway.handle(request).await
    }
}
