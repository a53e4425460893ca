//! The pages over the store. Built once, outside the handler.

use boot::{AccessToken, Boot, StartError};
use domain::session_token::SigningKey;
use store::{ComputeSettings, Store, StoreSettings};

use crate::page::Pages;

/// Reads the settings and builds the clients; connects to nothing yet.
pub(crate) async fn connect(boot: &Boot) -> Result<Pages<Store>, StartError> {
    let settings = &boot.settings;
    let text = |name| settings.text(name).map(str::to_owned);
    let secret = settings.secret("SHANNON_SIGNING_KEY")?;
    let signing_key = SigningKey::new(secret.expose().as_bytes())
        .map_err(|error| StartError::Part(error.into()))?;
    let hash = text("SHANNON_ACCESS_TOKEN_SHA256")?;
    // A decision wakes a suspended session.
    let compute = ComputeSettings {
        cluster: text("SHANNON_CLUSTER")?,
        task_definition: text("SHANNON_TASK_DEFINITION")?,
        subnets: settings.list("SHANNON_SUBNETS")?,
        security_group: text("SHANNON_SECURITY_GROUP")?,
        stage: text("SHANNON_STAGE")?,
        signing_key: signing_key.clone(),
        session_token_milliseconds: boot.deployment.session_token_seconds * 1000,
    };
    let store = Store::connect(StoreSettings {
        table: text("SHANNON_TABLE")?,
        bucket: text("SHANNON_BUCKET")?,
        retention_days: boot.deployment.retention_days,
        keep_deltas_hours: settings.integer("SHANNON_KEEP_DELTAS_HOURS")?,
        audit_retention_days: boot.deployment.audit_retention_days,
        compute: Some(compute),
    })
    .await
    .with_git_credentials(settings.text("SHANNON_GIT_PARAMETERS")?);
    let public_url = settings.optional("SHANNON_PUBLIC_URL")?.unwrap_or_default();
    Ok(Pages {
        ports: store,
        deployment: boot.deployment.clone(),
        key: signing_key,
        token: AccessToken::from_sha256_hex(&hash)?,
        credential: hash,
        public_url: public_url.to_owned(),
    })
}
