//! `emulator audit verify`: the stack computes its audit again, part by part; this asks for all parts.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    FAILED, SUCCESS, StartArguments, arguments::AuditVerifyArguments, in_one_line, out, place, say,
};
use crate::{settings::Settings, try_session::Client};

/// What was counted, by name.
const COUNTS: [&str; 3] = ["entries", "batches", "seals"];

/// What all parts say.
#[derive(Default)]
struct Verified {
    findings: Vec<Value>,
    counts: BTreeMap<&'static str, u64>,
}

pub(super) async fn verify(
    asked: AuditVerifyArguments,
    arguments: &StartArguments,
    settings: Settings,
) -> u8 {
    let place = match place::asked_for(asked.url.as_deref(), arguments, settings).await {
        Ok(place) => place,
        Err(code) => return code,
    };
    let client = Client::new(place.mcp_url, place.token);
    let mut verified = Verified::default();
    let mut code = SUCCESS;
    for deployment in [false, true] {
        if let Err(problem) = chain(&client, deployment, &mut verified).await {
            say(&problem);
            code = FAILED;
            break;
        }
    }
    if code == SUCCESS {
        code = shown(&verified, asked.json);
    }
    if let Some(stack) = place.own {
        stack.shutdown(&|_| {}).await;
    }
    code
}

/// All parts of one chain.
async fn chain(client: &Client, deployment: bool, verified: &mut Verified) -> Result<(), String> {
    let mut question = json!({"deployment": deployment});
    loop {
        let answer = client.call_tool("verify_audit", question.clone()).await;
        let answer = answer.map_err(|error| in_one_line(&error))?;
        if answer.is_error {
            return Err(answer.text);
        }
        let part = answer.structured;
        let findings = part["findings"].as_array().cloned();
        let findings = findings.ok_or("the stack's answer has no findings")?;
        for mut finding in findings {
            finding["deployment"] = deployment.into();
            verified.findings.push(finding);
        }
        for name in COUNTS {
            let count = part[name].as_u64();
            let count = count.ok_or_else(|| format!("the stack's answer has no {name}"))?;
            *verified.counts.entry(name).or_default() += count;
        }
        let Some(next) = part.get("next_cursor") else {
            return Ok(());
        };
        if question.get("cursor") == Some(next) {
            return Err("the stack does not get on with its audit".to_owned());
        }
        question["cursor"] = next.clone();
    }
}

/// Shows it; the exit code says whether all holds.
fn shown(verified: &Verified, as_json: bool) -> u8 {
    if as_json {
        let mut shown = json!({"findings": verified.findings});
        for (name, count) in &verified.counts {
            shown[*name] = (*count).into();
        }
        out(&format!("{shown}\n"));
    } else {
        out(&text(verified));
    }
    if verified.findings.is_empty() {
        SUCCESS
    } else {
        FAILED
    }
}

fn text(verified: &Verified) -> String {
    let mut shown = String::new();
    for finding in &verified.findings {
        let of = if finding["deployment"] == true {
            "deployment: "
        } else {
            ""
        };
        let message = finding["message"].as_str().unwrap_or_default();
        shown.push_str(&format!("{of}{message}\n"));
    }
    let count = |name| verified.counts.get(name).copied().unwrap_or_default();
    let verdict = match verified.findings.len() {
        0 => "all of it holds".to_owned(),
        1 => "1 finding".to_owned(),
        more => format!("{more} findings"),
    };
    shown.push_str(&format!(
        "{} entries, {} batches of session logs and {} sealed ends computed again: {verdict}\n",
        count("entries"),
        count("batches"),
        count("seals"),
    ));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_names_every_finding_and_what_was_computed() {
        let mut verified = Verified {
            counts: [("entries", 3), ("batches", 9), ("seals", 1)].into(),
            ..Verified::default()
        };
        assert_eq!(
            text(&verified),
            "3 entries, 9 batches of session logs and 1 sealed ends computed again: all of it holds\n"
        );
        verified.findings = vec![
            json!({"message": "entry 2 was changed", "deployment": false}),
            json!({"message": "entries 4 to 5 are missing", "deployment": true}),
        ];
        assert_eq!(
            text(&verified),
            "entry 2 was changed\ndeployment: entries 4 to 5 are missing\n3 entries, 9 batches of session \
             logs and 1 sealed ends computed again: 2 findings\n"
        );
    }
}
