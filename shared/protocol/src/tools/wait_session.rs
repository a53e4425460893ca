//! `wait_session`: the events of a session after a cursor, waited for during a bounded time. When
//! the session asks a person something meanwhile, so does this tool, and goes on with the answer.

use domain::approval::Way;
use domain::checkpoint::PendingQuestion;
use domain::ports::Clock;
use domain::use_cases::{
    self, AnswerError, AnswerQuestion, DecideApproval, DecideError, Observer, Until, WaitError,
    Waited,
};
use domain::{ApprovalRequest, Cursor, Event, Principal, limits};
use serde::Deserialize;
use serde_json::{Value, json};

use super::delivery::Delivery;
use super::find_claude_binary::ClaudeFinder;
use super::{
    ASK_AGAIN, Definition, Done, Effect, Refused, key, refused, session_id_schema, state_schema,
};
use crate::approval;
use crate::ask::Asking;
use crate::asked::Progress;
use crate::question::{self, Filled};
use crate::resources::CONTENT_CHARACTERS;
use crate::show;
use crate::work::{Ports, Sessions};

/// Most characters of events in one answer, whatever the budget: in both forms, with what stands
/// around them, they stay within what clients take.
const MOST_BUDGET_CHARACTERS: usize = CONTENT_CHARACTERS / 5 * 3;
/// The same of live text, its end.
const LIVE_CHARACTERS: usize = 4000;

pub(super) const DEFINITION: Definition = Definition {
    name: "wait_session",
    title: "Watch a session",
    description: "Waits for a Claude Code session to get somewhere and returns what happened since the cursor: \
        texts, tool calls with inputs and results, changed files, costs. Answers when the session has nothing left \
        to do, when the answer is full, or when wait_seconds are over. Pass next_cursor of one answer as cursor of \
        the next until state is idle or an end and more is false; the same cursor always gives the same events. \
        When the session asks a person something (state waiting), your user is asked, if your client can; otherwise \
        the answer has the question, and answer_question answers it; when a call needs a person's approval, the answer has the address where they decide.",
    effect: Effect::Reads,
    input,
    output,
};

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id"],
        "properties": {
            "session_id": session_id_schema(),
            "cursor": {"type": "string", "description": "next_cursor of the answer before; from the beginning when left out."},
            "wait_seconds": {"type": "integer", "minimum": 0, "description": "Longest wait; 0 answers at once and asks nobody. Usually 25 when left out, and at most 50."},
            "until": {"type": "string", "enum": ["idle", "event"], "default": "idle", "description": "idle waits until the session has nothing left to do; event also answers as soon as anything new happened."},
            "response_budget_characters": {"type": "integer", "minimum": 500, "maximum": 100_000, "description": "About how many characters of events one answer may have; more than 60000 never come at once."}
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "state", "cursor", "next_cursor", "more", "events", "total_cost_usd", "pending_messages"],
        "properties": {
            "session_id": session_id_schema(),
            "state": state_schema(),
            "end_reason": {"type": "string", "description": "Why it ended, and what to do about it."},
            "cursor": {"type": "string", "description": "Where this answer begins."},
            "next_cursor": {"type": "string", "description": "Where the next call goes on."},
            "more": {"type": "boolean", "description": "There are more events already: call again at once with next_cursor."},
            "events": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["sequence", "turn", "time_unix_ms", "kind", "body"],
                    "properties": {
                        "sequence": {"type": "integer", "description": "Its place in the log, without gaps."},
                        "turn": {"type": "integer"},
                        "time_unix_ms": {"type": "integer"},
                        "kind": {"type": "string", "description": "session_created, runner_started, workspace_ready, session_ready, message_taken, message_withdrawn, turn_started, text, thinking, tool_call, tool_allowed, tool_denied, tool_result, command_started, command_ended, retry, turn_ended, files_changed, checkpoint_created, question_asked, question_answered, approval_requested, approval_decided, runner_lost, session_resumed, session_forked, rewound, notice, state_changed or session_ended."},
                        "message_id": {"type": "string", "description": "The message that caused it."},
                        "body": {"type": "object", "description": "What the kind says."},
                        "whole_body_bytes": {"type": "integer", "description": "Present when body is only the beginning of something this long."},
                        "shortened": {"type": "boolean", "description": "Texts of body were cut to fit response_budget_characters; a larger budget shows more."}
                    }
                }
            },
            "live": {
                "type": "object",
                "additionalProperties": false,
                "required": ["text"],
                "description": "What the session is writing right now, the end of it; it comes again as an event when it is finished.",
                "properties": {"text": {"type": "string"}}
            },
            "question": {
                "type": "object",
                "additionalProperties": false,
                "required": ["question_id", "input", "asked_at_unix_ms"],
                "description": "What it asks a person; answer_question answers it.",
                "properties": {
                    "question_id": {"type": "string"},
                    "input": {"description": "The questions and what can be chosen."},
                    "asked_at_unix_ms": {"type": "integer"}
                }
            },
            "approval": approval::schema("The call that waits for a person's approval, and where they decide."),
            "total_cost_usd": {"type": "number"},
            "pending_messages": {"type": "integer", "description": "Messages that the session has not taken yet."}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    cursor: Option<String>,
    wait_seconds: Option<u64>,
    until: Option<String>,
    response_budget_characters: Option<usize>,
}

/// Tells the client of each event while the answer is not there yet.
struct Watching<'a, C> {
    clock: &'a C,
    progress: Option<&'a Progress>,
    budget: usize,
    /// Up to here: after a question the same events are read again, and progress only grows.
    told: u64,
    delivery: Delivery,
}

impl<C: Clock> Observer for Watching<'_, C> {
    async fn event(&mut self, event: &Event, came: bool) {
        if event.sequence.0 <= self.told {
            return;
        }
        self.told = event.sequence.0;
        if came {
            self.delivery.count(event, self.clock.now());
        }
        if let Some(progress) = self.progress {
            // Sequences only grow, as progress must.
            #[expect(
                clippy::cast_precision_loss,
                reason = "a log has far fewer than 2^53 events"
            )]
            let position = event.sequence.0 as f64;
            progress.report(position, None, show::line(event)).await;
        }
    }

    fn characters(&self, event: &Event) -> usize {
        // A longer one is shortened to the budget when it is shown.
        show::characters(&show::event(event)).min(self.budget)
    }
}

/// Reads, except that an answer to the session's question is recorded: the first one counts, so
/// that running it twice answers once. Stopped after that, the session goes on with the answer all
/// the same.
pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    asking: &Asking,
    progress: Option<&Progress>,
    input: Input,
) -> Result<Done, Refused> {
    let reader = principal.authorize().map_err(Refused::because)?;
    let key = key(principal, &input.session_id)?;
    let cursor = match input.cursor.as_deref() {
        None => Cursor::default(),
        Some(text) => Cursor::parse(text).map_err(Refused::because)?,
    };
    let budget = input
        .response_budget_characters
        .unwrap_or(work.deployment.response_budget_characters)
        .min(MOST_BUDGET_CHARACTERS);
    let request = use_cases::WaitSession {
        key,
        cursor,
        until: match input.until.as_deref() {
            Some("event") => Until::Event,
            _ => Until::Idle,
        },
        wait_seconds: input.wait_seconds,
        response_budget_characters: Some(budget),
    };
    let mut watching = Watching {
        clock: &work.ports,
        progress,
        budget,
        told: cursor.0.0,
        delivery: Delivery::default(),
    };
    let mut questions = 0;
    loop {
        let waited = use_cases::wait_session(
            &work.ports,
            &work.deployment,
            &reader,
            &request,
            &mut watching,
        )
        .await
        .map_err(|error| refused!(error, WaitError::Unavailable, ASK_AGAIN))?;
        // What cannot be shown yet is not asked yet.
        let open = match waited.more {
            true => None,
            false => use_cases::open_question(&work.ports, &waited.head)
                .await
                .map_err(|unavailable| Refused::unavailable(&unavailable, ASK_AGAIN))?,
        };
        let Some(open) = open else {
            return Ok(shown(work, &waited, cursor, budget, None));
        };
        let at_once = input.wait_seconds == Some(0);
        if at_once || questions == limits::ROUNDS {
            return Ok(shown(work, &waited, cursor, budget, Some((open, None))));
        }
        questions += 1;
        match ask(work, principal, asking, &waited, open).await? {
            None => {}
            Some(why) => {
                let question = Some((open, Some(why)));
                return Ok(shown(work, &waited, cursor, budget, question));
            }
        }
    }
}

/// Asks the caller what the session asks. `None` when it is answered; otherwise why not.
async fn ask<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    asking: &Asking,
    waited: &Waited,
    open: &PendingQuestion,
) -> Result<Option<String>, Refused> {
    if let Some(request) = &open.approval {
        return ask_approval(work, principal, asking, waited, open, request).await;
    }
    let writer = match principal.authorize() {
        Ok(writer) => writer,
        Err(missing) => return Ok(Some(missing.to_string())),
    };
    let Some(form) = question::form(&waited.head.title, open) else {
        return Ok(Some("it has no form to fill in".to_owned()));
    };
    let answered = match asking.ask(open.id.as_str(), form).await {
        Ok(answered) => answered,
        // Of these words the client sees none when it is told to ask and to come again.
        Err(why) => return Ok(Some(why.to_string())),
    };
    let answers = Filled::read(&answered).and_then(|filled| filled.answers(open));
    let Some(answers) = answers.map_err(Refused)? else {
        return Ok(Some("your user closed it without an answer".to_owned()));
    };
    let answer = AnswerQuestion {
        key: waited.head.key.clone(),
        question: open.id.clone(),
        answers,
    };
    match use_cases::answer_question(&work.ports, &work.deployment, &writer, answer).await {
        Ok(_) => Ok(None),
        // Somebody was faster, or the session went on by itself: see what came of it.
        Err(
            AnswerError::AlreadyAnswered
            | AnswerError::NoQuestion
            | AnswerError::OtherQuestion(_)
            | AnswerError::Ended(_),
        ) => Ok(None),
        Err(error) => Err(refused!(error, AnswerError::Unavailable, ASK_AGAIN)),
    }
}

/// The same for an approval: a form decides only for those who may approve and where the deployment
/// permits it. All others are told where a person decides.
async fn ask_approval<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    asking: &Asking,
    waited: &Waited,
    open: &PendingQuestion,
    request: &ApprovalRequest,
) -> Result<Option<String>, Refused> {
    let (Some(approver), Some(form)) = (
        approval::by_form(&work.deployment, principal, asking.client()),
        approval::form(&waited.head.title, open, request),
    ) else {
        return Ok(Some(String::new()));
    };
    let answered = match asking.ask(open.id.as_str(), form).await {
        Ok(answered) => answered,
        Err(why) => return Ok(Some(why.to_string())),
    };
    let Some(decision) = approval::filled(&answered).map_err(Refused)? else {
        return Ok(Some("your user closed it without a decision".to_owned()));
    };
    let decide = DecideApproval {
        key: waited.head.key.clone(),
        approval: open.id.clone(),
        digest: request.digest.clone(),
        decision,
        way: Way::Elicitation,
    };
    match use_cases::decide_approval(&work.ports, &work.deployment, &approver, decide).await {
        Ok(_) => Ok(None),
        // Somebody was faster, or the session went on by itself: see what came of it.
        Err(
            DecideError::AlreadyDecided
            | DecideError::NotWaiting
            | DecideError::Expired(_)
            | DecideError::Ended(_),
        ) => Ok(None),
        Err(error) => Err(refused!(error, DecideError::Unavailable, ASK_AGAIN)),
    }
}

/// The answer, with the question that waits and why it was not answered here.
fn shown<P, F>(
    work: &Sessions<P, F>,
    waited: &Waited,
    cursor: Cursor,
    budget: usize,
    question: Option<(&PendingQuestion, Option<String>)>,
) -> Done {
    let head = &waited.head;
    let events: Vec<Value> = waited
        .events
        .iter()
        .map(|event| {
            let mut shown = show::event(event);
            if show::shorten(&mut shown["body"], budget) {
                shown["shortened"] = true.into();
            }
            shown
        })
        .collect();
    let mut structured = json!({
        "session_id": head.key.session.as_str(),
        "state": head.state.as_str(),
        "cursor": cursor.to_string(),
        "next_cursor": waited.next_cursor.to_string(),
        "more": waited.more,
        "events": events,
        "total_cost_usd": head.total_cost_usd,
        "pending_messages": head.queued(),
    });
    let mut text: Vec<String> = waited.events.iter().map(show::paragraph).collect();
    if let Some(live) = &waited.live {
        let earlier = live.text.chars().count().saturating_sub(LIVE_CHARACTERS);
        let live: String = live.text.chars().skip(earlier).collect();
        text.push(format!("(writing) {live}"));
        structured["live"] = json!({"text": live});
    }
    if let Some(reason) = &head.end_reason {
        structured["end_reason"] = reason.as_str().into();
    }
    text.push(format!(
        "{}; next_cursor {}",
        show::session_line(head),
        waited.next_cursor
    ));
    if waited.more {
        text.push("There is more: call wait_session again with next_cursor.".to_owned());
    }
    if let Some((open, _)) = &question
        && let Some(request) = &open.approval
    {
        let address = work.pages.address(&head.key, open, request);
        structured["approval"] = approval::shown(open, request, Some(&address));
        text.push(approval::words(open, request, &address));
    } else if let Some((open, why)) = question {
        structured["question"] = question::shown(open);
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        text.push(format!(
            "It asks a person{why}: {}\nAnswer with answer_question, question_id {}.",
            show::cut(&question::words(open), show::TEXT_CHARACTERS),
            open.id
        ));
    }
    Done::new(structured, text.join("\n"))
}
