//! Rounds with a client that comes again, over the fake store.

use proptest::prelude::*;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock, InputRequest};
use serde_json::json;
use testkit::Fake;

use super::*;

fn key() -> SigningKey {
    SigningKey::new(&[1; 32]).expect("long enough")
}

fn caller(name: &str) -> Caller {
    Caller {
        owner: OwnerId::of("testkit", name),
        client: None,
        way: Way::Again,
        capabilities: serde_json::from_value(json!({"elicitation": {}})).expect("capabilities"),
    }
}

fn question(text: &str) -> InputRequest {
    serde_json::from_value(json!({
        "method": "elicitation/create",
        "params": {
            "mode": "form",
            "message": text,
            "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}
        }
    }))
    .expect("an elicitation")
}

fn answered(name: &str) -> Value {
    json!({"action": "accept", "content": {"name": name}})
}

/// One request that asks two things, one after the other, and counts how often it got through.
struct Server {
    fake: Fake,
    runs: std::cell::Cell<u32>,
}

impl Server {
    fn new() -> Self {
        Self {
            fake: Fake::new(3),
            runs: std::cell::Cell::new(0),
        }
    }

    async fn call(
        &self,
        caller: Caller,
        subject: Value,
        responses: Option<Value>,
        state: Option<&str>,
    ) -> Result<CallToolResponse, ErrorData> {
        let key = key();
        let asks = Asks::new(&self.fake, &key);
        let round = Round {
            method: "tools/call",
            subject,
            responses: responses.map(|it| serde_json::from_value(it).expect("responses")),
            state: state.map(ToOwned::to_owned),
        };
        let asking = match asks.begin(caller, round).await? {
            Begun::Run(asking) => asking,
            Begun::Settled(outcome) => return Ok(outcome),
        };
        let outcome = async {
            let first = asking.ask("first", question("who?")).await?;
            let second = asking.ask("second", question("really?")).await?;
            self.runs.set(self.runs.get() + 1);
            let text = format!(
                "{} {} {}",
                first["content"]["name"],
                second["content"]["name"],
                self.runs.get()
            );
            Ok::<_, NotAnswered>(CallToolResult::success(vec![ContentBlock::text(text)]))
        };
        let outcome = match outcome.await {
            Ok(result) => result,
            Err(reason) => CallToolResult::error(vec![ContentBlock::text(reason.to_string())]),
        };
        asks.finish(asking, Ok(outcome.into())).await
    }

    /// Calls, and gives the keys that are asked and the state.
    async fn asked(&self, responses: Option<Value>, state: Option<&str>) -> (Vec<String>, String) {
        let outcome = self
            .call(caller("me"), json!({"a": 1}), responses, state)
            .await;
        let Ok(CallToolResponse::InputRequired(result)) = outcome else {
            panic!("it does not ask: {outcome:?}");
        };
        let keys = result.input_requests.expect("questions").into_keys();
        (keys.collect(), result.request_state.expect("a state"))
    }

    async fn text(&self, responses: Value, state: &str) -> String {
        let outcome = self
            .call(caller("me"), json!({"a": 1}), Some(responses), Some(state))
            .await;
        let Ok(CallToolResponse::Complete(result)) = outcome else {
            panic!("it is not complete: {outcome:?}");
        };
        serde_json::to_value(&result.content[0]).expect("JSON")["text"]
            .as_str()
            .expect("text")
            .to_owned()
    }
}

#[tokio::test]
async fn questions_are_asked_one_after_the_other_and_answers_kept() {
    let server = Server::new();
    let (keys, first) = server.asked(None, None).await;
    assert_eq!(keys, ["first"]);
    // Nothing that was asked: the same question again.
    let (keys, _) = server
        .asked(Some(json!({"x": answered("X")})), Some(&first))
        .await;
    assert_eq!(keys, ["first"]);
    // Answers without a state belong to nothing.
    let (keys, _) = server
        .asked(Some(json!({"first": answered("A")})), None)
        .await;
    assert_eq!(keys, ["first"]);
    let answers = json!({"first": answered("A"), "second": answered("not asked yet")});
    let (keys, second) = server.asked(Some(answers), Some(&first)).await;
    assert_eq!(keys, ["second"]);
    let text = server.text(json!({"second": answered("B")}), &second).await;
    assert_eq!(text, "\"A\" \"B\" 1");
    // The same again is not done again; what came of the first round stays, too.
    let text = server.text(json!({"second": answered("B")}), &second).await;
    assert_eq!(text, "\"A\" \"B\" 1");
    let (keys, again) = server
        .asked(Some(json!({"first": answered("A")})), Some(&first))
        .await;
    assert_eq!((keys, again), (vec!["second".to_owned()], second.clone()));
    // Other answers are refused.
    let other = server
        .call(
            caller("me"),
            json!({"a": 1}),
            Some(json!({"second": answered("C")})),
            Some(&second),
        )
        .await;
    let error = other.expect_err("answered already");
    assert_eq!(error.code.0, -32602);
    assert!(error.message.contains("answered before"), "{error}");
    assert_eq!(server.runs.get(), 1);
}

#[tokio::test]
async fn a_state_is_good_for_one_caller_one_request_and_one_hour() {
    let server = Server::new();
    let (_, state) = server.asked(None, None).await;
    let answers = Some(json!({"first": answered("A")}));
    for (who, subject) in [("you", json!({"a": 1})), ("me", json!({"a": 2}))] {
        let refused = server
            .call(caller(who), subject, answers.clone(), Some(&state))
            .await;
        assert_eq!(refused.expect_err("foreign").code.0, -32602, "{who}");
    }
    server.fake.clock().advance(limits::ROUND_MILLISECONDS + 1);
    let refused = server
        .call(caller("me"), json!({"a": 1}), answers, Some(&state))
        .await;
    assert!(refused.expect_err("late").message.contains("expired"));
    assert_eq!(server.fake.kept_for_clients(), [0; 6]);
}

#[tokio::test]
async fn who_cannot_be_asked_is_not() {
    let server = Server::new();
    for (way, capabilities) in [
        (Way::Again, json!({})),
        (Way::Again, json!({"elicitation": {"url": {}}})),
        (Way::None, json!({"elicitation": {}})),
    ] {
        let caller = Caller {
            way,
            capabilities: serde_json::from_value(capabilities).expect("capabilities"),
            ..caller("me")
        };
        let outcome = server.call(caller, json!({}), None, None).await;
        let Ok(CallToolResponse::Complete(result)) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(result.is_error, Some(true));
    }
}

/// Cut off anywhere, before or after its effect, repeating the request gets through, once.
#[tokio::test]
async fn whatever_fails_repeating_gives_the_recorded_outcome() {
    for call in 1.. {
        for time in [testkit::FaultTime::Before, testkit::FaultTime::After] {
            let server = Server::new();
            let (_, first) = server.asked(None, None).await;
            let (_, second) = server
                .asked(Some(json!({"first": answered("A")})), Some(&first))
                .await;
            server.fake.fail_call(call, time);
            let answers = Some(json!({"second": answered("B")}));
            let outcome = server
                .call(caller("me"), json!({"a": 1}), answers, Some(&second))
                .await;
            if server.fake.no_more_faults() {
                return;
            }
            if let Err(error) = outcome {
                assert_eq!(error.code.0, -32603);
            }
            let text = server.text(json!({"second": answered("B")}), &second).await;
            assert!(text.starts_with("\"A\" \"B\""), "{text}");
            let again = server.text(json!({"second": answered("B")}), &second).await;
            assert_eq!(text, again);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_as_a_state_are_refused(state in ".{0,200}") {
        let server = Server::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let refused = runtime.block_on(server.call(caller("me"), json!({}), None, Some(&state)));
        prop_assert_eq!(refused.expect_err("no state").code.0, -32602);
    }

    #[test]
    fn the_order_of_keys_makes_no_other_request(entries in prop::collection::hash_map("[a-c]{1,3}", 0..9_i32, 0..5)) {
        let one: Value = entries.iter().map(|(name, value)| (name.clone(), json!({"v": value, "w": 1}))).collect();
        let mut reversed: Vec<_> = entries.into_iter().collect();
        reversed.reverse();
        let other: Value = reversed.into_iter().map(|(name, value)| (name, json!({"w": 1, "v": value}))).collect();
        prop_assert_eq!(digest(&one), digest(&other));
    }
}
