//! Where the emulator's own lines go: standard error, and for a service a file, too.

use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::{process::OwnLog, settings::Settings};

/// Who reads the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// A person who looks at a running stack.
    Person,
    /// A person who wants to see something else.
    Busy,
    /// Whatever collects the logs of a machine.
    Collector,
}

/// Lines for `reader`, as the settings say; of a [`Reader::Collector`] as JSON unless they go to a
/// terminal or the format was chosen.
pub(super) fn start(settings: &Settings, reader: Reader, own: OwnLog) {
    let level = match settings.text("SHANNON_LOG_LEVEL") {
        _ if settings.on("SHANNON_DEBUG") => "debug",
        _ if reader == Reader::Busy && !settings.is_given("SHANNON_LOG_LEVEL") => "warn",
        Some(level) => level,
        None => "info",
    };
    // s3s calls every missing object an error; ours are in the log of the function that asked.
    let filter = format!("{level},s3s=off");
    let terminal = io::stderr().is_terminal();
    let logging = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(Both(own))
        .with_ansi(terminal);
    let set = if is_json(settings, reader) {
        logging.json().flatten_event(true).try_init()
    } else {
        logging.try_init()
    };
    if let Err(error) = set {
        eprintln!("emulator: no logging: {error}");
    }
}

/// Whether a line is a JSON object.
pub(super) fn is_json(settings: &Settings, reader: Reader) -> bool {
    let chosen = settings.is_given("SHANNON_LOG_FORMAT");
    let collected = reader == Reader::Collector && !io::stderr().is_terminal();
    settings.text("SHANNON_LOG_FORMAT") == Some("json") && (chosen || collected)
}

/// Standard error and the file.
struct Both(OwnLog);

impl<'writer> MakeWriter<'writer> for Both {
    type Writer = Line<'writer>;

    fn make_writer(&'writer self) -> Line<'writer> {
        Line {
            own: &self.0,
            text: Vec::new(),
        }
    }
}

/// One line, written when it is complete.
struct Line<'own> {
    own: &'own OwnLog,
    text: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        // Where neither can be written there is nobody left to tell.
        let shown = io::stderr().lock().write_all(&self.text);
        if let Err(error) = self.own.append(&self.text)
            && shown.is_ok()
        {
            eprintln!("emulator: the log file cannot be written: {error}");
        }
    }
}
