//! Reading a piece of a file for a client, while the session may be changing it.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use domain::command::FileContent;
use domain::limits;
use domain::workspace::RelativePath;
use redact::Redactor;

use super::tree::Tree;

/// Bytes around a piece that are looked at too. Own: the longest secrets are keys of 32 KiB.
const AROUND: u64 = 32 * 1024;

/// Reads up to `length` bytes from `offset`. Reading past the end gives nothing. Each byte of a secret
/// is a `*`, also where a piece has only a part of it.
///
/// # Errors
/// Words for the client: a link, a directory, nothing there.
pub fn read_file(
    workspace: &Path,
    path: &RelativePath,
    offset: u64,
    length: u64,
    redactor: &Redactor,
) -> Result<FileContent, String> {
    let tree = Tree::open(workspace).map_err(|error| error.to_string())?;
    let components: Vec<&str> = path.components().collect();
    let (mut file, stat) = tree.file(&components).map_err(|error| error.to_string())?;
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.as_str());
    let from = offset.saturating_sub(AROUND);
    file.seek(SeekFrom::Start(from)).map_err(failed)?;
    let before = offset - from;
    let most = length.min(limits::READ_FILE_BYTES as u64);
    let mut around = Vec::new();
    file.take(before + most + AROUND)
        .read_to_end(&mut around)
        .map_err(failed)?;
    let start = usize::try_from(before)
        .unwrap_or(usize::MAX)
        .min(around.len());
    let end = around
        .len()
        .min(start + usize::try_from(most).unwrap_or(usize::MAX));
    let bytes = redactor.blank(&around)[start..end].to_vec();
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
                &Redactor::default(),
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
        let key = format!("key = AK{}\n", "IAQ2WERTYUIOPASDFG");
        std::fs::write(workspace.path().join("keys"), key.repeat(2)).unwrap();
        for at in 0..54 {
            let expected = b"key = ********************\n".repeat(2);
            assert_eq!(
                read("keys", at, 1).unwrap().bytes,
                expected[at as usize..][..1]
            );
        }
        assert!(read("out", 0, 1).unwrap_err().contains("symbolic link"));
        assert!(read("b", 0, 1).unwrap_err().contains("does not exist"));
    }
}
