//! Calls on which a person decides, with the real CLI in the real sandbox, and a scripted model:
//! allowed, denied, edited, expired; over suspensions, lost runners and new machines.

use std::time::{Duration, Instant};

use crate::support::installed::real_claude;
use crate::support::{World, bodies, model, results, script};
use domain::approval::Way;
use domain::event::EventBody;
use domain::use_cases;
use domain::{
    ApprovalRequest, CallDigest, CommandBody, CommandOutcome, Decision, Grant, QuestionId, State,
};
use serde_json::{Value, json};
use session_runner::supervisor::Outcome;

async fn world(steps: Value) -> World {
    let prompt = script(steps);
    World::new(model().await, real_claude().await, testkit::spec(), &prompt).await
}

pub(crate) fn bash(command: &str) -> Value {
    json!({"tool": "Bash", "input": {"command": command, "description": "d"}})
}

/// The approval that waits, when it is not `last`.
pub(crate) async fn next_approval(
    world: &World,
    last: Option<&QuestionId>,
) -> (QuestionId, ApprovalRequest) {
    let start = Instant::now();
    loop {
        let head = world.head().await;
        if let Some(asked) = head.question
            && let Some(request) = asked.approval
            && Some(&asked.id) != last
        {
            return (asked.id, request);
        }
        assert!(
            start.elapsed() < Duration::from_secs(30) && !head.state.is_ended(),
            "no approval: {:#?}",
            bodies(&world.events().await)
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn decide(
    world: &World,
    asked: &(QuestionId, ApprovalRequest),
    decision: Decision,
) {
    let body = CommandBody::Decide {
        approval: asked.0.clone(),
        digest: asked.1.digest.clone(),
        decision,
        way: Way::Page,
    };
    world.send(&format!("answer.{}", asked.0), body).await;
}

pub(crate) fn exists(world: &World, name: &str) -> bool {
    world.base.path().join("workspace").join(name).exists()
}

pub(crate) fn deny(reason: &str) -> Decision {
    Decision::Deny {
        reason: reason.to_owned(),
    }
}

#[tokio::test]
async fn what_is_allowed_once_runs_once() {
    let mut world = world(json!([
        bash("touch one"),
        bash("touch one"),
        bash("touch two"),
        {"text": "done"},
    ]))
    .await;
    world.start();
    let first = next_approval(&world, None).await;
    assert_eq!(world.head().await.state, State::Waiting);
    assert!(first.0.as_str().starts_with("apr_"), "{first:?}");
    assert_eq!(first.1.tool, "Bash");
    assert!(first.1.editable, "{first:?}");
    assert!(
        first.1.parts.iter().any(|part| part.contains("touch one")),
        "{first:?}"
    );
    assert!(!exists(&world, "one"));
    decide(&world, &first, Decision::AllowOnce).await;
    // The same call again is another question.
    let second = next_approval(&world, Some(&first.0)).await;
    assert!(exists(&world, "one"));
    assert_eq!(second.1.digest, first.1.digest);
    decide(&world, &second, deny("once is enough")).await;
    let third = next_approval(&world, Some(&second.0)).await;
    decide(&world, &third, deny("")).await;
    let events = world.idle_after(1).await;
    assert!(!exists(&world, "two"));
    let results = results(&events);
    assert!(!results[0].0, "{results:?}");
    assert!(
        results[1].0 && results[1].1.contains("once is enough"),
        "{results:?}"
    );
    assert!(results[2].0, "{results:?}");
    let decided: Vec<&str> = events
        .iter()
        .filter_map(|event| match &event.body {
            EventBody::ApprovalDecided { decision, .. } => Some(decision.kind()),
            _ => None,
        })
        .collect();
    assert_eq!(decided, ["allow_once", "deny", "deny"]);
    let head = world.head().await;
    assert_eq!((head.question, head.grants.len()), (None, 0));
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn what_is_allowed_for_the_session_is_so_on_the_next_machine() {
    let mut world = world(json!([
        bash("touch one"),
        bash("touch one"),
        bash("npm run --silent a || true"),
        bash("npm run --silent b || true"),
        {"text": "done"},
    ]))
    .await;
    world.start();
    let first = next_approval(&world, None).await;
    decide(&world, &first, Decision::AllowCall).await;
    let second = next_approval(&world, Some(&first.0)).await;
    let pattern = second.1.pattern.clone().expect("a pattern");
    assert!(
        pattern.contains("\"npm\"") && !pattern.contains("true"),
        "{pattern}"
    );
    decide(&world, &second, Decision::AllowPattern).await;
    let events = world.idle_after(1).await;
    assert_eq!(results(&events).len(), 4);
    let asked = |events: &[domain::Event]| {
        let asks =
            |event: &&domain::Event| matches!(event.body, EventBody::ApprovalRequested { .. });
        events.iter().filter(asks).count()
    };
    assert_eq!(asked(&events), 2);
    let granted = world.head().await.grants;
    assert_eq!(
        granted,
        [Grant::Call(first.1.digest), Grant::Pattern(pattern)]
    );
    world.send("s1", CommandBody::Suspend).await;
    assert_eq!(world.outcome().await, Outcome::Suspended);
    let steps = json!([
        bash("touch one"),
        bash("npm run --silent c || true"),
        bash("touch other"),
        {"text": "done"},
    ]);
    world.send("m2", testkit::message(&script(steps))).await;
    world.wake_elsewhere().await;
    world.start();
    let third = next_approval(&world, None).await;
    assert_eq!(asked(&world.events().await), 3);
    decide(&world, &third, deny("")).await;
    world.idle_after(2).await;
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn an_edited_call_runs_as_it_was_edited_and_never_what_is_denied_for_good() {
    let mut world = world(json!([
        bash("touch mine"),
        bash("touch again"),
        {"text": "done"},
    ]))
    .await;
    world.start();
    let first = next_approval(&world, None).await;
    let input = json!({"command": "touch yours", "description": "d"}).to_string();
    decide(&world, &first, Decision::AllowEdited { input }).await;
    let second = next_approval(&world, Some(&first.0)).await;
    assert!(exists(&world, "yours") && !exists(&world, "mine"));
    let input = json!({"command": "rm -rf /", "description": "d"}).to_string();
    decide(&world, &second, Decision::AllowEdited { input }).await;
    let events = world.idle_after(1).await;
    let results = results(&events);
    assert!(
        results[1].0 && results[1].1.contains("not allowed"),
        "{results:?}"
    );
    assert!(exists(&world, "yours") && !exists(&world, "again"));
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn a_file_edit_is_shown_as_a_diff() {
    let content = "one\n".repeat(5000);
    let mut world = world(json!([
        {"tool": "Write", "input": {"file_path": "/workspace/a", "content": "one\n"}},
        {"tool": "Write", "input": {"file_path": "/workspace/b", "content": content}},
        {"text": "done"},
    ]))
    .await;
    world.start();
    let first = next_approval(&world, None).await;
    let preview = first.1.preview.clone().expect("a diff");
    assert!(preview.contains("+one"), "{preview}");
    decide(&world, &first, Decision::AllowOnce).await;
    // A long one is in the log, whole.
    let second = next_approval(&world, Some(&first.0)).await;
    assert!(!second.1.editable);
    let shown = world.head().await.question.expect("it waits").input;
    assert_eq!(shown.len(), domain::limits::APPROVAL_SHOWN_BYTES);
    let events = world.events().await;
    let whole = events.iter().rev().find_map(|event| match &event.body {
        EventBody::ApprovalRequested { input, .. } => Some(input.len()),
        _ => None,
    });
    assert!(whole.expect("asked") > content.len());
    decide(&world, &second, Decision::AllowOnce).await;
    world.idle_after(1).await;
    assert!(exists(&world, "a") && exists(&world, "b"));
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn an_approval_waits_while_nothing_runs_and_exactly_that_call_goes_on() {
    let mut world = world(json!([
        bash("touch one"),
        bash("touch two"),
        {"text": "done"},
    ]))
    .await;
    world.settings.idle_time = Duration::from_millis(500);
    world.start();
    assert_eq!(world.outcome().await, Outcome::Suspended);
    let asked = next_approval(&world, None).await;
    decide(&world, &asked, Decision::AllowOnce).await;
    world.wake_elsewhere().await;
    world.settings.idle_time = Duration::from_secs(60);
    world.start();
    let next = next_approval(&world, Some(&asked.0)).await;
    assert!(exists(&world, "one") && !exists(&world, "two"));
    decide(&world, &next, deny("")).await;
    world.idle_after(1).await;
    assert!(!exists(&world, "two"));
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn a_decision_outlives_the_runner_that_asked() {
    let mut world = world(json!([bash("touch one"), {"text": "done"}])).await;
    world.start();
    let asked = next_approval(&world, None).await;
    world.lose().await;
    // It waits on, under the same name; and nothing runs without the decision.
    world.start();
    world
        .until("a second runner that asks", |body| {
            matches!(body, EventBody::SessionResumed { .. })
        })
        .await;
    decide(&world, &asked, Decision::AllowOnce).await;
    let events = world.idle_after(1).await;
    assert!(exists(&world, "one"));
    let names: Vec<&QuestionId> = events
        .iter()
        .filter_map(|event| match &event.body {
            EventBody::ApprovalRequested { approval, .. } => Some(approval),
            _ => None,
        })
        .collect();
    assert!(names.iter().all(|name| **name == asked.0), "{names:?}");
    assert_eq!(
        world.command(&format!("answer.{}", asked.0)).await.outcome,
        Some(CommandOutcome::Answered)
    );
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn what_was_let_go_once_is_asked_about_again_after_a_loss() {
    let mut world = world(json!([
        bash("touch one; sleep 100"),
        {"text": "done"},
    ]))
    .await;
    world.start();
    let asked = next_approval(&world, None).await;
    decide(&world, &asked, Decision::AllowOnce).await;
    let start = Instant::now();
    while !exists(&world, "one") {
        assert!(start.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.lose().await;
    world.start();
    let again = next_approval(&world, Some(&asked.0)).await;
    assert_eq!(again.1.digest, asked.1.digest);
    assert!(!exists(&world, "one"));
    decide(&world, &again, deny("")).await;
    world.idle_after(1).await;
    assert!(!exists(&world, "one"));
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn an_approval_that_nobody_decides_is_a_denial() {
    let mut world = world(json!([bash("touch one"), {"text": "done"}])).await;
    world.settings.approval_expiry = Duration::from_millis(300);
    world.start();
    let events = world.idle_after(1).await;
    assert!(!exists(&world, "one"));
    let results = results(&events);
    assert!(
        results[0].0 && results[0].1.contains("Nobody decided"),
        "{results:?}"
    );
    let expired = |event: &&domain::Event| {
        matches!(
            &event.body,
            EventBody::ApprovalDecided {
                decision: Decision::Expire,
                way: Way::Clock,
                ..
            }
        )
    };
    assert_eq!(events.iter().filter(expired).count(), 1);
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn time_goes_by_while_nothing_runs_too() {
    let mut world = world(json!([bash("touch one"), {"text": "done"}])).await;
    world.settings.approval_expiry = Duration::from_secs(2);
    world.settings.idle_time = Duration::from_millis(200);
    world.start();
    assert_eq!(world.outcome().await, Outcome::Suspended);
    let (_, request) = next_approval(&world, None).await;
    while !request.is_expired(domain::ports::Clock::now(&world.ports)) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // As the schedule does, which finds the session by its time.
    let head = world.head().await;
    assert_eq!(head.look_at(), Some(request.expires_at));
    let pending = head.question.clone().expect("it waits");
    let woken = use_cases::expire_approval(&world.ports, &world.key, &pending).await;
    assert!(woken.expect("reached"));
    world.wake_elsewhere().await;
    world.settings.idle_time = Duration::from_secs(60);
    world.start();
    let events = world.idle_after(1).await;
    assert!(!exists(&world, "one"));
    assert!(
        results(&events)[0].1.contains("Nobody decided"),
        "{:#?}",
        bodies(&events)
    );
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn nothing_but_a_decision_on_this_call_lets_it_run() {
    let mut world = world(json!([
        bash("touch one"),
        bash("touch two"),
        {"text": "done"},
    ]))
    .await;
    world.start();
    let first = next_approval(&world, None).await;
    // An answer, as the tool answer_question gives it, decides nothing.
    let answer = CommandBody::Answer {
        question: first.0.clone(),
        answers: r#"{"decision":"allow_once"}"#.to_owned(),
    };
    world.send("forged", answer).await;
    let second = next_approval(&world, Some(&first.0)).await;
    assert!(!exists(&world, "one"));
    // Nor does a decision about another call, or one about an approval that is over.
    let replayed = CommandBody::Decide {
        approval: first.0.clone(),
        digest: first.1.digest.clone(),
        decision: Decision::AllowOnce,
        way: Way::Page,
    };
    world.send("replayed", replayed).await;
    let other = CommandBody::Decide {
        approval: second.0.clone(),
        digest: CallDigest::of("Bash", "{}"),
        decision: Decision::AllowOnce,
        way: Way::Page,
    };
    world.send("other", other).await;
    let events = world.idle_after(1).await;
    assert!(!exists(&world, "one") && !exists(&world, "two"));
    assert!(results(&events).iter().all(|(is_error, _)| *is_error));
    let replayed = world.command("replayed").await.outcome;
    assert!(
        matches!(replayed, Some(CommandOutcome::Refused(_))),
        "{replayed:?}"
    );
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn an_interrupt_takes_the_question_with_it() {
    let mut world = world(json!([bash("touch one"), {"text": "done"}])).await;
    world.start();
    let asked = next_approval(&world, None).await;
    world.send("i1", CommandBody::Interrupt).await;
    world.idle_after(1).await;
    assert_eq!(world.head().await.question, None);
    decide(&world, &asked, Decision::AllowOnce).await;
    let start = Instant::now();
    let id = format!("answer.{}", asked.0);
    while world.command(&id).await.outcome.is_none() {
        assert!(start.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let outcome = world.command(&id).await.outcome;
    assert!(matches!(outcome, Some(CommandOutcome::Refused(_))));
    assert!(!exists(&world, "one"));
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn where_claude_code_does_not_agree_that_a_command_reads_a_person_is_asked() {
    // Reads by the policies; Claude Code asks about each program that it does not know.
    let command = "b2sum notes";
    let mut world = world(json!([
        bash(command),
        bash(command),
        bash("touch made"),
        {"text": "done"},
    ]))
    .await;
    world.start();
    let asked = next_approval(&world, None).await;
    let events = world.events().await;
    let refused = results(&events);
    assert!(
        refused.len() == 1 && refused[0].1.contains("exactly this call again"),
        "{refused:?}"
    );
    assert!(asked.1.reason.contains("Claude Code itself"), "{asked:?}");
    decide(&world, &asked, Decision::AllowOnce).await;
    let next = next_approval(&world, Some(&asked.0)).await;
    decide(&world, &next, deny("")).await;
    let events = world.idle_after(1).await;
    let results = results(&events);
    assert!(results[1].1.contains("notes"), "{results:?}");
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn calls_that_stand_behind_one_are_all_settled() {
    let call = |name: &str| json!({"tool": "Bash", "input": {"command": format!("touch {name}"), "description": "d"}});
    let mut world = world(json!([
        {"tools": [call("same"), call("same"), call("same"), call("other")]},
        {"text": "done"},
    ]))
    .await;
    world.start();
    let first = next_approval(&world, None).await;
    decide(&world, &first, Decision::AllowCall).await;
    // Two go without a question, and the last is asked about.
    let last = next_approval(&world, Some(&first.0)).await;
    assert!(
        last.1.parts.iter().any(|part| part.contains("other")),
        "{last:?}"
    );
    decide(&world, &last, deny("")).await;
    let events = world.idle_after(1).await;
    let failed: Vec<bool> = results(&events).iter().map(|(failed, _)| *failed).collect();
    assert_eq!(
        failed.iter().filter(|failed| **failed).count(),
        1,
        "{failed:?}"
    );
    assert!(exists(&world, "same") && !exists(&world, "other"));
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn the_same_call_again_is_a_question_of_its_own_also_after_a_loss() {
    let mut world = world(json!([
        bash("touch one"),
        bash("touch one"),
        {"text": "done"},
    ]))
    .await;
    world.start();
    let asked = next_approval(&world, None).await;
    world.lose().await;
    world.start();
    world
        .until("a second runner", |body| {
            matches!(body, EventBody::SessionResumed { .. })
        })
        .await;
    decide(&world, &asked, Decision::AllowOnce).await;
    let again = next_approval(&world, Some(&asked.0)).await;
    assert_eq!(again.1.digest, asked.1.digest);
    decide(&world, &again, deny("")).await;
    world.idle_after(1).await;
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}
