//! What holds at every step, and at the end.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    Checkpoint, CheckpointId, CommandId, CommandState, Event, EventBody, FencingToken, Head,
    SessionKey, State, TreeKey,
};
use testkit::Fake;

use crate::{
    Told,
    disk::{Manifest, content, manifest_name},
};

pub(crate) struct Invariants {
    fake: Fake,
    /// Port calls when it was checked last: nothing changes without one.
    calls: usize,
    /// Checkpoints and objects of each tree when they were checked last.
    checkpoints: BTreeMap<TreeKey, (Vec<CheckpointId>, usize)>,
    /// Events that were checked already; the log only grows, and none of them changes.
    checked: BTreeMap<SessionKey, Vec<Event>>,
    /// Checkpoints whose files and conversation somebody took apart, and what came of them.
    apart: BTreeSet<CheckpointId>,
    fences: BTreeMap<SessionKey, FencingToken>,
    started: BTreeSet<(SessionKey, FencingToken)>,
}

impl Invariants {
    pub(crate) fn new(fake: Fake) -> Self {
        Self {
            fake,
            calls: 0,
            checkpoints: BTreeMap::new(),
            checked: BTreeMap::new(),
            apart: BTreeSet::new(),
            fences: BTreeMap::new(),
            started: BTreeSet::new(),
        }
    }

    pub(crate) fn check(&mut self, seed: u64) {
        let calls = self.fake.calls();
        if calls == self.calls {
            return;
        }
        self.calls = calls;
        let mut live = 0;
        let mut by_owner = BTreeMap::new();
        for key in self.fake.session_keys() {
            let head = self.fake.peek_head(&key).expect("listed");
            if head.state.holds_slot() {
                live += 1;
                *by_owner.entry(key.owner.clone()).or_insert(0) += 1;
            }
            assert!(
                head.commands_taken <= head.commands_accepted,
                "seed {seed}: more taken than accepted"
            );
            let fence = self.fences.entry(key.clone()).or_default();
            assert!(head.fence >= *fence, "seed {seed}: a fence went back");
            *fence = head.fence;
            self.check_log(seed, &key, head.last_sequence.0, head.state);
            self.check_checkpoints(seed, &key, &head);
        }
        let (deployment, mut owners) = self.fake.slots();
        owners.retain(|_, used| *used > 0);
        assert_eq!(deployment, live, "seed {seed}: slots of the deployment");
        assert_eq!(owners, by_owner, "seed {seed}: slots of the owners");
        assert!(live <= 4, "seed {seed}: too many sessions");
    }

    /// Every visible checkpoint can be restored, and its files and conversation are of one cut.
    fn check_checkpoints(&mut self, seed: u64, key: &SessionKey, head: &Head) {
        let checkpoints = self.fake.peek_checkpoints(key);
        let ids: Vec<CheckpointId> = checkpoints.iter().map(|it| it.id.clone()).collect();
        let (tree, deletions) = (head.tree_key(), self.fake.deletions());
        let place = TreeKey {
            owner: tree.owner.clone(),
            tree: domain::TreeId::of(key.session.clone()),
        };
        let state = (ids, deletions);
        if self.checkpoints.get(&place) == Some(&state) {
            return;
        }
        self.checkpoints.insert(place, state);
        if self.fake.peek_events(key).is_empty() {
            // It is being erased.
            return;
        }
        let manifest = |id: &CheckpointId| {
            let object = |name: &str| {
                self.fake.peek_object(&tree, name).unwrap_or_else(|| {
                    panic!("seed {seed}: {name} is gone, which a checkpoint of {key:?} needs")
                })
            };
            let packs: Vec<Vec<u8>> = Manifest::parse(&object(&manifest_name(id)))
                .packs
                .iter()
                .map(|pack| object(pack))
                .collect();
            content(packs.iter().map(Vec::as_slice))
        };
        let mut in_order: Vec<&Checkpoint> = checkpoints.iter().collect();
        in_order.sort_by_key(|checkpoint| checkpoint.ordinal);
        for checkpoint in in_order {
            let (files, conversation) = manifest(&checkpoint.files);
            manifest(&checkpoint.conversation);
            if self.is_apart(checkpoint) {
                // Where the conversation alone was set back, files and conversation need not fit,
                // and a message may be done on files that know it.
                self.apart.insert(checkpoint.id.clone());
            } else {
                let pair = (&files, &conversation);
                assert!(
                    files == conversation,
                    "seed {seed}: {pair:?} are of two cuts"
                );
                let mut once = files.clone();
                once.sort();
                once.dedup();
                assert!(
                    once.len() == files.len(),
                    "seed {seed}: a message was done twice: {files:?}"
                );
            }
            assert!(
                checkpoint.commands_settled <= head.commands_accepted,
                "seed {seed}: settled before it was accepted"
            );
        }
        if let Some(id) = &head.checkpoint {
            assert!(
                checkpoints.iter().any(|it| it.id == *id),
                "seed {seed}: the checkpoint of the head is gone"
            );
        }
    }

    /// Whether files and conversation were taken apart here, or in what it goes on from.
    fn is_apart(&self, checkpoint: &Checkpoint) -> bool {
        let from = if checkpoint.files == checkpoint.id {
            checkpoint.parent.as_ref()
        } else {
            // A fork or a rewind has the files of another one.
            Some(&checkpoint.files)
        };
        checkpoint.files != checkpoint.conversation
            || from.is_some_and(|from| self.apart.contains(from))
    }

    /// Without gaps, one writer per fence, and nothing after the end.
    fn check_log(&mut self, seed: u64, key: &SessionKey, last: u64, state: State) {
        let checked = self.checked.entry(key.clone()).or_default();
        if checked.len() as u64 == last {
            return;
        }
        let events = self.fake.peek_events(key);
        if events.len() < checked.len() {
            let erased = self
                .fake
                .peek_head(key)
                .is_some_and(|head| head.state.is_ended());
            assert!(erased, "seed {seed}: the log shrank");
            return;
        }
        assert_eq!(
            events.len() as u64,
            last,
            "seed {seed}: head and log differ"
        );
        assert!(
            events.starts_with(checked),
            "seed {seed}: an event was rewritten"
        );
        for (index, event) in events.iter().enumerate().skip(checked.len()) {
            assert_eq!(event.sequence.0, index as u64 + 1, "seed {seed}: a gap");
            if index > 0 {
                let before = &events[index - 1];
                assert!(
                    event.fence >= before.fence,
                    "seed {seed}: a runner wrote after it was replaced"
                );
                assert!(
                    !matches!(before.body, EventBody::SessionEnded { .. }),
                    "seed {seed}: an event after the end"
                );
            }
            if matches!(event.body, EventBody::RunnerStarted { .. }) {
                assert!(
                    self.started.insert((key.clone(), event.fence)),
                    "seed {seed}: two runners with one fence"
                );
            }
        }
        let last_is_end = matches!(
            events.last().map(|event| &event.body),
            Some(EventBody::SessionEnded { .. })
        );
        assert_eq!(last_is_end, state.is_ended(), "seed {seed}: end and state");
        *checked = events;
    }

    /// Every message that was accepted is done, withdrawn, or named: as unfinished by the end, or as
    /// not done by a rewind. What a resting session has done is in its checkpoint. Gives how many
    /// sessions ended how, and how many runners were lost.
    pub(crate) fn at_the_end(&self, seed: u64, told: &Told) -> BTreeMap<State, usize> {
        let mut ends = BTreeMap::new();
        for key in self.fake.session_keys() {
            let head = self.fake.peek_head(&key).expect("listed");
            assert!(
                !told.erased.contains(&key),
                "seed {seed}: it was to be erased"
            );
            *ends.entry(head.state).or_default() += 1;
            let events = self.fake.peek_events(&key);
            let checked = self.checked.get(&key);
            assert!(
                events.is_empty() || checked == Some(&events),
                "seed {seed}: an event was rewritten"
            );
            let mut named: BTreeSet<CommandId> = BTreeSet::new();
            for event in &events {
                match &event.body {
                    EventBody::RunnerLost { .. } => *ends.entry(State::Lost).or_default() += 1,
                    EventBody::Rewound { not_done, .. } => named.extend(not_done.iter().cloned()),
                    EventBody::SessionEnded { unfinished, .. } => {
                        named.extend(unfinished.iter().cloned());
                    }
                    _ => {}
                }
            }
            let commands = self.fake.peek_commands(&key);
            let conversation = self.conversation(&head);
            for id in told.accepted.get(&key).into_iter().flatten() {
                let command = commands
                    .iter()
                    .find(|command| command.id == *id)
                    .unwrap_or_else(|| panic!("seed {seed}: {id} was accepted and is gone"));
                let known = conversation
                    .iter()
                    .filter(|known| known.as_str() == id.as_str())
                    .count();
                assert!(known <= 1, "seed {seed}: {id} was done {known} times");
                match command.state_for(&head) {
                    CommandState::Withdrawn => {
                        assert_eq!(known, 0, "seed {seed}: {id} was withdrawn and done");
                    }
                    CommandState::Done => {
                        // After a rewind, or in a session that was ended, it need not be in there.
                        let kept = told.set_back.contains(&key) || head.state.is_ended();
                        assert!(
                            kept || known == 1,
                            "seed {seed}: {id} is done and forgotten"
                        );
                    }
                    CommandState::NotDone => {
                        assert!(
                            named.contains(id),
                            "seed {seed}: {id} is not done, nor named"
                        );
                    }
                    // It asks a person, and rests.
                    CommandState::Taken(_) => {
                        assert!(
                            head.question.is_some() && head.state == State::Suspended,
                            "seed {seed}: {id} is under way in {}",
                            head.state
                        );
                    }
                    CommandState::Queued => panic!("seed {seed}: {id} was left waiting"),
                }
            }
        }
        assert_eq!(self.fake.slots().0, 0, "seed {seed}: slots are left");
        assert_eq!(
            self.fake.tombstones(),
            [],
            "seed {seed}: not looked at again"
        );
        for key in &told.erased {
            assert!(
                self.fake.peek_head(key).is_none() && self.fake.peek_commands(key).is_empty(),
                "seed {seed}: something is left of {key:?}"
            );
        }
        ends
    }

    /// After a last sweep the bucket holds what the checkpoints need, what sessions that are still
    /// there wrote, and nothing else. Of a tree without checkpoints nothing is swept before its
    /// session is erased.
    pub(crate) fn objects_at_the_end(&self, seed: u64) {
        let (mut needed, mut swept) = (BTreeSet::new(), BTreeSet::new());
        for key in self.fake.session_keys() {
            let tree = self.fake.peek_head(&key).expect("listed").tree_key();
            needed.insert((tree.clone(), format!("sessions/{}", key.session)));
            for record in self.fake.peek_checkpoints(&key) {
                swept.insert(tree.clone());
                for id in [&record.files, &record.conversation] {
                    let name = manifest_name(id);
                    let manifest = self.fake.peek_object(&tree, &name).unwrap_or_default();
                    let packs = Manifest::parse(&manifest).packs;
                    needed.extend(packs.into_iter().map(|pack| (tree.clone(), pack)));
                    needed.insert((tree.clone(), name));
                }
            }
            if !swept.contains(&tree) {
                let kinds = ["packs", "manifests"].map(ToOwned::to_owned);
                needed.extend(kinds.map(|kind| (tree.clone(), kind)));
            }
        }
        for (tree, name) in self.fake.peek_all_objects() {
            let mut parts = name.splitn(3, '/');
            let kind = parts.next().unwrap_or_default();
            let of = format!("{kind}/{}", parts.next().unwrap_or_default());
            let is_needed = needed.contains(&(tree.clone(), of))
                || !swept.contains(&tree) && needed.contains(&(tree.clone(), kind.to_owned()));
            assert!(is_needed, "seed {seed}: {name} of {tree:?} is left");
        }
    }

    /// What a resting session knows.
    fn conversation(&self, head: &Head) -> Vec<String> {
        let Some(id) = &head.checkpoint else {
            return Vec::new();
        };
        let records = self.fake.peek_checkpoints(&head.key);
        let Some(record) = records.iter().find(|record| record.id == *id) else {
            return Vec::new();
        };
        let tree = head.tree_key();
        let object = |name: &str| self.fake.peek_object(&tree, name).unwrap_or_default();
        let packs: Vec<Vec<u8>> = Manifest::parse(&object(&manifest_name(&record.conversation)))
            .packs
            .iter()
            .map(|pack| object(pack))
            .collect();
        content(packs.iter().map(Vec::as_slice)).1
    }
}
