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

/// Most ways to read one command whose program depends on them.
const COMBINED: usize = 32;

impl Walker {
    /// The words that a word becomes, all that it may be in one list; visits the substitutions in it.
    pub(super) fn words(&mut self, lexed: &Lexed) -> Vec<Word> {
        let ways = self.word_ways(lexed).into_iter();
        ways.flatten().flatten().collect()
    }

    /// The same with what it may be told apart.
    fn word_ways(&mut self, lexed: &Lexed) -> Vec<Vec<Vec<Word>>> {
        if let Some(problem) = lexed.suspicious {
            self.unclear(problem);
        }
        for piece in lexed.words.iter().flat_map(|word| &word.pieces) {
            if let Piece::Output { command, .. } = piece {
                self.substitution(command);
            }
        }
        let mut ways = Vec::new();
        for word in &lexed.words {
            let of_word = self.ways(word);
            self.alternatives |= of_word.len() > 1;
            self.any_alternatives |= of_word.len() > 1;
            ways.push(of_word);
        }
        ways
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
        // A function or an alias may print anything, and files may be made elsewhere.
        let is_moved = self.values.contains_key("TMPDIR");
        let is_program = programs.iter().all(|started| {
            !(self.is_defined(&started.name) || is_moved && started.name == "mktemp")
        });
        if is_program && let Some(words) = wrappers::output(programs) {
            let output = Output {
                are_several: are_several || words.len() != 1,
                words,
            };
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
        let mut all: Vec<Vec<Vec<Word>>> = Vec::new();
        let mut is_arithmetic = false;
        let prefix = simple.prefix.iter().flat_map(|prefix| &prefix.0);
        let suffix = simple.suffix.iter().flat_map(|suffix| &suffix.0);
        for item in prefix {
            self.item(item, true, &mut started, &mut all, words);
        }
        if let Some(word) = &simple.word_or_name {
            let lexed = words.get(&word.value);
            is_arithmetic = lexed.arithmetic;
            all.extend(self.word_ways(&lexed));
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
        let flat: Vec<Word> = all.iter().flatten().flatten().cloned().collect();
        if flat.is_empty() {
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
        // Which program it is must be told apart, and in a wrapper that can be any word.
        let first_is_certain = all.first().is_some_and(|ways| ways.len() == 1);
        // So must what is printed for another program to read.
        let is_read = |place: &Within| matches!(place, Within::Pipeline | Within::Substitution);
        let told_apart = flat.first().is_some_and(|word| {
            wrappers::starts_others(word)
                || self.within.iter().any(is_read) && wrappers::prints(word)
        });
        if first_is_certain && !told_apart {
            return wrappers::start(self, flat, started);
        }
        let combined: usize = all.iter().map(Vec::len).fold(1, usize::saturating_mul);
        if combined > COMBINED {
            let problem = "which programs it starts can be too many";
            self.leave_out(problem);
            return wrappers::start(self, flat, started);
        }
        let mut lines: Vec<Vec<Word>> = vec![Vec::new()];
        for ways in &all {
            if let [only] = ways.as_slice() {
                lines
                    .iter_mut()
                    .for_each(|line| line.extend_from_slice(only));
                continue;
            }
            lines = lines
                .iter()
                .flat_map(|line| ways.iter().map(|way| [line.as_slice(), way].concat()))
                .collect();
        }
        for line in lines {
            wrappers::start(self, line, started.clone());
        }
    }

    fn item(
        &mut self,
        item: &Item,
        is_prefix: bool,
        started: &mut Started,
        all: &mut Vec<Vec<Vec<Word>>>,
        words: &Rc<Words>,
    ) {
        match item {
            Item::Word(word) => all.extend(self.word_ways(&words.get(&word.value))),
            Item::IoRedirect(redirection) => self.redirection(redirection, started, words),
            Item::ProcessSubstitution(_, subshell) => {
                self.apart(Within::Substitution, |walker| {
                    walker.input = Input::Inherited;
                    walker.list(&subshell.list, words);
                });
                all.push(vec![vec![Word::literal("/dev/fd/63")]]);
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
                        let mut all = Vec::new();
                        for (_, element) in elements {
                            all.extend(self.words(&words.get(&element.value)));
                        }
                        self.note(&name, &[wrappers::joined(&all)], true);
                        vec![Word::unknown(&name)]
                    }
                };
                let mut ways = Vec::new();
                for value in values {
                    if is_prefix {
                        started.assignments.push((name.clone(), value));
                    } else {
                        let mut word = Word::literal(format!("{name}="));
                        value.pieces.into_iter().for_each(|piece| word.push(piece));
                        ways.push(vec![word]);
                    }
                }
                if !is_prefix {
                    all.push(ways);
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
