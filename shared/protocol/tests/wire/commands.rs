//! `run_command` on the wire: accepted once, stopped, and read as events.

use domain::event::{EventBody, RunEnd, RunHow};
use domain::{CommandBody, CommandState, State, limits};
use insta::assert_json_snapshot;
use protocol::Class;
use serde_json::{Value, json};

use crate::checkpoints::suspended;
use crate::client::Client;

async fn session(client: &Client) -> String {
    let created = client.call("create_session", json!({"prompt": "x"})).await;
    created["session_id"].as_str().expect("an id").to_owned()
}

fn last_body(client: &Client, id: &str) -> CommandBody {
    let commands = client.fake.peek_commands(&client.key(id));
    commands.last().expect("a command").body.clone()
}

#[tokio::test]
async fn it_is_accepted_once() {
    let client = Client::new(Class::Call);
    let id = session(&client).await;
    let request = json!({"session_id": id, "command": "cargo test", "message_id": "r1"});
    let answer = client.tool("run_command", request.clone()).await;
    assert_json_snapshot!("run_command", answer.response());
    let asked = CommandBody::Run {
        command: "cargo test".to_owned(),
        timeout_seconds: limits::RUN_DEFAULT_SECONDS,
    };
    assert_eq!(last_body(&client, &id), asked);
    let again = client.call("run_command", request).await;
    assert_eq!(again["repeated"], true);
    assert_eq!(client.fake.peek_commands(&client.key(&id)).len(), 2);
    // Under the same name there is nothing else, and a message no less.
    for (tool, arguments) in [
        (
            "run_command",
            json!({"session_id": id, "command": "cargo", "message_id": "r1"}),
        ),
        (
            "run_command",
            json!({"session_id": id, "command": "cargo test", "timeout_seconds": 5, "message_id": "r1"}),
        ),
        (
            "send_message",
            json!({"session_id": id, "message": "cargo test", "message_id": "r1"}),
        ),
    ] {
        let said = client.refusal(tool, arguments).await;
        assert!(said.contains("message_id"), "{said}");
    }
    // It is no turn.
    let head = client.fake.peek_head(&client.key(&id)).expect("there");
    let task = json!({"taskId": format!("{}.r1", head.key.session)});
    let asked = Client::of(Class::Tasks, client.fake.clone());
    assert!(asked.request("tasks/get", task).await.response()["error"].is_object());
}

#[tokio::test]
async fn what_is_too_long_or_too_much_is_refused() {
    let client = Client::new(Class::Call);
    let id = session(&client).await;
    let most = "é".repeat(limits::SHELL_COMMAND_BYTES / 2);
    let accepted = client
        .call("run_command", json!({"session_id": id, "command": most}))
        .await;
    assert_eq!(accepted["message_state"], "queued");
    let long = format!("{most}x");
    let said = client
        .refusal("run_command", json!({"session_id": id, "command": long}))
        .await;
    assert!(said.contains("65536"), "{said}");
    let run = json!({"session_id": id, "command": "ls"});
    for _ in 2..testkit::deployment().max_queued_messages {
        client.call("run_command", run.clone()).await;
    }
    let said = client.refusal("run_command", run).await;
    assert!(said.contains("wait already"), "{said}");
}

#[tokio::test]
async fn it_is_taken_back_or_stopped_by_its_name() {
    let client = Client::new(Class::Call);
    let id = session(&client).await;
    let run = |name: &str| json!({"session_id": id, "command": "ls", "message_id": name});
    let interrupt = |name: &str| json!({"session_id": id, "message_id": name});
    client.call("run_command", run("r1")).await;
    let back = client.call("interrupt_session", interrupt("r1")).await;
    assert_eq!(back["outcome"], "message_withdrawn");
    client.call("run_command", run("r2")).await;
    let runner = client.runner(&id).await;
    runner.take().await;
    let stopping = client.call("interrupt_session", interrupt("r2")).await;
    assert_eq!(stopping["outcome"], "command_stopping");
    let stop = CommandBody::StopRun {
        run: domain::CommandId::parse("r2").expect("an id"),
    };
    assert_eq!(last_body(&client, &id), stop);
    let unknown = client.refusal("interrupt_session", interrupt("r3")).await;
    assert!(unknown.contains("message_id"), "{unknown}");
}

#[tokio::test]
async fn it_wakes_a_suspended_session() {
    let client = Client::new(Class::Call);
    let (id, _) = suspended(&client).await;
    let before = client.fake.tasks().len();
    let run = json!({"session_id": id, "command": "ls", "message_id": "r1"});
    for repeated in [false, true] {
        let answer = client.call("run_command", run.clone()).await;
        assert_eq!(answer["repeated"], repeated);
        let head = client.fake.peek_head(&client.key(&id)).expect("there");
        assert_eq!(head.state, State::Resuming);
        assert_eq!(client.fake.tasks().len(), before + 1);
    }
    let commands = client.fake.peek_commands(&client.key(&id));
    let last = commands.last().expect("a command");
    assert_eq!(last.state, CommandState::Queued);
}

#[tokio::test]
async fn what_comes_of_it_is_read_as_events() {
    let client = Client::new(Class::Call);
    let id = session(&client).await;
    let runner = client.runner(&id).await;
    runner.take().await;
    let end = |how, exit_code, reason: Option<&str>| RunEnd {
        how,
        exit_code,
        duration_milliseconds: 1_500,
        reason: reason.map(str::to_owned),
    };
    let bodies = vec![
        EventBody::CommandStarted {
            command: "make".to_owned(),
            timeout_seconds: 9,
        },
        EventBody::CommandEnded {
            end: end(RunHow::Exited, Some(2), None),
            stdout: "all\n".to_owned(),
            stderr: "no rule\n".to_owned(),
            stdout_bytes: 4,
            stderr_bytes: 8,
        },
        EventBody::CommandEnded {
            end: end(RunHow::TimedOut, None, Some("it had not ended after 9 s")),
            stdout: String::new(),
            stderr: String::new(),
            stdout_bytes: 0,
            stderr_bytes: 0,
        },
    ];
    runner.events(State::Idle, bodies).await;
    let answer = client
        .tool("wait_session", json!({"session_id": id, "wait_seconds": 0}))
        .await;
    let result = answer.result();
    let events: Vec<Value> = result["structuredContent"]["events"]
        .as_array()
        .expect("events")
        .iter()
        .filter(|event| {
            let kind = event["kind"].as_str().expect("a kind");
            kind.starts_with("command_")
        })
        .map(|event| json!([event["kind"], event["body"]]))
        .collect();
    assert_json_snapshot!("events_of_a_command", events);
    let text = result["content"][0]["text"].as_str().expect("text");
    assert!(
        text.contains("caller's command: exit code 2\nall\nno rule"),
        "{text}"
    );
}
