//! Files of a session: where a workspace comes from, and reading out of it.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use e2e::loopback::GitHost;
use e2e::mcp::Client;
use e2e::script;
use e2e::session::Session;
use e2e::stack;
use serde_json::{Value, json};

async fn read(client: &Client, session: &Session<'_>, path: &str) -> Value {
    client
        .call("read_file", json!({"session_id": session.id, "path": path}))
        .await
}

async fn refusal(client: &Client, session: &Session<'_>, path: &str) -> String {
    let answer = client
        .try_call("read_file", json!({"session_id": session.id, "path": path}))
        .await;
    assert!(answer.is_error, "{path} was read: {}", answer.text);
    answer.text
}

#[tokio::test]
async fn files_are_read_out_of_the_workspace_and_only_of_it() {
    let stack = stack::shared();
    let client = stack.client();
    let make = "mkdir -p deep/er && printf 'hello\\nworld\\n' > deep/er/text.txt && printf '\\377\\000\\001' > binary \
                && ln -s /etc/passwd link && ln -s deep deeplink && ln -s /etc etc && ln -s text.txt deep/er/inside";
    let mut session = Session::scripted(&client, &[script::bash(make), script::text("made")]).await;
    session.until_turns_ended(1).await;

    let text = read(&client, &session, "deep/er/text.txt").await;
    assert_eq!(text["text"], "hello\nworld\n", "{text}");
    assert_eq!(text["file_bytes"], 12);
    let same = read(&client, &session, "/workspace/deep/er/text.txt").await;
    assert_eq!(same["text"], text["text"]);
    let piece = client
        .call(
            "read_file",
            json!({"session_id": session.id, "path": "deep/er/text.txt", "offset": 6, "length": 3}),
        )
        .await;
    assert_eq!(piece["text"], "wor");
    let binary = read(&client, &session, "binary").await;
    let bytes = BASE64_STANDARD
        .decode(
            binary["base64"]
                .as_str()
                .unwrap_or_else(|| panic!("no base64 in {binary}")),
        )
        .expect("base64");
    assert_eq!(bytes, [255, 0, 1]);

    for path in [
        "link",
        "etc/passwd",
        "deeplink/er/text.txt",
        "deep/er/inside",
    ] {
        let said = refusal(&client, &session, path).await;
        assert!(said.contains("link"), "{path}: {said}");
        assert!(!said.contains("root:"), "{path}: {said}");
    }
    assert!(
        refusal(&client, &session, "deep")
            .await
            .contains("directory")
    );
    assert!(
        refusal(&client, &session, "missing.txt")
            .await
            .contains("missing.txt")
    );
    for path in [
        "../etc/passwd",
        "/etc/passwd",
        "deep/../../etc/passwd",
        "",
        "a\u{0}b",
    ] {
        refusal(&client, &session, path).await;
    }
    session.cancel().await;
}

#[tokio::test]
async fn a_repository_is_cloned_at_a_ref() {
    let stack = stack::shared();
    let client = stack.client();
    let host = GitHost::with_files(&BTreeMap::from([
        ("README.md", "a repository\n"),
        ("sub/inner.txt", "inner\n"),
    ]));
    let mut session = Session::create(
        &client,
        json!({
            "prompt": script::prompt(&[script::bash("pwd; git log -1 --format=%H; cat inner.txt"), script::text("done")]),
            "permission_mode": "bypass",
            "workspace": {"git_url": host.clone_url(), "git_ref": "v1", "subdirectory": "sub"},
        }),
    )
    .await;
    session.until_turns_ended(1).await;
    let ready = session.of_kind("workspace_ready")[0];
    assert_eq!(ready["source"], "git");
    assert_eq!(ready["commit"], host.commit());
    let said = session.tool_results().join("\n");
    assert!(said.contains("/workspace/sub"), "{said}");
    assert!(said.contains(&host.commit()), "{said}");
    assert!(said.contains("inner"), "{said}");
    session.cancel().await;
}

#[tokio::test]
async fn what_cannot_be_cloned_says_why() {
    let stack = stack::shared();
    let client = stack.client();
    let host = GitHost::with_files(&BTreeMap::from([("README.md", "a repository\n")]));
    let missing = format!("{}/nothing.git", host.server.url());
    for (workspace, expected) in [
        (
            json!({"git_url": host.clone_url(), "git_ref": "no-such-branch"}),
            "no-such-branch",
        ),
        (json!({"git_url": missing}), "nothing.git"),
        (
            json!({"git_url": host.clone_url(), "subdirectory": "absent"}),
            "absent",
        ),
    ] {
        let mut session = Session::create(
            &client,
            json!({"prompt": "never read", "workspace": workspace}),
        )
        .await;
        session.until_ended().await;
        assert_eq!(session.state, "failed", "{workspace}");
        let end = session.of_kind("session_ended")[0];
        assert!(
            end["reason"].as_str().expect("a reason").contains(expected),
            "{end}"
        );
    }
}

#[tokio::test]
async fn a_directory_is_copied_and_nothing_outside_its_root() {
    let stack = stack::shared();
    let client = stack.client();
    let name = uuid::Uuid::new_v4().simple().to_string();
    let project = stack.roots().join(&name);
    let outside = stack.directory.join(format!("outside-{name}"));
    std::fs::create_dir_all(project.join("src")).expect("a directory");
    std::fs::create_dir(&outside).expect("a directory");
    std::fs::write(project.join("src/main.txt"), "original\n").expect("a file");
    std::fs::write(outside.join("secret.txt"), "outside the root\n").expect("a file");
    symlink(outside.join("secret.txt"), project.join("link.txt")).expect("a link");
    let sneaky = stack.roots().join(format!("sneaky-{name}"));
    symlink(&outside, &sneaky).expect("a link");

    let change = script::bash("cat link.txt; echo changed > src/main.txt; cat src/main.txt");
    let mut session = Session::create(
        &client,
        json!({
            "prompt": script::prompt(&[change, script::text("done")]),
            "permission_mode": "bypass",
            "workspace": {"directory": project},
        }),
    )
    .await;
    session.until_turns_ended(1).await;
    let said = session.tool_results().join("\n");
    assert!(said.contains("changed"), "{said}");
    assert!(
        !said.contains("outside the root"),
        "a link was followed: {said}"
    );
    let original = std::fs::read_to_string(project.join("src/main.txt")).expect("a file");
    assert_eq!(
        original, "original\n",
        "the directory itself must not change"
    );
    session.cancel().await;

    // Its text is under the root, what it points to is not: only the runner can see that.
    let mut session = Session::create(
        &client,
        json!({"prompt": "never read", "workspace": {"directory": sneaky}}),
    )
    .await;
    session.until_ended().await;
    assert_eq!(session.state, "failed", "{}", session.story());
    assert!(session.of_kind("workspace_ready").is_empty());

    for path in [
        outside.clone(),
        project.join("../.."),
        "/etc".into(),
        "relative".into(),
    ] {
        let refused = client
            .try_call(
                "create_session",
                json!({"prompt": "never read", "workspace": {"directory": path}}),
            )
            .await;
        assert!(refused.is_error, "{}: {}", path.display(), refused.text);
    }
}
