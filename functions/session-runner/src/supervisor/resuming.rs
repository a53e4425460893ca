//! Going on from a checkpoint: its files and its transcript, brought back into fresh directories,
//! and what the log says about it.
//!
//! Both come from the same cut. Doing it again, by this runner or the next, begins with empty
//! directories; what was appended about an earlier try stays in the log.

use std::path::Path;
use std::sync::Arc;

use checkpoint::{Base, RestoreError, RestoreOptions, RootName, Snapshots, TargetRoot};
use claude::launch::Start;
use domain::checkpoint::{Checkpoint, PendingQuestion};
use domain::event::EventBody;
use domain::ports::{Checkpoints, Clock, TreeObjects, Unavailable};
use domain::{CheckpointId, Command, CommandId, Event, SessionKey, TreeKey, history};

use super::obeying::was_refused;
use super::starting::{Started, describe};
use super::{End, Ports, Stop, Supervision};
use crate::disk;
use crate::journal::Entry;
use crate::objects::SessionObjects;
use crate::sandbox::launch::Sandbox;
use crate::workspace::prepare;

/// Commands read at once.
const COMMANDS: usize = 100;
/// Bytes of the log read at once.
const LOG_BYTES: usize = 1024 * 1024;

/// What was brought back.
pub(crate) struct Restored {
    pub(crate) start: Start,
    pub(crate) git_is_trusted: bool,
}

impl<P: Ports, O: SessionObjects> Supervision<P, O> {
    /// Brings back what the head's checkpoint holds.
    pub(crate) async fn restore(&mut self, sandbox: &Sandbox) -> Result<Option<Restored>, Stop> {
        let Some(id) = self.head.checkpoint.clone() else {
            return Ok(None);
        };
        let (ports, key) = (self.ports.clone(), self.assignment.key.clone());
        let record = self
            .insist(|| {
                let (ports, key, id) = (ports.clone(), key.clone(), id.clone());
                async move { ports.checkpoint(&key, &id).await }
            })
            .await?;
        let record = record.ok_or_else(|| {
            End::broke_down(format!(
                r#"the checkpoint {id}, from which it goes on, is gone: list_checkpoints {{"session_id":"{}"}} names others, and fork_session goes on from one of them"#,
                key.session
            ))
        })?;
        let base = {
            let bringing = bring_back(
                self.ports.clone(),
                self.cuts.tree.clone(),
                self.assignment.key.clone(),
                record.clone(),
                sandbox.clone(),
            );
            tokio::pin!(bringing);
            tokio::select! {
                base = &mut bringing => base,
                stop = self.interrupted() => return Err(stop),
            }
        };
        self.cuts.base = Some(base.map_err(End::broke_down)?);
        let workspace = self.spec.workspace.clone();
        let looked = sandbox.clone();
        let checked =
            tokio::task::spawn_blocking(move || prepare::check_restored(&looked, &workspace));
        let git_is_trusted = match checked.await {
            Ok(Ok(trusted)) => trusted,
            Ok(Err(error)) => return Err(End::broke_down(describe(&error))),
            Err(error) => return Err(End::broke_down(error.to_string())),
        };
        let own = self.claude_session_id();
        let start = match record.claude_session_id {
            None => Start::New { id: own },
            Some(id) if id == own => Start::Resume {
                id,
                replay: !self.redone.is_empty(),
            },
            Some(of) => {
                self.forked_from = Some(of.clone());
                Start::Fork { of, id: own }
            }
        };
        Ok(Some(Restored {
            start,
            git_is_trusted,
        }))
    }

    /// Finds out what comes after the cut: what is redone, what is abandoned, which questions may be
    /// asked again.
    pub(crate) async fn look_behind_the_cut(&mut self) -> Result<Vec<Event>, Stop> {
        let (ports, key) = (self.ports.clone(), self.assignment.key.clone());
        let mut after = self.head.commands_settled;
        let mut again: Vec<Command> = Vec::new();
        loop {
            let commands = self
                .insist(|| {
                    let (ports, key) = (ports.clone(), key.clone());
                    async move { ports.commands_after(&key, after, COMMANDS).await }
                })
                .await?;
            let Some(last) = commands.last() else { break };
            after = last.ordinal;
            again.extend(commands.into_iter().filter(|command| {
                command.state != domain::CommandState::Queued
                    && command.to_take(self.fence)
                    && !was_refused(command)
            }));
        }
        let mut tail: Vec<Event> = Vec::new();
        let mut after = self.head.cut_sequence;
        loop {
            let events = self
                .insist(|| {
                    let (ports, key) = (ports.clone(), key.clone());
                    async move { ports.read(&key, after, LOG_BYTES).await }
                })
                .await?;
            let Some(last) = events.last() else { break };
            after = last.sequence;
            tail.extend(events);
        }
        self.known_questions.extend(self.head.question.clone());
        for event in &tail {
            match &event.body {
                EventBody::QuestionAsked {
                    question,
                    tool_use_id,
                    input,
                } => self.know(PendingQuestion {
                    id: question.clone(),
                    tool_use_id: tool_use_id.clone(),
                    input: input.clone(),
                    asked_at: event.time,
                    approval: None,
                }),
                EventBody::ApprovalRequested {
                    approval,
                    tool_use_id,
                    request,
                    ..
                } => self.know(PendingQuestion {
                    id: approval.clone(),
                    tool_use_id: tool_use_id.clone(),
                    input: String::new(),
                    asked_at: event.time,
                    approval: Some(request.clone()),
                }),
                // What was allowed may have run: the same call is asked about again.
                EventBody::ApprovalDecided { approval, .. } => {
                    self.known_questions.retain(|known| known.id != *approval);
                }
                _ => {}
            }
        }
        let runs = self.take_up_runs(&again, &tail);
        let redone = again
            .into_iter()
            .filter(|command| command.body.is_for_the_cli() && !self.waits_for_run(command, runs));
        let redone: Vec<CommandId> = redone.map(|command| command.id).collect();
        self.redone.extend(redone);
        let taken_after = |id: &CommandId| {
            tail.iter().any(|event| {
                event.cause.as_ref() == Some(id)
                    && matches!(event.body, EventBody::MessageTaken { .. })
            })
        };
        self.within_the_cut = self
            .redone
            .iter()
            .filter(|id| !taken_after(id))
            .cloned()
            .collect();
        Ok(tail)
    }

    /// It may be asked again, under its name; known once, because its name is good for one answer.
    fn know(&mut self, question: PendingQuestion) {
        if self
            .known_questions
            .iter()
            .all(|known| known.id != question.id)
        {
            self.known_questions.push(question);
        }
    }

    /// Says in the log where the session goes on.
    pub(crate) fn note_resumed(&mut self, tail: &[Event]) {
        let runners = tail
            .iter()
            .filter(|event| matches!(event.body, EventBody::RunnerStarted { .. }));
        if self.head.checkpoint.is_none() && runners.count() < 2 {
            return;
        }
        let body = EventBody::SessionResumed {
            checkpoint: self.head.checkpoint.clone(),
            cut_sequence: self.head.cut_sequence,
            abandoned: history::abandoned(tail),
            redone: self.redone.clone(),
        };
        let now = self.ports.now();
        self.journal.note(Entry {
            events: vec![self.conversation.event(now, None, body)],
            ..Entry::default()
        });
    }

    /// The conversation that the transcript holds: until a fork has said something, its parent's.
    pub(crate) fn claude_session_of(&self, started: &Started) -> Option<String> {
        let own = self.claude_session_id();
        if started.transcript.has(&own) {
            return Some(own);
        }
        self.forked_from.clone()
    }

    /// Asks until there is an answer, unless the start is to end.
    async fn insist<T, F>(&mut self, mut ask: impl FnMut() -> F) -> Result<T, Stop>
    where
        F: Future<Output = Result<T, Unavailable>>,
    {
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => tracing::warn!(%error, "what is needed to go on cannot be read now"),
            }
            let ports = self.ports.clone();
            tokio::select! {
                stop = self.interrupted() => return Err(stop),
                () = ports.sleep(500) => {}
            }
        }
    }
}

/// Restores the roots of a checkpoint into the session's directories.
async fn bring_back<S: TreeObjects + Checkpoints + Clock>(
    store: Arc<S>,
    tree: TreeKey,
    session: SessionKey,
    record: Checkpoint,
    sandbox: Sandbox,
) -> Result<Base, String> {
    let snapshots = Snapshots::new(&*store, tree);
    let directories = sandbox.directories();
    let target = |name, directory: &Path| TargetRoot {
        name,
        directory: directory.to_owned(),
    };
    let private = [
        directories.private.join("transcript"),
        directories.private.join("claude"),
    ];
    for directory in &private {
        std::fs::create_dir_all(directory).map_err(|error| {
            disk::describe(&format!("cannot make {}", directory.display()), &error)
        })?;
    }
    let files = [target(RootName::Workspace, &directories.workspace.outside)];
    let conversation = [
        target(RootName::Transcript, &private[0]),
        target(RootName::Claude, &private[1]),
    ];
    let owner = sandbox.user().map(|user| (user, user));
    let parts = [
        (&record.files, &files[..], owner),
        (&record.conversation, &conversation[..], None),
    ];
    let mut base = Base::default();
    for (manifest, roots, owner) in parts {
        let restored = loop {
            let tried = async {
                let manifest = snapshots.manifest(manifest).await?;
                let options = RestoreOptions { owner };
                let restored = snapshots.restore(&manifest, roots, options).await?;
                Ok::<_, RestoreError>(restored)
            };
            match tried.await {
                Ok(restored) => break restored,
                Err(RestoreError::Unavailable(error)) => {
                    tracing::warn!(%error, "the checkpoint cannot be read now");
                    store.sleep(500).await;
                }
                Err(error) => {
                    let instead = instead(&*store, &snapshots, &session, &record.id, &error).await;
                    return Err(format!(
                        "the checkpoint {} could not be restored: {}. {instead}",
                        record.id,
                        describe(&error)
                    ));
                }
            }
        };
        base = base.with(restored.base);
    }
    tokio::task::spawn_blocking(move || hand_over(&sandbox, &private))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| disk::describe("the conversation could not be restored", &error))?;
    Ok(base)
}

/// What a person can do about a checkpoint that does not come back. The session ends with it: an ended
/// session can be forked, not set back; messages that waited in it are in its log.
async fn instead<S: TreeObjects + Checkpoints + Clock>(
    store: &S,
    snapshots: &Snapshots<'_, S>,
    session: &SessionKey,
    at: &CheckpointId,
    error: &RestoreError,
) -> String {
    let fork = |at: &CheckpointId| {
        let id = &session.session;
        format!(r#"fork_session {{"session_id":"{id}","checkpoint":"{at}"}} goes on from it"#)
    };
    if !matches!(error, RestoreError::Damaged(_) | RestoreError::Unknown(_)) {
        return format!("It is stored whole: {}, on another machine", fork(at));
    }
    loop {
        match snapshots.newest_whole_of(session).await {
            Ok(Some(whole)) => {
                let fork = fork(&whole);
                return format!("The newest checkpoint that is whole is {whole}: {fork}");
            }
            Ok(None) => {
                let id = &session.session;
                return format!(
                    r#"None of its newest checkpoints is whole: get_timeline {{"session_id":"{id}"}} names those of the sessions that it shares a tree with"#
                );
            }
            Err(error) => {
                tracing::warn!(%error, "the other checkpoints cannot be read now");
                store.sleep(500).await;
            }
        }
    }
}

/// Copies what the CLI reads at a resume into its config directory. Nothing of the session runs yet.
fn hand_over(sandbox: &Sandbox, from: &[std::path::PathBuf]) -> std::io::Result<()> {
    let projects = sandbox.directories().claude.outside.join("projects");
    for directory in from {
        copy_files(directory, &projects)?;
    }
    if projects.is_dir() {
        sandbox
            .give_tree_to_session(&projects)
            .map_err(std::io::Error::other)?;
    }
    Ok(())
}

fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy_files(&entry.path(), &target)?;
        } else if kind.is_file() {
            let mut read = std::fs::File::open(entry.path())?;
            let mut written = std::fs::File::create(&target)?;
            std::io::copy(&mut read, &mut written)?;
        }
    }
    Ok(())
}
