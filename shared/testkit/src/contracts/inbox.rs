//! Accepting commands, and taking and finishing them.

use domain::{
    Command, CommandBody, CommandOutcome, CommandState, Sequence, State,
    command::{FileContent, WholeText},
    event::{EventBody, RunEnd, RunHow},
    limits,
    ports::{AppendError, EnqueueError, Lease},
    session::Attachment,
    workspace::RelativePath,
};

use super::{Ports, acquired, assert_refused, created, head, log::turn_end, text};
use crate::{builders, join_all};

/// `enqueue`, `command` and `commands_after`.
pub async fn inbox_contract<P: Ports>(ports: &P) {
    let session = created(ports).await;
    let key = &session.key;
    let bodies = [
        CommandBody::Message {
            text: "\u{1}\"é".repeat(500),
            attachments: vec![Attachment {
                upload: domain::UploadId::from_random(ports.random()),
                name: "a b.txt".to_owned(),
            }],
        },
        CommandBody::Run {
            command: "\u{1}\"é\n".repeat(500),
            timeout_seconds: 7,
        },
        CommandBody::StopRun {
            run: domain::CommandId::parse("c-1").expect("a valid id"),
        },
        CommandBody::Interrupt,
        CommandBody::Cancel {
            reason: "enough".to_owned(),
        },
        CommandBody::Answer {
            question: domain::QuestionId::parse("q-1").expect("a valid id"),
            answers: "{\"a\":[1]}".to_owned(),
        },
        CommandBody::Decide {
            approval: domain::QuestionId::parse("apr-1").expect("a valid id"),
            digest: domain::CallDigest::of("Bash", "{}"),
            decision: domain::Decision::Deny {
                reason: "not \"now\"".to_owned(),
            },
            way: domain::approval::Way::Elicitation,
        },
        CommandBody::Suspend,
        CommandBody::Checkpoint {
            message: Some("before it".to_owned()),
            tags: vec!["t".to_owned()],
            pinned: true,
        },
        CommandBody::ReadFile {
            path: RelativePath::parse("a/b").expect("a valid path"),
            offset: 3,
            length: 4,
        },
    ];
    for (index, body) in bodies.iter().enumerate() {
        let new = builders::new_command(ports, &format!("c-{index}"), body.clone());
        let accepted = ports.enqueue(key, new.clone()).await.expect("accepted");
        assert!(!accepted.repeated);
        assert_eq!(accepted.command.ordinal, index as u64 + 2);
        assert_eq!(accepted.command.state, CommandState::Queued);
        let again = ports.enqueue(key, new.clone()).await.expect("repeated");
        assert!(again.repeated);
        assert_eq!(again.command, accepted.command);
        let stored = ports.command(key, &new.id).await.expect("read");
        assert_eq!(stored, Some(accepted.command));
    }
    assert_eq!(head(ports, key).await.commands_accepted, 11);
    let other = builders::new_command(ports, "c-0", builders::message("another"));
    assert_refused!(ports.enqueue(key, other).await, EnqueueError::IdReused);
    let mut one_more = builders::new_command(ports, "more", builders::message("more"));
    one_more.max_queued = 11;
    assert_refused!(
        ports.enqueue(key, one_more.clone()).await,
        EnqueueError::Full
    );
    let mut nobody = key.clone();
    nobody.owner = super::new_owner(ports);
    assert_refused!(
        ports.enqueue(&nobody, one_more.clone()).await,
        EnqueueError::NoSession
    );
    assert_eq!(ports.command(key, &one_more.id).await.expect("read"), None);
    let page = ports.commands_after(key, 2, 2).await.expect("read");
    assert_eq!(ordinals(&page), [3, 4]);

    // Many at once get a place each, without holes.
    let session = created(ports).await;
    let accepted = join_all((0..8).map(|index| {
        let key = session.key.clone();
        let new = builders::new_command(ports, &format!("m-{index}"), builders::message("m"));
        async move {
            let enqueued = ports.enqueue(&key, new).await.expect("accepted");
            enqueued.command.ordinal
        }
    }))
    .await;
    let mut sorted = accepted.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (2..=9).collect::<Vec<_>>(), "{accepted:?}");
    let all = ports
        .commands_after(&session.key, 0, 100)
        .await
        .expect("read");
    assert_eq!(ordinals(&all), (1..=9).collect::<Vec<_>>());
}

/// A long end of a turn: the command keeps its beginning and says where the whole is.
pub async fn long_end_contract<P: Ports>(ports: &P) {
    let (lease, base) = acquired(ports).await;
    let key = &lease.key;
    for id in ["two", "three"] {
        let new = builders::new_command(ports, id, builders::message(id));
        ports.enqueue(key, new).await.expect("accepted");
    }
    let long = "é".repeat(limits::OUTCOME_TEXT_BYTES);
    let queued = commands(ports, &lease).await;
    let mut end = turn_end(&long);
    end.messages = vec![queued[0].id.clone()];
    let whole = CommandOutcome::Turn(end.clone());
    let bodies = vec![text("before"), EventBody::TurnEnded(end.clone())];
    let mut append = builders::append(ports, base.last_sequence.next(), bodies);
    append.take = queued[..2].to_vec();
    append.finish = vec![(queued[0].clone(), whole.clone())];
    let last = ports.append(&lease, &append).await.expect("appended");
    for _ in 0..2 {
        let finished = ports.finish(&lease, &queued[1], whole.clone()).await;
        finished.expect("recorded, twice is once");
    }
    let bytes = long.len() as u64;
    end.text = "é".repeat(limits::OUTCOME_TEXT_BYTES / 2);
    let outcomes: Vec<_> = commands(ports, &lease)
        .await
        .into_iter()
        .take(2)
        .map(|command| command.outcome.expect("it is done"))
        .collect();
    let cut = |sequence| CommandOutcome::CutTurn(end.clone(), WholeText { bytes, sequence });
    assert_eq!(outcomes, [cut(Some(last)), cut(None)]);
}

/// Commands in appends, and `finish`.
pub async fn taking_contract<P: Ports>(ports: &P) {
    let (lease, base) = acquired(ports).await;
    let key = &lease.key;
    for id in ["two", "three"] {
        let new = builders::new_command(ports, id, builders::message(id));
        ports.enqueue(key, new).await.expect("accepted");
    }
    let queued = commands(ports, &lease).await;
    let mut append = builders::append(ports, base.last_sequence.next(), vec![text("take")]);
    append.take = queued[..2].to_vec();
    append.finish = vec![(queued[0].clone(), CommandOutcome::Turn(turn_end("first")))];
    let last = ports.append(&lease, &append).await.expect("appended");
    let now = commands(ports, &lease).await;
    assert_eq!(
        states(&now),
        [
            CommandState::Done,
            CommandState::Taken(lease.fence),
            CommandState::Queued
        ]
    );
    assert_eq!(
        now[0].outcome,
        Some(CommandOutcome::Turn(turn_end("first")))
    );
    assert_eq!(head(ports, key).await.commands_taken, 2);

    // What was taken is not taken again, and no command is jumped over.
    let mut twice = builders::append(ports, last.next(), vec![text("again")]);
    twice.take = queued[1..2].to_vec();
    assert_refused!(
        ports.append(&lease, &twice).await,
        AppendError::CommandWithdrawn
    );
    let fourth = builders::new_command(ports, "four", builders::message("four"));
    let fourth = ports.enqueue(key, fourth).await.expect("accepted").command;
    let mut jump = builders::append(ports, last.next(), vec![text("jump")]);
    jump.take = vec![fourth];
    assert_refused!(
        ports.append(&lease, &jump).await,
        AppendError::CommandWithdrawn
    );
    // Refused means nothing of it happened.
    assert_eq!(head(ports, key).await.last_sequence, last);
    empty_inbox(ports, &lease, last).await;
    outcomes(ports).await;
}

async fn empty_inbox<P: Ports>(ports: &P, lease: &Lease, last: Sequence) {
    let mut idle = builders::append(ports, last.next(), vec![text("idle")]);
    idle.only_if_inbox_empty = true;
    assert_refused!(ports.append(lease, &idle).await, AppendError::CommandCame);
    idle.take = commands(ports, lease).await.split_off(2);
    let last = ports.append(lease, &idle).await.expect("nothing waits");
    let mut end = builders::append(ports, last.next(), vec![text("end")]);
    end.state = State::Completed;
    let late = builders::new_command(ports, "late", builders::message("late"));
    ports.enqueue(&lease.key, late).await.expect("accepted");
    assert_refused!(ports.append(lease, &end).await, AppendError::CommandCame);
    let commands = commands(ports, lease).await;
    end.take = commands[4..].to_vec();
    end.finish = commands[1..]
        .iter()
        .map(|command| (command.clone(), CommandOutcome::Refused("late".to_owned())))
        .collect();
    ports.append(lease, &end).await.expect("ended");
}

async fn outcomes<P: Ports>(ports: &P) {
    let (lease, base) = acquired(ports).await;
    let file = CommandOutcome::File(FileContent {
        bytes: vec![0, 255, 10, 13],
        file_bytes: 9,
    });
    let outcomes = [
        CommandOutcome::Interrupted(true),
        CommandOutcome::Cancelled,
        CommandOutcome::Ran(RunEnd {
            how: RunHow::Exited,
            exit_code: Some(-1),
            duration_milliseconds: 3,
            reason: None,
        }),
        CommandOutcome::Answered,
        CommandOutcome::Suspended,
        CommandOutcome::Checkpointed(domain::CheckpointId::from_random([5; 17])),
        file.clone(),
        CommandOutcome::Refused("no".to_owned()),
    ];
    for index in 0..outcomes.len() {
        let body = CommandBody::Interrupt;
        let new = builders::new_command(ports, &format!("o-{index}"), body);
        ports.enqueue(&lease.key, new).await.expect("accepted");
    }
    let queued = commands(ports, &lease).await;
    let not_taken = ports.finish(&lease, &queued[1], file.clone()).await;
    assert_refused!(not_taken, AppendError::CommandWithdrawn);
    let mut append = builders::append(ports, base.last_sequence.next(), Vec::new());
    append.take.clone_from(&queued);
    ports.append(&lease, &append).await.expect("appended");
    for (command, outcome) in queued[1..].iter().zip(&outcomes) {
        for _ in 0..2 {
            ports
                .finish(&lease, command, outcome.clone())
                .await
                .expect("finished");
        }
    }
    let stored: Vec<_> = commands(ports, &lease).await[1..]
        .iter()
        .map(|command| command.outcome.clone())
        .collect();
    assert_eq!(stored, outcomes.map(Some));
    let mut stale = lease.clone();
    stale.fence = domain::FencingToken(0);
    assert_refused!(
        ports.finish(&stale, &queued[0], file).await,
        AppendError::LeaseLost
    );
}

async fn commands<P: Ports>(ports: &P, lease: &Lease) -> Vec<Command> {
    ports
        .commands_after(&lease.key, 0, 100)
        .await
        .expect("read")
}

fn ordinals(commands: &[Command]) -> Vec<u64> {
    commands.iter().map(|command| command.ordinal).collect()
}

fn states(commands: &[Command]) -> Vec<CommandState> {
    commands.iter().map(|command| command.state).collect()
}
