//! Programs that talk to other machines.

use super::Known;
use super::operands::{Arguments, Rule};
use crate::host::{Host, HostKind};
use crate::shell::{Access, Word};

/// Options of curl with a value.
const CURL: Arguments = Arguments {
    valued: &[
        "-H",
        "--header",
        "-X",
        "--request",
        "-d",
        "--data",
        "--data-raw",
        "--data-binary",
        "--data-urlencode",
        "--json",
        "-F",
        "--form",
        "-u",
        "--user",
        "-A",
        "--user-agent",
        "-m",
        "--max-time",
        "--connect-timeout",
        "--retry",
        "--retry-delay",
        "-e",
        "--referer",
        "-w",
        "--write-out",
        "-r",
        "--range",
        "--limit-rate",
        "-b",
        "--cookie",
        "--url",
        "-x",
        "--proxy",
        "--resolve",
        "--connect-to",
        "--max-redirs",
        "--proto",
        "--tls-max",
        "--ciphers",
        "--interface",
        "--dns-servers",
        "--preproxy",
        "--socks5",
        "--socks5-hostname",
        "--noproxy",
        "--url-query",
        "--variable",
        "--unix-socket",
        "--abstract-unix-socket",
        "-t",
    ],
    read: &[
        "-T",
        "--upload-file",
        "-E",
        "--cert",
        "--key",
        "--cacert",
        "-K",
        "--config",
        "--netrc-file",
    ],
    written: &[
        "-o",
        "--output",
        "--output-dir",
        "-c",
        "--cookie-jar",
        "-D",
        "--dump-header",
        "--trace",
        "--trace-ascii",
        "--stderr",
        "--hsts",
        "--alt-svc",
        "--etag-save",
    ],
    rule: Rule::None,
};

const WGET: Arguments = Arguments {
    valued: &[
        "--header",
        "-U",
        "--user-agent",
        "-t",
        "--tries",
        "-T",
        "--timeout",
        "--method",
        "--body-data",
        "--post-data",
        "--user",
        "--password",
        "-Q",
        "--limit-rate",
        "-w",
        "--wait",
        "-A",
        "-R",
        "-D",
        "-I",
        "-l",
        "--level",
        "-e",
        "--execute",
        "--referer",
        "-B",
    ],
    read: &[
        "-i",
        "--input-file",
        "--post-file",
        "--body-file",
        "--certificate",
        "--private-key",
        "--config",
    ],
    written: &[
        "-O",
        "--output-document",
        "-P",
        "--directory-prefix",
        "-o",
        "--output-file",
        "-a",
        "--save-cookies",
    ],
    rule: Rule::None,
};

/// Options that send something.
const SENDING: &[&str] = &[
    "-d",
    "--data",
    "--data-raw",
    "--data-binary",
    "--data-urlencode",
    "--json",
    "-F",
    "--form",
    "-T",
    "--upload-file",
    "--post-data",
    "--post-file",
    "--body-data",
    "--body-file",
    "-X",
    "--request",
    "--method",
];

pub(super) fn fetch(name: &str, arguments: &[Word], known: &mut Known) {
    known.complete = true;
    known.has("network");
    let spec = if name == "wget" { &WGET } else { &CURL };
    let taken = spec.take(arguments);
    known.files.extend(taken.files);
    for operand in &taken.operands {
        hosts(operand, known);
    }
    for (index, word) in arguments.iter().enumerate() {
        let start = word.literal_start();
        let next = arguments.get(index + 1);
        let sends = SENDING.iter().any(|option| start.starts_with(option))
            || is_cluster(start) && start.contains(['d', 'F', 'T', 'X']) && name != "wget";
        let method = start
            .trim_start_matches("-X")
            .trim_start_matches("--request=");
        let is_get = |text: &str| matches!(text, "GET" | "HEAD" | "OPTIONS");
        let reads_only = ["-X", "--request", "--method"]
            .iter()
            .any(|option| start.starts_with(option))
            && (is_get(method) || next.and_then(Word::text).is_some_and(|text| is_get(&text)));
        if sends && !reads_only {
            known.has("uploads");
        }
        // `@file` is a file that is sent.
        for value in [Some(word), next].into_iter().flatten() {
            let text = value.literal_start();
            let at = text
                .find('@')
                .filter(|at| *at == 0 || text[..*at].ends_with('='));
            if let Some(at) = at
                && sends
            {
                known.files.push((Access::Read, value.after(at + 1)));
            }
        }
        let redirects = [
            "--resolve",
            "--connect-to",
            "-x",
            "--proxy",
            "--preproxy",
            "--socks5",
            "--url",
        ];
        if redirects.contains(&start)
            && let Some(value) = next
        {
            for part in value.shown().split(':').filter(|part| part.contains('.')) {
                known.hosts.push(Host::of(part));
            }
            if start != "--resolve" && start != "--connect-to" {
                hosts(value, known);
            }
        }
        if [
            "-K",
            "--config",
            "--unix-socket",
            "--abstract-unix-socket",
            "-i",
            "--input-file",
            "-e",
            "--execute",
        ]
        .contains(&start)
            && (name == "curl")
                != (start == "-i"
                    || start == "-e"
                    || start == "--execute"
                    || start == "--input-file")
        {
            known.doubt(
                "options",
                &format!("its option {start} takes addresses or orders from elsewhere"),
            );
        }
    }
}

fn is_cluster(start: &str) -> bool {
    start.len() > 2 && start.starts_with('-') && !start.starts_with("--")
}

/// Programs that connect to the machines among their operands.
pub(super) fn connect(arguments: &[Word], known: &mut Known) {
    known.has("connects");
    let spec = Arguments::with(
        &[
            "-p", "-P", "-i", "-l", "-o", "-w", "-c", "-W", "-L", "-R", "-D", "-J", "-F",
        ],
        Rule::None,
    );
    for operand in spec.take(arguments).operands {
        let text = operand.shown();
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let is_words = text.contains(char::is_whitespace) || text.is_empty();
        if !is_number && !is_words {
            hosts(&operand, known);
        }
    }
}

/// Programs that copy to and from `host:path`.
pub(super) fn copy(arguments: &[Word], known: &mut Known) {
    let spec = Arguments::with(
        &[
            "-P",
            "-p",
            "-i",
            "-e",
            "-o",
            "--exclude",
            "--include",
            "-F",
            "-l",
            "-c",
        ],
        Rule::LastWritten(Access::Read),
    );
    let taken = spec.take(arguments);
    known.complete = true;
    for (access, word) in taken.files {
        let start = word.literal_start();
        let is_remote = start.find(':').is_some_and(|at| !start[..at].contains('/'));
        if is_remote {
            known.has("connects");
            known.hosts.push(Host::of(start));
        } else {
            known.files.push((access, word));
        }
    }
}

fn hosts(word: &Word, known: &mut Known) {
    let text = word.shown();
    // With a scheme it is found among the arguments of every program.
    if text.contains("://") {
        return;
    }
    known.hosts.push(match word.text() {
        Some(text) => Host::of(&text),
        None => partly_known(&text),
    });
}

/// The host of an address with unknown parts, shown as `…`, if those come after the host.
pub(super) fn partly_known(address: &str) -> Host {
    let after = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('…') || authority.len() == after.len() {
        return Host::unknown();
    }
    Host::of(authority)
}

/// `/dev/tcp/host/port`, which bash connects to.
pub(super) fn device(word: &Word) -> Option<Host> {
    let text = word.shown();
    let rest = text
        .strip_prefix("/dev/tcp/")
        .or_else(|| text.strip_prefix("/dev/udp/"))?;
    let name = rest.split('/').next().unwrap_or_default();
    let host = Host::of(name);
    // An address that bash connects to by itself is never an ordinary download.
    Some(if host.kind == HostKind::Public {
        Host {
            kind: HostKind::Unknown,
            ..host
        }
    } else {
        host
    })
}
