//! The rules of failed batches, case by case.

use serde_json::json;

use super::super::record::Place;
use super::*;

fn batch(numbers: &[u32]) -> Batch {
    let records = numbers.iter().map(|number| Record {
        place: Place {
            sequence: format!("10{number}"),
            event_id: format!("e{number}"),
        },
        written_at: 1000.0,
        event: json!({ "n": number }),
    });
    Batch::new(records.collect())
}

fn numbers(batch: &Batch) -> Vec<u64> {
    let number = |record: &Record| record.event["n"].as_u64().unwrap();
    batch.records.iter().map(number).collect()
}

fn mapping(retries: Option<u32>, bisect: bool) -> StreamMapping {
    StreamMapping {
        name: "m".to_owned(),
        function: "f".to_owned(),
        function_arn: "arn:f".to_owned(),
        function_version: "$LATEST",
        table: "t".to_owned(),
        stream_arn: "arn:t".to_owned(),
        batch_size: 10,
        window_seconds: 0,
        retries,
        record_age_seconds: None,
        bisect,
        reports_failures: true,
        filters: Vec::new(),
        on_failure: None,
    }
}

#[test]
fn answers_are_read_as_lambda_reads_them() {
    let records = batch(&[1, 2, 3]);
    let read = |text: &str| read_answer(&records, Ok(Bytes::from(text.to_owned())), true);
    for done in [
        "",
        "null",
        "{}",
        r#"{"batchItemFailures":[]}"#,
        r#"{"batchItemFailures":null}"#,
    ] {
        assert_eq!(read(done), Answer::Done, "{done}");
    }
    for failed in [
        "nonsense",
        "[]",
        "3",
        r#"{"failures":[]}"#,
        r#"{"batchItemFailures":{}}"#,
        r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
        r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
        r#"{"batchItemFailures":[{"identifier":"101"}]}"#,
        r#"{"batchItemFailures":[{"itemIdentifier":"102"},{"itemIdentifier":"999"}]}"#,
    ] {
        assert!(matches!(read(failed), Answer::Failed(_)), "{failed}");
    }
    let lowest = r#"{"batchItemFailures":[{"itemIdentifier":"103"},{"itemIdentifier":"102"}]}"#;
    assert_eq!(read(lowest), Answer::FailedFrom(1));
    // Who reports nothing has failed only when it says so.
    let silent = read_answer(&records, Ok(Bytes::from_static(b"nonsense")), false);
    assert_eq!(silent, Answer::Done);
    let error = Err(InvocationError::Failed("Panic".to_owned()));
    assert_eq!(
        read_answer(&records, error, false),
        Answer::Failed("Panic".to_owned())
    );
}

#[test]
fn a_batch_goes_on_at_the_lowest_failure() {
    let next = next(
        batch(&[1, 2, 3]),
        &Answer::FailedFrom(1),
        &mapping(Some(2), true),
        1000.0,
    );
    assert_eq!((next.settled, next.given_up), (1, None));
    assert_eq!(next.again.len(), 1);
    assert_eq!(numbers(&next.again[0]), [2, 3]);
}

#[test]
fn a_failed_batch_is_halved_and_halving_is_no_attempt() {
    let failed = Answer::Failed("x".to_owned());
    let rules = mapping(Some(0), true);
    let halves = next(batch(&[1, 2, 3]), &failed, &rules, 1000.0).again;
    let shown: Vec<_> = halves.iter().map(numbers).collect();
    assert_eq!(shown, [vec![1], vec![2, 3]]);
    assert!(halves.iter().all(|half| half.failures == 0));
    // One record cannot be halved: with no retries it is given up at once.
    let end = next(halves[0].clone(), &failed, &rules, 1000.0);
    assert_eq!((end.settled, end.again.len()), (1, 0));
    assert_eq!(end.given_up, Some("RetryAttemptsExhausted"));
}

#[test]
fn retries_are_counted_and_then_it_is_given_up() {
    let rules = mapping(Some(2), false);
    let failed = Answer::FailedFrom(0);
    let mut current = batch(&[1, 2]);
    for _ in 0..2 {
        let mut step = next(current, &failed, &rules, 1000.0);
        assert_eq!((step.settled, step.given_up), (0, None));
        current = step.again.pop_front().unwrap();
        assert_eq!(numbers(&current), [1, 2]);
    }
    let end = next(current, &failed, &rules, 1000.0);
    assert_eq!((end.settled, end.again.len()), (2, 0));
    assert_eq!(end.given_up, Some("RetryAttemptsExhausted"));
    // Without a bound it never is.
    let mut current = batch(&[1]);
    for _ in 0..100 {
        let mut step = next(current, &failed, &mapping(None, false), 1e12);
        current = step.again.pop_front().unwrap();
    }
}

#[test]
fn records_that_are_too_old_are_given_up_and_younger_ones_are_not() {
    let mut rules = mapping(None, false);
    rules.record_age_seconds = Some(60);
    let mut records = batch(&[1, 2]);
    records.records[1].written_at = 1100.0;
    let step = next(records, &Answer::FailedFrom(0), &rules, 1100.0);
    assert_eq!(step.given_up, Some("RecordAgeExceeded"));
    assert_eq!(step.settled, 1);
    assert_eq!(numbers(&step.again[0]), [2]);
}
