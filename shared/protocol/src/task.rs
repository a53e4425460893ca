//! The tasks extension (`io.modelcontextprotocol/tasks`): a task is one turn, seen through the
//! message that started it. Everything is read from the session's records, so that any instance
//! answers; nothing is kept here.

use domain::approval::Way;
use domain::checkpoint::PendingQuestion;
use domain::event::TurnEnd;
use domain::ports::{Clock, Compute, IdSource, Inbox, SessionDirectory, Unavailable};
use domain::use_cases::{
    AnswerError, AnswerQuestion, DecideApproval, DecideError, TaskError, TaskState,
    answer_question, cancel_task, decide_approval, get_task, given_answers, given_decision,
};
use domain::{
    Command, CommandOutcome, CommandState, Deployment, Head, Principal, QuestionId, Sequence,
    State, TaskId,
};
use rmcp::ErrorData;
use rmcp::model::{
    CallToolResult, ClientCapabilities, ContentBlock, CreateTaskResult, DetailedTask, ErrorCode,
    GetTaskResult, InputRequest, InputResponses, JsonObject, Resource, Task, TaskPayload,
    TaskStatus,
};
use serde_json::{Value, json};

use crate::answer::INTERNAL_ERROR;
use crate::approval::{self, Pages};
use crate::asked::Asked;
use crate::question::{Filled, form, words};
use crate::resources::Address;
use crate::timestamp::to_rfc3339;
use crate::tools::outcome::Size;
use crate::{ask, show};

/// Between two looks at a turn that runs.
const POLL_MS: u64 = 5000;
/// The same while a person waits: for the start, or for what comes of an answer.
const FIRST_POLL_MS: u64 = 1000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The handle of the turn that a recorded message starts.
pub(crate) fn created(
    deployment: &Deployment,
    id: &TaskId,
    accepted_at: domain::UnixMillis,
    message: String,
) -> CreateTaskResult {
    let accepted = to_rfc3339(accepted_at);
    CreateTaskResult::new(
        Task::new(
            id.to_string(),
            TaskStatus::Working,
            accepted.clone(),
            accepted,
        )
        .with_status_message(message)
        .with_ttl_ms(deployment.retention_days * DAY_MS)
        .with_poll_interval_ms(FIRST_POLL_MS),
    )
}

/// `tasks/get`.
pub(crate) async fn get<P>(
    ports: &P,
    deployment: &Deployment,
    pages: &Pages,
    asked: &Asked,
    id: &str,
) -> Result<GetTaskResult, ErrorData>
where
    P: SessionDirectory + Inbox + Compute + Clock,
{
    let id = parse(id)?;
    let reader = asked.principal.authorize().map_err(missing_scope)?;
    let (state, head, command) = get_task(ports, &reader, &id).await.map_err(refused)?;
    let viewer = Viewer {
        client: &asked.capabilities,
        pages: Some(pages),
        approves: approval::by_form(deployment, &asked.principal, asked.client().as_deref())
            .is_some(),
    };
    Ok(shown(deployment, &viewer, &id, state, &head, &command))
}

/// `tasks/update`: answers to what the turn asks, by the question's id. The first answer counts;
/// the same again is acknowledged, whatever has become of the task, another one is refused. A form
/// that a person closed answers nothing. Stopped in between, what was answered stays answered.
pub(crate) async fn update<P>(
    ports: &P,
    deployment: &Deployment,
    asked: &Asked,
    id: &str,
    responses: InputResponses,
) -> Result<(), ErrorData>
where
    P: SessionDirectory + Inbox + Compute + Clock,
{
    let id = parse(id)?;
    let reader = asked.principal.authorize().map_err(missing_scope)?;
    let (state, head, _) = get_task(ports, &reader, &id).await.map_err(refused)?;
    for (name, response) in responses {
        let bad = |problem: &str| {
            let name: String = name.chars().take(64).collect();
            ErrorData::invalid_params(format!("inputResponses.{name}: {problem}"), None)
        };
        let unknown = || bad("the task asks for no input of this name");
        let question = QuestionId::parse(&name).map_err(|_| unknown())?;
        let is_approval = match &state {
            TaskState::InputRequired(open) if open.id == question => open.approval.is_some(),
            _ => given_decision(ports, &head.key, &question)
                .await
                .map_err(|error| refused(error.into()))?
                .is_some(),
        };
        if is_approval {
            let decided = decide(ports, deployment, asked, &state, &head, question, &response);
            decided.await.map_err(|problem| match problem {
                NotDecided::Words(words) => bad(&words),
                NotDecided::Unavailable(unavailable) => refused(unavailable.into()),
            })?;
            continue;
        }
        let filled = Filled::read(&response).map_err(|problem| bad(&problem))?;
        let open = match &state {
            TaskState::InputRequired(open) if open.id == question => open,
            _ => {
                let given = given_answers(ports, &head.key, &question).await;
                match given.map_err(|error| refused(error.into()))? {
                    Some(given) if filled.are(&given) => continue,
                    Some(_) => return Err(bad(&AnswerError::AlreadyAnswered.to_string())),
                    None => return Err(unknown()),
                }
            }
        };
        let Some(answers) = filled.answers(open).map_err(|problem| bad(&problem))? else {
            continue;
        };
        let writer = asked.principal.authorize().map_err(missing_scope)?;
        let answer = AnswerQuestion {
            key: head.key.clone(),
            question,
            answers,
        };
        match answer_question(ports, deployment, &writer, answer).await {
            Ok(_) => {}
            Err(AnswerError::Unavailable(unavailable)) => return Err(refused(unavailable.into())),
            Err(error) => return Err(bad(&error.to_string())),
        }
    }
    Ok(())
}

enum NotDecided {
    Words(String),
    Unavailable(Unavailable),
}

/// A decision that comes as a task's input: of those who may approve, and as safe to repeat as
/// [`decide_approval`].
async fn decide<P>(
    ports: &P,
    deployment: &Deployment,
    asked: &Asked,
    state: &TaskState,
    head: &Head,
    approval: QuestionId,
    response: &Value,
) -> Result<(), NotDecided>
where
    P: SessionDirectory + Inbox + Compute + Clock,
{
    let words = |words: &str| NotDecided::Words(words.to_owned());
    let approver = approval::by_form(deployment, &asked.principal, asked.client().as_deref())
        .ok_or_else(|| words("a person decides this on its page, which list_approvals names"))?;
    let Some(decision) = approval::filled(response).map_err(NotDecided::Words)? else {
        return Ok(());
    };
    let digest = match state {
        TaskState::InputRequired(open) if open.id == approval => {
            open.approval.as_ref().map(|request| request.digest.clone())
        }
        _ => given_decision(ports, &head.key, &approval)
            .await
            .map_err(NotDecided::Unavailable)?
            .map(|given| given.digest),
    };
    let decide = DecideApproval {
        key: head.key.clone(),
        approval,
        digest: digest.ok_or_else(|| words("the task asks for no input of this name"))?,
        decision,
        way: Way::Elicitation,
    };
    match decide_approval(ports, deployment, &approver, decide).await {
        Ok(_) => Ok(()),
        Err(DecideError::Unavailable(unavailable)) => Err(NotDecided::Unavailable(unavailable)),
        Err(error) => Err(NotDecided::Words(error.to_string())),
    }
}

/// `tasks/cancel`: takes the message back or interrupts its turn; the session goes on.
pub(crate) async fn cancel<P>(ports: &P, principal: &Principal, id: &str) -> Result<(), ErrorData>
where
    P: SessionDirectory + Inbox + Compute + Clock + IdSource,
{
    let id = parse(id)?;
    let reader = principal.authorize().map_err(missing_scope)?;
    let writer = principal.authorize().map_err(missing_scope)?;
    cancel_task(ports, &reader, &writer, &id)
        .await
        .map_err(refused)
}

/// An id that is no id is as unknown as any other.
fn parse(id: &str) -> Result<TaskId, ErrorData> {
    TaskId::parse(id).map_err(|_| refused(TaskError::NoSuchTask))
}

fn missing_scope(missing: domain::authorization::MissingScope) -> ErrorData {
    ErrorData::invalid_request(missing.to_string(), None)
}

fn refused(error: TaskError) -> ErrorData {
    match &error {
        TaskError::NoSuchTask => ErrorData::invalid_params(error.to_string(), None),
        TaskError::Unavailable(unavailable) => {
            tracing::warn!(
                error = unavailable as &dyn std::error::Error,
                "a task was not served"
            );
            ErrorData::internal_error(format!("{unavailable}; ask again"), None)
        }
    }
}

/// Who looks at a task.
pub(crate) struct Viewer<'a> {
    /// What the client can do.
    pub(crate) client: &'a ClientCapabilities,
    /// Where people approve, where the addresses can be made.
    pub(crate) pages: Option<&'a Pages>,
    /// A form that this client fills in decides on approvals.
    pub(crate) approves: bool,
}

impl Viewer<'_> {
    /// The form for what a turn asks; `None` for those who cannot be asked it.
    fn form(&self, head: &Head, question: &PendingQuestion) -> Option<InputRequest> {
        let form = match &question.approval {
            None => form(&head.title, question),
            Some(_) if !self.approves => None,
            Some(request) => approval::form(&head.title, question, request),
        };
        form.filter(|form| ask::can(self.client, form))
    }

    /// Where somebody can answer who cannot be asked.
    fn words(&self, head: &Head, question: &PendingQuestion) -> String {
        let session = &head.key.session;
        match (&question.approval, self.pages) {
            (Some(request), Some(pages)) => {
                let address = pages.address(&head.key, question, request);
                format!(
                    "session {session}: {}",
                    approval::words(question, request, &address)
                )
            }
            (Some(_), None) => format!(
                "session {session} needs a person's approval; the tool list_approvals says where they \
                 decide"
            ),
            (None, _) => format!(
                "session {session} asks (answer it with the tool answer_question, question_id {}): {}",
                question.id,
                show::cut(&words(question), show::TEXT_CHARACTERS)
            ),
        }
    }
}

/// A task as clients see it.
pub(crate) fn shown(
    deployment: &Deployment,
    viewer: &Viewer<'_>,
    id: &TaskId,
    state: TaskState,
    head: &Head,
    command: &Command,
) -> GetTaskResult {
    // A question that stands there and is answered is one whose answer was not taken yet.
    let waiting = matches!(head.state, State::Requested | State::Provisioning)
        || command.state == CommandState::Queued
        || head.question.is_some();
    let (payload, message) = match state {
        TaskState::InputRequired(question) => {
            match viewer.form(head, &question) {
                Some(form) => (
                    TaskPayload::InputRequired {
                        input_requests: [(question.id.to_string(), form)].into(),
                    },
                    format!("session {} asks a person", head.key.session),
                ),
                // Whoever cannot ask can still say where to answer.
                None => (TaskPayload::Working, viewer.words(head, &question)),
            }
        }
        TaskState::Working => (
            TaskPayload::Working,
            format!("session {} is {}", head.key.session, head.state),
        ),
        TaskState::Completed(end) => (
            TaskPayload::Completed {
                result: result(head, command, &end),
            },
            show::turn_ended(&end),
        ),
        TaskState::Cancelled => (
            TaskPayload::Cancelled,
            "the message was withdrawn or its turn interrupted".to_owned(),
        ),
        TaskState::Failed(reason) => (
            TaskPayload::Failed {
                error: object(json!({"code": INTERNAL_ERROR, "message": reason})),
            },
            reason,
        ),
    };
    // The head's time is the turn's while the turn is the session's newest; never before it began.
    let updated = head.updated_at.max(command.accepted_at);
    let task = Task::new(
        id.to_string(),
        payload.status(),
        to_rfc3339(command.accepted_at),
        to_rfc3339(updated),
    )
    .with_status_message(message)
    .with_ttl_ms(deployment.retention_days * DAY_MS)
    .with_poll_interval_ms(if waiting { FIRST_POLL_MS } else { POLL_MS });
    GetTaskResult::new(DetailedTask::new(task, payload))
}

/// What the tool would have answered, had it waited for the turn: an answer of `create_session`
/// for the session's first message, of `send_message` for the others. The same at every look, so it
/// says nothing of where the session is by now. What is longer than clients take is cut, and a link
/// says where it stands whole.
fn result(head: &Head, command: &Command, end: &TurnEnd) -> JsonObject {
    let mut structured = json!({
        "session_id": head.key.session.as_str(),
        "message_id": command.id.as_str(),
        "turn": show::turn_end(end),
    });
    let mut text = format!(
        "{}\n\n[session {}; {}]",
        end.text,
        head.key.session,
        show::turn_ended(end)
    );
    let mut link = None;
    let whole = match &command.outcome {
        Some(CommandOutcome::CutTurn(_, whole)) => Some(*whole),
        _ => None,
    };
    if whole.is_some() || !Size::of(&structured, &text).fits(false) {
        let session = head.key.session.clone();
        let sequence = whole.and_then(|whole| whole.sequence);
        let uri = match sequence {
            Some(sequence) => Address::Event { session, sequence },
            None => Address::Events {
                session,
                after: Sequence::default(),
                limit: None,
            },
        }
        .to_string();
        let cut = show::cut(&end.text, show::TEXT_CHARACTERS);
        text = format!(
            "{cut}\n\n[session {}; {}; the text has {} bytes and stands whole in the event \
             turn_ended of message {}: {uri}]",
            head.key.session,
            show::turn_ended(end),
            whole.map_or(end.text.len() as u64, |whole| whole.bytes),
            command.id
        );
        structured["turn"]["text"] = cut.into();
        let name = format!("how the turn of message {} ended", command.id);
        link = Some(Resource::new(uri, name).with_mime_type("application/json"));
    }
    let mut contents = vec![ContentBlock::text(text)];
    contents.extend(link.map(ContentBlock::resource_link));
    let mut result = CallToolResult::success(contents);
    result.structured_content = Some(structured);
    result.is_error = Some(end.is_error);
    object(serde_json::to_value(result).unwrap_or_default())
}

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        _ => JsonObject::new(),
    }
}

/// Unknown tools and tasks share this code.
pub(crate) fn invalid_params(message: String) -> ErrorData {
    ErrorData::new(ErrorCode::INVALID_PARAMS, message, None)
}
