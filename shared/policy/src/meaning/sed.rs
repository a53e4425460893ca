//! `sed`: its script is read as far as it is plain that it only prints.

use super::Known;
use super::operands::{Arguments, Rule};
use crate::shell::{Access, Word};

const SED: Arguments = Arguments::new(
    "ne:f<Ersuzl:i?I?",
    "quiet silent expression: file< regexp-extended null-data separate unbuffered posix line-length:
     in-place? debug sandbox follow-symlinks",
    Rule::AfterFirst(Access::Read, &["e", "expression", "f", "file"]),
);

/// What a script does beside printing.
#[derive(Debug, Default)]
struct Script {
    read: Vec<String>,
    written: Vec<String>,
    /// It runs a program, or holds what is not known.
    unclear: bool,
}

pub(super) fn known(arguments: &[Word], known: &mut Known) {
    known.complete = true;
    let taken = SED.take(arguments);
    let given = &taken.given;
    let in_place = given.has(&["i", "I", "in-place"]);
    let from_file = given.has(&["f", "file"]);
    let mut scripts: Vec<&Word> = given.values(&["e", "expression"]).collect();
    if scripts.is_empty() && !from_file {
        // Behind `-i ''`, where that is how it is written, the script follows.
        let is_suffix = |word: &&Word| in_place && word.text().as_deref() == Some("");
        let suffix = given.operands.first().filter(is_suffix);
        scripts.extend(given.operands.get(usize::from(suffix.is_some())));
    }
    for (access, word) in taken.files {
        // `-i ''` is how some systems write it.
        if in_place && word.text().as_deref() == Some("") {
            continue;
        }
        let is_operand = given.operands.contains(&word);
        let access = if in_place && is_operand {
            Access::Write
        } else {
            access
        };
        known.files.push((access, word));
    }
    let mut only_prints = !from_file && given.strange.is_empty() && !given.unsure;
    let text: Option<Vec<String>> = scripts.iter().map(|word| word.text()).collect();
    match text {
        Some(texts) => {
            // Several go on where the one before ends: `a\` takes the next for its text.
            let script = read(&texts.join("\n"));
            for (files, access) in [(script.read, Access::Read), (script.written, Access::Write)] {
                only_prints &= files.is_empty();
                let files = files.into_iter().map(Word::literal);
                known.files.extend(files.map(|file| (access, file)));
            }
            only_prints &= !script.unclear;
        }
        None => only_prints = false,
    }
    if !only_prints {
        known.doubt("code", "the script of sed may run programs or write files");
    } else if !in_place {
        known.has("reads");
    }
}

/// Reads a script, command by command.
fn read(script: &str) -> Script {
    let mut found = Script::default();
    let mut rest = script;
    loop {
        rest = rest
            .trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '{' || c == '}');
        if rest.is_empty() {
            return found;
        }
        let Some(command) = after_addresses(rest) else {
            found.unclear = true;
            return found;
        };
        match one(command, &mut found) {
            Some(after) => rest = after,
            None => {
                found.unclear = true;
                return found;
            }
        }
    }
}

/// A command without the lines it is for: numbers, `$`, `/pattern/`, ranges of them.
fn after_addresses(command: &str) -> Option<&str> {
    let mut rest = command;
    loop {
        let before = rest;
        rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || ",$!~+ \t".contains(c));
        if let Some(inside) = rest.strip_prefix('/') {
            rest = after_delimiter(inside, '/')?;
            rest = rest.trim_start_matches(['I', 'M']);
        } else if let Some(inside) = rest.strip_prefix('\\') {
            let delimiter = inside.chars().next()?;
            rest = after_delimiter(&inside[delimiter.len_utf8()..], delimiter)?;
            rest = rest.trim_start_matches(['I', 'M']);
        }
        if rest == before {
            return Some(rest);
        }
    }
}

/// What follows the next delimiter. `None` where it is not plain which one that is.
fn after_delimiter(text: &str, delimiter: char) -> Option<&str> {
    if delimiter == '\\' || delimiter == '\n' {
        return None;
    }
    let mut escaped = false;
    let mut in_brackets = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            c if c == delimiter => {
                // In brackets some take it for a letter.
                return (!in_brackets).then(|| &text[at + c.len_utf8()..]);
            }
            _ => {}
        }
    }
    None
}

/// Reads one command; what follows it, or `None` when it is not known to only print.
fn one<'a>(command: &'a str, found: &mut Script) -> Option<&'a str> {
    let letter = command.chars().next()?;
    let rest = &command[letter.len_utf8()..];
    let line_end = rest.find('\n').unwrap_or(rest.len());
    match letter {
        'p' | 'd' | '=' | 'n' | 'N' | 'D' | 'P' | 'h' | 'H' | 'g' | 'G' | 'x' | 'z' | 'F' => {
            ended(rest)
        }
        'q' | 'Q' | 'l' | 'L' => {
            ended(rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' '))
        }
        '{' | '}' => Some(rest),
        '#' => Some(&rest[line_end..]),
        // Labels, and text that is printed: to the end of the line.
        ':' | 'b' | 't' | 'T' => {
            let end = rest.find([';', '\n', '}']).unwrap_or(rest.len());
            Some(&rest[end..])
        }
        'a' | 'i' | 'c' => {
            let mut end = line_end;
            // A backslash before the end of a line continues it.
            while rest[..end].ends_with('\\') && end < rest.len() {
                let next = &rest[end + 1..];
                end += 1 + next.find('\n').unwrap_or(next.len());
            }
            Some(&rest[end..])
        }
        'y' => {
            let delimiter = rest.chars().next()?;
            let rest = after_delimiter(&rest[delimiter.len_utf8()..], delimiter)?;
            ended(after_delimiter(rest, delimiter)?)
        }
        's' => {
            let delimiter = rest.chars().next()?;
            let rest = after_delimiter(&rest[delimiter.len_utf8()..], delimiter)?;
            // Brackets mean nothing in what is put in.
            let rest = after_replacement(rest, delimiter)?;
            let flags =
                rest.trim_start_matches(|c: char| c.is_ascii_digit() || "gpiIm M".contains(c));
            if let Some(file) = flags.strip_prefix('w') {
                return written(file, found);
            }
            ended(flags)
        }
        'w' | 'W' => written(rest, found),
        'r' | 'R' => {
            found.read.push(rest[..line_end].trim().to_owned());
            Some(&rest[line_end..])
        }
        _ => None,
    }
}

fn written<'a>(rest: &'a str, found: &mut Script) -> Option<&'a str> {
    let end = rest.find('\n').unwrap_or(rest.len());
    found.written.push(rest[..end].trim().to_owned());
    Some(&rest[end..])
}

fn after_replacement(text: &str, delimiter: char) -> Option<&str> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == delimiter => return Some(&text[at + c.len_utf8()..]),
            _ => {}
        }
    }
    None
}

/// What follows a command that ends here.
fn ended(rest: &str) -> Option<&str> {
    let rest = rest.trim_start_matches([' ', '\t']);
    let ends = rest.is_empty() || rest.starts_with([';', '\n', '}', '#']);
    ends.then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_that_only_print_are_told_from_others() {
        let prints = |script: &str| {
            let read = read(script);
            !read.unclear && read.read.is_empty() && read.written.is_empty()
        };
        for script in [
            "1,20p",
            "s/a;b/c/g",
            "/start/,/end/{p;d}",
            "\\#a#s/x/y/",
            "s/[0-9]*//;s|a|[|p",
            "$!N;P;D",
            "y/abc/def/",
            "/x/i\\\n text",
            ":a;N;$!ba;s/\\n/ /g",
            "5q",
        ] {
            assert!(prints(script), "{script}");
        }
        for script in [
            "s/x/date/e",
            "1w out",
            "s/x/y/w out",
            "e ls",
            "1e",
            "r /etc/passwd",
            "s/[/]/g;s/w out/y/",
            "p;w out",
            "{p;e}",
            "a text\ne ls",
            "s/a/b/\ne",
            "v;e",
        ] {
            assert!(!prints(script), "{script}");
        }
    }
}
