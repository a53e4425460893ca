//! What a session asks a person (the tool `AskUserQuestion` of the CLI), in the forms in which
//! clients get it: as JSON, as words, and as a form to fill in.
//!
//! A form has one field for each question, named as the question itself, and one for words of one's
//! own. So what was filled in can be read without the question, and the same answers are the same
//! command whichever way they come.

use std::collections::BTreeMap;

use domain::checkpoint::PendingQuestion;
use rmcp::model::InputRequest;
use serde_json::{Map, Value, json};

/// Ends the name of the field for words of one's own.
const OWN_WORDS: &str = " (in your own words)";
/// What the session is told when a person would not answer.
const DECLINED: &str = "The user declined to answer this question.";

/// The question as JSON.
pub(crate) fn shown(question: &PendingQuestion) -> Value {
    json!({
        "question_id": question.id.as_str(),
        "input": input(question),
        "asked_at_unix_ms": question.asked_at.0,
    })
}

fn input(question: &PendingQuestion) -> Value {
    serde_json::from_str(&question.input).unwrap_or_else(|_| Value::from(question.input.as_str()))
}

/// One of the questions that stand in one call of the CLI's tool.
struct Part {
    question: String,
    header: Option<String>,
    /// Labels and what they mean.
    options: Vec<(String, String)>,
    several: bool,
}

/// Empty when the input has a form that we do not know.
fn parts(question: &PendingQuestion) -> Vec<Part> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let input = input(question);
    let parts = input["questions"].as_array();
    parts
        .into_iter()
        .flatten()
        .filter_map(|part| {
            let options = part["options"].as_array();
            Some(Part {
                question: text(&part["question"])?,
                header: text(&part["header"]),
                options: options
                    .into_iter()
                    .flatten()
                    .filter_map(|option| {
                        let meaning = text(&option["description"]).unwrap_or_default();
                        Some((text(&option["label"])?, meaning))
                    })
                    .collect(),
                several: part["multiSelect"] == true,
            })
        })
        .collect()
}

/// The question in words.
pub(crate) fn words(question: &PendingQuestion) -> String {
    let parts = parts(question);
    if parts.is_empty() {
        return question.input.clone();
    }
    let lines = parts.iter().map(|part| {
        let mut line = part.question.clone();
        for (label, meaning) in &part.options {
            line.push_str("\n- ");
            line.push_str(label);
            if !meaning.is_empty() {
                line.push_str(": ");
                line.push_str(meaning);
            }
        }
        line
    });
    lines.collect::<Vec<_>>().join("\n\n")
}

/// The question as a form; `None` when its input has a form that we do not know.
pub(crate) fn form(title: &str, question: &PendingQuestion) -> Option<InputRequest> {
    let parts = parts(question);
    if parts.is_empty() {
        return None;
    }
    let mut fields = Map::new();
    for part in &parts {
        let labels: Vec<&str> = part
            .options
            .iter()
            .map(|(label, _)| label.as_str())
            .collect();
        let title = part.header.as_deref().unwrap_or(&part.question);
        let mut own = json!({"type": "string", "title": format!("{title}{OWN_WORDS}")});
        if labels.is_empty() {
            own["title"] = title.into();
            own["description"] = part.question.as_str().into();
            fields.insert(part.question.clone(), own);
            continue;
        }
        let mut choice = json!({"title": title, "description": part.question});
        if part.several {
            choice["type"] = "array".into();
            choice["items"] = json!({"type": "string", "enum": labels});
        } else {
            choice["type"] = "string".into();
            choice["enum"] = json!(labels);
        }
        fields.insert(part.question.clone(), choice);
        fields.insert(format!("{}{OWN_WORDS}", part.question), own);
    }
    serde_json::from_value(json!({
        "method": "elicitation/create",
        "params": {
            "mode": "form",
            "message": format!("Session \u{201c}{title}\u{201d} asks:\n\n{}", words(question)),
            "requestedSchema": {"type": "object", "properties": fields},
        },
    }))
    .ok()
}

/// What a person did with a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// Answers: from each question to its answer.
    In(BTreeMap<String, String>),
    /// They will not answer.
    Declined,
    /// They closed it: the question stays.
    Closed,
}

impl Filled {
    /// Reads the client's result, unchecked as it is.
    ///
    /// # Errors
    /// Words for the client: the result has another form.
    pub(crate) fn read(result: &Value) -> Result<Self, String> {
        match result["action"].as_str() {
            Some("cancel") => return Ok(Self::Closed),
            Some("decline") => return Ok(Self::Declined),
            Some("accept") => {}
            _ => return Err("action must be accept, decline or cancel".to_owned()),
        }
        let Some(content) = result["content"].as_object() else {
            return Err("content must be an object with a field for each question".to_owned());
        };
        let mut answers: BTreeMap<String, String> = BTreeMap::new();
        // A question's choice stands before words of one's own, whatever the order of fields.
        for own in [false, true] {
            for (field, value) in content {
                let question = field.strip_suffix(OWN_WORDS);
                if question.is_some() != own {
                    continue;
                }
                let said = said(value).ok_or_else(|| {
                    let field: String = field.chars().take(64).collect();
                    format!("{field:?} must be a text or a list of texts")
                })?;
                if said.is_empty() {
                    continue;
                }
                let answer = answers
                    .entry(question.unwrap_or(field).to_owned())
                    .or_default();
                if !answer.is_empty() {
                    answer.push_str(", ");
                }
                answer.push_str(&said);
            }
        }
        Ok(Self::In(answers))
    }

    /// The answers (JSON) to a question that waits.
    ///
    /// # Errors
    /// Words for the client: a question has no answer, or something else has one.
    pub(crate) fn answers(self, question: &PendingQuestion) -> Result<Option<String>, String> {
        let asked: Vec<String> = parts(question)
            .into_iter()
            .map(|part| part.question)
            .collect();
        let short = |text: &str| -> String { text.chars().take(64).collect() };
        let answers = match self {
            Self::Closed => return Ok(None),
            Self::Declined => asked
                .into_iter()
                .map(|question| (question, DECLINED.to_owned()))
                .collect(),
            Self::In(answers) => {
                if let Some(missing) = asked.iter().find(|it| !answers.contains_key(*it)) {
                    return Err(format!("{:?} has no answer", short(missing)));
                }
                if let Some(other) = answers.keys().find(|it| !asked.contains(it)) {
                    return Err(format!("{:?} is not asked", short(other)));
                }
                answers
            }
        };
        Ok(Some(json!(answers).to_string()))
    }

    /// Whether these are the answers (JSON) that were given before.
    pub(crate) fn are(&self, given: &str) -> bool {
        let Ok(given) = serde_json::from_str::<BTreeMap<String, String>>(given) else {
            return false;
        };
        match self {
            Self::In(answers) => *answers == given,
            Self::Declined => given.values().all(|answer| answer == DECLINED),
            Self::Closed => true,
        }
    }
}

/// A field's value as one text.
fn said(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Array(several) => {
            let texts: Option<Vec<&str>> = several.iter().map(Value::as_str).collect();
            Some(texts?.join(", "))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use domain::{QuestionId, UnixMillis};

    use super::*;

    fn question() -> PendingQuestion {
        let input = json!({"questions": [
            {"question": "Which color?", "header": "Color", "multiSelect": false,
                "options": [{"label": "Red", "description": "warm"}, {"label": "Blue", "description": "cold"}]},
            {"question": "Which sizes?", "header": "Sizes", "multiSelect": true,
                "options": [{"label": "S"}, {"label": "M"}]},
            {"question": "Why?"}
        ]});
        PendingQuestion {
            id: QuestionId::parse("que_1").expect("an id"),
            tool_use_id: "t".to_owned(),
            input: input.to_string(),
            asked_at: UnixMillis(5),
            approval: None,
        }
    }

    fn filled(content: Value) -> Result<Option<String>, String> {
        Filled::read(&json!({"action": "accept", "content": content}))?.answers(&question())
    }

    #[test]
    fn a_question_is_a_form() {
        let form = form("My session", &question()).expect("a form");
        insta::assert_json_snapshot!("question_form", form);
    }

    #[test]
    fn what_has_another_form_is_shown_as_it_is() {
        let mut odd = question();
        for input in [
            "{}",
            "no JSON",
            r#"{"questions": "x"}"#,
            r#"{"questions": [{"a": 1}]}"#,
        ] {
            odd.input = input.to_owned();
            assert!(form("x", &odd).is_none(), "{input}");
            assert_eq!(words(&odd), input);
        }
    }

    #[test]
    fn answers_are_read_whatever_the_order_of_fields() {
        let answers = filled(json!({
            "Which color? (in your own words)": " as the sea ",
            "Why?": "because",
            "Which sizes?": ["S", "M"],
            "Which color?": "Blue",
        }));
        let expected =
            json!({"Which color?": "Blue, as the sea", "Which sizes?": "S, M", "Why?": "because"});
        let answers = answers.expect("complete").expect("given");
        assert_eq!(answers, expected.to_string());
        let same = json!({"action": "accept", "content": {
            "Which color?": "Blue, as the sea", "Which sizes?": "S, M", "Why?": "because", "x": null
        }});
        assert!(Filled::read(&same).expect("readable").are(&answers));
        let decline = Filled::read(&json!({"action": "decline"})).expect("readable");
        assert!(!decline.are(&answers));
        let declined = decline
            .clone()
            .answers(&question())
            .expect("fine")
            .expect("given");
        assert!(decline.are(&declined));
    }

    #[test]
    fn what_is_no_answer_is_said() {
        let color = json!({"Which color?": "Red", "Which sizes?": ["S"]});
        assert!(filled(color).expect_err("incomplete").contains("Why?"));
        let surplus = json!({"Which color?": "a", "Which sizes?": "b", "Why?": "c", "Who?": "d"});
        assert!(filled(surplus).expect_err("surplus").contains("Who?"));
        for odd in [
            json!({"Why?": 1}),
            json!({"Why?": {}}),
            json!({"Why?": [1]}),
        ] {
            assert!(filled(odd.clone()).is_err(), "{odd}");
        }
        for odd in [
            json!(null),
            json!([]),
            json!({"action": "accept"}),
            json!({"action": 1}),
        ] {
            assert!(Filled::read(&odd).is_err(), "{odd}");
        }
        let closed = Filled::read(&json!({"action": "cancel"})).expect("readable");
        assert_eq!(closed.answers(&question()), Ok(None));
    }
}
