//! Functions: how they are called, updated, and where they log.

use std::collections::BTreeSet;

use e2e::checkout;
use e2e::translated::{of_changed, resources, template};
use serde_json::{Value, json};

fn properties<'all>(resource: &'all Value, name: &str) -> &'all Value {
    &resource["Properties"][name]
}

/// Names of the functions in the translation.
fn functions() -> Vec<&'static str> {
    let functions = resources(template(), "AWS::Lambda::Function");
    let functions: Vec<_> = functions.map(|(name, _)| name).collect();
    assert!(functions.len() >= 12, "{functions:?}");
    functions
}

#[test]
fn every_function_has_a_log_group_that_forgets() {
    for name in functions() {
        let function = &template()["Resources"][name];
        let group = properties(function, "LoggingConfig")["LogGroup"]["Ref"].as_str();
        let group = group.unwrap_or_else(|| panic!("{name} has no log group"));
        let group = &template()["Resources"][group];
        let directory = properties(function, "FunctionName")["Fn::Sub"].as_str();
        let expected = directory.map(|name| format!("/aws/lambda/{name}"));
        let found = properties(group, "LogGroupName")["Fn::Sub"].as_str();
        assert_eq!(found, expected.as_deref(), "{name}");
        // JSON lines: Lambda's own too, of which metrics are made.
        assert_eq!(properties(function, "LoggingConfig")["LogFormat"], "JSON");
    }
    let mut groups = 0;
    for (name, group) in resources(template(), "AWS::Logs::LogGroup") {
        let days = properties(group, "RetentionInDays");
        assert_eq!(*days, json!({"Ref": "LogRetentionDays"}), "{name}");
        groups += 1;
    }
    // Those of the API and of the runner too.
    assert_eq!(groups, functions().len() + 2);
}

/// Everything calls the alias: what called the function itself would get a new version at once.
#[test]
fn nothing_calls_a_function_but_through_its_alias() {
    let called = |place: &str, target: &Value| {
        let name = target["Ref"].as_str().unwrap_or_default();
        assert!(name.ends_with("Aliaslive"), "{place} calls {target}");
    };
    let mut calls = 0;
    for (name, permission) in resources(template(), "AWS::Lambda::Permission") {
        called(name, properties(permission, "FunctionName"));
        calls += 1;
    }
    for (name, mapping) in resources(template(), "AWS::Lambda::EventSourceMapping") {
        called(name, properties(mapping, "FunctionName"));
        calls += 1;
    }
    for (name, rule) in resources(template(), "AWS::Events::Rule") {
        let targets = properties(rule, "Targets").as_array().expect("targets");
        targets
            .iter()
            .for_each(|target| called(name, &target["Arn"]));
        calls += targets.len();
    }
    assert!(calls > 20, "{calls}");
    // A route names the function in a text, and the alias beside it.
    let body = properties(&template()["Resources"]["Api"], "Body");
    for operation in operations(body) {
        let uri = operation["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"].as_str();
        let uri = uri.expect("a function");
        assert!(uri.contains("FunctionAliaslive}/"), "{uri}");
    }
    let authorizer = &body["securityDefinitions"]["Token"]["x-amazon-apigateway-authorizer"];
    let parts = &authorizer["authorizerUri"]["Fn::Sub"][1]["__FunctionArn__"];
    called("the authorizer", parts);
}

fn operations(body: &Value) -> impl Iterator<Item = &Value> {
    let paths = body["paths"].as_object().into_iter().flatten();
    let methods = paths.flat_map(|(_, methods)| methods.as_object().into_iter().flatten());
    methods.map(|(_, operation)| operation)
}

/// An update moves callers step by step, and back when an alarm fires.
#[test]
fn every_alias_moves_with_a_way_back() {
    for function in functions() {
        let alias = &template()["Resources"][format!("{function}Aliaslive")];
        let policy = &alias["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"];
        let group = policy["DeploymentGroupName"]["Ref"].as_str();
        let group = group.unwrap_or_else(|| panic!("{function} is replaced at once"));
        let group = &template()["Resources"][group];
        let alarms = &properties(group, "AlarmConfiguration");
        assert_eq!(alarms["Enabled"], true, "{function}");
        let alarms = alarms["Alarms"].as_array().expect("alarms");
        assert!(alarms.len() >= 3, "{function}");
        for alarm in alarms {
            let name = alarm["Name"]["Ref"].as_str().expect("an alarm of ours");
            let alarm = &template()["Resources"][name];
            assert_eq!(alarm["Type"], "AWS::CloudWatch::Alarm", "{name}");
        }
        let back = properties(group, "AutoRollbackConfiguration");
        assert_eq!(back["Enabled"], true, "{function}");
        let events = back["Events"].as_array().expect("events");
        assert!(
            events.contains(&json!("DEPLOYMENT_STOP_ON_ALARM")),
            "{function}"
        );
        let config = properties(group, "DeploymentConfigName")["Fn::Sub"][1]["ConfigName"].as_str();
        assert_eq!(config, Some("Canary10Percent10Minutes"), "{function}");
    }
}

/// SAM makes a new version when code or template change, and takes no note of parameters. So their
/// values stand in a version of the settings, which each function and each of its versions names.
#[test]
fn another_setting_makes_another_version() {
    let number = json!({"Fn::GetAtt": ["SettingsVersion", "VersionNumber"]});
    for (name, function) in resources(template(), "AWS::Lambda::Function") {
        let variables = &properties(function, "Environment")["Variables"];
        assert_eq!(variables["SETTINGS_VERSION"], number, "{name}");
    }
    let mut versions = BTreeSet::new();
    for (name, version) in resources(template(), "AWS::Lambda::Version") {
        assert_eq!(*properties(version, "Description"), number, "{name}");
        versions.insert(name.to_owned());
    }
    assert_eq!(versions.len(), functions().len());
    let changed = of_changed("MemorySize: 512", "MemorySize: 1024");
    let after = resources(&changed, "AWS::Lambda::Version").map(|(name, _)| name.to_owned());
    let after: BTreeSet<String> = after.collect();
    let new: Vec<_> = after.difference(&versions).collect();
    assert_eq!(new.len(), 1, "{new:?}");
    assert!(new[0].starts_with("ModelGatewayFunctionVersion"), "{new:?}");

    let content = &properties(&template()["Resources"]["SettingsVersion"], "Content")["Fn::Sub"];
    let content = content.as_str().expect("a text");
    let parameters = template()["Parameters"].as_object().expect("parameters");
    for (name, parameter) in parameters {
        let stands = content
            .lines()
            .any(|line| line == format!("{name}=${{{name}}}"));
        // A secret has no place in a text that many may read: another Release says that it changed.
        let is_secret = parameter["NoEcho"] == true;
        assert_ne!(
            stands, is_secret,
            "{name}: put every parameter but secrets into Content of SettingsVersion"
        );
    }
    assert!(content.contains("Release=${Release}"));
}

#[test]
fn every_function_has_its_own_memory() {
    let template = checkout::read("template.yaml");
    let said = template.matches("\n      MemorySize: ").count();
    assert_eq!(said, functions().len());
}
