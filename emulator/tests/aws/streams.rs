//! What a function is told about a table, in which order, and what becomes of records it fails on; and
//! the topic it publishes to.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use emulator::invoker::InvocationError;
use serde_json::{Value, json};

use crate::{
    harness::{Aws, TABLE, Wanted, code, eventually},
    plain_http,
};

const FAILURES: &str = "arn:aws:sqs:us-east-1:000000000000:test-failures";
const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:test-topic";

fn key(pk: &str) -> HashMap<String, AttributeValue> {
    ["pk", "sk"]
        .into_iter()
        .map(|name| (name.to_owned(), AttributeValue::S(pk.to_owned())))
        .collect()
}

async fn put(aws: &Aws, pk: &str, n: u32) {
    let put = aws.dynamodb().put_item().table_name(TABLE);
    let put = put.set_item(Some(key(pk)));
    let put = put.item("n", AttributeValue::N(n.to_string()));
    put.send().await.unwrap();
}

/// Invocations so far: of each the records as `pk` and new `n`.
fn invocations(aws: &Aws) -> Vec<Vec<String>> {
    let shown = |record: &Value| {
        let change = &record["dynamodb"];
        let pk = change["Keys"]["pk"]["S"].as_str().unwrap();
        format!("{pk} {}", change["NewImage"]["n"]["N"].as_str().unwrap())
    };
    aws.functions
        .events()
        .iter()
        .filter(|(function, _)| function == "projector")
        .map(|(_, event)| {
            let records = event["Records"].as_array().unwrap();
            records.iter().map(shown).collect()
        })
        .collect()
}

/// Waits until a record with this `n` was handed over.
async fn delivered(aws: &Aws, pk: &str, n: u32) {
    let n = n.to_string();
    let is_it = |record: &Value| {
        record["dynamodb"]["Keys"]["pk"]["S"] == pk && record["dynamodb"]["NewImage"]["n"]["N"] == n
    };
    let has = |event: &Value| {
        let records = event["Records"].as_array();
        records.is_some_and(|records| records.iter().any(is_it))
    };
    aws.functions.wait_for("record", has).await;
}

fn failed(sequence: &Value) -> Value {
    json!({"batchItemFailures": [{"itemIdentifier": sequence}]})
}

#[tokio::test]
async fn changes_come_in_order_with_both_images() {
    let aws = Aws::start().await;
    put(&aws, "other", 1).await;
    put(&aws, "watched", 1).await;
    put(&aws, "watched", 2).await;
    let client = aws.dynamodb();
    let update = client.update_item().table_name(TABLE);
    let update = update.set_key(Some(key("watched")));
    let update = update.update_expression("SET n = :n");
    let update = update.expression_attribute_values(":n", AttributeValue::N("3".to_owned()));
    update.send().await.unwrap();
    let mut four = key("watched");
    four.insert("n".to_owned(), AttributeValue::N("4".to_owned()));
    let write = Put::builder().table_name(TABLE).set_item(Some(four));
    let write = TransactWriteItem::builder()
        .put(write.build().unwrap())
        .build();
    let write = client.transact_write_items().transact_items(write);
    write.send().await.unwrap();
    // The same again changes nothing, and no record says that it did.
    let delete = || client.delete_item().table_name(TABLE);
    for _ in 0..2 {
        let delete = delete().set_key(Some(key("watched")));
        delete.send().await.unwrap();
    }
    let removed = |event: &Value| {
        let records = event["Records"].as_array();
        records.is_some_and(|all| all.iter().any(|record| record["eventName"] == "REMOVE"))
    };
    aws.functions.wait_for("removal", removed).await;
    let records: Vec<Value> = aws
        .functions
        .events()
        .into_iter()
        .flat_map(|(_, event)| event["Records"].as_array().unwrap().clone())
        .collect();
    let told: Vec<_> = records
        .iter()
        .map(|record| {
            let image = |name: &str| record["dynamodb"][name]["n"]["N"].as_str();
            let name = record["eventName"].as_str().unwrap();
            (name, image("OldImage"), image("NewImage"))
        })
        .collect();
    assert_eq!(
        told,
        [
            ("INSERT", None, Some("1")),
            ("MODIFY", Some("1"), Some("2")),
            ("MODIFY", Some("2"), Some("3")),
            ("MODIFY", Some("3"), Some("4")),
            ("REMOVE", Some("4"), None),
        ]
    );
    let sequences: Vec<_> = records
        .iter()
        .map(|record| record["dynamodb"]["SequenceNumber"].as_str().unwrap())
        .collect();
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
    let first = &records[0];
    assert_eq!(first["eventSource"], "aws:dynamodb");
    assert_eq!(first["awsRegion"], "us-east-1");
    assert_eq!(
        first["dynamodb"]["Keys"],
        json!({"pk": {"S": "watched"}, "sk": {"S": "watched"}})
    );
    assert_eq!(first["dynamodb"]["StreamViewType"], "NEW_AND_OLD_IMAGES");
    let arn = first["eventSourceARN"].as_str().unwrap();
    assert!(
        arn.starts_with("arn:aws:dynamodb:us-east-1:000000000000:table/test-table/stream/"),
        "{arn}"
    );
}

#[tokio::test]
async fn an_expired_item_is_removed_by_the_service() {
    let aws = Aws::start().await;
    let past = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let past = (past.as_secs() - 100).to_string();
    let put = aws.dynamodb().put_item().table_name(TABLE);
    let put = put.set_item(Some(key("watched")));
    let put = put.item("expires_at", AttributeValue::N(past));
    put.send().await.unwrap();
    let removed = |event: &Value| event["Records"][0]["eventName"] == "REMOVE";
    let event = aws.functions.wait_for("removal", removed).await;
    let identity = &event["Records"][0]["userIdentity"];
    assert_eq!(identity["type"], "Service");
    assert_eq!(identity["principalId"], "dynamodb.amazonaws.com");
}

#[tokio::test]
async fn what_was_not_taken_comes_again_after_a_restart_and_nothing_else_does() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = || Wanted {
        state: Some(directory.path()),
        parameters: &[("BatchSize", "1")],
        ..Wanted::default()
    };
    let aws = Aws::with(wanted()).await.unwrap();
    put(&aws, "watched", 1).await;
    delivered(&aws, "watched", 1).await;
    put(&aws, "watched", 2).await;
    // The second comes only after the first was remembered as taken.
    delivered(&aws, "watched", 2).await;
    aws.functions.answer(false);
    for n in 3..=4 {
        put(&aws, "watched", n).await;
    }
    delivered(&aws, "watched", 3).await;
    aws.running.shutdown().await;

    let aws = Aws::with(wanted()).await.unwrap();
    delivered(&aws, "watched", 4).await;
    let again = invocations(&aws);
    assert_eq!(again.last().unwrap(), &["watched 4"]);
    assert!(again.contains(&vec!["watched 3".to_owned()]), "{again:?}");
    assert!(!again.contains(&vec!["watched 1".to_owned()]), "{again:?}");
}

/// Sequence numbers of the records of the first invocation.
fn sequences(aws: &Aws) -> Vec<Value> {
    let (_, event) = aws.functions.events().remove(0);
    let records = event["Records"].as_array().unwrap().iter();
    records
        .map(|record| record["dynamodb"]["SequenceNumber"].clone())
        .collect()
}

/// A mapping whose first batch is exactly these records, held until the test lets it go.
async fn held(size: &str, count: u32) -> Aws {
    let wanted = Wanted {
        parameters: &[("Window", "300"), ("BatchSize", size)],
        ..Wanted::default()
    };
    let aws = Aws::with(wanted).await.unwrap();
    aws.functions.answer(false);
    for n in 1..=count {
        put(&aws, "watched", n).await;
    }
    delivered(&aws, "watched", count).await;
    aws
}

#[tokio::test]
async fn a_batch_goes_on_at_the_failure_that_the_function_names() {
    let aws = held("3", 3).await;
    let sequence = &sequences(&aws)[1];
    aws.functions.will_answer(Ok(failed(sequence)));
    aws.functions.answer(true);
    eventually("the rest", || async { invocations(&aws).len() == 2 }).await;
    let all = invocations(&aws);
    assert_eq!(all[0], ["watched 1", "watched 2", "watched 3"]);
    assert_eq!(all[1], ["watched 2", "watched 3"]);
    assert_eq!(aws.messages().await, []);
}

#[tokio::test]
async fn one_bad_record_is_found_given_up_and_told() {
    let aws = held("2", 2).await;
    // The pair fails, then its first half as often as the mapping permits; the second does not.
    for _ in 0..3 {
        let panic = InvocationError::Failed("Panic".to_owned());
        aws.functions.will_answer(Err(panic));
    }
    aws.functions.answer(true);
    eventually("the second half", || async {
        invocations(&aws)
            .last()
            .is_some_and(|last| last == &["watched 2"])
    })
    .await;
    let expected: [&[&str]; 4] = [
        &["watched 1", "watched 2"],
        &["watched 1"],
        &["watched 1"],
        &["watched 2"],
    ];
    assert_eq!(invocations(&aws), expected);
    let messages = aws.messages().await;
    assert_eq!(messages.len(), 1, "{messages:?}");
    let (destination, told) = &messages[0];
    assert_eq!(destination, FAILURES);
    assert_eq!(
        told["requestContext"]["condition"],
        "RetryAttemptsExhausted"
    );
    assert_eq!(told["responseContext"]["functionError"], "Unhandled");
    let lost = &told["DDBStreamBatchInfo"];
    assert_eq!(lost["batchSize"], 1);
    let bad = &sequences(&aws)[0];
    assert_eq!(&lost["startSequenceNumber"], bad);
    assert_eq!(&lost["endSequenceNumber"], bad);
    assert!(!told.to_string().contains("watched"), "{told}");
    // And it goes on.
    for n in 3..=4 {
        put(&aws, "watched", n).await;
    }
    delivered(&aws, "watched", 4).await;
}

#[tokio::test]
async fn records_are_gathered_for_as_long_as_the_mapping_says() {
    let wanted = Wanted {
        parameters: &[("Window", "300"), ("BatchSize", "3")],
        ..Wanted::default()
    };
    let aws = Aws::with(wanted).await.unwrap();
    for n in 1..=3 {
        put(&aws, "watched", n).await;
    }
    delivered(&aws, "watched", 3).await;
    assert_eq!(
        invocations(&aws),
        [["watched 1", "watched 2", "watched 3"]],
        "full before its time"
    );
}

#[tokio::test]
async fn what_nobody_wants_does_not_pile_up() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = Wanted {
        state: Some(directory.path()),
        ..Wanted::default()
    };
    let aws = Aws::with(wanted).await.unwrap();
    for n in 0..450 {
        put(&aws, "other", n).await;
    }
    put(&aws, "watched", 1).await;
    delivered(&aws, "watched", 1).await;
    put(&aws, "watched", 2).await;
    delivered(&aws, "watched", 2).await;
    let file = directory.path().join("dynamodb.sqlite");
    let kept = || async {
        let connection = rusqlite::Connection::open(&file).unwrap();
        let count = "SELECT COUNT(*) FROM _stream_records";
        let count: u32 = connection.query_row(count, [], |row| row.get(0)).unwrap();
        count <= 2
    };
    eventually("old records gone", kept).await;
}

#[tokio::test]
async fn a_stream_can_be_added_to_a_table_that_was_kept() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = |view: &'static [(&'static str, &'static str)]| Wanted {
        state: Some(directory.path()),
        parameters: view,
        ..Wanted::default()
    };
    let without = &[("Streams", "off")];
    let aws = Aws::with(wanted(without)).await.unwrap();
    put(&aws, "watched", 1).await;
    aws.running.shutdown().await;
    let aws = Aws::with(wanted(&[])).await.unwrap();
    put(&aws, "watched", 2).await;
    delivered(&aws, "watched", 2).await;
    assert_eq!(invocations(&aws), [["watched 2"]]);
}

#[tokio::test]
async fn what_is_published_can_be_seen() {
    let aws = Aws::start().await;
    let message = json!({"kind": "é<&"}).to_string();
    let published = aws.sns().publish().topic_arn(TOPIC).message(&message);
    let published = published.send().await.unwrap();
    assert!(published.message_id().is_some_and(|id| id.len() == 36));
    let seen = aws.messages().await;
    assert_eq!(seen, [(TOPIC.to_owned(), json!({"kind": "é<&"}))]);

    let nowhere = aws.sns().publish().topic_arn(format!("{TOPIC}x"));
    let refused = nowhere.message("m").send().await.unwrap_err();
    assert_eq!(code(&refused), "NotFound");
    let queue = aws.sns().publish().topic_arn(FAILURES).message("m");
    assert_eq!(code(&queue.send().await.unwrap_err()), "NotFound");
    let empty = aws.sns().publish().topic_arn(TOPIC).message("");
    assert_eq!(code(&empty.send().await.unwrap_err()), "InvalidParameter");
    aws.fault("sns", "Publish", "InternalError", 1).await;
    let failing = aws.sns().publish().topic_arn(TOPIC).message("m");
    assert_eq!(code(&failing.send().await.unwrap_err()), "InternalError");

    // A form that nobody signed is refused, and so is whoever wants to read without the token.
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!("Action=Publish&TopicArn={TOPIC}&Message=m");
    let unsigned = plain_http::send("POST", aws.running.url(), &form, body).await;
    assert_eq!(unsigned.status, 403, "{}", unsigned.text);
    let messages = format!("{}/_emulator/messages", aws.running.url());
    assert_eq!(plain_http::get(&messages).await.status, 401);
    assert_eq!(aws.messages().await.len(), 1);
}
