//! `find`: where it looks, what it finds, and what it starts for that.

use super::start;
use super::words::{is, replaced};
use crate::shell::Started;
use crate::shell::options::Options;
use crate::shell::walk::Walker;
use crate::shell::word::{Piece, Word};

/// Options of `find` and `fd` that start a program, behind which its words follow.
const RUNS: &[&str] = &[
    "-exec",
    "-execdir",
    "-ok",
    "-okdir",
    "-x",
    "-X",
    "--exec",
    "--exec-batch",
];

/// `find` and `fd`, with what they start for each file.
pub(super) fn find(walker: &mut Walker, name: &str, started: Started) {
    let arguments = started.arguments.clone();
    walker.push(started);
    let is_find = name == "find";
    let files = found(&arguments, is_find);
    let mut index = 0;
    while index < arguments.len() {
        let start = arguments[index].literal_start();
        // `fd -Hx`: the last letter.
        let in_cluster = !is_find && !start.starts_with("--") && start.ends_with(['x', 'X']);
        let starts = RUNS.contains(&start) || start.starts_with('-') && in_cluster;
        index += 1;
        if !starts {
            continue;
        }
        let end = arguments[index..]
            .iter()
            .position(|word| is(Some(word), ";") || is_find && is(Some(word), "+"))
            .map_or(arguments.len(), |offset| index + offset);
        let told = &arguments[index..end];
        let mut words: Vec<Word> = told
            .iter()
            .flat_map(|word| replaced(word, "{}", &files))
            .collect();
        if !is_find && words == told {
            words.extend(files.iter().cloned());
        }
        walker.through("find", |walker| start_found(walker, words));
        index = end;
    }
}

fn start_found(walker: &mut Walker, words: Vec<Word>) {
    start(walker, words, Started::default());
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

/// What `find` finds, or `fd`: something below each directory it starts in.
pub(crate) fn found(arguments: &[Word], is_find: bool) -> Vec<Word> {
    let tests = !is_find
        || arguments
            .iter()
            .any(|word| TESTS.iter().any(|test| is(Some(word), test)));
    let pattern = if tests { SOMETHING } else { "*" };
    let roots = if is_find {
        roots(arguments)
    } else {
        fd_roots(arguments)
    };
    roots
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

/// Options of `fd`.
pub(crate) const FD: Options = Options::new(
    "HIuUsigFaplLq10x:X:d:t:e:E:S:c:j:o:",
    "hidden no-ignore unrestricted case-sensitive ignore-case glob fixed-strings absolute-path
     full-path follow print0 max-depth: min-depth: exact-depth: type: extension: exclude: size: color:
     threads: owner: changed-within: changed-before: max-results: list-details quiet exec: exec-batch:
     and: no-ignore-vcs one-file-system",
);

/// The directories that `fd` starts in: all operands but the pattern.
pub(crate) fn fd_roots(arguments: &[Word]) -> Vec<Word> {
    let runs = |word: &&Word| !RUNS.contains(&word.literal_start());
    let before: Vec<Word> = arguments.iter().take_while(runs).cloned().collect();
    let operands = FD.read(&before).operands;
    match operands.get(1..) {
        Some(roots) if !roots.is_empty() => roots.to_vec(),
        _ => vec![Word::literal(".")],
    }
}
