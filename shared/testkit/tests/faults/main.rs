//! Every use case, with each of its port calls failing once before and once after its effect, and
//! cut off at each of its waits: run again, the world is as if nothing had failed.

mod checkpoints;
mod clock;
mod keys;
mod policies;
mod world;

use domain::{
    CommandBody, CommandId, CommandOutcome, Cursor, Event, FencingToken, PermissionMode,
    SessionKey, State, TaskId,
    command::FileContent,
    ports::{Clock, Inbox, SessionDirectory, SessionLog},
    use_cases::{
        CreateSession, Observer, ReadFile, RunCommand, SendMessage, Until, WaitSession,
        cancel_session, cancel_task, create_session, create_upload, get_session, get_task,
        interrupt_session, list_sessions, read_file, reconcile_session, run_command, send_message,
        task_stopped, wait_session,
    },
    workspace::{RelativePath, Workspace, WorkspaceSource},
};
use testkit::{
    Fake, FaultTime, append, caller, deployment, message, new_command, new_session, owner,
};

use crate::world::disturb;

fn request() -> CreateSession {
    CreateSession {
        prompt: "do it".to_owned(),
        message_id: Some(CommandId::parse("first").expect("valid")),
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
        client_token: Some("token".to_owned()),
    }
}

pub(crate) async fn requested(fake: &Fake) -> SessionKey {
    let mut new = new_session(fake, &owner("me"));
    new.first_message.0 = CommandId::parse("first").expect("valid");
    fake.create(new).await.expect("created").head.key
}

pub(crate) async fn running(fake: &Fake) -> SessionKey {
    let key = requested(fake).await;
    let now = fake.now();
    let (lease, head) = fake
        .acquire(&key, "task", "none", now.plus(10_000), now)
        .await
        .expect("acquired");
    let mut take = append(fake, head.last_sequence.next(), Vec::new());
    take.take = fake.commands_after(&key, 0, 10).await.expect("read");
    fake.append(&lease, &take).await.expect("appended");
    key
}

async fn vanished(fake: &Fake) -> SessionKey {
    let key = running(fake).await;
    fake.enqueue(&key, new_command(fake, "second", message("more")))
        .await
        .expect("accepted");
    fake.clock().advance(20_000);
    key
}

pub(crate) fn id(text: &str) -> CommandId {
    CommandId::parse(text).expect("valid")
}

#[tokio::test]
async fn create_session_survives() {
    let runs = disturb(
        async |_| (),
        async |fake, ()| {
            create_session(fake, &deployment(), &caller(&owner("me")), request()).await
        },
    )
    .await;
    assert!(runs >= 9, "{runs}");
}

/// A start that failed is no error of the caller; the sweep repeats it.
#[tokio::test]
async fn a_start_that_failed_is_repeated_by_the_sweep() {
    let fake = Fake::new(1);
    // The record is the first call, the start the second.
    fake.fail_call(2, FaultTime::Before);
    let created = create_session(&fake, &deployment(), &caller(&owner("me")), request()).await;
    let key = created.expect("recorded").head.key;
    assert!(!fake.no_more_faults() && fake.tasks().is_empty());
    fake.clock().advance(16_000);
    let overdue = fake.overdue(fake.now(), 9).await.expect("read");
    assert_eq!(overdue, std::slice::from_ref(&key));
    let slots = deployment().slots();
    reconcile_session(&fake, slots, &key)
        .await
        .expect("reconciled");
    assert_eq!(fake.tasks().len(), 1);
    assert!(fake.overdue(fake.now(), 9).await.expect("read").is_empty());
}

#[tokio::test]
async fn send_message_survives() {
    disturb(running, async |fake, key| {
        let message = SendMessage {
            key: key.clone(),
            text: "more".to_owned(),
            attachments: Vec::new(),
            message_id: Some(id("second")),
        };
        send_message(fake, &deployment(), &caller(&key.owner), message).await
    })
    .await;
}

#[tokio::test]
async fn run_command_survives() {
    let work = async |fake: &Fake, key: &SessionKey| {
        let run = RunCommand {
            key: key.clone(),
            command: "ls".to_owned(),
            timeout_seconds: None,
            message_id: Some(id("run")),
        };
        let sent = run_command(fake, &deployment(), &caller(&key.owner), run).await;
        sent.map(|enqueued| enqueued.repeated)
    };
    disturb(running, work).await;
    disturb(checkpoints::resting, work).await;
}

#[tokio::test]
async fn cancel_session_survives() {
    for setup in [true, false] {
        disturb(
            async |fake| {
                if setup {
                    requested(fake).await
                } else {
                    running(fake).await
                }
            },
            async |fake, key| cancel_session(fake, &caller(&key.owner), key, "enough").await,
        )
        .await;
    }
}

/// `cancel` is a valid message id; a message of that name must not make a session immortal.
#[tokio::test]
async fn a_message_called_cancel_keeps_nobody_from_cancelling() {
    let fake = Fake::new(1);
    let key = running(&fake).await;
    fake.enqueue(&key, new_command(&fake, "cancel", message("me first")))
        .await
        .expect("accepted");
    for _ in 0..2 {
        cancel_session(&fake, &caller(&key.owner), &key, "enough")
            .await
            .expect("asked");
    }
    let cancels = fake
        .peek_commands(&key)
        .into_iter()
        .filter(|command| matches!(command.body, CommandBody::Cancel { .. }))
        .count();
    assert!(cancels >= 1);
}

#[tokio::test]
async fn withdrawing_survives() {
    disturb(requested, async |fake, key| {
        interrupt_session(fake, &caller(&key.owner), key, Some(&id("first"))).await
    })
    .await;
}

/// Interrupting again may ask again: at most that.
#[tokio::test]
async fn interrupting_asks_at_most_once_more() {
    for n in 1..=2 {
        for time in [FaultTime::Before, FaultTime::After] {
            let fake = Fake::new(1);
            let key = running(&fake).await;
            fake.fail_call(n, time);
            let work = async || interrupt_session(&fake, &caller(&key.owner), &key, None).await;
            assert!(work().await.is_err(), "call {n} {time:?}");
            work().await.expect("nothing fails any more");
            let asked = fake.peek_commands(&key).len() - 1;
            assert!((1..=2).contains(&asked), "{asked}");
        }
    }
}

#[tokio::test]
async fn looking_at_a_vanished_session_survives() {
    let runs = disturb(vanished, async |fake, key| {
        get_session(fake, &caller(&key.owner), key).await
    })
    .await;
    assert!(runs >= 9, "{runs}");
    let fake = Fake::new(1);
    let key = vanished(&fake).await;
    let head = get_session(&fake, &caller(&key.owner), &key).await;
    assert_eq!(head.expect("read").state, State::Resuming);
    assert_eq!(fake.slots().0, 1);
}

struct Nobody;

impl Observer for Nobody {
    async fn event(&mut self, _: &Event, _came: bool) {}
    fn characters(&self, _: &Event) -> usize {
        100
    }
}

#[tokio::test]
async fn waiting_survives() {
    disturb(vanished, async |fake, key| {
        let request = WaitSession {
            key: key.clone(),
            cursor: Cursor::default(),
            until: Until::Idle,
            wait_seconds: Some(2),
            response_budget_characters: None,
        };
        let reader = caller(&key.owner);
        wait_session(fake, &deployment(), &reader, &request, &mut Nobody).await
    })
    .await;
}

#[tokio::test]
async fn listing_and_reading_tasks_survive() {
    disturb(requested, async |fake, key| {
        let query = domain::ports::ListQuery {
            limit: 9,
            ..Default::default()
        };
        list_sessions(fake, &caller(&key.owner), &query).await
    })
    .await;
    disturb(vanished, async |fake, key| {
        let task = TaskId {
            session: key.session.clone(),
            command: id("second"),
        };
        get_task(fake, &caller(&key.owner), &task).await
    })
    .await;
}

#[tokio::test]
async fn cancelling_a_task_survives() {
    disturb(requested, async |fake, key| {
        let task = TaskId {
            session: key.session.clone(),
            command: id("first"),
        };
        let owner = &key.owner;
        cancel_task(fake, &caller(owner), &caller(owner), &task).await
    })
    .await;
}

#[tokio::test]
async fn reconciling_survives() {
    disturb(vanished, async |fake, key| {
        reconcile_session(fake, deployment().slots(), key).await
    })
    .await;
    disturb(
        async |fake| {
            let key = requested(fake).await;
            fake.clock().advance(16_000);
            key
        },
        async |fake, key| reconcile_session(fake, deployment().slots(), key).await,
    )
    .await;
    for vanishes in [true, false] {
        disturb(
            async |fake| {
                if vanishes {
                    vanished(fake).await
                } else {
                    requested(fake).await
                }
            },
            async |fake, key| {
                task_stopped(fake, key, "task", Some(FencingToken(1)), "killed").await
            },
        )
        .await;
    }
}

/// A second place for a file is the worst that comes of a fault.
#[tokio::test]
async fn creating_an_upload_survives() {
    for time in [FaultTime::Before, FaultTime::After] {
        let fake = Fake::new(1);
        fake.fail_call(1, time);
        let me = caller(&owner("me"));
        let work = async || create_upload(&fake, &deployment(), &me, 5).await;
        assert!(work().await.is_err());
        let (upload, _) = work().await.expect("nothing fails any more");
        let found = domain::ports::Uploads::upload(&fake, &upload.owner, &upload.id).await;
        assert_eq!(found.expect("read"), Some((upload, false)));
    }
}

/// Reads again; the runner's answer to the first reading stays unread.
#[tokio::test]
async fn reading_a_file_survives() {
    for n in 1..=4 {
        for time in [FaultTime::Before, FaultTime::After] {
            let fake = Fake::new(1);
            let key = running(&fake).await;
            fake.fail_call(n, time);
            let request = ReadFile {
                key: key.clone(),
                path: RelativePath::parse("a").expect("valid"),
                offset: 0,
                length: None,
            };
            let me = caller(&key.owner);
            let reading = async {
                match read_file(&fake, &me, request.clone()).await {
                    Ok(content) => content,
                    Err(_) => read_file(&fake, &me, request.clone()).await.expect("read"),
                }
            };
            let content = tokio::select! {
                content = reading => content,
                () = answer_forever(&fake, &key) => unreachable!(),
            };
            assert_eq!(content.bytes, b"hello");
        }
    }
}

/// A runner that only answers `read_file`, whatever fails.
async fn answer_forever(fake: &Fake, key: &SessionKey) {
    let head = fake.peek_head(key).expect("there");
    let lease = head.lease();
    loop {
        fake.sleep(20).await;
        let head = fake.peek_head(key).expect("there");
        let Ok(page) = fake.commands_after(key, head.commands_taken, 10).await else {
            continue;
        };
        let outcome = CommandOutcome::File(FileContent {
            bytes: b"hello".to_vec(),
            file_bytes: 5,
        });
        let mut answer = append(fake, head.last_sequence.next(), Vec::new());
        answer.finish = page
            .iter()
            .map(|command| (command.clone(), outcome.clone()))
            .collect();
        answer.take = page;
        // What fails here is tried again with the next look.
        let _ = fake.append(&lease, &answer).await;
    }
}
