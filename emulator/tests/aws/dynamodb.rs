//! DynamoDB through the SDK: what the engine has to do for us, the tables of the template, and a hostile
//! expression.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update,
};

use crate::harness::{Aws, TABLE, Wanted, code, eventually};

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn item(pk: &str, sk: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))])
}

async fn put(client: &aws_sdk_dynamodb::Client, pk: &str, sk: &str) {
    client
        .put_item()
        .table_name(TABLE)
        .set_item(Some(item(pk, sk)))
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn conditions_and_their_items_come_back() {
    let aws = Aws::start().await;
    let client = aws.dynamodb();
    let create = client
        .put_item()
        .table_name(TABLE)
        .set_item(Some(item("a", "1")))
        .item("fence", number(7))
        .condition_expression("attribute_not_exists(pk)")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    create.clone().send().await.unwrap();
    let refused = create.send().await.unwrap_err().into_service_error();
    let aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(
        refused,
    ) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.item().unwrap()["fence"], number(7));
    let missing = client
        .get_item()
        .table_name("no-table")
        .set_key(Some(item("a", "1")));
    let missing = missing.send().await.unwrap_err();
    assert!(
        missing
            .as_service_error()
            .unwrap()
            .is_resource_not_found_exception()
    );
}

#[tokio::test]
async fn a_transaction_happens_whole_or_not_at_all_and_only_once() {
    let aws = Aws::start().await;
    let client = aws.dynamodb();
    put(&client, "head", "0").await;
    let append = |token: &str, expected: u64| {
        let update = Update::builder()
            .table_name(TABLE)
            .set_key(Some(item("head", "0")))
            .update_expression("SET #n = :next ADD appended :one")
            .condition_expression("attribute_not_exists(#n) OR #n = :expected")
            .expression_attribute_names("#n", "next")
            .expression_attribute_values(":next", number(expected + 1))
            .expression_attribute_values(":expected", number(expected))
            .expression_attribute_values(":one", number(1))
            .build()
            .unwrap();
        let put = Put::builder()
            .table_name(TABLE)
            .set_item(Some(item("log", &format!("{expected:04}"))))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .unwrap();
        client
            .transact_write_items()
            .client_request_token(token)
            .transact_items(TransactWriteItem::builder().update(update).build())
            .transact_items(TransactWriteItem::builder().put(put).build())
            .send()
    };
    append("first", 0).await.unwrap();
    // The same token again: the recorded outcome, not a second time.
    append("first", 0).await.unwrap();
    append("second", 1).await.unwrap();
    let refused = append("third", 1).await.unwrap_err().into_service_error();
    let aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(cancelled) = refused else {
        panic!("{refused:?}");
    };
    let codes: Vec<_> = cancelled
        .cancellation_reasons()
        .iter()
        .map(|it| it.code())
        .collect();
    assert_eq!(
        codes,
        [
            Some("ConditionalCheckFailed"),
            Some("ConditionalCheckFailed")
        ]
    );
    let head = client
        .get_item()
        .table_name(TABLE)
        .set_key(Some(item("head", "0")));
    let head = head.consistent_read(true).send().await.unwrap();
    assert_eq!(head.item().unwrap()["appended"], number(2));
    let log = client
        .query()
        .table_name(TABLE)
        .key_condition_expression("pk = :pk AND sk > :after")
        .expression_attribute_values(":pk", text("log"))
        .expression_attribute_values(":after", text("0000"))
        .send()
        .await
        .unwrap();
    assert_eq!((log.count(), &log.items()[0]["sk"]), (1, &text("0001")));
}

#[tokio::test]
async fn of_many_writers_with_one_condition_one_wins() {
    let aws = Aws::start().await;
    let writers: Vec<_> = (0..20)
        .map(|number| {
            let client = aws.dynamodb();
            tokio::spawn(async move {
                let check = ConditionCheck::builder()
                    .table_name(TABLE)
                    .set_key(Some(item("other", "x")))
                    .condition_expression("attribute_not_exists(pk)")
                    .build()
                    .unwrap();
                let put = Put::builder()
                    .table_name(TABLE)
                    .set_item(Some(item("lease", "x")))
                    .item("holder", self::number(number))
                    .condition_expression("attribute_not_exists(pk)")
                    .build()
                    .unwrap();
                client
                    .transact_write_items()
                    .transact_items(TransactWriteItem::builder().condition_check(check).build())
                    .transact_items(TransactWriteItem::builder().put(put).build())
                    .send()
                    .await
                    .is_ok()
            })
        })
        .collect();
    let mut winners = 0;
    for writer in writers {
        winners += usize::from(writer.await.unwrap());
    }
    assert_eq!(winners, 1);
}

#[tokio::test]
async fn indexes_hold_only_what_has_their_key() {
    let aws = Aws::start().await;
    let client = aws.dynamodb();
    put(&client, "a", "1").await;
    let owned = client
        .put_item()
        .table_name(TABLE)
        .set_item(Some(item("b", "1")));
    owned.item("owner", text("me")).send().await.unwrap();
    let find = || {
        client
            .query()
            .table_name(TABLE)
            .index_name("by_owner")
            .key_condition_expression("#o = :o")
            .expression_attribute_names("#o", "owner")
            .expression_attribute_values(":o", text("me"))
            .send()
    };
    assert_eq!(find().await.unwrap().items()[0]["pk"], text("b"));
    let clear = client
        .update_item()
        .table_name(TABLE)
        .set_key(Some(item("b", "1")));
    let clear = clear
        .update_expression("REMOVE #o")
        .expression_attribute_names("#o", "owner");
    clear.send().await.unwrap();
    assert_eq!(find().await.unwrap().count(), 0);
}

#[tokio::test]
async fn expired_items_go_away() {
    let aws = Aws::start().await;
    let client = aws.dynamodb();
    let write = |sk: &str, expires: u64| {
        let put = client
            .put_item()
            .table_name(TABLE)
            .set_item(Some(item("ttl", sk)));
        put.item("expires_at", number(expires)).send()
    };
    write("old", 1_700_000_000).await.unwrap();
    write("new", 4_000_000_000).await.unwrap();
    eventually("the deletion of an expired item", || async {
        let left = client
            .query()
            .table_name(TABLE)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text("ttl"))
            .send()
            .await
            .unwrap();
        left.count() == 1 && left.items()[0]["sk"] == text("new")
    })
    .await;
}

#[tokio::test]
async fn tables_stay_and_a_changed_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = |parameters| Wanted {
        state: Some(directory.path()),
        parameters,
        ..Wanted::default()
    };
    let aws = Aws::with(wanted(&[])).await.unwrap();
    put(&aws.dynamodb(), "a", "1").await;
    aws.running.shutdown().await;
    let aws = Aws::with(wanted(&[])).await.unwrap();
    let got = aws
        .dynamodb()
        .get_item()
        .table_name(TABLE)
        .set_key(Some(item("a", "1")));
    assert!(got.send().await.unwrap().item().is_some());
    aws.running.shutdown().await;
    let refused = Aws::with(wanted(&[("KeyType", "N")]))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        refused.contains(TABLE) && refused.contains("pk:S,sk:S"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_deeply_nested_expression_does_not_end_the_emulator() {
    let aws = Aws::start().await;
    let client = aws.dynamodb();
    put(&client, "a", "1").await;
    for depth in [100, 2000, 100_000] {
        let expression = format!("{}pk = :x{}", "(".repeat(depth), ")".repeat(depth));
        let query = client
            .scan()
            .table_name(TABLE)
            .filter_expression(expression)
            .expression_attribute_values(":x", text("a"));
        let refused = query.send().await;
        if depth > 2000 {
            assert_eq!(code(&refused.unwrap_err()), "ValidationException");
        }
    }
    let mut value = text("bottom");
    for _ in 0..2000 {
        value = AttributeValue::L(vec![value]);
    }
    let deep = client
        .put_item()
        .table_name(TABLE)
        .set_item(Some(item("a", "2")));
    let refused = deep.item("deep", value).send().await.unwrap_err();
    assert!(refused.as_service_error().is_some(), "{refused:?}");
    put(&client, "a", "3").await;
}

#[tokio::test]
async fn throttling_and_a_full_disk_can_be_injected() {
    let aws = Aws::start().await;
    let client = aws.dynamodb();
    aws.fault("dynamodb", "TransactWriteItems", "ThrottlingException", 1)
        .await;
    aws.fault("dynamodb", "*", "ProvisionedThroughputExceededException", 1)
        .await;
    aws.fault("dynamodb", "PutItem", "DiskFull", 1).await;
    let delete = Delete::builder()
        .table_name(TABLE)
        .set_key(Some(item("a", "1")))
        .build()
        .unwrap();
    let transaction = client
        .transact_write_items()
        .transact_items(TransactWriteItem::builder().delete(delete).build());
    assert_eq!(
        code(&transaction.clone().send().await.unwrap_err()),
        "ThrottlingException"
    );
    let get = client
        .get_item()
        .table_name(TABLE)
        .set_key(Some(item("a", "1")));
    let refused = get.clone().send().await.unwrap_err();
    assert!(
        refused
            .as_service_error()
            .unwrap()
            .is_provisioned_throughput_exceeded_exception()
    );
    let write = client
        .put_item()
        .table_name(TABLE)
        .set_item(Some(item("a", "1")));
    let refused = write.clone().send().await.unwrap_err();
    assert!(
        refused
            .as_service_error()
            .unwrap()
            .is_internal_server_error()
    );
    transaction.send().await.unwrap();
    get.send().await.unwrap();
    write.send().await.unwrap();
}
