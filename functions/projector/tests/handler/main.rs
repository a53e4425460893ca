//! The handler with the sample events and a fake world.

use std::path::Path;

use domain::audit::AuditChain;
use domain::ports::{AuditTrail, NoticeMessage, SessionDirectory, Webhook};
use domain::{OwnerId, State};
use projector::{Answer, Event, Failure, handle};
use serde_json::{Value, json};
use testkit::{Fake, FaultTime};

fn sample(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../events")
        .join(format!("{name}.json"));
    let text = std::fs::read_to_string(path).expect("a sample event");
    serde_json::from_str(&text).expect("JSON")
}

fn event(value: Value) -> Event {
    serde_json::from_value(value).expect("an event")
}

/// Records of samples in one event, each with a sequence number of its own.
fn joined(names: &[&str]) -> Value {
    let records = names.iter().enumerate().map(|(index, name)| {
        let mut record = sample(name)["Records"][0].clone();
        record["dynamodb"]["SequenceNumber"] = sequence(index).into();
        record
    });
    json!({ "Records": records.collect::<Vec<_>>() })
}

fn sequence(index: usize) -> String {
    format!("10000000000000000000{index}")
}

fn failed(indexes: &[usize]) -> Answer {
    let failure = |index: &usize| Failure {
        item_identifier: sequence(*index),
    };
    Answer {
        batch_item_failures: indexes.iter().map(failure).collect(),
    }
}

/// Puts another session into a record.
fn of_session(record: &mut Value, session: &str) {
    let old = record["dynamodb"]["NewImage"]["tree"]["S"].clone();
    let old = old.as_str().expect("a session").to_owned();
    let text = record.to_string().replace(&old, session);
    *record = serde_json::from_str(&text).expect("JSON");
}

async fn told(value: Value) -> (Answer, Vec<NoticeMessage>) {
    let fake = Fake::new(1);
    let answer = handle(&fake, &fake, &fake, event(value)).await;
    (answer.expect("an answer"), fake.published())
}

fn kinds(messages: &[NoticeMessage]) -> Vec<&'static str> {
    messages.iter().map(|it| it.notice.kind.as_str()).collect()
}

#[tokio::test]
async fn each_sample_is_one_notice() {
    for (name, kind, state) in [
        ("projector", "session.finished", State::Cancelled),
        ("projector-failed", "session.failed", State::Failed),
        (
            "projector-question",
            "session.question_asked",
            State::Waiting,
        ),
        (
            "projector-approval",
            "session.approval_needed",
            State::Waiting,
        ),
        ("projector-turn", "session.turn_finished", State::Idle),
        ("projector-budget", "session.budget_reached", State::Idle),
    ] {
        let (answer, messages) = told(sample(name)).await;
        assert_eq!(answer, Answer::default(), "{name}");
        assert_eq!(kinds(&messages), [kind], "{name}");
        let message = &messages[0];
        assert_eq!(message.notice.state, state);
        let body: Value = serde_json::from_str(&message.body).expect("JSON");
        let mut expected = json!({
            "type": kind,
            "data": {
                "id": message.notice.id,
                "session_id": "ses_6qzp4x7ra2mhw3kdtn5cbyev2f",
                "title": "Write a haiku about queues",
                "state": state.as_str(),
            },
        });
        if let Some(question) = &message.notice.question {
            expected["data"]["question_id"] = question.as_str().into();
        }
        let updated = &sample(name)["Records"][0]["dynamodb"]["NewImage"]["updated_at"]["N"];
        let updated: u64 = updated
            .as_str()
            .expect("a number")
            .parse()
            .expect("a number");
        expected["timestamp"] = protocol::rfc3339(domain::UnixMillis(updated)).into();
        // Nothing else: no reason, no input, nothing that was said.
        assert_eq!(body, expected, "{name}");
    }
}

#[tokio::test]
async fn the_same_change_has_the_same_id_and_another_has_another() {
    let mut ids = Vec::new();
    for name in [
        "projector",
        "projector-failed",
        "projector-question",
        "projector-approval",
        "projector-turn",
        "projector-budget",
    ] {
        let (_, first) = told(sample(name)).await;
        let (_, again) = told(sample(name)).await;
        assert_eq!(first, again, "{name}");
        ids.push(first[0].notice.id.clone());
    }
    let mut other = sample("projector");
    of_session(&mut other["Records"][0], "ses_aaaaaaaaaaaaaaaaaaaaaaaaaa");
    ids.push(told(other).await.1[0].notice.id.clone());
    let mut distinct = ids.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    assert!(ids.iter().all(|id| id.len() == 30), "{ids:?}");
}

#[tokio::test]
async fn what_did_not_happen_just_now_is_not_told() {
    // Renewals of the lease while it waits.
    let mut renewed = sample("projector-question");
    let change = &mut renewed["Records"][0]["dynamodb"];
    change["OldImage"] = change["NewImage"].clone();
    // It had ended before.
    let mut ended = sample("projector");
    ended["Records"][0]["dynamodb"]["OldImage"]["state"] = json!({"S": "completed"});
    // Rows that are no heads, and heads that are new or gone.
    let mut usage = sample("projector");
    usage["Records"][0]["dynamodb"]["Keys"]["sk"] = json!({"S": "usage"});
    let mut created = sample("projector");
    created["Records"][0]["dynamodb"]["OldImage"] = Value::Null;
    for quiet in [renewed, ended, usage, created, json!({"Records": []})] {
        let (answer, messages) = told(quiet.clone()).await;
        assert_eq!((answer, messages), (Answer::default(), vec![]), "{quiet}");
    }
    // One question after another, in one change, is a question.
    let mut next = sample("projector-question");
    let change = &mut next["Records"][0]["dynamodb"];
    change["OldImage"] = change["NewImage"].clone();
    let asked = change["NewImage"]["question"]["S"].as_str().expect("text");
    let asked = asked.replace("que_h2", "que_xx");
    change["NewImage"]["question"]["S"] = asked.into();
    assert_eq!(kinds(&told(next).await.1), ["session.question_asked"]);
}

#[tokio::test]
async fn of_equal_notices_about_a_session_the_newest_is_told() {
    let mut value = joined(&["projector-question", "projector-turn", "projector-question"]);
    let newest = &mut value["Records"][2]["dynamodb"]["NewImage"]["question"]["S"];
    let asked = newest.as_str().expect("text").replace("que_h2", "que_xx");
    *newest = asked.into();
    let (_, messages) = told(value).await;
    assert_eq!(
        kinds(&messages),
        ["session.turn_finished", "session.question_asked"]
    );
    let question = messages[1].notice.question.as_ref().expect("asked");
    assert!(question.as_str().starts_with("que_xx"), "{question}");
}

fn webhook(fake: &Fake) -> Webhook {
    let owner = &sample("projector")["Records"][0]["dynamodb"]["NewImage"]["owner_key"]["S"];
    let owner = OwnerId::parse(owner.as_str().expect("an owner")).expect("an owner");
    let webhook = Webhook {
        url: "https://example.com/hook".to_owned(),
        secret: vec![1; 32],
    };
    fake.set_webhook(&owner, webhook.clone());
    webhook
}

#[tokio::test]
async fn an_owner_with_a_webhook_is_told_there_too() {
    let fake = Fake::new(1);
    let url = webhook(&fake).url;
    let answer = handle(&fake, &fake, &fake, event(sample("projector"))).await;
    assert_eq!(answer, Ok(Answer::default()));
    let expected: Vec<_> = fake
        .published()
        .into_iter()
        .map(|it| (url.clone(), it))
        .collect();
    assert_eq!(expected.len(), 1);
    assert_eq!(fake.posted(), expected);
}

/// Each port call fails once, before and after its effect: the record comes again, and then everybody
/// has heard everything, each thing under one id.
#[tokio::test]
async fn whatever_fails_is_named_and_told_the_next_time() {
    let names = ["projector-turn", "projector"];
    for time in [FaultTime::Before, FaultTime::After] {
        for n in 1..=6 {
            let (fake, audit) = (Fake::new(1), Fake::new(2));
            webhook(&fake);
            fake.fail_call(n, time);
            let first = handle(&fake, &fake, &audit, event(joined(&names))).await;
            // The topic hears of both, then the webhook: two calls for each, none behind a failure.
            let expected = match n {
                1 => failed(&[0]),
                3 | 4 => failed(&[0, 1]),
                _ => failed(&[1]),
            };
            assert_eq!(first, Ok(expected), "{n} {time:?}");
            let again = handle(&fake, &fake, &audit, event(joined(&names))).await;
            assert_eq!(again, Ok(Answer::default()), "{n} {time:?}");
            for heard in [
                fake.published(),
                fake.posted().into_iter().map(|(_, it)| it).collect(),
            ] {
                let mut ids: Vec<_> = heard.iter().map(|it| &it.notice.id).collect();
                ids.sort();
                ids.dedup();
                assert_eq!(ids.len(), 2, "{n} {time:?}");
            }
        }
    }
}

#[tokio::test]
async fn one_session_that_cannot_be_told_does_not_keep_others_from_hearing() {
    let fake = Fake::new(1);
    let mut value = joined(&["projector", "projector-turn", "projector"]);
    for index in [1, 2] {
        of_session(
            &mut value["Records"][index],
            "ses_aaaaaaaaaaaaaaaaaaaaaaaaaa",
        );
    }
    let unreadable = &mut value["Records"][0]["dynamodb"]["NewImage"];
    unreadable["title"] = Value::Null;
    let answer = handle(&fake, &fake, &fake, event(value)).await;
    assert_eq!(answer, Ok(failed(&[0])));
    assert_eq!(
        kinds(&fake.published()),
        ["session.turn_finished", "session.finished"]
    );
}

#[tokio::test]
async fn the_answer_is_what_lambda_reads() {
    let answer = serde_json::to_value(failed(&[1])).expect("JSON");
    let expected = json!({"batchItemFailures": [{"itemIdentifier": sequence(1)}]});
    assert_eq!(answer, expected);
    let fake = Fake::new(1);
    for other in [
        json!({}),
        json!([]),
        json!({"Records": 3}),
        sample("reconciler-sweep"),
    ] {
        let refused = handle(&fake, &fake, &fake, event(other)).await;
        assert_eq!(refused.expect_err("unknown").kind, "UnknownEvent");
    }
}

#[tokio::test]
async fn what_the_log_says_is_in_the_audit_once_however_often_the_record_comes() {
    let fake = Fake::new(1);
    let new = testkit::new_session(&fake, &testkit::owner("somebody"));
    let head = fake.create(new).await.expect("created").head;
    let mut record = sample("projector")["Records"][0].clone();
    let keys = record["dynamodb"]["Keys"]["pk"]["S"].clone();
    let (owner, session) = keys
        .as_str()
        .and_then(|it| it.split_once('#'))
        .expect("a key");
    let text = record.to_string();
    let text = text.replace(owner, head.key.owner.as_str());
    let text = text.replace(session, head.key.session.as_str());
    record = serde_json::from_str(&text).expect("JSON");
    let value = json!({ "Records": [record] });

    // Not while the chain cannot be written.
    fake.fail_call_of("record", 1, FaultTime::Before);
    let answer = handle(&fake, &fake, &fake, event(value.clone())).await;
    assert_eq!(answer.expect("an answer").batch_item_failures.len(), 1);
    for time in [FaultTime::After, FaultTime::After] {
        // Its answer is lost: it comes again, and there is one entry.
        fake.fail_call_of("record", 1, time);
        let answer = handle(&fake, &fake, &fake, event(value.clone())).await;
        answer.expect("an answer");
    }
    fake.no_more_faults();
    let answer = handle(&fake, &fake, &fake, event(value)).await;
    assert_eq!(answer.expect("an answer"), Answer::default());
    let chain = AuditChain::Owner(head.key.owner.clone());
    let entries = fake.entries(&chain, 0, 10).await.expect("read");
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].subject.session(), Some(&head.key.session));
}
