//! Requests of 2026-07-28 and later: each says everything about itself, so that it goes straight
//! from its checks to the [`Work`], and any instance can serve it.
//!
//! Not through rmcp's HTTP service, which starts two tasks and parses three times per request; the
//! types on the wire are rmcp's.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::Principal;
use http::{HeaderMap, Response, StatusCode};
use rmcp::ErrorData;
use rmcp::model::{
    CacheScope, CallToolResponse, CancelTaskParams, ClientCapabilities, CompleteRequestParams,
    DiscoverResult, ErrorCode, GetPromptRequestParams, GetPromptResponse, GetTaskParams,
    JsonObject, ListToolsResult, PaginatedRequestParams, ProtocolVersion,
    ReadResourceRequestParams, ReadResourceResponse, RequestMetaObject, ServerConfig,
    TaskAckResult, UpdateTaskParams,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::EdgeSettings;
use crate::answer::Body;
use crate::asked::Asked;
use crate::challenge::{self, Challenges};
use crate::description::Description;
use crate::front::Checked;
use crate::headers;
use crate::rendered::{Info, Rendered, error, join, render};
use crate::subscription::{Filter, Subscription};
use crate::work::{ToolCall, Work, not_here};

/// First version whose requests stand on their own.
pub(crate) const FIRST: &str = "2026-07-28";

const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";

/// Different sets of scopes for which a list is kept rendered.
const KEPT_LISTS: usize = 16;

/// A request whose headers and `_meta` were checked.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: Value,
    pub(crate) method: String,
    /// Without `_meta`.
    pub(crate) params: JsonObject,
    pub(crate) meta: RequestMetaObject,
    pub(crate) capabilities: ClientCapabilities,
}

/// Whether a request wants to be read by the rules of this era. `initialize` belongs to the other
/// one, unless its `_meta` says otherwise: then there is no such method.
pub(crate) fn claims(headers: &HeaderMap, method: &str, params: Option<&Value>) -> bool {
    let modern = |version: &[u8]| version >= FIRST.as_bytes();
    let in_body = params
        .and_then(|params| params.get("_meta"))
        .and_then(|meta| meta.get(VERSION_KEY))
        .and_then(Value::as_str)
        .is_some_and(|version| modern(version.as_bytes()));
    let in_headers = || {
        let mut versions = headers.get_all("mcp-protocol-version").iter();
        versions.any(|version| modern(version.as_bytes()))
    };
    in_body || method == "server/discover" || (method != "initialize" && in_headers())
}

/// Checks headers and `_meta`.
///
/// # Errors
/// -32020 when a header is missing, comes twice or says something else than the body; -32022 for a
/// version that is not served; -32602 when `_meta` lacks what it must have. All with HTTP 400.
pub(crate) fn check(
    headers: &HeaderMap,
    id: &Value,
    method: String,
    mut params: JsonObject,
) -> Result<Request, (StatusCode, ErrorData)> {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    let mismatch = |message: String| (BAD, ErrorData::header_mismatch(message, None));
    headers::check_names(headers, &method, &params).map_err(mismatch)?;
    let claimed = headers::version(headers).map_err(mismatch)?;
    let meta = match params.shift_remove("_meta") {
        Some(Value::Object(meta)) => meta,
        _ => JsonObject::new(),
    };
    let version = meta.get(VERSION_KEY).and_then(Value::as_str);
    match (claimed.as_deref(), version) {
        (None, Some(_)) => {
            return Err(mismatch(
                "the header MCP-Protocol-Version is missing; it repeats the version of _meta"
                    .to_owned(),
            ));
        }
        (Some(claimed), Some(version)) if claimed != version => {
            return Err(mismatch(format!(
                "the header MCP-Protocol-Version ({claimed}) is not the version of _meta ({version})"
            )));
        }
        _ => {}
    }
    if let Some(asked) = version.or(claimed.as_deref())
        && asked != FIRST
    {
        let asked: ProtocolVersion =
            serde_json::from_value(Value::from(asked)).unwrap_or(ProtocolVersion::V_2026_07_28);
        let error = ErrorData::unsupported_protocol_version(asked, ProtocolVersion::KNOWN_VERSIONS);
        return Err((BAD, error));
    }
    let capabilities = meta
        .get(CAPABILITIES_KEY)
        .filter(|capabilities| capabilities.is_object())
        .and_then(|capabilities| ClientCapabilities::deserialize(capabilities).ok());
    let missing: Vec<&str> = [
        (VERSION_KEY, version.is_none()),
        (CAPABILITIES_KEY, capabilities.is_none()),
    ]
    .into_iter()
    .filter_map(|(key, missing)| missing.then_some(key))
    .collect();
    let (Some(capabilities), true) = (capabilities, missing.is_empty()) else {
        let message = format!(
            "params._meta lacks, or has malformed: {}",
            missing.join(", ")
        );
        return Err((BAD, ErrorData::invalid_params(message, None)));
    };
    Ok(Request {
        id: id.clone(),
        method,
        params,
        meta: RequestMetaObject::from(meta),
        capabilities,
    })
}

/// What a class needs to serve any request: the work, and what is rendered once.
pub(crate) struct Shared<W> {
    pub(crate) work: W,
    pub(crate) description: Description,
    info: Info,
    ttl_ms: u64,
    listen_for: Duration,
    pub(crate) challenges: Challenges,
    discovery: OnceLock<Bytes>,
    lists: Mutex<Vec<(Vec<String>, Bytes)>>,
}

impl<W: Work> Shared<W> {
    /// Whether the time of a request goes by waiting for something to happen.
    pub(crate) fn waits(&self, checked: &Checked) -> bool {
        let tool = checked.name.as_deref();
        checked.method == "tools/call" && tool.is_some_and(|tool| self.tool_waits(tool))
    }

    /// Whether the time of this tool goes by waiting.
    pub(crate) fn tool_waits(&self, tool: &str) -> bool {
        self.work.waits(tool)
    }

    /// The answer to a caller who may not ask this.
    pub(crate) fn refusal(
        &self,
        checked: &Checked,
        principal: &Principal,
    ) -> Option<Response<Body>> {
        let tool = |name: &str| self.work.scope_of(name);
        let name = checked.name.as_deref();
        let lacking = challenge::lacking(principal, &checked.method, name, tool);
        if lacking.is_empty() {
            return None;
        }
        Some(
            self.challenges
                .insufficient(&checked.id, principal, &lacking),
        )
    }

    pub(crate) fn new(work: W, settings: &EdgeSettings) -> Self {
        let mut description = work.describe();
        if settings.listen_seconds > 0
            && let Some(resources) = &mut description.modern.resources
        {
            resources.subscribe = Some(true);
        }
        Self {
            info: Info::new(&description.info),
            description,
            ttl_ms: settings.catalog_ttl_seconds * 1000,
            listen_for: Duration::from_secs(settings.listen_seconds),
            challenges: Challenges::new(
                settings.public_url.as_deref(),
                settings.scope_prefix.as_deref(),
            ),
            work,
            discovery: OnceLock::new(),
            lists: Mutex::new(Vec::new()),
        }
    }

    /// `server/discover`: the same for everyone.
    fn discover(&self) -> Result<Bytes, ErrorData> {
        if let Some(rendered) = self.discovery.get() {
            return Ok(rendered.clone());
        }
        let mut config = ServerConfig::new(self.description.modern.clone())
            .with_server_info(self.description.info.clone());
        if let Some(instructions) = &self.description.instructions {
            config = config.with_instructions(instructions);
        }
        let versions = ProtocolVersion::KNOWN_VERSIONS.to_vec();
        let mut result = DiscoverResult::from_server_info(versions, config);
        result.ttl_ms = self.ttl_ms;
        result.cache_scope = CacheScope::Public;
        let rendered = render(result, &self.info)?;
        Ok(self.discovery.get_or_init(|| rendered).clone())
    }

    /// `tools/list`: the same for the same scopes.
    fn tools(&self, principal: &Principal) -> Result<Bytes, ErrorData> {
        let scopes = &principal.scopes;
        let kept = || self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, rendered)) = kept().iter().find(|(of, _)| of == scopes) {
            return Ok(rendered.clone());
        }
        let mut result = ListToolsResult::with_all_items(self.work.tools(principal));
        result.ttl_ms = Some(self.ttl_ms);
        result.cache_scope = Some(CacheScope::Private);
        let rendered = render(result, &self.info)?;
        let mut kept = kept();
        // Scopes come from tokens that we made; more sets than this means that somebody tries them.
        if kept.len() < KEPT_LISTS {
            kept.push((scopes.clone(), rendered.clone()));
        }
        Ok(rendered)
    }

    /// What is the same for everyone, or for everyone with the same scopes: rendered once. `None` for
    /// what has to be asked of the work.
    pub(crate) fn rendered(&self, request: &Request, principal: &Principal) -> Option<Rendered> {
        let result = match request.method.as_str() {
            "server/discover" => self.discover(),
            "tools/list" => self.tools(principal),
            _ => return None,
        };
        Some(respond(&request.id, result))
    }

    /// Answers one request. Dropping the future ends a wait; what the work recorded stays recorded.
    pub(crate) async fn serve(
        &self,
        headers: &HeaderMap,
        request: Request,
        asked: Asked,
    ) -> Rendered {
        let id = request.id.clone();
        respond(&id, self.answer(headers, request, asked).await)
    }

    async fn answer(
        &self,
        headers: &HeaderMap,
        request: Request,
        asked: Asked,
    ) -> Result<Bytes, ErrorData> {
        let (work, info, params) = (&self.work, &self.info, request.params);
        /// The hints that every cacheable result must have.
        macro_rules! hinted {
            ($result:expr, $ttl:expr) => {{
                let mut result = $result;
                result.ttl_ms.get_or_insert($ttl);
                result.cache_scope.get_or_insert(CacheScope::Private);
                result
            }};
        }
        match request.method.as_str() {
            "tools/call" => {
                let call = self.call(headers, asked, params)?;
                let declared = call.asked.capabilities.supports_tasks();
                match work.call_tool(call).await? {
                    CallToolResponse::Complete(result) => render(result, info),
                    CallToolResponse::InputRequired(result) => render(result, info),
                    CallToolResponse::Task(result) if declared => render(result, info),
                    CallToolResponse::Task(_) => Err(needs_tasks()),
                    _ => Err(unknown_kind()),
                }
            }
            "prompts/list" => {
                let listed = work.list_prompts(asked, page(params)?).await?;
                render(hinted!(listed, self.ttl_ms), info)
            }
            "resources/list" => {
                let listed = work.list_resources(asked, page(params)?).await?;
                render(hinted!(listed, 0), info)
            }
            "resources/templates/list" => {
                let listed = work.list_resource_templates(asked, page(params)?).await?;
                render(hinted!(listed, self.ttl_ms), info)
            }
            "prompts/get" => {
                let request: GetPromptRequestParams = read(params)?;
                match work.get_prompt(asked, request).await? {
                    GetPromptResponse::Complete(result) => render(result, info),
                    GetPromptResponse::InputRequired(result) => render(result, info),
                    _ => Err(unknown_kind()),
                }
            }
            "resources/read" => {
                let request: ReadResourceRequestParams = read(params)?;
                match work.read_resource(asked, request).await? {
                    ReadResourceResponse::Complete(result) => render(hinted!(result, 0), info),
                    ReadResourceResponse::InputRequired(result) => render(result, info),
                    _ => Err(unknown_kind()),
                }
            }
            "completion/complete" => {
                let request: CompleteRequestParams = read(params)?;
                render(work.complete(asked, request).await?, info)
            }
            "tasks/get" | "tasks/update" | "tasks/cancel" => {
                self.task(&request.method, params, asked).await
            }
            "subscriptions/listen" => self.listen(&request.id, params, asked).await,
            other => Err(not_here(other)),
        }
    }

    /// Tells what happens until the work is done or the time is over; then the client asks again.
    async fn listen(
        &self,
        id: &Value,
        params: JsonObject,
        asked: Asked,
    ) -> Result<Bytes, ErrorData> {
        #[derive(Deserialize)]
        struct Listen {
            // An object: serde would take an array as one, too.
            notifications: Option<JsonObject>,
        }
        let Listen { notifications } = read(params)?;
        let notifications: Option<Filter> = notifications.map(read).transpose()?;
        if self.listen_for.is_zero() {
            return Err(not_here("subscriptions/listen"));
        }
        let wanted = notifications.clone().unwrap_or_default();
        let Some(accepted) = self.work.subscribe(&asked, wanted).await? else {
            return Err(not_here("subscriptions/listen"));
        };
        if notifications.is_none() {
            let message = "params.notifications must say what to tell of";
            return Err(ErrorData::invalid_params(message, None));
        }
        let subscription = Subscription::new(asked.notices.clone(), id);
        subscription.acknowledge(&accepted.filter).await;
        let listening = self.work.listen(asked, accepted, subscription.clone());
        // Over by itself or by the clock: both end well.
        let _ = tokio::time::timeout(self.listen_for, listening).await;
        render(subscription.ended(), &self.info)
    }

    async fn task(
        &self,
        method: &str,
        params: JsonObject,
        asked: Asked,
    ) -> Result<Bytes, ErrorData> {
        if !self.description.modern.supports_tasks() {
            return Err(not_here(method));
        }
        if !asked.capabilities.supports_tasks() {
            return Err(needs_tasks());
        }
        match method {
            "tasks/get" => {
                let request: GetTaskParams = read(params)?;
                let task = self.work.get_task(asked, &request.task_id).await?;
                render(task, &self.info)
            }
            "tasks/update" => {
                let request: UpdateTaskParams = read(params)?;
                let responses = request.input_responses;
                self.work
                    .update_task(asked, &request.task_id, responses)
                    .await?;
                render(TaskAckResult::default(), &self.info)
            }
            _ => {
                let request: CancelTaskParams = read(params)?;
                self.work.cancel_task(asked, &request.task_id).await?;
                render(TaskAckResult::default(), &self.info)
            }
        }
    }

    /// Takes a call out of its parameters, which are not copied: they may be long.
    fn call(
        &self,
        headers: &HeaderMap,
        asked: Asked,
        mut params: JsonObject,
    ) -> Result<ToolCall, ErrorData> {
        let Some(Value::String(name)) = params.shift_remove("name") else {
            return Err(ErrorData::invalid_params(
                "params.name must name a tool",
                None,
            ));
        };
        let arguments = match params.shift_remove("arguments") {
            None => None,
            Some(Value::Object(arguments)) => Some(arguments),
            Some(_) => {
                let message = "params.arguments must be an object";
                return Err(ErrorData::invalid_params(message, None));
            }
        };
        if let Some(schema) = self.work.header_schema(&name) {
            headers::check_parameters(headers, &schema, arguments.as_ref())
                .map_err(|message| ErrorData::header_mismatch(message, None))?;
        }
        /// The rest of a retry; everything else that a client may add is ignored.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Retry {
            #[serde(default)]
            input_responses: Option<rmcp::model::InputResponses>,
            #[serde(default)]
            request_state: Option<String>,
        }
        let retry: Retry = read(params)?;
        Ok(ToolCall {
            asked,
            name,
            arguments: arguments.unwrap_or_default(),
            input_responses: retry.input_responses,
            request_state: retry.request_state,
        })
    }
}

fn respond(id: &Value, result: Result<Bytes, ErrorData>) -> Rendered {
    match result {
        Ok(result) => Rendered {
            status: StatusCode::OK,
            message: join(id, &result),
        },
        Err(refused) => error(id, refused),
    }
}

fn read<T: DeserializeOwned>(params: JsonObject) -> Result<T, ErrorData> {
    T::deserialize(Value::Object(params))
        .map_err(|error| ErrorData::invalid_params(format!("invalid params: {error}"), None))
}

fn page(params: JsonObject) -> Result<Option<PaginatedRequestParams>, ErrorData> {
    match params.get("cursor") {
        None => Ok(None),
        Some(Value::String(_)) => read(params).map(Some),
        Some(_) => Err(ErrorData::invalid_params("cursor must be a string", None)),
    }
}

/// The extension was not declared by this request.
fn needs_tasks() -> ErrorData {
    let needed = ClientCapabilities::builder().enable_tasks().build();
    ErrorData::missing_required_client_capability(needed)
}

/// rmcp may add kinds of results; ours are known.
fn unknown_kind() -> ErrorData {
    ErrorData::new(
        ErrorCode::INTERNAL_ERROR,
        "the result has a kind that this server does not send",
        None,
    )
}

/// What [`Arc`] shares between the two eras.
pub(crate) type Sharing<W> = Arc<Shared<W>>;
