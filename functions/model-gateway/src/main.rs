//! `model-gateway`: between the sessions and the Messages API. A session's runner shows its session
//! token; the real key is put in here, and nothing but this function ever has it.

mod broker;
mod gateway;
mod records;
mod refusal;
mod response;
mod upstream;
mod usage;

use std::process::ExitCode;
use std::sync::Arc;

use boot::StartError;
use domain::session_token::SigningKey;
use store::{SessionRole, Store, StoreSettings};

use gateway::Gateway;
use upstream::Upstream;

fn main() -> ExitCode {
    boot::run("model-gateway", async |boot| {
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
        let gateway = Arc::new(Gateway::new(
            (records, broker),
            signing_key,
            token_seconds,
            upstream,
        ));
        boot.serve_http(move |incoming| {
            let gateway = Arc::clone(&gateway);
            async move { gateway.handle(incoming.request).await }
        })
        .await
    })
}
