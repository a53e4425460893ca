//! Lambda with a real function on the unmodified runtime: what becomes of instances and invocations.

use crate::echo::{self, Gate, eventually, function, options, start};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bytes::Bytes;

use emulator::{
    credentials::Principal,
    invoker::Invoker,
    lambda::{FunctionError, InvokeError, Lambda, Outcome},
};
use serde_json::{Value, json};

async fn invoke(lambda: &Lambda, payload: Value) -> Outcome {
    let payload = Bytes::from(payload.to_string());
    lambda.invoke("f", payload).await.unwrap()
}

async fn answer(lambda: &Lambda, payload: Value) -> Value {
    match invoke(lambda, payload).await {
        Outcome::Buffered(body) => serde_json::from_slice(&body).unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn failure(lambda: &Lambda, payload: Value) -> (FunctionError, Value) {
    match invoke(lambda, payload).await {
        Outcome::Failed(error) => {
            let body = serde_json::from_slice(&error.body).unwrap();
            (error, body)
        }
        other => panic!("{other:?}"),
    }
}

/// As on AWS: an execution environment that died between two requests is given no third.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_idle_instance_that_was_killed_is_given_nothing() {
    let lambda = Lambda::start(options(vec![function("f", "event")]))
        .await
        .unwrap();
    let mut last = Value::Null;
    for round in 0..10 {
        let said = answer(&lambda, json!({"round": round})).await;
        assert_ne!(said["process"], last, "it was killed");
        last = said["process"].clone();
        let process = i32::try_from(last.as_i64().unwrap()).unwrap();
        // It is idle again once it has asked for more.
        tokio::time::sleep(Duration::from_millis(20)).await;
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(process),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        let ended = || {
            let status = std::fs::read_to_string(format!("/proc/{process}/stat"));
            status.map_or(true, |status| status.contains(") Z "))
        };
        while !ended() {
            std::thread::yield_now();
        }
    }
}

#[tokio::test]
async fn an_instance_is_started_once_and_has_an_environment_of_its_own() {
    let mut options = options(vec![function("f", "event")]);
    options.functions[0]
        .environment
        .insert("SHANNON_STAGE".into(), "test".into());
    let credentials = options.credentials.clone();
    let lambda = Lambda::start(options).await.unwrap();
    lambda.set_endpoint_url("http://127.0.0.1:4566");
    assert_eq!(
        lambda.instances("f").unwrap(),
        0,
        "nothing before it is needed"
    );

    let first = answer(&lambda, json!({"n": 1})).await;
    let second = answer(&lambda, json!({"n": 2})).await;
    assert_eq!(first["payload"], json!({"n": 1}));
    assert_eq!((&first["calls"], &second["calls"]), (&json!(1), &json!(2)));
    assert_eq!(first["process"], second["process"]);
    assert_eq!(lambda.instances("f").unwrap(), 1);
    assert_eq!(
        first["arn"],
        "arn:aws:lambda:us-east-1:000000000000:function:test-f"
    );
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    let left = first["deadline"].as_u64().unwrap() - u64::try_from(now.as_millis()).unwrap();
    assert!((10_000..=30_000).contains(&left), "{left}");

    let environment = first["environment"].as_object().unwrap();
    assert_eq!(environment["SHANNON_STAGE"], "test");
    assert_eq!(environment["AWS_ENDPOINT_URL"], "http://127.0.0.1:4566");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_NAME"], "test-f");
    assert_eq!(environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "256");
    assert_eq!(environment["AWS_REGION"], "us-east-1");
    let key = environment["AWS_ACCESS_KEY_ID"].as_str().unwrap();
    let (principal, secret) = credentials.lookup(key).unwrap();
    assert_eq!(principal, Principal::Function("f".into()));
    assert_eq!(environment["AWS_SECRET_ACCESS_KEY"], secret);
    for name in environment.keys() {
        let theirs = [
            "ECHO_KIND",
            "SHANNON_STAGE",
            "LANG",
            "PATH",
            "TZ",
            "_HANDLER",
        ];
        // lambda_runtime sets the trace id itself, and the shell that starts it its own.
        let shell = ["PWD", "OLDPWD", "SHLVL", "_"];
        let allowed = theirs.contains(&name.as_str())
            || name.starts_with("AWS_")
            || name == "LAMBDA_TASK_ROOT"
            || shell.contains(&name.as_str())
            || name == "_X_AMZN_TRACE_ID";
        assert!(allowed, "{name} has no business there");
    }

    lambda.shutdown().await;
    assert!(
        credentials.lookup(key).is_some(),
        "what it signed stays good"
    );
}

#[tokio::test]
async fn more_invocations_at_a_time_are_more_processes_up_to_the_limit() {
    let mut options = options(vec![function("f", "event")]);
    options.most_instances = 3;
    let lambda = Lambda::start(options).await.unwrap();
    let gate = Gate::new().await;
    let mut running = Vec::new();
    for _ in 0..4 {
        let (lambda, wait) = (
            lambda.clone(),
            json!({"do": "wait", "gate": gate.address()}),
        );
        running.push(tokio::spawn(async move { answer(&lambda, wait).await }));
    }
    let first = gate.arrival().await;
    let (second, third) = (gate.arrival().await, gate.arrival().await);
    assert_eq!(lambda.instances("f").unwrap(), 3);
    drop(first);
    let fourth = gate.arrival().await;
    drop((second, third, fourth));
    let mut processes = BTreeSet::new();
    for one in running {
        processes.insert(one.await.unwrap()["process"].as_u64().unwrap());
    }
    assert_eq!(processes.len(), 3);
    lambda.shutdown().await;
}

#[tokio::test]
async fn reserved_concurrency_is_a_limit_that_refuses() {
    let mut limited = function("f", "event");
    limited.reserved_concurrency = Some(1);
    let lambda = start(vec![limited]).await;
    let gate = Gate::new().await;
    let wait = json!({"do": "wait", "gate": gate.address()});
    let running = tokio::spawn({
        let lambda = lambda.clone();
        async move { answer(&lambda, wait).await }
    });
    let held = gate.arrival().await;
    let refused = lambda.invoke("f", Bytes::from_static(b"{}")).await;
    assert!(
        matches!(refused, Err(InvokeError::Throttled)),
        "{refused:?}"
    );
    drop(held);
    running.await.unwrap();
    answer(&lambda, json!({})).await;
    lambda.shutdown().await;
}

#[tokio::test]
async fn many_at_once_are_all_answered_by_few() {
    let mut options = options(vec![function("f", "event")]);
    options.most_instances = 4;
    let lambda = Lambda::start(options).await.unwrap();
    let running: Vec<_> = (0..300)
        .map(|n| {
            let lambda = lambda.clone();
            tokio::spawn(async move { (n, answer(&lambda, json!({"n": n})).await) })
        })
        .collect();
    let mut processes = BTreeSet::new();
    for one in running {
        let (n, answer) = one.await.unwrap();
        assert_eq!(answer["payload"]["n"], n);
        processes.insert(answer["process"].as_u64().unwrap());
    }
    assert!(processes.len() <= 4, "{processes:?}");
    lambda.shutdown().await;
}

#[tokio::test]
async fn a_function_that_fails_or_panics_says_so_and_lives_on() {
    let lambda = start(vec![function("f", "event")]).await;
    let (_, body) = failure(&lambda, json!({"do": "fail"})).await;
    assert_eq!(body["errorMessage"], "as told");
    let (_, body) = failure(&lambda, json!({"do": "panic"})).await;
    assert!(
        body["errorMessage"].as_str().unwrap().contains("as told"),
        "{body}"
    );
    assert_eq!(
        answer(&lambda, json!({})).await["calls"],
        3,
        "the same process"
    );
    lambda.shutdown().await;
}

#[tokio::test]
async fn an_exit_is_answered_at_once_and_the_next_invocation_gets_a_new_process() {
    let options = options(vec![function("f", "event")]);
    let credentials = options.credentials.clone();
    let lambda = Lambda::start(options).await.unwrap();
    let first = answer(&lambda, json!({})).await;
    let key = first["environment"]["AWS_ACCESS_KEY_ID"].as_str().unwrap();
    assert!(credentials.lookup(key).is_some());
    let began = Instant::now();
    let (error, body) = failure(&lambda, json!({"do": "exit"})).await;
    assert!(began.elapsed() < Duration::from_secs(10), "not its timeout");
    assert_eq!(error.error_type, "Runtime.ExitError");
    assert!(
        body["errorMessage"]
            .as_str()
            .unwrap()
            .contains("exit status 7"),
        "{body}"
    );
    let second = answer(&lambda, json!({})).await;
    assert_ne!(first["process"], second["process"]);
    assert_ne!(second["environment"]["AWS_ACCESS_KEY_ID"], key);
    lambda.shutdown().await;
}

#[tokio::test]
async fn what_cannot_start_fails_each_invocation_once() {
    for (kind, error_type, message) in [
        ("exit", "Runtime.ExitError", "exit status 3"),
        ("init_error", "Function.Broken", "no settings"),
    ] {
        let lambda = start(vec![function("f", kind)]).await;
        for _ in 0..2 {
            let (error, body) = failure(&lambda, json!({})).await;
            assert_eq!(error.error_type, error_type);
            assert!(
                body["errorMessage"].as_str().unwrap().contains(message),
                "{body}"
            );
        }
        eventually("nothing is left", || lambda.instances("f").unwrap() == 0).await;
        lambda.shutdown().await;
    }
    let mut options = options(vec![function("f", "event")]);
    options
        .binaries
        .insert("f".into(), "/nonexistent/bootstrap".into());
    let lambda = Lambda::start(options).await.unwrap();
    let (error, body) = failure(&lambda, json!({})).await;
    assert_eq!(error.error_type, "Runtime.InvalidEntrypoint");
    assert!(
        body["errorMessage"]
            .as_str()
            .unwrap()
            .contains("/nonexistent/bootstrap")
    );
    lambda.replace("f", echo::binary()).unwrap();
    answer(&lambda, json!({})).await;
    lambda.shutdown().await;
}

#[tokio::test]
async fn a_timeout_ends_the_instance() {
    let mut slow = function("f", "event");
    slow.timeout_seconds = 0.5;
    let lambda = start(vec![slow]).await;
    let first = answer(&lambda, json!({})).await;
    let (error, body) = failure(&lambda, json!({"do": "hang"})).await;
    assert_eq!(error.error_type, "Sandbox.Timedout");
    let message = body["errorMessage"].as_str().unwrap();
    assert!(
        message.ends_with("Task timed out after 0.50 seconds"),
        "{message}"
    );
    let second = answer(&lambda, json!({})).await;
    assert_ne!(first["process"], second["process"]);
    lambda.shutdown().await;
}

#[tokio::test]
async fn an_instance_that_never_gets_ready_is_given_up() {
    let mut options = options(vec![function("f", "hang")]);
    options.init = Duration::from_millis(100);
    options.functions[0].timeout_seconds = 0.1;
    let lambda = Lambda::start(options).await.unwrap();
    let (error, _) = failure(&lambda, json!({})).await;
    assert_eq!(error.error_type, "Sandbox.Timedout");
    eventually("it is gone", || lambda.instances("f").unwrap() == 0).await;
    lambda.shutdown().await;
}

#[tokio::test]
async fn idle_instances_are_reaped() {
    let mut options = options(vec![function("f", "event")]);
    options.idle = Duration::from_millis(50);
    let lambda = Lambda::start(options).await.unwrap();
    let first = answer(&lambda, json!({})).await;
    eventually("it is reaped", || lambda.instances("f").unwrap() == 0).await;
    let second = answer(&lambda, json!({})).await;
    assert_ne!(first["process"], second["process"]);
    lambda.shutdown().await;
}

#[tokio::test]
async fn payloads_have_limits() {
    let lambda = start(vec![function("f", "event")]).await;
    let (error, body) = failure(&lambda, json!({"do": "large"})).await;
    assert_eq!(error.error_type, "Function.ResponseSizeTooLarge", "{body}");
    let large = json!("x".repeat(6 * 1024 * 1024));
    let refused = lambda.invoke("f", Bytes::from(large.to_string())).await;
    assert!(
        matches!(refused, Err(InvokeError::TooLarge { .. })),
        "{refused:?}"
    );
    let refused = lambda.invoke("nothing", Bytes::new()).await;
    assert!(
        matches!(refused, Err(InvokeError::UnknownFunction(_))),
        "{refused:?}"
    );
    answer(&lambda, json!("x".repeat(5 * 1024 * 1024))).await;
    lambda.shutdown().await;
}

#[tokio::test]
async fn a_replaced_binary_serves_new_invocations_and_the_old_one_finishes() {
    let lambda = start(vec![function("f", "event")]).await;
    let gate = Gate::new().await;
    let wait = json!({"do": "wait", "gate": gate.address()});
    let old = tokio::spawn({
        let lambda = lambda.clone();
        async move { answer(&lambda, wait).await }
    });
    let held = gate.arrival().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("bootstrap");
    std::os::unix::fs::symlink(echo::binary(), &copy).unwrap();
    lambda.replace("f", copy).unwrap();
    let root = |answer: &Value| answer["environment"]["LAMBDA_TASK_ROOT"].clone();
    let new = answer(&lambda, json!({})).await;
    assert_eq!(root(&new), elsewhere.path().display().to_string());
    assert_eq!(lambda.instances("f").unwrap(), 2);
    drop(held);
    let old = old.await.unwrap();
    assert_ne!(root(&old), root(&new));
    eventually("the old instance ends", || {
        lambda.instances("f").unwrap() == 1
    })
    .await;
    assert_eq!(answer(&lambda, json!({})).await["process"], new["process"]);
    lambda.shutdown().await;
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_end_the_invocation() {
    let options = options(vec![function("f", "event")]);
    let mut feed = options.logs.subscribe();
    let lambda = Lambda::start(options).await.unwrap();
    let gate = Gate::new().await;
    let wait = json!({"do": "wait", "gate": gate.address()});
    let caller = tokio::spawn({
        let lambda = lambda.clone();
        async move { answer(&lambda, wait).await }
    });
    let held = gate.arrival().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    drop(held);
    let end = async { while !feed.recv().await.unwrap().line.starts_with("REPORT ") {} };
    let end = tokio::time::timeout(Duration::from_secs(30), end).await;
    end.expect("the function has answered nobody");
    assert_eq!(lambda.instances("f").unwrap(), 1, "and lives on");
    lambda.shutdown().await;
}

#[tokio::test]
async fn events_are_tried_again_and_then_given_up() {
    let mut options = options(vec![function("f", "event")]);
    options.event_retries = vec![Duration::from_millis(1); 2];
    let mut feed = options.logs.subscribe();
    let lambda = Lambda::start(options).await.unwrap();
    lambda.invoke_event("f", json!({"do": "fail"})).await;
    lambda.invoke_event("f", json!({"fine": true})).await;
    lambda.shutdown().await;
    let mut handled = BTreeSet::new();
    while let Ok(line) = feed.try_recv() {
        assert_eq!(line.name, "f");
        if let Some(id) = line.line.strip_prefix("handling ") {
            handled.insert(id.to_owned());
        }
    }
    assert_eq!(handled.len(), 4, "three times the one, once the other");
}

#[tokio::test]
async fn stopping_ends_everything_and_says_so() {
    let mut options = options(vec![function("f", "event")]);
    options.most_instances = 1;
    let lambda = Lambda::start(options).await.unwrap();
    let gate = Gate::new().await;
    let invoke = |payload: Value| {
        let lambda = lambda.clone();
        tokio::spawn(async move { lambda.invoke("f", Bytes::from(payload.to_string())).await })
    };
    let running = invoke(json!({"do": "wait", "gate": gate.address()}));
    let held = gate.arrival().await;
    let waiting = invoke(json!({}));
    lambda.shutdown().await;
    assert_eq!(lambda.instances("f").unwrap(), 0);
    let running = running.await.unwrap();
    assert!(matches!(running, Ok(Outcome::Failed(_))), "{running:?}");
    let waiting = waiting.await.unwrap();
    assert!(matches!(waiting, Err(InvokeError::Stopping)), "{waiting:?}");
    let late = lambda.invoke("f", Bytes::from_static(b"{}")).await;
    assert!(matches!(late, Err(InvokeError::Stopping)), "{late:?}");
    // The process is gone, not merely forgotten: its side of the gate is closed.
    let mut byte = [0];
    let read = tokio::io::AsyncReadExt::read(&mut { held }, &mut byte).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    lambda.shutdown().await;
}
