//! Roles: those that the template declares, and the one that SAM makes for each function.

use serde_json::{Map, Value, json};

use super::{
    ACCOUNT, FunctionResource, TemplateError,
    functions::{only, only_in, word},
    intrinsics::invalid,
    load::Resource,
};
use crate::iam::{Document, DocumentError, Policy, Role, Trust, managed_policy};

/// What is understood of a role.
const ROLE: &[&str] = &[
    "AssumeRolePolicyDocument",
    "Description",
    "ManagedPolicyArns",
    "MaxSessionDuration",
    "Path",
    "Policies",
    "RoleName",
    "Tags",
];

/// The physical name of the role that SAM makes for a function.
pub(super) fn function_role_name(stack_name: &str, function_logical_id: &str) -> String {
    format!("{stack_name}-{}role", function_logical_id.to_lowercase())
}

/// The ARN of a role.
pub(super) fn role_arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

fn at(place: &str) -> impl Fn(DocumentError) -> TemplateError {
    move |error| invalid(place, error.to_string())
}

/// A role that the template declares.
pub(super) fn declared(resource: &Resource) -> Result<Role, TemplateError> {
    only(
        resource.properties.keys(),
        ROLE,
        &resource.properties_place(),
    )?;
    let none = Value::Null;
    let property = |name: &str| resource.properties.get(name).unwrap_or(&none);
    let place = resource.place("AssumeRolePolicyDocument");
    let trust = Trust::read(property("AssumeRolePolicyDocument")).map_err(at(&place))?;
    let mut policies = Vec::new();
    for policy in property("Policies").as_array().into_iter().flatten() {
        let place = resource.place("Policies");
        only_in(policy, &["PolicyName", "PolicyDocument"], &place)?;
        policies.push(Policy {
            name: word(&policy["PolicyName"], &place)?.to_owned(),
            written_here: true,
            document: Document::read(&policy["PolicyDocument"]).map_err(at(&place))?,
        });
    }
    for arn in property("ManagedPolicyArns")
        .as_array()
        .into_iter()
        .flatten()
    {
        let place = resource.place("ManagedPolicyArns");
        policies.push(attached(word(arn, &place)?, &place)?);
    }
    Ok(Role {
        arn: role_arn(&resource.name),
        name: resource.name.clone(),
        policies,
        trust,
    })
}

/// Adds a policy that the template declares by itself to the roles that it names.
pub(super) fn attach(roles: &mut [Role], resource: &Resource) -> Result<(), TemplateError> {
    let known = ["PolicyDocument", "PolicyName", "Roles"];
    only(
        resource.properties.keys(),
        &known,
        &resource.properties_place(),
    )?;
    let none = Value::Null;
    let property = |name: &str| resource.properties.get(name).unwrap_or(&none);
    let place = resource.place("PolicyDocument");
    let policy = Policy {
        name: resource.name.clone(),
        written_here: true,
        document: Document::read(property("PolicyDocument")).map_err(at(&place))?,
    };
    let place = resource.place("Roles");
    let names = property("Roles").as_array();
    for name in names.ok_or_else(|| invalid(&place, "is missing"))? {
        let name = word(name, &place)?;
        let role = roles.iter_mut().find(|role| role.name == name);
        let role = role.ok_or_else(|| invalid(&place, format!("there is no role {name}")))?;
        role.policies.push(policy.clone());
    }
    Ok(())
}

/// A managed policy.
fn attached(arn: &str, place: &str) -> Result<Policy, TemplateError> {
    let document = managed_policy(arn).ok_or_else(|| {
        invalid(
            place,
            format!("the emulator does not know the policy {arn}"),
        )
    })?;
    Ok(Policy {
        name: arn.rsplit('/').next().unwrap_or(arn).to_owned(),
        written_here: false,
        document,
    })
}

/// The role that SAM makes for a function: writing its log, what its `Policies` say, and what its
/// event sources need.
pub(super) fn of_function(
    resource: &Resource,
    function: &FunctionResource,
) -> Result<Role, TemplateError> {
    let place = resource.place("Policies");
    let mut policies = vec![attached("AWSLambdaBasicExecutionRole", &place)?];
    let entries = match resource.properties.get("Policies") {
        None => Vec::new(),
        Some(Value::Array(entries)) => entries.iter().collect(),
        Some(entry) => vec![entry],
    };
    for (number, entry) in entries.into_iter().enumerate() {
        policies.push(match entry {
            Value::String(name) => attached(name, &place)?,
            // A policy template of SAM is a mapping with the template's name.
            _ if entry.get("Statement").is_none() => {
                return Err(invalid(
                    &place,
                    "the emulator knows statements and managed policies",
                ));
            }
            _ => Policy {
                name: format!("{}RolePolicy{number}", resource.logical_id),
                written_here: true,
                document: Document::read(entry).map_err(at(&place))?,
            },
        });
    }
    let none = Map::new();
    let events = resource.properties.get("Events").and_then(Value::as_object);
    for event in events.unwrap_or(&none).values() {
        if event["Type"] != "DynamoDB" {
            continue;
        }
        policies.push(attached("AWSLambdaDynamoDBExecutionRole", &place)?);
        let on_failure = &event["Properties"]["DestinationConfig"]["OnFailure"];
        if let Some(destination) = on_failure["Destination"].as_str() {
            policies.push(destination_policy(
                &on_failure["Type"],
                destination,
                &place,
            )?);
        }
    }
    Ok(Role {
        name: function
            .role
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned(),
        arn: function.role.clone(),
        policies,
        trust: Trust::of_service("lambda.amazonaws.com"),
    })
}

/// What SAM adds so that the records which were given up reach their destination.
fn destination_policy(
    kind: &Value,
    destination: &str,
    place: &str,
) -> Result<Policy, TemplateError> {
    let (name, action) = match kind.as_str() {
        Some("SNS") => ("SNSPublishMessagePolicy", "sns:Publish"),
        _ => ("SQSSendMessagePolicy", "sqs:SendMessage*"),
    };
    let statement = json!({ "Effect": "Allow", "Action": action, "Resource": destination });
    Ok(Policy {
        name: name.to_owned(),
        written_here: false,
        document: Document::read(&json!({ "Statement": statement })).map_err(at(place))?,
    })
}
