//! The files behind the logs: one `<name>.log` per name, and the older ones `<name>.log.1` (the newest
//! of them) and up. A file that is full makes way before the next line; the oldest is deleted.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// How much of one name's log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Size at which a file makes way (`SHANNON_LOG_FILE_MAX_BYTES`). A line is never cut, so a file
    /// with one longer line is larger.
    pub file_max_bytes: u64,
    /// Files of one name, the one that is written included (`SHANNON_LOG_FILE_COUNT`).
    pub file_count: u64,
    /// A file that nobody has written to for longer goes when the logs are opened
    /// (`SHANNON_LOG_RETENTION_DAYS`).
    pub longest: Duration,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            file_max_bytes: 104_857_600,
            file_count: 10,
            longest: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

/// The open files of one directory.
#[derive(Debug)]
pub(super) struct LogFiles {
    directory: PathBuf,
    limits: LogLimits,
    open: HashMap<String, Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
}

impl LogFiles {
    /// Makes the directory, or removes old files from the one that is there.
    pub(super) fn new(directory: PathBuf, limits: LogLimits) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        remove_old(&directory, limits.longest)?;
        Ok(Self {
            directory,
            limits,
            open: HashMap::new(),
        })
    }

    /// Appends one line, which ends with a line feed, in one write: lines of several instances never
    /// interleave. After an error the file is opened again with the next line: the disk may have room
    /// then.
    pub(super) fn append(&mut self, name: &str, line: &[u8]) -> io::Result<()> {
        let written = self.try_append(name, line);
        if written.is_err() {
            self.open.remove(name);
        }
        written
    }

    fn try_append(&mut self, name: &str, line: &[u8]) -> io::Result<()> {
        let path = self
            .directory
            .join(format!("{}.log", name.replace('/', "_")));
        let open = match self.open.entry(name.to_owned()) {
            std::collections::hash_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => place.insert(open(&path)?),
        };
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if open.bytes > 0 && open.bytes.saturating_add(length) > self.limits.file_max_bytes {
            make_way(&path, self.limits.file_count)?;
            *open = self::open(&path)?;
        }
        open.file.write_all(line)?;
        open.bytes += length;
        Ok(())
    }
}

/// Removes logs that were last written longer ago. A clock that went back keeps them.
fn remove_old(directory: &Path, longest: Duration) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let about = entry.metadata()?;
        let ours = about.is_file() && (name.ends_with(".log") || name.contains(".log."));
        let age = SystemTime::now().duration_since(about.modified()?);
        if ours && age.is_ok_and(|age| age > longest) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<Open> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok(Open { file, bytes })
}

/// Renames `<name>.log` to `.1`, `.1` to `.2` and so on, from the oldest on; of `count` files in all
/// the last one goes. Cut in between, a number is missing and nothing is lost.
fn make_way(path: &Path, count: u64) -> io::Result<()> {
    let numbered = |number: u64| match number {
        0 => path.to_owned(),
        number => path.with_extension(format!("log.{number}")),
    };
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    let oldest = count.saturating_sub(1);
    gone(fs::remove_file(numbered(oldest)))?;
    for number in (0..oldest).rev() {
        gone(fs::rename(numbered(number), numbered(number + 1)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(limits: LogLimits, lines: u32) -> Vec<(String, String)> {
        let directory = tempfile::tempdir().unwrap();
        let mut files = LogFiles::new(directory.path().join("logs"), limits).unwrap();
        for number in 0..lines {
            if number == lines / 2 {
                // As after a restart: what is there counts.
                files = LogFiles::new(directory.path().join("logs"), limits).unwrap();
            }
            files
                .append("a/b", format!("line {number}\n").as_bytes())
                .unwrap();
        }
        let mut kept: Vec<_> = fs::read_dir(directory.path().join("logs"))
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        kept.sort();
        kept
    }

    fn named(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        files.iter().map(owned).collect()
    }

    #[test]
    fn the_size_and_the_number_of_files_are_those_of_the_settings() {
        let limits = |file_max_bytes, file_count| LogLimits {
            file_max_bytes,
            file_count,
            ..LogLimits::default()
        };
        // Two lines of seven bytes fit into a file.
        assert_eq!(
            kept(limits(14, 3), 9),
            named(&[
                ("a_b.log", "line 8\n"),
                ("a_b.log.1", "line 6\nline 7\n"),
                ("a_b.log.2", "line 4\nline 5\n"),
            ])
        );
        assert_eq!(
            kept(limits(14, 2), 9),
            named(&[("a_b.log", "line 8\n"), ("a_b.log.1", "line 6\nline 7\n")])
        );
        assert_eq!(kept(limits(14, 1), 9), named(&[("a_b.log", "line 8\n")]));
        assert_eq!(kept(limits(1000, 3), 9).len(), 1);
        // A line that is longer than a file may be stays whole.
        assert_eq!(
            kept(limits(3, 2), 3),
            named(&[("a_b.log", "line 2\n"), ("a_b.log.1", "line 1\n")])
        );
    }
}
