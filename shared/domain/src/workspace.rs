//! Where a session's files come from, and which sources are refused before anything touches them.

use thiserror::Error;
use url::{Host, Url};

use crate::{UploadId, limits};

/// Where the files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// The source.
    pub source: WorkspaceSource,
    /// A directory inside it to work in, relative and normalised; the CLI starts there.
    pub subdirectory: Option<RelativePath>,
}

/// The source of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkspaceSource {
    /// Nothing.
    Empty,
    /// A repository, cloned by the runner.
    Git {
        /// Where from.
        url: GitUrl,
        /// Branch, tag or commit; the remote's default branch when absent.
        reference: Option<GitReference>,
    },
    /// A directory of the machine the stack runs on, copied. Only local stacks allow it.
    Directory {
        /// Absolute path; the runner checks it against the allowed roots after resolving links.
        path: String,
    },
    /// An uploaded tar archive, gzip-compressed.
    Upload(UploadId),
}

impl WorkspaceSource {
    /// As stored and shown.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Git { .. } => "git",
            Self::Directory { .. } => "directory",
            Self::Upload(_) => "upload",
        }
    }
}

/// Why a workspace was refused; the caller corrects it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidWorkspace {
    /// Not a URL that git may be given.
    #[error("not a usable git URL: {0}")]
    Url(&'static str),
    /// Not a branch, tag or commit.
    #[error("not a usable git ref: {0}")]
    Reference(&'static str),
    /// Not a path inside the workspace.
    #[error("not a path inside the workspace: {0}")]
    Path(&'static str),
    /// Not a directory this deployment copies.
    #[error("not a usable directory: {0}")]
    Directory(&'static str),
}

/// A URL that git may be given: `https`, `ssh`, or `http` to a loopback host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitUrl(String);

impl GitUrl {
    /// Refuses everything through which git runs programs, reads local files or leaks secrets:
    /// other schemes (`file:`, `ext::`), options, credentials, control characters. `http` is for
    /// loopback only, and only when `local` (a local stack) says so; so are loopback hosts.
    ///
    /// # Errors
    /// [`InvalidWorkspace::Url`] with the rule that was broken.
    pub fn parse(text: &str, local: bool) -> Result<Self, InvalidWorkspace> {
        let refuse = |rule| Err(InvalidWorkspace::Url(rule));
        if text.is_empty() || text.len() > limits::GIT_URL_BYTES {
            return refuse("it must have 1 to 2048 bytes");
        }
        if text.starts_with('-') {
            return refuse("it must not start with '-'");
        }
        if text
            .chars()
            .any(|character| character.is_control() || character.is_whitespace())
        {
            return refuse("it must not contain white space or control characters");
        }
        if text.contains("::") && !text.contains("://[") {
            return refuse("transport helpers (`ext::`) are not allowed; use https:// or ssh://");
        }
        let Ok(url) = Url::parse(text) else {
            return refuse("use a full https:// or ssh:// URL");
        };
        let loopback = match url.host() {
            None | Some(Host::Domain("")) => return refuse("it names no host"),
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
        };
        match url.scheme() {
            "https" | "ssh" => {}
            "http" if loopback => {}
            "http" => return refuse("http:// is not encrypted; use https://"),
            _ => return refuse("only https:// and ssh:// are allowed"),
        }
        if loopback && !local {
            return refuse("loopback hosts are not reachable from this deployment");
        }
        if url.password().is_some() || (url.scheme() != "ssh" && !url.username().is_empty()) {
            return refuse("it must not contain credentials");
        }
        if url.username().starts_with('-')
            || url.host_str().is_some_and(|host| host.starts_with('-'))
        {
            return refuse("user and host must not start with '-'");
        }
        Ok(Self(text.to_owned()))
    }

    /// The URL as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A branch, tag or commit as `git check-ref-format` allows them, without revision syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitReference(String);

impl GitReference {
    /// # Errors
    /// [`InvalidWorkspace::Reference`] with the rule that was broken.
    pub fn parse(text: &str) -> Result<Self, InvalidWorkspace> {
        let refuse = |rule| Err(InvalidWorkspace::Reference(rule));
        if text.is_empty() || text.len() > limits::FILE_NAME_BYTES {
            return refuse("it must have 1 to 255 bytes");
        }
        if text.starts_with('-') {
            return refuse("it must not start with '-'");
        }
        if text.starts_with('/')
            || text.ends_with(['/', '.'])
            || text.contains("..")
            || text.contains("//")
        {
            return refuse(
                "it must not start or end with '/', end with '.', or contain '..' or '//'",
            );
        }
        if text.contains("@{")
            || text.chars().any(|character| {
                character.is_control()
                    || character.is_whitespace()
                    || "~^:?*[\\".contains(character)
            })
        {
            return refuse(
                "it must not contain white space, control characters or any of ~^:?*[\\ and '@{'",
            );
        }
        if text
            .split('/')
            .any(|part| part.starts_with('.') || part.ends_with(".lock"))
        {
            return refuse("no part of it may start with '.' or end with '.lock'");
        }
        Ok(Self(text.to_owned()))
    }

    /// The text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A relative path without `.`, `..` or empty components: it stays inside wherever it starts, as
/// long as whoever walks it follows no link.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelativePath(String);

impl RelativePath {
    /// Normalises `a//b/./c` to `a/b/c`; a leading `/workspace/` is taken off, because that is how
    /// a session names its own files.
    ///
    /// # Errors
    /// [`InvalidWorkspace::Path`] with the rule that was broken.
    pub fn parse(text: &str) -> Result<Self, InvalidWorkspace> {
        let refuse = |rule| Err(InvalidWorkspace::Path(rule));
        if text.is_empty() || text.len() > limits::PATH_BYTES {
            return refuse("it must have 1 to 4095 bytes");
        }
        if text.contains('\0') {
            return refuse("it must not contain NUL");
        }
        let text = text.strip_prefix("/workspace/").unwrap_or(text);
        if text.starts_with('/') {
            return refuse("it must be relative to the workspace");
        }
        let mut components = Vec::new();
        for component in text.split('/') {
            match component {
                "" | "." => {}
                ".." => return refuse("it must not contain '..'"),
                name if name.len() > limits::FILE_NAME_BYTES => {
                    return refuse("no part of it may be longer than 255 bytes");
                }
                name => components.push(name),
            }
        }
        if components.is_empty() {
            return refuse("it names the workspace itself");
        }
        Ok(Self(components.join("/")))
    }

    /// `/`-separated, normalised.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its parts, from the outermost.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

/// Checks the text of a local directory; links and roots are the runner's to check, on the machine
/// that has them.
///
/// # Errors
/// [`InvalidWorkspace::Directory`] when the deployment copies none, or the path is not absolute and
/// normalised.
pub fn check_directory(path: &str, roots: &[String]) -> Result<(), InvalidWorkspace> {
    let refuse = |rule| Err(InvalidWorkspace::Directory(rule));
    if roots.is_empty() {
        return refuse("this deployment copies no local directories; use a git URL or an upload");
    }
    if path.len() > limits::PATH_BYTES || path.contains('\0') {
        return refuse("it must have at most 4095 bytes and no NUL");
    }
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return refuse("it must be an absolute path without '..'");
    }
    let inside = roots.iter().any(|root| {
        let root = root.trim_end_matches('/');
        path == root
            || path
                .strip_prefix(root)
                .is_some_and(|rest| rest.starts_with('/'))
    });
    if inside {
        Ok(())
    } else {
        refuse("it is not under a directory of SHANNON_WORKSPACE_ROOTS")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn git_urls() {
        for good in [
            "https://example.com/a/b.git",
            "ssh://git@example.com/a/b.git",
            "https://example.com:8443/a",
        ] {
            assert!(GitUrl::parse(good, false).is_ok(), "{good}");
        }
        assert!(GitUrl::parse("http://127.0.0.1:9000/a.git", true).is_ok());
        for bad in [
            "",
            "file:///etc",
            "ext::sh -c id",
            "ext::sh%20-c%20id",
            "--upload-pack=id",
            "-oProxyCommand=id",
            "https://user:secret@example.com/a",
            "https://token@example.com/a",
            "ssh://-oProxyCommand=id/a",
            "ssh://-x@example.com/a",
            "http://example.com/a",
            "http://127.0.0.1/a",
            "https://localhost/a",
            "git://example.com/a",
            "git@example.com:a/b.git",
            "/etc/passwd",
            "../x",
            "https://",
            "https://exa mple.com/a",
            "https://example.com/a\nb",
        ] {
            assert!(GitUrl::parse(bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn git_references() {
        for good in [
            "main",
            "feature/x",
            "v1.2.3",
            "0123456789abcdef0123456789abcdef01234567",
        ] {
            assert!(GitReference::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "", "-x", "a..b", "a b", "a~1", "a^{}", "a:b", "/a", "a/", ".a", "a.lock", "a@{1}",
            "a\\b",
        ] {
            assert!(GitReference::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn directories_stay_under_their_roots() {
        let roots = vec!["/srv/code".to_owned()];
        assert!(check_directory("/srv/code", &roots).is_ok());
        assert!(check_directory("/srv/code/a", &roots).is_ok());
        for bad in [
            "/srv/codex",
            "/srv",
            "srv/code/a",
            "/srv/code/../x",
            "/srv/code/a\0",
        ] {
            assert!(check_directory(bad, &roots).is_err(), "{bad}");
        }
        assert!(check_directory("/srv/code", &[]).is_err());
    }

    proptest! {
        #[test]
        fn relative_paths_never_leave(text in "[a./\\\\]{0,40}") {
            if let Ok(path) = RelativePath::parse(&text) {
                prop_assert!(path.components().all(|part| !part.is_empty() && part != "." && part != ".."));
                prop_assert!(!path.as_str().starts_with('/'));
            }
        }
    }
}
