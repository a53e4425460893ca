//! Between the tasks that drain the CLI's outputs and the supervisor, which may be busy.
//!
//! Lines of its output wait in memory up to a number of bytes; then the pipe fills, and the CLI
//! waits. No line is lost. Its standard error never makes it wait: the first lines are kept, further
//! ones are only counted, and all that came within a second is told at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use claude::lines::{LineReader, Piece};
use tokio::io::AsyncRead;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::Heard;

/// What a line takes besides its bytes.
pub(crate) const LINE_BYTES: usize = 64;
/// Longest line of standard error that is kept.
const WARNING_BYTES: usize = 64 * 1024;
/// Lines of standard error that are kept until somebody takes them. Own: what a person reads.
const WARNING_LINES: usize = 50;
/// Bytes of them, unless the first alone has more: as much as a notice shows.
const WARNINGS_BYTES: usize = 2000;
/// Least time between two warnings.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);
/// How long standard error may stay open once the output has ended.
const LAST_WARNING: Duration = Duration::from_millis(200);

/// What the CLI says, line by line.
pub struct Hearing {
    pieces: mpsc::UnboundedReceiver<(Piece, Option<OwnedSemaphorePermit>)>,
    room: Arc<Semaphore>,
    warnings: Arc<Warnings>,
    next_warning: Instant,
    /// Its output has ended.
    ended: bool,
    /// What it said at last on its standard error was waited for.
    waited: bool,
    told: bool,
}

impl Hearing {
    /// Drains both outputs for as long as they are open, whoever listens. At most `buffer_bytes` of
    /// lines wait, or one line.
    pub(super) fn start(
        output: LineReader<impl AsyncRead + Unpin + Send + 'static>,
        errors: impl AsyncRead + Unpin + Send + 'static,
        chunk_bytes: usize,
        buffer_bytes: usize,
    ) -> Self {
        let (sender, pieces) = mpsc::unbounded_channel();
        let most = u32::try_from(buffer_bytes).unwrap_or(u32::MAX).max(1);
        let room = Arc::new(Semaphore::new(most as usize));
        let warnings = Arc::new(Warnings::default());
        tokio::spawn(listen(output, sender, room.clone(), most));
        let errors = LineReader::new(errors, chunk_bytes, WARNING_BYTES);
        tokio::spawn(listen_to_errors(errors, warnings.clone()));
        Hearing {
            pieces,
            room,
            warnings,
            next_warning: Instant::now(),
            ended: false,
            waited: false,
            told: false,
        }
    }

    /// What comes next; after [`Heard::Closed`] nothing. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Heard> {
        if !self.ended {
            let warning = async {
                sleep_until(self.next_warning).await;
                self.warnings.come().await
            };
            tokio::select! {
                piece = self.pieces.recv() => match piece {
                    Some((piece, _room)) => return Some(Heard::Output(piece)),
                    None => self.ended = true,
                },
                warning = warning => {
                    self.next_warning = Instant::now() + WARNING_INTERVAL;
                    return Some(warning);
                }
            }
        }
        if self.told {
            return None;
        }
        if !self.waited {
            // What it said at last explains why it ended. Told once: who still has its standard error
            // may go on for ever. Stopped while it waits, it has taken nothing.
            let _ = timeout(LAST_WARNING, self.warnings.all_came()).await;
            self.waited = true;
            if let Some(warning) = self.warnings.take() {
                return Some(warning);
            }
        }
        self.told = true;
        Some(Heard::Closed)
    }

    /// Nobody listens any more: the CLI must not wait for that.
    pub fn close(&mut self) {
        self.room.close();
        self.pieces.close();
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.close();
    }
}

async fn listen(
    mut reader: LineReader<impl AsyncRead + Unpin>,
    sender: mpsc::UnboundedSender<(Piece, Option<OwnedSemaphorePermit>)>,
    room: Arc<Semaphore>,
    most: u32,
) {
    loop {
        let piece = match reader.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "the CLI's output cannot be read");
                return;
            }
        };
        let bytes = match &piece {
            Piece::Line(line) => line.len() + LINE_BYTES,
            Piece::TooLong { .. } => LINE_BYTES,
        };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(most);
        // Without room for it the line waits here, and the CLI at its pipe; when nobody listens any
        // more, both go on.
        let room = room.clone().acquire_many_owned(bytes).await;
        let _ = sender.send((piece, room.ok()));
    }
}

async fn listen_to_errors(mut reader: LineReader<impl AsyncRead + Unpin>, warnings: Arc<Warnings>) {
    loop {
        match reader.next().await {
            Ok(Some(Piece::Line(line))) => {
                warnings.add(String::from_utf8_lossy(&line).into_owned());
            }
            Ok(Some(Piece::TooLong { bytes })) => {
                warnings.add(format!("[a line of {bytes} bytes]"));
            }
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(%error, "the CLI's standard error cannot be read");
                break;
            }
        }
    }
    warnings.end();
}

/// Lines of standard error that nobody has taken yet.
#[derive(Default)]
struct Warnings {
    waiting: Mutex<Waiting>,
    came: Notify,
    all: Notify,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<String>,
    bytes: usize,
    /// Lines that were not kept.
    more: u64,
    ended: bool,
}

impl Warnings {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // No change can be interrupted half way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, line: String) {
        let mut waiting = self.waiting();
        let fits = waiting.lines.len() < WARNING_LINES
            && waiting.bytes + line.len() <= WARNINGS_BYTES
            && waiting.more == 0;
        if fits || waiting.lines.is_empty() {
            waiting.bytes += line.len();
            waiting.lines.push(line);
        } else {
            waiting.more += 1;
        }
        drop(waiting);
        self.came.notify_one();
    }

    fn end(&self) {
        self.waiting().ended = true;
        self.all.notify_one();
    }

    fn take(&self) -> Option<Heard> {
        let mut waiting = self.waiting();
        if waiting.lines.is_empty() {
            return None;
        }
        waiting.bytes = 0;
        Some(Heard::Warning {
            text: std::mem::take(&mut waiting.lines).join("\n"),
            more: std::mem::take(&mut waiting.more),
        })
    }

    async fn come(&self) -> Heard {
        loop {
            if let Some(warning) = self.take() {
                return warning;
            }
            self.came.notified().await;
        }
    }

    /// Returns when no line can come any more.
    async fn all_came(&self) {
        while !self.waiting().ended {
            self.all.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    fn hearing(buffer_bytes: usize) -> (Hearing, tokio::io::DuplexStream, tokio::io::DuplexStream) {
        let (output, from) = tokio::io::duplex(64);
        let (errors, from_errors) = tokio::io::duplex(64);
        let reader = LineReader::new(from, 16, 1024);
        let hearing = Hearing::start(reader, from_errors, 4096, buffer_bytes);
        (hearing, output, errors)
    }

    /// What is heard until the end: lines, and those of standard error with how many more there were.
    async fn lines(hearing: &mut Hearing) -> (Vec<String>, Vec<String>, u64) {
        let (mut output, mut warnings, mut all) = (Vec::new(), Vec::new(), 0);
        while let Some(heard) = hearing.recv().await {
            match heard {
                Heard::Output(Piece::Line(line)) => {
                    output.push(String::from_utf8(line).expect("text"));
                }
                Heard::Warning { text, more } => {
                    warnings.extend(text.lines().map(str::to_owned));
                    all += more;
                }
                Heard::Output(Piece::TooLong { .. }) | Heard::Closed => {}
            }
        }
        (output, warnings, all)
    }

    #[tokio::test(start_paused = true)]
    async fn an_output_that_nobody_hears_waits_and_is_whole_later() {
        let (mut hearing, mut output, errors) = hearing(1000);
        drop(errors);
        let wrote = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = wrote.clone();
        let writer = tokio::spawn(async move {
            for number in 0..1000 {
                let line = format!("line {number:05}\n");
                output.write_all(line.as_bytes()).await.expect("written");
                count.store(number + 1, std::sync::atomic::Ordering::Relaxed);
            }
        });
        tokio::time::sleep(Duration::from_secs(10)).await;
        let early = wrote.load(std::sync::atomic::Ordering::Relaxed);
        assert!((12..30).contains(&early), "{early} lines of 10 bytes");
        let (lines, warnings, _) = lines(&mut hearing).await;
        let expected = (0..1000).map(|number| format!("line {number:05}"));
        assert_eq!(lines, expected.collect::<Vec<_>>());
        assert_eq!(warnings, Vec::<String>::new());
        writer.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn a_standard_error_that_nobody_hears_never_waits() {
        let (mut hearing, output, mut errors) = hearing(100);
        for number in 0..1000 {
            let line = format!("line {number}\n");
            errors.write_all(line.as_bytes()).await.expect("written");
        }
        drop(errors);
        drop(output);
        let (_, shown, more) = lines(&mut hearing).await;
        assert_eq!(shown[..2], ["line 0", "line 1"]);
        assert!(shown.len() < 200, "{shown:?}");
        assert_eq!(shown.len() + usize::try_from(more).expect("few"), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn an_output_that_has_ended_is_told_while_somebody_writes_to_standard_error() {
        let (mut hearing, output, mut errors) = hearing(100);
        drop(output);
        tokio::spawn(async move {
            while errors.write_all(b"and on\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        // Who stops listening meanwhile loses nothing.
        while timeout(Duration::from_millis(150), hearing.recv())
            .await
            .is_ok()
        {}
        let mut heard = Vec::new();
        let listening = async {
            while let Some(it) = hearing.recv().await {
                heard.push(it);
            }
        };
        timeout(Duration::from_secs(2), listening)
            .await
            .expect("an end");
        assert!(
            matches!(&heard[..], [Heard::Warning { .. }, Heard::Closed]),
            "{heard:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_cli_goes_on_when_nobody_listens_any_more() {
        let (mut hearing, mut output, _errors) = hearing(100);
        hearing.close();
        for _ in 0..1000 {
            output.write_all(b"a line\n").await.expect("written");
        }
    }
}
