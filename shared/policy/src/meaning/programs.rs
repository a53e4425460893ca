//! What each program does with its arguments, beyond what the tables say.

use super::files::{GREP, READERS, WRITERS};
use super::operands::{Arguments, Rule};
use super::tables::{CONNECTING, EFFECTS, FETCHING, PURE, PURE_TOO, TELLING};
use super::{Known, code, git, network};
use crate::Surroundings;
use crate::shell::wrappers::{found, is, is_flag, roots};
use crate::shell::{Access, Piece, Started, Word};

pub(super) fn known(name: &str, started: &Started, surroundings: &Surroundings<'_>) -> Known {
    let mut known = Known::default();
    let arguments = started.arguments.as_slice();
    for (effect, names) in EFFECTS {
        if names.contains(&name)
            || (name == "mkfs" || name.starts_with("mkfs.")) && *effect == "destroys"
        {
            known.has(effect);
        }
    }
    let tells = ["--version", "-V", "-v", "--help", "version"];
    if let [only] = arguments
        && TELLING.contains(&name)
        && tells.iter().any(|option| is(Some(only), option))
        && !(only.text().as_deref() == Some("-v") && name == "pytest")
    {
        known.effects.clear();
        known.only_reads();
        return known;
    }
    if PURE.contains(&name) || PURE_TOO.contains(&name) {
        known.only_reads();
    }
    if let Some((_, spec)) = READERS.iter().find(|(reader, _)| *reader == name) {
        let taken = spec.take(arguments);
        if taken
            .files
            .iter()
            .all(|(access, _)| *access == Access::Read)
        {
            known.has("reads");
        }
        known.files.extend(taken.files);
        known.complete = true;
    }
    if let Some((_, spec)) = WRITERS.iter().find(|(writer, _)| *writer == name) {
        known.files.extend(spec.take(arguments).files);
        known.complete = true;
    }
    if CONNECTING.contains(&name) {
        network::connect(arguments, &mut known);
    }
    if FETCHING.contains(&name) {
        network::fetch(name, arguments, &mut known);
    }
    code::interpreter(name, started, &mut known);
    special(name, arguments, surroundings, &mut known);
    known
}

fn special(name: &str, arguments: &[Word], surroundings: &Surroundings<'_>, known: &mut Known) {
    let has = |options: &[&str]| {
        arguments.iter().any(|word| {
            options.iter().any(|option| {
                let short = option.len() == 2 && option.starts_with('-');
                is(Some(word), option)
                    || word
                        .literal_start()
                        .strip_prefix(option)
                        .is_some_and(|rest| rest.starts_with('='))
                    || short && is_flag(word, option.chars().last().unwrap_or(' '))
            })
        })
    };
    let first = arguments
        .iter()
        .filter_map(Word::text)
        .find(|text| !text.starts_with('-'))
        .unwrap_or_default();
    match name {
        "git" => git::known(arguments, surroundings, known),
        "rm" if has(&["-r", "-R", "--recursive"]) => {
            deepen(known, Access::Delete, Access::DeleteTree)
        }
        "mv" => deepen(known, Access::Delete, Access::DeleteTree),
        "chmod" | "chown" | "chgrp" => {
            if has(&["-R", "--recursive"]) {
                deepen(known, Access::Permit, Access::PermitTree);
            }
            let is_set_id = |text: &str| {
                let number = text.len() == 4
                    && !text.starts_with('0')
                    && text.bytes().all(|b| b.is_ascii_digit());
                number && text.as_bytes()[0] > b'1'
                    || text.contains("+s")
                    || text.contains("=s")
                    || text.contains("+xs")
            };
            if name == "chmod"
                && arguments
                    .iter()
                    .filter_map(Word::text)
                    .any(|text| is_set_id(&text))
            {
                known.has("privilege");
            }
        }
        "find" | "fd" | "fdfind" => find(name, arguments, known),
        "sed" => code::sed(arguments, known),
        "awk" | "gawk" | "mawk" | "nawk" => code::awk(arguments, known),
        "dd" => {
            known.complete = true;
            for word in arguments {
                for (option, access) in [("if=", Access::Read), ("of=", Access::Write)] {
                    if word.literal_start().starts_with(option) {
                        known.files.push((access, word.after(option.len())));
                    }
                }
            }
        }
        "tar" | "bsdtar" | "unzip" | "7z" | "cpio" => archive(name, arguments, known),
        "rsync" | "scp" => network::copy(arguments, known),
        "env" | "printenv" | "set" | "export" | "declare" if arguments.is_empty() => {
            known.effects.remove("reads");
            known.complete = true;
            known.has("environment");
        }
        "printenv" => {
            known.only_reads();
            if arguments
                .iter()
                .filter_map(Word::text)
                .any(|text| is_secret(&text))
            {
                known.has("credentials");
            }
        }
        "echo" | "printf" => {
            let reveals = arguments
                .iter()
                .flat_map(|word| &word.pieces)
                .any(|piece| matches!(piece, Piece::Variable { name, .. } if is_secret(name)));
            if reveals {
                known.has("credentials");
            }
        }
        "kill" => {
            known.complete = true;
            let spec = Arguments::with(&["-s", "-n"], Rule::None);
            let hits_first = spec
                .take(arguments)
                .operands
                .iter()
                .any(|word| is(Some(word), "1"));
            let hits_all = arguments.len() > 1 && is(arguments.last(), "-1");
            let hits_parent = arguments
                .iter()
                .flat_map(|word| &word.pieces)
                .any(|piece| matches!(piece, Piece::Variable { name, .. } if name == "PPID"));
            if hits_first || hits_all || hits_parent {
                known.has("gate");
            } else if arguments.iter().any(Word::is_unknown) {
                known.has("kills");
            }
        }
        "pkill" | "killall" => {
            let names = ["claude", "session-runner", "shannon", "runner"];
            let hits = |text: String| {
                let text = text.to_ascii_lowercase();
                !text.starts_with('-')
                    && (text.len() < 3
                        || names
                            .iter()
                            .any(|name| name.contains(text.as_str()) || text.contains(name)))
            };
            if arguments.iter().filter_map(Word::text).any(hits) || has(&["-u", "--uid", "-U"]) {
                known.has("gate");
            }
        }
        "claude" | "gemini" | "codex"
            if matches!(first.as_str(), "mcp" | "doctor") || has(&["--version", "--help"]) =>
        {
            known.effects.remove("agent");
        }
        "docker" | "podman" | "nerdctl" | "docker-compose" => containers(
            &first,
            arguments,
            has(&["--privileged", "--cap-add", "--device"]),
            known,
        ),
        "npm" | "pnpm" | "yarn" | "bun" => {
            if matches!(
                first.as_str(),
                "publish"
                    | "unpublish"
                    | "deprecate"
                    | "dist-tag"
                    | "owner"
                    | "token"
                    | "login"
                    | "adduser"
            ) {
                known.has("publishes");
            }
            if has(&["-g", "--global"]) || first == "global" {
                known.has("installs");
            }
            if matches!(
                first.as_str(),
                "ls" | "list" | "outdated" | "why" | "explain"
            ) {
                known.only_reads();
            }
        }
        "cargo" => {
            if matches!(first.as_str(), "publish" | "yank" | "owner" | "login") {
                known.has("publishes");
            }
            if matches!(
                first.as_str(),
                "tree" | "metadata" | "locate-project" | "search" | "pkgid"
            ) {
                known.only_reads();
            }
        }
        "pip" | "pip3" if matches!(first.as_str(), "list" | "show" | "freeze" | "check") => {
            known.only_reads();
        }
        "go" if matches!(first.as_str(), "list" | "env" | "version" | "doc")
            && !has(&["-w", "-u", "-toolexec", "-exec"]) =>
        {
            known.only_reads();
        }
        "gem" if matches!(first.as_str(), "push" | "yank" | "owner" | "signin") => {
            known.has("publishes")
        }
        "gh" | "glab" | "hub" => {
            let verb = arguments
                .iter()
                .filter_map(Word::text)
                .filter(|text| !text.starts_with('-'))
                .nth(1)
                .unwrap_or_default();
            known.has("network");
            if first == "auth" || first == "secret" || first == "ssh-key" {
                known.has("credentials");
            } else if !matches!(
                verb.as_str(),
                "view" | "list" | "status" | "diff" | "checks" | "watch"
            ) {
                known.has("publishes");
            }
        }
        "aws" | "gcloud" | "az" => {
            let reveals = [
                "get-session-token",
                "get-secret-value",
                "print-access-token",
                "get-access-token",
                "assume-role",
                "export-credentials",
                "print-identity-token",
                "get-login-password",
            ];
            if arguments
                .iter()
                .filter_map(Word::text)
                .any(|text| reveals.contains(&text.as_str()))
            {
                known.has("credentials");
            }
        }
        "dpkg" | "rpm" | "apt" | "apt-cache" | "brew"
            if has(&["-l", "-L", "-s", "--list"])
                || matches!(
                    first.as_str(),
                    "list" | "show" | "policy" | "search" | "info"
                ) =>
        {
            known.effects.clear();
            known.only_reads();
        }
        "ssh-keygen" if has(&["-y"]) => known.has("credentials"),
        "gpg" if has(&["--export-secret-keys", "--export-secret-subkeys"]) => {
            known.has("credentials");
        }
        "sort" if has(&["--compress-program"]) => runs_a_program(name, known),
        "split" if has(&["--filter"]) => runs_a_program(name, known),
        "bat" if has(&["--pager", "--paging"]) => runs_a_program(name, known),
        "zip" if has(&["-TT", "--unzip-command"]) => runs_a_program(name, known),
        "wget" if has(&["--use-askpass"]) => runs_a_program(name, known),
        "make" | "gmake" if has(&["--eval", "-E"]) || holds(arguments, "$(") => {
            runs_a_program(name, known);
        }
        "sqlite3" if holds(arguments, ".shell") || holds(arguments, ".system") => {
            runs_a_program(name, known);
        }
        "psql" | "mysql" if holds(arguments, "\\!") || holds(arguments, "system ") => {
            runs_a_program(name, known);
        }
        "jq" if holds(arguments, "env") || holds(arguments, "$ENV") => {
            known.effects.remove("reads");
            known.has("environment");
        }
        "crontab" if has(&["-l"]) => {
            known.effects.clear();
            known.only_reads();
        }
        "systemctl" | "service"
            if matches!(first.as_str(), "status" | "list-units" | "is-active") =>
        {
            known.effects.clear();
        }
        "ip" | "ifconfig" if !has(&["add", "del", "set", "up", "down", "netns", "exec"]) => {
            known.effects.clear();
            known.only_reads();
        }
        "mount" if arguments.is_empty() => {
            known.effects.clear();
            known.only_reads();
        }
        "date" if has(&["-s", "--set"]) => known.has("system"),
        "date" => {
            let spec = Arguments {
                valued: &["-d", "--date"],
                read: &["-f", "--file", "-r", "--reference"],
                written: &[],
                rule: Rule::None,
            };
            known.files.extend(spec.take(arguments).files);
        }
        "hostname" if !first.is_empty() => known.has("system"),
        "rg" if has(&["--pre", "--hostname-bin"]) => runs_a_program(name, known),
        "less" | "more" | "man" => known.effects.retain(|effect| *effect == "reads"),
        "grep" | "egrep" | "fgrep" if has(&["-e", "-f", "--regexp", "--file"]) => {
            pattern_by_option(arguments, known)
        }
        _ => {}
    }
    if known.effects.len() > 1 {
        known.effects.remove("reads");
    }
}

fn runs_a_program(name: &str, known: &mut Known) {
    known.doubt("options", &format!("an option of {name} runs a program"));
}

fn holds(arguments: &[Word], text: &str) -> bool {
    arguments.iter().any(|word| word.shown().contains(text))
}

/// With `-e` and `-f` the first operand is a file too.
fn pattern_by_option(arguments: &[Word], known: &mut Known) {
    let operands = GREP.take(arguments).operands;
    known.files.extend(
        operands
            .into_iter()
            .take(1)
            .map(|word| (Access::Read, word)),
    );
}

fn deepen(known: &mut Known, from: Access, to: Access) {
    for (access, _) in &mut known.files {
        if *access == from {
            *access = to;
        }
    }
}

fn find(name: &str, arguments: &[Word], known: &mut Known) {
    known.complete = true;
    let roots = if name == "find" {
        roots(arguments)
    } else {
        let operands = Arguments::with(&["-e", "-t", "-d", "-E", "-x", "-X"], Rule::None)
            .take(arguments)
            .operands;
        operands.into_iter().skip(1).collect()
    };
    let deletes = arguments.iter().any(|word| is(Some(word), "-delete"));
    let writes = ["-fprint", "-fprintf", "-fls", "-fprint0"];
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
    let mut reads = true;
    for (index, word) in arguments.iter().enumerate() {
        if writes.iter().any(|option| is(Some(word), option)) {
            reads = false;
            known.files.extend(
                arguments
                    .get(index + 1)
                    .map(|file| (Access::Write, file.clone())),
            );
        }
        // What it runs is a program of its own.
        reads &= name == "find" || !runs.iter().any(|option| is(Some(word), option));
    }
    if deletes {
        let found = found(arguments).into_iter();
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

fn archive(name: &str, arguments: &[Word], known: &mut Known) {
    known.complete = true;
    let spec = Arguments {
        valued: &[
            "--exclude",
            "-X",
            "--transform",
            "--strip-components",
            "-P",
            "-x",
        ],
        read: &[],
        written: &["-C", "--directory", "-d", "-o"],
        rule: Rule::Each(Access::Read),
    };
    let first = arguments
        .first()
        .map(|word| word.literal_start().to_owned())
        .unwrap_or_default();
    let lists = match name {
        "tar" | "bsdtar" => first.contains('t') && !first.contains(['x', 'c']) || first == "--list",
        "unzip" => first == "-l",
        _ => first == "l",
    };
    let mut taken = spec.take(arguments);
    let runs = [
        "--to-command",
        "--use-compress-program",
        "-I",
        "--checkpoint-action",
        "--rsh-command",
        "--info-script",
        "-F",
    ];
    if arguments.iter().any(|word| {
        runs.iter()
            .any(|option| word.literal_start().starts_with(option))
    }) {
        known.doubt("text", "an option of the archiver runs a program");
    }
    if name == "tar" && !first.starts_with('-') && !taken.operands.is_empty() {
        // `tar xf file`: the first operand is options.
        taken.operands.remove(0);
        taken
            .files
            .retain(|(_, word)| word.literal_start() != first);
    }
    let creates =
        matches!(name, "tar" | "bsdtar") && first.contains('c') && !first.starts_with("--");
    if creates && let Some(file) = taken.operands.first() {
        known.files.push((Access::Write, file.clone()));
    }
    if lists {
        known.has("reads");
    } else if !creates
        && !taken
            .files
            .iter()
            .any(|(access, _)| *access == Access::Write)
    {
        known.files.push((Access::Write, Word::literal("./…")));
    }
    known.files.append(&mut taken.files);
}

fn containers(first: &str, arguments: &[Word], is_privileged: bool, known: &mut Known) {
    known.complete = true;
    known.effects.clear();
    let mounts_host = arguments.iter().any(|word| {
        let text = word.shown();
        text.starts_with("/:")
            || text.contains("docker.sock")
            || text.contains("source=/,")
            || text.starts_with("-v/:")
            || [
                "--pid=host",
                "--userns=host",
                "--net=host",
                "--network=host",
                "--ipc=host",
            ]
            .contains(&text.as_str())
    });
    if is_privileged || mounts_host {
        known.has("privilege");
    }
    match first {
        "ps" | "images" | "version" | "info" | "logs" | "top" | "stats" | "port" | "history" => {
            known.has("reads")
        }
        "push" | "login" => known.has("publishes"),
        _ => known.has("containers"),
    }
}

/// Names of variables that hold secrets.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let ends = [
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "API_KEY",
        "ACCESS_KEY",
        "PRIVATE_KEY",
        "CREDENTIALS",
        "AUTH",
    ];
    !name.starts_with('#')
        && (ends.iter().any(|end| name.ends_with(end))
            || ["AWS_SECRET", "AWS_SESSION", "ANTHROPIC_", "SHANNON_"]
                .iter()
                .any(|start| name.starts_with(start)))
}
