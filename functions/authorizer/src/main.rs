//! `authorizer`: answers API Gateway who calls. The answer holds for the whole stage, because API
//! Gateway keeps it for every route.

mod credential;
mod decision;
mod discovery;
mod issuer;
mod jwks;
mod signature;
#[cfg(test)]
mod test_issuer;

use std::{process::ExitCode, sync::Arc};

use boot::AccessToken;
use store::{Store, StoreSettings};

use crate::credential::Doors;
use crate::issuer::Issuer;

fn main() -> ExitCode {
    boot::run("authorizer", async |boot| {
        let hash = boot.settings.text("SHANNON_ACCESS_TOKEN_SHA256")?;
        let token = AccessToken::from_sha256_hex(hash)?;
        let settings = &boot.settings;
        let store = Store::connect(StoreSettings {
            table: settings.text("SHANNON_TABLE")?.to_owned(),
            bucket: settings.text("SHANNON_BUCKET")?.to_owned(),
            retention_days: boot.deployment.retention_days,
            audit_retention_days: boot.deployment.audit_retention_days,
            keep_deltas_hours: settings.integer("SHANNON_KEEP_DELTAS_HOURS")?,
            compute: None,
        })
        .await;
        let issuer = Issuer::from_settings(settings)?;
        let parts = Arc::new((Doors { token, issuer }, store));
        boot.serve_events(move |request: decision::Request| {
            let parts = Arc::clone(&parts);
            async move { decision::answer(&parts.0, &parts.1, &request).await }
        })
        .await
    })
}
