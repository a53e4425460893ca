//! The `Condition` of a statement: comparisons of texts, of keys with one value or with many.
//! Facts: IAM User Guide, "Condition operators" and "Multivalued context keys".

use serde_json::Value;

use super::{
    decision::Context,
    document::{DocumentError, texts},
    pattern::Pattern,
};

/// Keys that calls carry here, by their start. A condition on another key would never hold, and a
/// refusal that depends on it would never come.
const KEYS: &[&str] = &[
    "aws:PrincipalArn",
    "aws:PrincipalTag/",
    "aws:RequestTag/",
    "aws:TagKeys",
    "dynamodb:LeadingKeys",
    "ecs:cluster",
    "iam:PassedToService",
    "kms:EncryptionContext:",
    "kms:ViaService",
    "s3:prefix",
];
/// Of these, the ones with many values.
const MULTIVALUED: &[&str] = &["aws:TagKeys", "dynamodb:LeadingKeys"];

/// How many of a key's values have to fulfil the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantity {
    /// The key has one value.
    Single,
    /// Every one, of which there may be none.
    All,
    /// At least one.
    Any,
}

/// One comparison; a statement applies when all of them hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    quantity: Quantity,
    negated: bool,
    if_exists: bool,
    key: String,
    patterns: Vec<Pattern>,
}

fn known(key: &str, list: &[&str]) -> bool {
    list.iter()
        .any(|known| match known.strip_suffix(['/', ':']) {
            Some(_) => key.len() > known.len() && key.starts_with(known),
            None => key.eq_ignore_ascii_case(known),
        })
}

/// Reads a `Condition`.
pub(super) fn read(value: &Value, variables: bool) -> Result<Vec<Comparison>, DocumentError> {
    let mut comparisons = Vec::new();
    let Value::Object(operators) = value else {
        return Err(DocumentError::Shape("Condition has to be a mapping".into()));
    };
    for (operator, keys) in operators {
        let (quantity, plain) = match operator.split_once(':') {
            None => (Quantity::Single, operator.as_str()),
            Some(("ForAllValues", plain)) => (Quantity::All, plain),
            Some(("ForAnyValue", plain)) => (Quantity::Any, plain),
            Some(_) => return Err(DocumentError::Operator(operator.clone())),
        };
        let (plain, if_exists) = match plain.strip_suffix("IfExists") {
            Some(plain) => (plain, true),
            None => (plain, false),
        };
        let (wild, negated) = match plain {
            "StringEquals" | "ArnEquals" => (plain == "ArnEquals", false),
            "StringNotEquals" => (false, true),
            "StringLike" | "ArnLike" => (true, false),
            "StringNotLike" => (true, true),
            _ => return Err(DocumentError::Operator(operator.clone())),
        };
        let Value::Object(keys) = keys else {
            return Err(DocumentError::Shape(format!(
                "{operator} has to be a mapping"
            )));
        };
        for (key, values) in keys {
            if !known(key, KEYS) {
                return Err(DocumentError::Key(key.clone()));
            }
            if known(key, MULTIVALUED) != (quantity != Quantity::Single) {
                return Err(DocumentError::Quantity(key.clone()));
            }
            let patterns = texts(values, key)?
                .iter()
                .map(|text| Pattern::parse(text, wild, variables))
                .collect::<Result<_, _>>()?;
            comparisons.push(Comparison {
                quantity,
                negated,
                if_exists,
                key: key.clone(),
                patterns,
            });
        }
    }
    Ok(comparisons)
}

impl Comparison {
    /// Whether it holds.
    pub(super) fn holds(&self, context: &Context) -> bool {
        let values = context.values(&self.key);
        let fulfils = |value: &String| {
            let found = self
                .patterns
                .iter()
                .any(|pattern| pattern.matches(value, context));
            found != self.negated
        };
        match (values, self.quantity) {
            (None, _) if self.if_exists => true,
            // Of no value, every one is as it should be.
            (None, Quantity::All) => true,
            (None, Quantity::Any) => false,
            (None, Quantity::Single) => self.negated,
            (Some(values), Quantity::Any) => values.iter().any(fulfils),
            (Some(values), Quantity::All | Quantity::Single) => values.iter().all(fulfils),
        }
    }

    /// The patterns of this key that the call's values need; nothing when it is about another key.
    pub(super) fn used(&self, context: &Context) -> Vec<String> {
        let values = context.values(&self.key).unwrap_or_default();
        self.patterns
            .iter()
            .filter(|pattern| values.iter().any(|value| pattern.matches(value, context)))
            .map(|pattern| pattern.text().to_owned())
            .collect()
    }

    /// All patterns, as written.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(Pattern::text)
    }
}
