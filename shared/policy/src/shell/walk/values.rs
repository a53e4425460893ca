//! Variables: what the command itself sets them to.

use super::Walker;
use super::functions::is_several;
use crate::shell::word::{Piece, Word};
use crate::shell::{Within, lexer};

/// Most words that the values of variables may make of one.
const CHOICES: usize = 32;
/// Most variables with known values in one word; more are left as unknown.
const SET: usize = 32;

/// What a variable is set to, somewhere in the command.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Assigned {
    pub(super) values: Vec<Word>,
    /// It is set where the order of events is not the order of the text.
    pub(super) out_of_order: bool,
}

/// What a substitution prints.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub(super) words: Vec<Word>,
    /// It may be each of them, or one of the words in them.
    pub(super) are_several: bool,
}

/// What a variable is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) choices: Vec<Word>,
    pub(super) certain: bool,
}

impl Walker {
    pub(in crate::shell) fn assign(&mut self, name: &str, choices: Vec<Word>, straight: bool) {
        for text in choices.iter().filter_map(Word::text) {
            // `a[$(...)]` in a value runs when the value is used in arithmetic, and everything does
            // in `${a@P}`.
            if text.contains("$(") || text.contains('`') {
                self.unclear("a variable holds text that a shell may run");
                self.substitutions_of(&text);
            }
            if RUN_BY_SHELLS.contains(&name) {
                self.same_shell(&text, name);
            }
        }
        if name == "GLOBIGNORE" {
            self.find_hidden();
        }
        self.note(name, &choices, !straight);
        let value = Value {
            choices,
            certain: straight,
        };
        self.variables.insert(name.to_owned(), value);
    }

    fn substitutions_of(&mut self, text: &str) {
        let Ok(word) = lexer::expansions(text) else {
            return self.salvage(text);
        };
        for piece in &word.pieces {
            if let Piece::Output { command, .. } = piece {
                self.substitution(command);
            }
        }
    }

    /// The variables of a program that is a shell: they are set in what it runs.
    pub(in crate::shell) fn pass(&mut self, assignments: &[(String, Word)]) {
        for (name, value) in assignments {
            if let Some(text) = value.text().filter(|text| text.contains("$(")) {
                self.substitutions_of(&text);
            }
            self.note(name, std::slice::from_ref(value), true);
        }
    }

    pub(super) fn note(&mut self, name: &str, values: &[Word], out_of_order: bool) {
        let assigned = self.history.entry(name.to_owned()).or_default();
        for value in values {
            if assigned.values.len() < CHOICES && !assigned.values.contains(value) {
                assigned.values.push(value.clone());
            }
        }
        assigned.out_of_order |= out_of_order;
    }

    /// Variables replaced by what they are set to: all that a word may be, each none, one or several
    /// words.
    pub(super) fn ways(&self, word: &Word) -> Vec<Vec<Word>> {
        let set = word.pieces.iter().filter(|piece| self.is_set(piece));
        let set = set.count();
        // Each way: words that are finished, and the one that is being made.
        let mut made = vec![(Vec::new(), Word::default())];
        if set == 0 || set > SET {
            made = vec![(Vec::new(), word.clone())];
        } else {
            for piece in &word.pieces {
                let choices = self.choices(piece);
                made = made
                    .iter()
                    .flat_map(|start| choices.iter().map(|choice| append(start, choice)))
                    .collect();
                if made.len() > CHOICES {
                    made = vec![(Vec::new(), word.clone())];
                    break;
                }
            }
        }
        let mut ways: Vec<Vec<Word>> = Vec::new();
        for (mut finished, last) in made {
            finished.push(last);
            finished.retain(|word| !word.pieces.is_empty());
            let way = self.with_hidden(finished);
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        ways
    }

    /// What a word may be.
    pub(in crate::shell) fn values_of(&self, word: &Word) -> Vec<Word> {
        self.ways(word).into_iter().flatten().collect()
    }

    fn is_set(&self, piece: &Piece) -> bool {
        match piece {
            Piece::Home => self.values.contains_key("HOME"),
            Piece::Here => self.values.contains_key("PWD"),
            Piece::Output { command, .. } => self.outputs.contains_key(command),
            Piece::Variable { name, .. } => {
                let (base, operator) = expansion(name);
                name == "IFS"
                    || self.values.contains_key(base)
                    || operator.is_empty() && self.parameter(name).is_some()
                    || default(operator).is_some()
                    || base == "!"
            }
            _ => false,
        }
    }

    /// What a part of a word may be: each a list of words, of which the first continues the word.
    fn choices(&self, piece: &Piece) -> Vec<Vec<Word>> {
        let as_is = vec![Word {
            pieces: vec![piece.clone()],
        }];
        let (name, quoted) = match piece {
            // Set to something else, it is not what it is otherwise.
            Piece::Home | Piece::Here if self.is_set(piece) => {
                let name = if *piece == Piece::Home { "HOME" } else { "PWD" };
                let mut all = self.noted(name, true);
                all.extend(self.noted(name, false));
                all.dedup();
                all.push(as_is);
                all.push(vec![Word::unknown(name)]);
                return all;
            }
            Piece::Output { command, quoted } => {
                let Some(Output { words, are_several }) = self.outputs.get(command) else {
                    return vec![as_is];
                };
                let known = words.iter().take(CHOICES / 2);
                let mut all: Vec<_> = known.map(|word| split(word, *quoted, "")).collect();
                if *are_several {
                    let parts = words.iter().flat_map(words_of).take(CHOICES / 2);
                    all.extend(parts.map(|word| vec![word]));
                    all.push(as_is);
                }
                return all;
            }
            Piece::Variable { name, quoted } => (name, *quoted),
            _ => return vec![as_is],
        };
        let (base, operator) = expansion(name);
        if base == "!" {
            // It is the value of any variable.
            let all = self.values.keys().flat_map(|name| self.noted(name, quoted));
            let mut all: Vec<_> = all.take(CHOICES - 1).collect();
            all.push(as_is);
            return all;
        }
        if operator.starts_with('[') {
            // One element of an array, or all.
            let mut all = self.noted(base, false);
            let words: Vec<Word> = all.iter().flatten().cloned().collect();
            all.extend(words.into_iter().take(CHOICES / 2).map(|word| vec![word]));
            all.push(as_is);
            return all;
        }
        if !operator.is_empty() {
            let mut all: Vec<_> = match default(operator) {
                Some("") | None => Vec::new(),
                Some(text) => vec![split(&Word::literal(text), quoted, "")],
            };
            all.extend(self.noted(base, quoted));
            all.push(as_is);
            return all;
        }
        if let Some(words) = self.parameter(name) {
            if quoted {
                return vec![words];
            }
            return vec![
                words
                    .iter()
                    .flat_map(|word| split(word, false, ""))
                    .collect(),
            ];
        }
        let Some(assigned) = self.values.get(name) else {
            // Unless it is set, it separates words.
            let blank = vec![Word::default(), Word::default()];
            return vec![if name == "IFS" && !quoted {
                blank
            } else {
                as_is
            }];
        };
        match self.variables.get(name) {
            // A function runs later, when it may be something else.
            Some(value)
                if value.certain
                    && !assigned.out_of_order
                    && !self.within.contains(&Within::Function)
                    && !self.values.contains_key("IFS") =>
            {
                let choices = value.choices.iter();
                choices.map(|value| split(value, quoted, "")).collect()
            }
            _ => {
                let quoted = quoted && !is_several(piece);
                let mut all = self.noted(name, quoted);
                all.push(as_is);
                all
            }
        }
    }

    /// All that a variable is set to anywhere.
    fn noted(&self, name: &str, quoted: bool) -> Vec<Vec<Word>> {
        let values = self.values.get(name).map(|assigned| &assigned.values);
        let separators: String = match self.values.get("IFS") {
            Some(ifs) if !quoted => ifs.values.iter().filter_map(Word::text).collect(),
            _ => String::new(),
        };
        let mut all = Vec::new();
        let is_assigned = self.assigning.as_deref() == Some(name);
        for value in values.into_iter().flatten() {
            // A value with itself in it would grow with each visit.
            if is_assigned && value.pieces.iter().any(|piece| is_of(piece, name)) {
                continue;
            }
            all.push(split(value, quoted, ""));
            if !separators.is_empty() {
                all.push(split(value, quoted, &separators));
            }
        }
        all
    }

    /// With `dotglob`, a pattern finds names that start with a dot too.
    fn with_hidden(&self, words: Vec<Word>) -> Vec<Word> {
        if !self.values.contains_key(HIDDEN) {
            return words;
        }
        let mut all = Vec::new();
        for word in words {
            let mut hidden = Word::default();
            for piece in &word.pieces {
                let starts_name = match hidden.pieces.last() {
                    None => true,
                    Some(Piece::Literal(text)) => text.ends_with('/'),
                    Some(_) => false,
                };
                if starts_name && matches!(piece, Piece::Pattern(_)) {
                    hidden.push(Piece::Literal(".".to_owned()));
                }
                hidden.push(piece.clone());
            }
            let differs = hidden != word;
            all.push(word);
            all.extend(differs.then_some(hidden));
        }
        all
    }

    /// A setting by which patterns find names that start with a dot.
    pub(in crate::shell) fn find_hidden(&mut self) {
        self.note(HIDDEN, &[], true);
    }
}

/// Stands among the variables for `shopt -s dotglob`. No variable is called so.
const HIDDEN: &str = "dotglob ";

/// Variables whose values shells run.
const RUN_BY_SHELLS: [&str; 2] = ["PROMPT_COMMAND", "BASH_ENV"];

fn is_of(piece: &Piece, variable: &str) -> bool {
    matches!(piece, Piece::Variable { name, .. } if name == variable)
}

/// The name in `name:-text`, and what follows it.
fn expansion(text: &str) -> (&str, &str) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = match text.chars().next() {
        Some('!' | '@' | '*') => 1,
        _ => text.find(|c| !is_name(c)).unwrap_or(text.len()),
    };
    text.split_at(end)
}

/// The text of `:-text` and the like.
fn default(operator: &str) -> Option<&str> {
    let operator = operator.strip_prefix(':').unwrap_or(operator);
    operator.strip_prefix(['-', '=', '+'])
}

/// The words of a value outside quotes.
pub(super) fn words_of(value: &Word) -> Vec<Word> {
    split(value, false, "")
}

/// The words that a value makes: one inside quotes, else one for each stretch without blanks and
/// other separators. An unquoted value is a pattern again.
fn split(value: &Word, quoted: bool, separators: &str) -> Vec<Word> {
    if quoted {
        return vec![value.clone()];
    }
    let mut words = vec![Word::default()];
    for piece in &value.pieces {
        let Piece::Literal(text) = piece else {
            if let Some(last) = words.last_mut() {
                last.push(piece.clone());
            }
            continue;
        };
        for c in text.chars() {
            if c.is_ascii_whitespace() || separators.contains(c) {
                // One at an end separates from what is beside the variable.
                if words.len() == 1 || words.last().is_some_and(|last| !last.pieces.is_empty()) {
                    words.push(Word::default());
                }
                continue;
            }
            let piece = match c {
                '?' => Piece::Pattern("?".to_owned()),
                '*' | '[' => Piece::Pattern("*".to_owned()),
                c => Piece::Literal(c.to_string()),
            };
            if let Some(last) = words.last_mut() {
                last.push(piece);
            }
        }
    }
    words
}

/// `start` continued by the first of `words`, and the others.
fn append(start: &(Vec<Word>, Word), words: &[Word]) -> (Vec<Word>, Word) {
    let (mut finished, mut current) = start.clone();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            finished.push(std::mem::take(&mut current));
        }
        for piece in &word.pieces {
            current.push(piece.clone());
        }
    }
    (finished, current)
}
