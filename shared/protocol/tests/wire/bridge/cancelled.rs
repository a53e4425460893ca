//! Requests that their client takes back, on whichever instance.

use super::*;

async fn cancel(client: &Client, id: Value) -> StatusCode {
    let notice = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": id, "reason": "changed my mind"}});
    client.post(notice).await.status
}

/// A call without a token for progress: it is silent until it is done.
async fn silent(client: &Client) -> Answer {
    client
        .call("tools/call", json!({"name": "slow", "arguments": {}}))
        .await
}

/// The work on `slow` is over: it does not take what lets the next one go on.
async fn nothing_runs(client: &Client) {
    client.tools.go_on.notify_one();
    assert_eq!(said(&silent(client).await.json().await), "done");
}

#[tokio::test]
async fn a_stream_ends_without_an_answer() {
    let client = Client::introduced().await;
    let mut answer = client.tool("slow").await;
    let (seen, _) = answer.next().await.expect("progress");
    // Another request's id changes nothing, nor does a stranger.
    for id in [json!(6), json!("5"), json!(null), json!({"a": 1})] {
        assert_eq!(cancel(&client, id).await, StatusCode::ACCEPTED);
    }
    let stranger = client.other("you");
    assert_eq!(cancel(&stranger, json!(5)).await, StatusCode::NOT_FOUND);
    // Twice is once.
    for _ in 0..2 {
        assert_eq!(cancel(&client, json!(5)).await, StatusCode::ACCEPTED);
    }
    assert!(answer.next().await.is_none(), "it was answered");
    let mut resumed = client.resume(&last_event(&seen)).await;
    assert!(resumed.next().await.is_none(), "it was answered");
    nothing_runs(&client).await;
    // And late.
    assert_eq!(cancel(&client, json!(5)).await, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_request_that_has_said_nothing_yet_ends_as_well() {
    let client = Client::introduced().await;
    let waiting = silent(&client);
    let cancelling = async {
        while client.tools.fake.kept_for_clients()[1] == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(cancel(&client, json!(5)).await, StatusCode::ACCEPTED);
    };
    let (answer, ()) = tokio::join!(waiting, cancelling);
    assert_eq!(answer.headers[CONTENT_TYPE], "text/event-stream");
    assert_eq!(answer.text().await, "");
}

/// A store that does not answer for a moment makes the notification fail, which the client may
/// repeat, and the request goes on.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_noted_goes_on() {
    let client = Client::introduced().await;
    let mut answer = client.tool("slow").await;
    answer.next().await.expect("progress");
    // Between two looks of whoever works on it, each of which is a call as well.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    // Reading the session comes first.
    client.tools.fake.fail_call(2, testkit::FaultTime::Before);
    assert_eq!(
        cancel(&client, json!(5)).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    client.tools.go_on.notify_one();
    let (_, result) = answer.next().await.expect("the answer");
    assert_eq!(said(&result), "done");
}

/// A notification that comes too late, and one that nobody could remove any more, take back nothing
/// that has the same id later.
#[tokio::test(start_paused = true)]
async fn an_id_that_is_used_again_is_answered() {
    let client = Client::introduced().await;
    for _ in 0..2 {
        let mut answer = client.tool("slow").await;
        answer.next().await.expect("progress");
        client.tools.go_on.notify_one();
        let (_, result) = answer.next().await.expect("the answer");
        assert_eq!(said(&result), "done");
        assert!(answer.next().await.is_none());
        assert_eq!(client.tools.fake.kept_for_clients()[1], 0, "it is over");
        assert_eq!(cancel(&client, json!(5)).await, StatusCode::ACCEPTED);
    }
    // Whoever worked on it died with the notification unread.
    let dead = client.tool("slow").await;
    assert_eq!(cancel(&client, json!(5)).await, StatusCode::ACCEPTED);
    let mut again = client.tool("slow").await;
    again.next().await.expect("progress");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    client.tools.go_on.notify_waiters();
    let (_, result) = again.next().await.expect("the answer");
    assert_eq!(said(&result), "done");
    drop(dead);
}

/// Of two that run at once the newer is taken back, and the older is answered.
#[tokio::test(start_paused = true)]
async fn an_id_that_is_used_twice_at_once_is_the_newer_one() {
    let client = Client::introduced().await;
    let mut older = client.tool("slow").await;
    older.next().await.expect("progress");
    let mut newer = client.tool("slow").await;
    newer.next().await.expect("progress");
    assert_eq!(cancel(&client, json!(5)).await, StatusCode::ACCEPTED);
    assert!(newer.next().await.is_none());
    client.tools.go_on.notify_one();
    let (_, result) = older.next().await.expect("the answer");
    assert_eq!(said(&result), "done");
}
