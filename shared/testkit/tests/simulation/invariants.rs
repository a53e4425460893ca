//! What holds at every step, and at the end.

use std::collections::{BTreeMap, BTreeSet};

use domain::{CommandId, CommandState, Event, EventBody, FencingToken, SessionKey, State};
use testkit::Fake;

pub(crate) struct Invariants {
    fake: Fake,
    /// Events that were checked already; the log only grows.
    checked: BTreeMap<SessionKey, usize>,
    fences: BTreeMap<SessionKey, FencingToken>,
    started: BTreeSet<(SessionKey, FencingToken)>,
}

impl Invariants {
    pub(crate) fn new(fake: Fake) -> Self {
        Self {
            fake,
            checked: BTreeMap::new(),
            fences: BTreeMap::new(),
            started: BTreeSet::new(),
        }
    }

    pub(crate) fn check(&mut self, seed: u64) {
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
        }
        let (deployment, mut owners) = self.fake.slots();
        owners.retain(|_, used| *used > 0);
        assert_eq!(deployment, live, "seed {seed}: slots of the deployment");
        assert_eq!(owners, by_owner, "seed {seed}: slots of the owners");
        assert!(live <= 4, "seed {seed}: too many sessions");
    }

    /// Without gaps, one writer per fence, and nothing after the end.
    fn check_log(&mut self, seed: u64, key: &SessionKey, last: u64, state: State) {
        let checked = self.checked.entry(key.clone()).or_default();
        if *checked as u64 == last {
            return;
        }
        let events = self.fake.peek_events(key);
        assert_eq!(
            events.len() as u64,
            last,
            "seed {seed}: head and log differ"
        );
        for (index, event) in events.iter().enumerate().skip(*checked) {
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
        *checked = events.len();
    }

    /// Every message that was accepted is done, withdrawn, or named in the end event. Gives how
    /// many sessions ended how, and how many runners were lost.
    pub(crate) fn at_the_end(
        &self,
        seed: u64,
        accepted: &BTreeMap<SessionKey, Vec<CommandId>>,
    ) -> BTreeMap<State, usize> {
        let mut ends = BTreeMap::new();
        for key in self.fake.session_keys() {
            let head = self.fake.peek_head(&key).expect("listed");
            assert!(head.state.is_ended(), "seed {seed}: {} goes on", head.state);
            *ends.entry(head.state).or_default() += 1;
            let lost = |event: &Event| matches!(event.body, EventBody::RunnerLost { .. });
            let losses = self
                .fake
                .peek_events(&key)
                .iter()
                .filter(|it| lost(it))
                .count();
            *ends.entry(State::Lost).or_default() += losses;
            let unfinished = match self.fake.peek_events(&key).pop().map(|event| event.body) {
                Some(EventBody::SessionEnded { unfinished, .. }) => unfinished,
                other => panic!("seed {seed}: the last event is {other:?}"),
            };
            let commands = self.fake.peek_commands(&key);
            for id in accepted.get(&key).into_iter().flatten() {
                let command = commands
                    .iter()
                    .find(|command| command.id == *id)
                    .unwrap_or_else(|| panic!("seed {seed}: {id} was accepted and is gone"));
                let settled = matches!(command.state, CommandState::Done | CommandState::Withdrawn);
                assert_ne!(
                    settled,
                    unfinished.contains(id),
                    "seed {seed}: {id} is {:?}, unfinished {unfinished:?}",
                    command.state
                );
            }
        }
        assert_eq!(self.fake.slots().0, 0, "seed {seed}: slots are left");
        ends
    }
}
