//! The engine: `dynoxide-rs`, called in process through its typed interface.

use std::path::Path;

use dynoxide::{Database, DynoxideError};
use serde::{Serialize, de::DeserializeOwned};

use super::{Answer, DocumentDatabase, OpenError};

pub(super) struct Dynoxide(Database);

impl Dynoxide {
    pub(super) fn open(file: Option<&Path>) -> Result<Self, OpenError> {
        let database = match file {
            None => Database::memory(),
            Some(path) => {
                let text = path
                    .to_str()
                    .ok_or_else(|| OpenError::Engine(format!("{} is not UTF-8", path.display())))?;
                Database::new(text)
            }
        };
        database
            .map(Self)
            .map_err(|error| OpenError::Engine(error.to_string()))
    }
}

impl DocumentDatabase for Dynoxide {
    fn execute(&self, operation: &str, body: &[u8]) -> Answer {
        let database = &self.0;
        macro_rules! operations {
            ($($name:literal => $method:ident,)*) => {
                match operation {
                    $($name => run(body, |request| database.$method(request)),)*
                    _ => Answer::error(
                        400,
                        "UnknownOperationException",
                        &format!("the emulator does not know the operation {operation}"),
                    ),
                }
            };
        }
        operations! {
            "CreateTable" => create_table,
            "DeleteTable" => delete_table,
            "DescribeTable" => describe_table,
            "ListTables" => list_tables,
            "UpdateTable" => update_table,
            "PutItem" => put_item,
            "GetItem" => get_item,
            "DeleteItem" => delete_item,
            "UpdateItem" => update_item,
            "Query" => query,
            "Scan" => scan,
            "BatchGetItem" => batch_get_item,
            "BatchWriteItem" => batch_write_item,
            "TransactWriteItems" => transact_write_items,
            "TransactGetItems" => transact_get_items,
            "ListStreams" => list_streams,
            "DescribeStream" => describe_stream,
            "GetShardIterator" => get_shard_iterator,
            "GetRecords" => get_records,
            "UpdateTimeToLive" => update_time_to_live,
            "DescribeTimeToLive" => describe_time_to_live,
            "ExecuteStatement" => execute_statement,
            "ExecuteTransaction" => execute_transaction,
            "BatchExecuteStatement" => batch_execute_statement,
            "TagResource" => tag_resource,
            "UntagResource" => untag_resource,
            "ListTagsOfResource" => list_tags_of_resource,
        }
    }

    fn sweep(&self) -> Result<usize, String> {
        self.0.sweep_ttl().map_err(|error| error.to_string())
    }
}

fn run<Q: DeserializeOwned, R: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Q) -> dynoxide::Result<R>,
) -> Answer {
    let request = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => return refused(&error.to_string()),
    };
    match operation(request) {
        Ok(answer) => match serde_json::to_string(&answer) {
            Ok(body) => Answer { status: 200, body },
            Err(error) => Answer::error(500, "InternalServerError", &error.to_string()),
        },
        Err(error) => failed(&error),
    }
}

fn failed(error: &DynoxideError) -> Answer {
    if error.status_code() >= 500 {
        tracing::error!(%error, "DynamoDB engine failed");
    }
    Answer {
        status: error.status_code(),
        body: error.to_json(),
    }
}

/// A request that cannot be read. The engine's readers put the class of the refusal, in capitals,
/// before the message, and serde its position behind.
fn refused(message: &str) -> Answer {
    let (class, rest) = match message.split_once(':') {
        Some((class, rest))
            if !class.is_empty()
                && class
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_') =>
        {
            (class, rest)
        }
        _ => ("", message),
    };
    let text = rest
        .rsplit_once(" at line ")
        .map_or(rest, |(text, _)| text)
        .to_owned();
    let missing = ["missing field", "unknown variant", "invalid type: null"];
    let validation = class.starts_with("VALIDATION")
        || rest.contains("AttributeValue")
        || (class.is_empty() && missing.iter().any(|it| text.contains(it)));
    failed(&if validation {
        DynoxideError::ValidationException(text)
    } else {
        DynoxideError::SerializationException(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_request_shows_no_marker() {
        let engine = Dynoxide::open(None).unwrap();
        for body in [
            "{",
            r#"{"TableName":"t","Item":{"a":{}}}"#,
            r#"{"TableName":"t","Item":{"a":{"S":"x","N":"1"}}}"#,
            r#"{"TableName":"t","Item":{"a":{"S":1}}}"#,
            "{}",
        ] {
            let answer = engine.execute("PutItem", body.as_bytes());
            assert_eq!(answer.status, 400, "{body}: {}", answer.body);
            assert!(answer.body.contains("Exception"), "{body}: {}", answer.body);
            assert!(
                !answer.body.contains("VALIDATION") && !answer.body.contains("SERIALIZATION"),
                "{body}: {}",
                answer.body
            );
        }
    }
}
