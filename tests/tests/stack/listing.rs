//! Finding sessions again: by state, tag and time, page by page, always in the same order.

use e2e::script;
use e2e::session::Session;
use e2e::stack;
use serde_json::{Value, json};

fn ids(page: &Value) -> Vec<String> {
    page["sessions"]
        .as_array()
        .unwrap_or_else(|| panic!("no sessions in {page}"))
        .iter()
        .map(|session| session["session_id"].as_str().expect("an id").to_owned())
        .collect()
}

#[tokio::test]
async fn sessions_are_listed_newest_first_page_by_page() {
    let stack = stack::shared();
    let client = stack.client();
    let tag = format!("listing-{}", uuid::Uuid::new_v4().simple());
    let mut sessions = Vec::new();
    for number in 0..3 {
        let session = Session::create(
            &client,
            json!({
                "prompt": format!("number {number} {}", script::prompt(&["TEXT:one"])),
                "tags": [tag, format!("number-{number}")],
            }),
        )
        .await;
        sessions.push(session);
    }
    let mut newest_first: Vec<String> = sessions.iter().map(|session| session.id.clone()).collect();
    newest_first.reverse();

    let all = client.call("list_sessions", json!({"tags": [tag]})).await;
    assert_eq!(ids(&all), newest_first);
    assert!(all["next_cursor"].is_null(), "{all}");

    let mut paged = Vec::new();
    let mut cursor = json!(null);
    loop {
        let mut arguments = json!({"tags": [tag], "limit": 2});
        if cursor.is_string() {
            arguments["cursor"] = cursor.clone();
        }
        let page = client.call("list_sessions", arguments).await;
        assert!(ids(&page).len() <= 2);
        paged.extend(ids(&page));
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(paged, newest_first);

    for session in &mut sessions {
        session.until_turns_ended(1).await;
    }
    sessions[0].cancel().await;
    let cancelled = client
        .call(
            "list_sessions",
            json!({"tags": [tag], "states": ["cancelled"]}),
        )
        .await;
    assert_eq!(ids(&cancelled), [sessions[0].id.clone()]);
    let idle = client
        .call("list_sessions", json!({"tags": [tag], "states": ["idle"]}))
        .await;
    assert_eq!(ids(&idle), [sessions[2].id.clone(), sessions[1].id.clone()]);

    let second = &all["sessions"][1];
    let since = second["created_at_unix_ms"]
        .as_u64()
        .unwrap_or_else(|| panic!("no creation time in {second}"));
    let later = client
        .call(
            "list_sessions",
            json!({"tags": [tag], "created_from": since}),
        )
        .await;
    assert_eq!(ids(&later), newest_first[..2]);
    let earlier = client
        .call(
            "list_sessions",
            json!({"tags": [tag], "created_before": since}),
        )
        .await;
    assert_eq!(ids(&earlier), newest_first[2..]);
    for session in &mut sessions[1..] {
        session.cancel().await;
    }
}

#[tokio::test]
async fn what_is_no_page_is_refused() {
    let stack = stack::shared();
    let client = stack.client();
    for arguments in [
        json!({"limit": 0}),
        json!({"limit": 51}),
        json!({"cursor": "made-up"}),
        json!({"states": ["sleeping"]}),
    ] {
        let refused = client.try_call("list_sessions", arguments.clone()).await;
        assert!(refused.is_error, "{arguments}: {}", refused.text);
    }
}
