//! The table of programs that read the files among their arguments and do nothing else.

use super::operands::{Arguments, Rule};
use crate::shell::Access;

const EACH_READ: Rule = Rule::Each(Access::Read);

const SUMS: Arguments = Arguments::new(
    "bctzwl:a:U0",
    "binary check tag text zero ignore-missing quiet status strict warn length: algorithm:",
    EACH_READ,
);

const EXA: Arguments = Arguments::new(
    "1lGxRTFaAdL:rs:I:DfBgbhHimStuUn@Xo",
    "oneline long grid across recurse tree all almost-all level: reverse sort: ignore-glob: git
     git-ignore icons? color? colour? header binary bytes inode links modified accessed created changed
     time: time-style: group group-directories-first only-dirs only-files classify? no-permissions
     no-filesize no-user no-time no-icons no-git extended octal-permissions list-dirs width:",
    EACH_READ,
);

/// Programs that read files and do nothing else, with the options by which they still do.
pub(super) const READERS: &[(&str, Arguments)] = &[
    ("b2sum", SUMS),
    ("base32", BASE64),
    ("base64", BASE64),
    (
        "bat",
        Arguments::new(
            "l:r:H:pnASfLm:P",
            "language: line-range: highlight-line: plain number show-all style: color: theme:
             decorations: wrap: tabs: file-name: paging: pager! list-languages list-themes no-config
             unbuffered terminal-width: italic-text: map-syntax: diff",
            EACH_READ,
        ),
    ),
    (
        "cat",
        Arguments::new(
            "AbeEnstTuv",
            "show-all number-nonblank show-ends number squeeze-blank show-tabs show-nonprinting",
            EACH_READ,
        ),
    ),
    ("cd", Arguments::new("LPe@", "", EACH_READ)),
    (
        "cksum",
        Arguments::new(
            "a:l:bctzw",
            "algorithm: base64 raw tag untagged zero check length: debug",
            EACH_READ,
        ),
    ),
    (
        "cloc",
        Arguments::new(
            "",
            "by-file by-file-by-lang csv json xml yaml md quiet hide-rate include-lang: exclude-lang:
             exclude-dir: exclude-ext: include-ext: fullpath match-f: not-match-f: match-d:
             not-match-d: skip-uniqueness extract-with! config! report-file> out>",
            EACH_READ,
        ),
    ),
    (
        "cmp",
        Arguments::new(
            "bi:ln:s",
            "print-bytes ignore-initial: verbose bytes: quiet silent",
            EACH_READ,
        ),
    ),
    ("col", Arguments::new("bfhpxl:", "", Rule::None)),
    (
        "column",
        Arguments::new(
            "tns:o:c:N:xJR:H:W:T:E:de",
            "table separator: output-separator: output-width: table-columns: fillrows json
             table-right: table-hide: table-name:",
            EACH_READ,
        ),
    ),
    (
        "comm",
        Arguments::new(
            "123iz",
            "check-order nocheck-order output-delimiter: total zero-terminated",
            EACH_READ,
        ),
    ),
    (
        "cut",
        Arguments::new(
            "b:c:d:f:nsz",
            "bytes: characters: delimiter: fields: complement only-delimited output-delimiter:
             zero-terminated",
            EACH_READ,
        ),
    ),
    (
        "df",
        Arguments::new(
            "ahHiklPt:Tx:B:v",
            "all block-size: human-readable si inodes local no-sync output? portability print-type
             total type: exclude-type:",
            EACH_READ,
        ),
    ),
    (
        "diff",
        Arguments::new(
            "abBcC:dD:eEF:HiI:nNpPqrsS:tTu?U:wW:x:X<yZ#",
            "normal brief report-identical-files context? unified? ed rcs side-by-side width:
             left-column suppress-common-lines show-c-function show-function-line: label: expand-tabs
             initial-tab tabsize: recursive no-dereference new-file unidirectional-new-file
             ignore-file-name-case exclude: exclude-from< starting-file: from-file< to-file<
             ignore-case ignore-tab-expansion ignore-trailing-space ignore-space-change
             ignore-all-space ignore-blank-lines ignore-matching-lines: text strip-trailing-cr
             minimal speed-large-files color? palette:",
            EACH_READ,
        ),
    ),
    (
        "du",
        Arguments::new(
            "0aAbcd:DhHklLmPsSt:xX<B:",
            "all apparent-size block-size: bytes total dereference max-depth: human-readable inodes
             dereference-args null si separate-dirs summarize threshold: time? time-style:
             exclude-from< exclude: one-file-system files0-from<",
            EACH_READ,
        ),
    ),
    ("egrep", GREP),
    ("exa", EXA),
    ("expand", Arguments::new("it:#", "initial tabs:", EACH_READ)),
    ("eza", EXA),
    ("fgrep", GREP),
    (
        "file",
        Arguments::new(
            "bcdEhiIkLlm<nNprsSvzZ0e:f<F:P:C!",
            "brief mime mime-type mime-encoding dereference no-dereference uncompress files-from<
             separator: exclude: raw special-files keep-going list print0 extension parameter:
             magic-file< compile!",
            EACH_READ,
        ),
    ),
    (
        "fmt",
        Arguments::new(
            "cg:p:stuw:#",
            "width: goal: prefix: split-only tagged-paragraph uniform-spacing crown-margin",
            EACH_READ,
        ),
    ),
    (
        "fold",
        Arguments::new("bsw:#", "bytes spaces width:", EACH_READ),
    ),
    ("grep", GREP),
    (
        "head",
        Arguments::new(
            "c:n:qvz#",
            "bytes: lines: quiet silent verbose zero-terminated",
            EACH_READ,
        ),
    ),
    (
        "hexdump",
        Arguments::new(
            "bcCde:f<n:os:vx",
            "canonical length: skip: no-squeezing",
            EACH_READ,
        ),
    ),
    (
        "join",
        Arguments::new(
            "a:e:i1:2:j:o:t:v:z",
            "ignore-case header check-order nocheck-order zero-terminated",
            EACH_READ,
        ),
    ),
    (
        "jq",
        Arguments::new(
            "aCcef<jL<Mnr0RsS",
            "compact-output color-output monochrome-output exit-status null-input raw-output
             raw-output0 join-output ascii-output raw-input slurp sort-keys tab indent: args jsonargs
             seq stream stream-errors from-file< unbuffered",
            Rule::AfterFirst(Access::Read, &["f", "from-file"]),
        ),
    ),
    ("less", LESS),
    (
        "ls",
        Arguments::new(
            "1aAbBcCdDfFgGhHiI:klLmnNopqQrRsStT:uUvw:xXZ",
            "all almost-all author escape block-size: ignore-backups color? directory dired classify?
             file-type format: full-time group-directories-first no-group human-readable si
             dereference-command-line dereference-command-line-symlink-to-dir hide: hyperlink?
             indicator-style: inode ignore: kibibytes dereference numeric-uid-gid literal
             hide-control-chars show-control-chars quote-name quoting-style: reverse recursive size
             sort: time: time-style: tabsize: width: context zero",
            EACH_READ,
        ),
    ),
    ("md5sum", SUMS),
    ("more", LESS),
    (
        "nl",
        Arguments::new(
            "b:d:f:h:i:l:n:ps:v:w:",
            "body-numbering: number-format: number-separator: number-width: starting-line-number:
             line-increment: no-renumber",
            EACH_READ,
        ),
    ),
    (
        "nm",
        Arguments::new(
            "aABCDegnoprSsuvPt:f:",
            "defined-only extern-only undefined-only demangle? dynamic debug-syms size-sort
             numeric-sort no-sort print-size print-file-name portability radix: format: reverse-sort
             plugin!",
            EACH_READ,
        ),
    ),
    (
        "objdump",
        Arguments::new(
            "adDhxStTrRspfCwzj:M:m:b:",
            "all-headers disassemble disassemble-all section-headers headers syms dynamic-syms reloc
             dynamic-reloc full-contents source demangle? section: archive-headers file-headers
             private-headers no-show-raw-insn line-numbers start-address: stop-address:
             disassembler-options: architecture: target: plugin!",
            EACH_READ,
        ),
    ),
    (
        "od",
        Arguments::new(
            "A:j:N:S:t:vw?abcdfilosx",
            "address-radix: skip-bytes: read-bytes: strings? format: output-duplicates width? endian:
             traditional",
            EACH_READ,
        ),
    ),
    (
        "paste",
        Arguments::new("d:sz", "delimiters: serial zero-terminated", EACH_READ),
    ),
    ("pushd", Arguments::new("n", "", EACH_READ)),
    (
        "readelf",
        Arguments::new(
            "aehlStsnrudVADcWx:p:R:g",
            "all file-header program-headers segments section-headers sections symbols syms dyn-syms
             notes relocs dynamic version-info wide headers string-dump: hex-dump:",
            EACH_READ,
        ),
    ),
    (
        "readlink",
        Arguments::new(
            "femnqsvz",
            "canonicalize canonicalize-existing canonicalize-missing no-newline quiet silent verbose
             zero",
            EACH_READ,
        ),
    ),
    (
        "realpath",
        Arguments::new(
            "eLmPqsz",
            "relative-to: relative-base: strip no-symlinks logical physical quiet
             canonicalize-existing canonicalize-missing zero",
            Rule::None,
        ),
    ),
    ("rev", Arguments::new("0", "zero", EACH_READ)),
    (
        "rg",
        Arguments::new(
            "A:B:C:E:M:T:d:e:f<g:ij:m:r:t:acFHhIlLnNoPpqsSUuvwx0.",
            "after-context: before-context: context: glob: iglob: type: type-not: type-list regexp:
             file< ignore-case case-sensitive smart-case fixed-strings word-regexp line-regexp
             invert-match count count-matches files files-with-matches files-without-match max-count:
             max-depth: max-filesize: max-columns: max-columns-preview multiline multiline-dotall
             no-ignore no-ignore-vcs no-ignore-parent hidden no-hidden follow line-number
             no-line-number column heading no-heading with-filename no-filename only-matching passthru
             pretty color: colors: replace: sort: sortr: stats trim text binary json null null-data
             vimgrep quiet no-messages threads: pcre2 no-config one-file-system unrestricted encoding:
             engine: path-separator: no-mmap mmap crlf type-add: type-clear: glob-case-insensitive
             ignore-file< context-separator: field-match-separator: line-buffered block-buffered
             pre! pre-glob: hostname-bin! search-zip!",
            Rule::AfterFirst(Access::Read, &["e", "f", "regexp", "file", "files", "type-list"]),
        ),
    ),
    ("sha1sum", SUMS),
    ("sha256sum", SUMS),
    ("sha512sum", SUMS),
    ("shasum", SUMS),
    ("size", Arguments::new("ABdoxt", "format: radix: totals plugin!", EACH_READ)),
    (
        "sort",
        Arguments::new(
            "bcCdfghiMnRrsuVzmk:t:S:T>o>",
            "key: field-separator: buffer-size: parallel: batch-size: output> temporary-directory>
             compress-program! files0-from< numeric-sort reverse unique stable version-sort
             human-numeric-sort general-numeric-sort month-sort random-sort random-source< ignore-case
             ignore-leading-blanks ignore-nonprinting dictionary-order check? merge zero-terminated
             sort: debug",
            EACH_READ,
        ),
    ),
    (
        "stat",
        Arguments::new(
            "c:fLtFnqrsx",
            "format: printf: dereference file-system terse cached:",
            EACH_READ,
        ),
    ),
    (
        "strings",
        Arguments::new(
            "an:t:oe:fw#",
            "all bytes: radix: encoding: print-file-name include-all-whitespace output-separator:
             data",
            EACH_READ,
        ),
    ),
    ("sum", Arguments::new("rs", "sysv", EACH_READ)),
    (
        "tac",
        Arguments::new("brs:", "before regex separator:", EACH_READ),
    ),
    (
        "tail",
        Arguments::new(
            "c:fFn:qrs:vz#",
            "bytes: lines: follow? pid: quiet silent retry sleep-interval: verbose zero-terminated",
            EACH_READ,
        ),
    ),
    (
        "tokei",
        Arguments::new(
            "e:fo:s:t:c:C",
            "exclude: files hidden languages no-ignore output: sort: type: types: compact",
            EACH_READ,
        ),
    ),
    (
        "tree",
        Arguments::new(
            "adflxL:P:I:o>pughDsFrtcUQNqvnCSAXJi",
            "dirsfirst filelimit: gitignore noreport matchdirs prune charset: du si timefmt: sort:
             inodes device ignore-case filesfirst",
            EACH_READ,
        ),
    ),
    (
        "uniq",
        Arguments::new(
            "cdDf:is:uw:z",
            "count repeated all-repeated? skip-fields: ignore-case skip-chars: unique check-chars:
             group? zero-terminated",
            Rule::SecondWritten,
        ),
    ),
    (
        "wc",
        Arguments::new(
            "clmLw",
            "bytes chars lines words max-line-length total: files0-from<",
            EACH_READ,
        ),
    ),
    ("who", Arguments::new("abdHlmpqrstTuw", "all count heading", EACH_READ)),
    (
        "xxd",
        Arguments::new("aAbc:Eeg:il:no:prs:udR:", "", Rule::SecondWritten),
    ),
    ("zcat", Arguments::new("flLv", "", EACH_READ)),
];

const BASE64: Arguments = Arguments::new(
    "dDiw:b:o>",
    "decode ignore-garbage wrap: break: output>",
    EACH_READ,
);

const GREP: Arguments = Arguments::new(
    "aA:bB:cC:d:D:e:EFf<GhHiIlLm:noOPqrRsSTuUvwxyzZ#",
    "regexp: file< ignore-case no-ignore-case invert-match word-regexp line-regexp count color?
     colour? files-without-match files-with-matches max-count: only-matching quiet silent no-messages
     byte-offset with-filename no-filename label: line-number initial-tab null null-data
     after-context: before-context: context: text binary-files: devices: directories: exclude:
     exclude-from< exclude-dir: include: recursive dereference-recursive extended-regexp fixed-strings
     basic-regexp perl-regexp line-buffered binary",
    Rule::AfterFirst(Access::Read, &["e", "f", "regexp", "file"]),
);

const LESS: Arguments = Arguments::new(
    "EFfGgiIJLmMnNqQrRsSuUwWXe#o>O>k!",
    "quit-at-eof quit-if-one-screen ignore-case line-numbers raw-control-chars RAW-CONTROL-CHARS
     squeeze-blank-lines chop-long-lines no-init log-file> lesskey-file! lesskey-src!",
    EACH_READ,
);
