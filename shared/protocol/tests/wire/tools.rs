//! Each tool on the wire, along one session's life.

use domain::event::{ChangeKind, FileChange};
use domain::ports::{LiveText, SessionLog};
use domain::{CommandOutcome, EventBody, State};
use insta::assert_json_snapshot;
use protocol::Class;
use serde_json::{Value, json};

use crate::client::{Client, turn_end};

fn working() -> Vec<EventBody> {
    vec![
        EventBody::TurnStarted {
            model: Some("sonnet".to_owned()),
        },
        EventBody::Text {
            text: "I will look.".to_owned(),
            agent: None,
        },
        EventBody::ToolCall {
            tool_use_id: "toolu_1".to_owned(),
            tool: "Bash".to_owned(),
            input: r#"{"command":"ls"}"#.to_owned(),
            agent: None,
        },
        EventBody::ToolResult {
            tool_use_id: "toolu_1".to_owned(),
            is_error: false,
            text: "a.txt\n".to_owned(),
        },
        EventBody::FilesChanged {
            files: vec![FileChange {
                path: "a.txt".to_owned(),
                change: ChangeKind::Added,
                added_lines: Some(1),
                removed_lines: Some(0),
            }],
            patch: "+hi\n".to_owned(),
        },
    ]
}

#[tokio::test]
async fn a_life() {
    let client = Client::new(Class::Call);
    let created = client
        .tool(
            "create_session",
            json!({
                "prompt": "Add a test\nfor the parser",
                "workspace": {"git_url": "https://example.com/a.git", "git_ref": "main", "subdirectory": "src"},
                "permission_mode": "accept_edits",
                "model": "sonnet",
                "tags": ["b", "a"],
                "client_token": "once",
                "message_id": "first",
            }),
        )
        .await;
    assert_eq!(created.headers["content-type"], "application/json");
    assert_json_snapshot!("create_session", created.response());
    let id = created.result()["structuredContent"]["session_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert_eq!(client.fake.tasks().len(), 1, "its runner was started");

    let runner = client.runner(&id).await;
    runner.take().await;
    runner.events(State::Running, working()).await;

    assert_json_snapshot!(
        "get_session",
        client
            .tool("get_session", json!({"session_id": id}))
            .await
            .response()
    );

    let sent = client
        .tool(
            "send_message",
            json!({"session_id": id, "message": "and now", "message_id": "second"}),
        )
        .await;
    assert_json_snapshot!("send_message", sent.response());
    let again = client
        .call(
            "send_message",
            json!({"session_id": id, "message": "and now", "message_id": "second"}),
        )
        .await;
    assert_eq!(again["repeated"], true);

    let withdrawn = client
        .tool(
            "interrupt_session",
            json!({"session_id": id, "message_id": "second"}),
        )
        .await;
    assert_json_snapshot!("interrupt_session", withdrawn.response());
    let stopping = client
        .call("interrupt_session", json!({"session_id": id}))
        .await;
    assert_eq!(stopping["outcome"], "turn_stopping");
    let late = client
        .call(
            "interrupt_session",
            json!({"session_id": id, "message_id": "first"}),
        )
        .await;
    assert_eq!(
        (&late["outcome"], &late["message_state"]),
        (&json!("too_late"), &json!("taken"))
    );

    runner.take().await;
    runner
        .finish("first", CommandOutcome::Turn(turn_end("first", "all done")))
        .await;
    let waited = client.tool("wait_session", json!({"session_id": id})).await;
    assert_json_snapshot!("wait_session", waited.response());
    let rest = client
        .call("wait_session", json!({"session_id": id, "cursor": waited.result()["structuredContent"]["next_cursor"], "wait_seconds": 0}))
        .await;
    assert_eq!(
        (&rest["events"], &rest["more"]),
        (&json!([]), &json!(false))
    );

    let (file, ()) = tokio::join!(
        client.tool(
            "read_file",
            json!({"session_id": id, "path": "/workspace/a.txt"})
        ),
        runner.serve_file(b"hi\n")
    );
    assert_json_snapshot!("read_file", file.response());
    let (binary, ()) = tokio::join!(
        client.call("read_file", json!({"session_id": id, "path": "b"})),
        runner.serve_file(&[0xff, 0, 1])
    );
    assert_eq!(binary["base64"], "/wAB");

    assert_json_snapshot!(
        "list_sessions",
        client
            .tool(
                "list_sessions",
                json!({"tags": ["a"], "states": ["running"]})
            )
            .await
            .response()
    );
    assert_json_snapshot!(
        "create_upload",
        client
            .tool("create_upload", json!({"bytes": 10}))
            .await
            .response()
    );
    assert_json_snapshot!(
        "find_claude_binary",
        client
            .tool("find_claude_binary", json!({}))
            .await
            .response()
    );
    assert_json_snapshot!(
        "cancel_session",
        client
            .tool("cancel_session", json!({"session_id": id}))
            .await
            .response()
    );
}

#[tokio::test]
async fn a_result_has_the_form_that_the_list_promises() {
    let client = Client::new(Class::Legacy).administrator();
    let tools = client.request("tools/list", json!({})).await;
    let tools = tools.result()["tools"].as_array().expect("tools").clone();
    let created = client.call("create_session", json!({"prompt": "x"})).await;
    let id = created["session_id"].as_str().expect("an id").to_owned();
    let runner = client.runner(&id).await;
    runner.take().await;
    runner.events(State::Running, working()).await;
    let session = json!({"session_id": id});
    let mut seen = 0;
    for tool in tools {
        let name = tool["name"].as_str().expect("a name");
        let mut arguments = session.clone();
        match name {
            "create_session" => arguments = json!({"prompt": "y"}),
            "check_policy" => arguments["command"] = "ls".into(),
            "send_message" => arguments["message"] = "z".into(),
            "run_command" => arguments["command"] = "ls".into(),
            "list_sessions" | "find_claude_binary" | "query_audit" | "verify_audit" => {
                arguments = json!({});
            }
            "create_upload" => arguments = json!({"bytes": 1}),
            "read_file" => arguments["path"] = "a.txt".into(),
            "wait_session" => arguments["wait_seconds"] = 0.into(),
            "diff_checkpoints" => arguments["from"] = "latest".into(),
            "name_checkpoint" => arguments["name"] = "good".into(),
            "pin_checkpoint" | "restore_checkpoint" => arguments["checkpoint"] = "latest".into(),
            "answer_question" => {
                runner.ask("q-1").await;
                arguments["question_id"] = "q-1".into();
                arguments["answers"] = json!({"Which?": "this"});
            }
            _ => {}
        }
        let structured = if name == "read_file" {
            let (structured, ()) =
                tokio::join!(client.call(name, arguments), runner.serve_file(b"x"));
            structured
        } else if name == "create_checkpoint" {
            let (structured, _) =
                tokio::join!(client.call(name, arguments), runner.serve_checkpoint());
            structured
        } else {
            client.call(name, arguments).await
        };
        if let Err(error) = jsonschema::draft202012::validate(&tool["outputSchema"], &structured) {
            panic!("{name}: {error}");
        }
        seen += 1;
    }
    assert_eq!(seen, 27);
}

#[tokio::test]
async fn repeating_a_creation_gives_the_same_session_and_message() {
    let client = Client::new(Class::Call);
    let request = json!({"prompt": "once", "client_token": "t-1"});
    let first = client.call("create_session", request.clone()).await;
    let second = client.call("create_session", request.clone()).await;
    assert_eq!(first["session_id"], second["session_id"]);
    assert_eq!(first["message_id"], second["message_id"]);
    assert_eq!(
        (&first["repeated"], &second["repeated"]),
        (&json!(false), &json!(true))
    );
    let other = client
        .refusal(
            "create_session",
            json!({"prompt": "twice", "client_token": "t-1"}),
        )
        .await;
    assert!(other.contains("client_token"), "{other}");
}

#[tokio::test]
async fn a_wait_that_reports_is_a_stream() {
    let client = Client::new(Class::Call);
    let created = client
        .call(
            "create_session",
            json!({"prompt": "x", "message_id": "first"}),
        )
        .await;
    let id = created["session_id"].as_str().expect("an id");
    let runner = client.runner(id).await;
    runner.take().await;
    runner.events(State::Running, working()).await;
    runner
        .finish("first", CommandOutcome::Turn(turn_end("first", "all done")))
        .await;
    let answer = client
        .request(
            "tools/call",
            json!({"name": "wait_session", "arguments": {"session_id": id}, "_meta": {"progressToken": "watching"}}),
        )
        .await;
    assert!(answer.is_stream(), "{:?}", answer.headers);
    assert_eq!(answer.headers["x-accel-buffering"], "no");
    assert_eq!(answer.headers["cache-control"], "no-cache");
    let (response, progress) = answer.messages.split_last().expect("messages");
    assert_eq!(
        response["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "shannon"
    );
    let events = response["result"]["structuredContent"]["events"]
        .as_array()
        .expect("events");
    assert_eq!(progress.len(), events.len());
    for (notice, event) in progress.iter().zip(events) {
        assert_eq!(notice["method"], "notifications/progress");
        assert_eq!(notice["params"]["progressToken"], "watching");
        assert_eq!(
            notice["params"]["progress"].as_f64(),
            event["sequence"].as_f64()
        );
        let message = notice["params"]["message"].as_str().expect("a line");
        assert!(!message.is_empty() && !message.contains('\n'), "{message}");
    }
}

#[tokio::test]
async fn a_budget_cuts_answers_and_loses_nothing() {
    let client = Client::new(Class::Call);
    let created = client.call("create_session", json!({"prompt": "x"})).await;
    let id = created["session_id"].as_str().expect("an id");
    let runner = client.runner(id).await;
    runner.take().await;
    let long = |text: &str| EventBody::ToolResult {
        tool_use_id: "t".to_owned(),
        is_error: false,
        text: text.repeat(400),
    };
    runner
        .events(State::Idle, vec![long("abcdefgh"), long("ij"), long("é")])
        .await;
    let whole = client
        .call(
            "wait_session",
            json!({"session_id": id, "wait_seconds": 0, "response_budget_characters": 100_000}),
        )
        .await;
    assert!(
        whole["events"]
            .as_array()
            .expect("events")
            .iter()
            .all(|event| event.get("shortened").is_none())
    );
    let (mut cursor, mut seen, mut answers, mut shortened) = (json!("c1-0"), Vec::new(), 0, 0);
    loop {
        let answer = client
            .call("wait_session", json!({"session_id": id, "cursor": cursor, "wait_seconds": 0, "response_budget_characters": 500}))
            .await;
        assert_eq!(answer["cursor"], cursor);
        for event in answer["events"].as_array().expect("events") {
            seen.push(event["sequence"].clone());
            if event["shortened"] == true {
                shortened += 1;
                assert!(event.to_string().chars().count() < 700, "{event}");
            }
        }
        cursor = answer["next_cursor"].clone();
        answers += 1;
        if answer["more"] != true {
            break;
        }
    }
    let all: Vec<Value> = whole["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| event["sequence"].clone())
        .collect();
    assert_eq!(seen, all);
    assert!(answers >= 3 && shortened == 2, "{answers} {shortened}");
}

#[tokio::test]
async fn what_is_being_written_is_shown() {
    let client = Client::new(Class::Call);
    let created = client.call("create_session", json!({"prompt": "x"})).await;
    let id = created["session_id"].as_str().expect("an id");
    let runner = client.runner(id).await;
    runner.take().await;
    let key = client.key(id);
    let head = client.fake.peek_head(&key).expect("there");
    let live = LiveText {
        after: head.last_sequence,
        fence: head.fence,
        text: "so fa".to_owned(),
        time: client.fake.clock().now(),
    };
    let lease = head.lease();
    client
        .fake
        .set_live(&lease, Some(live))
        .await
        .expect("written");
    let answer = client
        .call("wait_session", json!({"session_id": id, "wait_seconds": 0}))
        .await;
    assert_eq!(answer["live"], json!({"text": "so fa"}));
}

#[tokio::test]
async fn pages_follow_each_other() {
    let client = Client::new(Class::Call);
    let mut newest_first = Vec::new();
    for number in 0..3 {
        client.fake.clock().advance(1000);
        let created = client
            .call(
                "create_session",
                json!({"prompt": format!("number {number}"), "tags": ["t"]}),
            )
            .await;
        newest_first.insert(0, created["session_id"].clone());
    }
    let ids = |page: &Value| -> Vec<Value> {
        let sessions = page["sessions"].as_array().expect("sessions");
        sessions
            .iter()
            .map(|session| session["session_id"].clone())
            .collect()
    };
    let first = client.call("list_sessions", json!({"limit": 2})).await;
    let second = client
        .call(
            "list_sessions",
            json!({"limit": 2, "cursor": first["next_cursor"]}),
        )
        .await;
    assert!(second.get("next_cursor").is_none(), "{second}");
    assert_eq!([ids(&first), ids(&second)].concat(), newest_first);

    let created_at = first["sessions"][1]["created_at_unix_ms"]
        .as_u64()
        .expect("a time");
    let since = client
        .call("list_sessions", json!({"created_from": created_at}))
        .await;
    assert_eq!(ids(&since), newest_first[..2]);
    let before = client
        .call("list_sessions", json!({"created_before": created_at}))
        .await;
    assert_eq!(ids(&before), newest_first[2..]);
    // 1,795,000,002,000 ms is this time.
    let written = client
        .call(
            "list_sessions",
            json!({"created_from": "2026-11-18T11:06:42+00:00"}),
        )
        .await;
    assert_eq!(ids(&written), newest_first[..2]);
    let none = client
        .call("list_sessions", json!({"states": ["lost"]}))
        .await;
    assert_eq!(ids(&none), Vec::<Value>::new());
    let foreign = Client::of(Class::Call, client.fake.clone()).caller("someone else");
    assert_eq!(
        ids(&foreign.call("list_sessions", json!({})).await),
        Vec::<Value>::new()
    );
}
