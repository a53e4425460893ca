//! `emulator git-credential set|list|remove`: what an owner's sessions show to git hosts. A client of the
//! stack's HTTP addresses, with a token that has the scope `sessions:write`.

use std::io::Read as _;

use http::Method;
use serde_json::{Value, json};

use super::git_credential_arguments::{GitCredentialCommand, GitCredentialSetArguments};
use super::key_arguments::StackArguments;
use super::stack_client::{Failed, StackClient};
use super::{FAILED, SUCCESS, StartArguments, USAGE, in_one_line, out, say};
use crate::settings::Settings;

const PATH: &str = "/git-credentials";
/// Most of standard input that is read: more than any token has.
const MOST_BYTES: u64 = 64 * 1024;

pub(super) async fn run(
    command: GitCredentialCommand,
    start: &StartArguments,
    settings: &Settings,
) -> u8 {
    let done = match command {
        GitCredentialCommand::Set(wanted) => set(&wanted, start, settings).await,
        GitCredentialCommand::List { stack, json } => list(&stack, json, start, settings).await,
        GitCredentialCommand::Remove { host, stack } => {
            remove(&host, &stack, start, settings).await
        }
    };
    match done {
        Ok(()) => SUCCESS,
        Err(failed) => failed.code(),
    }
}

async fn set(
    wanted: &GitCredentialSetArguments,
    start: &StartArguments,
    settings: &Settings,
) -> Result<(), Failed> {
    let stack = StackClient::of(&wanted.stack, start, settings)?;
    let path = place(&wanted.host)?;
    let token = token()?;
    let body = json!({"username": wanted.username, "token": token});
    let answer = stack.send(Method::PUT, &path, Some(body)).await?;
    let stored = answer.wanted(200)?;
    out(&format!("{}: stored\n", line(&stored)));
    Ok(())
}

async fn list(
    stack: &StackArguments,
    as_json: bool,
    start: &StartArguments,
    settings: &Settings,
) -> Result<(), Failed> {
    let stack = StackClient::of(stack, start, settings)?;
    let listed = stack.send(Method::GET, PATH, None).await?.wanted(200)?;
    if as_json {
        out(&format!("{listed}\n"));
        return Ok(());
    }
    let credentials = listed["git_credentials"].as_array();
    let lines: String = credentials
        .into_iter()
        .flatten()
        .map(|credential| {
            let time = credential["stored_at_unix_ms"].as_i64();
            let time = time.map(crate::aws::time_text).unwrap_or_default();
            format!("{}, stored {time}\n", line(credential))
        })
        .collect();
    out(if lines.is_empty() {
        "there are no git credentials\n"
    } else {
        &lines
    });
    Ok(())
}

async fn remove(
    host: &str,
    stack: &StackArguments,
    start: &StartArguments,
    settings: &Settings,
) -> Result<(), Failed> {
    let stack = StackClient::of(stack, start, settings)?;
    let answer = stack.send(Method::DELETE, &place(host)?, None).await?;
    if answer.status != 204 {
        answer.wanted(204)?;
    }
    out(&format!(
        "{host}: removed; sessions that have cloned keep their files\n"
    ));
    Ok(())
}

/// The address of a host's credential. What a host consists of, the stack says.
fn place(host: &str) -> Result<String, Failed> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
    if host.is_empty() || !host.bytes().all(plain) {
        let words = "name the host as in https://HOST/, without anything around it";
        return Err(Failed::because(USAGE, words));
    }
    Ok(format!("{PATH}/{host}"))
}

/// Standard input without the end of its line.
fn token() -> Result<String, Failed> {
    use std::io::IsTerminal as _;
    let input = std::io::stdin();
    if input.is_terminal() {
        say("type the token and end it with Ctrl-D; or send it: printf %s \"$TOKEN\" | emulator …");
    }
    let mut text = String::new();
    let read = input.lock().take(MOST_BYTES).read_to_string(&mut text);
    read.map_err(|error| Failed::because(FAILED, &in_one_line(&error)))?;
    let token = text.trim_end_matches(['\r', '\n']);
    if token.is_empty() {
        let words = "there is no token on standard input: printf %s \"$TOKEN\" | emulator git-credential set HOST";
        return Err(Failed::because(USAGE, words));
    }
    Ok(token.to_owned())
}

fn line(credential: &Value) -> String {
    let text = |name: &str| credential[name].as_str().unwrap_or_default();
    format!("{}  {}", text("host"), text("username"))
}
