//! Programs that start others with arguments that they find: `xargs`, `parallel`, `find`.

use super::find::find;
use super::shells::run_text;
use super::words::{joined, replaced};
use super::{begin, not_known};
use crate::shell::options::Options;
use crate::shell::walk::Walker;
use crate::shell::word::Word;
use crate::shell::{Input, Started};

const XARGS: Options = Options::leading(
    "0a<d:E:e?I:i?J:L:l?n:oP:prR:s:S:tx",
    "null arg-file< delimiter: eof? replace? max-lines? max-args: open-tty max-procs: interactive
     process-slot-var: no-run-if-empty max-chars: show-limits verbose exit",
);

const PARALLEL: Options = Options::leading(
    "0a<C:d:I:j:kL:l?mn:N:P:qrs:tuvX",
    "arg-file< arg-sep: bar bg block: colsep: delay: delimiter: dry-run eta fg group halt: jobs:
     joblog> keep-order line-buffer load: max-args: max-chars: max-lines? max-procs: nice: no-notice
     no-run-if-empty null pipe progress quote results> resume retries: round-robin tag tagstring:
     timeout: tmpdir> trim: ungroup verbose will-cite xargs",
);

/// Most inputs of `parallel` that are looked at one by one.
const INPUTS: usize = 16;

/// Whether a program of this name starts others with what it finds.
pub(super) fn is_one(name: &str) -> bool {
    ["fd", "fdfind", "find", "parallel", "xargs"].contains(&name)
}

/// Visits what a program of this name starts, if it is one of these.
pub(super) fn supplies(walker: &mut Walker, name: &str, started: &Started) -> bool {
    match name {
        "xargs" => xargs(walker, started.clone()),
        "parallel" => parallel(walker, started),
        "find" | "fd" | "fdfind" => find(walker, name, started.clone()),
        _ => return false,
    }
    true
}

fn xargs(walker: &mut Walker, mut started: Started) {
    let mut given = XARGS.read(&started.arguments);
    if given.operands.is_empty() {
        return walker.push(started);
    }
    let from_file = given.has(&["a", "arg-file"]);
    let supplied: Vec<Word> = match &started.input {
        Input::Text(text) if !from_file && !text.contains(['\\', '\'', '"']) => {
            text.split_whitespace().map(Word::literal).collect()
        }
        Input::Partly(text) if !from_file => {
            let known = text.split_whitespace().filter(|word| !word.contains('$'));
            let mut words: Vec<Word> = known.map(Word::literal).collect();
            words.push(Word::supplied());
            words
        }
        _ => vec![Word::supplied()],
    };
    let place = ["I", "i", "J", "replace"]
        .into_iter()
        .find(|option| given.has(&[option]));
    let place = place.map(|option| match given.value(&[option]) {
        Some(place) => place.text().unwrap_or_default(),
        None => "{}".to_owned(),
    });
    let words = std::mem::take(&mut given.operands);
    given.operands = match place {
        Some(place) => words
            .iter()
            .flat_map(|word| replaced(word, &place, &supplied))
            .collect(),
        None => [words, supplied].concat(),
    };
    started.input = Input::Inherited;
    started.assignments.clear();
    begin(walker, "xargs", &given, 0, started);
}

/// `parallel` gives a shell what it is told, for each of its inputs.
fn parallel(walker: &mut Walker, started: &Started) {
    let is_separator = |word: &Word| word.literal_start().starts_with(":::");
    let end = started.arguments.iter().position(is_separator);
    let (words, inputs) = started
        .arguments
        .split_at(end.unwrap_or(started.arguments.len()));
    let given = PARALLEL.read(words);
    let files = given.written.iter().chain(&given.read).count() > 0;
    if files || !given.strange.is_empty() {
        not_known(walker, started);
    }
    let only_values = !inputs.iter().any(|word| {
        let start = word.literal_start();
        start.starts_with("::::") || start == ":::+"
    });
    let mut values: Vec<Word> = inputs
        .iter()
        .filter(|word| !is_separator(word))
        .take(INPUTS)
        .cloned()
        .collect();
    if values.is_empty() || !only_values || inputs.len() > INPUTS {
        values.push(Word::supplied());
    }
    let text = joined(&given.operands);
    let holds = |text: &Word| text.shown().contains('{');
    for value in values {
        let whole = if given.operands.is_empty() {
            value
        } else if !holds(&text) {
            joined(&[text.clone(), value])
        } else {
            let mut words = replaced(&text, "{}", &[value]);
            words.pop().unwrap_or_default()
        };
        // A program with something that is supplied is known; it is as if `xargs` started it.
        run_supplied(walker, &whole, started);
    }
}

fn run_supplied(walker: &mut Walker, whole: &Word, started: &Started) {
    let inner = Started {
        redirections: started.redirections.clone(),
        ..Started::default()
    };
    if whole.text().is_none()
        && whole
            .pieces
            .last()
            .is_some_and(|piece| matches!(piece, crate::shell::word::Piece::Supplied))
    {
        return walker.other_shell(&whole.as_text(), "parallel", Input::Inherited, &[]);
    }
    run_text(walker, whole, "parallel", &inner, &[]);
}
