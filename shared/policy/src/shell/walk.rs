//! From the syntax tree to the programs that may be started.
//!
//! Every branch is visited, whether it would be taken or not. Variables are followed where the
//! command itself sets them; a value that may be another one counts beside the unknown. What cannot
//! be read is said, and what can be read beside it is visited all the same: some of what a command
//! does is refused whatever else it holds.

mod compound;
mod directories;
mod functions;
mod salvage;
mod simple;
mod values;

use std::collections::BTreeMap;
use std::rc::Rc;

use brush_parser::ast::{self, AndOr, SeparatorOperator};
use domain::limits::SHELL_COMMAND_BYTES;

use self::functions::{Call, Function};
use self::values::{Assigned, Output, Value};
use super::grammar::{self, Words};
use super::lexer;
use super::word::Word;
use super::{
    Directory, Input, NESTED_COMMANDS, PROGRAMS, Parsed, Started, Within, suspicious, wrappers,
};

/// Most texts that one command holds: substitutions, arguments of shells.
const TEXTS: usize = 512;
/// Most compound commands inside each other, those of nested texts counted.
const LEVELS: usize = 40;
/// Most visits until what variables are set to stays the same.
const VISITS: usize = 3;

pub(super) fn parse(command: &str) -> Parsed {
    if command.len() > SHELL_COMMAND_BYTES {
        return Parsed {
            unclear: vec![format!("it is longer than {SHELL_COMMAND_BYTES} bytes")],
            unread: true,
            ..Parsed::default()
        };
    }
    // Each visit knows all values that variables were given anywhere in the one before.
    let mut walker = Walker::default();
    for _ in 0..VISITS {
        walker = Walker {
            values: walker.history,
            ..Walker::default()
        };
        if let Some(problem) = suspicious::anywhere(command) {
            walker.unclear(problem);
        }
        walker.text(command);
        walker.at_exit();
        if walker.history == walker.values {
            break;
        }
    }
    walker.parsed
}

#[derive(Default)]
pub(super) struct Walker {
    parsed: Parsed,
    depth: usize,
    levels: usize,
    texts: usize,
    /// Bodies visited more than once.
    again: usize,
    /// A word of this command may be one of several.
    alternatives: bool,
    /// The same of any command of a substitution.
    any_alternatives: bool,
    within: Vec<Within>,
    through: Vec<String>,
    directory: Directory,
    /// Directories that it was in.
    been: Directory,
    input: Input,
    variables: BTreeMap<String, Value>,
    /// Collected by this visit.
    history: BTreeMap<String, Assigned>,
    /// Collected by the visit before.
    values: BTreeMap<String, Assigned>,
    /// The variable whose new value is being read.
    assigning: Option<String>,
    functions: BTreeMap<String, Rc<Function>>,
    calls: Vec<Call>,
    aliases: BTreeMap<String, String>,
    /// Texts of traps, which run at the end, wherever that is.
    traps: Vec<String>,
    /// What substitutions print, where that is plain.
    outputs: BTreeMap<String, Output>,
}

impl Walker {
    fn unclear(&mut self, problem: &str) {
        if !self.parsed.unclear.iter().any(|known| known == problem) {
            self.parsed.unclear.push(problem.to_owned());
        }
    }

    /// Something is left out that may do anything.
    fn leave_out(&mut self, problem: &str) {
        self.parsed.unread = true;
        self.unclear(problem);
    }

    /// Visits a text that a shell runs.
    fn text(&mut self, text: &str) {
        self.texts += 1;
        if self.depth > NESTED_COMMANDS || self.texts > TEXTS {
            return self.leave_out("its commands are nested too deep");
        }
        self.depth += 1;
        match lexer::tokens(text).and_then(grammar::structure) {
            Ok((program, words)) => self.lists(&program, &Rc::new(words)),
            Err(unreadable) => {
                self.unclear(unreadable.0);
                self.salvage(text);
            }
        }
        self.depth -= 1;
    }

    fn lists(&mut self, program: &ast::Program, words: &Rc<Words>) {
        for list in &program.complete_commands {
            self.list(list, words);
        }
    }

    /// Visits a text that another shell runs. It has the directory and perhaps the variables of this
    /// one, and operands of its own.
    pub(super) fn other_shell(
        &mut self,
        text: &str,
        through: &str,
        input: Input,
        operands: &[Word],
    ) {
        let variables = std::mem::take(&mut self.variables);
        let directory = self.directory.clone();
        let outer_input = std::mem::replace(&mut self.input, input);
        self.through.push(through.to_owned());
        self.inside(Within::Text, |walker| {
            for (number, operand) in operands.iter().enumerate() {
                walker.set_parameter(number, operand);
            }
            walker.set_all_parameters(operands.get(1..).unwrap_or_default());
            walker.text(text);
        });
        self.through.pop();
        self.input = outer_input;
        self.directory = directory;
        self.variables = variables;
    }

    /// Visits a text that this shell runs, now or later.
    pub(super) fn same_shell(&mut self, text: &str, through: &str) {
        self.through.push(through.to_owned());
        self.inside(Within::Text, |walker| walker.text(text));
        self.through.pop();
    }

    fn inside<T>(&mut self, place: Within, visit: impl FnOnce(&mut Self) -> T) -> T {
        self.within.push(place);
        let result = visit(self);
        self.within.pop();
        result
    }

    /// Visits what runs in a process of its own.
    fn apart(&mut self, place: Within, visit: impl FnOnce(&mut Self)) {
        let directory = self.directory.clone();
        let variables = self.variables.clone();
        self.inside(place, visit);
        self.directory = directory;
        self.variables = variables;
    }

    fn list(&mut self, list: &ast::CompoundList, words: &Rc<Words>) {
        for ast::CompoundListItem(and_or, separator) in &list.0 {
            if matches!(separator, SeparatorOperator::Async) {
                self.apart(Within::Background, |walker| walker.and_or(and_or, words));
            } else {
                self.and_or(and_or, words);
            }
        }
    }

    /// Visits what may be left out: afterwards things are as it leaves them, or as they were.
    fn perhaps(&mut self, visit: impl FnOnce(&mut Self)) {
        let directory = self.directory.clone();
        let variables = self.variables.clone();
        visit(self);
        self.directory.or(&directory);
        for (name, value) in &mut self.variables {
            if variables.get(name) != Some(value) {
                value.certain = false;
            }
        }
    }

    fn and_or(&mut self, list: &ast::AndOrList, words: &Rc<Words>) {
        let directory = self.directory.clone();
        self.pipeline(&list.first, words);
        self.perhaps(|walker| walker.and_or_rest(&directory, &list.additional, words));
        // A `cd` may have failed.
        self.directory.or(&directory);
    }

    fn and_or_rest(&mut self, directory: &Directory, rest: &[AndOr], words: &Rc<Words>) {
        for next in rest {
            let pipeline = match next {
                AndOr::And(pipeline) | AndOr::Or(pipeline) => pipeline,
            };
            if matches!(next, AndOr::Or(_)) {
                // What came before has failed, a `cd` perhaps.
                self.directory.or(directory);
            }
            self.inside(Within::Condition, |walker| walker.pipeline(pipeline, words));
        }
    }

    fn pipeline(&mut self, pipeline: &ast::Pipeline, words: &Rc<Words>) {
        if pipeline.seq.len() < 2 {
            for command in &pipeline.seq {
                self.command(command, words);
            }
            return;
        }
        let outer = self.input.clone();
        for command in &pipeline.seq {
            let before = self.parsed.programs.len();
            self.apart(Within::Pipeline, |walker| walker.command(command, words));
            let printed = self.parsed.programs.get(before..).unwrap_or_default();
            self.input = wrappers::printed(printed);
        }
        self.input = outer;
    }

    /// Records a program.
    pub(super) fn push(&mut self, mut started: Started) {
        started.within.clone_from(&self.within);
        started.through.clone_from(&self.through);
        started.directory = self.directory.clone();
        if self.parsed.programs.len() >= PROGRAMS {
            return self.leave_out("it starts too many programs");
        }
        self.parsed.programs.push(started);
    }

    /// Goes to these paths, `None` for one that is not known, or back to where it was.
    pub(super) fn change_directory(&mut self, paths: &[Option<String>], goes_back: bool) {
        self.directory.follow(paths);
        if goes_back {
            self.directory.or(&self.been);
        }
        self.been.or(&self.directory);
    }

    /// Where relative paths start now.
    pub(super) fn directory(&mut self) -> &mut Directory {
        &mut self.directory
    }

    /// Runs `visit` with one more program in front of what it starts.
    pub(super) fn through(&mut self, name: &str, visit: impl FnOnce(&mut Self)) {
        if self.through.len() >= NESTED_COMMANDS * 2 {
            return self.leave_out("its commands are nested too deep");
        }
        self.through.push(name.to_owned());
        visit(self);
        self.through.pop();
    }

    /// Whether what is visited now runs exactly once, in the order of the text.
    pub(super) fn is_straight(&self) -> bool {
        self.within
            .iter()
            .all(|place| matches!(place, Within::Condition))
    }
}
