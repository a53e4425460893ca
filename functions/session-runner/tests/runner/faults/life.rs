//! A session's life, in several stories, with one call failing in the part that its story is about.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use domain::checkpoint::{CheckpointName, CheckpointTrigger, RestoreScope};
use domain::use_cases::{
    AnswerQuestion, ForkSession, SendMessage, answer_question, fork_session, reconcile_session,
    send_message,
};
use domain::{CommandBody, CommandId, CommandOutcome, EventBody, Head, State};
use session_runner::supervisor::Outcome;
use testkit::{FaultTime, caller, deployment};
use tokio::sync::watch;

use super::left::{Left, all_is_whole, stream};
use crate::support::{Memory, World};

/// The name of a write of a transcript segment.
pub(crate) const OBJECT: &str = "object";
/// So often is asked again, or a runner started, before that is no way to an end.
const TRIES: usize = 200;
/// Of the stop timeout a quarter is for a tool to end by itself.
const STOP: Duration = Duration::from_secs(2);

/// What happens, and which part of it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Story {
    /// A turn, a suspension, and a second turn elsewhere: all of it.
    Resumed,
    /// A fork of a session, and its turn: both.
    Forked,
    /// A question waits for longer than the idle time, is answered and goes on elsewhere: from when it
    /// waits.
    Asked,
    /// The same with a runner that is told to stop while the question waits: the stop.
    StoppedAsking,
    /// A runner is told to stop while a tool runs, and the turn goes on elsewhere: the stop.
    StoppedWorking,
}

impl Story {
    const fn first_message(self) -> &'static str {
        match self {
            Story::Resumed | Story::Forked => "message one",
            Story::Asked | Story::StoppedAsking => "message asks",
            Story::StoppedWorking => "message works",
        }
    }
}

/// Which call fails.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) call: String,
    pub(crate) number: usize,
    pub(crate) time: FaultTime,
}

impl Fault {
    pub(crate) fn parse(text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        let [call, number, time] = words[..] else {
            panic!("{text:?} is no call, number and time")
        };
        Fault {
            call: call.to_owned(),
            number: number.parse().expect("a number"),
            time: match time {
                "Before" => FaultTime::Before,
                "After" => FaultTime::After,
                _ => panic!("{time:?} is neither Before nor After"),
            },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.call, self.number, self.time)
    }
}

/// How a life came to its end.
pub(crate) struct Way {
    /// Calls of the part that fails.
    pub(crate) calls: BTreeMap<String, usize>,
    pub(crate) struck: bool,
}

/// The calls so far; puts of objects among them.
fn calls(world: &World) -> BTreeMap<String, usize> {
    let ports = world.ports.calls_by_name();
    let mut calls: BTreeMap<String, usize> = ports
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect();
    let puts = *world.objects.puts.lock().expect("no panic");
    calls.insert(OBJECT.to_owned(), puts);
    calls
}

/// The part of a life in which a call fails.
struct Part {
    before: BTreeMap<String, usize>,
}

impl Part {
    /// From here on calls count, and that one fails.
    fn begin(world: &World, fault: Option<&Fault>) -> Self {
        let before = calls(world);
        match fault {
            Some(fault) if fault.call == OBJECT => {
                let failing = Some((before[OBJECT] + fault.number, fault.time));
                *world.objects.failing_put.lock().expect("no panic") = failing;
            }
            Some(fault) => world
                .ports
                .fail_call_of(&fault.call, fault.number, fault.time),
            None => {}
        }
        Part { before }
    }

    fn calls(&self, world: &World) -> BTreeMap<String, usize> {
        let mut made = calls(world);
        for (name, count) in &mut made {
            *count -= self.before.get(name).copied().unwrap_or_default();
        }
        made
    }
}

pub(crate) fn head(world: &World) -> Head {
    world.ports.peek_head(&world.key).expect("a session")
}

/// The task that the session waits for, as the sweep of overdue sessions has it started.
async fn next_task(world: &World) -> String {
    for _ in 0..TRIES {
        let head = head(world);
        assert!(!head.state.is_ended(), "{:?}", head.end_reason);
        if let (true, Some(task)) = (head.state.awaits_runner(), head.task) {
            return task;
        }
        world.ports.clock().advance(1_000);
        // One that fails is made again.
        let _ = reconcile_session(&world.ports, deployment().slots(), &world.key).await;
    }
    panic!("nobody runs it: {:#?}", head(world));
}

/// Starts a runner on a machine that has nothing of the session.
async fn start_next(world: &mut World) {
    world.assignment.task = next_task(world).await;
    world.base = tempfile::tempdir().expect("a directory");
    world.assignment.base = world.base.path().to_owned();
    (world.stop, world.stopped) = watch::channel(false);
    world.start();
}

/// Runs one runner after the other until it is suspended and `wanted`.
async fn until_suspended(world: &mut World, wanted: impl Fn(&Head) -> bool) {
    for _ in 0..TRIES {
        if world.running.is_none() {
            start_next(world).await;
        }
        let outcome = world.outcome().await;
        assert!(!matches!(outcome, Outcome::Ended(_)), "{outcome:?}");
        let head = head(world);
        if head.state == State::Suspended && wanted(&head) {
            return;
        }
    }
    panic!("it comes to no end: {:#?}", head(world));
}

async fn until_settled(world: &mut World, commands: u64) {
    until_suspended(world, |head| head.commands_settled == commands).await;
}

/// Waits for something that a runner does.
async fn until(world: &World, what: &str, is_so: impl Fn(&World) -> bool) {
    let begun = Instant::now();
    while !is_so(world) {
        assert!(begun.elapsed() < Duration::from_secs(60), "never {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_it_asks(world: &World) {
    let asks = |world: &World| {
        let head = head(world);
        head.question.is_some() && head.state == State::Waiting
    };
    until(world, "asked", asks).await;
}

/// What SIGTERM does to a runner: it has a checkpoint taken, and ends in time.
async fn stop(world: &mut World) {
    let asked = Instant::now();
    world.stop();
    let outcome = world.outcome().await;
    let is_over = matches!(outcome, Outcome::Suspended | Outcome::Left);
    assert!(is_over, "{outcome:?}");
    assert!(asked.elapsed() < STOP * 2, "it took {:?}", asked.elapsed());
    let checkpoints = world.ports.peek_checkpoints(&world.key);
    let of_stop = checkpoints.last().map(|it| it.trigger);
    assert_eq!(of_stop, Some(CheckpointTrigger::Stop));
}

async fn answer(world: &World) {
    let question = head(world).question.expect("a question");
    let answer = AnswerQuestion {
        key: world.key.clone(),
        question: question.id,
        answers: r#"{"Which colour?":"Blue"}"#.to_owned(),
    };
    let me = caller(&world.key.owner);
    for _ in 0..TRIES {
        let given = answer_question(&world.ports, &deployment(), &me, answer.clone()).await;
        if given.is_ok() {
            return;
        }
    }
    panic!("it was not accepted");
}

/// From here on the world is about a fork of its session.
async fn fork(world: &mut World) {
    let request = ForkSession {
        key: world.key.clone(),
        checkpoint: CheckpointName::Latest,
        what: RestoreScope::Both,
        prompt: Some("message two".to_owned()),
        message_id: None,
        client_token: Some("token".to_owned()),
    };
    let me = caller(&world.key.owner);
    for _ in 0..TRIES {
        let forked = fork_session(&world.ports, &deployment(), &me, request.clone()).await;
        if let Ok(forked) = forked {
            world.key = forked.head.key.clone();
            world.assignment.key = forked.head.key;
            return;
        }
    }
    panic!("it was not forked");
}

async fn say(world: &World, id: &str, text: &str) {
    let message = SendMessage {
        key: world.key.clone(),
        text: text.to_owned(),
        attachments: vec![],
        message_id: Some(CommandId::parse(id).expect("an id")),
    };
    let me = caller(&world.key.owner);
    for _ in 0..TRIES {
        let sent = send_message(&world.ports, &deployment(), &me, message.clone()).await;
        if sent.is_ok() {
            return;
        }
    }
    panic!("it was not accepted");
}

/// Tells the story; gives the calls of the part that it is about.
async fn tell(world: &mut World, story: Story, fault: Option<&Fault>) -> BTreeMap<String, usize> {
    let part = match story {
        Story::Resumed => {
            let part = Part::begin(world, fault);
            until_settled(world, 1).await;
            say(world, "second", "message two").await;
            until_settled(world, 2).await;
            part
        }
        Story::Forked => {
            until_settled(world, 1).await;
            // Each session's objects are its own.
            world.objects = Memory::default();
            let part = Part::begin(world, fault);
            fork(world).await;
            until_settled(world, 1).await;
            part
        }
        Story::Asked => {
            start_next(world).await;
            until_it_asks(world).await;
            let part = Part::begin(world, fault);
            until_suspended(world, |head| head.question.is_some()).await;
            answer(world).await;
            until_settled(world, 2).await;
            part
        }
        Story::StoppedAsking => {
            world.settings.idle_time = Duration::from_secs(60);
            start_next(world).await;
            until_it_asks(world).await;
            let part = Part::begin(world, fault);
            stop(world).await;
            let calls = part.calls(world);
            world.settings.idle_time = IDLE;
            answer(world).await;
            until_settled(world, 2).await;
            return calls;
        }
        Story::StoppedWorking => {
            start_next(world).await;
            let works = |world: &World| world.base.path().join("workspace/work").exists();
            until(world, "at work", works).await;
            let part = Part::begin(world, fault);
            stop(world).await;
            let calls = part.calls(world);
            until_settled(world, 1).await;
            return calls;
        }
    };
    part.calls(world)
}

const IDLE: Duration = Duration::from_millis(250);

/// The whole life. Other than its one fault nothing goes wrong.
pub(crate) async fn life(claude: PathBuf, story: Story, fault: Option<Fault>) -> (Left, Way) {
    let nowhere = "http://127.0.0.1:9".to_owned();
    let prompt = story.first_message();
    let mut world = World::new(nowhere, claude, testkit::spec(), prompt).await;
    (world.settings.idle_time, world.settings.stop_timeout) = (IDLE, STOP);
    let calls = tell(&mut world, story, fault.as_ref()).await;
    let unstruck = world.objects.failing_put.lock().expect("no panic").take();
    let struck = !world.ports.no_more_faults() && unstruck.is_none();
    let mut messages = 0;
    for command in world.ports.peek_commands(&world.key) {
        let outcome = &command.outcome;
        let done = match &command.body {
            CommandBody::Message { .. } => {
                messages += 1;
                matches!(outcome, Some(CommandOutcome::Turn(_)))
            }
            _ => *outcome == Some(CommandOutcome::Answered),
        };
        assert!(done, "{command:?}");
    }
    let turns = world.ports.peek_events(&world.key);
    let turns = turns
        .iter()
        .filter(|event| matches!(event.body, EventBody::TurnEnded(_)));
    assert_eq!(turns.count(), messages);
    let (files, conversation) = all_is_whole(&world).await;
    let left = Left {
        files,
        conversation,
        stream: stream(&world),
    };
    (left, Way { calls, struck })
}
