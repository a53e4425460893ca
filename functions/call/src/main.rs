//! `call`: the tools. A call may stream, and may start a task.

mod sessions;

use std::process::ExitCode;

use protocol::{Class, Edge, EdgeSettings, Limited, RateSettings};

fn main() -> ExitCode {
    boot::run("call", async |boot| {
        let class = Class::Call;
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
        let edge = Edge::new(class, settings, work).limited(limited);
        boot.serve_http(move |incoming| {
            let edge = edge.clone();
            async move { edge.handle(incoming.request, incoming.principal).await }
        })
        .await
    })
}
