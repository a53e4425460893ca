//! `legacy`: every request of the initialize era, and whatever reached plain `/mcp`: all methods, with the
//! same work behind them as in the other classes.

// The work is that of \`call\`: one file, so that the two cannot drift apart.
#[path = "../../call/src/sessions.rs"]
mod sessions;

use std::process::ExitCode;

use protocol::{Class, Edge, EdgeSettings};

fn main() -> ExitCode {
    boot::run("legacy", async |boot| {
        let class = Class::Legacy;
        let settings = EdgeSettings::read(
            class,
            |name| boot.settings.integer(name),
            |name| boot.settings.list(name),
        )?;
        let edge = Edge::new(class, settings, sessions::connect(&boot).await?);
        boot.serve_http(move |incoming| {
            let edge = edge.clone();
            async move { edge.handle(incoming.request, incoming.principal).await }
        })
        .await
    })
}
