//! Questions of the product, in the form that clients show to a person.

use rmcp::model::InputRequest;
use serde_json::{Value, json};

/// A yes-or-no question; `None` only if the form could not be written.
pub(crate) fn confirmation(message: &str, consent: &str) -> Option<InputRequest> {
    serde_json::from_value(json!({
        "method": "elicitation/create",
        "params": {
            "mode": "form",
            "message": message,
            "requestedSchema": {
                "type": "object",
                "properties": {
                    "confirm": {"type": "boolean", "title": consent, "default": false},
                },
                "required": ["confirm"],
            },
        },
    }))
    .ok()
}

/// Whether the answer to a [`confirmation`] is a yes. Anything else is none.
pub(crate) fn is_yes(answer: &Value) -> bool {
    answer["action"] == "accept" && answer["content"]["confirm"] == true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        let question = confirmation("Really?", "Do it").expect("a form");
        let shown = serde_json::to_value(question).expect("JSON");
        assert_eq!(shown["params"]["requestedSchema"]["required"][0], "confirm");
        assert!(is_yes(
            &json!({"action": "accept", "content": {"confirm": true}})
        ));
        for no in [
            json!({"action": "accept", "content": {"confirm": false}}),
            json!({"action": "accept", "content": {"confirm": "true"}}),
            json!({"action": "accept"}),
            json!({"action": "decline", "content": {"confirm": true}}),
            json!({"action": "cancel"}),
            json!([]),
            Value::Null,
        ] {
            assert!(!is_yes(&no), "{no}");
        }
    }
}
