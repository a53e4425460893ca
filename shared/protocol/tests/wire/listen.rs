//! Subscriptions: what is told, to whom, and how they end.

use domain::{CommandOutcome, EventBody, State};
use http::StatusCode;
use http_body_util::BodyExt;
use protocol::{Class, Edge, EdgeSettings, Listings, Watched};
use serde_json::{Value, json};
use testkit::Fake;

use crate::client::{Client, settings, turn_end};

const ID: &str = "io.modelcontextprotocol/subscriptionId";

fn edge(fake: &Fake, seconds: u64) -> Edge<Watched<Fake>> {
    let settings = EdgeSettings {
        listen_seconds: seconds,
        ..settings()
    };
    let work = Watched::new(fake.clone(), testkit::deployment());
    Edge::new(Class::Listen, settings, work)
}

/// Opens a subscription; what it tells comes when `meanwhile` is over and the stream has ended.
async fn listen(
    client: &Client,
    seconds: u64,
    filter: Value,
    meanwhile: impl Future<Output = ()>,
) -> (StatusCode, Vec<Value>) {
    let request = client.prepare("subscriptions/listen", json!({"notifications": filter}));
    let response = edge(&client.fake, seconds)
        .handle(request, client.principal.clone())
        .await;
    let status = response.status();
    let (body, ()) = tokio::join!(response.into_body().collect(), meanwhile);
    let bytes = body.expect("cannot fail").to_bytes();
    let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let messages = if text.starts_with('{') {
        vec![serde_json::from_str(&text).expect("JSON")]
    } else {
        text.lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).expect("JSON"))
            .collect()
    };
    (status, messages)
}

/// A client with a session and the task of its first turn.
async fn started() -> (Client, String, String) {
    let client = Client::new(Class::Call).with_tasks();
    let answer = client
        .tool(
            "create_session",
            json!({"prompt": "x", "message_id": "first"}),
        )
        .await;
    let task = answer.result()["taskId"].as_str().expect("a task");
    let session = task.split('.').next().expect("it begins with the session");
    (client, task.to_owned(), session.to_owned())
}

/// Where there are no subscriptions, nobody is told that there are.
#[tokio::test]
async fn they_are_shown_only_where_they_are_served() {
    let client = Client::new(Class::Discover);
    for (seconds, shown) in [(0, Value::Null), (300, Value::Bool(true))] {
        let settings = EdgeSettings {
            listen_seconds: seconds,
            ..settings()
        };
        let edge = Edge::new(Class::Discover, settings, Listings);
        let request = client.prepare("server/discover", json!({}));
        let response = edge.handle(request, client.principal.clone()).await;
        let body = response.into_body().collect().await.expect("cannot fail");
        let answer: Value = serde_json::from_slice(&body.to_bytes()).expect("JSON");
        let resources = &answer["result"]["capabilities"]["resources"];
        assert!(resources.is_object(), "{answer}");
        assert_eq!(resources["subscribe"], shown, "{answer}");
    }
}

#[tokio::test]
async fn changes_are_told_whoever_makes_them() {
    let (client, task, session) = started().await;
    let uri = format!("shannon://sessions/{session}");
    let filter =
        json!({"resourceSubscriptions": [uri], "taskIds": [task], "toolsListChanged": true});
    let (status, messages) = listen(&client, 300, filter, async {
        let runner = client.runner(&session).await;
        runner.take().await;
        let turn = EventBody::TurnStarted { model: None };
        runner.events(State::Running, vec![turn]).await;
        let end = CommandOutcome::Turn(turn_end("first", "done"));
        runner.finish("first", end).await;
        // What has ended changes no more, so the subscription ends too.
        let ended = EventBody::SessionEnded {
            state: State::Cancelled,
            reason: "cancelled".to_owned(),
            unfinished: vec![],
        };
        runner.events(State::Cancelled, vec![ended]).await;
    })
    .await;
    assert_eq!(status, StatusCode::OK);
    let (first, rest) = messages.split_first().expect("messages");
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(
        first["params"]["notifications"],
        json!({"resourceSubscriptions": [uri], "taskIds": [task]})
    );
    let (last, told) = rest.split_last().expect("a response");
    assert_eq!(
        (&last["id"], &last["result"]["resultType"]),
        (&json!(1), &json!("complete"))
    );
    assert_eq!(last["result"]["_meta"][ID], 1);
    assert_eq!(
        last["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "shannon"
    );
    for notice in messages.iter().filter(|it| it.get("method").is_some()) {
        assert_eq!(notice["params"]["_meta"][ID], 1, "{notice}");
    }
    let of = |method: &str| -> Vec<&Value> {
        told.iter()
            .filter(|notice| notice["method"] == method)
            .collect()
    };
    let updated = of("notifications/resources/updated");
    assert!(!updated.is_empty());
    assert!(updated.iter().all(|notice| notice["params"]["uri"] == uri));
    let tasks = of("notifications/tasks");
    let newest = tasks.last().expect("the task changed");
    assert_eq!(newest["params"]["taskId"], task);
    assert_eq!(newest["params"]["status"], "completed");
    assert!(newest["params"]["result"]["content"].is_array(), "{newest}");
}

#[tokio::test]
async fn only_what_is_the_callers_is_accepted() {
    let (client, task, session) = started().await;
    let filter = json!({
        "resourceSubscriptions": [
            format!("shannon://sessions/{session}"),
            "shannon://sessions/ses_aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "shannon://sessions/../config",
            "file:///etc/passwd",
            "",
        ],
        "taskIds": [task, "no-task", ""],
    });
    let accepted = |messages: &[Value]| messages[0]["params"]["notifications"].clone();
    let stranger = Client::of(Class::Listen, client.fake.clone())
        .with_tasks()
        .caller("someone else");
    let (_, messages) = listen(&stranger, 300, filter.clone(), async {}).await;
    // Nothing to tell: acknowledged, and over at once.
    assert_eq!(accepted(&messages), json!({}));
    assert_eq!(messages.len(), 2);

    let mut plain = Client::of(Class::Listen, client.fake.clone());
    plain.extensions = json!({});
    let (_, messages) = listen(&plain, 1, filter, async {}).await;
    // Without the extension there are no tasks.
    assert_eq!(
        accepted(&messages),
        json!({"resourceSubscriptions": [format!("shannon://sessions/{session}")]})
    );
}

#[tokio::test]
async fn it_ends_well_when_its_time_is_over() {
    let (client, _, session) = started().await;
    let uri = format!("shannon://sessions/{session}");
    let filter = json!({"resourceSubscriptions": [uri, uri]});
    let (status, messages) = listen(&client, 1, filter, async {}).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        messages[0]["params"]["notifications"],
        json!({"resourceSubscriptions": [uri]})
    );
    let last = messages.last().expect("a response");
    assert_eq!(last["result"]["resultType"], "complete");
}

#[tokio::test]
async fn many_are_cut_to_the_limit_and_none_are_served_where_it_is_off() {
    let (client, _, session) = started().await;
    let many: Vec<String> = (0..100)
        .map(|_| format!("shannon://sessions/{session}"))
        .collect();
    let (status, messages) =
        listen(&client, 0, json!({"resourceSubscriptions": many}), async {}).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(messages[0]["error"]["code"], -32601);
    for bad in [json!(null), json!([]), json!({"taskIds": "all"})] {
        let (_, messages) = listen(&client, 1, bad.clone(), async {}).await;
        assert_eq!(messages[0]["error"]["code"], -32602, "{bad}");
    }
    let mut all = Vec::new();
    for _ in 0..domain::limits::SUBSCRIPTIONS + 3 {
        let created = client.tool("create_session", json!({"prompt": "x"})).await;
        let task = created.result()["taskId"].as_str().expect("a task");
        let session = task.split('.').next().expect("a session");
        // Ended ones count too, and hold no slot.
        client
            .call("cancel_session", json!({"session_id": session}))
            .await;
        all.push(format!("shannon://sessions/{session}"));
    }
    let (_, messages) = listen(&client, 1, json!({"resourceSubscriptions": all}), async {}).await;
    let accepted = &messages[0]["params"]["notifications"]["resourceSubscriptions"];
    assert_eq!(
        accepted.as_array().expect("a list").len(),
        domain::limits::SUBSCRIPTIONS
    );
}

#[tokio::test]
async fn a_store_that_fails_for_a_while_loses_no_change() {
    let (client, _, session) = started().await;
    let uri = format!("shannon://sessions/{session}");
    let (_, messages) = listen(
        &client,
        300,
        json!({"resourceSubscriptions": [uri]}),
        async {
            client.fake.fail_at_random(2, 5);
            let calls = client.fake.calls();
            while client.fake.calls() < calls + 20 {
                tokio::task::yield_now().await;
            }
            client.fake.no_more_faults();
            client
                .call("cancel_session", json!({"session_id": session}))
                .await;
        },
    )
    .await;
    let updated = messages
        .iter()
        .any(|notice| notice["method"] == "notifications/resources/updated");
    assert!(updated, "{messages:?}");
}
