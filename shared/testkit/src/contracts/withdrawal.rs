//! Taking queued messages back.

use domain::{
    CommandBody, CommandId, CommandState, Head, SessionKey, State, Transition,
    ports::{AppendError, ControlChange, Withdrawal},
};

use super::{Ports, acquired, assert_refused, created, head, kinds, log, text};
use crate::builders;

/// `withdraw`.
pub async fn withdrawal_contract<P: Ports>(ports: &P) {
    let session = created(ports).await;
    let key = &session.key;
    let first = ports.commands_after(key, 0, 1).await.expect("read")[0].clone();
    for _ in 0..2 {
        assert_eq!(withdraw(ports, key, &first.id).await, Withdrawal::Withdrawn);
    }
    let events = log(ports, key).await;
    assert_eq!(kinds(&events), ["session_created", "message_withdrawn"]);
    assert_eq!(events[1].cause.as_ref(), Some(&first.id));
    let now = head(ports, key).await;
    assert_eq!((now.commands_accepted, now.commands_taken), (1, 1));
    let stored = ports.command(key, &first.id).await.expect("read");
    assert_eq!(
        stored.map(|command| command.state),
        Some(CommandState::Withdrawn)
    );

    // Unknown, foreign, and what is no message.
    let unknown = CommandId::from_random(ports.random());
    assert_eq!(withdraw(ports, key, &unknown).await, Withdrawal::Unknown);
    let mut foreign = key.clone();
    foreign.owner = super::new_owner(ports);
    assert_eq!(
        withdraw(ports, &foreign, &first.id).await,
        Withdrawal::Unknown
    );
    let run = CommandBody::Run {
        command: "ls".to_owned(),
        timeout_seconds: 1,
    };
    let run = accept(ports, key, "run", run).await;
    assert_eq!(withdraw(ports, key, &run).await, Withdrawal::Withdrawn);
    let interrupt = accept(ports, key, "interrupt", CommandBody::Interrupt).await;
    assert_eq!(withdraw(ports, key, &interrupt).await, Withdrawal::Unknown);
    passing(ports).await;
    many_withdrawn(ports).await;
    too_late(ports).await;
}

/// Withdrawn messages stand in nobody's way.
async fn passing<P: Ports>(ports: &P) {
    let (lease, base) = acquired(ports).await;
    let key = &lease.key;
    let mut ids = Vec::new();
    for name in ["two", "three", "four", "five"] {
        ids.push(accept(ports, key, name, builders::message(name)).await);
    }
    // 1 queued, 2 and 3 withdrawn, 4 queued, 5 withdrawn.
    for id in [&ids[1], &ids[0], &ids[3]] {
        assert_eq!(withdraw(ports, key, id).await, Withdrawal::Withdrawn);
    }
    assert_eq!(head(ports, key).await.commands_taken, 0);
    let last = head(ports, key).await.last_sequence;
    assert_eq!(last.0, base.last_sequence.0 + 3);
    let commands = ports.commands_after(key, 0, 10).await.expect("read");

    // A list that was read before the withdrawal is refused.
    let mut stale = builders::append(ports, last.next(), vec![text("stale")]);
    stale.take = commands[..2].to_vec();
    stale.take[1].state = CommandState::Queued;
    assert_refused!(
        ports.append(&lease, &stale).await,
        AppendError::CommandWithdrawn
    );
    // With holes, and with the withdrawn ones listed.
    let mut first = builders::append(ports, last.next(), vec![text("one")]);
    first.take = commands[..1].to_vec();
    let last = ports.append(&lease, &first).await.expect("appended");
    let mut hole = builders::append(ports, last.next(), vec![text("four")]);
    hole.take = commands[3..4].to_vec();
    let last = ports.append(&lease, &hole).await.expect("appended");
    assert_eq!(head(ports, key).await.commands_taken, 4);
    // Only the withdrawn fifth is left: nothing waits.
    let mut idle = builders::append(ports, last.next(), vec![text("idle")]);
    idle.only_if_inbox_empty = true;
    let last = ports.append(&lease, &idle).await.expect("appended");
    assert_eq!(head(ports, key).await.commands_taken, 5);

    for name in ["six", "seven"] {
        let id = accept(ports, key, name, builders::message(name)).await;
        assert_eq!(withdraw(ports, key, &id).await, Withdrawal::Withdrawn);
    }
    assert_eq!(head(ports, key).await.commands_taken, 7);
    let last = ports
        .append(&lease, &{
            let at = domain::Sequence(last.0 + 3);
            let mut listed = builders::append(ports, at, vec![text("listed")]);
            listed.take = ports.commands_after(key, 5, 1).await.expect("read");
            listed
        })
        .await
        .expect("passed over");
    assert_eq!(head(ports, key).await.commands_taken, 7);
    assert_eq!(head(ports, key).await.last_sequence, last);
}

/// However many there are.
async fn many_withdrawn<P: Ports>(ports: &P) {
    let (lease, _) = acquired(ports).await;
    let key = &lease.key;
    for number in 0..110 {
        let id = accept(ports, key, &format!("n-{number}"), builders::message("n")).await;
        assert_eq!(withdraw(ports, key, &id).await, Withdrawal::Withdrawn);
    }
    accept(ports, key, "last", builders::message("last")).await;
    let commands = ports.commands_after(key, 0, 200).await.expect("read");
    let last = head(ports, key).await.last_sequence;
    let mut ends = builders::append(ports, last.next(), vec![text("ends")]);
    ends.take = vec![commands[0].clone(), commands[111].clone()];
    ports.append(&lease, &ends).await.expect("appended");
    assert_eq!(head(ports, key).await.commands_taken, 112);
}

async fn too_late<P: Ports>(ports: &P) {
    let (lease, base) = acquired(ports).await;
    let key = &lease.key;
    let commands = ports.commands_after(key, 0, 10).await.expect("read");
    let mut append = builders::append(ports, base.last_sequence.next(), Vec::new());
    append.take.clone_from(&commands);
    ports.append(&lease, &append).await.expect("appended");
    assert_eq!(
        withdraw(ports, key, &commands[0].id).await,
        Withdrawal::TooLate(CommandState::Taken(lease.fence))
    );
    let queued = accept(ports, key, "queued", builders::message("q")).await;
    end(ports, &head(ports, key).await).await;
    assert_eq!(head(ports, key).await.state, State::Cancelled);
    assert_eq!(
        withdraw(ports, key, &queued).await,
        Withdrawal::TooLate(CommandState::NotDone)
    );
}

async fn end<P: Ports>(ports: &P, based_on: &Head) {
    ports
        .control(ControlChange {
            rewind: None,
            slots: domain::ports::SlotLimits::NONE,
            based_on: based_on.clone(),
            transition: Transition::WasCancelled,
            reason: "enough".to_owned(),
            events: Vec::new(),
            now: ports.now(),
        })
        .await
        .expect("cancelled");
}

async fn withdraw<P: Ports>(ports: &P, key: &SessionKey, id: &CommandId) -> Withdrawal {
    ports
        .withdraw(key, id, ports.now())
        .await
        .expect("an answer")
}

async fn accept<P: Ports>(ports: &P, key: &SessionKey, id: &str, body: CommandBody) -> CommandId {
    let new = builders::new_command(ports, id, body);
    let enqueued = ports.enqueue(key, new).await.expect("accepted");
    enqueued.command.id
}
