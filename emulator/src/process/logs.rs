//! What functions and tasks print, kept apart: one file per name, and a live feed of all lines.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use aws_smithy_types::date_time::{DateTime, Format};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::broadcast,
};

mod files;
mod own;

use files::LogFiles;
pub use files::LogLimits;
pub use own::OwnLog;

/// A longer line is cut into several: a process that prints no line end costs no more memory.
const MAX_LINE_BYTES: usize = 256 * 1024;
/// Lines a slow reader of the feed may be behind before it loses some (the files lose none).
const FEED_LINES: usize = 1024;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
    /// The emulator itself, about the process.
    Platform,
}

/// One line of one process.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// Function or task name (`call`, `session-runner`).
    pub name: String,
    /// Which instance or task of that name.
    pub instance: String,
    /// Where it came from.
    pub stream: LogStream,
    /// Without the line end; bytes that are not UTF-8 are replaced.
    pub line: String,
    /// When it was read, by this machine's clock.
    pub at: SystemTime,
}

/// All logs of one running emulator. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Logs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: Option<PathBuf>,
    files: Option<Mutex<LogFiles>>,
    feed: broadcast::Sender<LogLine>,
}

impl Logs {
    /// Logs under `directory`, one `<name>.log` each, appended to; `None` keeps nothing. As much as
    /// [`LogLimits::default`] says is kept.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(directory: Option<PathBuf>) -> io::Result<Self> {
        Self::with_limits(directory, LogLimits::default())
    }

    /// The same with other limits.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn with_limits(directory: Option<PathBuf>, limits: LogLimits) -> io::Result<Self> {
        let files = directory
            .clone()
            .map(|directory| LogFiles::new(directory, limits));
        Ok(Self(Arc::new(Inner {
            directory,
            files: files.transpose()?.map(Mutex::new),
            feed: broadcast::channel(FEED_LINES).0,
        })))
    }

    /// Where the lines of one instance go.
    #[must_use]
    pub fn sink(&self, name: impl Into<String>, instance: impl Into<String>) -> LogSink {
        LogSink {
            logs: self.clone(),
            name: name.into(),
            instance: instance.into(),
        }
    }

    /// All lines from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<LogLine> {
        self.0.feed.subscribe()
    }

    /// Where the files are.
    #[must_use]
    pub fn directory(&self) -> Option<&PathBuf> {
        self.0.directory.as_ref()
    }

    fn write(&self, line: LogLine) {
        if let Some(files) = &self.0.files {
            let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = append(&mut files, &line) {
                tracing::warn!(name = line.name, %error, "cannot write a log file");
            }
        }
        // An error means that nobody listens.
        drop(self.0.feed.send(line));
    }
}

fn append(files: &mut LogFiles, line: &LogLine) -> io::Result<()> {
    let at = DateTime::from(line.at)
        .fmt(Format::DateTime)
        .map_err(io::Error::other)?;
    let text = format!("{at} {} {}\n", line.instance, line.line);
    files.append(&line.name, text.as_bytes())
}

/// Where one process's lines go. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogSink {
    logs: Logs,
    name: String,
    instance: String,
}

impl LogSink {
    /// Adds a line of the emulator's own about the process.
    pub fn note(&self, line: impl Into<String>) {
        self.line(LogStream::Platform, line.into());
    }

    fn line(&self, stream: LogStream, line: String) {
        self.logs.write(LogLine {
            name: self.name.clone(),
            instance: self.instance.clone(),
            stream,
            line,
            at: SystemTime::now(),
        });
    }

    /// Copies lines until the other side closes.
    pub(super) async fn pump(self, stream: LogStream, mut source: impl AsyncRead + Unpin) {
        let mut pending = Vec::new();
        loop {
            match source.read_buf(&mut pending).await {
                Ok(0) => break,
                Ok(_) => self.take_lines(stream, &mut pending),
                Err(error) => {
                    self.note(format!("cannot read its output: {error}"));
                    break;
                }
            }
        }
        if !pending.is_empty() {
            self.line(stream, String::from_utf8_lossy(&pending).into_owned());
        }
    }

    fn take_lines(&self, stream: LogStream, pending: &mut Vec<u8>) {
        let mut start = 0;
        while let Some(length) = pending[start..].iter().position(|byte| *byte == b'\n') {
            let line = &pending[start..start + length];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.line(stream, String::from_utf8_lossy(line).into_owned());
            start += length + 1;
        }
        pending.drain(..start);
        if pending.len() >= MAX_LINE_BYTES {
            self.line(stream, String::from_utf8_lossy(pending).into_owned());
            pending.clear();
        }
    }
}
