//! The pipelines of GitHub and GitLab: their schemas, the linter of workflows, and what must not be in
//! them: long-lived keys, actions that somebody else can change, deployments that nobody approves.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use e2e::{checkout, installed};
use serde_json::Value;

use crate::judges::{Draft, Verdict, path, run, schema, tool, yaml};

const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shannon-session-runner";
const GITLAB: &str = ".gitlab-ci.yml";

fn workflows() -> Vec<String> {
    let all = checkout::files();
    let inside = all
        .iter()
        .filter(|file| file.starts_with(".github/workflows"));
    let names: Vec<String> = inside.map(|file| file.display().to_string()).collect();
    assert!(names.len() >= 3, "{names:?}");
    names
}

fn actionlint(file: &Path) -> Verdict {
    let mut command = tool("actionlint");
    command
        .arg("-no-color")
        .arg("-shellcheck")
        .arg(installed::manifest_tools().program("shellcheck"))
        .arg(file);
    run(&mut command)
}

#[test]
fn actionlint_takes_every_workflow() {
    for file in workflows() {
        actionlint(&path(&file)).accepts();
    }
    let test = ".github/workflows/test.yml";
    actionlint(&Draft::broken(test, "    runs-on: ubuntu-24.04\n", "").path).refuses("runs-on");
    actionlint(&Draft::broken(test, "github.ref }}", "github.nothing }}").path).refuses("nothing");
}

#[test]
fn the_schemas_take_every_pipeline() {
    for file in workflows() {
        schema("vendor.github-workflows", &[], &path(&file)).accepts();
    }
    let broken = Draft::broken(".github/workflows/test.yml", "jobs:", "job:");
    schema("vendor.github-workflows", &[], &broken.path).refuses("jobs");
    let gitlab = |file: &Path| schema("vendor.gitlab-ci", &["--data-transform", "gitlab-ci"], file);
    gitlab(&path(GITLAB)).accepts();
    gitlab(&Draft::broken(GITLAB, "when: manual", "when: ever").path).refuses("ever");
}

fn steps(workflow: &Value) -> Vec<Value> {
    let jobs = workflow["jobs"].as_object().expect("jobs").values();
    jobs.filter_map(|job| job["steps"].as_array())
        .flatten()
        .cloned()
        .collect()
}

#[test]
fn every_action_is_pinned_by_its_commit() {
    let mut seen = 0;
    for file in workflows() {
        for step in steps(&yaml(&file)) {
            let Some(action) = step["uses"].as_str() else {
                continue;
            };
            let (_, commit) = action.split_once('@').expect("a version");
            let is_commit = commit.len() == 40 && commit.bytes().all(|it| it.is_ascii_hexdigit());
            assert!(is_commit, "{file}: {action}");
            seen += 1;
        }
    }
    assert!(seen > 5);
}

#[test]
fn no_pipeline_has_a_long_lived_key_or_more_than_it_needs() {
    for file in workflows() {
        let workflow = yaml(&file);
        assert_eq!(
            workflow["permissions"],
            serde_json::json!({"contents": "read"}),
            "{file}"
        );
        let text = checkout::read(&file);
        for word in [
            "aws-access-key-id",
            "AWS_ACCESS_KEY_ID",
            "pull_request_target",
        ] {
            assert!(!text.contains(word), "{file}: {word}");
        }
        let secrets: BTreeSet<&str> = text
            .split("secrets.")
            .skip(1)
            .filter_map(|rest| rest.split([' ', '}']).next())
            .collect();
        assert!(
            secrets.iter().all(|it| *it == "NOTICE_WEBHOOK_URL"),
            "{secrets:?}"
        );
        for step in steps(&workflow) {
            if step["uses"]
                .as_str()
                .is_some_and(|it| it.starts_with("actions/checkout@"))
            {
                assert_eq!(step["with"]["persist-credentials"], false, "{file}");
            }
        }
    }
    assert!(!checkout::read(GITLAB).contains("AWS_ACCESS_KEY_ID"));
}

#[test]
fn production_waits_for_tests_a_tag_and_a_person() {
    let deploy = yaml(".github/workflows/deploy.yml");
    let job = &deploy["jobs"]["deploy"];
    assert_eq!(job["needs"], "test");
    assert_eq!(
        deploy["jobs"]["test"]["uses"],
        "./.github/workflows/test.yml"
    );
    let place = "${{ github.ref_type == 'tag' && 'production' || 'staging' }}";
    assert_eq!(job["environment"], place);
    assert_eq!(job["permissions"]["id-token"], "write");
    let gitlab = yaml(GITLAB);
    let production = &gitlab["production"];
    assert_eq!(production["rules"][0]["when"], "manual");
    assert_eq!(production["allow_failure"], false);
    let rule = production["rules"][0]["if"].as_str().expect("a condition");
    assert!(rule.starts_with("$CI_COMMIT_TAG =~ /^v/"), "{rule}");
    let image = yaml(".github/workflows/image.yml");
    assert!(image["on"]["schedule"][0]["cron"].is_string());
    assert_eq!(image["jobs"]["rebuild"]["strategy"]["max-parallel"], 1);
}

#[test]
fn both_run_what_is_there() {
    let mut programs = BTreeSet::new();
    for file in workflows().into_iter().chain([GITLAB.to_owned()]) {
        for word in checkout::read(&file).split_whitespace() {
            if word.starts_with(".ci/") || word.starts_with("infra/pipelines/") {
                programs.insert(word.trim_matches(['\'', '"', ',', ']']).to_owned());
            }
        }
    }
    programs.retain(|it| !it.ends_with(".md"));
    for program in [
        ".ci/run",
        ".ci/release",
        "infra/pipelines/deploy",
        "infra/pipelines/notice",
    ] {
        assert!(programs.contains(program), "nobody runs {program}");
    }
    for program in programs {
        assert!(path(&program).is_file(), "{program}");
    }
}

fn deploy(arguments: &[&str], stack: &str, repository: &str) -> Verdict {
    let mut command = Command::new(path("infra/pipelines/deploy"));
    command
        .args(arguments)
        .env("STACK_NAME", stack)
        .env("RUNNER_REPOSITORY", repository);
    run(&mut command)
}

#[test]
fn a_deployment_changes_the_image_with_its_cli_and_the_release_and_no_other_parameter() {
    let ecr = ECR;
    let verdict = deploy(&["--dry-run"], "shannon", ecr);
    verdict.accepts();
    let said = verdict.said.replace('\\', "");
    let built = format!("infra/runner/build --platform linux/arm64 {ecr}");
    assert!(said.contains(&built), "{said}");
    let (_, parameters) = said
        .rsplit_once("--parameter-overrides ")
        .expect("parameters");
    assert!(
        said.contains("sam build --parameter-overrides Architecture=arm64 \n"),
        "{said}"
    );
    let names: Vec<&str> = parameters
        .split_whitespace()
        .filter_map(|word| Some(word.split_once('=')?.0))
        .collect();
    assert_eq!(names, ["RunnerImage", "ClaudeVersion", "Release"]);
    // Of the checkout, as in the image.
    let settings = checkout::read("infra/settings.toml");
    let (_, version) = settings
        .split_once("name = \"SHANNON_CLAUDE_VERSION\"\ndefault = \"")
        .expect("the setting");
    let version = version.split('"').next().expect("a version");
    assert!(
        said.contains(&format!("ClaudeVersion={version} ")),
        "{said}"
    );
    let template = checkout::read("template.yaml");
    assert!(
        names
            .iter()
            .all(|name| template.contains(&format!("\n  {name}:")))
    );
    let release = checkout::read(".ci/release");
    for pinned in ["cargo-lambda==", "ziglang==", "aws-sam-cli=="] {
        let (_, rest) = said.split_once(pinned).expect("a tool");
        let version = rest.split_whitespace().next().expect("a version");
        assert!(
            release.contains(&format!("={version}")),
            "{pinned}{version}"
        );
    }
    deploy(&["--dry-run"], "", ecr).refuses("STACK_NAME");
    deploy(&["--dry-run"], "shannon", "docker.io/owner/image").refuses("RUNNER_REPOSITORY");
    deploy(&["--dry-runs"], "shannon", ecr).refuses("unknown argument");
}

/// What the script asks of AWS, and what it starts, on a path of its own: the stack is one of `architecture`
/// that runs the image `image`. Docker, and what the checkout's own script starts with it, only write down
/// what they are told.
fn of_a_stack(architecture: &str, image: &str) -> (Verdict, String) {
    let place = tempfile::tempdir().expect("a directory");
    let log = place.path().join("log");
    let aws = format!(
        "case \"$*\" in *Architecture*) echo {architecture} ;; *RunnerImage*) echo {image} ;; *) echo x ;; esac"
    );
    let docker = format!(
        "echo \"docker $*\" >> {}; case \"$*\" in login*) cat > /dev/null ;; \
         *imagetools*) echo sha256:{} ;; esac",
        log.display(),
        "a".repeat(64)
    );
    for (name, body) in [("aws", aws.as_str()), ("docker", docker.as_str())] {
        let file = place.path().join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{body}\n")).expect("a program");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let path_variable = std::env::var("PATH").expect("a path");
    let mut command = Command::new(path("infra/pipelines/deploy"));
    command
        .arg("--rebuild")
        .env(
            "PATH",
            format!("{}:{path_variable}", place.path().display()),
        )
        .env("STACK_NAME", "shannon")
        .env("RUNNER_REPOSITORY", ECR);
    let verdict = run(&mut command);
    (verdict, std::fs::read_to_string(log).unwrap_or_default())
}

/// Not what lies in the checkout: the stack may run an older commit.
#[test]
fn the_image_that_a_stack_runs_is_built_again_for_its_architecture() {
    let commit = |revision: &str| {
        let mut git = Command::new("git");
        git.args(["rev-parse", "--short=12", revision]);
        let output = git.current_dir(path(".")).output().expect("git");
        String::from_utf8(output.stdout)
            .expect("text")
            .trim()
            .to_owned()
    };
    let deployed = commit("HEAD");
    let (verdict, told) = of_a_stack("x86_64", &format!("{ECR}:{deployed}"));
    verdict.accepts();
    assert!(told.contains("--platform linux/amd64 "), "{told}");
    assert!(told.contains(&format!("--tag {ECR}:{deployed} ")), "{told}");
    assert!(told.contains("imagetools inspect"), "{told}");
    of_a_stack("arm64", &format!("{ECR}:latest"))
        .0
        .refuses("deploy it once");
    of_a_stack("arm64", &format!("{ECR}:0123456789ab"))
        .0
        .refuses("the whole history");
    of_a_stack("arm64", "None")
        .0
        .refuses("no parameter RunnerImage");
    of_a_stack("riscv64", "x").0.refuses("riscv64");
}

#[test]
fn people_are_told_how_it_ended() {
    let webhook = e2e::loopback::Server::of_witness();
    let notice = |address: Option<&str>| {
        let mut command = Command::new(path("infra/pipelines/notice"));
        command.args([
            "deployment of \"main\" to staging",
            "success",
            "https://example.com/1",
        ]);
        command.env_remove("NOTICE_WEBHOOK_URL");
        if let Some(address) = address {
            command.env("NOTICE_WEBHOOK_URL", address);
        }
        run(&mut command)
    };
    notice(None).accepts();
    assert!(webhook.requests().is_empty());
    notice(Some(&webhook.url())).accepts();
    assert_eq!(webhook.requests().len(), 1);
    notice(Some("http://127.0.0.1:1/")).refuses("curl");
}
