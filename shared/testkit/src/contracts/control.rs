//! Changes from outside a session's runner, and finding sessions that need one.

use domain::{
    EventBody, FencingToken, Head, State, Transition,
    ports::{AcquireError, AppendError, ControlChange, ControlError, EnqueueError},
};

use super::{Ports, acquired, assert_refused, created, head, kinds, log, text};
use crate::{builders, yield_once};

fn change<P: Ports>(ports: &P, based_on: &Head, transition: Transition) -> ControlChange {
    let now = ports.now();
    ControlChange {
        rewind: None,
        slots: domain::ports::SlotLimits::NONE,
        based_on: based_on.clone(),
        transition,
        reason: "because".to_owned(),
        events: vec![builders::event(
            now,
            EventBody::SessionEnded {
                state: State::Cancelled,
                reason: "because".to_owned(),
                unfinished: Vec::new(),
            },
        )],
        now,
    }
}

/// `control` and `note_task`.
pub async fn control_contract<P: Ports>(ports: &P) {
    // An end without a runner.
    let requested = created(ports).await;
    let cancel = change(ports, &requested, Transition::WasCancelled);
    let ended = ports.control(cancel.clone()).await.expect("cancelled");
    assert_eq!(ended, head(ports, &requested.key).await);
    assert_eq!(ended.state, State::Cancelled);
    assert_eq!(ended.end_reason.as_deref(), Some("because"));
    assert_eq!(ended.fence, FencingToken(1));
    let events = log(ports, &requested.key).await;
    assert_eq!(kinds(&events), ["session_created", "session_ended"]);
    assert_eq!(events[1].fence, FencingToken(0));
    assert_refused!(
        ports
            .acquire(&requested.key, "late", "none", ports.now(), ports.now())
            .await,
        AcquireError::NotAvailable(_)
    );
    assert_refused!(
        ports
            .enqueue(
                &requested.key,
                builders::new_command(ports, "late", builders::message("hello"))
            )
            .await,
        EnqueueError::Ended(State::Cancelled)
    );
    // An ended session knows no transition.
    assert_refused!(
        ports
            .control(change(ports, &ended, Transition::WasCancelled))
            .await,
        ControlError::Changed
    );

    // Whatever moved since the head was read stands in the way.
    let (lease, base) = acquired(ports).await;
    let append = builders::append(ports, base.last_sequence.next(), vec![text("a")]);
    ports.append(&lease, &append).await.expect("appended");
    let vanish = |base: &Head| change(ports, base, Transition::RunnerVanished);
    assert_refused!(ports.control(vanish(&base)).await, ControlError::Changed);
    let base = head(ports, &lease.key).await;
    ports
        .enqueue(
            &lease.key,
            builders::new_command(ports, "between", builders::message("hello")),
        )
        .await
        .expect("accepted");
    assert_refused!(ports.control(vanish(&base)).await, ControlError::Changed);

    // Whoever was declared lost can write nothing.
    let base = head(ports, &lease.key).await;
    let lost = ports.control(vanish(&base)).await.expect("lost");
    assert_eq!(lost.state, State::Lost);
    assert!(lost.fence > lease.fence);
    let append = builders::append(ports, lost.last_sequence.next(), vec![text("b")]);
    assert_refused!(ports.append(&lease, &append).await, AppendError::LeaseLost);
    assert_refused!(
        ports.renew(&lease, ports.now().plus(10_000)).await,
        AppendError::LeaseLost
    );
    notes(ports).await;
}

async fn notes<P: Ports>(ports: &P) {
    let requested = created(ports).await;
    ports
        .note_task(&requested.key, FencingToken(9), "t-0")
        .await
        .expect("for another runner");
    assert_eq!(head(ports, &requested.key).await.task, None);
    let none = FencingToken(0);
    ports
        .note_task(&requested.key, none, "t-1")
        .await
        .expect("noted");
    assert_eq!(
        head(ports, &requested.key).await.task.as_deref(),
        Some("t-1")
    );
    let now = ports.now();
    ports
        .acquire(&requested.key, "t-2", "none", now.plus(10_000), now)
        .await
        .expect("acquired");
    ports
        .note_task(&requested.key, none, "t-3")
        .await
        .expect("too late");
    assert_eq!(
        head(ports, &requested.key).await.task.as_deref(),
        Some("t-2")
    );
    // One that is not there is nothing to note, and nothing comes of it.
    let mut nobody = requested.key.clone();
    nobody.owner = super::new_owner(ports);
    ports
        .note_task(&nobody, none, "t-4")
        .await
        .expect("nothing");
    assert_eq!(ports.head(&nobody).await.expect("read"), None);
}

/// `overdue`.
pub async fn overdue_contract<P: Ports>(ports: &P) {
    let waiting = created(ports).await;
    let noted = created(ports).await;
    ports
        .note_task(&noted.key, FencingToken(0), "task")
        .await
        .expect("noted");
    let (lease, running) = acquired(ports).await;
    let ended = created(ports).await;
    ports
        .control(change(ports, &ended, Transition::WasCancelled))
        .await
        .expect("cancelled");
    let keys = [&waiting.key, &noted.key, &running.key, &ended.key];
    let found = async |after: u64| -> [bool; 4] {
        let found = ports
            .overdue(waiting.created_at.plus(after), 100_000)
            .await
            .expect("looked");
        keys.map(|key| found.contains(key))
    };
    let settled = async |after: u64, expected: [bool; 4]| {
        // It may lag.
        for _ in 0..1_000 {
            if found(after).await == expected {
                break;
            }
            yield_once().await;
        }
        assert_eq!(found(after).await, expected, "after {after} ms");
    };
    // Building all this took some time itself, seconds on a busy machine.
    let lease_end = running.lease_until.since(waiting.created_at);
    settled(1, [false; 4]).await;
    settled(14_000.min(lease_end), [false; 4]).await;
    settled(lease_end + 60_000, [true, false, true, false]).await;
    settled(lease_end + 600_000, [true, true, true, false]).await;
    ports
        .renew(&lease, waiting.created_at.plus(900_000))
        .await
        .expect("renewed");
    settled(800_000, [true, true, false, false]).await;
    // The oldest come first.
    let oldest = ports
        .overdue(waiting.created_at.plus(1_000_000), 100_000)
        .await
        .expect("looked");
    let place = |key| oldest.iter().position(|found| found == key);
    assert!(place(&waiting.key) < place(&noted.key));
    assert!(place(&noted.key) < place(&running.key));
    let one = ports
        .overdue(waiting.created_at.plus(1_000_000), 1)
        .await
        .expect("looked");
    assert_eq!(one.len(), 1);
}
