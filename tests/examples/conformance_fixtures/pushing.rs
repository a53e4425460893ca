//! Tools that ask in the one way in which the product's tools ask: clients of the initialize era
//! hear it on the stream of their request, and answer any instance.

use domain::session_token::SigningKey;
use protocol::{Asks, Begun, Caller, Round, ToolCall};
use rmcp::ErrorData;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};
use serde_json::{Value, json};

use crate::catalog::typed;
use crate::clients::Clients;
use crate::tools::{argument, text};

/// All instances seal with it; nothing here is secret.
const KEY: [u8; 32] = [7; 32];

/// What a tool asks, and how its answer begins; `None` for tools that ask nothing.
fn question(call: &ToolCall) -> Option<(Value, &'static str)> {
    let elicit = |message: &str, properties: Value, required: Value| {
        json!({"method": "elicitation/create", "params": {"message": message,
            "requestedSchema": {"type": "object", "properties": properties, "required": required}}})
    };
    Some(match call.name.as_str() {
        "test_sampling" => {
            let prompt = json!({"type": "text", "text": argument(call, "prompt")});
            let params =
                json!({"messages": [{"role": "user", "content": prompt}], "maxTokens": 100});
            (
                json!({"method": "sampling/createMessage", "params": params}),
                "LLM response",
            )
        }
        "test_elicitation" => {
            let properties = json!({
                "username": {"type": "string", "description": "User's response"},
                "email": {"type": "string", "description": "User's email address"}
            });
            let required = json!(["username", "email"]);
            (
                elicit(argument(call, "message"), properties, required),
                "User response",
            )
        }
        "test_elicitation_sep1034_defaults" => {
            let properties = json!({
                "name": {"type": "string", "default": "John Doe"},
                "age": {"type": "integer", "default": 30},
                "score": {"type": "number", "default": 95.5},
                "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
                "verified": {"type": "boolean", "default": true}
            });
            (
                elicit("Check these values", properties, json!([])),
                "Elicitation completed",
            )
        }
        "test_elicitation_sep1330_enums" => {
            let options = json!(["option1", "option2", "option3"]);
            let titled = json!([
                {"const": "value1", "title": "First Option"},
                {"const": "value2", "title": "Second Option"},
                {"const": "value3", "title": "Third Option"}
            ]);
            let properties = json!({
                "untitledSingle": {"type": "string", "enum": options},
                "titledSingle": {"type": "string", "oneOf": titled},
                "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"],
                    "enumNames": ["Option One", "Option Two", "Option Three"]},
                "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
                "titledMulti": {"type": "array", "items": {"anyOf": titled}}
            });
            (
                elicit("Choose", properties, json!([])),
                "Elicitation completed",
            )
        }
        _ => return None,
    })
}

/// Calls one of them; `None` when the tool is none of them.
pub(crate) async fn call(
    clients: &Clients,
    call: &ToolCall,
) -> Result<Option<CallToolResponse>, ErrorData> {
    let Some((question, begins)) = question(call) else {
        return Ok(None);
    };
    let key = SigningKey::new(&KEY)
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    let asks = Asks::new(clients, &key);
    let round = Round {
        method: "tools/call",
        subject: json!([call.name, call.arguments]),
        responses: call.input_responses.clone(),
        state: call.request_state.clone(),
    };
    let asking = match asks.begin(Caller::of(&call.asked), round).await? {
        Begun::Run(asking) => asking,
        Begun::Settled(outcome) => return Ok(Some(outcome)),
    };
    let outcome = match asking.ask("question", typed(question)?).await {
        Ok(answer) => text(format!("{begins}: {}", said(&answer))),
        Err(reason) => {
            let reason = vec![ContentBlock::text(reason.to_string())];
            Ok(CallToolResponse::Complete(CallToolResult::error(reason)))
        }
    };
    asks.finish(asking, outcome).await.map(Some)
}

/// An answer in a few words.
fn said(answer: &Value) -> String {
    match answer["action"].as_str() {
        Some(action) => format!("action={action}, content={}", answer["content"]),
        None => answer["content"]["text"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    }
}
