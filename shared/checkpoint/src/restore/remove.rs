//! Removes trees without following a link.

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, chmodat, statat, unlinkat},
    io::Errno,
};

use crate::{dirs::Directories, path::split};

/// Removes `path` below a root and all that is in it, however deep. Gone already is fine.
pub(super) fn remove(directories: &mut Directories, path: &[u8]) -> Result<(), Errno> {
    let mut todo = vec![path.to_vec()];
    while let Some(path) = todo.last().cloned() {
        let (parent, name) = split(&path);
        let parent = directories.at(parent)?;
        let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {
                todo.pop();
                continue;
            }
            stat => stat?,
        };
        if !FileType::from_raw_mode(stat.st_mode).is_dir() {
            unlinkat(parent, name, AtFlags::empty())?;
            todo.pop();
            continue;
        }
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) => {
                todo.pop();
                continue;
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        // It was a directory a moment ago, and nobody else works here.
        if stat.st_mode & 0o700 != 0o700 {
            chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
        }
        for entry in Dir::read_from(directories.at(&path)?)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                todo.push([&path, &b"/"[..], name].concat());
            }
        }
    }
    Ok(())
}
