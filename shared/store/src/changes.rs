//! Changes of heads as the table's stream tells them. Whoever reads a stream gets rows in the JSON of
//! DynamoDB, without the SDK.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::Head;
use serde_json::Value;
use thiserror::Error;

use crate::{
    head,
    item::{Row, UnreadableRow},
};

/// A change that this version cannot read. Reading it again gives the same.
#[derive(Debug, Error)]
#[error("a change of a session cannot be read")]
pub struct UnreadableChange(#[source] UnreadableRow);

/// A head before and after a change.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadChange {
    /// Before.
    pub old: Head,
    /// After.
    pub new: Head,
}

/// Reads the member `dynamodb` of a record of the stream. `None` when it is no change of a head: the
/// row is another one, is new, or is gone.
///
/// # Errors
/// [`UnreadableChange`] when an image does not have what every head has.
pub fn head_change(record: &Value) -> Result<Option<HeadChange>, UnreadableChange> {
    if record["Keys"]["sk"]["S"] != "head" {
        return Ok(None);
    }
    let image = |name: &str| record[name].as_object().map(row);
    let (Some(old), Some(new)) = (image("OldImage"), image("NewImage")) else {
        return Ok(None);
    };
    let read = |row: &Row| head::read(row).map_err(UnreadableChange);
    Ok(Some(HeadChange {
        old: read(&old)?,
        new: read(&new)?,
    }))
}

/// Texts and numbers; a head has nothing else.
fn row(image: &serde_json::Map<String, Value>) -> Row {
    let attribute = |value: &Value| {
        let text = |kind: &str| value[kind].as_str().map(ToOwned::to_owned);
        text("S")
            .map(AttributeValue::S)
            .or_else(|| text("N").map(AttributeValue::N))
    };
    let read = |(name, value): (&String, &Value)| Some((name.clone(), attribute(value)?));
    Row(image.iter().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use domain::{State, ports::NewSession};
    use serde_json::json;

    use super::*;

    fn image(head: &Head) -> Value {
        let row = head::write(head).expect("a row");
        let attributes = row.0.into_iter().map(|(name, value)| {
            let value = match value {
                AttributeValue::S(text) => json!({ "S": text }),
                AttributeValue::N(number) => json!({ "N": number }),
                other => panic!("a head has no {other:?}"),
            };
            (name, value)
        });
        Value::Object(attributes.collect())
    }

    fn some_head() -> Head {
        let fake = testkit::Fake::new(7);
        let new: NewSession = testkit::new_session(&fake, &testkit::owner("somebody"));
        crate::create::first_head(&new)
    }

    #[test]
    fn a_head_is_read_from_a_record_as_from_the_table() {
        let old = some_head();
        let mut new = old.clone();
        new.state = State::Running;
        new.total_cost_usd = 0.25;
        let keys = json!({"pk": {"S": "x"}, "sk": {"S": "head"}});
        let record = json!({"Keys": keys, "OldImage": image(&old), "NewImage": image(&new)});
        let change = head_change(&record).expect("readable");
        assert_eq!(change, Some(HeadChange { old, new }));
    }

    #[test]
    fn other_rows_creations_and_deletions_are_no_change_of_a_head() {
        let head = image(&some_head());
        for record in [
            json!({}),
            json!({"Keys": {"sk": {"S": "usage"}}, "OldImage": {}, "NewImage": {}}),
            json!({"Keys": {"sk": {"S": "head"}}, "NewImage": head}),
            json!({"Keys": {"sk": {"S": "head"}}, "OldImage": head}),
        ] {
            assert_eq!(head_change(&record).expect("readable"), None, "{record}");
        }
        let record = json!({"Keys": {"sk": {"S": "head"}}, "OldImage": head, "NewImage": {}});
        assert!(head_change(&record).is_err());
    }
}
