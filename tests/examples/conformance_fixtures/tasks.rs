//! Tasks that any instance can answer: all there is of one stands in its file, and where it is by
//! now follows from that and the clock.

use std::time::Duration;

use protocol::{Asked, ToolCall};
use rmcp::ErrorData;
use rmcp::model::{
    CallToolResponse, ClientCapabilities, CreateTaskResult, DetailedTask, GetTaskResult,
    InputResponses, Task, TaskPayload, TaskStatus,
};
use serde_json::{Value, json};

use crate::catalog::typed;
use crate::shelf::{Shelf, now, unique};
use crate::tools::argument;

const TTL_MS: u64 = 600_000;

/// Starts a task when this tool is one; those that must be one refuse clients without the extension.
pub(crate) fn start(shelf: &Shelf, call: &ToolCall) -> Result<Option<CallToolResponse>, ErrorData> {
    let elicit = |message: &str| {
        json!({"method": "elicitation/create", "params": {"mode": "form", "message": message,
            "requestedSchema": {"type": "object", "properties": {"confirm": {"type": "boolean"}}, "required": ["confirm"]}}})
    };
    let done = |text: &str| json!({"result": {"resultType": "complete", "content": [{"type": "text", "text": text}], "isError": false}});
    let (seconds, asks, end) = match call.name.as_str() {
        // The only one that can do without: others wait for it.
        "slow_compute" if !call.asked.wants_task() => return Ok(None),
        "slow_compute" => (seconds(call), json!({}), done("Computed.")),
        "failing_job" => {
            let failed = json!({"result": {"resultType": "complete", "content": [{"type": "text", "text": "The job failed."}], "isError": true}});
            (1.0, json!({}), failed)
        }
        "protocol_error_job" => (
            0.2,
            json!({}),
            json!({"error": {"code": -32603, "message": "The job broke."}}),
        ),
        "confirm_delete" => {
            let filename = argument(call, "filename");
            let question = elicit(&format!("Delete {filename}?"));
            (0.0, json!({"confirm": question}), done("Answered."))
        }
        "multi_input" => (
            0.0,
            json!({"first": elicit("The first?"), "second": elicit("The second?")}),
            done("Both were answered."),
        ),
        _ => return Ok(None),
    };
    create(shelf, &call.asked, seconds, asks, end).map(Some)
}

/// How long `slow_compute` takes.
pub(crate) fn seconds(call: &ToolCall) -> f64 {
    let seconds = call.arguments.get("seconds").and_then(Value::as_f64);
    seconds.unwrap_or(1.0).clamp(0.0, 3600.0)
}

/// The task that `test_tool_with_task` becomes once it knows the name.
pub(crate) fn greeting(
    shelf: &Shelf,
    asked: &Asked,
    name: &str,
) -> Result<CallToolResponse, ErrorData> {
    let text = format!("Hello, {name}!");
    let end = json!({"result": {"resultType": "complete", "content": [{"type": "text", "text": text}], "isError": false}});
    create(shelf, asked, 0.1, json!({}), end)
}

fn create(
    shelf: &Shelf,
    asked: &Asked,
    seconds: f64,
    asks: Value,
    end: Value,
) -> Result<CallToolResponse, ErrorData> {
    if !asked.wants_task() {
        let needed = ClientCapabilities::builder().enable_tasks().build();
        return Err(ErrorData::missing_required_client_capability(needed));
    }
    let id = unique();
    let created = now();
    let takes = Duration::from_secs_f64(seconds).as_millis();
    let until = created + u64::try_from(takes).unwrap_or(u64::MAX - created);
    let document = json!({
        "created": created, "until": until, "asks": asks, "responses": {}, "cancelled": false, "end": end,
    });
    shelf.write(&id, &document)?;
    Ok(CallToolResponse::Task(CreateTaskResult::new(task(
        &id, &document,
    ))))
}

fn task(id: &str, document: &Value) -> Task {
    let created = protocol::rfc3339(domain::UnixMillis(
        document["created"].as_u64().unwrap_or_default(),
    ));
    Task::new(id, TaskStatus::Working, created.clone(), created)
        .with_ttl_ms(TTL_MS)
        .with_poll_interval_ms(50)
}

fn find(shelf: &Shelf, id: &str) -> Result<Value, ErrorData> {
    let found = shelf
        .read(id)?
        .filter(|document| document["end"].is_object());
    found.ok_or_else(|| ErrorData::invalid_params("there is no such task", None))
}

/// Names of the questions that nobody answered.
fn open(document: &Value) -> Value {
    let mut open = document["asks"].clone();
    for answered in document["responses"].as_object().into_iter().flatten() {
        if let Some(open) = open.as_object_mut() {
            open.shift_remove(answered.0);
        }
    }
    open
}

fn ended(document: &Value) -> bool {
    document["cancelled"] == true
        || (open(document) == json!({}) && now() >= document["until"].as_u64().unwrap_or_default())
}

/// `tasks/get`.
pub(crate) fn get(shelf: &Shelf, id: &str) -> Result<GetTaskResult, ErrorData> {
    let document = find(shelf, id)?;
    let open = open(&document);
    let payload = if document["cancelled"] == true {
        TaskPayload::Cancelled
    } else if open != json!({}) {
        TaskPayload::InputRequired {
            input_requests: typed(open)?,
        }
    } else if !ended(&document) {
        TaskPayload::Working
    } else if let Some(error) = document["end"].get("error") {
        TaskPayload::Failed {
            error: typed(error.clone())?,
        }
    } else {
        TaskPayload::Completed {
            result: typed(document["end"]["result"].clone())?,
        }
    };
    Ok(GetTaskResult::new(DetailedTask::new(
        task(id, &document),
        payload,
    )))
}

/// `tasks/update`; names that nobody asked for are ignored.
pub(crate) fn update(shelf: &Shelf, id: &str, responses: InputResponses) -> Result<(), ErrorData> {
    let mut document = find(shelf, id)?;
    for (name, response) in responses {
        if document["asks"].get(&name).is_some() {
            document["responses"][&name] = response;
        }
    }
    shelf.write(id, &document)
}

/// `tasks/cancel`; what has ended stays as it is.
pub(crate) fn cancel(shelf: &Shelf, id: &str) -> Result<(), ErrorData> {
    let mut document = find(shelf, id)?;
    if !ended(&document) {
        document["cancelled"] = true.into();
        shelf.write(id, &document)?;
    }
    Ok(())
}
