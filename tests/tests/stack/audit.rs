//! The audit of a real session: what it was denied and who was refused is in it, it holds, and what
//! somebody takes away from the table is found.

use std::time::{Duration, Instant};

use std::collections::BTreeMap;

use domain::ports::Erasure;
use domain::{OwnerId, SessionId, SessionKey};
use e2e::alarms::fires;
use e2e::script;
use e2e::session::Session;
use e2e::stack::{self, Options, Stack};
use serde_json::{Value, json};
use store::{Endpoint, Store, StoreSettings};

/// The stream is read within seconds, refusals become entries when their minute is over.
const PATIENCE: Duration = Duration::from_secs(240);

/// Asks until there is such an entry.
async fn entry(
    client: &e2e::mcp::Client,
    question: Value,
    is_it: impl Fn(&Value) -> bool,
) -> Value {
    let start = Instant::now();
    loop {
        let answer = client.call("query_audit", question.clone()).await;
        let entries = answer["entries"].as_array().expect("entries");
        if let Some(found) = entries.iter().find(|entry| is_it(entry)) {
            return found.clone();
        }
        assert!(start.elapsed() < PATIENCE, "{question}: {answer}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn verify(stack: &Stack) -> (Option<i32>, String) {
    let state = stack.state.display().to_string();
    let arguments = ["audit", "verify", "--state", &state];
    let output = stack::run_emulator(&arguments, &Options::default());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_is_in_the_audit_and_what_is_taken_away_is_found() {
    let stack = Stack::start(&Options::default().with("SHANNON_TRUSTED_PROXIES", "127.0.0.1"));
    let client = stack.client();
    let other = stack
        .client()
        .with_token(Some("not-the-token-of-this-stack"));
    // As nginx on this machine says for whom it asks.
    let (mut headers, body) = other.prepare("tools/list", json!({}));
    headers.push(("x-forwarded-for".to_owned(), "203.0.113.7".to_owned()));
    let refused = other.post(headers, body.to_string()).await;
    assert_eq!(refused.status, 401);

    let steps = [script::bash("sudo id"), script::text("done")];
    let mut session = Session::scripted(&client, &steps).await;
    session.until_turns_ended(1).await;
    session.cancel().await;
    let denials = json!({"session_id": session.id, "kinds": ["denial"]});
    let denied = entry(&client, denials, |_| true).await;
    let fact = &denied["facts"][0];
    assert_eq!(
        (&fact["tool"], &fact["kind"]),
        (&json!("Bash"), &json!("denial"))
    );
    assert!(fact["policies"][0].is_string(), "{fact}");
    assert!(!denied.to_string().contains("sudo"), "{denied}");
    let ends = json!({"session_id": session.id, "kinds": ["end"]});
    let end = entry(&client, ends, |_| true).await;
    assert_eq!(end["facts"][0]["outcome"], "cancelled");

    let (code, said) = verify(&stack);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("all of it holds\n"), "{said}");

    let deployment = json!({"deployment": true});
    let counted = entry(&client, deployment, |entry| entry["subject"] == "refused").await;
    assert_eq!(counted["source"], "203.0.113.7");

    // Somebody with the table's keys takes the log away, and nothing says that it was erased.
    let key = SessionKey {
        // Of everybody who has the token of a stack.
        owner: OwnerId::of("shannon", "access-token"),
        session: SessionId::parse(&session.id).expect("an id"),
    };
    let store = store(&stack).await;
    assert!(store.erase_rows(&key, 100).await.expect("erased") > 0);
    let (code, said) = verify(&stack);
    assert_eq!(code, Some(1), "{said}");
    let named = format!("{}: events 1 to ", session.id);
    assert!(
        said.contains(&named) && said.contains("are missing"),
        "{said}"
    );
    fires(&stack, "AuditChainBroken", 0, &BTreeMap::new());
}

/// The table, past the functions.
async fn store(stack: &Stack) -> Store {
    let (access_key_id, secret_access_key) = stack.operator_key();
    let settings = StoreSettings {
        table: "shannon-sessiontable".to_owned(),
        bucket: "shannon-bucket".to_owned(),
        retention_days: 90,
        keep_deltas_hours: 24,
        audit_retention_days: 30,
        compute: None,
    };
    let endpoint = Endpoint {
        url: stack.aws_url(),
        region: "us-east-1".to_owned(),
        access_key_id,
        secret_access_key,
    };
    Store::connect_to(settings, endpoint).await
}
