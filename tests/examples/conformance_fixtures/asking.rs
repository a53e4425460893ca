//! Tools and a prompt that need something from the client first (multi round-trip requests).

use protocol::ToolCall;
use rmcp::ErrorData;
use rmcp::model::{
    CallToolResponse, GetPromptRequestParams, GetPromptResponse, GetPromptResult,
    InputRequiredResult, InputResponses,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::catalog::typed;
use crate::shelf::Shelf;
use crate::{tasks, tools};

/// All instances seal with it; nothing here is secret.
const KEY: &str = "conformance fixtures";

fn elicit(message: &str, property: &str, kind: &str) -> Value {
    json!({"method": "elicitation/create", "params": {
        "mode": "form", "message": message,
        "requestedSchema": {"type": "object", "properties": {property: {"type": kind}}, "required": [property]}
    }})
}

fn sample(question: &str, most_tokens: u32) -> Value {
    json!({"method": "sampling/createMessage", "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": question}}],
        "maxTokens": most_tokens
    }})
}

fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}

fn required(requests: Value, state: Option<String>) -> Result<InputRequiredResult, ErrorData> {
    Ok(InputRequiredResult::new(Some(typed(requests)?), state))
}

/// A state that no client can make up.
fn seal(state: &str) -> String {
    let digest = Sha256::digest(format!("{KEY}\n{state}"));
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{state}.{digest}")
}

/// The state that the client brought back; `None` when it brought none.
fn opened(call: &ToolCall) -> Result<Option<String>, ErrorData> {
    let Some(sealed) = &call.request_state else {
        return Ok(None);
    };
    let state = sealed.rsplit_once('.').map_or("", |(state, _)| state);
    if &seal(state) == sealed {
        Ok(Some(state.to_owned()))
    } else {
        Err(ErrorData::invalid_params(
            "requestState is not one that this server gave",
            None,
        ))
    }
}

/// What a person entered under this name.
fn entered(responses: Option<&InputResponses>, request: &str, property: &str) -> Option<Value> {
    let response = responses?.get(request)?;
    let accepted = response["action"] == "accept";
    let value = response.get("content")?.get(property)?;
    accepted.then(|| value.clone())
}

/// Calls one of them.
pub(crate) fn call(shelf: &Shelf, call: &ToolCall) -> Result<CallToolResponse, ErrorData> {
    let responses = call.input_responses.as_ref();
    let state = opened(call)?;
    let name = || elicit("What is your name?", "name", "string");
    let asked = match call.name.as_str() {
        "test_input_required_result_elicitation" => match entered(responses, "user_name", "name") {
            Some(Value::String(name)) => return tools::text(format!("Hello, {name}!")),
            _ => required(json!({"user_name": name()}), None),
        },
        "test_input_required_result_sampling" => {
            let sampled = responses.and_then(|it| it.get("capital_question"));
            match sampled.and_then(|sampled| sampled["content"]["text"].as_str()) {
                Some(answer) => return tools::text(answer),
                None => required(
                    json!({"capital_question": sample("What is the capital of France?", 100)}),
                    None,
                ),
            }
        }
        "test_input_required_result_list_roots" => {
            match responses.and_then(|it| it.get("client_roots")) {
                Some(listed) if listed["roots"].is_array() => {
                    return tools::text(format!("Roots: {}", listed["roots"]));
                }
                _ => required(json!({"client_roots": roots()}), None),
            }
        }
        "test_input_required_result_request_state"
        | "test_input_required_result_tampered_state" => {
            let confirmed = entered(responses, "confirm", "ok").is_some();
            match state {
                Some(_) if confirmed => return tools::text("state-ok"),
                _ => required(
                    json!({"confirm": elicit("Please confirm", "ok", "boolean")}),
                    Some(seal("confirming")),
                ),
            }
        }
        "test_input_required_result_multiple_inputs" => {
            let all = ["user_name", "greeting", "client_roots"];
            let complete = responses.is_some_and(|it| all.iter().all(|key| it.contains_key(*key)));
            match state {
                Some(_) if complete => return tools::text("All three were answered."),
                _ => required(
                    json!({"user_name": name(), "greeting": sample("Generate a greeting", 50), "client_roots": roots()}),
                    Some(seal("three")),
                ),
            }
        }
        "test_input_required_result_multi_round" => return rounds(state.as_deref(), responses),
        "test_input_required_result_capabilities" => {
            let capabilities = &call.asked.capabilities;
            let mut requests = json!({});
            if capabilities.elicitation.is_some() {
                requests["name"] = name();
            }
            if capabilities.sampling.is_some() {
                requests["question"] = sample("What is the capital of France?", 100);
            }
            if capabilities.roots.is_some() {
                requests["roots"] = roots();
            }
            let nothing = requests.as_object().is_none_or(serde_json::Map::is_empty);
            if responses.is_some() || nothing {
                return tools::text("Nothing more is needed.");
            }
            required(requests, None)
        }
        "test_tool_with_task" => match entered(responses, "user_name", "name") {
            Some(Value::String(name)) => return tasks::greeting(shelf, &call.asked, &name),
            _ => required(json!({"user_name": name()}), Some(seal("task"))),
        },
        other => {
            let message = format!("there is no tool {other}");
            return Err(ErrorData::invalid_params(message, None));
        }
    };
    asked.map(CallToolResponse::InputRequired)
}

/// Two questions, one after the other.
fn rounds(
    state: Option<&str>,
    responses: Option<&InputResponses>,
) -> Result<CallToolResponse, ErrorData> {
    let first = entered(responses, "step1", "name");
    let second = entered(responses, "step2", "color");
    let known = state.and_then(|state| state.strip_prefix("step 2 "));
    let asked = match (state, known, first, second) {
        (_, Some(name), _, Some(Value::String(color))) => {
            return tools::text(format!("{name} likes {color}."));
        }
        (_, Some(name), _, _) => second_step(name),
        (Some("step 1"), _, Some(Value::String(name)), _) => second_step(&name),
        _ => required(
            json!({"step1": elicit("Step 1: What is your name?", "name", "string")}),
            Some(seal("step 1")),
        ),
    };
    asked.map(CallToolResponse::InputRequired)
}

fn second_step(name: &str) -> Result<InputRequiredResult, ErrorData> {
    required(
        json!({"step2": elicit("Step 2: What is your favorite color?", "color", "string")}),
        Some(seal(&format!("step 2 {name}"))),
    )
}

/// The prompt that asks.
pub(crate) fn prompt(request: &GetPromptRequestParams) -> Result<GetPromptResponse, ErrorData> {
    match entered(request.input_responses.as_ref(), "user_context", "context") {
        Some(Value::String(context)) => {
            let text = format!("Use this context: {context}");
            let messages = json!([{"role": "user", "content": {"type": "text", "text": text}}]);
            Ok(GetPromptResult::new(typed(messages)?).into())
        }
        _ => {
            let asked = elicit("What context should the prompt use?", "context", "string");
            required(json!({"user_context": asked}), None).map(Into::into)
        }
    }
}
