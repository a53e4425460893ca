//! Checkpoints, forks, setting back, questions and giving up, as a client sees them on the whole
//! stack.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::mcp::Client;
use e2e::process;
use e2e::script;
use e2e::session::Session;
use e2e::stack::{self, Options, Stack};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The sweep that erases runs once a minute.
const ERASED_WITHIN: Duration = Duration::from_secs(180);

/// A session after two turns: `a.txt` changed, `gone` deleted, `b.bin` added in the second.
async fn two_turns(client: &Client) -> Session<'_> {
    let first = "printf 'one\\n' > a.txt; echo here > gone; mkdir -p sub target; chmod 700 a.txt; \
                 echo built > target/out";
    let mut session =
        Session::scripted(client, &[script::bash(first), script::text("first")]).await;
    session.until_turns_ended(1).await;
    let second = "printf 'one\\ntwo\\n' > a.txt; rm gone; printf '\\000\\001\\002' > sub/b.bin";
    let steps = [script::bash(second), script::text("second")];
    session.send(&script::prompt(&steps), "second").await;
    session.until_turns_ended(2).await;
    session
}

/// Its checkpoints, the newest first.
async fn checkpoints(client: &Client, session: &str) -> Vec<Value> {
    let page = client
        .call("list_checkpoints", json!({"session_id": session}))
        .await;
    page["checkpoints"].as_array().expect("a list").clone()
}

fn id(checkpoint: &Value) -> String {
    checkpoint["checkpoint_id"]
        .as_str()
        .unwrap_or_else(|| panic!("no id in {checkpoint}"))
        .to_owned()
}

/// The checkpoints that the two turns ended with.
async fn of_turns(client: &Client, session: &str) -> (String, String) {
    let all = checkpoints(client, session).await;
    let of = |turn: u64| {
        let found = all
            .iter()
            .find(|it| it["turn"] == turn && it["trigger"] == "turn");
        id(found.unwrap_or_else(|| panic!("none of turn {turn} in {all:?}")))
    };
    (of(1), of(2))
}

async fn read(client: &Client, session: &str, path: &str, checkpoint: Option<&str>) -> Value {
    let mut arguments = json!({"session_id": session, "path": path});
    if let Some(checkpoint) = checkpoint {
        arguments["checkpoint"] = checkpoint.into();
    }
    client.call("read_file", arguments).await
}

/// What an export's address gives, checked against what the export says of it.
async fn fetched(client: &Client, export: &Value) -> Vec<u8> {
    let url = export["url"].as_str().expect("an address");
    let answer = client.http().get(url).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200, "{export}");
    let bytes = answer.bytes().await.expect("the whole of it").to_vec();
    assert_eq!(export["bytes"], bytes.len());
    let digest: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(export["sha256"], digest);
    bytes
}

fn unpack(archive: &[u8], directory: &Path) {
    let plain = zstd::decode_all(archive).expect("zstd");
    tar::Archive::new(plain.as_slice())
        .unpack(directory)
        .expect("unpacked");
}

#[tokio::test]
async fn two_turns_are_two_cuts_that_are_read_compared_and_exported() {
    let stack = stack::shared();
    let client = stack.client();
    let mut session = two_turns(&client).await;
    let (one, two) = of_turns(&client, &session.id).await;

    assert_eq!(
        read(&client, &session.id, "a.txt", Some(&one)).await["text"],
        "one\n"
    );
    assert_eq!(
        read(&client, &session.id, "a.txt", Some(&two)).await["text"],
        "one\ntwo\n"
    );
    let named = json!({"session_id": session.id, "name": "start", "checkpoint": one});
    client.call("name_checkpoint", named).await;
    let request = json!({"session_id": session.id, "from": "start", "to": two, "binary": true});
    let diff = client.call("diff_checkpoints", request).await;
    let changed: Vec<(&str, &str)> = diff["changes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| {
            (
                it["path"].as_str().expect("a path"),
                it["change"].as_str().expect("a change"),
            )
        })
        .collect();
    assert_eq!(
        changed,
        [
            ("a.txt", "modified"),
            ("gone", "deleted"),
            ("sub/b.bin", "added")
        ]
    );

    // The archive of the first and the patch to the second are the second.
    let directory = tempfile::tempdir().expect("a directory");
    let files = directory.path().join("files");
    let request = json!({"session_id": session.id, "checkpoint": one});
    let export = client.call("export_workspace", request).await;
    unpack(&fetched(&client, &export).await, &files);
    assert_eq!(
        fs::read_to_string(files.join("gone")).expect("there"),
        "here\n"
    );
    assert!(
        !files.join("target").exists(),
        "what can be built is left out"
    );
    let request = json!({"session_id": session.id, "checkpoint": two, "since": one});
    let export = client.call("export_workspace", request).await;
    assert_eq!(export["format"], "patch");
    let whole = fetched(&client, &export).await;
    for (name, patch) in [
        ("whole.patch", whole),
        (
            "shown.patch",
            diff["patch"].as_str().expect("a patch").into(),
        ),
    ] {
        let target = directory.path().join(name.replace(".patch", ""));
        let copied = Command::new("cp")
            .arg("-a")
            .arg(&files)
            .arg(&target)
            .status();
        assert!(copied.expect("cp").success());
        let file = directory.path().join(name);
        fs::write(&file, patch).expect("written");
        let applied = Command::new("git")
            .args(["-c", "core.autocrlf=false", "apply"])
            .arg(&file)
            .env("GIT_CEILING_DIRECTORIES", directory.path())
            .current_dir(&target)
            .output()
            .expect("git");
        assert!(applied.status.success(), "{name}: {applied:?}");
        assert_eq!(
            fs::read_to_string(target.join("a.txt")).expect("there"),
            "one\ntwo\n"
        );
        assert_eq!(
            fs::read(target.join("sub/b.bin")).expect("there"),
            [0, 1, 2]
        );
        assert!(!target.join("gone").exists());
    }
    session.cancel().await;
    // Nobody has its files now but the newest checkpoint.
    let last = read(&client, &session.id, "a.txt", None).await;
    assert_eq!(last["text"], "one\ntwo\n");
    assert!(last["checkpoint_id"].is_string(), "{last}");
}

#[tokio::test]
async fn a_session_is_forked_and_set_back() {
    let stack = stack::shared();
    let client = stack.client();
    let mut session = two_turns(&client).await;
    let (one, two) = of_turns(&client, &session.id).await;

    let steps = [script::bash("cat a.txt; ls"), script::text("forked")];
    let request = json!({
        "session_id": session.id, "checkpoint": one, "prompt": script::prompt(&steps),
        "client_token": format!("fork-{}", session.id),
    });
    let forked = client.call("fork_session", request.clone()).await;
    let again = client.call("fork_session", request).await;
    assert_eq!(again["session_id"], forked["session_id"]);
    assert_eq!(forked["parent_checkpoint_id"], one.as_str());
    let fork = forked["session_id"].as_str().expect("an id").to_owned();
    let mut branch = Session::follow(&client, &fork);
    branch.until_turns_ended(1).await;
    assert_eq!(branch.tool_results()[0].trim(), "one\na.txt\ngone\nsub");
    branch.cancel().await;

    let request = json!({"session_id": session.id, "checkpoint": one});
    let back = client.call("restore_checkpoint", request).await;
    assert_eq!(
        (&back["state"], &back["latest_checkpoint"]),
        (&json!("suspended"), &json!(one))
    );
    let steps = [script::bash("cat a.txt; ls"), script::text("again")];
    session.send(&script::prompt(&steps), "third").await;
    session
        .until("the turn after the way back", |session| {
            session.of_kind("turn_ended").len() >= 3 && session.state != "running"
        })
        .await;
    let results = session.tool_results();
    assert_eq!(
        results.last().map(|text| text.trim()),
        Some("one\na.txt\ngone\nsub")
    );
    // Where it was stays reachable.
    assert_eq!(
        read(&client, &session.id, "a.txt", Some(&two)).await["text"],
        "one\ntwo\n"
    );
    let kept = checkpoints(&client, &session.id).await;
    assert!(
        kept.iter()
            .any(|it| it["refs"].as_array().is_some_and(|refs| !refs.is_empty())),
        "{kept:?}"
    );
    let tree = client
        .call("get_timeline", json!({"session_id": fork}))
        .await;
    let members: Vec<&Value> = tree["sessions"]
        .as_array()
        .expect("sessions")
        .iter()
        .map(|it| &it["session_id"])
        .collect();
    assert_eq!(members, [&json!(session.id), &json!(fork)]);
    session.cancel().await;
}

#[tokio::test]
async fn a_question_is_answered_after_the_session_was_suspended() {
    let stack = Stack::start(&Options::default().with("SHANNON_IDLE_SUSPEND_SECONDS", "10"));
    let client = stack.client();
    let question = json!({"questions": [{
        "question": "Which colour?", "header": "Colour", "multiSelect": false,
        "options": [{"label": "Red", "description": "warm"}, {"label": "Blue", "description": "cold"}],
    }]});
    let mut session = Session::scripted(
        &client,
        &[
            script::bash("echo before >> log"),
            script::tool("AskUserQuestion", &question),
            script::bash("echo after >> log; cat log"),
            script::text("thanks"),
        ],
    )
    .await;
    session
        .until("the suspension", |session| session.state == "suspended")
        .await;
    let shown = client
        .call("get_session", json!({"session_id": session.id}))
        .await;
    let answer = json!({
        "session_id": session.id, "question_id": shown["question"]["question_id"],
        "answers": {"Which colour?": "Blue"},
    });
    client.call("answer_question", answer.clone()).await;
    let again = client.call("answer_question", answer).await;
    assert_eq!(again["repeated"], true);
    session.until_turns_ended(1).await;
    let results = session.tool_results();
    assert!(
        results
            .iter()
            .any(|text| text.contains("\"Which colour?\"=\"Blue\"")),
        "{results:?}"
    );
    assert_eq!(
        results.last().map(|text| text.trim()),
        Some("before\nafter")
    );
    session.cancel().await;
}

#[tokio::test]
async fn a_session_says_when_checkpoints_are_taken_and_what_they_leave_out() {
    let stack = stack::shared();
    let client = stack.client();
    let steps = [
        script::bash("mkdir out target; echo a > out/a; echo b > target/b; echo c > c"),
        script::text("done"),
    ];
    let mut session = Session::create(
        &client,
        json!({
            "prompt": script::prompt(&steps), "permission_mode": "bypass",
            "checkpoint_strategy": "manual", "checkpoint_ignore": ["out/"],
        }),
    )
    .await;
    session.until_turns_ended(1).await;
    assert!(checkpoints(&client, &session.id).await.is_empty());
    let taken = client
        .call(
            "create_checkpoint",
            json!({"session_id": session.id, "message": "asked for"}),
        )
        .await;
    assert_eq!(taken["taken"], true, "{taken}: {}", session.story());
    let taken = id(&taken["checkpoint"]);
    assert_eq!(
        read(&client, &session.id, "target/b", Some(&taken)).await["text"],
        "b\n"
    );
    let request = json!({"session_id": session.id, "path": "out/a", "checkpoint": taken});
    let left_out = client.try_call("read_file", request).await;
    assert!(left_out.is_error, "{}", left_out.text);
    session.cancel().await;
}

#[tokio::test]
async fn nothing_is_left_of_an_erased_session() {
    let stack = Stack::start(&Options::default());
    let client = stack.client();
    let session = two_turns(&client).await;
    client
        .call("export_workspace", json!({"session_id": session.id}))
        .await;
    let objects = || {
        let mut files = 0;
        let mut open = vec![
            stack.state.join("aws/s3/objects"),
            stack.state.join("s3/objects"),
        ];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => open.push(entry.path()),
                    _ => files += 1,
                }
            }
        }
        files
    };
    assert!(objects() > 0, "it looks in the wrong place");
    let erased = client
        .call(
            "delete_session",
            json!({"session_id": session.id, "erase": true}),
        )
        .await;
    assert_eq!(erased["erased"], true);
    for (tool, mut arguments) in [
        ("get_session", json!({})),
        ("list_checkpoints", json!({})),
        ("read_file", json!({"path": "a.txt"})),
        ("fork_session", json!({})),
    ] {
        arguments["session_id"] = session.id.as_str().into();
        let answer = client.try_call(tool, arguments).await;
        assert!(
            answer.is_error && answer.text.contains("no session with this id"),
            "{tool}: {}",
            answer.text
        );
    }
    let listed = client.call("list_sessions", json!({})).await;
    assert_eq!(listed["sessions"], json!([]));
    // Its objects were all there were.
    assert!(
        process::eventually(ERASED_WITHIN, || objects() == 0),
        "{} objects are left",
        objects()
    );
}
