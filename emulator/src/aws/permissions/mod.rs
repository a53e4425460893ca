//! Whether the sender of a call may make it. Every call is turned into what IAM decides on (action,
//! resource, condition keys) and put to the role that the sender's key belongs to; who has no role
//! may do nothing, and the operator everything.

mod dynamodb;
mod ecs;
mod kms;
mod s3;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;

pub(super) use self::{
    ecs::requests as ecs_requests,
    kms::Opener,
    s3::{deletion as s3_deletion, requests as s3_requests},
};
use crate::{
    credentials::Principal,
    iam::{Context, Decision, Request, Role},
    template::{ACCOUNT, Stack},
};

/// Most different calls that are remembered for tests.
const REMEMBERED: usize = 100_000;

/// A call that somebody with a role made, as it was put to the role's policies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Recorded {
    role: String,
    #[serde(flatten)]
    request: Request,
    allowed: bool,
}

/// The roles of the stack and who has which. Cheap to clone.
#[derive(Clone)]
pub(super) struct Permissions(Arc<Inner>);

struct Inner {
    /// By ARN.
    roles: BTreeMap<String, Role>,
    /// Of functions: ARN of the role, and the function's own name.
    functions: BTreeMap<String, (String, String)>,
    tables: dynamodb::Tables,
    /// Keys that S3 asks for each object, by bucket.
    object_keys: BTreeMap<String, String>,
    recorded: Option<Mutex<BTreeSet<Recorded>>>,
}

/// Why a call is refused, in AWS's words.
#[derive(Clone, Debug)]
pub(super) struct Denied {
    user: String,
    request: Request,
    decision: Decision,
}

impl fmt::Display for Denied {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            user,
            request,
            decision,
        } = self;
        let Request {
            action, resource, ..
        } = request;
        write!(
            formatter,
            "User: {user} is not authorized to perform: {action} on resource: {resource} "
        )?;
        match decision {
            Decision::Refused => {
                formatter.write_str("with an explicit deny in an identity-based policy")
            }
            Decision::NotAllowed | Decision::Allowed => {
                write!(
                    formatter,
                    "because no identity-based policy allows the {action} action"
                )
            }
        }
    }
}

/// Who a call comes from, for its policies.
struct Identity<'inner> {
    role: Option<&'inner Role>,
    user: String,
    context: Context,
}

impl Permissions {
    /// `record`: remember every different call, for tests.
    pub(super) fn new(stack: &Stack, record: bool) -> Self {
        let roles = stack.roles.iter();
        let functions = stack.functions.iter().map(|function| {
            let role = function.role.clone();
            (
                function.name.clone(),
                (role, function.function_name.clone()),
            )
        });
        Self(Arc::new(Inner {
            roles: roles.map(|role| (role.arn.clone(), role.clone())).collect(),
            functions: functions.collect(),
            tables: dynamodb::Tables::of(&stack.tables),
            object_keys: stack
                .buckets
                .iter()
                .filter_map(|bucket| Some((bucket.name.clone(), bucket.object_key.clone()?)))
                .collect(),
            recorded: record.then(Mutex::default),
        }))
    }

    /// Whether all of it is permitted; the first that is not is named. Refusals are logged.
    pub(super) fn check(&self, principal: &Principal, requests: &[Request]) -> Result<(), Denied> {
        let Some(identity) = self.identity(principal) else {
            return Ok(());
        };
        for request in requests {
            let (full, decision) = Self::decide(&identity, request);
            self.remember(&identity, full, decision);
            if decision != Decision::Allowed {
                let denied = Denied {
                    user: identity.user,
                    request: request.clone(),
                    decision,
                };
                tracing::warn!(context = ?request.context, "refused: {denied}");
                return Err(denied);
            }
        }
        Ok(())
    }

    /// Whether it is permitted, for what depends on it without being refused.
    pub(super) fn permits(&self, principal: &Principal, request: &Request) -> bool {
        self.identity(principal)
            .is_none_or(|identity| Self::decide(&identity, request).1 == Decision::Allowed)
    }

    /// Whether somebody may take on a role with these tags: its own policies have to permit it, and
    /// the role has to trust it.
    pub(super) fn assume(
        &self,
        principal: &Principal,
        role: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), Denied> {
        let mut context = Context::default().with("aws:TagKeys", tags.keys());
        for (name, value) in tags {
            context = context.with(&format!("aws:RequestTag/{name}"), [value]);
        }
        let actions: &[&str] = match tags.is_empty() {
            true => &["sts:AssumeRole"],
            false => &["sts:AssumeRole", "sts:TagSession"],
        };
        for action in actions {
            let mut request = Request::new(action, role);
            request.context = context.clone();
            self.check(principal, std::slice::from_ref(&request))?;
            let Some(identity) = self.identity(principal) else {
                continue;
            };
            let own = identity.role.map_or("", |role| role.arn.as_str());
            let wanted = self.0.roles.get(role);
            if !wanted.is_some_and(|wanted| wanted.trust.permits(own, action, &context)) {
                let denied = Denied {
                    user: identity.user,
                    request,
                    decision: Decision::NotAllowed,
                };
                tracing::warn!("refused by the role: {denied}");
                return Err(denied);
            }
        }
        Ok(())
    }

    /// What a DynamoDB call asks for.
    pub(super) fn dynamodb_requests(&self, operation: &str, body: &[u8]) -> Vec<Request> {
        self.0.tables.requests(operation, body)
    }

    /// Different calls that were made with a role, when they are remembered.
    pub(super) fn recorded(&self) -> Option<serde_json::Value> {
        let recorded = self.0.recorded.as_ref()?;
        let recorded = recorded.lock().unwrap_or_else(PoisonError::into_inner);
        Some(serde_json::json!(*recorded))
    }

    fn decide(identity: &Identity<'_>, request: &Request) -> (Request, Decision) {
        let full = Request {
            context: request.context.clone().and(&identity.context),
            ..request.clone()
        };
        let decision = identity
            .role
            .map_or(Decision::NotAllowed, |role| role.decide(&full));
        (full, decision)
    }

    fn remember(&self, identity: &Identity<'_>, request: Request, decision: Decision) {
        if let (Some(recorded), Some(role)) = (&self.0.recorded, identity.role) {
            let mut recorded = recorded.lock().unwrap_or_else(PoisonError::into_inner);
            if recorded.len() < REMEMBERED {
                recorded.insert(Recorded {
                    role: role.name.clone(),
                    request,
                    allowed: decision == Decision::Allowed,
                });
            }
        }
    }

    /// `None` for the operator, who needs no role.
    fn identity(&self, principal: &Principal) -> Option<Identity<'_>> {
        let none = (String::new(), String::new());
        let (arn, session) = match principal {
            Principal::Operator => return None,
            Principal::Function(name) => self.0.functions.get(name).unwrap_or(&none).clone(),
            Principal::Task { id, role, .. } => (role.clone(), id.clone()),
            Principal::Session { role, name, .. } => (role.clone(), name.clone()),
        };
        let mut context = Context::default().with("aws:PrincipalArn", [arn.as_str()]);
        if let Principal::Session { tags, .. } = principal {
            for (name, value) in tags {
                context = context.with(&format!("aws:PrincipalTag/{name}"), [value]);
            }
        }
        let role = self.0.roles.get(&arn);
        let name = role.map_or("none", |role| role.name.as_str());
        Some(Identity {
            role,
            user: format!("arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{session}"),
            context,
        })
    }
}
