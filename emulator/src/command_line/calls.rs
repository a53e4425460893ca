//! `emulator calls`: the AWS calls that the running stack has counted.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde::Deserialize;

use super::{FAILED, NO_STACK, SUCCESS, in_one_line, out, say, say_error};
use crate::{loopback_client, settings::Settings, stack::state};

const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Answer {
    calls: Vec<Count>,
}

#[derive(Deserialize)]
struct Count {
    principal: String,
    session: Option<String>,
    service: String,
    operation: String,
    count: u64,
}

pub(super) async fn run(settings: &Settings, json: bool) -> u8 {
    let text = match ask_stack(settings, "calls").await {
        Ok(text) => text,
        Err(code) => return code,
    };
    if json {
        out(&format!("{text}\n"));
        return SUCCESS;
    }
    match serde_json::from_str::<Answer>(&text) {
        Ok(answer) => {
            out(&table(&answer.calls));
            SUCCESS
        }
        Err(error) => not_understood(&error),
    }
}

/// What the running stack tells at one of the endpoint's own routes, or the exit code after it was said
/// why there is nothing.
pub(super) async fn ask_stack(settings: &Settings, route: &str) -> Result<String, u8> {
    let directory = settings
        .path("SHANNON_STATE_DIRECTORY")
        .unwrap_or(Path::new(".shannon"));
    let running = match state::running(directory) {
        Ok(Some(running)) => running,
        Ok(None) => {
            say(&format!(
                "no stack runs on the state directory {}",
                directory.display()
            ));
            return Err(NO_STACK);
        }
        Err(error) => {
            say_error(&error);
            return Err(NO_STACK);
        }
    };
    let token = match settings.text("SHANNON_DEV_TOKEN") {
        Some(token) => Ok(token.to_owned()),
        None => super::place::kept_token(directory, settings),
    };
    let token = token.map_err(|problem| {
        say(&problem);
        FAILED
    })?;
    ask(&running.aws_url, route, &token)
        .await
        .map_err(|problem| {
            say(&format!("the stack does not tell its {route}: {problem}"));
            FAILED
        })
}

/// The exit code for an answer of another shape.
pub(super) fn not_understood(error: &serde_json::Error) -> u8 {
    say(&format!(
        "the stack gives an answer that is not understood: {error}"
    ));
    FAILED
}

async fn ask(aws_url: &str, route: &str, token: &str) -> Result<String, String> {
    let request = http::Request::get(format!("{aws_url}/_emulator/{route}"))
        .header(http::header::AUTHORIZATION, format!("Bearer {token}"))
        .body(http_body_util::Full::default())
        .map_err(|error| error.to_string())?;
    match loopback_client::send(request, DEADLINE).await {
        Ok((200, text)) => Ok(text),
        Ok((status, text)) => Err(format!("HTTP {status}: {text}")),
        Err(error) => Err(in_one_line(&error)),
    }
}

/// One block for each session, the calls that belong to none first.
fn table(calls: &[Count]) -> String {
    if calls.is_empty() {
        return "no calls yet\n".to_owned();
    }
    let mut sessions: BTreeMap<Option<&str>, Vec<&Count>> = BTreeMap::new();
    for call in calls {
        sessions
            .entry(call.session.as_deref())
            .or_default()
            .push(call);
    }
    let mut text = String::new();
    for (session, calls) in sessions {
        let total: u64 = calls.iter().map(|call| call.count).sum();
        let name = session.map_or("no session".to_owned(), |session| {
            format!("session {session}")
        });
        text.push_str(&format!("{name}: {total} calls\n"));
        for call in calls {
            text.push_str(&format!(
                "  {:>7}  {:<9} {:<24} {}\n",
                call.count, call.service, call.operation, call.principal
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_shown_for_each_session() {
        let count = |session: Option<&str>, operation: &str, count| Count {
            principal: "function:call".to_owned(),
            session: session.map(str::to_owned),
            service: "dynamodb".to_owned(),
            operation: operation.to_owned(),
            count,
        };
        let text = table(&[
            count(Some("s1"), "Query", 3),
            count(None, "GetItem", 1),
            count(Some("s1"), "GetItem", 2),
        ]);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines[0], "no session: 1 calls");
        assert_eq!(lines[2], "session s1: 5 calls");
        assert!(lines[3].starts_with("3  dynamodb") && lines[3].ends_with("function:call"));
        assert_eq!(table(&[]), "no calls yet\n");
    }
}
