//! What a parsed command does, as the parts that policies decide on: programs, files, hosts.
//!
//! What programs do with their arguments stands in the tables of `programs` and `operands`. A program
//! that is in no table starts as itself, with its paths as files that it uses; what policies make of
//! that is their business.

mod agents;
mod archives;
mod arguments;
mod awk;
mod code;
mod developing;
mod git;
mod network;
mod operands;
mod processes;
mod programs;
mod readers;
mod search;
mod sed;
mod system;
mod tables;
mod writers;

use std::collections::BTreeSet;

use serde::Serialize;

use self::arguments::{addresses, options_of, path_in};
use crate::Surroundings;
use crate::host::Host;
use crate::location::{self, Location};
use crate::shell::variables::changes_programs;
use crate::shell::wrappers::PRINTF;
use crate::shell::{Access, Directory, Doubt, Parsed, Started, Word};

/// One thing that a call does. Policies decide on each by itself; the strictest decision counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Part {
    /// A program is started.
    Program(Program),
    /// A file is read, written or removed.
    File {
        /// What is done.
        access: Access,
        /// Where it is.
        #[serde(flatten)]
        location: Location,
    },
    /// A machine is talked to.
    Host(Host),
    /// A tool of the CLI is used.
    Tool(Tool),
}

/// The use of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What about its input is not understood.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unclear: Vec<Doubt>,
}

/// A program that is started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Program {
    /// Its name, empty when it is not known.
    pub name: String,
    /// The word it is started by, when that holds a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// All its words, `…` for what is not known.
    pub line: String,
    /// Its first argument that is no option: `push` of `git push`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// Its options, those of a cluster one by one and without values.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub options: BTreeSet<String>,
    /// Its arguments that are known.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub arguments: BTreeSet<String>,
    /// What is known about what it does, in the words that the schema lists.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub effects: BTreeSet<&'static str>,
    /// What is not understood.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unclear: Vec<Doubt>,
    /// Programs that start it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub through: Vec<String>,
}

/// What tables say about a program with its arguments.
#[derive(Debug, Default)]
struct Known {
    effects: BTreeSet<&'static str>,
    unclear: Vec<Doubt>,
    files: Vec<(Access, Word)>,
    hosts: Vec<Host>,
    /// Its arguments are accounted for; else each that looks like a path is a file it uses.
    complete: bool,
}

impl Known {
    fn has(&mut self, effect: &'static str) {
        self.effects.insert(effect);
    }

    fn doubt(&mut self, kind: &'static str, reason: &str) {
        self.unclear.push(Doubt::new(kind, reason));
    }

    /// It does nothing but read, after all.
    fn only_reads(&mut self) {
        self.complete = true;
        self.has("reads");
    }
}

/// The parts of a shell command, without repetitions.
pub(crate) fn of_command(parsed: &Parsed, surroundings: &Surroundings<'_>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for started in &parsed.programs {
        of_program(started, surroundings, &mut parts);
    }
    if parsed.floods {
        parts.push(Part::Program(Program {
            line: "a function that starts itself again and again".to_owned(),
            effects: BTreeSet::from(["floods"]),
            ..Program::default()
        }));
    }
    if !parsed.unclear.is_empty() {
        let doubts = parsed
            .unclear
            .iter()
            .map(|why| Doubt::new("structure", why.clone()))
            .chain(parsed.unread.then(|| {
                Doubt::new(
                    "unread",
                    "some of it was not looked at, so nothing of it runs by itself",
                )
            }));
        parts.push(Part::Program(Program {
            line: "…".to_owned(),
            unclear: doubts.collect(),
            ..Program::default()
        }));
    }
    let mut unique: Vec<Part> = Vec::new();
    for part in parts {
        if !unique.contains(&part) {
            unique.push(part);
        }
    }
    unique
}

fn of_program(started: &Started, surroundings: &Surroundings<'_>, parts: &mut Vec<Part>) {
    let name = started.name.to_ascii_lowercase();
    let mut known = programs::known(&name, started, surroundings);
    known.unclear.extend(started.unclear.iter().cloned());
    variables(started, &name, &mut known);
    // What only reads files talks to nobody: there an address is a text.
    if !known.effects.contains("reads") {
        addresses(&started.arguments, &mut known);
    }
    for redirection in &started.redirections {
        known
            .files
            .push((redirection.access, redirection.file.clone()));
    }
    if let Some(path) = &started.path
        && !is_standard(path)
    {
        known.effects.remove("reads");
        known.files.push((Access::Use, path_word(path)));
    }
    if !known.complete {
        for argument in &started.arguments {
            known
                .files
                .extend(path_in(argument).map(|path| (Access::Use, path)));
        }
    }
    let upwards: Vec<(Access, Word)> = known
        .files
        .iter()
        .filter(|(access, _)| matches!(access, Access::Permit | Access::PermitTree))
        .filter_map(|(access, word)| Some((*access, location::upwards(word)?)))
        .collect();
    known.files.extend(upwards);
    let mut files: Vec<(Access, Location)> = Vec::new();
    for (access, word) in &known.files {
        if let Some(host) = network::device(word) {
            known.hosts.push(host);
            continue;
        }
        for location in locate(word, &started.directory, surroundings) {
            files.push((*access, location));
        }
    }
    let options: BTreeSet<String> = started.arguments.iter().flat_map(options_of).collect();
    let command = started
        .arguments
        .iter()
        .filter_map(Word::text)
        .find(|text| !text.starts_with('-'))
        .unwrap_or_default();
    parts.push(Part::Program(Program {
        name: started.name.clone(),
        path: started.path.clone(),
        line: started.line(),
        command,
        options,
        arguments: started.arguments.iter().filter_map(Word::text).collect(),
        effects: known.effects,
        unclear: known.unclear,
        through: started.through.clone(),
    }));
    parts.extend(
        files
            .into_iter()
            .map(|(access, location)| Part::File { access, location }),
    );
    parts.extend(known.hosts.into_iter().map(Part::Host));
}

fn locate(word: &Word, directory: &Directory, surroundings: &Surroundings<'_>) -> Vec<Location> {
    const STREAMS: &[&str] = &[
        "/dev/null",
        "/dev/zero",
        "/dev/stdin",
        "/dev/stdout",
        "/dev/stderr",
        "/dev/tty",
        "/dev/random",
        "/dev/urandom",
    ];
    if let Some(text) = word.text()
        && (STREAMS.contains(&text.as_str())
            || is_descriptor(&text)
            || text == "-"
            || text.is_empty())
    {
        return Vec::new();
    }
    location::locate(word, directory, surroundings)
}

/// `/dev/fd/3`, and nothing that goes on from there.
fn is_descriptor(path: &str) -> bool {
    let number = path.strip_prefix("/dev/fd/").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn variables(started: &Started, name: &str, known: &mut Known) {
    let mut set: Vec<(String, Option<String>)> = Vec::new();
    for (variable, value) in &started.assignments {
        // It says where this one line is split.
        if !(variable == "IFS" && name == "read") {
            set.push((variable.clone(), value.text()));
        }
    }
    match name {
        "declare" | "export" | "local" | "readonly" | "typeset" => {
            for word in &started.arguments {
                if let Some((variable, _)) = word.literal_start().split_once('=') {
                    let value = word.after(variable.len() + 1).text();
                    set.push((variable.trim_end_matches('+').to_owned(), value));
                }
            }
        }
        "getopts" | "mapfile" | "read" | "readarray" => {
            let names = started.arguments.iter().filter_map(Word::text);
            set.extend(names.map(|variable| (variable, None)));
        }
        "printf" => {
            let given = PRINTF.read(&started.arguments);
            let name = given.value(&["v"]).and_then(Word::text);
            set.extend(name.map(|variable| (variable, None)));
        }
        _ => {}
    }
    for (variable, value) in set {
        if changes_programs(&variable, value.as_deref()) {
            known.doubt(
                "environment",
                &format!("the variable {variable} changes what programs do"),
            );
        }
    }
}

/// Where programs of the system lie.
fn is_standard(path: &str) -> bool {
    const DIRECTORIES: &[&str] = &[
        "/bin/",
        "/sbin/",
        "/usr/bin/",
        "/usr/sbin/",
        "/usr/local/bin/",
        "/usr/local/sbin/",
        "/opt/homebrew/bin/",
    ];
    DIRECTORIES.iter().any(|directory| {
        path.strip_prefix(directory)
            .is_some_and(|name| !name.contains('/'))
    })
}

fn path_word(path: &str) -> Word {
    let literal = Word::literal(path.strip_prefix('~').unwrap_or(path));
    if path.starts_with("~/") {
        let mut word = Word {
            pieces: vec![crate::shell::Piece::Home],
        };
        literal
            .pieces
            .into_iter()
            .for_each(|piece| word.push(piece));
        return word;
    }
    literal
}
