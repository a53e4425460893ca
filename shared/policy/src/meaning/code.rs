//! Programs that run code of other languages. What such code does is not read; what it names that a
//! session must not reach is no accident.

use super::Known;
use super::tables::INTERPRETERS;
use crate::Surroundings;
use crate::host::{Host, HostKind};
use crate::location::{LocationKind, locate_path};
use crate::shell::wrappers::{is, is_flag};
use crate::shell::{Access, Input, Started, Word};

pub(super) fn interpreter(
    name: &str,
    started: &Started,
    surroundings: &Surroundings<'_>,
    known: &mut Known,
) {
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let Some((_, options)) = INTERPRETERS
        .iter()
        .find(|(interpreter, _)| *interpreter == plain || *interpreter == name)
    else {
        return;
    };
    // After `-m module` everything is for the module.
    let module = started
        .arguments
        .iter()
        .position(|word| is(Some(word), "-m"));
    let is_module = module.is_some() && plain.starts_with("python");
    let arguments = match module {
        Some(end) if is_module => &started.arguments[..end],
        _ => started.arguments.as_slice(),
    };
    // A word after an option may be its value.
    let is_option = |word: &Word| word.literal_start().starts_with('-');
    let end = (0..arguments.len()).find(|index| {
        !is_option(&arguments[*index]) && (*index == 0 || !is_option(&arguments[index - 1]))
    });
    let before_script = arguments
        .get(..end.unwrap_or(arguments.len()))
        .unwrap_or_default();
    let takes_code = options.iter().any(|option| {
        let letter = option.chars().nth(1).filter(|_| option.len() == 2);
        before_script.iter().any(|word| {
            is(Some(word), option)
                || word.literal_start().starts_with(&format!("{option}="))
                || letter.is_some_and(|letter| is_flag(word, letter))
        }) || !option.starts_with('-') && is(arguments.first(), option)
    });
    let reads_input = started.input != Input::Inherited
        && (end.is_none() || is(arguments.first(), "-"))
        && !is_module;
    if takes_code
        || reads_input
        || end.is_none() && arguments.is_empty() && started.input != Input::Inherited
    {
        known.doubt(
            "code",
            &format!("it runs code of {plain}, which is not read"),
        );
        let code: Vec<String> = arguments.iter().filter_map(Word::text).collect();
        let mut code = code.join(" ");
        if let Input::Text(text) | Input::Partly(text) = &started.input {
            code.push_str(text);
        }
        mentions(&code, surroundings, known);
    }
}

/// What code names: metadata services, files with credentials and files of the gate.
pub(super) fn mentions(code: &str, surroundings: &Surroundings<'_>, known: &mut Known) {
    for word in code.split(|c: char| !(c.is_ascii_alphanumeric() || ".:-[]".contains(c))) {
        if word.contains('.') || word.contains(':') {
            let host = Host::of(word);
            if host.kind == HostKind::Metadata {
                known.hosts.push(host);
            }
        }
    }
    for word in code.split(|c: char| c.is_whitespace() || "'\"`,;()[]{}<>=".contains(c)) {
        if !word.starts_with(['/', '~']) {
            continue;
        }
        let place = locate_path(word, surroundings).place;
        if matches!(place, LocationKind::Credentials | LocationKind::Gate) {
            known.files.push((Access::Use, Word::literal(word)));
        }
    }
}
