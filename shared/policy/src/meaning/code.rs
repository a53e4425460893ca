//! Programs that run code of other languages: sed, awk, interpreters. What such code does is not
//! read, except where it is plain that it only prints.

use super::Known;
use super::operands::{Arguments, Rule};
use super::tables::INTERPRETERS;
use crate::host::{Host, HostKind};
use crate::shell::wrappers::{is, is_flag, value_of};
use crate::shell::{Access, Input, Started, Word};

/// Commands of sed that only print, delete, substitute or count lines.
pub(super) fn sed(arguments: &[Word], known: &mut Known) {
    known.complete = true;
    let in_place = arguments.iter().any(|word| {
        word.literal_start().starts_with("--in-place")
            || is_flag(word, 'i') && !is(Some(word), "--silent")
    });
    let by_option = value_of(arguments, &["-e", "--expression"]);
    let script_file = value_of(arguments, &["-f", "--file"]);
    let spec = Arguments {
        valued: &["-e", "--expression", "-l"],
        read: &["-f", "--file"],
        written: &[],
        rule: if by_option.is_some() || script_file.is_some() {
            Rule::Each(Access::Read)
        } else {
            Rule::AfterFirst(Access::Read)
        },
    };
    let mut taken = spec.take(arguments);
    if in_place {
        // `-i ''` is how some systems write it.
        taken
            .files
            .retain(|(_, word)| word.text().as_deref() != Some(""));
        for (access, _) in &mut taken.files {
            *access = Access::Write;
        }
    }
    let scripts: Vec<Word> = if by_option.is_some() {
        arguments
            .iter()
            .zip(arguments.iter().skip(1))
            .filter(|(option, _)| is_flag(option, 'e') || is(Some(option), "--expression"))
            .map(|(_, script)| script.clone())
            .collect()
    } else {
        taken.operands.first().cloned().into_iter().collect()
    };
    known.files.append(&mut taken.files);
    let harmless = script_file.is_none()
        && scripts
            .iter()
            .all(|script| script.text().is_some_and(|text| is_harmless_sed(&text)));
    if !harmless {
        known.doubt("code", "the script of sed may run programs or write files");
    } else if !in_place {
        known.has("reads");
    }
}

/// A command of sed without the lines it is for: numbers, `$`, `/pattern/`, ranges of them.
fn after_addresses(command: &str) -> &str {
    let mut rest = command;
    loop {
        let before = rest;
        rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || ",$!~+ ".contains(c));
        if let Some((pattern, after)) = rest.strip_prefix('/').and_then(|rest| rest.split_once('/'))
            && !pattern.ends_with('\\')
        {
            rest = after.strip_prefix('I').unwrap_or(after);
        }
        if rest == before {
            return rest;
        }
    }
}

fn is_harmless_sed(script: &str) -> bool {
    script.split([';', '\n']).map(str::trim).all(|command| {
        let command = after_addresses(command);
        let mut characters = command.chars();
        match characters.next() {
            None => true,
            Some('p' | 'd' | 'q' | '=' | 'n' | 'N' | 'D' | 'P' | 'h' | 'H' | 'g' | 'G' | 'x') => {
                characters.all(|c| c.is_ascii_digit() || c == ' ')
            }
            Some('s') => {
                let Some(delimiter) = characters.next() else {
                    return false;
                };
                let rest: String = characters.collect();
                let rest = rest.replace(&format!("\\{delimiter}"), "");
                let parts: Vec<&str> = rest.split(delimiter).collect();
                parts.len() == 3
                    && parts[2].chars().all(|c| {
                        c.is_ascii_digit() || matches!(c, 'g' | 'p' | 'i' | 'I' | 'm' | 'M')
                    })
            }
            _ => false,
        }
    })
}

pub(super) fn awk(arguments: &[Word], known: &mut Known) {
    known.complete = true;
    let spec = Arguments {
        valued: &["-F", "-v", "--field-separator", "--assign"],
        read: &["-f", "--file"],
        written: &[],
        rule: Rule::AfterFirst(Access::Read),
    };
    let taken = spec.take(arguments);
    let program = taken.operands.first().and_then(Word::text);
    known.files.extend(taken.files);
    let harmless = program.is_some_and(|text| {
        !["system", "|", "getline", ">", "@", "close", "ENVIRON"]
            .iter()
            .any(|word| text.contains(word))
            || !text.contains("system") && is_comparison_only(&text)
    });
    if harmless && value_of(arguments, &["-f", "--file"]).is_none() {
        known.has("reads");
    } else {
        known.doubt("code", "the program of awk may run programs or write files");
    }
}

/// `>` outside braces compares; inside it may write.
fn is_comparison_only(program: &str) -> bool {
    let outside: String = {
        let mut depth = 0_i32;
        program
            .chars()
            .filter(|c| {
                depth += i32::from(*c == '{') - i32::from(*c == '}');
                depth > 0
            })
            .collect()
    };
    !["|", "getline", ">", "@", "close", "ENVIRON"]
        .iter()
        .any(|word| outside.contains(word))
        && !["|", "getline", "@", "ENVIRON"]
            .iter()
            .any(|word| program.replace("||", "").contains(word))
}

pub(super) fn interpreter(name: &str, started: &Started, known: &mut Known) {
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
        // What such code says about metadata services is no accident.
        let code: Vec<String> = arguments.iter().filter_map(Word::text).collect();
        let mut code = code.join(" ");
        if let Input::Text(text) = &started.input {
            code.push_str(text);
        }
        for word in code.split(|c: char| !(c.is_ascii_alphanumeric() || ".:-[]".contains(c))) {
            if word.contains('.') || word.contains(':') {
                let host = Host::of(word);
                if host.kind == HostKind::Metadata {
                    known.hosts.push(host);
                }
            }
        }
    }
}
