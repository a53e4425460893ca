//! Reading a piece of a file for a client, while the session may be changing it.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use domain::command::FileContent;
use domain::limits;
use domain::workspace::RelativePath;

use super::tree::Tree;

/// Reads up to `length` bytes from `offset`. Reading past the end gives nothing.
///
/// # Errors
/// Words for the client: a link, a directory, nothing there.
pub fn read_file(
    workspace: &Path,
    path: &RelativePath,
    offset: u64,
    length: u64,
) -> Result<FileContent, String> {
    let tree = Tree::open(workspace).map_err(|error| error.to_string())?;
    let components: Vec<&str> = path.components().collect();
    let (mut file, stat) = tree.file(&components).map_err(|error| error.to_string())?;
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.as_str());
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    let most = length.min(limits::READ_FILE_BYTES as u64);
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    Ok(FileContent {
        bytes,
        file_bytes: u64::try_from(stat.st_size).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_and_links_are_not() {
        let workspace = tempfile::tempdir().unwrap();
        std::fs::write(workspace.path().join("a"), b"0123\xff56789").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", workspace.path().join("out")).unwrap();
        let read = |path: &str, offset, length| {
            read_file(
                workspace.path(),
                &RelativePath::parse(path).unwrap(),
                offset,
                length,
            )
        };
        assert_eq!(
            read("a", 2, 4).unwrap(),
            FileContent {
                bytes: b"23\xff5".to_vec(),
                file_bytes: 10
            }
        );
        assert_eq!(read("a", 20, 4).unwrap().bytes, b"");
        assert!(read("out", 0, 1).unwrap_err().contains("symbolic link"));
        assert!(read("b", 0, 1).unwrap_err().contains("does not exist"));
    }
}
