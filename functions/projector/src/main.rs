//! `projector`: changes of sessions in the table's stream become notices, which go to a topic and to
//! their owner's webhook, and entries of the audit.

use std::{process::ExitCode, sync::Arc};

use boot::StartError;
use projector::{Event, Webhooks, handle};
use store::{Store, StoreSettings, Topic};

fn main() -> ExitCode {
    boot::run("projector", async |boot| {
        let settings = &boot.settings;
        let topic = Topic::connect(settings.text("SHANNON_NOTICE_TOPIC")?).await;
        let webhooks = Webhooks::from_settings(settings);
        let webhooks = webhooks.map_err(|error| StartError::Part(error.into()))?;
        let store = Store::connect(StoreSettings {
            table: settings.text("SHANNON_TABLE")?.to_owned(),
            bucket: settings.text("SHANNON_BUCKET")?.to_owned(),
            retention_days: boot.deployment.retention_days,
            audit_retention_days: boot.deployment.audit_retention_days,
            keep_deltas_hours: settings.integer("SHANNON_KEEP_DELTAS_HOURS")?,
            compute: None,
        })
        .await;
        let receivers = Arc::new((topic, webhooks, store));
        boot.serve_events(move |event: Event| {
            let receivers = Arc::clone(&receivers);
            async move {
                let (topic, webhooks, store) = &*receivers;
                handle(topic, webhooks, store, event).await
            }
        })
        .await
    })
}
