//! A shell command as the policy sees it: every program that it may start, with what is known and
//! what is not known of its arguments, its redirections and its input.
//!
//! Three steps, each bounded and none of them able to panic on any input. `lexer` reads the text as
//! bash does (quoting, substitutions, here-documents) and decodes words; `grammar` lets
//! `brush-parser` find the structure of the tokens; `walk` visits that structure, follows variables
//! and directories, and looks through programs that only start another one (`wrappers`).
//!
//! The text is never executed and no file is read. Whatever could mean something else than what is
//! recorded here is recorded as unclear: a policy decides what happens with that, never this module.
//!
//! Why not the tokens and words of `brush-parser` itself: it takes the quote in `\$'` and `$$'` for
//! an ANSI-C quote, which hides the commands after it, and `( (a) )` for arithmetic; its word
//! grammar panics on `~99999999999999999999` and takes exponential time on `${a[${a[${a[`. It is
//! given tokens whose texts are numbers, and none of that can be reached.

mod expand;
mod grammar;
mod lexer;
pub(crate) mod options;
mod suspicious;
pub(crate) mod variables;
mod walk;
mod word;
pub(crate) mod wrappers;

use serde::Serialize;

pub use word::{Piece, Word};

/// How deep commands may lie inside each other: substitutions, `sh -c`, `eval`.
pub(crate) const NESTED_COMMANDS: usize = 8;
/// How deep compound commands may lie inside each other in one command.
pub(crate) const NESTED_COMPOUNDS: usize = 24;
/// Programs that one command may start.
pub(crate) const PROGRAMS: usize = 256;

/// A shell command, parsed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Parsed {
    /// Every program that may be started, in the order of the text.
    pub programs: Vec<Started>,
    /// What about the command as a whole is not understood, in words a person can read. Empty: all
    /// of it is.
    pub unclear: Vec<String>,
    /// A function starts itself again and again in the background.
    pub floods: bool,
    /// Some of it was not looked at at all: it is too long, or nested too deep.
    pub unread: bool,
}

/// A program that may be started, a builtin of the shell included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Started {
    /// Its name without directories; empty when it is not known before the command runs.
    pub name: String,
    /// The word it is started by, when that holds a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<Word>,
    /// Variables set for it, or by it when it is only an assignment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assignments: Vec<(String, Word)>,
    /// Files its descriptors are connected with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redirections: Vec<Redirection>,
    /// What it reads from its standard input.
    #[serde(skip_serializing_if = "Input::is_inherited")]
    pub input: Input,
    /// Where in the command it stands, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<Within>,
    /// Programs that start it, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub through: Vec<String>,
    /// Where relative paths start.
    #[serde(skip_serializing_if = "Directory::is_start")]
    pub directory: Directory,
    /// What about it is not understood.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unclear: Vec<Doubt>,
}

/// Something about a program that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Doubt {
    /// Which of a few kinds, the word that policies use: `program`, `text`, `letters`, `code`,
    /// `environment`, `options`, `git`.
    pub kind: &'static str,
    /// For people.
    pub reason: String,
}

impl Doubt {
    pub(crate) fn new(kind: &'static str, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
        }
    }
}

/// A connection of a descriptor with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Redirection {
    /// What it does with the file.
    pub access: Access,
    /// The file.
    pub file: Word,
}

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Its contents or names are read.
    Read,
    /// It is created, changed or replaced.
    Write,
    /// It is removed.
    Delete,
    /// It is removed with everything below it.
    DeleteTree,
    /// Its owner or mode changes.
    Permit,
    /// The same with everything below it.
    PermitTree,
    /// A program that is not known gets it as an argument.
    Use,
}

/// Where the standard input of a program comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// From where the whole command has it: nowhere.
    #[default]
    Inherited,
    /// It is known word by word.
    Text(String),
    /// It is a text, in which `$_unknown_` stands for what is not known.
    Partly(String),
    /// It is what another program prints, or a file.
    Unknown(String),
}

impl Input {
    fn is_inherited(&self) -> bool {
        *self == Self::Inherited
    }
}

/// A place inside a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Within {
    /// One of several connected by pipes.
    Pipeline,
    /// `$(...)`, backquotes, `<(...)`.
    Substitution,
    /// `(...)`.
    Subshell,
    /// The body of a function.
    Function,
    /// The body or the condition of a loop.
    Loop,
    /// A branch or condition of `if`, `case`, `&&`, `||`.
    Condition,
    /// Started with `&`.
    Background,
    /// The body of a here-document, the argument of `sh -c`, `eval`, `trap` or `alias`.
    Text,
}

/// A directory, as far as `cd` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Directory {
    /// One of these: start where the command starts and follow the paths one after the other. More
    /// than one when a `cd` may have failed.
    Known(Vec<Vec<String>>),
    /// The same, or another that is not known.
    Partly(Vec<Vec<String>>),
    /// Not known.
    Unknown,
}

impl Default for Directory {
    fn default() -> Self {
        Self::Known(vec![Vec::new()])
    }
}

impl Directory {
    fn is_start(&self) -> bool {
        *self == Self::default()
    }
}

/// Parses a command. What is not understood is in the result; there is no other failure.
#[must_use]
pub fn parse(command: &str) -> Parsed {
    walk::parse(command)
}

impl Parsed {
    /// The programs on one line: `env > rm(-rf, /)` is `rm` started by `env`; `~` before a name says
    /// that something about it is unclear, `…` stands for text that is not known.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut parts: Vec<String> = self.programs.iter().map(Started::summary).collect();
        if self.floods {
            parts.push("~ floods".to_owned());
        }
        if !self.unclear.is_empty() {
            parts.push(format!("~ {}", self.unclear.join(", ")));
        }
        parts.join("; ")
    }
}

impl Started {
    fn summary(&self) -> String {
        let mut text = String::new();
        for wrapper in &self.through {
            text.push_str(wrapper);
            text.push_str(" > ");
        }
        for (name, value) in &self.assignments {
            text.push_str(&format!("{name}={} ", value.shown()));
        }
        if !self.unclear.is_empty() {
            text.push('~');
        }
        text.push_str(if self.name.is_empty() && self.assignments.is_empty() {
            "…"
        } else {
            &self.name
        });
        if !self.arguments.is_empty() {
            let arguments: Vec<String> = self.arguments.iter().map(Word::shown).collect();
            text.push_str(&format!("({})", arguments.join(", ")));
        }
        for redirection in &self.redirections {
            let sign = match redirection.access {
                Access::Read => '<',
                _ => '>',
            };
            text.push_str(&format!(" {sign}{}", redirection.file.shown()));
        }
        text.trim_end().to_owned()
    }

    /// The words of the program on one line, `…` for what is not known.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = if self.name.is_empty() {
            "…".to_owned()
        } else {
            self.name.clone()
        };
        for argument in &self.arguments {
            line.push(' ');
            line.push_str(&argument.shown());
        }
        line
    }
}

#[cfg(test)]
mod tests;
