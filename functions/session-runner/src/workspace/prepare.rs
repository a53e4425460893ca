//! Puts a session's files in place, and its attachments beside them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::session::Attachment;
use domain::workspace::{Workspace, WorkspaceSource};
use domain::{GitCredential, UploadId};

use super::tree::{Kind, Tree};
use super::{Amount, WorkspaceError, archive, copy, git, git_trust};
use crate::objects::{DownloadError, SessionObjects};
use crate::sandbox::launch::Sandbox;

/// Where attachments lie, in the workspace.
pub const ATTACHMENTS: &str = ".attachments";

/// What became of the workspace.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Files and bytes.
    pub amount: Amount,
    /// The commit, for git.
    pub commit: Option<String>,
    /// What was left out.
    pub skipped: Vec<String>,
    /// Git may be run on these files: see [`git_trust`].
    pub git_is_trusted: bool,
}

/// What preparing needs to know.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For a clone.
    pub clone_timeout: Duration,
    /// Directories that may be copied.
    pub roots: Vec<PathBuf>,
    /// Largest upload.
    pub upload_bytes: u64,
}

/// Fills the empty workspace of `sandbox`; `credential` is for the host of its repository. Cut anywhere, the session must not go on with what is
/// there; nothing of it runs then.
///
/// # Errors
/// [`WorkspaceError`], with words for the person who asked.
pub async fn prepare(
    sandbox: &Sandbox,
    workspace: &Workspace,
    limits: &Limits,
    credential: Option<&GitCredential>,
    objects: &impl SessionObjects,
) -> Result<Prepared, WorkspaceError> {
    let root = sandbox.directories().workspace.outside.clone();
    let mut prepared = Prepared::default();
    match &workspace.source {
        WorkspaceSource::Empty => {}
        WorkspaceSource::Git { url, reference } => {
            let (reference, timeout) = (reference.as_ref(), limits.clone_timeout);
            prepared.commit = git::clone(sandbox, url, reference, credential, timeout).await?;
            let counted = root.clone();
            prepared.amount = blocking(move || Ok(count(&counted))).await?;
        }
        WorkspaceSource::Directory { path } => {
            let (path, roots) = (path.clone(), limits.roots.clone());
            let copied = blocking(move || copy::copy(&path, &roots, &root)).await?;
            (prepared.amount, prepared.skipped) = (copied.amount, copied.skipped);
        }
        WorkspaceSource::Upload(upload) => {
            let file = fetch(sandbox, upload, limits, objects).await?;
            let unpacked = blocking(move || {
                let opened = File::open(&file)
                    .map_err(|error| WorkspaceError::system("open the upload", error))?;
                let unpacked = archive::unpack(opened, &root)?;
                std::fs::remove_file(&file)
                    .map_err(|error| WorkspaceError::system("remove the upload", error))?;
                Ok(unpacked)
            })
            .await?;
            (prepared.amount, prepared.skipped) = (unpacked.amount, unpacked.skipped);
        }
    }
    prepared.git_is_trusted = true;
    if !matches!(workspace.source, WorkspaceSource::Git { .. }) {
        let sandbox = sandbox.clone();
        prepared.git_is_trusted = blocking(move || {
            let root = sandbox.directories().workspace.outside.clone();
            let trusted = git_trust::is_trusted(&root);
            sandbox.give_tree_to_session(&root)?;
            Ok(trusted)
        })
        .await?;
    }
    check_subdirectory(sandbox, workspace)?;
    Ok(prepared)
}

/// Looks at a workspace that was restored. Gives whether git may be run on its files; what a clone
/// of ours has become since is the session's own work.
///
/// # Errors
/// [`WorkspaceError`]: the session cannot work there.
pub fn check_restored(sandbox: &Sandbox, workspace: &Workspace) -> Result<bool, WorkspaceError> {
    check_subdirectory(sandbox, workspace)?;
    let is_clone = matches!(workspace.source, WorkspaceSource::Git { .. });
    Ok(is_clone || git_trust::is_trusted(&sandbox.directories().workspace.outside))
}

/// Where the session starts, in its own paths.
#[must_use]
pub fn working_directory(sandbox: &Sandbox, workspace: &Workspace) -> PathBuf {
    let inside = &sandbox.directories().workspace.inside;
    match &workspace.subdirectory {
        Some(below) => inside.join(below.as_str()),
        None => inside.clone(),
    }
}

fn check_subdirectory(sandbox: &Sandbox, workspace: &Workspace) -> Result<(), WorkspaceError> {
    let Some(below) = &workspace.subdirectory else {
        return Ok(());
    };
    let tree = Tree::open(&sandbox.directories().workspace.outside)?;
    let components: Vec<&str> = below.components().collect();
    match tree.directory(&components) {
        Ok(_) => Ok(()),
        Err(error) => Err(WorkspaceError::Refused(format!(
            "the subdirectory cannot be used: {error}"
        ))),
    }
}

/// Fetches attachments into the workspace and gives the names under which the session finds them.
/// Fetching one again replaces it. Of one that fails nothing stays, so that a disk that it filled has
/// room again.
///
/// # Errors
/// [`WorkspaceError`], with words for the person who sent them.
pub async fn attach(
    sandbox: &Sandbox,
    attachments: &[Attachment],
    limits: &Limits,
    objects: &impl SessionObjects,
) -> Result<Vec<String>, WorkspaceError> {
    let mut names = Vec::new();
    for attachment in attachments {
        let name = attachment.name.clone();
        let plain = !name.is_empty()
            && name != "."
            && name != ".."
            && !name.chars().any(|c| c == '/' || c.is_control());
        if !plain || name.len() > domain::limits::FILE_NAME_BYTES {
            return Err(WorkspaceError::Refused(format!(
                "{name:?} is not a file name"
            )));
        }
        let fetched = fetch(sandbox, &attachment.upload, limits, objects).await?;
        let sandbox = sandbox.clone();
        let shown = format!("{ATTACHMENTS}/{name}");
        blocking(move || {
            let placed = place(&sandbox, &fetched, &name);
            // A rest that cannot be removed is replaced by the next attempt.
            let _ = std::fs::remove_file(&fetched);
            placed
        })
        .await?;
        names.push(shown);
    }
    Ok(names)
}

fn place(sandbox: &Sandbox, fetched: &Path, name: &str) -> Result<(), WorkspaceError> {
    let root = &sandbox.directories().workspace.outside;
    let tree = Tree::open(root)?;
    if tree.kind(&[ATTACHMENTS]) == Ok(Kind::Link) {
        return Err(WorkspaceError::Refused(format!(
            "{ATTACHMENTS} is a symbolic link in this workspace"
        )));
    }
    let mut from = File::open(fetched)
        .map_err(|error| WorkspaceError::system("open the attachment", error))?;
    let mut to = tree.create_file(&[ATTACHMENTS, name], 0o644)?;
    if let Err(error) = std::io::copy(&mut from, &mut to) {
        // The same: the next attempt replaces it.
        let _ = tree.remove_file(&[ATTACHMENTS, name]);
        return Err(WorkspaceError::system(format!("write {name}"), error));
    }
    // By descriptor and never by path: the session may have swapped the directory meanwhile.
    sandbox
        .give_open_file_to_session(&to)
        .and_then(|()| {
            let directory = tree
                .directory(&[ATTACHMENTS])
                .map_err(std::io::Error::other)?;
            sandbox.give_open_file_to_session(&directory)
        })
        .map_err(|error| WorkspaceError::system("give the attachment to the session", error))
}

async fn fetch(
    sandbox: &Sandbox,
    upload: &UploadId,
    limits: &Limits,
    objects: &impl SessionObjects,
) -> Result<PathBuf, WorkspaceError> {
    let file = sandbox.directories().private.join(upload.as_str());
    let downloaded = objects.download(upload, &file, limits.upload_bytes).await;
    if downloaded.is_err() {
        // There may be none; one that cannot be removed is replaced by the next attempt.
        let _ = std::fs::remove_file(&file);
    }
    match downloaded {
        Ok(_) => Ok(file),
        Err(DownloadError::Missing) => Err(WorkspaceError::Refused(format!(
            "the upload {upload} has no file (any more); send the file with the signed request of create_upload first"
        ))),
        Err(DownloadError::TooLarge) => Err(WorkspaceError::Refused(format!(
            "the upload {upload} has more than {} bytes (SHANNON_MAX_UPLOAD_BYTES)",
            limits.upload_bytes
        ))),
        Err(DownloadError::Disk(error)) => Err(WorkspaceError::system(
            format!("store the upload {upload}"),
            error,
        )),
        Err(DownloadError::Unavailable(problem)) => Err(WorkspaceError::System {
            attempted: format!("fetch the upload {upload}"),
            source: std::io::Error::other(problem),
        }),
    }
}

fn count(root: &Path) -> Amount {
    let mut amount = Amount::default();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        // Only for an event: what cannot be read is not counted.
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(data) = entry.metadata() else { continue };
            if data.is_dir() && entry.file_name() != ".git" {
                open.push(entry.path());
            } else if data.is_file() {
                amount.files += 1;
                amount.bytes += data.len();
            }
        }
    }
    amount
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkspaceError> + Send + 'static,
) -> Result<T, WorkspaceError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(WorkspaceError::system(
            "prepare the workspace",
            std::io::Error::other(error),
        )),
    }
}
