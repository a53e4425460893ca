//! `emulator calls`: the AWS calls that the running stack has counted.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use super::{FAILED, NO_STACK, SUCCESS, out, say, say_error};
use crate::{settings::Settings, stack::state};

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
            return NO_STACK;
        }
        Err(error) => {
            say_error(&error);
            return NO_STACK;
        }
    };
    match ask(&running.aws_url).await {
        Ok(text) if json => {
            out(&format!("{text}\n"));
            SUCCESS
        }
        Ok(text) => match serde_json::from_str::<Answer>(&text) {
            Ok(answer) => {
                out(&table(&answer.calls));
                SUCCESS
            }
            Err(error) => {
                say_error(&error);
                FAILED
            }
        },
        Err(error) => {
            say_error(&error);
            FAILED
        }
    }
}

async fn ask(aws_url: &str) -> reqwest::Result<String> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let answer = client
        .get(format!("{aws_url}/_emulator/calls"))
        .send()
        .await?;
    answer.error_for_status()?.text().await
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
