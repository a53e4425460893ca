//! What programs print, where that is plain: it becomes the input of what follows in a pipeline.

use crate::shell::word::Word;
use crate::shell::{Input, Started};

/// What these programs, one part of a pipeline, print.
pub(in crate::shell) fn printed(programs: &[Started]) -> Input {
    let unknown = || {
        let names: Vec<&str> = programs
            .iter()
            .map(|started| started.name.as_str())
            .filter(|name| !name.is_empty())
            .take(3)
            .collect();
        Input::Unknown(format!("what {} prints", names.join(", ")))
    };
    let [only] = programs else { return unknown() };
    if !only.redirections.is_empty() {
        return unknown();
    }
    let arguments: Option<Vec<String>> = only.arguments.iter().map(Word::text).collect();
    let Some(arguments) = arguments else {
        return unknown();
    };
    match (only.name.as_str(), arguments.as_slice()) {
        ("cat", []) if matches!(only.input, Input::Text(_)) => only.input.clone(),
        ("echo", words) => {
            let words = match words.first().map(String::as_str) {
                Some("-n") => &words[1..],
                Some(option) if option.starts_with('-') => return unknown(),
                _ => words,
            };
            let text = words.join(" ");
            if text.contains('\\') {
                return unknown();
            }
            Input::Text(format!("{text}\n"))
        }
        ("printf", [text]) if !text.contains(['%', '\\']) => Input::Text(text.clone()),
        ("printf", [format, texts @ ..]) if format == "%s\\n" && !texts.is_empty() => {
            Input::Text(format!("{}\n", texts.join("\n")))
        }
        ("printf", [format, text]) if format == "%s" => Input::Text(text.clone()),
        _ => unknown(),
    }
}
