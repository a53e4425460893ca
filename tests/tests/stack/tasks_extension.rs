//! The tasks extension: a turn as a task, for clients that declare it, on any instance.

use std::time::{Duration, Instant};

use e2e::mcp::Client;
use e2e::script;
use e2e::session::Session;
use e2e::stack;
use serde_json::{Value, json};

async fn start(client: &Client, steps: &[String]) -> Value {
    let answer = client
        .request(
            "tools/call",
            json!({
                "name": "create_session",
                "arguments": {"prompt": script::prompt(steps), "permission_mode": "bypass"},
            }),
        )
        .await;
    let result = answer.result().clone();
    assert_eq!(result["resultType"], "task", "{result}");
    result
}

/// Asks again and again, as often as the task says, until `status` is no longer working.
async fn finished(client: &Client, task_id: &str) -> Value {
    let start = Instant::now();
    loop {
        let answer = client
            .request("tasks/get", json!({"taskId": task_id}))
            .await;
        let task = answer.result().clone();
        assert_eq!(task["taskId"], task_id, "{task}");
        if task["status"] != "working" {
            return task;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "{task}");
        let pause = task["pollIntervalMs"].as_u64().expect("a poll interval");
        tokio::time::sleep(Duration::from_millis(pause.min(1000))).await;
    }
}

fn session_of(task_id: &str) -> &str {
    task_id
        .split('.')
        .next()
        .expect("a task id begins with its session")
}

#[tokio::test]
async fn a_turn_is_a_task_until_it_is_done() {
    let stack = stack::shared();
    // Each its own client: nothing of a task may be tied to a connection.
    let task = start(
        &stack.client().with_tasks(),
        &[script::bash("echo working"), script::text("the answer")],
    )
    .await;
    let task_id = task["taskId"]
        .as_str()
        .unwrap_or_else(|| panic!("no taskId in {task}"));
    let done = finished(&stack.client().with_tasks(), task_id).await;
    assert_eq!(done["status"], "completed", "{done}");
    assert!(done["result"].to_string().contains("the answer"), "{done}");
    assert_ne!(done["result"]["isError"], true, "{done}");
    let again = finished(&stack.client().with_tasks(), task_id).await;
    assert_eq!(again["result"], done["result"]);

    let client = stack.client().with_tasks();
    let sent = client
        .request(
            "tools/call",
            json!({
                "name": "send_message",
                "arguments": {"session_id": session_of(task_id), "message": "@@TEXT:second answer", "message_id": "second"},
            }),
        )
        .await;
    assert_eq!(sent.result()["resultType"], "task", "{}", sent.body);
    let second = sent.result()["taskId"]
        .as_str()
        .expect("a task id")
        .to_owned();
    let done = finished(&client, &second).await;
    assert!(
        done["result"].to_string().contains("second answer"),
        "{done}"
    );
    client
        .call("cancel_session", json!({"session_id": session_of(task_id)}))
        .await;
}

#[tokio::test]
async fn cancelling_a_task_interrupts_its_turn() {
    let stack = stack::shared();
    let client = stack.client().with_tasks();
    let task = start(
        &client,
        &[
            script::bash("timeout 100 tail -f /dev/null --pid=1"),
            script::text("never"),
        ],
    )
    .await;
    let task_id = task["taskId"].as_str().expect("a task id");
    let watcher = stack.client();
    let mut session = Session::follow(&watcher, session_of(task_id));
    session
        .until("a tool call", |session| {
            !session.of_kind("tool_call").is_empty()
        })
        .await;
    for _ in 0..2 {
        let answer = client
            .request("tasks/cancel", json!({"taskId": task_id}))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.result();
    }
    let done = finished(&client, task_id).await;
    assert_eq!(done["status"], "cancelled", "{done}");
    session.until_turns_ended(1).await;
    assert_eq!(session.state, "idle", "the session itself goes on");
    session.cancel().await;
}

#[tokio::test]
async fn a_question_is_an_input_request_of_its_task() {
    let stack = stack::shared();
    let client = stack.client().with_tasks().with_elicitation();
    let task = start(&client, &[script::question(), script::text("painted")]).await;
    let task_id = task["taskId"].as_str().expect("a task id");
    let asking = finished(&client, task_id).await;
    assert_eq!(asking["status"], "input_required", "{asking}");
    assert_eq!(asking["pollIntervalMs"], 1000, "a person waits: {asking}");
    let requests = asking["inputRequests"].as_object().expect("requests");
    assert_eq!(requests.len(), 1, "{asking}");
    let (key, request) = requests.iter().next().expect("it was counted");
    assert!(request.to_string().contains("Which color?"), "{request}");
    let answer = |color: &str| {
        json!({"taskId": task_id, "inputResponses": {
            key: {"action": "accept", "content": {"Which color?": color}}}})
    };
    for _ in 0..2 {
        let taken = client.request("tasks/update", answer("Blue")).await;
        taken.result();
    }
    let refused = client.request("tasks/update", answer("Red")).await;
    assert!(refused.error().0 < 0, "{}", refused.body);
    let done = finished(&client, task_id).await;
    assert_eq!(done["status"], "completed", "{done}");
    assert!(done.to_string().contains("painted"), "{done}");
    let watcher = stack.client();
    let mut session = Session::follow(&watcher, session_of(task_id));
    session.until_turns_ended(1).await;
    let answers = session.of_kind("question_answered");
    assert_eq!(answers[0]["answers"], json!({"Which color?": "Blue"}));
    session.cancel().await;
}

#[tokio::test]
async fn without_the_extension_there_are_no_tasks() {
    let stack = stack::shared();
    let client = stack.client();
    let answer = client
        .request(
            "tools/call",
            json!({"name": "create_session", "arguments": {"prompt": script::prompt(&["TEXT:one"])}}),
        )
        .await;
    assert_eq!(answer.result()["resultType"], "complete", "{}", answer.body);
    let id = answer.result()["structuredContent"]["session_id"].clone();
    for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
        let refused = client
            .request(
                method,
                json!({"taskId": "ses_aaaaaaaaaaaaaaaaaaaaaaaaaa.m", "inputResponses": {}}),
            )
            .await;
        assert_eq!(refused.status, 400, "{}", refused.body);
        assert_eq!(refused.error().0, -32021, "{method}: {}", refused.body);
    }
    client
        .call("cancel_session", json!({"session_id": id}))
        .await;
}

#[tokio::test]
async fn unknown_tasks_are_refused() {
    let stack = stack::shared();
    let client = stack.client().with_tasks();
    for task_id in [
        "ses_aaaaaaaaaaaaaaaaaaaaaaaaaa.m",
        "nonsense",
        "",
        "ses_aaaaaaaaaaaaaaaaaaaaaaaaaa.a/b",
    ] {
        for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
            let refused = client
                .request(method, json!({"taskId": task_id, "inputResponses": {}}))
                .await;
            assert_eq!(
                refused.error().0,
                -32602,
                "{method} {task_id}: {}",
                refused.body
            );
        }
    }
}
