//! The tools of durable sessions on the wire: checkpoints, forks, setting back, suspending,
//! questions, and giving up.

use domain::State;
use insta::assert_json_snapshot;
use protocol::Class;
use serde_json::{Value, json};
use testkit::FaultTime;

use crate::client::{Client, Runner};

/// A session that is idle after its first turn, and its runner.
pub(crate) async fn idle(client: &Client) -> (String, Runner) {
    let request = json!({"prompt": "Add a test", "message_id": "first"});
    let created = client.call("create_session", request).await;
    let id = created["session_id"].as_str().expect("an id").to_owned();
    let runner = client.runner(&id).await;
    runner.first_turn().await;
    (id, runner)
}

/// A suspended session with three checkpoints, the last that of its suspension.
pub(crate) async fn suspended(client: &Client) -> (String, [String; 3]) {
    let (id, runner) = idle(client).await;
    let one = runner.checkpoint("one").await;
    let two = runner.checkpoint("two").await;
    client
        .call("suspend_session", json!({"session_id": id}))
        .await;
    let last = runner.serve_suspend().await;
    (id, [one, two, last].map(|id| id.to_string()))
}

pub(crate) fn ids(page: &Value) -> Vec<&str> {
    let checkpoints = page["checkpoints"].as_array().expect("checkpoints");
    checkpoints
        .iter()
        .map(|checkpoint| checkpoint["checkpoint_id"].as_str().expect("an id"))
        .collect()
}

#[tokio::test]
async fn checkpoints_are_taken_listed_and_pinned() {
    let client = Client::new(Class::Call);
    let (id, runner) = idle(&client).await;
    let session = json!({"session_id": id});
    let none = client.tool("list_checkpoints", session.clone()).await;
    assert_eq!(none.result()["structuredContent"]["checkpoints"], json!([]));
    let said = client
        .refusal("fork_session", json!({"session_id": id}))
        .await;
    assert!(said.contains("no checkpoint yet"), "{said}");
    let one = runner.checkpoint("one").await.to_string();

    let request = json!({
        "session_id": id, "message": "good\nso far", "tags": ["b", "a"], "pinned": true,
        "message_id": "cut-1",
    });
    let (taken, two) = tokio::join!(
        client.tool("create_checkpoint", request.clone()),
        runner.serve_checkpoint()
    );
    let two = two.to_string();
    assert_json_snapshot!("create_checkpoint", taken.response());
    let again = client.call("create_checkpoint", request.clone()).await;
    assert_eq!(again["checkpoint"]["checkpoint_id"], two.as_str());
    let mut other = request;
    other["message"] = "else".into();
    let said = client.refusal("create_checkpoint", other).await;
    assert!(said.contains("message_id"), "{said}");

    let listed = client.tool("list_checkpoints", session.clone()).await;
    assert_json_snapshot!("list_checkpoints", listed.response());
    let first = client
        .call("list_checkpoints", json!({"session_id": id, "limit": 1}))
        .await;
    assert_eq!(ids(&first), [two.as_str()]);
    let before = &first["next_before"];
    let second = client
        .call(
            "list_checkpoints",
            json!({"session_id": id, "limit": 1, "before": before}),
        )
        .await;
    assert_eq!(ids(&second), [one.as_str()]);
    assert!(second.get("next_before").is_none(), "{second}");

    for pinned in [true, true, false] {
        let request = json!({"session_id": id, "checkpoint": one, "pinned": pinned});
        let done = client.call("pin_checkpoint", request).await;
        assert_eq!(done["checkpoint"]["pinned"], pinned);
        let key = client.key(&id);
        assert_eq!(client.fake.peek_checkpoints(&key)[0].pinned, pinned);
    }
    for checkpoint in ["no-such", "chk_aaaaaaaaaaaaaaaaaaaaaaaaaa"] {
        let request = json!({"session_id": id, "checkpoint": checkpoint});
        let said = client.refusal("pin_checkpoint", request).await;
        assert!(said.contains("checkpoint"), "{said}");
    }
}

#[tokio::test]
async fn a_name_stands_for_one_checkpoint_until_it_is_moved_or_taken_away() {
    let client = Client::new(Class::Call);
    let (id, [one, two, last]) = suspended(&client).await;
    let name = |name: &str, checkpoint: &str| json!({"session_id": id, "name": name, "checkpoint": checkpoint});
    for _ in 0..2 {
        let named = client.call("name_checkpoint", name("good", &one)).await;
        assert_eq!(
            named,
            json!({"session_id": id, "name": "good", "checkpoint_id": one})
        );
    }
    let said = client.refusal("name_checkpoint", name("good", &two)).await;
    assert!(said.contains("replace"), "{said}");
    let mut moving = name("good", &two);
    moving["replace"] = true.into();
    client.call("name_checkpoint", moving).await;
    let without = json!({"session_id": id, "name": "newest"});
    let named = client.call("name_checkpoint", without).await;
    assert_eq!(named["checkpoint_id"], last.as_str());
    // By a name, too.
    let named = client.call("name_checkpoint", name("also", "good")).await;
    assert_eq!(named["checkpoint_id"], two.as_str());
    let listed = client
        .call("list_checkpoints", json!({"session_id": id}))
        .await;
    let refs = |at: usize| listed["checkpoints"][at]["refs"].clone();
    assert_eq!(
        [refs(0), refs(1), refs(2)],
        [json!(["newest"]), json!(["also", "good"]), json!([])]
    );
    let read = json!({"session_id": id, "path": "a.txt", "checkpoint": "good"});
    let read = client.call("read_file", read).await;
    assert_eq!(read["checkpoint_id"], two.as_str());
    for _ in 0..2 {
        let request = json!({"session_id": id, "name": "good", "remove": true});
        let gone = client.call("name_checkpoint", request).await;
        assert!(gone.get("checkpoint_id").is_none(), "{gone}");
    }
    let request = json!({"session_id": id, "path": "a.txt", "checkpoint": "good"});
    let said = client.refusal("read_file", request).await;
    assert!(said.contains("no such checkpoint"), "{said}");
}

#[tokio::test]
async fn a_fork_with_a_prompt_is_a_task() {
    let client = Client::new(Class::Call);
    let (id, _) = suspended(&client).await;
    let client = client.with_tasks();
    let request = json!({"session_id": id, "prompt": "Try it otherwise", "client_token": "once"});
    let started = client.tool("fork_session", request.clone()).await;
    let task = started.result()["taskId"].as_str().expect("an id");
    let (fork, message) = task.split_once('.').expect("session and message");
    assert_eq!(message, "first");
    let again = client.tool("fork_session", request).await;
    assert_eq!(again.result()["taskId"], task, "the same one");
    let elsewhere = Client::of(Class::Tasks, client.fake.clone()).with_tasks();
    let get = json!({"taskId": task});
    let waiting = elsewhere.request("tasks/get", get.clone()).await;
    assert_eq!(waiting.result()["status"], "working");
    let runner = client.runner(fork).await;
    runner.first_turn().await;
    let done = elsewhere.request("tasks/get", get).await;
    assert_eq!(done.result()["status"], "completed", "{:?}", done.result());
    // Without a prompt there is no turn.
    let plain = client.tool("fork_session", json!({"session_id": id})).await;
    assert_eq!(plain.result()["structuredContent"]["state"], "suspended");
}

#[tokio::test]
async fn a_session_keeps_how_its_checkpoints_are_taken() {
    let client = Client::new(Class::Call);
    let request = json!({
        "prompt": "x", "checkpoint_strategy": "manual", "checkpoint_ignore": ["out/", "*.log"],
    });
    let created = client.call("create_session", request).await;
    let session = json!({"session_id": created["session_id"]});
    let shown = client.call("get_session", session).await;
    assert_eq!(
        (&shown["checkpoint_strategy"], &shown["checkpoint_ignore"]),
        (&json!("manual"), &json!(["out/", "*.log"]))
    );
    let plain = client.call("create_session", json!({"prompt": "x"})).await;
    let session = json!({"session_id": plain["session_id"]});
    let shown = client.call("get_session", session).await;
    assert!(shown.get("checkpoint_strategy").is_none(), "{shown}");
}

#[tokio::test]
async fn a_checkpoint_that_takes_its_time_is_asked_for_again() {
    let client = Client::new(Class::Call);
    let (id, runner) = idle(&client).await;
    runner.lives().await;
    let mut request = json!({"session_id": id, "message": "later"});
    let pending = client.call("create_checkpoint", request.clone()).await;
    assert_eq!(pending["taken"], false, "{pending}");
    assert!(pending.get("checkpoint").is_none());
    request["message_id"] = pending["message_id"].clone();
    let taken = runner.serve_checkpoint().await.to_string();
    let done = client.call("create_checkpoint", request).await;
    assert_eq!(
        (&done["taken"], &done["checkpoint"]["checkpoint_id"]),
        (&json!(true), &json!(taken))
    );
    assert_eq!(runner.waiting().await, 0);
}

#[tokio::test]
async fn a_session_is_suspended_once() {
    let client = Client::new(Class::Call);
    let (id, runner) = idle(&client).await;
    let session = json!({"session_id": id});
    let asked = client.tool("suspend_session", session.clone()).await;
    assert_json_snapshot!("suspend_session", asked.response());
    let last = runner.serve_suspend().await.to_string();
    let again = client.call("suspend_session", session.clone()).await;
    assert_eq!(
        again,
        json!({"session_id": id, "state": "suspended", "latest_checkpoint": last})
    );
    assert_eq!(runner.waiting().await, 0);
    // Nothing has to be taken.
    let request = json!({"session_id": id, "pinned": true});
    let newest = client.call("create_checkpoint", request).await;
    assert_eq!(newest["checkpoint"]["checkpoint_id"], last.as_str());
    assert_eq!(newest["checkpoint"]["pinned"], true);
    client
        .call(
            "send_message",
            json!({"session_id": id, "message": "go on"}),
        )
        .await;
    let woken = client.call("get_session", session).await;
    assert_eq!(woken["state"], "resuming");
}

#[tokio::test]
async fn a_question_is_answered_once() {
    let client = Client::new(Class::Call);
    let (id, runner) = idle(&client).await;
    let answer = |question: &str, answer: &str| json!({"session_id": id, "question_id": question, "answers": {"Which?": answer, "And?": "b"}});
    let said = client
        .refusal("answer_question", answer("q-1", "this"))
        .await;
    assert!(said.contains("no question waits"), "{said}");
    runner.ask("q-1").await;
    let waiting = client.call("get_session", json!({"session_id": id})).await;
    assert_eq!(waiting["state"], "waiting");
    assert_eq!(waiting["question"]["question_id"], "q-1");
    assert_eq!(
        waiting["question"]["input"]["questions"][0]["question"],
        "Which?"
    );
    let said = client
        .refusal("answer_question", answer("q-2", "this"))
        .await;
    assert!(said.contains("q-1"), "{said}");
    let answered = client.tool("answer_question", answer("q-1", "this")).await;
    assert_json_snapshot!("answer_question", answered.response());
    // The order of the questions is none of the answer.
    let other_order =
        json!({"session_id": id, "question_id": "q-1", "answers": {"And?": "b", "Which?": "this"}});
    let again = client.call("answer_question", other_order).await;
    assert_eq!(again["repeated"], true);
    let said = client
        .refusal("answer_question", answer("q-1", "that"))
        .await;
    assert!(said.contains("answered before"), "{said}");
    assert_eq!(
        runner.serve_answer().await,
        r#"{"And?":"b","Which?":"this"}"#
    );
    let done = client.call("answer_question", answer("q-1", "this")).await;
    assert_eq!(done["answer_state"], "done");
    let going_on = client.call("get_session", json!({"session_id": id})).await;
    assert_eq!(going_on["state"], "running");
    assert!(going_on.get("question").is_none(), "{going_on}");
}

#[tokio::test]
async fn a_session_is_set_back_and_nothing_is_lost() {
    let client = Client::new(Class::Call);
    let (id, [one, two, last]) = suspended(&client).await;
    let request = json!({"session_id": id, "checkpoint": one});
    let back = client.tool("restore_checkpoint", request.clone()).await;
    assert_json_snapshot!("restore_checkpoint", back.response());
    assert_eq!(
        back.result()["structuredContent"]["latest_checkpoint"],
        one.as_str()
    );
    let again = client.call("restore_checkpoint", request).await;
    assert_eq!(again["latest_checkpoint"], one.as_str());
    let listed = client
        .call("list_checkpoints", json!({"session_id": id}))
        .await;
    assert_eq!(listed["latest"], one.as_str());
    assert_eq!(ids(&listed), [&last, &two, &one].map(String::as_str));
    assert_eq!(listed["checkpoints"][0]["refs"], json!(["before-1"]));
    // And forth again, by the name.
    let forth = client
        .call(
            "restore_checkpoint",
            json!({"session_id": id, "checkpoint": "before-1"}),
        )
        .await;
    assert_eq!(forth["latest_checkpoint"], last.as_str());
    // The conversation of one with the files of another is a checkpoint of its own.
    let talk = client
        .call(
            "restore_checkpoint",
            json!({"session_id": id, "checkpoint": two, "what": "conversation"}),
        )
        .await;
    let latest = talk["latest_checkpoint"].as_str().expect("an id");
    assert!(![&one, &two, &last].map(String::as_str).contains(&latest));
}

#[tokio::test]
async fn a_running_session_is_set_back_and_its_runner_writes_no_more() {
    let client = Client::new(Class::Call);
    let (id, runner) = idle(&client).await;
    let one = runner.checkpoint("one").await.to_string();
    runner.checkpoint("two").await;
    let back = client
        .call(
            "restore_checkpoint",
            json!({"session_id": id, "checkpoint": one}),
        )
        .await;
    assert_eq!(back["state"], "suspended");
    let head = client.fake.peek_head(&client.key(&id)).expect("there");
    assert!(head.fence > runner.lease.fence, "{head:?}");
}

#[tokio::test]
async fn forks_go_on_from_a_checkpoint() {
    let client = Client::new(Class::Call);
    let (id, [one, _, last]) = suspended(&client).await;
    let request = json!({"session_id": id, "checkpoint": one, "client_token": "fork-1"});
    let forked = client.tool("fork_session", request.clone()).await;
    assert_json_snapshot!("fork_session", forked.response());
    let fork = forked.result()["structuredContent"].clone();
    assert_eq!(
        (&fork["parent_session_id"], &fork["parent_checkpoint_id"]),
        (&json!(id), &json!(one))
    );
    assert_eq!(fork["state"], "suspended");
    let again = client.call("fork_session", request.clone()).await;
    assert_eq!(
        (&again["session_id"], &again["repeated"]),
        (&fork["session_id"], &json!(true))
    );
    let mut other = request;
    other["checkpoint"] = last.clone().into();
    let said = client.refusal("fork_session", other).await;
    assert!(said.contains("client_token"), "{said}");

    let tasks = client.fake.tasks().len();
    let working = client
        .call(
            "fork_session",
            json!({"session_id": id, "prompt": "Try it otherwise"}),
        )
        .await;
    assert_eq!(working["state"], "resuming");
    assert_eq!(working["parent_checkpoint_id"], last.as_str());
    assert_eq!(client.fake.tasks().len(), tasks + 1);

    let timeline = client
        .tool("get_timeline", json!({"session_id": id, "checkpoints": 2}))
        .await;
    assert_json_snapshot!("get_timeline", timeline.response());
    let shown = &timeline.result()["structuredContent"];
    assert_eq!(shown["tree_id"], id.as_str());
    let sessions = shown["sessions"].as_array().expect("sessions");
    assert_eq!(sessions.len(), 3);
    assert_eq!(sessions[0]["session_id"], id.as_str());
    assert_eq!(sessions[0]["has_older_checkpoints"], true);
    // Every member shows the same tree.
    let of_fork = client
        .call(
            "get_timeline",
            json!({"session_id": fork["session_id"], "checkpoints": 2}),
        )
        .await;
    assert_eq!(&of_fork, shown);
}

#[tokio::test]
async fn a_deleted_session_stays_until_it_is_erased() {
    let client = Client::new(Class::Call);
    let (id, [one, ..]) = suspended(&client).await;
    let fork = client.call("fork_session", json!({"session_id": id})).await;
    let session = json!({"session_id": id});
    let archived = client.tool("delete_session", session.clone()).await;
    assert_json_snapshot!("delete_session", archived.response());
    client.call("get_session", session.clone()).await;
    let said = client
        .refusal(
            "restore_checkpoint",
            json!({"session_id": id, "checkpoint": one}),
        )
        .await;
    assert!(said.contains("fork_session"), "{said}");
    // An ended session can be forked.
    client.call("fork_session", session.clone()).await;

    let erase = json!({"session_id": id, "erase": true});
    let erased = client.call("delete_session", erase.clone()).await;
    assert_eq!(erased["erased"], true);
    for (tool, arguments) in [
        ("get_session", session.clone()),
        ("list_checkpoints", session),
        ("delete_session", erase),
    ] {
        let said = client.refusal(tool, arguments).await;
        assert_eq!(said, "no session with this id; list_sessions shows yours");
    }
    let listed = client
        .call(
            "list_checkpoints",
            json!({"session_id": fork["session_id"]}),
        )
        .await;
    assert_eq!(ids(&listed).len(), 1, "a fork keeps what it needs");
}

#[tokio::test]
async fn a_runner_that_does_not_end_is_told_of() {
    let client = Client::new(Class::Call);
    let (id, runner) = idle(&client).await;
    runner.lives().await;
    let said = client
        .refusal("delete_session", json!({"session_id": id}))
        .await;
    assert!(said.contains("repeat the call"), "{said}");
    assert_eq!(runner.waiting().await, 1, "it was asked to end");
}

#[tokio::test]
async fn failing_services_leave_what_can_be_repeated() {
    for (tool, arguments) in [
        ("list_checkpoints", json!({})),
        ("get_timeline", json!({})),
        ("suspend_session", json!({})),
        ("create_checkpoint", json!({"pinned": true})),
        ("pin_checkpoint", json!({"checkpoint": "latest"})),
        ("name_checkpoint", json!({"name": "good"})),
        ("read_file", json!({"path": "a.txt"})),
        ("export_workspace", json!({})),
        ("diff_checkpoints", json!({"from": "latest"})),
        ("restore_checkpoint", json!({"checkpoint": "latest"})),
        (
            "fork_session",
            json!({"prompt": "go", "client_token": "once"}),
        ),
        ("delete_session", json!({})),
    ] {
        for time in [FaultTime::Before, FaultTime::After] {
            for call in 1..8 {
                let client = Client::new(Class::Call);
                let (id, _) = suspended(&client).await;
                let mut arguments = arguments.clone();
                arguments["session_id"] = id.as_str().into();
                client.fake.fail_call(call, time);
                let answer = client.tool(tool, arguments.clone()).await;
                let result = answer.result();
                let failed = result["isError"] == true;
                if failed {
                    let said = result["content"][0]["text"].as_str().expect("text");
                    assert!(!said.contains("injected"), "causes are for the log: {said}");
                    assert!(said.to_lowercase().contains("again"), "{tool}: {said}");
                }
                client.fake.no_more_faults();
                client.call(tool, arguments).await;
                if tool == "fork_session" {
                    assert_eq!(client.fake.session_keys().len(), 2, "{call} {time:?}");
                }
                let head = client.fake.peek_head(&client.key(&id)).expect("there");
                let expected = if tool == "delete_session" {
                    State::Cancelled
                } else {
                    State::Suspended
                };
                assert_eq!(head.state, expected, "{tool} {call} {time:?}");
            }
        }
    }
}
