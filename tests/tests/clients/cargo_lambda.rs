//! `cargo lambda invoke` replays every file of `events/` on the running stack, as the README shows it.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::stack::{Options, Stack};
use e2e::{checkout, installed, process};

/// The function of a sample: the longest name of a directory that its file begins with.
fn function_of(stem: &str) -> String {
    let of = |function: &String| {
        let rest = stem.strip_prefix(function.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let functions = checkout::directories("functions").into_iter().filter(of);
    functions
        .max_by_key(String::len)
        .unwrap_or_else(|| panic!("events/{stem}.json is of no function"))
}

fn invoke(stack: &Stack, stem: &str) -> Command {
    let (id, secret) = stack.operator_key();
    let mut command = Command::new(installed::cargo_lambda());
    command
        .args(["lambda", "invoke", "--remote", "--region", "us-east-1"])
        .args(["--endpoint-url", &stack.aws_url(), "--data-file"])
        .arg(checkout::root().join(format!("events/{stem}.json")))
        .arg(function_of(stem))
        .env_clear()
        .env("HOME", stack.directory.join("home"))
        .env("AWS_ACCESS_KEY_ID", id)
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .current_dir(&stack.directory);
    command
}

/// What each sample is answered on a new stack, in this order: a status and words of the body, or words
/// of an event's result. The samples name sessions, tasks and keys that are not there.
const ANSWERS: &[(&str, u64, &str)] = &[
    (
        "approvals-git-credential-store",
        200,
        "\"host\":\"git.example.com\"",
    ),
    ("approvals-git-credentials", 200, "\"x-access-token\""),
    ("approvals-git-credential-remove", 204, ""),
    ("approvals-key-make", 201, "\"key\":\"shn_"),
    ("approvals-key-revoke", 404, "no_such_key"),
    ("approvals-keys", 200, "\"good\":true"),
    ("approvals-login", 404, "Nothing here"),
    ("approvals-policies", 200, "{\"policies\":[]}"),
    ("approvals-policy-delete", 404, "no_such_policy"),
    ("approvals-policy-put", 200, "\"changed\":true"),
    ("approvals-policy", 200, "forbid (principal"),
    ("approvals", 404, "Nothing here"),
    ("authorizer-no-bearer", 0, "Unauthorized"),
    ("authorizer", 0, "Unauthorized"),
    ("call-task", 200, "\"taskId\""),
    ("call-wait", 200, "no session with this id"),
    ("call", 200, "\"state\":\"requested\""),
    ("catalog", 200, "\"create_session\""),
    ("discover-health", 200, "\"status\":\"ok\""),
    ("discover-metadata-mcp", 200, "\"authorization_servers\""),
    ("discover-metadata", 200, "\"authorization_servers\""),
    ("discover", 200, "\"ttlMs\""),
    ("legacy-call", 200, "\"isError\":false"),
    ("legacy-delete", 404, "send initialize"),
    ("legacy-initialize", 200, "\"serverInfo\""),
    ("legacy-initialized", 202, ""),
    ("legacy-messages", 404, "send initialize"),
    ("legacy-preflight", 403, "SHANNON_ALLOWED_ORIGINS"),
    ("legacy-stream", 405, "no standing stream"),
    ("listen", 200, "\"complete\""),
    ("model-gateway-count-tokens", 403, "session token"),
    ("model-gateway-git-credential", 403, "session token"),
    ("model-gateway-large-body", 403, "session token"),
    ("model-gateway-ready", 200, "\"status\":\"ready\""),
    ("model-gateway-session-credentials", 403, "session token"),
    ("model-gateway-session-token", 403, "session token"),
    ("model-gateway", 403, "session token"),
    ("projector-approval", 0, "{\"batchItemFailures\":[]}"),
    ("projector-budget", 0, "{\"batchItemFailures\":[]}"),
    ("projector-failed", 0, "{\"batchItemFailures\":[]}"),
    ("projector-question", 0, "{\"batchItemFailures\":[]}"),
    ("projector-turn", 0, "{\"batchItemFailures\":[]}"),
    ("projector", 0, "{\"batchItemFailures\":[]}"),
    ("read-complete", 200, "\"ses_"),
    ("read-file", 200, "no session with this id"),
    ("read-prompt", 200, "cancel_session"),
    ("read", 200, "\"contents\""),
    ("reconciler-dry-run", 0, "\"failed\":0"),
    ("reconciler-sweep", 0, "\"failed\":0"),
    ("reconciler-task-failed-to-start", 0, "\"looked_at\":1"),
    ("reconciler-task-stopped", 0, "\"looked_at\":1"),
    ("tasks-cancel", 200, "no task with this id"),
    ("tasks-get", 200, "no task with this id"),
    ("tasks-update", 200, "no task with this id"),
];
/// A stream that is held as long as the function may run.
const HELD: &str = "legacy-sse";

#[test]
fn every_sample_is_replayed() {
    let stack = Stack::start(&Options::default().with("SHANNON_LISTEN_SECONDS", "1"));
    let entries = std::fs::read_dir(checkout::root().join("events")).expect("events");
    let samples: BTreeSet<String> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .filter_map(|name| Some(name.to_str()?.strip_suffix(".json")?.to_owned()))
        // A task, which is run and not invoked.
        .filter(|stem| function_of(stem) != "session-runner")
        .collect();
    let mut answered: BTreeSet<String> = ANSWERS.iter().map(|it| it.0.to_owned()).collect();
    answered.insert(HELD.to_owned());
    assert_eq!(samples, answered);
    for (stem, status, words) in ANSWERS {
        let output = invoke(&stack, stem).output().expect("cargo-lambda runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        // A function that refuses an event fails, and so does the command.
        let is_refusal = *stem == "authorizer" || *stem == "authorizer-no-bearer";
        assert_eq!(output.status.success(), !is_refusal, "{stem}: {output:?}");
        let said = if is_refusal {
            text(output.stderr)
        } else {
            text(output.stdout)
        };
        assert!(said.contains(words), "{stem}: {said}");
        if *status > 0 {
            let answered = format!("{{\"statusCode\":{status},");
            assert!(said.starts_with(&answered), "{stem}: {said}");
        }
    }
    let mut held = invoke(&stack, HELD).spawn().expect("cargo-lambda runs");
    let log = stack.state.join("logs/legacy.log");
    let seen = process::eventually(Duration::from_secs(30), || {
        std::fs::read_to_string(&log)
            .is_ok_and(|said| said.contains("a stream of 2024-11-05 is held"))
    });
    held.kill()
        .and_then(|()| held.wait())
        .expect("our own child ends");
    assert!(seen, "{}", stack.logs());
}
