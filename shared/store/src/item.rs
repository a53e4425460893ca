//! Rows as the SDK knows them, written and read by name with the kinds of value we use.

use std::collections::HashMap;

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use domain::UnixMillis;
use thiserror::Error;

use crate::keys::{EXPIRES_AT, Key};

/// A stored row that this version cannot read: a defect or a newer version wrote it. Retrying does
/// not help.
#[derive(Debug, Error)]
pub(crate) enum UnreadableRow {
    /// An attribute is missing or of another kind.
    #[error("attribute {0} is missing or has the wrong type")]
    Attribute(&'static str),
    /// An attribute does not say what it should.
    #[error("attribute {0} does not follow its rule")]
    Rule(&'static str),
    /// JSON of another shape.
    #[error("attribute {name} does not have the stored shape")]
    Json {
        /// Which attribute.
        name: &'static str,
        /// What the reader found.
        #[source]
        source: serde_json::Error,
    },
    /// A batch that does not decompress.
    #[error("a batch of events does not decompress")]
    Compression(#[source] std::io::Error),
}

/// A number as DynamoDB takes it.
pub(crate) fn number(value: impl std::fmt::Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A text as DynamoDB takes it.
pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A set of texts (at least one) as DynamoDB takes it.
pub(crate) fn texts(values: impl IntoIterator<Item = String>) -> AttributeValue {
    AttributeValue::Ss(values.into_iter().collect())
}

/// Bytes as DynamoDB takes them.
pub(crate) fn bytes(value: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

/// The TTL attribute for a row that is gone after `time`; whole seconds, rounded up.
pub(crate) fn expiry(time: UnixMillis) -> AttributeValue {
    number(time.0.div_ceil(1000))
}

/// A row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row(pub(crate) HashMap<String, AttributeValue>);

impl Row {
    /// A row that only has its key.
    pub(crate) fn at(key: &Key) -> Self {
        Self(key.attributes())
    }

    /// Adds an attribute.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: AttributeValue) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    /// Adds an attribute when there is a value.
    #[must_use]
    pub(crate) fn with_some(self, name: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The TTL sweep may not have come yet, but the row counts as gone.
    pub(crate) fn expired(&self, now: UnixMillis) -> Result<bool, UnreadableRow> {
        Ok(self
            .number_if(EXPIRES_AT)?
            .is_some_and(|seconds| seconds.saturating_mul(1000) <= now.0))
    }

    pub(crate) fn text(&self, name: &'static str) -> Result<&str, UnreadableRow> {
        self.text_if(name)?.ok_or(UnreadableRow::Attribute(name))
    }

    pub(crate) fn text_if(&self, name: &'static str) -> Result<Option<&str>, UnreadableRow> {
        match self.0.get(name) {
            None => Ok(None),
            Some(AttributeValue::S(text)) => Ok(Some(text)),
            Some(_) => Err(UnreadableRow::Attribute(name)),
        }
    }

    pub(crate) fn number(&self, name: &'static str) -> Result<u64, UnreadableRow> {
        self.number_if(name)?.ok_or(UnreadableRow::Attribute(name))
    }

    pub(crate) fn number_if(&self, name: &'static str) -> Result<Option<u64>, UnreadableRow> {
        match self.0.get(name) {
            None => Ok(None),
            Some(AttributeValue::N(digits)) => digits
                .parse()
                .map(Some)
                .map_err(|_| UnreadableRow::Rule(name)),
            Some(_) => Err(UnreadableRow::Attribute(name)),
        }
    }

    pub(crate) fn fraction(&self, name: &'static str) -> Result<f64, UnreadableRow> {
        match self.0.get(name) {
            Some(AttributeValue::N(digits)) => {
                digits.parse().map_err(|_| UnreadableRow::Rule(name))
            }
            _ => Err(UnreadableRow::Attribute(name)),
        }
    }

    /// The texts of a set; none when the attribute is missing.
    pub(crate) fn texts(&self, name: &'static str) -> Result<&[String], UnreadableRow> {
        match self.0.get(name) {
            None => Ok(&[]),
            Some(AttributeValue::Ss(texts)) => Ok(texts),
            Some(_) => Err(UnreadableRow::Attribute(name)),
        }
    }

    pub(crate) fn bytes(&self, name: &'static str) -> Result<&[u8], UnreadableRow> {
        self.bytes_if(name)?.ok_or(UnreadableRow::Attribute(name))
    }

    pub(crate) fn bytes_if(&self, name: &'static str) -> Result<Option<&[u8]>, UnreadableRow> {
        match self.0.get(name) {
            None => Ok(None),
            Some(AttributeValue::B(blob)) => Ok(Some(blob.as_ref())),
            Some(_) => Err(UnreadableRow::Attribute(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_which_attribute_is_wrong() {
        let row = Row::default().with("a", text("x")).with("n", text("1"));
        assert_eq!(row.text("a").expect("there"), "x");
        assert!(matches!(
            row.number("n"),
            Err(UnreadableRow::Attribute("n"))
        ));
        assert!(matches!(row.text("b"), Err(UnreadableRow::Attribute("b"))));
        let row = Row::default().with("n", number("x"));
        assert!(matches!(row.number("n"), Err(UnreadableRow::Rule("n"))));
    }

    #[test]
    fn an_expired_row_is_gone_before_the_sweep() {
        let row = Row::default().with(EXPIRES_AT, expiry(UnixMillis(1_500)));
        assert!(!row.expired(UnixMillis(1_999)).expect("readable"));
        assert!(row.expired(UnixMillis(2_000)).expect("readable"));
        assert!(
            !Row::default()
                .expired(UnixMillis(u64::MAX))
                .expect("readable")
        );
    }
}
