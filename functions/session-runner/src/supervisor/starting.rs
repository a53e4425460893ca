//! From the lease to a CLI that is ready: workspace, gate, launch, `initialize`.

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use claude::launch::{Launch, Start};
use claude::lines::Piece;
use claude::message::{ControlResponse, Message, parse};
use claude::{control, gate, locate};
use domain::checkpoint::PendingQuestion;
use domain::event::EventBody;
use domain::{CommandBody, State, Subagent, Transition};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use super::calls::Calls;
use super::hearing::Early;
use super::questions::HeldQuestion;
use super::{Claude, End, Ports, Stop, Supervision};
use crate::cli::{self, Cli, Heard, Reading};
use crate::disk;
pub(crate) use crate::disk::describe_error as describe;
use crate::files_changed::Baseline;
use crate::gate_server::{self, Asked, Rules, WaitingCall};
use crate::journal::Entry;
use crate::objects::SessionObjects;
use crate::relay::Relay;
use crate::sandbox::launch::{Sandbox, write_file};
use crate::sandbox::plan::STAGE_FAILED;
use crate::transcript::Transcript;
use crate::workspace::git::SEARCH_PATH;
use crate::workspace::prepare::{self, Limits, working_directory};

/// Name space of the UUIDs that stand for our sessions and messages towards the CLI.
const NAMES: uuid::Uuid = uuid::Uuid::from_u128(0x7f2e_6d0a_1c53_4b8e_9a41_5d5f_3c1b_8e77);

const INITIALIZE: &str = "initialize";
/// A CLI that is ready takes 0.3 to 0.5 s (measured). After this its version is asked for: one that
/// is not supported may not know the protocol and never answer.
const DOUBT_AFTER: std::time::Duration = std::time::Duration::from_secs(3);

/// A session whose CLI is ready.
pub(crate) struct Started {
    pub(crate) cli: Cli,
    pub(crate) sandbox: Sandbox,
    pub(crate) rules: Arc<Rules>,
    pub(crate) gate: mpsc::UnboundedReceiver<Asked>,
    pub(crate) calls: Calls,
    pub(crate) transcript: Transcript,
    pub(crate) baseline: Option<Baseline>,
    pub(crate) last_words: Vec<String>,
    /// The same on its standard error, which nothing on its output pushes out.
    pub(crate) last_warnings: Vec<String>,
    pub(crate) idle_since: tokio::time::Instant,
    /// What was heard and is not taken in yet.
    pub(crate) early: Early,
    /// Calls that the supervisor has not let go yet, and since when.
    pub(crate) waiting: Vec<WaitingCall>,
    pub(crate) held_since: Option<tokio::time::Instant>,
    /// The question that is open, and those behind it.
    pub(crate) question: Option<HeldQuestion>,
    pub(crate) later: VecDeque<WaitingCall>,
    /// No call is let go any more: the question is being deferred.
    pub(crate) deferring: bool,
    /// The CLI has ended its turn at a deferred call.
    pub(crate) turn_deferred: bool,
    /// That call.
    pub(crate) deferred: Option<PendingQuestion>,
    gate_server: tokio::task::JoinHandle<()>,
}

impl Drop for Started {
    fn drop(&mut self) {
        self.gate_server.abort();
    }
}

/// The UUID under which the CLI knows a message, the same for each runner that takes it.
pub(crate) fn message_uuid(session: &str, message: &str) -> String {
    uuid::Uuid::new_v5(&NAMES, format!("{session}\n{message}").as_bytes()).to_string()
}

impl<P: Ports, O: SessionObjects> Supervision<P, O> {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            clone_timeout: self.settings.clone_timeout,
            roots: self.settings.workspace_roots.clone(),
            upload_bytes: self.settings.max_upload_bytes,
        }
    }

    /// Makes everything ready. Until then only a cancel, a signal or the lease is listened to.
    pub(crate) async fn start(&mut self, relay: &Relay) -> Result<Started, Stop> {
        let sandbox = self
            .sandbox()
            .map_err(|error| End::broke_down(describe(&error)))?;
        let tail = self.look_behind_the_cut().await?;
        let (git_is_trusted, start) = match self.restore(&sandbox).await? {
            Some(restored) => (restored.git_is_trusted, restored.start),
            None => {
                let id = self.claude_session_id();
                (self.prepare_workspace(&sandbox).await?, Start::New { id })
            }
        };
        self.note_resumed(&tail);
        let mut transcript = Transcript::start(
            self.objects.clone(),
            self.fence,
            sandbox.directories().private.join("transcript"),
            sandbox.directories().private.join("stream"),
            self.settings.transcript_flush,
        )
        .map_err(|error| End::broke_down(disk::describe("cannot keep the transcript", &error)))?;
        transcript.is_sound(&self.claude_session_id());
        let replays = matches!(start, Start::Resume { replay: true, .. });
        let launched = self.launch(sandbox, relay, git_is_trusted, start, transcript);
        let mut started = match launched {
            Ok(started) => started,
            Err(stop) => return Err(self.or_wrong_version(stop).await),
        };
        let looked = started.sandbox.directories().workspace.outside.clone();
        let baseline = tokio::task::spawn_blocking(move || Baseline::take(&looked));
        let claude = self.until_ready(&mut started).await;
        let claude = match claude {
            Ok(claude) => claude,
            Err(stop) => {
                // Nothing of a CLI that is not ready may stay.
                if let Err(error) = started.cli.kill_all().await {
                    tracing::error!(%error, "a part of the session may have survived");
                }
                return Err(stop);
            }
        };
        let version = claude.version.clone();
        self.assignment.claude.send_replace(Some(claude));
        started.baseline = baseline.await.ok();
        let now = self.ports.now();
        let claude_session_id = self.claude_session_id();
        let ready = EventBody::SessionReady {
            claude_version: version,
            claude_session_id: claude_session_id.clone(),
        };
        let mut entry = Entry {
            events: vec![self.conversation.event(now, None, ready)],
            claude_session_id: Some(claude_session_id),
            ..Entry::default()
        };
        // A turn that is run again runs already.
        let state = if replays { State::Running } else { State::Idle };
        let change = self.conversation.change_to(state, now);
        entry.events.extend(change.events);
        entry.state = change.state;
        self.journal.note(entry);
        Ok(started)
    }

    /// The CLI's id of this session, the same for each runner.
    pub(crate) fn claude_session_id(&self) -> String {
        let own = self.assignment.key.session.as_str();
        uuid::Uuid::new_v5(&NAMES, own.as_bytes()).to_string()
    }

    async fn prepare_workspace(&mut self, sandbox: &Sandbox) -> Result<bool, Stop> {
        let (spec, limits, objects) = (
            self.spec.workspace.clone(),
            self.limits(),
            self.objects.clone(),
        );
        let prepared = {
            let preparing = prepare::prepare(sandbox, &spec, &limits, &objects);
            tokio::pin!(preparing);
            tokio::select! {
                prepared = &mut preparing => prepared,
                stop = self.interrupted() => return Err(stop),
            }
        };
        let prepared = prepared.map_err(|error| {
            End::broke_down(format!("the workspace could not be prepared: {error}"))
        })?;
        let now = self.ports.now();
        let ready = EventBody::WorkspaceReady {
            source: spec.source.kind().to_owned(),
            files: prepared.amount.files,
            bytes: prepared.amount.bytes,
            commit: prepared.commit,
        };
        self.journal.note(Entry {
            events: vec![self.conversation.event(now, None, ready)],
            ..Entry::default()
        });
        if !prepared.skipped.is_empty() {
            let words = format!(
                "not copied into the workspace: {}",
                prepared.skipped.join(", ")
            );
            let notice = self.conversation.notice("workspace_skipped", &words, now);
            self.note(notice);
        }
        Ok(prepared.git_is_trusted)
    }

    /// Returns when something outside wants the start to end.
    pub(crate) async fn interrupted(&mut self) -> Stop {
        loop {
            tokio::select! {
                () = self.journal.lost() => return Stop::LeaseLost,
                () = Self::stopped(&mut self.stop) => return Stop::Leave,
                Some(command) = self.commands.recv() => {
                    let cancel = match &command.body {
                        CommandBody::Cancel { reason } => Some(reason.clone()),
                        _ => None,
                    };
                    self.remember(command);
                    if let Some(reason) = cancel {
                        return Stop::End(End { transition: Transition::WasCancelled, reason });
                    }
                }
            }
        }
    }

    pub(crate) fn remember(&mut self, command: domain::Command) {
        self.last_ordinal = self.last_ordinal.max(command.ordinal);
        self.pending.push_back(command);
    }

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
    async fn or_wrong_version(&self, stop: Stop) -> Stop {
        let found = locate::version_of(&self.settings.claude_path).await;
        self.version_problem(found).unwrap_or(stop)
    }

    pub(crate) fn launch(
        &mut self,
        sandbox: Sandbox,
        relay: &Relay,
        git_is_trusted: bool,
        conversation: Start,
        transcript: Transcript,
    ) -> Result<Started, Stop> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: std::io::Error| {
                End::broke_down(disk::describe(&format!("cannot {what}"), &error))
            }
        };
        let directories = sandbox.directories();
        let socket = directories.run.outside.join("gate.sock");
        if let Err(error) = std::fs::remove_file(&socket)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(failed("replace the gate's socket")(error));
        }
        let listener = UnixListener::bind(&socket).map_err(failed("make the gate's socket"))?;
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666))
            .map_err(failed("open the gate's socket"))?;
        let run = &directories.run.inside;
        let helper = format!(
            "{} gate {}",
            gate::shell_word(&sandbox.runner_program_inside().display().to_string()),
            gate::shell_word(&run.join("gate.sock").display().to_string()),
        );
        write_file(
            &directories.run.outside.join("settings.json"),
            gate::settings(&helper).as_bytes(),
            0o644,
        )
        .map_err(|error| End::broke_down(describe(&error)))?;
        let start = working_directory(&sandbox, &self.spec.workspace);
        let workspace = directories.workspace.inside.clone();
        let rules = Arc::new(self.rules(&sandbox, &start, git_is_trusted));
        let (sender, gate) = mpsc::unbounded_channel();
        let gate_server = tokio::spawn(gate_server::serve(listener, rules.clone(), sender));
        let mut instruction_directories = vec![path_text(&workspace)];
        if start != workspace {
            instruction_directories.push(path_text(&start));
        }
        let launch = Launch {
            start: conversation,
            model_url: relay.url().to_owned(),
            model_key: relay.secret().to_owned(),
            home: path_text(&directories.home.inside),
            config_directory: path_text(&directories.claude.inside),
            temporary_directory: path_text(&directories.temporary.inside),
            settings_file: path_text(run.join("settings.json")),
            search_path: SEARCH_PATH.to_owned(),
            instruction_directories,
            model: self.spec.model.clone(),
            max_turns: Some(self.spec.max_turns.min(self.settings.max_turns)),
            max_budget_usd: Some(self.spec.max_budget_usd.min(self.settings.max_budget_usd)),
            append_system_prompt: self.spec.system_prompt_addition.clone(),
        };
        let reading = Reading {
            chunk_bytes: self.settings.stream_chunk_bytes,
            line_bytes: self.settings.max_line_bytes,
            buffer_bytes: self.settings.buffer_bytes,
        };
        let program = cli::program(&sandbox, &self.settings.claude_path);
        let cli =
            program.and_then(|program| Cli::start(&sandbox, &program, &launch, &start, reading));
        let cli = match cli {
            Ok(cli) => cli,
            Err(error) => {
                gate_server.abort();
                return Err(End::broke_down(describe(&error)));
            }
        };
        Ok(Started {
            cli,
            sandbox,
            rules,
            gate,
            calls: Calls::default(),
            transcript,
            baseline: None,
            last_words: Vec::new(),
            last_warnings: Vec::new(),
            idle_since: tokio::time::Instant::now(),
            early: Early::new(self.settings.buffer_bytes),
            waiting: Vec::new(),
            held_since: None,
            question: None,
            later: VecDeque::new(),
            deferring: false,
            turn_deferred: false,
            deferred: None,
            gate_server,
        })
    }

    fn rules(&self, sandbox: &Sandbox, start: &std::path::Path, git_is_trusted: bool) -> Rules {
        let directories = sandbox.directories();
        Rules {
            mode: self.spec.permission_mode,
            bypass_permitted: self.settings.bypass_permitted,
            workspace: path_text(&directories.workspace.inside),
            working_directory: path_text(start),
            readable: vec![
                path_text(directories.claude.inside.join("projects")),
                path_text(&directories.temporary.inside),
            ],
            git_is_trusted,
            files: directories.workspace.outside.clone(),
        }
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
                    started.remember_warnings(&self.conversation.clean(&text))
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
                                    agents: subagents(&answer),
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
                    Err(_) => started
                        .remember_words(&self.conversation.clean(&String::from_utf8_lossy(&line))),
                },
            }
        }
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

fn subagents(answer: &ControlResponse) -> Vec<Subagent> {
    let agents = answer.agents().take(SUBAGENTS);
    let agent = |(name, description)| Subagent {
        name: super::conversation::shorten(name, 100),
        description: super::conversation::shorten(description, 1000),
    };
    agents.map(agent).collect()
}

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
    kept.extend(lines.map(|line| super::conversation::shorten(line, 500)));
    let excess = kept.len().saturating_sub(LAST_WORDS);
    kept.drain(..excess);
}

fn path_text(path: impl Into<PathBuf>) -> String {
    path.into().display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_one_uuid() {
        let uuid = message_uuid("ses_a", "m1");
        assert_eq!(uuid, message_uuid("ses_a", "m1"));
        assert_ne!(uuid, message_uuid("ses_b", "m1"));
        assert_ne!(uuid, message_uuid("ses_a", "m2"));
        assert!(uuid::Uuid::parse_str(&uuid).is_ok());
    }
}
