//! The template's tables: made at the first start, kept afterwards. What DynamoDB cannot change about a
//! table, this refuses to change silently.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Answer, DocumentService, OpenError};
use crate::template::TableResource;

/// Makes the table if it is not there, checks it if it is, and sets its time to live. Repeating does
/// nothing.
pub(super) async fn ensure(
    service: &DocumentService,
    wanted: &TableResource,
) -> Result<(), OpenError> {
    let name = &wanted.name;
    let described = call(service, "DescribeTable", &json!({ "TableName": name })).await;
    if described.succeeded() {
        let table: Value = serde_json::from_str(&described.body)
            .map_err(|error| OpenError::Engine(error.to_string()))?;
        compare(wanted, &table["Table"])?;
        stream(service, wanted, &table["Table"]).await?;
    } else if described.body.contains("ResourceNotFoundException") {
        expect(
            name,
            call(service, "CreateTable", &wanted.create_table).await,
        )?;
    } else {
        return Err(refused(name, described.body));
    }
    let Some(attribute) = &wanted.ttl_attribute else {
        return Ok(());
    };
    let described = call(service, "DescribeTimeToLive", &json!({ "TableName": name })).await;
    let enabled = serde_json::from_str::<Value>(&described.body).is_ok_and(|answer| {
        let description = &answer["TimeToLiveDescription"];
        description["TimeToLiveStatus"] == "ENABLED"
            && description["AttributeName"] == json!(attribute)
    });
    if enabled {
        return Ok(());
    }
    let request = json!({
        "TableName": name,
        "TimeToLiveSpecification": { "AttributeName": attribute, "Enabled": true },
    });
    expect(name, call(service, "UpdateTimeToLive", &request).await)
}

/// Makes the stream of a table that was kept what the template wants. Another kind of image is another
/// stream.
async fn stream(
    service: &DocumentService,
    wanted: &TableResource,
    kept: &Value,
) -> Result<(), OpenError> {
    let off = json!({ "StreamEnabled": false });
    let wanted_stream = match &wanted.create_table["StreamSpecification"] {
        Value::Null => &off,
        stream => stream,
    };
    let kept_stream = &kept["StreamSpecification"];
    let is_on = |stream: &Value| stream["StreamEnabled"] == true;
    if is_on(wanted_stream) == is_on(kept_stream)
        && (!is_on(kept_stream) || kept_stream["StreamViewType"] == wanted_stream["StreamViewType"])
    {
        return Ok(());
    }
    let name = &wanted.name;
    let update = |stream: &Value| json!({ "TableName": name, "StreamSpecification": stream });
    if is_on(kept_stream) {
        expect(name, call(service, "UpdateTable", &update(&off)).await)?;
    }
    if is_on(wanted_stream) {
        let request = update(wanted_stream);
        expect(name, call(service, "UpdateTable", &request).await)?;
    }
    Ok(())
}

async fn call(service: &DocumentService, operation: &str, request: &Value) -> Answer {
    service
        .threads
        .execute(operation, Bytes::from(request.to_string()))
        .await
}

fn expect(table: &str, answer: Answer) -> Result<(), OpenError> {
    if answer.succeeded() {
        Ok(())
    } else {
        Err(refused(table, answer.body))
    }
}

fn refused(table: &str, answer: String) -> OpenError {
    OpenError::Table {
        table: table.to_owned(),
        answer,
    }
}

fn compare(wanted: &TableResource, kept: &Value) -> Result<(), OpenError> {
    let request = &wanted.create_table;
    let changed = |what, kept: String, wanted_value: String| OpenError::Changed {
        table: wanted.name.clone(),
        what,
        kept,
        wanted: wanted_value,
    };
    let (kept_keys, wanted_keys) = (keys(kept, kept), keys(request, request));
    if kept_keys != wanted_keys {
        return Err(changed("the key", kept_keys, wanted_keys));
    }
    for kind in ["GlobalSecondaryIndexes", "LocalSecondaryIndexes"] {
        let (kept_indexes, wanted_indexes) = (indexes(kept, kind), indexes(request, kind));
        if kept_indexes != wanted_indexes {
            return Err(changed(
                "the indexes",
                kept_indexes.join(" "),
                wanted_indexes.join(" "),
            ));
        }
    }
    Ok(())
}

/// `pk:S,sk:S`: the key of a table or index with the types that the table gives its attributes.
fn keys(table: &Value, holder: &Value) -> String {
    let type_of = |name: &Value| {
        table["AttributeDefinitions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|definition| definition["AttributeName"] == *name)
            .and_then(|definition| definition["AttributeType"].as_str())
            .unwrap_or("?")
            .to_owned()
    };
    let mut parts: Vec<_> = holder["KeySchema"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|part| {
            let name = &part["AttributeName"];
            let text = name.as_str().unwrap_or("?");
            (
                part["KeyType"] != "HASH",
                format!("{text}:{}", type_of(name)),
            )
        })
        .collect();
    parts.sort();
    parts
        .into_iter()
        .map(|(_, part)| part)
        .collect::<Vec<_>>()
        .join(",")
}

fn indexes(table: &Value, kind: &str) -> Vec<String> {
    let mut found: Vec<_> = table[kind]
        .as_array()
        .into_iter()
        .flatten()
        .map(|index| {
            format!(
                "{}({})/{}",
                index["IndexName"].as_str().unwrap_or("?"),
                keys(table, index),
                index["Projection"]["ProjectionType"]
                    .as_str()
                    .unwrap_or("ALL"),
            )
        })
        .collect();
    found.sort();
    found
}
