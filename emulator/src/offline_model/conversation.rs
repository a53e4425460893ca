//! Reads the request body: is it one the Messages API would take, and which step of which script is
//! due.

use serde_json::{Map, Value};

/// What to answer, as the conversation tells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Step `step` (from 0) of `script`.
    Step { script: String, step: usize },
    /// The newest prompt has no script.
    Plain { prompt: String },
}

/// Finds the newest prompt. The texts that the CLI adds by itself (`<system-reminder>`,
/// `[Request interrupted]`, its resumption sentence) are no prompts. Nor is a message that was sent
/// into a running turn: the CLI puts it into a message of the role `system`, and the script of the
/// turn goes on.
pub(super) fn due(messages: &[Value]) -> Due {
    let mut answers_since = 0;
    for message in messages.iter().rev() {
        match message.get("role").and_then(Value::as_str) {
            Some("assistant") => {
                answers_since += 1;
                continue;
            }
            Some("user") => {}
            _ => continue,
        }
        for text in texts(message).into_iter().rev() {
            if let Some(script) = super::script::find(text) {
                return Due::Step {
                    script: script.to_owned(),
                    step: answers_since,
                };
            }
            let text = text.trim();
            if !text.is_empty()
                && !text.starts_with(['<', '['])
                && !text.starts_with("Continue from where you left off")
            {
                return Due::Plain {
                    prompt: text.to_owned(),
                };
            }
        }
    }
    Due::Plain {
        prompt: String::new(),
    }
}

fn texts(message: &Value) -> Vec<&str> {
    match message.get("content") {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(blocks)) => blocks
            .iter()
            .filter(|block| block.get("type").and_then(Value::as_str) == Some("text"))
            .filter_map(|block| block.get("text").and_then(Value::as_str))
            .collect(),
        _ => Vec::new(),
    }
}

/// A request of which we use these parts.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) model: String,
    pub(super) messages: Vec<Value>,
    pub(super) stream: bool,
    /// `metadata.user_id`: the CLI puts its session into it.
    pub(super) user: String,
}

/// Checks what the Messages API checks; the error is its message.
pub(super) fn read(body: &[u8], counting_only: bool) -> Result<Request, String> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| format!("The request body is not valid JSON: {error}"))?;
    let Value::Object(body) = body else {
        return Err("The request body is not a JSON object".to_owned());
    };
    let model = match required(&body, "model")? {
        Value::String(model) if !model.is_empty() => model.clone(),
        _ => return Err("model: Input should be a non-empty string".to_owned()),
    };
    if !counting_only
        && required(&body, "max_tokens")?
            .as_u64()
            .is_none_or(|tokens| tokens == 0)
    {
        return Err("max_tokens: Input should be greater than or equal to 1".to_owned());
    }
    let Value::Array(messages) = required(&body, "messages")? else {
        return Err("messages: Input should be a valid array".to_owned());
    };
    if messages.is_empty() {
        return Err("messages: at least one message is required".to_owned());
    }
    for (number, message) in messages.iter().enumerate() {
        check_message(message).map_err(|problem| format!("messages.{number}{problem}"))?;
    }
    let stream = match body.get("stream") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(stream)) => *stream,
        Some(_) => return Err("stream: Input should be a valid boolean".to_owned()),
    };
    Ok(Request {
        model,
        messages: messages.clone(),
        stream,
        user: body
            .get("metadata")
            .and_then(|metadata| metadata.get("user_id"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
    })
}

fn required<'body>(body: &'body Map<String, Value>, name: &str) -> Result<&'body Value, String> {
    body.get(name)
        .ok_or_else(|| format!("{name}: Field required"))
}

fn check_message(message: &Value) -> Result<(), String> {
    match message.get("role").and_then(Value::as_str) {
        Some("user" | "assistant" | "system") => {}
        Some(_) => return Err(".role: Input should be 'user', 'assistant' or 'system'".to_owned()),
        None => return Err(".role: Field required".to_owned()),
    }
    let blocks = match message.get("content") {
        Some(Value::String(_)) => return Ok(()),
        Some(Value::Array(blocks)) => blocks,
        Some(_) => {
            return Err(".content: Input should be a string or an array of blocks".to_owned());
        }
        None => return Err(".content: Field required".to_owned()),
    };
    for (number, block) in blocks.iter().enumerate() {
        let needs = match block.get("type").and_then(Value::as_str) {
            Some("text") => ["text"].as_slice(),
            Some("tool_use") => &["id", "name"],
            Some("tool_result") => &["tool_use_id"],
            Some(_) => &[],
            None => return Err(format!(".content.{number}.type: Field required")),
        };
        for name in needs {
            if !block.get(name).is_some_and(Value::is_string) {
                return Err(format!(
                    ".content.{number}.{name}: Input should be a valid string"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_step_follows_from_the_conversation() {
        let prompt = json!({"role": "user", "content": [
            {"type": "text", "text": "<system-reminder>rules</system-reminder>"},
            {"type": "text", "text": "go @@TEXT:a;;TEXT:b"},
        ]});
        let answer = json!({"role": "assistant", "content": "a"});
        let result = json!({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t", "content": "@@TEXT:not a prompt"},
            {"type": "text", "text": "<system-reminder>a file changed: @@ -1 +1 @@</system-reminder>"},
        ]});
        let system = json!({"role": "system", "content": "@@TEXT:not a prompt"});
        let step = |step| Due::Step {
            script: "TEXT:a;;TEXT:b".to_owned(),
            step,
        };
        assert_eq!(due(std::slice::from_ref(&prompt)), step(0));
        assert_eq!(
            due(&[prompt.clone(), answer.clone(), result.clone(), system]),
            step(1)
        );
        let next = json!({"role": "user", "content": "hello"});
        assert_eq!(
            due(&[prompt.clone(), answer.clone(), next]),
            Due::Plain {
                prompt: "hello".to_owned()
            }
        );
        let resumed = json!({"role": "user", "content": "Continue from where you left off."});
        assert_eq!(due(&[prompt, answer, result, resumed]), step(1));
    }

    #[test]
    fn malformed_bodies_are_named() {
        let good =
            json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]});
        assert!(read(good.to_string().as_bytes(), false).is_ok());
        let without = |name: &str| {
            let mut body = good.clone();
            body.as_object_mut().unwrap().remove(name);
            body
        };
        let with = |name: &str, value: Value| {
            let mut body = good.clone();
            body[name] = value;
            body
        };
        for (body, expected) in [
            (json!([]), "not a JSON object"),
            (without("model"), "model: Field required"),
            (without("max_tokens"), "max_tokens: Field required"),
            (
                with("max_tokens", json!(0)),
                "max_tokens: Input should be greater",
            ),
            (without("messages"), "messages: Field required"),
            (with("messages", json!([])), "at least one message"),
            (
                with("messages", json!([{"content": "x"}])),
                "messages.0.role: Field required",
            ),
            (
                with("messages", json!([{"role": "king", "content": "x"}])),
                "messages.0.role: Input",
            ),
            (
                with("messages", json!([{"role": "user"}])),
                "messages.0.content: Field required",
            ),
            (
                with(
                    "messages",
                    json!([{"role": "user", "content": [{"type": "text"}]}]),
                ),
                "messages.0.content.0.text: Input",
            ),
            (
                with(
                    "messages",
                    json!([{"role": "user", "content": [{"type": "tool_use", "id": "x"}]}]),
                ),
                "messages.0.content.0.name: Input",
            ),
            (
                with("stream", json!("yes")),
                "stream: Input should be a valid boolean",
            ),
        ] {
            let message = read(body.to_string().as_bytes(), false).unwrap_err();
            assert!(message.contains(expected), "{body}: {message}");
        }
        assert!(read(b"{", false).unwrap_err().contains("not valid JSON"));
        assert!(read(without("max_tokens").to_string().as_bytes(), true).is_ok());
    }
}
