//! `legacy`: every request of the initialize era with the sessions of its clients, the pair of
//! 2024-11-05, and whatever else reached plain `/mcp`: all methods, with the same work behind them
//! as in the other classes.

// The work is that of \`call\`: one file, so that the two cannot drift apart.
#[path = "../../call/src/sessions.rs"]
mod sessions;

use std::process::ExitCode;

use protocol::{Class, ClientSessionSettings, Edge, EdgeSettings, Limited, RateSettings};

fn main() -> ExitCode {
    boot::run("legacy", async |boot| {
        let settings = EdgeSettings::read(
            Class::Legacy,
            |name| boot.settings.integer(name),
            |name| boot.settings.list(name),
            |name| boot.settings.optional(name).map(|it| it.map(str::to_owned)),
        )?;
        let clients = ClientSessionSettings::read(
            |name| boot.settings.integer(name),
            |name| boot.settings.boolean(name),
        )?;
        let work = sessions::connect(&boot).await?;
        let store = work.ports().clone();
        let rates = RateSettings::read(|name| boot.settings.count(name))?;
        let limited = Limited::new(store.clone(), store.clone(), rates);
        let edge = Edge::bridged(settings, clients, work, store).limited(limited);
        boot.serve_http(move |incoming| {
            let edge = edge.clone();
            async move { edge.handle(incoming.request, incoming.principal).await }
        })
        .await
    })
}
