//! Sessions that outlive their runner: suspending, waking, and taking commands again.

use domain::{
    CallDigest, CommandBody, CommandOutcome, CommandState, FencingToken, Grant, Head, QuestionId,
    State, Transition,
    checkpoint::PendingQuestion,
    event::EventBody,
    ports::{
        Append, AppendError, ControlChange, ControlError, EnqueueError, Lease, SlotLimits,
        Withdrawal,
    },
};

use super::{Ports, acquired, assert_refused, head, log::turn_end, text};
use crate::{builders, yield_once};

const PLENTY: SlotLimits = SlotLimits {
    deployment: 1_000_000,
    owner: 1_000,
};

pub(super) fn change<P: Ports>(ports: &P, base: &Head, transition: Transition) -> ControlChange {
    let now = ports.now();
    ControlChange {
        based_on: base.clone(),
        transition,
        reason: "because".to_owned(),
        events: vec![builders::event(now, text("changed"))],
        rewind: None,
        slots: PLENTY,
        now,
    }
}

pub(super) async fn woken<P: Ports>(ports: &P, base: &Head) -> Head {
    ports
        .control(change(ports, base, Transition::WasWoken))
        .await
        .expect("woken")
}

/// The next append of a runner, which takes everything that is to take.
pub(super) async fn next<P: Ports>(ports: &P, lease: &Lease, bodies: Vec<EventBody>) -> Append {
    let base = head(ports, &lease.key).await;
    let mut append = builders::append(ports, base.last_sequence.next(), bodies);
    append.take = ports
        .commands_after(&lease.key, base.commands_taken, 80)
        .await
        .expect("read");
    append
}

async fn accept<P: Ports>(ports: &P, lease: &Lease, name: &str, body: CommandBody) {
    let new = builders::new_command(ports, name, body);
    ports.enqueue(&lease.key, new).await.expect("accepted");
}

/// Suspends a session of which everything was taken.
pub(super) async fn suspended<P: Ports>(
    ports: &P,
    question: Option<PendingQuestion>,
) -> (Lease, Head) {
    let (lease, base) = acquired(ports).await;
    let mut append = next(ports, &lease, vec![text("last")]).await;
    append.state = State::Suspended;
    append.question.clone_from(&question);
    append.grants = Some(vec![
        Grant::Call(CallDigest::of("Bash", "{}")),
        Grant::Pattern("permit (principal, action, resource);".to_owned()),
    ]);
    append.checkpoint = Some(domain::NewCheckpoint {
        commands_settled: 1,
        question,
        ..builders::checkpoint(ports, 1, Some(&base))
    });
    ports.append(&lease, &append).await.expect("suspended");
    let suspended = head(ports, &lease.key).await;
    (lease, suspended)
}

async fn is_overdue<P: Ports>(ports: &P, base: &Head, after: u64, expected: bool) {
    let at = ports.now().plus(after);
    let mut found = !expected;
    // It may lag.
    for _ in 0..1_000 {
        let overdue = ports.overdue(at, 100_000).await.expect("looked");
        found = overdue.contains(&base.key);
        if found == expected {
            break;
        }
        yield_once().await;
    }
    assert_eq!(found, expected, "{after} ms from now, {}", base.state);
}

/// Suspending and waking.
pub async fn suspension_contract<P: Ports>(ports: &P) {
    let question = PendingQuestion {
        id: QuestionId::parse("q-1").expect("a valid id"),
        tool_use_id: "tool-1".to_owned(),
        input: "{\"questions\":[\"é\"]}".to_owned(),
        asked_at: ports.now(),
        approval: Some(builders::approval_request(ports.now().plus(900_000))),
    };
    let (lease, base) = suspended(ports, Some(question.clone())).await;
    let key = &lease.key;
    assert_eq!(base.state, State::Suspended);
    assert_eq!(base.question.as_ref(), Some(&question));
    assert_eq!(base.grants.len(), 2);
    assert!(base.kept_until > Some(ports.now()));
    is_overdue(ports, &base, 600_000, false).await;
    // Somebody has to look when the approval expires.
    is_overdue(ports, &base, 1_000_000, true).await;

    // It holds no slot, and nobody writes to it.
    let mut one = builders::new_session(ports, &key.owner);
    one.max_sessions_per_owner = 1;
    let other = ports.create(one).await.expect("a slot is free").head;
    let late = builders::append(ports, base.last_sequence.next(), vec![text("late")]);
    assert_refused!(ports.append(&lease, &late).await, AppendError::LeaseLost);
    assert_refused!(
        ports.renew(&lease, ports.now()).await,
        AppendError::LeaseLost
    );
    let now = ports.now();
    assert!(ports.acquire(key, "late", "none", now, now).await.is_err());

    // Only what is worth a runner is accepted, and then somebody has to look.
    let interrupt = builders::new_command(ports, "interrupt", CommandBody::Interrupt);
    assert_refused!(ports.enqueue(key, interrupt).await, EnqueueError::Suspended);
    let message = builders::new_command(ports, "wakes", builders::message("go on"));
    for repeated in [false, true] {
        let accepted = ports.enqueue(key, message.clone()).await.expect("accepted");
        assert_eq!((accepted.repeated, accepted.suspended), (repeated, true));
    }
    let queued = head(ports, key).await;
    assert_eq!(queued.state, State::Suspended);
    is_overdue(ports, &base, 600_000, true).await;
    is_overdue(ports, &base, 0, false).await;
    ports
        .postpone(key, ports.now().plus(500_000))
        .await
        .expect("postponed");
    is_overdue(ports, &base, 400_000, false).await;
    is_overdue(ports, &base, 600_000, true).await;
    // Taken back, nothing waits any more.
    let id = &message.id;
    let withdrawn = ports.withdraw(key, id, ports.now()).await.expect("asked");
    assert_eq!(withdrawn, Withdrawal::Withdrawn);
    is_overdue(ports, &base, 600_000, false).await;
    is_overdue(ports, &base, 1_000_000, true).await;
    let again = CommandBody::Run {
        command: "ls".to_owned(),
        timeout_seconds: 1,
    };
    let again = builders::new_command(ports, "wakes-too", again);
    ports.enqueue(key, again).await.expect("accepted");
    waking(ports, &lease, &other).await;
}

async fn waking<P: Ports>(ports: &P, lease: &Lease, other: &Head) {
    let key = &lease.key;
    let base = head(ports, key).await;
    // A slot is needed.
    for (slots, full) in [((1, 9), true), ((1_000_000, 1), false)] {
        let mut wake = change(ports, &base, Transition::WasWoken);
        wake.slots = SlotLimits {
            deployment: slots.0,
            owner: slots.1,
        };
        match ports.control(wake).await {
            Err(ControlError::DeploymentFull) if full => {}
            Err(ControlError::OwnerFull) if !full => {}
            other => panic!("{slots:?}: {other:?}"),
        }
    }
    let awake = woken(ports, &base).await;
    assert_eq!(awake, head(ports, key).await);
    assert_eq!(awake.state, State::Resuming);
    assert_eq!(awake.fence, base.fence.next());
    assert_eq!(
        (awake.task.as_deref(), awake.recoveries, awake.kept_until),
        (None, 0, None)
    );
    is_overdue(ports, &awake, 20_000, true).await;
    assert_refused!(
        ports
            .control(change(ports, &base, Transition::WasWoken))
            .await,
        ControlError::Changed
    );
    ports.note_task(key, base.fence, "stale").await.expect("no");
    ports
        .note_task(key, awake.fence, "t-2")
        .await
        .expect("noted");
    assert_eq!(head(ports, key).await.task.as_deref(), Some("t-2"));
    is_overdue(ports, &awake, 20_000, false).await;
    is_overdue(ports, &awake, 400_000, true).await;

    // Its slot is counted: with that of the other one the owner has two.
    let mut third = builders::new_session(ports, &key.owner);
    third.max_sessions_per_owner = 2;
    assert_refused!(
        ports.create(third).await,
        domain::ports::CreateError::OwnerFull
    );
    let now = ports.now();
    let (second, taken) = ports
        .acquire(key, "t-2", "none", now.plus(10_000), now)
        .await
        .expect("acquired");
    assert_eq!(second.fence, awake.fence.next());
    assert_eq!(taken.checkpoint, base.checkpoint);
    assert_eq!(taken.question, base.question);
    assert_eq!(other.state, State::Requested);
}

/// What a later runner takes.
pub async fn retaking_contract<P: Ports>(ports: &P) {
    let (lease, _) = acquired(ports).await;
    let key = &lease.key;
    // 1 is done within the cut.
    let mut first = next(ports, &lease, vec![text("one")]).await;
    first.finish = vec![(first.take[0].clone(), CommandOutcome::Turn(turn_end("one")))];
    let base = head(ports, key).await;
    first.checkpoint = Some(domain::NewCheckpoint {
        commands_settled: 1,
        ..builders::checkpoint(ports, 1, Some(&base))
    });
    ports.append(&lease, &first).await.expect("appended");
    // After it: 2 done, 3 an interrupt that is done, 4 taken, 5 withdrawn, 6 a cancel that is taken,
    // 7 queued.
    let message = || builders::message("m");
    accept(ports, &lease, "two", message()).await;
    accept(ports, &lease, "three", CommandBody::Interrupt).await;
    accept(ports, &lease, "four", message()).await;
    accept(ports, &lease, "five", message()).await;
    let five = domain::CommandId::parse("five").expect("valid");
    ports
        .withdraw(key, &five, ports.now())
        .await
        .expect("asked");
    let cancel = CommandBody::Cancel {
        reason: "enough".to_owned(),
    };
    accept(ports, &lease, "six", cancel).await;
    let mut second = next(ports, &lease, vec![text("two")]).await;
    second.finish = vec![
        (
            second.take[0].clone(),
            CommandOutcome::Turn(turn_end("two")),
        ),
        (second.take[1].clone(), CommandOutcome::Interrupted(true)),
    ];
    ports.append(&lease, &second).await.expect("appended");
    accept(ports, &lease, "seven", message()).await;
    let base = head(ports, key).await;
    assert_eq!((base.commands_taken, base.commands_settled), (6, 1));

    let (lease, taken) = lost_and_taken_over(ports, &base, "second").await;
    assert_eq!((taken.commands_taken, taken.commands_settled), (1, 1));
    let mut append = next(ports, &lease, vec![text("again")]).await;
    let take: Vec<bool> = append
        .take
        .iter()
        .map(|command| command.to_take(lease.fence))
        .collect();
    assert_eq!(take, [true, false, true, false, true, true]);
    // What has to be taken is no hole.
    let all = append.take.clone();
    append.take = all[2..].to_vec();
    assert_refused!(
        ports.append(&lease, &append).await,
        AppendError::CommandWithdrawn
    );
    append.take = vec![all[0].clone(), all[2].clone()];
    append.finish = vec![(all[2].clone(), CommandOutcome::Turn(turn_end("four")))];
    ports.append(&lease, &append).await.expect("retaken");
    let stored = ports.commands_after(key, 1, 10).await.expect("read");
    let mine = CommandState::Taken(lease.fence);
    assert_eq!((stored[0].state, &stored[0].outcome), (mine, &None));
    assert_eq!(stored[1].state, CommandState::Done);
    assert_eq!(stored[2].state, CommandState::Done);
    assert_eq!(stored[4].state, CommandState::Taken(FencingToken(1)));
    // A list that is not as it was read is refused.
    let mut stale = next(ports, &lease, vec![text("stale")]).await;
    stale.take[1].state = CommandState::Queued;
    assert_refused!(
        ports.append(&lease, &stale).await,
        AppendError::CommandWithdrawn
    );
    let mut rest = next(ports, &lease, vec![text("rest")]).await;
    rest.only_if_inbox_empty = true;
    ports.append(&lease, &rest).await.expect("nothing waits");
    assert_eq!(head(ports, key).await.commands_taken, 7);
    recoveries(ports, &lease).await;
}

/// Lost runners are counted until the session gets further.
async fn recoveries<P: Ports>(ports: &P, lease: &Lease) {
    let key = &lease.key;
    assert_eq!(head(ports, key).await.recoveries, 1);
    let base = head(ports, key).await;
    let (lease, taken) = lost_and_taken_over(ports, &base, "third").await;
    assert_eq!(taken.recoveries, 2);
    let append = next(ports, &lease, vec![text("nothing")]).await;
    ports.append(&lease, &append).await.expect("appended");
    assert_eq!(head(ports, key).await.recoveries, 2);
    let turn = next(ports, &lease, vec![EventBody::TurnEnded(turn_end("x"))]).await;
    ports.append(&lease, &turn).await.expect("appended");
    assert_eq!(head(ports, key).await.recoveries, 0);
}

async fn lost_and_taken_over<P: Ports>(ports: &P, base: &Head, task: &str) -> (Lease, Head) {
    let lost = ports
        .control(change(ports, base, Transition::RunnerVanished))
        .await
        .expect("lost");
    assert_eq!(lost.state, State::Lost);
    let awake = woken(ports, &lost).await;
    let now = ports.now();
    let (lease, taken) = ports
        .acquire(&base.key, task, "none", now.plus(10_000), now)
        .await
        .expect("acquired");
    assert_eq!(lease.fence, awake.fence.next());
    (lease, taken)
}
