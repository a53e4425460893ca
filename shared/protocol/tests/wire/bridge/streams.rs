//! Streams that break and are taken up again elsewhere.

use super::*;

#[tokio::test]
async fn a_broken_stream_is_taken_up_where_it_broke() {
    let client = Client::introduced().await;
    let mut answer = client.tool("slow").await;
    let (seen, progress) = answer.next().await.expect("progress");
    assert_eq!(progress["method"], "notifications/progress");
    assert!(
        seen.contains("data: \n"),
        "it begins with an event that has only an id: {seen}"
    );
    // The connection breaks; the work goes on, and ends.
    drop(answer);
    client.tools.go_on.notify_one();
    while client.tools.fake.kept_for_clients()[3] < 2 {
        tokio::task::yield_now().await;
    }
    for _ in 0..2 {
        let mut resumed = client.resume(&last_event(&seen)).await;
        assert_eq!(resumed.status, StatusCode::OK);
        let (text, result) = resumed.next().await.expect("the answer");
        assert_eq!(said(&result), "done");
        assert!(resumed.next().await.is_none());
        // Nothing comes after it.
        let mut nothing = client.resume(&last_event(&text)).await;
        assert!(nothing.next().await.is_none());
    }
    // From the beginning, everything.
    let first = seen
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .expect("an id");
    let mut all = client.resume(first).await;
    assert_eq!(all.next().await.expect("progress").1, progress);
    assert_eq!(said(&all.next().await.expect("the answer").1), "done");
}

#[tokio::test]
async fn an_older_client_gets_no_empty_event() {
    let mut client = Client::new();
    client.version = "2025-06-18";
    client.introduce(json!({})).await;
    let mut answer = client.tool("slow").await;
    let (seen, _) = answer.next().await.expect("progress");
    assert!(!seen.contains("data: \n"), "{seen}");
}

#[tokio::test]
async fn a_stream_whose_writer_died_ends_with_an_error() {
    let client = Client::introduced().await;
    let seen = {
        let client = client.other("me");
        let dying = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        std::thread::spawn(move || {
            dying.block_on(async { client.tool("slow").await.next().await.expect("progress").0 })
        })
        .join()
        .expect("it began")
    };
    let mut resumed = client.resume(&last_event(&seen)).await;
    let (text, error) = resumed.next().await.expect("an end");
    assert_eq!(
        (&error["id"], &error["error"]["code"]),
        (&json!(5), &json!(-32603))
    );
    assert!(!text.contains("id: mcp_"), "it is not kept: {text}");
    assert!(resumed.next().await.is_none());
    // The next request is served.
    assert_eq!(client.tool("x").await.status, StatusCode::OK);
}

#[tokio::test]
async fn only_the_owner_takes_a_stream_up() {
    let client = Client::introduced().await;
    let mut answer = client.tool("slow").await;
    let (seen, _) = answer.next().await.expect("progress");
    let last = last_event(&seen);
    let stranger = client.other("you");
    assert_eq!(stranger.resume(&last).await.status, StatusCode::NOT_FOUND);
    let mut another = client.other("me");
    another.introduce(json!({})).await;
    assert_eq!(another.resume(&last).await.status, StatusCode::NOT_FOUND);
    for bad in ["", "x", "1", &format!("{last}.1"), &last.replace('.', ".x")] {
        assert_eq!(
            client.resume(bad).await.status,
            StatusCode::BAD_REQUEST,
            "{bad}"
        );
    }
}

/// Whatever fails while a stream is kept, the client gets its answer on the stream it has.
#[tokio::test]
async fn a_stream_that_cannot_be_kept_is_a_stream_all_the_same() {
    for call in 1..8 {
        let client = Client::introduced().await;
        // Reading the session is the first call.
        client
            .tools
            .fake
            .fail_call(1 + call, testkit::FaultTime::Before);
        client.tools.go_on.notify_one();
        let mut answer = client.tool("slow").await;
        let mut last = Value::Null;
        while let Some((_, message)) = answer.next().await {
            last = message;
        }
        assert_eq!(said(&last), "done", "call {call}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_is_ended() {
    let client = Client::introduced().await;
    let mut answer = client.tool("slow").await;
    let mut last = Value::Null;
    while let Some((_, message)) = answer.next().await {
        last = message;
    }
    assert_eq!(last["error"]["code"], -32603, "{last}");
}
