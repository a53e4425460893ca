//! One shell command in a session's sandbox, from its start to the end of everything that it started.
//!
//! Both outputs are drained for as long as they are open, so that it never waits for us. What stays of
//! them is bounded, and no secret is in it, wherever the pieces are cut in which it comes.

use std::path::Path;
use std::time::Duration;

use domain::event::{RunEnd, RunHow};
use domain::limits::RUN_OUTPUT_BYTES;
use redact::{Redactor, Stream};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::sandbox::launch::{Sandbox, SandboxError};
use crate::sandbox::plan::{STAGE_FAILED, STAGE_FAILED_CODE};
use crate::sandbox::session::Session;

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// How long an output may stay open once everything has ended: what was written before is in the pipe.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A running command. Dropped, it is killed with all that it started.
pub struct ShellCommand {
    session: Session,
    outputs: [Output; 2],
    started: Instant,
    timeout: Duration,
    stopped: Option<String>,
}

/// How a command ended, and what it printed.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub end: RunEnd,
    /// Its standard output.
    pub stdout: Printed,
    /// Its standard error.
    pub stderr: Printed,
}

/// What was printed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Printed {
    /// The text without secrets; of much the beginning and the end.
    pub text: String,
    /// How many bytes there were.
    pub bytes: u64,
}

impl ShellCommand {
    /// Starts `script`. What secrets are, `redactor` knows.
    ///
    /// # Errors
    /// [`SandboxError`]: nothing has run.
    pub fn start(
        sandbox: &Sandbox,
        script: &str,
        environment: Vec<(String, String)>,
        working_directory: &Path,
        redactor: &Redactor,
        timeout: Duration,
    ) -> Result<Self, SandboxError> {
        let command = ["bash", "-c", script].map(str::to_owned).to_vec();
        let mut session = sandbox.start_beside(command, environment, working_directory)?;
        let streams = (session.child.stdout.take(), session.child.stderr.take());
        let (Some(stdout), Some(stderr)) = streams else {
            return Err(SandboxError::Unsupported(
                "the command was started without pipes".to_owned(),
            ));
        };
        // It has nothing to read.
        drop(session.child.stdin.take());
        Ok(ShellCommand {
            session,
            outputs: [
                Output::start(stdout, redactor.stream()),
                Output::start(stderr, redactor.stream()),
            ],
            started: Instant::now(),
            timeout,
            stopped: None,
        })
    }

    /// It is to end now, for this reason.
    pub fn stop(&mut self, reason: &str) {
        self.stopped.get_or_insert_with(|| reason.to_owned());
    }

    /// Returns when it has ended, its time is over, or it was stopped. Cut off, nothing is lost.
    pub async fn ended(&mut self) {
        if self.stopped.is_some() {
            return;
        }
        tokio::select! {
            // An error is seen again by whoever ends it.
            _ = self.session.child.wait() => {}
            () = sleep_until(self.started + self.timeout) => {}
        }
    }

    /// Ends it, if it has not ended, and everything that it started.
    pub async fn end(mut self) -> Ended {
        let exited = self.session.child.try_wait().ok().flatten();
        let duration = self.started.elapsed();
        let killed = self.session.kill_all().await;
        if let Err(error) = &killed {
            tracing::error!(%error, "a part of a command may have survived");
        }
        let [stdout, stderr] = self.outputs;
        let (stdout, stderr) = tokio::join!(stdout.finish(), stderr.finish());
        let (how, reason) = match (exited, self.stopped) {
            (Some(status), _) if status.code() == Some(STAGE_FAILED_CODE) => {
                // A command may end with the same code.
                match stage_failure(&stderr.text) {
                    Some(words) => (RunHow::Failed, Some(words)),
                    None => (RunHow::Exited, None),
                }
            }
            (Some(_), _) => (RunHow::Exited, None),
            (None, Some(reason)) => (RunHow::Interrupted, Some(reason)),
            (None, None) => {
                let words = format!(
                    "it had not ended after {} s (timeout_seconds), and was killed with all that it started",
                    self.timeout.as_secs()
                );
                (RunHow::TimedOut, Some(words))
            }
        };
        let exit_code = exited
            .filter(|_| how == RunHow::Exited)
            .and_then(|status| status.code());
        let end = RunEnd {
            how,
            exit_code,
            duration_milliseconds: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            reason,
        };
        Ended {
            end,
            stdout,
            stderr,
        }
    }
}

fn stage_failure(stderr: &str) -> Option<String> {
    let last = stderr.trim_end().lines().next_back()?;
    let words = last.strip_prefix(STAGE_FAILED)?;
    Some(format!("it could not be started: {words}"))
}

/// One output, read by a task of its own.
struct Output {
    reading: JoinHandle<Printed>,
    /// Dropped, the task gives what it has.
    go_on: oneshot::Sender<()>,
}

impl Output {
    fn start(pipe: impl AsyncRead + Unpin + Send + 'static, stream: Stream) -> Self {
        let (go_on, stop) = oneshot::channel();
        Output {
            reading: tokio::spawn(read(pipe, stream, stop)),
            go_on,
        }
    }

    async fn finish(mut self) -> Printed {
        let printed = match timeout(LAST_WORDS, &mut self.reading).await {
            Ok(printed) => printed,
            // Something that survived holds it open.
            Err(_) => {
                drop(self.go_on);
                self.reading.await
            }
        };
        printed.unwrap_or_else(|error| {
            tracing::error!(%error, "what a command printed is lost");
            Printed::default()
        })
    }
}

async fn read(
    mut pipe: impl AsyncRead + Unpin,
    mut stream: Stream,
    mut stop: oneshot::Receiver<()>,
) -> Printed {
    let mut kept = Kept::default();
    let mut buffer = vec![0; CHUNK_BYTES];
    // A character that has not come whole.
    let mut open = Vec::new();
    loop {
        let count = tokio::select! {
            count = pipe.read(&mut buffer) => count,
            _ = &mut stop => break,
        };
        match count {
            Ok(0) => break,
            Ok(count) => {
                kept.bytes += count as u64;
                open.extend_from_slice(&buffer[..count]);
                let text = take_text(&mut open);
                kept.add(&stream.push(&text));
            }
            Err(error) => {
                tracing::warn!(%error, "the output of a command cannot be read");
                break;
            }
        }
    }
    kept.add(&stream.push(&String::from_utf8_lossy(&open)));
    kept.add(&stream.finish());
    kept.printed()
}

/// Takes the whole characters; what is none becomes a replacement character.
fn take_text(bytes: &mut Vec<u8>) -> String {
    let begins = |byte: u8| byte & 0b1100_0000 != 0b1000_0000;
    let length = |first: u8| match first {
        0b1100_0000..=0b1101_1111 => 2,
        0b1110_0000..=0b1110_1111 => 3,
        0b1111_0000..=0b1111_0111 => 4,
        _ => 1,
    };
    let last = (1..=bytes.len().min(3)).find(|back| begins(bytes[bytes.len() - back]));
    let open = last.filter(|back| length(bytes[bytes.len() - back]) > *back);
    let end = bytes.len() - open.unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    bytes.drain(..end);
    text
}

/// The beginning and the end of a long text.
#[derive(Debug, Default)]
struct Kept {
    beginning: String,
    end: String,
    /// Bytes between them.
    left_out: usize,
    /// Bytes that came.
    bytes: u64,
}

const HALF: usize = RUN_OUTPUT_BYTES / 2;

impl Kept {
    fn add(&mut self, text: &str) {
        let room = HALF - self.beginning.len();
        let split = if self.end.is_empty() {
            text.floor_char_boundary(room)
        } else {
            0
        };
        self.beginning.push_str(&text[..split]);
        self.end.push_str(&text[split..]);
        if self.end.len() > 2 * HALF {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        let surplus = self.end.len().saturating_sub(HALF);
        let surplus = self.end.ceil_char_boundary(surplus);
        self.end.drain(..surplus);
        self.left_out += surplus;
    }

    fn printed(mut self) -> Printed {
        self.shorten();
        let gap = match self.left_out {
            0 => String::new(),
            bytes => format!("\n[{bytes} bytes are left out here]\n"),
        };
        Printed {
            text: format!("{}{gap}{}", self.beginning, self.end),
            bytes: self.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn printed(pieces: &[&[u8]], pipe_bytes: usize) -> Printed {
        use tokio::io::AsyncWriteExt;
        let (mut writer, reader) = tokio::io::duplex(pipe_bytes);
        let redactor = Redactor::new(vec!["the-secret-of-this-session".to_owned()]);
        let reading = Output::start(reader, redactor.stream());
        for piece in pieces {
            writer.write_all(piece).await.expect("read");
        }
        drop(writer);
        reading.finish().await
    }

    #[tokio::test]
    async fn characters_and_secrets_may_be_cut_anywhere() {
        let text = "é€😀 the-secret-of-this-session end";
        for at in 0..text.len() {
            let (first, second) = text.as_bytes().split_at(at);
            let printed = printed(&[first, second], 8).await;
            assert!(printed.text.starts_with("é€😀 [redacted"), "{printed:?}");
            assert!(printed.text.ends_with(" end"), "{printed:?}");
            assert_eq!(printed.bytes, text.len() as u64);
        }
        let broken = printed(&[b"a\xff\xf0\x9f", b"b\xe2\x82"], 8).await;
        assert_eq!(broken.text, "a\u{fffd}\u{fffd}b\u{fffd}");
    }

    #[tokio::test]
    async fn of_much_the_beginning_and_the_end_stay() {
        let most = "é".repeat(HALF);
        let whole = printed(&[most.as_bytes()], CHUNK_BYTES).await;
        assert_eq!(whole.text, most);
        let long = format!("first {} last", "é".repeat(10 * HALF));
        let kept = printed(&[long.as_bytes()], CHUNK_BYTES).await;
        assert_eq!(kept.bytes, long.len() as u64);
        assert!(kept.text.len() < RUN_OUTPUT_BYTES + 100);
        assert!(kept.text.starts_with("first ") && kept.text.ends_with(" last"));
        assert!(kept.text.contains("bytes are left out here"));
    }
}
