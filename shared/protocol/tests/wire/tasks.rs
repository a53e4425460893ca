//! The tasks extension on the wire: a turn as a task, from the records alone.

use domain::{CommandOutcome, EventBody, State};
use http::StatusCode;
use insta::assert_json_snapshot;
use protocol::{Class, Edge, Listings};
use serde_json::json;

use crate::client::{Client, turn_end};

async fn start(client: &Client) -> (String, String) {
    let answer = client
        .tool(
            "create_session",
            json!({"prompt": "work", "message_id": "first"}),
        )
        .await;
    assert_json_snapshot!("create_task", answer.response());
    let task = answer.result()["taskId"]
        .as_str()
        .expect("an id")
        .to_owned();
    let session = task
        .split('.')
        .next()
        .expect("it begins with the session")
        .to_owned();
    (task, session)
}

fn elsewhere(client: &Client) -> Client {
    Client::of(Class::Tasks, client.fake.clone()).with_tasks()
}

#[tokio::test]
async fn a_turn_is_a_task_until_it_is_done() {
    let client = Client::new(Class::Call).with_tasks();
    let (task, session) = start(&client).await;
    let other = elsewhere(&client);
    let get = json!({"taskId": task});
    assert_json_snapshot!(
        "task_waiting",
        other.request("tasks/get", get.clone()).await.response()
    );

    let runner = client.runner(&session).await;
    runner.take().await;
    let working = other.request("tasks/get", get.clone()).await;
    assert_eq!(working.result()["status"], "working");
    assert_eq!(working.result()["pollIntervalMs"], 5000);

    runner
        .events(State::Running, vec![EventBody::TurnStarted { model: None }])
        .await;
    runner
        .finish(
            "first",
            CommandOutcome::Turn(turn_end("first", "the answer")),
        )
        .await;
    let done = other.request("tasks/get", get.clone()).await;
    assert_json_snapshot!("task_completed", done.response());
    assert_eq!(
        other.request("tasks/get", get).await.result(),
        done.result()
    );

    // What the task gives has the form that the tool promises.
    let tools = Client::new(Class::Catalog)
        .request("tools/list", json!({}))
        .await;
    let structured = &done.result()["result"]["structuredContent"];
    for tool in tools.result()["tools"].as_array().expect("tools") {
        if ["create_session", "send_message", "fork_session"]
            .contains(&tool["name"].as_str().expect("a name"))
        {
            jsonschema::draft202012::validate(&tool["outputSchema"], structured).expect("promised");
        }
    }

    let sent = client
        .tool(
            "send_message",
            json!({"session_id": session, "message": "more", "message_id": "second"}),
        )
        .await;
    assert_eq!(sent.result()["resultType"], "task");
    assert_eq!(sent.result()["taskId"], format!("{session}.second"));
}

#[tokio::test]
async fn a_failed_turn_is_a_result_and_a_lost_runner_is_replaced() {
    let client = Client::new(Class::Call).with_tasks();
    let created = client
        .tool(
            "create_session",
            json!({"prompt": "work", "message_id": "first"}),
        )
        .await;
    let task = created.result()["taskId"].clone();
    let session = task.as_str().expect("text")[..30].to_owned();
    let runner = client.runner(&session).await;
    runner.take().await;
    let mut end = turn_end("first", "it went wrong");
    end.is_error = true;
    runner.finish("first", CommandOutcome::Turn(end)).await;
    let other = elsewhere(&client);
    let failed = other.request("tasks/get", json!({"taskId": task})).await;
    assert_eq!(failed.result()["status"], "completed");
    assert_eq!(failed.result()["result"]["isError"], true);

    let sent = client
        .tool(
            "send_message",
            json!({"session_id": session, "message": "more", "message_id": "m2"}),
        )
        .await;
    // The runner is never heard of again.
    client.fake.clock().advance(60_000);
    let lost = other
        .request("tasks/get", json!({"taskId": sent.result()["taskId"]}))
        .await;
    assert_json_snapshot!("task_resuming", lost.response());
}

#[tokio::test]
async fn a_result_that_clients_do_not_take_is_cut_and_says_where_it_stands() {
    let client = Client::new(Class::Call).with_tasks();
    let (task, session) = start(&client).await;
    let runner = client.runner(&session).await;
    runner.take().await;
    let text = "long ".repeat(40_000);
    let end = turn_end("first", &text);
    runner.finish("first", CommandOutcome::Turn(end)).await;
    let got = elsewhere(&client)
        .request("tasks/get", json!({"taskId": task}))
        .await;
    let result = &got.result()["result"];
    assert_eq!(result["content"][1]["type"], "resource_link", "{result}");
    let uri = result["content"][1]["uri"].clone();
    assert!(got.text.len() < 10_000, "{} bytes", got.text.len());
    // There it is, whole.
    let last = client.fake.peek_head(&client.key(&session));
    let last = last.expect("the session").last_sequence;
    assert_eq!(uri, format!("shannon://sessions/{session}/events/{last}"));
    let reader = Client::of(Class::Read, client.fake.clone());
    let event = reader.request("resources/read", json!({"uri": uri})).await;
    let event = event.result()["contents"][0]["text"].clone();
    let event: serde_json::Value =
        serde_json::from_str(event.as_str().expect("text")).expect("JSON");
    assert_eq!(
        (&event["kind"], &event["body"]["text"]),
        (&json!("turn_ended"), &json!(text))
    );
}

#[tokio::test]
async fn cancelling_takes_the_message_back_or_stops_the_turn() {
    let client = Client::new(Class::Call).with_tasks();
    let created = client
        .tool(
            "create_session",
            json!({"prompt": "work", "message_id": "first"}),
        )
        .await;
    let task = created.result()["taskId"].clone();
    let session = task.as_str().expect("text")[..30].to_owned();
    let runner = client.runner(&session).await;
    runner.take().await;
    let queued = client
        .tool(
            "send_message",
            json!({"session_id": session, "message": "more", "message_id": "m2"}),
        )
        .await;
    let queued = queued.result()["taskId"].clone();
    let other = elsewhere(&client);
    for _ in 0..2 {
        let cancelled = other
            .request("tasks/cancel", json!({"taskId": queued}))
            .await;
        assert_json_snapshot!("task_cancel", cancelled.response());
    }
    assert_eq!(
        other
            .request("tasks/get", json!({"taskId": queued}))
            .await
            .result()["status"],
        "cancelled"
    );

    other
        .request("tasks/cancel", json!({"taskId": task}))
        .await
        .result();
    let commands = client.fake.peek_commands(&client.key(&session));
    assert!(
        commands
            .iter()
            .any(|command| command.body.kind() == "interrupt")
    );
    let mut end = turn_end("first", "");
    end.terminal_reason = Some("aborted_tools".to_owned());
    runner.finish("first", CommandOutcome::Turn(end)).await;
    assert_eq!(
        other
            .request("tasks/get", json!({"taskId": task}))
            .await
            .result()["status"],
        "cancelled"
    );
}

#[tokio::test]
async fn input_that_nobody_asked_for_is_refused() {
    let client = Client::new(Class::Call).with_tasks();
    let created = client
        .tool("create_session", json!({"prompt": "work"}))
        .await;
    let task = created.result()["taskId"].clone();
    let other = elsewhere(&client);
    let nothing = other
        .request(
            "tasks/update",
            json!({"taskId": task, "inputResponses": {}}),
        )
        .await;
    assert_json_snapshot!("task_update", nothing.response());
    let unknown = other
        .request(
            "tasks/update",
            json!({"taskId": task, "inputResponses": {"key": {"action": "accept", "content": {}}}}),
        )
        .await;
    assert_eq!(unknown.code(), -32602, "{}", unknown.text);
    assert!(unknown.text.contains("key"), "{}", unknown.text);
}

#[tokio::test]
async fn unknown_and_foreign_tasks_get_the_same_answer() {
    let client = Client::new(Class::Call).with_tasks();
    let created = client
        .tool(
            "create_session",
            json!({"prompt": "work", "message_id": "first"}),
        )
        .await;
    let mine = created.result()["taskId"]
        .as_str()
        .expect("an id")
        .to_owned();
    let stranger = elsewhere(&client).caller("stranger");
    let mut answers = Vec::new();
    for id in [
        mine.as_str(),
        "ses_aaaaaaaaaaaaaaaaaaaaaaaaaa.m",
        "nonsense",
        "ses_aaaaaaaaaaaaaaaaaaaaaaaaaa.a/b",
        "",
    ] {
        for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
            let refused = stranger
                .request(method, json!({"taskId": id, "inputResponses": {}}))
                .await;
            assert_eq!(refused.code(), -32602, "{method} {id}: {}", refused.text);
            answers.push(refused.response()["error"].clone());
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn without_the_extension_there_are_no_tasks() {
    let client = Client::new(Class::Legacy);
    let created = client
        .tool("create_session", json!({"prompt": "work"}))
        .await;
    assert_eq!(created.result()["resultType"], "complete");
    for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
        let refused = client
            .request(
                method,
                json!({"taskId": "ses_aaaaaaaaaaaaaaaaaaaaaaaaaa.m", "inputResponses": {}}),
            )
            .await;
        assert_eq!(
            (refused.status, refused.code()),
            (StatusCode::BAD_REQUEST, -32021)
        );
    }
}

#[tokio::test]
async fn discovery_and_lists_carry_their_cache_hints() {
    let client = Client::new(Class::Legacy);
    assert_json_snapshot!(
        "discover",
        client
            .request("server/discover", json!({}))
            .await
            .response()
    );
    for (method, ttl_ms) in [
        ("tools/list", 300_000),
        ("prompts/list", 300_000),
        // Sessions come and go.
        ("resources/list", 5_000),
        ("resources/templates/list", 300_000),
    ] {
        let answer = client.request(method, json!({})).await;
        let result = answer.result();
        assert_eq!(
            (&result["ttlMs"], &result["cacheScope"]),
            (&json!(ttl_ms), &json!("private")),
            "{method}"
        );
        assert_eq!(
            result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "shannon",
            "{method}"
        );
    }
    // A class without sessions behind it refuses what needs them.
    let edge = Edge::alone(Class::Legacy, crate::client::settings(), Listings);
    let request = client.prepare(
        "tools/call",
        json!({"name": "list_sessions", "arguments": {}}),
    );
    let response = edge.handle(request, client.principal.clone()).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}
