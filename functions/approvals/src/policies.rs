//! Stored policies as JSON, for people with a token: `GET /policies`, and `GET`, `PUT` and `DELETE` of
//! `/policies/{deployment|owner}/{name}`. No tool leads here: a model does not change its own rules.
//!
//! The owner comes from the token. Their own policies need the scope `approve`; changing the
//! deployment's needs `admin`, and whoever may approve can read those, too, because they bind them.

use boot::http::{Body, full, json_response};
use bytes::Bytes;
use domain::authorization::{Administer, Approve, MissingScope};
use domain::ports::{Clock, PolicyBooks, Unavailable};
use domain::use_cases::{
    ChangePolicy, ChangePolicyError, PolicyChanged, PolicyEditor, PolicyLanguage, Seen,
    change_policy,
};
use domain::{PolicyBook, PolicyName, PolicyScope, Principal, StoredPolicy};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use policy::stored::Cedar;
use serde_json::{Value, json};

use crate::json::{self, Answer, error, lacks, nobody, not_allowed, refused};

/// Where they are.
const PATH: &str = "/policies";

/// Answers a request about policies; `None` when it is about something else.
pub(crate) async fn answer<P: PolicyBooks + Clock>(
    ports: &P,
    request: &Request<Bytes>,
    principal: Option<&Principal>,
) -> Option<Response<Body>> {
    let below = request.uri().path().strip_prefix(PATH)?;
    let answered = match below.split('/').collect::<Vec<_>>()[..] {
        [""] => all(ports, request, principal).await,
        ["", scope, name] => one(ports, request, principal, scope, name).await,
        _ => return None,
    };
    Some(answered.unwrap_or_else(|refused| *refused))
}

/// Whose policies an address names.
#[derive(Clone, Copy)]
enum Whose {
    Deployments,
    Owners,
}

impl Whose {
    fn parse(text: &str) -> Result<Self, Box<Response<Body>>> {
        match text {
            "deployment" => Ok(Self::Deployments),
            "owner" => Ok(Self::Owners),
            _ => Err(refused(
                StatusCode::NOT_FOUND,
                "unknown_scope",
                "policies are at /policies/owner/NAME and /policies/deployment/NAME",
            )),
        }
    }

    fn reader(self, principal: &Principal) -> Result<PolicyScope, MissingScope> {
        match self {
            Self::Deployments => principal
                .authorize::<Administer>()
                .map(drop)
                .or_else(|_| principal.authorize::<Approve>().map(drop))
                .map(|()| PolicyScope::Deployment),
            Self::Owners => principal
                .authorize::<Approve>()
                .map(|person| PolicyScope::Owner(person.owner().clone())),
        }
    }

    fn editor(self, principal: &Principal) -> Result<PolicyEditor, MissingScope> {
        match self {
            Self::Deployments => principal.authorize().map(PolicyEditor::Deployment),
            Self::Owners => principal.authorize().map(PolicyEditor::Owner),
        }
    }
}

async fn all<P: PolicyBooks>(
    ports: &P,
    request: &Request<Bytes>,
    principal: Option<&Principal>,
) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(not_allowed("GET, HEAD"));
    }
    let principal = principal.ok_or_else(nobody)?;
    let readable = [Whose::Deployments, Whose::Owners].map(|whose| whose.reader(principal));
    if let [Err(missing), Err(_)] = &readable {
        return Err(lacks(missing));
    }
    let mut shown = Vec::new();
    for scope in readable.iter().flatten() {
        let book = ports.policy_book(scope).await.map_err(unavailable)?;
        shown.extend(book.policies.iter().map(|policy| about(scope, policy)));
        for policy in &book.unreadable {
            shown.push(unreadable(scope, &policy.name, &policy.problem));
        }
    }
    Ok(json_response(StatusCode::OK, &json!({"policies": shown})))
}

async fn one<P: PolicyBooks + Clock>(
    ports: &P,
    request: &Request<Bytes>,
    principal: Option<&Principal>,
    scope: &str,
    name: &str,
) -> Answer {
    let principal = principal.ok_or_else(nobody)?;
    let whose = Whose::parse(scope)?;
    let name = PolicyName::parse(name)
        .map_err(|error| refused(StatusCode::BAD_REQUEST, "wrong_name", &error.to_string()))?;
    match *request.method() {
        Method::GET | Method::HEAD => {
            let scope = whose.reader(principal).map_err(|it| lacks(&it))?;
            let book = ports.policy_book(&scope).await.map_err(unavailable)?;
            show(&book, &name)
        }
        Method::PUT => {
            let editor = whose.editor(principal).map_err(|it| lacks(&it))?;
            let seen = seen(request.headers(), Seen::Nothing)?;
            let text = Some(text(request.body())?);
            change(ports, &editor, ChangePolicy { name, text, seen }).await
        }
        Method::DELETE => {
            let editor = whose.editor(principal).map_err(|it| lacks(&it))?;
            let seen = seen(request.headers(), Seen::Anything)?;
            let text = None;
            change(ports, &editor, ChangePolicy { name, text, seen }).await
        }
        _ => Err(not_allowed("GET, HEAD, PUT, DELETE")),
    }
}

fn show(book: &PolicyBook, name: &PolicyName) -> Answer {
    if let Some(policy) = book.policy(name) {
        let mut shown = about(&book.scope, policy);
        shown["text"] = policy.text.as_str().into();
        return Ok(versioned(StatusCode::OK, policy, &shown));
    }
    match book.problem(name) {
        Some(problem) => {
            let shown = unreadable(&book.scope, name.as_str(), problem);
            Ok(json_response(StatusCode::OK, &shown))
        }
        None => Err(not_there(&book.scope, name)),
    }
}

async fn change<P: PolicyBooks + Clock>(
    ports: &P,
    editor: &PolicyEditor,
    wanted: ChangePolicy,
) -> Answer {
    let scope = editor.scope();
    let name = wanted.name.clone();
    let changed = change_policy(ports, &Cedar, editor, wanted)
        .await
        .map_err(not_changed)?;
    match changed {
        PolicyChanged::Stored(policy) => {
            tracing::info!(scope = scope.kind(), policy = %name, version = policy.version, "a policy is stored");
            let mut shown = about(&scope, &policy);
            shown["changed"] = true.into();
            Ok(versioned(StatusCode::OK, &policy, &shown))
        }
        PolicyChanged::Unchanged(policy) => {
            let mut shown = about(&scope, &policy);
            shown["changed"] = false.into();
            Ok(versioned(StatusCode::OK, &policy, &shown))
        }
        PolicyChanged::Removed => {
            tracing::info!(scope = scope.kind(), policy = %name, "a policy is removed");
            let mut response = Response::new(full(Bytes::new()));
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
        PolicyChanged::NotThere => Err(not_there(&scope, &name)),
    }
}

/// A policy without its text, and what is wrong with it since it was stored, if something is.
fn about(scope: &PolicyScope, policy: &StoredPolicy) -> Value {
    let mut shown = json!({
        "scope": scope.kind(),
        "name": policy.name.as_str(),
        "version": policy.version,
        "digest": policy.digest(),
        "policies": policy.policies,
        "bytes": policy.text.len(),
        "changed_at_unix_ms": policy.changed_at.0,
    });
    if let Err(fault) = Cedar.check(scope, &policy.name, &policy.text) {
        shown["problem"] = fault.to_string().into();
    }
    shown
}

fn unreadable(scope: &PolicyScope, name: &str, problem: &str) -> Value {
    json!({"scope": scope.kind(), "name": name, "problem": problem})
}

/// What the caller says that they saw: the version as an entity tag.
fn seen(headers: &HeaderMap, otherwise: Seen) -> Result<Seen, Box<Response<Body>>> {
    let Some(given) = headers.get(header::IF_MATCH) else {
        return Ok(otherwise);
    };
    let given = given.to_str().unwrap_or_default().trim();
    if given == "*" {
        return Ok(Seen::Anything);
    }
    let version = given.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let version = version.and_then(|it| it.parse().ok()).ok_or_else(|| {
        let words = "If-Match must be the version that was read, in quotes: \"3\"";
        refused(StatusCode::BAD_REQUEST, "wrong_version", words)
    })?;
    Ok(Seen::Version(version))
}

fn text(body: &Bytes) -> Result<String, Box<Response<Body>>> {
    let wrong = |words: &str| refused(StatusCode::BAD_REQUEST, "wrong_body", words);
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| wrong(&format!("the body is not JSON: {error}")))?;
    match body.as_object() {
        Some(fields) if fields.len() == 1 => match fields.get("text") {
            Some(Value::String(text)) => Ok(text.clone()),
            _ => Err(wrong("the body must be {\"text\": \"...\"}")),
        },
        _ => Err(wrong("the body must be {\"text\": \"...\"}")),
    }
}

fn versioned(status: StatusCode, policy: &StoredPolicy, shown: &Value) -> Response<Body> {
    let mut response = json_response(status, shown);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", policy.version)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn not_there(scope: &PolicyScope, name: &PolicyName) -> Box<Response<Body>> {
    let words = format!("the {scope} has no policy {name}");
    refused(StatusCode::NOT_FOUND, "no_such_policy", &words)
}

fn not_changed(refusal: ChangePolicyError) -> Box<Response<Body>> {
    let message = refusal.to_string();
    match refusal {
        ChangePolicyError::Wrong { name, fault } => {
            let mut body = json!({
                "code": "wrong_policy", "message": message, "policy": name.as_str(), "reason": fault.reason,
            });
            for (field, place) in [("line", fault.line), ("column", fault.column)] {
                if let Some(place) = place {
                    body[field] = place.into();
                }
            }
            error(StatusCode::UNPROCESSABLE_ENTITY, &body)
        }
        ChangePolicyError::TooLong { .. } => {
            refused(StatusCode::PAYLOAD_TOO_LARGE, "too_long", &message)
        }
        ChangePolicyError::Full { .. } => refused(StatusCode::CONFLICT, "full", &message),
        ChangePolicyError::Conflict { current, .. } => {
            let body = json!({"code": "conflict", "message": message, "version": current});
            error(StatusCode::PRECONDITION_FAILED, &body)
        }
        ChangePolicyError::Busy => refused(StatusCode::SERVICE_UNAVAILABLE, "busy", &message),
        ChangePolicyError::Unavailable(error) => unavailable(error),
    }
}

fn unavailable(error: Unavailable) -> Box<Response<Body>> {
    json::unavailable("policies", "the same request again is harmless", &error)
}

#[cfg(test)]
#[path = "policies_tests.rs"]
mod tests;
