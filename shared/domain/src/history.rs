//! Which events of a log still count. After a lost runner and after a rewind a session goes on from
//! an earlier cut; what came between stays in the log and is called abandoned.

use crate::{Event, EventBody, Sequence, UnixMillis};

/// Events of a log that a session did not go on from; both ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AbandonedRange {
    /// The first.
    pub from: Sequence,
    /// The last.
    pub to: Sequence,
}

impl AbandonedRange {
    /// Whether an event is in it.
    #[must_use]
    pub fn contains(self, sequence: Sequence) -> bool {
        (self.from..=self.to).contains(&sequence)
    }
}

/// What a runner that goes on from a cut leaves behind: `tail` are the events after the cut. Events
/// that only say who has the session, and where it stands, are nobody's work and do not count.
#[must_use]
pub fn abandoned(tail: &[Event]) -> Option<AbandonedRange> {
    let is_work = |event: &&Event| {
        !matches!(
            event.body,
            EventBody::SessionCreated
                | EventBody::SessionForked { .. }
                | EventBody::RunnerStarted { .. }
                | EventBody::RunnerLost { .. }
                | EventBody::StateChanged { .. }
                | EventBody::MessageWithdrawn
                | EventBody::SessionResumed { .. }
                | EventBody::Rewound { .. }
                | EventBody::Notice { .. }
        )
    };
    let from = tail.iter().find(is_work)?.sequence;
    let to = tail.iter().rev().find(is_work)?.sequence;
    Some(AbandonedRange { from, to })
}

/// Since when a session has been lost that goes on: `tail` as above. `None` when it was not lost, or was
/// ready since.
#[must_use]
pub fn lost_since(tail: &[Event]) -> Option<UnixMillis> {
    let ready = |event: &Event| matches!(event.body, EventBody::SessionReady { .. });
    let since = tail.iter().rposition(ready).map_or(0, |ready| ready + 1);
    let mut lost = tail[since..].iter();
    let lost = lost.find(|event| matches!(event.body, EventBody::RunnerLost { .. }));
    lost.map(|event| event.time)
}

/// The part of a log that counts, read from its beginning event by event.
///
/// A rewind may go to a checkpoint that an earlier rewind had left: then what was abandoned counts
/// again. So each checkpoint remembers what counted when it was taken.
#[derive(Clone, Debug, Default)]
pub struct History {
    abandoned: Vec<AbandonedRange>,
    at_checkpoint: Vec<(crate::CheckpointId, Vec<AbandonedRange>)>,
    last: Sequence,
}

impl History {
    /// Reads the next event.
    pub fn read(&mut self, event: &Event) {
        self.last = event.sequence;
        match &event.body {
            EventBody::SessionResumed {
                abandoned: Some(range),
                ..
            } => self.abandoned.push(*range),
            EventBody::Rewound {
                checkpoint,
                abandoned,
                ..
            } => {
                let then = self
                    .at_checkpoint
                    .iter()
                    .find(|(id, _)| id == checkpoint)
                    .map(|(_, ranges)| ranges.clone());
                self.abandoned = then.unwrap_or_default();
                self.abandoned.extend(*abandoned);
            }
            EventBody::CheckpointCreated { checkpoint, .. } => {
                self.at_checkpoint
                    .push((checkpoint.clone(), self.abandoned.clone()));
            }
            _ => {}
        }
    }

    /// Whether an event that was read is abandoned, as far as was read.
    #[must_use]
    pub fn is_abandoned(&self, sequence: Sequence) -> bool {
        self.abandoned.iter().any(|range| range.contains(sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CheckpointId, FencingToken, checkpoint::CheckpointTrigger};

    fn event(sequence: u64, body: EventBody) -> Event {
        Event {
            sequence: Sequence(sequence),
            fence: FencingToken(1),
            turn: 1,
            time: UnixMillis(0),
            cause: None,
            body,
            whole_body_bytes: None,
        }
    }

    fn text() -> EventBody {
        EventBody::Text {
            text: "x".to_owned(),
            agent: None,
        }
    }

    #[test]
    fn a_session_is_lost_from_the_first_loss_since_it_was_ready() {
        let lost = || EventBody::RunnerLost {
            reason: "x".to_owned(),
        };
        let ready = || EventBody::SessionReady {
            claude_version: "1".to_owned(),
            claude_session_id: "c".to_owned(),
        };
        let since = |bodies: Vec<EventBody>| {
            let events = (1..).zip(bodies).map(|(number, body)| Event {
                time: UnixMillis(number * 1000),
                ..event(number, body)
            });
            lost_since(&events.collect::<Vec<_>>())
        };
        assert_eq!(since(vec![]), None);
        assert_eq!(since(vec![ready(), text()]), None);
        assert_eq!(since(vec![text(), lost()]), Some(UnixMillis(2000)));
        // The next runner was lost before it was ready.
        let twice = vec![lost(), ready(), lost(), text(), lost()];
        assert_eq!(since(twice), Some(UnixMillis(3000)));
        assert_eq!(since(vec![lost(), ready()]), None);
    }

    fn id(number: u8) -> CheckpointId {
        CheckpointId::from_random([number; 17])
    }

    fn checkpoint(number: u8) -> EventBody {
        EventBody::CheckpointCreated {
            checkpoint: id(number),
            ordinal: u64::from(number),
            trigger: CheckpointTrigger::Turn,
            files: 0,
            bytes: 0,
            new_bytes: 0,
            message: None,
            cut_sequence: None,
        }
    }

    fn rewound(number: u8, from: u64, to: u64) -> EventBody {
        EventBody::Rewound {
            checkpoint: id(number),
            what: crate::checkpoint::RestoreScope::Both,
            kept_as: None,
            abandoned: Some(AbandonedRange {
                from: Sequence(from),
                to: Sequence(to),
            }),
            not_done: Vec::new(),
        }
    }

    #[test]
    fn only_work_is_abandoned() {
        let lost = EventBody::RunnerLost {
            reason: "gone".to_owned(),
        };
        assert_eq!(abandoned(&[]), None);
        assert_eq!(abandoned(&[event(4, lost.clone())]), None);
        let tail = [
            event(4, EventBody::MessageWithdrawn),
            event(5, text()),
            event(6, EventBody::MessageWithdrawn),
            event(7, text()),
            event(8, lost),
        ];
        let range = AbandonedRange {
            from: Sequence(5),
            to: Sequence(7),
        };
        assert_eq!(abandoned(&tail), Some(range));
    }

    #[test]
    fn a_rewind_to_what_was_left_makes_it_count_again() {
        let mut history = History::default();
        for event in [
            event(1, text()),
            event(2, checkpoint(1)),
            event(3, text()),
            event(4, checkpoint(2)),
            event(5, rewound(1, 3, 4)),
            event(6, text()),
        ] {
            history.read(&event);
        }
        let shown = |history: &History| -> Vec<u64> {
            (1..=8)
                .filter(|it| history.is_abandoned(Sequence(*it)))
                .collect()
        };
        assert_eq!(shown(&history), [3, 4]);
        history.read(&event(7, rewound(2, 5, 6)));
        assert_eq!(shown(&history), [5, 6]);
    }
}
