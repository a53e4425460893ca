//! A session's whole life: created, worked, shown with cost and diff, ended.

use e2e::mcp::Client;
use e2e::script;
use e2e::session::Session;
use e2e::stack::{self, Options, Stack};
use serde_json::{Value, json};

fn position(session: &Session<'_>, kind: &str) -> usize {
    session
        .events
        .iter()
        .position(|event| event["kind"] == kind)
        .unwrap_or_else(|| panic!("no event {kind} in:\n{}", session.story()))
}

#[tokio::test]
async fn from_creation_to_the_diff() {
    let stack = stack::shared();
    let client = stack.client();
    let write = script::tool(
        "Write",
        &json!({"file_path": "/workspace/a.txt", "content": "hi\n"}),
    );
    let mut session = Session::create(
        &client,
        json!({
            "prompt": script::prompt(&[write, script::text("all done")]),
            "permission_mode": "accept_edits",
            "tags": ["life"],
        }),
    )
    .await;
    assert!(
        ["requested", "provisioning"].contains(&session.state.as_str()),
        "create_session must not wait: {}",
        session.state
    );

    session.until_turns_ended(1).await;
    assert_eq!(session.state, "idle");
    let order = [
        "session_created",
        "runner_started",
        "workspace_ready",
        "session_ready",
        "message_taken",
        "turn_started",
        "tool_call",
        "tool_result",
        "turn_ended",
        "files_changed",
    ];
    let positions: Vec<usize> = order.iter().map(|kind| position(&session, kind)).collect();
    assert!(
        positions.is_sorted_by(|a, b| a < b),
        "{order:?} at {positions:?}\n{}",
        session.story()
    );

    assert_eq!(
        session.of_kind("session_ready")[0]["claude_version"],
        e2e::installed::CLAUDE_VERSION
    );
    assert_eq!(session.of_kind("tool_call")[0]["tool"], "Write");
    assert_eq!(session.of_kind("tool_result")[0]["is_error"], false);
    assert!(session.said().contains("all done"));
    let end = session.of_kind("turn_ended")[0];
    assert_eq!(end["subtype"], "success");
    assert_eq!(end["is_error"], false);
    assert!(
        end["total_cost_usd"].as_f64().expect("a cost") > 0.0,
        "{end}"
    );
    assert!(
        end["usage"]["output_tokens"].as_u64().expect("tokens") > 0,
        "{end}"
    );

    session
        .until("the changed files", |session| {
            !session.of_kind("files_changed").is_empty()
        })
        .await;
    let changed = session.of_kind("files_changed")[0];
    assert_eq!(changed["files"][0]["path"], "a.txt");
    assert_eq!(changed["files"][0]["change"], "added");
    assert!(
        changed["patch"].as_str().expect("a patch").contains("+hi"),
        "{changed}"
    );

    let shown = client
        .call("get_session", json!({"session_id": session.id}))
        .await;
    assert_eq!(shown["state"], "idle");
    assert!(
        shown["total_cost_usd"].as_f64().expect("a cost") > 0.0,
        "{shown}"
    );
    assert_eq!(shown["tags"], json!(["life"]));

    session.cancel().await;
    assert_eq!(session.state, "cancelled");
    let last = session.events.last().expect("there are events");
    assert_eq!(last["kind"], "session_ended");
    assert_eq!(last["body"]["unfinished"], json!([]));
}

#[tokio::test]
async fn a_repeated_creation_is_the_same_session() {
    let stack = stack::shared();
    let client = stack.client();
    let request = json!({
        "prompt": script::prompt(&["TEXT:once"]),
        "client_token": uuid::Uuid::new_v4().to_string(),
    });
    let first = client.call("create_session", request.clone()).await;
    let second = client.call("create_session", request.clone()).await;
    assert_eq!(first["session_id"], second["session_id"]);

    let mut other = request;
    other["prompt"] = json!("something else");
    let refused = client.try_call("create_session", other).await;
    assert!(refused.is_error);
    assert!(refused.text.contains("client_token"), "{}", refused.text);
    end(&client, &first).await;
}

#[tokio::test]
async fn turns_and_budget_are_limited() {
    let stack = stack::shared();
    let client = stack.client();
    let steps = [
        script::bash("true"),
        script::bash("true"),
        script::text("done"),
    ];
    let mut session = Session::create(
        &client,
        json!({"prompt": script::prompt(&steps), "permission_mode": "bypass", "max_turns": 1}),
    )
    .await;
    session.until_turns_ended(1).await;
    assert_eq!(
        session.of_kind("turn_ended")[0]["subtype"],
        "error_max_turns"
    );
    session.cancel().await;

    let mut session = Session::create(
        &client,
        json!({"prompt": script::prompt(&steps), "permission_mode": "bypass", "max_budget_usd": 0.000_001}),
    )
    .await;
    session.until_turns_ended(1).await;
    assert_eq!(
        session.of_kind("turn_ended")[0]["subtype"],
        "error_max_budget_usd"
    );
    session.cancel().await;
}

#[tokio::test]
async fn the_claude_binary_is_found() {
    let stack = stack::shared();
    let found = stack.client().call("find_claude_binary", json!({})).await;
    let selected = &found["selected"];
    assert_eq!(
        selected["version"],
        e2e::installed::CLAUDE_VERSION,
        "{found}"
    );
    assert_eq!(selected["supported"], true, "{found}");
    // Found by the emulator in the PATH of the person who started it, which no function has.
    assert_eq!(selected["source"], "path", "{found}");
    assert!(
        !found["candidates"]
            .as_array()
            .expect("candidates")
            .is_empty(),
        "{found}"
    );
}

#[tokio::test]
async fn claude_in_the_places_of_a_person_is_found() {
    let home = tempfile::tempdir().expect("a directory");
    let fake = |place: &str, version: &str| {
        let path = home.path().join(place);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        let text = format!("#!/bin/sh\necho '{version} (Claude Code)'\n");
        testkit::executable(&path, &text);
    };
    fake(".nvm/versions/node/v22.1.0/bin/claude", "1.0.1");
    fake(".local/bin/claude", "1.0.2");
    fake("elsewhere/versions/node/v20.0.0/bin/claude", "1.0.3");
    let named = Options::default().with("HOME", &home.path().display().to_string());
    let sources = async |options: &Options| -> Vec<(String, String)> {
        let stack = Stack::start(options);
        let found = stack.client().call("find_claude_binary", json!({})).await;
        let text = |candidate: &Value, field: &str| {
            candidate[field].as_str().unwrap_or_default().to_owned()
        };
        let candidates = found["candidates"].as_array().expect("candidates");
        let ours = candidates
            .iter()
            .map(|one| (text(one, "version"), text(one, "source")));
        ours.filter(|(version, _)| version.starts_with("1.0."))
            .collect()
    };
    let nvm = || ("1.0.1".to_owned(), "nvm".to_owned());
    let local = || ("1.0.2".to_owned(), "search_path".to_owned());
    assert_eq!(sources(&named).await, [local(), nvm()]);
    let elsewhere = home.path().join("elsewhere").display().to_string();
    let other = named.clone().with("NVM_DIR", &elsewhere);
    assert_eq!(
        sources(&other).await,
        [local(), ("1.0.3".to_owned(), "nvm".to_owned())]
    );
    let without = named.with("SHANNON_CLAUDE_NVM_CHECK", "false");
    assert_eq!(sources(&without).await, [local()]);
}

async fn end(client: &Client, created: &Value) {
    client
        .call(
            "cancel_session",
            json!({"session_id": created["session_id"]}),
        )
        .await;
}
