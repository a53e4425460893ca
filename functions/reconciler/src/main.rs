//! `reconciler`: EventBridge events of stopped tasks, and a sweep every minute.

use std::{process::ExitCode, sync::Arc};

use boot::StartError;
use domain::session_token::SigningKey;
use reconciler::{Event, Limits, Watch, handle};
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
        let watch = Watch::from_settings(&boot.settings).await;
        let watch = watch.map_err(|error| StartError::Part(error.into()))?;
        let parts = Arc::new((Store::connect(settings).await, watch));
        boot.serve_events(move |event: Event| {
            let (parts, limits) = (Arc::clone(&parts), Arc::clone(&limits));
            async move {
                let (store, watch) = &*parts;
                watch.look(store, &event).await;
                handle(store, &limits, event).await
            }
        })
        .await
    })
}
