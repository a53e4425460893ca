//! The least that an rmcp server can be: ten tools from memory, no state, no functions, no gateway.
//!
//! The benchmark compares the whole stack with it: what is between the two is what we cost.
//! Prints its address on the first line and serves until it is killed.

use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData, Implementation, JsonObject,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler};
use serde_json::json;

#[derive(Clone)]
struct Bare {
    tools: Arc<Vec<Tool>>,
}

impl Bare {
    fn new() -> Self {
        let schema: JsonObject = json!({
            "type": "object",
            "properties": {"session_id": {"type": "string", "description": "the session"}},
            "required": ["session_id"],
        })
        .as_object()
        .cloned()
        .unwrap_or_default();
        let schema = Arc::new(schema);
        let tools = (0..10)
            .map(|number| {
                let name = if number == 0 {
                    "get_session".to_owned()
                } else {
                    format!("tool_{number}")
                };
                Tool::new(
                    name,
                    "One of ten tools that answer from memory.",
                    Arc::clone(&schema),
                )
            })
            .collect();
        Self {
            tools: Arc::new(tools),
        }
    }
}

impl ServerHandler for Bare {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("bare", "1"))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.to_vec()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let answer = json!({"session_id": request.arguments, "state": "idle", "tags": []});
        Ok(CallToolResponse::Complete(CallToolResult::structured(
            answer,
        )))
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let configuration = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true);
    let bare = Bare::new();
    let service = StreamableHttpService::new(
        move || Ok(bare.clone()),
        Arc::new(NeverSessionManager::default()),
        configuration,
    );
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    std::io::Write::write_all(
        &mut std::io::stdout(),
        format!("http://{address}/mcp\n").as_bytes(),
    )?;
    axum::serve(listener, axum::Router::new().nest_service("/mcp", service)).await
}
