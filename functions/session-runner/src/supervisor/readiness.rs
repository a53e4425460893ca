//! Whether a CLI that was started is one that this deployment supports, and when it is ready.

use claude::lines::Piece;
use claude::message::{ControlResponse, Message, parse};
use claude::{control, locate};
use domain::Subagent;

use super::conversation::shorten;
use super::starting::Started;
use super::{Claude, End, Ports, Stop, Supervision};
use crate::cli::Heard;
use crate::objects::SessionObjects;
use crate::sandbox::plan::STAGE_FAILED;

const INITIALIZE: &str = "initialize";
/// A CLI that is ready takes 0.3 to 0.5 s (measured). After this its version is asked for: one that
/// is not supported may not know the protocol and never answer.
const DOUBT_AFTER: std::time::Duration = std::time::Duration::from_secs(3);

impl<P: Ports, O: SessionObjects> Supervision<P, O> {
    /// What is wrong with the version that was `found`, if anything.
    fn version_problem(&self, found: Result<String, locate::VersionError>) -> Option<Stop> {
        let wanted = &self.settings.claude_version;
        let shown = self.settings.claude_path.display();
        match found {
            Ok(version) if version == *wanted => None,
            Ok(version) => Some(End::broke_down(format!(
                "the claude binary {shown} has version {version}, and this deployment supports {wanted}. Install \
                 @anthropic-ai/claude-code@{wanted}, or set SHANNON_CLAUDE_PATH to a binary of that version"
            ))),
            Err(error) => Some(End::broke_down(format!(
                "the claude binary {shown} cannot be used: {error}. Install @anthropic-ai/claude-code@{wanted}, or \
                 set SHANNON_CLAUDE_PATH"
            ))),
        }
    }

    /// Why a CLI that was started does not work: that it is no CLI of ours explains more than `stop`.
    pub(super) async fn or_wrong_version(&self, stop: Stop) -> Stop {
        let found = locate::version_of(&self.settings.claude_path).await;
        self.version_problem(found).unwrap_or(stop)
    }

    /// Waits for the answer to `initialize`; gives the CLI's version, which is the supported one.
    ///
    /// The answer names it. The binary itself is asked with `--version` only when the answer does not
    /// come, or comes without: running it a second time beside every start would make each later.
    pub(crate) async fn until_ready(&mut self, started: &mut Started) -> Result<Claude, Stop> {
        started.cli.tell(control::initialize(INITIALIZE));
        let begun = tokio::time::Instant::now();
        let deadline = begun + self.settings.startup_timeout;
        let program = self.settings.claude_path.clone();
        let doubt = async move {
            tokio::time::sleep_until(begun + DOUBT_AFTER).await;
            locate::version_of(&program).await
        };
        tokio::pin!(doubt);
        let mut doubted = false;
        let most = self.settings.max_line_bytes + self.settings.buffer_bytes;
        loop {
            let heard = tokio::select! {
                heard = started.cli.heard.recv() => heard,
                stop = self.interrupted() => return Err(stop),
                found = &mut doubt, if !doubted => {
                    doubted = true;
                    match self.version_problem(found) {
                        Some(stop) => return Err(stop),
                        None => continue,
                    }
                }
                () = tokio::time::sleep_until(deadline) => {
                    return Err(End::broke_down(format!(
                        "the claude CLI was started and did not become ready within {} s{}",
                        self.settings.startup_timeout.as_secs(),
                        started.said(),
                    )));
                }
            };
            match heard {
                None | Some(Heard::Closed) => {
                    let stop = self.died_at_start(started).await;
                    return Err(self.or_wrong_version(stop).await);
                }
                Some(Heard::Warning { text, .. }) => {
                    started.remember_warnings(&self.conversation.warned(&text))
                }
                Some(Heard::Output(Piece::TooLong { .. })) => {}
                Some(Heard::Output(Piece::Line(line))) => match parse(&line) {
                    Ok(Message::ControlResponse(answer)) if answer.request_id == INITIALIZE => {
                        if answer.succeeded() {
                            let found = match answer.claude_code_version() {
                                Some(version) => Ok(version.to_owned()),
                                None => locate::version_of(&self.settings.claude_path).await,
                            };
                            return match self.version_problem(found) {
                                Some(stop) => Err(stop),
                                None => Ok(Claude {
                                    version: self.settings.claude_version.clone(),
                                    agents: self.subagents(&answer),
                                }),
                            };
                        }
                        let why = answer.error.unwrap_or_default();
                        let stop = End::broke_down(format!(
                            "the claude CLI refused to start a session: {why}"
                        ));
                        return Err(self.or_wrong_version(stop).await);
                    }
                    Ok(Message::Result(result)) if result.is_error => {
                        let why = result.startup_failure_reason.clone().unwrap_or_default();
                        let text = self
                            .conversation
                            .clean(result.result.as_deref().unwrap_or_default());
                        let stop = End::broke_down(format!(
                            "the claude CLI could not start: {why} {text}"
                        ));
                        return Err(self.or_wrong_version(stop).await);
                    }
                    // A resumed turn may run already.
                    Ok(_) => {
                        started.early.push(Heard::Output(Piece::Line(line)));
                        if started.early.bytes() > most {
                            return Err(End::broke_down(format!(
                                "the claude CLI printed more than {most} bytes before it was ready"
                            )));
                        }
                    }
                    Err(_) => started.remember_words(&self.conversation.stray(&line)),
                },
            }
        }
    }

    fn subagents(&self, answer: &ControlResponse) -> Vec<Subagent> {
        let agents = answer.agents().take(SUBAGENTS);
        let clean = |text, most| shorten(&self.conversation.redactor().clean(text), most);
        let agent = |(name, description)| Subagent {
            name: clean(name, 100),
            description: clean(description, 1000),
        };
        agents.map(agent).collect()
    }

    async fn died_at_start(&mut self, started: &mut Started) -> Stop {
        let status = started.cli.ended_within(self.settings.kill_grace).await;
        if let Some(line) = started
            .words()
            .find_map(|line| line.strip_prefix(STAGE_FAILED))
        {
            return End::broke_down(format!("the session's sandbox could not be made: {line}"));
        }
        let code = status
            .and_then(|status| status.code())
            .map_or("a signal".to_owned(), |code| format!("exit code {code}"));
        End::broke_down(format!(
            "the claude CLI ended before it was ready ({code}){}",
            started.said()
        ))
    }
}

/// Subagents that are noted. Own: the supported CLI has five.
const SUBAGENTS: usize = 100;

/// Lines of the CLI's last words that are kept.
const LAST_WORDS: usize = 10;

impl Started {
    pub(crate) fn remember_words(&mut self, text: &str) {
        remember(&mut self.last_words, text);
    }

    pub(crate) fn remember_warnings(&mut self, text: &str) {
        remember(&mut self.last_warnings, text);
    }

    /// The CLI's last words, for a reason: first what it said on its standard error.
    pub(crate) fn said(&self) -> String {
        let words: Vec<&str> = self.words().collect();
        if words.is_empty() {
            String::new()
        } else {
            format!("; it said: {}", words.join(" | "))
        }
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        let all = self.last_warnings.iter().chain(&self.last_words);
        all.map(String::as_str)
    }

    pub(crate) fn stay_idle(&mut self) {
        self.idle_since = tokio::time::Instant::now();
    }
}

/// Keeps the last lines.
fn remember(kept: &mut Vec<String>, text: &str) {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    kept.extend(lines.map(|line| shorten(line, 500)));
    let excess = kept.len().saturating_sub(LAST_WORDS);
    kept.drain(..excess);
}
