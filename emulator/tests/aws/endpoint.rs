//! The one endpoint: who is let in, what is counted, and the hooks for tests.

use std::{collections::BTreeMap, sync::Arc};

use aws_sdk_dynamodb::types::AttributeValue;
use emulator::{
    aws::{AwsEndpoint, AwsError, AwsOptions},
    credentials::{AccessKey, Credentials, Principal},
    process::Logs,
};

use crate::{
    harness::{Aws, READER_TOKEN, TABLE, Wanted, code, configuration},
    plain_http,
};

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
    let target = [("x-amz-target", "DynamoDB_20120810.ListTables")];
    let unsigned = plain_http::send("POST", url, &target, "{}").await;
    assert_eq!(unsigned.status, 400);
    assert!(
        unsigned
            .text
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
    let counted = format!("{}/_emulator/calls", aws.running.url());
    for refused in [
        "",
        "Bearer ",
        "Bearer another-token",
        READER_TOKEN,
        "Basic reader-token-of-the-tests",
    ] {
        let answer = plain_http::send("GET", &counted, &[("authorization", refused)], "").await;
        assert_eq!(answer.status, 401, "{refused:?}");
        assert!(!answer.text.contains("PutItem"), "{}", answer.text);
    }
    assert_eq!(plain_http::send("GET", &counted, &[], "").await.status, 401);
    let bearer = format!("Bearer {READER_TOKEN}");
    let answer = plain_http::send("GET", &counted, &[("authorization", &bearer)], "").await;
    let answer: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
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
    let url = |path: &str| format!("{}/_emulator/{path}", aws.running.url());
    for path in ["faults", "schedules/reconciler"] {
        let answer = plain_http::send("POST", &url(path), &[], "{}").await;
        assert_eq!(answer.status, 404, "{path}");
    }
    let rebound = [("host", "attacker.example")];
    let rebound = plain_http::send("GET", &url("calls"), &rebound, "").await;
    assert_eq!(rebound.status, 403);
    let with_hooks = Aws::start().await;
    let faults = format!("{}/_emulator/faults", with_hooks.running.url());
    let unknown = r#"{"service":"lambda","operation":"*","error":"x","count":1}"#;
    assert_eq!(
        plain_http::send("POST", &faults, &[], unknown).await.status,
        400
    );
    assert_eq!(
        plain_http::send("POST", &faults, &[], "{").await.status,
        400
    );
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

#[tokio::test]
async fn the_product_template_starts_and_starts_again() {
    let template = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    let parameters = [
        ("AccessTokenSha256", "0".repeat(64)),
        ("SigningKey", "0".repeat(32)),
        ("AnthropicApiKey", "a".repeat(32)),
        ("RunnerImage", "none".to_owned()),
    ];
    let parameters = parameters
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    let stack = emulator::template::load(&template, &parameters, "shannon").unwrap();
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let credentials = Credentials::default();
        let key = credentials.issue(Principal::Operator);
        let running = AwsEndpoint::bind(([127, 0, 0, 1], 0).into())
            .await
            .unwrap()
            .start(AwsOptions {
                state: Some(directory.path().to_owned()),
                key: None,
                credentials,
                stack: &stack,
                invoker: Arc::new(crate::harness::Recorder::new()),
                lambda: None,
                task_programs: BTreeMap::new(),
                logs: Logs::new(None).unwrap(),
                reader_token: READER_TOKEN.to_owned(),
                test_hooks: false,
            })
            .await
            .unwrap();
        let configuration = configuration(running.url(), &key);
        let dynamodb = aws_sdk_dynamodb::Client::new(&configuration);
        let name = &stack.tables[0].name;
        let table = dynamodb
            .describe_table()
            .table_name(name)
            .send()
            .await
            .unwrap();
        let table = table.table().unwrap();
        let mut indexes: Vec<_> = table
            .global_secondary_indexes()
            .iter()
            .map(|index| index.index_name().unwrap())
            .collect();
        indexes.sort_unstable();
        assert_eq!(indexes, ["by_owner", "live"]);
        let ttl = dynamodb
            .describe_time_to_live()
            .table_name(name)
            .send()
            .await
            .unwrap();
        let ttl = ttl.time_to_live_description().unwrap();
        assert_eq!(ttl.attribute_name(), Some("expires_at"));
        let s3 = aws_sdk_s3::Client::new(&configuration);
        let bucket = s3.get_bucket_versioning().bucket(&stack.buckets[0].name);
        let status = bucket.send().await.unwrap().status().cloned();
        assert_eq!(status.unwrap().as_str(), "Enabled");
        let ecs = aws_sdk_ecs::Client::new(&configuration);
        let definition = ecs
            .describe_task_definition()
            .task_definition("shannon-session-runner");
        let definition = definition.send().await.unwrap();
        // Unchanged, the second start adds no revision.
        assert_eq!(definition.task_definition().unwrap().revision(), 1);
        running.shutdown().await;
    }
}
