//! Clones a repository, inside the sandbox and as the session's own user.

use std::path::Path;
use std::time::Duration;

use domain::workspace::{GitReference, GitUrl};
use domain::{GitCredential, GitHost};
use redact::Redactor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::WorkspaceError;
use crate::sandbox::launch::Sandbox;

/// The reference does not exist.
const NO_REFERENCE: i32 = 42;

/// Runs with `sh -c SCRIPT sh URL REFERENCE TARGET ORIGIN`: nothing is pasted into the text. Prints the
/// commit on the last line, if there is one.
///
/// What git shows to the host comes on the standard input, which becomes descriptor 3: a few times the
/// same lines of git's protocol for credentials, since it runs several programs that ask. Git compares
/// scheme, host and port with ORIGIN before it asks for them, also after a redirect, of which it follows
/// the first one only; alternates of another host it does not follow then. No argument, variable or file
/// has them, and nothing else runs in the sandbox as long as somebody could read them.
const SCRIPT: &str = r#"
set -e
exec 3<&0 </dev/null
helper='!f() { test "$1" = get || exit 0; while IFS= read -r line <&3 && test -n "$line"; do printf "%s\n" "$line"; done; }; f'
git() {
  if [ -n "$origin" ]; then set -- -c "credential.$origin.helper=$helper" "$@"; fi
  command git -c protocol.allow=never -c protocol.https.allow=always -c protocol.http.allow=always \
    -c protocol.ssh.allow=always -c protocol.ext.allow=never -c core.hooksPath=/dev/null \
    -c core.fsmonitor=false -c core.symlinks=true -c http.followRedirects=initial -c credential.helper= "$@"
}
origin=$4
git clone --quiet --no-checkout --no-recurse-submodules -- "$1" "$3" >&2
cd "$3"
if [ -z "$2" ]; then
  git rev-parse --verify --quiet HEAD >/dev/null || exit 0
  git checkout --quiet >&2
elif git rev-parse --verify --quiet "refs/remotes/origin/$2^{commit}" >/dev/null; then
  git checkout --quiet -B "$2" --track "refs/remotes/origin/$2" >&2
elif git rev-parse --verify --quiet "refs/tags/$2^{commit}" >/dev/null; then
  git checkout --quiet --detach "refs/tags/$2" >&2
elif printf %s "$2" | grep -Eq '^[0-9a-f]{7,64}$' && git rev-parse --verify --quiet "$2^{commit}" >/dev/null; then
  git checkout --quiet --detach "$2" >&2
elif printf %s "$2" | grep -Eq '^[0-9a-f]{40,64}$' && git fetch --quiet origin "$2" 2>/dev/null; then
  git checkout --quiet --detach FETCH_HEAD >&2
else
  exit 42
fi
git rev-parse HEAD
"#;

/// How often the lines are written: the clone asks once or, over a protocol without a program on the
/// other side, twice, and so does the fetch of a commit. Own: some more. All of it fits into a pipe.
const ASKED: usize = 6;

/// Clones `url` at `reference` into the workspace and gives the commit; `None` for a repository
/// without one. The workspace must be empty.
///
/// # Errors
/// [`WorkspaceError`]: unreachable, not a repository, no such reference, too slow. Everything that
/// was started is gone then.
pub async fn clone(
    sandbox: &Sandbox,
    url: &GitUrl,
    reference: Option<&GitReference>,
    credential: Option<&GitCredential>,
    timeout: Duration,
) -> Result<Option<String>, WorkspaceError> {
    let directories = sandbox.directories();
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let environment = vec![
        own("PATH", SEARCH_PATH),
        own("HOME", &directories.home.inside.display().to_string()),
        own(
            "TMPDIR",
            &directories.temporary.inside.display().to_string(),
        ),
        own("LANG", "C.UTF-8"),
        own("GIT_TERMINAL_PROMPT", "0"),
        own("GIT_CONFIG_NOSYSTEM", "1"),
        own("GIT_ASKPASS", "/bin/false"),
        own(
            "GIT_SSH_COMMAND",
            "ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new",
        ),
    ];
    let mut command = ["/bin/sh", "-c", SCRIPT, "sh", url.as_str()]
        .map(str::to_owned)
        .to_vec();
    command.push(
        reference
            .map(|reference| reference.as_str().to_owned())
            .unwrap_or_default(),
    );
    command.push(directories.workspace.inside.display().to_string());
    let shown = credential.zip(origin(url));
    let (lines, origin) = match &shown {
        Some((credential, origin)) => (lines(credential).repeat(ASKED), origin.clone()),
        None => (String::new(), String::new()),
    };
    command.push(origin);
    let start = &directories.temporary.inside;
    let mut session = sandbox.start(command, environment, Path::new(start), &[])?;
    let stdin = session.child.stdin.take();
    let (stdout, stderr) = (session.child.stdout.take(), session.child.stderr.take());
    let finished = tokio::time::timeout(timeout, async {
        let (out, errors, ()) =
            tokio::join!(text_of(stdout), text_of(stderr), hand_over(stdin, &lines));
        let status = session.child.wait().await;
        (status, out, errors)
    })
    .await;
    // Also after a normal end: nothing that git started may stay.
    let killed = session.kill_all().await;
    let Ok((status, out, errors)) = finished else {
        return Err(WorkspaceError::Refused(format!(
            "cloning the repository took longer than {} s (SHANNON_CLONE_TIMEOUT_SECONDS) and was stopped",
            timeout.as_secs()
        )));
    };
    let errors = without(&errors, credential);
    killed.map_err(|error| WorkspaceError::system("end the clone", error))?;
    let status = status.map_err(|error| WorkspaceError::system("wait for git", error))?;
    match status.code() {
        Some(0) => Ok(out
            .lines()
            .last()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)),
        Some(NO_REFERENCE) => Err(WorkspaceError::Refused(format!(
            "the repository has no branch, tag or commit {:?}",
            reference.map(GitReference::as_str).unwrap_or_default()
        ))),
        Some(127) => Err(WorkspaceError::Refused(
            "git is not installed where sessions run".to_owned(),
        )),
        _ if errors.contains("No space left on device") => Err(WorkspaceError::DiskFull(
            "cannot clone the repository".to_owned(),
        )),
        code => Err(WorkspaceError::Refused(format!(
            "git could not clone the repository (exit code {}): {}",
            code.unwrap_or(-1),
            tail(&errors)
        ))),
    }
}

/// `PATH` of everything a session runs.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Scheme, host and port as git compares them; `None` where there is nobody to show a credential to.
fn origin(url: &GitUrl) -> Option<String> {
    let host = GitHost::of(url)?;
    let (scheme, _) = url.as_str().split_once(':')?;
    Some(format!("{}://{host}", scheme.to_ascii_lowercase()))
}

fn lines(credential: &GitCredential) -> String {
    let (username, token) = (credential.username(), credential.expose_token());
    format!("username={username}\npassword={token}\n\n")
}

/// A program that has ended, or asks for nothing, takes nothing.
async fn hand_over(stdin: Option<tokio::process::ChildStdin>, lines: &str) {
    if let Some(mut stdin) = stdin
        && let Err(error) = stdin.write_all(lines.as_bytes()).await
    {
        tracing::debug!(%error, "git asks for no credential");
    }
}

/// Git says nothing of a token; a server may, in its own words.
fn without(words: &str, credential: Option<&GitCredential>) -> String {
    Redactor::new(credential.map(|it| it.expose_token().to_owned())).clean(words)
}

/// Most of git's words that are kept.
const TAIL_BYTES: usize = 2000;

async fn text_of(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else {
        return String::new();
    };
    let mut chunk = vec![0; 8192];
    // Read to the end, or git would block; a read error is an end.
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..count]);
        let excess = kept.len().saturating_sub(TAIL_BYTES);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}
