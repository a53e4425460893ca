//! The tools, prompts and resources that the official conformance suite asks a server for, behind
//! the same `protocol` and `boot` crates as the product's functions. One instance; any number of
//! them share the directory `FIXTURES_DIRECTORY` and nothing else. Serves on `PORT`.

mod asking;
mod catalog;
mod clients;
mod pushing;
mod shelf;
mod tasks;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use domain::authorization::{ReadSessions, Scope, WriteSessions};
use domain::{OwnerId, Principal};
use protocol::{
    Accepted, Asked, Class, ClientSessionSettings, Description, Edge, EdgeSettings, Filter,
    Subscription, ToolCall, Work,
};
use rmcp::ErrorData;
use rmcp::model::{
    CallToolResponse, CompleteRequestParams, CompleteResult, CompletionInfo,
    GetPromptRequestParams, GetPromptResponse, GetTaskResult, Implementation, InputResponses,
    JsonObject, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
    PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities,
    Tool,
};

use clients::Clients;
use shelf::Shelf;
use tokio::sync::watch;

/// Between two looks at what the other instances did.
const LOOK: Duration = Duration::from_millis(20);

/// Lists that the suite changes.
const LISTS: [&str; 2] = ["tools", "prompts"];

/// Everything the suite asks for.
struct Fixtures {
    shelf: Shelf,
    clients: Clients,
    /// How often each list changed, as looked up lately.
    changes: watch::Receiver<[u64; 2]>,
}

/// Looks for the whole process, however many listen.
async fn look(shelf: Shelf, changes: watch::Sender<[u64; 2]>) {
    loop {
        let now = LISTS.map(|list| shelf.changes(list));
        changes.send_if_modified(|seen| std::mem::replace(seen, now) != now);
        tokio::time::sleep(LOOK).await;
    }
}

impl Work for Fixtures {
    fn describe(&self) -> Description {
        let capabilities = || {
            ServerCapabilities::builder()
                .enable_completions()
                .enable_prompts()
                .enable_prompts_list_changed()
                .enable_resources()
                .enable_resources_subscribe()
                .enable_tools()
                .enable_tool_list_changed()
        };
        let mut legacy = capabilities().build();
        legacy.logging = Some(JsonObject::new());
        Description::new(
            Implementation::new("conformance-fixtures", "1"),
            capabilities().enable_tasks().build(),
            legacy,
        )
    }

    fn tools(&self, _principal: &Principal) -> Vec<Tool> {
        catalog::tools().to_vec()
    }

    fn header_schema(&self, tool: &str) -> Option<std::sync::Arc<JsonObject>> {
        let tool = catalog::tools().iter().find(|it| it.name == tool)?;
        Some(std::sync::Arc::clone(&tool.input_schema))
    }

    async fn call_tool(&self, call: ToolCall) -> Result<CallToolResponse, ErrorData> {
        if call.name.starts_with("test_input_required_result") || call.name == "test_tool_with_task"
        {
            return asking::call(&self.shelf, &call);
        }
        if let Some(answer) = pushing::call(&self.clients, &call).await? {
            return Ok(answer);
        }
        if let Some(answer) = tasks::start(&self.shelf, &call)? {
            return Ok(answer);
        }
        tools::call(&self.shelf, &call).await
    }

    async fn list_prompts(
        &self,
        _asked: Asked,
        _page: Option<PaginatedRequestParams>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(catalog::prompts()))
    }

    async fn get_prompt(
        &self,
        _asked: Asked,
        request: GetPromptRequestParams,
    ) -> Result<GetPromptResponse, ErrorData> {
        if request.name == "test_input_required_result_prompt" {
            return asking::prompt(&request);
        }
        catalog::prompt(&request).map(GetPromptResponse::Complete)
    }

    async fn list_resources(
        &self,
        _asked: Asked,
        _page: Option<PaginatedRequestParams>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(catalog::resources()))
    }

    async fn list_resource_templates(
        &self,
        _asked: Asked,
        _page: Option<PaginatedRequestParams>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(
            catalog::templates(),
        ))
    }

    async fn read_resource(
        &self,
        _asked: Asked,
        request: ReadResourceRequestParams,
    ) -> Result<ReadResourceResponse, ErrorData> {
        catalog::resource(&request.uri).map(ReadResourceResponse::Complete)
    }

    async fn complete(
        &self,
        _asked: Asked,
        request: CompleteRequestParams,
    ) -> Result<CompleteResult, ErrorData> {
        let known = ["paris", "park", "party"];
        let values = known
            .iter()
            .filter(|word| word.starts_with(&request.argument.value))
            .map(ToString::to_string)
            .collect();
        let completion = CompletionInfo::new(values)
            .map_err(|problem| ErrorData::internal_error(problem, None))?;
        Ok(CompleteResult::new(completion))
    }

    async fn set_log_level(&self, _asked: Asked, level: String) -> Result<(), ErrorData> {
        tools::set_level(&self.shelf, &level)
    }

    async fn watch_resource(
        &self,
        _asked: Asked,
        uri: String,
        watched: bool,
    ) -> Result<(), ErrorData> {
        let mut all = self.shelf.read("watched")?.unwrap_or_default();
        all[&uri] = watched.into();
        self.shelf.write("watched", &all)
    }

    async fn subscribe(
        &self,
        _asked: &Asked,
        wanted: Filter,
    ) -> Result<Option<Accepted>, ErrorData> {
        Ok(Some(Accepted {
            filter: wanted,
            marks: LISTS.map(|list| self.shelf.changes(list)).to_vec(),
        }))
    }

    async fn listen(&self, _asked: Asked, accepted: Accepted, subscription: Subscription) {
        let wanted = [
            accepted.filter.tools_list_changed,
            accepted.filter.prompts_list_changed,
        ];
        let mut seen = accepted.marks;
        let mut changes = self.changes.clone();
        loop {
            let now = changes.borrow_and_update().to_vec();
            for (((list, wanted), before), after) in LISTS.iter().zip(wanted).zip(&seen).zip(&now) {
                if wanted && before < after {
                    let method = format!("notifications/{list}/list_changed");
                    subscription.tell(&method, serde_json::json!({})).await;
                }
            }
            seen = now;
            // Whoever looks for the process lives as long as it.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn get_task(&self, _asked: Asked, id: &str) -> Result<GetTaskResult, ErrorData> {
        tasks::get(&self.shelf, id)
    }

    async fn update_task(
        &self,
        _asked: Asked,
        id: &str,
        responses: InputResponses,
    ) -> Result<(), ErrorData> {
        tasks::update(&self.shelf, id, responses)
    }

    async fn cancel_task(&self, _asked: Asked, id: &str) -> Result<(), ErrorData> {
        tasks::cancel(&self.shelf, id)
    }
}

fn main() -> ExitCode {
    boot::run("conformance-fixtures", async |boot| {
        let settings = EdgeSettings::read(
            Class::Legacy,
            |name| boot.settings.integer(name),
            |name| boot.settings.list(name),
            |_| Ok(None),
        )?;
        let settings = EdgeSettings {
            // The product serves subscriptions in a function of their own.
            listen_seconds: 60,
            ..settings
        };
        let directory = std::env::var_os("FIXTURES_DIRECTORY").map_or_else(
            || PathBuf::from("target/conformance-fixtures"),
            PathBuf::from,
        );
        let part = |error: std::io::Error| boot::StartError::Part(error.into());
        let clients = Clients::open(directory.join("clients")).map_err(part)?;
        let shelf = Shelf::open(directory).map_err(part)?;
        let (sender, changes) = watch::channel([0; 2]);
        tokio::spawn(look(shelf.clone(), sender));
        let sessions = ClientSessionSettings {
            days: 1,
            pair: true,
            pair_stream_seconds: 60,
        };
        let fixtures = Fixtures {
            shelf,
            clients: clients.clone(),
            changes,
        };
        let edge = Edge::bridged(settings, sessions, fixtures, clients);
        // The suite sends no token.
        let anyone = Principal {
            owner: OwnerId::of("conformance", "suite"),
            scopes: vec![
                ReadSessions::NAME.to_owned(),
                WriteSessions::NAME.to_owned(),
            ],
        };
        boot.serve_http(move |incoming| {
            let (edge, anyone) = (edge.clone(), anyone.clone());
            async move { edge.handle(incoming.request, Some(anyone)).await }
        })
        .await
    })
}
