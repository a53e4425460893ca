//! API keys, made and taken back with the command line, on the whole stack.

use e2e::script;
use e2e::stack::{self, Options, Stack};
use serde_json::{Value, json};

/// `emulator key ARGUMENTS`: its exit code, standard output, and what it said.
fn key(stack: &Stack, arguments: &[&str]) -> (Option<i32>, String, String) {
    let state = stack.state.display().to_string();
    let arguments = [&["key"], arguments, &["--state", &state]].concat();
    let output = stack::run_emulator(&arguments, &Options::default());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Makes a key and gives it with its id.
fn make(stack: &Stack, arguments: &[&str]) -> (String, String) {
    let arguments = [&["create"], arguments, &["--json"]].concat();
    let (code, made, said) = key(stack, &arguments);
    assert_eq!(code, Some(0), "{said}");
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    (text("key"), text("id"))
}

async fn status(stack: &Stack, token: &str) -> u16 {
    let client = stack.client().with_token(Some(token));
    client.request("tools/list", json!({})).await.status
}

fn no_cache() -> Options {
    Options::default().with("SHANNON_AUTHORIZATION_CACHE_SECONDS", "0")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_what_it_allows_until_it_is_revoked() {
    let stack = Stack::start(&no_cache());
    let (code, listed, _) = key(&stack, &["list"]);
    assert_eq!((code, listed.as_str()), (Some(0), "there are no keys\n"));
    // Standard output is the key and nothing else.
    let (code, printed, said) = key(&stack, &["create", "laptop", "--days", "2"]);
    assert_eq!(code, Some(0), "{said}");
    let token = printed.trim_end();
    assert!(token.starts_with("shn_") && token.len() == 90, "{printed}");
    assert!(!said.contains(token), "{said}");

    // A developer's: it works and does not approve, nor look after anything.
    let client = stack.client().with_token(Some(token));
    let created = client
        .call(
            "create_session",
            json!({"prompt": script::prompt(&[script::text("hi")])}),
        )
        .await;
    let id = json!({"session_id": created["session_id"]});
    assert_eq!(
        stack.client().call("get_session", id).await["session_id"],
        created["session_id"],
        "an administrator's own sessions"
    );
    let tools = client.request("tools/list", json!({})).await.body;
    assert!(tools.contains("create_session") && !tools.contains("query_audit"));
    for path in ["/policies", "/keys"] {
        let url = format!("{}{path}", stack.url());
        let answer = client.http().get(url).bearer_auth(token).send().await;
        assert_eq!(answer.expect("an answer").status(), 403, "{path}");
    }

    // Somebody else sees nothing of that.
    let (other, _) = make(&stack, &["phone", "--person", "ann", "--role", "viewer"]);
    let ann = stack.client().with_token(Some(&other));
    let theirs = ann.call("list_sessions", json!({})).await;
    assert_eq!(theirs["sessions"], json!([]));

    let (code, listed, _) = key(&stack, &["list"]);
    assert_eq!((code, listed.lines().count()), (Some(0), 2), "{listed}");
    let line = listed.lines().find(|line| line.contains("laptop"));
    let line = line.expect("it is listed");
    assert!(
        line.contains("sessions:read,sessions:write") && line.contains("used 20"),
        "{line}"
    );
    assert!(!listed.contains("shn_"), "{listed}");
    let id = line.split(' ').next().expect("an id");
    let (code, said, _) = key(&stack, &["revoke", id]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(status(&stack, token).await, 401);
    assert_eq!(status(&stack, &other).await, 200);
    let (_, listed, _) = key(&stack, &["list"]);
    assert!(listed.contains("revoked 20"), "{listed}");
    let (code, _, said) = key(&stack, &["revoke", "key_aaaaaaaaaaaaaaaaaaaaaaaaaa"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no key of this id"), "{said}");

    // Both changes are in the audit, which has nothing that opens anything.
    let audit = stack
        .client()
        .call("query_audit", json!({"deployment": true}))
        .await;
    let entries = audit["entries"].as_array().expect("entries");
    let about = entries.iter().filter(|entry| entry["key_id"] == id);
    let about: Vec<&Value> = about.collect();
    assert_eq!(about.len(), 2, "{audit}");
    assert_eq!(about[0]["removed"], true, "the newest first");
    assert_eq!(about[1]["key_name"], "laptop");
    let secret = token.rsplit('_').next().expect("a secret");
    assert!(!audit.to_string().contains(secret));
    assert!(!stack.logs().contains(secret), "no log has it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_passes_for_as_long_as_answers_are_kept() {
    // With the default the answer from before is still there.
    for (options, expected) in [(no_cache(), 401), (Options::default(), 200)] {
        let stack = Stack::start(&options);
        let (token, id) = make(&stack, &["ci"]);
        assert_eq!(status(&stack, &token).await, 200);
        let (code, _, said) = key(&stack, &["revoke", &id]);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(status(&stack, &token).await, expected);
        assert_eq!(status(&stack, "shn_other").await, 401);
    }
}
