//! Taking a checkpoint.
//!
//! ```text
//! due ── quiet? ── yes ─────────────────────→ packs, manifest ─→ one append makes it visible
//!          └─ no: the gate holds new calls for a while ─┘
//! ```
//! While one is taken nothing is let go, and what the CLI says is kept for later, so files and
//! transcript stand still as far as we can make them; entries that it mirrors go on to the bucket.
//! One that fails leaves nothing visible, and is tried again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use checkpoint::{About, Base, Created, IgnoreRules, NewSnapshot, RootName, Snapshots, SourceRoot};
use domain::checkpoint::{CheckpointSize, CheckpointTrigger, NewCheckpoint};
use domain::event::EventBody;
use domain::{CheckpointId, CommandBody, CommandOutcome, TreeKey};
use tokio::time::Instant;

use super::cuts::Due;
use super::left_out::{self, LeftOut};
use super::starting::{Started, describe};
use super::{End, Ports, Stop, Supervision};
use crate::disk;
use crate::journal::{Entry, Refused};
use crate::objects::SessionObjects;
use crate::settings::Strategy;
use crate::spilled::{self, Spilled};

/// Longest time that calls are held for a checkpoint that is due.
const HOLD: Duration = Duration::from_secs(10);
/// Tries of one checkpoint whose objects a sweep may have taken.
const TRIES: u32 = 3;

/// A checkpoint that is stored and not visible yet.
pub(crate) struct Cut {
    pub(crate) new: NewCheckpoint,
    base: Base,
    /// Something ran that may change files, since when they were looked at.
    goes_on: Option<Instant>,
}

/// Why there is none. Nothing of its entry was written either.
pub(crate) enum NoCut {
    /// Everything is as it was in the last one; what runs may change it since then.
    Unchanged(Option<Instant>),
    /// A command came, or was withdrawn.
    Refused(Refused),
    /// It failed, in words.
    Failed(String),
}

/// Everything that storing one needs, so that the supervisor can listen meanwhile.
struct Plan {
    tree: TreeKey,
    compression: i32,
    /// The CLI's directory with large results, and where they are kept.
    projects: PathBuf,
    kept: PathBuf,
    new: NewSnapshot,
}

/// What was stored.
struct Stored {
    generation: u64,
    created: Created,
    spilled: Spilled,
}

impl<P: Ports, O: SessionObjects> Supervision<P, O> {
    fn due(&self) -> Option<Due> {
        let settings = &self.settings;
        self.cuts.due(self.strategy(), settings.checkpoint_interval)
    }

    /// What the session asked for, or the deployment's.
    fn strategy(&self) -> Strategy {
        let asked = self.spec.checkpoint_strategy;
        asked.unwrap_or(self.settings.checkpoint_strategy)
    }

    /// When to look again whether one is due, or held calls must go.
    pub(crate) fn next_cut(&self, started: &Started) -> Option<Instant> {
        let due = self.due()?;
        let now = Instant::now();
        let held = started.held_since.map(|since| since + HOLD);
        [Some(due.at), Some(due.overdue), held]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    /// A checkpoint is due and calls wait for it a little.
    pub(crate) fn holds_calls(&self, started: &Started) -> bool {
        let held_long = started.held_since.is_some_and(|at| at.elapsed() >= HOLD);
        let due = self.due().is_some_and(|due| due.at <= Instant::now());
        due && started.calls.can_become_quiet() && !held_long
    }

    /// Takes a checkpoint if one is due and this is a moment for it.
    pub(crate) async fn cut_if_due(&mut self, started: &mut Started) -> Result<(), Stop> {
        let Some(due) = self.due() else {
            return Ok(());
        };
        let now = Instant::now();
        self.settle_transcript(started);
        let quiet = started.calls.is_quiet() && started.transcript.goes_on();
        if due.at > now || !(quiet || due.overdue <= now) {
            return Ok(());
        }
        let entry = Entry::default();
        match self.record(&entry, due.trigger, started).await? {
            Ok(()) => {}
            Err(NoCut::Unchanged(goes_on)) => self.cuts.unchanged(goes_on),
            Err(NoCut::Failed(words)) => self.cut_failed(&words),
            Err(NoCut::Refused(refused)) => self.cut_failed(&refused.to_string()),
        }
        Ok(())
    }

    pub(crate) fn cut_failed(&mut self, words: &str) {
        self.cuts.failed();
        if let Some(age) = self.cuts.age() {
            // A metric is made of it.
            tracing::warn!(
                session = %self.assignment.key.session,
                shannon_checkpoint_age_seconds = age.as_secs(),
                "changes are in no checkpoint yet"
            );
        }
        let now = self.ports.now();
        let words = format!("a checkpoint could not be taken, and is tried again: {words}");
        let notice = self.conversation.notice("checkpoint_failed", &words, now);
        self.note(notice);
        let asked = self.cuts.take_requests();
        let outcome = CommandOutcome::Refused(words);
        self.note(Entry {
            finish: asked
                .into_iter()
                .map(|command| (command, outcome.clone()))
                .collect(),
            ..Entry::default()
        });
    }

    /// The end of a turn: kept by a checkpoint before anybody hears of it, if that can be.
    pub(crate) async fn end_turn(
        &mut self,
        entry: Entry,
        started: &mut Started,
    ) -> Result<(), Stop> {
        started.calls.turn_over();
        started.transcript.is_sound(&self.claude_session_id());
        self.keep_work(entry, started).await
    }

    /// The end of a turn, or of a caller's command: what changed, and a checkpoint.
    pub(crate) async fn keep_work(
        &mut self,
        mut entry: Entry,
        started: &mut Started,
    ) -> Result<(), Stop> {
        if let Some(changed) = self.files_changed(started).await {
            let event = self.conversation.event(self.ports.now(), None, changed);
            entry.events.push(event);
        }
        let keeps_turns = self.strategy().keeps_turns();
        if !keeps_turns || !started.calls.is_quiet() {
            if keeps_turns {
                self.cuts.turn_waits();
            }
            self.note(entry);
            return Ok(());
        }
        let entry = self.note_rest(entry);
        match self
            .record(&entry, CheckpointTrigger::Turn, started)
            .await?
        {
            Ok(()) => {}
            Err(NoCut::Unchanged(_)) => self.note(entry),
            Err(NoCut::Refused(_)) => {
                self.note(entry);
                self.cuts.turn_waits();
            }
            Err(NoCut::Failed(words)) => {
                self.note(entry);
                self.cuts.turn_waits();
                self.cut_failed(&words);
            }
        }
        Ok(())
    }

    /// Takes a checkpoint and writes it together with `entry`. Cut off anywhere, either all of it is
    /// visible or nothing; done twice, there are two checkpoints and one entry, as nothing of the
    /// first try was written.
    pub(crate) async fn record(
        &mut self,
        entry: &Entry,
        trigger: CheckpointTrigger,
        started: &mut Started,
    ) -> Result<Result<(), NoCut>, Stop> {
        for _ in 0..TRIES {
            let cut = match self.cut(trigger, started).await? {
                Ok(cut) => cut,
                Err(no_cut) => return Ok(Err(no_cut)),
            };
            let mut whole = entry.clone();
            let outcome = CommandOutcome::Checkpointed(cut.new.id.clone());
            let asked = self.cuts.requested();
            whole
                .finish
                .extend(asked.map(|command| (command.clone(), outcome.clone())));
            whole.events.insert(0, self.created(&cut.new));
            whole.checkpoint = Some(cut.new.clone());
            match self.journal.write(whole).await {
                Ok(_) => {
                    self.cuts.take_requests();
                    self.cuts.recorded(&cut.new, cut.base, cut.goes_on);
                    return Ok(Ok(()));
                }
                Err(Refused::LeaseLost) => return Err(Stop::LeaseLost),
                // The next try stores all that it needs.
                Err(Refused::SweepBegan) => self.cuts.base = None,
                Err(refused) => return Ok(Err(NoCut::Refused(refused))),
            }
        }
        let words = "sweeps of the stored objects came in between".to_owned();
        Ok(Err(NoCut::Failed(words)))
    }

    fn created(&self, new: &NewCheckpoint) -> domain::event::NewEvent {
        let body = EventBody::CheckpointCreated {
            checkpoint: new.id.clone(),
            ordinal: new.ordinal,
            trigger: new.trigger,
            files: new.size.files,
            bytes: new.size.bytes,
            new_bytes: new.size.new_bytes,
            message: new.message.clone(),
            cut_sequence: new.sequence,
        };
        self.conversation.event(self.ports.now(), None, body)
    }

    /// The CLI mirrors the last entries of a turn after it said that it is idle: while nothing is
    /// open, all that has come belongs to the conversation.
    fn settle_transcript(&self, started: &mut Started) {
        if self.conversation.cli_rests() {
            started.transcript.is_sound(&self.claude_session_id());
        }
    }

    /// Stores a checkpoint. Commands and a stop wait for it; without the lease it ends at once. What
    /// the CLI says meanwhile is heard afterwards: it is not within the cut.
    async fn cut(
        &mut self,
        trigger: CheckpointTrigger,
        started: &mut Started,
    ) -> Result<Result<Cut, NoCut>, Stop> {
        let not_kept = |error: std::io::Error| {
            let problem = "the session's transcript cannot be kept";
            End::broke_down(disk::describe(problem, &error))
        };
        self.settle_transcript(started);
        let own = self.claude_session_id();
        let left_out = match started.transcript.leave_out_open_end(&own) {
            Ok(left_out) => left_out,
            Err(error) => {
                let problem = "the session's transcript cannot be cut";
                return Ok(Err(NoCut::Failed(disk::describe(problem, &error))));
            }
        };
        started.send_early().map_err(not_kept)?;
        let runs = self.runs.is_running() || started.calls.may_still_change();
        let goes_on = runs.then(Instant::now);
        let (plan, refused) = self.plan(trigger, started);
        let about = plan.new.about.clone();
        let id = plan.new.id.clone();
        let stored = {
            let storing = store(self.ports.clone(), plan);
            tokio::pin!(storing);
            loop {
                tokio::select! {
                    stored = &mut storing => break stored,
                    () = self.journal.lost() => return Err(Stop::LeaseLost),
                    heard = started.hear_ahead() => heard.map_err(not_kept)?,
                }
            }
        };
        left_out.put_back().map_err(not_kept)?;
        let stored = match stored {
            Ok(stored) => stored,
            Err(words) => return Ok(Err(NoCut::Failed(words))),
        };
        started.transcript.add_spilled(&stored.spilled);
        let statistics = &stored.created.statistics;
        self.tell_left_out(LeftOut::of(statistics, &stored.spilled, &refused));
        let Some(manifest) = stored.created.manifest else {
            return Ok(Err(NoCut::Unchanged(goes_on)));
        };
        let asked = self.cuts.requested().next().map(|command| &command.body);
        let pinned = matches!(asked, Some(CommandBody::Checkpoint { pinned: true, .. }));
        let new = NewCheckpoint {
            id,
            ordinal: self.cuts.count + 1,
            trigger,
            parent: about.parent,
            files: manifest.id.clone(),
            conversation: manifest.id,
            sequence: self.runs.cut_before(),
            commands_settled: about.commands_settled,
            turn: self.conversation.turn,
            claude_session_id: about.claude_session,
            question: self.deferred_question(started),
            message: about.message,
            tags: about.tags,
            pinned,
            size: CheckpointSize {
                files: statistics.files,
                bytes: statistics.bytes,
                new_bytes: statistics.stored_bytes,
            },
            generation: stored.generation,
        };
        Ok(Ok(Cut {
            new,
            base: stored.created.base,
            goes_on,
        }))
    }

    /// What to store, and the rules of the session that mean nothing.
    fn plan(&self, trigger: CheckpointTrigger, started: &Started) -> (Plan, Vec<String>) {
        let directories = started.sandbox.directories();
        let kept = directories.private.join("claude");
        let asked = self.cuts.requested().next();
        let (message, tags) = match asked.map(|command| &command.body) {
            Some(CommandBody::Checkpoint { message, tags, .. }) => (message.clone(), tags.clone()),
            _ => (None, Vec::new()),
        };
        let about = About {
            session: self.assignment.key.session.clone(),
            parent: self.cuts.head.clone(),
            created_at: self.ports.now(),
            author: asked.map_or_else(
                || "session-runner".to_owned(),
                |command| format!("command {}", command.id),
            ),
            message,
            tags,
            claude_session: self.claude_session_of(started),
            cut_sequence: self.journal.last(),
            commands_settled: self.settled(),
        };
        let nothing = IgnoreRules::new::<&str>(&[]).0;
        let (ignored, refused) = left_out::rules(self.spec.checkpoint_ignore.as_deref());
        let root = |name, directory: &std::path::Path, ignore: &IgnoreRules| SourceRoot {
            name,
            directory: directory.to_owned(),
            ignore: ignore.clone(),
        };
        let files = &directories.workspace.outside;
        let new = NewSnapshot {
            id: CheckpointId::from_random(self.ports.random()),
            about,
            roots: vec![
                root(RootName::Workspace, files, &ignored),
                root(
                    RootName::Transcript,
                    started.transcript.directory(),
                    &nothing,
                ),
                root(RootName::Claude, &kept, &nothing),
            ],
            base: self.cuts.base.clone(),
            unless_unchanged: trigger != CheckpointTrigger::Request,
        };
        let plan = Plan {
            tree: self.cuts.tree.clone(),
            compression: self.settings.checkpoint_compression,
            projects: directories.claude.outside.join("projects"),
            kept,
            new,
        };
        (plan, refused)
    }

    /// Says in the log what is left out, when that is not what it says already.
    fn tell_left_out(&mut self, found: LeftOut) {
        let told = std::mem::replace(&mut self.cuts.left_out, found.clone());
        let now = self.ports.now();
        for (code, words, before) in [
            ("checkpoint_left_out", found.files(), told.files()),
            ("checkpoint_rules", found.rules(), told.rules()),
        ] {
            if let Some(words) = words.filter(|words| before.as_ref() != Some(words)) {
                let notice = self.conversation.notice(code, &words, now);
                self.note(notice);
            }
        }
    }

    /// Every command up to this ordinal is finished.
    pub(crate) fn settled(&self) -> u64 {
        let open = self
            .conversation
            .outstanding()
            .map(|command| command.ordinal);
        let answers = self.early_answers.iter().map(|command| command.ordinal);
        let runs = self.runs.unfinished().map(|command| command.ordinal);
        let first = open.chain(answers).chain(runs).min();
        first.map_or(self.taken, |ordinal| ordinal.saturating_sub(1))
    }
}

/// Stores what is planned. Cut off anywhere, nothing of it is visible.
async fn store<P: Ports>(ports: Arc<P>, plan: Plan) -> Result<Stored, String> {
    let (projects, kept) = (plan.projects, plan.kept);
    let keeping = move || spilled::keep(&projects, &kept);
    let spilled = tokio::task::spawn_blocking(keeping).await;
    let spilled = spilled.map_err(|error| describe(&error))?;
    let spilled = spilled.map_err(|error| describe(&error))?;
    // Before anything stored is reused: a sweep that begins from here on refuses the append.
    let tree = ports.tree(&plan.tree).await;
    let generation = tree.map_err(|error| describe(&error))?.generation;
    let snapshots = Snapshots::new(&*ports, plan.tree).with_compression(plan.compression);
    let created = snapshots.create(plan.new).await;
    Ok(Stored {
        generation,
        created: created.map_err(|error| describe(&error))?,
        spilled,
    })
}
