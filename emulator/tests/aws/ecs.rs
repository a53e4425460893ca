//! ECS through the SDK: tasks are processes with the life, the environment and the end of real ones.

use std::{collections::HashMap, path::Path, time::Duration};

use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, ContainerOverride, KeyValuePair, LaunchType,
    NetworkConfiguration, Tag, Task, TaskOverride, TaskStopCode,
};
use aws_sdk_s3::primitives::ByteStream;
use emulator::credentials::AccessKey;

use crate::{
    harness::{Aws, BUCKET, CLUSTER, Wanted, code, configuration, eventually},
    plain_http,
};

fn network() -> NetworkConfiguration {
    let vpc = AwsVpcConfiguration::builder()
        .subnets("subnet-1")
        .assign_public_ip(AssignPublicIp::Enabled)
        .build()
        .unwrap();
    NetworkConfiguration::builder()
        .awsvpc_configuration(vpc)
        .build()
}

fn overrides(script: &str, environment: &[(&str, &str)]) -> TaskOverride {
    let mut container = ContainerOverride::builder()
        .name("runner")
        .command("-c")
        .command(script);
    for (name, value) in environment {
        container =
            container.environment(KeyValuePair::builder().name(*name).value(*value).build());
    }
    TaskOverride::builder()
        .container_overrides(container.build())
        .build()
}

type Run = aws_sdk_ecs::operation::run_task::builders::RunTaskFluentBuilder;

fn run(aws: &Aws, script: &str) -> Run {
    aws.ecs()
        .run_task()
        .cluster(CLUSTER)
        .task_definition("test-runner")
        .launch_type(LaunchType::Fargate)
        .network_configuration(network())
        .overrides(overrides(script, &[]))
}

async fn started(run: Run) -> Task {
    let answer = run.send().await.unwrap();
    assert!(answer.failures().is_empty());
    answer.tasks()[0].clone()
}

async fn describe(aws: &Aws, arn: &str) -> Task {
    let answer = aws
        .ecs()
        .describe_tasks()
        .cluster(CLUSTER)
        .tasks(arn)
        .send()
        .await
        .unwrap();
    answer.tasks()[0].clone()
}

async fn until(aws: &Aws, task: &Task, status: &str) -> Task {
    let arn = task.task_arn().unwrap();
    eventually(&format!("{status} of a task"), || async {
        describe(aws, arn).await.last_status() == Some(status)
    })
    .await;
    describe(aws, arn).await
}

/// Waits for a file that a task writes under another name first.
async fn file(path: &Path) -> String {
    eventually("a file of a task", || async { path.exists() }).await;
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn a_task_runs_to_its_end() {
    let aws = Aws::start().await;
    let run = run(&aws, "exit 3")
        .started_by("session-1")
        .tags(Tag::builder().key("session").value("session-1").build());
    let task = started(run).await;
    assert_eq!(task.last_status(), Some("PROVISIONING"));
    assert_eq!(task.started_by(), Some("session-1"));
    assert_eq!(task.launch_type(), Some(&LaunchType::Fargate));
    assert_eq!(task.tags()[0].value(), Some("session-1"));
    let end = until(&aws, &task, "STOPPED").await;
    assert_eq!(end.desired_status(), Some("STOPPED"));
    assert_eq!(
        end.stop_code(),
        Some(&TaskStopCode::EssentialContainerExited)
    );
    assert_eq!(
        end.stopped_reason(),
        Some("Essential container in task exited")
    );
    assert_eq!(end.containers()[0].exit_code(), Some(3));
    assert_eq!(end.containers()[0].last_status(), Some("STOPPED"));
    assert!(end.started_at().is_some() && end.stopped_at().is_some() && end.created_at().is_some());
    assert!(end.tags().is_empty(), "tags come only when asked for");
}

#[tokio::test]
async fn a_task_has_its_environment_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let aws = Aws::start().await;
    let out = directory.path().join("out");
    let script = format!(
        "env > {0}.new && pwd >> {0}.new && mv {0}.new {0}; sleep 60",
        out.display()
    );
    let run = run(&aws, "").overrides(overrides(
        &script,
        &[("CHANGED", "after"), ("SESSION", "session-1")],
    ));
    let task = started(run.started_by("session-1")).await;
    let written = file(&out).await;
    let variables: HashMap<_, _> = written
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    assert_eq!(variables["GREETING"], "hello");
    assert_eq!(variables["CHANGED"], "after");
    assert_eq!(variables["SESSION"], "session-1");
    assert_eq!(variables["AWS_ENDPOINT_URL"], aws.running.url());
    assert_eq!(variables["AWS_REGION"], "us-east-1");
    assert!(variables.contains_key("PATH"));
    assert!(!variables.contains_key("CARGO_MANIFEST_DIR"), "{written}");

    let metadata = variables["ECS_CONTAINER_METADATA_URI_V4"];
    let read = |url: String| async move {
        let answer = plain_http::get(&url).await;
        serde_json::from_str::<serde_json::Value>(&answer.text).unwrap()
    };
    let about = read(format!("{metadata}/task")).await;
    assert_eq!(about["TaskARN"], task.task_arn().unwrap());
    assert_eq!(about["Family"], "test-runner");
    assert!(about["Cluster"].as_str().unwrap().ends_with("cluster/test"));
    assert_eq!(about["Containers"][0]["Name"], "runner");
    assert_eq!(read(metadata.to_owned()).await["Name"], "runner");

    // Its key is its own: it works, counts for the session, and ends with the task.
    let key = AccessKey {
        id: variables["AWS_ACCESS_KEY_ID"].to_owned(),
        secret: variables["AWS_SECRET_ACCESS_KEY"].to_owned(),
    };
    let s3 = aws_sdk_s3::Client::new(&configuration(aws.running.url(), &key));
    let write = || {
        let put = s3.put_object().bucket(BUCKET).key("k");
        put.body(ByteStream::from_static(b"x")).send()
    };
    write().await.unwrap();
    let id = task.task_arn().unwrap().rsplit('/').next().unwrap();
    let counted = aws
        .running
        .calls()
        .into_iter()
        .find(|call| call.operation == "PutObject");
    let counted = counted.unwrap();
    assert_eq!(counted.principal, format!("task:{id}"));
    assert_eq!(
        (counted.session.as_deref(), counted.count),
        (Some("session-1"), 1)
    );
    let working = Path::new(written.lines().last().unwrap());
    assert!(working.is_dir(), "{}", working.display());
    let stop = aws
        .ecs()
        .stop_task()
        .cluster(CLUSTER)
        .task(id)
        .send()
        .await
        .unwrap();
    assert_eq!(stop.task().unwrap().desired_status(), Some("STOPPED"));
    until(&aws, &task, "STOPPED").await;
    assert!(!working.exists());
    assert_eq!(code(&write().await.unwrap_err()), "InvalidAccessKeyId");
}

#[tokio::test]
async fn stopping_asks_first() {
    let directory = tempfile::tempdir().unwrap();
    let aws = Aws::start().await;
    let ready = directory.path().join("ready");
    let script = format!(
        "trap 'exit 9' TERM; touch {}; while :; do sleep 0.05; done",
        ready.display()
    );
    let task = started(run(&aws, &script)).await;
    file(&ready).await;
    let arn = task.task_arn().unwrap();
    let stop = aws
        .ecs()
        .stop_task()
        .cluster(CLUSTER)
        .task(arn)
        .reason("enough");
    stop.clone().send().await.unwrap();
    // Again, and after the end: the state, no error.
    stop.clone().reason("second").send().await.unwrap();
    let end = until(&aws, &task, "STOPPED").await;
    stop.send().await.unwrap();
    assert_eq!(end.stop_code(), Some(&TaskStopCode::UserInitiated));
    assert_eq!(end.stopped_reason(), Some("enough"));
    assert_eq!(end.containers()[0].exit_code(), Some(9));
}

#[tokio::test]
async fn a_task_that_does_not_listen_is_killed_after_its_stop_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = Wanted {
        parameters: &[("StopTimeout", "1")],
        ..Wanted::default()
    };
    let aws = Aws::with(wanted).await.unwrap();
    let ready = directory.path().join("ready");
    let script = format!(
        "trap '' TERM; sleep 600 & echo $! > {}; while :; do sleep 1; done",
        ready.display()
    );
    let task = started(run(&aws, &script)).await;
    file(&ready).await;
    let began = std::time::Instant::now();
    let stop = aws
        .ecs()
        .stop_task()
        .cluster(CLUSTER)
        .task(task.task_arn().unwrap());
    stop.send().await.unwrap();
    let end = until(&aws, &task, "STOPPED").await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(end.containers()[0].exit_code(), Some(137));
    // What it had started is gone, too.
    let child = std::fs::read_to_string(&ready).unwrap();
    let child = format!("/proc/{}", child.trim());
    if Path::new("/proc/self").exists() {
        eventually("the end of the task's child", || async {
            std::fs::read_to_string(format!("{child}/stat"))
                .map_or(true, |stat| stat.contains(") Z "))
        })
        .await;
    }
}

#[tokio::test]
async fn a_repeated_token_starts_nothing_new() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let count = directory.path().join("count");
    let script = format!("echo x >> {}", count.display());
    let wanted = || Wanted {
        state: Some(&state),
        ..Wanted::default()
    };
    let aws = Aws::with(wanted()).await.unwrap();
    let again = |aws: &Aws| {
        run(aws, &script)
            .client_token("session-1.1")
            .started_by("session-1")
    };
    let attempts: Vec<_> = (0..5).map(|_| tokio::spawn(again(&aws).send())).collect();
    let mut arns = Vec::new();
    for attempt in attempts {
        arns.push(
            attempt.await.unwrap().unwrap().tasks()[0]
                .task_arn()
                .unwrap()
                .to_owned(),
        );
    }
    arns.dedup();
    assert_eq!(arns.len(), 1, "{arns:?}");
    let task = started(again(&aws)).await;
    until(&aws, &task, "STOPPED").await;
    let after = started(again(&aws)).await;
    assert_eq!(
        (after.task_arn(), after.last_status()),
        (task.task_arn(), Some("STOPPED"))
    );
    let other = again(&aws)
        .started_by("session-2")
        .send()
        .await
        .unwrap_err();
    assert!(other.as_service_error().unwrap().is_conflict_exception());
    aws.running.shutdown().await;
    let aws = Aws::with(wanted()).await.unwrap();
    assert_eq!(started(again(&aws)).await.task_arn(), task.task_arn());
    let lines = std::fs::read_to_string(&count).unwrap();
    assert_eq!(lines, "x\n");
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let wanted = Wanted {
        program: Some("/no/such/program".into()),
        ..Wanted::default()
    };
    let aws = Aws::with(wanted).await.unwrap();
    let task = started(run(&aws, "")).await;
    let end = until(&aws, &task, "STOPPED").await;
    assert_eq!(end.stop_code(), Some(&TaskStopCode::TaskFailedToStart));
    assert!(
        end.stopped_reason().unwrap().contains("/no/such/program"),
        "{end:?}"
    );
    assert_eq!(end.containers()[0].exit_code(), None);
    assert_eq!(end.started_at(), None);
}

#[tokio::test]
async fn bad_requests_are_refused_as_ecs_refuses_them() {
    let aws = Aws::start().await;
    let ecs = aws.ecs();
    let refused = run(&aws, "").cluster("other").send().await.unwrap_err();
    assert!(
        refused
            .as_service_error()
            .unwrap()
            .is_cluster_not_found_exception()
    );
    let refused = run(&aws, "")
        .task_definition("other")
        .send()
        .await
        .unwrap_err();
    assert!(refused.as_service_error().unwrap().is_client_exception());
    let refused = run(&aws, "")
        .task_definition("test-runner:7")
        .send()
        .await
        .unwrap_err();
    assert!(refused.as_service_error().unwrap().is_client_exception());
    let refused = run(&aws, "")
        .set_network_configuration(None)
        .send()
        .await
        .unwrap_err();
    assert!(
        refused
            .as_service_error()
            .unwrap()
            .is_invalid_parameter_exception()
    );
    for bad in ["a#b", "ä", &"x".repeat(129)] {
        let refused = run(&aws, "").started_by(bad).send().await.unwrap_err();
        assert!(
            refused
                .as_service_error()
                .unwrap()
                .is_invalid_parameter_exception(),
            "{bad}"
        );
    }
    let wrong = TaskOverride::builder()
        .container_overrides(ContainerOverride::builder().name("nobody").build())
        .build();
    let refused = run(&aws, "").overrides(wrong).send().await.unwrap_err();
    assert!(
        refused
            .as_service_error()
            .unwrap()
            .is_invalid_parameter_exception()
    );
    let refused = ecs
        .stop_task()
        .cluster(CLUSTER)
        .task("none")
        .send()
        .await
        .unwrap_err();
    assert!(
        refused
            .as_service_error()
            .unwrap()
            .is_invalid_parameter_exception()
    );
    let none = ecs
        .describe_tasks()
        .cluster(CLUSTER)
        .tasks("none")
        .send()
        .await
        .unwrap();
    assert_eq!(none.failures()[0].reason(), Some("MISSING"));
    let refused = ecs.list_services().send().await.unwrap_err();
    assert_eq!(code(&refused), "UnknownOperationException");
    let listed = ecs.list_tasks().cluster(CLUSTER).send().await.unwrap();
    assert!(listed.task_arns().is_empty());
}

#[tokio::test]
async fn clusters_definitions_and_lists() {
    let aws = Aws::start().await;
    let ecs = aws.ecs();
    let known = ecs
        .describe_clusters()
        .clusters(CLUSTER)
        .clusters("no")
        .send()
        .await
        .unwrap();
    assert_eq!(known.clusters()[0].status(), Some("ACTIVE"));
    assert_eq!(known.failures()[0].reason(), Some("MISSING"));
    ecs.create_cluster()
        .cluster_name("second")
        .send()
        .await
        .unwrap();
    let known = ecs
        .describe_clusters()
        .clusters("second")
        .send()
        .await
        .unwrap();
    assert_eq!(known.clusters()[0].cluster_name(), Some("second"));
    let first = ecs
        .describe_task_definition()
        .task_definition("test-runner")
        .send()
        .await
        .unwrap();
    let first = first.task_definition().unwrap();
    assert_eq!((first.revision(), first.family()), (1, Some("test-runner")));
    let registered = ecs
        .register_task_definition()
        .family("test-runner")
        .set_container_definitions(Some(first.container_definitions().to_vec()))
        .send()
        .await
        .unwrap();
    assert_eq!(registered.task_definition().unwrap().revision(), 2);
    let newest = ecs
        .describe_task_definition()
        .task_definition("test-runner")
        .send()
        .await
        .unwrap();
    assert_eq!(newest.task_definition().unwrap().revision(), 2);

    let one = started(run(&aws, "sleep 60").started_by("one")).await;
    started(run(&aws, "sleep 60").started_by("two")).await;
    let list = |started_by: &str| {
        ecs.list_tasks()
            .cluster(CLUSTER)
            .started_by(started_by)
            .send()
    };
    assert_eq!(
        list("one").await.unwrap().task_arns(),
        [one.task_arn().unwrap()]
    );
    let page = ecs
        .list_tasks()
        .cluster(CLUSTER)
        .max_results(1)
        .send()
        .await
        .unwrap();
    let rest = ecs
        .list_tasks()
        .cluster(CLUSTER)
        .next_token(page.next_token().unwrap());
    let rest = rest.send().await.unwrap();
    assert_eq!((rest.task_arns().len(), rest.next_token()), (1, None));
    assert_ne!(rest.task_arns(), page.task_arns());
    aws.running
        .shutdown_within(Duration::from_millis(200))
        .await;
}
