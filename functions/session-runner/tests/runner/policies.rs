//! What a deployment and an owner have stored, as the gate of a running session has it: with the real
//! CLI in the real sandbox, and a scripted model.

use domain::event::EventBody;
use domain::ports::{BookChange, Clock, PolicyBooks};
use domain::{Decision, Event, PermissionMode, PolicyName, PolicyScope, Tier};
use serde_json::{Value, json};
use session_runner::supervisor::Outcome;

use crate::approvals::{decide, exists, next_approval};
use crate::support::installed::real_claude;
use crate::support::{World, bodies, model, results, script};

const ALL: &str = "permit (principal, action, resource);";
const NO_TOUCH: &str = "@reason(\"Nothing is touched here.\")
    forbid (principal, action, resource is Program) when { resource.name == \"touch\" };";

async fn world(mode: PermissionMode, tier: Tier, steps: Value) -> World {
    let mut spec = testkit::spec();
    (spec.permission_mode, spec.tier) = (mode, tier);
    let prompt = script(steps);
    let mut world = World::new(model().await, real_claude().await, spec, &prompt).await;
    world.settings.tier = tier;
    world
}

fn bash(command: &str) -> Value {
    json!({"tool": "Bash", "input": {"command": command, "description": "d"}})
}

fn owner(world: &World) -> PolicyScope {
    PolicyScope::Owner(world.key.owner.clone())
}

/// Stores a policy, or removes it.
async fn store(world: &World, scope: &PolicyScope, name: &str, text: Option<&str>) {
    let book = world.ports.policy_book(scope).await.expect("a book");
    let change = BookChange {
        scope: scope.clone(),
        based_on: book.revision,
        name: PolicyName::parse(name).expect("a name"),
        text: text.map(|text| (text.to_owned(), 1)),
        by: world.key.owner.clone(),
        now: world.ports.now(),
    };
    let changed = world.ports.change_policy_book(&change).await;
    changed.expect("nobody else writes");
}

/// What was denied: why, and by which policies.
fn denied(events: &[Event]) -> Vec<(&str, &[String])> {
    let denied = events.iter().filter_map(|event| match &event.body {
        EventBody::ToolDenied {
            reason, policies, ..
        } => Some((reason.as_str(), policies.as_slice())),
        _ => None,
    });
    denied.collect()
}

fn asked(events: &[Event]) -> usize {
    let asks = |event: &&Event| matches!(event.body, EventBody::ApprovalRequested { .. });
    events.iter().filter(asks).count()
}

async fn finish(mut world: World) {
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn what_an_owner_forbids_is_denied_in_every_mode() {
    for (mode, tier) in [
        (PermissionMode::Bypass, Tier::Review),
        (PermissionMode::Review, Tier::Auto),
    ] {
        let steps = json!([bash("touch made"), bash("mkdir other"), {"text": "done"}]);
        let mut world = world(mode, tier, steps).await;
        store(&world, &owner(&world), "no-touch", Some(NO_TOUCH)).await;
        store(&world, &PolicyScope::Deployment, "all", Some(ALL)).await;
        world.start();
        let events = world.idle_after(1).await;
        let denied = denied(&events);
        assert_eq!(denied.len(), 1, "{:#?}", bodies(&events));
        assert_eq!(denied[0].1, ["owner/no-touch/1"]);
        assert!(denied[0].0.contains("Nothing is touched"), "{denied:?}");
        assert!(!exists(&world, "made") && exists(&world, "other"));
        finish(world).await;
    }
}

#[tokio::test]
async fn what_an_owner_permits_runs_unasked_and_never_what_is_denied_for_good_or_by_the_deployment()
{
    let steps = json!([
        bash("mkdir made"),
        bash("rm -rf /"),
        bash("sudo mkdir more"),
        bash("touch more"),
        {"text": "done"},
    ]);
    let mut world = world(PermissionMode::Review, Tier::Review, steps).await;
    store(&world, &owner(&world), "all", Some(ALL)).await;
    store(&world, &PolicyScope::Deployment, "no-touch", Some(NO_TOUCH)).await;
    world.start();
    let events = world.idle_after(1).await;
    assert_eq!(asked(&events), 0, "{:#?}", bodies(&events));
    assert!(exists(&world, "made") && !exists(&world, "more"));
    let by: Vec<&str> = denied(&events)
        .iter()
        .flat_map(|(_, policies)| policies.iter().map(String::as_str))
        .collect();
    for policy in [
        "denials/destroying-roots",
        "denials/privilege",
        "deployment/no-touch/1",
    ] {
        assert!(by.contains(&policy), "{policy}: {by:?}");
    }
    assert!(!results(&events)[0].0);
    finish(world).await;
}

#[tokio::test]
async fn a_change_counts_from_the_next_turn_on() {
    let steps = |name: &str| json!([bash(&format!("touch {name}")), {"text": "done"}]);
    let mut world = world(PermissionMode::Bypass, Tier::Review, steps("one")).await;
    store(&world, &owner(&world), "no-touch", Some(NO_TOUCH)).await;
    world.start();
    world.idle_after(1).await;
    assert!(!exists(&world, "one"));
    store(&world, &owner(&world), "no-touch", None).await;
    world
        .send("m2", testkit::message(&script(steps("two"))))
        .await;
    world.idle_after(2).await;
    assert!(exists(&world, "two"));
    store(&world, &PolicyScope::Deployment, "no-touch", Some(NO_TOUCH)).await;
    world
        .send("m3", testkit::message(&script(steps("three"))))
        .await;
    let events = world.idle_after(3).await;
    assert!(!exists(&world, "three"));
    assert_eq!(denied(&events).len(), 2, "{:#?}", bodies(&events));
    // And on the next machine.
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
    world
        .send("m4", testkit::message(&script(steps("four"))))
        .await;
    world.wake_elsewhere().await;
    world.start();
    let events = world.idle_after(4).await;
    assert!(!exists(&world, "four"));
    assert_eq!(denied(&events).len(), 3, "{:#?}", bodies(&events));
    finish(world).await;
}

/// Days may lie between a call and the decision about it.
#[tokio::test]
async fn a_change_counts_for_the_call_that_waits_for_a_person() {
    let steps = json!([bash("touch made"), bash("touch more"), {"text": "done"}]);
    let mut world = world(PermissionMode::Review, Tier::Review, steps).await;
    world.start();
    let asked = next_approval(&world, None).await;
    store(&world, &owner(&world), "no-touch", Some(NO_TOUCH)).await;
    decide(&world, &asked, Decision::AllowCall).await;
    let events = world.idle_after(1).await;
    let results = results(&events);
    let refused = |(failed, text): &(bool, String)| *failed && text.contains("Nothing is touched");
    assert!(results.iter().all(refused), "{results:?}");
    assert!(!exists(&world, "made") && !exists(&world, "more"));
    assert_eq!(world.head().await.grants, []);
    finish(world).await;
}

/// A task in the background is over, and the CLI tells the model by itself.
#[tokio::test]
async fn a_change_counts_for_a_turn_that_the_cli_begins_by_itself() {
    let steps = json!([
        {"tool": "Bash", "input": {
            "command": "while [ ! -e go ]; do sleep 0.1; done",
            "description": "d",
            "run_in_background": true
        }},
        {"text": "it runs"},
        bash("touch made"),
        {"text": "done"},
    ]);
    let mut world = world(PermissionMode::Bypass, Tier::Review, steps).await;
    world.start();
    world.idle_after(1).await;
    store(&world, &owner(&world), "no-touch", Some(NO_TOUCH)).await;
    std::fs::write(world.base.path().join("workspace/go"), "").expect("the workspace");
    let events = world.idle_after(2).await;
    assert_eq!(denied(&events).len(), 1, "{:#?}", bodies(&events));
    assert!(!exists(&world, "made"));
    finish(world).await;
}

#[tokio::test]
async fn nothing_runs_where_a_policy_cannot_be_used_until_it_is_put_right() {
    let steps = |name: &str| json!([bash(&format!("touch {name}")), bash("ls"), {"text": "done"}]);
    let mut world = world(PermissionMode::Bypass, Tier::Review, steps("one")).await;
    let (mine, older) = (owner(&world), "permit (principal, action, nobody);");
    world.ports.spoil_policy(&mine, "lost", "it is damaged");
    world.start();
    let events = world.idle_after(1).await;
    let why = denied(&events);
    assert_eq!(why.len(), 2, "{:#?}", bodies(&events));
    let named = why
        .iter()
        .all(|(why, _)| why.contains("owner/lost (it is damaged)"));
    assert!(named, "{why:?}");
    let told = |event: &Event| matches!(&event.body, EventBody::Notice { code, .. } if code == "policies_closed");
    assert!(events.iter().any(told), "{:#?}", bodies(&events));
    // Another version of this program, with another schema, stored it.
    store(&world, &mine, "lost", Some(older)).await;
    world
        .send("m2", testkit::message(&script(steps("two"))))
        .await;
    let events = world.idle_after(2).await;
    let why = denied(&events)[2].0.to_owned();
    assert!(why.contains("owner/lost (line 1, column "), "{why}");
    store(&world, &mine, "lost", None).await;
    world
        .send("m3", testkit::message(&script(steps("three"))))
        .await;
    world.idle_after(3).await;
    assert!(exists(&world, "three") && !exists(&world, "one") && !exists(&world, "two"));
    finish(world).await;
}

#[tokio::test]
async fn nothing_runs_while_what_is_stored_cannot_be_read() {
    let steps = |name: &str| json!([bash(&format!("touch {name}")), {"text": "done"}]);
    let mut world = world(PermissionMode::Bypass, Tier::Review, steps("one")).await;
    // Once is no reason.
    world
        .ports
        .fail_call_of("policy_book", 1, testkit::FaultTime::Before);
    world.start();
    world.idle_after(1).await;
    assert!(exists(&world, "one"));
    world.ports.refuse("policy_book", true);
    world
        .send("m2", testkit::message(&script(steps("two"))))
        .await;
    let events = world.idle_after(2).await;
    let why = denied(&events);
    assert_eq!(why.len(), 1, "{:#?}", bodies(&events));
    assert!(why[0].0.contains("cannot be read at the moment"), "{why:?}");
    world.ports.refuse("policy_book", false);
    world
        .send("m3", testkit::message(&script(steps("three"))))
        .await;
    world.idle_after(3).await;
    assert!(exists(&world, "three") && !exists(&world, "two"));
    finish(world).await;
}
