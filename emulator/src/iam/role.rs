//! Roles: what they may do, and who may take them on.

use serde_json::{Map, Value};

use super::{
    condition::Comparison,
    decision::{Context, Decision, Request, decide},
    document::{
        Document, DocumentError, Effect, conditions, effect, knows_variables, statements, texts,
    },
};

/// A named policy of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name; of a managed one, the last part of its ARN.
    pub name: String,
    /// Whether the template writes it; others are attached or added by SAM.
    pub written_here: bool,
    /// What it says.
    pub document: Document,
}

/// A role of the template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Physical name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// What it may do.
    pub policies: Vec<Policy>,
    /// Who may take it on.
    pub trust: Trust,
}

impl Role {
    /// What its policies say to a request.
    #[must_use]
    pub fn decide(&self, request: &Request) -> Decision {
        decide(self.policies.iter().map(|policy| &policy.document), request)
    }
}

/// Who may take on a role: its `AssumeRolePolicyDocument`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust(Vec<TrustStatement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct TrustStatement {
    effect: Effect,
    /// `lambda.amazonaws.com`, or the ARN of a role.
    principals: Vec<String>,
    actions: Vec<String>,
    conditions: Vec<Comparison>,
}

impl Trust {
    /// Reads the document.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub fn read(value: &Value) -> Result<Self, DocumentError> {
        let variables = knows_variables(value)?;
        let read = |statement: &&Value| TrustStatement::read(statement, variables);
        Ok(Self(
            statements(value)?
                .iter()
                .map(read)
                .collect::<Result<_, _>>()?,
        ))
    }

    /// The one that a service needs to run something with the role.
    #[must_use]
    pub fn of_service(service: &str) -> Self {
        Self(vec![TrustStatement {
            effect: Effect::Allow,
            principals: vec![service.to_owned()],
            actions: vec!["sts:AssumeRole".to_owned()],
            conditions: Vec::new(),
        }])
    }

    /// Whether this principal may do this (`sts:AssumeRole`, `sts:TagSession`) to the role.
    #[must_use]
    pub fn permits(&self, principal: &str, action: &str, context: &Context) -> bool {
        let mut permitted = false;
        for statement in &self.0 {
            let applies = statement.principals.iter().any(|one| one == principal)
                && statement.actions.iter().any(|one| one == action)
                && statement.conditions.iter().all(|one| one.holds(context));
            if applies {
                match statement.effect {
                    Effect::Deny => return false,
                    Effect::Allow => permitted = true,
                }
            }
        }
        permitted
    }
}

impl TrustStatement {
    fn read(value: &Value, variables: bool) -> Result<Self, DocumentError> {
        for name in value.as_object().into_iter().flat_map(Map::keys) {
            if !["Sid", "Effect", "Principal", "Action", "Condition"].contains(&name.as_str()) {
                return Err(DocumentError::Element(name.clone()));
            }
        }
        let kinds = value["Principal"].as_object();
        let kinds = kinds.ok_or_else(|| DocumentError::Shape("Principal is missing".into()))?;
        let mut principals = Vec::new();
        for (kind, names) in kinds {
            if !["Service", "AWS"].contains(&kind.as_str()) {
                return Err(DocumentError::Element(format!("Principal.{kind}")));
            }
            principals.extend(texts(names, kind)?);
        }
        Ok(Self {
            effect: effect(value)?,
            principals,
            actions: texts(&value["Action"], "Action")?,
            conditions: conditions(value, variables)?,
        })
    }
}
