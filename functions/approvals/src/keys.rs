//! API keys as JSON, for administrators with a token: `GET` and `POST /keys`, `DELETE /keys/{id}`. No
//! tool leads here: a model makes no keys.
//!
//! A new key is in the answer to its `POST` and nowhere else, ever.

use boot::http::{Body, full, json_response};
use bytes::Bytes;
use domain::authorization::Administer;
use domain::ports::{ApiKeys, Clock, IdSource, KeyRing, Unavailable};
use domain::roles::Role;
use domain::use_cases::{CreateKey, CreateKeyError, KeyRevoked, create_key, list_keys, revoke_key};
use domain::{Authorized, KeyId, KeyName, KeyRecord, Principal, UnixMillis, limits};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::json::{self, Answer, lacks, nobody, not_allowed, refused};

/// Where they are.
const PATH: &str = "/keys";

/// What keys need of the store.
pub(crate) trait Ports: ApiKeys + KeyRing + Clock + IdSource {}
impl<P: ApiKeys + KeyRing + Clock + IdSource> Ports for P {}

/// Answers a request about keys; `None` when it is about something else.
pub(crate) async fn answer<P: Ports>(
    ports: &P,
    request: &Request<Bytes>,
    principal: Option<&Principal>,
) -> Option<Response<Body>> {
    let below = request.uri().path().strip_prefix(PATH)?;
    let answered = match below.split('/').collect::<Vec<_>>()[..] {
        [""] => all(ports, request, principal).await,
        ["", id] => one(ports, request, principal, id).await,
        _ => return None,
    };
    Some(answered.unwrap_or_else(|refused| *refused))
}

type Administrator<'a> = (&'a Principal, Authorized<Administer>);

fn administrator(principal: Option<&Principal>) -> Result<Administrator<'_>, Box<Response<Body>>> {
    let principal = principal.ok_or_else(nobody)?;
    let administrator = principal.authorize().map_err(|it| lacks(&it))?;
    Ok((principal, administrator))
}

async fn all<P: Ports>(
    ports: &P,
    request: &Request<Bytes>,
    principal: Option<&Principal>,
) -> Answer {
    match *request.method() {
        Method::GET | Method::HEAD => {
            let (_, administrator) = administrator(principal)?;
            let keys = list_keys(ports, &administrator).await;
            let keys = keys.map_err(|error| unavailable(&error))?;
            let now = ports.now();
            let keys: Vec<Value> = keys.iter().map(|key| about(key, now)).collect();
            Ok(json_response(StatusCode::OK, &json!({ "keys": keys })))
        }
        Method::POST => {
            let (principal, administrator) = administrator(principal)?;
            let wanted = wanted(request.body())?;
            let made = create_key(ports, &administrator, principal, wanted).await;
            let (key, record) = made.map_err(not_made)?;
            tracing::info!(key = %record.id, owner = %record.owner, scopes = record.scopes.join(" "), "an API key is made");
            let mut shown = about(&record, ports.now());
            shown["key"] = key.expose().into();
            Ok(json_response(StatusCode::CREATED, &shown))
        }
        _ => Err(not_allowed("GET, HEAD, POST")),
    }
}

async fn one<P: Ports>(
    ports: &P,
    request: &Request<Bytes>,
    principal: Option<&Principal>,
    id: &str,
) -> Answer {
    if *request.method() != Method::DELETE {
        return Err(not_allowed("DELETE"));
    }
    let (_, administrator) = administrator(principal)?;
    let id = KeyId::parse(id)
        .map_err(|error| refused(StatusCode::BAD_REQUEST, "wrong_id", &error.to_string()))?;
    let revoked = revoke_key(ports, &administrator, &id).await;
    match revoked.map_err(|error| unavailable(&error))? {
        KeyRevoked::Revoked => tracing::info!(key = %id, "an API key is revoked"),
        KeyRevoked::Before => {}
        KeyRevoked::NotThere => {
            let words = "there is no key of this id; GET /keys lists those there are";
            return Err(refused(StatusCode::NOT_FOUND, "no_such_key", words));
        }
    }
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// A key without what opens anything.
fn about(key: &KeyRecord, now: UnixMillis) -> Value {
    let mut shown = json!({
        "id": key.id.as_str(),
        "name": key.name.as_str(),
        "owner": key.owner.as_str(),
        "scopes": key.scopes,
        "created_at_unix_ms": key.created_at.0,
        "expires_at_unix_ms": key.expires_at.0,
        "good": key.is_good(now),
    });
    let times = [
        ("revoked_at_unix_ms", key.revoked_at),
        ("used_at_unix_ms", key.used_at),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            shown[name] = time.0.into();
        }
    }
    shown
}

const FIELDS: [&str; 5] = ["name", "scopes", "role", "days", "person"];

/// Reads what key is wanted. Without scopes or a role it is a developer's.
fn wanted(body: &Bytes) -> Result<CreateKey, Box<Response<Body>>> {
    let wrong = |words: &str| refused(StatusCode::BAD_REQUEST, "wrong_body", words);
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| wrong(&format!("the body is not JSON: {error}")))?;
    let fields = body.as_object().ok_or_else(|| {
        wrong(
            "the body must be an object: {\"name\": \"ci\", \"role\": \"developer\", \"days\": 90}",
        )
    })?;
    if let Some(unknown) = fields.keys().find(|it| !FIELDS.contains(&it.as_str())) {
        let unknown: String = unknown.chars().take(64).collect();
        let words = format!("{unknown} is none of {}", FIELDS.join(", "));
        return Err(wrong(&words));
    }
    let text = |name: &str| match fields.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(&format!("{name} must be a text"))),
    };
    let name = text("name")?.ok_or_else(|| wrong("name is missing: what the key is called"))?;
    let scopes = match (fields.get("scopes"), text("role")?) {
        (Some(_), Some(_)) => return Err(wrong("give scopes or a role, not both")),
        (Some(Value::Array(scopes)), None) if scopes.iter().all(Value::is_string) => scopes
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        (Some(_), None) => return Err(wrong("scopes must be a list of texts")),
        (None, role) => {
            let role = role.as_deref().map_or(Some(Role::Developer), Role::parse);
            let role = role.ok_or_else(|| wrong("role is viewer, developer, operator or admin"))?;
            role.scopes().iter().map(|it| (*it).to_owned()).collect()
        }
    };
    let days = match fields.get("days") {
        None => limits::KEY_DEFAULT_DAYS,
        Some(days) => days
            .as_u64()
            .ok_or_else(|| wrong("days must be a whole number"))?,
    };
    Ok(CreateKey {
        name: KeyName::parse(&name).map_err(|error| wrong(&error.to_string()))?,
        scopes,
        days,
        person: text("person")?,
    })
}

fn not_made(refusal: CreateKeyError) -> Box<Response<Body>> {
    let message = refusal.to_string();
    match refusal {
        CreateKeyError::NoScopes
        | CreateKeyError::NoSuchScope(_)
        | CreateKeyError::Days
        | CreateKeyError::Person => refused(StatusCode::BAD_REQUEST, "wrong_body", &message),
        CreateKeyError::MissingScope(missing) => {
            let body = json!({
                "code": "insufficient_scope", "message": message, "scope": missing.scope,
            });
            json::error(StatusCode::FORBIDDEN, &body)
        }
        CreateKeyError::TooMany => refused(StatusCode::CONFLICT, "full", &message),
        CreateKeyError::Unavailable(error) => unavailable(&error),
    }
}

fn unavailable(error: &Unavailable) -> Box<Response<Body>> {
    let again = "look at the list before you ask again: a key that nobody has seen may be in it";
    json::unavailable("API keys", again, error)
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
