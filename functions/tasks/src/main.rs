//! `tasks`: turns as MCP tasks, from the session table alone; an answer wakes a suspended session.

use std::process::ExitCode;

use boot::StartError;
use domain::session_token::SigningKey;
use protocol::approval::Pages;
use protocol::{Class, Edge, EdgeSettings, Limited, RateSettings, Turns};
use store::{Store, StoreSettings};

fn main() -> ExitCode {
    boot::run("tasks", async |boot| {
        let class = Class::Tasks;
        let settings = EdgeSettings::read(
            class,
            |name| boot.settings.integer(name),
            |name| boot.settings.list(name),
            |name| boot.settings.optional(name).map(|it| it.map(str::to_owned)),
        )?;
        let store = StoreSettings::read(|name| {
            let text = boot.settings.optional(name)?;
            Ok::<_, boot::SettingsError>(text.map(str::to_owned))
        })
        .map_err(|error| StartError::Part(error.into()))?;
        let store = Store::connect(store).await;
        let secret = boot.settings.secret("SHANNON_SIGNING_KEY")?;
        let key = SigningKey::new(secret.expose().as_bytes())
            .map_err(|error| StartError::Part(error.into()))?;
        let pages = Pages::new(boot.settings.optional("SHANNON_PUBLIC_URL")?, key);
        let rates = RateSettings::read(|name| boot.settings.count(name))?;
        let limited = Limited::new(store.clone(), store.clone(), rates);
        let work = Turns::new(store, boot.deployment.clone(), pages);
        let edge = Edge::new(class, settings, work).limited(limited);
        boot.serve_http(move |incoming| {
            let edge = edge.clone();
            async move { edge.handle(incoming.request, incoming.principal).await }
        })
        .await
    })
}
