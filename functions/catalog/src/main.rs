//! `catalog`: the lists of tools, prompts and resources, for clients to cache. Static, except that
//! the caller's scopes decide which tools it shows.

use std::process::ExitCode;

use protocol::{Class, Edge, EdgeSettings, Listings};

fn main() -> ExitCode {
    boot::run("catalog", async |boot| {
        let class = Class::Catalog;
        let settings = EdgeSettings::read(
            class,
            |name| boot.settings.integer(name),
            |name| boot.settings.list(name),
        )?;
        let edge = Edge::new(class, settings, Listings);
        boot.serve_http(move |incoming| {
            let edge = edge.clone();
            async move { edge.handle(incoming.request, incoming.principal).await }
        })
        .await
    })
}
