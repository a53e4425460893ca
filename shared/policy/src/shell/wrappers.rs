//! Programs that start another program: what they start is what counts.

mod find;
mod options;
mod printed;

use self::find::find;
pub(crate) use self::find::{SOMETHING, found, roots};
pub(crate) use self::options::{is, is_flag, is_name, skip_options, value_of};
use self::options::{joined, replaced};
pub(super) use self::printed::printed;
use super::walk::Walker;
use super::word::{Piece, Word};
use super::{Directory, Doubt, Input, Started};

/// Programs that start the rest of their words: their options with a value, and how many operands
/// come before the program.
const PREFIXES: &[(&str, &[&str], usize)] = &[
    ("builtin", &[], 0),
    ("caffeinate", &["-t", "-w"], 0),
    ("chronic", &[], 0),
    ("chroot", &["--userspec", "--groups"], 1),
    ("chrt", &["-T", "-P", "-D"], 1),
    ("dbus-run-session", &["--config-file"], 0),
    ("doas", &["-u", "-C", "-a"], 0),
    ("exec", &["-a"], 0),
    ("fakeroot", &["-l", "-s", "-i"], 0),
    ("firejail", &[], 0),
    ("ionice", &["-c", "-n", "--class", "--classdata"], 0),
    ("ltrace", &["-o", "-e", "-p", "-u", "-n", "-s"], 0),
    ("nice", &["-n", "--adjustment"], 0),
    ("nohup", &[], 0),
    ("nsenter", &["-t", "--target", "-S", "-G"], 0),
    ("pkexec", &["--user"], 0),
    ("proxychains4", &["-f"], 0),
    ("runuser", &["-u", "-g", "-G"], 0),
    ("setarch", &[], 1),
    ("setsid", &[], 0),
    (
        "stdbuf",
        &["-i", "-o", "-e", "--input", "--output", "--error"],
        0,
    ),
    (
        "strace",
        &[
            "-o", "-e", "-p", "-u", "-s", "-E", "-P", "-a", "-I", "-O", "-S",
        ],
        0,
    ),
    ("sshpass", &["-f", "-d", "-p", "-e", "-P"], 0),
    ("taskset", &[], 1),
    ("time", &["-f", "-o", "--format", "--output"], 0),
    ("tini", &[], 0),
    ("torsocks", &[], 0),
    ("unbuffer", &[], 0),
    (
        "unshare",
        &["--map-user", "--map-group", "-S", "-G", "-R", "-w"],
        0,
    ),
    ("xvfb-run", &["-e", "-f", "-n", "-p", "-s", "-w"], 0),
];

/// Package managers that start the rest of their words in their own environment.
const RUNNERS: &[(&str, &str)] = &[
    ("bundle", "exec"),
    ("conda", "run"),
    ("mise", "exec"),
    ("pdm", "run"),
    ("pipenv", "run"),
    ("pnpm", "exec"),
    ("poetry", "run"),
    ("rye", "run"),
    ("uv", "run"),
];

/// Wrappers that are recorded as programs of their own: what they change matters by itself.
const RECORDED: &[&str] = &[
    "chroot", "doas", "nsenter", "pkexec", "runuser", "su", "sudo", "unshare",
];

/// Shells whose language is read here.
const SHELLS: &[&str] = &["ash", "bash", "dash", "ksh", "rbash", "sh", "zsh"];

/// Builtins that set the variables they name.
const SETTERS: &[&str] = &[
    "declare", "export", "getopts", "let", "local", "mapfile", "read", "readonly", "typeset",
];

/// Builtins that evaluate the index of a variable that they name: `a[$(...)]` runs, even quoted.
const EVALUATING: &[&str] = &[
    "[",
    "declare",
    "export",
    "getopts",
    "let",
    "local",
    "mapfile",
    "printf",
    "read",
    "readarray",
    "readonly",
    "test",
    "typeset",
    "unset",
];

const NOT_KNOWN: &str = "which program it starts is not known before it runs";
const TEXT_NOT_KNOWN: &str = "it runs text that is not known before it runs";

/// Whether a word holds a substitution that a shell runs where it expects a variable.
pub(super) fn is_evaluated(word: &Word) -> bool {
    let text = word.shown();
    text.contains('[') && (text.contains("$(") || text.contains('`'))
}

/// Records the program that these words start, and those that it starts.
pub(super) fn start(walker: &mut Walker, words: Vec<Word>, mut started: Started) {
    let Some((first, rest)) = words.split_first() else {
        return;
    };
    let Some(text) = program_text(first) else {
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
        return;
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
    started.name = name;
    started.arguments = rest.to_vec();
    look(walker, started);
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
    let arguments = started.arguments.clone();
    if RECORDED.contains(&name) {
        walker.push(started.clone());
    }
    if let Some((_, valued, operands)) = PREFIXES.iter().find(|(prefix, ..)| *prefix == name) {
        let rest = skip_options(&arguments, valued);
        let rest = rest.get(*operands..).unwrap_or_default();
        return next(walker, name, rest, started);
    }
    if RUNNERS
        .iter()
        .any(|(runner, verb)| *runner == name && is(arguments.first(), verb))
    {
        let rest = skip_options(
            arguments.get(1..).unwrap_or_default(),
            &["--with", "-n", "-p", "--python"],
        );
        walker.push(started.clone());
        let inner = Started {
            input: started.input,
            ..Started::default()
        };
        if !rest.is_empty() {
            walker.through(name, |walker| start(walker, rest.to_vec(), inner));
        }
        return;
    }
    match name {
        "command"
            if !arguments
                .iter()
                .take(1)
                .any(|word| is_flag(word, 'v') || is_flag(word, 'V')) =>
        {
            next(walker, name, skip_options(&arguments, &[]), started);
        }
        "sudo" => {
            let valued = [
                "-u", "-g", "-h", "-p", "-C", "-T", "-r", "-t", "-U", "-D", "-R",
            ];
            assignments_then(walker, name, skip_options(&arguments, &valued), started);
        }
        "env" => env(walker, started),
        "timeout" => {
            let rest = skip_options(&arguments, &["-s", "-k", "--signal", "--kill-after"]);
            next(walker, name, rest.get(1..).unwrap_or_default(), started);
        }
        "busybox" | "toybox" => next(walker, name, &arguments, started),
        "xargs" => xargs(walker, started),
        "parallel" => {
            let end = arguments
                .iter()
                .position(|word| word.literal_start().starts_with(":::"));
            let words = arguments
                .get(..end.unwrap_or(arguments.len()))
                .unwrap_or_default();
            let words = skip_options(words, &["-j", "--jobs", "-a", "--delay", "--timeout"]);
            let words = [words, &[Word::supplied()]].concat();
            next(walker, name, &words, started);
        }
        "find" | "fd" | "fdfind" => find(walker, started),
        "su" => {
            if let Some(text) = value_of(&arguments, &["-c", "--command"]) {
                run_text(walker, &text, "su", started);
            }
        }
        "script" | "flock" | "nix-shell"
            if value_of(&arguments, &["-c", "--command", "--run"]).is_some() =>
        {
            let text = value_of(&arguments, &["-c", "--command", "--run"]).unwrap_or_default();
            run_text(walker, &text, name, started);
        }
        "flock" => {
            let rest = skip_options(&arguments, &["-w", "--timeout", "-E"]);
            next(walker, name, rest.get(1..).unwrap_or_default(), started);
        }
        "watch" => {
            let rest = skip_options(&arguments, &["-n", "--interval"]);
            run_text(walker, &joined(rest), name, started);
        }
        "eval" => match joined(&arguments).text() {
            Some(text) => walker.same_shell(&text, "eval"),
            None => not_known(walker, started),
        },
        "trap" => match skip_options(&arguments, &[]).first().map(Word::text) {
            Some(Some(text)) if text != "-" => walker.same_shell(&text, "trap"),
            Some(None) => not_known(walker, started),
            _ => walker.push(started),
        },
        "jobs" if is(arguments.first(), "-x") => {
            next(
                walker,
                name,
                arguments.get(1..).unwrap_or_default(),
                started,
            );
        }
        "npx" | "npm" | "sg" if value_of(&arguments, &["-c", "--call"]).is_some() => {
            let text = value_of(&arguments, &["-c", "--call"]).unwrap_or_default();
            walker.push(started.clone());
            run_text(walker, &text, name, started);
        }
        "hash" if is(arguments.first(), "-p") => not_known(walker, started),
        "mapfile" | "readarray" if value_of(&arguments, &["-C"]).is_some() => {
            not_known(walker, started);
        }
        _ if EVALUATING.contains(&name)
            && (name != "printf" || is(arguments.first(), "-v"))
            && arguments.iter().any(is_evaluated) =>
        {
            not_known(walker, started);
        }
        "alias" => {
            for argument in &arguments {
                match argument.text() {
                    Some(text) => {
                        if let Some((_, value)) = text.split_once('=') {
                            walker.same_shell(value, "alias");
                        }
                    }
                    None => not_known(walker, started.clone()),
                }
            }
            walker.push(started);
        }
        "." | "source" => {
            let from_command = arguments
                .first()
                .is_some_and(|word| word.is_unknown() || word.literal_start().starts_with("/dev/"));
            if from_command {
                not_known(walker, started);
            } else {
                walker.push(started);
            }
        }
        "cd" | "pushd" | "popd" => {
            change_directory(walker, name, &arguments);
            walker.push(started);
        }
        _ if SHELLS.contains(&name) => shell(walker, started),
        _ => {
            if SETTERS.contains(&name) || name == "printf" && is(arguments.first(), "-v") {
                set(walker, name, &arguments);
            }
            walker.push(started);
        }
    }
}

fn set(walker: &mut Walker, name: &str, arguments: &[Word]) {
    let assigns = matches!(
        name,
        "declare" | "export" | "local" | "readonly" | "typeset"
    );
    for argument in arguments {
        let start = argument.literal_start();
        let end = start.find('=').unwrap_or(start.len());
        let variable = start[..end].to_owned();
        if variable.is_empty() || variable.starts_with('-') {
            continue;
        }
        if assigns && end < start.len() {
            let straight = walker.is_straight();
            walker.assign(&variable, vec![argument.after(end + 1)], straight);
        } else if !assigns {
            let value = Word {
                pieces: vec![Piece::Variable {
                    name: variable.clone(),
                    quoted: false,
                }],
            };
            walker.assign(&variable, vec![value], false);
        }
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
        ..Started::default()
    };
    walker.through(name, |walker| start(walker, words.to_vec(), inner));
}

/// The same with assignments in front of the program.
fn assignments_then(walker: &mut Walker, name: &str, words: &[Word], mut started: Started) {
    let mut rest = words;
    while let Some((first, others)) = rest.split_first() {
        let start = first.literal_start();
        let Some(end) = start.find('=').filter(|end| is_name(&start[..*end])) else {
            break;
        };
        started
            .assignments
            .push((start[..end].to_owned(), first.after(end + 1)));
        rest = others;
    }
    next(walker, name, rest, started);
}

fn env(walker: &mut Walker, started: Started) {
    let arguments = started.arguments.clone();
    if let Some(text) = value_of(&arguments, &["-S", "--split-string"]) {
        return run_text(walker, &text, "env", started);
    }
    let rest = skip_options(&arguments, &["-u", "--unset", "-C", "--chdir"]);
    if value_of(&arguments, &["-C", "--chdir"]).is_some() {
        let before = std::mem::replace(walker.directory(), Directory::Unknown);
        assignments_then(walker, "env", rest, started);
        *walker.directory() = before;
        return;
    }
    assignments_then(walker, "env", rest, started);
}

fn xargs(walker: &mut Walker, started: Started) {
    let valued = [
        "-I",
        "-n",
        "-P",
        "-L",
        "-d",
        "-E",
        "-s",
        "-a",
        "--replace",
        "--max-args",
        "--max-procs",
        "--max-lines",
        "--delimiter",
        "--arg-file",
        "--max-chars",
        "--eof",
    ];
    let words = skip_options(&started.arguments, &valued).to_vec();
    if words.is_empty() {
        return walker.push(started);
    }
    let place = value_of(&started.arguments, &["-I", "--replace"]);
    let given: Vec<Word> = match &started.input {
        Input::Text(text) if !text.contains(['\\', '\'', '"']) => {
            text.split_whitespace().map(Word::literal).collect()
        }
        _ => vec![Word::supplied()],
    };
    let words = match place.and_then(|place| place.text()) {
        Some(place) => words
            .iter()
            .flat_map(|word| replaced(word, &place, &given))
            .collect(),
        None => [words, given].concat(),
    };
    let inner = Started {
        redirections: started.redirections,
        ..Started::default()
    };
    walker.through("xargs", |walker| start(walker, words, inner));
}

fn shell(walker: &mut Walker, mut started: Started) {
    let name = started.name.clone();
    let valued = ["-o", "+o", "-O", "+O", "--rcfile", "--init-file"];
    let operands = skip_options(&started.arguments, &valued).to_vec();
    let options = started.arguments.len() - operands.len();
    let takes_text = started.arguments[..options]
        .iter()
        .any(|word| is_flag(word, 'c'));
    let reads_input = started.arguments[..options]
        .iter()
        .any(|word| is_flag(word, 's'));
    match operands.first() {
        Some(text) if takes_text => run_text(walker, text, &name, started),
        Some(script) if !reads_input => {
            let from_command = script.is_unknown() || script.literal_start().starts_with("/dev/");
            if from_command {
                started.unclear.push(Doubt::new("text", TEXT_NOT_KNOWN));
            }
            walker.push(started);
        }
        _ => match started.input.clone() {
            Input::Text(text) => {
                walker.other_shell(&text, &name, Input::Inherited);
            }
            Input::Unknown(from) => {
                let reason = format!("it runs text that is not known: {from}");
                started.unclear.push(Doubt::new("text", reason));
                walker.push(started);
            }
            Input::Inherited => walker.push(started),
        },
    }
}

fn run_text(walker: &mut Walker, text: &Word, name: &str, started: Started) {
    match text.text() {
        Some(text) => {
            if !started.redirections.is_empty() || !started.assignments.is_empty() {
                walker.push(Started {
                    arguments: Vec::new(),
                    ..started.clone()
                });
            }
            walker.other_shell(&text, name, started.input);
        }
        None => not_known(walker, started),
    }
}

fn not_known(walker: &mut Walker, mut started: Started) {
    started.unclear.push(Doubt::new("text", TEXT_NOT_KNOWN));
    walker.push(started);
}

fn change_directory(walker: &mut Walker, name: &str, arguments: &[Word]) {
    let operands = skip_options(arguments, &[]);
    let step = match operands.first() {
        None if name == "cd" => Some("~".to_owned()),
        Some(word) if name != "popd" => match word.pieces.as_slice() {
            [Piece::Literal(text)]
                if !text.starts_with(['~', '+']) && text != "-" && !text.is_empty() =>
            {
                Some(text.clone())
            }
            [Piece::Home] => Some("~".to_owned()),
            [Piece::Home, Piece::Literal(rest)] if rest.starts_with('/') => {
                Some(format!("~{rest}"))
            }
            [Piece::Here] => Some(".".to_owned()),
            [Piece::Here, Piece::Literal(rest)] if rest.starts_with('/') => {
                Some(format!(".{rest}"))
            }
            _ => None,
        },
        _ => None,
    };
    let directory = walker.directory();
    *directory = match (std::mem::take(directory), step) {
        (_, Some(step)) if step.starts_with(['/', '~']) => Directory::Known(vec![vec![step]]),
        (Directory::Known(mut known), Some(step)) => {
            known.iter_mut().for_each(|steps| steps.push(step.clone()));
            Directory::Known(known)
        }
        _ => Directory::Unknown,
    };
}
