//! A backup of the first format, kept as it was taken (`samples/`): this version restores it and goes on.
//!
//! It is of a service with one suspended session, that wrote a file, and a credential for a git host, by the
//! commit before each credential got a place of its own. When the format of backups changes, the sample of the
//! format before joins this one.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use e2e::checkout;
use e2e::clock::Clock;
use e2e::script;
use e2e::service::{Installation, Setup};
use e2e::session::Session;
use serde_json::{Value, json};

const SESSION: &str = "ses_c2l42xmxwz6cs3rmoqmlp5pcrn";
/// Events that its log has.
const EVENTS: usize = 19;

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_the_first_format_is_restored_and_goes_on() {
    let installation = Installation::make();
    let mut setup = Setup::new();
    let sample = checkout::root().join("tests/samples/backup-format-1.tar.gz");
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(sample)
        .current_dir(setup.path())
        .status();
    assert!(unpacked.expect("there is tar").success());
    let found = fs::read_dir(setup.path()).expect("a directory");
    let backup = found
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.display().to_string().contains("/backup-"))
        .expect("a backup");
    let (state, environment) = (setup.state(), setup.environment.clone());
    let emulator = |arguments: &[&str]| {
        Command::new(installation.path().join("emulator"))
            .args(arguments)
            .arg("--state")
            .arg(&state)
            .env_clear()
            .envs(&environment)
            .output()
            .expect("it starts")
    };
    let restored = emulator(&["restore", backup.to_str().expect("UTF-8")]);
    let said = String::from_utf8_lossy(&restored.stderr).into_owned();
    assert!(restored.status.success(), "{said}");

    // What is kept for some days only is there: the service has the time of the backup.
    let manifest = fs::read(backup.join("manifest.json")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(manifest["format"], 1, "the sample is of that format");
    let taken = manifest["taken_at_ms"].as_i64().expect("a time") / 1000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = i64::try_from(now.expect("after 1970").as_secs()).expect("not that late");
    let clock = Clock::of(&mut setup);
    clock.set(taken + 60 - now);
    let service = setup.start(&installation);
    let client = service.client();
    let mut session = Session::follow(&client, SESSION);
    session
        .until("its log", |session| session.events.len() >= EVENTS)
        .await;
    assert_eq!(session.state, "suspended");
    assert!(
        session.said().contains("kept for later"),
        "{}",
        session.story()
    );
    let read = json!({"file_path": "/workspace/kept.txt"});
    let steps = [script::tool("Read", &read), script::text("gone on")];
    session.send(&script::prompt(&steps), "later").await;
    session.until_turns_ended(2).await;
    let results = session.tool_results().join("\n");
    assert!(results.contains("kept from the first format"), "{results}");
    session.cancel().await;

    let listed = emulator(&["git-credential", "list"]);
    let said = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(said.starts_with("git.example.com  robot"), "{said}");
    for code in [0, 1] {
        let removed = emulator(&["git-credential", "remove", "git.example.com"]);
        let said = String::from_utf8_lossy(&removed.stderr).into_owned();
        assert_eq!(removed.status.code(), Some(code), "{said}");
    }
}
