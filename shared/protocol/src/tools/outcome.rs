//! What a tool did, as a result: within what clients take, and in the form that its schema promises.

use std::io::Write;

use jsonschema::Validator;
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Resource};
use serde_json::Value;

use crate::resources::Address;
use crate::show;

/// What claude.ai takes of one result, and Claude Code of a tool that says so.
pub(crate) const MOST_RESULT_CHARACTERS: usize = 150_000;
/// What Claude Code takes of one result otherwise.
const MOST_RESULT_TOKENS: usize = 25_000;
/// An estimate that errs on the safe side: English has four, code about three.
const BYTES_PER_TOKEN: usize = 3;
/// Bytes up to which a result is checked against its schema before it is sent. Own: below it the
/// check takes microseconds. Programs that are built for tests check all.
const CHECKED_BYTES: usize = 32 * 1024;

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
    /// The link stands there in any case: the result does not hold everything.
    pub(super) always: bool,
}

impl Elsewhere {
    fn link(self) -> ContentBlock {
        let uri = self.address.to_string();
        let mut link = Resource::new(uri, self.name).with_mime_type(self.media_type);
        link.size = self.bytes;
        ContentBlock::resource_link(link)
    }
}

/// How long a result is. Its two forms count together: some clients show both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    bytes: usize,
    characters: usize,
}

impl Size {
    pub(crate) fn of(structured: &Value, text: &str) -> Self {
        let mut size = Self::default();
        // It only counts, which cannot fail.
        let _ = serde_json::to_writer(&mut size, structured);
        let _ = size.write_all(text.as_bytes());
        size
    }

    /// Whether clients take that much; of some tools they take `long` results.
    pub(crate) const fn fits(self, long: bool) -> bool {
        self.characters <= MOST_RESULT_CHARACTERS
            && (long || self.bytes.div_ceil(BYTES_PER_TOKEN) <= MOST_RESULT_TOKENS)
    }
}

impl Write for Size {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes += bytes.len();
        // Each character has one byte that continues none.
        self.characters += bytes.iter().filter(|byte| (**byte as i8) >= -0x40).count();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The result of a tool that did what it was asked. When it is longer than clients take, a short
/// text and a link stand in its place; of a result that is nowhere else the text is cut, since the
/// structured form has what it says. Looks whether that form keeps the promise.
pub(super) fn result(
    mut structured: Value,
    mut text: String,
    elsewhere: Option<Elsewhere>,
    long: bool,
    promise: &Promise,
) -> CallToolResult {
    let size = Size::of(&structured, &text);
    // Measuring writes all of it, so it is done once.
    let mut structured_bytes = size.bytes - text.len();
    let fits = size.fits(long);
    let mut link = None;
    match elsewhere {
        Some(elsewhere) if !fits => {
            if let Some(object) = structured.as_object_mut() {
                object.retain(|name, _| !elsewhere.fields.contains(&name.as_str()));
            }
            structured_bytes = Size::of(&structured, "").bytes;
            text = format!(
                "{} is too long for one answer ({} characters in both forms of the result). Read it in \
                 pieces as the resource {}, or ask this tool for less.",
                elsewhere.name, size.characters, elsewhere.address
            );
            link = Some(elsewhere.link());
        }
        Some(elsewhere) => link = elsewhere.always.then(|| elsewhere.link()),
        None if !fits => {
            text = show::cut(&text, show::TEXT_CHARACTERS);
            text.push_str("\n[cut: the structured form of this result has all of it]");
            let left = Size::of(&structured, &text);
            if !left.fits(long) {
                tracing::warn!(
                    characters = left.characters,
                    "a result is longer than clients take"
                );
            }
        }
        None => {}
    }
    promise.check(&structured, structured_bytes);
    let mut contents = vec![ContentBlock::text(text)];
    contents.extend(link);
    let mut result = CallToolResult::success(contents);
    result.structured_content = Some(structured);
    result
}

/// A tool's output schema.
pub(super) struct Promise {
    tool: &'static str,
    validator: Option<Validator>,
}

impl Promise {
    pub(super) fn compile(tool: &'static str, schema: Option<&JsonObject>) -> Self {
        let compiled = schema
            .map(|schema| jsonschema::draft202012::new(&Value::Object(schema.clone())))
            .transpose();
        let validator = compiled.unwrap_or_else(|error| {
            broken(tool, &format!("its schema is none: {error}"));
            None
        });
        Self { tool, validator }
    }

    /// Notes in the log where a result breaks its promise. It is sent all the same: the client has
    /// more from it than from an error, and the tool has done its work. Programs that are built for
    /// tests panic instead.
    fn check(&self, structured: &Value, bytes: usize) {
        if let Some(validator) = &self.validator
            && (cfg!(debug_assertions) || bytes <= CHECKED_BYTES)
            && let Err(error) = validator.validate(structured)
        {
            // Without the values: they may be secret.
            broken(
                self.tool,
                &format!("{}: {}", error.instance_path(), error.masked()),
            );
        }
    }
}

fn broken(tool: &str, problem: &str) {
    tracing::error!(
        tool,
        problem,
        "a result has not the form that its schema promises"
    );
    debug_assert!(false, "{tool} breaks its output schema: {problem}");
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
            always: false,
        }
    }

    fn shown(structured: Value, text: String, elsewhere: Option<Elsewhere>, long: bool) -> Value {
        let anything = Promise::compile("a_tool", None);
        let result = result(structured, text, elsewhere, long, &anything);
        serde_json::to_value(result).expect("JSON")
    }

    /// Its two forms together.
    #[test]
    fn what_is_too_long_becomes_a_link() {
        for (characters, long, fits) in [
            (MOST_RESULT_CHARACTERS / 2 - 20, true, true),
            (MOST_RESULT_CHARACTERS / 2, true, false),
            (MOST_RESULT_TOKENS * 3 / 2 - 20, false, true),
            (MOST_RESULT_TOKENS * 3 / 2, false, false),
        ] {
            let text = "x".repeat(characters);
            let structured = json!({"id": 1, "text": text});
            let shown = shown(structured, text, Some(elsewhere()), long);
            let is_link = shown["content"][1]["type"] == "resource_link";
            assert_eq!(is_link, !fits, "{characters} {long}");
            if is_link {
                assert_eq!(shown["structuredContent"], json!({"id": 1}));
                assert_eq!(shown["content"][1]["size"], 5);
                assert!(shown.to_string().len() < 1000, "{shown}");
            }
        }
    }

    #[test]
    fn bytes_count_as_tokens_and_characters_as_they_are() {
        let text = "é".repeat(70_000);
        let structured = json!({});
        let size = Size::of(&structured, &text);
        assert_eq!((size.bytes, size.characters), (140_002, 70_002));
        assert!(size.fits(true));
        assert!(!size.fits(false));
    }

    #[test]
    fn what_fits_stays() {
        let whole = json!({"text": "x"});
        let fits = shown(whole.clone(), "x".to_owned(), Some(elsewhere()), false);
        assert_eq!(fits["structuredContent"], whole);
        assert_eq!(fits["content"].as_array().expect("content").len(), 1);
        let always = Elsewhere {
            always: true,
            ..elsewhere()
        };
        let linked = shown(whole.clone(), "x".to_owned(), Some(always), false);
        assert_eq!(linked["structuredContent"], whole);
        assert_eq!(linked["content"][1]["type"], "resource_link");
    }

    #[test]
    fn what_is_nowhere_else_loses_its_text() {
        let structured = json!({"text": "x".repeat(40_000)});
        let cut = shown(structured.clone(), "x".repeat(40_000), None, false);
        assert_eq!(cut["structuredContent"], structured);
        let text = cut["content"][0]["text"].as_str().expect("text");
        assert!(
            text.ends_with("has all of it]") && text.len() < 3000,
            "{text}"
        );
    }

    fn promised() -> Promise {
        let schema = json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}});
        Promise::compile("a_tool", schema.as_object())
    }

    #[test]
    fn a_result_that_keeps_its_promise_passes() {
        result(json!({"id": 1}), String::new(), None, true, &promised());
        // In the form in which it is sent.
        let long = json!({"id": 1, "text": "x".repeat(80_000)});
        let text = "x".repeat(80_000);
        let sent = result(long, text, Some(elsewhere()), true, &promised());
        assert_eq!(sent.structured_content, Some(json!({"id": 1})));
    }

    #[test]
    #[should_panic(expected = "a_tool breaks its output schema")]
    fn a_result_that_breaks_its_promise_does_not() {
        let broken = json!({"id": "1", "x": "x".repeat(100_000)});
        result(broken, String::new(), None, true, &promised());
    }

    #[test]
    #[should_panic(expected = "its schema is none")]
    fn a_schema_that_is_none_is_noticed() {
        let schema = json!({"type": "no such type"});
        Promise::compile("a_tool", schema.as_object());
    }
}
