//! Shells, and programs that give a text to one.

use super::words::joined;
use super::{TEXT_NOT_KNOWN, begin, next, not_known};
use crate::shell::options::Options;
use crate::shell::walk::Walker;
use crate::shell::word::Word;
use crate::shell::{Access, Doubt, Input, Redirection, Started};

/// Shells whose language is read here.
pub(in crate::shell) const SHELLS: &[&str] = &["ash", "bash", "dash", "ksh", "rbash", "sh", "zsh"];

const SHELL: Options = Options::leading(
    "abBcCdDeEfhHiklmnpPrstTuvxo:O:",
    "login noprofile norc noediting posix restricted verbose rcfile< init-file< help version",
);

const SCRIPT: Options = Options::new(
    "aB>c:efE:I>O>T>m:o:qt?",
    "append command: echo: flush return log-in> log-out> log-io> log-timing> force quiet timing?
     logging-format: output-limit:",
);

const FLOCK: Options = Options::leading(
    "sxuneoE:w:Fc:",
    "shared exclusive unlock nonblock nb timeout: wait: conflict-exit-code: close no-fork verbose
     command:",
);

const WATCH: Options = Options::leading(
    "bcd?egn:pq:rs:twx",
    "beep color differences? errexit chgexit equexit: exec interval: no-rerun no-title no-wrap precise",
);

const SU: Options = Options::new(
    "c:s:g:G:lmpPw:fT",
    "command: session-command: shell: group: supp-group: login preserve-environment pty
     whitelist-environment: fast",
);

const NIX_SHELL: Options = Options::new("p:I:A:E:i:", "run: command: pure packages: expr: keep:");
const PACKAGES: Options = Options::new(
    "c:p:ywqr",
    "call: package: yes workspace: workspaces quiet recursive",
);
const SG: Options = Options::new("c:", "");

/// Whether a program of this name runs a text.
pub(super) fn is_one(name: &str) -> bool {
    const OTHERS: &[&str] = &[
        "flock",
        "nix-shell",
        "npm",
        "npx",
        "pnpm",
        "pnpx",
        "script",
        "sg",
        "su",
        "watch",
    ];
    SHELLS.contains(&name) || OTHERS.contains(&name)
}

/// Visits the text that a program of this name runs, if it is one of these.
pub(super) fn runs_text(walker: &mut Walker, name: &str, started: &Started) -> bool {
    if SHELLS.contains(&name) {
        shell(walker, name, started.clone());
        return true;
    }
    let arguments = &started.arguments;
    match name {
        "su" => {
            let given = SU.read(arguments);
            for text in given.values(&["c", "command", "session-command"]) {
                run_text(walker, text, "su", started, &[]);
            }
            true
        }
        "script" => script(walker, started),
        "flock" => {
            flock(walker, started.clone());
            true
        }
        "watch" => {
            let given = WATCH.read(arguments);
            if given.has(&["x", "exec"]) || given.operands.is_empty() {
                begin(walker, name, &given, 0, started.clone());
            } else {
                run_text(walker, &joined(&given.operands), name, started, &[]);
            }
            true
        }
        "nix-shell" => told(walker, name, NIX_SHELL, &["run", "command"], started),
        "npx" | "npm" | "pnpm" | "pnpx" => told(walker, name, PACKAGES, &["c", "call"], started),
        // `sg group command`
        "sg" => {
            let given = SG.read(arguments);
            let text = given.value(&["c"]).or(given.operands.get(1));
            let is_there = text.is_some();
            if let Some(text) = text {
                walker.push(started.clone());
                run_text(walker, text, name, started, &[]);
            }
            is_there
        }
        _ => false,
    }
}

/// A program that runs a text only when an option says so.
fn told(
    walker: &mut Walker,
    name: &str,
    options: Options,
    names: &[&str],
    started: &Started,
) -> bool {
    let given = options.read(&started.arguments);
    let Some(text) = given.value(names) else {
        return false;
    };
    walker.push(started.clone());
    run_text(walker, text, name, started, &[]);
    true
}

/// `script` writes down what a shell, or one command, prints.
fn script(walker: &mut Walker, started: &Started) -> bool {
    let given = SCRIPT.read(&started.arguments);
    let files = given.written.iter().chain(given.operands.first());
    let mut written = started.clone();
    written.redirections.extend(files.map(|file| Redirection {
        access: Access::Write,
        file: file.clone(),
    }));
    let text = given.value(&["c", "command"]);
    if let Some(text) = text {
        run_text(walker, text, "script", &written, &[]);
        return true;
    }
    // On some systems the command follows the file.
    if given.operands.len() > 1 {
        next(walker, "script", &given.operands[1..], written);
        return true;
    }
    false
}

fn flock(walker: &mut Walker, mut started: Started) {
    let given = FLOCK.read(&started.arguments);
    if let Some(file) = given.operands.first() {
        let is_descriptor = file
            .text()
            .is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_descriptor {
            started.redirections.push(Redirection {
                access: Access::Write,
                file: file.clone(),
            });
        }
    }
    let rest = given.operands.get(1..).unwrap_or_default();
    let told = given.value(&["c", "command"]).cloned();
    let text = told.or_else(|| FLOCK.read(rest).value(&["c", "command"]).cloned());
    match text {
        Some(text) => run_text(walker, &text, "flock", &started, &[]),
        None => begin(walker, "flock", &given, 1, started),
    }
}

fn shell(walker: &mut Walker, name: &str, mut started: Started) {
    // `+x` takes away what `-x` gives.
    let arguments: Vec<Word> = started.arguments.iter().map(turned).collect();
    let given = SHELL.read(&arguments);
    if !given.strange.is_empty() || given.unsure {
        let reason = format!("an option of {name} is not known");
        started.unclear.push(Doubt::new("options", reason));
    }
    for setting in given.values(&["O"]).filter_map(Word::text) {
        if setting == "dotglob" {
            walker.find_hidden();
        }
    }
    walker.pass(&started.assignments);
    let is_unclear = !started.unclear.is_empty();
    match given.operands.split_first() {
        Some((text, operands)) if given.has(&["c"]) => {
            if is_unclear {
                walker.push(started.clone());
            }
            run_text(walker, text, name, &started, operands);
        }
        Some((script, _)) if !given.has(&["s"]) => {
            let from_command = script.is_unknown() || script.literal_start().starts_with("/dev/");
            if from_command {
                started.unclear.push(Doubt::new("text", TEXT_NOT_KNOWN));
            }
            walker.push(started);
        }
        _ => {
            let unknown = match &started.input {
                Input::Inherited => None,
                Input::Text(_) => None,
                Input::Partly(_) => Some("a text with unknown parts"),
                Input::Unknown(from) => Some(from.as_str()),
            };
            if let Some(from) = unknown {
                let reason = format!("it runs text that is not known: {from}");
                started.unclear.push(Doubt::new("text", reason));
            }
            let text = match &started.input {
                Input::Text(text) | Input::Partly(text) => Some(text.clone()),
                _ => None,
            };
            if text.is_none() || !started.unclear.is_empty() {
                walker.push(started.clone());
            }
            if let Some(text) = text {
                walker.other_shell(&text, name, Input::Inherited, &parameters(&given.operands));
            }
        }
    }
}

/// Operands without a name before them, as `sh -s` gets them.
fn parameters(operands: &[Word]) -> Vec<Word> {
    [&[Word::literal("sh")], operands].concat()
}

fn turned(word: &Word) -> Word {
    let start = word.literal_start();
    if !start.starts_with('+') || start.len() < 2 {
        return word.clone();
    }
    let mut turned = Word::literal("-");
    word.after(1)
        .pieces
        .into_iter()
        .for_each(|piece| turned.push(piece));
    turned
}

/// Visits a text that a program gives to a shell, with operands for it.
pub(super) fn run_text(
    walker: &mut Walker,
    text: &Word,
    name: &str,
    started: &Started,
    operands: &[Word],
) {
    if text.text().is_none() {
        not_known(walker, started);
    } else if !started.redirections.is_empty() || !started.assignments.is_empty() {
        walker.push(Started {
            arguments: Vec::new(),
            ..started.clone()
        });
    }
    walker.pass(&started.assignments);
    walker.other_shell(&text.as_text(), name, started.input.clone(), operands);
}
