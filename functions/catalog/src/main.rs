//! `catalog`: the lists of tools, prompts and resources, for clients to cache. Static, except that the
//! caller's scopes decide which tools it shows, and that resources are the caller's sessions. What a
//! caller may ask is counted in the table.

use std::{process::ExitCode, sync::Arc};

use protocol::{Catalog, Class, Edge, EdgeSettings, Later, Limited, RateSettings};
use store::{Store, StoreSettings, System};
use tokio::sync::OnceCell;

fn main() -> ExitCode {
    boot::run("catalog", async |boot| {
        let settings = EdgeSettings::read(
            Class::Catalog,
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
        let rates = RateSettings::read(|name| boot.settings.count(name))?;
        // Connected to with the first request, not before the function is ready.
        let connected = Arc::new(OnceCell::new());
        let connect = move || {
            let (connected, store) = (Arc::clone(&connected), store.clone());
            async move {
                let connected = connected.get_or_init(|| Store::connect(store));
                connected.await.clone()
            }
        };
        let work = Catalog::<Store, _>::new(connect.clone());
        let limited = Limited::new(Later(connect), System, rates);
        let edge = Edge::new(Class::Catalog, settings, work).limited(limited);
        boot.serve_http(move |incoming| {
            let edge = edge.clone();
            async move { edge.handle(incoming.request, incoming.principal).await }
        })
        .await
    })
}
