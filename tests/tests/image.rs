//! The image of the runner as far as it can be judged without Docker: its linter, the commands of the
//! script that builds it, and that image and task definition say the same.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use e2e::{checkout, installed};

const DOCKERFILE: &str = "infra/runner/Dockerfile";
const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shannon-session-runner";

#[test]
fn hadolint_finds_nothing() {
    let mut command = Command::new(installed::hadolint());
    command
        .args(["--failure-threshold", "style", "--no-color", DOCKERFILE])
        .current_dir(checkout::root());
    let output = installed::run(&mut command);
    assert!(output.stdout.is_empty(), "{output:?}");
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    format!("{out}{err}")
}

fn build(arguments: &[&str]) -> Output {
    Command::new(checkout::root().join("infra/runner/build"))
        .args(arguments)
        .output()
        .expect("the script can be started")
}

/// The version of the CLI in the one place where it stands.
fn claude_version() -> String {
    let table = checkout::read("infra/settings.toml");
    let (_, row) = table
        .split_once("name = \"SHANNON_CLAUDE_VERSION\"\ndefault = \"")
        .expect("a setting");
    row.split('"').next().expect("a default").to_owned()
}

#[test]
fn the_script_says_what_it_would_run() {
    for (repository, platform) in [
        (ECR, "linux/arm64"),
        ("ghcr.io/owner/shannon-session-runner", "linux/amd64"),
        (
            "docker.io/owner/shannon-session-runner",
            "linux/arm64,linux/amd64",
        ),
    ] {
        let output = build(&["--dry-run", "--platform", platform, repository]);
        assert!(output.status.success(), "{}", said(&output));
        let said = said(&output).replace('\\', "");
        for expected in [
            format!("--platform {platform}"),
            format!("--build-arg CLAUDE_VERSION={}", claude_version()),
            format!("--tag {repository}:{}", env!("CARGO_PKG_VERSION")),
            "--sbom=true".to_owned(),
            "compression=zstd".to_owned(),
            "push=true".to_owned(),
        ] {
            assert!(said.contains(&expected), "no {expected} in {said}");
        }
    }
    for wrong in [
        &["ghcr.io/owner/image:tag"][..],
        &["image"],
        &["--platform", "linux/riscv64", ECR],
        &["--no-push", "--platform", "linux/arm64,linux/amd64", ECR],
        // What Fargate cannot load lazily.
        &["--soci", "ghcr.io/owner/shannon-session-runner"],
        &["--soci", "--platform", "linux/arm64,linux/amd64", ECR],
        &["--soci", "--no-push", ECR],
        &["--soci", "--service", ECR],
        &["--unknown", ECR],
        &[ECR, ECR],
        &[],
    ] {
        let output = build(&[&["--dry-run"][..], wrong].concat());
        assert!(!output.status.success(), "{wrong:?}: {}", said(&output));
    }
    let help = build(&["--help"]);
    assert!(help.status.success() && said(&help).contains("scanOnPush=true"));
}

/// A program `name` that does `body` and writes down how it was called.
fn stand_in(directory: &Path, name: &str, body: &str) {
    let called = directory.join("called");
    let script = format!(
        "#!/bin/sh\necho \"{name} $*\" >> '{}'\n{body}\n",
        called.display()
    );
    let program = directory.join(name);
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("our own file");
}

/// What the script needs of a checkout, committed, and a `docker` that answers with `digest` and
/// writes down how it was called.
fn stage(directory: &Path, digest: &str) {
    let files = [
        "Cargo.toml",
        "infra/settings.toml",
        "infra/runner/build",
        DOCKERFILE,
    ];
    for file in files {
        let to = directory.join("checkout").join(file);
        fs::create_dir_all(to.parent().expect("inside")).expect("a directory");
        fs::copy(checkout::root().join(file), to).expect("copied");
    }
    stand_in(
        directory,
        "docker",
        &format!("case \"$2\" in imagetools) {digest};; esac"),
    );
    for arguments in [
        &["init", "--quiet"][..],
        &["add", "--all"],
        &[
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "commit",
            "--quiet",
            "-m",
            "x",
        ],
    ] {
        let mut git = Command::new("git");
        git.args(arguments).current_dir(directory.join("checkout"));
        installed::run(&mut git);
    }
}

fn build_on(directory: &Path, arguments: &[&str]) -> (Output, String) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::iter::once(directory.to_path_buf()).chain(std::env::split_paths(&path));
    let output = Command::new(directory.join("checkout/infra/runner/build"))
        .args(arguments)
        .env("PATH", std::env::join_paths(places).expect("a search path"))
        .output()
        .expect("the script can be started");
    let called = fs::read_to_string(directory.join("called")).unwrap_or_default();
    (output, called)
}

#[test]
fn bases_are_pinned_by_digest_or_nothing_is_built() {
    let directory = tempfile::tempdir().expect("a directory");
    let digest = format!("sha256:{}", "a1".repeat(32));
    stage(directory.path(), &format!("echo {digest}"));
    let (output, called) = build_on(directory.path(), &[ECR]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(called.matches("imagetools inspect").count(), 3, "{called}");
    for base in ["RUST_IMAGE", "NODE_IMAGE", "BASE_IMAGE"] {
        let argument = called
            .split_whitespace()
            .find(|word| word.starts_with(base));
        let argument = argument.expect("a build argument");
        assert!(argument.ends_with(&digest), "{argument}");
    }
    // The second time they are known.
    let (output, called) = build_on(directory.path(), &[ECR]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(called.matches("imagetools inspect").count(), 3, "{called}");
    assert_eq!(called.matches("buildx build").count(), 2, "{called}");
    // What was changed and not committed has no commit to be named after.
    fs::write(directory.path().join("checkout/Cargo.toml"), "changed").expect("written");
    let (output, _) = build_on(directory.path(), &[ECR]);
    assert!(!output.status.success());

    for digest in ["exit 1", "echo", "echo latest"] {
        let directory = tempfile::tempdir().expect("a directory");
        stage(directory.path(), digest);
        let (output, called) = build_on(directory.path(), &[ECR]);
        assert!(!output.status.success(), "{digest}: {}", said(&output));
        assert!(!called.contains("buildx build"), "{called}");
    }
}

#[test]
fn the_lock_has_a_digest_of_every_base() {
    let output = build(&["--dry-run", ECR]);
    let said = said(&output);
    let bases: Vec<&str> = said
        .split_whitespace()
        .filter(|word| word.contains("_IMAGE="))
        .collect();
    assert_eq!(bases.len(), 3, "{said}");
    for base in bases {
        let (image, digest) = base.split_once("@sha256:").expect("a digest");
        assert!(image.contains("=docker.io/library/"), "{base}");
        assert!(
            digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{base}: run infra/runner/build --refresh and commit the lock"
        );
    }
}

#[test]
fn a_soci_index_is_made_of_what_was_pushed() {
    let directory = tempfile::tempdir().expect("a directory");
    stage(
        directory.path(),
        &format!("echo sha256:{}", "b2".repeat(32)),
    );
    stand_in(directory.path(), "skopeo", "");
    // One that knows containerd's images only.
    stand_in(directory.path(), "soci", "echo 'soci convert --platform'");
    let (output, called) = build_on(directory.path(), &["--soci", ECR]);
    assert!(!output.status.success() && said(&output).contains("too old"));
    assert!(!called.contains("docker"), "{called}");

    fs::remove_file(directory.path().join("called")).expect("our own file");
    stand_in(
        directory.path(),
        "soci",
        "echo 'soci convert --standalone --format'",
    );
    let (output, called) = build_on(directory.path(), &["--soci", ECR]);
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    let line = said.lines().last().expect("the parameter");
    let image = line.strip_prefix("RunnerImage=").expect("the parameter");
    let pushed = image.strip_suffix("-soci").expect("the tag with the index");
    // In this order, and the index is of the image as the registry has it.
    let version = env!("CARGO_PKG_VERSION");
    let expected = [
        format!("--tag {pushed} "),
        "compression=gzip,".to_owned(),
        format!(
            "skopeo copy --preserve-digests --override-os linux --override-arch arm64 docker://{pushed} oci:"
        ),
        "soci convert --standalone --format oci-dir ".to_owned(),
        "skopeo copy --all --preserve-digests oci:".to_owned(),
        format!(" docker://{ECR}:{version}-soci\n"),
        format!(" docker://{image}\n"),
    ];
    let mut rest = called.as_str();
    for expected in expected {
        let Some((_, after)) = rest.split_once(&expected) else {
            panic!("no {expected} in {rest}\nof {called}");
        };
        rest = after;
    }
    assert!(!called.contains("zstd"), "{called}");
}

#[test]
fn image_and_task_definition_say_the_same() {
    let dockerfile = checkout::read(DOCKERFILE);
    let template = checkout::read("template.yaml");
    let volumes = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("VOLUME "))
        .expect("volumes");
    let volumes: Vec<String> = serde_json::from_str(volumes).expect("a list");
    let mounted: Vec<&str> = template
        .lines()
        .filter_map(|line| line.split_once("ContainerPath: "))
        .map(|(_, path)| path.trim_end_matches('}'))
        .collect();
    assert_eq!(mounted, volumes);
    assert!(template.contains("ReadonlyRootFilesystem: true"));
    let health = "[\"/usr/local/bin/session-runner\", \"health\"]";
    assert!(dockerfile.contains(&format!("CMD {health}")));
    assert!(template.contains("Command: [CMD, /usr/local/bin/session-runner, health]"));
    for (image, task) in [
        (
            "--interval=30s",
            "HealthIntervalSeconds: {Type: Number, Default: 30",
        ),
        ("--timeout=10s", "            Timeout: 10\n"),
        ("--start-period=40s", "            StartPeriod: 40\n"),
        ("--retries=3", "            Retries: 3\n"),
    ] {
        assert!(
            dockerfile.contains(image) && template.contains(task),
            "{image}"
        );
    }
}
