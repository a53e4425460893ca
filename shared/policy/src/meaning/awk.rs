//! `awk`: its program is read as far as it is plain that it only prints.

use super::Known;
use super::code::mentions;
use super::operands::{Arguments, Rule};
use crate::Surroundings;
use crate::shell::{Access, Word};

const AWK: Arguments = Arguments::new(
    "F:v:f<bcCnNOPrsStVe!E!i!l!o!d!p!",
    "field-separator: assign: file< characters-as-bytes traditional posix re-interval sandbox
     non-decimal-data optimize lint? csv source! exec! include! load! pretty-print! dump-variables!
     profile!",
    Rule::AfterFirst(Access::Read, &["f", "file"]),
);

pub(super) fn known(arguments: &[Word], surroundings: &Surroundings<'_>, known: &mut Known) {
    known.complete = true;
    let taken = AWK.take(arguments);
    let given = &taken.given;
    known.files.extend(taken.files);
    let program = given.operands.first().and_then(Word::text);
    if let Some(text) = &program {
        mentions(text, surroundings, known);
    }
    let only_prints = !given.has(&["f", "file"])
        && given.strange.is_empty()
        && !given.unsure
        && program.is_some_and(|text| only_prints(&text));
    if only_prints {
        known.has("reads");
    } else {
        known.doubt("code", "the program of awk may run programs or write files");
    }
}

/// Words of the language that run, read or load something else.
const WORDS: [&str; 6] = [
    "ENVIRON", "PROCINFO", "close", "fflush", "getline", "system",
];

/// Whether a program has neither these words nor redirections. `>` compares in parentheses, and
/// outside braces; everywhere else it may write.
fn only_prints(program: &str) -> bool {
    let mut characters = program.chars().peekable();
    let (mut braces, mut parentheses) = (0_usize, 0_usize);
    // Whether a value ends here, so that `/` divides.
    let mut after_value = false;
    while let Some(c) = characters.next() {
        match c {
            '"' => {
                if !skip_to('"', &mut characters) {
                    return false;
                }
                after_value = true;
            }
            '/' if !after_value => {
                if !skip_to('/', &mut characters) {
                    return false;
                }
                after_value = true;
            }
            '#' => while characters.next_if(|c| *c != '\n').is_some() {},
            '{' => braces += 1,
            '}' => braces = braces.saturating_sub(1),
            '(' | '[' => parentheses += 1,
            ')' | ']' => parentheses = parentheses.saturating_sub(1),
            '|' if characters.next_if_eq(&'|').is_none() => return false,
            '>' if braces > 0 && parentheses == 0 => return false,
            '@' | '\\' => return false,
            c if c.is_ascii_alphabetic() || c == '_' => {
                let mut word = c.to_string();
                while let Some(c) = characters.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    word.push(c);
                }
                if WORDS.contains(&word.as_str()) {
                    return false;
                }
                after_value = !["in", "print", "printf", "return"].contains(&word.as_str());
                continue;
            }
            _ => {}
        }
        if !matches!(c, '"' | '/') && !c.is_whitespace() {
            after_value = c.is_ascii_digit() || matches!(c, ')' | ']' | '$' | '.');
        }
    }
    true
}

/// Skips a string or a pattern; whether it ends on this line.
fn skip_to(end: char, characters: &mut impl Iterator<Item = char>) -> bool {
    while let Some(c) = characters.next() {
        match c {
            '\n' => return false,
            '\\' => {
                characters.next();
            }
            // In brackets of a pattern some take the end for a letter.
            '[' if end == '/' => {
                for c in characters.by_ref() {
                    match c {
                        ']' => break,
                        '/' | '\n' | '\\' | '[' => return false,
                        _ => {}
                    }
                }
            }
            c if c == end => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_only_print_are_told_from_others() {
        for program in [
            "{print $1}",
            "$3 > 10 { print $1 }",
            "{ if ($3 > 10) print \"a|b > c\" }",
            "/a|b/ { n++ } END { print n / 2 }",
            "NR>1 || /x/",
            "BEGIN { FS = \":\" } { s += $2 } END { printf \"%d\\n\", s }",
            "{ a[$1]++ } END { for (k in a) print k, a[k] }",
        ] {
            assert!(only_prints(program), "{program}");
        }
        for program in [
            "BEGIN { system(\"ls\") }",
            "{ print > \"out\" }",
            "{ x = \"}\"; print \"a\" > \"out\" }",
            "/}/ { print > \"out\" }",
            "{ print | \"sh\" }",
            "{ \"date\" | getline d }",
            "{ getline < \"/etc/passwd\" }",
            "@load \"x\"",
            "{ x = 1 / 2; print \"/\" > \"out\" }",
            "BEGIN { print ENVIRON[\"HOME\"] }",
            "/[/]/ { print }",
        ] {
            assert!(!only_prints(program), "{program}");
        }
    }
}
