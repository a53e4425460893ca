//! The tools: what each is called, takes and gives, and the way from a call to its use case.
//!
//! A tool's refusal is a result with `isError` whose text says what to do; only a call that names no
//! tool is a protocol error.

mod answer_question;
mod arguments;
mod cancel_session;
pub(crate) mod check_policy;
mod create_checkpoint;
mod create_session;
mod create_upload;
mod delete_session;
mod delivery;
mod diff_checkpoints;
mod export_workspace;
pub(crate) mod find_claude_binary;
mod fork_session;
mod get_session;
mod get_timeline;
mod interrupt_session;
mod list_approvals;
mod list_checkpoints;
pub(crate) mod list_sessions;
mod name_checkpoint;
pub(crate) mod outcome;
mod pin_checkpoint;
mod query_audit;
pub(crate) mod read_file;
mod restore_checkpoint;
mod run_command;
mod send_message;
mod suspend_session;
mod verify_audit;
mod wait_session;

use std::sync::{Arc, LazyLock, OnceLock};

use domain::authorization::{Administer, ReadSessions, Scope, WriteSessions};
use domain::ports::Unavailable;
use domain::{Principal, SessionId, SessionKey, TaskId, UnixMillis};
use rmcp::ErrorData;
use rmcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, JsonObject, MetaObject, Tool, ToolAnnotations,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::ask::Asking;
use crate::snapshots::Snapshots;
use crate::task;
use crate::work::{Ports, Sessions, ToolCall};
use check_policy::PolicyChecker;
use find_claude_binary::ClaudeFinder;

/// What a tool is.
pub(crate) struct Definition {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    effect: Effect,
    input: fn() -> Value,
    output: fn() -> Value,
}

/// What calling a tool does, as annotations and as the scope it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Changes nothing.
    Reads,
    /// Reads, and with some arguments adds something first, for which it asks for more than to read.
    MayAdd,
    /// Adds something, each time.
    Adds,
    /// Adds something once: repeating it with the same id does nothing more. What a session then
    /// does reaches the outside world.
    AddsOnce,
    /// Does what the caller says, whatever that is, here and in the outside world.
    Runs,
    /// Changes how something is kept: repeating it changes nothing more.
    Keeps,
    /// Stops something.
    Stops,
    /// Changes nothing, and is for whoever runs the deployment.
    Administers,
}

impl Effect {
    const fn scope(self) -> &'static str {
        match self {
            Self::Reads | Self::MayAdd => ReadSessions::NAME,
            Self::Adds | Self::AddsOnce | Self::Runs | Self::Keeps | Self::Stops => {
                WriteSessions::NAME
            }
            Self::Administers => Administer::NAME,
        }
    }

    fn annotations(self, title: &str) -> ToolAnnotations {
        ToolAnnotations::with_title(title)
            .read_only(matches!(self, Self::Reads | Self::Administers))
            .destructive(matches!(self, Self::Stops | Self::Runs))
            .idempotent(!matches!(self, Self::Adds | Self::MayAdd | Self::Runs))
            .open_world(matches!(self, Self::AddsOnce | Self::Runs))
    }
}

const DEFINITIONS: [Definition; 27] = [
    create_session::DEFINITION,
    wait_session::DEFINITION,
    send_message::DEFINITION,
    run_command::DEFINITION,
    get_session::DEFINITION,
    list_sessions::DEFINITION,
    interrupt_session::DEFINITION,
    cancel_session::DEFINITION,
    read_file::DEFINITION,
    answer_question::DEFINITION,
    list_approvals::DEFINITION,
    suspend_session::DEFINITION,
    create_checkpoint::DEFINITION,
    list_checkpoints::DEFINITION,
    diff_checkpoints::DEFINITION,
    export_workspace::DEFINITION,
    pin_checkpoint::DEFINITION,
    name_checkpoint::DEFINITION,
    restore_checkpoint::DEFINITION,
    fork_session::DEFINITION,
    get_timeline::DEFINITION,
    delete_session::DEFINITION,
    create_upload::DEFINITION,
    check_policy::DEFINITION,
    find_claude_binary::DEFINITION,
    query_audit::DEFINITION,
    verify_audit::DEFINITION,
];

/// Tools whose results may have all of the characters that clients take: without being told, Claude
/// Code writes longer ones than its own limit of tokens to a file.
const LONG_RESULTS: [&str; 7] = [
    wait_session::DEFINITION.name,
    read_file::DEFINITION.name,
    list_sessions::DEFINITION.name,
    list_checkpoints::DEFINITION.name,
    get_timeline::DEFINITION.name,
    diff_checkpoints::DEFINITION.name,
    query_audit::DEFINITION.name,
];

struct Entry {
    definition: Definition,
    tool: Tool,
    arguments: OnceLock<arguments::Arguments>,
    promise: OnceLock<outcome::Promise>,
}

/// The tools in their fixed order; schemas are compiled when a tool is first called.
static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    DEFINITIONS
        .into_iter()
        .map(|definition| Entry {
            tool: definition.tool(),
            definition,
            arguments: OnceLock::new(),
            promise: OnceLock::new(),
        })
        .collect()
});

impl Definition {
    fn tool(&self) -> Tool {
        let tool = Tool::new(
            self.name,
            self.description,
            Arc::new(schema((self.input)())),
        )
        .with_title(self.title)
        .with_raw_output_schema(Arc::new(schema((self.output)())))
        .with_annotations(self.effect.annotations(self.title));
        if !LONG_RESULTS.contains(&self.name) {
            return tool;
        }
        let mut meta = MetaObject::new();
        meta.insert(
            "anthropic/maxResultSizeChars".to_owned(),
            outcome::MOST_RESULT_CHARACTERS.into(),
        );
        tool.with_meta(meta)
    }
}

fn schema(value: Value) -> JsonObject {
    let mut schema = JsonObject::new();
    schema.insert(
        "$schema".to_owned(),
        "https://json-schema.org/draft/2020-12/schema".into(),
    );
    if let Value::Object(object) = value {
        schema.extend(object);
    }
    schema
}

/// The scope that calling a tool needs.
pub(crate) fn scope_of(tool: &str) -> Option<&'static str> {
    let named = |entry: &&Entry| entry.definition.name == tool;
    let entry = ENTRIES.iter().find(named);
    entry.map(|entry| entry.definition.effect.scope())
}

/// The tools that this caller's scopes allow, in their fixed order.
pub(crate) fn allowed(principal: &Principal) -> Vec<Tool> {
    ENTRIES
        .iter()
        .filter(|entry| {
            let needed = entry.definition.effect.scope();
            principal.scopes.iter().any(|scope| scope == needed)
        })
        .map(|entry| entry.tool.clone())
        .collect()
}

/// What a tool did.
pub(crate) struct Done {
    structured: Value,
    text: String,
    /// The turn that it started.
    turn: Option<(TaskId, UnixMillis)>,
    /// Where it can be read when it is too long.
    elsewhere: Option<outcome::Elsewhere>,
}

impl Done {
    fn new(structured: Value, text: impl Into<String>) -> Self {
        Self {
            structured,
            text: text.into(),
            turn: None,
            elsewhere: None,
        }
    }
}

/// Why a tool did nothing (or, where the text says so, may have done it all the same).
#[derive(Debug)]
pub(crate) struct Refused(String);

impl Refused {
    pub(crate) fn because(reason: impl ToString) -> Self {
        Self(reason.to_string())
    }

    /// An outside service failed; its own words are for the log. `repeat` says how to ask again
    /// without doing it twice.
    pub(crate) fn unavailable(unavailable: &Unavailable, repeat: &str) -> Self {
        tracing::warn!(
            error = unavailable as &dyn std::error::Error,
            outcome_unknown = unavailable.outcome_unknown,
            "a tool was not served"
        );
        if unavailable.outcome_unknown {
            Self(format!(
                "{unavailable}; it may have happened all the same. {repeat}"
            ))
        } else {
            Self(format!("{unavailable}; nothing was done. {repeat}"))
        }
    }
}

/// Lets a use case's error be shown: an outside service's failure is logged, the rest is the
/// caller's to read.
macro_rules! refused {
    ($error:expr, $unavailable:path, $repeat:expr) => {
        match $error {
            $unavailable(unavailable) => $crate::tools::Refused::unavailable(&unavailable, $repeat),
            other => $crate::tools::Refused::because(other),
        }
    };
}
use refused;

pub(crate) const ASK_AGAIN: &str = "Call the tool again in a moment.";

/// Whether a tool may ask a person.
pub(crate) fn may_ask(tool: &str) -> bool {
    [
        cancel_session::DEFINITION.name,
        wait_session::DEFINITION.name,
    ]
    .contains(&tool)
}

/// Calls a tool.
pub(crate) async fn call<P: Ports, F: ClaudeFinder + PolicyChecker + Snapshots>(
    work: &Sessions<P, F>,
    asking: &Asking,
    call: ToolCall,
) -> Result<CallToolResponse, ErrorData> {
    let Some(entry) = ENTRIES
        .iter()
        .find(|entry| entry.definition.name == call.name)
    else {
        let name: String = call.name.chars().take(64).collect();
        return Err(task::invalid_params(format!(
            "there is no tool named {name}; tools/list shows those there are"
        )));
    };
    let wants_task = call.asked.wants_task();
    let compiled = entry
        .arguments
        .get_or_init(|| arguments::Arguments::compile(&entry.tool.input_schema));
    let done = match compiled.check(Value::Object(call.arguments.clone())) {
        Err(problems) => Err(Refused(format!("invalid arguments: {problems}"))),
        Ok(arguments) => run(work, entry.definition.name, asking, &call, arguments).await,
    };
    Ok(match done {
        Ok(Done {
            turn: Some((id, accepted_at)),
            text,
            ..
        }) if wants_task => {
            CallToolResponse::Task(task::created(&work.deployment, &id, accepted_at, text))
        }
        Ok(done) => {
            let name = entry.definition.name;
            let long = LONG_RESULTS.contains(&name);
            let schema = entry.tool.output_schema.as_deref();
            let promise = entry
                .promise
                .get_or_init(|| outcome::Promise::compile(name, schema));
            CallToolResponse::Complete(outcome::result(
                done.structured,
                done.text,
                done.elsewhere,
                long,
                promise,
            ))
        }
        Err(Refused(text)) => {
            CallToolResponse::Complete(CallToolResult::error(vec![ContentBlock::text(text)]))
        }
    })
}

async fn run<P: Ports, F: ClaudeFinder + PolicyChecker + Snapshots>(
    work: &Sessions<P, F>,
    name: &str,
    asking: &Asking,
    call: &ToolCall,
    arguments: Value,
) -> Result<Done, Refused> {
    let caller = &call.asked.principal;
    match name {
        "create_session" => create_session::run(work, caller, read(arguments)?).await,
        "wait_session" => {
            let progress = call.asked.progress();
            wait_session::run(work, caller, asking, progress.as_ref(), read(arguments)?).await
        }
        "send_message" => send_message::run(work, caller, read(arguments)?).await,
        "run_command" => run_command::run(work, caller, read(arguments)?).await,
        "get_session" => get_session::run(work, caller, read(arguments)?).await,
        "list_sessions" => list_sessions::run(work, caller, read(arguments)?).await,
        "interrupt_session" => interrupt_session::run(work, caller, read(arguments)?).await,
        "cancel_session" => cancel_session::run(work, caller, asking, read(arguments)?).await,
        "read_file" => read_file::run(work, caller, read(arguments)?).await,
        "list_approvals" => list_approvals::run(work, caller, read(arguments)?).await,
        "answer_question" => answer_question::run(work, caller, read(arguments)?).await,
        "suspend_session" => suspend_session::run(work, caller, read(arguments)?).await,
        "create_checkpoint" => create_checkpoint::run(work, caller, read(arguments)?).await,
        "list_checkpoints" => list_checkpoints::run(work, caller, read(arguments)?).await,
        "diff_checkpoints" => diff_checkpoints::run(work, caller, read(arguments)?).await,
        "export_workspace" => export_workspace::run(work, caller, read(arguments)?).await,
        "pin_checkpoint" => pin_checkpoint::run(work, caller, read(arguments)?).await,
        "name_checkpoint" => name_checkpoint::run(work, caller, read(arguments)?).await,
        "restore_checkpoint" => restore_checkpoint::run(work, caller, read(arguments)?).await,
        "fork_session" => fork_session::run(work, caller, read(arguments)?).await,
        "get_timeline" => get_timeline::run(work, caller, read(arguments)?).await,
        "delete_session" => delete_session::run(work, caller, read(arguments)?).await,
        "create_upload" => create_upload::run(work, caller, read(arguments)?).await,
        "check_policy" => check_policy::run(work, caller, read(arguments)?).await,
        "find_claude_binary" => find_claude_binary::run(work, caller).await,
        "query_audit" => query_audit::run(work, caller, read(arguments)?).await,
        "verify_audit" => verify_audit::run(work, caller, read(arguments)?).await,
        // The table and this list are compared by a test.
        other => Err(Refused(format!("{other} is not served"))),
    }
}

/// Arguments that passed the schema, as the tool wants them. What still does not fit is a number
/// beyond what the type holds.
fn read<T: DeserializeOwned>(arguments: Value) -> Result<T, Refused> {
    serde_json::from_value(arguments)
        .map_err(|error| Refused(format!("invalid arguments: {error}")))
}

/// Where a session of the caller would be.
fn key(principal: &Principal, session_id: &str) -> Result<SessionKey, Refused> {
    Ok(SessionKey {
        owner: principal.owner.clone(),
        session: SessionId::parse(session_id).map_err(Refused::because)?,
    })
}

fn session_id_schema() -> Value {
    json!({"type": "string", "description": "The session, as create_session returned it (ses_…)."})
}

fn state_schema() -> Value {
    let states: Vec<&str> = domain::State::ALL
        .iter()
        .map(|state| state.as_str())
        .collect();
    json!({"type": "string", "enum": states, "description": "Where the session is; completed, failed, cancelled and timed_out are ends. waiting: it asks a person something (answer_question), or needs their approval (list_approvals). suspended: it holds no machine, and goes on with the next message or answer. lost and resuming: it goes on by itself from its latest checkpoint."})
}

fn message_id_schema(description: &str) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z0-9._-]+$", "description": description})
}

fn attachments_schema() -> Value {
    json!({
        "type": "array",
        "maxItems": domain::limits::ATTACHMENTS,
        "description": "Uploaded files that come with the message; the session finds them under .attachments/ of its workspace.",
        "items": {
            "type": "object",
            "additionalProperties": false,
            "required": ["upload_id", "name"],
            "properties": {
                "upload_id": {"type": "string", "description": "As create_upload returned it (upl_…)."},
                "name": {"type": "string", "description": "File name under which the session finds it, without directories."}
            }
        }
    })
}

/// How a turn ended, in the results of tasks.
fn turn_schema() -> Value {
    json!({
        "type": "object",
        "description": "How the turn ended; only in the result of a task.",
        "properties": {
            "subtype": {"type": "string"},
            "is_error": {"type": "boolean"},
            "text": {"type": "string", "description": "The final text, or what went wrong."},
            "terminal_reason": {"type": "string"},
            "total_cost_usd": {"type": "number"},
            "duration_ms": {"type": "integer"},
            "model_turns": {"type": "integer"},
            "usage": {"type": "object"},
            "messages": {"type": "array", "items": {"type": "string"}}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_compiles_and_closes() {
        for entry in ENTRIES.iter() {
            let name = entry.definition.name;
            for schema in [
                &entry.tool.input_schema,
                entry.tool.output_schema.as_ref().expect("each has one"),
            ] {
                let schema = Value::Object(schema.as_ref().clone());
                jsonschema::draft202012::meta::validate(&schema)
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                jsonschema::draft202012::new(&schema)
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(schema["additionalProperties"], false, "{name}");
                assert_eq!(schema["type"], "object", "{name}");
            }
        }
    }

    #[test]
    fn the_list_of_tools_is_what_a_client_sees() {
        let owner = domain::OwnerId::of("i", "s");
        let principal = |scopes: &[&str]| Principal {
            owner: owner.clone(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        };
        let all = allowed(&principal(&["sessions:read", "sessions:write"]));
        insta::assert_json_snapshot!("tools", all);
        let readable: Vec<_> = allowed(&principal(&["sessions:read"]))
            .into_iter()
            .map(|tool| tool.name)
            .collect();
        assert_eq!(
            readable,
            [
                "wait_session",
                "get_session",
                "list_sessions",
                "read_file",
                "list_approvals",
                "list_checkpoints",
                "diff_checkpoints",
                "export_workspace",
                "get_timeline",
                "check_policy",
                "find_claude_binary"
            ]
        );
        assert!(allowed(&principal(&[])).is_empty());
    }
}
