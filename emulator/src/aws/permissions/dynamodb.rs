//! DynamoDB calls as IAM sees them: a transaction is one request for each of its parts, and the
//! partitions are the condition key `dynamodb:LeadingKeys`.
//! Facts: DynamoDB Developer Guide, "Using IAM policy conditions for fine-grained access control" and
//! "DynamoDB API permissions".

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    iam::Request,
    template::{ACCOUNT, REGION, TableResource},
};

const LEADING_KEYS: &str = "dynamodb:LeadingKeys";

/// Name of the partition key, of a table and of its indexes.
#[derive(Default)]
struct Keys {
    table: String,
    indexes: BTreeMap<String, String>,
}

/// The partition keys of the stack's tables.
pub(super) struct Tables(BTreeMap<String, Keys>);

fn hash_key(schema: &Value) -> String {
    let mut keys = schema.as_array().into_iter().flatten();
    keys.find(|key| key["KeyType"] == "HASH")
        .and_then(|key| key["AttributeName"].as_str())
        .unwrap_or_default()
        .to_owned()
}

fn short(table: &str) -> &str {
    table.rsplit_once(":table/").map_or(table, |(_, name)| name)
}

fn arn(table: &str) -> String {
    format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{}", short(table))
}

/// An attribute value as a condition compares it.
fn text(value: &Value) -> Option<String> {
    let typed = value.as_object()?;
    let (_, value) = typed.iter().next().filter(|_| typed.len() == 1)?;
    value.as_str().map(str::to_owned)
}

impl Tables {
    pub(super) fn of(tables: &[TableResource]) -> Self {
        let keys = |table: &TableResource| {
            let request = &table.create_table;
            let indexes = ["GlobalSecondaryIndexes", "LocalSecondaryIndexes"].map(|kind| {
                request[kind].as_array().into_iter().flatten().map(|index| {
                    let name = index["IndexName"].as_str().unwrap_or_default();
                    (name.to_owned(), hash_key(&index["KeySchema"]))
                })
            });
            Keys {
                table: hash_key(&request["KeySchema"]),
                indexes: indexes.into_iter().flatten().collect(),
            }
        };
        let tables = tables.iter().map(|table| (table.name.clone(), keys(table)));
        Self(tables.collect())
    }

    /// What a call asks for. What cannot be read of it is a partition without a name: no condition
    /// that names partitions holds for it.
    pub(super) fn requests(&self, operation: &str, body: &[u8]) -> Vec<Request> {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let table = body["TableName"].as_str().unwrap_or_default();
        match operation {
            "PutItem" => vec![self.keyed("PutItem", table, [&body["Item"]])],
            "GetItem" | "UpdateItem" | "DeleteItem" => {
                vec![self.keyed(operation, table, [&body["Key"]])]
            }
            "Query" => vec![self.query(table, &body)],
            "BatchGetItem" => parts(&body["RequestItems"])
                .map(|(table, part)| {
                    let keys = part["Keys"].as_array();
                    self.keyed("BatchGetItem", table, keys.into_iter().flatten())
                })
                .collect(),
            "BatchWriteItem" => parts(&body["RequestItems"])
                .map(|(table, part)| {
                    let writes = part.as_array().into_iter().flatten();
                    let items = writes.map(|write| match &write["PutRequest"] {
                        Value::Null => &write["DeleteRequest"]["Key"],
                        put => &put["Item"],
                    });
                    self.keyed("BatchWriteItem", table, items)
                })
                .collect(),
            "TransactGetItems" | "TransactWriteItems" => self.transaction(&body["TransactItems"]),
            "ExecuteStatement" | "BatchExecuteStatement" | "ExecuteTransaction" => {
                // Which rows a statement is about is not looked for: no role of ours uses any.
                ["Select", "Insert", "Update", "Delete"]
                    .map(|verb| Request::new(&format!("dynamodb:PartiQL{verb}"), arn("*")))
                    .to_vec()
            }
            other => {
                let on = ["StreamArn", "ResourceArn"]
                    .into_iter()
                    .find_map(|name| body[name].as_str().map(str::to_owned));
                let resource = on.unwrap_or_else(|| match (table, body["IndexName"].as_str()) {
                    ("", _) => "*".to_owned(),
                    (table, None) => arn(table),
                    (table, Some(index)) => format!("{}/index/{index}", arn(table)),
                });
                vec![Request::new(&format!("dynamodb:{other}"), resource)]
            }
        }
    }

    fn transaction(&self, items: &Value) -> Vec<Request> {
        let mut requests = Vec::new();
        for (kind, part) in items.as_array().into_iter().flatten().flat_map(parts) {
            let (action, item) = match kind {
                "Put" => ("PutItem", &part["Item"]),
                "Get" => ("GetItem", &part["Key"]),
                "Update" => ("UpdateItem", &part["Key"]),
                "Delete" => ("DeleteItem", &part["Key"]),
                _ => ("ConditionCheckItem", &part["Key"]),
            };
            let table = part["TableName"].as_str().unwrap_or_default();
            requests.push(self.keyed(action, table, [item]));
        }
        requests
    }

    /// A call on rows: each of `items` has the attributes of its key.
    fn keyed<'item>(
        &self,
        action: &str,
        table: &str,
        items: impl IntoIterator<Item = &'item Value>,
    ) -> Request {
        let partition = self.0.get(short(table)).map(|keys| keys.table.as_str());
        let keys = items.into_iter().map(|item| {
            let key = partition.and_then(|name| text(&item[name]));
            key.unwrap_or_default()
        });
        Request::new(&format!("dynamodb:{action}"), arn(table)).with(LEADING_KEYS, keys)
    }

    fn query(&self, table: &str, body: &Value) -> Request {
        let keys = self.0.get(short(table));
        let (partition, resource) = match body["IndexName"].as_str() {
            None => (keys.map(|keys| &keys.table), arn(table)),
            Some(index) => (
                keys.and_then(|keys| keys.indexes.get(index)),
                format!("{}/index/{index}", arn(table)),
            ),
        };
        let key = partition.and_then(|name| queried(body, name));
        Request::new("dynamodb:Query", resource).with(LEADING_KEYS, [key.unwrap_or_default()])
    }
}

fn parts(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let entries = value.as_object().into_iter().flat_map(Map::iter);
    entries.map(|(name, part)| (name.as_str(), part))
}

/// The partition that a query names: `name = :value` somewhere in its key condition.
fn queried(body: &Value, partition: &str) -> Option<String> {
    if let Some(old) = body["KeyConditions"].get(partition) {
        return text(old["AttributeValueList"].get(0)?);
    }
    let condition = body["KeyConditionExpression"].as_str()?;
    let spaced = condition.replace('=', " = ").replace(['(', ')'], " ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let named = |word: &str| {
        let name = body["ExpressionAttributeNames"][word].as_str();
        name.unwrap_or(word) == partition
    };
    let value = words.windows(3).find_map(|part| match part {
        [name, "=", value] if named(name) => Some(*value),
        [value, "=", name] if named(name) => Some(*value),
        _ => None,
    })?;
    text(&body["ExpressionAttributeValues"][value])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tables() -> Tables {
        Tables::of(&[TableResource {
            name: "t".to_owned(),
            create_table: json!({
                "KeySchema": [
                    {"AttributeName": "sk", "KeyType": "RANGE"},
                    {"AttributeName": "pk", "KeyType": "HASH"},
                ],
                "GlobalSecondaryIndexes": [{
                    "IndexName": "i",
                    "KeySchema": [{"AttributeName": "owner", "KeyType": "HASH"}],
                }],
            }),
            ttl_attribute: None,
            point_in_time_recovery: false,
        }])
    }

    /// `<action> <end of the resource> <partitions>` of each request.
    fn seen(operation: &str, body: &Value) -> Vec<String> {
        let requests = tables().requests(operation, body.to_string().as_bytes());
        let line = |request: &Request| {
            let action = request.action.trim_start_matches("dynamodb:");
            let resource = request.resource.rsplit(':').next().unwrap_or_default();
            let context = serde_json::to_value(&request.context).expect("plain data");
            let keys = context["dynamodb:leadingkeys"].as_array();
            let keys = keys.map(|keys| {
                let keys: Vec<_> = keys.iter().filter_map(Value::as_str).collect();
                keys.join(",")
            });
            format!(
                "{action} {resource} {}",
                keys.unwrap_or_else(|| "-".to_owned())
            )
        };
        requests.iter().map(line).collect()
    }

    #[test]
    fn every_call_is_seen_with_its_partitions() {
        let key = json!({"pk": {"S": "p"}, "sk": {"S": "s"}});
        let on = |part: Value| {
            let mut part = part;
            part["TableName"] = json!("t");
            part
        };
        let values = json!({":p": {"S": "p"}, ":n": {"N": "7"}});
        for (operation, body, expected) in [
            (
                "GetItem",
                on(json!({"Key": key})),
                vec!["GetItem table/t p"],
            ),
            (
                "PutItem",
                on(json!({"Item": {"pk": {"N": "7"}}})),
                vec!["PutItem table/t 7"],
            ),
            (
                "UpdateItem",
                on(json!({"Key": {"sk": {"S": "s"}}})),
                vec!["UpdateItem table/t "],
            ),
            (
                "DeleteItem",
                json!({"TableName": "x", "Key": key}),
                vec!["DeleteItem table/x "],
            ),
            ("Scan", on(json!({})), vec!["Scan table/t -"]),
            (
                "Scan",
                on(json!({"IndexName": "i"})),
                vec!["Scan table/t/index/i -"],
            ),
            (
                "Query",
                on(json!({
                    "KeyConditionExpression": "#p = :p AND sk BETWEEN :n AND :n",
                    "ExpressionAttributeNames": {"#p": "pk"}, "ExpressionAttributeValues": values,
                })),
                vec!["Query table/t p"],
            ),
            (
                "Query",
                on(json!({
                    "KeyConditionExpression": "sk<:n AND (:p=pk)",
                    "ExpressionAttributeValues": values,
                })),
                vec!["Query table/t p"],
            ),
            (
                "Query",
                on(json!({
                    "KeyConditionExpression": "sk = :p", "ExpressionAttributeValues": values,
                })),
                vec!["Query table/t "],
            ),
            (
                "Query",
                on(json!({
                    "IndexName": "i", "KeyConditionExpression": "owner = :p",
                    "ExpressionAttributeValues": values,
                })),
                vec!["Query table/t/index/i p"],
            ),
            (
                "Query",
                on(json!({"KeyConditions": {"pk": {
                    "ComparisonOperator": "EQ", "AttributeValueList": [{"S": "p"}],
                }}})),
                vec!["Query table/t p"],
            ),
            (
                "BatchGetItem",
                json!({"RequestItems": {"t": {"Keys": [key, {"pk": {"S": "q"}}]}}}),
                vec!["BatchGetItem table/t p,q"],
            ),
            (
                "BatchWriteItem",
                json!({"RequestItems": {"t": [
                    {"PutRequest": {"Item": key}}, {"DeleteRequest": {"Key": {"pk": {"S": "q"}}}},
                ]}}),
                vec!["BatchWriteItem table/t p,q"],
            ),
            (
                "TransactWriteItems",
                json!({"TransactItems": [
                    {"Put": on(json!({"Item": key}))},
                    {"Update": on(json!({"Key": {"pk": {"S": "q"}}}))},
                    {"Delete": on(json!({"Key": key}))},
                    {"ConditionCheck": on(json!({"Key": key}))},
                ]}),
                vec![
                    "PutItem table/t p",
                    "UpdateItem table/t q",
                    "DeleteItem table/t p",
                    "ConditionCheckItem table/t p",
                ],
            ),
            (
                "TransactGetItems",
                json!({"TransactItems": [{"Get": on(json!({"Key": key}))}]}),
                vec!["GetItem table/t p"],
            ),
            (
                "DescribeTable",
                on(json!({})),
                vec!["DescribeTable table/t -"],
            ),
            (
                "DescribeContinuousBackups",
                on(json!({})),
                vec!["DescribeContinuousBackups table/t -"],
            ),
            ("ListTables", json!({}), vec!["ListTables * -"]),
            (
                "ExecuteStatement",
                json!({"Statement": "SELECT * FROM t"}),
                vec![
                    "PartiQLSelect table/* -",
                    "PartiQLInsert table/* -",
                    "PartiQLUpdate table/* -",
                    "PartiQLDelete table/* -",
                ],
            ),
        ] {
            assert_eq!(seen(operation, &body), expected, "{operation} {body}");
        }
    }
}
