//! Which process answers does not matter: serving instances are killed between and in the middle of
//! requests, and the client's next request succeeds with nothing lost.

use std::time::Duration;

use e2e::mcp::Client;
use e2e::process::{self, Running};
use e2e::script;
use e2e::session::Session;
use e2e::stack::{Options, Stack};
use e2e::stream::{LegacySession, Messages, tool_call};
use serde_json::{Value, json};

/// The living instances of a function of this stack.
fn instances(stack: &Stack, function: &str) -> Vec<Running> {
    let program = format!("/{function}");
    let mut found = process::running_with(&stack.aws_url());
    found.retain(|process| process.command_line.trim_end().ends_with(&program));
    found
}

fn kill_instances(stack: &Stack, function: &str) {
    let found = instances(stack, function);
    assert!(!found.is_empty(), "no instance of {function} serves");
    for instance in &found {
        process::kill_hard(instance.id);
    }
    let lives = |one: &Running| instances(stack, function).iter().any(|it| it.id == one.id);
    let gone = || !found.iter().any(lives);
    assert!(process::eventually(Duration::from_secs(10), gone));
}

#[tokio::test]
async fn a_task_is_read_on_after_its_instance_was_killed() {
    let stack = Stack::start(&Options::default());
    let client = stack.client().with_tasks();
    let steps = ["SLEEP:2:TEXT:the answer"];
    let arguments = json!({"prompt": script::prompt(&steps)});
    let call = json!({"name": "create_session", "arguments": arguments});
    let started = client.request("tools/call", call).await;
    let id = started.result()["taskId"].clone();
    kill_instances(&stack, "call");
    let mut polls = 0;
    let done = loop {
        let polled = client.request("tasks/get", json!({"taskId": id})).await;
        let task = polled.result().clone();
        assert_eq!(task["taskId"], id, "{task}");
        polls += 1;
        kill_instances(&stack, "tasks");
        if task["status"] != "working" {
            break task;
        }
        let pause = task["pollIntervalMs"].as_u64().expect("a poll interval");
        tokio::time::sleep(std::time::Duration::from_millis(pause.min(1000))).await;
    };
    assert!(polls > 1, "it was done before anything was killed");
    assert_eq!(done["status"], "completed", "{done}");
    assert!(done["result"].to_string().contains("the answer"), "{done}");
}

fn is_question(message: &Value) -> bool {
    message["method"] == "elicitation/create"
}

fn reply(question: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": question["id"],
        "result": {"action": "accept", "content": {"Which color?": "Blue"}}})
}

/// The instance that waits for the answer dies; the answer is taken by another one, and who calls
/// again is asked again, since nobody told it that its answer had arrived.
#[tokio::test]
async fn a_question_outlives_the_instance_that_asked_it() {
    let stack = Stack::start(&Options::default());
    let client = stack.client();
    let mut session =
        Session::scripted(&client, &[script::question(), script::text("painted")]).await;
    let transport = LegacySession::open(&stack, json!({"elicitation": {}})).await;
    let arguments = json!({"session_id": session.id});
    let wait = |id| tool_call(id, "wait_session", &arguments);

    let mut stream = transport.post(&wait(2)).await;
    let question = stream.until(is_question).await;
    kill_instances(&stack, "legacy");
    while let Some(message) = stream.next().await {
        assert!(message.get("result").is_none(), "it was not cut: {message}");
    }
    assert_eq!(transport.post(&reply(&question)).await.status(), 202);

    let mut id = 3;
    while session.of_kind("turn_ended").is_empty() {
        let mut stream = transport.post(&wait(id)).await;
        loop {
            let message = stream.next().await.expect("an answer");
            if is_question(&message) {
                assert_eq!(transport.post(&reply(&message)).await.status(), 202);
            } else if message["id"] == id {
                assert_eq!(message["result"]["isError"], false, "{message}");
                break;
            }
        }
        session.wait(1).await;
        id += 1;
        assert!(id < 30, "{}", session.story());
    }
    let answers = session.of_kind("question_answered");
    assert_eq!(answers.len(), 1, "{}", session.story());
    assert_eq!(answers[0]["answers"], json!({"Which color?": "Blue"}));
    assert!(session.said().contains("painted"), "{}", session.story());
    session.cancel().await;
}

/// A session that says something, is silent for long, and ends its turn.
async fn slow<'client>(client: &'client Client) -> Session<'client> {
    let steps = [script::bash("echo early"), "SLEEP:12:TEXT:late".to_owned()];
    Session::scripted(client, &steps).await
}

fn is_progress(message: &Value) -> bool {
    message["method"] == "notifications/progress"
}

#[tokio::test]
async fn a_stream_that_breaks_with_its_instance_is_asked_for_again() {
    let stack = Stack::start(&Options::default());
    let client = stack.client();
    let mut session = slow(&client).await;
    let (headers, body) = client.prepare(
        "tools/call",
        json!({
            "name": "wait_session",
            "arguments": {"session_id": session.id, "wait_seconds": 40},
            "_meta": {"progressToken": "watching"},
        }),
    );
    let mut request = client.http().post(client.url()).body(body.to_string());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let mut stream = Messages::of(request.send().await.expect("an answer"));
    stream.until(is_progress).await;
    kill_instances(&stack, "call");
    while let Some(message) = stream.next().await {
        assert!(message.get("result").is_none(), "it was not cut: {message}");
    }
    // From the beginning, as the broken stream gave no cursor: without a gap or a repetition.
    session.until_turns_ended(1).await;
    assert_eq!(
        session.of_kind("turn_started").len(),
        1,
        "{}",
        session.story()
    );
    assert!(session.said().contains("late"), "{}", session.story());
    session.cancel().await;
}

#[tokio::test]
async fn a_broken_stream_of_the_initialize_era_is_taken_up_on_another_instance() {
    // Three keep-alives missed, and the stream's writer is held for dead.
    let stack = Stack::start(&Options::default().with("SHANNON_KEEP_ALIVE_SECONDS", "5"));
    let client = stack.client();
    let mut session = slow(&client).await;
    let transport = LegacySession::open(&stack, json!({})).await;
    let arguments = json!({"session_id": session.id, "wait_seconds": 40});
    let call = tool_call(2, "wait_session", &arguments);

    // Only the way to the client breaks: the instance goes on, and the answer waits for us.
    let mut stream = transport.post(&call).await;
    stream.until(is_progress).await;
    let last = stream.last_event.clone().expect("events have ids");
    drop(stream);
    let mut resumed = transport.resume(&last).await;
    let answer = resumed.until(|message| message["id"] == 2).await;
    assert_eq!(
        answer["result"]["structuredContent"]["state"], "idle",
        "{answer}"
    );

    // The instance dies: that is said to who takes its stream up, and the next request is served.
    let sent = json!({"session_id": session.id, "message": "@@SLEEP:12:TEXT:once more"});
    client.call("send_message", sent).await;
    let mut arguments = arguments;
    arguments["cursor"] = answer["result"]["structuredContent"]["next_cursor"].clone();
    let call = tool_call(3, "wait_session", &arguments);
    let mut stream = transport.post(&call).await;
    stream.until(is_progress).await;
    let last = stream.last_event.clone().expect("events have ids");
    kill_instances(&stack, "legacy");
    while stream.next().await.is_some() {}
    let mut resumed = transport.resume(&last).await;
    let answer = resumed.until(|message| message["id"] == 3).await;
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
    let mut stream = transport
        .post(&tool_call(4, "wait_session", &arguments))
        .await;
    stream.until(|message| message["id"] == 4).await;
    session.until_turns_ended(2).await;
    assert!(session.said().contains("once more"), "{}", session.story());
    session.cancel().await;
}

#[tokio::test]
async fn a_session_of_the_initialize_era_survives_a_new_deployment() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options {
        state: Some(directory.path().join("state")),
        ..Options::default()
    };
    let stack = Stack::start(&options);
    let transport = LegacySession::open(&stack, json!({})).await;
    stack.stop();
    let stack = Stack::start(&options);
    let transport = transport.on(&stack);
    let list = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/list"});
    let mut answer = transport.post(&list).await;
    assert_eq!(answer.status(), 200);
    drop(answer.next().await);
}
