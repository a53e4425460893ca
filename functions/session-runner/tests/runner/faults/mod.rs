//! The life of a session - a turn, a suspension, a second turn on another machine; a question that
//! waits; a stop - and of a fork, with each call that is made to the store for it failing once, before
//! its effect and after it: whatever that does to a runner, the session comes to the same end, and all
//! that is visible is whole.
//!
//! The runners are the real code in the real sandbox; the CLI is a script that keeps a transcript.
//! `SHANNON_TEST_FAULT="put_new 3 After"` repeats one fault alone.

mod left;
mod life;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use testkit::FaultTime;

use self::left::Left;
use self::life::{Fault, OBJECT, Story, Way, life};

/// Calls of a runner that takes a checkpoint.
const KEEPS: [&str; 3] = ["append", "put_new", "tree"];
/// And of one that goes on from it.
const RESUMES: [&str; 5] = ["acquire", "checkpoint", "get_object", "get_range", OBJECT];
/// Runs at once: most of a run is waiting.
const AT_ONCE: usize = 6;
/// Calls whose number depends on the time: a planned one may not come, but not none of those above.
const BY_TIME: [&str; 4] = ["append", "commands_after", "renew", OBJECT];
/// Of those that ask again and again, so many are spread over the run.
const SPREAD: usize = 5;

/// Runs a life on a thread of its own, which is named after its fault.
fn on_a_thread(
    claude: &Path,
    story: Story,
    fault: Option<Fault>,
) -> std::thread::Result<(Left, Way)> {
    let name = fault
        .as_ref()
        .map_or("undisturbed".to_owned(), Fault::to_string);
    let claude = claude.to_owned();
    let run = move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        runtime.block_on(life(claude, story, fault))
    };
    let thread = std::thread::Builder::new().name(name).spawn(run);
    thread.expect("a thread").join()
}

/// Every call of an undisturbed life, before and after; of those that ask again and again, some. How a
/// runner goes on is asked of the first two stories only.
fn planned(story: Story, calls: &BTreeMap<String, usize>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let resumes = matches!(story, Story::Resumed | Story::Forked);
    let elsewhere = |call: &str| !resumes && [&RESUMES[..], &BY_TIME[1..]].concat().contains(&call);
    for (call, count) in calls.iter().filter(|(call, _)| !elsewhere(call)) {
        let step = if ["commands_after", "renew"].contains(&call.as_str()) {
            count.div_ceil(SPREAD)
        } else {
            1
        };
        for number in (1..=*count).step_by(step.max(1)) {
            for time in [FaultTime::Before, FaultTime::After] {
                faults.push(Fault {
                    call: call.clone(),
                    number,
                    time,
                });
            }
        }
    }
    faults
}

#[test]
fn whatever_call_fails_once_the_session_comes_to_the_same_end() {
    let left = each_fault_alone(Story::Resumed, &[&KEEPS[..], &RESUMES].concat());
    assert_eq!(left.files["log"], "turn 1\nturn 2\n");
    let [conversation] = &left.conversation[..] else {
        panic!("{left:?}")
    };
    assert_eq!(conversation.matches("turn 1, after message one").count(), 1);
    assert_eq!(conversation.matches("turn 2, after message two").count(), 1);
    assert_eq!(left.stream, *conversation);
}

#[test]
fn whatever_call_fails_once_a_fork_comes_to_the_same_end() {
    let left = each_fault_alone(Story::Forked, &[&KEEPS[..], &RESUMES].concat());
    assert_eq!(left.files["log"], "turn 1\nturn 2\n");
    let [of, own] = &left.conversation[..] else {
        panic!("{left:?}")
    };
    assert!(own.starts_with(of) && own.contains("turn 2, after message two"));
    assert_eq!(left.stream, *own);
}

#[test]
fn whatever_call_fails_once_a_question_is_answered_once() {
    let left = each_fault_alone(Story::Asked, &KEEPS);
    assert_eq!(left.files["answers"], "Blue\n");
    assert_eq!(left.files["log"], "turn 1\n");
    let [conversation] = &left.conversation[..] else {
        panic!("{left:?}")
    };
    assert_eq!(conversation.matches(r#""content":"Blue""#).count(), 1);
    assert_eq!(left.stream, *conversation);
}

#[test]
fn whatever_call_fails_once_a_runner_that_is_stopped_leaves_its_question() {
    let left = each_fault_alone(Story::StoppedAsking, &KEEPS);
    assert_eq!(left.files["answers"], "Blue\n");
    assert_eq!(left.stream, left.conversation.concat());
}

#[test]
fn whatever_call_fails_once_a_runner_that_is_stopped_leaves_what_its_tool_did() {
    let left = each_fault_alone(Story::StoppedWorking, &KEEPS);
    assert_eq!(left.files["work"], "begun\nagain\n");
    assert_eq!(left.stream, left.conversation.concat());
}

/// What an undisturbed life leaves, and all the others.
fn each_fault_alone(story: Story, must_be_made: &[&str]) -> Left {
    let directory = tempfile::tempdir().expect("a directory");
    let claude = directory.path().join("claude");
    testkit::executable(&claude, include_str!("cli.sh"));
    let (expected, way) = on_a_thread(&claude, story, None).expect("an undisturbed life");
    let named = std::env::var("SHANNON_TEST_FAULT").ok();
    let must_strike = if named.is_none() { must_be_made } else { &[] };
    let faults = named.map_or_else(
        || planned(story, &way.calls),
        |text| vec![Fault::parse(&text)],
    );
    for call in must_be_made {
        assert!(way.calls.get(*call) > Some(&0), "{call} is not made");
    }
    let waiting = Mutex::new(faults);
    let failed = Mutex::new(Vec::new());
    let struck = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(fault) = waiting.lock().expect("no panic").pop() else {
                        return;
                    };
                    let problem = match on_a_thread(&claude, story, Some(fault.clone())) {
                        Err(_) => "see above".to_owned(),
                        Ok((left, _)) if left != expected => format!("{left:#?}"),
                        Ok((_, way)) if !way.struck && !BY_TIME.contains(&&*fault.call) => {
                            "it did not come".to_owned()
                        }
                        Ok((_, way)) => {
                            if way.struck {
                                struck.lock().expect("no panic").insert(fault.call);
                            }
                            continue;
                        }
                    };
                    let failed = &mut *failed.lock().expect("no panic");
                    failed.push(format!("SHANNON_TEST_FAULT=\"{fault}\": {problem}"));
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(
        failed.is_empty(),
        "not as {expected:#?}, each of these:\n{}",
        failed.join("\n")
    );
    let struck = struck.into_inner().expect("no panic");
    for call in must_strike {
        assert!(
            struck.contains(*call),
            "no fault of {call} came: {struck:?}"
        );
    }
    expected
}
