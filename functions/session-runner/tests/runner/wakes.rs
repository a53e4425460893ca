//! A call on which a person has to decide, deferred, and its session woken again and again on new
//! machines by whatever is no decision about it: it never runs unasked, and the question stays the
//! same one. With the real CLI in the real sandbox.
//!
//! `SHANNON_TEST_WAKES` says how often, in each permission mode.

use std::time::{Duration, Instant};

use crate::approvals::{bash, decide, exists, next_approval};
use crate::support::installed::real_claude;
use crate::support::{World, bodies, model, results, script};
use domain::approval::Way;
use domain::event::EventBody;
use domain::{
    ApprovalRequest, CallDigest, CommandBody, CommandOutcome, Decision, PermissionMode, QuestionId,
    State, Transition,
};
use serde_json::json;
use session_runner::supervisor::Outcome;

/// Each takes a second or two of a processor; the ways below come once.
const WAKES: usize = 4;

/// What comes of a wake.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Nobody decides, and the machine is given back.
    Idle,
    /// The task is told to stop.
    Stopped,
    /// The machine is gone while the call waits.
    Lost,
    /// It was woken for a decision about another approval, which changes nothing.
    OtherDecision,
}

const ENDS: [End; 4] = [End::Idle, End::Lost, End::OtherDecision, End::Stopped];

/// What the call does, as often as it runs.
const CALL: &str = "echo ran >> ran";

/// Waits until the runners have asked so often, and says what was asked last.
async fn asked_so_often(world: &World, times: usize) -> (QuestionId, ApprovalRequest) {
    let start = Instant::now();
    loop {
        let events = world.events().await;
        let asked: Vec<_> = events
            .iter()
            .filter_map(|event| match &event.body {
                EventBody::ApprovalRequested {
                    approval, request, ..
                } => Some((approval.clone(), request.clone())),
                _ => None,
            })
            .collect();
        if asked.len() >= times {
            assert_eq!(asked.len(), times, "asked twice on one machine");
            return asked[times - 1].clone();
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "asked {} times of {times}: {:#?}",
            asked.len(),
            bodies(&events)
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn did_not_run(world: &World, wake: usize) {
    assert!(!exists(world, "ran"), "it ran at wake {wake}");
    let events = world.events().await;
    let results = results(&events);
    assert!(results.is_empty(), "wake {wake}: {results:?}");
}

/// A decision about an approval that this session does not have.
fn about_another(wake: usize) -> CommandBody {
    let name = format!("apr_{wake:0>26}");
    CommandBody::Decide {
        approval: QuestionId::parse(&name).expect("an approval id"),
        digest: CallDigest::of("Bash", "{}"),
        decision: Decision::AllowCall,
        way: Way::Page,
    }
}

async fn never_runs_unasked(mode: PermissionMode, command: &str) {
    let given = std::env::var("SHANNON_TEST_WAKES").ok();
    let wakes = given.map_or(WAKES, |text| text.parse().expect("a number"));
    let mut spec = testkit::spec();
    spec.permission_mode = mode;
    let prompt = script(json!([bash(command), {"text": "done"}]));
    let mut world = World::new(model().await, real_claude().await, spec, &prompt).await;
    let (soon, never) = (Duration::from_millis(1), Duration::from_secs(600));
    world.settings.idle_time = soon;
    world.start();
    assert_eq!(world.outcome().await, Outcome::Suspended);
    did_not_run(&world, 0).await;
    let first = next_approval(&world, None).await;
    for wake in 1..=wakes {
        let end = ENDS[wake % ENDS.len()];
        world.settings.idle_time = match end {
            End::Idle => soon,
            _ => never,
        };
        let other = format!("other-{wake}");
        if matches!(end, End::OtherDecision) {
            world.send(&other, about_another(wake)).await;
        }
        world.wake_elsewhere().await;
        world.start();
        let again = asked_so_often(&world, wake + 1).await;
        did_not_run(&world, wake).await;
        // Also its expiry: no wake gives it more time.
        assert_eq!((&again.0, &again.1), (&first.0, &first.1), "wake {wake}");
        match end {
            End::Idle => assert_eq!(world.outcome().await, Outcome::Suspended),
            End::Lost => world.vanish().await,
            End::OtherDecision | End::Stopped => {
                if matches!(end, End::OtherDecision) {
                    let start = Instant::now();
                    while world.command(&other).await.outcome.is_none() {
                        assert!(start.elapsed() < Duration::from_secs(30), "not looked at");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    let outcome = world.command(&other).await.outcome;
                    assert!(
                        matches!(outcome, Some(CommandOutcome::Refused(_))),
                        "{outcome:?}"
                    );
                }
                world.stop();
                match world.outcome().await {
                    Outcome::Suspended => {}
                    // The CLI has not said yet that it knows the message again.
                    Outcome::Left => world.control(Transition::RunnerVanished).await,
                    other => panic!("wake {wake}: {other:?}"),
                }
            }
        }
        did_not_run(&world, wake).await;
        let question = world.head().await.question;
        let question = question.map(|asked| asked.id);
        assert_eq!(question.as_ref(), Some(&first.0), "wake {wake}, {end:?}");
    }
    // A message wakes it too; it is read behind the call.
    world.send("m2", testkit::message("and then?")).await;
    world.settings.idle_time = never;
    world.wake_elsewhere().await;
    world.start();
    let again = asked_so_often(&world, wakes + 2).await;
    assert_eq!(again, first);
    world
        .until(
            "the message",
            |body| matches!(body, EventBody::MessageTaken { text } if text == "and then?"),
        )
        .await;
    assert_eq!(world.head().await.state, State::Waiting);
    did_not_run(&world, wakes + 1).await;
    decide(&world, &first, Decision::AllowOnce).await;
    let events = world.idle_after(1).await;
    let ran = std::fs::read_to_string(world.base.path().join("workspace/ran")).expect("it ran");
    assert_eq!(ran, "ran\n");
    let results = results(&events);
    assert!(results.len() == 1 && !results[0].0, "{results:?}");
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn in_review_a_call_that_is_woken_without_a_decision_never_runs() {
    never_runs_unasked(PermissionMode::Review, CALL).await;
}

#[tokio::test]
async fn in_accept_edits_a_call_that_is_woken_without_a_decision_never_runs() {
    never_runs_unasked(PermissionMode::AcceptEdits, CALL).await;
}

/// Nested so deep that nobody looked at all of it, which is what this mode asks about.
#[tokio::test]
async fn in_bypass_a_call_that_is_woken_without_a_decision_never_runs() {
    let command = format!("{}sh -c '{CALL}'", "nice ".repeat(40));
    never_runs_unasked(PermissionMode::Bypass, &command).await;
}
