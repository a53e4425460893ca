//! The tables of programs that read and write the files among their arguments.

use super::operands::{Arguments, Rule};
use crate::shell::Access;

/// Programs that read files and do nothing else.
pub(super) const READERS: &[(&str, Arguments)] = &[
    ("b2sum", Arguments::rule(Rule::Each(Access::Read))),
    (
        "base32",
        Arguments::with(&["-w", "--wrap"], Rule::Each(Access::Read)),
    ),
    (
        "base64",
        Arguments::with(&["-w", "--wrap"], Rule::Each(Access::Read)),
    ),
    (
        "bat",
        Arguments::with(
            &["-l", "--language", "-r", "--line-range", "--style"],
            Rule::Each(Access::Read),
        ),
    ),
    ("cat", Arguments::rule(Rule::Each(Access::Read))),
    ("cd", Arguments::rule(Rule::Each(Access::Read))),
    ("cksum", Arguments::rule(Rule::Each(Access::Read))),
    ("cloc", Arguments::rule(Rule::Each(Access::Read))),
    (
        "cmp",
        Arguments::with(&["-n", "-i"], Rule::Each(Access::Read)),
    ),
    ("col", Arguments::rule(Rule::None)),
    (
        "column",
        Arguments::with(&["-s", "-o", "-c", "-N"], Rule::Each(Access::Read)),
    ),
    ("comm", Arguments::rule(Rule::Each(Access::Read))),
    (
        "cut",
        Arguments::with(&["-d", "-f", "-c", "-b"], Rule::Each(Access::Read)),
    ),
    ("df", Arguments::rule(Rule::Each(Access::Read))),
    (
        "diff",
        Arguments::with(
            &["-U", "-C", "-x", "--exclude", "-I"],
            Rule::Each(Access::Read),
        ),
    ),
    (
        "du",
        Arguments::with(
            &["-d", "--max-depth", "--exclude", "-t"],
            Rule::Each(Access::Read),
        ),
    ),
    ("egrep", GREP),
    (
        "exa",
        Arguments::with(&["-L", "-I", "-s"], Rule::Each(Access::Read)),
    ),
    ("expand", Arguments::with(&["-t"], Rule::Each(Access::Read))),
    (
        "eza",
        Arguments::with(&["-L", "-I", "-s"], Rule::Each(Access::Read)),
    ),
    ("fgrep", GREP),
    ("file", Arguments::rule(Rule::Each(Access::Read))),
    ("fmt", Arguments::with(&["-w"], Rule::Each(Access::Read))),
    ("fold", Arguments::with(&["-w"], Rule::Each(Access::Read))),
    ("grep", GREP),
    (
        "head",
        Arguments::with(
            &["-n", "-c", "--lines", "--bytes"],
            Rule::Each(Access::Read),
        ),
    ),
    (
        "hexdump",
        Arguments::with(&["-n", "-s", "-e"], Rule::Each(Access::Read)),
    ),
    (
        "join",
        Arguments::with(&["-t", "-j", "-1", "-2", "-o"], Rule::Each(Access::Read)),
    ),
    (
        "jq",
        Arguments::with(&["--indent"], Rule::AfterFirst(Access::Read)),
    ),
    ("less", Arguments::rule(Rule::Each(Access::Read))),
    (
        "ls",
        Arguments::with(&["-I", "-w"], Rule::Each(Access::Read)),
    ),
    ("md5sum", Arguments::rule(Rule::Each(Access::Read))),
    ("more", Arguments::rule(Rule::Each(Access::Read))),
    (
        "nl",
        Arguments::with(&["-b", "-w", "-s"], Rule::Each(Access::Read)),
    ),
    ("nm", Arguments::rule(Rule::Each(Access::Read))),
    ("objdump", Arguments::rule(Rule::Each(Access::Read))),
    (
        "od",
        Arguments::with(&["-t", "-N", "-j", "-A", "-w"], Rule::Each(Access::Read)),
    ),
    ("paste", Arguments::with(&["-d"], Rule::Each(Access::Read))),
    ("pushd", Arguments::rule(Rule::Each(Access::Read))),
    ("readelf", Arguments::rule(Rule::Each(Access::Read))),
    ("readlink", Arguments::rule(Rule::Each(Access::Read))),
    ("realpath", Arguments::rule(Rule::None)),
    ("rev", Arguments::rule(Rule::Each(Access::Read))),
    (
        "rg",
        Arguments {
            valued: &[
                "-A", "-B", "-C", "-g", "--glob", "-m", "-t", "--type", "-T", "-e", "--regexp",
                "-M", "-j",
            ],
            read: &["-f"],
            written: &[],
            rule: Rule::AfterFirst(Access::Read),
        },
    ),
    ("sha1sum", Arguments::rule(Rule::Each(Access::Read))),
    ("sha256sum", Arguments::rule(Rule::Each(Access::Read))),
    ("sha512sum", Arguments::rule(Rule::Each(Access::Read))),
    ("shasum", Arguments::with(&["-a"], Rule::Each(Access::Read))),
    ("size", Arguments::rule(Rule::Each(Access::Read))),
    (
        "sort",
        Arguments {
            valued: &["-k", "-t", "-S", "--key", "--parallel"],
            read: &[],
            written: &["-o", "--output", "-T"],
            rule: Rule::Each(Access::Read),
        },
    ),
    (
        "stat",
        Arguments::with(
            &["-c", "-f", "--format", "--printf"],
            Rule::Each(Access::Read),
        ),
    ),
    (
        "strings",
        Arguments::with(&["-n", "-t"], Rule::Each(Access::Read)),
    ),
    ("sum", Arguments::rule(Rule::Each(Access::Read))),
    ("tac", Arguments::with(&["-s"], Rule::Each(Access::Read))),
    (
        "tail",
        Arguments::with(
            &["-n", "-c", "-s", "--pid", "--lines"],
            Rule::Each(Access::Read),
        ),
    ),
    ("tokei", Arguments::rule(Rule::Each(Access::Read))),
    (
        "tree",
        Arguments {
            valued: &["-L", "-I", "-P"],
            read: &[],
            written: &["-o"],
            rule: Rule::Each(Access::Read),
        },
    ),
    (
        "uniq",
        Arguments::with(&["-f", "-s", "-w"], Rule::SecondWritten),
    ),
    ("wc", Arguments::rule(Rule::Each(Access::Read))),
    (
        "xxd",
        Arguments::with(&["-l", "-s", "-c", "-g"], Rule::SecondWritten),
    ),
    ("zcat", Arguments::rule(Rule::Each(Access::Read))),
];

pub(super) const GREP: Arguments = Arguments {
    valued: &[
        "-A",
        "-B",
        "-C",
        "-m",
        "-e",
        "--regexp",
        "--include",
        "--exclude",
        "--exclude-dir",
        "--max-count",
        "-d",
        "-D",
    ],
    read: &["-f", "--file"],
    written: &[],
    rule: Rule::AfterFirst(Access::Read),
};

/// Programs that change files.
pub(super) const WRITERS: &[(&str, Arguments)] = &[
    ("bzip2", Arguments::rule(Rule::Each(Access::Write))),
    ("chattr", Arguments::rule(Rule::AfterFirst(Access::Permit))),
    (
        "chgrp",
        Arguments::with(&["--reference"], Rule::AfterFirst(Access::Permit)),
    ),
    (
        "chmod",
        Arguments::with(&["--reference"], Rule::AfterFirst(Access::Permit)),
    ),
    (
        "chown",
        Arguments::with(&["--reference", "--from"], Rule::AfterFirst(Access::Permit)),
    ),
    (
        "cp",
        Arguments {
            valued: &["-S", "--suffix"],
            read: &[],
            written: &["-t", "--target-directory"],
            rule: Rule::LastWritten(Access::Read),
        },
    ),
    ("gunzip", Arguments::rule(Rule::Each(Access::Write))),
    ("gzip", Arguments::rule(Rule::Each(Access::Write))),
    (
        "install",
        Arguments {
            valued: &["-m", "-o", "-g", "--mode"],
            read: &[],
            written: &["-t"],
            rule: Rule::LastWritten(Access::Read),
        },
    ),
    ("link", Arguments::rule(Rule::LastWritten(Access::Read))),
    (
        "ln",
        Arguments {
            valued: &["-S"],
            read: &[],
            written: &["-t", "--target-directory"],
            rule: Rule::LastWritten(Access::Read),
        },
    ),
    (
        "mkdir",
        Arguments::with(&["-m", "--mode"], Rule::Each(Access::Write)),
    ),
    (
        "mkfifo",
        Arguments::with(&["-m"], Rule::Each(Access::Write)),
    ),
    ("mknod", Arguments::with(&["-m"], Rule::Each(Access::Write))),
    (
        "mktemp",
        Arguments {
            valued: &["--suffix"],
            read: &[],
            written: &["-p", "--tmpdir"],
            rule: Rule::Each(Access::Write),
        },
    ),
    (
        "mv",
        Arguments {
            valued: &["-S"],
            read: &[],
            written: &["-t", "--target-directory"],
            rule: Rule::LastWritten(Access::Delete),
        },
    ),
    (
        "patch",
        Arguments {
            valued: &["-p", "-F"],
            read: &["-i"],
            written: &["-o", "-d"],
            rule: Rule::Each(Access::Write),
        },
    ),
    ("rm", Arguments::rule(Rule::Each(Access::Delete))),
    ("rmdir", Arguments::rule(Rule::Each(Access::Delete))),
    (
        "shred",
        Arguments::with(&["-n", "-s"], Rule::Each(Access::Delete)),
    ),
    (
        "split",
        Arguments::with(&["-l", "-b", "-n", "-a"], Rule::SecondWritten),
    ),
    ("srm", Arguments::rule(Rule::Each(Access::Delete))),
    ("tee", Arguments::rule(Rule::Each(Access::Write))),
    (
        "touch",
        Arguments {
            valued: &["-d", "-t"],
            read: &["-r"],
            written: &[],
            rule: Rule::Each(Access::Write),
        },
    ),
    (
        "truncate",
        Arguments {
            valued: &["-s"],
            read: &["-r"],
            written: &[],
            rule: Rule::Each(Access::Write),
        },
    ),
    ("unlink", Arguments::rule(Rule::Each(Access::Delete))),
    ("xz", Arguments::rule(Rule::Each(Access::Write))),
    (
        "zip",
        Arguments::with(&["-x", "-i"], Rule::Each(Access::Write)),
    ),
];
