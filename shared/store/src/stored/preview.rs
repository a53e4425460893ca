//! What stays in the log of a body that is too long for it.

use domain::limits;
use serde_json::Value;

/// Entries of a long list (changed files) that stay.
const PREVIEW_ENTRIES: usize = 50;

/// Cuts long texts and long lists of objects; says whether anything was cut. Names (texts in
/// lists) stay: they are short, and a cut one would be another name.
pub(crate) fn shorten(value: &mut Value, longest_text_bytes: usize) -> bool {
    let mut any = false;
    match value {
        Value::String(text) => any = cut(text, longest_text_bytes),
        Value::Array(entries) => {
            if entries.len() > PREVIEW_ENTRIES && entries.iter().all(Value::is_object) {
                entries.truncate(PREVIEW_ENTRIES);
                any = true;
            }
            for entry in entries {
                any |= shorten(entry, longest_text_bytes);
            }
        }
        Value::Object(fields) => {
            for field in fields.values_mut() {
                any |= shorten(field, longest_text_bytes);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    any
}

/// Cuts a text to at most `longest_bytes` at a character boundary.
pub(crate) fn cut(text: &mut String, longest_bytes: usize) -> bool {
    if text.len() <= longest_bytes {
        return false;
    }
    let end = text.floor_char_boundary(longest_bytes);
    text.truncate(end);
    true
}

/// The preview of a body with the size of its JSON, or `None` when it fits as it is or nothing in
/// it can be cut.
pub(crate) fn preview(body: &Value, json_bytes: usize) -> Option<Value> {
    if json_bytes <= limits::EVENT_BODY_BYTES {
        return None;
    }
    let mut preview = body.clone();
    shorten(&mut preview, limits::EVENT_PREVIEW_BYTES).then_some(preview)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters_and_names_stay() {
        let long = "é".repeat(limits::EVENT_BODY_BYTES);
        let names: Vec<String> = (0..400).map(|n| format!("message-{n}")).collect();
        let body = json!({"kind": "x", "text": long, "names": names, "n": 1});
        let preview = preview(&body, body.to_string().len()).expect("too long");
        assert_eq!(
            preview["text"].as_str().expect("text").len(),
            limits::EVENT_PREVIEW_BYTES
        );
        assert_eq!(preview["names"], body["names"]);
        assert_eq!(preview["kind"], "x");
    }

    #[test]
    fn long_lists_of_objects_keep_their_beginning() {
        let files: Vec<Value> = (0..1000)
            .map(|n| json!({"path": format!("file-{n}")}))
            .collect();
        let body = json!({"files": files});
        let preview = preview(&body, body.to_string().len()).expect("too long");
        assert_eq!(
            preview["files"].as_array().expect("list").len(),
            PREVIEW_ENTRIES
        );
    }

    #[test]
    fn what_fits_or_cannot_be_cut_stays_whole() {
        assert_eq!(preview(&json!({"text": "short"}), 16), None);
        let names: Vec<String> = (0..2000).map(|n| format!("message-{n}")).collect();
        let body = json!({"unfinished": names});
        assert_eq!(preview(&body, body.to_string().len()), None);
    }
}
