//! `emulator policy check`: what the running stack's policies say about a call.

use serde_json::{Value, json};

use super::{
    FAILED, SUCCESS, StartArguments, USAGE, arguments::PolicyCheckArguments, in_one_line, out,
    place, say,
};
use crate::{settings::Settings, try_session::Client};

/// A person would decide.
const ASK: u8 = 4;
/// It would not run.
const DENY: u8 = 5;

pub(super) async fn check(
    checked: PolicyCheckArguments,
    arguments: &StartArguments,
    settings: Settings,
) -> u8 {
    let question = match question(&checked) {
        Ok(question) => question,
        Err(problem) => {
            say(&problem);
            return USAGE;
        }
    };
    let place = match place::asked_for(None, arguments, settings).await {
        Ok(place) => place,
        Err(code) => return code,
    };
    let client = Client::new(place.mcp_url, place.token);
    let answer = client.call_tool("check_policy", question).await;
    let code = match answer {
        Ok(answer) if answer.is_error => {
            say(&answer.text);
            FAILED
        }
        Ok(answer) => {
            if checked.json {
                out(&format!("{}\n", answer.structured));
            } else {
                out(&shown(&answer.structured));
            }
            match answer.structured["outcome"].as_str() {
                Some("allow") => SUCCESS,
                Some("ask") => ASK,
                Some("deny") => DENY,
                _ => FAILED,
            }
        }
        Err(error) => {
            say(&in_one_line(&error));
            FAILED
        }
    };
    if let Some(stack) = place.own {
        stack.shutdown(&|_| {}).await;
    }
    code
}

/// Arguments of `check_policy`.
fn question(checked: &PolicyCheckArguments) -> Result<Value, String> {
    let mut question = match (&checked.command, &checked.tool) {
        (Some(command), None) => json!({"command": command}),
        (None, Some(tool)) => json!({"tool": tool}),
        _ => return Err("give a command, or a tool with --tool".to_owned()),
    };
    if let Some(input) = &checked.input {
        let input: Value =
            serde_json::from_str(input).map_err(|error| format!("--input is not JSON: {error}"))?;
        if !input.is_object() {
            return Err("--input must be a JSON object".to_owned());
        }
        question["tool_input"] = input;
    }
    let texts = [
        ("session_id", checked.session.as_deref()),
        ("tier", checked.tier.map(super::arguments::Tier::as_str)),
        (
            "permission_mode",
            checked
                .permission_mode
                .map(super::arguments::PermissionMode::as_str),
        ),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            question[name] = text.into();
        }
    }
    Ok(question)
}

fn shown(answer: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let outcome = text(&answer["outcome"]);
    let meaning = match outcome.as_str() {
        "allow" => "it runs",
        "ask" => "a person decides",
        _ => "it does not run",
    };
    let mut shown = format!(
        "{outcome}: {meaning} (tier {}, mode {})\n",
        text(&answer["tier"]),
        text(&answer["permission_mode"])
    );
    let reason = text(&answer["reason"]);
    if !reason.is_empty() {
        shown.push_str(&format!("{reason}\n"));
    }
    for policy in answer["policies"].as_array().into_iter().flatten() {
        shown.push_str(&format!("\n// {}\n", text(&policy["policy_id"])));
        shown.push_str(&format!("{}\n", text(&policy["text"]).trim()));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_says_outcome_reason_and_policies() {
        let answer = json!({
            "outcome": "deny", "reason": "No.", "tier": "review", "permission_mode": "bypass",
            "policies": [{"policy_id": "denials/privilege", "text": "forbid (principal, action, resource);\n"}],
        });
        assert_eq!(
            shown(&answer),
            "deny: it does not run (tier review, mode bypass)\nNo.\n\n// denials/privilege\nforbid (principal, action, resource);\n"
        );
        let answer = json!({"outcome": "allow", "reason": "", "tier": "auto", "permission_mode": "review", "policies": []});
        assert_eq!(shown(&answer), "allow: it runs (tier auto, mode review)\n");
    }
}
