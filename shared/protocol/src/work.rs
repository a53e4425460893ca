//! What stands behind a class: nothing, lists, turns as tasks, or everything. [`Work`] is the one seam
//! between the wire and what requests do, for both eras.

mod reads;

use std::sync::Arc;
use std::time::Duration;

use domain::ports::{
    AuditTrail, Checkpoints, Clock, Compute, Erasure, IdSource, Inbox, LogChain, PolicyBooks,
    Rounds, Seals, SessionDirectory, SessionLog, Uploads, WholeBodies,
};
use domain::{Deployment, Principal};
use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestMethod, CallToolResponse, CompleteRequestMethod, CompleteRequestParams,
    CompleteResult, ErrorCode, GetPromptRequestMethod, GetPromptRequestParams, GetPromptResponse,
    GetTaskResult, InputResponses, JsonObject, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, PaginatedRequestParams, ReadResourceRequestMethod,
    ReadResourceRequestParams, ReadResourceResponse, Tool,
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::approval::Pages;
use crate::ask::{Asking, Asks, Begun, Caller, Round};
use crate::asked::Asked;
use crate::description::Description;
use crate::snapshots::Snapshots;
use crate::subscription::{Accepted, Filter, Subscription};
use crate::tools::check_policy::PolicyChecker;
use crate::tools::find_claude_binary::{ClaudeFinder, Kept};
use crate::{prompts, resources, task, tools};

pub use reads::Reads;

/// All ports that tools need; whatever has them is one.
pub trait Ports:
    SessionDirectory
    + SessionLog
    + WholeBodies
    + Checkpoints
    + Erasure
    + Inbox
    + Uploads
    + Compute
    + Rounds
    + LogChain
    + AuditTrail
    + Seals
    + PolicyBooks
    + Clock
    + IdSource
    + 'static
{
}
impl<P> Ports for P where
    P: SessionDirectory
        + SessionLog
        + WholeBodies
        + Checkpoints
        + Erasure
        + Inbox
        + Uploads
        + Compute
        + Rounds
        + LogChain
        + AuditTrail
        + Seals
        + PolicyBooks
        + Clock
        + IdSource
        + 'static
{
}

/// One call of a tool.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ToolCall {
    /// Who calls, and what else the request says.
    pub asked: Asked,
    /// The tool.
    pub name: String,
    /// Its arguments, not checked yet.
    pub arguments: JsonObject,
    /// Answers to what an earlier try of this call asked for, by name.
    pub input_responses: Option<InputResponses>,
    /// What the earlier try gave the client to bring back. Clients can write anything here.
    pub request_state: Option<String>,
}

/// What requests of a class do. Every method has the answer of a server without it.
///
/// Its types are rmcp's, so that only this crate and test programs implement it.
pub trait Work: Send + Sync + 'static {
    /// Name, capabilities and instructions, in both eras. The same for every request.
    fn describe(&self) -> Description {
        Description::shannon()
    }

    /// The tools that a caller with these scopes may use, in a fixed order. Always the same for the
    /// same scopes: it is rendered once.
    fn tools(&self, principal: &Principal) -> Vec<Tool> {
        tools::allowed(principal)
    }

    /// The scope that calling a tool needs; `None` when it needs none, or there is no such tool.
    fn scope_of(&self, tool: &str) -> Option<&'static str> {
        tools::scope_of(tool)
    }

    /// The input schema of a tool that wants some of its arguments repeated in headers
    /// (`x-mcp-header`); `None` for all others.
    fn header_schema(&self, tool: &str) -> Option<Arc<JsonObject>> {
        let _ = tool;
        None
    }

    /// Whether the time of this tool goes by waiting for something to happen.
    fn waits(&self, tool: &str) -> bool {
        let _ = tool;
        false
    }

    /// `tools/call`.
    fn call_tool(
        &self,
        call: ToolCall,
    ) -> impl Future<Output = Result<CallToolResponse, ErrorData>> + Send {
        drop(call);
        std::future::ready(Err(ErrorData::method_not_found::<CallToolRequestMethod>()))
    }

    /// `prompts/list`.
    fn list_prompts(
        &self,
        asked: Asked,
        page: Option<PaginatedRequestParams>,
    ) -> impl Future<Output = Result<ListPromptsResult, ErrorData>> + Send {
        drop((asked, page));
        std::future::ready(Ok(ListPromptsResult::default()))
    }

    /// `prompts/get`.
    fn get_prompt(
        &self,
        asked: Asked,
        request: GetPromptRequestParams,
    ) -> impl Future<Output = Result<GetPromptResponse, ErrorData>> + Send {
        drop((asked, request));
        std::future::ready(Err(ErrorData::method_not_found::<GetPromptRequestMethod>()))
    }

    /// `resources/list`.
    fn list_resources(
        &self,
        asked: Asked,
        page: Option<PaginatedRequestParams>,
    ) -> impl Future<Output = Result<ListResourcesResult, ErrorData>> + Send {
        drop((asked, page));
        std::future::ready(Ok(ListResourcesResult::default()))
    }

    /// `resources/templates/list`.
    fn list_resource_templates(
        &self,
        asked: Asked,
        page: Option<PaginatedRequestParams>,
    ) -> impl Future<Output = Result<ListResourceTemplatesResult, ErrorData>> + Send {
        drop((asked, page));
        std::future::ready(Ok(ListResourceTemplatesResult::default()))
    }

    /// `resources/read`.
    fn read_resource(
        &self,
        asked: Asked,
        request: ReadResourceRequestParams,
    ) -> impl Future<Output = Result<ReadResourceResponse, ErrorData>> + Send {
        drop((asked, request));
        std::future::ready(Err(
            ErrorData::method_not_found::<ReadResourceRequestMethod>(),
        ))
    }

    /// `completion/complete`.
    fn complete(
        &self,
        asked: Asked,
        request: CompleteRequestParams,
    ) -> impl Future<Output = Result<CompleteResult, ErrorData>> + Send {
        drop((asked, request));
        std::future::ready(Err(ErrorData::method_not_found::<CompleteRequestMethod>()))
    }

    /// `logging/setLevel` of the initialize era; the level as the specification names it.
    fn set_log_level(
        &self,
        asked: Asked,
        level: String,
    ) -> impl Future<Output = Result<(), ErrorData>> + Send {
        drop((asked, level));
        std::future::ready(Err(not_here("logging/setLevel")))
    }

    /// `resources/subscribe` and `resources/unsubscribe` of the initialize era.
    fn watch_resource(
        &self,
        asked: Asked,
        uri: String,
        watched: bool,
    ) -> impl Future<Output = Result<(), ErrorData>> + Send {
        drop((asked, uri, watched));
        std::future::ready(Err(not_here(if watched {
            "resources/subscribe"
        } else {
            "resources/unsubscribe"
        })))
    }

    /// `subscriptions/listen`: what of the filter will be told; `None` when there is no such method.
    fn subscribe(
        &self,
        asked: &Asked,
        wanted: Filter,
    ) -> impl Future<Output = Result<Option<Accepted>, ErrorData>> + Send {
        let _ = (asked, wanted);
        std::future::ready(Ok(None))
    }

    /// Tells what happens, for as long as there is something to tell; it may be dropped at any time.
    fn listen(
        &self,
        asked: Asked,
        accepted: Accepted,
        subscription: Subscription,
    ) -> impl Future<Output = ()> + Send {
        drop((asked, accepted, subscription));
        std::future::ready(())
    }

    /// `tasks/get`.
    fn get_task(
        &self,
        asked: Asked,
        id: &str,
    ) -> impl Future<Output = Result<GetTaskResult, ErrorData>> + Send {
        drop((asked, id));
        std::future::ready(Err(not_here("tasks/get")))
    }

    /// `tasks/update`, with the answers by name.
    fn update_task(
        &self,
        asked: Asked,
        id: &str,
        responses: InputResponses,
    ) -> impl Future<Output = Result<(), ErrorData>> + Send {
        drop((asked, id, responses));
        std::future::ready(Err(not_here("tasks/update")))
    }

    /// `tasks/cancel`.
    fn cancel_task(
        &self,
        asked: Asked,
        id: &str,
    ) -> impl Future<Output = Result<(), ErrorData>> + Send {
        drop((asked, id));
        std::future::ready(Err(not_here("tasks/cancel")))
    }
}

/// No such method.
pub(crate) fn not_here(method: &str) -> ErrorData {
    ErrorData::new(
        ErrorCode::METHOD_NOT_FOUND,
        format!("there is no method {method}"),
        None,
    )
}

/// Nothing: a class that only says what the server is (`discover`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Listings;

impl Work for Listings {}

/// The lists (`catalog`). All but one are static: what the one of resources needs is connected to
/// when it is first asked for, so that the others start as fast as they can.
pub struct Catalog<P, C> {
    connect: C,
    ports: OnceCell<P>,
}

impl<P, C> Catalog<P, C> {
    /// Lists over the ports that `connect` makes, once.
    pub fn new(connect: C) -> Self {
        Self {
            connect,
            ports: OnceCell::new(),
        }
    }
}

impl<P, C, F> Work for Catalog<P, C>
where
    P: SessionDirectory + 'static,
    C: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = P> + Send,
{
    async fn list_prompts(
        &self,
        _asked: Asked,
        _page: Option<PaginatedRequestParams>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(prompts::listed()))
    }

    async fn list_resources(
        &self,
        asked: Asked,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let ports = self.ports.get_or_init(&self.connect).await;
        resources::list(ports, &asked, page).await
    }

    async fn list_resource_templates(
        &self,
        _asked: Asked,
        _page: Option<PaginatedRequestParams>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let templates = resources::templates();
        Ok(ListResourceTemplatesResult::with_all_items(templates))
    }
}

/// Turns as tasks, from the session's records alone (`tasks`).
#[derive(Clone)]
pub struct Turns<P> {
    ports: P,
    deployment: Arc<Deployment>,
    pages: Pages,
}

impl<P> Turns<P> {
    /// Reads and cancels turns through these ports.
    pub fn new(ports: P, deployment: Deployment, pages: Pages) -> Self {
        Self {
            ports,
            deployment: Arc::new(deployment),
            pages,
        }
    }
}

impl<P> Work for Turns<P>
where
    P: SessionDirectory + Inbox + Compute + Clock + IdSource + 'static,
{
    async fn get_task(&self, asked: Asked, id: &str) -> Result<GetTaskResult, ErrorData> {
        task::get(&self.ports, &self.deployment, &self.pages, &asked, id).await
    }

    async fn update_task(
        &self,
        asked: Asked,
        id: &str,
        responses: InputResponses,
    ) -> Result<(), ErrorData> {
        task::update(&self.ports, &self.deployment, &asked, id, responses).await
    }

    async fn cancel_task(&self, asked: Asked, id: &str) -> Result<(), ErrorData> {
        task::cancel(&self.ports, &asked.principal, id).await
    }
}

/// Every tool, resources and prompts, and turns as tasks (`call`, `legacy`).
pub struct Sessions<P, F> {
    pub(crate) ports: P,
    pub(crate) deployment: Arc<Deployment>,
    pub(crate) finder: F,
    pub(crate) found: Kept,
    pub(crate) pages: Pages,
    config: Option<Arc<Value>>,
}

impl<P, F> Sessions<P, F> {
    /// Tools over these ports. What `finder` finds is kept for `keep_found` in this process. `pages`
    /// says where people approve; with its key is sealed what clients carry from a question to its
    /// answer.
    pub fn new(
        ports: P,
        deployment: Deployment,
        finder: F,
        keep_found: Duration,
        pages: Pages,
    ) -> Self {
        Self {
            pages,
            ports,
            deployment: Arc::new(deployment),
            finder,
            found: Kept::new(keep_found),
            config: None,
        }
    }

    /// The ports.
    pub const fn ports(&self) -> &P {
        &self.ports
    }

    /// The same, with what `shannon://config` shows to an administrator.
    #[must_use]
    pub fn with_config(mut self, config: Value) -> Self {
        self.config = Some(Arc::new(config));
        self
    }
}

impl<P: Ports, F: ClaudeFinder + PolicyChecker + Snapshots> Work for Sessions<P, F> {
    fn waits(&self, tool: &str) -> bool {
        [
            "wait_session",
            "read_file",
            "create_checkpoint",
            "diff_checkpoints",
            "delete_session",
            "export_workspace",
        ]
        .contains(&tool)
    }

    async fn call_tool(&self, call: ToolCall) -> Result<CallToolResponse, ErrorData> {
        if !tools::may_ask(&call.name) {
            let asking = Asking::nothing(call.asked.principal.owner.clone());
            return tools::call(self, &asking, call).await;
        }
        let asks = Asks::new(&self.ports, self.pages.key());
        let round = Round {
            method: "tools/call",
            subject: json!([call.name, call.arguments]),
            responses: call.input_responses.clone(),
            state: call.request_state.clone(),
        };
        let asking = match asks.begin(Caller::of(&call.asked), round).await? {
            Begun::Run(asking) => asking,
            Begun::Settled(outcome) => return Ok(outcome),
        };
        let outcome = tools::call(self, &asking, call).await;
        asks.finish(asking, outcome).await
    }

    async fn list_prompts(
        &self,
        _asked: Asked,
        _page: Option<PaginatedRequestParams>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(prompts::listed()))
    }

    async fn get_prompt(
        &self,
        asked: Asked,
        request: GetPromptRequestParams,
    ) -> Result<GetPromptResponse, ErrorData> {
        let filled = prompts::get(&self.ports, &asked.principal, request).await?;
        Ok(filled.into())
    }

    async fn list_resources(
        &self,
        asked: Asked,
        page: Option<PaginatedRequestParams>,
    ) -> Result<ListResourcesResult, ErrorData> {
        resources::list(&self.ports, &asked, page).await
    }

    async fn list_resource_templates(
        &self,
        _asked: Asked,
        _page: Option<PaginatedRequestParams>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let templates = resources::templates();
        Ok(ListResourceTemplatesResult::with_all_items(templates))
    }

    async fn read_resource(
        &self,
        asked: Asked,
        request: ReadResourceRequestParams,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let config = self.config.as_deref();
        let found =
            resources::read(&self.ports, &self.finder, config, &asked, &request.uri).await?;
        Ok(found.into())
    }

    async fn complete(
        &self,
        asked: Asked,
        request: CompleteRequestParams,
    ) -> Result<CompleteResult, ErrorData> {
        resources::complete(&self.ports, &asked.principal, &request).await
    }

    async fn get_task(&self, asked: Asked, id: &str) -> Result<GetTaskResult, ErrorData> {
        task::get(&self.ports, &self.deployment, &self.pages, &asked, id).await
    }

    async fn update_task(
        &self,
        asked: Asked,
        id: &str,
        responses: InputResponses,
    ) -> Result<(), ErrorData> {
        task::update(&self.ports, &self.deployment, &asked, id, responses).await
    }

    async fn cancel_task(&self, asked: Asked, id: &str) -> Result<(), ErrorData> {
        task::cancel(&self.ports, &asked.principal, id).await
    }
}
