//! Unpacks an uploaded `tar.gz` into an empty workspace. The archive is somebody else's: nothing
//! in it can name a place outside, go through a link, or make anything but files, directories and
//! links.

use std::io::Read;
use std::path::{Component, Path};

use super::tree::Tree;
use super::{Amount, WorkspaceError};

/// Most entries. Own: a large monorepository has a tenth.
const ENTRIES: u64 = 2_000_000;
/// Most bytes, unpacked. Own: below the smallest disk that a runner can have, so that an archive
/// that unpacks without end is named as what it is.
const UNPACKED_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// What was unpacked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files and bytes.
    pub amount: Amount,
    /// Entries that were left out: devices, pipes and the like.
    pub skipped: Vec<String>,
}

/// Unpacks `archive` into `root`. Run twice it gives the same files.
///
/// # Errors
/// [`WorkspaceError`]; what was unpacked so far stays, the session must not use it.
pub fn unpack(archive: impl Read, root: &Path) -> Result<Unpacked, WorkspaceError> {
    let tree = Tree::open(root)?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    let mut unpacked = Unpacked::default();
    let entries = archive.entries().map_err(broken)?;
    for (index, entry) in (0_u64..).zip(entries) {
        let mut entry = entry.map_err(broken)?;
        if index >= ENTRIES {
            return Err(WorkspaceError::Refused(
                "the archive has more than 2,000,000 entries".to_owned(),
            ));
        }
        let path = entry.path().map_err(broken)?.into_owned();
        let shown = path.display().to_string();
        let Some(components) = components(&path) else {
            return Err(WorkspaceError::Refused(format!(
                "the archive contains the path {shown:?}, which is not inside it"
            )));
        };
        let components: Vec<&str> = components.iter().map(String::as_str).collect();
        if components.is_empty() {
            continue;
        }
        match entry.header().entry_type() {
            tar::EntryType::Directory => drop(tree.make_directory(&components)?),
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let mode = entry.header().mode().unwrap_or(0o644) | 0o600;
                let mut file = tree.create_file(&components, mode)?;
                let room = UNPACKED_BYTES.saturating_sub(unpacked.amount.bytes);
                let bytes = std::io::copy(&mut (&mut entry).take(room + 1), &mut file)
                    .map_err(|error| copy_failed(&shown, error))?;
                if bytes > room {
                    return Err(WorkspaceError::Refused(
                        "the archive unpacks to more than 16 GiB".to_owned(),
                    ));
                }
                unpacked.amount.files += 1;
                unpacked.amount.bytes += bytes;
            }
            tar::EntryType::Symlink => match entry.link_name().map_err(broken)? {
                Some(target) => tree.create_link(&components, &target)?,
                None => {
                    return Err(WorkspaceError::Refused(format!(
                        "the archive's link {shown:?} has no target"
                    )));
                }
            },
            tar::EntryType::Link => {
                unpacked.amount.bytes += hard_link(&tree, &entry, &components, &shown)?;
                unpacked.amount.files += 1;
            }
            _ => unpacked.skipped.push(shown),
        }
    }
    Ok(unpacked)
}

/// A hard link becomes a copy of the file inside that it names.
fn hard_link<R: Read>(
    tree: &Tree,
    entry: &tar::Entry<'_, R>,
    components: &[&str],
    shown: &str,
) -> Result<u64, WorkspaceError> {
    let outside = || {
        WorkspaceError::Refused(format!(
            "the archive's link {shown:?} names no file inside it"
        ))
    };
    let target = entry.link_name().map_err(broken)?.ok_or_else(outside)?;
    let target = self::components(&target).ok_or_else(outside)?;
    let target: Vec<&str> = target.iter().map(String::as_str).collect();
    if target == components {
        return Ok(0);
    }
    let (mut from, _) = tree.file(&target)?;
    let mut to = tree.create_file(components, 0o644)?;
    std::io::copy(&mut from, &mut to)
        .map_err(|error| WorkspaceError::system(format!("unpack {shown}"), error))
}

/// The components of a path that stays inside; `None` for one that does not or is not UTF-8.
fn components(path: &Path) -> Option<Vec<String>> {
    let mut components = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => components.push(name.to_str()?.to_owned()),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(components)
}

fn broken(error: std::io::Error) -> WorkspaceError {
    WorkspaceError::Refused(format!(
        "the upload is not a tar.gz archive, or it is damaged: {error}"
    ))
}

/// Reading the archive and writing the file fail in one place; a full disk is the writer's.
fn copy_failed(shown: &str, error: std::io::Error) -> WorkspaceError {
    match error.raw_os_error() {
        Some(_) => WorkspaceError::system(format!("unpack {shown}"), error),
        None => broken(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn archive(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        fill(&mut builder);
        let tar = builder.into_inner().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).unwrap();
        gzip.finish().unwrap()
    }

    fn entry(
        builder: &mut tar::Builder<Vec<u8>>,
        kind: tar::EntryType,
        path: &str,
        link: &str,
        data: &[u8],
    ) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        // Written raw: the builder itself refuses hostile paths.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }

    #[test]
    fn files_directories_and_links_arrive() {
        let root = tempfile::tempdir().unwrap();
        let bytes = archive(|builder| {
            entry(builder, tar::EntryType::Directory, "./dir/", "", b"");
            entry(builder, tar::EntryType::Regular, "dir/a", "", b"one");
            entry(builder, tar::EntryType::Symlink, "link", "/etc/passwd", b"");
            entry(builder, tar::EntryType::Link, "hard", "dir/a", b"");
            entry(builder, tar::EntryType::Char, "device", "", b"");
        });
        let unpacked = unpack(&bytes[..], root.path()).unwrap();
        assert_eq!(unpacked.amount, Amount { files: 2, bytes: 6 });
        assert_eq!(unpacked.skipped, ["device"]);
        assert_eq!(std::fs::read(root.path().join("hard")).unwrap(), b"one");
        assert!(
            root.path()
                .join("link")
                .symlink_metadata()
                .unwrap()
                .is_symlink()
        );
        assert!(root.path().join("device").symlink_metadata().is_err());
    }

    #[test]
    fn hostile_archives_are_refused() {
        type Fill = fn(&mut tar::Builder<Vec<u8>>);
        let cases: [Fill; 6] = [
            |builder| entry(builder, tar::EntryType::Regular, "../out", "", b"x"),
            |builder| {
                entry(
                    builder,
                    tar::EntryType::Regular,
                    "/tmp/shannon-out",
                    "",
                    b"x",
                )
            },
            |builder| entry(builder, tar::EntryType::Regular, "a/../../out", "", b"x"),
            |builder| {
                entry(builder, tar::EntryType::Symlink, "up", "..", b"");
                entry(builder, tar::EntryType::Regular, "up/out", "", b"x");
            },
            |builder| entry(builder, tar::EntryType::Link, "hard", "/etc/passwd", b""),
            |builder| {
                entry(builder, tar::EntryType::Symlink, "s", "/etc/passwd", b"");
                entry(builder, tar::EntryType::Link, "hard", "s", b"");
            },
        ];
        for (index, fill) in cases.into_iter().enumerate() {
            let parent = tempfile::tempdir().unwrap();
            let root = parent.path().join("workspace");
            std::fs::create_dir(&root).unwrap();
            let error = unpack(&archive(fill)[..], &root).unwrap_err();
            assert!(
                matches!(error, WorkspaceError::Refused(_)),
                "{index}: {error}"
            );
            assert!(!parent.path().join("out").exists(), "{index}");
        }
    }

    #[test]
    fn what_is_no_archive_says_so() {
        let root = tempfile::tempdir().unwrap();
        let whole = archive(|builder| entry(builder, tar::EntryType::Regular, "a", "", &[7; 5000]));
        for bytes in [&b"garbage"[..], b"", &whole[..whole.len() / 2]] {
            let error = unpack(bytes, root.path()).unwrap_err().to_string();
            assert!(
                error.contains("not a tar.gz archive, or it is damaged"),
                "{error}"
            );
        }
    }
}
