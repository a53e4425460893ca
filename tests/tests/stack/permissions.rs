//! The gate: what each permission mode lets the model do, and what it reads when it may not.

use e2e::script;
use e2e::session::{DENIED, Session};
use e2e::stack::{self, Options, Stack};
use serde_json::{Value, json};

fn write(path: &str) -> String {
    script::tool("Write", &json!({"file_path": path, "content": "written\n"}))
}

/// The tools of the calls on which a person was asked.
fn asked(session: &Session<'_>) -> Vec<String> {
    session
        .of_kind("approval_requested")
        .iter()
        .map(|body| body["tool"].as_str().expect("text").to_owned())
        .collect()
}

async fn run(client: &e2e::mcp::Client, mode: &str, steps: &[String]) -> Vec<Value> {
    let mut session = Session::create(
        client,
        json!({"prompt": script::prompt(steps), "permission_mode": mode}),
    )
    .await;
    session.until_turns_ended(1).await;
    session.cancel().await;
    session.events
}

#[tokio::test]
async fn review_reads_and_changes_nothing() {
    let stack = stack::shared();
    let client = stack.client();
    let host = e2e::loopback::GitHost::with_files(&std::collections::BTreeMap::from([(
        "README.md",
        "what there is to read\n",
    )]));
    let mut session = Session::create(
        &client,
        json!({
            "prompt": script::prompt(&[
                script::bash("ls -a /workspace"),
                script::tool("Read", &json!({"file_path": "/workspace/README.md"})),
                write("/workspace/a.txt"),
                script::bash("touch /workspace/b.txt"),
                script::bash("cat /etc/hostname > /workspace/c.txt"),
                script::tool("WebFetch", &json!({"url": "http://127.0.0.1/", "prompt": "x"})),
                script::text("done"),
            ]),
            "workspace": {"git_url": host.clone_url()},
            "permission_mode": "review",
        }),
    )
    .await;
    let mut person = stack.approver();
    session
        .until_turns_ended_and_all_denied(1, &mut person)
        .await;
    assert_eq!(
        asked(&session),
        ["Write", "Bash", "Bash", "WebFetch"],
        "{}",
        session.story()
    );
    let results = session.tool_results();
    assert!(results[0].contains("README.md"), "{results:?}");
    assert!(results[1].contains("what there is to read"), "{results:?}");
    // What a person said is what the model read.
    let said = results.iter().filter(|result| result.contains(DENIED));
    assert_eq!(said.count(), 4, "{results:?}");
    assert!(
        session.of_kind("files_changed").is_empty(),
        "{}",
        session.story()
    );
    session.cancel().await;
}

#[tokio::test]
async fn review_is_the_default() {
    let stack = stack::shared();
    let client = stack.client();
    let mut session = Session::create(
        &client,
        json!({"prompt": script::prompt(&[write("/workspace/a.txt"), script::text("done")])}),
    )
    .await;
    let mut person = stack.approver();
    session
        .until_turns_ended_and_all_denied(1, &mut person)
        .await;
    assert_eq!(asked(&session).len(), 1, "{}", session.story());
    session.cancel().await;
}

#[tokio::test]
async fn accept_edits_stays_inside_the_workspace() {
    let stack = stack::shared();
    let client = stack.client();
    let host = e2e::loopback::GitHost::with_files(&std::collections::BTreeMap::from([
        ("elsewhere", "-> /tmp"),
        ("settings", "-> /home"),
    ]));
    let mut session = Session::create(
        &client,
        json!({
            "prompt": script::prompt(&[
                write("/workspace/inside.txt"),
                write("/tmp/outside.txt"),
                write("/workspace/../tmp/outside.txt"),
                write("/workspace/elsewhere/outside.txt"),
                script::bash("touch /workspace/by-shell.txt"),
                script::text("done"),
            ]),
            "permission_mode": "accept_edits",
            "workspace": {"git_url": host.clone_url()},
        }),
    )
    .await;
    let mut person = stack.approver();
    session
        .until_turns_ended_and_all_denied(1, &mut person)
        .await;
    assert_eq!(
        asked(&session),
        ["Write", "Write", "Write", "Bash"],
        "{}",
        session.story()
    );
    session
        .until("the changed files", |session| {
            !session.of_kind("files_changed").is_empty()
        })
        .await;
    let files = &session.of_kind("files_changed")[0]["files"];
    assert_eq!(files.as_array().expect("files").len(), 1, "{files}");
    assert_eq!(files[0]["path"], "inside.txt");
    session.cancel().await;
}

#[tokio::test]
async fn bypass_does_what_it_is_asked_where_it_is_permitted() {
    let stack = stack::shared();
    let client = stack.client();
    let events = run(
        &client,
        "bypass",
        &[
            script::bash("touch /workspace/b.txt && ls"),
            script::text("done"),
        ],
    )
    .await;
    assert!(
        !events.iter().any(|event| event["kind"] == "tool_denied"),
        "{events:?}"
    );
    assert!(
        events.iter().any(|event| event["body"]["text"]
            .as_str()
            .is_some_and(|text| text.contains("b.txt"))),
        "{events:?}"
    );
}

/// Commands, what comes of them in bypass mode in the tier review, and who decides it.
const DECIDED: [(&str, &str, &str); 5] = [
    ("ls -a", "allow", "harmless/reading-programs"),
    ("touch made", "allow", "modes/bypass"),
    ("rm -fr /", "deny", "denials/destroying-roots"),
    (
        "echo c3VkbyB0cnVl | base64 -d | sh; sudo true",
        "deny",
        "denials/privilege",
    ),
    (
        "curl http://169.254.169.254/latest/",
        "deny",
        "denials/metadata",
    ),
];

#[tokio::test]
async fn what_the_policy_is_said_to_decide_is_what_the_gate_does() {
    let stack = stack::shared();
    let client = stack.client();
    let mut steps: Vec<String> = DECIDED
        .iter()
        .map(|(command, ..)| script::bash(command))
        .collect();
    steps.push(script::text("done"));
    let mut session = Session::scripted(&client, &steps).await;
    for (command, outcome, policy) in DECIDED {
        let said = client
            .call(
                "check_policy",
                json!({"command": command, "session_id": session.id}),
            )
            .await;
        assert_eq!(said["outcome"], outcome, "{command}: {said}");
        let ids: Vec<_> = said["policies"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|policy| policy["policy_id"].as_str().unwrap_or_default())
            .collect();
        assert!(ids.contains(&policy), "{command}: {ids:?}");
    }
    session.until_turns_ended(1).await;
    let denied = session.of_kind("tool_denied");
    let expected: Vec<&str> = DECIDED
        .iter()
        .filter(|(_, outcome, _)| *outcome == "deny")
        .map(|(.., policy)| *policy)
        .collect();
    assert_eq!(denied.len(), expected.len(), "{}", session.story());
    for (body, policy) in denied.iter().zip(expected) {
        assert!(
            body["policies"].to_string().contains(policy),
            "{policy}: {body}"
        );
    }
    session.cancel().await;
}

#[tokio::test]
async fn a_stricter_session_asks_where_its_deployment_does_not() {
    let stack = Stack::start(&Options::default().with("SHANNON_SAFETY_TIER", "auto"));
    let client = stack.client();
    for (tier, runs) in [(json!("auto"), true), (json!("review"), false)] {
        let mut session = Session::create(
            &client,
            json!({
                "prompt": script::prompt(&[script::bash("mkdir made"), script::text("done")]),
                "tier": tier,
            }),
        )
        .await;
        let mut person = stack.approver();
        session
            .until_turns_ended_and_all_denied(1, &mut person)
            .await;
        assert_eq!(asked(&session).is_empty(), runs, "{}", session.story());
        session.cancel().await;
    }
}

#[tokio::test]
async fn bypass_is_refused_where_it_is_not() {
    let stack = Stack::start(&Options::default().with("SHANNON_ALLOW_BYPASS_PERMISSIONS", "false"));
    let client = stack.client();
    let refused = client
        .try_call(
            "create_session",
            json!({"prompt": "x", "permission_mode": "bypass"}),
        )
        .await;
    assert!(refused.is_error);
    assert!(
        refused.text.contains("SHANNON_ALLOW_BYPASS_PERMISSIONS"),
        "{}",
        refused.text
    );
    let none = client.call("list_sessions", json!({})).await;
    assert_eq!(none["sessions"], json!([]));
}
