//! What lies in checkpoints, as tools and resources show it: files, differences, exports, the tree.

use insta::assert_json_snapshot;
use protocol::{Class, DiffLimits};
use serde_json::{Value, json};

use crate::checkpoints::{idle, ids, suspended};
use crate::client::Client;
use crate::durable::{LONG_OWNER, long_diff};

#[tokio::test]
async fn files_of_a_session_without_a_runner_are_those_of_its_newest_checkpoint() {
    let client = Client::new(Class::Call);
    let (id, [_, _, last]) = suspended(&client).await;
    let file = json!({"session_id": id, "path": "a.txt"});
    let read = client.tool("read_file", file.clone()).await;
    let structured = &read.result()["structuredContent"];
    assert_eq!(
        (&structured["text"], &structured["checkpoint_id"]),
        (&json!(format!("a.txt at {last}")), &json!(last))
    );
    let missing = json!({"session_id": id, "path": "missing"});
    let said = client.refusal("read_file", missing).await;
    assert!(said.contains("holds no such file"), "{said}");
    client
        .call("delete_session", json!({"session_id": id}))
        .await;
    let read = client.call("read_file", file).await;
    assert_eq!(read["checkpoint_id"], last.as_str(), "ended, too");
}

#[tokio::test]
async fn contents_of_checkpoints_are_read_and_compared() {
    let client = Client::new(Class::Call);
    let (id, [one, two, last]) = suspended(&client).await;
    let compared = client
        .tool(
            "diff_checkpoints",
            json!({"session_id": id, "from": one, "context_lines": 5}),
        )
        .await;
    assert_json_snapshot!("diff_checkpoints", compared.response());
    let shown = &compared.result()["structuredContent"];
    assert_eq!(
        (&shown["from"], &shown["to"]),
        (&json!(one), &json!(last)),
        "with the latest"
    );
    let same = client
        .call(
            "diff_checkpoints",
            json!({"session_id": id, "from": two, "to": two}),
        )
        .await;
    assert_eq!((&same["changes"], &same["patch"]), (&json!([]), &json!("")));

    // No runner is needed.
    let file = |path: &str, checkpoint: &str| json!({"session_id": id, "path": path, "checkpoint": checkpoint});
    let read = client.call("read_file", file("a.txt", &one)).await;
    assert_eq!(read["text"], format!("a.txt at {one}"));
    let mut piece = file("a.txt", "latest");
    piece["offset"] = 6.into();
    piece["length"] = 2.into();
    let read = client.call("read_file", piece).await;
    assert_eq!(
        (&read["text"], &read["next_offset"]),
        (&json!("at"), &json!(8))
    );
    for (request, named) in [
        (file("missing", &one), "path"),
        (file("../x", &one), "path"),
        (file("a.txt", "no-such"), "list_checkpoints"),
    ] {
        let said = client.refusal("read_file", request.clone()).await;
        assert!(said.contains(named), "{request}: {said}");
    }
}

#[tokio::test]
async fn files_and_patches_are_exported() {
    let client = Client::new(Class::Call);
    let (id, [one, two, last]) = suspended(&client).await;
    let exported = client
        .tool(
            "export_workspace",
            json!({"session_id": id, "checkpoint": two}),
        )
        .await;
    assert_json_snapshot!("export_workspace", exported.response());
    let newest = client
        .call("export_workspace", json!({"session_id": id}))
        .await;
    assert_eq!(newest["checkpoint_id"], last.as_str());
    let request = json!({"session_id": id, "checkpoint": two, "since": one});
    let patch = client.call("export_workspace", request).await;
    assert_eq!(
        (&patch["format"], &patch["since_checkpoint_id"]),
        (&json!("patch"), &json!(one))
    );
    assert!(patch.get("entries").is_none(), "{patch}");
    for arguments in [
        json!({"checkpoint": "no-such"}),
        json!({"since": "no-such"}),
    ] {
        let mut arguments = arguments;
        arguments["session_id"] = id.as_str().into();
        let said = client.refusal("export_workspace", arguments).await;
        assert!(said.contains("list_checkpoints"), "{said}");
    }
}

#[tokio::test]
async fn checkpoints_tree_and_transcript_are_resources() {
    let client = Client::new(Class::Call);
    let (id, [one, two, last]) = suspended(&client).await;
    let reader = Client::of(Class::Read, client.fake.clone());
    let read = async |rest: &str| {
        let uri = format!("shannon://sessions/{id}/{rest}");
        let answer = reader.request("resources/read", json!({"uri": uri})).await;
        answer.result()["contents"][0].clone()
    };
    let inside = |content: &Value| -> Value {
        assert_eq!(content["mimeType"], "application/json", "{content}");
        serde_json::from_str(content["text"].as_str().expect("text")).expect("JSON")
    };
    let page = inside(&read("checkpoints").await);
    assert_eq!(ids(&page), [&last, &two, &one].map(String::as_str));
    assert_eq!(page["latest"], last.as_str());
    assert!(page.get("next").is_none(), "{page}");
    let before = &page["checkpoints"][0]["ordinal"];
    let older = inside(&read(&format!("checkpoints?before={before}")).await);
    assert_eq!(ids(&older), [&two, &one].map(String::as_str));

    let tree = inside(&read("timeline").await);
    let of_tool = client.call("get_timeline", json!({"session_id": id})).await;
    assert_eq!(tree, of_tool);

    let transcript = read("transcript").await;
    assert_eq!(transcript["mimeType"], "text/plain");
    let text = transcript["text"].as_str().expect("text");
    let (first, rest) = text.split_once("\n[2] ").expect("an event a paragraph");
    assert!(first.starts_with("[1] "), "{text}");
    let later = read("transcript?after=1").await;
    assert_eq!(later["text"], format!("[2] {rest}"));

    let file = read("files/a.txt").await;
    assert_eq!(file["text"], format!("a.txt at {last}"));
    for (rest, code) in [
        ("files/missing", -32602),
        ("checkpoints?before=x", -32602),
        ("timeline?x=1", -32602),
    ] {
        let uri = format!("shannon://sessions/{id}/{rest}");
        let answer = reader.request("resources/read", json!({"uri": uri})).await;
        assert_eq!(answer.code(), code, "{rest}: {}", answer.text);
    }
    let stranger = Client::of(Class::Read, client.fake.clone()).caller("somebody else");
    for rest in ["checkpoints", "timeline", "transcript", "files/a.txt"] {
        let uri = format!("shannon://sessions/{id}/{rest}");
        let answer = stranger
            .request("resources/read", json!({"uri": uri}))
            .await;
        assert!(
            answer.text.contains("no session with this id"),
            "{rest}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn a_long_transcript_goes_on() {
    let client = Client::new(Class::Call);
    let (id, runner) = idle(&client).await;
    for number in 0..130 {
        runner
            .checkpoint(&format!("{number} {}", "x".repeat(3000)))
            .await;
    }
    let reader = Client::of(Class::Read, client.fake.clone());
    let mut uri = format!("shannon://sessions/{id}/transcript");
    let (mut pieces, mut whole) = (0, String::new());
    loop {
        let answer = reader.request("resources/read", json!({"uri": uri})).await;
        let content = answer.result()["contents"][0].clone();
        pieces += 1;
        whole.push_str(content["text"].as_str().expect("text"));
        match content["_meta"]["shannon/next"].as_str() {
            Some(next) => uri = next.to_owned(),
            None => break,
        }
    }
    assert!(pieces > 1, "{}", whole.len());
    for number in 0..130 {
        assert_eq!(whole.matches(&format!(" {number} xxx")).count(), 1);
    }
}

#[tokio::test]
async fn a_checkpoint_is_read_and_compared_as_a_resource() {
    let client = Client::new(Class::Call);
    let (id, [one, two, last]) = suspended(&client).await;
    let reader = Client::of(Class::Read, client.fake.clone());
    let ask = async |rest: &str| {
        let uri = format!("shannon://sessions/{id}/{rest}");
        reader.request("resources/read", json!({"uri": uri})).await
    };
    let file = ask(&format!("files/a.txt?checkpoint={one}")).await;
    let content = &file.result()["contents"][0];
    assert_eq!(content["text"], format!("a.txt at {one}"));
    assert!(file.result()["ttlMs"].as_u64() > Some(0), "it stays so");
    let newest = ask("files/a.txt?checkpoint=latest").await;
    assert_eq!(
        newest.result()["contents"][0]["text"],
        format!("a.txt at {last}")
    );
    assert_eq!(newest.result()["ttlMs"], 0);

    let request = json!({"session_id": id, "from": one, "to": two});
    let patch = client.call("diff_checkpoints", request).await["patch"].clone();
    let compared = ask(&format!("checkpoints/{one}/diff?to={two}")).await;
    let content = &compared.result()["contents"][0];
    assert_eq!(
        (&content["text"], &content["mimeType"]),
        (&patch, &json!("text/x-diff"))
    );
    assert!(content.get("_meta").is_none(), "{content}");
    assert!(compared.result()["ttlMs"].as_u64() > Some(0), "it stays so");
    let with_latest = ask(&format!("checkpoints/{one}/diff?to=")).await;
    assert_eq!(with_latest.result()["contents"][0]["text"], patch);
    assert_eq!(with_latest.result()["ttlMs"], 0);
    let same = ask(&format!("checkpoints/{two}/diff?to={two}")).await;
    assert_eq!(same.result()["contents"][0]["text"], "");
    let nobodys = "chk_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    for rest in [
        format!("checkpoints/{nobodys}/diff"),
        format!("checkpoints/{one}/diff?to=no-such"),
        format!("checkpoints/{one}/diff?offset=999"),
        format!("checkpoints/{one}/diff?offset=99999999"),
        format!("checkpoints/{one}/diff?to=now/x"),
        format!("files/a.txt?checkpoint={nobodys}"),
        format!("files/missing?checkpoint={one}"),
    ] {
        let answer = ask(&rest).await;
        assert_eq!(answer.code(), -32602, "{rest}: {}", answer.text);
    }
    let stranger = Client::of(Class::Read, client.fake.clone()).caller("somebody else");
    let uri = format!("shannon://sessions/{id}/checkpoints/{one}/diff");
    let theirs = stranger
        .request("resources/read", json!({"uri": uri}))
        .await;
    assert!(
        theirs.text.contains("no session with this id"),
        "{}",
        theirs.text
    );
}

/// Each piece is computed for itself; together they are the patch.
#[tokio::test]
async fn a_long_comparison_is_read_in_pieces() {
    let client = Client::new(Class::Call).caller(LONG_OWNER);
    let (id, [one, two, _]) = suspended(&client).await;
    let reader = Client::of(Class::Read, client.fake.clone()).caller(LONG_OWNER);
    let mut uri = json!(format!(
        "shannon://sessions/{id}/checkpoints/{one}/diff?to={two}"
    ));
    let mut pieces: Vec<String> = Vec::new();
    while let Some(next) = uri.as_str() {
        let answer = reader.request("resources/read", json!({"uri": next})).await;
        let content = answer.result()["contents"][0].clone();
        let text = content["text"].as_str().expect("text");
        assert!(text.starts_with("diff --git "), "whole files");
        pieces.push(text.to_owned());
        uri = content["_meta"]["shannon/next"].clone();
    }
    let whole = long_diff(DiffLimits {
        context_lines: 3,
        patch_bytes: usize::MAX,
        changes: usize::MAX,
        binary: false,
    });
    assert!(pieces.len() > 2, "{}", pieces.len());
    assert_eq!(pieces.concat(), whole.patch);
}

/// A patch that is cut says where the text of it is.
#[tokio::test]
async fn a_long_patch_is_linked() {
    let client = Client::new(Class::Call);
    let (id, [one, two, _]) = suspended(&client).await;
    let request = json!({"session_id": id, "from": one, "to": two, "context_lines": 20});
    let compared = client.tool("diff_checkpoints", request).await;
    let result = compared.result();
    assert_eq!(result["structuredContent"]["truncated"], true);
    let link = &result["content"][1];
    assert_eq!(
        (&link["type"], &link["mimeType"]),
        (&json!("resource_link"), &json!("text/x-diff"))
    );
    assert_eq!(
        link["uri"],
        format!("shannon://sessions/{id}/checkpoints/{one}/diff?to={two}")
    );
    assert!(result.to_string().chars().count() < 150_000);
}

/// Of text the two forms count together: what would be longer than clients take is linked, wherever
/// it comes from.
#[tokio::test]
async fn a_long_file_is_linked() {
    let client = Client::new(Class::Call);
    let (id, [one, ..]) = suspended(&client).await;
    let mut request = json!({"session_id": id, "path": "long", "checkpoint": one});
    let first = client.tool("read_file", request.clone()).await;
    let first = first.result();
    let text = first["structuredContent"]["text"].as_str().expect("text");
    assert_eq!(first["content"][0]["text"], text);
    assert_eq!(first["structuredContent"]["next_offset"], text.len());
    let both = text.len() + first["structuredContent"].to_string().len();
    assert!((140_000..150_000).contains(&both), "{both}");
    request["length"] = 120_000.into();
    let all = client.tool("read_file", request).await;
    let all = all.result();
    assert!(all["structuredContent"].get("text").is_none(), "{all}");
    assert_eq!(all["content"][1]["type"], "resource_link");
    let mut uri = all["content"][1]["uri"].clone();
    assert_eq!(
        uri,
        format!("shannon://sessions/{id}/files/long?checkpoint={one}")
    );
    let reader = Client::of(Class::Read, client.fake.clone());
    let mut whole = String::new();
    while let Some(next) = uri.as_str() {
        let piece = reader.request("resources/read", json!({"uri": next})).await;
        let content = piece.result()["contents"][0].clone();
        whole.push_str(content["text"].as_str().expect("text"));
        uri = content["_meta"]["shannon/next"].clone();
    }
    assert_eq!(whole, "\"line\"\n".repeat(20_000));
}

#[tokio::test]
async fn a_checkpoint_is_compared_with_now() {
    let client = Client::new(Class::Call);
    let (id, runner) = idle(&client).await;
    let one = runner.checkpoint("one").await.to_string();
    let request = json!({"session_id": id, "from": one, "to": "now"});
    // The runner takes one for it.
    let (compared, now) = tokio::join!(
        client.call("diff_checkpoints", request.clone()),
        runner.serve_checkpoint()
    );
    assert_eq!(
        (&compared["from"], &compared["to"]),
        (&json!(one), &json!(now.as_str()))
    );
    // It must be the caller's to ask for.
    let mut reading = Client::of(Class::Call, client.fake.clone());
    reading.principal.as_mut().expect("me").scopes = vec!["sessions:read".to_owned()];
    let said = reading.refusal("diff_checkpoints", request.clone()).await;
    assert!(said.contains("sessions:write"), "{said}");
    // Without a runner nothing changes the files.
    client
        .call("suspend_session", json!({"session_id": id}))
        .await;
    let last = runner.serve_suspend().await;
    for client in [&client, &reading] {
        let compared = client.call("diff_checkpoints", request.clone()).await;
        assert_eq!(compared["to"], last.as_str());
    }
    client
        .call("delete_session", json!({"session_id": id}))
        .await;
    let compared = client.call("diff_checkpoints", request).await;
    assert_eq!(compared["to"], last.as_str(), "ended, too");
    let named = json!({"session_id": id, "name": "now"});
    let said = client.refusal("name_checkpoint", named).await;
    assert!(said.contains("choose another one"), "{said}");
}
