//! `answer_question`: what a person says to a question that holds a turn up.

use std::collections::BTreeMap;

use domain::use_cases::{self, AnswerError};
use domain::{Principal, QuestionId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::find_claude_binary::ClaudeFinder;
use super::{Definition, Done, Effect, Refused, key, refused, session_id_schema};
use crate::work::{Ports, Sessions};

pub(super) const DEFINITION: Definition = Definition {
    name: "answer_question",
    title: "Answer a session's question",
    description: "Answers what a Claude Code session asks a person (state waiting, or suspended meanwhile): its turn goes \
        on with the answers. The question stands in get_session as question and in the log as question_asked. The first \
        answer counts; repeating it does nothing more. Ask your user, unless you know what they want.",
    effect: Effect::AddsOnce,
    input,
    output,
};

fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "question_id", "answers"],
        "properties": {
            "session_id": session_id_schema(),
            "question_id": {"type": "string", "minLength": 1, "maxLength": 48, "description": "The question, as get_session and question_asked name it."},
            "answers": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": {"type": "string"},
                "description": "From the text of each question to its answer: the label of an option, several with commas between them, or words of your own."
            }
        }
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["session_id", "question_id", "answer_state", "repeated"],
        "properties": {
            "session_id": session_id_schema(),
            "question_id": {"type": "string"},
            "answer_state": {"type": "string", "enum": ["queued", "taken", "done", "withdrawn", "not_done"], "description": "How far the answer is."},
            "repeated": {"type": "boolean", "description": "The same answer was there already; nothing was done."}
        }
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    session_id: String,
    question_id: String,
    /// Sorted, so that the same answers are the same command.
    answers: BTreeMap<String, String>,
}

pub(super) async fn run<P: Ports, F: ClaudeFinder>(
    work: &Sessions<P, F>,
    principal: &Principal,
    input: Input,
) -> Result<Done, Refused> {
    let writer = principal.authorize().map_err(Refused::because)?;
    let key = key(principal, &input.session_id)?;
    let question = QuestionId::parse(&input.question_id).map_err(Refused::because)?;
    let answer = use_cases::AnswerQuestion {
        key: key.clone(),
        question: question.clone(),
        answers: json!(input.answers).to_string(),
    };
    let answered = use_cases::answer_question(&work.ports, &work.deployment, &writer, answer)
        .await
        .map_err(|error| {
            let repeat = "Call again with the same answers.";
            refused!(error, AnswerError::Unavailable, repeat)
        })?;
    let state = answered.command.state.as_str();
    let structured = json!({
        "session_id": key.session.as_str(),
        "question_id": question.as_str(),
        "answer_state": state,
        "repeated": answered.repeated,
    });
    let text = format!(
        "the answer is {state}; call wait_session with session_id {} to see what comes of it",
        key.session
    );
    Ok(Done::new(structured, text))
}
