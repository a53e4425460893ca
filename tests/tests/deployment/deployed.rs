//! The translated template, deployed into ministack by CloudFormation calls: an emulator of AWS that we
//! did not write. It makes the resources and checks their properties; it does not stream, so what the
//! functions do is tested elsewhere.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use e2e::translated::{CODE, template};
use e2e::{checkout, installed};
use serde_json::{Value, json};

use crate::recovery;

/// What ministack 1.5.33 does not make: a type or a resource, and what it says.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "AWS::CodeDeploy::Application",
        "Unrecognized resource types",
    ),
    (
        "AWS::CodeDeploy::DeploymentGroup",
        "Unrecognized resource types",
    ),
    ("AWS::Budgets::Budget", "Unrecognized resource types"),
    ("HighSessionCount", "metric math"),
];

fn deployed() -> Value {
    let (bucket, key) = CODE;
    let left_out: Vec<&str> = LEFT_OUT.iter().map(|(name, _)| *name).collect();
    let asked = json!({
        "template": template(),
        "code": [bucket, key],
        "left_out": left_out,
        "parameters": {
            "AccessTokenSha256": "0".repeat(64), "SigningKey": "k".repeat(64),
            "AnthropicApiKey": "a".repeat(64), "RunnerImage": "example.com/session-runner:1",
        },
        "changed": {"MaxSessions": "7"},
        "infra": checkout::root().join("infra"),
        "aws": installed::aws_cli().parent().expect("a directory"),
        "deployer": installed::cargo_lambda(),
        "source": checkout::root(),
        "program": checkout::target_directory().join("debug/discover"),
        "options": {
            "DomainName": "mcp.example.com",
            "CertificateArn": "arn:aws:acm:us-east-1:000000000000:certificate/01234567-89ab-cdef-0123-456789abcdef",
            "WebAclArn": "arn:aws:wafv2:us-east-1:000000000000:global/webacl/acl/1",
            "LoginDomain": "shannon-test", "EncryptionKey": "own", "SecretsManager": "true", "Architecture": "x86_64",
            "StreamConcurrency": "5", "UpkeepConcurrency": "2", "AlarmAddress": "a@example.com",
            "BudgetAddress": "b@example.com",
        },
    });
    let script = checkout::root().join("tests/tests/deployment/deploy.py");
    let mut child = Command::new(installed::ministack().interpreter())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut input = child.stdin.take().expect("a pipe");
    let text = asked.to_string();
    let written = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("Python ends");
    written
        .join()
        .expect("no panic")
        .expect("the input is read");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

/// Names of the resources that are there under the conditions that hold.
fn expected(conditions: &[&str]) -> BTreeSet<String> {
    let left_out = |name: &str, kind: &Value| {
        LEFT_OUT
            .iter()
            .any(|(known, _)| *known == name || kind == known)
    };
    let resources = template()["Resources"].as_object().expect("resources");
    resources
        .iter()
        .filter(|(name, resource)| !left_out(name, &resource["Type"]))
        .filter(|(_, resource)| {
            let condition = resource["Condition"].as_str();
            condition.is_none_or(|condition| conditions.contains(&condition))
        })
        .map(|(name, _)| name.clone())
        .collect()
}

fn made(stack: &Value) -> BTreeSet<String> {
    let names = stack["resources"].as_array().expect("names");
    names
        .iter()
        .map(|name| name.as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn it_deploys_into_an_emulator_of_others() {
    let answer = deployed();
    for ((name, says), refused) in LEFT_OUT
        .iter()
        .zip(answer["refused"].as_array().expect("a list"))
    {
        assert_eq!(refused[0], *name);
        assert!(refused[1].as_u64() > Some(0), "there is no {name} any more");
        // What it learns to make is to be made.
        let words = refused[3].as_str().expect("words");
        assert_ne!(refused[2], "CREATE_COMPLETE", "{name} can be deployed now");
        assert!(words.contains(says), "{name}: {words}");
    }
    let always = ["HasApiGatewayLogging"];
    for (stack, status) in [("plain", "CREATE_COMPLETE"), ("changed", "UPDATE_COMPLETE")] {
        let stack = &answer[stack];
        assert_eq!(stack["status"], status, "{}", stack["reason"]);
        assert_eq!(made(stack), expected(&always));
    }
    // A setting changed, so every function is another version, and so is what its alias names.
    let versions = |stack: &Value| -> BTreeSet<String> {
        let aliases = stack["aliases"].as_object().expect("aliases");
        aliases
            .values()
            .map(|version| version.as_str().expect("a number").to_owned())
            .collect()
    };
    assert_eq!(versions(&answer["plain"]), BTreeSet::from(["1".to_owned()]));
    assert_eq!(
        versions(&answer["changed"]),
        BTreeSet::from(["2".to_owned()])
    );
    let outputs = &answer["plain"]["outputs"];
    let url = outputs["McpUrl"].as_str().expect("an address");
    let host = url
        .strip_prefix("https://")
        .and_then(|url| url.strip_suffix("/mcp"));
    let host = host.unwrap_or_else(|| panic!("{url}"));
    assert!(host.ends_with(".cloudfront.net"), "{host}");
    let next = outputs["NextCommand"].as_str().expect("a command");
    assert!(
        next.contains(&format!("PublicUrl=https://{host}")),
        "{next}"
    );
    assert_eq!(
        answer["distribution"],
        json!({"path": "/production", "seconds": 60})
    );
    // It takes these properties and does nothing with them; rules look at them instead.
    assert_eq!(
        answer["unapplied"],
        json!({"PointInTimeRecoverySpecification": "DISABLED", "BucketEncryption": "AES256"}),
        "ministack applies more now: assert it"
    );

    recovery::check(&answer["recovery"]);
    // By itself, with its alias, and nothing but its program.
    let each = &answer["each"];
    assert_eq!(each["status"], 0, "{each}");
    assert_eq!(
        (&each["another"], &each["changed"]),
        (&json!(true), &json!([])),
        "{each}"
    );
    assert!(each["bytes"].as_u64() > Some(1_000_000), "{each}");
    assert!(each["variables"].as_u64() > Some(3), "{each}");
    assert_eq!(each["live"], each["newest"], "{each}");

    let options = &answer["options"];
    assert_eq!(
        options["status"], "CREATE_COMPLETE",
        "{}",
        options["reason"]
    );
    let on = [
        "HasApiGatewayLogging",
        "HasHostedZone",
        "HasUserPool",
        "HasOwnKey",
        "HasSecretsManager",
        "HasAlarmAddress",
    ];
    assert_eq!(made(options), expected(&on));
    assert_eq!(options["outputs"]["McpUrl"], "https://mcp.example.com/mcp");
}
