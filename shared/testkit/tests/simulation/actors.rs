//! Clients, machines that run tasks, and the sweep.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use domain::{
    Authorized, CommandId, Cursor, Deployment, Event, PermissionMode, Retention, SessionKey, State,
    authorization::WriteSessions,
    checkpoint::{CheckpointName, RestoreScope},
    ports::{Clock, SessionDirectory, SlotLimits},
    use_cases::{
        AnswerError, AnswerQuestion, CancelError, CreateSession, CreateSessionError, DeleteError,
        Deletion, ForkSession, ForkSessionError, InterruptError, Interrupted, Observer, Reconciled,
        RequestCheckpoint, RestoreCheckpoint, RestoreError, SendMessage, SendMessageError, Until,
        WaitError, WaitSession, answer_question, cancel_session, create_session, delete_session,
        erase_session, fork_session, interrupt_session, reconcile_session, request_checkpoint,
        restore_checkpoint, send_message, suspend_session, sweep_tree, wait_session,
    },
    workspace::{Workspace, WorkspaceSource},
};
use testkit::{Fake, Random, caller, deployment, owner};

use crate::{
    Shared,
    chunks::ModelChunks,
    disk::{GRACE_MILLISECONDS, put, surely},
    runner,
};

/// A deployment so small that slots are fought for.
const SLOTS: SlotLimits = SlotLimits {
    deployment: 4,
    owner: 3,
};

fn limits() -> Deployment {
    Deployment {
        max_sessions: SLOTS.deployment,
        max_sessions_per_owner: SLOTS.owner,
        ..deployment()
    }
}

/// Creates two sessions and works with these and the others of its owner: sends, withdraws,
/// watches, exports, now and then cancels. Killed, it begins the round again in which it was, with
/// the same names.
pub(crate) async fn client(fake: Fake, told: Shared, number: u64, mut random: Random) {
    let me = owner(&format!("owner {}", number % 2));
    let begun = told.borrow().rounds.get(&number).copied().unwrap_or(0);
    for round in begun..2 {
        let own = create(&fake, &told, &me, &format!("{number}-{round}")).await;
        let mut cursors: BTreeMap<SessionKey, Cursor> = BTreeMap::new();
        for turn in 0..random.below(8) {
            let key = any_of(&told, &me, &mut random).unwrap_or_else(|| own.clone());
            // Of one session: what a fork has inherited was not sent to it.
            let id = format!("m-{number}-{round}-{turn}-{}", key.session);
            let id = CommandId::parse(&id).expect("valid");
            if !send(&fake, &told, &key, &id).await {
                continue;
            }
            if random.one_in(4) {
                withdraw(&fake, &key, &id).await;
            }
            match random.below(10) {
                0 => answer(&fake, &key).await,
                1 => branch(&fake, &told, &key, &mut random).await,
                2 => set_back(&fake, &told, &key, &mut random).await,
                3 => {
                    // What cannot be asked now is not asked.
                    let me = caller(&key.owner);
                    drop(suspend_session(&fake, &me, &key).await);
                }
                4 => {
                    let me = caller(&key.owner);
                    let asked = RequestCheckpoint::default();
                    drop(request_checkpoint(&fake, &me, &key, asked).await);
                }
                5 => export(&fake, &key, &id, &mut random).await,
                _ => {}
            }
            if random.one_in(2) {
                let cursor = cursors.get(&key).copied().unwrap_or_default();
                let cursor = watch(&fake, &key, cursor, &mut random).await;
                cursors.insert(key, cursor);
            }
            fake.sleep(random.below(3_000)).await;
        }
        if random.one_in(3) {
            let writer: Authorized<WriteSessions> = caller(&me);
            loop {
                match cancel_session(&fake, &writer, &own, "enough").await {
                    Ok(_) | Err(CancelError::NoSuchSession(_)) => break,
                    Err(CancelError::Unavailable(_)) => fake.sleep(100).await,
                }
            }
            if random.one_in(2) {
                // That one, or any other, forks too.
                let doomed = any_of(&told, &me, &mut random).unwrap_or_else(|| own.clone());
                let deletion = Deletion::Erase;
                while let Err(DeleteError::Unavailable(_) | DeleteError::StillEnding(_)) =
                    delete_session(&fake, &writer, &doomed, deletion).await
                {
                    fake.sleep(100).await;
                }
                told.borrow_mut().erased.insert(doomed);
            }
        }
        told.borrow_mut().rounds.insert(number, round + 1);
    }
    told.borrow_mut().busy -= 1;
}

/// Some session of the owner.
fn any_of(told: &Shared, me: &domain::OwnerId, random: &mut Random) -> Option<SessionKey> {
    let told = told.borrow();
    let keys: Vec<&SessionKey> = told
        .accepted
        .keys()
        .filter(|key| key.owner == *me)
        .collect();
    let place = random.below(keys.len().max(1) as u64);
    keys.get(usize::try_from(place).ok()?)
        .map(|key| (*key).clone())
}

async fn create(fake: &Fake, told: &Shared, me: &domain::OwnerId, name: &str) -> SessionKey {
    let first = CommandId::parse(&format!("first-{name}")).expect("valid");
    let request = CreateSession {
        prompt: "begin".to_owned(),
        message_id: Some(first.clone()),
        workspace: Workspace {
            source: WorkspaceSource::Empty,
            subdirectory: None,
        },
        attachments: Vec::new(),
        model: None,
        permission_mode: PermissionMode::Review,
        tier: None,
        max_turns: None,
        max_budget_usd: None,
        system_prompt_addition: None,
        tags: Vec::new(),
        checkpoint_strategy: None,
        checkpoint_ignore: None,
        client_token: Some(name.to_owned()),
    };
    loop {
        match create_session(fake, &limits(), &caller(me), request.clone()).await {
            Ok(creation) => {
                let key = creation.head.key;
                told.borrow_mut()
                    .accepted
                    .entry(key.clone())
                    .or_default()
                    .push(first);
                return key;
            }
            Err(CreateSessionError::Full(_) | CreateSessionError::Unavailable(_)) => {
                fake.sleep(500).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// Says whether the session still takes messages.
async fn send(fake: &Fake, told: &Shared, key: &SessionKey, id: &CommandId) -> bool {
    loop {
        let message = SendMessage {
            key: key.clone(),
            text: "go on".to_owned(),
            attachments: Vec::new(),
            message_id: Some(id.clone()),
        };
        match send_message(fake, &limits(), &caller(&key.owner), message).await {
            Ok(_) => {
                let mut told = told.borrow_mut();
                told.accepted
                    .entry(key.clone())
                    .or_default()
                    .push(id.clone());
                return true;
            }
            Err(SendMessageError::Ended(_) | SendMessageError::NoSuchSession(_)) => return false,
            Err(SendMessageError::Unavailable(_)) => fake.sleep(100).await,
            Err(other) => panic!("{other}"),
        }
    }
}

async fn withdraw(fake: &Fake, key: &SessionKey, id: &CommandId) {
    let writer = caller(&key.owner);
    loop {
        match interrupt_session(fake, &writer, key, Some(id)).await {
            Ok(Interrupted::MessageWithdrawn | Interrupted::TooLate(_))
            | Err(InterruptError::NoSuchSession(_)) => return,
            Ok(other) => panic!("{other:?}"),
            Err(InterruptError::Unavailable(_)) => fake.sleep(100).await,
            Err(other) => panic!("{other}"),
        }
    }
}

/// Packs the files of a session that it has seen, which takes its time, and stores them: nothing
/// fences that.
async fn export(fake: &Fake, key: &SessionKey, id: &CommandId, random: &mut Random) {
    let Some(head) = surely(fake, async || fake.head(key).await).await else {
        return;
    };
    fake.sleep(random.below(5_000)).await;
    let name = format!("sessions/{}/exports/{id}", key.session);
    put(fake, &head.tree_key(), &name, "files".to_owned()).await;
}

/// Answers the question that waits, if one does.
async fn answer(fake: &Fake, key: &SessionKey) {
    let Some(question) = fake.peek_head(key).and_then(|head| head.question) else {
        return;
    };
    let answer = AnswerQuestion {
        key: key.clone(),
        question: question.id,
        answers: "{}".to_owned(),
    };
    for _ in 0..3 {
        let me = caller(&key.owner);
        match answer_question(fake, &limits(), &me, answer.clone()).await {
            Err(AnswerError::Unavailable(_)) => fake.sleep(100).await,
            // Answered, or overtaken by others.
            _ => return,
        }
    }
}

fn any_checkpoint(fake: &Fake, key: &SessionKey, random: &mut Random) -> Option<CheckpointName> {
    let checkpoints = fake.peek_checkpoints(key);
    let place = random.below(checkpoints.len().max(1) as u64);
    let checkpoint = checkpoints.get(usize::try_from(place).ok()?)?;
    Some(CheckpointName::Id(checkpoint.id.clone()))
}

fn any_scope(random: &mut Random) -> RestoreScope {
    match random.one_in(3) {
        true => RestoreScope::Conversation,
        false => RestoreScope::Both,
    }
}

async fn branch(fake: &Fake, told: &Shared, key: &SessionKey, random: &mut Random) {
    let Some(checkpoint) = any_checkpoint(fake, key, random) else {
        return;
    };
    let number = told.borrow().accepted.len();
    let request = ForkSession {
        key: key.clone(),
        checkpoint,
        what: any_scope(random),
        prompt: random.one_in(2).then(|| "try it differently".to_owned()),
        message_id: CommandId::parse(&format!("fork-{number}")).ok(),
        client_token: Some(format!("fork-{number}")),
    };
    for _ in 0..5 {
        let me = caller(&key.owner);
        match fork_session(fake, &limits(), &me, request.clone()).await {
            Ok(made) => {
                let mut told = told.borrow_mut();
                let accepted = told.accepted.entry(made.head.key).or_default();
                if request.prompt.is_some() {
                    accepted.extend(request.message_id);
                }
                return;
            }
            Err(ForkSessionError::Unavailable(_)) => fake.sleep(100).await,
            // The checkpoint went with its time.
            Err(_) => return,
        }
    }
}

async fn set_back(fake: &Fake, told: &Shared, key: &SessionKey, random: &mut Random) {
    let Some(checkpoint) = any_checkpoint(fake, key, random) else {
        return;
    };
    told.borrow_mut().set_back.insert(key.clone());
    let request = RestoreCheckpoint {
        key: key.clone(),
        checkpoint,
        what: any_scope(random),
    };
    for _ in 0..3 {
        let me = caller(&key.owner);
        match restore_checkpoint(fake, &limits(), &me, &request).await {
            Err(RestoreError::Unavailable(_)) => fake.sleep(100).await,
            _ => return,
        }
    }
}

/// Remembers what it saw, in order.
struct Watcher(Vec<u64>);

impl Observer for Watcher {
    async fn event(&mut self, event: &Event, _came: bool) {
        self.0.push(event.sequence.0);
    }
    fn characters(&self, _: &Event) -> usize {
        50
    }
}

async fn watch(fake: &Fake, key: &SessionKey, cursor: Cursor, random: &mut Random) -> Cursor {
    let request = WaitSession {
        key: key.clone(),
        cursor,
        until: if random.one_in(2) {
            Until::Idle
        } else {
            Until::Event
        },
        wait_seconds: Some(random.below(5)),
        response_budget_characters: Some(500),
    };
    let mut watcher = Watcher(Vec::new());
    let reader = caller(&key.owner);
    match wait_session(fake, &deployment(), &reader, &request, &mut watcher).await {
        Ok(waited) => {
            let first = cursor.0.0 + 1;
            let expected: Vec<u64> = (first..first + watcher.0.len() as u64).collect();
            assert_eq!(watcher.0, expected, "a reader saw a gap");
            waited.next_cursor
        }
        Err(WaitError::Unavailable(_) | WaitError::NoSuchSession(_)) => cursor,
        Err(other) => panic!("{other}"),
    }
}

/// Which machine has which task; two may have the same.
type Claimed = Rc<RefCell<BTreeMap<String, u32>>>;

/// Runs tasks as they are started, until there is nothing to come.
pub(crate) async fn machine(
    fake: Fake,
    told: Shared,
    claimed: Claimed,
    name: String,
    mut random: Random,
) {
    loop {
        let task = fake.tasks().into_iter().find(|task| {
            let machines = claimed.borrow().get(&task.name).copied().unwrap_or(0);
            task.stopped.is_none() && machines < 2
        });
        match task {
            Some(task) => {
                *claimed.borrow_mut().entry(task.name.clone()).or_default() += 1;
                let name = format!("{}-{name}", task.name);
                runner::run(&fake, &task.key, &name, &mut random).await;
            }
            None if over(&fake, &told) => return,
            None => fake.sleep(300).await,
        }
    }
}

/// Sweeps every so often, until there is nothing to come.
pub(crate) async fn sweeper(fake: Fake, told: Shared) {
    let chunks = ModelChunks(fake.clone());
    while !over(&fake, &told) {
        fake.sleep(5_000).await;
        let now = fake.now();
        // What fails is there again in the next sweep.
        for key in fake.overdue(now, 5).await.unwrap_or_default() {
            if let Ok(Reconciled::Expired | Reconciled::Gone) =
                reconcile_session(&fake, SLOTS, &key).await
            {
                let erased = erase_session(&fake, &chunks, &key, GRACE_MILLISECONDS);
                drop(erased.await);
            }
        }
    }
}

const RETENTION: Retention = Retention {
    max_checkpoints: 2,
    checkpoint_milliseconds: 60_000,
    grace_milliseconds: GRACE_MILLISECONDS,
};

/// Takes old checkpoints, and the chunks that nobody needs, again and again.
pub(crate) async fn collector(fake: Fake, told: Shared, mut random: Random) {
    let chunks = ModelChunks(fake.clone());
    while !over(&fake, &told) {
        fake.sleep(3_000 + random.below(3_000)).await;
        let keys = fake.session_keys();
        let place = usize::try_from(random.below(keys.len().max(1) as u64)).unwrap_or(0);
        if let Some(head) = keys.get(place).and_then(|key| fake.peek_head(key)) {
            // What fails is done by the next sweep.
            drop(sweep_tree(&fake, &chunks, RETENTION, &head.tree_key(), false).await);
        }
    }
}

/// Sweeps every tree once more, when all that was written is old.
pub(crate) async fn last_sweep(fake: Fake) {
    let chunks = ModelChunks(fake.clone());
    let heads = fake.session_keys().into_iter();
    let heads = heads.filter_map(|key| fake.peek_head(&key));
    let trees: BTreeSet<_> = heads.map(|head| head.tree_key()).collect();
    for tree in trees {
        // One of which nothing is recorded has nothing to sweep.
        drop(sweep_tree(&fake, &chunks, RETENTION, &tree, false).await);
    }
}

/// Nobody has anything to do any more: all has ended, or rests with nothing to be done, and what
/// was erased was looked at again.
fn over(fake: &Fake, told: &Shared) -> bool {
    only_tombstones(fake, told) && fake.tombstones().is_empty()
}

/// The same, but for what was erased.
pub(crate) fn only_tombstones(fake: &Fake, told: &Shared) -> bool {
    let told = told.borrow();
    told.busy == 0
        && fake.session_keys().iter().all(|key| {
            fake.peek_head(key).is_none_or(|head| {
                let rests = head.state == State::Suspended && !head.has_queued();
                (head.state.is_ended() && !told.erased.contains(key)) || rests
            })
        })
}
