//! What functions are told: the states of tasks, restarts included, and schedules.

use std::time::Duration;

use aws_sdk_ecs::types::{AwsVpcConfiguration, NetworkConfiguration};
use serde_json::{Value, json};

use crate::{
    harness::{Aws, CLUSTER, Wanted},
    plain_http,
};

async fn run(aws: &Aws, started_by: &str) -> String {
    let vpc = AwsVpcConfiguration::builder()
        .subnets("subnet-1")
        .build()
        .unwrap();
    let run = aws
        .ecs()
        .run_task()
        .cluster(CLUSTER)
        .task_definition("test-runner")
        .network_configuration(
            NetworkConfiguration::builder()
                .awsvpc_configuration(vpc)
                .build(),
        )
        .started_by(started_by)
        .send()
        .await
        .unwrap();
    run.tasks()[0].task_arn().unwrap().to_owned()
}

fn is(status: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["detail"]["lastStatus"] == status
}

#[tokio::test]
async fn every_state_of_a_task_is_told() {
    let wanted = Wanted {
        parameters: &[("Command", "exit 4")],
        ..Wanted::default()
    };
    let aws = Aws::with(wanted).await.unwrap();
    let arn = run(&aws, "session-1").await;
    let end = aws.functions.wait_for("STOPPED event", is("STOPPED")).await;
    assert_eq!(end["source"], "aws.ecs");
    assert_eq!(end["detail-type"], "ECS Task State Change");
    assert_eq!(end["account"], "000000000000");
    assert_eq!(end["resources"], json!([arn]));
    let detail = &end["detail"];
    assert_eq!(detail["taskArn"], json!(arn));
    assert_eq!(detail["startedBy"], "session-1");
    assert_eq!(detail["desiredStatus"], "STOPPED");
    assert_eq!(detail["stopCode"], "EssentialContainerExited");
    assert_eq!(detail["containers"][0]["exitCode"], 4);
    assert!(
        detail["clusterArn"]
            .as_str()
            .unwrap()
            .ends_with("cluster/test")
    );
    assert!(
        detail["stoppedAt"].as_str().unwrap().ends_with('Z'),
        "{detail}"
    );
    let events = aws.functions.events();
    assert!(events.iter().all(|(function, _)| function == "reconciler"));
    let mut states: Vec<_> = events
        .iter()
        .map(|(_, event)| {
            let version = event["detail"]["version"].as_u64().unwrap();
            (
                version,
                event["detail"]["lastStatus"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    states.sort();
    let states: Vec<_> = states.iter().map(|(_, state)| state.as_str()).collect();
    assert_eq!(
        states,
        [
            "PROVISIONING",
            "PENDING",
            "RUNNING",
            "DEPROVISIONING",
            "STOPPED"
        ]
    );
}

#[tokio::test]
async fn shutting_down_stops_tasks_and_tells_it() {
    let wanted = Wanted {
        parameters: &[("Command", "sleep 600")],
        ..Wanted::default()
    };
    let aws = Aws::with(wanted).await.unwrap();
    run(&aws, "session-1").await;
    aws.functions.wait_for("RUNNING event", is("RUNNING")).await;
    let functions = aws.functions.clone();
    aws.running.shutdown_within(Duration::from_secs(2)).await;
    let end = functions
        .events()
        .into_iter()
        .find(|(_, event)| is("STOPPED")(event));
    let end = end.unwrap().1;
    assert_eq!(end["detail"]["stopCode"], "UserInitiated");
    assert_eq!(
        end["detail"]["stoppedReason"],
        "the emulator is shutting down"
    );
}

#[tokio::test]
async fn tasks_of_a_dead_emulator_are_told_once_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = || Wanted {
        state: Some(directory.path()),
        parameters: &[("Command", "sleep 600")],
        ..Wanted::default()
    };
    let aws = Aws::with(wanted()).await.unwrap();
    let arn = run(&aws, "session-1").await;
    aws.functions.wait_for("RUNNING event", is("RUNNING")).await;
    // What a killed process leaves: the database as it was while the task ran.
    let copy = tempfile::tempdir().unwrap();
    for name in ["ecs.sqlite", "ecs.sqlite-wal"] {
        std::fs::copy(directory.path().join(name), copy.path().join(name)).unwrap();
    }
    aws.running
        .shutdown_within(Duration::from_millis(100))
        .await;
    let restarted = || Wanted {
        state: Some(copy.path()),
        ..wanted()
    };
    let aws = Aws::with(restarted()).await.unwrap();
    let end = aws.functions.wait_for("STOPPED event", is("STOPPED")).await;
    assert_eq!(end["detail"]["taskArn"], json!(arn));
    assert_eq!(end["detail"]["startedBy"], "session-1");
    assert_eq!(end["detail"]["stopCode"], "EssentialContainerExited");
    let reason = end["detail"]["stoppedReason"].as_str().unwrap();
    assert!(reason.contains("restarted"), "{reason}");
    aws.running.shutdown().await;
    let aws = Aws::with(restarted()).await.unwrap();
    let described = aws
        .ecs()
        .describe_tasks()
        .cluster(CLUSTER)
        .tasks(&arn)
        .send()
        .await
        .unwrap();
    assert_eq!(described.tasks()[0].last_status(), Some("STOPPED"));
    let functions = aws.functions.clone();
    aws.running.shutdown().await;
    assert_eq!(functions.events(), [], "told a second time");
}

#[tokio::test]
async fn an_event_that_was_not_taken_is_delivered_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = || Wanted {
        state: Some(directory.path()),
        ..Wanted::default()
    };
    let aws = Aws::with(wanted()).await.unwrap();
    aws.functions.answer(false);
    run(&aws, "session-1").await;
    aws.functions.wait_for("STOPPED event", is("STOPPED")).await;
    // The function never answers; the emulator ends all the same.
    aws.running.shutdown().await;
    let aws = Aws::with(wanted()).await.unwrap();
    let again = aws.functions.wait_for("STOPPED event", is("STOPPED")).await;
    assert_eq!(again["detail"]["startedBy"], "session-1");
}

#[tokio::test]
async fn schedules_fire_by_themselves_and_on_demand() {
    let wanted = Wanted {
        parameters: &[("Period", "rate(1 minute)")],
        ..Wanted::default()
    };
    let aws = Aws::with(wanted).await.unwrap();
    let fire = |function: &str| {
        let url = format!("{}/_emulator/schedules/{function}", aws.running.url());
        async move { plain_http::send("POST", &url, &[], "").await.status }
    };
    assert_eq!(fire("reconciler").await, 200);
    let (function, event) = aws.functions.events().remove(0);
    assert_eq!(function, "reconciler");
    assert_eq!(event["source"], "aws.events");
    assert_eq!(event["detail-type"], "Scheduled Event");
    assert_eq!(event["detail"], json!({}));
    let rule = event["resources"][0].as_str().unwrap();
    assert!(
        rule.starts_with("arn:aws:events:us-east-1:000000000000:rule/test-"),
        "{rule}"
    );
    assert_eq!(fire("nobody").await, 404);
}
