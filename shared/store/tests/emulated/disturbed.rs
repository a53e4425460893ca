//! Every call of AWS that a write of the store makes fails once before its effect, and once after
//! it, and with it all that follow, as in an outage. Then the write is repeated, and both stores hold
//! what they would hold without the outage.

use domain::{
    Command, CommandOutcome, EventBody, Head, OwnerId, RefName, State, Transition,
    checkpoint::{Checkpoint, CheckpointRef},
    event::TokenUsage,
    ports::{
        Append, Checkpoints, ClientToken, Clock, ControlChange, ControlError, Erasure, IdSource,
        Inbox, Lease, LiveText, NewFork, NewSession, PutNew, Rewind, SessionDirectory, SessionLog,
        SlotLimits, SweepError, TreeObjects, Uploads,
    },
    upload::Upload,
};
use futures_util::StreamExt;
use store::{Endpoint, RunnerFacts, Store};
use testkit::{append, checkpoint, event, message, new_command, new_fork, new_session, owner};

use crate::{
    outage::{Break, Outage},
    services::Services,
};

/// Cases at the same time.
const SIDE_BY_SIDE: usize = 12;

/// One write of a port, with what it needs. What is random in it is chosen before.
enum Request {
    Create(Box<NewSession>),
    Acquire,
    Append(Box<Append>),
    Renew,
    SetLive,
    Enqueue,
    Withdraw,
    Finish(Box<Command>),
    Fork(Box<NewFork>),
    Control(Box<ControlChange>),
    NoteTask,
    Postpone,
    Pin,
    SetRef { name: RefName, replace: bool },
    DeleteRef,
    RemoveCheckpoint,
    BeginSweep,
    Expire,
    EraseRows,
    LeaveTree,
    Bury,
    Forget,
    PutNew,
    DeleteObjects,
    PutSessionObject,
    Export,
    SignUpload(Box<Upload>),
    RecordUsage,
    NoteRunner,
}

/// How far the session has come before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Requested,
    /// With two checkpoints, a name, objects, a message that is taken and one that waits.
    Running,
    Suspended,
    Ended,
    Expired,
    Buried,
}

/// A session at its stage.
struct Before {
    head: Head,
    lease: Option<Lease>,
    checkpoints: Vec<Checkpoint>,
}

fn text(text: &str) -> EventBody {
    EventBody::Text {
        text: text.to_owned(),
        agent: None,
    }
}

fn the_name(name: &str) -> RefName {
    RefName::parse(name).expect("a name")
}

async fn head(store: &Store, before: &Head) -> Head {
    store.head(&before.key).await.expect("read").expect("there")
}

async fn control(store: &Store, base: Head, transition: Transition) -> ControlChange {
    let now = store.now();
    ControlChange {
        based_on: base,
        transition,
        reason: "because".to_owned(),
        events: vec![event(now, text("changed"))],
        rewind: None,
        slots: SlotLimits {
            deployment: 1_000_000,
            owner: 1_000,
        },
        now,
    }
}

async fn arrive(store: &Store, me: &OwnerId, stage: Stage) -> Before {
    let mut new = new_session(store, me);
    new.client_token = Some(ClientToken {
        token: "first".to_owned(),
        request_digest: "digest".to_owned(),
    });
    let first = store.create(new).await.expect("created").head;
    let mut before = Before {
        head: first,
        lease: None,
        checkpoints: Vec::new(),
    };
    if stage == Stage::Requested {
        return before;
    }
    let key = before.head.key.clone();
    let now = store.now();
    let acquired = store.acquire(&key, "task", "none", now.plus(60_000), now);
    let (lease, _) = acquired.await.expect("acquired");
    for ordinal in [1, 2] {
        let base = head(store, &before.head).await;
        let mut cut = append(store, base.last_sequence.next(), vec![text("cut")]);
        cut.checkpoint = Some(checkpoint(store, ordinal, Some(&base)));
        store.append(&lease, &cut).await.expect("appended");
    }
    before.checkpoints = store.checkpoints(&key, None, 9).await.expect("read");
    let named = CheckpointRef {
        name: the_name("named"),
        checkpoint: before.checkpoints[1].id.clone(),
        set_at: store.now(),
    };
    store.set_ref(&key, &named, false).await.expect("named");
    let tree = lease.tree_key();
    for name in ["packs/one", "manifests/one"] {
        let put = store.put_new(&tree, name, b"bytes".to_vec()).await;
        put.expect("stored");
    }
    let base = head(store, &before.head).await;
    let mut take = append(store, base.last_sequence.next(), vec![text("taken")]);
    take.take = store.commands_after(&key, 0, 9).await.expect("read");
    store.append(&lease, &take).await.expect("appended");
    if stage == Stage::Running {
        let second = new_command(store, "second", message("more"));
        store.enqueue(&key, second).await.expect("accepted");
    } else {
        let base = head(store, &before.head).await;
        let mut last = append(store, base.last_sequence.next(), vec![text("last")]);
        last.state = State::Suspended;
        let all = store.commands_after(&key, 0, 9).await.expect("read");
        last.finish = vec![(all[0].clone(), CommandOutcome::Answered)];
        last.checkpoint = Some(checkpoint(store, 3, Some(&base)));
        store.append(&lease, &last).await.expect("suspended");
        before.checkpoints = store.checkpoints(&key, None, 9).await.expect("read");
    }
    if stage == Stage::Suspended {
        let second = new_command(store, "second", message("more"));
        store.enqueue(&key, second).await.expect("accepted");
    }
    before.lease = Some(lease);
    before.head = head(store, &before.head).await;
    if stage >= Stage::Ended {
        let base = before.head.clone();
        let change = control(store, base, Transition::WasCancelled).await;
        before.head = store.control(change).await.expect("ended");
    }
    if stage >= Stage::Expired {
        store.expire(&key).await.expect("given up");
    }
    if stage == Stage::Buried {
        let now = store.now();
        let until = domain::UnixMillis(now.0 - 1);
        store.bury(&key, now, until).await.expect("buried");
    }
    before
}

/// Every write, and the stage at which it is made.
fn writes() -> Vec<(&'static str, Stage)> {
    use Stage::{Buried, Ended, Expired, Requested, Running, Suspended};
    vec![
        ("create", Requested),
        ("acquire", Requested),
        ("note_task", Requested),
        ("append", Running),
        ("renew", Running),
        ("set_live", Running),
        ("enqueue", Running),
        ("withdraw", Running),
        ("finish", Running),
        ("fork", Running),
        ("lose", Running),
        ("rewind", Running),
        ("pin", Running),
        ("set_ref", Running),
        ("move_ref", Running),
        ("delete_ref", Running),
        ("remove_checkpoint", Suspended),
        ("begin_sweep", Running),
        ("wake", Suspended),
        ("postpone", Suspended),
        ("cancel", Suspended),
        ("expire", Ended),
        ("erase_rows", Expired),
        ("leave_tree", Expired),
        ("bury", Expired),
        ("forget", Buried),
        ("put_new", Requested),
        ("delete_objects", Running),
        ("put_session_object", Requested),
        ("export", Requested),
        ("sign", Requested),
        ("record_usage", Requested),
        ("note_runner", Requested),
    ]
}

async fn request(name: &str, store: &Store, before: &Before) -> Request {
    let base = before.head.clone();
    let change = async |transition| {
        let change = control(store, base.clone(), transition).await;
        Request::Control(Box::new(change))
    };
    match name {
        "create" => {
            let mut new = new_session(store, &base.key.owner);
            new.client_token = Some(ClientToken {
                token: "second".to_owned(),
                request_digest: "digest".to_owned(),
            });
            Request::Create(Box::new(new))
        }
        "acquire" => Request::Acquire,
        "note_task" => Request::NoteTask,
        "append" => {
            let long = EventBody::ToolResult {
                tool_use_id: "u".to_owned(),
                is_error: false,
                text: "long ".repeat(40_000),
            };
            let mut new = append(store, base.last_sequence.next(), vec![long]);
            new.take = store
                .commands_after(&base.key, base.commands_taken, 9)
                .await
                .expect("read");
            new.checkpoint = Some(checkpoint(store, 3, Some(&base)));
            Request::Append(Box::new(new))
        }
        "renew" => Request::Renew,
        "set_live" => Request::SetLive,
        "enqueue" => Request::Enqueue,
        "withdraw" => Request::Withdraw,
        "finish" => {
            let taken = store.commands_after(&base.key, 0, 1).await;
            Request::Finish(Box::new(taken.expect("read").remove(0)))
        }
        "fork" => {
            let mut new = new_fork(store, &base);
            new.client_token = Some(ClientToken {
                token: "fork".to_owned(),
                request_digest: "digest".to_owned(),
            });
            Request::Fork(Box::new(new))
        }
        "lose" => change(Transition::RunnerVanished).await,
        "wake" => change(Transition::WasWoken).await,
        "cancel" => change(Transition::WasCancelled).await,
        "rewind" => {
            let mut rewound = control(store, base.clone(), Transition::WasRewound).await;
            let target = &before.checkpoints[1];
            let mut pair = checkpoint(store, 3, Some(&base));
            pair.files = before.checkpoints[0].files.clone();
            pair.conversation = target.conversation.clone();
            rewound.rewind = Some(Rewind {
                checkpoint: pair.id.clone(),
                record: Some(pair),
                target_ordinal: target.ordinal,
                cut_sequence: base.last_sequence.next(),
                claude_session_id: None,
                question: None,
                keep: Some((the_name("before-1"), before.checkpoints[0].id.clone())),
            });
            Request::Control(Box::new(rewound))
        }
        "pin" => Request::Pin,
        "set_ref" => Request::SetRef {
            name: the_name("new"),
            replace: false,
        },
        "move_ref" => Request::SetRef {
            name: the_name("named"),
            replace: true,
        },
        "delete_ref" => Request::DeleteRef,
        "remove_checkpoint" => Request::RemoveCheckpoint,
        "begin_sweep" => Request::BeginSweep,
        "postpone" => Request::Postpone,
        "expire" => Request::Expire,
        "erase_rows" => Request::EraseRows,
        "leave_tree" => Request::LeaveTree,
        "bury" => Request::Bury,
        "forget" => Request::Forget,
        "put_new" => Request::PutNew,
        "delete_objects" => Request::DeleteObjects,
        "put_session_object" => Request::PutSessionObject,
        "export" => Request::Export,
        "sign" => Request::SignUpload(Box::new(Upload {
            id: domain::UploadId::from_random(store.random()),
            owner: base.key.owner.clone(),
            bytes: 5,
            expires_at: store.now().plus(900_000),
        })),
        "record_usage" => Request::RecordUsage,
        "note_runner" => Request::NoteRunner,
        other => panic!("{other} is no write"),
    }
}

/// Makes the write, as its callers do; says what went wrong.
async fn perform(request: &Request, store: &Store, before: &Before) -> Result<(), String> {
    fn done<T, E: std::fmt::Debug>(result: Result<T, E>) -> Result<(), String> {
        result.map(drop).map_err(|error| format!("{error:?}"))
    }
    let (key, tree, now) = (&before.head.key, before.head.tree_key(), store.now());
    let lease = || before.lease.as_ref().expect("a runner has it");
    match request {
        Request::Create(new) => done(store.create((**new).clone()).await),
        Request::Acquire => {
            let acquired = store.acquire(key, "task", "none", now.plus(60_000), now);
            done(acquired.await)
        }
        Request::Append(new) => done(store.append(lease(), new).await),
        Request::Renew => done(store.renew(lease(), now.plus(60_000)).await),
        Request::SetLive => {
            let live = LiveText {
                after: before.head.last_sequence,
                fence: lease().fence,
                text: "so far".to_owned(),
                time: now,
            };
            done(store.set_live(lease(), Some(live)).await)
        }
        Request::Enqueue => {
            let third = new_command(store, "third", message("and more"));
            done(store.enqueue(key, third).await)
        }
        Request::Withdraw => {
            let second = domain::CommandId::parse("second").expect("an id");
            done(store.withdraw(key, &second, now).await)
        }
        Request::Finish(taken) => {
            let outcome = CommandOutcome::Refused("no".to_owned());
            done(store.finish(lease(), taken, outcome).await)
        }
        Request::Fork(new) => done(store.fork((**new).clone()).await),
        Request::Control(change) => match store.control((**change).clone()).await {
            // Whoever reads it again finds it done.
            Err(ControlError::Changed) => {
                let stored = store
                    .head(key)
                    .await
                    .map_err(|error| format!("{error:?}"))?;
                let stored = stored.expect("it is there");
                let wanted = domain::state::after(change.based_on.state, change.transition);
                assert_eq!(Ok(stored.state), wanted);
                Ok(())
            }
            other => done(other),
        },
        Request::NoteTask => done(store.note_task(key, before.head.fence, "noted").await),
        Request::Postpone => done(store.postpone(key, now).await),
        Request::Pin => done(store.pin(key, &before.checkpoints[0].id, true).await),
        Request::SetRef { name, replace } => {
            let named = CheckpointRef {
                name: name.clone(),
                checkpoint: before.checkpoints[0].id.clone(),
                set_at: now,
            };
            done(store.set_ref(key, &named, *replace).await)
        }
        Request::DeleteRef => done(store.delete_ref(key, &the_name("named")).await),
        Request::RemoveCheckpoint => {
            // Nothing names the second of three.
            done(
                store
                    .remove_checkpoint(key, &before.checkpoints[1].id)
                    .await,
            )
        }
        Request::BeginSweep => {
            let tree_now = Checkpoints::tree(store, &tree).await;
            let generation = tree_now.map_err(|error| format!("{error:?}"))?.generation;
            match store.begin_sweep(&tree, generation, now).await {
                Err(SweepError::Overtaken(_)) => Ok(()),
                other => done(other),
            }
        }
        Request::Expire => done(store.expire(key).await),
        Request::EraseRows => loop {
            match store.erase_rows(key, 4).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(format!("{error:?}")),
            }
        },
        Request::LeaveTree => done(store.leave_tree(&tree, &key.session).await),
        Request::Bury => done(store.bury(key, now, now.plus(1_000)).await),
        Request::Forget => done(store.forget(key, now).await),
        Request::PutNew => match store.put_new(&tree, "packs/two", b"x".to_vec()).await {
            Ok(PutNew::Created | PutNew::Existed) => Ok(()),
            Err(error) => Err(format!("{error:?}")),
        },
        Request::DeleteObjects => {
            let page = store.list_objects(&tree, "packs/", None).await;
            for object in page.map_err(|error| format!("{error:?}"))?.objects {
                let version = object.version.as_deref();
                done(store.delete_object(&tree, &object.name, version).await)?;
            }
            Ok(())
        }
        Request::PutSessionObject => {
            let put = store.put_session_object(&tree, key, "transcript/1", b"x".to_vec());
            done(put.await)
        }
        Request::Export => {
            let mut export = store.write_session_object(&tree, key, "exports/a");
            done(export.piece(b"x".to_vec()).await)?;
            done(export.finish(Vec::new()).await)
        }
        Request::SignUpload(upload) => done(store.sign(upload).await),
        Request::RecordUsage => {
            let tokens = TokenUsage {
                input_tokens: 7,
                ..TokenUsage::default()
            };
            done(
                store
                    .record_usage(key, "request", "model", tokens, now)
                    .await,
            )
        }
        Request::NoteRunner => {
            let facts = RunnerFacts {
                claude_version: "1".to_owned(),
                claude_path: "/claude".to_owned(),
                noted_at: now,
                agents: Vec::new(),
            };
            done(store.note_runner(&facts).await)
        }
    }
}

/// What both stores hold of an owner, without times, random names and what is compressed.
async fn picture(services: &Services, me: &OwnerId) -> Vec<String> {
    let everything = services.everything().await;
    let mut lines: Vec<String> = Vec::new();
    for row in &everything.rows {
        if !row.partition.starts_with(me.as_str()) {
            continue;
        }
        let mut attributes: Vec<String> = row
            .attributes
            .iter()
            // A sweep that begins again has the next generation; tokens are new for each case, and so
            // are the shards.
            .filter(|(name, _)| {
                !["generation", "append_token", "live_key", "request_token"].contains(&&***name)
            })
            .map(|(name, value)| match value {
                aws_sdk_dynamodb::types::AttributeValue::B(_) => format!("{name} bytes"),
                value => format!("{name} {value:?}"),
            })
            .collect();
        attributes.sort();
        lines.push(format!("{} {} {attributes:?}", row.partition, row.sort));
    }
    let mut objects = everything.objects_below(me.as_str());
    objects.dedup();
    lines.extend(objects.into_iter().map(ToOwned::to_owned));
    let text = plain(&lines.join("\n").replace(me.as_str(), "OWNER"));
    let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
    lines.sort();
    lines
}

/// Random names become their kind, and times `TIME`.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut word = String::new();
    for character in text.chars().chain(['\n']) {
        if character.is_ascii_alphanumeric() || character == '_' {
            word.push(character);
            continue;
        }
        let is_time = (word.len() == 10 || word.len() == 13 || word.len() == 15)
            && word.bytes().all(|byte| byte.is_ascii_digit())
            && !word.starts_with("0000");
        match word.split_once('_') {
            _ if is_time => plain.push_str("TIME"),
            Some((kind, random)) if random.len() == 26 => plain.push_str(kind),
            // Hashes of client tokens and requests.
            _ if word.len() >= 26 && !word.contains('_') => plain.push_str("HASH"),
            _ => plain.push_str(&word),
        }
        word.clear();
        plain.push(character);
    }
    plain
}

struct Outcome {
    case: String,
    picture: Vec<String>,
    requests: usize,
}

/// One case: the session arrives at its stage, the line breaks, is mended, and the write is made
/// again.
async fn run(
    services: &Services,
    (name, stage): (&'static str, Stage),
    broken: Option<(usize, Break)>,
) -> Outcome {
    let case = format!("{name}, {broken:?}");
    let me = owner(&case);
    let store = services.store().await;
    let before = arrive(&store, &me, stage).await;
    let request = request(name, &store, &before).await;
    let line = Outage::before(&services.endpoint().url).await;
    let endpoint = Endpoint {
        url: line.url.clone(),
        ..services.endpoint()
    };
    let disturbed = Store::connect_to(services.settings(), endpoint).await;
    if let Some((n, time)) = broken {
        line.breaks_at(n, time);
        let result = perform(&request, &disturbed, &before).await;
        // The last call of a write may be of no consequence to it.
        assert!(line.requests() >= n, "{case}: it was not made ({result:?})");
        line.is_mended();
    }
    let result = perform(&request, &disturbed, &before).await;
    assert_eq!(result, Ok(()), "{case}");
    Outcome {
        case,
        requests: line.requests(),
        picture: picture(services, &me).await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_lost_on_the_way_the_repeat_puts_right() {
    let mut cases = 0;
    for write in writes() {
        // Of its own, because a picture reads all that is there.
        let services = Services::start().await;
        let expected = run(&services, write, None).await;
        assert!(expected.requests > 0, "{} calls nobody", write.0);
        let broken = (1..=expected.requests).flat_map(|n| [(n, Break::Before), (n, Break::After)]);
        let outcomes: Vec<Outcome> = futures_util::stream::iter(broken)
            .map(|broken| run(&services, write, Some(broken)))
            .buffered(SIDE_BY_SIDE)
            .collect()
            .await;
        for outcome in outcomes {
            assert_eq!(outcome.picture, expected.picture, "{}", outcome.case);
            cases += 1;
        }
    }
    assert!(cases > 100, "{cases}");
}
