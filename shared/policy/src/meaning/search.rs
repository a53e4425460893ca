//! Programs that look for files.

use super::Known;
use crate::shell::wrappers::{FD, fd_roots, found, is, roots};
use crate::shell::{Access, Word};

/// Words of an expression of `find` that only look or print, and whether a value follows.
const FINDS: &[(&str, bool)] = &[
    ("!", false),
    ("(", false),
    (")", false),
    (",", false),
    ("-a", false),
    ("-amin", true),
    ("-and", false),
    ("-anewer", true),
    ("-atime", true),
    ("-cmin", true),
    ("-cnewer", true),
    ("-ctime", true),
    ("-d", false),
    ("-daystart", false),
    ("-depth", false),
    ("-empty", false),
    ("-executable", false),
    ("-false", false),
    ("-follow", false),
    ("-fstype", true),
    ("-gid", true),
    ("-group", true),
    ("-ignore_readdir_race", false),
    ("-ilname", true),
    ("-iname", true),
    ("-inum", true),
    ("-ipath", true),
    ("-iregex", true),
    ("-iwholename", true),
    ("-links", true),
    ("-lname", true),
    ("-ls", false),
    ("-maxdepth", true),
    ("-mindepth", true),
    ("-mmin", true),
    ("-mount", false),
    ("-mtime", true),
    ("-name", true),
    ("-nogroup", false),
    ("-noleaf", false),
    ("-not", false),
    ("-nouser", false),
    ("-nowarn", false),
    ("-o", false),
    ("-or", false),
    ("-path", true),
    ("-perm", true),
    ("-print", false),
    ("-print0", false),
    ("-printf", true),
    ("-prune", false),
    ("-quit", false),
    ("-readable", false),
    ("-regex", true),
    ("-regextype", true),
    ("-samefile", true),
    ("-size", true),
    ("-true", false),
    ("-type", true),
    ("-uid", true),
    ("-used", true),
    ("-user", true),
    ("-warn", false),
    ("-wholename", true),
    ("-writable", false),
    ("-xdev", false),
    ("-xtype", true),
];

/// Words of it that start a program, whose words follow.
const RUNS: [&str; 4] = ["-exec", "-execdir", "-ok", "-okdir"];

/// Words of it by which it writes into a file.
const WRITES: [&str; 4] = ["-fprint", "-fprint0", "-fprintf", "-fls"];

pub(super) fn find(arguments: &[Word], known: &mut Known) {
    known.complete = true;
    let roots = roots(arguments);
    let leading = |word: &Word| {
        ["-H", "-L", "-P"]
            .iter()
            .any(|option| is(Some(word), option))
    };
    let before = arguments.iter().take_while(|word| leading(word)).count();
    let is_root = |word: &Word| !word.literal_start().starts_with(['-', '(', '!']);
    let start = before
        + arguments[before..]
            .iter()
            .take_while(|word| is_root(word))
            .count();
    let mut reads = true;
    let mut deletes = false;
    let mut words = arguments[start..].iter();
    while let Some(word) = words.next() {
        let text = word.text().unwrap_or_default();
        if let Some((_, has_value)) = FINDS.iter().find(|(name, _)| *name == text) {
            if *has_value {
                words.next();
            }
        } else if text.starts_with("-newer") {
            words.next();
        } else if RUNS.contains(&text.as_str()) {
            // What it runs is a program of its own.
            words.find(|word| is(Some(word), ";") || is(Some(word), "+"));
        } else if WRITES.contains(&text.as_str()) {
            reads = false;
            known
                .files
                .extend(words.next().map(|file| (Access::Write, file.clone())));
            if text == "-fprintf" {
                words.next();
            }
        } else if text == "-files0-from" {
            known
                .files
                .extend(words.next().map(|file| (Access::Read, file.clone())));
            reads = false;
        } else {
            deletes |= text == "-delete";
            reads = false;
        }
    }
    if deletes {
        let found = found(arguments, true).into_iter();
        known
            .files
            .extend(found.map(|file| (Access::DeleteTree, file)));
    } else {
        known
            .files
            .extend(roots.into_iter().map(|root| (Access::Read, root)));
    }
    if reads && !deletes {
        known.has("reads");
    }
}

pub(super) fn fd(arguments: &[Word], known: &mut Known) {
    known.complete = true;
    let given = FD.read(arguments);
    let roots = fd_roots(arguments).into_iter();
    known.files.extend(roots.map(|root| (Access::Read, root)));
    let runs = given.has(&["x", "X", "exec", "exec-batch"]);
    if given.strange.is_empty() && !given.unsure && !given.may_find_option && !runs {
        known.has("reads");
    }
}
