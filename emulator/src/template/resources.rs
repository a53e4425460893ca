//! What a resource is called and what its attributes are, before it exists.

use serde_json::Value;

use super::{
    ACCOUNT, REGION, TemplateError,
    intrinsics::{Resolver, invalid},
    roles,
};

const VERSIONS: &str = "functions here have one version, which starts with the stack";
const NETWORK: &str = "processes of one machine reach each other over its loopback";
const MONEY: &str = "nothing that runs here costs anything";
const LOGIN: &str = "people log in with the development issuer, on the stack's own address";
const ALARMS: &str = "nobody is on call for a local stack: its log lines, which alarms are made of, \
                      are in its logs";

/// Resource types that the emulator does not serve, and why. Their properties are resolved all the
/// same, so that a name that does not exist is found here, too.
const NOT_SERVED: &[(&str, &str)] = &[
    (
        "AWS::ApiGateway::Account",
        "the gateway writes no logs of its own",
    ),
    ("AWS::AppConfig::Application", VERSIONS),
    ("AWS::AppConfig::ConfigurationProfile", VERSIONS),
    ("AWS::AppConfig::HostedConfigurationVersion", VERSIONS),
    ("AWS::Budgets::Budget", MONEY),
    ("AWS::Cognito::UserPool", LOGIN),
    ("AWS::Cognito::UserPoolClient", LOGIN),
    ("AWS::Cognito::UserPoolDomain", LOGIN),
    ("AWS::Cognito::UserPoolResourceServer", LOGIN),
    ("AWS::CloudWatch::Alarm", ALARMS),
    ("AWS::CloudWatch::Dashboard", ALARMS),
    ("AWS::EC2::InternetGateway", NETWORK),
    ("AWS::EC2::Route", NETWORK),
    ("AWS::EC2::RouteTable", NETWORK),
    ("AWS::EC2::SecurityGroup", NETWORK),
    ("AWS::EC2::Subnet", NETWORK),
    ("AWS::EC2::SubnetRouteTableAssociation", NETWORK),
    ("AWS::EC2::VPC", NETWORK),
    ("AWS::EC2::VPCEndpoint", NETWORK),
    ("AWS::EC2::VPCGatewayAttachment", NETWORK),
    (
        "AWS::KMS::Key",
        "the state directory is not encrypted: it belongs to the person who runs the stack",
    ),
    (
        "AWS::Logs::LogGroup",
        "logs are files in the state directory, one for each function and task",
    ),
    ("AWS::Logs::MetricFilter", ALARMS),
    (
        "AWS::Route53::RecordSet",
        "a local stack has no name but its address",
    ),
    (
        "AWS::S3::BucketPolicy",
        "it demands TLS, which the loopback has not",
    ),
    (
        "AWS::SNS::Subscription",
        "messages to topics are kept, for tests to read, and sent to nobody",
    ),
    (
        "AWS::SecretsManager::Secret",
        "secrets are in the state directory, readable by its owner only",
    ),
];

/// Why the emulator does not serve resources of a type; `None` when it does, or does not know it.
#[must_use]
pub fn not_served(resource_type: &str) -> Option<&'static str> {
    NOT_SERVED
        .iter()
        .find(|(name, _)| *name == resource_type)
        .map(|(_, reason)| *reason)
}

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
    Distribution,
    EdgeFunction,
    ResponseHeaders,
    Role,
    Policy,
    NotServed(&'static str),
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
        Some("AWS::CloudFront::Distribution") => Ok(Kind::Distribution),
        Some("AWS::CloudFront::Function") => Ok(Kind::EdgeFunction),
        Some("AWS::CloudFront::ResponseHeadersPolicy") => Ok(Kind::ResponseHeaders),
        Some("AWS::IAM::Role") => Ok(Kind::Role),
        Some("AWS::IAM::Policy") => Ok(Kind::Policy),
        Some(name) => NOT_SERVED
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(known, _)| Kind::NotServed(known))
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
        Kind::NotServed("AWS::Logs::LogGroup") => "LogGroupName",
        Kind::EdgeFunction => "Name",
        Kind::Api | Kind::Distribution | Kind::ResponseHeaders | Kind::NotServed(_) => "",
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

/// What `Ref` of `<function>.Alias` is, which SAM makes of `AutoPublishAlias`.
pub(super) fn alias(
    resolver: &Resolver<'_>,
    resource: &Value,
    globals: &Value,
    logical_id: &str,
    place: &str,
) -> Result<String, TemplateError> {
    let own = &resource["Properties"]["AutoPublishAlias"];
    let alias = if own.is_null() {
        &globals["Function"]["AutoPublishAlias"]
    } else {
        own
    };
    match kind(resource, logical_id)? {
        Kind::Function if !alias.is_null() => {
            let alias = resolver.text(alias, place)?;
            Ok(format!("{}:{alias}", arn(resolver, resource, logical_id)?))
        }
        _ => Err(invalid(place, format!("{logical_id} has no alias"))),
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
        // Of CloudFront's form, and of nobody: what is local is reached at its own address.
        ("DomainName", Kind::Distribution) => {
            let name = physical_name(resolver, resource, logical_id)?;
            Ok(format!("{name}.cloudfront.net"))
        }
        ("VersionNumber", Kind::NotServed("AWS::AppConfig::HostedConfigurationVersion")) => {
            Ok("1".to_owned())
        }
        ("FunctionARN", Kind::EdgeFunction) => arn(resolver, resource, logical_id),
        ("StreamArn", Kind::Table) => {
            let table = arn(resolver, resource, logical_id)?;
            Ok(format!("{table}/stream/{STREAM_LABEL}"))
        }
        ("QueueName", Kind::Queue) | ("TopicName", Kind::Topic) => {
            physical_name(resolver, resource, logical_id)
        }
        ("GroupId", Kind::NotServed("AWS::EC2::SecurityGroup"))
        | ("SubnetId", Kind::NotServed("AWS::EC2::Subnet"))
        | ("VpcId", Kind::NotServed("AWS::EC2::VPC")) => {
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
        Kind::NotServed("AWS::Logs::LogGroup") => {
            format!("arn:aws:logs:{regional}:log-group:{name}:*")
        }
        Kind::NotServed("AWS::KMS::Key") => format!("arn:aws:kms:{regional}:key/{name}"),
        Kind::EdgeFunction => format!("arn:aws:cloudfront::{ACCOUNT}:function/{name}"),
        Kind::Api
        | Kind::Distribution
        | Kind::ResponseHeaders
        | Kind::Policy
        | Kind::NotServed(_) => {
            return Err(invalid(
                &format!("Resources.{logical_id}"),
                "has no Arn that the emulator knows",
            ));
        }
    })
}
