//! The table of programs that change the files among their arguments.

use super::operands::{Arguments, Rule};
use crate::shell::Access;

const EACH_WRITTEN: Rule = Rule::Each(Access::Write);

const COPY: &str =
    "archive backup? attributes-only copy-contents dereference force interactive link
    no-clobber no-dereference no-target-directory one-file-system parents preserve? no-preserve:
    recursive reflink? relative remove-destination sparse: strip-trailing-slashes suffix:
    symbolic-link target-directory> update? verbose";

const REFERENCE: &[&str] = &["reference"];

const PERMIT: &str = "reference< recursive changes quiet silent verbose preserve-root
    no-preserve-root dereference no-dereference from:";

const COMPRESS: Arguments = Arguments::new(
    "cdfhklLnNqrS:tT:vVz0123456789e",
    "stdout to-stdout decompress uncompress force keep list name no-name quiet recursive suffix: test
     verbose fast best threads: compress",
    EACH_WRITTEN,
);

/// Programs that change files.
pub(super) const WRITERS: &[(&str, Arguments)] = &[
    ("bzip2", COMPRESS),
    // Its modes look like options, and `+i` like a file.
    (
        "chattr",
        Arguments::new("RVfv:p:", "", Rule::Each(Access::Permit)),
    ),
    (
        "chgrp",
        Arguments::new(
            "RcfvhHLP",
            PERMIT,
            Rule::AfterFirst(Access::Permit, REFERENCE),
        ),
    ),
    (
        "chmod",
        // A mode may look like an option: `-w`.
        Arguments::new(
            "RcfvhHLP",
            PERMIT,
            Rule::AfterFirst(
                Access::Permit,
                &["reference", "r", "w", "x", "X", "s", "t", "u", "g", "o"],
            ),
        ),
    ),
    (
        "chown",
        Arguments::new(
            "RcfvhHLP",
            PERMIT,
            Rule::AfterFirst(Access::Permit, REFERENCE),
        ),
    ),
    (
        "cp",
        Arguments::new(
            "abdfHilLnPpRrsS:t>TuvxZ",
            COPY,
            Rule::LastWritten(Access::Read),
        ),
    ),
    ("gunzip", COMPRESS),
    ("gzip", COMPRESS),
    (
        "install",
        Arguments::new(
            "bcCdDg:m:o:psS:t>TvZ",
            "backup? compare directory group: mode: owner: preserve-timestamps strip strip-program!
             suffix: target-directory> no-target-directory verbose",
            Rule::LastWritten(Access::Read),
        ),
    ),
    (
        "link",
        Arguments::new("", "", Rule::LastWritten(Access::Read)),
    ),
    (
        "ln",
        Arguments::new(
            "bdfFiLnPrsS:t>Tv",
            "backup? directory force interactive logical no-dereference physical relative symbolic
             suffix: target-directory> no-target-directory verbose",
            Rule::LastWritten(Access::Read),
        ),
    ),
    (
        "mkdir",
        Arguments::new("m:pvZ", "mode: parents verbose context?", EACH_WRITTEN),
    ),
    (
        "mkfifo",
        Arguments::new("m:Z", "mode: context?", EACH_WRITTEN),
    ),
    (
        "mknod",
        Arguments::new("m:Z", "mode: context?", EACH_WRITTEN),
    ),
    (
        "mktemp",
        Arguments::new(
            "dqtup>",
            "directory dry-run quiet suffix: tmpdir?",
            EACH_WRITTEN,
        ),
    ),
    (
        "mv",
        Arguments::new(
            "bfinS:t>TuvZ",
            "backup? force interactive no-clobber no-copy strip-trailing-slashes suffix:
             target-directory> no-target-directory update? verbose exchange",
            Rule::LastWritten(Access::Delete),
        ),
    ),
    (
        "patch",
        Arguments::new(
            "bB:cd>D:eEF:fg:i<lnNo>p:r>RstTuV:vY:z:Z",
            "strip: fuzz: input< output> directory> reject-file> backup batch dry-run force forward
             reverse silent quiet suffix: prefix: verbose unified context ed",
            EACH_WRITTEN,
        ),
    ),
    (
        "rm",
        Arguments::new(
            "dfiIrRvxP",
            "dir force interactive? recursive preserve-root? no-preserve-root one-file-system verbose",
            Rule::Each(Access::Delete),
        ),
    ),
    (
        "rmdir",
        Arguments::new(
            "pv",
            "ignore-fail-on-non-empty parents verbose",
            Rule::Each(Access::Delete),
        ),
    ),
    (
        "shred",
        Arguments::new(
            "fn:s:uvxz",
            "force iterations: random-source< size: remove? verbose exact zero",
            Rule::Each(Access::Delete),
        ),
    ),
    (
        "split",
        Arguments::new(
            "a:b:C:del:n:t:ux",
            "suffix-length: additional-suffix: bytes: line-bytes: numeric-suffixes? hex-suffixes?
             elide-empty-files filter! lines: number: separator: unbuffered verbose",
            Rule::SecondWritten,
        ),
    ),
    (
        "srm",
        Arguments::new("dfirvsmzlR", "", Rule::Each(Access::Delete)),
    ),
    (
        "tee",
        Arguments::new(
            "aip",
            "append ignore-interrupts output-error?",
            EACH_WRITTEN,
        ),
    ),
    (
        "touch",
        Arguments::new(
            "acd:fhmr<t:A:",
            "date: no-create no-dereference reference< time:",
            EACH_WRITTEN,
        ),
    ),
    (
        "truncate",
        Arguments::new(
            "cor<s:",
            "no-create io-blocks reference< size:",
            EACH_WRITTEN,
        ),
    ),
    ("unlink", Arguments::new("", "", Rule::Each(Access::Delete))),
    ("xz", COMPRESS),
    (
        "zip",
        Arguments::new(
            "x:i:n:t:b>O>",
            "exclude: include: out> temp-path>",
            EACH_WRITTEN,
        ),
    ),
];
