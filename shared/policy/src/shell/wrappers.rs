//! Programs that start another program: what they start is what counts.

mod builtins;
mod find;
mod git;
mod prefixes;
mod printed;
mod scripts;
mod shells;
mod supplied;
mod words;

pub(crate) use self::builtins::PRINTF;
pub(crate) use self::find::{FD, SOMETHING, fd_roots, found, roots};
pub(crate) use self::git::GIT;
pub(super) use self::printed::{output, printed};
pub(super) use self::shells::SHELLS;
pub(super) use self::words::joined;
pub(crate) use self::words::{is, is_flag};
use super::options::{Given, Options};
use super::walk::Walker;
use super::word::{Piece, Word};
use super::{Access, Doubt, Redirection, Started};

const NOT_KNOWN: &str = "which program it starts is not known before it runs";
const TEXT_NOT_KNOWN: &str = "it runs text that is not known before it runs";

/// Wrappers that are recorded as programs of their own: what they change matters by itself.
const RECORDED: &[&str] = &[
    "chroot", "doas", "nsenter", "pkexec", "runuser", "su", "sudo", "unshare",
];

/// Whether a word holds a substitution that a shell runs where it expects a variable.
pub(super) fn is_evaluated(word: &Word) -> bool {
    let text = word.shown();
    text.contains('[') && (text.contains("$(") || text.contains('`'))
}

/// Whether the program that this word names starts others, of which any of its words may be one.
pub(super) fn starts_others(word: &Word) -> bool {
    let Some(text) = program_text(word) else {
        return true;
    };
    let name = text
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let name = name.as_str();
    prefixes::is_prefix(name) || shells::is_one(name) || supplied::is_one(name)
}

/// Whether this word names a program that prints its arguments.
pub(super) fn prints(word: &Word) -> bool {
    is(Some(word), "echo") || is(Some(word), "printf")
}

/// Records the program that these words start, and those that it starts.
pub(super) fn start(walker: &mut Walker, words: Vec<Word>, mut started: Started) {
    let Some((first, rest)) = words.split_first() else {
        return;
    };
    let Some(text) = program_text(first) else {
        return start_unknown(walker, first, rest, started);
    };
    let name = text.rsplit('/').next().unwrap_or_default().to_owned();
    if text.contains('/') {
        started.path = Some(text);
    }
    if !name.is_ascii() {
        started.unclear.push(Doubt::new(
            "letters",
            "the name of the program holds letters that may only look like others",
        ));
    }
    // Where `time` is no word of the shell's, these are its options.
    if name.starts_with('-') {
        started.arguments = words;
        started.unclear.push(Doubt::new("program", NOT_KNOWN));
        prefixes::starts_another(walker, "time", &started);
        return;
    }
    started.name = name;
    started.arguments = rest.to_vec();
    look(walker, started);
}

fn start_unknown(walker: &mut Walker, first: &Word, rest: &[Word], mut started: Started) {
    started.arguments = rest.to_vec();
    started.unclear.push(Doubt::new("program", NOT_KNOWN));
    let input = started.input.clone();
    walker.push(started);
    let again = Started {
        input,
        ..Started::default()
    };
    // If the unknown is nothing, the program is what is left.
    let left = first.without_unknown();
    if left.pieces.is_empty() {
        let rest: Vec<Word> = rest
            .iter()
            .skip_while(|word| word.may_vanish())
            .cloned()
            .collect();
        if rest
            .first()
            .is_some_and(|word| program_text(word).is_some())
        {
            start(walker, rest, again);
        }
    } else if program_text(&left).is_some() {
        start(walker, [&[left], rest].concat(), again);
    }
}

/// The text of the word that names a program; a home directory in it is kept as `~`.
fn program_text(word: &Word) -> Option<String> {
    match word.pieces.as_slice() {
        [Piece::Home | Piece::Here, Piece::Literal(rest)] if rest.starts_with('/') => {
            Some(word.shown())
        }
        _ => word.text().filter(|text| !text.is_empty()),
    }
}

fn look(walker: &mut Walker, started: Started) {
    let name = started.name.to_ascii_lowercase();
    let name = name.as_str();
    if RECORDED.contains(&name) {
        walker.push(started.clone());
    }
    walker.alias(&started);
    walker.call(&started);
    if prefixes::starts_another(walker, name, &started)
        || shells::runs_text(walker, name, &started)
        || supplied::supplies(walker, name, &started)
        || builtins::is_special(walker, name, &started)
    {
        return;
    }
    git::texts(walker, name, &started);
    scripts::texts(walker, name, &started);
    walker.push(started);
}

/// Starts what stands behind the options of a wrapper and so many of its operands.
fn begin(walker: &mut Walker, name: &str, given: &Given, before: usize, mut started: Started) {
    for (files, access) in [(&given.read, Access::Read), (&given.written, Access::Write)] {
        for file in files {
            started.redirections.push(Redirection {
                access,
                file: file.clone(),
            });
        }
    }
    // What is not known before the program may be an option too, or several words.
    let mut leading = given.operands.iter().take(before);
    let is_strange = !given.strange.is_empty() || given.unsure || leading.any(Word::is_unknown);
    if is_strange {
        started.unclear.push(Doubt::new(
            "options",
            format!("an option of {name} is not one that is known to start what follows"),
        ));
    }
    let rest = given.operands.get(before..).unwrap_or_default();
    next(walker, name, rest, started.clone());
    // What is not known may have a value.
    if is_strange && rest.len() > 1 {
        next(walker, name, &rest[1..], started);
    }
}

/// Starts the words that a wrapper starts; a wrapper without any is a program like others.
fn next(walker: &mut Walker, name: &str, words: &[Word], started: Started) {
    if words.is_empty() {
        if !RECORDED.contains(&name) {
            walker.push(started);
        }
        return;
    }
    let inner = Started {
        assignments: started.assignments,
        redirections: started.redirections,
        input: started.input,
        unclear: started.unclear,
        ..Started::default()
    };
    walker.through(name, |walker| start(walker, words.to_vec(), inner));
}

fn not_known(walker: &mut Walker, started: &Started) {
    let mut started = started.clone();
    started.unclear.push(Doubt::new("text", TEXT_NOT_KNOWN));
    walker.push(started);
}

/// Options of a program that takes none.
const NO_OPTIONS: Options = Options::leading("", "help version");
