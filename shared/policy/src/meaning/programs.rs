//! What each program does with its arguments, beyond what the tables say.

use super::readers::READERS;
use super::tables::{CONNECTING, EFFECTS, FETCHING, PURE, PURE_TOO, TELLING};
use super::writers::WRITERS;
use super::{
    Known, agents, archives, awk, code, developing, git, network, processes, search, sed, system,
};
use crate::Surroundings;
use crate::shell::options::Options;
use crate::shell::wrappers::{is, is_flag};
use crate::shell::{Access, Piece, Started, Word};

pub(super) fn known(name: &str, started: &Started, surroundings: &Surroundings<'_>) -> Known {
    let mut known = Known::default();
    let arguments = started.arguments.as_slice();
    for (effect, names) in EFFECTS {
        if names.contains(&name)
            || (name == "mkfs" || name.starts_with("mkfs.")) && *effect == "destroys"
        {
            known.has(effect);
        }
    }
    if let [only] = arguments
        && let Some((_, told)) = TELLING.iter().find(|(teller, _)| *teller == name)
        && told.iter().any(|option| is(Some(only), option))
    {
        known.effects.clear();
        known.only_reads();
        return known;
    }
    if PURE.contains(&name) || PURE_TOO.contains(&name) {
        known.only_reads();
    }
    if name != "jq"
        && let Some((_, spec)) = READERS.iter().find(|(reader, _)| *reader == name)
    {
        let taken = spec.take(arguments);
        let reads = taken
            .files
            .iter()
            .all(|(access, _)| *access == Access::Read);
        if reads && !spec.may_do_more(&taken.given) {
            known.has("reads");
        }
        strange_files(&taken.given.strange, &mut known);
        known.files.extend(taken.files);
        known.complete = true;
    }
    if let Some((_, spec)) = WRITERS.iter().find(|(writer, _)| *writer == name) {
        let taken = spec.take(arguments);
        strange_files(&taken.given.strange, &mut known);
        known.files.extend(taken.files);
        known.complete = true;
    }
    if CONNECTING.contains(&name) {
        network::connect(arguments, &mut known);
    }
    if FETCHING.contains(&name) {
        network::fetch(name, arguments, &mut known);
    }
    code::interpreter(name, started, surroundings, &mut known);
    special(name, arguments, surroundings, &mut known);
    if known.effects.len() > 1 {
        known.effects.remove("reads");
    }
    known
}

/// Paths in options that are not known.
fn strange_files(strange: &[Word], known: &mut Known) {
    let paths = strange.iter().filter_map(super::path_in);
    known.files.extend(paths.map(|path| (Access::Use, path)));
}

/// Whether one of these options is among the arguments, alone, with a value or in a cluster.
pub(super) fn has(arguments: &[Word], options: &[&str]) -> bool {
    arguments.iter().any(|word| {
        options.iter().any(|option| {
            let short = option.len() == 2 && option.starts_with('-');
            is(Some(word), option)
                || word
                    .literal_start()
                    .strip_prefix(option)
                    .is_some_and(|rest| rest.starts_with('='))
                || short && is_flag(word, option.chars().last().unwrap_or(' '))
        })
    })
}

/// The first argument that is no option; empty without one.
pub(super) fn first_word(arguments: &[Word]) -> String {
    arguments
        .iter()
        .filter_map(Word::text)
        .find(|text| !text.starts_with('-'))
        .unwrap_or_default()
}

fn special(name: &str, arguments: &[Word], surroundings: &Surroundings<'_>, known: &mut Known) {
    match name {
        "git" => git::known(arguments, surroundings, known),
        "rm" if has(arguments, &["-r", "-R"]) || abbreviates(arguments, "--recursive") => {
            deepen(known, Access::Delete, Access::DeleteTree);
        }
        "mv" => deepen(known, Access::Delete, Access::DeleteTree),
        "chmod" | "chown" | "chgrp" | "chattr" => permit(name, arguments, known),
        "find" => search::find(arguments, known),
        "fd" | "fdfind" => search::fd(arguments, known),
        "sed" | "gsed" => sed::known(arguments, known),
        "awk" | "gawk" | "mawk" | "nawk" => awk::known(arguments, surroundings, known),
        "dd" => {
            known.complete = true;
            for word in arguments {
                for (option, access) in [("if=", Access::Read), ("of=", Access::Write)] {
                    if word.literal_start().starts_with(option) {
                        known.files.push((access, word.after(option.len())));
                    }
                }
            }
        }
        "tar" | "bsdtar" | "unzip" | "7z" | "cpio" => archives::known(name, arguments, known),
        "rsync" | "scp" => network::copy(arguments, known),
        "env" | "printenv" | "set" | "export" | "declare" | "typeset" | "readonly" | "local"
        | "echo" | "printf" | "ps" => variables(name, arguments, known),
        "kill" => processes::kill(arguments, known),
        "pkill" | "killall" => processes::by_name(name, arguments, known),
        "claude" | "gemini" | "codex" | "goose" => agents::known(name, arguments, known),
        "jq" => {
            known.complete = true;
            jq(arguments, known);
        }
        "sort" if has_value(name, arguments, &["compress-program"]) => runs_a_program(name, known),
        "split" if has_value(name, arguments, &["filter"]) => runs_a_program(name, known),
        "install" if has_value(name, arguments, &["strip-program"]) => runs_a_program(name, known),
        "bat" if has_value(name, arguments, &["pager"]) => runs_a_program(name, known),
        "rg" if has_value(name, arguments, &["pre", "hostname-bin"]) => runs_a_program(name, known),
        "cloc" if has_value(name, arguments, &["extract-with", "config"]) => {
            runs_a_program(name, known);
        }
        "nm" | "objdump" | "size" if has_value(name, arguments, &["plugin"]) => {
            runs_a_program(name, known);
        }
        "zip" if has(arguments, &["-TT", "--unzip-command"]) => runs_a_program(name, known),
        "wget" if has(arguments, &["--use-askpass"]) => runs_a_program(name, known),
        "make" | "gmake"
            if has(arguments, &["--eval", "-E"])
                || abbreviates(arguments, "--eval")
                || holds(arguments, "$(") =>
        {
            runs_a_program(name, known);
        }
        "man"
            if has(arguments, &["-P", "-H", "-C"])
                || ["--pager", "--html", "--config-file"]
                    .iter()
                    .any(|option| abbreviates(arguments, option)) =>
        {
            runs_a_program(name, known);
        }
        "sqlite3" if holds_any(arguments, SQLITE) && !is(arguments.last(), ".show") => {
            runs_a_program(name, known);
        }
        "psql" | "mysql" if holds_any(arguments, SQL_CLIENTS) => runs_a_program(name, known),
        "less" | "more" | "man" => {
            known.effects.retain(|effect| *effect == "reads");
            // `+!program` and the like.
            if arguments
                .iter()
                .any(|word| word.literal_start().starts_with('+'))
            {
                runs_a_program(name, known);
            }
        }
        _ => {
            if !system::known(name, arguments, known) {
                developing::known(name, arguments, known);
            }
        }
    }
}

pub(super) fn runs_a_program(name: &str, known: &mut Known) {
    known.doubt("options", &format!("an option of {name} runs a program"));
}

fn holds(arguments: &[Word], text: &str) -> bool {
    arguments.iter().any(|word| word.shown().contains(text))
}

/// Orders to `sqlite3` that run a program, load one or write files; they may be shortened.
const SQLITE: &[&str] = &[
    ".arch",
    ".edit",
    ".excel",
    ".im",
    ".lo",
    ".once",
    ".ou",
    ".rea",
    ".sh",
    ".sy",
    ".www",
    "edit(",
    "load_extension",
    "writefile",
];

/// The same to clients of other databases.
const SQL_CLIENTS: &[&str] = &["\\!", "\\g |", "\\o", "program ", "system "];

fn holds_any(arguments: &[Word], texts: &[&str]) -> bool {
    arguments.iter().any(|word| {
        let shown = word.shown().to_ascii_lowercase();
        texts.iter().any(|text| shown.contains(text))
    })
}

/// Whether an argument is this long option, written out, shortened or with a value.
pub(super) fn abbreviates(arguments: &[Word], option: &str) -> bool {
    arguments.iter().any(|word| {
        let start = word.literal_start();
        let given = start.split('=').next().unwrap_or_default();
        given.len() > 3 && option.starts_with(given)
    })
}

/// Whether the program of this name, one of the tables, is given one of these options.
fn has_value(name: &str, arguments: &[Word], options: &[&str]) -> bool {
    READERS
        .iter()
        .chain(WRITERS)
        .find(|(program, _)| *program == name)
        .is_some_and(|(_, spec)| spec.options.read(arguments).has(options))
}

fn deepen(known: &mut Known, from: Access, to: Access) {
    for (access, _) in &mut known.files {
        if *access == from {
            *access = to;
        }
    }
}

fn permit(name: &str, arguments: &[Word], known: &mut Known) {
    if has(arguments, &["-R"]) || abbreviates(arguments, "--recursive") {
        deepen(known, Access::Permit, Access::PermitTree);
    }
    let mode = first_word(arguments);
    let number =
        mode.len() == 4 && !mode.starts_with('0') && mode.bytes().all(|byte| byte.is_ascii_digit());
    let is_set_id = if number {
        mode.as_bytes()[0] > b'1'
    } else {
        // Of `u+xs,g-w`, what follows `+` or `=`.
        mode.split(',').any(|part| {
            part.find(['+', '='])
                .is_some_and(|at| part[at..].contains('s') && !part.contains('/'))
        })
    };
    if name == "chmod" && is_set_id {
        known.has("privilege");
    }
}

/// Options of `ps` that have a value; operands are letters of options too.
const PS: Options = Options::new("C:g:G:k:o:O:p:q:s:t:u:U:EeAaxflFjlwcmMLTHNdr", "");

/// Programs that show variables.
fn variables(name: &str, arguments: &[Word], known: &mut Known) {
    let shows_all = match name {
        // With a program it starts that, and is not itself here.
        "env" => true,
        "printenv" => arguments
            .iter()
            .all(|word| word.literal_start().starts_with('-')),
        "echo" | "printf" => false,
        "set" => arguments.is_empty(),
        // `ps e` and `ps -E` show those of processes.
        "ps" => {
            let given = PS.read(arguments);
            let mut letters = given.operands.iter().map(Word::shown);
            given.has(&["E"]) || letters.any(|letters| letters.contains(['e', '…']))
        }
        _ => {
            let names = Options::leading("aAfFgiIlnrtux", "").read(arguments);
            names.operands.is_empty() && !names.has(&["f", "F"])
        }
    };
    if shows_all {
        known.effects.remove("reads");
        known.complete = true;
        known.has("environment");
        return;
    }
    let reveals = match name {
        "printenv" => {
            known.only_reads();
            arguments
                .iter()
                .filter_map(Word::text)
                .any(|text| is_secret(&text))
        }
        "ps" => {
            known.only_reads();
            false
        }
        "echo" | "printf" => arguments
            .iter()
            .flat_map(|word| &word.pieces)
            .any(|piece| matches!(piece, Piece::Variable { name, .. } if is_secret(name))),
        // A name that stands for another variable.
        _ => {
            if matches!(name, "declare" | "typeset" | "local") && has(arguments, &["-n"]) {
                known.doubt("environment", "a variable stands for another one");
            }
            false
        }
    };
    if reveals {
        known.has("credentials");
    }
}

/// Names of variables that hold secrets.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let ends = [
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "API_KEY",
        "ACCESS_KEY",
        "PRIVATE_KEY",
        "CREDENTIALS",
        "AUTH",
    ];
    !name.starts_with('#')
        && (ends.iter().any(|end| name.ends_with(end))
            || ["AWS_SECRET", "AWS_SESSION", "ANTHROPIC_", "SHANNON_"]
                .iter()
                .any(|start| name.starts_with(start)))
}

/// Its options with a name and a value: the value may be a file.
fn jq(arguments: &[Word], known: &mut Known) {
    let mut rest: Vec<Word> = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.literal_start() {
            "--arg" | "--argjson" => {
                words.next();
                words.next();
            }
            "--slurpfile" | "--rawfile" => {
                words.next();
                known
                    .files
                    .extend(words.next().map(|file| (Access::Read, file.clone())));
            }
            _ => rest.push(word.clone()),
        }
    }
    if let Some((_, spec)) = READERS.iter().find(|(reader, _)| *reader == "jq") {
        let taken = spec.take(&rest);
        known.files.extend(taken.files);
        if taken.given.strange.is_empty() {
            known.has("reads");
        }
    }
    if holds(arguments, "env") || holds(arguments, "$ENV") {
        known.effects.remove("reads");
        known.has("environment");
    }
}
