//! A call that waits for a person's approval, as each kind of client gets it: nobody who calls can
//! decide, but for a person's form where that is permitted.

use domain::checkpoint::PendingQuestion;
use domain::ports::{Inbox, SessionLog};
use domain::{CommandBody, Decision, EventBody, QuestionId, State};
use insta::assert_json_snapshot;
use protocol::Class;
use serde_json::{Value, json};
use testkit::Fake;

use crate::client::{Client, Runner};

fn pending(fake: &Fake) -> PendingQuestion {
    PendingQuestion {
        id: QuestionId::parse("apr_push").expect("an id"),
        tool_use_id: "toolu_1".to_owned(),
        input: json!({"command": "git push"}).to_string(),
        asked_at: fake.clock().now(),
        approval: Some(testkit::approval_request(fake.clock().now().plus(60_000))),
    }
}

async fn hold(runner: &Runner, pending: PendingQuestion) {
    let head = runner.fake.peek_head(&runner.lease.key).expect("a session");
    let event = EventBody::ApprovalRequested {
        approval: pending.id.clone(),
        tool_use_id: pending.tool_use_id.clone(),
        input: pending.input.clone(),
        request: pending.approval.clone().expect("an approval"),
    };
    let mut append = testkit::append(&runner.fake, head.last_sequence.next(), vec![event]);
    append.state = State::Waiting;
    append.question = Some(pending);
    runner
        .fake
        .append(&runner.lease, &append)
        .await
        .expect("appended");
}

/// A session whose first turn waits for approval, and its task.
async fn waiting(client: &Client) -> (String, String) {
    let arguments = json!({"prompt": "Push", "message_id": "first"});
    let created = client.tool("create_session", arguments).await;
    let result = created.result();
    let session = match result["taskId"].as_str() {
        Some(task) => &task[..30],
        None => result["structuredContent"]["session_id"]
            .as_str()
            .expect("an id"),
    };
    let runner = client.runner(session).await;
    runner.take().await;
    hold(&runner, pending(&client.fake)).await;
    (session.to_owned(), format!("{session}.first"))
}

/// What was decided in the session.
fn decided(client: &Client, session: &str) -> Vec<Decision> {
    let commands = client.fake.peek_commands(&client.key(session));
    commands
        .into_iter()
        .filter_map(|command| match command.body {
            CommandBody::Decide { decision, .. } => Some(decision),
            _ => None,
        })
        .collect()
}

fn without_url(mut value: Value) -> Value {
    let url = value["approval"]["url"].as_str().expect("an address");
    let rest = url.strip_prefix("https://shannon.example/approvals/");
    assert!(
        rest.is_some_and(|rest| rest.split('~').count() == 5),
        "{url}"
    );
    value["approval"]["url"] = "[url]".into();
    value
}

#[tokio::test]
async fn whoever_calls_is_told_where_a_person_decides() {
    let client = Client::new(Class::Call).approver();
    let (session, _) = waiting(&client).await;
    let shown = client
        .call("get_session", json!({"session_id": session}))
        .await;
    let shown = without_url(shown);
    assert_eq!(shown["state"], "waiting");
    assert!(shown.get("question").is_none(), "{shown}");
    assert_json_snapshot!("approval_of_a_session", shown["approval"]);
    let waited = client
        .call(
            "wait_session",
            json!({"session_id": session, "wait_seconds": 0}),
        )
        .await;
    let waited = without_url(waited);
    assert_eq!(waited["approval"], shown["approval"]);
    let kinds: Vec<&Value> = waited["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| &event["kind"])
        .collect();
    assert!(kinds.contains(&&json!("approval_requested")), "{kinds:?}");

    for arguments in [json!({}), json!({"session_id": session})] {
        let listed = client.call("list_approvals", arguments).await;
        let approvals = listed["approvals"].as_array().expect("approvals");
        assert_eq!(approvals.len(), 1, "{listed}");
        assert_eq!(approvals[0]["approval_id"], "apr_push");
        assert_eq!(approvals[0]["session_id"], session);
    }
    let other = Client::of(Class::Call, client.fake.clone()).caller("you");
    let listed = other.call("list_approvals", json!({})).await;
    assert_eq!(listed["approvals"], json!([]));
    client.fake.clock().advance(60_001);
    let listed = client.call("list_approvals", json!({})).await;
    assert_eq!(listed["approvals"], json!([]));
}

#[tokio::test]
async fn no_tool_decides() {
    let client = Client::new(Class::Call).approver().asking();
    let (session, _) = waiting(&client).await;
    for answers in [
        json!({"decision": "allow_once"}),
        json!({"Allow once": "yes"}),
    ] {
        let said = client
            .refusal(
                "answer_question",
                json!({"session_id": session, "question_id": "apr_push", "answers": answers}),
            )
            .await;
        assert!(said.contains("no tool decides"), "{said}");
    }
    // A client that can be asked is not, unless the deployment permits it: it gets the address.
    let waited = client
        .call(
            "wait_session",
            json!({"session_id": session, "wait_seconds": 1}),
        )
        .await;
    without_url(waited);
    assert_eq!(decided(&client, &session), []);
    let client = Client::of(Class::Catalog, client.fake.clone()).approver();
    let tools = client.request("tools/list", json!({})).await;
    for tool in tools.result()["tools"].as_array().expect("tools") {
        let input = tool["inputSchema"].to_string();
        assert!(!input.contains("decision"), "{tool}");
    }
}

#[tokio::test]
async fn a_form_decides_only_where_that_is_permitted() {
    let of =
        |client: Client, names: &[&str]| client.where_forms_approve(Class::Call, names).asking();
    let permitted = |client: Client| of(client, &["other", "test"]);
    let wait = |session: &str| json!({"session_id": session, "wait_seconds": 1});
    // Not without the scope.
    let client = permitted(Client::new(Class::Call));
    let (session, _) = waiting(&client).await;
    without_url(client.call("wait_session", wait(&session)).await);

    let client = permitted(Client::of(Class::Call, client.fake.clone())).approver();
    let params = json!({"name": "wait_session", "arguments": wait(&session)});
    // Nor by a client that is not named.
    for names in [&[][..], &["tes", "testing", ""]] {
        let other = of(Client::of(Class::Call, client.fake.clone()), names).approver();
        without_url(other.call("wait_session", wait(&session)).await);
    }
    // Nor by a form that would not show all of it.
    let key = client.key(&session);
    let head = client.fake.peek_head(&key).expect("a session");
    let runner = Runner {
        fake: client.fake.clone(),
        lease: head.lease(),
    };
    for hide in [0, 1, 2] {
        let mut hidden = pending(&client.fake);
        match hide {
            0 => hidden.approval.as_mut().expect("an approval").visible = false,
            1 => hidden.input = json!({"command": "x".repeat(3000)}).to_string(),
            _ => hidden.input = json!({"command": "ls \u{202e}x"}).to_string(),
        }
        hold(&runner, hidden).await;
        without_url(client.call("wait_session", wait(&session)).await);
    }
    hold(&runner, pending(&client.fake)).await;
    let asked = client.request("tools/call", params.clone()).await;
    let result = asked.result();
    assert_eq!(result["resultType"], "input_required", "{result}");
    assert_json_snapshot!("approval_form", result["inputRequests"]);
    let mut answered = params;
    answered["requestState"] = result["requestState"].clone();
    let content = json!({"decision": "Deny", "reason": "not on a friday"});
    answered["inputResponses"] = json!({"apr_push": {"action": "accept", "content": content}});
    for _ in 0..2 {
        client.request("tools/call", answered.clone()).await;
        let denied = Decision::Deny {
            reason: "not on a friday".to_owned(),
        };
        assert_eq!(decided(&client, &session), [denied]);
    }
}

#[tokio::test]
async fn a_task_says_where_a_person_decides_and_takes_no_decision() {
    let client = Client::new(Class::Call).with_tasks();
    let (session, task) = waiting(&client).await;
    let tasks = Client::of(Class::Tasks, client.fake.clone())
        .with_tasks()
        .asking()
        .approver();
    let got = tasks.request("tasks/get", json!({"taskId": task})).await;
    let result = got.result();
    assert_eq!(result["status"], "working", "{result}");
    let message = result["statusMessage"].as_str().expect("a message");
    assert!(
        message.contains("https://shannon.example/approvals/"),
        "{message}"
    );
    let accept = json!({"action": "accept", "content": {"decision": "Allow once"}});
    let update = json!({"taskId": task, "inputResponses": {"apr_push": accept}});
    let refused = tasks.request("tasks/update", update.clone()).await;
    assert_eq!(refused.code(), -32602);
    assert_eq!(decided(&client, &session), []);

    // Where forms decide, the task asks.
    let tasks = tasks.where_forms_approve(Class::Tasks, &["*"]);
    let got = tasks.request("tasks/get", json!({"taskId": task})).await;
    assert_eq!(got.result()["status"], "input_required");
    for _ in 0..2 {
        tasks.request("tasks/update", update.clone()).await.result();
        assert_eq!(decided(&client, &session), [Decision::AllowOnce]);
    }
    let decline = json!({"taskId": task, "inputResponses": {"apr_push": {"action": "decline"}}});
    let refused = tasks.request("tasks/update", decline).await;
    assert_eq!(refused.code(), -32602);
    assert!(
        client
            .fake
            .commands_after(&client.key(&session), 1, 10)
            .await
            .expect("read")
            .len()
            == 1
    );
}
