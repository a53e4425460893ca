//! What the suite expects to be listed, and the answers that never change.

use std::sync::LazyLock;

use rmcp::ErrorData;
use rmcp::model::{
    GetPromptRequestParams, GetPromptResult, Prompt, ReadResourceResult, Resource,
    ResourceTemplate, Tool,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// One red pixel.
pub(crate) const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// A WAV file without samples.
pub(crate) const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

/// Reads what this program itself wrote.
pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value)
        .map_err(|error| ErrorData::internal_error(format!("a fixture is broken: {error}"), None))
}

/// Every tool.
pub(crate) fn tools() -> &'static [Tool] {
    static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(made);
    &TOOLS
}

/// All but the named ones take no arguments.
fn made() -> Vec<Tool> {
    let text = |name: &str| json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]});
    let none = [
        "test_simple_text",
        "test_image_content",
        "test_audio_content",
        "test_embedded_resource",
        "test_multiple_content_types",
        "test_error_handling",
        "test_tool_with_progress",
        "test_tool_with_logging",
        "test_logging_tool",
        "test_elicitation_sep1034_defaults",
        "test_elicitation_sep1330_enums",
        "test_missing_capability",
        "test_streaming_elicitation",
        "test_reconnection",
        "test_trigger_tool_change",
        "test_trigger_prompt_change",
        "test_input_required_result_elicitation",
        "test_input_required_result_sampling",
        "test_input_required_result_list_roots",
        "test_input_required_result_request_state",
        "test_input_required_result_multiple_inputs",
        "test_input_required_result_multi_round",
        "test_input_required_result_tampered_state",
        "test_input_required_result_capabilities",
        "failing_job",
        "protocol_error_job",
        "multi_input",
        "test_tool_with_task",
    ]
    .map(|name| (name, json!({"type": "object"})));
    let some = [
        ("test_sampling", text("prompt")),
        ("test_elicitation", text("message")),
        ("greet", text("name")),
        ("confirm_delete", text("filename")),
        (
            "slow_compute",
            json!({"type": "object", "properties": {"seconds": {"type": "number"}, "label": {"type": "string"}}}),
        ),
        (
            "test_custom_header",
            json!({"type": "object", "properties": {
                "region": {"type": "string", "x-mcp-header": "Region"},
                "verbose": {"type": "boolean", "x-mcp-header": "Verbose"}
            }, "required": ["region"]}),
        ),
        ("json_schema_2020_12_tool", schema_of_2020_12()),
    ];
    none.into_iter()
        .chain(some)
        .filter_map(|(name, schema)| {
            let schema = schema.as_object()?.clone();
            let description = format!("Conformance fixture {name}.");
            Some(Tool::new(name, description, std::sync::Arc::new(schema)))
        })
        .collect()
}

/// Keywords that a server may not lose.
fn schema_of_2020_12() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {
            "street": {"type": "string"}, "city": {"type": "string"}
        }}},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"}
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false
    })
}

/// Every prompt.
pub(crate) fn prompts() -> Vec<Prompt> {
    let listed = json!([
        {"name": "test_simple_prompt", "description": "A prompt without arguments."},
        {"name": "test_prompt_with_arguments", "description": "A prompt with two arguments.", "arguments": [
            {"name": "arg1", "description": "The first.", "required": true},
            {"name": "arg2", "description": "The second.", "required": true}
        ]},
        {"name": "test_prompt_with_embedded_resource", "description": "A prompt that embeds a resource.", "arguments": [
            {"name": "resourceUri", "description": "What to embed.", "required": true}
        ]},
        {"name": "test_prompt_with_image", "description": "A prompt with an image."},
        {"name": "test_input_required_result_prompt", "description": "A prompt that asks first."}
    ]);
    typed(listed).unwrap_or_default()
}

/// One prompt.
pub(crate) fn prompt(request: &GetPromptRequestParams) -> Result<GetPromptResult, ErrorData> {
    let argument = |name: &str| -> Result<&str, ErrorData> {
        let arguments = request.arguments.as_ref();
        arguments
            .and_then(|arguments| arguments.get(name))
            .and_then(Value::as_str)
            .ok_or_else(|| ErrorData::invalid_params(format!("{name} is missing"), None))
    };
    let contents = match request.name.as_str() {
        "test_simple_prompt" => {
            vec![json!({"type": "text", "text": "This is a simple prompt for testing."})]
        }
        "test_prompt_with_arguments" => {
            let (first, second) = (argument("arg1")?, argument("arg2")?);
            let text = format!("Prompt with arguments: arg1='{first}', arg2='{second}'");
            vec![json!({"type": "text", "text": text})]
        }
        "test_prompt_with_embedded_resource" => vec![
            json!({"type": "resource", "resource": {
                "uri": argument("resourceUri")?, "mimeType": "text/plain",
                "text": "Embedded resource content for testing."
            }}),
            json!({"type": "text", "text": "Please process the embedded resource above."}),
        ],
        "test_prompt_with_image" => vec![
            json!({"type": "image", "data": PNG, "mimeType": "image/png"}),
            json!({"type": "text", "text": "Please analyze the image above."}),
        ],
        other => {
            let message = format!("there is no prompt {other}");
            return Err(ErrorData::invalid_params(message, None));
        }
    };
    let messages: Vec<Value> = contents
        .into_iter()
        .map(|content| json!({"role": "user", "content": content}))
        .collect();
    Ok(GetPromptResult::new(typed(messages.into())?))
}

/// The resources that are listed.
pub(crate) fn resources() -> Vec<Resource> {
    let listed = json!([
        {"uri": "test://static-text", "name": "static-text", "description": "A text.", "mimeType": "text/plain"},
        {"uri": "test://static-binary", "name": "static-binary", "description": "An image.", "mimeType": "image/png"},
        {"uri": "test://watched-resource", "name": "watched-resource", "description": "It may be watched.", "mimeType": "text/plain"}
    ]);
    typed(listed).unwrap_or_default()
}

/// The one template.
pub(crate) fn templates() -> Vec<ResourceTemplate> {
    let listed = json!([{
        "uriTemplate": "test://template/{id}/data", "name": "template",
        "description": "Data by id.", "mimeType": "application/json"
    }]);
    typed(listed).unwrap_or_default()
}

/// One resource.
pub(crate) fn resource(uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let id = uri
        .strip_prefix("test://template/")
        .and_then(|rest| rest.strip_suffix("/data"));
    let content = match (uri, id) {
        ("test://static-text", _) => json!({
            "uri": uri, "mimeType": "text/plain",
            "text": "This is the content of the static text resource."
        }),
        ("test://static-binary", _) => json!({"uri": uri, "mimeType": "image/png", "blob": PNG}),
        ("test://watched-resource", _) => {
            json!({"uri": uri, "mimeType": "text/plain", "text": "Watch me."})
        }
        (_, Some(id)) => {
            let data = format!("Data for ID: {id}");
            let text = json!({"id": id, "templateTest": true, "data": data}).to_string();
            json!({"uri": uri, "mimeType": "application/json", "text": text})
        }
        _ => {
            return Err(ErrorData::resource_not_found(
                "Resource not found",
                Some(json!({"uri": uri})),
            ));
        }
    };
    Ok(ReadResourceResult::new(typed(json!([content]))?))
}
