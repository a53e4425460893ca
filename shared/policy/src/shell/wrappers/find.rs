//! `find`: where it looks, what it finds, and what it starts for that.

use super::options::{is, replaced};
use super::start;
use crate::shell::Started;
use crate::shell::walk::Walker;
use crate::shell::word::{Piece, Word};

/// `find`, with what `-exec` starts for each file.
pub(super) fn find(walker: &mut Walker, started: Started) {
    let arguments = started.arguments.clone();
    walker.push(started);
    let runs = [
        "-exec",
        "-execdir",
        "-ok",
        "-okdir",
        "-x",
        "-X",
        "--exec",
        "--exec-batch",
    ];
    let files = found(&arguments);
    let mut index = 0;
    while index < arguments.len() {
        let starts = arguments[index]
            .text()
            .is_some_and(|text| runs.contains(&text.as_str()));
        index += 1;
        if !starts {
            continue;
        }
        let end = arguments[index..]
            .iter()
            .position(|word| is(Some(word), ";") || is(Some(word), "+"))
            .map_or(arguments.len(), |offset| index + offset);
        let words: Vec<Word> = arguments[index..end]
            .iter()
            .flat_map(|word| replaced(word, "{}", &files))
            .collect();
        walker.through("find", |walker| start(walker, words, Started::default()));
        index = end;
    }
}

/// The pattern for what `find` finds when it looks for something.
pub(crate) const SOMETHING: &str = "**";

/// Tests by which `find` finds something, and not everything.
const TESTS: &[&str] = &[
    "-amin",
    "-atime",
    "-cmin",
    "-ctime",
    "-empty",
    "-iname",
    "-ipath",
    "-iregex",
    "-mmin",
    "-mtime",
    "-name",
    "-newer",
    "-path",
    "-perm",
    "-regex",
    "-size",
    "-wholename",
];

/// What `find` finds: something below each directory it starts in.
pub(crate) fn found(arguments: &[Word]) -> Vec<Word> {
    let tests = arguments
        .iter()
        .any(|word| TESTS.iter().any(|test| is(Some(word), test)));
    let pattern = if tests { SOMETHING } else { "*" };
    roots(arguments)
        .into_iter()
        .map(|mut root| {
            root.push(Piece::Literal("/".to_owned()));
            root.push(Piece::Pattern(pattern.to_owned()));
            root
        })
        .collect()
}

/// The directories that `find` starts in.
pub(crate) fn roots(arguments: &[Word]) -> Vec<Word> {
    let roots: Vec<Word> = arguments
        .iter()
        .skip_while(|word| {
            ["-H", "-L", "-P"]
                .iter()
                .any(|option| is(Some(word), option))
        })
        .take_while(|word| !word.literal_start().starts_with(['-', '(', '!']))
        .cloned()
        .collect();
    if roots.is_empty() {
        vec![Word::literal(".")]
    } else {
        roots
    }
}
