//! The rules of `infra/guard/security.guard` hold, and each of them can fail.

use std::process::Command;

use e2e::translated::template;
use e2e::{checkout, installed};
use serde_json::{Value, json};

const CHECK: &str = r#"
import json, sys
from cfn_guard_rs.cfn_guard_rs import run_checks_rs
rules = open("infra/guard/security.guard").read()
answers = []
for data in json.load(sys.stdin):
    report = json.loads(run_checks_rs(json.dumps(data), rules, False))
    answers.append({"failed": sorted(one["Rule"]["name"] for one in report["not_compliant"]),
                    "held": sorted(report["compliant"]), "skipped": sorted(report["not_applicable"])})
json.dump(answers, sys.stdout)
"#;

/// What the rules say of each of these templates.
fn judged(templates: &[Value]) -> Vec<Value> {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut child = Command::new(installed::guard().interpreter())
        .args(["-c", CHECK])
        .current_dir(checkout::root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let text = json!(templates).to_string();
    let mut input = child.stdin.take().expect("a pipe");
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

/// A change of one property, by JSON pointer below `Resources`, and the rule that it breaks.
fn changes() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "/Bucket/Properties/BucketEncryption/ServerSideEncryptionConfiguration/0/ServerSideEncryptionByDefault/SSEAlgorithm",
            json!("AES256"),
            "bucket_is_encrypted_by_kms",
        ),
        (
            "/Bucket/Properties/PublicAccessBlockConfiguration/BlockPublicPolicy",
            json!(false),
            "bucket_is_private",
        ),
        (
            "/Bucket/Properties/VersioningConfiguration/Status",
            json!("Suspended"),
            "bucket_keeps_versions",
        ),
        (
            "/BucketPolicy/Properties/PolicyDocument/Statement/0/Effect",
            json!("Allow"),
            "bucket_takes_tls_only",
        ),
        (
            "/SessionTable/Properties/PointInTimeRecoverySpecification/PointInTimeRecoveryEnabled",
            json!(false),
            "table_can_be_restored",
        ),
        (
            "/NoticeFailures/Properties/SqsManagedSseEnabled",
            json!(false),
            "queue_is_encrypted",
        ),
        (
            "/RunnerSecurityGroup/Properties/SecurityGroupIngress",
            json!([{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "0.0.0.0/0"}]),
            "nothing_is_let_in",
        ),
        (
            "/Distribution/Properties/DistributionConfig/DefaultCacheBehavior/ViewerProtocolPolicy",
            json!("allow-all"),
            "viewers_use_tls",
        ),
        ("/CallLogs/Properties", json!({}), "logs_end"),
        (
            "/CallFunction/Properties/LoggingConfig",
            json!({}),
            "functions_log_to_a_group_of_ours",
        ),
        (
            "/Key/Properties/EnableKeyRotation",
            json!(false),
            "keys_are_rotated",
        ),
        (
            "/UserPool/Properties/AdminCreateUserConfig/AllowAdminCreateUserOnly",
            json!(false),
            "nobody_signs_up",
        ),
    ]
}

#[test]
fn every_rule_holds_and_can_fail() {
    let mut templates = vec![template().clone()];
    for (pointer, value, _) in changes() {
        let mut changed = template().clone();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let parent = changed["Resources"].pointer_mut(parent);
        let parent = parent.unwrap_or_else(|| panic!("there is no {pointer}"));
        match parent {
            Value::Array(items) => items[name.parse::<usize>().expect("an index")] = value,
            parent => parent[name] = value,
        }
        templates.push(changed);
    }
    let answers = judged(&templates);
    let held = answers[0]["held"].as_array().expect("rules");
    assert_eq!(answers[0]["failed"], json!([]), "{}", answers[0]);
    assert_eq!(answers[0]["skipped"], json!([]), "{}", answers[0]);
    for ((pointer, _, rule), answer) in changes().into_iter().zip(&answers[1..]) {
        assert_eq!(answer["failed"], json!([rule]), "{pointer}");
    }
    let can_fail: Vec<&str> = changes().into_iter().map(|(_, _, rule)| rule).collect();
    for rule in held {
        let rule = rule.as_str().expect("a name");
        assert!(can_fail.contains(&rule), "no change makes {rule} fail");
    }
}
