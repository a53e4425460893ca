//! Questions that go out on one instance and whose answers reach another.

use domain::limits::ANSWER_MILLISECONDS;

use super::*;

fn reply(question: &Value, name: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"name": name}}})
}

/// Lets what runs beside this test come to rest.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Moves the time on until somebody speaks.
async fn heard(client: &Client, answer: &mut Answer) -> Value {
    let clock = client.clock().clone();
    let next = answer.next();
    tokio::pin!(next);
    loop {
        tokio::select! {
            biased;
            message = &mut next => return message.expect("a message").1,
            () = settle() => clock.advance(200),
        }
    }
}

#[tokio::test]
async fn an_answer_reaches_the_instance_that_waits() {
    let client = Client::introduced().await;
    client.clock().hold();
    let mut answer = client.tool("greet").await;
    assert_eq!(answer.headers[CONTENT_TYPE], "text/event-stream");
    let (_, question) = answer.next().await.expect("a question");
    assert_eq!(question["method"], "elicitation/create");
    assert_eq!(question["params"]["message"], "Who are you?");
    // Neither a stranger's reply nor one to another question counts.
    let stranger = client.other("you").post(reply(&question, "stranger")).await;
    assert_eq!(stranger.status, StatusCode::NOT_FOUND);
    let mut wrong = reply(&question, "wrong");
    wrong["id"] = "ask_aaaaaaaaaaaaaaaaaaaaaaaaaa".into();
    assert_eq!(client.post(wrong).await.status, StatusCode::ACCEPTED);
    for name in ["Ann", "Ann", "Bob"] {
        // The first counts; repeating it or changing one's mind does nothing.
        assert_eq!(
            client.post(reply(&question, name)).await.status,
            StatusCode::ACCEPTED
        );
    }
    let result = heard(&client, &mut answer).await;
    assert_eq!(said(&result), "hello \"Ann\"");
    assert_eq!(result["id"], 5);
    assert!(answer.next().await.is_none());
}

#[tokio::test]
async fn a_question_that_nobody_answers_is_withdrawn_after_two_minutes() {
    let client = Client::introduced().await;
    client.clock().hold();
    let mut answer = client.tool("greet").await;
    let begun = client.clock().now();
    let (_, question) = answer.next().await.expect("a question");
    let withdrawn = heard(&client, &mut answer).await;
    assert_eq!(withdrawn["method"], "notifications/cancelled");
    assert_eq!(withdrawn["params"]["requestId"], question["id"]);
    let result = heard(&client, &mut answer).await;
    assert_eq!(said(&result), "nobody answered within 120 seconds");
    let waited = client.clock().now().since(begun);
    assert!(
        (ANSWER_MILLISECONDS..ANSWER_MILLISECONDS + 10_000).contains(&waited),
        "{waited}"
    );
}

#[tokio::test]
async fn a_refused_question_is_no_answer() {
    let client = Client::introduced().await;
    client.clock().hold();
    let mut answer = client.tool("greet").await;
    let (_, question) = answer.next().await.expect("a question");
    let refused =
        json!({"jsonrpc": "2.0", "id": question["id"], "error": {"code": -1, "message": "no"}});
    client.post(refused).await;
    assert_eq!(
        said(&heard(&client, &mut answer).await),
        "the question did not reach you"
    );
}

#[tokio::test]
async fn who_did_not_say_so_is_not_asked() {
    for capabilities in [json!({}), json!({"elicitation": {"url": {}}})] {
        let mut client = Client::new();
        client.introduce(capabilities).await;
        let answer = client.tool("greet").await.json().await;
        assert_eq!(said(&answer), "this client cannot ask you");
    }
}

/// The instance dies while its client is asked: the client's reply is taken, and asking anew works
/// on the next instance.
#[tokio::test]
async fn an_instance_may_die_while_it_asks() {
    let client = Client::introduced().await;
    client.clock().hold();
    let question = {
        let dying = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let client = client.other("me");
        // Another thread, as this one has a runtime already; everything in it dies with it.
        std::thread::spawn(move || {
            dying.block_on(async {
                let mut answer = client.tool("greet").await;
                answer.next().await.expect("a question").1
            })
        })
        .join()
        .expect("it asked")
    };
    assert_eq!(
        client.post(reply(&question, "Ann")).await.status,
        StatusCode::ACCEPTED
    );
    let mut again = client.tool("greet").await;
    let (_, question) = again.next().await.expect("the question again");
    client.post(reply(&question, "Ann")).await;
    assert_eq!(said(&heard(&client, &mut again).await), "hello \"Ann\"");
}
