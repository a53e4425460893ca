//! `tasks`: turns as MCP tasks, from the session table alone.

use std::process::ExitCode;

use protocol::{Class, Edge, EdgeSettings, Turns};
use store::{Store, StoreSettings};

fn main() -> ExitCode {
    boot::run("tasks", async |boot| {
        let class = Class::Tasks;
        let settings = EdgeSettings::read(
            class,
            |name| boot.settings.integer(name),
            |name| boot.settings.list(name),
        )?;
        let store = Store::connect(StoreSettings {
            table: boot.settings.text("SHANNON_TABLE")?.to_owned(),
            bucket: boot.settings.text("SHANNON_BUCKET")?.to_owned(),
            retention_days: boot.deployment.retention_days,
            keep_deltas_hours: boot.settings.integer("SHANNON_KEEP_DELTAS_HOURS")?,
            compute: None,
        })
        .await;
        let edge = Edge::new(class, settings, Turns::new(store, boot.deployment.clone()));
        boot.serve_http(move |incoming| {
            let edge = edge.clone();
            async move { edge.handle(incoming.request, incoming.principal).await }
        })
        .await
    })
}
