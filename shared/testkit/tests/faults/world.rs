//! Comparing worlds, and disturbing whatever changes them.

use std::{fmt::Debug, future::poll_fn, pin::pin, task::Poll};

use domain::{Head, SessionKey, use_cases::reconcile_session};
use testkit::{Fake, FaultTime, deployment};

/// A world without times and random names, to compare worlds by.
pub(crate) fn picture(fake: &Fake) -> Vec<String> {
    let mut heads: Vec<Head> = fake
        .session_keys()
        .iter()
        .map(|key| fake.peek_head(key).expect("listed"))
        .collect();
    // Ids are random, so they say nothing about the order.
    heads.sort_by_key(|head| (head.parent.is_some(), head.title.clone()));
    let mut names: Vec<(String, String)> = Vec::new();
    let mut lines = vec![format!("slots {}", fake.slots().0)];
    for (index, head) in heads.iter().enumerate() {
        names.push((head.key.session.to_string(), format!("session-{index}")));
        for checkpoint in fake.peek_checkpoints(&head.key) {
            let name = format!("checkpoint-{index}-{}", checkpoint.ordinal);
            names.push((checkpoint.id.to_string(), name));
        }
    }
    for head in &heads {
        lines.extend(session(fake, &head.key, head));
        let tree = fake.peek_tree(&head.tree_key());
        let mut members: Vec<String> = tree.members.iter().map(ToString::to_string).collect();
        for (id, name) in &names {
            for member in &mut members {
                *member = member.replace(id, name);
            }
        }
        members.sort();
        lines.push(format!("tree {} {members:?}", tree.generation));
    }
    lines.extend(fake.peek_books().iter().map(|book| {
        let policies = book.policies.iter();
        let policies: Vec<_> = policies
            .map(|it| (&it.name, it.version, &it.text))
            .collect();
        format!("book {} {policies:?}", book.revision)
    }));
    lines.extend(
        fake.tasks()
            .iter()
            .map(|task| format!("task {} {} {:?}", task.name, task.fence, task.stopped)),
    );
    for line in &mut lines {
        for (id, name) in &names {
            *line = line.replace(id, name);
        }
    }
    lines
}

fn session(fake: &Fake, key: &SessionKey, head: &Head) -> Vec<String> {
    let mut lines = vec![format!(
        "session {} {:?} fence {} commands {}/{}/{} task {:?} at {:?} of {}, rewinds {}, recoveries \
         {}, question {:?}, parent {:?}",
        head.state,
        head.title,
        head.fence,
        head.commands_accepted,
        head.commands_taken,
        head.commands_settled,
        head.task,
        head.checkpoint,
        head.checkpoints,
        head.rewinds,
        head.recoveries,
        head.question.as_ref().map(|question| &question.id),
        head.parent,
    )];
    lines.extend(fake.peek_events(key).iter().map(|event| {
        format!(
            "event {} {} {:?} {:?}",
            event.sequence,
            event.fence,
            event.cause,
            // Reasons name seconds; what is unfinished counts.
            match &event.body {
                domain::EventBody::SessionEnded {
                    state, unfinished, ..
                } => format!("{state} {unfinished:?}"),
                other => format!("{other:?}"),
            }
        )
    }));
    lines.extend(fake.peek_commands(key).iter().map(|command| {
        format!(
            "command {} {} {:?}",
            command.ordinal, command.id, command.state
        )
    }));
    lines.extend(fake.peek_checkpoints(key).iter().map(|checkpoint| {
        format!(
            "checkpoint {} {} {} {} cut {} settled {} pinned {}",
            checkpoint.id,
            checkpoint.trigger.as_str(),
            checkpoint.files,
            checkpoint.conversation,
            checkpoint.sequence,
            checkpoint.commands_settled,
            checkpoint.pinned
        )
    }));
    lines.extend(
        fake.peek_refs(key)
            .iter()
            .map(|named| format!("ref {} {}", named.name, named.checkpoint)),
    );
    lines
}

/// Polls a future at most `polls` times, then drops it.
async fn cut<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut polled = 0;
    poll_fn(|context| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// The sweep, which repeats the starts that failed.
pub(crate) async fn settle(fake: &Fake) {
    for key in fake.session_keys() {
        reconcile_session(fake, deployment().slots(), &key)
            .await
            .expect("nothing fails any more");
    }
}

/// Runs `work` undisturbed, then with every fault and every cut, each followed by a repeat. Gives
/// how many disturbed runs there were.
pub(crate) async fn disturb<S, T: Debug, E: Debug>(
    setup: impl AsyncFn(&Fake) -> S,
    work: impl AsyncFn(&Fake, &S) -> Result<T, E>,
) -> usize {
    let undisturbed = Fake::new(1);
    let start = setup(&undisturbed).await;
    let before = undisturbed.calls();
    work(&undisturbed, &start).await.expect("nothing fails");
    let calls = undisturbed.calls() - before;
    settle(&undisturbed).await;
    let expected = picture(&undisturbed);
    for time in [Some(FaultTime::Before), Some(FaultTime::After), None] {
        for n in 1..=calls {
            let fake = Fake::new(1);
            let start = setup(&fake).await;
            match time {
                Some(time) => {
                    fake.fail_call(n, time);
                    let _ = work(&fake, &start).await;
                    assert!(!fake.no_more_faults(), "call {n} of {calls} was not made");
                }
                None => drop(cut(n, work(&fake, &start)).await),
            }
            work(&fake, &start)
                .await
                .unwrap_or_else(|error| panic!("again after {n} {time:?}: {error:?}"));
            settle(&fake).await;
            assert_eq!(picture(&fake), expected, "call {n}, {time:?}");
        }
    }
    3 * calls
}
