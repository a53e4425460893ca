//! What a session asks a person, as each kind of client gets it.

use bytes::Bytes;
use domain::checkpoint::PendingQuestion;
use domain::ports::{Inbox, SessionLog};
use domain::{CommandBody, CommandOutcome, EventBody, QuestionId, State};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use insta::assert_json_snapshot;
use protocol::{Body, Class, ClientSessionSettings, Edge};
use serde_json::{Value, json};
use testkit::{Fake, FaultTime};

use crate::client::{Client, LEGACY, Runner, principal, settings, work};

fn input() -> Value {
    json!({"questions": [{
        "question": "Which color?", "header": "Color", "multiSelect": false,
        "options": [{"label": "Red", "description": "warm"}, {"label": "Blue", "description": "cold"}]
    }]})
}

fn pending(id: &str, fake: &Fake) -> PendingQuestion {
    PendingQuestion {
        id: QuestionId::parse(id).expect("an id"),
        tool_use_id: "toolu_1".to_owned(),
        input: input().to_string(),
        asked_at: fake.clock().now(),
        approval: None,
    }
}

/// The runner holds a question, or has none any more.
async fn hold(runner: &Runner, question: Option<PendingQuestion>) {
    let head = runner.fake.peek_head(&runner.lease.key).expect("a session");
    let event = match &question {
        Some(question) => EventBody::QuestionAsked {
            question: question.id.clone(),
            tool_use_id: question.tool_use_id.clone(),
            input: question.input.clone(),
        },
        None => EventBody::TurnStarted { model: None },
    };
    let mut append = testkit::append(&runner.fake, head.last_sequence.next(), vec![event]);
    append.state = match question {
        Some(_) => State::Waiting,
        None => State::Running,
    };
    append.question = question;
    let commands = runner
        .fake
        .commands_after(&runner.lease.key, head.commands_taken, 100)
        .await
        .expect("read");
    append.take = commands.clone();
    append.finish = commands
        .into_iter()
        .filter(|command| matches!(command.body, CommandBody::Answer { .. }))
        .map(|command| (command, CommandOutcome::Answered))
        .collect();
    runner
        .fake
        .append(&runner.lease, &append)
        .await
        .expect("appended");
}

/// A session whose first turn asks which color, its runner, and the turn's task.
async fn asking(client: &Client) -> (String, Runner, String) {
    let created = client
        .tool(
            "create_session",
            json!({"prompt": "Paint", "message_id": "first"}),
        )
        .await;
    let result = created.result();
    let session = match result["taskId"].as_str() {
        Some(task) => &task[..30],
        None => result["structuredContent"]["session_id"]
            .as_str()
            .expect("an id"),
    };
    let runner = client.runner(session).await;
    runner.take().await;
    hold(&runner, Some(pending("que_color", &client.fake))).await;
    (session.to_owned(), runner, format!("{session}.first"))
}

fn filled(color: &str) -> Value {
    json!({"action": "accept", "content": {"Which color?": color}})
}

/// The answers that the session was given.
fn given(client: &Client, session: &str) -> Vec<String> {
    let commands = client.fake.peek_commands(&client.key(session));
    commands
        .into_iter()
        .filter_map(|command| match command.body {
            CommandBody::Answer { answers, .. } => Some(answers),
            _ => None,
        })
        .collect()
}

const BLUE: &str = r#"{"Which color?":"Blue"}"#;

async fn update(
    client: &Client,
    task: &str,
    question: &str,
    response: Value,
) -> Result<(), String> {
    let params = json!({"taskId": task, "inputResponses": {question: response}});
    let answer = client.request("tasks/update", params).await;
    match answer.response().get("error") {
        None => Ok(()),
        Some(error) if error["code"] == -32602 => {
            Err(error["message"].as_str().expect("text").to_owned())
        }
        Some(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_task_asks_and_takes_the_first_answer() {
    let client = Client::new(Class::Call).with_tasks();
    let (session, runner, task) = asking(&client).await;
    let other = Client::of(Class::Tasks, client.fake.clone())
        .with_tasks()
        .asking();
    let get = json!({"taskId": task});
    let asked = other.request("tasks/get", get.clone()).await;
    assert_json_snapshot!("task_input_required", asked.response());

    for (question, response, told) in [
        ("que_other", filled("Blue"), "no input of this name"),
        (
            "que_color",
            json!({"action": "accept", "content": {}}),
            "has no answer",
        ),
        (
            "que_color",
            json!({"action": "accept", "content": {"Who?": "me", "Which color?": "Blue"}}),
            "not asked",
        ),
        ("que_color", json!({"action": "perhaps"}), "action"),
        ("que_color", json!(null), "action"),
        ("../../x", filled("Blue"), "no input of this name"),
    ] {
        let refused = update(&other, &task, question, response.clone()).await;
        let said = refused.expect_err("it is refused");
        assert!(said.contains(told), "{response}: {said}");
    }
    // Closing the form answers nothing.
    update(&other, &task, "que_color", json!({"action": "cancel"}))
        .await
        .expect("taken");
    assert_eq!(given(&client, &session), [""; 0]);
    let asked = other.request("tasks/get", get.clone()).await;
    assert_eq!(asked.result()["status"], "input_required");

    for _ in 0..2 {
        update(&other, &task, "que_color", filled("Blue"))
            .await
            .expect("taken");
        assert_eq!(given(&client, &session), [BLUE]);
    }
    let said = update(&other, &task, "que_color", filled("Red")).await;
    assert!(said.expect_err("too late").contains("answered before"));
    // It is answered, and the person waits for what comes of it.
    let working = other.request("tasks/get", get.clone()).await;
    assert_eq!(working.result()["status"], "working");
    assert_eq!(working.result()["pollIntervalMs"], 1000);

    hold(&runner, None).await;
    let working = other.request("tasks/get", get.clone()).await;
    assert_eq!(working.result()["status"], "working");
    assert_eq!(working.result()["pollIntervalMs"], 5000);
    update(&other, &task, "que_color", filled("Blue"))
        .await
        .expect("known");
    let decline = json!({"action": "decline"});
    let said = update(&other, &task, "que_color", decline.clone()).await;
    assert!(said.expect_err("too late").contains("answered before"));

    hold(&runner, Some(pending("que_again", &client.fake))).await;
    for _ in 0..2 {
        update(&other, &task, "que_again", decline.clone())
            .await
            .expect("taken");
    }
    assert!(given(&client, &session)[1].contains("declined"));
}

#[tokio::test]
async fn a_task_tells_who_cannot_ask_where_to_answer() {
    let client = Client::new(Class::Call).with_tasks();
    let (_, _, task) = asking(&client).await;
    let other = Client::of(Class::Tasks, client.fake.clone()).with_tasks();
    let got = other.request("tasks/get", json!({"taskId": task})).await;
    let result = got.result();
    assert_eq!(result["status"], "working");
    assert!(result.get("inputRequests").is_none(), "{result}");
    let message = result["statusMessage"].as_str().expect("text");
    for told in [
        "answer_question",
        "que_color",
        "Which color?",
        "- Blue: cold",
    ] {
        assert!(message.contains(told), "{message}");
    }
    // Nobody else sees or answers it.
    let stranger = Client::of(Class::Tasks, client.fake.clone())
        .with_tasks()
        .asking()
        .caller("you");
    let refused = update(&stranger, &task, "que_color", filled("Blue")).await;
    assert_eq!(refused.expect_err("foreign"), "no task with this id");
}

/// An answer that is cut off anywhere is there once, after another try.
#[tokio::test]
async fn whatever_fails_a_task_is_answered_once() {
    for call in 1.. {
        for time in [FaultTime::Before, FaultTime::After] {
            let client = Client::new(Class::Call).with_tasks();
            let (session, _, task) = asking(&client).await;
            let other = Client::of(Class::Tasks, client.fake.clone())
                .with_tasks()
                .asking();
            client.fake.fail_call(call, time);
            let params = json!({"taskId": task, "inputResponses": {"que_color": filled("Blue")}});
            let answer = other.request("tasks/update", params).await;
            if client.fake.no_more_faults() {
                return;
            }
            if let Some(error) = answer.response().get("error") {
                assert_eq!(error["code"], -32603, "{error}");
            }
            update(&other, &task, "que_color", filled("Blue"))
                .await
                .expect("taken");
            assert_eq!(given(&client, &session), [BLUE]);
        }
    }
}

#[tokio::test]
async fn waiting_asks_a_modern_client_and_goes_on_with_the_answer() {
    let client = Client::new(Class::Call).asking();
    let (session, runner, _) = asking(&client).await;
    let call = |more: Value| {
        let mut params = json!({"name": "wait_session", "arguments": {"session_id": session, "wait_seconds": 5}});
        for (name, value) in more.as_object().expect("an object") {
            params[name] = value.clone();
        }
        client.request("tools/call", params)
    };
    let asked = call(json!({})).await;
    let result = asked.result();
    assert_eq!(result["resultType"], "input_required");
    let form = &result["inputRequests"]["que_color"]["params"]["requestedSchema"];
    assert_eq!(
        form["properties"]["Which color?"]["enum"],
        json!(["Red", "Blue"])
    );
    let state = result["requestState"].clone();
    let answers = |color: &str| json!({"inputResponses": {"que_color": filled(color)}, "requestState": state});

    let went_on = call(answers("Blue")).await;
    let result = went_on.result().clone();
    assert_eq!(result["resultType"], "complete");
    assert_eq!(result["isError"], false, "{result}");
    assert!(
        result["structuredContent"].get("question").is_none(),
        "{result}"
    );
    assert_eq!(given(&client, &session), [BLUE]);
    hold(&runner, None).await;
    // The same again gives what was recorded, although the session is elsewhere by now.
    assert_eq!(*call(answers("Blue")).await.result(), result);
    assert_eq!(call(answers("Red")).await.code(), -32602);
    assert_eq!(given(&client, &session), [BLUE]);

    // A closed form answers nothing, and an incomplete one is told.
    hold(&runner, Some(pending("que_again", &client.fake))).await;
    for (response, told) in [
        (json!({"action": "cancel"}), "closed it without an answer"),
        (
            json!({"action": "accept", "content": {"Which color?": ""}}),
            "has no answer",
        ),
    ] {
        let state = call(json!({})).await.result()["requestState"].clone();
        let brought = json!({"inputResponses": {"que_again": response}, "requestState": state});
        let answer = call(brought).await;
        let text = answer.result()["content"][0]["text"]
            .as_str()
            .expect("text")
            .to_owned();
        assert!(text.contains(told), "{text}");
    }
    assert_eq!(given(&client, &session), [BLUE]);
}

/// The same for a call that waits: wherever it is cut off, repeating it with the same answer answers
/// once.
#[tokio::test]
async fn whatever_fails_a_wait_answers_once() {
    for call in 1.. {
        for time in [FaultTime::Before, FaultTime::After] {
            let client = Client::new(Class::Call).asking();
            let (session, _, _) = asking(&client).await;
            let mut params = json!({"name": "wait_session", "arguments": {"session_id": session, "wait_seconds": 1}});
            let asked = client.request("tools/call", params.clone()).await;
            params["requestState"] = asked.result()["requestState"].clone();
            params["inputResponses"] = json!({"que_color": filled("Blue")});
            client.fake.fail_call(call, time);
            let answer = client.request("tools/call", params.clone()).await;
            if client.fake.no_more_faults() {
                return;
            }
            if let Some(error) = answer.response().get("error") {
                assert_eq!(error["code"], -32603, "{error}");
            }
            let answer = client.request("tools/call", params).await;
            assert_eq!(answer.result()["isError"], false, "{}", answer.text);
            assert_eq!(given(&client, &session), [BLUE], "call {call}");
        }
    }
}

#[tokio::test]
async fn who_cannot_be_asked_reads_the_question_and_which_tool_answers() {
    let asker = Client::new(Class::Call);
    let (session, _, _) = asking(&asker).await;
    let fake = || asker.fake.clone();
    let mut reader = Client::of(Class::Call, fake()).asking();
    if let Some(principal) = &mut reader.principal {
        principal.scopes.retain(|scope| scope == "sessions:read");
    }
    for (client, seconds) in [
        (Client::of(Class::Call, fake()), 5),
        (Client::of(Class::Legacy, fake()).legacy(), 5),
        // Answering takes more than reading.
        (reader, 5),
        // At once.
        (Client::of(Class::Call, fake()).asking(), 0),
    ] {
        let arguments = json!({"session_id": session, "wait_seconds": seconds});
        let answer = client.tool("wait_session", arguments).await;
        let result = answer.result();
        let question = &result["structuredContent"]["question"];
        assert_eq!(question["question_id"], "que_color", "{result}");
        assert_eq!(question["input"], input());
        let text = result["content"][0]["text"].as_str().expect("text");
        for told in ["answer_question", "que_color", "Which color?"] {
            assert!(text.contains(told), "{text}");
        }
    }
}

async fn next(body: &mut Body) -> Value {
    loop {
        let frame = body
            .frame()
            .await
            .expect("it goes on")
            .expect("cannot fail");
        let bytes = frame.into_data().expect("data");
        let text = std::str::from_utf8(&bytes).expect("UTF-8");
        let data = text.lines().find_map(|line| line.strip_prefix("data: {"));
        if let Some(rest) = data {
            return serde_json::from_str(&format!("{{{rest}")).expect("JSON");
        }
    }
}

/// Each request reaches another instance.
#[tokio::test]
async fn waiting_asks_a_client_of_the_initialize_era_on_its_stream() {
    let client = Client::new(Class::Call);
    let (session, _, _) = asking(&client).await;
    let fake = client.fake.clone();
    let mut known: Option<HeaderValue> = None;
    let send = async |message: Value, known: &Option<HeaderValue>| {
        let sessions = ClientSessionSettings {
            days: 30,
            pair: false,
            pair_stream_seconds: 100,
        };
        let edge = Edge::bridged(settings(), sessions, work(&fake), fake.clone());
        let mut request = Request::builder()
            .method(Method::POST)
            .uri("/mcp")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(Bytes::from(message.to_string()))
            .expect("a request");
        if let Some(known) = known {
            request
                .headers_mut()
                .insert("mcp-session-id", known.clone());
        }
        edge.handle(request, Some(principal("me"))).await
    };
    let introduction = json!({"protocolVersion": LEGACY, "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "test", "version": "1"}});
    let opened = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": introduction});
    let opened = send(opened, &known).await;
    known = opened.headers().get("mcp-session-id").cloned();
    assert!(known.is_some());

    fake.clock().hold();
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": {"name": "wait_session", "arguments": {"session_id": session, "wait_seconds": 5}}});
    let mut stream = send(call, &known).await.into_body();
    let question = next(&mut stream).await;
    assert_eq!(question["method"], "elicitation/create");
    let message = question["params"]["message"].as_str().expect("text");
    assert!(
        message.contains("Paint") && message.contains("Which color?"),
        "{message}"
    );
    let reply = json!({"jsonrpc": "2.0", "id": question["id"], "result": filled("Blue")});
    let taken = send(reply, &known).await;
    assert_eq!(taken.status(), StatusCode::ACCEPTED);
    let answer = next(&mut stream);
    tokio::pin!(answer);
    let answer = loop {
        let rest = async {
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            answer = &mut answer => break answer,
            () = rest => fake.clock().advance(200),
        }
    };
    assert_eq!(answer["id"], 2);
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    assert!(
        answer["result"]["structuredContent"]
            .get("question")
            .is_none(),
        "{answer}"
    );
    assert_eq!(given(&client, &session), [BLUE]);
}
