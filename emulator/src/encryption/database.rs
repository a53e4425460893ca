//! SQLite files, encrypted with the state's key where it has one (SQLCipher: AES-256 in CBC mode, an
//! HMAC-SHA512 for each page, the write-ahead log included).

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::StateKey;

/// Opens a database, which is made if need be.
///
/// # Errors
/// What SQLite says; "file is not a database" when it was encrypted with another key, or is not
/// encrypted although there is a key.
pub(crate) fn open(path: &Path, key: Option<&StateKey>) -> rusqlite::Result<Connection> {
    with_key(Connection::open(path)?, key)
}

/// The same for a database that has to exist.
pub(crate) fn open_existing(path: &Path, key: Option<&StateKey>) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    with_key(Connection::open_with_flags(path, flags)?, key)
}

/// Says with which key a database is encrypted; before anything else is done with it.
pub(crate) fn set_key(connection: &Connection, key: &StateKey) -> rusqlite::Result<()> {
    connection.pragma_update(None, "key", format!("x'{}'", key.hexadecimal()))
}

/// What opens a database for a program that takes a file's name only: with its key in it, so it is to be
/// shown nowhere.
pub(crate) fn name_with_key(path: &str, key: Option<&StateKey>) -> String {
    let Some(key) = key else {
        return path.to_owned();
    };
    let path = percent_encoding::utf8_percent_encode(path, URI_PATH);
    format!("file:{path}?key=x'{}'", key.hexadecimal())
}

/// What ends the path of a URI, or stands for something else in it.
const URI_PATH: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
    .add(b'%')
    .add(b'?')
    .add(b'#')
    .add(b' ');

fn with_key(connection: Connection, key: Option<&StateKey>) -> rusqlite::Result<Connection> {
    if let Some(key) = key {
        set_key(&connection, key)?;
        // The key is looked at only when a page is read.
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
    }
    Ok(connection)
}
