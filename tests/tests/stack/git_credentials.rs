//! What an owner stored for a git host reaches exactly that host, when a session of theirs clones, and
//! nobody else.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::mcp::Client;
use e2e::private_git::{PrivateGitHost, RedirectingHost, basic};
use e2e::script;
use e2e::session::Session;
use e2e::stack::{self, Options, Stack};
use serde_json::{Value, json};

const USER: &str = "robot";
/// Nothing that looks like a secret by itself.
const TOKEN: &str = "plainly-the-git-token-0123456789";

/// `emulator git-credential ARGUMENTS`, with this on its standard input.
fn git_credential(stack: &Stack, arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let mut command = Command::new(stack::emulator())
        .arg("git-credential")
        .args(arguments)
        .args(["--state", &stack.state.display().to_string()])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the emulator starts");
    let mut stdin = command.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = command.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout) + &text(&output.stderr),
    )
}

fn set(stack: &Stack, host: &str) {
    let (code, said) = git_credential(stack, &["set", host, "--username", USER], TOKEN);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains(TOKEN), "{said}");
}

async fn clone<'client>(client: &'client Client, url: &str, steps: &[String]) -> Session<'client> {
    let arguments = json!({
        "prompt": script::prompt(steps), "permission_mode": "bypass", "workspace": {"git_url": url},
    });
    Session::create(client, arguments).await
}

/// A session whose clone fails; the reason.
async fn fails(client: &Client, url: &str) -> String {
    let mut session = clone(client, url, &[script::text("never")]).await;
    session.until_ended().await;
    let ended = session.of_kind("session_ended");
    let ended = ended.last().expect("it has ended").to_string();
    assert!(ended.contains("git could not clone"), "{ended}");
    assert!(!session.story().contains(TOKEN), "{}", session.story());
    ended
}

/// Looks for the token, which it knows backwards only, in everything that the session can open.
const LOOK: &str = r#"
import os
token = "TOKEN"[::-1].encode()
count = 0
def look(path):
    global count
    try:
        with open(path, "rb") as file:
            data = file.read(1 << 22)
    except OSError:
        return
    count += 1
    if token in data:
        print("FOUND in", path)
for process in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline"):
        look(f"/proc/{process}/{name}")
for top in (os.getcwd(), os.path.expanduser("~"), "/tmp", "/run", "/claude", "/var"):
    for directory, _, names in os.walk(top):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                look(path)
print(count > 10 and "files were searched")
"#;

fn private() -> PrivateGitHost {
    let backwards: String = TOKEN.chars().rev().collect();
    let look = LOOK.replace("TOKEN", &backwards);
    let files = BTreeMap::from([("private.txt", "for us\n"), ("look.py", look.as_str())]);
    PrivateGitHost::with_files(&files, USER, TOKEN)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_that_it_is_for_gets_it_and_nothing_of_it_stays() {
    let stack = Stack::start(&Options::default());
    let client = stack.client();
    let host = private();
    let refused = fails(&client, &host.clone_url()).await;
    assert!(refused.contains("could not read Username"), "{refused}");
    assert_eq!(host.shown(), Vec::<String>::new());

    set(&stack, &host.host());
    let (code, listed) = git_credential(&stack, &["list"], "");
    assert_eq!(code, Some(0), "{listed}");
    assert!(
        listed.contains(&format!("{}  {USER}, stored 20", host.host())),
        "{listed}"
    );
    // All that a session can see of itself and of the machine, by a program that its policies do not read.
    let look = "python3 look.py; cat private.txt; git config --list --show-origin; echo looked";
    let mut session = clone(
        &client,
        &host.clone_url(),
        &[script::bash(look), script::text("done")],
    )
    .await;
    session.until_turns_ended(1).await;
    let said = session.tool_results().join("\n");
    assert!(said.contains("for us") && said.contains("looked"), "{said}");
    assert!(said.contains("files were searched"), "{said}");
    assert!(!said.contains("FOUND"), "{said}");
    let shown = host.shown();
    assert!(!shown.is_empty());
    assert!(
        shown.iter().all(|it| *it == basic(USER, TOKEN)),
        "{shown:?}"
    );
    // The repository is not open to what the session does itself.
    let before = host.shown().len();
    let fetch = script::bash("git fetch 2>&1; echo fetched");
    session
        .send(&script::prompt(&[fetch, script::text("done")]), "again")
        .await;
    session.until_turns_ended(2).await;
    assert_eq!(host.shown().len(), before, "{}", session.story());
    assert!(!session.story().contains(TOKEN), "{}", session.story());
    let whole = client
        .call("export_workspace", json!({"session_id": session.id}))
        .await;
    assert!(whole["url"].is_string(), "{whole}");
    session.cancel().await;

    // It is in the audit that there is one, and who said so; then it is taken away.
    let (code, said) = git_credential(&stack, &["remove", &host.host()], "");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = git_credential(&stack, &["remove", &host.host()], "");
    assert_eq!(code, Some(1), "{said}");
    let audit = client.call("query_audit", json!({})).await;
    let entries = audit["entries"].as_array().expect("entries");
    let about = entries
        .iter()
        .filter(|it| it["subject"] == "git_credential");
    let about: Vec<&Value> = about.collect();
    assert_eq!(about.len(), 2, "{audit}");
    assert_eq!(about[0]["removed"], true, "the newest first: {audit}");
    assert_eq!(about[1]["git_host"], host.host());
    fails(&client, &host.clone_url()).await;
    assert_eq!(host.shown().len(), before);

    // A second one stays stored while everything but its own place is searched.
    set(&stack, &host.host());
    let found = holding(
        &stack.directory,
        &[TOKEN, &BASE64_STANDARD.encode(format!("{USER}:{TOKEN}"))],
    );
    assert!(!found.is_empty(), "it is kept somewhere");
    let outside: Vec<&String> = found
        .iter()
        .filter(|path| !path.contains("/parameters.sqlite"))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_host_and_no_other_owner_gets_it() {
    let stack = stack::shared();
    let client = stack.client();
    let (mine, other) = (private(), private());
    set(&stack, &mine.host());
    // Another host, also by way of the one that it is for, before and after it was shown.
    fails(&client, &other.clone_url()).await;
    let free = RedirectingHost::to(&other.host(), None);
    let login = RedirectingHost::to(&other.host(), Some(basic(USER, TOKEN)));
    for host in [&free, &login] {
        set(&stack, &host.host());
        fails(&client, &host.clone_url()).await;
    }
    assert_eq!(free.shown(), Vec::<String>::new());
    assert!(!login.shown().is_empty(), "it was shown there");
    assert_eq!(other.shown(), Vec::<String>::new());
    // To the right host from elsewhere: git asks for the host that it was sent to.
    let towards = RedirectingHost::to(&mine.host(), None);
    fails(&client, &towards.clone_url()).await;
    assert_eq!(mine.shown(), Vec::<String>::new());

    // A submodule of another host is not fetched, and another owner has nothing there.
    let arguments = ["key", "create", "dev", "--person", "gina"];
    let state = stack.state.display().to_string();
    let arguments = [&arguments[..], &["--state", &state]].concat();
    let made = stack::run_emulator(&arguments, &Options::default());
    let token = String::from_utf8(made.stdout).expect("text");
    let gina = stack.client().with_token(Some(token.trim()));
    fails(&gina, &mine.clone_url()).await;
    assert_eq!(mine.shown(), Vec::<String>::new());
    let mut session = clone(&client, &mine.clone_url(), &[script::text("done")]).await;
    session.until_turns_ended(1).await;
    assert!(!mine.shown().is_empty());
    session.cancel().await;
}

/// The files below a directory that hold one of these texts.
fn holding(directory: &Path, texts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                // One that goes meanwhile holds nothing.
                let bytes = std::fs::read(entry.path()).unwrap_or_default();
                let holds = |text: &str| bytes.windows(text.len()).any(|it| it == text.as_bytes());
                if texts.iter().any(|text| holds(text)) {
                    found.push(entry.path().display().to_string());
                }
            }
        }
    }
    found
}
