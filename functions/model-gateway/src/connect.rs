//! What the gateway stands on, from its settings.

use std::sync::Arc;

use boot::{Boot, StartError};
use domain::session_token::SigningKey;
use store::{SessionRole, Store, StoreSettings};

use crate::gateway::Gateway;
use crate::upstream::Upstream;

/// Builds the clients; connects to nothing yet.
pub(crate) async fn connect(boot: &Boot) -> Result<Gateway<Store, SessionRole>, StartError> {
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
    .await;
    let broker = SessionRole::connect(settings.text("SHANNON_SESSION_ROLE")?).await;
    let upstream = Arc::new(Upstream::from_settings(settings)?);
    upstream.build_ahead();
    let token_seconds = boot.deployment.session_token_seconds;
    Ok(Gateway::new(
        (records, broker),
        signing_key,
        token_seconds,
        upstream,
    ))
}
