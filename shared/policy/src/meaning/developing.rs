//! Tools of developers: package managers, containers, clients of services.

use super::Known;
use super::programs::{first_word, has};
use crate::shell::Word;
use crate::shell::options::Options;

/// What these do by what they are told first.
pub(super) fn known(name: &str, arguments: &[Word], known: &mut Known) {
    let first = first_word(arguments);
    let first = first.as_str();
    match name {
        "docker" | "podman" | "nerdctl" | "docker-compose" => containers(
            first,
            arguments,
            has(arguments, &["--privileged", "--cap-add", "--device"]),
            known,
        ),
        "npm" | "pnpm" | "yarn" | "bun" => node(first, arguments, known),
        "cargo" => cargo(first, arguments, known),
        "pip" | "pip3"
            if matches!(first, "list" | "show" | "freeze" | "check") && only(arguments, &PIP) =>
        {
            known.only_reads();
        }
        "go" if matches!(first, "list" | "env" | "version" | "doc") && only(arguments, &GO) => {
            known.only_reads();
        }
        "gem" if matches!(first, "push" | "yank" | "owner" | "signin") => {
            known.has("publishes");
        }
        "gh" | "glab" | "hub" => hosted(first, arguments, known),
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
        "dpkg" | "rpm" | "apt" | "apt-cache" | "brew" => packages(name, first, arguments, known),
        _ => {}
    }
}

const CARGO: Options = Options::new(
    "p:i:e:F:qvVj:",
    "package: invert: edges: features: all-features no-default-features no-deps format-version:
     workspace all target: prefix: depth: duplicates no-dedupe charset: format: quiet verbose color:
     locked offline frozen limit: message-format: filter-platform: exclude:",
);

const PIP: Options = Options::new(
    "loeufqvr",
    "local outdated editable uptodate format: not-required user verbose quiet files all
     exclude-editable exclude: path< disable-pip-version-check no-input no-color",
);

const GO: Options = Options::new("mf:ju", "");

const NPM: Options = Options::new(
    "agl",
    "depth: all json long parseable global prod production dev only: omit: include: workspace:
     workspaces silent",
);

/// Whether all options are known and change nothing.
fn only(arguments: &[Word], options: &Options) -> bool {
    let given = options.read(arguments);
    given.strange.is_empty() && !given.unsure
}

fn node(first: &str, arguments: &[Word], known: &mut Known) {
    if matches!(
        first,
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
    if has(arguments, &["-g", "--global"]) || first == "global" {
        known.has("installs");
    }
    if matches!(first, "ls" | "list" | "outdated" | "why" | "explain") && only(arguments, &NPM) {
        known.only_reads();
    }
}

fn cargo(first: &str, arguments: &[Word], known: &mut Known) {
    if matches!(first, "publish" | "yank" | "owner" | "login") {
        known.has("publishes");
    }
    if matches!(
        first,
        "tree" | "metadata" | "locate-project" | "search" | "pkgid"
    ) && only(arguments, &CARGO)
    {
        known.only_reads();
    }
    if has(arguments, &["--config"]) {
        known.doubt(
            "options",
            "a setting of cargo can name programs that it runs",
        );
    }
}

/// Clients of services that host repositories.
fn hosted(first: &str, arguments: &[Word], known: &mut Known) {
    let verb = arguments
        .iter()
        .filter_map(Word::text)
        .filter(|text| !text.starts_with('-'))
        .nth(1)
        .unwrap_or_default();
    known.has("network");
    // It says who is logged in, and the token only when told to.
    let says_who = first == "auth"
        && verb == "status"
        && !has(arguments, &["-t", "--show-token"])
        && !arguments.iter().any(Word::is_unknown);
    if says_who {
        return;
    }
    if matches!(first, "auth" | "secret" | "ssh-key") {
        known.has("credentials");
    } else if !matches!(
        verb.as_str(),
        "view" | "list" | "status" | "diff" | "checks" | "watch"
    ) {
        known.has("publishes");
    }
}

fn packages(name: &str, first: &str, arguments: &[Word], known: &mut Known) {
    // `apt show` and the like; dpkg and rpm are told by options.
    let by_word = name != "dpkg"
        && name != "rpm"
        && matches!(first, "list" | "show" | "policy" | "search" | "info");
    let given = PACKAGES.read(arguments);
    let by_option = matches!(name, "dpkg" | "rpm")
        && given.has(&[
            "l",
            "L",
            "s",
            "S",
            "q",
            "list",
            "listfiles",
            "status",
            "query",
        ]);
    if (by_word || by_option) && given.strange.is_empty() {
        known.effects.clear();
        known.only_reads();
    }
}

/// Options of package managers that only show.
const PACKAGES: Options = Options::new(
    "alLsSqicn",
    "list listfiles status search query all installed upgradable versions info json",
);

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
