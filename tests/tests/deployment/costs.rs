//! Nothing has a monthly price unless somebody asked for it.

use std::collections::BTreeSet;

use e2e::checkout;
use e2e::costs::Prices;
use e2e::translated::{resources, template};
use serde_json::Value;

/// Types that cost nothing while nothing happens, whatever their properties.
const FREE: &[&str] = &[
    "AWS::ApiGateway::Account",
    "AWS::ApiGateway::Deployment",
    "AWS::ApiGateway::GatewayResponse",
    "AWS::ApiGateway::RestApi",
    "AWS::AppConfig::Application",
    "AWS::AppConfig::ConfigurationProfile",
    "AWS::AppConfig::HostedConfigurationVersion",
    "AWS::Budgets::Budget",
    "AWS::CloudFront::Distribution",
    "AWS::CloudFront::Function",
    "AWS::CloudFront::ResponseHeadersPolicy",
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::Cognito::UserPool",
    "AWS::Cognito::UserPoolClient",
    "AWS::Cognito::UserPoolDomain",
    "AWS::Cognito::UserPoolResourceServer",
    "AWS::EC2::InternetGateway",
    "AWS::EC2::Route",
    "AWS::EC2::RouteTable",
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::Subnet",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPC",
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::ECS::TaskDefinition",
    "AWS::Events::Rule",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::Lambda::Alias",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Permission",
    "AWS::Lambda::Version",
    "AWS::Logs::LogGroup",
    "AWS::Route53::RecordSet",
    "AWS::S3::Bucket",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::Topic",
    "AWS::SQS::Queue",
];
/// Conditions under which something with a price is deployed, and their parameters; the defaults
/// turn all of them off.
const PAID: &[(&str, &str)] = &[
    ("HasOwnKey", "EncryptionKey"),
    ("HasSecretsManager", "SecretsManager"),
    ("HasFullAlarms", "AlarmSet"),
];
/// Alarms, and metrics of our own, that an account has for nothing.
const FREE_ALARMS: usize = 10;
const FREE_METRICS: usize = 10;
const FREE_DASHBOARDS: usize = 3;

/// Why a resource has a monthly price, as far as its properties decide.
fn priced(kind: &str, properties: &Value) -> Option<&'static str> {
    match kind {
        kind if FREE.contains(&kind) => None,
        "AWS::ApiGateway::Stage" => {
            (properties["CacheClusterEnabled"] == true).then_some("a cache")
        }
        "AWS::DynamoDB::Table" => {
            (properties["BillingMode"] != "PAY_PER_REQUEST").then_some("capacity")
        }
        "AWS::EC2::VPCEndpoint" => {
            (properties["VpcEndpointType"] != "Gateway").then_some("an interface endpoint")
        }
        "AWS::ECS::Cluster" => {
            (!properties["ClusterSettings"].is_null()).then_some("Container Insights")
        }
        "AWS::Lambda::Function" => {
            (!properties["SnapStart"].is_null()).then_some("a cached snapshot")
        }
        // As many as are free: counted below.
        "AWS::CloudWatch::Alarm" | "AWS::CloudWatch::Dashboard" | "AWS::Logs::MetricFilter" => None,
        _ => Some("not known to be free"),
    }
}

#[test]
fn what_has_a_monthly_price_is_asked_for() {
    let all = template()["Resources"].as_object().expect("resources");
    let mut paid = Vec::new();
    for (name, resource) in all {
        let kind = resource["Type"].as_str().expect("a type");
        let Some(reason) = priced(kind, &resource["Properties"]) else {
            continue;
        };
        let condition = resource["Condition"].as_str().unwrap_or_default();
        let asked = PAID.iter().any(|(known, _)| *known == condition);
        assert!(asked, "{name} ({kind}) has a monthly price: {reason}");
        paid.push(name.as_str());
    }
    assert_eq!(paid, ["Key", "SigningKeySecret", "ModelKeySecret"]);
}

/// Who turns an option on reads what it costs.
#[test]
fn options_say_their_price_and_are_off() {
    let free = |parameter: &str| ["aws", "false", "core", ""].contains(&parameter);
    let names = PAID.iter().map(|(_, parameter)| *parameter);
    for name in names.chain(["WebAclArn"]) {
        let parameter = &template()["Parameters"][name];
        let default = parameter["Default"].as_str().expect("a default");
        assert!(free(default), "{name} is {default}");
        let description = parameter["Description"].as_str().expect("words");
        assert!(
            description.contains(" USD a month"),
            "{name}: {description}"
        );
    }
}

#[test]
fn there_are_no_more_alarms_metrics_and_dashboards_than_are_free() {
    let is_core = |resource: &Value| resource["Condition"] != "HasFullAlarms";
    let core = |kind| resources(template(), kind).filter(move |(_, it)| is_core(it));
    let count = |kind| core(kind).count();
    assert_eq!(count("AWS::CloudWatch::Alarm"), FREE_ALARMS);
    assert!(count("AWS::CloudWatch::Dashboard") <= FREE_DASHBOARDS);
    let filters = core("AWS::Logs::MetricFilter");
    let metrics: BTreeSet<&str> = filters
        .flat_map(|(_, filter)| {
            let made = filter["Properties"]["MetricTransformations"].as_array();
            made.expect("transformations").iter().map(|metric| {
                // Dimensions would make a metric of each of their values.
                assert!(metric["Dimensions"].is_null(), "{metric}");
                // A default would be written while nothing happens, and paid for.
                assert!(metric["DefaultValue"].is_null(), "{metric}");
                metric["MetricName"].as_str().expect("a name")
            })
        })
        .collect();
    assert!(metrics.len() <= FREE_METRICS, "{metrics:?}");
    // An alarm on several metrics counts as several.
    for (name, alarm) in core("AWS::CloudWatch::Alarm") {
        let metrics = alarm["Properties"]["Metrics"]
            .as_array()
            .into_iter()
            .flatten();
        let measured = metrics
            .filter(|metric| !metric["MetricStat"].is_null())
            .count();
        assert!(measured <= 1, "{name} looks at {measured} metrics");
    }
}

/// What the page, the parameter and the README say that the full set costs is what comes out.
#[test]
fn the_full_alarm_set_costs_what_is_said() {
    let is_more = |resource: &Value| resource["Condition"] == "HasFullAlarms";
    let alarms = resources(template(), "AWS::CloudWatch::Alarm").filter(|(_, it)| is_more(it));
    let looked_at: usize = alarms
        .map(
            |(_, alarm)| match alarm["Properties"]["Metrics"].as_array() {
                Some(metrics) => {
                    let measured = metrics.iter().filter(|it| !it["MetricStat"].is_null());
                    measured.count()
                }
                None => 1,
            },
        )
        .sum();
    let filters = resources(template(), "AWS::Logs::MetricFilter").filter(|(_, it)| is_more(it));
    let made: BTreeSet<&str> = filters
        .map(|(name, filter)| {
            let made = &filter["Properties"]["MetricTransformations"][0];
            assert!(
                made["Dimensions"].is_null() && made["DefaultValue"].is_null(),
                "{name}"
            );
            made["MetricName"].as_str().expect("a name")
        })
        .collect();
    let prices = Prices::load();
    let count = |count: usize| f64::from(u32::try_from(count).expect("few"));
    let alarms = prices.of("cloudwatch_alarm_metric_month", count(looked_at));
    let metrics = prices.of("cloudwatch_metric_month", count(made.len()));
    let page = checkout::read("infra/COST.md");
    for words in [
        format!("{looked_at} metrics that alarms look at, {alarms:.2} USD a month"),
        format!("{} metrics of our own, {metrics:.2} USD", made.len()),
    ] {
        assert!(page.contains(&words), "COST.md: {words}");
    }
    let sum = format!("at most {:.2} USD a month", alarms + metrics);
    let description = &template()["Parameters"]["AlarmSet"]["Description"];
    let description = description.as_str().expect("words");
    assert!(description.contains(&sum), "{sum}: {description}");
    assert!(
        checkout::read("README.md").contains(&sum),
        "README.md: {sum}"
    );
}
