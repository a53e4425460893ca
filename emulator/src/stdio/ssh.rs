//! The bridge to a stack on another machine, through ssh: what comes back besides messages (the
//! remote shell may greet) goes to standard error.

use std::{io, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, Command},
};

use super::Ended;

/// How long the other side may take after the end of the input, its own last answers included.
const LAST: Duration = Duration::from_secs(75);

/// Which program on which machine.
#[derive(Clone, Debug)]
pub struct Remote {
    /// As ssh takes it.
    pub host: String,
    /// A program there with its arguments, as the shell there takes them, without `stdio`.
    pub program: String,
}

impl Remote {
    /// Starts ssh.
    ///
    /// # Errors
    /// When there is none.
    pub fn start(&self) -> io::Result<Child> {
        Command::new("ssh")
            // No terminal, and nobody who could type a password into the messages.
            .args(["-T", "-o", "BatchMode=yes", "--"])
            .args([&self.host, &self.program, "stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
    }
}

/// Passes lines both ways until the host closes the input, takes no output any more, `interrupted` is
/// ready, or the other side ends. The flag says whether that ended well.
pub async fn run<I, O>(
    mut remote: Child,
    input: I,
    output: O,
    interrupted: impl Future<Output = ()>,
) -> (Ended, bool)
where
    I: AsyncRead + Unpin + Send + 'static,
    O: AsyncWrite + Unpin + Send + 'static,
{
    let (Some(to), Some(from)) = (remote.stdin.take(), remote.stdout.take()) else {
        return (Ended::Input, false);
    };
    let mut sent = tokio::spawn(send(input, to));
    let mut received = tokio::spawn(receive(BufReader::new(from), output));
    let mut input_ended = false;
    let mut interrupted = std::pin::pin!(interrupted);
    let ended = loop {
        let is_last = input_ended;
        let last = async move {
            if is_last {
                tokio::time::sleep(LAST).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = &mut sent, if !input_ended => input_ended = true,
            received = &mut received => break match received {
                Ok(true) => Ended::Input,
                _ => Ended::Output,
            },
            () = &mut interrupted => break Ended::Interrupted,
            () = last => break Ended::Input,
        }
    };
    sent.abort();
    received.abort();
    // It has closed its output or has no one to write to: it ends, or is ended.
    let status = tokio::time::timeout(Duration::from_secs(5), remote.wait()).await;
    let well = matches!(status, Ok(Ok(status)) if status.success());
    (ended, well || ended != Ended::Input)
}

/// Everything that the host says; the end of it, too.
async fn send(mut input: impl AsyncRead + Unpin, mut to: ChildStdin) {
    if let Err(error) = tokio::io::copy(&mut input, &mut to).await {
        tracing::debug!(%error, "the other side takes no more");
    }
}

/// Lines that are messages. True at the end of them, false when nobody takes them.
async fn receive(
    mut from: impl tokio::io::AsyncBufRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
) -> bool {
    let mut line = Vec::new();
    loop {
        line.clear();
        match from.read_until(b'\n', &mut line).await {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the other side cannot be read any more");
                return true;
            }
        }
        if !is_message(&line) {
            let text = String::from_utf8_lossy(&line);
            eprintln!("ssh: {}", text.trim_end());
            continue;
        }
        let written = async {
            output.write_all(line.trim_ascii()).await?;
            output.write_all(b"\n").await?;
            output.flush().await
        };
        if written.await.is_err() {
            return false;
        }
    }
}

fn is_message(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.first() == Some(&b'{') && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_message;

    #[test]
    fn what_a_shell_says_is_no_message() {
        assert!(is_message(b"{\"jsonrpc\":\"2.0\"}\r\n"));
        for noise in [
            &b"Welcome to host!\n"[..],
            b"\n",
            b"{ motd }\n",
            b"[1]+ Done\n",
            b"0\n",
            b"\x1b[0m{\"jsonrpc\":\"2.0\"}\n",
        ] {
            assert!(!is_message(noise), "{}", String::from_utf8_lossy(noise));
        }
    }
}
