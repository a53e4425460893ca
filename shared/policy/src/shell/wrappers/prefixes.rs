//! Programs that start the rest of their words, behind their own options.

use super::words::is_name;
use super::{NO_OPTIONS, begin, next, not_known};
use crate::shell::options::{Given, Options};
use crate::shell::walk::Walker;
use crate::shell::word::Word;
use crate::shell::{Started, lexer};

/// Their options, and how many operands come before the program.
const PREFIXES: &[(&str, Options, usize)] = &[
    ("builtin", NO_OPTIONS, 0),
    ("caffeinate", Options::leading("dimsut:w:", ""), 0),
    ("catchsegv", NO_OPTIONS, 0),
    ("ccache", NO_OPTIONS, 0),
    ("chronic", Options::leading("ve", ""), 0),
    (
        "chroot",
        Options::leading("", "groups: userspec: skip-chdir"),
        1,
    ),
    (
        "chrt",
        Options::leading(
            "abdefimoprRvT:P:D:",
            "all-tasks batch deadline fifo idle max other pid reset-on-fork rr verbose
             sched-runtime: sched-period: sched-deadline:",
        ),
        1,
    ),
    (
        "dbus-run-session",
        Options::leading("", "config-file< dbus-daemon! help version"),
        0,
    ),
    ("distcc", NO_OPTIONS, 0),
    ("dumb-init", Options::leading("cvr:", "single-child verbose rewrite:"), 0),
    ("eatmydata", NO_OPTIONS, 0),
    ("entr", Options::leading("acdnprsz", ""), 0),
    ("exec", Options::leading("cla:", ""), 0),
    (
        "fakeroot",
        Options::leading("ui<s>l!hvb:", "lib! faked! save-file> load-file< unknown-is-real fd-base:"),
        0,
    ),
    ("faketime", Options::leading("mf", "exclude-monotonic help"), 1),
    ("firejail", Options::leading("", "noprofile quiet private? net:"), 0),
    (
        "ionice",
        Options::leading("c:n:p:P:u:t", "class: classdata: ignore pid: pgid: uid:"),
        0,
    ),
    ("linux32", Options::leading("vR", ""), 0),
    ("linux64", Options::leading("vR", ""), 0),
    (
        "ltrace",
        Options::leading("o>e:p:u:n:s:a:A:F<l:x:w:DcCLSbfhirtTV", "output>"),
        0,
    ),
    ("nice", Options::leading("n:#", "adjustment:"), 0),
    ("nohup", NO_OPTIONS, 0),
    (
        "nsenter",
        Options::leading(
            "at:m?u?i?n?p?U?C?T?S:G:r?w?W?eFZ",
            "all target: mount? uts? ipc? net? pid? user? cgroup? time? setuid: setgid: root? wd?",
        ),
        0,
    ),
    (
        "numactl",
        Options::leading("i:N:m:C:p:lb", "interleave: cpunodebind: membind: physcpubind: preferred: localalloc"),
        0,
    ),
    ("pkexec", Options::leading("", "user: disable-internal-agent"), 0),
    ("prlimit", Options::leading("c?d?e?f?i?l?m?n?q?r?s?t?u?v?x?y?", "nofile? nproc? core? cpu? as?"), 0),
    ("proxychains4", Options::leading("qf<", ""), 0),
    (
        "runuser",
        Options::leading("u:g:G:lmp", "user: group: supp-group: login preserve-environment"),
        0,
    ),
    ("rlwrap", Options::leading("acHiIMnNoprRSuUvwWZ", ""), 0),
    ("setarch", Options::leading("vRFIZLXB3T", "verbose addr-no-randomize"), 1),
    ("setsid", Options::leading("cfw", "ctty fork wait"), 0),
    ("sshpass", Options::leading("f<d:p:e?vP:h", ""), 0),
    (
        "stdbuf",
        Options::leading("i:o:e:", "input: output: error:"),
        0,
    ),
    (
        "strace",
        // `-o '|program'` runs one.
        Options::leading(
            "o!e:p:u:s:E:P:a:I:O:S:X:b:U:AcCdDfFhiknNqrtTvVwxyYzZ",
            "output! follow-forks summary-only trace: attach: user:",
        ),
        0,
    ),
    ("taskset", Options::leading("apc", "all-tasks pid cpu-list"), 1),
    (
        "time",
        Options::leading("f:o>apqvV", "format: output> append portability quiet verbose"),
        0,
    ),
    (
        "timeout",
        Options::leading("k:s:vfp", "kill-after: signal: verbose foreground preserve-status"),
        1,
    ),
    ("tini", Options::leading("sp:vwge:l", ""), 0),
    ("torsocks", Options::leading("a:diP:p:qu:", "address: port: isolate quiet user: pass:"), 0),
    ("unbuffer", Options::leading("p", ""), 0),
    (
        "unshare",
        Options::leading(
            "m?u?i?n?p?U?C?T?frcS:G:R:w:",
            "mount? uts? ipc? net? pid? user? cgroup? time? fork map-root-user map-current-user
             map-user: map-group: root: wd: mount-proc? keep-caps kill-child? propagation: setgroups:
             setuid: setgid:",
        ),
        0,
    ),
    (
        "valgrind",
        Options::leading("qv", "tool: leak-check: error-exitcode: log-file> track-origins: quiet"),
        0,
    ),
    ("x86_64", Options::leading("vR", ""), 0),
    (
        "xvfb-run",
        Options::leading(
            "ae>f:hln:p:s:w:",
            "auto-servernum error-file> auth-file: listen-tcp server-num: xauth-protocol:
             server-args: wait:",
        ),
        0,
    ),
];

/// Package managers that start the rest of their words in their own environment.
const RUNNERS: &[(&str, &str)] = &[
    ("asdf", "exec"),
    ("bundle", "exec"),
    ("conda", "run"),
    ("hatch", "run"),
    ("mise", "exec"),
    ("mise", "x"),
    ("pdm", "run"),
    ("pipenv", "run"),
    ("pixi", "run"),
    ("pnpm", "exec"),
    ("poetry", "run"),
    ("rye", "run"),
    ("uv", "run"),
];

/// Options of package managers, before and after what they are told to do.
const RUNNING: Options = Options::leading(
    "C:mn:p:sw:qv",
    "active all-extras all-groups cwd: directory: env-file: exact extra: frozen group: isolated
     locked module name: no-cache no-dev no-project no-sync offline only-group: package: prefix: project:
     python: quiet recursive script verbose with-editable: with-requirements: with: ",
);

const ENV: Options = Options::leading(
    "i0vu:C:S:P:a:",
    "ignore-environment null unset: chdir: split-string: debug block-signal? default-signal?
     ignore-signal? list-signal-handling argv0:",
);

const SUDO: Options = Options::leading(
    "AbBEeHiKklnNPSsvVC:D:g:h:p:R:r:T:t:U:u:",
    "askpass background bell close-from: chdir: preserve-env? edit group: set-home host: login
     remove-timestamp reset-timestamp list non-interactive preserve-groups prompt: chroot: role:
     stdin shell type: command-timeout: other-user: user: validate",
);

const DOAS: Options = Options::leading("LnsC:a:u:", "");

const COMMAND: Options = Options::leading("pvV", "");

/// Whether a program of this name starts the rest of its words.
pub(super) fn is_prefix(name: &str) -> bool {
    const OTHERS: &[&str] = &[
        "busybox", "command", "doas", "env", "jobs", "sudo", "toybox",
    ];
    OTHERS.contains(&name)
        || PREFIXES.iter().any(|(prefix, ..)| *prefix == name)
        || RUNNERS.iter().any(|(runner, _)| *runner == name)
}

/// Visits what a program of this name starts, if it is one of these.
pub(super) fn starts_another(walker: &mut Walker, name: &str, started: &Started) -> bool {
    let arguments = &started.arguments;
    if let Some((_, options, before)) = PREFIXES.iter().find(|(prefix, ..)| *prefix == name) {
        begin(
            walker,
            name,
            &options.read(arguments),
            *before,
            started.clone(),
        );
        return true;
    }
    match name {
        "command" => {
            let given = COMMAND.read(arguments);
            if given.has(&["v", "V"]) {
                return false;
            }
            begin(walker, name, &given, 0, started.clone());
        }
        "sudo" => with_assignments(walker, name, SUDO.read(arguments), started.clone()),
        "doas" => begin(walker, name, &DOAS.read(arguments), 0, started.clone()),
        "env" => env(walker, started.clone()),
        "busybox" | "toybox" => next(walker, name, arguments, started.clone()),
        "jobs" if super::is(arguments.first(), "-x") => {
            next(
                walker,
                name,
                arguments.get(1..).unwrap_or_default(),
                started.clone(),
            );
        }
        _ => return runner(walker, name, started),
    }
    true
}

fn runner(walker: &mut Walker, name: &str, started: &Started) -> bool {
    let manager = RUNNING.read(&started.arguments);
    let verb = manager.operands.first();
    if !RUNNERS
        .iter()
        .any(|(runner, run)| *runner == name && super::is(verb, run))
    {
        return false;
    }
    walker.push(started.clone());
    let given = RUNNING.read(manager.operands.get(1..).unwrap_or_default());
    if !given.operands.is_empty() {
        let inner = Started {
            input: started.input.clone(),
            ..Started::default()
        };
        begin(walker, name, &given, 0, inner);
    }
    true
}

/// The same with assignments in front of the program.
fn with_assignments(walker: &mut Walker, name: &str, mut given: Given, mut started: Started) {
    let mut operands = given.operands.into_iter().peekable();
    while let Some(word) = operands.peek() {
        let start = word.literal_start();
        let Some(end) = start.find('=').filter(|end| is_name(&start[..*end])) else {
            break;
        };
        let assignment = (start[..end].to_owned(), word.after(end + 1));
        started.assignments.push(assignment);
        operands.next();
    }
    given.operands = operands.collect();
    begin(walker, name, &given, 0, started);
}

fn env(walker: &mut Walker, mut started: Started) {
    let given = ENV.read(&started.arguments);
    if let Some(text) = given.value(&["S", "split-string"]) {
        // Its words stand in its place, before the others.
        let Some(words) = text.text().and_then(|text| plain_words(&text)) else {
            not_known(walker, &started);
            let text =
                super::joined(&[std::slice::from_ref(text), given.operands.as_slice()].concat());
            return walker.other_shell(&text.as_text(), "env", started.input, &[]);
        };
        started.arguments = [words, given.operands].concat();
        return env(walker, started);
    }
    let before = walker.directory().clone();
    if let Some(directory) = given.value(&["C", "chdir"]) {
        let directory = directory.text();
        walker.directory().follow(&[directory]);
    }
    with_assignments(walker, "env", given, started);
    *walker.directory() = before;
}

/// The words of a text that is nothing but words.
fn plain_words(text: &str) -> Option<Vec<Word>> {
    let tokens = lexer::tokens(text).ok()?;
    let mut words = Vec::new();
    for token in tokens {
        let lexer::Token::Word(lexed, ..) = token else {
            return None;
        };
        match lexed.assigned {
            None => words.extend(lexed.words),
            Some(name) => {
                let mut word = Word::literal(format!("{name}="));
                let pieces = lexed.words.into_iter().flat_map(|word| word.pieces);
                pieces.for_each(|piece| word.push(piece));
                words.push(word);
            }
        }
    }
    Some(words)
}
