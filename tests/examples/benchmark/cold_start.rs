//! How long until something can be asked: the emulator, and each function's process.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::stack::{self, Options};
use e2e::{checkout, installed, process};
use emulator::template::{self, FunctionResource};

use crate::Figure;
use crate::statistics::{median, milliseconds};

const ROUNDS: usize = 9;

/// From exec to the start message, when clients can connect: the first start on a new state
/// directory, which also looks for the CLI, and the following ones.
pub(crate) fn emulator() -> Vec<Figure> {
    let place = tempfile::tempdir().expect("a directory");
    for made in ["home", "roots"] {
        std::fs::create_dir(place.path().join(made)).expect("a directory");
    }
    let mut options = Options::default();
    let state = place.path().join("state").display().to_string();
    options.arguments = vec!["--state".to_owned(), state];
    let first = start(place.path(), &options);
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| start(place.path(), &options)).collect();
    vec![Figure::new(
        "emulator: exec to ready, first start, following starts",
        format!(
            "{}, {}",
            milliseconds(first),
            milliseconds(median(&mut times))
        ),
        "–, 50 ms",
    )]
}

/// One start, ended well afterwards.
fn start(directory: &std::path::Path, options: &Options) -> Duration {
    let mut command = stack::bare_command(directory, options);
    let begun = Instant::now();
    let mut emulator = command.spawn().expect("the emulator starts");
    let said = BufReader::new(emulator.stdout.take().expect("a pipe"));
    let ready = said
        .lines()
        .map(|line| line.expect("a readable line"))
        .any(|line| line.trim_start().starts_with("MCP "));
    let time = begun.elapsed();
    assert!(ready, "the emulator ended before it was ready");
    process::ask_to_end(emulator.id());
    let status = emulator.wait().expect("it ends");
    assert!(status.success(), "{status}");
    time
}

/// Spawn to first `next`, size of the binary and memory when idle, for each function.
pub(crate) fn functions() -> Vec<Figure> {
    let parameters = BTreeMap::from(
        [
            ("AccessTokenSha256", "0".repeat(64)),
            (
                "SigningKey",
                "benchmark-signing-key-of-32-bytes!".to_owned(),
            ),
            (
                "AnthropicApiKey",
                "benchmark-key-of-32-bytes-that-nobody-uses".to_owned(),
            ),
            ("RunnerImage", "none".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let stack = template::load(
        &checkout::root().join("template.yaml"),
        &parameters,
        "benchmark",
    )
    .expect("our own template loads");
    stack.functions.iter().map(function).collect()
}

fn function(function: &FunctionResource) -> Figure {
    let program = stack::binaries().join(&function.name);
    let mut command = Command::new(&program);
    command.env_clear().envs(&function.environment);
    let name = format!("function `{}`", function.name);
    let memory = function.memory_mib;
    process_of(
        &name,
        command,
        memory,
        size_of(&program),
        "10 ms, –, 15 MiB",
    )
}

/// The least that functions with the DynamoDB client can be, in three languages.
pub(crate) fn peers() -> Vec<Figure> {
    let clients = checkout::root().join("tests/clients");
    let program = crate::peers::example("hello_function");
    let rust = size_of(&program);
    let environment = installed::python_function();
    let mut python = Command::new(environment.interpreter());
    python
        .env_clear()
        // Nothing is left in the checkout.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-m", "awslambdaric", "python_function.handler"])
        .current_dir(&clients);
    let sdk = installed::node_function();
    let mut node = Command::new(installed::node());
    node.env_clear()
        .env("NODE_PATH", sdk.join("node_modules"))
        .arg(clients.join("node_function.cjs"));
    let mut rust_command = Command::new(program);
    rust_command.env_clear();
    [
        ("Rust (lambda_runtime)", rust_command, rust),
        (
            "Python (awslambdaric, boto3)",
            python,
            size_of(&environment.packages()),
        ),
        (
            "Node (own loop, @aws-sdk/client-dynamodb)",
            node,
            size_of(&sdk),
        ),
    ]
    .into_iter()
    .map(|(name, command, size)| process_of(&format!("hello, {name}"), command, 256, size, "–"))
    .collect()
}

/// Bytes of a file, or of all files below a directory.
fn size_of(path: &Path) -> u64 {
    let metadata =
        std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if metadata.is_file() {
        return metadata.len();
    }
    let entries = std::fs::read_dir(path).expect("a readable directory");
    entries
        .map(|entry| entry.expect("a readable entry"))
        .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()))
        .map(|entry| size_of(&entry.path()))
        .sum()
}

fn process_of(
    name: &str,
    mut command: Command,
    memory_mib: u32,
    size: u64,
    aim: &'static str,
) -> Figure {
    let mut memory = 0;
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let (time, resident) = spawn(name, &mut command, memory_mib);
            memory = resident;
            time
        })
        .collect();
    Figure::new(
        format!("{name}: spawn to first `next`, size, idle RSS"),
        format!(
            "{}, {:.1} MiB, {:.1} MiB",
            milliseconds(median(&mut times)),
            size as f64 / f64::from(1 << 20),
            memory as f64 / 1024.0
        ),
        aim,
    )
}

/// Time until the process asks for work, and its resident memory in KiB then. Nothing names an
/// endpoint, so that whatever is needed to reach AWS is made, as it is there.
fn spawn(name: &str, command: &mut Command, memory_mib: u32) -> (Duration, u64) {
    let runtime = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = runtime.local_addr().expect("an address").to_string();
    command
        .env("AWS_LAMBDA_RUNTIME_API", &address)
        .env("AWS_LAMBDA_FUNCTION_NAME", "benchmark")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory_mib.to_string())
        .env("AWS_LAMBDA_LOG_GROUP_NAME", "benchmark")
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "benchmark")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "benchmark")
        .env("AWS_SECRET_ACCESS_KEY", "benchmark")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let start = Instant::now();
    let mut child = command.spawn().expect("the function starts");
    // A function that ends at once never connects: waiting for it alone would wait for ever.
    runtime
        .set_nonblocking(true)
        .expect("a listener can be asked");
    let connection = loop {
        match runtime.accept() {
            Ok((connection, _)) => break connection,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if let Some(status) = child.try_wait().expect("our own child can be asked") {
                    panic!("{name} ended with {status}");
                }
                std::thread::sleep(Duration::from_micros(200));
            }
            Err(error) => panic!("accepting {name}: {error}"),
        }
    };
    connection
        .set_nonblocking(false)
        .expect("a connection can be waited for");
    let mut line = String::new();
    // Kept open until it was measured: a function whose runtime goes away ends.
    let mut connection = BufReader::new(connection);
    connection.read_line(&mut line).expect("the function asks");
    let time = start.elapsed();
    assert!(line.contains("/runtime/invocation/next"), "{line}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|text| text.trim().trim_end_matches(" kB").parse().ok())
        .expect("a process has resident memory");
    process::kill_hard(child.id());
    child.wait().expect("it ends");
    (time, resident)
}
