//! The pair of 2024-11-05.

use super::*;

struct Stream {
    answer: Answer,
    messages: String,
    /// The id of the first event.
    first: String,
}

async fn open(client: &Client, last: Option<&str>) -> Stream {
    let mut request = client.request(Method::GET, "/sse", String::new());
    if let Some(last) = last {
        request
            .headers_mut()
            .insert(LAST_EVENT, HeaderValue::from_str(last).expect("a header"));
    }
    let mut answer = client.send(request).await;
    assert_eq!(answer.status, StatusCode::OK);
    let frame = answer
        .body
        .frame()
        .await
        .expect("an event")
        .expect("cannot fail");
    let text = String::from_utf8(frame.into_data().expect("data").to_vec()).expect("UTF-8");
    assert!(text.starts_with("event: endpoint\n"), "{text}");
    let data = text
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .expect("a place");
    Stream {
        messages: format!("/{data}"),
        first: last_event(&text),
        answer,
    }
}

fn message(id: i32, method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

async fn post(client: &Client, stream: &Stream, body: String) -> StatusCode {
    client
        .send(client.request(Method::POST, &stream.messages, body))
        .await
        .status
}

/// Gives the id of the answer's event.
async fn introduce(client: &Client, stream: &mut Stream) -> String {
    let introduction = json!({"protocolVersion": "2024-11-05", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "old", "version": "1"}});
    assert_eq!(
        post(client, stream, message(1, "initialize", introduction)).await,
        StatusCode::ACCEPTED
    );
    let (text, answer) = stream.answer.next().await.expect("an answer");
    assert_eq!(answer["result"]["protocolVersion"], "2024-11-05");
    last_event(&text)
}

fn tool(id: i32, name: &str) -> String {
    message(id, "tools/call", json!({"name": name, "arguments": {}}))
}

#[tokio::test(start_paused = true)]
async fn posts_to_any_instance_are_answered_on_the_stream() {
    let client = Client::new();
    let mut stream = open(&client, None).await;
    introduce(&client, &mut stream).await;
    let notice = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    assert_eq!(post(&client, &stream, notice).await, StatusCode::ACCEPTED);
    assert_eq!(
        post(&client, &stream, tool(2, "x")).await,
        StatusCode::ACCEPTED
    );
    let (text, answer) = stream.answer.next().await.expect("an answer");
    assert!(text.contains("event: message\n"), "{text}");
    assert_eq!((&answer["id"], said(&answer)), (&json!(2), "at once"));
}

#[tokio::test]
async fn a_question_goes_out_on_the_stream_and_its_answer_comes_as_a_post() {
    let client = Client::new();
    let mut stream = open(&client, None).await;
    introduce(&client, &mut stream).await;
    let clock = client.clock().clone();
    clock.hold();
    // Virtual time goes by as real time does, or somebody who looks often would be done at once.
    let ticking = tokio::spawn(async move {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            clock.advance(100);
        }
    });
    post(&client, &stream, tool(3, "greet")).await;
    let (_, question) = stream.answer.next().await.expect("a question");
    assert_eq!(question["method"], "elicitation/create");
    let reply = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"name": "Ann"}}});
    assert_eq!(
        post(&client, &stream, reply.to_string()).await,
        StatusCode::ACCEPTED
    );
    let (_, answer) = stream.answer.next().await.expect("an answer");
    assert_eq!(said(&answer), "hello \"Ann\"");
    ticking.abort();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_taken_back_is_not_answered() {
    let client = Client::new();
    let mut stream = open(&client, None).await;
    introduce(&client, &mut stream).await;
    post(&client, &stream, tool(2, "slow")).await;
    for _ in 0..2 {
        let notice = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}});
        let status = post(&client, &stream, notice.to_string()).await;
        assert_eq!(status, StatusCode::ACCEPTED);
    }
    post(&client, &stream, tool(3, "x")).await;
    let (_, answer) = stream.answer.next().await.expect("an answer");
    assert_eq!(answer["id"], 3);
    // Nobody works on it any more: it does not take what lets the next one go on.
    client.tools.go_on.notify_one();
    post(&client, &stream, tool(4, "slow")).await;
    let (_, answer) = stream.answer.next().await.expect("an answer");
    assert_eq!((&answer["id"], said(&answer)), (&json!(4), "done"));
}

/// Whoever works on it: not the holder of the stream that its client has by now. Begun long ago or a
/// moment ago, and whatever becomes of the word to that one.
#[tokio::test(start_paused = true)]
async fn a_request_is_taken_back_by_a_client_that_connected_again() {
    for (begun, fault) in [
        (2_000, None),
        (150, None),
        (2_000, Some(testkit::FaultTime::Before)),
        (2_000, Some(testkit::FaultTime::After)),
    ] {
        let client = Client::new();
        let mut first = open(&client, None).await;
        let seen = introduce(&client, &mut first).await;
        post(&client, &first, tool(2, "slow")).await;
        tokio::time::sleep(std::time::Duration::from_millis(begun)).await;
        let mut second = open(&client, Some(&seen)).await;
        let fake = &client.tools.fake;
        if let Some(time) = fault {
            fake.fail_call_of("take a request back", 1, time);
        }
        for _ in 0..2 {
            let notice = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}});
            let status = post(&client, &second, notice.to_string()).await;
            assert_eq!(status, StatusCode::ACCEPTED);
        }
        tokio::time::sleep(std::time::Duration::from_secs(4)).await;
        assert!(fault.is_none() || !fake.no_more_faults(), "it struck");
        // Nobody works on it any more: it does not take what lets the next one go on.
        client.tools.go_on.notify_one();
        post(&client, &second, tool(3, "slow")).await;
        let (_, answer) = second.answer.next().await.expect("an answer");
        assert_eq!((&answer["id"], said(&answer)), (&json!(3), "done"));
        assert!(first.answer.next().await.is_none());
        assert_eq!(fake.kept_for_clients()[1], 0, "nothing is left of it");
    }
}

/// What is taken back and was never begun costs nothing, however much of it there is.
#[tokio::test(start_paused = true)]
async fn taking_back_what_nobody_works_on_ends() {
    let client = Client::new();
    let mut first = open(&client, None).await;
    let seen = introduce(&client, &mut first).await;
    // It stays, as the former one of the second.
    post(&client, &first, tool(2, "slow")).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let mut second = open(&client, Some(&seen)).await;
    for id in 1_000..1_300 {
        let notice = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
        post(&client, &second, notice.to_string()).await;
    }
    post(&client, &second, tool(3, "x")).await;
    let (_, answer) = second.answer.next().await.expect("an answer");
    assert_eq!(answer["id"], 3);
    tokio::time::sleep(std::time::Duration::from_secs(12)).await;
    let tried = || client.tools.fake.calls_by_name()["take a request back"];
    let before = tried();
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    assert_eq!(tried(), before);
    client.tools.go_on.notify_one();
    let (_, answer) = second.answer.next().await.expect("an answer");
    assert_eq!(answer["id"], 2);
}

/// The stream outlives the request that opened it, and its lines are that request's all the same.
#[test]
fn what_a_stream_logs_belongs_to_its_request() {
    let ((), lines) = logged(async {
        let client = Client::new();
        let mut stream = open(&client, None).await;
        introduce(&client, &mut stream).await;
        post(&client, &stream, tool(2, "slow")).await;
        let notice = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}});
        post(&client, &stream, notice.to_string()).await;
        post(&client, &stream, tool(3, "x")).await;
        stream.answer.next().await.expect("an answer");
    });
    assert!(lines.contains("a request was taken back"), "{lines}");
    assert!(!lines.contains("outside of a request"), "{lines}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_connects_again_goes_on_with_its_session() {
    let client = Client::new();
    let mut stream = open(&client, None).await;
    let seen = introduce(&client, &mut stream).await;
    // The stream ends by itself, between events, before its function has to.
    let begun = tokio::time::Instant::now();
    let mut last = String::new();
    while let Some(frame) = stream.answer.body.frame().await {
        let bytes = frame.expect("cannot fail").into_data().expect("data");
        last = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    }
    assert!(begun.elapsed() <= std::time::Duration::from_secs(100));
    assert!(last.ends_with("\n\n"));
    assert_eq!(
        post(&client, &stream, tool(2, "x")).await,
        StatusCode::ACCEPTED,
        "posts wait"
    );
    let mut again = open(&client, Some(&seen)).await;
    assert_eq!(again.messages, stream.messages);
    let (_, answer) = again
        .answer
        .next()
        .await
        .expect("the answer to the post that waited");
    assert_eq!(said(&answer), "at once");
}

#[tokio::test(start_paused = true)]
async fn the_newest_stream_of_a_client_is_the_one() {
    let client = Client::new();
    let mut old = open(&client, None).await;
    let seen = introduce(&client, &mut old).await;
    let mut new = open(&client, Some(&seen)).await;
    assert_eq!(
        post(&client, &new, tool(2, "x")).await,
        StatusCode::ACCEPTED
    );
    assert!(
        old.answer.next().await.is_none(),
        "it took nothing, and ended"
    );
    assert_eq!(
        said(&new.answer.next().await.expect("an answer").1),
        "at once"
    );
}

/// What a stream cannot finish it says, and says again to a client that had not heard it.
#[tokio::test(start_paused = true)]
async fn a_request_that_runs_over_the_end_is_answered() {
    let client = Client::new();
    let mut stream = open(&client, None).await;
    let seen = introduce(&client, &mut stream).await;
    post(&client, &stream, tool(2, "slow")).await;
    let (_, error) = stream.answer.next().await.expect("an answer");
    let expected = (&json!(2), &json!(-32603));
    assert_eq!((&error["id"], &error["error"]["code"]), expected);
    assert!(stream.answer.next().await.is_none());
    for _ in 0..2 {
        let mut again = open(&client, Some(&seen)).await;
        let (_, error) = again.answer.next().await.expect("the same again");
        assert_eq!((&error["id"], &error["error"]["code"]), expected);
    }
    // Nobody works on it any more.
    client.tools.go_on.notify_one();
    let mut again = open(&client, Some(&seen)).await;
    again.answer.next().await.expect("the same again");
    post(&client, &again, tool(3, "slow")).await;
    let (_, answer) = again.answer.next().await.expect("an answer");
    assert_eq!((&answer["id"], said(&answer)), (&json!(3), "done"));
}

/// What the first stream of a client began is answered on its third one, the second of which it
/// never heard of, and on no other.
#[tokio::test(start_paused = true)]
async fn a_request_that_runs_over_a_take_over_is_answered_on_the_new_stream() {
    let client = Client::new();
    let mut first = open(&client, None).await;
    let seen = introduce(&client, &mut first).await;
    post(&client, &first, tool(2, "slow")).await;
    // It runs.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let mut second = open(&client, Some(&seen)).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let mut third = open(&client, Some(&seen)).await;
    post(&client, &third, tool(3, "x")).await;
    let (_, answer) = third.answer.next().await.expect("an answer");
    assert_eq!((&answer["id"], said(&answer)), (&json!(3), "at once"));
    client.tools.go_on.notify_one();
    let (text, answer) = third.answer.next().await.expect("the answer");
    assert_eq!((&answer["id"], said(&answer)), (&json!(2), "done"));
    assert!(first.answer.next().await.is_none());
    assert!(second.answer.next().await.is_none());
    // Heard is heard.
    let mut fourth = open(&client, Some(&last_event(&text))).await;
    post(&client, &fourth, tool(4, "x")).await;
    let (_, answer) = fourth.answer.next().await.expect("an answer");
    assert_eq!(answer["id"], 4);
}

/// A connection that breaks stops nothing that it began.
#[tokio::test(start_paused = true)]
async fn a_client_that_was_away_gets_its_answer() {
    let client = Client::new();
    let mut stream = open(&client, None).await;
    let seen = introduce(&client, &mut stream).await;
    post(&client, &stream, tool(2, "slow")).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    drop(stream);
    client.tools.go_on.notify_one();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let mut again = open(&client, Some(&seen)).await;
    let (text, answer) = again.answer.next().await.expect("the answer");
    assert_eq!((&answer["id"], said(&answer)), (&json!(2), "done"));
    assert_eq!(last_event(&text), again.first.replace(".0", ".1"));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_posted_twice_is_answered_once() {
    let client = Client::new();
    let mut stream = open(&client, None).await;
    introduce(&client, &mut stream).await;
    for _ in 0..2 {
        post(&client, &stream, tool(2, "slow")).await;
    }
    // Both were taken when this one is answered.
    post(&client, &stream, tool(3, "x")).await;
    let (_, other) = stream.answer.next().await.expect("an answer");
    assert_eq!(other["id"], 3, "{other}");
    client.tools.go_on.notify_one();
    let (_, answer) = stream.answer.next().await.expect("an answer");
    assert_eq!((&answer["id"], said(&answer)), (&json!(2), "done"));
}

/// What the description of the deployment's parameter `SsePair` says that it costs: two reads a
/// second.
#[tokio::test(start_paused = true)]
async fn a_quiet_stream_looks_slowly() {
    let client = Client::new();
    let mut stream = open(&client, None).await;
    introduce(&client, &mut stream).await;
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let before = client.tools.fake.calls();
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let calls = client.tools.fake.calls() - before;
    assert!((100..=122).contains(&calls), "{calls} calls in a minute");
}

/// Whatever fails while a stream is held, with its effect or without, its requests are answered on it,
/// and once.
#[tokio::test(start_paused = true)]
async fn a_store_that_fails_once_costs_no_answer() {
    for (call, time) in (1..12).flat_map(|call| {
        [testkit::FaultTime::Before, testkit::FaultTime::After].map(|time| (call, time))
    }) {
        let client = Client::new();
        let mut stream = open(&client, None).await;
        introduce(&client, &mut stream).await;
        assert_eq!(
            post(&client, &stream, tool(2, "x")).await,
            StatusCode::ACCEPTED
        );
        client.tools.fake.fail_call(call, time);
        let (_, answer) = stream.answer.next().await.expect("an answer");
        assert_eq!(said(&answer), "at once", "call {call} {time:?}");
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        client.tools.fake.no_more_faults();
        post(&client, &stream, tool(3, "x")).await;
        let (_, answer) = stream.answer.next().await.expect("an answer");
        assert_eq!(answer["id"], 3, "call {call} {time:?}");
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        assert_eq!(
            client.tools.fake.kept_for_clients()[4],
            0,
            "no post is left"
        );
    }
}

/// Also when its client has another stream by the time at which the holder of the first could ask
/// again.
#[tokio::test(start_paused = true)]
async fn a_post_that_was_taken_and_never_came_is_answered() {
    for pause in (10..=210).step_by(40) {
        let client = Client::new();
        let mut first = open(&client, None).await;
        let seen = introduce(&client, &mut first).await;
        let after = testkit::FaultTime::After;
        client.tools.fake.fail_call_of("take messages", 1, after);
        post(&client, &first, tool(2, "x")).await;
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
        let mut second = open(&client, Some(&seen)).await;
        let (_, answer) = second.answer.next().await.expect("an answer");
        assert_eq!(answer["id"], 2, "{pause}");
    }
}

/// Whatever becomes of keeping an answer, with its effect or without: a client that connects again is
/// handed every answer that it was promised.
#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_whatever_became_of_the_one_before() {
    for time in [testkit::FaultTime::Before, testkit::FaultTime::After] {
        let client = Client::new();
        let mut stream = open(&client, None).await;
        let seen = introduce(&client, &mut stream).await;
        client.tools.fake.fail_call_of("keep a message", 1, time);
        for id in [2, 3] {
            post(&client, &stream, tool(id, "x")).await;
            let (_, answer) = stream.answer.next().await.expect("an answer");
            assert_eq!(answer["id"], id, "{time:?}");
        }
        assert!(!client.tools.fake.no_more_faults(), "it struck");
        drop(stream);
        let mut again = open(&client, Some(&seen)).await;
        loop {
            let (_, answer) = again.answer.next().await.expect("what was kept");
            if answer["id"] == 3 {
                break;
            }
        }
    }
}

/// Of a client that is not there either, an answer that cannot be kept is tried again.
#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_has_yet_is_not_forgotten() {
    let client = Client::new();
    let mut stream = open(&client, None).await;
    let seen = introduce(&client, &mut stream).await;
    post(&client, &stream, tool(2, "slow")).await;
    // Taken, when one that was posted later is answered.
    post(&client, &stream, tool(3, "x")).await;
    let (text, _) = stream.answer.next().await.expect("an answer");
    assert!(text.contains("id: mcp_"), "{text} after {seen}");
    let seen = last_event(&text);
    drop(stream);
    let fault = testkit::FaultTime::Before;
    client.tools.fake.fail_call_of("keep a message", 1, fault);
    client.tools.go_on.notify_one();
    let mut again = open(&client, Some(&seen)).await;
    let (_, answer) = again.answer.next().await.expect("the answer");
    assert_eq!((&answer["id"], said(&answer)), (&json!(2), "done"));
    assert!(!client.tools.fake.no_more_faults(), "it struck");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_belong_is_refused() {
    let client = Client::new();
    let mut stream = open(&client, None).await;
    let early = post(&client, &stream, tool(2, "x")).await;
    assert_eq!(early, StatusCode::ACCEPTED);
    let (_, refused) = stream.answer.next().await.expect("a refusal");
    assert_eq!(refused["error"]["code"], -32600);
    introduce(&client, &mut stream).await;
    let stranger = client.other("you");
    assert_eq!(
        post(&stranger, &stream, tool(3, "x")).await,
        StatusCode::NOT_FOUND
    );
    for (path, body, status) in [
        ("/messages", tool(4, "x"), StatusCode::NOT_FOUND),
        (
            "/messages?session_id=x",
            tool(4, "x"),
            StatusCode::NOT_FOUND,
        ),
        (
            stream.messages.as_str(),
            "{".to_owned(),
            StatusCode::BAD_REQUEST,
        ),
        (
            stream.messages.as_str(),
            "[]".to_owned(),
            StatusCode::BAD_REQUEST,
        ),
        (
            stream.messages.as_str(),
            r#"{"id":1}"#.to_owned(),
            StatusCode::BAD_REQUEST,
        ),
        (
            stream.messages.as_str(),
            r#"{"id":1,"result":{}}"#.to_owned(),
            StatusCode::ACCEPTED,
        ),
        (
            stream.messages.as_str(),
            "x".repeat(100_001),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
    ] {
        let answer = client.send(client.request(Method::POST, path, body)).await;
        assert_eq!(answer.status, status, "{path}");
    }
    for (method, path) in [
        (Method::POST, "/sse"),
        (Method::GET, "/messages"),
        (Method::DELETE, "/sse"),
    ] {
        let answer = client
            .send(client.request(method, path, String::new()))
            .await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    // Parameters of the wrong kind are an answer on the stream.
    post(
        &client,
        &stream,
        message(9, "tools/call", json!({"name": 7})),
    )
    .await;
    assert!(stream.answer.next().await.expect("an answer").1["error"].is_object());
}

#[tokio::test]
async fn where_it_is_off_it_says_so() {
    let client = Client::new();
    let sessions = ClientSessionSettings {
        days: 30,
        pair: false,
        pair_stream_seconds: 100,
    };
    let fake = client.tools.fake.clone();
    let instance: Instance = Edge::bridged(settings(), sessions, client.tools.clone(), fake);
    for (method, path) in [
        (Method::GET, "/sse"),
        (Method::POST, "/messages?session_id=x"),
    ] {
        let request = client.request(method, path, String::new());
        let answer = instance.handle(request, Some(principal("me"))).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
}
