//! Ids of checkpoints that are not the session's: unknown ones, and real ones of another session of
//! the same owner, of a fork, and of somebody else. All of them get the answer of an unknown one, and
//! nothing happens.

use protocol::Class;
use serde_json::{Value, json};

use crate::{checkpoints::suspended, client::Client};

/// Every way to name a checkpoint: the tool, the argument, and what else the call needs.
fn ways() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("read_file", "checkpoint", json!({"path": "a.txt"})),
        ("diff_checkpoints", "from", json!({})),
        ("diff_checkpoints", "to", json!({"from": "latest"})),
        ("export_workspace", "checkpoint", json!({})),
        ("export_workspace", "since", json!({})),
        ("restore_checkpoint", "checkpoint", json!({})),
        ("fork_session", "checkpoint", json!({})),
        ("pin_checkpoint", "checkpoint", json!({"pinned": true})),
        ("pin_checkpoint", "checkpoint", json!({"pinned": false})),
        ("name_checkpoint", "checkpoint", json!({"name": "mine"})),
    ]
}

/// What the sessions of everybody are, to see that nothing happened.
fn picture(client: &Client) -> Vec<String> {
    let fake = &client.fake;
    let session = |key| {
        let (head, refs) = (fake.peek_head(&key), fake.peek_refs(&key));
        format!("{head:?} {refs:?} {:?}", fake.peek_checkpoints(&key))
    };
    fake.session_keys().into_iter().map(session).collect()
}

#[tokio::test]
async fn a_foreign_checkpoint_is_an_unknown_one() {
    let client = Client::new(Class::Call);
    let (mine, own) = suspended(&client).await;
    let (other, others) = suspended(&client).await;
    let forked = client
        .call("fork_session", json!({"session_id": other}))
        .await;
    let fork = client.key(forked["session_id"].as_str().expect("an id"));
    let of_fork = client.fake.peek_checkpoints(&fork)[0].id.to_string();
    let somebody = Client::of(Class::Call, client.fake.clone()).caller("you");
    let (theirs, their) = suspended(&somebody).await;
    // Each is real where it belongs.
    for (client, session, id) in [
        (&client, &mine, &own[0]),
        (&client, &other, &others[0]),
        (&client, &fork.session.to_string(), &of_fork),
        (&somebody, &theirs, &their[0]),
    ] {
        let request = json!({"session_id": session, "path": "a.txt", "checkpoint": id});
        client.call("read_file", request).await;
    }
    let before = picture(&client);
    for (tool, argument, rest) in ways() {
        let ask = async |session: &str, id: &str| {
            let mut arguments = rest.clone();
            arguments["session_id"] = session.into();
            arguments[argument] = id.into();
            let answer = client.tool(tool, arguments).await.result().clone();
            assert_eq!(answer["isError"], true, "{tool} {argument} {id}: {answer}");
            answer
        };
        let unknown = ask(&mine, "chk_aaaaaaaaaaaaaaaaaaaaaaaaaa").await;
        let said = unknown.to_string();
        assert!(
            said.contains("no such checkpoint") && said.contains("list_checkpoints"),
            "{tool} {argument}: {said}"
        );
        for foreign in [&others[0], &others[2], &of_fork, &their[0], &their[2]] {
            let answer = ask(&mine, foreign).await;
            assert_eq!(answer, unknown, "{tool} {argument} {foreign}");
        }
        // Nor is one of its tree, which shares its files.
        assert_eq!(ask(&other, &of_fork).await, unknown, "{tool} {argument}");
        let fork = fork.session.to_string();
        assert_eq!(ask(&fork, &others[2]).await, unknown, "{tool} {argument}");
    }
    assert_eq!(picture(&client), before);
}
