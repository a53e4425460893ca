//! Checking a tool's arguments against its schema, and saying which of them is wrong and why.

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use rmcp::model::JsonObject;
use serde_json::Value;

/// More problems than this help nobody.
const PROBLEMS_SHOWN: usize = 5;

/// A compiled schema.
pub(crate) struct Arguments {
    validator: Option<Validator>,
    known: String,
}

impl Arguments {
    pub(crate) fn compile(schema: &JsonObject) -> Self {
        let known = schema
            .get("properties")
            .and_then(Value::as_object)
            .map(|properties| properties.keys().cloned().collect::<Vec<_>>().join(", "))
            .unwrap_or_default();
        Self {
            // A test compiles every schema there is.
            validator: jsonschema::draft202012::new(&Value::Object(schema.clone())).ok(),
            known,
        }
    }

    /// Gives the arguments back when they are right, otherwise what is wrong with them. Values are
    /// not repeated: they may be long, or secret.
    pub(crate) fn check(&self, arguments: Value) -> Result<Value, String> {
        let Some(validator) = &self.validator else {
            return Err("this tool's schema is broken; report it".to_owned());
        };
        let mut problems: Vec<String> = validator
            .iter_errors(&arguments)
            .take(PROBLEMS_SHOWN)
            .map(|error| self.problem(&error))
            .collect();
        problems.sort_unstable();
        problems.dedup();
        if problems.is_empty() {
            Ok(arguments)
        } else {
            Err(problems.join("; "))
        }
    }

    fn problem(&self, error: &ValidationError<'_>) -> String {
        let place = error
            .instance_path()
            .to_string()
            .trim_start_matches('/')
            .replace('/', ".");
        let inside = |field: &str| {
            if place.is_empty() {
                field.to_owned()
            } else {
                format!("{place}.{field}")
            }
        };
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                format!(
                    "{} is missing",
                    inside(property.as_str().unwrap_or_default())
                )
            }
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let names: Vec<String> = unexpected
                    .iter()
                    .map(|name| inside(&name.chars().take(64).collect::<String>()))
                    .collect();
                if place.is_empty() {
                    format!(
                        "{} is not known; known are: {}",
                        names.join(", "),
                        self.known
                    )
                } else {
                    format!("{} is not known", names.join(", "))
                }
            }
            ValidationErrorKind::Enum { options } => {
                let options: Vec<&str> = options
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                format!("{place}: use one of {}", options.join(", "))
            }
            ValidationErrorKind::MinLength { limit: 1 } => format!("{place}: it must not be empty"),
            _ => format!("{place}: {}", error.masked_with("the value")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_problem_names_its_field() {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["prompt"],
            "properties": {
                "prompt": {"type": "string", "minLength": 1},
                "count": {"type": "integer", "minimum": 1},
                "mode": {"enum": ["a", "b"]},
                "files": {"type": "array", "items": {"type": "object", "required": ["name"], "additionalProperties": false, "properties": {"name": {"type": "string"}}}}
            }
        });
        let Value::Object(schema) = schema else {
            panic!("an object")
        };
        let arguments = Arguments::compile(&schema);
        for (value, expected) in [
            (json!({}), "prompt is missing"),
            (json!({"prompt": ""}), "prompt: it must not be empty"),
            (
                json!({"prompt": 3}),
                "prompt: the value is not of type \"string\"",
            ),
            (
                json!({"prompt": "x", "surprise": "secret"}),
                "surprise is not known; known are: prompt, count, mode, files",
            ),
            (
                json!({"prompt": "x", "count": 0}),
                "count: the value is less than the minimum of 1",
            ),
            (
                json!({"prompt": "x", "mode": "secret"}),
                "mode: use one of a, b",
            ),
            (
                json!({"prompt": "x", "files": [{}]}),
                "files.0.name is missing",
            ),
            (
                json!({"prompt": "x", "files": [{"name": "n", "path": "secret"}]}),
                "files.0.path is not known",
            ),
        ] {
            assert_eq!(arguments.check(value), Err(expected.to_owned()));
        }
        let good = json!({"prompt": "x"});
        assert_eq!(arguments.check(good.clone()), Ok(good));
    }
}
