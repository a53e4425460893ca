//! `emulator policy list|show|put|remove`: the policies that are stored in the running stack. Clients of
//! its HTTP addresses, with its token, as a person has it.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::arguments::{PolicyNameArguments, PolicyPutArguments};
use super::place::{self, Place};
use super::{FAILED, NO_STACK, SUCCESS, StartArguments, USAGE, in_one_line, out, say};
use crate::{loopback_client, settings::Settings};

const DEADLINE: Duration = Duration::from_secs(60);
/// Largest file that is read at all: the stack says which ones are too long.
const MOST_BYTES: u64 = 1024 * 1024;

/// Why there is nothing to show; said already.
struct Failed(u8);

impl Failed {
    fn because(words: &str) -> Self {
        say(words);
        Self(FAILED)
    }
}

pub(super) async fn list(json: bool, arguments: &StartArguments, settings: &Settings) -> u8 {
    done(listed(json, arguments, settings).await)
}

async fn listed(json: bool, start: &StartArguments, settings: &Settings) -> Result<(), Failed> {
    let stack = Stack::running(start, settings)?;
    let answer = stack.send(Method::GET, "", None, None).await?;
    let answer = answer.wanted()?;
    if json {
        out(&format!("{answer}\n"));
    } else {
        out(&table(&answer));
    }
    Ok(())
}

pub(super) async fn show(
    named: PolicyNameArguments,
    arguments: &StartArguments,
    settings: &Settings,
) -> u8 {
    done(shown(&named, arguments, settings).await)
}

async fn shown(
    named: &PolicyNameArguments,
    start: &StartArguments,
    settings: &Settings,
) -> Result<(), Failed> {
    let stack = Stack::running(start, settings)?;
    let answer = stack.send(Method::GET, &named.path(), None, None).await?;
    let policy = answer.wanted()?;
    if let Some(problem) = policy["problem"].as_str() {
        say(&format!("it cannot be used, so nothing runs: {problem}"));
    }
    let Some(text) = policy["text"].as_str() else {
        return Err(Failed(FAILED));
    };
    say(&format!("version {}", policy["version"]));
    out(text);
    if !text.ends_with('\n') {
        out("\n");
    }
    Ok(())
}

pub(super) async fn put(
    stored: PolicyPutArguments,
    arguments: &StartArguments,
    settings: &Settings,
) -> u8 {
    let text = match text(&stored.file) {
        Ok(text) => text,
        Err(problem) => {
            say(&problem);
            return USAGE;
        }
    };
    done(put_text(&stored, &text, arguments, settings).await)
}

async fn put_text(
    stored: &PolicyPutArguments,
    text: &str,
    start: &StartArguments,
    settings: &Settings,
) -> Result<(), Failed> {
    let stack = Stack::running(start, settings)?;
    let path = stored.policy.path();
    let seen = match stored.replaces {
        Some(version) => Some(version),
        None => {
            let there = stack.send(Method::GET, &path, None, None).await?;
            match there.status {
                404 => None,
                _ => there.wanted()?["version"].as_u64(),
            }
        }
    };
    let body = json!({"text": text}).to_string();
    let answer = stack.send(Method::PUT, &path, seen, Some(body)).await?;
    let policy = answer.wanted()?;
    let (name, version) = (&stored.policy.name, &policy["version"]);
    let whose = stored.policy.scope();
    out(&if policy["changed"] == false {
        format!("{name}: the {whose} has this text already (version {version})\n")
    } else {
        format!(
            "{name}: stored for the {whose}, version {version}; it counts from the next turn on\n"
        )
    });
    Ok(())
}

pub(super) async fn remove(
    named: PolicyNameArguments,
    arguments: &StartArguments,
    settings: &Settings,
) -> u8 {
    done(removed(&named, arguments, settings).await)
}

async fn removed(
    named: &PolicyNameArguments,
    start: &StartArguments,
    settings: &Settings,
) -> Result<(), Failed> {
    let stack = Stack::running(start, settings)?;
    let answer = stack
        .send(Method::DELETE, &named.path(), None, None)
        .await?;
    if answer.status != 204 {
        answer.wanted()?;
    }
    out(&format!(
        "{}: removed from the {}; it counts until the turn that runs has ended\n",
        named.name,
        named.scope()
    ));
    Ok(())
}

fn done(result: Result<(), Failed>) -> u8 {
    match result {
        Ok(()) => SUCCESS,
        Err(Failed(code)) => code,
    }
}

/// The text of a policy: a file's, or what standard input gives.
fn text(file: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", file.display());
    let mut bytes = Vec::new();
    if file.as_os_str() == "-" {
        let mut input = std::io::stdin().lock().take(MOST_BYTES + 1);
        input.read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        let opened = std::fs::File::open(file).map_err(unreadable)?;
        let mut input = opened.take(MOST_BYTES + 1);
        input.read_to_end(&mut bytes).map_err(unreadable)?;
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("{} is far too long for a policy", file.display()));
    }
    String::from_utf8(bytes).map_err(|_| format!("{} is no text (UTF-8)", file.display()))
}

/// The stack that runs here.
struct Stack(Place);

impl Stack {
    fn running(arguments: &StartArguments, settings: &Settings) -> Result<Self, Failed> {
        let place = place::running(arguments, settings).map_err(|problem| {
            say(&problem);
            Failed(NO_STACK)
        })?;
        place.map(Self).ok_or_else(|| {
            say("no stack runs here; start one with `emulator`");
            Failed(NO_STACK)
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        seen: Option<u64>,
        body: Option<String>,
    ) -> Result<Answer, Failed> {
        let base = self.0.mcp_url.trim_end_matches("/mcp");
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{base}/policies{path}"))
            .header("authorization", format!("Bearer {}", self.0.token))
            .header("accept", "application/json");
        if let Some(version) = seen {
            request = request.header("if-match", format!("\"{version}\""));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request
            .body(Full::from(body.unwrap_or_default()))
            .map_err(|error| Failed::because(&error.to_string()))?;
        let (status, body) = loopback_client::send(request, DEADLINE)
            .await
            .map_err(|error| Failed::because(&in_one_line(&error)))?;
        Ok(Answer { status, body })
    }
}

struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    /// What was asked for; otherwise what the stack says instead.
    fn wanted(&self) -> Result<Value, Failed> {
        let body: Option<Value> = serde_json::from_str(&self.body).ok();
        match (self.status, body) {
            (200, Some(body)) => Ok(body),
            (status, body) => {
                let error = body.as_ref().and_then(|it| it["error"]["message"].as_str());
                Err(Failed::because(&match (status, error) {
                    (412, Some(words)) => format!("{words} (--replaces VERSION)"),
                    (_, Some(words)) => words.to_owned(),
                    (401 | 403, None) => "the stack refuses our token".to_owned(),
                    (status, None) => format!("the stack answers with HTTP {status}"),
                }))
            }
        }
    }
}

/// One line each: whose, name, version, when, how much; and what is wrong with it.
fn table(answer: &Value) -> String {
    let policies: Vec<&Value> = answer["policies"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    if policies.is_empty() {
        return "no policies are stored\n".to_owned();
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = String::new();
    for policy in policies {
        let (scope, name) = (text(&policy["scope"]), text(&policy["name"]));
        lines.push_str(&format!("{scope:<10}  {name}"));
        if let Some(changed_at) = policy["changed_at_unix_ms"].as_i64() {
            lines.push_str(&format!(
                "  version {}, {}, policies in it: {}",
                policy["version"],
                crate::aws::time_text(changed_at),
                policy["policies"]
            ));
        }
        if let Some(problem) = policy["problem"].as_str() {
            lines.push_str(&format!(
                "\n            CANNOT BE USED, so nothing runs: {problem}"
            ));
        }
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_listed_one_a_line_with_what_is_wrong() {
        assert_eq!(table(&json!({"policies": []})), "no policies are stored\n");
        let listed = json!({"policies": [
            {"scope": "deployment", "name": "no-npm", "version": 3, "policies": 1, "changed_at_unix_ms": 0},
            {"scope": "owner", "name": "lost", "problem": "it is damaged"},
        ]});
        let shown = table(&listed);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(
            lines[0].starts_with("deployment  no-npm  version 3, 1970-01-01"),
            "{shown}"
        );
        assert_eq!(lines[1], "owner       lost");
        assert!(
            lines[2].contains("CANNOT BE USED") && lines[2].contains("damaged"),
            "{shown}"
        );
    }
}
