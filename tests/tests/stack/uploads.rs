//! Files on their way in: signed uploads as attachments and as workspaces.

use e2e::mcp::Client;
use e2e::script;
use e2e::session::Session;
use e2e::stack;
use serde_json::{Value, json};

async fn place(client: &Client, bytes: usize) -> Value {
    client.call("create_upload", json!({"bytes": bytes})).await
}

/// Sends a file with the request that `create_upload` returned.
async fn send(place: &Value, bytes: Vec<u8>) -> reqwest::Response {
    let method: reqwest::Method = place["method"]
        .as_str()
        .unwrap_or_else(|| panic!("no method in {place}"))
        .parse()
        .expect("an HTTP method");
    let mut request =
        e2e::mcp::http_client().request(method, place["url"].as_str().expect("an address"));
    // The length is that of the body, whatever was signed.
    let given = place["headers"].as_object().into_iter().flatten();
    for (name, value) in given.filter(|(name, _)| !name.eq_ignore_ascii_case("content-length")) {
        request = request.header(name, value.as_str().expect("a header is text"));
    }
    request
        .body(bytes)
        .send()
        .await
        .expect("the upload is answered")
}

async fn uploaded(client: &Client, bytes: &[u8]) -> Value {
    let place = place(client, bytes.len()).await;
    let sent = send(&place, bytes.to_vec()).await;
    assert!(sent.status().is_success(), "{}", sent.status());
    place["upload_id"].clone()
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut archive = tar::Builder::new(packed);
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Written as bytes: the archive of an attacker contains what `append_data` would refuse.
        let name = header.as_gnu_mut().expect("a GNU header");
        name.name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        archive
            .append(&header, content.as_bytes())
            .expect("an entry");
    }
    archive
        .into_inner()
        .and_then(flate2::write::GzEncoder::finish)
        .expect("an archive in memory")
}

#[tokio::test]
async fn an_upload_is_an_attachment() {
    let stack = stack::shared();
    let client = stack.client();
    let upload = uploaded(&client, b"attached text\n").await;
    let show = script::bash("find /workspace/.attachments -type f | xargs cat");
    let mut session = Session::create(
        &client,
        json!({
            "prompt": script::prompt(&[show, script::text("done")]),
            "permission_mode": "bypass",
            "attachments": [{"upload_id": upload, "name": "notes.txt"}],
        }),
    )
    .await;
    session.until_turns_ended(1).await;
    assert!(
        session.tool_results().join("\n").contains("attached text"),
        "{}",
        session.story()
    );

    let later = uploaded(&client, b"later text\n").await;
    client
        .call(
            "send_message",
            json!({
                "session_id": session.id,
                "message": script::prompt(&[script::bash("cat /workspace/.attachments/later.txt"), script::text("done")]),
                "attachments": [{"upload_id": later, "name": "later.txt"}],
            }),
        )
        .await;
    session.until_turns_ended(2).await;
    assert!(
        session.tool_results().join("\n").contains("later text"),
        "{}",
        session.story()
    );
    session.cancel().await;
}

#[tokio::test]
async fn an_upload_is_a_workspace() {
    let stack = stack::shared();
    let client = stack.client();
    let upload = uploaded(&client, &archive(&[("dir/file.txt", "from the archive\n")])).await;
    let mut session = Session::create(
        &client,
        json!({
            "prompt": script::prompt(&[script::bash("cat dir/file.txt"), script::text("done")]),
            "permission_mode": "bypass",
            "workspace": {"upload_id": upload},
        }),
    )
    .await;
    session.until_turns_ended(1).await;
    assert_eq!(session.of_kind("workspace_ready")[0]["source"], "upload");
    assert!(
        session
            .tool_results()
            .join("\n")
            .contains("from the archive")
    );
    session.cancel().await;
}

#[tokio::test]
async fn an_archive_that_climbs_out_fails() {
    let stack = stack::shared();
    let client = stack.client();
    for bytes in [
        archive(&[("../climbed.txt", "outside\n")]),
        archive(&[("/climbed.txt", "outside\n")]),
        b"no archive at all".to_vec(),
    ] {
        let upload = uploaded(&client, &bytes).await;
        let mut session = Session::create(
            &client,
            json!({"prompt": "never read", "workspace": {"upload_id": upload}}),
        )
        .await;
        session.until_ended().await;
        assert_eq!(session.state, "failed", "{}", session.story());
    }
}

#[tokio::test]
async fn only_what_was_signed_can_be_sent() {
    let stack = stack::shared();
    let client = stack.client();
    let place = place(&client, 10).await;
    let larger = send(&place, vec![b'x'; 5000]).await;
    assert!(larger.status().is_client_error(), "{}", larger.status());
    let mut elsewhere = place.clone();
    let url = place["url"].as_str().expect("an address");
    let id = place["upload_id"].as_str().expect("an upload id");
    elsewhere["url"] = json!(url.replace(id, "upl_aaaaaaaaaaaaaaaaaaaaaaaaaa"));
    assert_ne!(
        elsewhere["url"], place["url"],
        "the address names the upload"
    );
    let moved = send(&elsewhere, vec![b'x'; 10]).await;
    assert!(moved.status().is_client_error(), "{}", moved.status());

    let refused = client
        .try_call(
            "create_session",
            json!({"prompt": "x", "attachments": [{"upload_id": id, "name": "a.txt"}]}),
        )
        .await;
    assert!(refused.is_error);
    assert!(refused.text.contains("has not arrived"), "{}", refused.text);
    for bytes in [json!(0), json!(104_857_601), json!(-1), json!("many")] {
        let refused = client
            .try_call("create_upload", json!({"bytes": bytes}))
            .await;
        assert!(refused.is_error, "{bytes}");
        assert!(refused.text.contains("bytes"), "{}", refused.text);
    }
}
