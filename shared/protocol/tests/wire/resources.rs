//! Resources on the wire: lists, templates, reading, completion.

use domain::event::{ChangeKind, FileChange};
use domain::{EventBody, State};
use insta::assert_json_snapshot;
use protocol::Class;
use serde_json::{Value, json};

use crate::client::Client;

const INVALID_PARAMS: i64 = -32602;

fn changed(path: &str, change: ChangeKind, patch: &str) -> EventBody {
    EventBody::FilesChanged {
        files: vec![FileChange {
            path: path.to_owned(),
            change,
            added_lines: (!patch.is_empty()).then_some(1),
            removed_lines: (!patch.is_empty()).then_some(0),
        }],
        patch: patch.to_owned(),
    }
}

async fn session(client: &Client, prompt: &str) -> String {
    let created = client
        .call("create_session", json!({"prompt": prompt}))
        .await;
    created["session_id"].as_str().expect("an id").to_owned()
}

async fn read(client: &Client, uri: &str) -> Value {
    let answer = client.request("resources/read", json!({"uri": uri})).await;
    let contents = &answer.result()["contents"];
    assert_eq!(
        contents.as_array().expect("contents").len(),
        1,
        "{contents}"
    );
    assert_eq!(contents[0]["uri"], uri);
    contents[0].clone()
}

/// The JSON that a content holds.
fn inside(content: &Value) -> Value {
    assert_eq!(content["mimeType"], "application/json", "{content}");
    serde_json::from_str(content["text"].as_str().expect("text")).expect("JSON")
}

#[tokio::test]
async fn lists_name_sessions_page_by_page() {
    let client = Client::new(Class::Legacy);
    let none = client.request("resources/list", json!({})).await;
    assert_json_snapshot!("resources_list_empty", none.result());
    let mut made = Vec::new();
    for number in 0..52 {
        client.fake.clock().advance(1000);
        let key = testkit::new_session(&client.fake, &client.principal.as_ref().expect("me").owner);
        let created = domain::ports::SessionDirectory::create(&client.fake, key).await;
        made.push(created.expect("created").head.key.session.to_string());
        assert_eq!(made.len(), number + 1);
    }
    let mut seen = Vec::new();
    let mut params = json!({});
    loop {
        let page = client.request("resources/list", params).await;
        let result = page.result().clone();
        for resource in result["resources"].as_array().expect("resources") {
            let uri = resource["uri"].as_str().expect("a URI").to_owned();
            if let Some(id) = uri.strip_prefix("shannon://sessions/") {
                seen.push(id.to_owned());
                let text = read(&client, &uri).await["text"].clone();
                assert_eq!(resource["size"], text.as_str().expect("text").len());
            }
        }
        let Some(cursor) = result.get("nextCursor") else {
            break;
        };
        params = json!({ "cursor": cursor });
    }
    made.reverse();
    assert_eq!(seen, made, "newest first, each once");
    let bad = client
        .request("resources/list", json!({"cursor": "made-up"}))
        .await;
    assert_eq!(bad.code(), INVALID_PARAMS);
    let other = client.caller("somebody else");
    let theirs = other.request("resources/list", json!({})).await;
    assert_eq!(
        theirs.result()["resources"].as_array().expect("some").len(),
        2
    );
}

#[tokio::test]
async fn templates_are_static_and_cached() {
    let client = Client::new(Class::Legacy);
    let answer = client.request("resources/templates/list", json!({})).await;
    assert_json_snapshot!("resource_templates", answer.result());
    let old = Client::new(Class::Legacy).legacy();
    let answer = old.request("resources/templates/list", json!({})).await;
    assert_eq!(answer.result().get("ttlMs"), None);
}

#[tokio::test]
async fn a_session_is_read_from_every_side() {
    let client = Client::new(Class::Legacy);
    let id = session(&client, "make a thing").await;
    let uri = format!("shannon://sessions/{id}");
    let runner = client.runner(&id).await;
    runner.take().await;
    let patch = "diff --git a/a.txt b/a.txt\n--- /dev/null\n+++ b/a.txt\n@@ -0,0 +1 @@\n+hi\n";
    runner
        .events(
            State::Running,
            vec![
                changed("a.txt", ChangeKind::Added, patch),
                changed("b.bin", ChangeKind::Added, ""),
                changed("gone", ChangeKind::Deleted, ""),
            ],
        )
        .await;
    let shown = inside(&read(&client, &uri).await);
    assert_eq!(
        (&shown["session_id"], &shown["state"]),
        (&json!(id), &json!("running"))
    );
    let all = inside(&read(&client, "shannon://sessions").await);
    assert_eq!(all["sessions"][0]["session_id"], json!(id));

    let events = inside(&read(&client, &format!("{uri}/events?after=&limit=2")).await);
    assert_eq!(events["events"].as_array().expect("events").len(), 2);
    let next = events["next"].as_str().expect("there is more").to_owned();
    assert_eq!(next, format!("{uri}/events?after=2&limit=2"));
    let following = read(&client, &next).await;
    assert_eq!(inside(&following)["events"][0]["sequence"], 3);
    assert_eq!(
        following["_meta"]["shannon/next"],
        format!("{uri}/events?after=4&limit=2")
    );
    let one = inside(&read(&client, &format!("{uri}/events/3")).await);
    assert_eq!(one["sequence"], 3);

    let diff = read(&client, &format!("{uri}/diff")).await;
    assert_eq!(diff["mimeType"], "text/x-diff");
    let text = diff["text"].as_str().expect("text");
    assert!(text.contains(patch), "{text}");
    assert!(text.contains("# added b.bin (not text)\n"), "{text}");
    let none = read(&client, &format!("{uri}/diff?turn=9")).await;
    assert_eq!(none["text"], "");

    let path = format!("{uri}/files/a.txt");
    let (file, ()) = tokio::join!(read(&client, &path), runner.serve_file(b"hi\n"));
    assert_eq!(
        (&file["text"], &file["mimeType"]),
        (&json!("hi\n"), &json!("text/plain"))
    );
    assert_eq!(file["_meta"]["shannon/whole_bytes"], 3);
    let path = format!("{uri}/files/b.png");
    let (file, ()) = tokio::join!(read(&client, &path), runner.serve_file(&[0x89, 0, 1]));
    assert_eq!(
        (&file["blob"], &file["mimeType"]),
        (&json!("iQAB"), &json!("image/png"))
    );

    let answer = client.request("resources/read", json!({"uri": uri})).await;
    assert_eq!(
        (&answer.result()["ttlMs"], &answer.result()["cacheScope"]),
        (&json!(0), &json!("private"))
    );
    client
        .call("cancel_session", json!({"session_id": id}))
        .await;
    let answer = client.request("resources/read", json!({"uri": uri})).await;
    assert!(answer.result()["contents"][0]["text"].as_str().is_some());
}

#[tokio::test]
async fn a_long_diff_goes_on_at_the_next_turn() {
    let client = Client::new(Class::Legacy);
    let id = session(&client, "much").await;
    let runner = client.runner(&id).await;
    runner.take().await;
    let long = format!("+{}\n", "x".repeat(60_000));
    for name in ["one", "two", "three"] {
        runner
            .events(
                State::Running,
                vec![changed(name, ChangeKind::Added, &long)],
            )
            .await;
    }
    let mut uri = format!("shannon://sessions/{id}/diff");
    let (mut pieces, mut whole) = (0, String::new());
    loop {
        let content = read(&client, &uri).await;
        pieces += 1;
        whole.push_str(content["text"].as_str().expect("text"));
        match content["_meta"]["shannon/next"].as_str() {
            Some(next) => uri = next.to_owned(),
            None => break,
        }
    }
    assert_eq!((pieces, whole.matches(&long).count()), (3, 3));
}

/// As the newest runner reported them, to whoever may read.
#[tokio::test]
async fn subagents_are_listed_and_read() {
    let mut client = Client::new(Class::Legacy);
    let listed = client.request("resources/list", json!({})).await;
    let listed = &listed.result()["resources"][1];
    assert_eq!(
        (&listed["uri"], &listed["mimeType"]),
        (&json!("shannon://agents"), &json!("application/json"))
    );
    let shown = inside(&read(&client, "shannon://agents").await);
    assert_eq!(
        shown,
        json!({
            "agents": [{"name": "Plan", "description": "makes plans"}],
            "claude_version": "2.1.300",
            "reported_at_unix_ms": 1_795_000_000_000_u64,
        })
    );
    client.principal.as_mut().expect("me").scopes.clear();
    let refused = client
        .request("resources/read", json!({"uri": "shannon://agents"}))
        .await;
    assert!(refused.text.contains("scope"), "{}", refused.text);
}

#[tokio::test]
async fn settings_are_for_administrators() {
    let mut client = Client::new(Class::Legacy);
    let read = async |client: &Client| {
        client
            .request("resources/read", json!({"uri": "shannon://config"}))
            .await
    };
    let refused = read(&client).await;
    assert!(refused.text.contains("scope admin"), "{}", refused.text);
    let mut principal = client.principal.clone().expect("me");
    principal.scopes.push("admin".to_owned());
    client.principal = Some(principal);
    let answer = read(&client).await;
    let shown = inside(&answer.result()["contents"][0]);
    assert_eq!(shown["settings"][0]["name"], "SHANNON_STAGE");
    let listed = client.request("resources/list", json!({})).await;
    assert_eq!(listed.result()["resources"][2]["uri"], "shannon://config");
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_way_of_the_era() {
    let client = Client::new(Class::Legacy);
    let id = session(&client, "x").await;
    let old = Client::of(Class::Legacy, client.fake.clone()).legacy();
    let stranger = Client::of(Class::Legacy, client.fake.clone()).caller("somebody else");
    let missing = "ses_abcdefghijklmnopqrstuvwxyz";
    for uri in [
        "shannon://nothing".to_owned(),
        "https://example.com".to_owned(),
        "shannon://agents/Plan".to_owned(),
        format!("shannon://sessions/{missing}"),
        format!("shannon://sessions/{missing}/events"),
        format!("shannon://sessions/{id}/events/99"),
        format!("shannon://sessions/{id}/events/0"),
        format!("shannon://sessions/{id}/files/a.txt"),
    ] {
        let modern = client.request("resources/read", json!({"uri": uri})).await;
        assert_eq!(modern.code(), INVALID_PARAMS, "{uri}: {}", modern.text);
        assert_eq!(modern.response()["error"]["data"]["uri"], json!(uri));
        let legacy = old.request("resources/read", json!({"uri": uri})).await;
        assert_eq!(legacy.code(), -32002, "{uri}: {}", legacy.text);
    }
    for uri in [
        format!("shannon://sessions/{id}/files/../etc/passwd"),
        format!("shannon://sessions/{id}/events?limit=0"),
        format!("shannon://sessions/{id}/events?limit=501"),
        "shannon://sessions?cursor=made-up".to_owned(),
        "shannon://sessions/nonsense".to_owned(),
    ] {
        let refused = old.request("resources/read", json!({"uri": uri})).await;
        assert_eq!(refused.code(), INVALID_PARAMS, "{uri}: {}", refused.text);
    }
    let uri = format!("shannon://sessions/{id}");
    let theirs = stranger
        .request("resources/read", json!({"uri": uri}))
        .await;
    assert!(
        theirs.text.contains("no session with this id"),
        "{}",
        theirs.text
    );
}

#[tokio::test]
async fn ids_paths_and_turns_are_completed() {
    let client = Client::new(Class::Legacy);
    let first = session(&client, "alpha").await;
    client.fake.clock().advance(1000);
    let second = session(&client, "beta").await;
    let runner = client.runner(&first).await;
    runner.take().await;
    let changes = ["src/a.rs", "src/b.rs", "README.md"];
    runner
        .events(
            State::Running,
            changes
                .map(|path| changed(path, ChangeKind::Added, "+\n"))
                .to_vec(),
        )
        .await;
    let complete = async |uri: &str, name: &str, value: &str, given: Value| {
        let params = json!({
            "ref": {"type": "ref/resource", "uri": uri},
            "argument": {"name": name, "value": value},
            "context": {"arguments": given},
        });
        client.request("completion/complete", params).await
    };
    let session = "shannon://sessions/{id}";
    let file = "shannon://sessions/{id}/files/{+path}{?checkpoint}";
    let all = complete(session, "id", "", json!({})).await;
    assert_eq!(
        all.result()["completion"],
        json!({"values": [second, first], "total": 2, "hasMore": false})
    );
    let one = complete(session, "id", "ALPH", json!({})).await;
    assert_eq!(one.result()["completion"]["values"], json!([first]));
    let paths = complete(file, "path", "src/", json!({"id": first})).await;
    assert_eq!(
        paths.result()["completion"]["values"],
        json!(["src/a.rs", "src/b.rs"])
    );
    let without = complete(file, "path", "src/", json!({})).await;
    assert_eq!(without.result()["completion"]["values"], json!([]));
    let foreign = complete(
        file,
        "path",
        "",
        json!({"id": "ses_abcdefghijklmnopqrstuvwxyz"}),
    )
    .await;
    assert_eq!(foreign.result()["completion"]["values"], json!([]));
    let turns = complete(
        "shannon://sessions/{id}/diff{?turn}",
        "turn",
        "",
        json!({"id": first}),
    )
    .await;
    assert_eq!(turns.result()["completion"]["values"], json!(["1"]));
    for (uri, name) in [
        ("shannon://sessions/{id}", "path"),
        ("shannon://other", "id"),
    ] {
        assert_eq!(
            complete(uri, name, "", json!({})).await.code(),
            INVALID_PARAMS
        );
    }
}
