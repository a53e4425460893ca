//! Every call kind that could reach a row or an object.

use aws_sdk_dynamodb::types::{
    ConditionCheck, Delete, DeleteRequest, Get, KeysAndAttributes, Put, TransactGetItem,
    TransactWriteItem, Update, WriteRequest,
};

use super::{BUCKET, TABLE, code, key, text};

/// Every call kind on a partition, by name, with what came of it.
pub(super) async fn rows(
    client: &aws_sdk_dynamodb::Client,
    partition: &str,
) -> Vec<(&'static str, String)> {
    let at = || Some(key(partition));
    let transact = async |part: TransactWriteItem| {
        let request = client.transact_write_items().transact_items(part);
        code(request.send().await)
    };
    let write = TransactWriteItem::builder;
    let check = ConditionCheck::builder()
        .table_name(TABLE)
        .set_key(at())
        .condition_expression("attribute_exists(pk)");
    let update = Update::builder()
        .table_name(TABLE)
        .set_key(at())
        .update_expression("SET x = :x")
        .expression_attribute_values(":x", text("x"));
    let put = Put::builder().table_name(TABLE).set_item(at());
    let delete = Delete::builder().table_name(TABLE).set_key(at());
    let get = Get::builder().table_name(TABLE).set_key(at());
    let keys = KeysAndAttributes::builder().keys(key(partition));
    let removal = DeleteRequest::builder().set_key(at()).build().unwrap();
    let removal = WriteRequest::builder().delete_request(removal).build();
    vec![
        (
            "GetItem",
            code(
                client
                    .get_item()
                    .table_name(TABLE)
                    .set_key(at())
                    .send()
                    .await,
            ),
        ),
        (
            "Query",
            code(
                client
                    .query()
                    .table_name(TABLE)
                    .key_condition_expression("pk = :pk")
                    .expression_attribute_values(":pk", text(partition))
                    .send()
                    .await,
            ),
        ),
        (
            "PutItem",
            code(
                client
                    .put_item()
                    .table_name(TABLE)
                    .set_item(at())
                    .send()
                    .await,
            ),
        ),
        (
            "UpdateItem",
            code(
                client
                    .update_item()
                    .table_name(TABLE)
                    .set_key(at())
                    .update_expression("SET x = :x")
                    .expression_attribute_values(":x", text("x"))
                    .send()
                    .await,
            ),
        ),
        (
            "DeleteItem",
            code(
                client
                    .delete_item()
                    .table_name(TABLE)
                    .set_key(at())
                    .send()
                    .await,
            ),
        ),
        (
            "BatchGetItem",
            code(
                client
                    .batch_get_item()
                    .request_items(TABLE, keys.build().unwrap())
                    .send()
                    .await,
            ),
        ),
        (
            "BatchWriteItem",
            code(
                client
                    .batch_write_item()
                    .request_items(TABLE, vec![removal])
                    .send()
                    .await,
            ),
        ),
        (
            "TransactGetItems",
            code(
                client
                    .transact_get_items()
                    .transact_items(TransactGetItem::builder().get(get.build().unwrap()).build())
                    .send()
                    .await,
            ),
        ),
        (
            "transacted Put",
            transact(write().put(put.build().unwrap()).build()).await,
        ),
        (
            "transacted Update",
            transact(write().update(update.build().unwrap()).build()).await,
        ),
        (
            "transacted Delete",
            transact(write().delete(delete.build().unwrap()).build()).await,
        ),
        (
            "transacted ConditionCheck",
            transact(write().condition_check(check.build().unwrap()).build()).await,
        ),
        (
            "ExecuteStatement",
            code(
                client
                    .execute_statement()
                    .statement(format!(
                        "SELECT * FROM \"{TABLE}\" WHERE pk = '{partition}'"
                    ))
                    .send()
                    .await,
            ),
        ),
    ]
}

/// Every call kind on an object.
pub(super) async fn object(client: &aws_sdk_s3::Client, name: &str) -> Vec<(&'static str, String)> {
    let prefix = name.rsplit_once('/').map_or(name, |(prefix, _)| prefix);
    let own = "me/ses_root/packs/mine";
    let source = format!("{BUCKET}/{name}");
    vec![
        (
            "GetObject",
            code(client.get_object().bucket(BUCKET).key(name).send().await),
        ),
        ("HeadObject", {
            // It has no body that could name the reason.
            let head = client.head_object().bucket(BUCKET).key(name).send().await;
            let status = head
                .err()
                .and_then(|it| it.raw_response().map(|it| it.status().as_u16()));
            status.map_or(String::new(), |status| format!("status {status}"))
        }),
        (
            "PutObject",
            code(client.put_object().bucket(BUCKET).key(name).send().await),
        ),
        (
            "DeleteObject",
            code(client.delete_object().bucket(BUCKET).key(name).send().await),
        ),
        (
            "a version",
            code(
                client
                    .get_object()
                    .bucket(BUCKET)
                    .key(name)
                    .version_id("v")
                    .send()
                    .await,
            ),
        ),
        (
            "copy from it",
            code(
                client
                    .copy_object()
                    .bucket(BUCKET)
                    .key(own)
                    .copy_source(&source)
                    .send()
                    .await,
            ),
        ),
        (
            "CreateMultipartUpload",
            code(
                client
                    .create_multipart_upload()
                    .bucket(BUCKET)
                    .key(name)
                    .send()
                    .await,
            ),
        ),
        (
            "ListObjects",
            code(
                client
                    .list_objects_v2()
                    .bucket(BUCKET)
                    .prefix(format!("{prefix}/"))
                    .send()
                    .await,
            ),
        ),
        (
            "ListObjectVersions",
            code(
                client
                    .list_object_versions()
                    .bucket(BUCKET)
                    .prefix(name)
                    .send()
                    .await,
            ),
        ),
    ]
}
