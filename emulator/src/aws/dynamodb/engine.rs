//! The engine: `dynoxide-rs`, called in process through its typed interface.

use std::{
    path::Path,
    sync::{PoisonError, RwLock},
};

use dynoxide::{
    Database, DynoxideError,
    actions::{get_records::GetRecordsRequest, get_shard_iterator::GetShardIteratorRequest},
    streams,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Answer, DocumentDatabase, OpenError, places::Places};
use crate::{
    aws::streams::Place,
    encryption::{StateKey, database},
};

pub(super) struct Dynoxide {
    database: Database,
    /// How far the stream was delivered, in the same file. Written only while no operation runs:
    /// the engine's connection never finds the file locked.
    places: RwLock<Places>,
}

impl Dynoxide {
    pub(super) fn open(file: Option<&Path>, key: Option<&StateKey>) -> Result<Self, OpenError> {
        // What is only in memory is not encrypted.
        let key = file.and(key);
        let path = match file {
            // Memory that two connections of this process share, under a name of its own.
            None => format!(
                "file:emulator-{}?mode=memory&cache=shared",
                uuid::Uuid::new_v4().simple()
            ),
            Some(path) => path
                .to_str()
                .ok_or_else(|| OpenError::Engine(format!("{} is not UTF-8", path.display())))?
                .to_owned(),
        };
        // The keyed connection comes first: it says what is wrong without showing the other's name.
        if file.is_some_and(Path::exists) {
            database::open(Path::new(&path), key)
                .map_err(|error| OpenError::Engine(error.to_string()))?;
        }
        let name = database::name_with_key(&path, key);
        let failed =
            |error: DynoxideError| OpenError::Engine(error.to_string().replace(&name, &path));
        let database = Database::new(&name).map_err(failed)?;
        let places =
            Places::open(&path, key).map_err(|error| OpenError::Engine(error.to_string()))?;
        Ok(Self {
            database,
            places: RwLock::new(places),
        })
    }

    fn read_records(
        &self,
        table: &str,
        after: Option<&str>,
        limit: usize,
    ) -> dynoxide::Result<Vec<dynoxide::actions::get_records::Record>> {
        let kind = after.map_or("TRIM_HORIZON", |_| "AFTER_SEQUENCE_NUMBER");
        let iterator = self.database.get_shard_iterator(GetShardIteratorRequest {
            stream_arn: streams::stream_arn(table, "any"),
            shard_id: streams::shard_id(table),
            shard_iterator_type: kind.to_owned(),
            sequence_number: after.map(str::to_owned),
        })?;
        let answer = self.database.get_records(GetRecordsRequest {
            shard_iterator: iterator.shard_iterator.unwrap_or_default(),
            limit: Some(limit),
        })?;
        Ok(answer.records)
    }
}

impl DocumentDatabase for Dynoxide {
    fn execute(&self, operation: &str, body: &[u8]) -> Answer {
        let database = &self.database;
        let _running = self.places.read().unwrap_or_else(PoisonError::into_inner);
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
        let _running = self.places.read().unwrap_or_else(PoisonError::into_inner);
        self.database.sweep_ttl().map_err(|error| error.to_string())
    }

    fn records(&self, table: &str, after: Option<&str>, most: usize) -> Result<Vec<Value>, String> {
        let _running = self.places.read().unwrap_or_else(PoisonError::into_inner);
        let records = self.read_records(table, after, most);
        let records = records.map_err(|error| error.to_string())?;
        let values = records.iter().map(serde_json::to_value);
        values
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())
    }

    fn begin(&self, mappings: &[(String, String)]) -> Result<Vec<Option<Place>>, String> {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        places.begin(mappings).map_err(|error| error.to_string())
    }

    fn settle(&self, mapping: &str, table: &str, place: &Place) -> Result<(), String> {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        places
            .settle(mapping, table, place)
            .map_err(|error| error.to_string())
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
        let engine = Dynoxide::open(None, None).unwrap();
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
