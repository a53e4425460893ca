//! What a role of the template does not permit is refused, with AWS's own errors.

use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Put, TransactWriteItem};
use aws_sdk_ecs::types::{AwsVpcConfiguration, NetworkConfiguration, Tag, TaskOverride};
use aws_sdk_s3::{
    error::{ProvideErrorMetadata, SdkError},
    presigning::PresigningConfig,
    types::{Delete, ObjectIdentifier},
};
use emulator::{aws::RunningAws, credentials::Principal};
use serde_json::Value;
use std::{collections::HashMap, fmt::Debug, time::Duration};

use crate::{
    harness::{Aws, BUCKET, CLUSTER, READER_TOKEN, TABLE, configuration, put},
    plain_http,
};

fn key(partition: &str) -> HashMap<String, AttributeValue> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    HashMap::from([
        ("pk".to_owned(), text(partition)),
        ("sk".to_owned(), text("1")),
    ])
}

/// The SDK's configuration of somebody else than the operator.
fn of(aws: &Aws, principal: Principal) -> aws_config::SdkConfig {
    configuration(aws.running.url(), &aws.credentials.issue(principal))
}

fn call_function() -> Principal {
    Principal::Function("call".to_owned())
}

/// Code, words and status of a refusal.
fn refusal<T: Debug, E>(result: Result<T, SdkError<E>>) -> (String, String, u16)
where
    E: ProvideErrorMetadata + Debug,
{
    match result {
        Err(SdkError::ServiceError(answer)) => (
            answer.err().code().unwrap_or_default().to_owned(),
            answer.err().message().unwrap_or_default().to_owned(),
            answer.raw().status().as_u16(),
        ),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn rows_are_those_of_the_partitions_that_the_role_names() {
    let aws = Aws::start().await;
    let function = aws_sdk_dynamodb::Client::new(&of(&aws, call_function()));
    let store = |partition: &str| {
        let request = function.put_item().table_name(TABLE);
        request.set_item(Some(key(partition))).send()
    };
    let read = |partition: &str| {
        let request = function.get_item().table_name(TABLE);
        request.set_key(Some(key(partition))).send()
    };
    store("owner#1").await.unwrap();
    assert!(read("owner#1").await.unwrap().item().is_some());
    read("read-only").await.unwrap();
    let (code, words, status) = refusal(read("other").await);
    assert_eq!((code.as_str(), status), ("AccessDeniedException", 400));
    assert_eq!(
        words,
        "User: arn:aws:sts::000000000000:assumed-role/test-callfunctionrole/test-call is not \
         authorized to perform: dynamodb:GetItem on resource: \
         arn:aws:dynamodb:us-east-1:000000000000:table/test-table because no identity-based policy \
         allows the dynamodb:GetItem action"
    );
    let (_, words, _) = refusal(store("read-only").await);
    assert!(
        words.ends_with("with an explicit deny in an identity-based policy"),
        "{words}"
    );

    // Each part of a transaction counts, and one refusal stops all of it.
    let put = |partition: &str| {
        let put = Put::builder()
            .table_name(TABLE)
            .set_item(Some(key(partition)));
        TransactWriteItem::builder()
            .put(put.build().unwrap())
            .build()
    };
    let check = |partition: &str| {
        let check = ConditionCheck::builder()
            .table_name(TABLE)
            .set_key(Some(key(partition)))
            .condition_expression("attribute_not_exists(absent)");
        TransactWriteItem::builder()
            .condition_check(check.build().unwrap())
            .build()
    };
    let transact = |parts: Vec<TransactWriteItem>| {
        function
            .transact_write_items()
            .set_transact_items(Some(parts))
            .send()
    };
    transact(vec![put("owner#2"), check("owner#1")])
        .await
        .unwrap();
    for parts in [
        vec![put("owner#3"), put("other")],
        vec![put("owner#3"), check("other")],
        vec![put("owner#3"), put("read-only")],
    ] {
        assert_eq!(refusal(transact(parts).await).0, "AccessDeniedException");
    }
    assert!(read("owner#3").await.unwrap().item().is_none());

    let query = |index: Option<&str>, name: &str, value: &str| {
        function
            .query()
            .table_name(TABLE)
            .set_index_name(index.map(str::to_owned))
            .key_condition_expression("#name = :value")
            .expression_attribute_names("#name", name)
            .expression_attribute_values(":value", AttributeValue::S(value.to_owned()))
            .send()
    };
    query(None, "pk", "owner#1").await.unwrap();
    query(Some("by_owner"), "owner", "anybody").await.unwrap();
    assert_eq!(
        refusal(query(None, "pk", "other").await).0,
        "AccessDeniedException"
    );
    let deleted = function
        .delete_item()
        .table_name(TABLE)
        .set_key(Some(key("owner#1")));
    assert_eq!(refusal(deleted.send().await).0, "AccessDeniedException");
    let scanned = function.scan().table_name(TABLE).send().await;
    assert_eq!(refusal(scanned).0, "AccessDeniedException");
    let statement = function
        .execute_statement()
        .statement("SELECT * FROM \"test-table\"");
    assert_eq!(refusal(statement.send().await).0, "AccessDeniedException");
}

#[tokio::test]
async fn objects_are_those_of_the_prefixes_that_the_role_names() {
    let aws = Aws::start().await;
    put(&aws.s3(), "others/1", "others").await;
    let function = aws_sdk_s3::Client::new(&of(&aws, call_function()));
    put(&function, "mine/1", "mine").await;
    let get = |key: &str| function.get_object().bucket(BUCKET).key(key).send();
    get("mine/1").await.unwrap();
    let (code, words, status) = refusal(get("others/1").await);
    assert_eq!((code.as_str(), status), ("AccessDenied", 403));
    assert!(
        words.contains("s3:GetObject on resource: arn:aws:s3:::test-bucket/others/1"),
        "{words}"
    );
    // Who may list some prefixes only is not told that an object is missing.
    assert_eq!(refusal(get("mine/missing").await).0, "AccessDenied");
    let missing = aws
        .s3()
        .get_object()
        .bucket(BUCKET)
        .key("mine/missing")
        .send();
    assert_eq!(refusal(missing.await).0, "NoSuchKey");

    let list = |prefix: Option<&str>| {
        let request = function.list_objects_v2().bucket(BUCKET);
        request.set_prefix(prefix.map(str::to_owned)).send()
    };
    assert_eq!(list(Some("mine/")).await.unwrap().key_count(), Some(1));
    for prefix in [None, Some(""), Some("others/"), Some("min")] {
        assert_eq!(refusal(list(prefix).await).0, "AccessDenied", "{prefix:?}");
    }
    let copy = |source: &str| {
        let request = function.copy_object().bucket(BUCKET).key("mine/copy");
        request.copy_source(format!("{BUCKET}/{source}")).send()
    };
    copy("mine/1").await.unwrap();
    assert_eq!(refusal(copy("others/1").await).0, "AccessDenied");
    let delete = function.delete_object().bucket(BUCKET).key("mine/1").send();
    assert_eq!(refusal(delete.await).0, "AccessDenied");
    let object = ObjectIdentifier::builder().key("mine/1").build().unwrap();
    let several = Delete::builder().objects(object).build().unwrap();
    let several = function
        .delete_objects()
        .bucket(BUCKET)
        .delete(several)
        .send();
    assert_eq!(refusal(several.await).0, "AccessDenied");
}

/// An address is worth what its signer may do.
#[tokio::test]
async fn signed_addresses_are_worth_what_their_signer_may() {
    let aws = Aws::start().await;
    let function = aws_sdk_s3::Client::new(&of(&aws, call_function()));
    let hour = || PresigningConfig::expires_in(Duration::from_secs(3600)).unwrap();
    for (key, status) in [("mine/up", 200), ("others/up", 403)] {
        let request = function.put_object().bucket(BUCKET).key(key);
        let signed = request.presigned(hour()).await.unwrap();
        let answer = plain_http::send("PUT", signed.uri(), &[], "uploaded").await;
        assert_eq!(answer.status, status, "{key}: {}", answer.text);
    }
}

#[tokio::test]
async fn who_runs_a_task_may_hand_on_its_role() {
    let aws = Aws::start().await;
    let function = aws_sdk_ecs::Client::new(&of(&aws, call_function()));
    let run = || {
        let vpc = AwsVpcConfiguration::builder().subnets("s").build().unwrap();
        let network = NetworkConfiguration::builder()
            .awsvpc_configuration(vpc)
            .build();
        let request = function
            .run_task()
            .cluster(CLUSTER)
            .task_definition("test-runner");
        request.network_configuration(network)
    };
    let started = run().send().await.unwrap();
    let task = started.tasks()[0].task_arn().unwrap().to_owned();
    let stop = function.stop_task().cluster(CLUSTER).task(&task).send();
    stop.await.unwrap();
    let tagged = run()
        .tags(Tag::builder().key("k").value("v").build())
        .send();
    let (code, words, _) = refusal(tagged.await);
    assert_eq!(code, "AccessDeniedException");
    assert!(words.contains("ecs:TagResource"), "{words}");
    let other = TaskOverride::builder().task_role_arn("arn:aws:iam::000000000000:role/admin");
    let (_, words, _) = refusal(run().overrides(other.build()).send().await);
    assert!(
        words.contains("iam:PassRole on resource: arn:aws:iam::000000000000:role/admin"),
        "{words}"
    );
    let describe = function
        .describe_tasks()
        .cluster(CLUSTER)
        .tasks(&task)
        .send();
    assert_eq!(refusal(describe.await).0, "AccessDeniedException");
    let clusters = function.describe_clusters().send();
    assert_eq!(refusal(clusters.await).0, "AccessDeniedException");
}

/// A task has its own role, whoever started it; without one it may do nothing.
#[tokio::test]
async fn a_task_may_what_its_role_may() {
    let aws = Aws::start().await;
    let topic = "arn:aws:sns:us-east-1:000000000000:test-topic";
    let task = |role: &str| Principal::Task {
        id: "t".to_owned(),
        started_by: "s".to_owned(),
        role: role.to_owned(),
    };
    let publish = async |principal: Principal| {
        let client = aws_sdk_sns::Client::new(&of(&aws, principal));
        client.publish().topic_arn(topic).message("m").send().await
    };
    let role = "arn:aws:iam::000000000000:role/test-taskrole";
    publish(task(role)).await.unwrap();
    for refused in [
        task(""),
        task("arn:aws:iam::000000000000:role/none"),
        call_function(),
    ] {
        let (code, words, status) = refusal(publish(refused).await);
        assert_eq!((code.as_str(), status), ("AuthorizationError", 403));
        assert!(
            words.contains(&format!("sns:Publish on resource: {topic}")),
            "{words}"
        );
    }
    let client = aws_sdk_s3::Client::new(&of(&aws, task(role)));
    let buckets = client.list_buckets().send().await;
    assert_eq!(refusal(buckets).0, "AccessDenied");
}

#[tokio::test]
async fn what_roles_asked_for_is_remembered_for_tests() {
    let aws = Aws::start().await;
    let function = aws_sdk_dynamodb::Client::new(&of(&aws, call_function()));
    for partition in ["owner#1", "owner#1", "other"] {
        let read = function.get_item().table_name(TABLE);
        let read = read.set_key(Some(key(partition))).send().await;
        assert_eq!(read.is_ok(), partition != "other");
    }
    aws.dynamodb().list_tables().send().await.unwrap();
    let remembered = async |running: &RunningAws, token: &str| {
        let url = format!("{}/_emulator/permissions", running.url());
        let bearer = format!("Bearer {token}");
        plain_http::send("GET", &url, &[("authorization", &bearer)], "").await
    };
    assert_eq!(remembered(&aws.running, "another").await.status, 401);
    let answer = remembered(&aws.running, READER_TOKEN).await;
    let answer: Value = serde_json::from_str(&answer.text).unwrap();
    let requests = answer["requests"].as_array().unwrap().iter();
    let requests: Vec<_> = requests
        .map(|request| {
            let keys = &request["context"]["dynamodb:leadingkeys"][0];
            (
                request["role"].as_str(),
                request["action"].as_str(),
                keys.as_str(),
                &request["allowed"],
            )
        })
        .collect();
    let role = Some("test-callfunctionrole");
    let get = Some("dynamodb:GetItem");
    assert_eq!(
        requests,
        [
            (role, get, Some("other"), &Value::Bool(false)),
            (role, get, Some("owner#1"), &Value::Bool(true)),
        ]
    );
    let wanted = crate::harness::Wanted {
        without_hooks: true,
        ..Default::default()
    };
    let aws = Aws::with(wanted).await.unwrap();
    assert_eq!(remembered(&aws.running, READER_TOKEN).await.status, 404);
}
