//! `reconciler`: EventBridge events of stopped tasks, and a sweep every minute.

use std::{process::ExitCode, sync::Arc};

use boot::StartError;
use domain::ports::SlotLimits;
use reconciler::{Event, handle};
use store::{Store, StoreSettings};

fn main() -> ExitCode {
    boot::run("reconciler", async |boot| {
        let settings = StoreSettings::read(|name| {
            let text = boot.settings.optional(name)?;
            Ok::<_, boot::SettingsError>(text.map(str::to_owned))
        })
        .map_err(|error| StartError::Part(error.into()))?;
        let sessions = |name| {
            let count = boot.settings.integer(name)?;
            Ok::<_, boot::SettingsError>(u32::try_from(count).unwrap_or(u32::MAX))
        };
        let slots = SlotLimits {
            deployment: sessions("SHANNON_MAX_SESSIONS")?,
            owner: sessions("SHANNON_MAX_SESSIONS_PER_OWNER")?,
        };
        let store = Arc::new(Store::connect(settings).await);
        boot.serve_events(move |event: Event| {
            let store = Arc::clone(&store);
            async move { handle(&*store, slots, event).await }
        })
        .await
    })
}
