//! A checkpoint of which a stored bit has flipped, as a client sees it on the whole stack.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use e2e::script;
use e2e::session::Session;
use e2e::stack::{Options, Stack};
use serde_json::{Value, json};

/// The files with the packs that the stack's bucket holds.
fn packs(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(packs(&path)),
            Ok(kind) if kind.is_file() => {
                let bytes = fs::read(&path).unwrap_or_default();
                if bytes.starts_with(b"SHNPACK1") {
                    found.insert(path);
                }
            }
            _ => {}
        }
    }
    found
}

#[tokio::test]
async fn a_flipped_bit_ends_the_session_with_the_call_that_goes_on() {
    let stack = Stack::start(&Options::default());
    let client = stack.client();
    let steps = [script::bash("echo one > first"), script::text("first")];
    let mut session = Session::scripted(&client, &steps).await;
    session.until_turns_ended(1).await;
    let of_session = json!({"session_id": session.id});
    let newest = async || {
        let page = client.call("list_checkpoints", of_session.clone()).await;
        let id = &page["checkpoints"][0]["checkpoint_id"];
        id.as_str().expect("an id").to_owned()
    };
    let (whole, packs_before) = (newest().await, packs(&stack.state));
    let steps = [script::bash("echo two > second"), script::text("second")];
    session.send(&script::prompt(&steps), "second").await;
    session.until_turns_ended(2).await;
    client.call("suspend_session", of_session.clone()).await;
    session
        .until("the suspension", |session| session.state == "suspended")
        .await;
    let damaged = newest().await;
    let packs = packs(&stack.state);
    let added: Vec<&PathBuf> = packs.difference(&packs_before).collect();
    assert!(!added.is_empty(), "{packs:?}");
    for pack in added {
        let mut bytes = fs::read(pack).expect("a pack");
        // Of the first file in it.
        bytes[48] ^= 1;
        fs::write(pack, bytes).expect("damaged");
    }

    // A message wakes it: it ends, and says with what, and how to go on.
    session.send("and a third thing", "third").await;
    session.until_ended().await;
    assert_eq!(session.state, "failed", "{}", session.story());
    let end = session.of_kind("session_ended")[0].clone();
    let reason = end["reason"].as_str().expect("a reason");
    for named in [&damaged, &whole, "workspace/second"] {
        assert!(reason.contains(named), "{named}: {reason}");
    }

    // Nothing is lost: what waited, the log and what is whole stay readable.
    assert_eq!(end["unfinished"], json!(["third"]));
    let said = session.of_kind("message_taken");
    assert_eq!(said.last().expect("said")["text"], "and a third thing");
    let shown = client.call("get_session", of_session.clone()).await;
    assert!(shown.to_string().contains("fork_session"), "{shown}");
    let file = |path: &str, checkpoint: &str| {
        let id = &session.id;
        json!({"session_id": id, "path": path, "checkpoint": checkpoint})
    };
    let read = client.call("read_file", file("first", &damaged)).await;
    assert_eq!(read["text"], "one\n");
    let read = client.try_call("read_file", file("second", &damaged)).await;
    assert!(read.is_error && read.text.contains(&whole), "{}", read.text);
    let request = json!({"session_id": session.id, "checkpoint": whole});
    let refused = client.try_call("restore_checkpoint", request).await;
    assert!(
        refused.is_error && refused.text.contains("fork_session"),
        "{}",
        refused.text
    );

    // The call that it names is the one that goes on.
    let (_, call) = reason.split_once("fork_session ").expect("a call");
    let mut calls = serde_json::Deserializer::from_str(call).into_iter::<Value>();
    let mut call = calls.next().expect("arguments").expect("JSON");
    let steps = [script::bash("cat first; ls"), script::text("forked")];
    call["prompt"] = script::prompt(&steps).into();
    let forked = client.call("fork_session", call).await;
    let fork = forked["session_id"].as_str().expect("an id");
    let mut fork = Session::follow(&client, fork);
    fork.until_turns_ended(1).await;
    assert_eq!(
        fork.tool_results().last().expect("one").trim(),
        "one\nfirst"
    );
    fork.cancel().await;
}
