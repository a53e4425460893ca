//! Credentials for git hosts, for people with a token: `GET /git-credentials`, and `PUT` (`{"username":
//! "…", "token": "…"}`) and `DELETE` of `/git-credentials/HOST`. They are the caller's own; the scope is
//! `sessions:write`, since whoever creates sessions says what they clone. No tool leads here.
//!
//! A token goes in and never comes out.

use boot::http::{Body, full, json_response};
use bytes::Bytes;
use domain::authorization::WriteSessions;
use domain::ports::{Clock, GitCredentials, Unavailable};
use domain::use_cases::{
    StoreGitCredentialError, list_git_credentials, remove_git_credential, store_git_credential,
};
use domain::{Authorized, GitCredential, GitCredentialRecord, GitHost, Principal};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::json::{self, Answer, lacks, nobody, not_allowed, refused};

/// Where they are.
const PATH: &str = "/git-credentials";

/// What is said of a wrong body, which is not quoted: it may hold a token.
const BODY: &str = "the body must be {\"username\": \"...\", \"token\": \"...\"}, both of them texts, and \
                    nothing else";

/// Answers a request about credentials; `None` when it is about something else.
pub(crate) async fn answer<P: GitCredentials + Clock>(
    ports: &P,
    request: &Request<Bytes>,
    principal: Option<&Principal>,
) -> Option<Response<Body>> {
    let below = request.uri().path().strip_prefix(PATH)?;
    let answered = match below.split('/').collect::<Vec<_>>()[..] {
        [""] => all(ports, request, principal).await,
        ["", host] => one(ports, request, principal, host).await,
        _ => return None,
    };
    Some(answered.unwrap_or_else(|refused| *refused))
}

fn person(principal: Option<&Principal>) -> Result<Authorized<WriteSessions>, Box<Response<Body>>> {
    let principal = principal.ok_or_else(nobody)?;
    principal.authorize().map_err(|it| lacks(&it))
}

async fn all<P: GitCredentials>(
    ports: &P,
    request: &Request<Bytes>,
    principal: Option<&Principal>,
) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(not_allowed("GET, HEAD"));
    }
    let listed = list_git_credentials(ports, &person(principal)?).await;
    let listed = listed.map_err(|error| unavailable(&error))?;
    let listed: Vec<Value> = listed.iter().map(about).collect();
    let shown = json!({ "git_credentials": listed });
    Ok(json_response(StatusCode::OK, &shown))
}

async fn one<P: GitCredentials + Clock>(
    ports: &P,
    request: &Request<Bytes>,
    principal: Option<&Principal>,
    host: &str,
) -> Answer {
    // Of what may stand in a host, only the colon is written in two ways.
    let host = GitHost::parse(&host.replace("%3A", ":").replace("%3a", ":"));
    let host =
        || host.map_err(|error| refused(StatusCode::BAD_REQUEST, "wrong_host", &error.to_string()));
    match *request.method() {
        Method::PUT => {
            let (person, host) = (person(principal)?, host()?);
            let credential = credential(request.body())?;
            let stored = store_git_credential(ports, &person, host, credential).await;
            let record = stored.map_err(|error| not_stored(&error))?;
            tracing::info!(host = %record.host, owner = %person.owner(), "a git credential is stored");
            Ok(json_response(StatusCode::OK, &about(&record)))
        }
        Method::DELETE => {
            let (person, host) = (person(principal)?, host()?);
            let removed = remove_git_credential(ports, &person, host.clone()).await;
            if !removed.map_err(|error| unavailable(&error))? {
                let words = format!("you have no git credential for {host}");
                return Err(refused(StatusCode::NOT_FOUND, "no_such_credential", &words));
            }
            tracing::info!(%host, owner = %person.owner(), "a git credential is removed");
            let mut response = Response::new(full(Bytes::new()));
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
        _ => Err(not_allowed("PUT, DELETE")),
    }
}

fn about(record: &GitCredentialRecord) -> Value {
    json!({
        "host": record.host.as_str(),
        "username": record.username,
        "stored_at_unix_ms": record.stored_at.0,
    })
}

fn credential(body: &Bytes) -> Result<GitCredential, Box<Response<Body>>> {
    let wrong = |words: &str| refused(StatusCode::BAD_REQUEST, "wrong_body", words);
    let body: Value = serde_json::from_slice(body).map_err(|_| wrong(BODY))?;
    let fields = body.as_object().filter(|fields| fields.len() == 2);
    let fields = fields.ok_or_else(|| wrong(BODY))?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let (Some(username), Some(token)) = (text("username"), text("token")) else {
        return Err(wrong(BODY));
    };
    GitCredential::parse(username, token).map_err(|error| wrong(&error.to_string()))
}

fn not_stored(refusal: &StoreGitCredentialError) -> Box<Response<Body>> {
    match refusal {
        StoreGitCredentialError::TooMany => {
            refused(StatusCode::CONFLICT, "full", &refusal.to_string())
        }
        StoreGitCredentialError::Unavailable(error) => unavailable(error),
    }
}

fn unavailable(error: &Unavailable) -> Box<Response<Body>> {
    json::unavailable(
        "git credentials",
        "the same request again is harmless",
        error,
    )
}

#[cfg(test)]
#[path = "git_credentials_tests.rs"]
mod tests;
