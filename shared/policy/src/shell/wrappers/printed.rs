//! What programs print, where that is plain: it becomes the input of what follows in a pipeline, or
//! the words of a substitution.

use crate::shell::options::Options;
use crate::shell::word::{Piece, Word};
use crate::shell::{Input, Started};

use super::SOMETHING;

/// What these programs, one part of a pipeline, print.
pub(in crate::shell) fn printed(programs: &[Started]) -> Input {
    let mut whole = String::new();
    let mut is_known = programs.len() == 1;
    for program in programs {
        match printed_by(program) {
            Some(Input::Text(text)) => whole.push_str(&text),
            Some(Input::Partly(text)) => {
                whole.push_str(&text);
                is_known = false;
            }
            _ => {
                let names: Vec<&str> = programs
                    .iter()
                    .map(|started| started.name.as_str())
                    .filter(|name| !name.is_empty())
                    .take(3)
                    .collect();
                return Input::Unknown(format!("what {} prints", names.join(", ")));
            }
        }
    }
    // Of several, some may be left out.
    if is_known {
        Input::Text(whole)
    } else {
        Input::Partly(whole)
    }
}

fn printed_by(only: &Started) -> Option<Input> {
    if !only.redirections.is_empty() || !only.unclear.is_empty() {
        return None;
    }
    let (name, words) = (only.name.as_str(), only.arguments.as_slice());
    let is_known = words.iter().all(|word| word.text().is_some());
    let arguments: Vec<String> = words.iter().map(Word::as_text).collect();
    let text = match (name, arguments.as_slice()) {
        ("cat", []) => {
            let is_text = matches!(only.input, Input::Text(_) | Input::Partly(_));
            return is_text.then(|| only.input.clone());
        }
        ("echo", words) => {
            let words = match words.first().map(String::as_str) {
                Some("-n") => &words[1..],
                Some(option) if option.starts_with('-') => return None,
                _ => words,
            };
            let text = words.join(" ");
            if text.contains('\\') {
                return None;
            }
            format!("{text}\n")
        }
        ("printf", [text]) if !text.contains(['%', '\\']) => text.clone(),
        ("printf", [format, texts @ ..]) if format == "%s\\n" && !texts.is_empty() => {
            format!("{}\n", texts.join("\n"))
        }
        ("printf", [format, text]) if format == "%s" => text.clone(),
        _ => return None,
    };
    Some(if is_known {
        Input::Text(text)
    } else {
        Input::Partly(text)
    })
}

const MKTEMP: Options = Options::new("dqtup:", "directory quiet dry-run suffix: tmpdir?");

/// What a substitution with these programs is replaced by, where that is known: by one of several when
/// there is more than one of them.
pub(in crate::shell) fn output(programs: &[Started]) -> Option<Vec<Word>> {
    programs.iter().map(output_of).collect()
}

fn output_of(only: &Started) -> Option<Word> {
    let is_plain = only.path.is_none() && only.assignments.is_empty() && only.unclear.is_empty();
    if only.name == "mktemp" && is_plain {
        return temporary(&only.arguments);
    }
    match printed_by(only)? {
        Input::Text(text) => Some(Word::literal(text.trim_end_matches('\n'))),
        _ => None,
    }
}

/// The file or directory that `mktemp` makes: one with a name of its own. Should it fail, its output
/// is empty; scripts that go on then are not told from those that stop.
fn temporary(arguments: &[Word]) -> Option<Word> {
    let given = MKTEMP.read(arguments);
    if !given.strange.is_empty() || given.unsure {
        return None;
    }
    let directory = given.value(&["p", "tmpdir"]).cloned();
    let in_temporary = given.has(&["t", "p", "tmpdir"]) || given.operands.is_empty();
    let mut made = match directory {
        Some(directory) if directory.text().is_some() => directory,
        Some(_) => return None,
        None if in_temporary => Word::literal("/tmp"),
        None => Word::default(),
    };
    if !made.pieces.is_empty() {
        made.push(Piece::Literal("/".to_owned()));
    }
    if let Some(template) = given.operands.first() {
        let text = template.text()?;
        made.push(Piece::Literal(text.trim_end_matches('X').to_owned()));
    }
    made.push(Piece::Pattern(SOMETHING.to_owned()));
    Some(made)
}
