//! From the lease to a CLI that is ready: workspace, gate, launch, `initialize`.

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use claude::gate;
use claude::launch::{Launch, Start};
use domain::checkpoint::PendingQuestion;
use domain::event::EventBody;
use domain::{CommandBody, State, Transition, history};
use policy::rules::Unusable;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use super::calls::Calls;
use super::costs;
use super::hearing::Early;
use super::questions::HeldQuestion;
use super::{End, Ports, Stop, Supervision};
use crate::cli::{self, Cli, Reading};
use crate::disk;
pub(crate) use crate::disk::describe_error as describe;
use crate::files_changed::Baseline;
use crate::gate_server::{self, Asked, Rules, WaitingCall};
use crate::git_credential::{self, Asking};
use crate::granted::Granted;
use crate::journal::Entry;
use crate::objects::SessionObjects;
use crate::relay::Relay;
use crate::sandbox::launch::{Sandbox, write_file};
use crate::transcript::Transcript;
use crate::workspace::git::SEARCH_PATH;
use crate::workspace::prepare::{self, Limits, working_directory};

/// Name space of the UUIDs that stand for our sessions and messages towards the CLI.
const NAMES: uuid::Uuid = uuid::Uuid::from_u128(0x7f2e_6d0a_1c53_4b8e_9a41_5d5f_3c1b_8e77);

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
    /// Since then it has been asked to stop.
    pub(crate) stopped: Option<tokio::time::Instant>,
    /// What was heard and is not taken in yet.
    pub(crate) early: Early,
    /// Calls that the supervisor has not let go yet, and since when.
    pub(crate) waiting: Vec<WaitingCall>,
    pub(crate) held_since: Option<tokio::time::Instant>,
    /// The question that is open, and those behind it.
    pub(crate) question: Option<HeldQuestion>,
    pub(crate) later: VecDeque<WaitingCall>,
    /// When it was last tried to end an approval whose time is up.
    pub(crate) expired: Option<tokio::time::Instant>,
    /// No call is let go any more: the question is being deferred.
    pub(crate) deferring: bool,
    /// The CLI has ended its turn at a deferred call.
    pub(crate) turn_deferred: bool,
    /// That call.
    pub(crate) deferred: Option<PendingQuestion>,
    /// For commands of callers.
    pub(crate) command_environment: Vec<(String, String)>,
    gate_server: tokio::task::JoinHandle<()>,
}

impl Started {
    /// The call goes with [`Supervision::let_calls_go`].
    pub(crate) fn hold(&mut self, call: WaitingCall) {
        self.held_since
            .get_or_insert_with(tokio::time::Instant::now);
        self.waiting.push(call);
    }
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

    /// What the session may cost.
    pub(crate) fn budget_usd(&self) -> f64 {
        self.spec.max_budget_usd.min(self.settings.max_budget_usd)
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
        self.read_stored().await?;
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
        let redactor = self.conversation.redactor().clone();
        let baseline = tokio::task::spawn_blocking(move || Baseline::take(&looked, redactor));
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
        if replays {
            self.conversation.cli_works();
        }
        let state = if replays { State::Running } else { State::Idle };
        let change = self.conversation.change_to(state, now);
        entry.events.extend(change.events);
        entry.state = change.state;
        self.journal.note(entry);
        if let Some(since) = history::lost_since(&tail) {
            // A metric is made of it; milliseconds, so that no exponent is written.
            let recovered = Duration::from_millis(now.since(since));
            tracing::info!(
                session = %self.assignment.key.session,
                shannon_session_recovery_seconds = recovered.as_secs_f64(),
                "the session is ready again"
            );
        }
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
        let asking = Asking {
            gateway_url: self.settings.gateway_url.clone(),
            connect_timeout: self.settings.connect_timeout,
            token: self.assignment.session_token.clone(),
        };
        let prepared = {
            let preparing = async {
                let asked = git_credential::of(&spec, asking).await;
                let credential = asked.as_ref().ok().and_then(Option::as_ref);
                let prepared =
                    prepare::prepare(sandbox, &spec, &limits, credential, &objects).await;
                prepared.map_err(|error| match asked {
                    Ok(_) => error.to_string(),
                    Err(problem) => format!(
                        "{error}; what its owner stored for the host could not be had: {problem}"
                    ),
                })
            };
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
        let rules = self.rules(&sandbox, &start, git_is_trusted);
        let rules = Arc::new(rules.map_err(|error| End::broke_down(error.to_string()))?);
        let (sender, gate) = mpsc::unbounded_channel();
        let gate_server = tokio::spawn(gate_server::serve(listener, rules.clone(), sender));
        let mut instruction_directories = vec![path_text(&workspace)];
        if start != workspace {
            instruction_directories.push(path_text(&start));
        }
        let carried = match &conversation {
            Start::Resume { id, .. } => {
                costs::carried(&directories.claude.outside.join("projects"), id)
            }
            Start::New { .. } | Start::Fork { .. } => 0.0,
        };
        self.conversation.costs.begin(carried);
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
            max_budget_usd: Some(self.conversation.costs.limit(self.budget_usd())),
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
            stopped: None,
            early: Early::new(self.settings.buffer_bytes),
            waiting: Vec::new(),
            held_since: None,
            question: None,
            later: VecDeque::new(),
            expired: None,
            deferring: false,
            turn_deferred: false,
            deferred: None,
            command_environment: launch.command_environment(),
            gate_server,
        })
    }

    fn rules(
        &self,
        sandbox: &Sandbox,
        start: &std::path::Path,
        git_is_trusted: bool,
    ) -> Result<Rules, Unusable> {
        let directories = sandbox.directories();
        let tier = self.spec.tier.raised_to(self.settings.tier);
        let granted = Granted::new(tier, self.stored.read.clone(), &self.grants)?;
        // A person was asked about these, so they are asked at the gate, whatever the CLI thinks.
        for request in self
            .known_questions
            .iter()
            .filter_map(|it| it.approval.as_ref())
        {
            granted.ask_about(request.digest.clone());
        }
        Ok(Rules {
            granted,
            owner: self.assignment.key.owner.to_string(),
            tags: self.spec.tags.clone(),
            mode: self.spec.permission_mode,
            bypass_permitted: self.settings.bypass_permitted,
            origin: self.spec.workspace.source.kind().to_owned(),
            home: path_text(&directories.home.inside),
            protected: vec![path_text(&directories.run.inside)],
            workspace: path_text(&directories.workspace.inside),
            working_directory: path_text(start),
            readable: vec![
                path_text(directories.claude.inside.join("projects")),
                path_text(&directories.temporary.inside),
            ],
            git_is_trusted,
            files: directories.workspace.outside.clone(),
        })
    }
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
