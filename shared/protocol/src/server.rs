//! rmcp's view of the server, for clients of the initialize era: from its requests to the
//! [`Work`] behind them.

use domain::Principal;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult,
    GetPromptRequestParams, GetPromptResponse, InitializeRequestParams, InitializeResult,
    ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ServerConfig,
    SubscribeRequestParams, UnsubscribeRequestParams,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};

use crate::asked::{Asked, Notices};
use crate::legacy::Askable;
use crate::modern::Sharing;
use crate::work::{ToolCall, Work};

/// Serves any number of requests; a clone shares the work.
pub(crate) struct Server<W>(Sharing<W>);

impl<W> Clone for Server<W> {
    fn clone(&self) -> Self {
        Self(Sharing::clone(&self.0))
    }
}

impl<W> Server<W> {
    pub(crate) fn new(shared: Sharing<W>) -> Self {
        Self(shared)
    }
}

/// What the request says; its caller is whom [`crate::Edge::handle`] attached to the HTTP request.
fn asked(context: &RequestContext<RoleServer>) -> Result<Asked, ErrorData> {
    let attached = context
        .extensions
        .get::<http::request::Parts>()
        .map(|parts| &parts.extensions);
    let principal = attached
        .and_then(|attached| attached.get::<Principal>())
        .cloned()
        .ok_or_else(|| ErrorData::internal_error("the request has no caller", None))?;
    Ok(Asked {
        principal,
        modern: false,
        capabilities: context.client_capabilities().unwrap_or_default(),
        meta: context.meta.clone(),
        notices: Notices::peer(context.peer.clone()),
        // Elsewhere a question would go out and its answer never come in.
        peer: attached
            .is_some_and(|attached| attached.get::<Askable>().is_some())
            .then(|| context.peer.clone()),
    })
}

/// Runs the work of one request until it is done or its client went away: what was recorded stays
/// recorded, a wait ends here.
async fn until_gone<T>(
    context: RequestContext<RoleServer>,
    work: impl Future<Output = Result<T, ErrorData>>,
) -> Result<T, ErrorData> {
    tokio::select! {
        done = work => done,
        () = context.ct.cancelled() => {
            Err(ErrorData::internal_error("the client closed the connection", None))
        }
    }
}

impl<W: Work> ServerHandler for Server<W> {
    fn get_info(&self) -> ServerConfig {
        let description = &self.0.description;
        let config = ServerConfig::new(description.legacy.clone())
            .with_server_info(description.info.clone());
        match &description.instructions {
            Some(instructions) => config.with_instructions(instructions),
            None => config,
        }
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        self.negotiate_initialize(&request)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = self.0.work.tools(&asked(&context)?.principal);
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let call = ToolCall {
            asked: asked(&context)?,
            name: request.name.into_owned(),
            arguments: request.arguments.unwrap_or_default(),
            input_responses: request.input_responses,
            request_state: request.request_state,
        };
        until_gone(context, self.0.work.call_tool(call)).await
    }

    async fn list_prompts(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let asked = asked(&context)?;
        until_gone(context, self.0.work.list_prompts(asked, page)).await
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let asked = asked(&context)?;
        until_gone(context, self.0.work.get_prompt(asked, request)).await
    }

    async fn list_resources(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let asked = asked(&context)?;
        until_gone(context, self.0.work.list_resources(asked, page)).await
    }

    async fn list_resource_templates(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let asked = asked(&context)?;
        until_gone(context, self.0.work.list_resource_templates(asked, page)).await
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let asked = asked(&context)?;
        until_gone(context, self.0.work.read_resource(asked, request)).await
    }

    #[expect(
        deprecated,
        reason = "clients of the initialize era still send it; the suite requires an answer"
    )]
    async fn set_level(
        &self,
        request: rmcp::model::SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let asked = asked(&context)?;
        // One of eight words, by its type.
        let level = serde_json::to_value(request.level).unwrap_or_default();
        let level = level.as_str().unwrap_or_default().to_owned();
        until_gone(context, self.0.work.set_log_level(asked, level)).await
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let asked = asked(&context)?;
        let watching = self.0.work.watch_resource(asked, request.uri, true);
        until_gone(context, watching).await
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let asked = asked(&context)?;
        let watching = self.0.work.watch_resource(asked, request.uri, false);
        until_gone(context, watching).await
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let asked = asked(&context)?;
        until_gone(context, self.0.work.complete(asked, request)).await
    }
}
