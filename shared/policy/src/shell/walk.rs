//! From the syntax tree to the programs that may be started.
//!
//! Every branch is visited, whether it would be taken or not. Variables are followed where the
//! command itself sets them; a value that may be another one counts beside the unknown.

mod values;

use std::collections::BTreeMap;

use brush_parser::ast::{
    self, AndOr, AssignmentValue, Command, CommandPrefixOrSuffixItem as Item, CompoundCommand,
    ExtendedTestExpr, IoFileRedirectKind, IoFileRedirectTarget, IoRedirect, SeparatorOperator,
};

use domain::limits::SHELL_COMMAND_BYTES;

use self::values::{Assigned, Value};
use super::grammar::{self, Words};
use super::lexer::{self, Lexed};
use super::word::{Piece, Word};
use super::{
    Access, Directory, Input, NESTED_COMMANDS, PROGRAMS, Parsed, Redirection, Started, Within,
    suspicious, wrappers,
};

/// Most texts that one command holds: substitutions, arguments of shells.
const TEXTS: usize = 512;
/// Most compound commands inside each other, those of nested texts counted.
const LEVELS: usize = 40;
/// Most directories that a command may be in.
const DIRECTORIES: usize = 4;

pub(super) fn parse(command: &str) -> Parsed {
    let mut unclear = Vec::new();
    if command.len() > SHELL_COMMAND_BYTES {
        unclear.push(format!("it is longer than {SHELL_COMMAND_BYTES} bytes"));
    } else if let Some(problem) = suspicious::anywhere(command) {
        unclear.push(problem.to_owned());
    }
    if !unclear.is_empty() {
        return Parsed {
            unclear,
            ..Parsed::default()
        };
    }
    let mut first = Walker::default();
    first.text(command);
    if first.history.is_empty() {
        return first.parsed;
    }
    // Once more with all values that variables are given anywhere.
    let mut second = Walker {
        values: first.history,
        ..Walker::default()
    };
    second.text(command);
    second.parsed
}

#[derive(Default)]
pub(super) struct Walker {
    parsed: Parsed,
    depth: usize,
    levels: usize,
    texts: usize,
    within: Vec<Within>,
    through: Vec<String>,
    directory: Directory,
    input: Input,
    variables: BTreeMap<String, Value>,
    /// Collected by this visit.
    history: BTreeMap<String, Assigned>,
    /// Collected by the visit before.
    values: BTreeMap<String, Assigned>,
}

impl Walker {
    fn unclear(&mut self, problem: &str) {
        if !self.parsed.unclear.iter().any(|known| known == problem) {
            self.parsed.unclear.push(problem.to_owned());
        }
    }

    /// Visits a text that a shell runs.
    fn text(&mut self, text: &str) {
        self.texts += 1;
        if self.depth > NESTED_COMMANDS || self.texts > TEXTS {
            return self.unclear("its commands are nested too deep");
        }
        let visited = lexer::tokens(text).and_then(grammar::structure);
        match visited {
            Err(unreadable) => self.unclear(unreadable.0),
            Ok((program, words)) => {
                self.depth += 1;
                for list in &program.complete_commands {
                    self.list(list, &words);
                }
                self.depth -= 1;
            }
        }
    }

    /// Visits a text that another shell runs: it shares nothing but the directory.
    pub(super) fn other_shell(&mut self, text: &str, through: &str, input: Input) {
        let variables = std::mem::take(&mut self.variables);
        let values = std::mem::take(&mut self.values);
        let directory = self.directory.clone();
        let outer_input = std::mem::replace(&mut self.input, input);
        self.through.push(through.to_owned());
        self.inside(Within::Text, |walker| walker.text(text));
        self.through.pop();
        self.input = outer_input;
        self.directory = directory;
        self.variables = variables;
        self.values = values;
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

    fn list(&mut self, list: &ast::CompoundList, words: &Words) {
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
        self.may_still_be_in(&directory);
        for (name, value) in &mut self.variables {
            if variables.get(name) != Some(value) {
                value.certain = false;
            }
        }
    }

    fn and_or(&mut self, list: &ast::AndOrList, words: &Words) {
        let directory = self.directory.clone();
        self.pipeline(&list.first, words);
        self.perhaps(|walker| walker.and_or_rest(&directory, &list.additional, words));
        // A `cd` may have failed.
        self.may_still_be_in(&directory);
    }

    fn and_or_rest(&mut self, directory: &Directory, rest: &[AndOr], words: &Words) {
        for next in rest {
            let pipeline = match next {
                AndOr::And(pipeline) | AndOr::Or(pipeline) => pipeline,
            };
            if matches!(next, AndOr::Or(_)) {
                // What came before has failed, a `cd` perhaps.
                self.may_still_be_in(directory);
            }
            self.inside(Within::Condition, |walker| walker.pipeline(pipeline, words));
        }
    }

    fn may_still_be_in(&mut self, before: &Directory) {
        let mut both = match (&self.directory, before) {
            (Directory::Known(now), Directory::Known(before)) => {
                [now.clone(), before.clone()].concat()
            }
            _ => {
                self.directory = Directory::Unknown;
                return;
            }
        };
        both.sort();
        both.dedup();
        self.directory = if both.len() > DIRECTORIES {
            Directory::Unknown
        } else {
            Directory::Known(both)
        };
    }

    fn pipeline(&mut self, pipeline: &ast::Pipeline, words: &Words) {
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

    fn command(&mut self, command: &Command, words: &Words) {
        match command {
            Command::Simple(simple) => self.simple(simple, words),
            Command::Compound(compound, redirections) => {
                let outer = self.input.clone();
                self.compound_redirections(redirections.as_ref(), words);
                self.compound(compound, words);
                self.input = outer;
            }
            Command::Function(function) => self.function(function, words),
            Command::ExtendedTest(test, redirections) => {
                self.compound_redirections(redirections.as_ref(), words);
                self.test(&test.expr, words);
            }
        }
    }

    fn compound_redirections(&mut self, list: Option<&ast::RedirectList>, words: &Words) {
        let mut started = Started::default();
        for redirection in list.iter().flat_map(|list| &list.0) {
            self.redirection(redirection, &mut started, words);
        }
        if started.input != Input::Inherited {
            self.input = started.input.clone();
        }
        if !started.redirections.is_empty() {
            started.name = "{".to_owned();
            self.push(started);
        }
    }

    fn compound(&mut self, compound: &CompoundCommand, words: &Words) {
        if self.levels >= LEVELS {
            return self.unclear("its commands are nested too deep");
        }
        self.levels += 1;
        self.compound_inside(compound, words);
        self.levels -= 1;
    }

    fn compound_inside(&mut self, compound: &CompoundCommand, words: &Words) {
        match compound {
            CompoundCommand::BraceGroup(group) => self.list(&group.list, words),
            CompoundCommand::Subshell(subshell) => {
                self.apart(Within::Subshell, |walker| {
                    walker.list(&subshell.list, words)
                });
            }
            CompoundCommand::ForClause(clause) => {
                let name = text_of(&words.get(&clause.variable_name));
                let mut choices = Vec::new();
                for value in clause.values.iter().flatten() {
                    choices.extend(self.words(&words.get(&value.value)));
                }
                if clause.values.is_none() {
                    choices.push(unknown(&name));
                }
                self.note(&name, &choices, false);
                let certain = self.values.get(&name).is_some_and(|assigned| {
                    !assigned.out_of_order && assigned.values.len() == choices.len()
                });
                self.variables.insert(name, Value { choices, certain });
                self.inside(Within::Loop, |walker| {
                    walker.perhaps(|walker| walker.list(&clause.body.list, words));
                });
            }
            CompoundCommand::CaseClause(clause) => {
                self.words(&words.get(&clause.value.value));
                for case in &clause.cases {
                    for pattern in &case.patterns {
                        self.words(&words.get(&pattern.value));
                    }
                    if let Some(list) = &case.cmd {
                        self.inside(Within::Condition, |walker| {
                            walker.perhaps(|walker| walker.list(list, words));
                        });
                    }
                }
            }
            CompoundCommand::IfClause(clause) => {
                self.list(&clause.condition, words);
                self.inside(Within::Condition, |walker| {
                    walker.perhaps(|walker| walker.list(&clause.then, words));
                    for part in clause.elses.iter().flatten() {
                        walker.perhaps(|walker| {
                            if let Some(condition) = &part.condition {
                                walker.list(condition, words);
                            }
                            walker.list(&part.body, words);
                        });
                    }
                });
            }
            CompoundCommand::WhileClause(clause) | CompoundCommand::UntilClause(clause) => {
                self.inside(Within::Loop, |walker| {
                    walker.perhaps(|walker| {
                        walker.list(&clause.0, words);
                        walker.list(&clause.1.list, words);
                    });
                });
            }
            CompoundCommand::Coprocess(coprocess) => {
                self.apart(Within::Background, |walker| {
                    walker.command(&coprocess.body, words);
                });
            }
            // The lexer gives the grammar no arithmetic.
            CompoundCommand::Arithmetic(_) | CompoundCommand::ArithmeticForClause(_) => {
                self.unclear("its parentheses are not clear");
            }
        }
    }

    fn function(&mut self, function: &ast::FunctionDefinition, words: &Words) {
        let name = text_of(&words.get(&function.fname.value));
        let before = self.parsed.programs.len();
        let ast::FunctionBody(body, redirections) = &function.body;
        self.apart(Within::Function, |walker| {
            let outer = std::mem::take(&mut walker.input);
            walker.compound_redirections(redirections.as_ref(), words);
            walker.compound(body, words);
            walker.input = outer;
        });
        let body = self.parsed.programs.get(before..).unwrap_or_default();
        let floods = body.iter().any(|started| {
            started.name == name
                && started
                    .within
                    .iter()
                    .any(|place| matches!(place, Within::Pipeline | Within::Background))
        });
        self.parsed.floods |= floods;
    }

    fn test(&mut self, test: &ExtendedTestExpr, words: &Words) {
        match test {
            ExtendedTestExpr::And(left, right) | ExtendedTestExpr::Or(left, right) => {
                self.test(left, words);
                self.test(right, words);
            }
            ExtendedTestExpr::Not(inner) | ExtendedTestExpr::Parenthesized(inner) => {
                self.test(inner, words);
            }
            ExtendedTestExpr::UnaryTest(_, word) => self.substitutions_in(&word.value, words),
            ExtendedTestExpr::BinaryTest(_, left, right) => {
                self.substitutions_in(&left.value, words);
                self.substitutions_in(&right.value, words);
            }
        }
    }

    fn substitutions_in(&mut self, text: &str, words: &Words) {
        for lexed in words.numbers(text) {
            if self.words(lexed).iter().any(wrappers::is_evaluated) {
                self.unclear("a test holds text that the shell may run");
            }
        }
    }

    /// The words that a word becomes; visits the substitutions in it.
    fn words(&mut self, lexed: &Lexed) -> Vec<Word> {
        if let Some(problem) = lexed.suspicious {
            self.unclear(problem);
        }
        for piece in lexed.words.iter().flat_map(|word| &word.pieces) {
            if let Piece::Output { command, .. } = piece {
                let input = std::mem::take(&mut self.input);
                self.apart(Within::Substitution, |walker| walker.text(command));
                self.input = input;
            }
        }
        self.with_values(&lexed.words)
    }

    fn simple(&mut self, simple: &ast::SimpleCommand, words: &Words) {
        let mut started = Started::default();
        let mut all: Vec<Word> = Vec::new();
        let mut is_arithmetic = false;
        let prefix = simple.prefix.iter().flat_map(|prefix| &prefix.0);
        let suffix = simple.suffix.iter().flat_map(|suffix| &suffix.0);
        for item in prefix {
            self.item(item, true, &mut started, &mut all, words);
        }
        if let Some(word) = &simple.word_or_name {
            let lexed = words.get(&word.value);
            is_arithmetic = lexed.arithmetic;
            all.extend(self.words(&lexed));
        }
        for item in suffix {
            self.item(item, false, &mut started, &mut all, words);
        }
        if started.input == Input::Inherited {
            started.input = self.input.clone();
        }
        if is_arithmetic {
            return;
        }
        if all.is_empty() {
            let straight = self.is_straight();
            for (name, value) in &started.assignments.clone() {
                self.assign(name, vec![value.clone()], straight);
            }
            if !started.assignments.is_empty() || !started.redirections.is_empty() {
                self.push(started);
            }
            return;
        }
        wrappers::start(self, all, started);
    }

    fn item(
        &mut self,
        item: &Item,
        is_prefix: bool,
        started: &mut Started,
        all: &mut Vec<Word>,
        words: &Words,
    ) {
        match item {
            Item::Word(word) => all.extend(self.words(&words.get(&word.value))),
            Item::IoRedirect(redirection) => self.redirection(redirection, started, words),
            Item::ProcessSubstitution(_, subshell) => {
                self.apart(Within::Substitution, |walker| {
                    walker.input = Input::Inherited;
                    walker.list(&subshell.list, words);
                });
                all.push(Word::literal("/dev/fd/63"));
            }
            Item::AssignmentWord(assignment, _) => {
                let name = match &assignment.name {
                    ast::AssignmentName::VariableName(name)
                    | ast::AssignmentName::ArrayElementName(name, _) => name.clone(),
                };
                let value = match &assignment.value {
                    AssignmentValue::Scalar(value) => {
                        self.words(&words.get(&value.value)).into_iter().next()
                    }
                    AssignmentValue::Array(elements) => {
                        for (_, element) in elements {
                            self.words(&words.get(&element.value));
                        }
                        Some(unknown(&name))
                    }
                };
                let value = value.unwrap_or_else(|| Word::literal(""));
                if is_prefix {
                    started.assignments.push((name, value));
                } else {
                    let mut word = Word::literal(format!("{name}="));
                    value.pieces.into_iter().for_each(|piece| word.push(piece));
                    all.push(word);
                }
            }
        }
    }

    fn redirection(&mut self, redirection: &IoRedirect, started: &mut Started, words: &Words) {
        let mut file = |walker: &mut Self, access: Access, text: &str| {
            let files = walker.words(&words.get(text));
            let redirections = files.into_iter().map(|file| Redirection { access, file });
            started.redirections.extend(redirections);
        };
        match redirection {
            IoRedirect::OutputAndError(target, _) => file(self, Access::Write, &target.value),
            IoRedirect::HereString(_, word) => {
                let text = self.words(&words.get(&word.value));
                started.input = match text.as_slice() {
                    [word] => word.text().map(Input::Text),
                    _ => None,
                }
                .unwrap_or_else(|| Input::Unknown("a text with unknown parts".to_owned()));
            }
            IoRedirect::HereDocument(_, document) => {
                let text = self.words(&words.get(&document.doc.value));
                started.input = match text.as_slice() {
                    [word] => word.text().map(Input::Text),
                    _ => None,
                }
                .unwrap_or_else(|| Input::Unknown("a text with unknown parts".to_owned()));
            }
            IoRedirect::File(descriptor, kind, target) => {
                let is_input = descriptor.is_none_or(|number| number == 0);
                let access = match kind {
                    IoFileRedirectKind::Read | IoFileRedirectKind::DuplicateInput => Access::Read,
                    _ => Access::Write,
                };
                match target {
                    IoFileRedirectTarget::Fd(_) => {}
                    IoFileRedirectTarget::Filename(name) => {
                        file(self, access, &name.value);
                        if access == Access::Read && is_input
                            || matches!(kind, IoFileRedirectKind::ReadAndWrite)
                        {
                            started.input = Input::Unknown("a file".to_owned());
                        }
                    }
                    IoFileRedirectTarget::Duplicate(word) => {
                        let lexed = words.get(&word.value);
                        let is_descriptor = lexed.plain.as_deref().is_some_and(|plain| {
                            !plain.is_empty()
                                && plain
                                    .trim_end_matches('-')
                                    .bytes()
                                    .all(|b| b.is_ascii_digit())
                        });
                        if !is_descriptor {
                            file(self, access, &word.value);
                        }
                    }
                    IoFileRedirectTarget::ProcessSubstitution(_, subshell) => {
                        self.apart(Within::Substitution, |walker| {
                            walker.list(&subshell.list, words);
                        });
                        started.input = Input::Unknown("what a command prints".to_owned());
                    }
                }
            }
        }
    }

    /// Records a program.
    pub(super) fn push(&mut self, mut started: Started) {
        started.within.clone_from(&self.within);
        started.through.clone_from(&self.through);
        started.directory = self.directory.clone();
        if self.parsed.programs.len() >= PROGRAMS {
            return self.unclear("it starts too many programs");
        }
        self.parsed.programs.push(started);
    }

    /// Where relative paths start now.
    pub(super) fn directory(&mut self) -> &mut Directory {
        &mut self.directory
    }

    /// Runs `visit` with one more program in front of what it starts.
    pub(super) fn through(&mut self, name: &str, visit: impl FnOnce(&mut Self)) {
        if self.through.len() >= NESTED_COMMANDS * 2 {
            return self.unclear("its commands are nested too deep");
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

fn text_of(lexed: &Lexed) -> String {
    lexed.words.first().and_then(Word::text).unwrap_or_default()
}

fn unknown(name: &str) -> Word {
    Word {
        pieces: vec![Piece::Variable {
            name: name.to_owned(),
            quoted: false,
        }],
    }
}
