//! Programs that talk to other machines.

use super::Known;
use super::operands::{Arguments, Rule};
use crate::host::{Host, HostKind};
use crate::shell::{Access, Word};

const CURL: Arguments = Arguments::new(
    "0123469A:ab:C:c>D>d:E<e:F:fGgH:hIijJ:K<kLlMm:NnOo>P:pQ:qRr:SsT<t:U:u:Vvw:X:x:Y:y:Z#",
    "abstract-unix-socket: alt-svc> anyauth append basic cacert< cert< ciphers: compressed config<
     connect-timeout: connect-to: cookie-jar> cookie: crlf data-ascii: data-binary: data-raw:
     data-urlencode: data: digest dns-servers: doh-url: dump-header> etag-compare< etag-save>
     fail fail-early fail-with-body form-string: form: get globoff head header: hsts> http1.1 http2
     http3 include insecure interface: ipv4 ipv6 json: key< limit-rate: location location-trusted
     max-filesize: max-redirs: max-time: negotiate netrc netrc-file< next no-buffer no-progress-meter
     noproxy: ntlm output-dir> output> parallel parallel-max: path-as-is preproxy: progress-bar proto:
     proto-redir: proxy-user: proxy: proxytunnel pubkey< quote: range: raw referer: remote-header-name
     remote-name remote-name-all remote-time remove-on-error request-target: request: resolve:
     retry-all-errors retry-connrefused retry-delay: retry-max-time: retry: show-error silent
     socks4: socks4a: socks5-hostname: socks5: ssl stderr> tls-max: tlsv1.2 tlsv1.3 trace-ascii>
     trace-time trace> unix-socket: upload-file< url-query: url: user-agent: user: variable: verbose
     version write-out:",
    Rule::None,
);

const WGET: Arguments = Arguments::new(
    "46A:a>B:bcD:dEe:FHhI:i<Kkl:LmNnO>o>P>pQ:qR:rST:t:U:Vvw:X:x",
    "accept: adjust-extension append-output> background base: body-data: body-file< ca-certificate<
     certificate< config< content-disposition continue convert-links cut-dirs: debug
     directory-prefix> domains: dns-timeout: connect-timeout: read-timeout: exclude-directories:
     execute: follow-ftp force-directories force-html header: help https-only inet4-only inet6-only
     input-file< level: limit-rate: load-cookies< max-redirect: method: mirror no-cache
     no-check-certificate no-clobber no-cookies no-directories no-host-directories no-parent no-proxy
     no-verbose output-document> output-file> page-requisites password: post-data: post-file<
     private-key< progress: quiet quota: random-wait recursive referer: reject: restrict-file-names:
     retry-connrefused save-cookies> secure-protocol: server-response show-progress span-hosts spider
     timeout: timestamping tries: user-agent: user: verbose version wait: waitretry: use-askpass!",
    Rule::None,
);

/// Options that send something.
const SENDING: &[&str] = &[
    "F",
    "T",
    "body-data",
    "body-file",
    "d",
    "data",
    "data-ascii",
    "data-binary",
    "data-raw",
    "data-urlencode",
    "form",
    "form-string",
    "json",
    "post-data",
    "post-file",
    "upload-file",
];

/// Options that say how it is asked.
const METHODS: &[&str] = &["X", "request", "method"];

/// Options whose values are machines that are talked to, or may be.
const REDIRECTING: &[&str] = &[
    "x",
    "connect-to",
    "doh-url",
    "preproxy",
    "proxy",
    "resolve",
    "socks4",
    "socks4a",
    "socks5",
    "socks5-hostname",
    "url",
];

/// Options that take addresses or orders from elsewhere.
const ELSEWHERE: &[&str] = &["K", "config", "unix-socket", "abstract-unix-socket"];
const WGET_ELSEWHERE: &[&str] = &["i", "input-file", "e", "execute", "config"];

pub(super) fn fetch(name: &str, arguments: &[Word], known: &mut Known) {
    known.complete = true;
    known.has("network");
    let is_wget = name == "wget";
    let spec = if is_wget { &WGET } else { &CURL };
    let taken = spec.take(arguments);
    let given = taken.given;
    known.files.extend(taken.files);
    for operand in &given.operands {
        hosts(operand, known);
    }
    let only_asks = |word: &Word| {
        word.text()
            .is_some_and(|text| matches!(text.as_str(), "GET" | "HEAD" | "OPTIONS"))
    };
    let letters = |names: &[&'static str]| -> Vec<&'static str> {
        // Of `wget`, the letters are something else.
        let is_known = |name: &&&str| !is_wget || name.len() > 1;
        names.iter().filter(is_known).copied().collect()
    };
    let sending = letters(SENDING);
    if given.has(&sending) || !given.values(&letters(METHODS)).all(only_asks) {
        known.has("uploads");
    }
    // `@file` is a file that is sent.
    for value in given.values(&sending) {
        let text = value.literal_start();
        let at = text
            .find('@')
            .filter(|at| *at == 0 || text[..*at].ends_with('='));
        if let Some(at) = at {
            known.files.push((Access::Read, value.after(at + 1)));
        }
    }
    for value in given.values(&letters(REDIRECTING)) {
        for part in value.shown().split(':').filter(|part| part.contains('.')) {
            known.hosts.push(Host::of(part));
        }
    }
    for option in ["x", "preproxy", "proxy", "socks5", "url"] {
        if !(is_wget && option.len() == 1) {
            given
                .values(&[option])
                .for_each(|value| hosts(value, known));
        }
    }
    let elsewhere = if is_wget { WGET_ELSEWHERE } else { ELSEWHERE };
    if let Some(option) = elsewhere.iter().find(|option| given.has(&[option])) {
        known.doubt(
            "options",
            &format!("its option {option} takes addresses or orders from elsewhere"),
        );
    }
}

/// Programs that connect to the machines among their operands.
pub(super) fn connect(arguments: &[Word], known: &mut Known) {
    known.has("connects");
    let spec = Arguments::new("p:P:i:l:o:w:c:W:L:R:D:J:F:", "", Rule::None);
    for operand in spec.take(arguments).given.operands {
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
    let spec = Arguments::new(
        "P:i:e!o:F:l:c:S!",
        "exclude: include: rsh! rsync-path! files-from< exclude-from< include-from< log-file>",
        Rule::LastWritten(Access::Read),
    );
    let taken = spec.take(arguments);
    known.complete = true;
    // `-e 'ssh -o ProxyCommand=…'`
    if taken.given.has(&["S", "rsync-path"])
        || taken
            .given
            .values(&["e", "rsh", "o"])
            .any(|value| value.text().is_none_or(|text| !is_plain_shell(&text)))
    {
        known.doubt("options", "an option of it runs a program");
    }
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

/// `ssh`, perhaps to another port.
fn is_plain_shell(text: &str) -> bool {
    let rest = text.strip_prefix("ssh").unwrap_or("?").trim_start();
    rest.is_empty()
        || rest
            .strip_prefix("-p")
            .is_some_and(|port| port.trim_start().bytes().all(|byte| byte.is_ascii_digit()))
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
