//! The tools that answer at once, or report while they work.

use std::time::Duration;

use protocol::ToolCall;
use rmcp::ErrorData;
use rmcp::model::{CallToolResponse, CallToolResult, ClientCapabilities};
use serde_json::{Value, json};

use crate::catalog::{PNG, WAV, typed};
use crate::shelf::Shelf;

/// Between two notifications, as the suite wants it.
const STEP: Duration = Duration::from_millis(50);

/// A result of these contents.
pub(crate) fn contents(contents: &[Value]) -> Result<CallToolResponse, ErrorData> {
    let result: CallToolResult =
        typed(json!({"resultType": "complete", "content": contents, "isError": false}))?;
    Ok(CallToolResponse::Complete(result))
}

/// A result that is one text.
pub(crate) fn text(text: impl Into<String>) -> Result<CallToolResponse, ErrorData> {
    contents(&[json!({"type": "text", "text": text.into()})])
}

fn image() -> Value {
    json!({"type": "image", "data": PNG, "mimeType": "image/png"})
}

/// Calls one of them.
pub(crate) async fn call(shelf: &Shelf, call: &ToolCall) -> Result<CallToolResponse, ErrorData> {
    match call.name.as_str() {
        "test_simple_text" => text("This is a simple text response for testing."),
        "test_image_content" => contents(&[image()]),
        "test_audio_content" => {
            contents(&[json!({"type": "audio", "data": WAV, "mimeType": "audio/wav"})])
        }
        "test_embedded_resource" => contents(&[json!({"type": "resource", "resource": {
            "uri": "test://embedded-resource", "mimeType": "text/plain",
            "text": "This is an embedded resource content."
        }})]),
        "test_multiple_content_types" => contents(&[
            json!({"type": "text", "text": "Multiple content types test:"}),
            image(),
            json!({"type": "resource", "resource": {
                "uri": "test://mixed-content-resource", "mimeType": "application/json",
                "text": "{\"test\":\"data\",\"value\":123}"
            }}),
        ]),
        "test_error_handling" => {
            let said = json!([{"type": "text", "text": "This tool intentionally returns an error for testing"}]);
            Ok(CallToolResponse::Complete(CallToolResult::error(typed(
                said,
            )?)))
        }
        "test_tool_with_progress" => {
            for step in [0.0, 50.0, 100.0] {
                if let Some(progress) = call.asked.progress() {
                    let message = format!("{step} of 100");
                    progress.report(step, Some(100.0), message).await;
                }
                tokio::time::sleep(STEP).await;
            }
            text("All steps are done.")
        }
        "test_tool_with_logging" | "test_logging_tool" => {
            for line in [
                "Tool execution started",
                "Tool processing data",
                "Tool execution completed",
            ] {
                log(shelf, call, line).await?;
                tokio::time::sleep(STEP).await;
            }
            text("Three lines were logged.")
        }
        // Whoever stands in between breaks the stream after its beginning.
        "test_reconnection" => {
            log(shelf, call, "The stream begins").await?;
            tokio::time::sleep(10 * STEP).await;
            text("The stream was taken up again.")
        }
        "test_missing_capability" => {
            if call.asked.capabilities.sampling.is_none() {
                let needed: ClientCapabilities = typed(json!({"sampling": {}}))?;
                return Err(ErrorData::missing_required_client_capability(needed));
            }
            text("The client can sample.")
        }
        "test_streaming_elicitation" => {
            let progress = json!({"progressToken": "streaming", "progress": 1, "total": 2});
            let notices = &call.asked.notices;
            notices.send("notifications/progress", progress).await;
            text("Nothing was asked on the stream.")
        }
        "test_trigger_tool_change" => {
            shelf.change("tools")?;
            text("The list of tools changed.")
        }
        "test_trigger_prompt_change" => {
            shelf.change("prompts")?;
            text("The list of prompts changed.")
        }
        "slow_compute" => {
            let seconds = crate::tasks::seconds(call);
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            text("Computed.")
        }
        "greet" => text(format!("Hello, {}!", argument(call, "name"))),
        "test_custom_header" => text(format!("The region is {}.", argument(call, "region"))),
        "json_schema_2020_12_tool" => text(Value::from(call.arguments.clone()).to_string()),
        other => {
            let message = format!("there is no tool {other}");
            Err(ErrorData::invalid_params(message, None))
        }
    }
}

/// A text argument; empty when it is missing.
pub(crate) fn argument<'a>(call: &'a ToolCall, name: &str) -> &'a str {
    let argument = call.arguments.get(name);
    argument.and_then(Value::as_str).unwrap_or_default()
}

/// What the suite sets stands where all instances read it.
const LEVEL: &str = "level";

/// Notes from which level on clients of the initialize era want lines of log.
pub(crate) fn set_level(shelf: &Shelf, level: &str) -> Result<(), ErrorData> {
    shelf.write(LEVEL, &level.into())
}

/// A line of log, at level info: for modern clients that ask for it with the request, and others
/// unless they set a higher level.
async fn log(shelf: &Shelf, call: &ToolCall, line: &str) -> Result<(), ErrorData> {
    let level = match call.asked.modern {
        true => call
            .asked
            .meta
            .get("io.modelcontextprotocol/logLevel")
            .cloned(),
        false => Some(shelf.read(LEVEL)?.unwrap_or_else(|| "info".into())),
    };
    if level.is_some_and(|level| level == "debug" || level == "info") {
        let params = json!({"level": "info", "logger": "fixtures", "data": line});
        let notices = &call.asked.notices;
        notices.send("notifications/message", params).await;
    }
    Ok(())
}
