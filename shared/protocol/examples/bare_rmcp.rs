//! The peer of the benchmark: rmcp on axum with one tool that answers like `get_session` from
//! memory, without our filters, store or functions. Serves on `PORT` (default: any free one) and
//! prints its address.

use std::io::Write as _;
use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::json;

#[derive(Clone)]
struct Bare;

impl Bare {
    fn tool() -> Tool {
        let schema = json!({
            "type": "object",
            "required": ["session_id"],
            "properties": {"session_id": {"type": "string"}}
        });
        let schema = schema.as_object().cloned().unwrap_or_default();
        Tool::new(
            "get_session",
            "Shows where a session stands.",
            Arc::new(schema),
        )
    }
}

impl ServerHandler for Bare {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("bare", "0.1.0"))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(vec![Self::tool()]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if request.name != "get_session" {
            return Err(ErrorData::invalid_params("there is no such tool", None));
        }
        let id = request
            .arguments
            .and_then(|it| it.get("session_id").cloned());
        let mut result = CallToolResult::success(vec![ContentBlock::text("idle")]);
        result.structured_content =
            Some(json!({"session_id": id, "state": "idle", "total_cost_usd": 0.25}));
        Ok(CallToolResponse::Complete(result))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true);
    let sessions = Arc::new(NeverSessionManager::default());
    let service = StreamableHttpService::new(|| Ok(Bare), sessions, config);
    let port = std::env::var("PORT")
        .ok()
        .and_then(|port| port.parse().ok());
    let address = ("127.0.0.1", port.unwrap_or(0));
    let listener = tokio::net::TcpListener::bind(address).await?;
    writeln!(std::io::stdout(), "http://{}/mcp", listener.local_addr()?)?;
    axum::serve(listener, axum::Router::new().nest_service("/mcp", service)).await
}
