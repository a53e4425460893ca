//! The image of the self-hosted service, the compose file, and the filter of system calls of both.

use std::collections::BTreeSet;
use std::process::Command;

use e2e::{checkout, installed};
use serde_json::{Value, json};

use crate::judges::{Draft, Verdict, changed, holds, path, run, schema, yaml};

const DOCKERFILE: &str = "infra/self-hosted/Dockerfile";
const COMPOSE: &str = "infra/self-hosted/compose.yaml";
const SECCOMP: &str = "infra/self-hosted/seccomp.json";

#[test]
fn hadolint_takes_the_image_and_refuses_a_broken_one() {
    let judge = |file: &std::path::Path| {
        let mut command = Command::new(installed::hadolint());
        command
            .args(["--failure-threshold", "style", "--no-color"])
            .arg(file);
        run(&mut command)
    };
    let verdict = judge(&path(DOCKERFILE));
    verdict.accepts();
    assert_eq!(verdict.said, "");
    judge(
        &Draft::broken(
            DOCKERFILE,
            "install -y --no-install-recommends ca-",
            "install ca-",
        )
        .path,
    )
    .refuses("DL3014");
}

#[test]
fn the_image_is_an_ordinary_users_and_its_health_can_fail() {
    let text = checkout::read(DOCKERFILE);
    let (_, service) = text.split_once(" AS service\n").expect("the last stage");
    for line in [
        "USER 1000:1000\n",
        "VOLUME [\"/var/lib/shannon\"]\n",
        "EXPOSE 8080\n",
        "HEALTHCHECK --interval=30s --timeout=10s --start-period=40s --retries=3 \\\n  CMD [\"curl\", \"--fail\",",
        "\"http://127.0.0.1:8080/ready\"]\n",
        "ENTRYPOINT [\"/opt/shannon/emulator\"]\nCMD [\"serve\"]\n",
        "install -d -m 0700 -o 1000 -g 1000 /var/lib/shannon",
    ] {
        assert!(service.contains(line), "no {line}");
    }
    // A build gets what it needs of the checkout, and nothing else.
    let taken = checkout::read(format!("{DOCKERFILE}.dockerignore"));
    let runner = checkout::read("infra/runner/Dockerfile.dockerignore");
    for line in runner.lines().filter(|line| line.starts_with('!')) {
        assert!(taken.contains(line), "{line} is not taken");
    }
    for source in text
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.contains("--from="))
        .flat_map(str::split_whitespace)
        .filter(|word| word.starts_with("infra/"))
    {
        assert!(path(source).is_file(), "{source}");
        assert!(
            taken.contains(&format!("!{source}\n")),
            "{source} is not taken"
        );
    }
}

#[test]
fn the_script_builds_both_images_of_the_file() {
    for (option, target) in [("--service", "service"), ("--functions", "functions")] {
        let mut build = Command::new(path("infra/runner/build"));
        build.args(["--dry-run", option, "ghcr.io/owner/shannon"]);
        let verdict = run(&mut build);
        verdict.accepts();
        let said = verdict.said.replace('\\', "");
        for expected in [
            format!("--file {DOCKERFILE} "),
            format!("--target {target} "),
            "SHANNON_IMAGE=ghcr.io/owner/shannon:".to_owned(),
        ] {
            assert!(said.contains(&expected), "no {expected} in {said}");
        }
        let stage = format!(" AS {target}\n");
        assert!(checkout::read(DOCKERFILE).contains(&stage), "no{stage}");
    }
    let mut both = Command::new(path("infra/runner/build"));
    both.args(["--dry-run", "--service", "--functions", "ghcr.io/o/i"]);
    run(&mut both).refuses("one image at a time");
}

#[test]
fn the_compose_file_follows_its_specification() {
    schema("vendor.compose-spec", &[], &path(COMPOSE)).accepts();
    let broken = Draft::broken(COMPOSE, "stop_grace_period", "stop_grace");
    schema("vendor.compose-spec", &[], &broken.path).refuses("stop_grace");
    let broken = Draft::broken(COMPOSE, "retries: 3", "retries: [3]");
    schema("vendor.compose-spec", &[], &broken.path).refuses("retries");
}

/// `docker-compose config` of a file, with the two values that have no default, or without them.
fn docker_compose(file: &std::path::Path, with_values: bool) -> Verdict {
    let mut command = Command::new(installed::docker_compose());
    command
        .arg("--file")
        .arg(file)
        .arg("config")
        .env_remove("SHANNON_IMAGE")
        .env_remove("SHANNON_PUBLIC_URL");
    if with_values {
        command
            .env("SHANNON_IMAGE", "ghcr.io/owner/shannon:1")
            .env("SHANNON_PUBLIC_URL", "https://shannon.example.com");
    }
    run(&mut command)
}

#[test]
fn docker_compose_takes_the_file() {
    let verdict = docker_compose(&path(COMPOSE), true);
    verdict.accepts();
    for line in [
        "name: shannon\n",
        "image: ghcr.io/owner/shannon:1\n",
        "SHANNON_PUBLIC_URL: https://shannon.example.com\n",
        "ipv4_address: 172.30.250.10\n",
        "pids: 4096\n",
        "stop_grace_period: 2m0s\n",
    ] {
        assert!(verdict.said.contains(line), "no {line} in {}", verdict.said);
    }
    docker_compose(&path(COMPOSE), false).refuses("infra/runner/build --service");
    let broken = Draft::broken(COMPOSE, "stop_grace_period", "stop_grace");
    docker_compose(&broken.path, true).refuses("stop_grace");
    // What no schema sees: a volume that nothing declares, and two limits that contradict each other.
    let broken = Draft::broken(COMPOSE, "\n  state: {}\n", "\n  states: {}\n");
    docker_compose(&broken.path, true).refuses("undefined volume state");
    let broken = Draft::broken(
        COMPOSE,
        "    ulimits:\n",
        "    pids_limit: 8\n    ulimits:\n",
    );
    docker_compose(&broken.path, true).refuses("pids_limit");
}

#[test]
fn the_compose_file_holds_the_numbers() {
    let compose = yaml(COMPOSE);
    let logging = json!({"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}});
    holds(
        &compose,
        &[
            ("/services/shannon/user", json!("1000:1000")),
            ("/services/shannon/read_only", json!(true)),
            ("/services/shannon/cap_drop", json!(["ALL"])),
            (
                "/services/shannon/security_opt/0",
                json!("no-new-privileges:true"),
            ),
            (
                "/services/shannon/security_opt/1",
                json!("seccomp=./seccomp.json"),
            ),
            (
                "/services/shannon/security_opt/2",
                json!("systempaths=unconfined"),
            ),
            (
                "/services/shannon/security_opt/3",
                json!("apparmor=unconfined"),
            ),
            ("/services/shannon/stop_grace_period", json!("120s")),
            ("/services/shannon/healthcheck/interval", json!("30s")),
            ("/services/shannon/healthcheck/timeout", json!("10s")),
            ("/services/shannon/healthcheck/start_period", json!("40s")),
            ("/services/shannon/healthcheck/retries", json!(3)),
            ("/services/shannon/deploy/resources/limits/cpus", json!("2")),
            (
                "/services/shannon/deploy/resources/limits/memory",
                json!("2G"),
            ),
            (
                "/services/shannon/deploy/resources/reservations/cpus",
                json!("0.5"),
            ),
            (
                "/services/shannon/deploy/resources/reservations/memory",
                json!("512M"),
            ),
            ("/services/shannon/ulimits/nofile", json!(65535)),
            ("/services/shannon/logging", logging.clone()),
            ("/services/nginx/logging", logging),
            ("/services/nginx/read_only", json!(true)),
            (
                "/services/nginx/security_opt",
                json!(["no-new-privileges:true"]),
            ),
            (
                "/services/nginx/depends_on/shannon/condition",
                json!("service_healthy"),
            ),
        ],
    );
    let health = &compose["services"]["shannon"]["healthcheck"]["test"];
    let asked = health.as_array().and_then(|words| words.last());
    assert_eq!(asked, Some(&json!("http://127.0.0.1:8080/ready")));
    // Nobody reaches the service past nginx, and no secret stands in the environment.
    let service = &compose["services"]["shannon"];
    assert_eq!(service.get("ports"), None);
    for (name, value) in service["environment"].as_object().expect("variables") {
        let is_secret = name.contains("TOKEN") || name.contains("KEY") || name.contains("SECRET");
        let value = value.as_str().expect("text");
        assert_eq!(is_secret, name.ends_with("_FILE"), "{name}");
        assert!(!is_secret || value.starts_with("/run/secrets/"), "{name}");
    }
    // The one line that differs from a machine of its own is there to be changed.
    let command = compose["services"]["nginx"]["command"].to_string();
    assert!(
        command.contains("sed 's/127\\\\.0\\\\.0\\\\.1:8080/shannon:8080/'"),
        "{command}"
    );
    let nginx = checkout::read("infra/self-hosted/nginx.conf");
    assert_eq!(nginx.matches("127.0.0.1:8080").count(), 1);
}

/// Escapes and what no session has a use for.
const FORBIDDEN: [&str; 24] = [
    "add_key",
    "bpf",
    "clone3",
    "delete_module",
    "finit_module",
    "init_module",
    "io_uring_setup",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "name_to_handle_at",
    "nfsservctl",
    "open_by_handle_at",
    "perf_event_open",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "quotactl",
    "reboot",
    "request_key",
    "setns",
    "settimeofday",
    "swapon",
    "userfaultfd",
];

#[test]
fn the_filter_lets_a_session_have_namespaces_and_nothing_of_the_machine() {
    let filter: Value = serde_json::from_str(&checkout::read(SECCOMP)).expect("JSON");
    holds(
        &filter,
        &[
            ("/defaultAction", json!("SCMP_ACT_ERRNO")),
            // "No such system call": programs take an older one.
            ("/defaultErrnoRet", json!(38)),
        ],
    );
    let (rules, refused): (Vec<&Value>, Vec<&Value>) = filter["syscalls"]
        .as_array()
        .expect("rules")
        .iter()
        .partition(|rule| rule["action"] == "SCMP_ACT_ALLOW");
    // Docker 20.10 says EPERM to whatever is not named, and then nothing could start a thread.
    let [clone3] = refused[..] else {
        panic!("{refused:?}");
    };
    assert_eq!(clone3["names"], json!(["clone3"]));
    assert_eq!(clone3["action"], "SCMP_ACT_ERRNO");
    assert_eq!(clone3["errnoRet"], 38);
    let names = |rule: &Value| -> BTreeSet<String> {
        let names = rule["names"].as_array().expect("names").iter();
        names
            .map(|it| it.as_str().expect("text").to_owned())
            .collect()
    };
    let all: Vec<String> = rules.iter().flat_map(|rule| names(rule)).collect();
    let known: BTreeSet<&String> = all.iter().collect();
    assert_eq!(known.len(), all.len(), "one rule for each name");
    for name in FORBIDDEN {
        assert!(!known.contains(&name.to_owned()), "{name} is allowed");
    }
    for name in [
        "mount",
        "umount2",
        "pivot_root",
        "sethostname",
        "execve",
        "futex",
        "prlimit64",
    ] {
        assert!(known.contains(&name.to_owned()), "{name} is missing");
    }
    // Only with these flags unset: CLONE_NEWNET, CLONE_NEWCGROUP, and CLONE_NEWTIME where it is one.
    for (name, mask) in [("clone", 0x4200_0000_u64), ("unshare", 0x4200_0080)] {
        let rule = rules.iter().find(|rule| names(rule).contains(name));
        let condition =
            json!([{"index": 0, "value": mask, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]);
        assert_eq!(rule.expect("a rule")["args"], condition, "{name}");
    }
    assert!(serde_json::from_str::<Value>(&changed(SECCOMP, "\"syscalls\"", "syscalls")).is_err());
}
