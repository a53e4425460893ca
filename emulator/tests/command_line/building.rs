//! What a start makes first: the claude binary and the functions.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{FUNCTIONS, Place, Running, ask, said};

#[test]
fn a_missing_claude_is_installed() {
    let place = Place::new();
    fs::remove_file(place.path("functions/claude")).unwrap();
    let text = said(
        &place
            .command(&[])
            .env("PATH", place.path("programs"))
            .output()
            .unwrap(),
    );
    assert!(
        text.contains("npm") && text.contains("cannot be run"),
        "{text}"
    );

    place.program("programs/npm", "#!/bin/sh\necho 'no network' >&2\nexit 7\n");
    let output = place.run(&[]);
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(
        text.contains("no network")
            && text.contains("npm could not install @anthropic-ai/claude-code-"),
        "{text}"
    );
    assert_eq!(
        fs::read_dir(place.state().join("claude")).unwrap().count(),
        0,
        "nothing is left behind"
    );

    let npm = "#!/bin/sh\nfor word; do last=$word; done\n\
               echo \"installing $last\"\nmkdir -p node_modules/native\necho > node_modules/native/claude\n";
    place.program("programs/npm", npm);
    let mut running = place.start(&[]);
    let installed = place
        .state()
        .join("claude/2.1.328/node_modules/native/claude");
    assert!(
        running.banner.contains(&installed.display().to_string()),
        "{}",
        running.banner
    );
    let mut text = String::new();
    running.signal(Signal::SIGTERM);
    running
        .process
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert!(
        text.contains("installing @anthropic-ai/claude-code-") && text.contains("@2.1.328"),
        "{text}"
    );
}

/// Says what cargo says of each package that it is asked for, and notes what it was asked.
const CARGO: &str = r#"#!/bin/sh
echo "$@" > "$(dirname "$0")/asked"
env > "$(dirname "$0")/environment"
echo "   Compiling something" >&2
echo "a build script says hello"
while [ $# -gt 0 ]; do
  if [ "$1" = -p ]; then
    echo "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"$2\"},\"executable\":null}"
    echo "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"$2\"},\"executable\":\"$(dirname "$0")/../functions/$2\"}"
  fi
  shift
done
"#;

#[test]
fn functions_are_built_with_cargo() {
    let place = Place::new();
    place.program("programs/cargo", CARGO);
    let mut command = place.building(&["--release"]);
    command
        .env(
            "ANTHROPIC_API_KEY",
            "sk-ant-not-a-real-key-of-32-bytes-or-more",
        )
        .env(
            "SHANNON_DEV_TOKEN",
            "given-token-0123456789-abcdefghijklmnop",
        );
    let (code, said) = Running::of(&mut command).stop();
    assert_eq!(code, Some(0));
    assert!(
        said.contains("building the functions") && said.contains("Compiling something"),
        "{said}"
    );
    let asked = fs::read_to_string(place.path("programs/asked")).unwrap();
    assert!(
        asked.starts_with("build --message-format=json-render-diagnostics --release"),
        "{asked}"
    );
    for name in FUNCTIONS.iter().chain(&["session-runner"]) {
        assert!(asked.contains(&format!("-p {name}")), "{asked}");
    }
    let environment = fs::read_to_string(place.path("programs/environment")).unwrap();
    assert!(
        !environment.contains("sk-ant") && !environment.contains("given-token"),
        "{environment}"
    );

    place.program(
        "programs/broken",
        "#!/bin/sh\necho 'error[E0308]: mismatched types' >&2\nexit 101\n",
    );
    let mut command = place.building(&[]);
    let output = command
        .env("CARGO", place.path("programs/broken"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = self::said(&output);
    assert!(
        text.contains("mismatched types") && text.contains("building the functions failed"),
        "{text}"
    );

    let mut command = place.building(&[]);
    let output = command.env("CARGO", "/no/such/cargo").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        self::said(&output).contains("https://rustup.rs"),
        "{}",
        self::said(&output)
    );
}

#[test]
fn a_build_that_is_interrupted_leaves_nothing_running() {
    let place = Place::new();
    let script = "#!/bin/sh\nsleep 1000 &\necho \"children $$ $!\" >&2\nwait\n";
    place.program("programs/cargo", script);
    let mut process = place.building(&[]).spawn().unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let children = lines
        .find_map(|line| Some(line.unwrap().strip_prefix("children ")?.to_owned()))
        .unwrap();
    kill(Pid::from_raw(process.id().cast_signed()), Signal::SIGINT).unwrap();
    // the pipe ends when the last of them is gone
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(process.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(
        rest.iter()
            .any(|line| line.contains("stopped before it was ready")),
        "{rest:?}"
    );
    assert_eq!(children.split(' ').count(), 2);
}

#[test]
fn a_changed_function_is_swapped() {
    let place = Place::new();
    let mut running = place.start(&["--watch"]);
    place.program("functions/catalog", "#!/bin/sh\nexit 2\n");
    let lines = BufReader::new(running.process.stderr.take().unwrap()).lines();
    let swapped = lines
        .map_while(Result::ok)
        .find(|line| line.contains("swapped"));
    assert_eq!(swapped.as_deref(), Some("emulator: catalog was swapped"));
}

/// Every function and the runner of a small checkout, without dependencies: answers each request
/// with one word, as a streaming function does; as the runner it names itself as the claude binary.
const FUNCTION: &str = r##"
use std::{io::{Read, Write}, net::TcpStream};

fn exchange(address: &str, request: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("find-claude") {
        let path = std::env::current_exe().unwrap().display().to_string();
        println!(r#"{{"selected":{{"path":"{path}","version":"2.1.328","source":"path","supported":true}},"candidates":[],"supported_version":"2.1.328"}}"#);
        return;
    }
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap();
    let (address, instance) = api.trim_start_matches("http://").split_once('/').unwrap();
    let rest = format!("HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    loop {
        let path = format!("/{instance}/2018-06-01/runtime/invocation");
        let next = exchange(address, &format!("GET {path}/next {rest}\r\n"));
        let id = next.lines().find_map(|line| line.strip_prefix("lambda-runtime-aws-request-id: ")).unwrap();
        let body = format!("{{\"statusCode\":200,\"headers\":{{}}}}\0\0\0\0\0\0\0\0{}", "WORD");
        let length = body.len();
        let mode = "lambda-runtime-function-response-mode: streaming";
        exchange(address, &format!("POST {path}/{id}/response {rest}{mode}\r\ncontent-length: {length}\r\n\r\n{body}"));
    }
}
"##;

/// A checkout with our template and these small functions.
fn checkout(place: &Place) {
    let ours = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap();
    let write = |path: &str, text: &str| {
        let path = place.path("checkout").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for file in ["template.yaml", "infra/edge/viewer-request.js"] {
        write(file, &fs::read_to_string(ours.join(file)).unwrap());
    }
    write(
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"functions/*\"]\n",
    );
    write("shared/README", "");
    for name in FUNCTIONS.iter().chain(&["session-runner"]) {
        let manifest = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
        write(&format!("functions/{name}/Cargo.toml"), &manifest);
        write(
            &format!("functions/{name}/src/main.rs"),
            &FUNCTION.replace("WORD", "one"),
        );
    }
}

/// The answer to `GET /health`, which the function `discover` gives.
fn health(banner: &str) -> String {
    let answer = ask(banner, "GET /health HTTP/1.1\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

/// From an edited source over cargo to an answer of the new function, the emulator running on.
#[test]
fn an_edited_source_is_what_answers() {
    let place = Place::new();
    checkout(&place);
    let cargo = std::path::Path::new(env!("CARGO"));
    let toolchain = cargo.parent().unwrap().display();
    let mut command = place.building(&["--watch"]);
    command
        .current_dir(place.path("checkout"))
        .env("CARGO", cargo)
        .env("PATH", format!("{toolchain}:/usr/local/bin:/usr/bin:/bin"));
    let mut running = Running::of(&mut command);
    assert!(health(&running.banner).contains("one"));

    let mut lines = BufReader::new(running.process.stderr.take().unwrap()).lines();
    let mut until = |words: &str| {
        let mut said = Vec::new();
        for line in lines.by_ref() {
            let line = line.unwrap();
            if line.contains(words) {
                return said;
            }
            said.push(line);
        }
        panic!("never said {words:?}: {said:#?}");
    };
    let source = place.path("checkout/functions/discover/src/main.rs");
    fs::write(&source, FUNCTION.replace("WORD", "two")).unwrap();
    let said = until("discover was swapped");
    assert!(
        !said.iter().any(|line| line.contains("was swapped")),
        "nothing else changed: {said:#?}"
    );
    assert!(health(&running.banner).contains("two"));

    fs::write(&source, FUNCTION.replace("\"WORD\"", "no_such_word")).unwrap();
    let said = until("the functions stay as they are");
    assert!(
        said.iter().any(|line| line.contains("no_such_word")),
        "{said:#?}"
    );
    assert!(health(&running.banner).contains("two"));

    fs::write(&source, FUNCTION.replace("WORD", "three")).unwrap();
    until("discover was swapped");
    assert!(health(&running.banner).contains("three"));
}
