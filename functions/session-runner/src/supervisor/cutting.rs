//! Checkpoints: when one is due, and taking it.
//!
//! ```text
//! due ── quiet? ── yes ─────────────────────→ packs, manifest ─→ one append makes it visible
//!          └─ no: the gate holds new calls for a while ─┘
//! ```
//! While one is taken nothing is let go and no line is heard, so files and transcript stand still as
//! far as we can make them. One that fails leaves nothing visible, and is tried again.

use std::time::Duration;

use checkpoint::{About, Base, IgnoreRules, NewSnapshot, RootName, Snapshots, SourceRoot};
use domain::checkpoint::{CheckpointSize, CheckpointTrigger, NewCheckpoint};
use domain::event::EventBody;
use domain::{CheckpointId, Command, CommandBody, CommandOutcome, Sequence, State, TreeKey};
use tokio::time::Instant;

use super::starting::Started;
use super::{Ports, Stop, Supervision};
use crate::journal::{Entry, Refused};
use crate::objects::SessionObjects;
use crate::settings::Strategy;
use crate::spilled;

/// With `smart`, least time between two checkpoints within a turn. Own.
const BETWEEN: Duration = Duration::from_secs(30);
/// How long before the interval is over one is taken though a tool runs.
const MARGIN: Duration = Duration::from_secs(20);
/// Longest time that calls are held for a checkpoint that is due.
const HOLD: Duration = Duration::from_secs(10);
/// A checkpoint that somebody asked for waits so long for a quiet moment.
const REQUEST: Duration = Duration::from_secs(60);
/// After a failure the next one waits so long.
const PAUSE: Duration = Duration::from_secs(15);
/// Tries of one checkpoint whose objects a sweep may have taken.
const TRIES: u32 = 3;

/// What is remembered from one checkpoint to the next.
pub(crate) struct Cuts {
    pub(crate) tree: TreeKey,
    /// The newest one.
    pub(crate) head: Option<CheckpointId>,
    /// How many there are.
    pub(crate) count: u64,
    pub(crate) base: Option<Base>,
    pub(crate) last: Instant,
    /// Since when files may have changed.
    changed: Option<Instant>,
    /// A turn ended then and is in none.
    turn_waits: Option<Instant>,
    /// Somebody asked for one, since when.
    requests: Vec<(Command, Instant)>,
    not_before: Option<Instant>,
}

/// A checkpoint that is stored and not visible yet.
pub(crate) struct Cut {
    pub(crate) new: NewCheckpoint,
    base: Base,
}

/// Why there is none. Nothing of its entry was written either.
pub(crate) enum NoCut {
    /// Everything is as it was in the last one.
    Unchanged,
    /// A command came, or was withdrawn.
    Refused(Refused),
    /// It failed, in words.
    Failed(String),
}

impl Cuts {
    pub(crate) fn new(tree: TreeKey, head: Option<CheckpointId>, count: u64) -> Self {
        Cuts {
            tree,
            head,
            count,
            base: None,
            last: Instant::now(),
            changed: None,
            turn_waits: None,
            requests: Vec::new(),
            not_before: None,
        }
    }

    /// A call goes that may change files.
    pub(crate) fn may_change(&mut self) {
        self.changed.get_or_insert_with(Instant::now);
    }

    pub(crate) fn request(&mut self, command: Command) {
        self.requests.push((command, Instant::now()));
    }

    pub(crate) fn requested(&self) -> impl Iterator<Item = &Command> {
        self.requests.iter().map(|(command, _)| command)
    }

    /// What one is due for, and when; and from when on it is taken though something runs.
    fn due(
        &self,
        strategy: Strategy,
        interval: Duration,
    ) -> Option<(CheckpointTrigger, Instant, Instant)> {
        let pause = self.not_before.unwrap_or(self.last);
        if let Some((_, since)) = self.requests.first() {
            return Some((CheckpointTrigger::Request, *since, *since + REQUEST));
        }
        if let Some(since) = self.turn_waits {
            let at = since.max(pause);
            return Some((CheckpointTrigger::Turn, at, at + interval));
        }
        let changed = self.changed?;
        let overdue = self.last.max(changed) + interval.saturating_sub(MARGIN);
        match strategy {
            Strategy::Smart => {
                let at = (self.last + BETWEEN).max(pause);
                Some((CheckpointTrigger::Tool, at, overdue.max(pause)))
            }
            Strategy::Interval => {
                let at = overdue.max(pause);
                Some((CheckpointTrigger::Interval, at, at + MARGIN))
            }
            Strategy::Turn | Strategy::Manual => None,
        }
    }

    fn unchanged(&mut self) {
        self.last = Instant::now();
        self.changed = None;
        self.turn_waits = None;
    }

    fn recorded(&mut self, cut: &NewCheckpoint, base: Base) {
        self.head = Some(cut.id.clone());
        self.count = cut.ordinal;
        self.base = Some(base);
        self.last = Instant::now();
        self.changed = None;
        self.turn_waits = None;
        self.not_before = None;
    }
}

impl<P: Ports, O: SessionObjects> Supervision<P, O> {
    fn due(&self) -> Option<(CheckpointTrigger, Instant, Instant)> {
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
        let (_, at, overdue) = self.due()?;
        let now = Instant::now();
        let held = started.held_since.map(|since| since + HOLD);
        [Some(at), Some(overdue), held]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    /// A checkpoint is due and calls wait for it a little.
    pub(crate) fn holds_calls(&self, started: &Started) -> bool {
        let held_long = started.held_since.is_some_and(|at| at.elapsed() >= HOLD);
        let due = self.due().is_some_and(|(_, at, _)| at <= Instant::now());
        due && started.calls.can_become_quiet() && !held_long
    }

    /// Takes a checkpoint if one is due and this is a moment for it.
    pub(crate) async fn cut_if_due(&mut self, started: &mut Started) -> Result<(), Stop> {
        let Some((trigger, at, overdue)) = self.due() else {
            return Ok(());
        };
        let now = Instant::now();
        self.settle_transcript(started);
        let quiet = started.calls.is_quiet() && started.transcript.goes_on();
        if at > now || !(quiet || overdue <= now) {
            return Ok(());
        }
        match self.record(&Entry::default(), trigger, started).await? {
            Ok(()) => {}
            Err(NoCut::Unchanged) => self.cuts.unchanged(),
            Err(NoCut::Failed(words)) => self.cut_failed(&words),
            Err(NoCut::Refused(refused)) => self.cut_failed(&refused.to_string()),
        }
        Ok(())
    }

    pub(crate) fn cut_failed(&mut self, words: &str) {
        self.cuts.not_before = Some(Instant::now() + PAUSE);
        let now = self.ports.now();
        let words = format!("a checkpoint could not be taken, and is tried again: {words}");
        let notice = self.conversation.notice("checkpoint_failed", &words, now);
        self.journal.note(notice);
        let asked = std::mem::take(&mut self.cuts.requests);
        let outcome = CommandOutcome::Refused(words);
        self.note(Entry {
            finish: asked
                .into_iter()
                .map(|(command, _)| (command, outcome.clone()))
                .collect(),
            ..Entry::default()
        });
    }

    /// The end of a turn: kept by a checkpoint before anybody hears of it, if that can be.
    pub(crate) async fn end_turn(
        &mut self,
        mut entry: Entry,
        started: &mut Started,
    ) -> Result<(), Stop> {
        started.calls.turn_over();
        started.transcript.is_sound(&self.claude_session_id());
        if let Some(changed) = self.files_changed(started).await {
            let event = self.conversation.event(self.ports.now(), None, changed);
            entry.events.push(event);
        }
        let keeps_turns = self.strategy().keeps_turns();
        if !keeps_turns || !started.calls.is_quiet() {
            if keeps_turns {
                self.cuts.turn_waits = Some(Instant::now());
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
            Err(NoCut::Unchanged) => self.note(entry),
            Err(NoCut::Refused(_)) => {
                self.note(entry);
                self.cuts.turn_waits = Some(Instant::now());
            }
            Err(NoCut::Failed(words)) => {
                self.note(entry);
                self.cuts.turn_waits = Some(Instant::now());
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
            let asked = self.cuts.requests.iter();
            whole
                .finish
                .extend(asked.map(|(command, _)| (command.clone(), outcome.clone())));
            whole.events.insert(0, self.created(&cut.new));
            whole.checkpoint = Some(cut.new.clone());
            match self.journal.write(whole).await {
                Ok(_) => {
                    self.cuts.requests.clear();
                    self.cuts.recorded(&cut.new, cut.base);
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
        if self.conversation.state == State::Idle {
            started.transcript.is_sound(&self.claude_session_id());
        }
    }

    /// Stores a checkpoint. Commands and a stop wait for it; without the lease it ends at once.
    async fn cut(
        &mut self,
        trigger: CheckpointTrigger,
        started: &mut Started,
    ) -> Result<Result<Cut, NoCut>, Stop> {
        self.settle_transcript(started);
        let own = self.claude_session_id();
        let left_out = match started.transcript.leave_out_open_end(&own) {
            Ok(left_out) => left_out,
            Err(error) => return Ok(Err(NoCut::Failed(error.to_string()))),
        };
        let stored = {
            let storing = self.store_cut(trigger, started);
            tokio::pin!(storing);
            tokio::select! {
                stored = &mut storing => stored,
                () = self.journal.lost() => return Err(Stop::LeaseLost),
            }
        };
        if let Err(error) = left_out.put_back() {
            return Err(super::End::broke_down(format!(
                "the session's transcript cannot be kept: {error}"
            )));
        }
        Ok(stored)
    }

    async fn store_cut(&self, trigger: CheckpointTrigger, started: &Started) -> Result<Cut, NoCut> {
        let failed =
            |error: &dyn std::error::Error| NoCut::Failed(super::starting::describe(error));
        let directories = started.sandbox.directories();
        let (projects, kept) = (
            directories.claude.outside.join("projects"),
            directories.private.join("claude"),
        );
        let spilled = tokio::task::spawn_blocking({
            let kept = kept.clone();
            move || spilled::keep(&projects, &kept)
        });
        match spilled.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(failed(&error)),
            Err(error) => return Err(failed(&error)),
        }
        let generation = match self.ports.tree(&self.cuts.tree).await {
            Ok(tree) => tree.generation,
            Err(error) => return Err(failed(&error)),
        };
        let asked = self.cuts.requested().next().map(|command| &command.body);
        let (message, tags, pinned) = match asked {
            Some(CommandBody::Checkpoint {
                message,
                tags,
                pinned,
            }) => (message.clone(), tags.clone(), *pinned),
            _ => (None, Vec::new(), false),
        };
        let claude_session = self.claude_session_of(started);
        let about = About {
            session: self.assignment.key.session.clone(),
            parent: self.cuts.head.clone(),
            created_at: self.ports.now(),
            author: "session-runner".to_owned(),
            message: message.clone(),
            tags: tags.clone(),
            claude_session: claude_session.clone(),
            // The append numbers it; the record has the number.
            cut_sequence: Sequence(0),
            commands_settled: self.settled(),
        };
        let nothing = IgnoreRules::new::<&str>(&[]).0;
        let ignored = left_out(self.spec.checkpoint_ignore.as_deref());
        let root = |name, directory: &std::path::Path, ignore: &IgnoreRules| SourceRoot {
            name,
            directory: directory.to_owned(),
            ignore: ignore.clone(),
        };
        let id = CheckpointId::from_random(self.ports.random());
        let new = NewSnapshot {
            id: id.clone(),
            about,
            roots: vec![
                root(
                    RootName::Workspace,
                    &directories.workspace.outside,
                    &ignored,
                ),
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
        let snapshots = Snapshots::new(&*self.ports, self.cuts.tree.clone())
            .with_compression(self.settings.checkpoint_compression);
        let created = match snapshots.create(new).await {
            Ok(created) => created,
            Err(error) => return Err(failed(&error)),
        };
        let Some(manifest) = created.manifest else {
            return Err(NoCut::Unchanged);
        };
        let new = NewCheckpoint {
            id,
            ordinal: self.cuts.count + 1,
            trigger,
            parent: self.cuts.head.clone(),
            files: manifest.id.clone(),
            conversation: manifest.id,
            sequence: None,
            commands_settled: self.settled(),
            turn: self.conversation.turn,
            claude_session_id: claude_session,
            question: self.deferred_question(started),
            message,
            tags,
            pinned,
            size: CheckpointSize {
                files: created.statistics.files,
                bytes: created.statistics.bytes,
                new_bytes: created.statistics.stored_bytes,
            },
            generation,
        };
        Ok(Cut {
            new,
            base: created.base,
        })
    }

    /// Every command up to this ordinal is finished.
    pub(crate) fn settled(&self) -> u64 {
        let open = self
            .conversation
            .outstanding()
            .map(|command| command.ordinal);
        let answers = self.early_answers.iter().map(|command| command.ordinal);
        let first = open.chain(answers).min();
        first.map_or(self.taken, |ordinal| ordinal.saturating_sub(1))
    }
}

/// What the session asked to leave out of its files. A line that means nothing matches nothing, as
/// in git.
fn left_out(asked: Option<&[String]>) -> IgnoreRules {
    asked.map_or_else(IgnoreRules::default, |lines| IgnoreRules::new(lines).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_says_what_is_left_out() {
        let usual = IgnoreRules::default();
        assert_eq!(left_out(None).lines(), usual.lines());
        let asked = ["out/".to_owned(), "a{".to_owned()];
        assert_eq!(left_out(Some(&asked)).lines(), ["out/"]);
        assert!(left_out(Some(&[])).lines().is_empty());
    }

    fn cuts() -> Cuts {
        let key = domain::SessionKey {
            owner: testkit::owner("owner"),
            session: domain::SessionId::from_random([1; 17]),
        };
        let tree = TreeKey {
            owner: key.owner,
            tree: domain::TreeId::of(key.session),
        };
        Cuts::new(tree, None, 0)
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_kept_soon_and_no_later_than_the_interval() {
        let interval = Duration::from_secs(240);
        let mut cuts = cuts();
        assert!(cuts.due(Strategy::Smart, interval).is_none());
        tokio::time::advance(Duration::from_secs(5)).await;
        cuts.may_change();
        let (trigger, at, overdue) = cuts.due(Strategy::Smart, interval).unwrap();
        assert_eq!(trigger, CheckpointTrigger::Tool);
        assert_eq!(at, cuts.last + BETWEEN);
        assert!(overdue <= Instant::now() + interval);
        for strategy in [Strategy::Turn, Strategy::Manual] {
            assert!(cuts.due(strategy, interval).is_none());
        }
        let (trigger, at, _) = cuts.due(Strategy::Interval, interval).unwrap();
        assert_eq!(trigger, CheckpointTrigger::Interval);
        assert!(at <= Instant::now() + interval);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_there_is_a_pause() {
        let interval = Duration::from_secs(240);
        let mut cuts = cuts();
        cuts.turn_waits = Some(Instant::now());
        cuts.not_before = Some(Instant::now() + PAUSE);
        let (trigger, at, _) = cuts.due(Strategy::Turn, interval).unwrap();
        assert_eq!(
            (trigger, at),
            (CheckpointTrigger::Turn, Instant::now() + PAUSE)
        );
    }
}
