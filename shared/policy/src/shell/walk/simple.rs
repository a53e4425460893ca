//! Simple commands: their words, assignments and redirections.

use std::rc::Rc;

use brush_parser::ast::{
    self, AssignmentValue, CommandPrefixOrSuffixItem as Item, IoFileRedirectKind,
    IoFileRedirectTarget, IoRedirect,
};

use super::Walker;
use super::values::Output;
use crate::shell::grammar::Words;
use crate::shell::lexer::Lexed;
use crate::shell::word::{Piece, Word};
use crate::shell::{Access, Input, Redirection, Started, Within, wrappers};

impl Walker {
    /// The words that a word becomes; visits the substitutions in it.
    pub(super) fn words(&mut self, lexed: &Lexed) -> Vec<Word> {
        if let Some(problem) = lexed.suspicious {
            self.unclear(problem);
        }
        for piece in lexed.words.iter().flat_map(|word| &word.pieces) {
            if let Piece::Output { command, .. } = piece {
                self.substitution(command);
            }
        }
        let (words, are_several) = self.with_values(&lexed.words);
        self.alternatives |= are_several;
        self.any_alternatives |= are_several;
        words
    }

    /// What an assignment may give a variable. There nothing is split.
    fn assigned(&mut self, name: &str, lexed: &Lexed) -> Vec<Word> {
        let mut whole = lexed.clone();
        self.assigning = Some(name.to_owned());
        for piece in whole.words.iter_mut().flat_map(|word| &mut word.pieces) {
            if let Piece::Variable { quoted, .. } | Piece::Output { quoted, .. } = piece {
                *quoted = true;
            }
        }
        let mut values = self.words(&whole);
        self.assigning = None;
        if values.is_empty() {
            values.push(Word::literal(""));
        }
        values
    }

    pub(super) fn substitution(&mut self, command: &str) {
        let before = self.parsed.programs.len();
        let input = std::mem::take(&mut self.input);
        let outer = std::mem::replace(&mut self.any_alternatives, false);
        self.apart(Within::Substitution, |walker| walker.text(command));
        self.input = input;
        let are_several = std::mem::replace(&mut self.any_alternatives, outer);
        let programs = self.parsed.programs.get(before..).unwrap_or_default();
        // A function or an alias may print anything.
        let is_program = programs
            .iter()
            .all(|started| !self.is_defined(&started.name));
        if is_program && let Some(word) = wrappers::output(programs) {
            let output = Output { word, are_several };
            self.outputs.insert(command.to_owned(), output);
        }
    }

    pub(super) fn simple(&mut self, simple: &ast::SimpleCommand, words: &Rc<Words>) {
        let outer = std::mem::replace(&mut self.alternatives, false);
        self.simple_inside(simple, words);
        self.alternatives = outer;
    }

    fn simple_inside(&mut self, simple: &ast::SimpleCommand, words: &Rc<Words>) {
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
            let mut names: Vec<&String> =
                started.assignments.iter().map(|(name, _)| name).collect();
            names.dedup();
            for name in names {
                let of_it = started.assignments.iter().filter(|(of, _)| of == name);
                let choices = of_it.map(|(_, value)| value.clone()).collect();
                self.assign(name, choices, straight);
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
        words: &Rc<Words>,
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
                let values = match &assignment.value {
                    AssignmentValue::Scalar(value) => {
                        self.assigned(&name, &words.get(&value.value))
                    }
                    AssignmentValue::Array(elements) => {
                        for (_, element) in elements {
                            self.words(&words.get(&element.value));
                        }
                        vec![Word::unknown(&name)]
                    }
                };
                for value in values {
                    if is_prefix {
                        started.assignments.push((name.clone(), value));
                    } else {
                        let mut word = Word::literal(format!("{name}="));
                        value.pieces.into_iter().for_each(|piece| word.push(piece));
                        all.push(word);
                    }
                }
            }
        }
    }

    pub(super) fn redirection(
        &mut self,
        redirection: &IoRedirect,
        started: &mut Started,
        words: &Rc<Words>,
    ) {
        let mut file = |walker: &mut Self, access: Access, text: &str| {
            let files = walker.words(&words.get(text));
            let redirections = files.into_iter().map(|file| Redirection { access, file });
            started.redirections.extend(redirections);
        };
        match redirection {
            IoRedirect::OutputAndError(target, _) => file(self, Access::Write, &target.value),
            IoRedirect::HereString(_, word) => {
                let text = self.words(&words.get(&word.value));
                started.input = input_of(&text);
            }
            IoRedirect::HereDocument(_, document) => {
                let text = self.words(&words.get(&document.doc.value));
                started.input = input_of(&text);
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
}

pub(super) fn text_of(lexed: &Lexed) -> String {
    lexed.words.first().and_then(Word::text).unwrap_or_default()
}

/// The input that these words, of a here-document or a here-string, are.
fn input_of(words: &[Word]) -> Input {
    match words {
        [] => Input::Text(String::new()),
        [word] => word
            .text()
            .map_or_else(|| Input::Partly(word.as_text()), Input::Text),
        several => Input::Partly(
            several
                .iter()
                .map(Word::as_text)
                .collect::<Vec<_>>()
                .join("\n"),
        ),
    }
}
