//! Checkpoints as records, and what refers to them: names, pins, rewinds, forks, sweeps.

use domain::{
    Checkpoint, CheckpointId, FencingToken, Head, NewCheckpoint, RefName, Sequence, SessionKey,
    State, Transition, UnixMillis,
    checkpoint::{CheckpointRef, CheckpointTrigger},
    ports::{
        AppendError, CheckpointError, ClientToken, ControlError, ForkError, Lease, RefError,
        RemoveError, Rewind, SweepError,
    },
};

use super::{
    Ports, acquired, assert_refused,
    durability::{change, suspended, woken},
    head, kinds, log, text,
};
use crate::builders;

/// Appends a checkpoint and gives it as it is recorded.
pub(super) async fn record<P: Ports>(
    ports: &P,
    lease: &Lease,
    edit: impl FnOnce(&mut NewCheckpoint),
) -> Checkpoint {
    let base = head(ports, &lease.key).await;
    let mut new = builders::checkpoint(ports, base.checkpoints + 1, Some(&base));
    edit(&mut new);
    let id = new.id.clone();
    let mut append = builders::append(ports, base.last_sequence.next(), vec![text("cut")]);
    append.checkpoint = Some(new);
    ports.append(lease, &append).await.expect("appended");
    ports
        .checkpoint(&lease.key, &id)
        .await
        .expect("read")
        .expect("it is visible")
}

fn name(text: &str) -> RefName {
    RefName::parse(text).expect("a valid name")
}

/// `checkpoint`, `checkpoints`, `pin`, refs, `remove_checkpoint`, and appends with a checkpoint.
pub async fn checkpoints_contract<P: Ports>(ports: &P) {
    let (lease, base) = acquired(ports).await;
    let key = &lease.key;
    assert!(
        ports
            .checkpoints(key, None, 9)
            .await
            .expect("read")
            .is_empty()
    );
    let first = record(ports, &lease, |new| {
        new.message = Some("é".to_owned());
        new.tags = vec!["a".to_owned(), "b".to_owned()];
        new.pinned = true;
    })
    .await;
    let now = head(ports, key).await;
    assert_eq!(now.checkpoint.as_ref(), Some(&first.id));
    assert_eq!((now.checkpoints, now.cut_sequence), (1, now.last_sequence));
    assert_eq!(first.sequence, now.last_sequence);
    assert_eq!((first.ordinal, first.fence), (1, lease.fence));
    assert_eq!((first.parent.as_ref(), first.pinned), (None, true));
    assert_eq!(first.message.as_deref(), Some("é"));
    assert_eq!(first.tags, ["a", "b"]);
    // A cut may lie before its append.
    let second = record(ports, &lease, |new| {
        new.sequence = Some(base.last_sequence);
        new.trigger = CheckpointTrigger::Tool;
    })
    .await;
    assert_eq!(second.sequence, base.last_sequence);
    assert_eq!(second.parent.as_ref(), Some(&first.id));
    assert_eq!(head(ports, key).await.cut_sequence, base.last_sequence);
    let mut all = vec![first, second];
    for _ in 0..10 {
        all.push(record(ports, &lease, |_| {}).await);
    }
    let newest: Vec<Checkpoint> = all.iter().rev().cloned().collect();
    let page = ports.checkpoints(key, None, 100).await.expect("read");
    assert_eq!(page, newest);
    let page = ports.checkpoints(key, Some(4), 2).await.expect("read");
    assert_eq!(page, newest[9..11]);
    assert!(
        ports
            .checkpoints(key, Some(1), 2)
            .await
            .expect("read")
            .is_empty()
    );

    // An ordinal out of turn is a defect of the runner, and nothing of the append happens.
    let base = head(ports, key).await;
    let mut append = builders::append(ports, base.last_sequence.next(), vec![text("x")]);
    append.checkpoint = Some(builders::checkpoint(ports, 5, Some(&base)));
    assert_refused!(
        ports.append(&lease, &append).await,
        AppendError::Unavailable(_)
    );
    assert_eq!(head(ports, key).await, base);

    // Ids of others open nothing.
    let mut foreign = key.clone();
    foreign.owner = super::new_owner(ports);
    let read = ports.checkpoint(&foreign, &all[0].id).await;
    assert_eq!(read.expect("read"), None);
    let unknown = CheckpointId::from_random(ports.random());
    assert_eq!(ports.checkpoint(key, &unknown).await.expect("read"), None);
    assert_refused!(
        ports.pin(key, &unknown, true).await,
        CheckpointError::NoSuchCheckpoint
    );
    names(ports, key, &all).await;
    removing(ports, key, &all).await;
    sweeping(ports, &lease).await;
}

async fn names<P: Ports>(ports: &P, key: &SessionKey, all: &[Checkpoint]) {
    let named = |text: &str, checkpoint: &Checkpoint| CheckpointRef {
        name: name(text),
        checkpoint: checkpoint.id.clone(),
        set_at: UnixMillis(7),
    };
    let [good, better] = [named("good", &all[1]), named("better", &all[2])];
    for new in [&good, &better, &good] {
        ports.set_ref(key, new, false).await.expect("set");
    }
    let refs = ports.refs(key).await.expect("read");
    assert_eq!(refs, [better.clone(), good.clone()]);
    let moved = named("good", &all[3]);
    assert_refused!(ports.set_ref(key, &moved, false).await, RefError::Taken);
    ports.set_ref(key, &moved, true).await.expect("moved");
    let refs = ports.refs(key).await.expect("read");
    assert_eq!(refs, [better, moved]);
    let mut nothing = good;
    nothing.checkpoint = CheckpointId::from_random(ports.random());
    assert_refused!(
        ports.set_ref(key, &nothing, true).await,
        RefError::NoSuchCheckpoint
    );
}

/// Checkpoint 1 is pinned, 3 is called `better`, 4 `good`, and 12 is the head's.
async fn removing<P: Ports>(ports: &P, key: &SessionKey, all: &[Checkpoint]) {
    for used in [0, 2, 3, 11] {
        assert_refused!(
            ports.remove_checkpoint(key, &all[used].id).await,
            RemoveError::InUse
        );
    }
    // The name that was moved away keeps nothing.
    for _ in 0..2 {
        let removed = ports.remove_checkpoint(key, &all[1].id).await;
        removed.expect("removed");
        ports.delete_ref(key, &name("better")).await.expect("gone");
        ports.pin(key, &all[0].id, false).await.expect("unpinned");
    }
    for unused in [0, 2] {
        let removed = ports.remove_checkpoint(key, &all[unused].id).await;
        removed.expect("removed");
    }
    let left = ports.checkpoints(key, None, 100).await.expect("read");
    let ordinals: Vec<u64> = left.iter().map(|it| it.ordinal).collect();
    assert_eq!(ordinals, [12, 11, 10, 9, 8, 7, 6, 5, 4]);
    assert_eq!(ports.checkpoint(key, &all[0].id).await.expect("read"), None);
    let nothing = CheckpointId::from_random(ports.random());
    ports.remove_checkpoint(key, &nothing).await.expect("none");
}

async fn sweeping<P: Ports>(ports: &P, lease: &Lease) {
    let tree = lease.tree_key();
    let before = ports.tree(&tree).await.expect("read");
    assert_eq!(before.generation, 0);
    assert_eq!(before.members, std::slice::from_ref(&lease.key.session));
    let begun = ports.begin_sweep(&tree, 0, UnixMillis(5)).await;
    assert_eq!(begun.expect("begun"), 1);
    assert_refused!(
        ports.begin_sweep(&tree, 0, UnixMillis(6)).await,
        SweepError::Overtaken(1)
    );
    let after = ports.tree(&tree).await.expect("read");
    assert_eq!((after.generation, after.swept_at), (1, UnixMillis(5)));
    assert_eq!(after.members, before.members);
    // Whoever read the generation before has to look again.
    let base = head(ports, &lease.key).await;
    let mut append = builders::append(ports, base.last_sequence.next(), vec![text("x")]);
    append.checkpoint = Some(builders::checkpoint(
        ports,
        base.checkpoints + 1,
        Some(&base),
    ));
    assert_refused!(
        ports.append(lease, &append).await,
        AppendError::SweepBegan { generation: 1 }
    );
    assert_eq!(head(ports, &lease.key).await, base);
    record(ports, lease, |new| new.generation = 1).await;
}

pub(super) fn rewind(to: &Checkpoint, base: &Head) -> Rewind {
    let kept = base.checkpoint.clone();
    Rewind {
        checkpoint: to.id.clone(),
        record: None,
        target_ordinal: to.ordinal,
        cut_sequence: to.sequence,
        claude_session_id: Some("then".to_owned()),
        question: None,
        keep: kept.map(|kept| (name(&format!("before-{}", base.rewinds + 1)), kept)),
    }
}

/// `control` with `WasRewound`.
pub async fn rewind_contract<P: Ports>(ports: &P) {
    let (lease, _) = acquired(ports).await;
    let key = &lease.key;
    let one = record(ports, &lease, |_| {}).await;
    let two = record(ports, &lease, |_| {}).await;
    let waits = builders::new_command(ports, "waits", builders::message("later"));
    let base = head(ports, key).await;
    let mut take = builders::append(ports, base.last_sequence.next(), vec![text("taken")]);
    take.take = ports.commands_after(key, 0, 10).await.expect("read");
    ports.append(&lease, &take).await.expect("appended");
    ports.enqueue(key, waits).await.expect("accepted");

    let base = head(ports, key).await;
    let mut back = change(ports, &base, Transition::WasRewound);
    assert_refused!(ports.control(back.clone()).await, ControlError::Changed);
    back.rewind = Some(rewind(&one, &base));
    let then = ports.control(back.clone()).await.expect("set back");
    assert_eq!(then, head(ports, key).await);
    assert_eq!(then.state, State::Suspended);
    assert_eq!(then.checkpoint.as_ref(), Some(&one.id));
    assert_eq!(then.cut_sequence, one.sequence);
    assert_eq!((then.rewinds, then.checkpoints), (1, 2));
    assert_eq!(then.claude_session_id.as_deref(), Some("then"));
    // What was taken is over, what waits still does.
    assert_eq!(
        (
            then.commands_settled,
            then.commands_taken,
            then.commands_accepted
        ),
        (1, 1, 2)
    );
    let taken = ports.commands_after(key, 0, 1).await.expect("read");
    assert_eq!(taken[0].state_for(&then), domain::CommandState::NotDone);
    let refs = ports.refs(key).await.expect("read");
    assert_eq!(
        refs.iter()
            .map(|it| (it.name.as_str(), &it.checkpoint))
            .collect::<Vec<_>>(),
        [("before-1", &two.id)]
    );
    // The runner that had it can write nothing, and the repeat of the change is refused.
    let late = builders::append(ports, then.last_sequence.next(), vec![text("late")]);
    assert_refused!(ports.append(&lease, &late).await, AppendError::LeaseLost);
    let mut again = back;
    again.based_on = base;
    again.now = again.now.plus(1);
    assert_refused!(ports.control(again).await, ControlError::Changed);

    // Files of one and conversation of the other are a checkpoint of their own.
    let mut pair = change(ports, &then, Transition::WasRewound);
    let mut to = rewind(&two, &then);
    let mut new = builders::checkpoint(ports, 3, Some(&then));
    new.trigger = CheckpointTrigger::Rewind;
    new.files = two.files.clone();
    new.conversation = one.conversation.clone();
    to.checkpoint = new.id.clone();
    to.record = Some(new.clone());
    pair.rewind = Some(to);
    let paired = ports.control(pair).await.expect("set back");
    assert_eq!((paired.rewinds, paired.checkpoints), (2, 3));
    let stored = ports.checkpoint(key, &new.id).await.expect("read");
    let stored = stored.expect("recorded");
    assert_eq!(
        (&stored.files, &stored.conversation),
        (&two.files, &one.conversation)
    );
    assert_eq!((stored.ordinal, stored.sequence), (3, two.sequence));

    // What is gone is nothing to go back to.
    ports
        .delete_ref(key, &name("before-1"))
        .await
        .expect("gone");
    ports.remove_checkpoint(key, &two.id).await.expect("gone");
    let mut gone = change(ports, &paired, Transition::WasRewound);
    gone.rewind = Some(rewind(&two, &paired));
    assert_refused!(ports.control(gone).await, ControlError::Changed);
    let awake = woken(ports, &paired).await;
    assert_eq!(awake.checkpoint.as_ref(), Some(&new.id));
}

/// `fork`, and the tree.
pub async fn fork_contract<P: Ports>(ports: &P) {
    let (_, parent) = suspended(ports, None).await;
    let at = parent.checkpoint.clone().expect("it has one");
    let fork = |digest: Option<&str>| {
        let mut new = builders::new_fork(ports, &parent);
        new.events
            .push(builders::event(ports.now(), text("forked")));
        new.checkpoint.turn = 4;
        new.client_token = digest.map(|digest| ClientToken {
            token: "fork".to_owned(),
            request_digest: digest.to_owned(),
        });
        new
    };
    let new = fork(Some("a"));
    let creation = ports.fork(new.clone()).await.expect("forked");
    assert!(!creation.repeated);
    let stored = head(ports, &new.key).await;
    assert_eq!(stored, creation.head);
    assert_eq!(stored.state, State::Suspended);
    assert_eq!(stored.tree, parent.tree);
    assert_eq!(stored.parent.as_ref(), Some(&new.begins_at));
    assert_eq!(stored.checkpoint.as_ref(), Some(&new.checkpoint.id));
    assert_eq!((stored.turn, stored.checkpoints), (4, 1));
    assert_eq!(stored.cut_sequence, Sequence(2));
    assert_eq!(
        kinds(&log(ports, &new.key).await),
        ["session_created", "text"]
    );
    let record = ports.checkpoint(&new.key, &new.checkpoint.id).await;
    let record = record.expect("read").expect("recorded");
    assert_eq!((&record.files, record.fence), (&at, FencingToken(0)));
    let tree = ports.tree(&parent.tree_key()).await.expect("read");
    let mut members = vec![parent.key.session.clone(), new.key.session.clone()];
    members.sort();
    assert_eq!(tree.members, members);

    // Repeats, by token and by the very call, give the first.
    for again in [fork(Some("a")), new.clone()] {
        let repeated = ports.fork(again).await.expect("repeated");
        assert!(repeated.repeated);
        assert_eq!(repeated.head.key, new.key);
    }
    assert_refused!(
        ports.fork(fork(Some("b"))).await,
        ForkError::ClientTokenReused
    );
    let without = fork(None);
    assert!(!ports.fork(without.clone()).await.expect("forked").repeated);
    assert!(ports.fork(without).await.expect("again").repeated);
    let mut gone = fork(None);
    gone.relies_on.push(2);
    assert_refused!(ports.fork(gone).await, ForkError::CheckpointGone);

    // A fork wakes as any other.
    let say = builders::new_command(ports, "go", builders::message("go"));
    ports.enqueue(&new.key, say).await.expect("accepted");
    let awake = woken(ports, &head(ports, &new.key).await).await;
    assert_eq!(
        (awake.state, awake.fence),
        (State::Resuming, FencingToken(1))
    );
}
