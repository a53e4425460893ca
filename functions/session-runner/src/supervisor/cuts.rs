//! When a checkpoint is due, and what is remembered from one to the next.

use std::time::Duration;

use checkpoint::Base;
use domain::checkpoint::{CheckpointTrigger, NewCheckpoint};
use domain::{CheckpointId, Command, TreeKey};
use tokio::time::Instant;

use super::left_out::LeftOut;
use crate::settings::Strategy;

/// With `smart`, least time between two checkpoints within a turn. Own.
const BETWEEN: Duration = Duration::from_secs(30);
/// How long before the interval is over one is taken though a tool runs; of a short interval, the
/// last quarter.
const MARGIN: Duration = Duration::from_secs(20);
/// A checkpoint that somebody asked for waits so long for a quiet moment.
const REQUEST: Duration = Duration::from_secs(60);
/// After a failure the next one waits so long.
const PAUSE: Duration = Duration::from_secs(15);

/// What is remembered from one checkpoint to the next.
pub(crate) struct Cuts {
    pub(crate) tree: TreeKey,
    /// The newest one.
    pub(crate) head: Option<CheckpointId>,
    /// How many there are.
    pub(crate) count: u64,
    pub(crate) base: Option<Base>,
    /// What the log says they leave out.
    pub(crate) left_out: LeftOut,
    last: Instant,
    /// Since when files may have changed.
    changed: Option<Instant>,
    /// A turn ended then and is in none.
    turn_waits: Option<Instant>,
    /// Somebody asked for one, since when.
    requests: Vec<(Command, Instant)>,
    not_before: Option<Instant>,
}

/// A checkpoint that is to be taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) trigger: CheckpointTrigger,
    /// From then on in a quiet moment.
    pub(crate) at: Instant,
    /// From then on though something runs.
    pub(crate) overdue: Instant,
}

impl Cuts {
    pub(crate) fn new(tree: TreeKey, head: Option<CheckpointId>, count: u64) -> Self {
        Cuts {
            tree,
            head,
            count,
            base: None,
            left_out: LeftOut::default(),
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

    /// A turn ended, and nothing keeps it yet.
    pub(crate) fn turn_waits(&mut self) {
        self.turn_waits = Some(Instant::now());
    }

    pub(crate) fn request(&mut self, command: Command) {
        self.requests.push((command, Instant::now()));
    }

    pub(crate) fn requested(&self) -> impl Iterator<Item = &Command> {
        self.requests.iter().map(|(command, _)| command)
    }

    /// Those who asked are answered.
    pub(crate) fn take_requests(&mut self) -> Vec<Command> {
        let requests = std::mem::take(&mut self.requests);
        requests.into_iter().map(|(command, _)| command).collect()
    }

    /// What one is due for, and when. Of several reasons each keeps its time: one that can wait does
    /// not hold up another.
    pub(crate) fn due(&self, strategy: Strategy, interval: Duration) -> Option<Due> {
        let pause = self.not_before.unwrap_or(self.last);
        let margin = MARGIN.min(interval / 4);
        let latest = |since: Instant| (since + interval.saturating_sub(margin)).max(pause);
        let request = self.requests.first().map(|(_, since)| Due {
            trigger: CheckpointTrigger::Request,
            at: *since,
            overdue: *since + REQUEST,
        });
        let turn = self.turn_waits.map(|since| Due {
            trigger: CheckpointTrigger::Turn,
            at: since.max(pause),
            overdue: latest(since),
        });
        let changed = self.changed.and_then(|since| match strategy {
            Strategy::Smart => Some(Due {
                trigger: CheckpointTrigger::Tool,
                at: (self.last + BETWEEN).max(pause).min(latest(since)),
                overdue: latest(since),
            }),
            Strategy::Interval => Some(Due {
                trigger: CheckpointTrigger::Interval,
                at: latest(since),
                overdue: latest(since) + margin,
            }),
            Strategy::Turn | Strategy::Manual => None,
        });
        let all = [request, turn, changed].into_iter().flatten();
        all.reduce(|first, next| Due {
            trigger: first.trigger,
            at: first.at.min(next.at),
            overdue: first.overdue.min(next.overdue),
        })
    }

    /// All is as in the last one. `goes_on`: something ran meanwhile that may change files, since
    /// when they were looked at.
    pub(crate) fn unchanged(&mut self, goes_on: Option<Instant>) {
        self.last = Instant::now();
        self.changed = self.changed.and(goes_on);
        self.turn_waits = self.turn_waits.and(goes_on);
    }

    /// There is a new one; `goes_on` as there.
    pub(crate) fn recorded(&mut self, cut: &NewCheckpoint, base: Base, goes_on: Option<Instant>) {
        self.head = Some(cut.id.clone());
        self.count = cut.ordinal;
        self.base = Some(base);
        self.not_before = None;
        self.unchanged(goes_on);
    }

    /// For how long changes have been in no checkpoint.
    pub(crate) fn age(&self) -> Option<Duration> {
        let since = [self.changed, self.turn_waits].into_iter().flatten().min();
        since.map(|since| since.elapsed())
    }

    /// There is none; the next try comes later.
    pub(crate) fn failed(&mut self) {
        self.not_before = Some(Instant::now() + PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(240);

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

    fn request() -> Command {
        let body = domain::CommandBody::Checkpoint {
            message: None,
            tags: vec![],
            pinned: false,
        };
        Command {
            id: domain::CommandId::parse("k1").unwrap(),
            ordinal: 1,
            accepted_at: domain::UnixMillis(0),
            body,
            state: domain::CommandState::Queued,
            outcome: None,
        }
    }

    async fn wait(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn changes_age_until_a_checkpoint_keeps_them() {
        let mut cuts = cuts();
        assert_eq!(cuts.age(), None);
        cuts.may_change();
        wait(200).await;
        cuts.turn_waits();
        cuts.failed();
        wait(101).await;
        assert_eq!(cuts.age(), Some(Duration::from_secs(301)));
        cuts.unchanged(None);
        assert_eq!(cuts.age(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_kept_soon_and_no_later_than_the_interval() {
        let mut cuts = cuts();
        assert!(cuts.due(Strategy::Smart, INTERVAL).is_none());
        wait(5).await;
        cuts.may_change();
        let due = cuts.due(Strategy::Smart, INTERVAL).unwrap();
        assert_eq!(due.trigger, CheckpointTrigger::Tool);
        assert_eq!(due.at, cuts.last + BETWEEN);
        assert_eq!(due.overdue, Instant::now() + INTERVAL - MARGIN);
        for strategy in [Strategy::Turn, Strategy::Manual] {
            assert!(cuts.due(strategy, INTERVAL).is_none());
        }
        let due = cuts.due(Strategy::Interval, INTERVAL).unwrap();
        assert_eq!(due.trigger, CheckpointTrigger::Interval);
        assert!(due.at <= Instant::now() + INTERVAL && due.overdue <= Instant::now() + INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_interval_has_a_short_margin() {
        let mut cuts = cuts();
        cuts.may_change();
        let now = Instant::now();
        let due = cuts.due(Strategy::Smart, Duration::from_secs(8)).unwrap();
        assert_eq!(
            (due.at, due.overdue),
            (due.overdue, now + Duration::from_secs(6))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_does_not_hold_up_changes() {
        let mut cuts = cuts();
        cuts.may_change();
        let bound = Instant::now() + INTERVAL;
        wait(200).await;
        cuts.request(request());
        let due = cuts.due(Strategy::Smart, INTERVAL).unwrap();
        assert_eq!(due.trigger, CheckpointTrigger::Request);
        assert_eq!(due.overdue, bound - MARGIN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_ended_beside_an_agent_does_not_hold_up_changes() {
        let mut cuts = cuts();
        cuts.may_change();
        let bound = Instant::now() + INTERVAL;
        wait(200).await;
        cuts.turn_waits();
        let due = cuts.due(Strategy::Smart, INTERVAL).unwrap();
        assert_eq!(due.trigger, CheckpointTrigger::Turn);
        assert_eq!(due.overdue, bound - MARGIN);
        // Alone it has the interval for itself.
        cuts.changed = None;
        let due = cuts.due(Strategy::Turn, INTERVAL).unwrap();
        assert_eq!(due.overdue, Instant::now() + INTERVAL - MARGIN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_call_is_kept_again_and_again() {
        let mut cuts = cuts();
        cuts.may_change();
        cuts.turn_waits();
        for _ in 0..3 {
            wait(220).await;
            let began = Instant::now();
            assert!(cuts.due(Strategy::Smart, INTERVAL).unwrap().overdue <= began);
            wait(10).await;
            cuts.unchanged(Some(began));
            let due = cuts.due(Strategy::Smart, INTERVAL).unwrap();
            assert_eq!(due.overdue, began + INTERVAL - MARGIN);
            let due = cuts.due(Strategy::Turn, INTERVAL).unwrap();
            assert_eq!(due.overdue, began + INTERVAL - MARGIN);
            wait(0).await;
        }
        cuts.unchanged(None);
        assert!(cuts.due(Strategy::Smart, INTERVAL).is_none());
        // A call that only reads leaves nothing to keep.
        cuts.unchanged(Some(Instant::now()));
        assert!(cuts.due(Strategy::Smart, INTERVAL).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_there_is_a_pause() {
        let mut cuts = cuts();
        cuts.turn_waits();
        cuts.failed();
        let due = cuts.due(Strategy::Turn, INTERVAL).unwrap();
        assert_eq!(
            (due.trigger, due.at),
            (CheckpointTrigger::Turn, Instant::now() + PAUSE)
        );
    }
}
