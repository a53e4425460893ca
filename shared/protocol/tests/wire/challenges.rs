//! Callers without a token, or with one that allows less than what they ask: in both eras.

use domain::Principal;
use domain::roles::{Role, SCOPES};
use http::StatusCode;
use protocol::Class;
use serde_json::{Value, json};

use crate::client::{Answer, Client};

const METADATA: &str =
    "resource_metadata=\"https://shannon.example/.well-known/oauth-protected-resource/mcp\"";

fn client(scopes: &[&str]) -> [Client; 2] {
    let with = |mut client: Client| {
        let principal = client.principal.as_mut().expect("a caller");
        principal.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        client
    };
    [
        with(Client::new(Class::Legacy)),
        with(Client::new(Class::Legacy).legacy()),
    ]
}

fn challenge(answer: &Answer) -> &str {
    answer.headers["www-authenticate"].to_str().expect("text")
}

#[track_caller]
fn assert_step_up(answer: &Answer, scope: &str) {
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
    let begin = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\", ");
    let challenge = challenge(answer);
    assert!(
        challenge.starts_with(&begin) && challenge.ends_with(METADATA),
        "{challenge}"
    );
    // The same in the body: not every client gets the header.
    let error = &answer.response()["error"];
    let data = json!({"error": "insufficient_scope", "scope": scope});
    assert_eq!((&error["code"], &error["data"]), (&json!(-32600), &data));
    assert_eq!(answer.response()["id"], 1);
}

#[tokio::test]
async fn whoever_lacks_a_scope_is_told_which_and_nothing_happens() {
    for client in client(&["sessions:read"]) {
        let create = client.tool("create_session", json!({"prompt": "x"})).await;
        assert_step_up(&create, "sessions:read sessions:write");
        assert_eq!(client.fake.session_keys(), []);
        let audit = client.tool("query_audit", json!({})).await;
        assert_step_up(&audit, "sessions:read admin");
        let config = json!({"uri": "shannon://config"});
        let config = client.request("resources/read", config).await;
        assert_step_up(&config, "sessions:read admin");
        assert_eq!(client.tool("list_sessions", json!({})).await.status, 200);
        // A tool that is not there is not one that others have.
        let none = client.tool("no_such_tool", json!({})).await;
        assert_ne!(none.status, StatusCode::FORBIDDEN, "{}", none.text);
    }
    for client in client(&["approve"]) {
        let sessions = client.request("resources/list", json!({})).await;
        assert_step_up(&sessions, "sessions:read approve");
        let prompt = json!({"name": "code_review", "arguments": {}});
        let prompt = client.request("prompts/get", prompt).await;
        assert_step_up(&prompt, "sessions:read approve");
    }
    let [modern, _] = client(&["sessions:read"]);
    let cancel = json!({"taskId": "x"});
    let cancel = modern.with_tasks().request("tasks/cancel", cancel).await;
    assert_step_up(&cancel, "sessions:read sessions:write");
}

#[tokio::test]
async fn whoever_has_no_token_is_told_where_to_get_one() {
    for mut client in client(&[]) {
        client.principal = None;
        let answer = client.request("tools/list", json!({})).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(challenge(&answer), format!("Bearer {METADATA}"));
    }
}

/// The names of the tools that are shown.
async fn shown(client: &Client) -> Vec<String> {
    let listed = client.request("tools/list", json!({})).await;
    let tools = listed.result()["tools"].as_array().expect("tools");
    let names = tools.iter().map(|tool| tool["name"].as_str());
    names.map(|name| name.expect("a name").to_owned()).collect()
}

/// What is shown may be called, and what is not shown may not: for every role, and for none.
#[tokio::test]
async fn tools_are_shown_to_whoever_may_call_them() {
    let [all, _] = client(&SCOPES);
    let all = shown(&all).await;
    let roles = Role::ALL.map(Role::scopes);
    for scopes in roles
        .into_iter()
        .chain([&[] as &[&str], &["admin"], &["approve"]])
    {
        for client in client(scopes) {
            let shown = shown(&client).await;
            for tool in &all {
                // Nothing has such an argument, so nothing happens.
                let called = client.tool(tool, json!({"no such": "argument"})).await;
                let may = called.status != StatusCode::FORBIDDEN;
                assert_eq!(may, shown.contains(tool), "{tool} with {scopes:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_list_is_kept_for_no_other_caller() {
    let [client, _] = client(&["sessions:read"]);
    let listed = client.request("tools/list", json!({})).await;
    assert_eq!(listed.result()["cacheScope"], "private");
    let mut other = client;
    let before = shown(&other).await.len();
    let principal: &mut Principal = other.principal.as_mut().expect("a caller");
    principal.scopes = Role::Developer
        .scopes()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(shown(&other).await.len() > before);
    let public: Value = other
        .request("server/discover", json!({}))
        .await
        .result()
        .clone();
    assert_eq!(public["cacheScope"], "public");
}
