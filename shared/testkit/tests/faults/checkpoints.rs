//! Suspending, waking, answering, branching, setting back, naming and pinning.

use domain::{
    CheckpointId, CommandBody, CommandOutcome, NewCheckpoint, QuestionId, RefName, SessionKey,
    State,
    checkpoint::{CheckpointName, PendingQuestion, RestoreScope},
    ports::{Checkpoints, Clock, Inbox, SessionDirectory, SessionLog, SlotLimits},
    use_cases::{
        AnswerError, AnswerQuestion, ForkSession, ForkSessionError, Reconciled, RequestCheckpoint,
        Requested, RestoreCheckpoint, RestoreError, SendMessage, answer_question, cancel_session,
        find_checkpoint, fork_session, get_session, get_timeline, list_checkpoints,
        name_checkpoint, pin_checkpoint, reconcile_session, request_checkpoint, restore_checkpoint,
        send_message, suspend_session, unname_checkpoint,
    },
};
use testkit::{Fake, FaultTime, append, caller, checkpoint, deployment, message, new_command};

use crate::{id, requested, running, world::disturb};

fn question() -> PendingQuestion {
    PendingQuestion {
        id: QuestionId::parse("q").expect("valid"),
        tool_use_id: "tool".to_owned(),
        input: "{}".to_owned(),
        asked_at: domain::UnixMillis(1),
        approval: None,
    }
}

/// Suspended, with its first message done (or, with a question, taken).
async fn suspended(fake: &Fake, question: Option<PendingQuestion>) -> SessionKey {
    let key = running(fake).await;
    let head = fake.peek_head(&key).expect("there");
    let mut last = append(fake, head.last_sequence.next(), Vec::new());
    last.state = State::Suspended;
    last.question.clone_from(&question);
    if question.is_none() {
        let taken = fake.peek_commands(&key);
        last.finish = vec![(taken[0].clone(), CommandOutcome::Answered)];
    }
    last.checkpoint = Some(NewCheckpoint {
        commands_settled: u64::from(question.is_none()),
        question,
        ..checkpoint(fake, 1, Some(&head))
    });
    fake.append(&head.lease(), &last).await.expect("suspended");
    key
}

pub(crate) async fn resting(fake: &Fake) -> SessionKey {
    suspended(fake, None).await
}

async fn asking(fake: &Fake) -> SessionKey {
    suspended(fake, Some(question())).await
}

/// A running session with two checkpoints, one message under way and one that waits.
async fn busy(fake: &Fake) -> SessionKey {
    let key = requested(fake).await;
    let now = fake.now();
    let (lease, _) = fake
        .acquire(&key, "task", "none", now.plus(10_000), now)
        .await
        .expect("acquired");
    for ordinal in [1, 2] {
        let head = fake.peek_head(&key).expect("there");
        let mut cut = append(fake, head.last_sequence.next(), Vec::new());
        cut.events = append(fake, head.last_sequence.next(), vec![text()]).events;
        cut.checkpoint = Some(NewCheckpoint {
            commands_settled: 0,
            question: Some(question()),
            ..checkpoint(fake, ordinal, Some(&head))
        });
        fake.append(&lease, &cut).await.expect("appended");
    }
    let head = fake.peek_head(&key).expect("there");
    let mut take = append(fake, head.last_sequence.next(), vec![text()]);
    take.take = fake.commands_after(&key, 0, 10).await.expect("read");
    fake.append(&lease, &take).await.expect("appended");
    fake.enqueue(&key, new_command(fake, "second", message("more")))
        .await
        .expect("accepted");
    key
}

fn text() -> domain::EventBody {
    domain::EventBody::Text {
        text: "x".to_owned(),
        agent: None,
    }
}

fn first_of(fake: &Fake, key: &SessionKey) -> CheckpointName {
    CheckpointName::Id(fake.peek_checkpoints(key)[0].id.clone())
}

async fn say(fake: &Fake, key: &SessionKey) -> Result<bool, domain::use_cases::SendMessageError> {
    let message = SendMessage {
        key: key.clone(),
        text: "go on".to_owned(),
        attachments: Vec::new(),
        message_id: Some(id("second")),
    };
    let sent = send_message(fake, &deployment(), &caller(&key.owner), message).await;
    sent.map(|enqueued| enqueued.repeated)
}

#[tokio::test]
async fn a_message_that_wakes_survives() {
    let runs = disturb(resting, async |fake, key| say(fake, key).await).await;
    assert!(runs >= 18, "{runs}");
    let fake = Fake::new(1);
    let key = resting(&fake).await;
    assert_eq!(fake.slots().0, 0);
    assert!(!say(&fake, &key).await.expect("accepted"));
    let head = fake.peek_head(&key).expect("there");
    assert_eq!(head.state, State::Resuming);
    assert_eq!((fake.slots().0, fake.tasks().len()), (1, 1));
    assert_eq!(head.task, Some(fake.tasks()[0].name.clone()));
}

/// Without a slot the message waits, and the sweep wakes the session when there is one.
#[tokio::test]
async fn a_message_waits_for_a_slot() {
    let fake = Fake::new(1);
    let key = resting(&fake).await;
    let mut full = deployment();
    full.max_sessions = 0;
    let message = SendMessage {
        key: key.clone(),
        text: "go on".to_owned(),
        attachments: Vec::new(),
        message_id: Some(id("second")),
    };
    let me = caller(&key.owner);
    let sent = send_message(&fake, &full, &me, message).await;
    assert!(sent.expect("accepted").suspended);
    let state = || fake.peek_head(&key).map(|head| head.state);
    assert_eq!(state(), Some(State::Suspended));
    for (slots, expected) in [(0, Reconciled::NoSlot), (1, Reconciled::Started)] {
        assert!(fake.overdue(fake.now(), 9).await.expect("read").is_empty());
        fake.clock().advance(16_000);
        assert_eq!(
            fake.overdue(fake.now(), 9).await.expect("read"),
            std::slice::from_ref(&key)
        );
        let slots = SlotLimits {
            deployment: slots,
            owner: 9,
        };
        let done = reconcile_session(&fake, slots, &key).await;
        assert_eq!(done.expect("reconciled"), expected);
    }
    assert_eq!(state(), Some(State::Resuming));
}

/// A message must not be stranded between the last look of a runner and its suspension.
#[tokio::test]
async fn a_message_that_races_the_suspension_is_not_stranded() {
    for early in [true, false] {
        let fake = Fake::new(1);
        let key = running(&fake).await;
        let head = fake.peek_head(&key).expect("there");
        let mut last = append(&fake, head.last_sequence.next(), Vec::new());
        last.state = State::Suspended;
        last.checkpoint = Some(checkpoint(&fake, 1, Some(&head)));
        if early {
            say(&fake, &key).await.expect("accepted");
            let refused = fake.append(&head.lease(), &last).await;
            assert!(
                matches!(refused, Err(domain::ports::AppendError::CommandCame)),
                "{refused:?}"
            );
        } else {
            let lease = head.lease();
            let (suspended, sent) = tokio::join!(fake.append(&lease, &last), say(&fake, &key));
            suspended.expect("nothing had come");
            sent.expect("accepted");
            let state = fake.peek_head(&key).map(|head| head.state);
            assert_eq!(state, Some(State::Resuming));
        }
    }
}

async fn answer(fake: &Fake, key: &SessionKey, words: &str) -> Result<bool, AnswerError> {
    let answer = AnswerQuestion {
        key: key.clone(),
        question: question().id,
        answers: words.to_owned(),
    };
    answer_question(fake, &deployment(), &caller(&key.owner), answer)
        .await
        .map(|enqueued| enqueued.repeated)
}

#[tokio::test]
async fn answering_survives() {
    disturb(asking, async |fake, key| answer(fake, key, "{}").await).await;
    let fake = Fake::new(1);
    let key = asking(&fake).await;
    assert!(matches!(
        answer(&fake, &key, "").await,
        Err(AnswerError::Invalid(_))
    ));
    assert!(!answer(&fake, &key, "{}").await.expect("accepted"));
    assert!(answer(&fake, &key, "{}").await.expect("again"));
    let refused = answer(&fake, &key, "[]").await;
    assert!(
        matches!(refused, Err(AnswerError::AlreadyAnswered)),
        "{refused:?}"
    );
    let state = fake.peek_head(&key).map(|head| head.state);
    assert_eq!(state, Some(State::Resuming));
    // Where nothing is asked there is nothing to answer.
    let key = resting(&Fake::new(2)).await;
    let fake = Fake::new(2);
    assert_eq!(resting(&fake).await, key);
    let refused = answer(&fake, &key, "{}").await;
    assert!(
        matches!(refused, Err(AnswerError::NoQuestion)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn looking_names_and_pins_survive() {
    let reader = |key: &SessionKey| caller(&key.owner);
    disturb(busy, async |fake, key| {
        list_checkpoints(fake, &reader(key), key, None, 1).await
    })
    .await;
    disturb(busy, async |fake, key| {
        get_timeline(fake, &reader(key), key).await
    })
    .await;
    disturb(busy, async |fake, key| {
        let latest = CheckpointName::Latest;
        find_checkpoint(fake, &reader(key), key, &latest).await
    })
    .await;
    let name = RefName::parse("good").expect("valid");
    disturb(busy, async |fake, key| {
        let first = first_of(fake, key);
        let me = caller(&key.owner);
        pin_checkpoint(fake, &me, key, &first, true).await?;
        pin_checkpoint(fake, &me, key, &CheckpointName::Latest, false).await
    })
    .await;
    disturb(busy, async |fake, key| {
        let first = first_of(fake, key);
        name_checkpoint(fake, &caller(&key.owner), key, &first, &name, false).await
    })
    .await;
    disturb(busy, async |fake, key| {
        let (first, latest) = (first_of(fake, key), CheckpointName::Latest);
        let me = caller(&key.owner);
        name_checkpoint(fake, &me, key, &first, &name, true).await?;
        name_checkpoint(fake, &me, key, &latest, &name, true).await
    })
    .await;
    disturb(busy, async |fake, key| {
        unname_checkpoint(fake, &caller(&key.owner), key, &name).await
    })
    .await;
}

fn fork(key: &SessionKey, prompt: Option<&str>) -> ForkSession {
    ForkSession {
        key: key.clone(),
        checkpoint: CheckpointName::Latest,
        what: RestoreScope::Both,
        prompt: prompt.map(ToOwned::to_owned),
        message_id: None,
        client_token: Some("token".to_owned()),
    }
}

#[tokio::test]
async fn forking_survives() {
    for prompt in [None, Some("try it differently")] {
        disturb(busy, async |fake, key| {
            let me = caller(&key.owner);
            fork_session(fake, &deployment(), &me, fork(key, prompt)).await
        })
        .await;
    }
    let fake = Fake::new(1);
    let key = busy(&fake).await;
    let me = caller(&key.owner);
    let mut request = fork(&key, Some("try it differently"));
    request.checkpoint = first_of(&fake, &key);
    request.what = RestoreScope::Conversation;
    let made = fork_session(&fake, &deployment(), &me, request.clone()).await;
    let made = made.expect("forked").head;
    assert_eq!(
        (made.state, &made.tree),
        (State::Resuming, &fake.peek_head(&key).expect("there").tree)
    );
    let theirs = fake.peek_checkpoints(&key);
    let ours = &fake.peek_checkpoints(&made.key)[0];
    assert_eq!(
        (&ours.files, &ours.conversation),
        (&theirs[1].files, &theirs[0].conversation)
    );
    // A fork of the fork is of the same tree, also when its parent has ended.
    cancel_session(&fake, &me, &made.key, "enough")
        .await
        .expect("cancelled");
    let again = fork_session(&fake, &deployment(), &me, {
        let mut again = fork(&made.key, None);
        again.client_token = None;
        again
    })
    .await;
    let again = again.expect("forked").head;
    assert_eq!((again.state, &again.tree), (State::Suspended, &made.tree));
    let timeline = get_timeline(&fake, &caller(&key.owner), &again.key).await;
    let timeline = timeline.expect("read");
    assert_eq!(timeline.sessions.len(), 3);
    assert_eq!(timeline.sessions[0].head.key, key);

    for unknown in [
        CheckpointName::Id(CheckpointId::from_random([9; 17])),
        CheckpointName::Ref(RefName::parse("nothing").expect("valid")),
    ] {
        request.checkpoint = unknown;
        request.client_token = None;
        let refused = fork_session(&fake, &deployment(), &me, request.clone()).await;
        assert!(
            matches!(refused, Err(ForkSessionError::Find(_))),
            "{refused:?}"
        );
    }
}

async fn restore(
    fake: &Fake,
    key: &SessionKey,
    what: RestoreScope,
) -> Result<domain::Head, RestoreError> {
    let request = RestoreCheckpoint {
        key: key.clone(),
        checkpoint: first_of(fake, key),
        what,
    };
    restore_checkpoint(fake, &deployment(), &caller(&key.owner), &request).await
}

#[tokio::test]
async fn setting_back_survives() {
    for what in RestoreScope::ALL {
        let runs = disturb(busy, async |fake, key| restore(fake, key, what).await).await;
        assert!(runs >= 24, "{runs}");
    }
    disturb(resting, async |fake, key| {
        restore(fake, key, RestoreScope::Both).await
    })
    .await;
    let fake = Fake::new(1);
    let key = busy(&fake).await;
    let before = fake.peek_head(&key).expect("there");
    let head = restore(&fake, &key, RestoreScope::Both).await;
    let head = head.expect("set back");
    // What waited wakes it; what was under way is over, and named.
    assert_eq!(head.state, State::Resuming);
    assert!(head.fence > before.fence.next());
    let events = fake.peek_events(&key);
    let rewound = events.iter().find_map(|event| match &event.body {
        domain::EventBody::Rewound {
            kept_as,
            abandoned,
            not_done,
            ..
        } => Some((kept_as.clone(), *abandoned, not_done.clone())),
        _ => None,
    });
    let (kept_as, abandoned, not_done) = rewound.expect("it says so");
    assert_eq!(kept_as.as_ref().map(RefName::as_str), Some("before-1"));
    assert_eq!(not_done, [id("first")]);
    let abandoned = abandoned.expect("something was");
    assert_eq!(abandoned.to, before.last_sequence);
    assert_eq!(
        fake.peek_refs(&key)[0].checkpoint,
        before.checkpoint.expect("one")
    );
    // Its question has a new name.
    assert_eq!(head.question.expect("asked").id.as_str(), "q..1");
}

#[tokio::test]
async fn what_has_ended_is_not_set_back() {
    let fake = Fake::new(1);
    let key = resting(&fake).await;
    cancel_session(&fake, &caller(&key.owner), &key, "enough")
        .await
        .expect("cancelled");
    let head = fake.peek_head(&key).expect("there");
    assert_eq!((head.state, fake.slots().0), (State::Cancelled, 0));
    let refused = restore(&fake, &key, RestoreScope::Both).await;
    assert!(
        matches!(refused, Err(RestoreError::Ended(State::Cancelled))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn cancelling_what_nobody_has_survives() {
    for setup in [true, false] {
        disturb(
            async |fake| {
                let key = resting(fake).await;
                if setup {
                    say(fake, &key).await.expect("accepted");
                }
                key
            },
            async |fake, key| cancel_session(fake, &caller(&key.owner), key, "enough").await,
        )
        .await;
    }
}

/// Asking twice asks at most twice; a suspended session is not asked at all.
#[tokio::test]
async fn suspending_asks_at_most_once_more() {
    for n in 1..=3 {
        for time in [FaultTime::Before, FaultTime::After] {
            let fake = Fake::new(1);
            let key = running(&fake).await;
            fake.fail_call(n, time);
            let me = caller(&key.owner);
            let work = async || suspend_session(&fake, &me, &key).await;
            assert!(work().await.is_err(), "call {n} {time:?}");
            work().await.expect("nothing fails any more");
            let asked = fake.peek_commands(&key).len() - 1;
            assert!((1..=2).contains(&asked), "{asked}");
        }
    }
    let fake = Fake::new(1);
    let key = resting(&fake).await;
    let head = suspend_session(&fake, &caller(&key.owner), &key).await;
    assert_eq!(head.expect("it is").state, State::Suspended);
    assert_eq!(fake.peek_commands(&key).len(), 1);
}

#[tokio::test]
async fn asking_for_a_checkpoint_survives() {
    let request = || RequestCheckpoint {
        message_id: Some(id("cut")),
        message: Some("before it".to_owned()),
        tags: Vec::new(),
        pinned: true,
    };
    // Of a suspended session it is the one that it has.
    disturb(resting, async |fake, key| {
        request_checkpoint(fake, &caller(&key.owner), key, request()).await
    })
    .await;
    // A runner that does not come to it leaves the caller with its name.
    let fake = Fake::new(1);
    let key = running(&fake).await;
    let me = caller(&key.owner);
    let asked = request_checkpoint(&fake, &me, &key, request()).await;
    let asked = asked.expect("asked");
    assert!(
        matches!(&asked, Requested::Pending(name) if *name == id("cut")),
        "{asked:?}"
    );
    // It is found when it is taken.
    let head = fake.peek_head(&key).expect("there");
    let command = fake.peek_commands(&key).pop().expect("asked");
    assert!(matches!(command.body, CommandBody::Checkpoint { .. }));
    let lease = match head.state.has_runner() {
        true => head.lease(),
        false => {
            let now = fake.now();
            let taken = fake.acquire(&key, "next", "none", now.plus(60_000), now);
            taken.await.expect("acquired").0
        }
    };
    let head = fake.peek_head(&key).expect("there");
    let new = checkpoint(&fake, 1, Some(&head));
    let taken = new.id.clone();
    let mut cut = append(&fake, head.last_sequence.next(), Vec::new());
    cut.take = fake
        .commands_after(&key, head.commands_taken, 9)
        .await
        .expect("read");
    cut.finish = vec![(command, CommandOutcome::Checkpointed(taken.clone()))];
    cut.checkpoint = Some(new);
    fake.append(&lease, &cut).await.expect("appended");
    let found = request_checkpoint(&fake, &me, &key, request()).await;
    match found.expect("found") {
        Requested::Taken(found) => assert_eq!(found.id, taken),
        Requested::Pending(name) => panic!("{name} is taken"),
    }
    let looked = get_session(&fake, &caller(&key.owner), &key).await;
    assert_eq!(looked.expect("read").checkpoint, Some(taken.clone()));
    assert!(fake.checkpoint(&key, &taken).await.expect("read").is_some());
}
