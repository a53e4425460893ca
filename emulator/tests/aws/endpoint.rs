//! The one endpoint: who is let in, what is counted, and the hooks for tests.

use aws_sdk_dynamodb::types::AttributeValue;
use emulator::{
    aws::{AwsEndpoint, AwsError},
    credentials::{AccessKey, Principal},
};

use crate::harness::{Aws, TABLE, Wanted, code, configuration};

#[tokio::test]
async fn json_services_check_key_and_signature() {
    let aws = Aws::start().await;
    let url = aws.running.url();
    let with = |id: &str, secret: &str| {
        let key = AccessKey {
            id: id.to_owned(),
            secret: secret.to_owned(),
        };
        configuration(url, &key)
    };
    for (id, secret, expected) in [
        (
            "AKIAAAAAAAAAAAAAAAAA",
            aws.key.secret.as_str(),
            "UnrecognizedClientException",
        ),
        (aws.key.id.as_str(), "wrong", "InvalidSignatureException"),
    ] {
        let configuration = with(id, secret);
        let dynamodb = aws_sdk_dynamodb::Client::new(&configuration);
        let refused = dynamodb.list_tables().send().await.unwrap_err();
        assert_eq!(code(&refused), expected);
        let ecs = aws_sdk_ecs::Client::new(&configuration);
        let refused = ecs.list_tasks().send().await.unwrap_err();
        assert_eq!(code(&refused), expected);
    }
    aws.dynamodb().list_tables().send().await.unwrap();
    aws.credentials.revoke(&aws.key.id);
    let refused = aws.dynamodb().list_tables().send().await.unwrap_err();
    assert_eq!(code(&refused), "UnrecognizedClientException");
    let unsigned = reqwest::Client::new()
        .post(url)
        .header("x-amz-target", "DynamoDB_20120810.ListTables")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(unsigned.status(), 400);
    assert!(
        unsigned
            .text()
            .await
            .unwrap()
            .contains("MissingAuthenticationTokenException")
    );
}

#[tokio::test]
async fn calls_are_counted_for_whoever_makes_them() {
    let aws = Aws::start().await;
    let key = aws
        .credentials
        .issue(Principal::Function("call".to_owned()));
    let function = aws_sdk_dynamodb::Client::new(&configuration(aws.running.url(), &key));
    for sk in ["1", "2"] {
        let put = function.put_item().table_name(TABLE);
        let put = put.item("pk", AttributeValue::S("owner#session-9".to_owned()));
        put.item("sk", AttributeValue::S(sk.to_owned()))
            .send()
            .await
            .unwrap();
    }
    aws.dynamodb().list_tables().send().await.unwrap();
    let answer = reqwest::get(format!("{}/_emulator/calls", aws.running.url()))
        .await
        .unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(
        answer["calls"],
        serde_json::json!([
            {"principal": "function:call", "session": null, "service": "dynamodb",
             "operation": "PutItem", "count": 2},
            {"principal": "operator", "session": null, "service": "dynamodb",
             "operation": "ListTables", "count": 1},
        ])
    );
    // Once the session's task is started, what was done for it before is its own, too.
    let vpc = aws_sdk_ecs::types::AwsVpcConfiguration::builder()
        .subnets("s")
        .build()
        .unwrap();
    let network = aws_sdk_ecs::types::NetworkConfiguration::builder();
    let ecs = aws_sdk_ecs::Client::new(&configuration(aws.running.url(), &key));
    ecs.run_task()
        .cluster(crate::harness::CLUSTER)
        .task_definition("test-runner")
        .network_configuration(network.awsvpc_configuration(vpc).build())
        .started_by("session-9")
        .send()
        .await
        .unwrap();
    let calls = aws.running.calls();
    let of: Vec<_> = calls
        .iter()
        .filter(|call| call.session.as_deref() == Some("session-9"))
        .map(|call| (call.principal.as_str(), call.operation.as_str(), call.count))
        .collect();
    assert_eq!(
        of,
        [
            ("function:call", "PutItem", 2),
            ("function:call", "RunTask", 1)
        ]
    );
}

#[tokio::test]
async fn hooks_exist_only_when_asked_for_and_only_for_this_machine() {
    let wanted = Wanted {
        without_hooks: true,
        ..Wanted::default()
    };
    let aws = Aws::with(wanted).await.unwrap();
    let http = reqwest::Client::new();
    let url = |path: &str| format!("{}/_emulator/{path}", aws.running.url());
    for path in ["faults", "schedules/reconciler"] {
        assert_eq!(
            http.post(url(path))
                .body("{}")
                .send()
                .await
                .unwrap()
                .status(),
            404,
            "{path}"
        );
    }
    let rebound = http
        .get(url("calls"))
        .header("host", "attacker.example")
        .send()
        .await
        .unwrap();
    assert_eq!(rebound.status(), 403);
    let with_hooks = Aws::start().await;
    let bad = http
        .post(format!("{}/_emulator/faults", with_hooks.running.url()))
        .body(r#"{"service":"lambda","operation":"*","error":"x","count":1}"#)
        .send()
        .await
        .unwrap();
    assert_eq!(bad.status(), 400);
}

#[tokio::test]
async fn addresses_are_checked() {
    let everywhere = AwsEndpoint::bind(([0, 0, 0, 0], 0).into())
        .await
        .unwrap_err();
    assert!(matches!(everywhere, AwsError::NotLoopback(_)));
    let first = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = AwsEndpoint::bind(first.local_addr().unwrap())
        .await
        .unwrap_err();
    assert!(matches!(taken, AwsError::Listen { .. }));
}
