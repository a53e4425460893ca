//! Calls on which a person decides, on the whole stack: asked by the real CLI, shown on the page,
//! decided in a browser.

use e2e::process;
use e2e::script;
use e2e::session::Session;
use e2e::stack::{self, Options, Stack};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

async fn reviewed<'client>(
    client: &'client e2e::mcp::Client,
    steps: &[String],
    mode: &str,
) -> Session<'client> {
    let arguments = json!({"prompt": script::prompt(steps), "permission_mode": mode});
    Session::create(client, arguments).await
}

/// What the CLI says of a command that says nothing.
const NO_OUTPUT: &str = "(Bash completed with no output)";

fn url(approval: &Value) -> &str {
    approval["url"].as_str().expect("an address")
}

#[tokio::test]
async fn a_person_decides_on_the_page_and_the_session_goes_on() {
    let stack = stack::shared();
    let client = stack.client();
    let mut person = stack.approver();
    let steps = [
        script::bash("touch allowed"),
        script::bash("touch denied"),
        script::bash("touch edited-not"),
        script::bash("ls"),
        script::text("done"),
    ];
    let mut session = reviewed(&client, &steps, "review").await;
    let first = session.until_asked(None).await;
    // Without a login the page shows nothing of it.
    let closed = person.open(url(&first)).await;
    assert_eq!(closed.status, 401);
    assert!(!closed.text.contains("allowed"), "{}", closed.text);
    person.log_in(url(&first)).await;
    let page = person.open(url(&first)).await;
    assert_eq!(page.status, 200, "{}", page.text);
    for shown in ["touch allowed", "Allow once", "follow the script"] {
        assert!(page.text.contains(shown), "{shown} in {}", page.text);
    }
    let decided = person
        .send_form(url(&first), &page, "allow_once", &[])
        .await;
    assert_eq!(decided.status, 303, "{}", decided.text);
    let second = session.until_asked(Some(&first)).await;
    // The address of one approval is not that of another, and a decision counts once.
    let page = person.open(url(&first)).await;
    assert!(page.text.contains("Allowed once"), "{}", page.text);
    let reason = [("reason", "the weather is bad")];
    assert_eq!(
        person.decide(url(&second), "deny", &reason).await.status,
        303
    );
    let third = session.until_asked(Some(&second)).await;
    let command = [("command", "touch edited")];
    let decided = person.decide(url(&third), "allow_edited", &command).await;
    assert_eq!(decided.status, 303, "{}", decided.text);
    session.until_turns_ended(1).await;
    let results = session.tool_results();
    assert!(results[1].contains("the weather is bad"), "{results:?}");
    assert_eq!(results[3].trim(), "allowed\nedited", "{results:?}");
    assert_eq!(session.of_kind("approval_decided").len(), 3);
    let listed = client
        .call("list_approvals", json!({"session_id": session.id}))
        .await;
    assert_eq!(listed["approvals"], json!([]));
    session.cancel().await;
    let gone = person.open(url(&third)).await;
    assert!(gone.text.contains("Allowed once"), "{}", gone.text);
}

#[tokio::test]
async fn two_approvers_at_once_decide_once() {
    let stack = stack::shared();
    let client = stack.client();
    let steps = [script::bash("touch made"), script::text("done")];
    let mut session = reviewed(&client, &steps, "review").await;
    let asked = session.until_asked(None).await;
    let (mut one, mut other) = (stack.approver(), stack.approver());
    one.log_in(url(&asked)).await;
    other.log_in(url(&asked)).await;
    let (first, second) = (one.open(url(&asked)).await, other.open(url(&asked)).await);
    let decided = tokio::join!(
        one.send_form(url(&asked), &first, "allow_once", &[]),
        other.send_form(url(&asked), &second, "deny", &[])
    );
    let mut statuses = [decided.0.status, decided.1.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 409], "{decided:?}");
    session.until_turns_ended(1).await;
    let kinds = session.of_kind("approval_decided");
    assert_eq!(kinds.len(), 1);
    let allowed = decided.0.status == 303;
    assert_eq!(kinds[0]["decision"] == "allow_once", allowed);
    assert_eq!(session.of_kind("tool_result")[0]["is_error"], !allowed);
    session.cancel().await;
}

#[tokio::test]
async fn calls_of_one_message_are_asked_about_one_after_the_other() {
    let stack = stack::shared();
    let client = stack.client();
    let mut person = stack.approver();
    let call = |command: &str| json!({"name": "Bash", "input": {"command": command}});
    let calls = json!([call("touch one"), call("touch two"), call("ls -a")]);
    let steps = [
        format!("TOOLS:{calls}"),
        script::bash("ls"),
        script::text("done"),
    ];
    let mut session = reviewed(&client, &steps, "review").await;
    let first = session.until_asked(None).await;
    person.decide(url(&first), "allow_once", &[]).await;
    let second = session.until_asked(Some(&first)).await;
    person.decide(url(&second), "deny", &[]).await;
    session.until_turns_ended(1).await;
    let made = match first["input"]["command"].as_str() {
        Some("touch one") => "one",
        _ => "two",
    };
    let results = session.tool_results();
    assert_eq!(results.last().expect("results").trim(), made, "{results:?}");
    session.cancel().await;
}

#[tokio::test]
async fn a_subagent_asks_too() {
    let stack = stack::shared();
    let client = stack.client();
    let mut person = stack.approver();
    let inner = script::prompt(&[script::bash("touch by-agent"), script::text("agent done")]);
    let agent = json!({"description": "d", "subagent_type": "general-purpose", "prompt": inner});
    let steps = [script::tool("Agent", &agent), script::text("done")];
    let mut session = reviewed(&client, &steps, "review").await;
    let mut last = None;
    // Starting one may need approval as well.
    loop {
        let asked = session.until_asked(last.as_ref()).await;
        let of_agent = asked["agent"].is_string();
        person.decide(url(&asked), "allow_once", &[]).await;
        last = Some(asked);
        if of_agent {
            break;
        }
    }
    // It may go on in the background, so look when it has.
    session
        .until("the agent's call", |session| {
            let results = session.of_kind("tool_result");
            results.iter().any(|body| body["text"] == NO_OUTPUT)
        })
        .await;
    let look = [script::bash("ls"), script::text("looked")];
    session.send(&script::prompt(&look), "look").await;
    session
        .until("the file", |session| {
            let results = session.tool_results();
            results.iter().any(|text| text.trim() == "by-agent")
        })
        .await;
    session.cancel().await;
}

#[tokio::test]
async fn an_approval_waits_for_longer_than_the_session_has_a_machine() {
    let stack = Stack::start(&Options::default().with("SHANNON_IDLE_SUSPEND_SECONDS", "10"));
    let client = stack.client();
    let mut person = stack.approver();
    for mode in ["review", "accept_edits"] {
        let steps = [
            script::bash("touch one"),
            script::bash("touch two; ls"),
            script::text("done"),
        ];
        let mut session = reviewed(&client, &steps, mode).await;
        let first = session.until_asked(None).await;
        session
            .until("the suspension", |session| session.state == "suspended")
            .await;
        // It is listed, and its address is the same.
        let listed = client.call("list_approvals", json!({})).await;
        let waiting = listed["approvals"].as_array().expect("approvals");
        let of_this = waiting.iter().find(|it| it["session_id"] == session.id);
        assert_eq!(url(of_this.expect("listed")), url(&first));
        person.decide(url(&first), "allow_once", &[]).await;
        let second = session.until_asked(Some(&first)).await;
        person.decide(url(&second), "allow_once", &[]).await;
        session.until_turns_ended(1).await;
        let results = session.tool_results();
        assert_eq!(results[1].trim(), "one\ntwo", "{results:?}");
        assert_eq!(session.of_kind("runner_started").len(), 2);
        session.cancel().await;
    }
}

#[tokio::test]
async fn an_approval_outlives_the_runner_that_asked() {
    let stack = Stack::start(&Options::default());
    let client = stack.client();
    let mut person = stack.approver();
    let steps = [
        script::bash("touch made"),
        script::bash("ls"),
        script::text("done"),
    ];
    let mut session = reviewed(&client, &steps, "review").await;
    let asked = session.until_asked(None).await;
    person.log_in(url(&asked)).await;
    let page = person.open(url(&asked)).await;
    let variable = format!("SHANNON_SESSION={} ", session.id);
    let mut runners = process::running_with(&variable);
    runners.retain(|process| process.environment.contains(&variable));
    runners.sort_by_key(|process| process.id);
    let runner = runners.first().expect("a runner").id;
    kill(
        Pid::from_raw(i32::try_from(runner).expect("a small number")),
        Signal::SIGKILL,
    )
    .expect("it runs");
    // Decided while nobody is there.
    let decided = person
        .send_form(url(&asked), &page, "allow_once", &[])
        .await;
    assert_eq!(decided.status, 303, "{}", decided.text);
    session.until_turns_ended(1).await;
    assert_eq!(
        session.tool_results().last().expect("results").trim(),
        "made"
    );
    assert_eq!(session.of_kind("runner_lost").len(), 1);
    session.cancel().await;
}

#[tokio::test]
async fn nobody_else_can_decide() {
    let stack = stack::shared();
    let client = stack.client();
    let steps = [script::bash("touch made"), script::text("done")];
    let mut session = reviewed(&client, &steps, "review").await;
    let asked = session.until_asked(None).await;
    // The calling model has tools, and none of them does.
    let refused = client
        .try_call(
            "answer_question",
            json!({"session_id": session.id, "question_id": asked["approval_id"], "answers": {"decision": "allow_once"}}),
        )
        .await;
    assert!(refused.is_error && refused.text.contains("no tool decides"));
    // Whoever has the address and no token does not, nor does one with a forged address.
    let stranger = e2e::approver::Approver::new("another token");
    assert_eq!(stranger.open(url(&asked)).await.status, 401);
    let forged = url(&asked).replace("apr_", "apr-");
    assert_eq!(stranger.open(&forged).await.status, 404);
    let state = client
        .call("get_session", json!({"session_id": session.id}))
        .await;
    assert_eq!(state["state"], "waiting");
    session.cancel().await;
    assert!(session.of_kind("approval_decided").is_empty());
}
