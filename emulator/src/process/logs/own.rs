//! The log of the emulator itself, beside those of functions and tasks.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use super::files::{LogFiles, LogLimits};

const NAME: &str = "emulator";

/// Where lines of the emulator go besides its standard error: nowhere until [`OwnLog::open`]. Cheap
/// to clone.
#[derive(Clone, Debug, Default)]
pub struct OwnLog(Arc<OnceLock<Mutex<LogFiles>>>);

impl OwnLog {
    /// Begins to write into `emulator.log` of the directory. Only the first call counts.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(&self, directory: PathBuf, limits: LogLimits) -> io::Result<()> {
        let files = LogFiles::new(directory, limits)?;
        self.0.get_or_init(|| Mutex::new(files));
        Ok(())
    }

    /// Adds a line, which ends with a line feed.
    ///
    /// # Errors
    /// When it cannot be written; the next one is tried again.
    pub fn append(&self, line: &[u8]) -> io::Result<()> {
        let Some(files) = self.0.get() else {
            return Ok(());
        };
        let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
        files.append(NAME, line)
    }
}
