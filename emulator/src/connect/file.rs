//! An entry in a client's configuration file: everything else of the file stays byte for byte, the
//! file is replaced in one step, and what it was is kept beside it.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
use thiserror::Error;

/// The member with all servers.
const SERVERS: &str = "mcpServers";
/// Far more than any such file has.
const MOST_BYTES: u64 = 8 * 1024 * 1024;
/// What some editors begin a file with.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// A file with a token in it is its owner's.
const PRIVATE: u32 = 0o600;

/// Why nothing was written. The file is as it was.
#[derive(Debug, Error)]
pub enum FileError {
    /// It is something else than the client's file, or damaged.
    #[error("{} {problem}; correct it, or put the entry in by hand. Nothing was changed", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The operating system refused.
    #[error("cannot {action} {}. Nothing was changed", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Somebody else wrote it meanwhile.
    #[error("{} was changed by somebody else meanwhile; nothing was changed by us. Try again", .0.display())]
    Changed(PathBuf),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// The entry was there already.
    Unchanged,
    /// It is there now.
    Entry {
        /// Whether another one had the name before.
        replaced: bool,
        /// The former file, if there was one.
        backup: Option<PathBuf>,
    },
}

/// Puts `entry` below the name into the file, which is made when it is not there. Cut at any moment, the
/// file is the former or the new one, whole; a backup may be left. Doing it again changes nothing.
///
/// # Errors
/// [`FileError`].
pub fn write(path: &Path, name: &str, entry: &Value) -> Result<Written, FileError> {
    // What is linked is written, and the link stays.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let fail = |action, source| FileError::System {
        action,
        path: path.clone(),
        source,
    };
    let before = read(path)?;
    let merged = merge(before.as_deref().unwrap_or_default(), name, entry).map_err(|problem| {
        FileError::NotOurs {
            path: path.clone(),
            problem,
        }
    })?;
    let Some((text, replaced)) = merged else {
        return Ok(Written::Unchanged);
    };
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(|source| fail("make the directory of", source))?;
    let backup = match &before {
        Some(before) => Some(back_up(path, before).map_err(|source| fail("copy", source))?),
        None => None,
    };
    let mut new = tempfile::Builder::new()
        .prefix(".shannon-")
        .permissions(fs::Permissions::from_mode(mode(path)))
        .tempfile_in(directory)
        .map_err(|source| fail("write beside", source))?;
    new.write_all(text.as_bytes())
        .and_then(|()| new.as_file().sync_all())
        .map_err(|source| fail("write beside", source))?;
    if read(path)? != before {
        return Err(FileError::Changed(path.clone()));
    }
    match new.persist(path) {
        Ok(_) => Ok(Written::Entry { replaced, backup }),
        Err(error) => Err(fail("replace", error.error)),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).map_or(PRIVATE, |about| about.permissions().mode() & 0o777)
}

fn read(path: &Path) -> Result<Option<String>, FileError> {
    let fail = |source| FileError::System {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let not_ours = |problem: &str| FileError::NotOurs {
        path: path.to_owned(),
        problem: problem.to_owned(),
    };
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    if !about.is_file() {
        return Err(not_ours("is no file"));
    }
    if about.len() > MOST_BYTES {
        return Err(not_ours("is larger than any such file"));
    }
    let bytes = fs::read(path).map_err(fail)?;
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| not_ours("is no text in UTF-8"))
}

/// The former file under a name that nothing has.
fn back_up(path: &Path, text: &str) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    for attempt in now..now + 100 {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".before-shannon-{attempt}"));
        let backup = path.with_file_name(name);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(mode(path));
        match options.open(&backup) {
            Ok(mut file) => {
                file.write_all(text.as_bytes())?;
                file.sync_all()?;
                return Ok(backup);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

/// The new text of the file, and whether an entry was replaced; `None` when it has the entry. The
/// error says what is wrong with the file.
fn merge(text: &str, name: &str, entry: &Value) -> Result<Option<(String, bool)>, String> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut file = if text.trim().is_empty() {
        Members::default()
    } else {
        Members::of(text).map_err(|problem| format!("is no JSON object: {problem}"))?
    };
    file.only_once(SERVERS)?;
    let mut servers = match file.get(SERVERS) {
        Some(servers) => Members::of(servers)
            .map_err(|problem| format!("has {SERVERS} that is no object: {problem}"))?,
        None => Members::default(),
    };
    servers.only_once(name)?;
    let former = servers.get(name).map(serde_json::from_str::<Value>);
    if let Some(Ok(former)) = &former
        && former == entry
    {
        return Ok(None);
    }
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    servers.set(name, indented(&pretty(entry), 4));
    file.set(SERVERS, servers.text(2));
    Ok(Some((file.text(0) + "\n", former.is_some())))
}

fn indented(text: &str, columns: usize) -> String {
    text.replace('\n', &format!("\n{}", " ".repeat(columns)))
}

/// The members of an object in their order, each with its value as it is spelt.
#[derive(Debug, Default)]
struct Members(Vec<(String, String)>);

impl Members {
    fn of(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    fn get(&self, name: &str) -> Option<&str> {
        let mut members = self.0.iter();
        members.find_map(|(found, value)| (found == name).then_some(value.as_str()))
    }

    /// Of two with one name, clients use one or the other.
    fn only_once(&self, name: &str) -> Result<(), String> {
        match self.0.iter().filter(|(found, _)| found == name).count() {
            0 | 1 => Ok(()),
            _ => Err(format!("has {name} more than once")),
        }
    }

    fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(found, _)| found == name) {
            Some((_, former)) => *former = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// As an object whose closing bracket is in this column.
    fn text(&self, column: usize) -> String {
        let outer = " ".repeat(column);
        let members: Vec<String> = self
            .0
            .iter()
            .map(|(name, value)| format!("{outer}  {}: {value}", Value::from(name.as_str())))
            .collect();
        format!("{{\n{}\n{outer}}}", members.join(",\n"))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    members.push((name, value.get().to_owned()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("Claude/claude_desktop_config.json");
        (directory, file)
    }

    fn names(file: &Path) -> Vec<String> {
        let entries = fs::read_dir(file.parent().unwrap()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_new_file_is_made_and_is_private() {
        let (_directory, file) = place();
        let entry = json!({"command": "x"});
        let written = write(&file, "shannon", &entry).unwrap();
        assert_eq!(
            written,
            Written::Entry {
                replaced: false,
                backup: None
            }
        );
        let text = fs::read_to_string(&file).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, json!({"mcpServers": {"shannon": {"command": "x"}}}));
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(write(&file, "shannon", &entry).unwrap(), Written::Unchanged);
        assert_eq!(names(&file), ["claude_desktop_config.json"]);
    }

    #[test]
    fn everything_else_stays_as_it_is_spelt() {
        let (_directory, file) = place();
        fs::create_dir(file.parent().unwrap()).unwrap();
        let before = "\u{feff}{ \"z\": 1.50, \"a\": [ 1,2 ],\n\"mcpServers\": {\"other\": { \"env\": {\"K\":\"\\u00e9\"} }, \"shannon\": {\"command\": \"old\"}},\n \"big\": 123456789012345678901234567890 }";
        fs::write(&file, before).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let written = write(&file, "shannon", &json!({"command": "new"})).unwrap();
        let Written::Entry {
            replaced: true,
            backup: Some(backup),
        } = written
        else {
            panic!("{written:?}");
        };
        assert_eq!(fs::read_to_string(&backup).unwrap(), before);
        let after = fs::read_to_string(&file).unwrap();
        for kept in [
            "\"z\": 1.50",
            "\"a\": [ 1,2 ]",
            "\"other\": { \"env\": {\"K\":\"\\u00e9\"} }",
            "\"big\": 123456789012345678901234567890",
        ] {
            assert!(after.contains(kept), "{kept}: {after}");
        }
        assert!(after.find("\"z\"") < after.find("\"a\""), "{after}");
        let read: Value = serde_json::from_str(&after).unwrap();
        assert_eq!(read["mcpServers"]["shannon"]["command"], "new");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o640
        );
        write(&file, "second", &json!({})).unwrap();
        assert_eq!(names(&file).len(), 3, "two backups");
    }

    #[test]
    fn a_file_that_is_not_the_clients_is_left_alone() {
        for (before, problem) in [
            ("{\"mcpServers\": {}", "is no JSON object"),
            ("{\"a\": 1,}", "is no JSON object"),
            ("// comment\n{}", "is no JSON object"),
            ("[]", "is no JSON object"),
            ("null", "is no JSON object"),
            ("{} {}", "is no JSON object"),
            ("{\"mcpServers\": []}", "mcpServers that is no object"),
            ("{\"mcpServers\": null}", "mcpServers that is no object"),
            (
                "{\"mcpServers\": {}, \"mcpServers\": {}}",
                "mcpServers more than once",
            ),
            (
                "{\"mcpServers\": {\"shannon\": 1, \"shannon\": 2}}",
                "shannon more than once",
            ),
        ] {
            let (_directory, file) = place();
            fs::create_dir(file.parent().unwrap()).unwrap();
            fs::write(&file, before).unwrap();
            let refused = write(&file, "shannon", &json!({})).unwrap_err().to_string();
            assert!(
                refused.contains(problem) && refused.contains("Nothing was changed"),
                "{refused}"
            );
            assert_eq!(fs::read_to_string(&file).unwrap(), before);
            assert_eq!(names(&file).len(), 1, "{before}");
        }
        let (_directory, file) = place();
        fs::create_dir_all(&file).unwrap();
        assert!(write(&file, "shannon", &json!({})).is_err());
        let (_directory, file) = place();
        fs::create_dir(file.parent().unwrap()).unwrap();
        fs::write(&file, [0xff, 0xfe, b'{']).unwrap();
        let refused = write(&file, "shannon", &json!({})).unwrap_err().to_string();
        assert!(refused.contains("UTF-8"), "{refused}");
    }

    #[test]
    fn an_empty_file_is_filled_and_a_link_stays_one() {
        let (directory, file) = place();
        fs::create_dir(file.parent().unwrap()).unwrap();
        let real = directory.path().join("dotfiles.json");
        fs::write(&real, " \n").unwrap();
        std::os::unix::fs::symlink(&real, &file).unwrap();
        write(&file, "shannon", &json!({"command": "x"})).unwrap();
        assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
        let read: Value = serde_json::from_str(&fs::read_to_string(&real).unwrap()).unwrap();
        assert_eq!(read["mcpServers"]["shannon"]["command"], "x");
    }
}
