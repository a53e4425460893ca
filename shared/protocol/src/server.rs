//! rmcp's view of the server: capabilities, lists with cache hints, and the way from a request to
//! the [`Work`] behind it.

use std::sync::{Arc, LazyLock};

use domain::Principal;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CancelTaskParams, ClientCapabilities,
    DiscoverResult, GetTaskParams, GetTaskResult, Implementation, InitializeRequestParams,
    InitializeResult, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
    ListToolsResult, MetaObject, PaginatedRequestParams, ProtocolVersion, ServerCapabilities,
    ServerConfig, UpdateTaskParams,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};

use crate::tools;
use crate::work::{Progress, ToolCall, Work};

const INSTRUCTIONS: &str = "Shannon runs Claude Code sessions on infrastructure that the user owns. \
    Start one with create_session, then call wait_session with the cursor it returned last until the \
    session is idle or has ended; talk to it with send_message; read its files with read_file; end it \
    with cancel_session, because an idle session holds a machine for some minutes.";

/// What results say about the server (`io.modelcontextprotocol/serverInfo`).
pub(crate) fn server_info() -> Value {
    static INFO: LazyLock<Value> = LazyLock::new(
        || json!({"name": "shannon", "title": "Shannon", "version": env!("CARGO_PKG_VERSION")}),
    );
    INFO.clone()
}

/// Serves any number of requests; a clone shares the work.
pub(crate) struct Server<W> {
    work: Arc<W>,
    ttl_ms: u64,
}

impl<W> Clone for Server<W> {
    fn clone(&self) -> Self {
        Self {
            work: Arc::clone(&self.work),
            ttl_ms: self.ttl_ms,
        }
    }
}

impl<W> Server<W> {
    pub(crate) fn new(work: W, catalog_ttl_seconds: u64) -> Self {
        Self {
            work: Arc::new(work),
            ttl_ms: catalog_ttl_seconds * 1000,
        }
    }

    /// Lists may be cached by modern clients, each for itself: they follow the token's scopes.
    fn cache(&self, context: &RequestContext<RoleServer>) -> (Option<u64>, Option<CacheScope>) {
        if is_modern(context) {
            (Some(self.ttl_ms), Some(CacheScope::Private))
        } else {
            (None, None)
        }
    }
}

fn is_modern(context: &RequestContext<RoleServer>) -> bool {
    context
        .protocol_version()
        .is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str())
}

/// The caller, whom [`crate::Edge::handle`] attached to the HTTP request.
fn principal(context: &RequestContext<RoleServer>) -> Result<Principal, ErrorData> {
    context
        .extensions
        .get::<http::request::Parts>()
        .and_then(|parts| parts.extensions.get::<Principal>())
        .cloned()
        .ok_or_else(|| ErrorData::internal_error("the request has no caller", None))
}

macro_rules! empty_list {
    ($method:ident, $result:ident) => {
        async fn $method(
            &self,
            _request: Option<PaginatedRequestParams>,
            context: RequestContext<RoleServer>,
        ) -> Result<$result, ErrorData> {
            let (ttl_ms, cache_scope) = self.cache(&context);
            Ok($result {
                ttl_ms,
                cache_scope,
                ..$result::default()
            })
        }
    };
}

impl<W: Work> ServerHandler for Server<W> {
    fn get_info(&self) -> ServerConfig {
        // No listChanged: whoever advertises it is held to one open stream per client.
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tasks()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(
                Implementation::new("shannon", env!("CARGO_PKG_VERSION")).with_title("Shannon"),
            )
            .with_instructions(INSTRUCTIONS)
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        let mut result = self.negotiate_initialize(&request)?;
        // The extension needs capabilities in every request, which this era does not send.
        result.capabilities = ServerCapabilities::builder().enable_tools().build();
        Ok(result)
    }

    async fn discover(
        &self,
        _context: RequestContext<RoleServer>,
    ) -> Result<DiscoverResult, ErrorData> {
        let versions = self.supported_protocol_versions().into_owned();
        let mut result = DiscoverResult::from_server_info(versions, self.get_info());
        result.ttl_ms = self.ttl_ms;
        result.cache_scope = CacheScope::Private;
        Ok(result)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let (ttl_ms, cache_scope) = self.cache(&context);
        let mut result = ListToolsResult::with_all_items(tools::allowed(&principal(&context)?));
        result.ttl_ms = ttl_ms;
        result.cache_scope = cache_scope;
        Ok(result)
    }

    empty_list!(list_prompts, ListPromptsResult);
    empty_list!(list_resources, ListResourcesResult);
    empty_list!(list_resource_templates, ListResourceTemplatesResult);

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let modern = is_modern(&context);
        let call = ToolCall {
            principal: principal(&context)?,
            name: request.name.into_owned(),
            arguments: request.arguments.unwrap_or_default(),
            wants_task: modern
                && context
                    .client_capabilities()
                    .as_ref()
                    .is_some_and(ClientCapabilities::supports_tasks),
            progress: context.meta.get_progress_token().map(|token| Progress {
                peer: context.peer.clone(),
                token,
            }),
        };
        // The client went away: what was recorded stays, a wait ends here.
        let cancelled = context.ct.clone();
        let mut response = tokio::select! {
            response = self.work.call_tool(call) => response?,
            () = cancelled.cancelled() => {
                return Err(ErrorData::internal_error("the client closed the connection", None));
            }
        };
        if modern {
            let meta = match &mut response {
                CallToolResponse::Complete(result) => Some(&mut result.meta),
                CallToolResponse::Task(task) => Some(&mut task.meta),
                _ => None,
            };
            // A result that ends a stream does not pass where JSON answers get this.
            if let Some(meta) = meta {
                meta.get_or_insert_with(MetaObject::new).insert(
                    "io.modelcontextprotocol/serverInfo".to_owned(),
                    server_info(),
                );
            }
        }
        Ok(response)
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.work
            .get_task(principal(&context)?, &request.task_id)
            .await
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let keys = request.input_responses.keys().cloned().collect();
        self.work
            .update_task(principal(&context)?, &request.task_id, keys)
            .await
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.work
            .cancel_task(principal(&context)?, &request.task_id)
            .await
    }
}
