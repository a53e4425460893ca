//! One conditional write of one row. Names and values reach DynamoDB as expression attributes,
//! never as part of an expression's text.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem, Update,
};

use crate::{
    item::Row,
    keys::{Key, PARTITION},
};

/// What a write does to which row.
pub(crate) enum Action {
    /// Replace it.
    Put(Row),
    /// Change it.
    Update(Key),
    /// Remove it.
    Delete(Key),
    /// Only check it.
    Check(Key),
}

/// A write with its condition.
pub(crate) struct Write {
    action: Action,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
    sets: Vec<String>,
    adds: Vec<String>,
    removes: Vec<String>,
    conditions: Vec<String>,
}

/// The texts of a write's expressions, as the SDK takes them.
pub(crate) struct Expressions {
    pub(crate) update: Option<String>,
    pub(crate) condition: Option<String>,
    pub(crate) names: Option<HashMap<String, String>>,
    pub(crate) values: Option<HashMap<String, AttributeValue>>,
}

impl Write {
    fn new(action: Action) -> Self {
        Self {
            action,
            names: HashMap::new(),
            values: HashMap::new(),
            sets: Vec::new(),
            adds: Vec::new(),
            removes: Vec::new(),
            conditions: Vec::new(),
        }
    }

    /// Replaces a row.
    pub(crate) fn put(row: Row) -> Self {
        Self::new(Action::Put(row))
    }

    /// Writes a row that must not exist.
    pub(crate) fn put_new(row: Row) -> Self {
        Self::put(row).when_absent(PARTITION)
    }

    /// Changes attributes of a row.
    pub(crate) fn update(key: Key) -> Self {
        Self::new(Action::Update(key))
    }

    /// Removes a row.
    pub(crate) fn delete(key: Key) -> Self {
        Self::new(Action::Delete(key))
    }

    /// Only checks the condition.
    pub(crate) fn check(key: Key) -> Self {
        Self::new(Action::Check(key))
    }

    fn name(&mut self, name: &'static str) -> String {
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    /// Sets an attribute.
    #[must_use]
    pub(crate) fn set(mut self, name: &'static str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(name), self.value(value));
        self.sets.push(format!("{name} = {value}"));
        self
    }

    /// Sets an attribute when there is a value.
    #[must_use]
    pub(crate) fn set_some(self, name: &'static str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }

    /// Sets an attribute that the row does not have yet.
    #[must_use]
    pub(crate) fn set_if_absent(mut self, name: &'static str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(name), self.value(value));
        self.sets
            .push(format!("{name} = if_not_exists({name}, {value})"));
        self
    }

    /// Sets an attribute to another number of the row, increased.
    #[must_use]
    pub(crate) fn set_sum(
        mut self,
        name: &'static str,
        other: &'static str,
        increase: AttributeValue,
    ) -> Self {
        let (name, other, increase) = (self.name(name), self.name(other), self.value(increase));
        self.sets.push(format!("{name} = {other} + {increase}"));
        self
    }

    /// Adds to a number; a missing one counts as zero.
    #[must_use]
    pub(crate) fn add(mut self, name: &'static str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(name), self.value(value));
        self.adds.push(format!("{name} {value}"));
        self
    }

    /// Removes an attribute.
    #[must_use]
    pub(crate) fn remove(mut self, name: &'static str) -> Self {
        let name = self.name(name);
        self.removes.push(name);
        self
    }

    /// The attribute must compare so (`=`, `<`, `<=`, `>`, `>=`).
    #[must_use]
    pub(crate) fn when(
        mut self,
        name: &'static str,
        comparison: &'static str,
        value: AttributeValue,
    ) -> Self {
        let (name, value) = (self.name(name), self.value(value));
        self.conditions.push(format!("{name} {comparison} {value}"));
        self
    }

    /// The attribute must be missing or compare so.
    #[must_use]
    pub(crate) fn when_absent_or(
        mut self,
        name: &'static str,
        comparison: &'static str,
        value: AttributeValue,
    ) -> Self {
        let (name, value) = (self.name(name), self.value(value));
        self.conditions.push(format!(
            "(attribute_not_exists({name}) OR {name} {comparison} {value})"
        ));
        self
    }

    /// Two attributes of the row must be equal.
    #[must_use]
    pub(crate) fn when_same(mut self, name: &'static str, other: &'static str) -> Self {
        let (name, other) = (self.name(name), self.name(other));
        self.conditions.push(format!("{name} = {other}"));
        self
    }

    /// The set must have at most so many entries; a missing one has none.
    #[must_use]
    pub(crate) fn when_size_at_most(mut self, name: &'static str, most: AttributeValue) -> Self {
        let (name, most) = (self.name(name), self.value(most));
        self.conditions.push(format!(
            "(attribute_not_exists({name}) OR size({name}) <= {most})"
        ));
        self
    }

    /// The attribute must be missing, at most `low`, or above `high`.
    #[must_use]
    pub(crate) fn when_absent_or_outside(
        mut self,
        name: &'static str,
        low: AttributeValue,
        high: AttributeValue,
    ) -> Self {
        let (name, low, high) = (self.name(name), self.value(low), self.value(high));
        self.conditions.push(format!(
            "(attribute_not_exists({name}) OR {name} <= {low} OR {name} > {high})"
        ));
        self
    }

    /// A number of the row must be larger than another one of it.
    #[must_use]
    pub(crate) fn when_larger(mut self, name: &'static str, other: &'static str) -> Self {
        let (name, other) = (self.name(name), self.name(other));
        self.conditions.push(format!("{name} > {other}"));
        self
    }

    /// The attribute must be missing; for a key attribute: the row must not exist.
    #[must_use]
    pub(crate) fn when_absent(mut self, name: &'static str) -> Self {
        let name = self.name(name);
        self.conditions
            .push(format!("attribute_not_exists({name})"));
        self
    }

    /// The attribute must be there; for a key attribute: the row must exist.
    #[must_use]
    pub(crate) fn when_present(mut self, name: &'static str) -> Self {
        let name = self.name(name);
        self.conditions.push(format!("attribute_exists({name})"));
        self
    }

    /// The attribute must be one of these.
    #[must_use]
    pub(crate) fn when_one_of(
        mut self,
        name: &'static str,
        values: impl IntoIterator<Item = AttributeValue>,
    ) -> Self {
        let name = self.name(name);
        let values: Vec<String> = values.into_iter().map(|value| self.value(value)).collect();
        self.conditions
            .push(format!("{name} IN ({})", values.join(", ")));
        self
    }

    /// The row and the expressions apart, for the single-row calls.
    pub(crate) fn parts(self) -> (Action, Expressions) {
        let mut update = String::new();
        for (verb, parts) in [
            ("SET", &self.sets),
            ("ADD", &self.adds),
            ("REMOVE", &self.removes),
        ] {
            if !parts.is_empty() {
                update.push_str(&format!("{verb} {} ", parts.join(", ")));
            }
        }
        let expressions = Expressions {
            update: (!update.is_empty()).then_some(update),
            condition: (!self.conditions.is_empty()).then(|| self.conditions.join(" AND ")),
            names: (!self.names.is_empty()).then_some(self.names),
            values: (!self.values.is_empty()).then_some(self.values),
        };
        (self.action, expressions)
    }

    /// As one part of a transaction. A part that lacks something required is a defect of this
    /// crate, which the SDK reports.
    pub(crate) fn into_part(
        self,
        table: &str,
    ) -> Result<TransactWriteItem, aws_smithy_types::error::operation::BuildError> {
        let (action, it) = self.parts();
        let part = TransactWriteItem::builder();
        Ok(match action {
            Action::Put(row) => part.put(
                Put::builder()
                    .table_name(table)
                    .set_item(Some(row.0))
                    .set_condition_expression(it.condition)
                    .set_expression_attribute_names(it.names)
                    .set_expression_attribute_values(it.values)
                    .build()?,
            ),
            Action::Update(key) => part.update(
                Update::builder()
                    .table_name(table)
                    .set_key(Some(key.attributes()))
                    .set_update_expression(it.update)
                    .set_condition_expression(it.condition)
                    .set_expression_attribute_names(it.names)
                    .set_expression_attribute_values(it.values)
                    .build()?,
            ),
            Action::Delete(key) => part.delete(
                Delete::builder()
                    .table_name(table)
                    .set_key(Some(key.attributes()))
                    .set_condition_expression(it.condition)
                    .set_expression_attribute_names(it.names)
                    .set_expression_attribute_values(it.values)
                    .build()?,
            ),
            Action::Check(key) => part.condition_check(
                ConditionCheck::builder()
                    .table_name(table)
                    .set_key(Some(key.attributes()))
                    .set_condition_expression(it.condition)
                    .set_expression_attribute_names(it.names)
                    .set_expression_attribute_values(it.values)
                    .build()?,
            ),
        }
        .build())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        item::{number, text},
        keys::Record,
    };

    #[test]
    fn values_never_stand_in_an_expression() {
        let hostile = "x OR attribute_exists(pk)";
        let (_, it) = Write::update(Record::Runner.key())
            .set("title", text(hostile))
            .add("used", number(1))
            .remove("task")
            .when("fence", "=", number(3))
            .when_one_of("state", [text("idle"), text("running")])
            .when_absent_or("used", "<", number(7))
            .parts();
        assert_eq!(
            it.update.as_deref(),
            Some("SET #title = :v0 ADD #used :v1 REMOVE #task ")
        );
        assert_eq!(
            it.condition.as_deref(),
            Some(
                "#fence = :v2 AND #state IN (:v3, :v4) AND \
                 (attribute_not_exists(#used) OR #used < :v5)"
            )
        );
        assert_eq!(it.values.map(|values| values.len()), Some(6));
    }
}
