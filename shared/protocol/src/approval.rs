//! Approvals in the forms in which clients get them: as JSON, as words with the address of the page on
//! which a person decides, and, where the owner permits that, as a form.
//!
//! Programs can fill forms in by themselves. So a form decides only for tokens with the scope
//! `approve`, and only where the deployment says so; for all others there is the page.

use std::fmt::Write as _;

use domain::approval::has_treacherous;
use domain::authorization::Approve;
use domain::checkpoint::PendingQuestion;
use domain::session_token::SigningKey;
use domain::{
    ApprovalLink, ApprovalRequest, Authorized, Decision, Deployment, Principal, SessionKey,
};
use rmcp::model::InputRequest;
use serde_json::{Value, json};

use crate::show;

/// Makes the addresses of the pages on which people decide.
#[derive(Clone)]
pub struct Pages {
    base: String,
    key: SigningKey,
}

/// Where the pages are, below the deployment's own address.
pub const PATH: &str = "/approvals/";

impl Pages {
    /// Pages below this address. Without one the address that people are told is only a path, and they
    /// have to know where the deployment is.
    #[must_use]
    pub fn new(public_url: Option<&str>, key: SigningKey) -> Self {
        let base = public_url
            .unwrap_or_default()
            .trim_end_matches('/')
            .to_owned();
        Self { base, key }
    }

    /// The key that signs addresses, and seals what clients carry.
    pub(crate) const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The address of an approval's page; good for as long as the approval.
    pub(crate) fn address(
        &self,
        key: &SessionKey,
        question: &PendingQuestion,
        request: &ApprovalRequest,
    ) -> String {
        let link = ApprovalLink {
            key: key.clone(),
            approval: question.id.clone(),
            expires_at: request.expires_at,
        };
        format!("{}{PATH}{}", self.base, link.sign(&self.key))
    }
}

/// Whether this caller may decide by filling in a form of this client.
pub(crate) fn by_form(
    deployment: &Deployment,
    principal: &Principal,
    client: Option<&str>,
) -> Option<Authorized<Approve>> {
    if !deployment.forms_decide(client) {
        return None;
    }
    principal.authorize().ok()
}

/// The approval as JSON. `address` for those who are to be told where to decide.
pub(crate) fn shown(
    question: &PendingQuestion,
    request: &ApprovalRequest,
    address: Option<&str>,
) -> Value {
    let mut shown = json!({
        "approval_id": question.id.as_str(),
        "input": parsed(&question.input),
        "asked_at_unix_ms": question.asked_at.0,
    });
    let facts = facts(request);
    if let (Some(shown), Value::Object(facts)) = (shown.as_object_mut(), facts) {
        shown.extend(facts);
    }
    if let Some(address) = address {
        shown["url"] = address.into();
    }
    shown
}

/// What a person must know about the call, without what is not there.
pub(crate) fn facts(request: &ApprovalRequest) -> Value {
    let mut facts = json!({
        "tool": request.tool,
        "digest": request.digest.as_str(),
        "reason": request.reason,
        "policies": request.policies,
        "parts": request.parts,
        "expires_at_unix_ms": request.expires_at.0,
    });
    for (name, value) in [
        ("pattern", &request.pattern),
        ("preview", &request.preview),
        ("agent", &request.agent),
    ] {
        if let Some(value) = value {
            facts[name] = value.as_str().into();
        }
    }
    facts
}

/// Their schema, `url` included.
pub(crate) fn schema(description: &str) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["approval_id", "tool", "input", "digest", "reason", "policies", "parts", "asked_at_unix_ms", "expires_at_unix_ms"],
        "description": description,
        "properties": {
            "approval_id": {"type": "string"},
            "tool": {"type": "string"},
            "input": {"description": "What the tool would be given; the beginning of it, when it is long."},
            "digest": {"type": "string", "description": "SHA-256 of the call: the decision is about exactly this one."},
            "reason": {"type": "string", "description": "Why it does not run by itself."},
            "policies": {"type": "array", "items": {"type": "string"}},
            "parts": {"type": "array", "items": {"type": "string"}, "description": "What the call consists of, as the gate understood it."},
            "pattern": {"type": "string", "description": "The policy (Cedar) that a person can allow for the rest of the session."},
            "preview": {"type": "string", "description": "What an edit would change, as a unified diff."},
            "agent": {"type": "string", "description": "The subagent that makes the call."},
            "asked_at_unix_ms": {"type": "integer"},
            "expires_at_unix_ms": {"type": "integer", "description": "When it counts as denied."},
            "url": {"type": "string", "description": "Where a person decides. Show it to your user; you cannot decide."}
        }
    })
}

fn parsed(input: &str) -> Value {
    serde_json::from_str(input).unwrap_or_else(|_| Value::from(input))
}

/// What a decision says, beside its kind.
pub(crate) fn decision(decision: &Decision) -> Value {
    let mut shown = json!({"decision": decision.kind()});
    match decision {
        Decision::AllowEdited { input } => shown["input"] = parsed(input),
        Decision::Deny { reason } => shown["reason"] = reason.as_str().into(),
        Decision::AllowOnce | Decision::AllowCall | Decision::AllowPattern | Decision::Expire => {}
    }
    shown
}

/// The call in a line.
pub(crate) fn call(question: &PendingQuestion, request: &ApprovalRequest) -> String {
    let input = parsed(&question.input);
    let text = match (request.tool.as_str(), input["command"].as_str()) {
        ("Bash", Some(command)) => command.to_owned(),
        (tool, _) => format!("{tool} {}", question.input),
    };
    show::cut(&text, show::TEXT_CHARACTERS)
}

/// What a person reads, with the page's address.
pub(crate) fn words(
    question: &PendingQuestion,
    request: &ApprovalRequest,
    address: &str,
) -> String {
    format!(
        "It needs a person's approval: {}\n{}\nOnly a person can decide. Show your user this address, \
         where they decide: {address}",
        call(question, request),
        request.reason
    )
}

/// Choices of the form and what they mean.
const ONCE: &str = "Allow once";
const CALL: &str = "Allow this exact call for the session";
const PATTERN: &str = "Allow calls like this for the session";
const DENY: &str = "Deny";

/// The approval as a form; `None` where it would not show all of the call as it is: the page does.
pub(crate) fn form(
    title: &str,
    question: &PendingQuestion,
    request: &ApprovalRequest,
) -> Option<InputRequest> {
    let input = &question.input;
    let shows_all = request.visible && request.editable && input.len() <= show::TEXT_CHARACTERS;
    if !shows_all || has_treacherous(input) {
        return None;
    }
    let mut message = format!(
        "Session \u{201c}{title}\u{201d} needs your approval for {}:\n\n{input}\n\n{}\n\n{}",
        request.tool,
        request.parts.join("\n"),
        request.reason
    );
    let mut choices = vec![ONCE, CALL];
    if let Some(pattern) = &request.pattern {
        choices.push(PATTERN);
        let _ = write!(
            message,
            "\n\nCalls like this are those that this policy permits:\n{pattern}"
        );
    }
    choices.push(DENY);
    serde_json::from_value(json!({
        "method": "elicitation/create",
        "params": {
            "mode": "form",
            "message": message,
            "requestedSchema": {
                "type": "object",
                "properties": {
                    "decision": {"type": "string", "title": "Decision", "enum": choices},
                    "reason": {"type": "string", "title": "Reason, if you deny it; the model reads it"},
                },
                "required": ["decision"],
            },
        },
    }))
    .ok()
}

/// What a person did with the form; `None` when they closed it, and the approval stays.
///
/// # Errors
/// Words for the client: the result has another form.
pub(crate) fn filled(result: &Value) -> Result<Option<Decision>, String> {
    let reason = || {
        let said = result["content"]["reason"].as_str().unwrap_or_default();
        said.trim().to_owned()
    };
    match result["action"].as_str() {
        Some("cancel") => return Ok(None),
        Some("decline") => return Ok(Some(Decision::Deny { reason: reason() })),
        Some("accept") => {}
        _ => return Err("action must be accept, decline or cancel".to_owned()),
    }
    match result["content"]["decision"].as_str() {
        Some(ONCE) => Ok(Some(Decision::AllowOnce)),
        Some(CALL) => Ok(Some(Decision::AllowCall)),
        Some(PATTERN) => Ok(Some(Decision::AllowPattern)),
        Some(DENY) => Ok(Some(Decision::Deny { reason: reason() })),
        _ => Err(format!(
            "decision must be one of {ONCE:?}, {CALL:?}, {PATTERN:?}, {DENY:?}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_choice_is_a_decision() {
        let accept = |decision: Value| {
            filled(
                &json!({"action": "accept", "content": {"decision": decision, "reason": " no "}}),
            )
        };
        assert_eq!(accept(ONCE.into()), Ok(Some(Decision::AllowOnce)));
        assert_eq!(accept(CALL.into()), Ok(Some(Decision::AllowCall)));
        assert_eq!(accept(PATTERN.into()), Ok(Some(Decision::AllowPattern)));
        let denied = Decision::Deny {
            reason: "no".to_owned(),
        };
        assert_eq!(accept(DENY.into()), Ok(Some(denied)));
        for odd in [json!("allow once"), json!(true), json!(null), json!([ONCE])] {
            assert!(accept(odd.clone()).is_err(), "{odd}");
        }
        assert_eq!(filled(&json!({"action": "cancel"})), Ok(None));
        let declined = filled(&json!({"action": "decline"}));
        assert!(matches!(declined, Ok(Some(Decision::Deny { .. }))));
        for odd in [
            json!({}),
            json!([]),
            json!({"action": "accept"}),
            json!(null),
        ] {
            assert!(filled(&odd).is_err(), "{odd}");
        }
    }
}
