//! What becomes of sessions when their machine is lost, and what of them is readable on its disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::process;
use e2e::script;
use e2e::session::Session;
use e2e::stack::{self, Options, Stack};
use serde_json::{Value, json};

/// The drill itself is the product's: it fails when an event, a file, a checkpoint or a session does not come
/// back, when any of it takes too long, or when not all of the twenty wrote before and after the backup.
#[test]
fn sessions_at_work_come_back_from_a_backup() {
    let functions = stack::binaries();
    let output = stack::run_emulator(
        &[
            "drill",
            "--sessions",
            "20",
            "--json",
            "--functions",
            functions.to_str().expect("UTF-8"),
        ],
        &Options::default(),
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(report["sessions"], 20, "{report}");
    assert_eq!(report["at_work"], 20, "all were at work: {report}");
    assert_eq!(report["passed"], true, "{report}");
    for field in ["recovery_time_seconds", "recovery_point_seconds"] {
        assert!(report[field].as_f64() > Some(0.0), "{report}");
    }
    assert!(report["events"].as_u64() > Some(100), "{report}");
}

/// Files below a directory in which one of the texts is found.
fn readable(directory: &Path, texts: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        // What a running stack removes meanwhile holds nothing any more.
        let Ok(about) = fs::symlink_metadata(&path) else {
            continue;
        };
        if about.is_dir() {
            found.extend(readable(&path, texts));
        } else if about.is_file() {
            let Ok(bytes) = fs::read(&path) else {
                continue;
            };
            let has = |text: &str| bytes.windows(text.len()).any(|it| it == text.as_bytes());
            found.extend(texts.iter().any(|text| has(text)).then_some(path));
        }
    }
    found
}

const PROMPT: &str = "prompt-marker-5f1c";
const CONTENT: &str = "content-marker-93ab";
const SAID: &str = "answer-marker-27de";
const TOKEN: &str = "token-marker-with-at-least-32-bytes-of-it";

/// A session that has all markers in it, up to its end: of its prompt, of a file, of what it said.
async fn work(stack: &Stack) {
    let client = stack.client();
    let steps = [
        script::tool(
            "Write",
            &json!({"file_path": "/workspace/file", "content": CONTENT}),
        ),
        script::text(SAID),
    ];
    let prompt = format!("{PROMPT} {}", script::prompt(&steps));
    let arguments = json!({"prompt": prompt, "permission_mode": "bypass"});
    let mut session = Session::create(&client, arguments).await;
    session.until_turns_ended(1).await;
    assert!(session.said().contains(SAID), "{}", session.story());
    // Suspended: its workspace is a checkpoint now, and nothing of it is anywhere else.
    session
        .until("the suspension", |session| session.state == "suspended")
        .await;
    let file = client
        .call(
            "read_file",
            json!({"session_id": session.id, "path": "file"}),
        )
        .await;
    assert!(file.to_string().contains(CONTENT), "{file}");
}

#[tokio::test]
async fn nothing_of_a_session_is_readable_in_an_encrypted_state() {
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("key");
    let temporary = directory.path().join("temporary");
    fs::create_dir(&temporary).expect("a directory");
    let made = stack::run_emulator(
        &["state-key", "new", key.to_str().expect("UTF-8")],
        &Options::default(),
    );
    assert!(made.status.success());
    let texts = [PROMPT, CONTENT, SAID, TOKEN];
    let start = |name: &str, key: Option<&Path>| {
        let mut options = Options::default()
            .with("SHANNON_DEV_TOKEN", TOKEN)
            .with("SHANNON_IDLE_SUSPEND_SECONDS", "10")
            .with("TMPDIR", temporary.to_str().expect("UTF-8"));
        if let Some(key) = key {
            options = options.with("SHANNON_STATE_KEY_FILE", key.to_str().expect("UTF-8"));
        }
        options.state = Some(directory.path().join(name));
        Stack::start(&options)
    };
    let stack = start("encrypted", Some(&key));
    work(&stack).await;
    let state = stack.state.clone();
    // While it runs, and after it: databases, objects, logs, everything.
    assert_eq!(readable(&state, &texts), Vec::<PathBuf>::new());
    // Its runner may still be clearing up.
    let gone = || readable(&temporary, &texts).is_empty();
    assert!(process::eventually(Duration::from_secs(30), gone));
    let (status, said) = stack.stop();
    assert!(status.success(), "{said}");
    assert_eq!(readable(&state, &texts), Vec::<PathBuf>::new());
    assert_eq!(
        fs::read_dir(&temporary).expect("a directory").count(),
        0,
        "where sessions worked is gone"
    );
    // Without the key, the same session is on the disk for everybody to read.
    let stack = start("plain", None);
    work(&stack).await;
    let state = stack.state.clone();
    let (status, said) = stack.stop();
    assert!(status.success(), "{said}");
    for text in [PROMPT, CONTENT, SAID] {
        assert_ne!(readable(&state, &[text]), Vec::<PathBuf>::new(), "{text}");
    }
}
