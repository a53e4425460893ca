//! Results and errors of modern requests as bytes: written once, straight from their types.

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use rmcp::ErrorData;
use rmcp::model::{
    CallToolResult, CompleteResult, CreateTaskResult, DiscoverResult, ErrorCode, GetPromptResult,
    GetTaskResult, Implementation, InputRequiredResult, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, MetaObject,
    ReadResourceResult, TaskAckResult,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::answer::error_message;
use crate::subscription::Ended;

const INFO_KEY: &str = "io.modelcontextprotocol/serverInfo";

/// A JSON-RPC message and the HTTP status it goes out with, when it is the whole answer.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) status: StatusCode,
    pub(crate) message: Bytes,
}

/// The server's name and version, which every result carries.
pub(crate) struct Info {
    value: Value,
    /// The same as the end of an object without `_meta` of its own.
    end: String,
}

impl Info {
    pub(crate) fn new(info: &Implementation) -> Self {
        let value = serde_json::to_value(info).unwrap_or_default();
        let end = format!(",\"_meta\":{}}}", json!({INFO_KEY: value}));
        Self { value, end }
    }
}

/// A result that may carry `_meta`. All of them are objects that are never empty: they say at least
/// what type of result they are.
pub(crate) trait Reply: Serialize {
    fn meta(&mut self) -> &mut Option<MetaObject>;
}

macro_rules! replies {
    ($($result:ident),+ $(,)?) => {
        $(impl Reply for $result {
            fn meta(&mut self) -> &mut Option<MetaObject> {
                &mut self.meta
            }
        })+
    };
}
replies!(
    CallToolResult,
    CompleteResult,
    CreateTaskResult,
    DiscoverResult,
    Ended,
    GetPromptResult,
    GetTaskResult,
    InputRequiredResult,
    ListPromptsResult,
    ListResourceTemplatesResult,
    ListResourcesResult,
    ListToolsResult,
    ReadResourceResult,
    TaskAckResult,
);

/// Writes a result, with the server's name in it.
pub(crate) fn render<R: Reply>(mut result: R, info: &Info) -> Result<Bytes, ErrorData> {
    let alone = match result.meta() {
        None => true,
        Some(meta) => {
            meta.entry(INFO_KEY.to_owned())
                .or_insert_with(|| info.value.clone());
            false
        }
    };
    let mut bytes = serde_json::to_vec(&result)
        .map_err(|error| ErrorData::internal_error(format!("unreadable result: {error}"), None))?;
    if alone && bytes.pop() == Some(b'}') {
        bytes.extend_from_slice(info.end.as_bytes());
    }
    Ok(Bytes::from(bytes))
}

/// The response with this id and result.
pub(crate) fn join(id: &Value, result: &[u8]) -> Bytes {
    let id = id.to_string();
    let mut message = BytesMut::with_capacity(result.len() + id.len() + 40);
    message.put_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    message.put_slice(id.as_bytes());
    message.put_slice(b",\"result\":");
    message.put_slice(result);
    message.put_u8(b'}');
    message.freeze()
}

/// The response with this id and error, and its status: what was wrong with the request as such is
/// the transport's business too.
pub(crate) fn error(id: &Value, mut error: ErrorData) -> Rendered {
    // Its own code is gone since 2026-07-28.
    if error.code == ErrorCode::RESOURCE_NOT_FOUND {
        error.code = ErrorCode::INVALID_PARAMS;
    }
    let status = match error.code {
        ErrorCode::HEADER_MISMATCH
        | ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY
        | ErrorCode::UNSUPPORTED_PROTOCOL_VERSION => StatusCode::BAD_REQUEST,
        ErrorCode::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    };
    let mut message = error_message(id, i64::from(error.code.0), &error.message);
    if let Some(data) = error.data {
        message["error"]["data"] = data;
    }
    Rendered {
        status,
        message: Bytes::from(message.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmcp::model::ContentBlock;

    #[test]
    fn a_result_names_the_server_with_or_without_meta_of_its_own() {
        let info = Info::new(&Implementation::new("me", "1"));
        let read = |result: CallToolResult| -> Value {
            let result = render(result, &info).expect("it is rendered");
            serde_json::from_slice(&join(&json!("a\"b"), &result)).expect("JSON")
        };
        let plain = read(CallToolResult::success(vec![ContentBlock::text("x")]));
        assert_eq!(plain["id"], "a\"b");
        assert_eq!(plain["result"]["_meta"][INFO_KEY]["name"], "me");
        assert_eq!(plain["result"]["resultType"], "complete");
        let mut meta = MetaObject::new();
        meta.insert("mine".to_owned(), 1.into());
        let own = CallToolResult::success(vec![]).with_meta(Some(meta));
        let own = read(own);
        assert_eq!(own["result"]["_meta"][INFO_KEY]["name"], "me");
        assert_eq!(own["result"]["_meta"]["mine"], 1);
    }

    #[test]
    fn an_error_has_the_status_of_its_code() {
        for (error_data, status, code) in [
            (ErrorData::header_mismatch("x", None), 400, -32020),
            (ErrorData::invalid_params("x", None), 200, -32602),
            (ErrorData::resource_not_found("x", None), 200, -32602),
            (crate::work::not_here("x"), 404, -32601),
        ] {
            let rendered = error(&json!(1), error_data);
            let message: Value = serde_json::from_slice(&rendered.message).expect("JSON");
            assert_eq!(rendered.status.as_u16(), status);
            assert_eq!(message["error"]["code"], code);
        }
    }
}
