//! `projector`: changes of sessions in the table's stream become notices, which go to a topic and to
//! their owner's webhook.

use std::{process::ExitCode, sync::Arc};

use boot::StartError;
use projector::{Event, Webhooks, handle};
use store::Topic;

fn main() -> ExitCode {
    boot::run("projector", async |boot| {
        let settings = &boot.settings;
        let topic = Topic::connect(settings.text("SHANNON_NOTICE_TOPIC")?).await;
        let webhooks = Webhooks::from_settings(settings);
        let webhooks = webhooks.map_err(|error| StartError::Part(error.into()))?;
        let receivers = Arc::new((topic, webhooks));
        boot.serve_events(move |event: Event| {
            let receivers = Arc::clone(&receivers);
            async move { handle(&receivers.0, &receivers.1, event).await }
        })
        .await
    })
}
