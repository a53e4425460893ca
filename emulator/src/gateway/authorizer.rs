//! Lambda authorizers of type REQUEST and the cache of their answers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::request::Parts;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};

use super::{event::API_ID, find_authorizer, refusal::Refusal};
use crate::{
    lambda::{Lambda, Outcome},
    template::{ACCOUNT, Authorizer, REGION},
};

/// Answers kept; when there are more, the old ones go, and if none is old, all.
const MOST_CACHED: usize = 10_000;

/// Name of the authorizer and the caller's identity.
type Identity = (String, Vec<String>);

pub(super) struct Authorizers {
    all: Vec<Authorizer>,
    cache: Mutex<HashMap<Identity, (Instant, Arc<Answer>)>>,
}

/// What an authorizer said about an identity, for all of the API.
#[derive(Debug)]
struct Answer {
    statements: Vec<Value>,
    /// `requestContext.authorizer` of the requests it allows.
    context: Value,
}

impl Authorizers {
    pub(super) fn new(all: Vec<Authorizer>) -> Self {
        Self {
            all,
            cache: Mutex::default(),
        }
    }

    /// The authorizer's context for the request, if it is allowed.
    pub(super) async fn check(
        &self,
        name: &str,
        parts: &Parts,
        event: &Value,
        lambda: &Lambda,
        limit: Instant,
    ) -> Result<Value, Refusal> {
        let authorizer = find_authorizer(&self.all, name).ok_or(Refusal::AuthorizerFailed)?;
        let identity = identity(authorizer, parts).ok_or(Refusal::Unauthorized)?;
        let key = (name.to_owned(), identity);
        let arn = method_arn(event);
        let answer = match self.cached(&key) {
            Some(answer) => answer,
            None => {
                let answer = Arc::new(ask(authorizer, event, &arn, lambda, limit).await?);
                self.keep(key, authorizer, answer.clone());
                answer
            }
        };
        match verdict(&answer.statements, &arn) {
            Some(true) => Ok(answer.context.clone()),
            Some(false) => Err(Refusal::ExplicitDeny),
            None => Err(Refusal::ImplicitDeny),
        }
    }

    fn cached(&self, key: &Identity) -> Option<Arc<Answer>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, answer) = cache.get(key)?;
        (*until > Instant::now()).then(|| answer.clone())
    }

    fn keep(&self, key: Identity, authorizer: &Authorizer, answer: Arc<Answer>) {
        if authorizer.ttl_seconds == 0 {
            return;
        }
        let now = Instant::now();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MOST_CACHED {
            cache.retain(|_, (until, _)| *until > now);
        }
        if cache.len() >= MOST_CACHED {
            cache.clear();
        }
        let until = now + Duration::from_secs(authorizer.ttl_seconds.into());
        cache.insert(key, (until, answer));
    }
}

/// The values of the identity headers; `None` when one is missing or empty.
fn identity(authorizer: &Authorizer, parts: &Parts) -> Option<Vec<String>> {
    let headers = authorizer.identity_headers.iter().map(|name| {
        let values = parts.headers.get_all(name).iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let value = values.collect::<Vec<_>>().join(",");
        (!value.trim().is_empty()).then_some(value)
    });
    headers.collect()
}

fn method_arn(event: &Value) -> String {
    let context = &event["requestContext"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!(
        "arn:aws:execute-api:{REGION}:{ACCOUNT}:{API_ID}/{}/{}{}",
        text(&context["stage"]),
        text(&event["httpMethod"]),
        text(&event["path"])
    )
}

async fn ask(
    authorizer: &Authorizer,
    event: &Value,
    arn: &str,
    lambda: &Lambda,
    limit: Instant,
) -> Result<Answer, Refusal> {
    let mut question = event.clone();
    if let Some(question) = question.as_object_mut() {
        question.remove("body");
        question.remove("isBase64Encoded");
        question.insert("type".into(), json!("REQUEST"));
        question.insert("methodArn".into(), json!(arn));
    }
    let failed = |reason: &str| {
        tracing::warn!(
            authorizer = authorizer.name,
            reason,
            "the authorizer failed"
        );
        Refusal::AuthorizerFailed
    };
    let began = Instant::now();
    let question = Bytes::from(question.to_string());
    let outcome = timeout_at(limit, lambda.invoke(&authorizer.function, question))
        .await
        .map_err(|_| failed("timed out"))?
        .map_err(|error| failed(&error.to_string()))?;
    let body = match outcome {
        Outcome::Buffered(body) => body,
        Outcome::Streaming(_) => return Err(failed("it streams")),
        Outcome::Failed(error) => {
            let said: Value = serde_json::from_slice(&error.body).unwrap_or_default();
            // The one error message that has a meaning here.
            if said["errorMessage"] == "Unauthorized" {
                return Err(Refusal::Unauthorized);
            }
            return Err(failed(&error.error_type));
        }
    };
    let said: Value = serde_json::from_slice(&body).map_err(|_| failed("not JSON"))?;
    read_answer(&said, began.elapsed()).map_err(failed)
}

fn read_answer(said: &Value, took: Duration) -> Result<Answer, &'static str> {
    let statements = match &said["policyDocument"]["Statement"] {
        Value::Array(statements) => statements.clone(),
        statement @ Value::Object(_) => vec![statement.clone()],
        _ => return Err("it gave no policy"),
    };
    let principal = said["principalId"].as_str().ok_or("it gave no principal")?;
    let mut context = Map::new();
    for (name, value) in said["context"].as_object().into_iter().flatten() {
        // Functions see texts, whatever the authorizer gave.
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            _ => return Err("its context has values that are not scalar"),
        };
        context.insert(name.clone(), json!(text));
    }
    context.insert("principalId".into(), json!(principal));
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    context.insert("integrationLatency".into(), json!(milliseconds));
    Ok(Answer {
        statements,
        context: Value::Object(context),
    })
}

/// Denied, allowed, or nothing said.
fn verdict(statements: &[Value], arn: &str) -> Option<bool> {
    let applies = |statement: &&Value| {
        any(&statement["Action"], "execute-api:Invoke") && any(&statement["Resource"], arn)
    };
    let mut allowed = None;
    for statement in statements.iter().filter(applies) {
        match statement["Effect"].as_str() {
            Some("Deny") => return Some(false),
            Some("Allow") => allowed = Some(true),
            _ => {}
        }
    }
    allowed
}

fn any(patterns: &Value, text: &str) -> bool {
    match patterns {
        Value::String(pattern) => matches(pattern, text),
        Value::Array(patterns) => patterns.iter().any(|pattern| any(pattern, text)),
        _ => false,
    }
}

/// IAM's wildcards: `*` for any text, `?` for one character. Case matters not for actions, and our
/// resources differ in more than case.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut position) = (0, 0);
    let mut star = None;
    while position < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, position));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || wanted.eq_ignore_ascii_case(&text[position]) => {
                at += 1;
                position += 1;
            }
            _ => match star {
                // The last star takes one character more.
                Some((star_at, taken)) => {
                    at = star_at + 1;
                    position = taken + 1;
                    star = Some((star_at, taken + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}
