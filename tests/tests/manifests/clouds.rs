//! Azure Container Apps and Google Cloud Run. Neither publishes a JSON schema in a package, so names,
//! types and words are those of Azure's SDK, and of the discovery document of Cloud Run that Google's
//! client carries.

use std::process::Command;

use e2e::checkout;
use serde_json::{Value, json};

use crate::judges::{Verdict, changed, conform, documents, holds, path, run_on};

const APPS: &str = "infra/self-hosted/container-apps.json";
const RUN: &str = "infra/cloud-run/mcp.yaml";

fn azure(text: &str) -> Verdict {
    let template: Value = serde_json::from_str(text).expect("JSON");
    run_on(
        &mut conform(&["azure", "2026-07-01"]),
        &template["resources"],
    )
}

#[test]
fn the_models_of_container_apps_take_the_template() {
    azure(&checkout::read(APPS)).accepts();
    azure(&changed(APPS, "\"targetPort\"", "\"targetPorts\"")).refuses("targetPorts");
    azure(&changed(
        APPS,
        "\"maxReplicas\": 1",
        "\"maxReplicas\": \"1\"",
    ))
    .refuses("maxReplicas");
    azure(&changed(APPS, "\"NfsAzureFile\"", "\"Nfs\"")).refuses("'Nfs' is none of");
    azure(&changed(
        APPS,
        "\"apiVersion\": \"2026",
        "\"apiVersion\": \"2016",
    ))
    .refuses("apiVersion");
}

#[test]
fn the_template_of_container_apps_holds_the_numbers() {
    let template: Value = serde_json::from_str(&checkout::read(APPS)).expect("JSON");
    let app = &template["resources"][2]["properties"];
    let probe = |kind: &str, path: &str, delay: u32, period: u32, timeout: u32, failures: u32| {
        json!({"type": kind, "httpGet": {"path": path, "port": 8080, "scheme": "HTTP"},
            "initialDelaySeconds": delay, "periodSeconds": period, "timeoutSeconds": timeout,
            "failureThreshold": failures})
    };
    holds(
        app,
        &[
            (
                "/template/scale",
                json!({"minReplicas": 1, "maxReplicas": 1}),
            ),
            ("/template/terminationGracePeriodSeconds", json!(120)),
            // Container Apps gives two processors four GiB, and no fewer.
            (
                "/template/containers/0/resources",
                json!({"cpu": 2.0, "memory": "4Gi"}),
            ),
            // At most ten failures there: the same 300 s by a longer period.
            (
                "/template/containers/0/probes/0",
                probe("Startup", "/health", 10, 30, 5, 10),
            ),
            (
                "/template/containers/0/probes/1",
                probe("Liveness", "/health", 30, 10, 5, 3),
            ),
            (
                "/template/containers/0/probes/2",
                probe("Readiness", "/ready", 5, 5, 3, 3),
            ),
            ("/configuration/ingress/allowInsecure", json!(false)),
            ("/configuration/ingress/targetPort", json!(8080)),
        ],
    );
    // Sessions without isolation are a decision of whoever deploys.
    assert_eq!(
        template["parameters"]["allowUnisolatedSessions"]["defaultValue"],
        false
    );
    let arguments = app.pointer("/template/containers/0/args").cloned();
    let arguments = arguments.expect("arguments").to_string();
    assert!(
        arguments.starts_with("\"[if(parameters('allowUnisolatedSessions'), "),
        "{arguments}"
    );
    // No secret is a parameter or a variable.
    let secrets = app["configuration"]["secrets"].as_array().expect("secrets");
    for secret in secrets {
        assert!(
            secret.get("value").is_none() && secret["keyVaultUrl"].is_string(),
            "{secret}"
        );
    }
}

fn cloud_run(service: &Value) -> Verdict {
    run_on(&mut conform(&["cloud-run"]), service)
}

#[test]
fn cloud_run_takes_the_service() {
    let service = |text: &str| documents(text).remove(0);
    cloud_run(&service(&checkout::read(RUN))).accepts();
    cloud_run(&service(&changed(
        RUN,
        "timeoutSeconds: 600",
        "timeout: 600",
    )))
    .refuses("'timeout'");
    cloud_run(&service(&changed(
        RUN,
        "containerConcurrency: 80",
        "containerConcurrency: many",
    )))
    .refuses("containerConcurrency");
}

#[test]
fn the_service_of_cloud_run_holds_the_numbers() {
    let service = documents(&checkout::read(RUN)).remove(0);
    holds(
        &service["spec"]["template"],
        &[
            (
                "/metadata/annotations/autoscaling.knative.dev~1minScale",
                json!("0"),
            ),
            (
                "/metadata/annotations/autoscaling.knative.dev~1maxScale",
                json!("10"),
            ),
            (
                "/metadata/annotations/run.googleapis.com~1execution-environment",
                json!("gen2"),
            ),
            ("/spec/containerConcurrency", json!(80)),
            ("/spec/timeoutSeconds", json!(600)),
            (
                "/spec/containers/0/resources/limits",
                json!({"cpu": "2", "memory": "2Gi"}),
            ),
            (
                "/spec/containers/0/startupProbe/httpGet",
                json!({"path": "/health", "port": 8080}),
            ),
        ],
    );
}

fn rendered(variables: &Value, arguments: &[&str]) -> Verdict {
    let mut command = Command::new("python3");
    command
        .arg(path("infra/cloud-run/render"))
        .args([
            "--image",
            "europe-docker.pkg.dev/project/shannon/functions@sha256:aa",
        ])
        .args([
            "--service-account",
            "shannon@project.iam.gserviceaccount.com",
        ])
        .args(["--region", "eu-west-1", "--host", "shannon-mcp-1.run.app"])
        .args(arguments);
    run_on(&mut command, variables)
}

#[test]
fn the_service_takes_the_settings_of_the_deployed_function_and_no_secret() {
    let role = [
        "--role-arn",
        "arn:aws:iam::123456789012:role/shannon-cloud-run",
    ];
    let mut variables = json!({
        "SHANNON_TABLE": "table", "SHANNON_BUCKET": "bucket", "SHANNON_CLUSTER": "cluster",
        "SHANNON_TASK_DEFINITION": "task", "SHANNON_STAGE": "a \"quoted\": 'stage' #1",
        "SHANNON_ALLOWED_ORIGINS": "", "SHANNON_SIGNING_KEY": "do-not-show-this",
        "SHANNON_BIND": "127.0.0.1", "SETTINGS_VERSION": "7",
    });
    let verdict = rendered(&variables, &role);
    verdict.accepts();
    assert!(!verdict.said.contains("do-not-show-this"));
    let service = documents(&verdict.said).remove(0);
    cloud_run(&service).accepts();
    let containers = &service["spec"]["template"]["spec"]["containers"];
    let environment = containers[0]["env"].as_array().expect("variables");
    let value = |name: &str| -> Option<Value> {
        let found: Vec<&Value> = environment
            .iter()
            .filter(|one| one["name"] == name)
            .collect();
        assert!(found.len() < 2, "{name} twice");
        found.first().map(|one| one["value"].clone())
    };
    assert_eq!(
        value("SHANNON_STAGE"),
        Some(variables["SHANNON_STAGE"].clone())
    );
    assert_eq!(
        value("SHANNON_BIND"),
        Some(json!("0.0.0.0")),
        "what the container needs wins"
    );
    assert_eq!(
        value("SHANNON_ALLOWED_HOSTS"),
        Some(json!("shannon-mcp-1.run.app"))
    );
    assert_eq!(value("AWS_ROLE_ARN"), Some(json!(role[1])));
    assert_eq!(
        value("SHANNON_SIGNING_KEY"),
        Some(Value::Null),
        "by reference"
    );
    assert_eq!(
        (value("SETTINGS_VERSION"), value("SHANNON_ALLOWED_ORIGINS")),
        (None, None)
    );
    for word in ["IMAGE", "ROLE_ARN", "SERVICE_ACCOUNT", "REGION"] {
        assert!(
            !verdict.said.contains(&format!(": {word}\n")),
            "{word} is not filled in"
        );
    }
    rendered(
        &variables,
        &["--role-arn", "arn:aws:iam::123456789012:user/me"],
    )
    .refuses("role-arn");
    variables
        .as_object_mut()
        .expect("an object")
        .remove("SHANNON_TABLE");
    rendered(&variables, &role).refuses("SHANNON_TABLE missing");
    rendered(&json!(["SHANNON_TABLE"]), &role).refuses("no JSON object");
}
