//! `call`: the tools. A call may stream, and may start a task.

mod sessions;

use std::process::ExitCode;

use protocol::{Class, Edge, EdgeSettings};

fn main() -> ExitCode {
    boot::run("call", async |boot| {
        let class = Class::Call;
        let settings = EdgeSettings::read(
            class,
            |name| boot.settings.integer(name),
            |name| boot.settings.list(name),
            |name| boot.settings.optional(name).map(|it| it.map(str::to_owned)),
        )?;
        let edge = Edge::new(class, settings, sessions::connect(&boot).await?);
        boot.serve_http(move |incoming| {
            let edge = edge.clone();
            async move { edge.handle(incoming.request, incoming.principal).await }
        })
        .await
    })
}
