//! Policy documents, read from a resolved template.

use serde_json::{Map, Value};

use super::{
    condition::{self, Comparison},
    decision::Context,
    pattern::Pattern,
};

/// The version that knows variables.
const VERSION: &str = "2012-10-17";

/// What is wrong with a policy document, or not understood of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Something has another shape than it should.
    #[error("{0}")]
    Shape(String),
    /// An element of a statement that is not understood.
    #[error("the emulator does not know the element {0} of a statement")]
    Element(String),
    /// A condition operator that is not understood.
    #[error("the emulator does not know the condition operator {0}")]
    Operator(String),
    /// A condition key that no call carries here.
    #[error("the emulator does not know the condition key {0}")]
    Key(String),
    /// A key with many values and an operator for one, or the other way round.
    #[error("{0}: ForAllValues and ForAnyValue are for keys with many values, and only for them")]
    Quantity(String),
    /// A policy variable that is not understood.
    #[error("the emulator does not know the policy variable in {0:?}")]
    Variable(String),
    /// Without the version, AWS takes a variable as plain text.
    #[error("{0:?} has a variable, which means nothing without Version: '2012-10-17'")]
    VariableWithoutVersion(String),
}

/// What a statement does when it applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) effect: Effect,
    pub(super) actions: Vec<Pattern>,
    pub(super) resources: Vec<Pattern>,
    pub(super) conditions: Vec<Comparison>,
}

/// A policy document of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    pub(super) statements: Vec<Statement>,
}

/// One text or several.
pub(super) fn texts(value: &Value, what: &str) -> Result<Vec<String>, DocumentError> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(DocumentError::Shape(format!("{what} has to be texts"))),
    };
    let texts: Vec<String> = match value {
        Value::Array(values) => values.iter().map(one).collect::<Result<_, _>>()?,
        value => vec![one(value)?],
    };
    if texts.is_empty() {
        return Err(DocumentError::Shape(format!("{what} is empty")));
    }
    Ok(texts)
}

impl Document {
    /// Reads the document of a role's own policy.
    ///
    /// # Errors
    /// See [`DocumentError`]: nothing of the document may be used.
    pub fn read(value: &Value) -> Result<Self, DocumentError> {
        let variables = knows_variables(value)?;
        let statements = statements(value)?
            .iter()
            .map(|statement| Statement::read(statement, variables))
            .collect::<Result<_, _>>()?;
        Ok(Self { statements })
    }
}

/// Checks what surrounds the statements; says whether variables mean something.
pub(super) fn knows_variables(value: &Value) -> Result<bool, DocumentError> {
    for name in value.as_object().into_iter().flat_map(Map::keys) {
        if !["Version", "Id", "Statement"].contains(&name.as_str()) {
            return Err(DocumentError::Element(name.clone()));
        }
    }
    match &value["Version"] {
        Value::Null => Ok(false),
        version if version == VERSION => Ok(true),
        version => Err(DocumentError::Shape(format!(
            "Version has to be {VERSION}, not {version}"
        ))),
    }
}

/// The statements of a document, which may be one.
pub(super) fn statements(value: &Value) -> Result<Vec<&Value>, DocumentError> {
    match &value["Statement"] {
        Value::Array(statements) => Ok(statements.iter().collect()),
        statement @ Value::Object(_) => Ok(vec![statement]),
        _ => Err(DocumentError::Shape("Statement is missing".into())),
    }
}

impl Statement {
    fn read(value: &Value, variables: bool) -> Result<Self, DocumentError> {
        let elements = value
            .as_object()
            .ok_or_else(|| DocumentError::Shape("a statement has to be a mapping".into()))?;
        let known = ["Sid", "Effect", "Action", "Resource", "Condition"];
        if let Some(name) = elements.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(DocumentError::Element(name.clone()));
        }
        let patterns = |name: &str, variables: bool| -> Result<Vec<Pattern>, DocumentError> {
            texts(&value[name], name)?
                .iter()
                .map(|text| Pattern::parse(text, true, variables))
                .collect()
        };
        Ok(Self {
            effect: effect(value)?,
            // Actions are the same in every spelling.
            actions: texts(&value["Action"], "Action")?
                .iter()
                .map(|text| Pattern::parse(&text.to_ascii_lowercase(), true, false))
                .collect::<Result<_, _>>()?,
            resources: patterns("Resource", variables)?,
            conditions: conditions(value, variables)?,
        })
    }

    /// Whether all conditions hold.
    pub(super) fn conditions_hold(&self, context: &Context) -> bool {
        self.conditions
            .iter()
            .all(|comparison| comparison.holds(context))
    }
}

/// What a statement does.
pub(super) fn effect(statement: &Value) -> Result<Effect, DocumentError> {
    match statement["Effect"].as_str() {
        Some("Allow") => Ok(Effect::Allow),
        Some("Deny") => Ok(Effect::Deny),
        _ => Err(DocumentError::Shape(
            "Effect has to be Allow or Deny".into(),
        )),
    }
}

/// The conditions of a statement.
pub(super) fn conditions(
    statement: &Value,
    variables: bool,
) -> Result<Vec<Comparison>, DocumentError> {
    match &statement["Condition"] {
        Value::Null => Ok(Vec::new()),
        value => condition::read(value, variables),
    }
}
