//! One name for one thing: directory, package, binary, resource of the template, sample events.

use std::collections::{BTreeMap, BTreeSet};

use e2e::checkout;
use serde_json::Value;

/// The template with the CloudFormation tags dropped: `!Ref Api` reads as `Api`.
pub(crate) fn template() -> Value {
    serde_saphyr::from_str(&checkout::read("template.yaml"))
        .unwrap_or_else(|error| panic!("template.yaml: {error}"))
}

/// Resources of a type, by logical name.
pub(crate) fn resources(template: &Value, kind: &str) -> BTreeMap<String, Value> {
    template["Resources"]
        .as_object()
        .expect("the template has resources")
        .iter()
        .filter(|(_, resource)| resource["Type"] == kind)
        .map(|(name, resource)| (name.clone(), resource.clone()))
        .collect()
}

/// The functions of the template: binary name and resource.
pub(crate) fn template_functions(template: &Value) -> BTreeMap<String, Value> {
    resources(template, "AWS::Serverless::Function")
        .into_iter()
        .map(|(logical, resource)| {
            let binary = resource["Metadata"]["BuildProperties"]["Binary"]
                .as_str()
                .unwrap_or_else(|| panic!("{logical} names no binary"))
                .to_owned();
            (binary, resource)
        })
        .collect()
}

fn logical_name(directory: &str) -> String {
    let mut name: String = directory
        .split('-')
        .map(|part| part[..1].to_uppercase() + &part[1..])
        .collect();
    name.push_str("Function");
    name
}

fn binaries() -> BTreeMap<String, BTreeSet<String>> {
    checkout::metadata()
        .packages
        .iter()
        .map(|package| {
            let binaries = package
                .targets
                .iter()
                .filter(|target| target.is_bin())
                .map(|target| target.name.clone())
                .collect();
            (package.name.to_string(), binaries)
        })
        .collect()
}

#[test]
fn logical_names_follow_directories() {
    assert_eq!(logical_name("model-gateway"), "ModelGatewayFunction");
    for (logical, resource) in resources(&template(), "AWS::Serverless::Function") {
        let binary = resource["Metadata"]["BuildProperties"]["Binary"]
            .as_str()
            .expect("a function names its binary");
        assert_eq!(logical, logical_name(binary));
        assert_eq!(
            resource["Metadata"]["BuildMethod"], "rust-cargolambda",
            "{logical}"
        );
        assert_eq!(
            resource["Properties"]["FunctionName"],
            format!("${{AWS::StackName}}-{binary}")
        );
    }
}

#[test]
fn every_directory_is_a_resource_and_every_resource_a_directory() {
    let template = template();
    let mut deployed: BTreeSet<String> = template_functions(&template).into_keys().collect();
    for resource in resources(&template, "AWS::ECS::TaskDefinition").values() {
        let family = resource["Properties"]["Family"].as_str().expect("a family");
        for container in resource["Properties"]["ContainerDefinitions"]
            .as_array()
            .expect("containers")
        {
            let name = container["Name"].as_str().expect("a container has a name");
            assert_eq!(family, format!("${{AWS::StackName}}-{name}"));
            deployed.insert(name.to_owned());
        }
    }
    assert_eq!(checkout::directories("functions"), deployed);
}

#[test]
fn every_function_is_a_package_with_one_binary_of_its_name() {
    let binaries = binaries();
    for function in checkout::directories("functions") {
        let expected = BTreeSet::from([function.clone()]);
        assert_eq!(
            binaries.get(&function),
            Some(&expected),
            "functions/{function}"
        );
    }
}

/// A function answers in one way: one that streams writes a prelude that a buffered integration
/// would hand to the client as a malformed answer.
#[test]
fn a_function_is_invoked_either_streaming_or_buffered() {
    for (function, resource) in template_functions(&template()) {
        let modes: BTreeSet<Option<&str>> = resource["Properties"]["Events"]
            .as_object()
            .into_iter()
            .flat_map(|events| events.values())
            .filter(|event| event["Type"] == "Api")
            .map(|event| event["Properties"]["ResponseTransferMode"].as_str())
            .collect();
        assert!(
            modes.len() <= 1,
            "{function} is invoked in several ways: {modes:?}"
        );
    }
}

#[test]
fn the_dockerfile_builds_the_runner_and_pins_the_cli() {
    let template = template();
    let dockerfile = checkout::read("infra/runner/Dockerfile");
    let pinned = template["Parameters"]["ClaudeVersion"]["Default"]
        .as_str()
        .expect("the template pins the CLI");
    assert_eq!(pinned, e2e::installed::CLAUDE_VERSION);
    // Which version it is stands in the table of settings alone: infra/runner/build gives it.
    assert!(dockerfile.contains("ARG CLAUDE_VERSION\n") && !dockerfile.contains(pinned));
    assert!(dockerfile.contains("cargo build --release --locked --package session-runner"));
}
