//! `emulator key create|list|revoke`: the API keys of a stack. Clients of its HTTP addresses, with a token
//! that has the scope `admin`.
//!
//! A new key goes to standard output, once, and nowhere else.

use http::Method;
use serde_json::{Map, Value, json};

use super::key_arguments::{KeyCommand, KeyCreateArguments, StackArguments};
use super::stack_client::{Failed, StackClient};
use super::{FAILED, SUCCESS, StartArguments, out, say};
use crate::settings::Settings;

pub(super) async fn run(command: KeyCommand, start: &StartArguments, settings: &Settings) -> u8 {
    let done = match command {
        KeyCommand::Create(wanted) => create(&wanted, start, settings).await,
        KeyCommand::List { stack, json } => list(&stack, json, start, settings).await,
        KeyCommand::Revoke { id, stack } => revoke(&id, &stack, start, settings).await,
    };
    match done {
        Ok(()) => SUCCESS,
        Err(failed) => failed.code(),
    }
}

async fn create(
    wanted: &KeyCreateArguments,
    start: &StartArguments,
    settings: &Settings,
) -> Result<(), Failed> {
    let mut body = Map::from_iter([("name".to_owned(), json!(wanted.name))]);
    if wanted.scopes.is_empty() {
        body.insert("role".to_owned(), json!(wanted.role.as_str()));
    } else {
        body.insert("scopes".to_owned(), json!(wanted.scopes));
    }
    if let Some(days) = wanted.days {
        body.insert("days".to_owned(), days.into());
    }
    if let Some(person) = &wanted.person {
        body.insert("person".to_owned(), json!(person));
    }
    let stack = StackClient::of(&wanted.stack, start, settings)?;
    let answer = stack.send(Method::POST, "/keys", Some(body.into())).await?;
    let made = answer.wanted(201)?;
    let key = made["key"].as_str();
    let key = key.ok_or_else(|| Failed::because(FAILED, "the stack's answer has no key"))?;
    if wanted.json {
        out(&format!("{made}\n"));
        return Ok(());
    }
    say(&format!(
        "{} (the key itself is shown this once):",
        line(&made)
    ));
    out(&format!("{key}\n"));
    Ok(())
}

async fn list(
    stack: &StackArguments,
    as_json: bool,
    start: &StartArguments,
    settings: &Settings,
) -> Result<(), Failed> {
    let stack = StackClient::of(stack, start, settings)?;
    let listed = stack.send(Method::GET, "/keys", None).await?.wanted(200)?;
    if as_json {
        out(&format!("{listed}\n"));
    } else {
        out(&table(&listed));
    }
    Ok(())
}

async fn revoke(
    id: &str,
    stack: &StackArguments,
    start: &StartArguments,
    settings: &Settings,
) -> Result<(), Failed> {
    let stack = StackClient::of(stack, start, settings)?;
    let answer = stack
        .send(Method::DELETE, &format!("/keys/{id}"), None)
        .await?;
    if answer.status != 204 {
        answer.wanted(204)?;
    }
    out(&format!(
        "{id}: revoked; a request may still pass for as long as API Gateway keeps the authorizer's answer \
         (SHANNON_AUTHORIZATION_CACHE_SECONDS)\n"
    ));
    Ok(())
}

/// One line each: id, name, what it allows, until when, when it was used.
fn table(listed: &Value) -> String {
    let keys: Vec<&Value> = listed["keys"].as_array().into_iter().flatten().collect();
    if keys.is_empty() {
        return "there are no keys\n".to_owned();
    }
    keys.into_iter().map(|key| line(key) + "\n").collect()
}

fn line(key: &Value) -> String {
    let text = |name: &str| key[name].as_str().unwrap_or_default();
    let time = |name: &str| key[name].as_i64().map(crate::aws::time_text);
    let scopes: Vec<&str> = key["scopes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let state = match (time("revoked_at_unix_ms"), &key["good"]) {
        (Some(revoked), _) => format!("revoked {revoked}"),
        (None, Value::Bool(false)) => "expired".to_owned(),
        (None, _) => format!("until {}", time("expires_at_unix_ms").unwrap_or_default()),
    };
    let used =
        time("used_at_unix_ms").map_or_else(|| "never used".to_owned(), |it| format!("used {it}"));
    format!(
        "{}  {}  {}  {state}, {used}, owner {}",
        text("id"),
        text("name"),
        scopes.join(","),
        text("owner")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_listed_one_a_line_with_what_became_of_them() {
        assert_eq!(table(&json!({"keys": []})), "there are no keys\n");
        let key = |more: Value| {
            let mut key = json!({
                "id": "key_a", "name": "ci", "owner": "o", "scopes": ["sessions:read", "approve"],
                "expires_at_unix_ms": 0, "good": true,
            });
            for (name, value) in more.as_object().into_iter().flatten() {
                key[name] = value.clone();
            }
            key
        };
        let listed = json!({"keys": [
            key(json!({})),
            key(json!({"good": false, "used_at_unix_ms": 0})),
            key(json!({"good": false, "revoked_at_unix_ms": 0})),
        ]});
        let shown = table(&listed);
        let lines: Vec<&str> = shown.lines().collect();
        let begin = "key_a  ci  sessions:read,approve  ";
        for (line, rest) in lines.iter().zip([
            "until 1970-01-01",
            "expired, used 1970-01-01",
            "revoked 1970-01-01",
        ]) {
            let wanted = format!("{begin}{rest}");
            assert!(line.starts_with(&wanted), "{line} instead of {wanted}");
        }
        assert!(lines[0].ends_with("never used, owner o"), "{}", lines[0]);
        assert_eq!(lines.len(), 3);
    }
}
