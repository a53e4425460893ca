//! The Kubernetes manifest: Kubernetes' own schemas, and the numbers.

use std::path::Path;

use e2e::checkout;
use serde_json::{Value, json};

use crate::judges::{Draft, Verdict, documents, holds, path, run, tool};

const FILE: &str = "infra/self-hosted/kubernetes.yaml";

fn judge(file: &Path) -> Verdict {
    let mut command = tool("kubernetes-validate");
    run(command.arg("--strict").arg(file))
}

#[test]
fn its_schemas_take_every_resource() {
    let verdict = judge(&path(FILE));
    verdict.accepts();
    let resources = documents(&checkout::read(FILE)).len();
    assert_eq!(
        verdict.said.matches(" passed ").count(),
        resources,
        "{}",
        verdict.said
    );
    judge(&Draft::broken(FILE, "hostUsers:", "hostUser:").path).refuses("hostUser");
    judge(&Draft::broken(FILE, "replicas: 1", "replicas: one").path).refuses("replicas");
}

fn find(kind: &str) -> Value {
    let mut found = documents(&checkout::read(FILE));
    found.retain(|one| one["kind"] == kind);
    assert_eq!(found.len(), 1, "{kind}");
    found.remove(0)
}

#[test]
fn it_holds_the_numbers() {
    let set = find("StatefulSet");
    let pod = &set["spec"]["template"]["spec"];
    let probe = |path: &str, delay: u32, period: u32, timeout: u32, failures: u32| {
        json!({"httpGet": {"path": path, "port": "http"}, "initialDelaySeconds": delay,
            "periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": failures})
    };
    holds(
        pod,
        &[
            ("/hostUsers", json!(false)),
            ("/automountServiceAccountToken", json!(false)),
            ("/terminationGracePeriodSeconds", json!(120)),
            ("/securityContext/runAsNonRoot", json!(true)),
            ("/securityContext/runAsUser", json!(1000)),
            ("/securityContext/fsGroup", json!(1000)),
            ("/securityContext/seccompProfile/type", json!("Localhost")),
            (
                "/containers/0/securityContext/allowPrivilegeEscalation",
                json!(false),
            ),
            (
                "/containers/0/securityContext/readOnlyRootFilesystem",
                json!(true),
            ),
            (
                "/containers/0/securityContext/capabilities",
                json!({"drop": ["ALL"]}),
            ),
            // Sessions mount a /proc of their own, which takes one that nothing covers.
            ("/containers/0/securityContext/procMount", json!("Unmasked")),
            (
                "/containers/0/resources/limits",
                json!({"cpu": "2", "memory": "2Gi"}),
            ),
            (
                "/containers/0/resources/requests",
                json!({"cpu": "500m", "memory": "512Mi"}),
            ),
            (
                "/containers/0/livenessProbe",
                probe("/health", 30, 10, 5, 3),
            ),
            ("/containers/0/readinessProbe", probe("/ready", 5, 5, 3, 3)),
            (
                "/containers/0/startupProbe",
                probe("/health", 10, 10, 5, 30),
            ),
        ],
    );
    assert_eq!(set["spec"]["replicas"], 1, "one state, one service");
    holds(
        &find("Ingress")["metadata"]["annotations"],
        &[
            (
                "/nginx.ingress.kubernetes.io~1proxy-buffering",
                json!("off"),
            ),
            (
                "/nginx.ingress.kubernetes.io~1proxy-read-timeout",
                json!("600"),
            ),
            (
                "/nginx.ingress.kubernetes.io~1proxy-send-timeout",
                json!("600"),
            ),
            ("/nginx.ingress.kubernetes.io~1limit-rps", json!("10")),
            (
                "/nginx.ingress.kubernetes.io~1limit-burst-multiplier",
                json!("2"),
            ),
            (
                "/nginx.ingress.kubernetes.io~1limit-connections",
                json!("10"),
            ),
            (
                "/nginx.ingress.kubernetes.io~1proxy-body-size",
                json!("100m"),
            ),
        ],
    );
    // Every volume that is mounted is there, and nothing else.
    let names = |list: &Value| -> Vec<String> {
        let mut names: Vec<String> = list
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| one["name"].as_str().expect("a name").to_owned())
            .collect();
        names.sort();
        names
    };
    let mut made = names(&pod["volumes"]);
    made.push("state".to_owned());
    made.sort();
    assert_eq!(names(&pod["containers"][0]["volumeMounts"]), made);
    let claim = &set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"];
    assert_eq!(claim, "state");
    // The credentials of the node are out of reach.
    let except = find("NetworkPolicy")
        .pointer("/spec/egress/1/to/0/ipBlock/except")
        .cloned();
    let except = except.expect("exceptions").to_string();
    assert!(except.contains("169.254.0.0/16"), "{except}");
    let settings = find("ConfigMap")["data"]["shannon.toml"].to_string();
    assert!(
        settings.contains("log_file_max_bytes = 104857600"),
        "{settings}"
    );
}
