//! `read`: resources, prompts and completion. A file of a running session is asked of its runner.

// The work is that of `call`: one file, so that the two cannot drift apart.
#[path = "../../call/src/sessions.rs"]
mod sessions;

use std::process::ExitCode;

use protocol::{Class, Edge, EdgeSettings, Limited, RateSettings, Reads};

fn main() -> ExitCode {
    boot::run("read", async |boot| {
        let class = Class::Read;
        let settings = EdgeSettings::read(
            class,
            |name| boot.settings.integer(name),
            |name| boot.settings.list(name),
            |name| boot.settings.optional(name).map(|it| it.map(str::to_owned)),
        )?;
        let rates = RateSettings::read(|name| boot.settings.count(name))?;
        let work = sessions::connect(&boot).await?;
        let store = work.ports().clone();
        let limited = Limited::new(store.clone(), store, rates);
        let edge = Edge::new(class, settings, Reads::new(work)).limited(limited);
        boot.serve_http(move |incoming| {
            let edge = edge.clone();
            async move { edge.handle(incoming.request, incoming.principal).await }
        })
        .await
    })
}
