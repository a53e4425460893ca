//! The writer against the fake store: every failure at every call, and the log as if none had been.

use domain::ports::{ControlChange, SessionDirectory};
use domain::{SessionKey, Transition};
use testkit::{Fake, FaultTime};

use super::*;

const PACE: Pace = Pace {
    batch: Duration::from_millis(1),
    batch_bytes: 300,
    heartbeat: Duration::from_millis(20),
    lease: Duration::from_secs(10),
    live: Duration::from_millis(1),
    buffer_bytes: 1024 * 1024,
};

async fn session(ports: &Fake) -> (SessionKey, Journal) {
    session_at(ports, PACE).await
}

async fn session_at(ports: &Fake, pace: Pace) -> (SessionKey, Journal) {
    let owner = testkit::owner("owner");
    let head = ports
        .create(testkit::new_session(ports, &owner))
        .await
        .unwrap()
        .head;
    let until = ports.now().plus(10_000);
    let (lease, head) = ports
        .acquire(&head.key, "task", "none", until, ports.now())
        .await
        .unwrap();
    let key = head.key.clone();
    (
        key,
        Journal::start(
            Arc::new(ports.clone()),
            lease,
            &head,
            until,
            pace,
            Redactor::default(),
            Heartbeat::default(),
        ),
    )
}

fn text(ports: &Fake, text: &str) -> Entry {
    let body = EventBody::Text {
        text: text.to_owned(),
        agent: None,
    };
    Entry {
        events: vec![testkit::event(ports.now(), body)],
        ..Entry::default()
    }
}

fn texts(ports: &Fake, key: &SessionKey) -> Vec<String> {
    let events = ports.peek_events(key);
    let texts = events.into_iter().filter_map(|event| match event.body {
        EventBody::Text { text, .. } => Some(text),
        _ => None,
    });
    texts.collect()
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_whatever_fails() {
    for time in [FaultTime::Before, FaultTime::After] {
        for call in 0..12 {
            let ports = Fake::new(call as u64);
            let (key, journal) = session(&ports).await;
            ports.fail_call(call, time);
            let mut expected = Vec::new();
            for number in 0..8 {
                let word = format!("text {number}");
                expected.push(word.clone());
                if number % 3 == 0 {
                    journal.write(text(&ports, &word)).await.unwrap();
                } else {
                    journal.note(text(&ports, &word));
                }
            }
            journal.write(text(&ports, "last")).await.unwrap();
            expected.push("last".to_owned());
            assert_eq!(texts(&ports, &key), expected, "call {call} {time:?}");
        }
    }
}

#[tokio::test]
async fn an_event_of_somebody_else_only_moves_the_numbers() {
    let ports = Fake::new(1);
    let (key, journal) = session(&ports).await;
    journal.write(text(&ports, "a")).await.unwrap();
    // A withdrawal writes into the log too.
    let command = testkit::new_command(&ports, "m9", testkit::message("later"));
    domain::ports::Inbox::enqueue(&ports, &key, command.clone())
        .await
        .unwrap();
    domain::ports::Inbox::withdraw(&ports, &key, &command.id, ports.now())
        .await
        .unwrap();
    journal.write(text(&ports, "b")).await.unwrap();
    assert_eq!(texts(&ports, &key), ["a", "b"]);
    let numbers: Vec<u64> = ports
        .peek_events(&key)
        .iter()
        .map(|event| event.sequence.0)
        .collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn without_the_lease_nothing_is_written_and_everybody_is_told() {
    let ports = Fake::new(1);
    let (key, journal) = session(&ports).await;
    journal.write(text(&ports, "a")).await.unwrap();
    let change = ControlChange {
        rewind: None,
        slots: domain::ports::SlotLimits::NONE,
        based_on: ports.head(&key).await.unwrap().unwrap(),
        transition: Transition::RunnerVanished,
        reason: "gone".to_owned(),
        events: vec![],
        now: ports.now(),
    };
    ports.control(change).await.unwrap();
    assert_eq!(
        journal.write(text(&ports, "b")).await,
        Err(Refused::LeaseLost)
    );
    journal.lost().await;
    assert_eq!(
        journal.write(text(&ports, "c")).await,
        Err(Refused::LeaseLost)
    );
    assert_eq!(texts(&ports, &key), ["a"]);
}

#[tokio::test]
async fn the_lease_is_kept_while_nothing_happens() {
    let ports = Fake::new(1);
    ports.clock().hold();
    let (key, _journal) = session(&ports).await;
    let before = ports.peek_head(&key).unwrap().lease_until;
    ports.clock().advance(4_000);
    while ports.peek_head(&key).unwrap().lease_until == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(ports.peek_head(&key).unwrap().lease_until >= before.plus(4_000));
}

#[tokio::test]
async fn live_text_is_shown_and_taken_away() {
    let ports = Fake::new(1);
    let (key, journal) = session(&ports).await;
    journal.show(Some("half a".to_owned()));
    journal.show(Some("half a sentence".to_owned()));
    // The newest wins, and the one before may never be shown.
    while ports
        .live(&key)
        .await
        .unwrap()
        .is_none_or(|live| live.text != "half a sentence")
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    journal.show(None);
    while ports.live(&key).await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Appends that twenty entries take which nobody waits for, and the time until all are written.
async fn appends(batch: Duration, batch_bytes: usize) -> (usize, Duration) {
    let ports = Fake::new(1);
    let pace = Pace {
        batch,
        batch_bytes,
        heartbeat: Duration::from_secs(600),
        ..PACE
    };
    let (key, journal) = session_at(&ports, pace).await;
    let (before, begun) = (ports.calls(), Instant::now());
    for number in 0..20 {
        journal.note(text(&ports, &format!("text {number:02}")));
    }
    while texts(&ports, &key).len() < 20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (ports.calls() - before, begun.elapsed())
}

#[tokio::test]
async fn entries_are_gathered_by_time_and_by_size() {
    let (some, short) = (Duration::from_millis(300), Duration::from_millis(1));
    // The first may go alone, at once; the others wait for the interval and go together.
    let (count, took) = appends(some, 100_000).await;
    // A busy machine may need a second interval.
    assert!(count <= 4, "{count}");
    assert!(count == 1 || took >= some, "{took:?}");
    // An entry counts 135 bytes here: two fit, or one.
    let (two, _) = appends(short, 300).await;
    assert!((10..=20).contains(&two), "{two}");
    let (one, _) = appends(short, 135).await;
    assert_eq!(one, 20);
}

#[tokio::test]
async fn who_waits_for_an_entry_does_not_wait_for_the_interval() {
    let ports = Fake::new(1);
    let pace = Pace {
        batch: Duration::from_secs(600),
        ..PACE
    };
    let (key, journal) = session_at(&ports, pace).await;
    journal.write(text(&ports, "a")).await.unwrap();
    journal.note(text(&ports, "b"));
    journal.write(text(&ports, "c")).await.unwrap();
    assert_eq!(texts(&ports, &key), ["a", "b", "c"]);
}
