//! Compound commands: groups, loops, conditions and tests.

use std::rc::Rc;

use brush_parser::ast::{self, Command, CompoundCommand, ExtendedTestExpr};

use super::simple::text_of;
use super::values::Value;
use super::{LEVELS, Walker};
use crate::shell::grammar::Words;
use crate::shell::variables::changes_programs;
use crate::shell::{Directory, Input, Started, Within, wrappers};

/// Most visits of a loop that changes the directory.
const ROUNDS: usize = 4;
/// Most bodies of loops and functions that are visited again in one command.
pub(super) const AGAIN: usize = 96;

impl Walker {
    pub(super) fn command(&mut self, command: &Command, words: &Rc<Words>) {
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

    pub(super) fn compound_redirections(
        &mut self,
        list: Option<&ast::RedirectList>,
        words: &Rc<Words>,
    ) {
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

    pub(super) fn compound(&mut self, compound: &CompoundCommand, words: &Rc<Words>) {
        if self.levels >= LEVELS {
            return self.leave_out("its commands are nested too deep");
        }
        self.levels += 1;
        self.compound_inside(compound, words);
        self.levels -= 1;
    }

    fn compound_inside(&mut self, compound: &CompoundCommand, words: &Rc<Words>) {
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
                    choices.extend(self.parameters());
                }
                if changes_programs(&name, None) {
                    let values = choices.iter().map(|value| (name.clone(), value.clone()));
                    self.push(Started {
                        assignments: values.collect(),
                        ..Started::default()
                    });
                }
                self.note(&name, &choices, false);
                let certain = self.values.get(&name).is_some_and(|assigned| {
                    !assigned.out_of_order && assigned.values.len() == choices.len()
                });
                self.variables.insert(name, Value { choices, certain });
                self.repeated(|walker| walker.list(&clause.body.list, words));
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
                self.repeated(|walker| {
                    walker.list(&clause.0, words);
                    walker.list(&clause.1.list, words);
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

    /// Visits the body of a loop, again while it changes the directory that it starts in.
    fn repeated(&mut self, visit: impl Fn(&mut Self)) {
        for round in 1.. {
            let before = self.parsed.programs.len();
            let directory = self.directory.clone();
            let piped: Vec<usize> = self.calls.iter().map(|call| call.piped).collect();
            self.inside(Within::Loop, |walker| walker.perhaps(&visit));
            if self.directory == directory {
                return;
            }
            for (call, before) in self.calls.iter_mut().zip(piped) {
                call.piped = before;
            }
            self.again += 1;
            if round < ROUNDS && self.again < AGAIN {
                // It starts in more directories, of which the ones so far are some.
                self.parsed.programs.truncate(before);
            } else {
                self.directory.or(&Directory::Unknown);
                return self.inside(Within::Loop, visit);
            }
        }
    }

    fn test(&mut self, test: &ExtendedTestExpr, words: &Rc<Words>) {
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

    fn substitutions_in(&mut self, text: &str, words: &Rc<Words>) {
        for lexed in words.numbers(text) {
            if self.words(lexed).iter().any(wrappers::is_evaluated) {
                self.unclear("a test holds text that the shell may run");
            }
        }
    }
}
