//! `catalog`: the lists of tools, prompts and resources, for clients to cache. Static, except that the
//! caller's scopes decide which tools it shows, and that resources are the caller's sessions.

use std::process::ExitCode;

use protocol::{Catalog, Class, Edge, EdgeSettings};
use store::{Store, StoreSettings};

fn main() -> ExitCode {
    boot::run("catalog", async |boot| {
        let class = Class::Catalog;
        let settings = EdgeSettings::read(
            class,
            |name| boot.settings.integer(name),
            |name| boot.settings.list(name),
            |name| boot.settings.optional(name).map(|it| it.map(str::to_owned)),
        )?;
        let store = StoreSettings {
            table: boot.settings.text("SHANNON_TABLE")?.to_owned(),
            bucket: boot.settings.text("SHANNON_BUCKET")?.to_owned(),
            retention_days: boot.deployment.retention_days,
            keep_deltas_hours: boot.settings.integer("SHANNON_KEEP_DELTAS_HOURS")?,
            audit_retention_days: boot.deployment.audit_retention_days,
            compute: None,
        };
        let edge = Edge::new(
            class,
            settings,
            Catalog::<Store, _>::new(move || Store::connect(store.clone())),
        );
        boot.serve_http(move |incoming| {
            let edge = edge.clone();
            async move { edge.handle(incoming.request, incoming.principal).await }
        })
        .await
    })
}
