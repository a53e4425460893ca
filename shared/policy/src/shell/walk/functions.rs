//! What is defined now and runs later: functions, aliases, traps, and the parameters they get.

use std::rc::Rc;

use brush_parser::ast;

use super::Walker;
use super::compound::AGAIN;
use super::values::words_of;
use crate::shell::grammar::Words;
use crate::shell::word::{Piece, Word};
use crate::shell::wrappers::{self, SHELLS};
use crate::shell::{Directory, Started, Within};

/// Most functions that call each other.
const CALLS: usize = 8;
/// Most parameters that are told apart.
const PARAMETERS: usize = 16;

/// The body of a function, and the words in it.
pub(super) struct Function {
    body: ast::FunctionBody,
    words: Rc<Words>,
}

/// A function that is being visited.
pub(super) struct Call {
    name: String,
    /// How deep inside the command its body starts.
    within: usize,
    /// How often it calls itself in pipelines.
    pub(super) piped: usize,
    /// Where it was called.
    directory: Directory,
    /// Its arguments, where each is one word and known to be the only one it can be.
    arguments: Option<Vec<Word>>,
}

impl Walker {
    /// Visits a function where it is defined: it may be called in ways that are not seen.
    pub(super) fn function(&mut self, function: &ast::FunctionDefinition, words: &Rc<Words>) {
        let name = super::simple::text_of(&words.get(&function.fname.value));
        let function = Rc::new(Function {
            body: function.body.clone(),
            words: Rc::clone(words),
        });
        self.functions.insert(name.clone(), Rc::clone(&function));
        // Else it is visited there.
        if self.values.contains_key(&called(&name)) {
            return;
        }
        let input = std::mem::take(&mut self.input);
        let directory = self.directory.clone();
        let variables = self.variables.clone();
        self.body(&name, &function, None);
        self.directory = directory;
        self.variables = variables;
        self.input = input;
    }

    /// Whether a function or an alias has this name.
    pub(super) fn is_defined(&self, name: &str) -> bool {
        self.functions.contains_key(name) || self.aliases.contains_key(name)
    }

    fn body(&mut self, name: &str, function: &Function, arguments: Option<Vec<Word>>) {
        self.calls.push(Call {
            name: name.to_owned(),
            within: self.within.len() + 1,
            piped: 0,
            directory: self.directory.clone(),
            arguments,
        });
        self.inside(Within::Function, |walker| {
            let ast::FunctionBody(body, redirections) = &function.body;
            let outer = walker.input.clone();
            walker.compound_redirections(redirections.as_ref(), &function.words);
            walker.compound(body, &function.words);
            walker.input = outer;
        });
        self.calls.pop();
    }

    /// Visits a function where it is called, if this is the name of one: in the directory of the
    /// call, which it may change, and with its arguments.
    pub(in crate::shell) fn call(&mut self, started: &Started) {
        let in_this_shell = self.through.last().is_none_or(|last| {
            SHELLS.contains(&last.as_str()) || ["eval", "trap", "alias"].contains(&last.as_str())
        });
        if started.path.is_some() || !in_this_shell {
            return;
        }
        let Some(function) = self.functions.get(&started.name).cloned() else {
            return;
        };
        if self.alternatives {
            // Which of them is one argument is not known.
            for number in 1..=started.arguments.len().min(PARAMETERS) {
                self.note(&number.to_string(), &started.arguments, true);
            }
        }
        self.set_parameters(&started.arguments);
        if let Some(at) = self.calls.iter().position(|call| call.name == started.name) {
            return self.calls_itself(at);
        }
        if self.calls.len() >= CALLS || self.again >= AGAIN {
            return self.leave_out("its functions call each other too often");
        }
        self.again += 1;
        let before = self.parsed.programs.len();
        self.note(&called(&started.name), &[], true);
        let is_one_word = |word: &Word| {
            word.pieces.iter().all(|piece| match piece {
                Piece::Variable { quoted, .. } | Piece::Output { quoted, .. } => *quoted,
                Piece::Supplied => false,
                _ => true,
            })
        };
        let exact = !self.alternatives && started.arguments.iter().all(is_one_word);
        let arguments = exact.then(|| started.arguments.clone());
        self.body(&started.name, &function, arguments);
        self.forget_same(before);
    }

    /// What is the same as where it was visited first is not said again.
    fn forget_same(&mut self, since: usize) {
        for program in self.parsed.programs.split_off(since) {
            if !self.parsed.programs.contains(&program) {
                self.parsed.programs.push(program);
            }
        }
    }

    /// A function that starts itself beside itself is more and more processes. In a pipeline and on
    /// a condition, once, it walks through something.
    fn calls_itself(&mut self, at: usize) {
        let Some(call) = self.calls.get_mut(at) else {
            return;
        };
        let since = self.within.get(call.within..).unwrap_or_default();
        let is = |places: &[Within]| since.iter().any(|place| places.contains(place));
        let is_piped = is(&[Within::Pipeline]);
        call.piped += usize::from(is_piped);
        let floods = is(&[Within::Background])
            || is_piped && (call.piped > 1 || !is(&[Within::Condition, Within::Loop]));
        self.parsed.floods |= floods;
        if call.directory != self.directory {
            self.directory.or(&Directory::Unknown);
        }
    }

    /// `$1` and so on.
    pub(super) fn set_parameter(&mut self, number: usize, value: &Word) {
        if number <= PARAMETERS {
            self.note(&number.to_string(), std::slice::from_ref(value), true);
        }
    }

    /// `$@`.
    pub(in crate::shell) fn set_all_parameters(&mut self, values: &[Word]) {
        let joined = wrappers::joined(values.get(..PARAMETERS).unwrap_or(values));
        for name in ["@", "*"] {
            self.note(name, std::slice::from_ref(&joined), true);
        }
    }

    fn set_parameters(&mut self, values: &[Word]) {
        for (number, value) in values.iter().enumerate() {
            self.set_parameter(number + 1, value);
        }
        self.set_all_parameters(values);
    }

    /// The words that a parameter is in the function that is visited, where that is certain.
    pub(super) fn parameter(&self, name: &str) -> Option<Vec<Word>> {
        let arguments = self.calls.last()?.arguments.as_ref()?;
        if name == "@" || name == "*" {
            return Some(arguments.clone());
        }
        let number: usize = name.parse().ok().filter(|number| *number > 0)?;
        Some(arguments.get(number - 1).cloned().into_iter().collect())
    }

    /// They are no longer what the call says.
    fn change_parameters(&mut self) {
        if let Some(call) = self.calls.last_mut() {
            call.arguments = None;
        }
    }

    /// `set -- a b`.
    pub(in crate::shell) fn replace_parameters(&mut self, values: &[Word]) {
        self.change_parameters();
        self.set_parameters(values);
    }

    /// `shift`: each may become any that follows.
    pub(in crate::shell) fn shift_parameters(&mut self) {
        self.change_parameters();
        let all: Vec<Word> = (1..=PARAMETERS)
            .filter_map(|number| self.values.get(&number.to_string()))
            .flat_map(|assigned| assigned.values.clone())
            .collect();
        for number in 1..PARAMETERS.min(all.len()) {
            self.note(&number.to_string(), &all, true);
        }
    }

    /// What `for x; do` goes through.
    pub(super) fn parameters(&self) -> Vec<Word> {
        let values = self.values.get("@").map(|assigned| &assigned.values);
        let mut words: Vec<Word> = values.into_iter().flatten().flat_map(words_of).collect();
        words.push(Word::unknown("@"));
        words
    }

    /// `alias name=value`.
    pub(in crate::shell) fn set_alias(&mut self, name: &str, value: &str) {
        self.same_shell(value, "alias");
        self.aliases.insert(name.to_owned(), value.to_owned());
    }

    /// Visits what an alias of this name makes of a program with these arguments.
    pub(in crate::shell) fn alias(&mut self, started: &Started) {
        // An alias is not looked for in what it stands for itself.
        if self.through.iter().any(|name| name == "alias") {
            return;
        }
        if let Some(value) = self.aliases.get(&started.name).cloned()
            && !started.arguments.is_empty()
        {
            let arguments = wrappers::joined(&started.arguments).as_text();
            self.same_shell(&format!("{value} {arguments}"), "alias");
        }
    }

    /// `trap text signals`: it runs here, or at the end.
    pub(in crate::shell) fn set_trap(&mut self, text: &str) {
        self.same_shell(text, "trap");
        self.traps.push(text.to_owned());
    }

    /// Visits what runs at the end, where that is another directory.
    pub(super) fn at_exit(&mut self) {
        let traps = std::mem::take(&mut self.traps);
        if self.directory.is_start() {
            return;
        }
        for text in traps {
            let before = self.parsed.programs.len();
            self.same_shell(&text, "trap");
            self.forget_same(before);
        }
    }
}

/// Stands among the variables for a function that is called. No variable is called so.
fn called(name: &str) -> String {
    format!("{name}()")
}

/// Whether a piece is a parameter that may be several words even in quotes.
pub(super) fn is_several(piece: &Piece) -> bool {
    matches!(piece, Piece::Variable { name, .. } if name == "@" || name == "*")
}
