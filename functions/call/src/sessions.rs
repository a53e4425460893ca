//! The work behind the tools: sessions in the store, runners on the cluster, and the search for
//! `claude` on this machine. Built once, outside the handler.

#[path = "exporting.rs"]
mod exporting;
#[path = "policies.rs"]
mod policies;
#[path = "snapshots.rs"]
mod snapshots;

use std::time::Duration;

use boot::{Boot, StartError};
use claude::locate::{self, Search};
use domain::ports::Unavailable;
use domain::session_token::SigningKey;
use protocol::approval::Pages;
use protocol::{ClaudeFinder, FoundClaude, RunnerReport, Sessions};
use store::{ComputeSettings, Store, StoreSettings};

/// Reads the settings and builds the clients; connects to nothing yet.
pub(crate) async fn connect(boot: &Boot) -> Result<Sessions<Store, Finder>, StartError> {
    let settings = &boot.settings;
    let text = |name| settings.text(name).map(str::to_owned);
    let secret = settings.secret("SHANNON_SIGNING_KEY")?;
    let signing_key = SigningKey::new(secret.expose().as_bytes())
        .map_err(|error| StartError::Part(error.into()))?;
    let store = Store::connect(StoreSettings {
        table: text("SHANNON_TABLE")?,
        bucket: text("SHANNON_BUCKET")?,
        retention_days: boot.deployment.retention_days,
        audit_retention_days: boot.deployment.audit_retention_days,
        keep_deltas_hours: settings.integer("SHANNON_KEEP_DELTAS_HOURS")?,
        compute: Some(ComputeSettings {
            cluster: text("SHANNON_CLUSTER")?,
            task_definition: text("SHANNON_TASK_DEFINITION")?,
            subnets: settings.list("SHANNON_SUBNETS")?,
            security_group: text("SHANNON_SECURITY_GROUP")?,
            stage: text("SHANNON_STAGE")?,
            signing_key: signing_key.clone(),
            session_token_milliseconds: boot.deployment.session_token_seconds * 1000,
        }),
    })
    .await
    .reached_at(settings.optional("SHANNON_OBJECTS_URL")?);
    let search = Search {
        explicit: settings.path("SHANNON_CLAUDE_PATH")?,
        path: std::env::var_os("PATH"),
        search_paths: settings
            .optional("SHANNON_CLAUDE_SEARCH_PATHS")?
            .map(str::to_owned),
        nvm_check: settings.boolean("SHANNON_CLAUDE_NVM_CHECK")?,
        supported_version: text("SHANNON_CLAUDE_VERSION")?,
        ..Search::default()
    };
    let places = settings.optional("SHANNON_CLAUDE_PLACES")?;
    let search = search
        .with_places(places.unwrap_or_default())
        .map_err(|error| StartError::Part(error.into()))?;
    let finder = Finder {
        store: store.clone(),
        search,
    };
    let keep_found = Duration::from_secs(settings.integer("SHANNON_CLAUDE_CACHE_SECONDS")?);
    Ok(Sessions::new(
        store,
        boot.deployment.clone(),
        finder,
        keep_found,
        Pages::new(settings.optional("SHANNON_PUBLIC_URL")?, signing_key),
    )
    .with_config(settings.shown(boot.function)))
}

/// Looks on this machine, and asks the store what the newest runner found on its own.
pub(crate) struct Finder {
    store: Store,
    search: Search,
}

impl ClaudeFinder for Finder {
    async fn find(&self) -> Result<FoundClaude, Unavailable> {
        let unreadable = |error: serde_json::Error| Unavailable {
            attempted: "show what was found",
            outcome_unknown: false,
            source: error.into(),
        };
        let runner = self.runner().await?;
        let found = locate::find(&self.search).await;
        let candidates = found.candidates.iter().map(serde_json::to_value);
        Ok(FoundClaude {
            selected: serde_json::to_value(&found.selected).map_err(unreadable)?,
            candidates: candidates.collect::<Result<_, _>>().map_err(unreadable)?,
            supported_version: found.supported_version,
            runner,
        })
    }

    async fn runner(&self) -> Result<Option<RunnerReport>, Unavailable> {
        let facts = self.store.runner().await?;
        Ok(facts.map(|facts| RunnerReport {
            claude_version: facts.claude_version,
            claude_path: facts.claude_path,
            agents: facts.agents,
            noted_at: facts.noted_at,
        }))
    }
}
