//! Reads a script: a cursor over its text, one step at a time.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{MAX_BIG_BYTES, MAX_DEPTH, MAX_WAIT, NAMES, Reply, ScriptError, Step, ToolCall};

/// The script in a text, without its marker: what follows the first `@@` that a capital letter
/// follows (so that the `@@ -1,2 +1,2 @@` of a diff is not one).
#[must_use]
pub fn find(text: &str) -> Option<&str> {
    text.match_indices("@@")
        .map(|(at, marker)| &text[at + marker.len()..])
        .find(|rest| rest.starts_with(|letter: char| letter.is_ascii_uppercase()))
        .map(str::trim)
}

/// Reads all steps of a script (as [`find`] gives it).
///
/// # Errors
/// A [`ScriptError`] that names the step and shows a right one.
pub fn parse(script: &str) -> Result<Vec<Step>, ScriptError> {
    let mut steps = Vec::new();
    let mut rest = script.trim();
    while !rest.is_empty() {
        let (step, after) = one(rest, 0)?;
        steps.push(step);
        rest = after.trim_start();
        rest = rest.strip_prefix(";;").unwrap_or(rest).trim_start();
    }
    Ok(steps)
}

/// Reads one step and gives back what follows it (from its separator on).
fn one(text: &str, depth: usize) -> Result<(Step, &str), ScriptError> {
    if depth > MAX_DEPTH {
        return Err(ScriptError::TooDeep);
    }
    let word_end = text
        .find(|letter: char| !letter.is_ascii_uppercase())
        .unwrap_or(text.len());
    let (word, rest) = text.split_at(word_end);
    let Some(name) = NAMES.into_iter().find(|name| *name == word) else {
        let shown: String = text.chars().take(40).collect();
        return Err(ScriptError::UnknownStep(shown));
    };
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    let nested = |rest| {
        let (then, after) = one(rest, depth + 1)?;
        Ok::<_, ScriptError>((Box::new(then), after))
    };
    Ok(match name {
        "TOOL" => tool(rest)?,
        "TOOLS" => tools(rest)?,
        "SLEEP" => {
            let (seconds, rest) = field(rest);
            let pause = wait(seconds, "SLEEP", "SLEEP:5:TEXT:late")?;
            let (then, after) = nested(rest)?;
            (Step::Sleep { pause, then }, after)
        }
        "ERRN" | "ERRH" => {
            let example = if name == "ERRN" {
                "ERRN:529:2:TEXT:ok"
            } else {
                "ERRH:429:retry-after=1:2:TEXT:ok"
            };
            let (status, mut rest) = field(rest);
            let status = http_status(status, name, example)?;
            let mut header = None;
            if name == "ERRH" {
                let (pair, after) = field(rest);
                header = Some(response_header(pair, example)?);
                rest = after;
            }
            let (times, rest) = field(rest);
            let times = number(times, name, example)?;
            let (then, after) = nested(rest)?;
            (
                Step::ErrorTimes {
                    status,
                    header,
                    times,
                    then,
                },
                after,
            )
        }
        "DROPN" => {
            let (times, rest) = field(rest);
            let times = number(times, "DROPN", "DROPN:1:TEXT:ok")?;
            let (then, after) = nested(rest)?;
            (Step::DropTimes { times, then }, after)
        }
        "ERR" => {
            let (status, after) = until_separator(rest);
            let status = http_status(status, "ERR", "ERR:529")?;
            (Step::Error { status }, after)
        }
        simple => {
            let (argument, after) = until_separator(rest);
            (Step::Reply(without_nesting(simple, argument)?), after)
        }
    })
}

/// A step whose argument is the text up to the next one.
fn without_nesting(name: &str, argument: &str) -> Result<Reply, ScriptError> {
    Ok(match name {
        "TEXT" => Reply::Text(argument.to_owned()),
        "MAXTOK" => Reply::MaxTokens(argument.to_owned()),
        "REFUSE" => Reply::Refuse,
        "DROP" => Reply::Drop,
        "THINK" => {
            let (thinking, text) = argument.split_once('|').unwrap_or((argument, ""));
            Reply::Think {
                thinking: thinking.to_owned(),
                text: text.to_owned(),
            }
        }
        "BIG" => {
            let bytes = number(argument, "BIG", "BIG:1000000")?;
            if bytes > MAX_BIG_BYTES {
                return Err(wrong(
                    "BIG",
                    format!("{bytes} bytes are more than {MAX_BIG_BYTES}"),
                    "BIG:1000000",
                ));
            }
            Reply::Big { bytes }
        }
        "SLOW" => {
            let (words, milliseconds) = field(argument);
            let words = number(words, "SLOW", "SLOW:20:250")?;
            let pause = Duration::from_millis(number(milliseconds, "SLOW", "SLOW:20:250")?);
            if pause
                .checked_mul(words)
                .is_none_or(|total| total > MAX_WAIT)
            {
                return Err(wrong("SLOW", "takes more than an hour", "SLOW:20:250"));
            }
            Reply::Slow { words, pause }
        }
        "SSEERR" if argument.trim().is_empty() => {
            return Err(wrong(
                "SSEERR",
                "has no error type",
                "SSEERR:overloaded_error",
            ));
        }
        "SSEERR" => Reply::StreamError {
            kind: argument.trim().to_owned(),
        },
        "STALL" => Reply::Stall {
            silence: if argument.trim().is_empty() {
                MAX_WAIT
            } else {
                wait(argument, "STALL", "STALL:20")?
            },
        },
        other => return Err(ScriptError::UnknownStep(other.to_owned())),
    })
}

fn tool(rest: &str) -> Result<(Step, &str), ScriptError> {
    const EXAMPLE: &str = r#"TOOL:Bash:{"command":"ls"}"#;
    // `TOOL:Name;;TEXT:..` has no input, and the next colon belongs to the next step
    let end = match (rest.find(':'), rest.find(";;")) {
        (Some(colon), Some(separator)) => colon.min(separator),
        (one, other) => one.or(other).unwrap_or(rest.len()),
    };
    let (name, rest) = rest.split_at(end);
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    if name.trim().is_empty() {
        return Err(wrong("TOOL", "has no tool name", EXAMPLE));
    }
    let (input, after) = json(rest, "TOOL", EXAMPLE)?;
    let call = ToolCall {
        name: name.trim().to_owned(),
        input: object(
            input.unwrap_or_else(|| Value::Object(Map::new())),
            "TOOL",
            EXAMPLE,
        )?,
    };
    let reply = Reply::Tools {
        announce: true,
        calls: vec![call],
    };
    Ok((Step::Reply(reply), after))
}

fn tools(rest: &str) -> Result<(Step, &str), ScriptError> {
    const EXAMPLE: &str = r#"TOOLS:[{"name":"Bash","input":{"command":"ls"}}]"#;
    let (list, after) = json(rest, "TOOLS", EXAMPLE)?;
    let Some(Value::Array(list)) = list else {
        return Err(wrong("TOOLS", "needs a JSON array", EXAMPLE));
    };
    let calls: Vec<ToolCall> = list
        .into_iter()
        .map(|mut item| {
            let name = item.get("name").and_then(Value::as_str).map(str::to_owned);
            let Some(name) = name else {
                return Err(wrong("TOOLS", "an entry has no `name`", EXAMPLE));
            };
            let input = item
                .get_mut("input")
                .map_or_else(|| Value::Object(Map::new()), Value::take);
            let input = object(input, "TOOLS", EXAMPLE)?;
            Ok(ToolCall { name, input })
        })
        .collect::<Result<_, _>>()?;
    if calls.is_empty() {
        return Err(wrong("TOOLS", "the array is empty", EXAMPLE));
    }
    let reply = Reply::Tools {
        announce: false,
        calls,
    };
    Ok((Step::Reply(reply), after))
}

/// A JSON value at the start of `text` and what follows it; nothing but a separator may follow.
fn json<'text>(
    text: &'text str,
    step: &'static str,
    example: &'static str,
) -> Result<(Option<Value>, &'text str), ScriptError> {
    if text.trim().is_empty() || text.trim_start().starts_with(";;") {
        return Ok((None, text));
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value = values
        .next()
        .transpose()
        .map_err(|error| wrong(step, format!("the JSON cannot be read: {error}"), example))?;
    let after = &text[values.byte_offset()..];
    if !after.trim().is_empty() && !after.trim_start().starts_with(";;") {
        let shown: String = after.chars().take(40).collect();
        return Err(wrong(step, format!("`{shown}` follows the JSON"), example));
    }
    Ok((value, after))
}

fn object(
    value: Value,
    step: &'static str,
    example: &'static str,
) -> Result<Map<String, Value>, ScriptError> {
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(wrong(step, "the input is not a JSON object", example)),
    }
}

/// Text up to the next separator that the name of a step follows, and the rest from there.
fn until_separator(text: &str) -> (&str, &str) {
    for (at, separator) in text.match_indices(";;") {
        let next = text[at + separator.len()..].trim_start();
        let word: &str = &next[..next
            .find(|letter: char| !letter.is_ascii_uppercase())
            .unwrap_or(next.len())];
        let follows = &next[word.len()..];
        let ends = follows.starts_with(':')
            || follows.trim_start().is_empty()
            || follows.trim_start().starts_with(";;");
        if next.is_empty() || (ends && NAMES.contains(&word)) {
            return (&text[..at], &text[at..]);
        }
    }
    (text, "")
}

/// Text up to the next colon, and the rest after it.
fn field(text: &str) -> (&str, &str) {
    text.split_once(':').unwrap_or((text, ""))
}

fn wrong(step: &'static str, problem: impl Into<String>, example: &'static str) -> ScriptError {
    ScriptError::Argument {
        step,
        problem: problem.into(),
        example,
    }
}

fn number<N: std::str::FromStr>(
    text: &str,
    step: &'static str,
    example: &'static str,
) -> Result<N, ScriptError> {
    let text = text.trim();
    text.parse()
        .map_err(|_| wrong(step, format!("`{text}` is not a number that fits"), example))
}

fn wait(text: &str, step: &'static str, example: &'static str) -> Result<Duration, ScriptError> {
    let seconds: f64 = number(text, step, example)?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|wait| *wait <= MAX_WAIT)
        .ok_or_else(|| {
            wrong(
                step,
                format!("{seconds} s is not between 0 and an hour"),
                example,
            )
        })
}

fn http_status(text: &str, step: &'static str, example: &'static str) -> Result<u16, ScriptError> {
    let status = number(text, step, example)?;
    if (400..600).contains(&status) {
        Ok(status)
    } else {
        Err(wrong(
            step,
            format!("{status} is not an HTTP error (400 to 599)"),
            example,
        ))
    }
}

fn response_header(text: &str, example: &'static str) -> Result<(String, String), ScriptError> {
    let pair = text.split_once('=').filter(|(name, value)| {
        name.parse::<http::HeaderName>().is_ok() && value.parse::<http::HeaderValue>().is_ok()
    });
    pair.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| {
            wrong(
                "ERRH",
                format!("`{text}` is not name=value of a header"),
                example,
            )
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(name: &str, input: Value) -> ToolCall {
        let Value::Object(input) = input else {
            panic!("an object")
        };
        ToolCall {
            name: name.to_owned(),
            input,
        }
    }

    #[test]
    fn marker_is_followed_by_a_step() {
        assert_eq!(find("please @@TEXT:hi "), Some("TEXT:hi"));
        assert_eq!(find("@@ -1,2 +1,2 @@ explain"), None);
        assert_eq!(find("diff @@ -1 @@ then @@TEXT:a"), Some("TEXT:a"));
        assert_eq!(find("nothing"), None);
    }

    #[test]
    fn separators_inside_commands_are_not_separators() {
        let steps =
            parse(r#"TOOL:Bash:{"command":"case x in y) a;;TEXT:b;; esac"};;TEXT:a;; b;;TEXT:c"#)
                .unwrap();
        assert_eq!(
            steps,
            [
                Step::Reply(Reply::Tools {
                    announce: true,
                    calls: vec![call(
                        "Bash",
                        json!({"command": "case x in y) a;;TEXT:b;; esac"})
                    )]
                }),
                Step::Reply(Reply::Text("a;; b".to_owned())),
                Step::Reply(Reply::Text("c".to_owned())),
            ]
        );
    }

    #[test]
    fn every_step_reads() {
        let script = "TEXT:t;;TOOL:Read;;TOOLS:[{\"name\":\"A\"},{\"name\":\"B\",\"input\":{\"x\":1}}];;THINK:a|b;;\
             BIG:12;;SLOW:2:5;;SLEEP:0.5:TEXT:late;;ERR:529;;ERRN:500:2:TEXT:ok;;ERRH:429:retry-after=1:3:DROPN:1:TEXT:x;;\
             DROP;;SSEERR:overloaded_error;;MAXTOK:m;;REFUSE;;STALL:2";
        let text = |text: &str| Box::new(Step::Reply(Reply::Text(text.to_owned())));
        let reply = Step::Reply;
        assert_eq!(
            parse(script).unwrap(),
            [
                *text("t"),
                reply(Reply::Tools {
                    announce: true,
                    calls: vec![call("Read", json!({}))]
                }),
                reply(Reply::Tools {
                    announce: false,
                    calls: vec![call("A", json!({})), call("B", json!({"x": 1}))]
                }),
                reply(Reply::Think {
                    thinking: "a".into(),
                    text: "b".into()
                }),
                reply(Reply::Big { bytes: 12 }),
                reply(Reply::Slow {
                    words: 2,
                    pause: Duration::from_millis(5)
                }),
                Step::Sleep {
                    pause: Duration::from_millis(500),
                    then: text("late")
                },
                Step::Error { status: 529 },
                Step::ErrorTimes {
                    status: 500,
                    header: None,
                    times: 2,
                    then: text("ok")
                },
                Step::ErrorTimes {
                    status: 429,
                    header: Some(("retry-after".into(), "1".into())),
                    times: 3,
                    then: Box::new(Step::DropTimes {
                        times: 1,
                        then: text("x")
                    }),
                },
                reply(Reply::Drop),
                reply(Reply::StreamError {
                    kind: "overloaded_error".into()
                }),
                reply(Reply::MaxTokens("m".into())),
                reply(Reply::Refuse),
                reply(Reply::Stall {
                    silence: Duration::from_secs(2)
                }),
            ]
        );
    }

    #[test]
    fn wrong_scripts_are_named() {
        for (script, expected) in [
            ("HELLO:x", "`HELLO:x` is not a step"),
            ("ERR:200", "200 is not an HTTP error"),
            ("ERR:x", "`x` is not a number"),
            ("BIG:999999999999", "are more than"),
            ("TOOL:Bash:{broken", "the JSON cannot be read"),
            ("TOOL:Bash:[1]", "the input is not a JSON object"),
            ("TOOL:Bash:{} and more", "follows the JSON"),
            ("TOOL:", "has no tool name"),
            ("TOOLS:{}", "needs a JSON array"),
            ("TOOLS:[]", "the array is empty"),
            ("TOOLS:[{}]", "has no `name`"),
            ("SLEEP:-1:TEXT:x", "not between 0 and an hour"),
            ("SLEEP:1", "is not a step"),
            ("SSEERR:", "has no error type"),
            ("ERRH:429:nope:1:TEXT:x", "is not name=value"),
            ("SLOW:4294967295:4294967295", "more than an hour"),
        ] {
            let message = parse(script).unwrap_err().to_string();
            assert!(message.contains(expected), "{script}: {message}");
        }
        assert_eq!(parse(&"SLEEP:0:".repeat(100)), Err(ScriptError::TooDeep));
    }
}
