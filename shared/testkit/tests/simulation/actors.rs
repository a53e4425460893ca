//! Clients, machines that run tasks, and the sweep.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use domain::{
    Authorized, CommandId, Cursor, Event, PermissionMode, SessionKey,
    authorization::WriteSessions,
    ports::{Clock, SessionDirectory, SlotLimits},
    use_cases::{
        CreateSession, CreateSessionError, Interrupted, Observer, SendMessage, SendMessageError,
        Until, WaitSession, cancel_session, create_session, interrupt_session, reconcile_session,
        send_message, wait_session,
    },
    workspace::{Workspace, WorkspaceSource},
};
use testkit::{Fake, Random, caller, deployment, owner};

use crate::{Shared, runner};

/// A deployment so small that slots are fought for.
const SLOTS: SlotLimits = SlotLimits {
    deployment: 4,
    owner: 3,
};

/// Creates two sessions and works with these and the others of its owner: sends, withdraws,
/// watches, now and then cancels.
pub(crate) async fn client(fake: Fake, told: Shared, number: u64, mut random: Random) {
    let me = owner(&format!("owner {}", number % 2));
    for round in 0..2 {
        let own = create(&fake, &told, &me, &format!("{number}-{round}")).await;
        let mut cursors: BTreeMap<SessionKey, Cursor> = BTreeMap::new();
        for turn in 0..random.below(8) {
            let id = CommandId::parse(&format!("m-{number}-{round}-{turn}")).expect("valid");
            let key = any_of(&told, &me, &mut random).unwrap_or_else(|| own.clone());
            if !send(&fake, &told, &key, &id).await {
                continue;
            }
            if random.one_in(4) {
                withdraw(&fake, &key, &id).await;
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
            while cancel_session(&fake, &writer, &own, "enough")
                .await
                .is_err()
            {
                fake.sleep(100).await;
            }
        }
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
        max_turns: None,
        max_budget_usd: None,
        system_prompt_addition: None,
        tags: Vec::new(),
        checkpoint_strategy: None,
        checkpoint_ignore: None,
        client_token: Some(name.to_owned()),
    };
    loop {
        let mut limits = deployment();
        limits.max_sessions = SLOTS.deployment;
        limits.max_sessions_per_owner = SLOTS.owner;
        match create_session(fake, &limits, &caller(me), request.clone()).await {
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
        match send_message(fake, &deployment(), &caller(&key.owner), message).await {
            Ok(_) => {
                let mut told = told.borrow_mut();
                told.accepted
                    .entry(key.clone())
                    .or_default()
                    .push(id.clone());
                return true;
            }
            Err(SendMessageError::Ended(_)) => return false,
            Err(SendMessageError::Unavailable(_)) => fake.sleep(100).await,
            Err(other) => panic!("{other}"),
        }
    }
}

async fn withdraw(fake: &Fake, key: &SessionKey, id: &CommandId) {
    let writer = caller(&key.owner);
    loop {
        match interrupt_session(fake, &writer, key, Some(id)).await {
            Ok(Interrupted::MessageWithdrawn | Interrupted::TooLate(_)) => return,
            Ok(other) => panic!("{other:?}"),
            Err(domain::use_cases::InterruptError::Unavailable(_)) => fake.sleep(100).await,
            Err(other) => panic!("{other}"),
        }
    }
}

/// Remembers what it saw, in order.
struct Watcher(Vec<u64>);

impl Observer for Watcher {
    async fn event(&mut self, event: &Event) {
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
        Err(domain::use_cases::WaitError::Unavailable(_)) => cursor,
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
    number: u32,
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
                let name = format!("{}-{number}", task.name);
                runner::run(&fake, &task.key, &name, &mut random).await;
            }
            None if over(&fake, &told) => return,
            None => fake.sleep(300).await,
        }
    }
}

/// Sweeps every so often, until there is nothing to come.
pub(crate) async fn sweeper(fake: Fake, told: Shared) {
    while !over(&fake, &told) {
        fake.sleep(5_000).await;
        let now = fake.now();
        for key in fake.overdue(now, 3).await.unwrap_or_default() {
            // What fails is there again in the next sweep.
            let _ = reconcile_session(&fake, SLOTS, &key).await;
        }
    }
}

fn over(fake: &Fake, told: &Shared) -> bool {
    told.borrow().busy == 0
        && fake.session_keys().iter().all(|key| {
            fake.peek_head(key)
                .is_some_and(|head| head.state.is_ended())
        })
}
