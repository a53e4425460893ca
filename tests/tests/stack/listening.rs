//! Subscriptions end to end: advertised and served where the deployment turns them on.

use e2e::script;
use e2e::session::Session;
use e2e::stack::{self, Options, Stack};
use e2e::stream::Messages;
use serde_json::{Value, json};

async fn capabilities(stack: &Stack) -> Value {
    let answer = stack.client().request("server/discover", json!({})).await;
    answer.result()["capabilities"].clone()
}

#[tokio::test]
async fn what_other_instances_do_is_told_to_who_listens() {
    let stack = Stack::start(&Options::default().with("SHANNON_LISTEN_SECONDS", "20"));
    assert_eq!(capabilities(&stack).await["resources"]["subscribe"], true);
    let client = stack.client().with_tasks();
    let steps = ["SLEEP:3:TEXT:heard"];
    let arguments = json!({"prompt": script::prompt(&steps)});
    let call = json!({"name": "create_session", "arguments": arguments});
    let started = client.request("tools/call", call).await;
    let task = started.result()["taskId"]
        .as_str()
        .expect("a task")
        .to_owned();
    let session = task.split('.').next().expect("it begins with the session");
    let uri = format!("shannon://sessions/{session}");

    let filter = json!({"resourceSubscriptions": [uri], "taskIds": [task]});
    let (headers, body) = client.prepare("subscriptions/listen", json!({"notifications": filter}));
    let mut request = client.http().post(client.url()).body(body.to_string());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let mut stream = Messages::of(request.send().await.expect("an answer"));
    let first = stream.next().await.expect("it begins");
    assert_eq!(
        first["method"], "notifications/subscriptions/acknowledged",
        "{first}"
    );
    assert_eq!(first["params"]["notifications"], filter);
    let updated = stream
        .until(|message| message["method"] == "notifications/resources/updated")
        .await;
    assert_eq!(updated["params"]["uri"], uri);
    let done = stream
        .until(|message| {
            message["method"] == "notifications/tasks" && message["params"]["status"] == "completed"
        })
        .await;
    assert_eq!(done["params"]["taskId"], task);
    assert!(done.to_string().contains("heard"), "{done}");
    // It ends by itself, in time and with a result, although the session goes on.
    let end = stream
        .until(|message| message.get("result").is_some())
        .await;
    assert_eq!(end["result"]["resultType"], "complete", "{end}");
    assert!(stream.next().await.is_none());
    let plain = stack.client();
    let mut session = Session::follow(&plain, session);
    session.until_turns_ended(1).await;
    session.cancel().await;
}

#[tokio::test]
async fn where_it_is_off_nobody_is_told_of_it() {
    let stack = stack::shared();
    let offered = capabilities(&stack).await;
    assert!(offered["resources"].is_object(), "{offered}");
    assert_ne!(offered["resources"]["subscribe"], true, "{offered}");
    let client = stack.client();
    let refused = client
        .request("subscriptions/listen", json!({"notifications": {}}))
        .await;
    assert_eq!(
        (refused.status, refused.error().0),
        (404, -32601),
        "{}",
        refused.body
    );
}
