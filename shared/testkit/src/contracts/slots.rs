//! Slots: a session that holds compute has one, and each way to give compute back frees it, once.

use domain::{
    Head, OwnerId, State, Transition,
    ports::{CreateError, Slots},
    state::after,
};

use super::{
    Ports, acquired, assert_refused,
    checkpoints::{record, rewind},
    created,
    durability::{change, next, suspended, woken},
    head, text,
};
use crate::builders;

/// Every state that holds a slot, and every way out of it: by its runner, and by anybody else.
pub async fn slots_contract<P: Ports>(ports: &P) {
    let with_slot = State::ALL.into_iter().filter(|state| state.holds_slot());
    for state in with_slot {
        for transition in Transition::ALL {
            let frees = after(state, transition).is_ok_and(|next| !next.holds_slot());
            // Only a runner knows these.
            let of_a_runner = matches!(
                transition,
                Transition::WasSuspended | Transition::RanOutOfTime
            );
            if !frees || of_a_runner {
                continue;
            }
            let base = in_state(ports, state).await;
            let mut out = change(ports, &base, transition);
            if transition == Transition::WasRewound {
                let to = base.checkpoint.as_ref().expect("one to go back to");
                let to = ports.checkpoint(&base.key, to).await.expect("read");
                out.rewind = Some(rewind(&to.expect("recorded"), &base));
            }
            let out = ports.control(out).await;
            let out = out.unwrap_or_else(|error| panic!("{state} {transition:?}: {error}"));
            holds(ports, &base.key.owner, 0).await;
            if out.state == State::Suspended {
                // The end of what has given it back takes it from nobody else.
                let end = change(ports, &out, Transition::WasCancelled);
                ports.control(end).await.expect("cancelled");
                holds(ports, &base.key.owner, 1).await;
            }
        }
    }
    for state in State::ALL.into_iter().filter(|state| !state.holds_slot()) {
        let (lease, base) = acquired(ports).await;
        let mut last = next(ports, &lease, vec![text("last")]).await;
        last.state = state;
        last.end_reason = state.is_ended().then(|| "it was enough".to_owned());
        for _ in 0..2 {
            ports
                .append(&lease, &last)
                .await
                .expect("the end, and again");
        }
        holds(ports, &base.key.owner, 0).await;
    }
}

/// All of [`Slots`], on a store that nobody else uses meanwhile.
pub async fn slots_in_use_contract<P: Ports + Slots>(ports: &P) {
    let in_use = async || ports.slots_in_use().await.expect("counted");
    let before = in_use().await;
    let one = created(ports).await;
    let _another = created(ports).await;
    assert_eq!(in_use().await, before + 2);
    let end = change(ports, &one, Transition::WasCancelled);
    ports.control(end).await.expect("cancelled");
    assert_eq!(in_use().await, before + 1);
    assert_eq!(in_use().await, before + 1, "asking changes nothing");
}

/// The owner's sessions hold so many slots; then one more.
async fn holds<P: Ports>(ports: &P, owner: &OwnerId, expected: u32) {
    let mut new = builders::new_session(ports, owner);
    new.max_sessions_per_owner = expected;
    assert_refused!(ports.create(new).await, CreateError::OwnerFull);
    let mut new = builders::new_session(ports, owner);
    new.max_sessions_per_owner = expected + 1;
    ports.create(new).await.expect("the slot is free");
}

async fn in_state<P: Ports>(ports: &P, state: State) -> Head {
    match state {
        State::Requested => created(ports).await,
        State::Resuming => {
            let (_, base) = suspended(ports, None).await;
            woken(ports, &base).await
        }
        State::Provisioning => {
            let (_, base) = suspended(ports, None).await;
            woken(ports, &base).await;
            let now = ports.now();
            let taken = ports.acquire(&base.key, "task-2", "none", now.plus(10_000), now);
            taken.await.expect("acquired").1
        }
        State::Lost => {
            let running = running(ports, State::Running).await;
            let lost = change(ports, &running, Transition::RunnerVanished);
            ports.control(lost).await.expect("lost")
        }
        state => running(ports, state).await,
    }
}

/// One that its runner has kept once, and then brought into this state.
async fn running<P: Ports>(ports: &P, state: State) -> Head {
    let (lease, _) = acquired(ports).await;
    record(ports, &lease, |_| {}).await;
    let mut append = next(ports, &lease, vec![text("on")]).await;
    append.state = state;
    ports.append(&lease, &append).await.expect("appended");
    head(ports, &lease.key).await
}
