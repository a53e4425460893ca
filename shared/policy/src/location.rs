//! What kind of place a path of a command is.
//!
//! Paths are compared as text: a link in the workspace may lead elsewhere. What must not be left
//! even through a link is the business of the isolation of the session (design §5).

mod patterns;

use serde::Serialize;

pub(crate) use self::patterns::upwards;
use self::patterns::{MANY, NO_DOT, ONE, SOME, UNKNOWN, agrees_name, is_negated};
use crate::Surroundings;
use crate::shell::wrappers::SOMETHING;
use crate::shell::{Directory, Piece, Word};

/// A path, and what kind of place it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Location {
    /// The path for people: absolute where that is known, `…` for what is not known.
    pub path: String,
    /// What it is.
    pub place: LocationKind,
}

/// Kinds of places, the most specific that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LocationKind {
    /// A file or directory of the workspace.
    Workspace,
    /// The workspace itself, or everything in it at once.
    WorkspaceRoot,
    /// Git's own files in the workspace.
    Git,
    /// What the session may read besides: its own spilled results.
    Readable,
    /// A directory for temporary files.
    Scratch,
    /// Somewhere else.
    Outside,
    /// Files of the operating system.
    System,
    /// A device.
    Device,
    /// Not known before the call.
    Unknown,
    /// A home directory itself, or everything in it at once.
    Home,
    /// The root of the file system, one of its first directories, or a directory that holds the
    /// workspace.
    Root,
    /// A file that holds credentials.
    Credentials,
    /// What keeps the gate in place: its settings, its socket.
    Gate,
}

impl LocationKind {
    /// The word that policies use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::WorkspaceRoot => "workspace_root",
            Self::Git => "git",
            Self::Readable => "readable",
            Self::Scratch => "scratch",
            Self::Outside => "outside",
            Self::System => "system",
            Self::Device => "device",
            Self::Unknown => "unknown",
            Self::Home => "home",
            Self::Root => "root",
            Self::Credentials => "credentials",
            Self::Gate => "gate",
        }
    }
}

/// Below a home directory: files and directories that hold credentials.
const HOME_CREDENTIALS: &[&str] = &[
    ".ssh",
    ".aws",
    ".gnupg",
    ".netrc",
    ".git-credentials",
    ".npmrc",
    ".pypirc",
    ".pgpass",
    ".my.cnf",
    ".docker/config.json",
    ".kube/config",
    ".config/gcloud",
    ".config/gh/hosts.yml",
    ".config/op",
    ".azure",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".claude.json",
    ".claude/.credentials.json",
    ".password-store",
    ".vault-token",
    ".local/share/keyrings",
    ".terraform.d/credentials.tfrc.json",
    ".gem/credentials",
    "Library/Keychains",
    ".mozilla/firefox/*/logins.json",
    ".config/rclone/rclone.conf",
];

/// Files that hold credentials.
const CREDENTIALS: &[&str] = &[
    "/etc/shadow",
    "/etc/gshadow",
    "/proc/*/environ",
    "/proc/*/mem",
    "/proc/*/task/*/environ",
    "/proc/kcore",
    "/etc/kubernetes/admin.conf",
    "/etc/krb5.keytab",
];

/// Directories in which every file does.
const CREDENTIAL_DIRECTORIES: &[&str] = &["/etc/ssl/private", "/run/secrets", "/var/run/secrets"];

/// In those directories without credentials in them.
const NO_CREDENTIALS: &[&str] = &[".ssh/known_hosts", ".ssh/config", ".aws/config"];

const HOME_GATE: &[&str] = &[
    ".claude/settings.json",
    ".claude/settings.local.json",
    ".claude/hooks",
    ".claude/plugins",
];

const GATE: &[&str] = &[
    "/etc/claude-code",
    "/Library/Application Support/ClaudeCode",
];

const SCRATCH: &[&str] = &["tmp", "var/tmp", "dev/shm", "private/tmp"];

const SYSTEM: &[&str] = &[
    "bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "opt", "proc", "run", "sbin", "srv",
    "sys", "usr", "var", "System", "Library",
];

const TOP: &[&str] = &["home", "root", "mnt", "media", "Users", "Applications"];

/// Where a word of a command leads, one for each directory the command may be in, and one more for
/// an unknown part that may be empty.
pub(crate) fn locate(
    word: &Word,
    directory: &Directory,
    surroundings: &Surroundings<'_>,
) -> Vec<Location> {
    let text = written(word, surroundings);
    let mut found: Vec<Location> = Vec::new();
    for text in readings(&text) {
        if text.contains(UNKNOWN) {
            found.push(Location {
                path: shown(&text),
                place: LocationKind::Unknown,
            });
            continue;
        }
        if text.starts_with('/') {
            found.push(place(&normalised(&text), surroundings));
            continue;
        }
        match directory {
            Directory::Unknown => found.push(Location {
                path: shown(&text),
                place: LocationKind::Unknown,
            }),
            Directory::Known(ways) | Directory::Partly(ways) => {
                for steps in ways {
                    let base = base(steps, surroundings);
                    found.push(place(&normalised(&format!("{base}/{text}")), surroundings));
                }
                if matches!(directory, Directory::Partly(_)) {
                    found.push(Location {
                        path: shown(&text),
                        place: LocationKind::Unknown,
                    });
                }
            }
        }
    }
    found.sort_by(|a, b| (a.place, &a.path).cmp(&(b.place, &b.path)));
    found.dedup();
    found
}

/// The same for a path of a tool, which no shell has touched.
pub(crate) fn locate_path(path: &str, surroundings: &Surroundings<'_>) -> Location {
    let base = surroundings.place.working_directory;
    let path = match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            format!("{}{rest}", surroundings.home)
        }
        _ => path.to_owned(),
    };
    let path = if path.starts_with('/') {
        path
    } else {
        format!("{base}/{path}")
    };
    place(&normalised(&path), surroundings)
}

fn written(word: &Word, surroundings: &Surroundings<'_>) -> String {
    let mut text = String::new();
    for piece in &word.pieces {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Pattern(pattern) if pattern == "*" => text.push(MANY),
            Piece::Pattern(pattern) if pattern == SOMETHING => text.push(SOME),
            Piece::Pattern(pattern) if is_negated(pattern) && pattern.contains('.') => {
                text.push(NO_DOT);
            }
            Piece::Pattern(_) => text.push(ONE),
            Piece::Home => text.push_str(surroundings.home),
            Piece::HomeOf(user) if user == "root" => text.push_str("/root"),
            Piece::HomeOf(user) => {
                text.push_str("/home/");
                text.push_str(user);
            }
            // Joined to the directory like every relative path.
            Piece::Here if text.is_empty() => text.push('.'),
            Piece::Number => text.push(MANY),
            _ => text.push(UNKNOWN),
        }
    }
    text
}

/// The text, and the text with its unknown parts empty.
fn readings(text: &str) -> Vec<String> {
    let emptied: String = text.chars().filter(|c| *c != UNKNOWN).collect();
    if emptied == text {
        return vec![emptied];
    }
    let mut readings = vec![text.to_owned()];
    if !emptied.is_empty() {
        readings.push(emptied);
    }
    readings
}

fn base(steps: &[String], surroundings: &Surroundings<'_>) -> String {
    let mut base = surroundings.place.working_directory.to_owned();
    for step in steps {
        if let Some(rest) = step.strip_prefix('~') {
            base = format!("{}{rest}", surroundings.home);
        } else if step.starts_with('/') {
            base.clone_from(step);
        } else {
            base = format!("{base}/{step}");
        }
    }
    base
}

fn normalised(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part.to_owned()),
        }
    }
    parts
}

fn shown(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            MANY | SOME => '*',
            ONE | NO_DOT => '?',
            UNKNOWN => '…',
            c => c,
        })
        .collect()
}

fn place(parts: &[String], surroundings: &Surroundings<'_>) -> Location {
    let workspace = normalised(surroundings.place.workspace);
    let place = kind(parts, &workspace, surroundings);
    Location {
        path: shown(&format!("/{}", parts.join("/"))),
        place,
    }
}

fn kind(parts: &[String], workspace: &[String], surroundings: &Surroundings<'_>) -> LocationKind {
    let home = normalised(surroundings.home);
    let is_below = |root: &str| {
        let root = normalised(root);
        parts.len() >= root.len() && agrees(&parts[..root.len()], &root)
    };
    let after_home = after_home(parts, &home);
    let gate = surroundings.protected.iter().any(|root| is_below(root))
        || GATE.iter().any(|root| is_below(root))
        || after_home.is_some_and(|rest| HOME_GATE.iter().any(|file| reaches(rest, file)));
    if gate {
        return LocationKind::Gate;
    }
    let credentials = CREDENTIALS.iter().any(|file| is(parts, file))
        || CREDENTIAL_DIRECTORIES
            .iter()
            .any(|directory| reaches(parts, directory))
        || after_home.is_some_and(|rest| {
            HOME_CREDENTIALS.iter().any(|file| reaches(rest, file))
                && !NO_CREDENTIALS.iter().any(|file| rest.join("/") == *file)
                && !rest.last().is_some_and(|name| name.ends_with(".pub"))
        });
    if credentials {
        return LocationKind::Credentials;
    }
    let is_all = |rest: &[String], wild: &[char]| match rest {
        [] => true,
        [name] => name.chars().all(|c| wild.contains(&c)),
        _ => false,
    };
    let is_everything = |rest: &[String]| is_all(rest, &[MANY, ONE, NO_DOT, SOME, '.']);
    if parts.len() >= workspace.len() && parts[..workspace.len()] == *workspace {
        let rest = &parts[workspace.len()..];
        return if rest.iter().any(|name| agrees_name(name, ".git")) {
            LocationKind::Git
        } else if is_all(rest, &[MANY, ONE, NO_DOT, '.']) {
            LocationKind::WorkspaceRoot
        } else {
            LocationKind::Workspace
        };
    }
    if surroundings
        .place
        .readable
        .iter()
        .any(|root| is_below(root))
    {
        return LocationKind::Readable;
    }
    if let Some(root) = SCRATCH.iter().find(|root| is_below(root)) {
        return if parts.len() > normalised(root).len() {
            LocationKind::Scratch
        } else {
            LocationKind::System
        };
    }
    let holds_workspace =
        parts.len() <= workspace.len() && agrees(parts, &workspace[..parts.len()]);
    let is_top =
        matches!(parts, [name] if SYSTEM.iter().chain(TOP).any(|top| agrees_name(name, top)));
    if is_everything(parts) || holds_workspace || is_top {
        return LocationKind::Root;
    }
    if after_home.is_some_and(is_everything) {
        return LocationKind::Home;
    }
    match parts.first().map(String::as_str) {
        Some("dev") => LocationKind::Device,
        Some(first) if SYSTEM.iter().any(|top| agrees_name(first, top)) => LocationKind::System,
        _ => LocationKind::Outside,
    }
}

/// What follows a home directory, of this user or another.
fn after_home<'a>(parts: &'a [String], home: &[String]) -> Option<&'a [String]> {
    if parts.len() >= home.len() && !home.is_empty() && agrees(&parts[..home.len()], home) {
        return Some(&parts[home.len()..]);
    }
    match parts.first().map(String::as_str) {
        Some("root") => Some(&parts[1..]),
        Some("home" | "Users") if parts.len() > 1 => Some(&parts[2..]),
        _ => None,
    }
}

/// Whether a path, which may be a pattern, may be this file.
fn is(parts: &[String], file: &str) -> bool {
    parts.len() == file.matches('/').count() && reaches(parts, file)
}

/// Whether a path, which may be a pattern, may be this file or below it.
fn reaches(parts: &[String], file: &str) -> bool {
    let file: Vec<&str> = file.split('/').filter(|part| !part.is_empty()).collect();
    parts.len() >= file.len()
        && parts
            .iter()
            .zip(&file)
            .all(|(part, name)| *name == "*" || agrees_name(part, name))
}

fn agrees(parts: &[String], names: &[String]) -> bool {
    parts.len() == names.len()
        && parts
            .iter()
            .zip(names)
            .all(|(part, name)| agrees_name(part, name))
}
