//! EventBridge event patterns. A pattern is nested like the event; a leaf is an array of alternatives:
//! literals, `prefix`, `suffix`, `exists`, `anything-but`. Facts: EventBridge User Guide, "Creating
//! Amazon EventBridge event patterns". What is not understood is refused at start, never ignored.

use serde_json::Value;

/// Why a pattern of the template cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("event pattern at {place}: {reason}")]
pub struct PatternError {
    place: String,
    reason: String,
}

/// A checked pattern.
#[derive(Clone, Debug)]
pub(in super::super) struct Pattern(Node);

#[derive(Clone, Debug)]
enum Node {
    /// Each named field has to match.
    Fields(Vec<(String, Node)>),
    /// One of these has to match.
    Alternatives(Vec<Test>),
}

#[derive(Clone, Debug)]
enum Test {
    Equals(Value),
    Prefix(String),
    Suffix(String),
    Exists(bool),
    AnythingBut(Vec<Test>),
}

impl Pattern {
    /// Checks a pattern.
    pub(in super::super) fn parse(pattern: &Value) -> Result<Self, PatternError> {
        match node(pattern, "$")? {
            Node::Alternatives(_) => Err(error("$", "a pattern is an object")),
            fields @ Node::Fields(_) => Ok(Self(fields)),
        }
    }

    /// Whether the event matches.
    pub(in super::super) fn matches(&self, event: &Value) -> bool {
        self.0.matches(Some(event))
    }
}

fn error(place: &str, reason: &str) -> PatternError {
    PatternError {
        place: place.to_owned(),
        reason: reason.to_owned(),
    }
}

fn node(pattern: &Value, place: &str) -> Result<Node, PatternError> {
    match pattern {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, inner)| {
                let place = format!("{place}.{name}");
                if name.starts_with('$') {
                    return Err(error(&place, "the emulator does not know this operator"));
                }
                Ok((name.clone(), node(inner, &place)?))
            })
            .collect::<Result<_, _>>()
            .map(Node::Fields),
        Value::Array(tests) if tests.is_empty() => {
            Err(error(place, "an empty array matches nothing"))
        }
        Value::Array(tests) => tests
            .iter()
            .map(|inner| test(inner, place))
            .collect::<Result<_, _>>()
            .map(Node::Alternatives),
        _ => Err(error(place, "a leaf is an array of alternatives")),
    }
}

fn test(pattern: &Value, place: &str) -> Result<Test, PatternError> {
    let Value::Object(operator) = pattern else {
        return if pattern.is_array() {
            Err(error(place, "an alternative cannot be an array"))
        } else {
            Ok(Test::Equals(pattern.clone()))
        };
    };
    let mut entries = operator.iter();
    let (Some((name, operand)), None) = (entries.next(), entries.next()) else {
        return Err(error(place, "an alternative has exactly one operator"));
    };
    let text = || {
        operand
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| error(place, &format!("{name} takes a text")))
    };
    match name.as_str() {
        "prefix" => Ok(Test::Prefix(text()?)),
        "suffix" => Ok(Test::Suffix(text()?)),
        "exists" => operand
            .as_bool()
            .map(Test::Exists)
            .ok_or_else(|| error(place, "exists takes true or false")),
        "anything-but" => match operand {
            Value::Array(values) => values
                .iter()
                .map(|value| test(value, place))
                .collect::<Result<_, _>>()
                .map(Test::AnythingBut),
            value => Ok(Test::AnythingBut(vec![test(value, place)?])),
        },
        other => Err(error(
            place,
            &format!("the emulator does not know the operator {other}"),
        )),
    }
}

impl Node {
    fn matches(&self, value: Option<&Value>) -> bool {
        match self {
            Self::Fields(fields) => fields
                .iter()
                .all(|(name, inner)| inner.matches(value.and_then(|value| value.get(name)))),
            Self::Alternatives(tests) => tests.iter().any(|test| test.matches(value)),
        }
    }
}

impl Test {
    fn matches(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            // "exists" looks at leaves only.
            (Self::Exists(wanted), value) => {
                *wanted == value.is_some_and(|value| !value.is_object())
            }
            (_, None) => false,
            // An array in the event matches if one of its elements does.
            (Self::AnythingBut(tests), Some(Value::Array(values))) => values
                .iter()
                .any(|value| !tests.iter().any(|test| test.matches(Some(value)))),
            (Self::AnythingBut(tests), Some(value)) => {
                !value.is_object() && !tests.iter().any(|test| test.matches(Some(value)))
            }
            (test, Some(Value::Array(values))) => {
                values.iter().any(|value| test.matches(Some(value)))
            }
            (Self::Equals(wanted), Some(value)) => equal(wanted, value),
            (Self::Prefix(prefix), Some(value)) => value
                .as_str()
                .is_some_and(|text| text.starts_with(prefix.as_str())),
            (Self::Suffix(suffix), Some(value)) => value
                .as_str()
                .is_some_and(|text| text.ends_with(suffix.as_str())),
        }
    }
}

fn equal(wanted: &Value, value: &Value) -> bool {
    match (wanted, value) {
        (Value::Number(wanted), Value::Number(value)) => wanted.as_f64() == value.as_f64(),
        (wanted, value) => wanted == value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_match_as_eventbridge_does() {
        let event = json!({
            "source": "aws.ecs",
            "detail": {
                "lastStatus": "STOPPED",
                "attempts": 3,
                "stopCode": null,
                "containers": [{"name": "a"}],
                "groups": ["family:x", "other"],
            },
        });
        let cases = [
            (json!({"source": ["aws.ecs"]}), true),
            (
                json!({"source": ["aws.ec2", "aws.ecs"], "detail": {"lastStatus": ["STOPPED"]}}),
                true,
            ),
            (json!({"source": ["aws.ec2"]}), false),
            (
                json!({"source": ["aws.ecs"], "detail": {"lastStatus": ["RUNNING"]}}),
                false,
            ),
            (json!({"detail": {"attempts": [3.0]}}), true),
            (json!({"detail": {"stopCode": [null]}}), true),
            (json!({"detail": {"missing": [null]}}), false),
            (json!({"detail": {"missing": [{"exists": false}]}}), true),
            (json!({"detail": {"lastStatus": [{"exists": true}]}}), true),
            (json!({"detail": {"groups": [{"prefix": "family:"}]}}), true),
            (json!({"detail": {"groups": [{"suffix": "er"}]}}), true),
            (
                json!({"detail": {"lastStatus": [{"prefix": "RUN"}]}}),
                false,
            ),
            (
                json!({"detail": {"lastStatus": [{"anything-but": ["RUNNING", "PENDING"]}]}}),
                true,
            ),
            (
                json!({"detail": {"lastStatus": [{"anything-but": "STOPPED"}]}}),
                false,
            ),
            (
                json!({"detail": {"lastStatus": [{"anything-but": {"prefix": "STOP"}}]}}),
                false,
            ),
            (
                json!({"detail": {"missing": [{"anything-but": "x"}]}}),
                false,
            ),
        ];
        for (pattern, expected) in cases {
            let parsed = Pattern::parse(&pattern).unwrap();
            assert_eq!(parsed.matches(&event), expected, "{pattern}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for pattern in [
            json!([]),
            json!({"source": "aws.ecs"}),
            json!({"source": []}),
            json!({"source": [{"numeric": [">", 1]}]}),
            json!({"source": [{"exists": "yes"}]}),
            json!({"source": [{"prefix": 1}]}),
            json!({"$or": [{"source": ["a"]}]}),
        ] {
            assert!(Pattern::parse(&pattern).is_err(), "{pattern}");
        }
    }
}
