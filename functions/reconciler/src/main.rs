//! `reconciler`: EventBridge events of stopped tasks, and a sweep every minute.

use std::{process::ExitCode, sync::Arc};

use boot::StartError;
use domain::session_token::SigningKey;
use reconciler::{Event, Limits, handle};
use store::{Store, StoreSettings};

fn main() -> ExitCode {
    boot::run("reconciler", async |boot| {
        let settings = StoreSettings::read(|name| {
            let text = boot.settings.optional(name)?;
            Ok::<_, boot::SettingsError>(text.map(str::to_owned))
        })
        .map_err(|error| StartError::Part(error.into()))?;
        let secret = boot.settings.secret("SHANNON_SIGNING_KEY")?;
        let signing_key = SigningKey::new(secret.expose().as_bytes())
            .map_err(|error| StartError::Part(error.into()))?;
        let limits = Arc::new(Limits {
            signing_key,
            slots: boot.settings.slots()?,
            retention: boot.settings.retention()?,
        });
        let store = Arc::new(Store::connect(settings).await);
        boot.serve_events(move |event: Event| {
            let (store, limits) = (Arc::clone(&store), Arc::clone(&limits));
            async move { handle(&*store, &limits, event).await }
        })
        .await
    })
}
