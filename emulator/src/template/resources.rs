//! What a resource is called and what its attributes are, before it exists.

use serde_json::Value;

use super::{
    ACCOUNT, REGION, TemplateError,
    intrinsics::{Resolver, invalid},
    roles,
};

/// Resource types that exist on AWS only: networks and log groups mean nothing to
/// processes on one machine.
const WITHOUT_EFFECT: &[&str] = &[
    "AWS::EC2::InternetGateway",
    "AWS::EC2::Route",
    "AWS::EC2::RouteTable",
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::Subnet",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPC",
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::Logs::LogGroup",
];

/// Last part of every stream's ARN; on AWS the time at which the stream was enabled.
const STREAM_LABEL: &str = "2026-01-01T00:00:00.000";

/// A type this module can name.
pub(super) enum Kind {
    Api,
    Function,
    Table,
    Bucket,
    Cluster,
    TaskDefinition,
    Topic,
    Queue,
    Role,
    Policy,
    WithoutEffect(&'static str),
}

/// The kind of a resource.
pub(super) fn kind(resource: &Value, logical_id: &str) -> Result<Kind, TemplateError> {
    let place = format!("Resources.{logical_id}.Type");
    match resource["Type"].as_str() {
        Some("AWS::Serverless::Api") => Ok(Kind::Api),
        Some("AWS::Serverless::Function") => Ok(Kind::Function),
        Some("AWS::DynamoDB::Table") => Ok(Kind::Table),
        Some("AWS::S3::Bucket") => Ok(Kind::Bucket),
        Some("AWS::ECS::Cluster") => Ok(Kind::Cluster),
        Some("AWS::ECS::TaskDefinition") => Ok(Kind::TaskDefinition),
        Some("AWS::SNS::Topic") => Ok(Kind::Topic),
        Some("AWS::SQS::Queue") => Ok(Kind::Queue),
        Some("AWS::IAM::Role") => Ok(Kind::Role),
        Some("AWS::IAM::Policy") => Ok(Kind::Policy),
        Some(name) => WITHOUT_EFFECT
            .iter()
            .find(|known| **known == name)
            .map(|known| Kind::WithoutEffect(known))
            .ok_or_else(|| invalid(&place, format!("the emulator does not know {name}"))),
        None => Err(invalid(&place, "is missing")),
    }
}

/// The physical name: the one the template gives, or `<stack>-<logical id in lower case>`.
pub(super) fn physical_name(
    resolver: &Resolver<'_>,
    resource: &Value,
    logical_id: &str,
) -> Result<String, TemplateError> {
    let property = match kind(resource, logical_id)? {
        Kind::Function => "FunctionName",
        Kind::Table => "TableName",
        Kind::Bucket => "BucketName",
        Kind::Cluster => "ClusterName",
        Kind::TaskDefinition => "Family",
        Kind::Topic => "TopicName",
        Kind::Queue => "QueueName",
        Kind::Role => "RoleName",
        Kind::Policy => "PolicyName",
        Kind::WithoutEffect("AWS::Logs::LogGroup") => "LogGroupName",
        Kind::Api | Kind::WithoutEffect(_) => "",
    };
    match resource["Properties"].get(property) {
        Some(name) => {
            let place = format!("Resources.{logical_id}.Properties.{property}");
            resolver.once(logical_id, &place, || resolver.text(name, &place))
        }
        None => Ok(format!(
            "{}-{}",
            resolver.stack_name(),
            logical_id.to_lowercase()
        )),
    }
}

/// What `Ref` of the resource is.
pub(super) fn reference(
    resolver: &Resolver<'_>,
    resource: &Value,
    logical_id: &str,
) -> Result<String, TemplateError> {
    match kind(resource, logical_id)? {
        Kind::TaskDefinition | Kind::Topic => arn(resolver, resource, logical_id),
        Kind::Queue => Err(invalid(
            &format!("Resources.{logical_id}"),
            "queues have no address here: the emulator knows their Arn only",
        )),
        _ => physical_name(resolver, resource, logical_id),
    }
}

/// What `GetAtt` of the resource is.
pub(super) fn attribute(
    resolver: &Resolver<'_>,
    resource: &Value,
    logical_id: &str,
    attribute: &str,
    place: &str,
) -> Result<String, TemplateError> {
    let kind = kind(resource, logical_id)?;
    match (attribute, kind) {
        ("Arn", _) => arn(resolver, resource, logical_id),
        ("TaskDefinitionArn", Kind::TaskDefinition) | ("TopicArn", Kind::Topic) => {
            arn(resolver, resource, logical_id)
        }
        ("StreamArn", Kind::Table) => {
            let table = arn(resolver, resource, logical_id)?;
            Ok(format!("{table}/stream/{STREAM_LABEL}"))
        }
        ("QueueName", Kind::Queue) | ("TopicName", Kind::Topic) => {
            physical_name(resolver, resource, logical_id)
        }
        ("GroupId", Kind::WithoutEffect("AWS::EC2::SecurityGroup"))
        | ("SubnetId", Kind::WithoutEffect("AWS::EC2::Subnet"))
        | ("VpcId", Kind::WithoutEffect("AWS::EC2::VPC")) => {
            physical_name(resolver, resource, logical_id)
        }
        _ => Err(invalid(
            place,
            format!("the emulator does not know {logical_id}.{attribute}"),
        )),
    }
}

fn arn(
    resolver: &Resolver<'_>,
    resource: &Value,
    logical_id: &str,
) -> Result<String, TemplateError> {
    let name = physical_name(resolver, resource, logical_id)?;
    let regional = format!("{REGION}:{ACCOUNT}");
    Ok(match kind(resource, logical_id)? {
        Kind::Function => format!("arn:aws:lambda:{regional}:function:{name}"),
        Kind::Table => format!("arn:aws:dynamodb:{regional}:table/{name}"),
        Kind::Bucket => format!("arn:aws:s3:::{name}"),
        Kind::Cluster => format!("arn:aws:ecs:{regional}:cluster/{name}"),
        Kind::TaskDefinition => format!("arn:aws:ecs:{regional}:task-definition/{name}:1"),
        Kind::Topic => format!("arn:aws:sns:{regional}:{name}"),
        Kind::Queue => format!("arn:aws:sqs:{regional}:{name}"),
        Kind::Role => roles::role_arn(&name),
        Kind::WithoutEffect("AWS::Logs::LogGroup") => {
            format!("arn:aws:logs:{regional}:log-group:{name}:*")
        }
        Kind::Api | Kind::Policy | Kind::WithoutEffect(_) => {
            return Err(invalid(
                &format!("Resources.{logical_id}"),
                "has no Arn that the emulator knows",
            ));
        }
    })
}
