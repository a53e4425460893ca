//! The offline model over HTTP: each step of its script language, streamed and not, and what it
//! refuses.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use emulator::offline_model::{OfflineModel, OfflineReason};
use serde_json::{Value, json};

/// reqwest wants a TLS provider as soon as any crate of the workspace asks it for TLS.
fn http() -> reqwest::Client {
    // an error says that there is one already
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

struct Client {
    model: OfflineModel,
    http: reqwest::Client,
}

impl Client {
    async fn start() -> Self {
        Self {
            model: OfflineModel::start(OfflineReason::NoKey).await.unwrap(),
            http: http(),
        }
    }

    fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}{path}", self.model.url()))
            .header("x-api-key", self.model.key())
    }

    async fn send(&self, prompt: &str, stream: bool) -> reqwest::Response {
        let messages = json!([{"role": "user", "content": prompt}]);
        self.send_all(&messages, stream).await
    }

    async fn send_all(&self, messages: &Value, stream: bool) -> reqwest::Response {
        self.post("/v1/messages?beta=true")
            .json(&json!({"model": "claude-test", "max_tokens": 100, "stream": stream, "messages": messages}))
            .send()
            .await
            .unwrap()
    }

    async fn answer(&self, prompt: &str) -> Value {
        let response = self.send(prompt, false).await;
        assert_eq!(response.status(), 200, "{prompt}");
        response.json().await.unwrap()
    }

    async fn events(&self, prompt: &str) -> Vec<Value> {
        let response = self.send(prompt, true).await;
        assert_eq!(response.status(), 200, "{prompt}");
        assert_eq!(
            response.headers()["content-type"],
            "text/event-stream; charset=utf-8"
        );
        parse(&response.text().await.unwrap())
    }
}

fn parse(stream: &str) -> Vec<Value> {
    stream
        .split("\n\n")
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (event, data) = part.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(event.strip_prefix("event: ").unwrap(), data["type"]);
            data
        })
        .collect()
}

/// Puts a message together from its events, as a client does.
fn assembled(events: &[Value]) -> (Vec<Value>, Value) {
    let mut blocks: Vec<Value> = Vec::new();
    let mut input = String::new();
    let mut stop = Value::Null;
    for event in events {
        let delta = &event["delta"];
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(event["index"], blocks.len());
                blocks.push(event["content_block"].clone());
                input.clear();
            }
            "content_block_delta" => {
                let block = blocks.last_mut().unwrap();
                for name in ["text", "thinking", "signature"] {
                    if let Some(part) = delta[name].as_str() {
                        block[name] = json!(format!("{}{part}", block[name].as_str().unwrap()));
                    }
                }
                if let Some(part) = delta["partial_json"].as_str() {
                    input.push_str(part);
                    if let Ok(whole) = serde_json::from_str::<Value>(&input) {
                        block["input"] = whole;
                    }
                }
            }
            "message_delta" => stop = delta["stop_reason"].clone(),
            _ => {}
        }
    }
    (blocks, stop)
}

#[tokio::test]
async fn text_streams_in_the_order_of_the_api() {
    let client = Client::start().await;
    let events = client.events("please @@TEXT:hällo").await;
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    assert_eq!(events[0]["message"]["model"], "claude-test");
    assert_eq!(
        assembled(&events),
        (
            vec![json!({"type": "text", "text": "hällo"})],
            json!("end_turn")
        )
    );
}

#[tokio::test]
async fn replies_are_the_same_streamed_and_whole() {
    let client = Client::start().await;
    for (script, content, stop) in [
        (
            "@@TEXT:hi",
            json!([{"type": "text", "text": "hi"}]),
            "end_turn",
        ),
        (
            r#"@@TOOL:Bash:{"command":"a;;b"}"#,
            json!([
                {"type": "text", "text": "I will use Bash."},
                {"type": "tool_use", "name": "Bash", "input": {"command": "a;;b"}}
            ]),
            "tool_use",
        ),
        (
            r#"@@TOOLS:[{"name":"A"},{"name":"B","input":{"n":1}}]"#,
            json!([
                {"type": "tool_use", "name": "A", "input": {}},
                {"type": "tool_use", "name": "B", "input": {"n": 1}}
            ]),
            "tool_use",
        ),
        (
            "@@MAXTOK:cut",
            json!([{"type": "text", "text": "cut"}]),
            "max_tokens",
        ),
        (
            "@@REFUSE",
            json!([{"type": "text", "text": "no"}]),
            "refusal",
        ),
        (
            "@@SLOW:3:1",
            json!([{"type": "text", "text": "word0 word1 word2 "}]),
            "end_turn",
        ),
        (
            "@@BIG:20000",
            json!([{"type": "text", "text": "x".repeat(20_000)}]),
            "end_turn",
        ),
        (
            "@@THINK:why|because",
            json!([{"type": "thinking", "thinking": "why"}, {"type": "text", "text": "because"}]),
            "end_turn",
        ),
    ] {
        let whole = client.answer(script).await;
        let (streamed, streamed_stop) = assembled(&client.events(script).await);
        for mut blocks in [whole["content"].as_array().unwrap().clone(), streamed] {
            for block in &mut blocks {
                let block = block.as_object_mut().unwrap();
                if block["type"] == "tool_use" {
                    assert!(
                        block
                            .remove("id")
                            .unwrap()
                            .as_str()
                            .unwrap()
                            .starts_with("toolu_")
                    );
                }
                if block["type"] == "thinking" {
                    assert!(
                        !block
                            .remove("signature")
                            .unwrap()
                            .as_str()
                            .unwrap()
                            .is_empty()
                    );
                }
            }
            assert_eq!(Value::Array(blocks), content, "{script}");
        }
        assert_eq!(whole["stop_reason"], stop);
        assert_eq!(streamed_stop, stop);
        assert!(whole["usage"]["output_tokens"].as_u64().unwrap() >= 1);
    }
}

#[tokio::test]
async fn the_conversation_decides_the_step() {
    let client = Client::start().await;
    let text = |answer: &Value| answer["content"][0]["text"].as_str().unwrap().to_owned();
    let mut messages = vec![json!({"role": "user", "content": "@@TEXT:one;;TEXT:two"})];
    for expected in ["one", "two", "done", "done"] {
        let answer: Value = client
            .send_all(&json!(messages), false)
            .await
            .json()
            .await
            .unwrap();
        assert_eq!(text(&answer), expected);
        messages.push(json!({"role": "assistant", "content": answer["content"]}));
        messages.push(json!({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "x", "content": "ok"}]}));
    }
}

#[tokio::test]
async fn a_prompt_without_a_script_is_answered_plainly() {
    let client = Client::start().await;
    let answer = client.answer("What is 1+1?").await;
    let text = answer["content"][0]["text"].as_str().unwrap();
    for part in [
        "offline model",
        "ANTHROPIC_API_KEY",
        "What is 1+1?",
        "@@TOOL:Write:",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let asked = OfflineModel::start(OfflineReason::Asked).await.unwrap();
    let answer: Value = client
        .http
        .post(format!("{}/v1/messages", asked.url()))
        .header("x-api-key", asked.key())
        .json(
            &json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}),
        )
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(
        answer["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("--offline")
    );
}

#[tokio::test]
async fn errors_have_the_shape_of_the_api() {
    let client = Client::start().await;
    for (status, kind) in [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ] {
        let response = client.send(&format!("@@ERR:{status}"), true).await;
        assert_eq!(response.status(), status);
        assert!(response.headers().contains_key("request-id"));
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["type"], "error");
        assert_eq!(body["error"]["type"], kind);
    }
}

#[tokio::test]
async fn failing_steps_fail_as_often_as_they_say_for_each_session() {
    let client = Client::start().await;
    let script = "@@ERRN:529:2:ERRH:429:retry-after=7:1:TEXT:ok";
    let attempt = async |session: &str| {
        let response = client
            .post("/v1/messages")
            .header("x-claude-code-session-id", session)
            .json(&json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": script}]}))
            .send()
            .await
            .unwrap();
        let retry_after = response
            .headers()
            .get("retry-after")
            .map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), retry_after)
    };
    let expected = [
        (529, None),
        (529, None),
        (429, Some("7".to_owned())),
        (200, None),
        (200, None),
    ];
    for (number, expected) in expected.into_iter().enumerate() {
        assert_eq!(attempt("one").await, expected, "attempt {number}");
    }
    assert_eq!(
        attempt("two").await,
        (529, None),
        "another session counts for itself"
    );
}

#[tokio::test]
async fn cut_streams_are_cut_and_then_work() {
    let client = Client::start().await;
    for script in ["@@DROP", "@@STALL:0.05"] {
        let response = client.send(script, true).await;
        assert_eq!(response.status(), 200);
        response.text().await.expect_err(script);
        let whole = client.answer(script).await;
        assert_eq!(
            whole["stop_reason"], "end_turn",
            "an answer that is not streamed is whole"
        );
    }
    let script = "@@DROPN:1:TEXT:ok";
    client.send(script, true).await.text().await.unwrap_err();
    let (blocks, _) = assembled(&client.events(script).await);
    assert_eq!(blocks[0]["text"], "ok");
}

#[tokio::test]
async fn a_cut_stream_delivers_what_came_before() {
    use futures_util::StreamExt as _;
    let client = Client::start().await;
    let mut parts = client.send("@@DROP", true).await.bytes_stream();
    let mut received = Vec::new();
    loop {
        match parts.next().await {
            Some(Ok(bytes)) => received.extend_from_slice(&bytes),
            Some(Err(_)) => break,
            None => panic!("the stream ended as if it were whole"),
        }
    }
    let events = parse(std::str::from_utf8(&received).unwrap());
    assert_eq!(
        events.last().unwrap()["delta"]["text"],
        "partial text that is cut"
    );
}

#[tokio::test]
async fn an_error_event_ends_the_stream() {
    let client = Client::start().await;
    let events = client.events("@@SSEERR:overloaded_error").await;
    let last = events.last().unwrap();
    assert_eq!(last["type"], "error");
    assert_eq!(last["error"]["type"], "overloaded_error");
    assert!(
        events
            .iter()
            .any(|event| event["type"] == "content_block_delta")
    );
}

#[tokio::test]
async fn waits_are_waited() {
    let client = Client::start().await;
    let begin = Instant::now();
    let response = client.send("@@SLEEP:0.2:TEXT:late", true).await;
    assert!(
        begin.elapsed() >= Duration::from_millis(200),
        "the headers come after the wait"
    );
    assert!(response.text().await.unwrap().contains("late"));
    let begin = Instant::now();
    client.events("@@SLOW:4:50").await;
    assert!(begin.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn only_the_holder_of_the_key_is_answered() {
    let client = Client::start().await;
    for key in [None, Some("sk-ant-else"), Some("")] {
        for path in ["/v1/messages", "/v1/messages/count_tokens", "/nothing"] {
            let mut request = client
                .http
                .post(format!("{}{path}", client.model.url()))
                .body("{}");
            if let Some(key) = key {
                request = request.header("x-api-key", key);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 401);
            let body: Value = response.json().await.unwrap();
            assert_eq!(body["error"]["type"], "authentication_error");
        }
    }
    assert!(client.model.key().len() >= 40);
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let client = Client::start().await;
    let large = "x".repeat(33 * 1024 * 1024);
    for (body, status, part) in [
        ("{", 400, "not valid JSON"),
        ("[]", 400, "not a JSON object"),
        (
            r#"{"model":"m","max_tokens":1,"messages":[]}"#,
            400,
            "at least one message",
        ),
        (
            r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"@@NOSUCH:x"}]}"#,
            400,
            "`NOSUCH:x` is not a step",
        ),
        (large.as_str(), 413, "32 MiB"),
    ] {
        let response = client
            .post("/v1/messages")
            .body(body.to_owned())
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{part}");
        let body: Value = response.json().await.unwrap();
        assert!(
            body["error"]["message"].as_str().unwrap().contains(part),
            "{body}"
        );
    }
    let response = client.post("/v1/nothing").send().await.unwrap();
    assert_eq!(response.status(), 404);
    let response = client.post("/v1/models").send().await.unwrap();
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn tokens_and_models_are_told() {
    let client = Client::start().await;
    let count = async |text: String| {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": text}]});
        let response = client
            .post("/v1/messages/count_tokens")
            .json(&body)
            .send()
            .await
            .unwrap();
        let body: Value = response.json().await.unwrap();
        body["input_tokens"].as_u64().unwrap()
    };
    assert!(count("x".repeat(4000)).await > count("x".to_owned()).await + 900);
    let models: Value = client
        .http
        .get(format!("{}/v1/models", client.model.url()))
        .header("x-api-key", client.model.key())
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(models["data"][0]["type"], "model");
}

#[tokio::test]
async fn shutdown_closes_the_port() {
    let client = Client::start().await;
    let url = client.model.url();
    client.model.shutdown().await;
    let refused = http()
        .get(format!("{url}/v1/models"))
        .send()
        .await
        .unwrap_err();
    assert!(refused.is_connect());
}
