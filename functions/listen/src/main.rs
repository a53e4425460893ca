//! `listen`: tells a client what happens to its sessions and turns, for at most
//! `SHANNON_LISTEN_SECONDS`; where that is 0 there are no subscriptions.

use std::process::ExitCode;

use protocol::{Class, Edge, EdgeSettings, Limited, RateSettings, Watched};
use store::{Store, StoreSettings};

fn main() -> ExitCode {
    boot::run("listen", async |boot| {
        let class = Class::Listen;
        let settings = EdgeSettings::read(
            class,
            |name| boot.settings.integer(name),
            |name| boot.settings.list(name),
            |name| boot.settings.optional(name).map(|it| it.map(str::to_owned)),
        )?;
        let store = Store::connect(StoreSettings {
            table: boot.settings.text("SHANNON_TABLE")?.to_owned(),
            bucket: boot.settings.text("SHANNON_BUCKET")?.to_owned(),
            retention_days: boot.deployment.retention_days,
            keep_deltas_hours: boot.settings.integer("SHANNON_KEEP_DELTAS_HOURS")?,
            audit_retention_days: boot.deployment.audit_retention_days,
            compute: None,
        })
        .await;
        let rates = RateSettings::read(|name| boot.settings.count(name))?;
        let limited = Limited::new(store.clone(), store.clone(), rates);
        let work = Watched::new(store, boot.deployment.clone());
        let edge = Edge::new(class, settings, work).limited(limited);
        boot.serve_http(move |incoming| {
            let edge = edge.clone();
            async move { edge.handle(incoming.request, incoming.principal).await }
        })
        .await
    })
}
