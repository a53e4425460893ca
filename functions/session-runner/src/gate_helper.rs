//! The gate hook's helper: the CLI starts it before each tool call, it asks the runner.
//!
//! It fails closed. The CLI takes exit code 2 as "blocked" and lets a call run when a hook exits 0
//! without saying no, so 0 is returned only behind a well-formed answer.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use claude::gate::{Answer, HOOK_TIMEOUT_SECONDS, ToolCall};

/// Largest hook input: a tool call that writes a big file.
const INPUT_LIMIT_BYTES: u64 = 256 * 1024 * 1024;
const REPLY_LIMIT_BYTES: u64 = 1024 * 1024;
/// How long the runner may hold a call: as long as the CLI waits for this helper. A runner that is
/// gone closes the connection, so nobody waits for that.
const REPLY_TIME: Duration = Duration::from_secs(HOOK_TIMEOUT_SECONDS as u64);

/// Exit code with which the CLI blocks the call and shows the model our stderr.
pub const BLOCK: i32 = 2;

#[derive(Debug, thiserror::Error)]
enum HelperError {
    #[error("the hook input could not be read: {0}")]
    Input(String),
    #[error("the session's runner could not be asked: {0}")]
    Runner(#[source] std::io::Error),
    #[error("the session's runner gave no usable answer")]
    Reply,
}

/// Asks the runner at the socket about the call on `input`, prints the decision on `output`, and
/// returns the exit code.
pub fn run(
    socket: &OsString,
    input: impl Read,
    mut output: impl Write,
    mut errors: impl Write,
) -> i32 {
    let answered = ask(socket, input).and_then(|answer| {
        let text = answer.to_hook_output();
        output
            .write_all(text.as_bytes())
            .and_then(|()| output.flush())
            .map_err(HelperError::Runner)
    });
    match answered {
        Ok(()) => 0,
        Err(error) => {
            // Nothing else can be done if even this cannot be written.
            let _ = writeln!(errors, "The tool call was blocked: {error}.");
            BLOCK
        }
    }
}

fn ask(socket: &OsString, input: impl Read) -> Result<Answer, HelperError> {
    let mut call = Vec::new();
    input
        .take(INPUT_LIMIT_BYTES)
        .read_to_end(&mut call)
        .map_err(|error| HelperError::Input(error.to_string()))?;
    ToolCall::from_hook_input(&call).map_err(|error| HelperError::Input(error.to_string()))?;
    let mut stream = UnixStream::connect(socket).map_err(HelperError::Runner)?;
    stream.write_all(&call).map_err(HelperError::Runner)?;
    stream
        .shutdown(Shutdown::Write)
        .map_err(HelperError::Runner)?;
    stream
        .set_read_timeout(Some(REPLY_TIME))
        .map_err(HelperError::Runner)?;
    let mut reply = Vec::new();
    stream
        .take(REPLY_LIMIT_BYTES)
        .read_to_end(&mut reply)
        .map_err(HelperError::Runner)?;
    Answer::from_reply(&reply).map_err(|_| HelperError::Reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    const CALL: &[u8] =
        br#"{"hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{"command":"ls"}}"#;

    fn helped(reply: &'static [u8], call: &'static [u8]) -> (i32, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gate.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let runner = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            stream.read_to_end(&mut asked).unwrap();
            stream.write_all(reply).unwrap();
            asked
        });
        let mut output = Vec::new();
        let code = run(&path.into_os_string(), call, &mut output, std::io::sink());
        if code == 0 || runner.is_finished() {
            assert_eq!(runner.join().unwrap(), call);
        }
        (code, String::from_utf8(output).unwrap())
    }

    #[test]
    fn well_formed_answers_are_passed_on() {
        let (code, output) = helped(b"{\"decision\":\"deny\",\"reason\":\"no\"}\n", CALL);
        assert_eq!(code, 0);
        let said: serde_json::Value = serde_json::from_str(&output).unwrap();
        assert_eq!(said["hookSpecificOutput"]["permissionDecision"], "deny");
        assert_eq!(said["hookSpecificOutput"]["permissionDecisionReason"], "no");
        assert_eq!(
            helped(b"{\"decision\":\"judge\"}", CALL),
            (0, "{}".to_owned())
        );
        let (code, output) = helped(b"{\"decision\":\"allow\"}", CALL);
        assert_eq!(code, 0);
        let said: serde_json::Value = serde_json::from_str(&output).unwrap();
        assert_eq!(said["hookSpecificOutput"]["permissionDecision"], "allow");
    }

    #[test]
    fn everything_else_blocks_and_says_nothing() {
        for reply in [
            &b""[..],
            b"{}",
            b"allow",
            b"{\"decision\":\"allow\"",
            b"{\"decision\":\"ask\"}",
            b"{\"decision\":\"judge\",\"reason\":\"no\"}",
            b"\xff\xfe",
        ] {
            assert_eq!(helped(reply, CALL), (BLOCK, String::new()), "{reply:?}");
        }
    }

    #[test]
    fn a_missing_runner_and_strange_input_block() {
        let nowhere = OsString::from("/nonexistent/gate.sock");
        for call in [CALL, b"{}", b""] {
            let mut output = Vec::new();
            assert_eq!(run(&nowhere, call, &mut output, std::io::sink()), BLOCK);
            assert_eq!(output, b"");
        }
    }
}
