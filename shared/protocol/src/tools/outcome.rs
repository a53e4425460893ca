//! What a tool did, as a result: within what clients take, and in the form that its schema promises.

use jsonschema::Validator;
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Resource};
use serde_json::Value;

use crate::resources::{Address, CONTENT_CHARACTERS};
use crate::show;

/// Characters up to which a result is checked against its schema before it is sent. Own: below it
/// the check takes microseconds.
const CHECKED_CHARACTERS: usize = 32 * 1024;

/// Where a result can be read that is too long for one answer.
pub(super) struct Elsewhere {
    /// Its address.
    pub(super) address: Address,
    /// A name for it.
    pub(super) name: String,
    pub(super) media_type: &'static str,
    /// Its size in bytes, where that is known.
    pub(super) bytes: Option<u64>,
    /// Fields of the structured form that then fall out. The schema requires none of them.
    pub(super) fields: &'static [&'static str],
}

/// The result of a tool that did what it was asked. When either form is longer than clients take,
/// a short text and a link stand in its place.
pub(super) fn result(
    structured: Value,
    text: String,
    elsewhere: Option<Elsewhere>,
) -> CallToolResult {
    let characters = show::characters(&structured).max(text.chars().count());
    let Some(elsewhere) = elsewhere.filter(|_| characters > CONTENT_CHARACTERS) else {
        if characters > CONTENT_CHARACTERS {
            tracing::warn!(characters, "a result is longer than clients take");
        }
        let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
        result.structured_content = Some(structured);
        return result;
    };
    let mut structured = structured;
    if let Some(object) = structured.as_object_mut() {
        object.retain(|name, _| !elsewhere.fields.contains(&name.as_str()));
    }
    let uri = elsewhere.address.to_string();
    let text = format!(
        "{} is too long for one answer ({characters} characters; clients take {CONTENT_CHARACTERS}). \
         Read it in pieces as the resource {uri}, or ask this tool for less.",
        elsewhere.name
    );
    let mut link = Resource::new(uri, elsewhere.name).with_mime_type(elsewhere.media_type);
    link.size = elsewhere.bytes;
    let mut result = CallToolResult::success(vec![
        ContentBlock::text(text),
        ContentBlock::resource_link(link),
    ]);
    result.structured_content = Some(structured);
    result
}

/// A tool's output schema.
pub(super) struct Promise(Option<Validator>);

impl Promise {
    pub(super) fn compile(schema: Option<&JsonObject>) -> Self {
        // A test compiles every schema there is.
        Self(
            schema.and_then(|schema| {
                jsonschema::draft202012::new(&Value::Object(schema.clone())).ok()
            }),
        )
    }

    /// Notes in the log where a result breaks its promise. It is sent all the same: the client has
    /// more from it than from an error, and the tool has done its work.
    pub(super) fn check(&self, tool: &str, result: &CallToolResult) {
        let Some(structured) = &result.structured_content else {
            return;
        };
        if let Some(validator) = &self.0
            && show::characters(structured) <= CHECKED_CHARACTERS
            && let Err(error) = validator.validate(structured)
        {
            tracing::error!(
                tool,
                path = %error.instance_path(),
                problem = %error.masked(),
                "a result has not the form that its schema promises"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{Sequence, SessionId};
    use serde_json::json;

    use super::*;

    fn elsewhere() -> Elsewhere {
        Elsewhere {
            address: Address::Event {
                session: SessionId::from_random([1; 17]),
                sequence: Sequence(7),
            },
            name: "event 7".to_owned(),
            media_type: "application/json",
            bytes: Some(5),
            fields: &["text"],
        }
    }

    #[test]
    fn what_is_too_long_becomes_a_link() {
        let long = "x".repeat(CONTENT_CHARACTERS);
        let structured = json!({"id": 1, "text": long});
        let result = result(structured, long, Some(elsewhere()));
        let shown = serde_json::to_value(&result).expect("JSON");
        assert_eq!(shown["structuredContent"], json!({"id": 1}));
        assert_eq!(shown["content"][1]["type"], "resource_link");
        assert_eq!(shown["content"][1]["size"], 5);
        assert!(shown.to_string().len() < 1000, "{shown}");
    }

    #[test]
    fn what_fits_stays() {
        let result = result(json!({"text": "x"}), "x".to_owned(), Some(elsewhere()));
        let shown = serde_json::to_value(&result).expect("JSON");
        assert_eq!(shown["structuredContent"], json!({"text": "x"}));
        assert_eq!(shown["content"].as_array().expect("content").len(), 1);
    }
}
