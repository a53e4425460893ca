//! The credentials of a session, with the product's own template: one session can reach nothing of
//! another, whatever it calls.

mod calls;
mod keys;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::{error::ProvideErrorMetadata, presigning::PresigningConfig};
use aws_sdk_sts::types::Tag;
use emulator::{
    aws::{AwsEndpoint, AwsOptions, RunningAws},
    credentials::{Credentials, Principal},
    process::Logs,
    template::Stack,
};

use self::calls::{object, rows};
use crate::{
    harness::{READER_TOKEN, Recorder, configuration},
    plain_http,
};

const TABLE: &str = "shannon-sessiontable";
const BUCKET: &str = "shannon-bucket";
const ROLE: &str = "arn:aws:iam::000000000000:role/shannon-runnersessionrole";

struct Product {
    running: RunningAws,
    credentials: Credentials,
}

/// A session: owner, session, tree.
type Whose = [&'static str; 3];
const MINE: Whose = ["me", "ses_mine", "ses_root"];
const MY_FORK: Whose = ["me", "ses_fork", "ses_root"];
const MY_OTHER: Whose = ["me", "ses_other", "ses_other"];
const THEIRS: Whose = ["them", "ses_theirs", "ses_theirs"];

fn product_with(key: &str) -> Stack {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    let parameters = [
        ("AccessTokenSha256", "0".repeat(64)),
        ("SigningKey", "0".repeat(32)),
        ("AnthropicApiKey", "a".repeat(32)),
        ("RunnerImage", "none".to_owned()),
        ("EncryptionKey", key.to_owned()),
    ];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value));
    emulator::template::load(&template, &parameters.into(), "shannon").unwrap()
}

impl Product {
    async fn start() -> Self {
        Self::start_with("aws").await
    }

    /// With that key: the account's own, or one of the stack.
    async fn start_with(key: &str) -> Self {
        let credentials = Credentials::default();
        let running = AwsEndpoint::bind(([127, 0, 0, 1], 0).into())
            .await
            .unwrap()
            .start(AwsOptions {
                state: None,
                key: None,
                credentials: credentials.clone(),
                stack: &product_with(key),
                invoker: Arc::new(Recorder::new()),
                lambda: Some(axum::Router::new()),
                task_programs: BTreeMap::new(),
                logs: Logs::new(None).unwrap(),
                reader_token: READER_TOKEN.to_owned(),
                test_hooks: true,
            })
            .await
            .unwrap();
        Self {
            running,
            credentials,
        }
    }

    fn of(&self, principal: Principal) -> SdkConfig {
        configuration(self.running.url(), &self.credentials.issue(principal))
    }

    /// What the gateway gives a session.
    async fn session(&self, [owner, session, tree]: Whose) -> SdkConfig {
        let gateway = self.of(Principal::Function("model-gateway".to_owned()));
        let sts = aws_sdk_sts::Client::new(&gateway);
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build().unwrap();
        let answer = sts
            .assume_role()
            .role_arn(ROLE)
            .role_session_name(session)
            .tags(tag("owner", owner))
            .tags(tag("session", session))
            .tags(tag("tree", tree))
            .send()
            .await
            .unwrap();
        let given = answer.credentials().unwrap();
        let minutes = (given.expiration().secs() - aws_now()) / 60;
        assert!(
            (58..=60).contains(&minutes),
            "an hour, not {minutes} minutes"
        );
        with(
            self.running.url(),
            given.access_key_id(),
            given.secret_access_key(),
            Some(given.session_token()),
        )
    }

    async fn seed(&self, [owner, session, tree]: Whose) {
        let operator = self.of(Principal::Operator);
        let rows = aws_sdk_dynamodb::Client::new(&operator);
        for partition in [
            format!("{owner}#{session}"),
            format!("tree#{owner}#{tree}"),
            owner.to_owned(),
            format!("policies#{owner}"),
            format!("audit#{owner}"),
            format!("slots#{owner}"),
        ] {
            let put = rows
                .put_item()
                .table_name(TABLE)
                .set_item(Some(key(&partition)));
            put.send().await.unwrap();
        }
        let objects = aws_sdk_s3::Client::new(&operator);
        for name in [
            format!("{owner}/{tree}/packs/x"),
            format!("uploads/{owner}/upl_x"),
        ] {
            objects
                .put_object()
                .bucket(BUCKET)
                .key(name)
                .send()
                .await
                .unwrap();
        }
    }
}

fn aws_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_secs()).unwrap()
}

fn with(url: &str, id: &str, secret: &str, token: Option<&str>) -> SdkConfig {
    let token = token.map(str::to_owned);
    let credentials = aws_credential_types::Credentials::new(id, secret, token, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .build()
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn key(partition: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("pk".to_owned(), text(partition)),
        ("sk".to_owned(), text("x")),
    ])
}

/// The code of a refused call, or nothing when it was done.
fn code<T, E: ProvideErrorMetadata>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => String::new(),
        Err(error) => error.code().unwrap_or("no code").to_owned(),
    }
}

fn denied(code: &str) -> bool {
    [
        "AccessDeniedException",
        "AccessDenied",
        "AuthorizationError",
        "status 403",
    ]
    .contains(&code)
}

#[tokio::test]
async fn a_session_reaches_its_own_and_nothing_of_another() {
    let product = Product::start().await;
    for whose in [MINE, MY_FORK, MY_OTHER, THEIRS] {
        product.seed(whose).await;
    }
    let mine = product.session(MINE).await;
    let client = aws_sdk_dynamodb::Client::new(&mine);
    for (partition, permitted) in [
        (
            "me#ses_mine",
            &[
                "GetItem",
                "Query",
                "PutItem",
                "UpdateItem",
                "TransactGetItems",
                "transacted Put",
                "transacted Update",
            ][..],
        ),
        (
            "tree#me#ses_root",
            &[
                "GetItem",
                "UpdateItem",
                "TransactGetItems",
                "transacted Update",
                "transacted ConditionCheck",
            ],
        ),
        ("policies#me", &["Query"]),
        ("policies#deployment", &["Query"]),
        ("slots#me", &["UpdateItem", "transacted Update"]),
        ("slots#deployment", &["UpdateItem", "transacted Update"]),
        ("runner", &["PutItem", "transacted Put"]),
        ("me#ses_fork", &[]),
        ("me#ses_other", &[]),
        ("me#ses_root", &[]),
        ("me#ses_min", &[]),
        ("me#ses_mine#", &[]),
        ("them#ses_mine", &[]),
        ("them#ses_theirs", &[]),
        ("tree#me#ses_other", &[]),
        ("tree#them#ses_root", &[]),
        ("me", &[]),
        ("them", &[]),
        ("policies#them", &[]),
        ("slots#them", &[]),
        ("audit#me", &[]),
        ("audit#deployment", &[]),
        ("refused", &[]),
    ] {
        for (call, answer) in rows(&client, partition).await {
            let expected = permitted.contains(&call);
            assert_eq!(
                answer.is_empty(),
                expected,
                "{call} of {partition}: {answer}"
            );
            assert!(
                expected || denied(&answer),
                "{call} of {partition}: {answer}"
            );
        }
    }
    for (index, name, value) in [
        ("by_owner", "owner_key", "me"),
        ("live", "live_key", "live#1"),
    ] {
        let query = client.query().table_name(TABLE).index_name(index);
        let query = query
            .key_condition_expression(format!("{name} = :value"))
            .expression_attribute_values(":value", text(value));
        assert!(denied(&code(query.send().await)), "{index}");
    }
    assert!(denied(&code(client.scan().table_name(TABLE).send().await)));

    let client = aws_sdk_s3::Client::new(&mine);
    let own = &[
        "GetObject",
        "HeadObject",
        "PutObject",
        "copy from it",
        "CreateMultipartUpload",
        "ListObjects",
    ][..];
    for (name, permitted) in [
        ("me/ses_root/packs/x", own),
        (
            "uploads/me/upl_x",
            &["GetObject", "HeadObject", "copy from it"],
        ),
        ("me/ses_other/packs/x", &[]),
        ("them/ses_theirs/packs/x", &[]),
        ("them/ses_root/packs/x", &[]),
        ("uploads/them/upl_x", &[]),
        ("audit/me/1.json", &[]),
    ] {
        for (call, answer) in object(&client, name).await {
            let expected = permitted.contains(&call);
            assert_eq!(answer.is_empty(), expected, "{call} of {name}: {answer}");
            assert!(expected || denied(&answer), "{call} of {name}: {answer}");
        }
    }
    let hour = PresigningConfig::expires_in(Duration::from_secs(3600)).unwrap();
    for (name, status) in [("me/ses_root/packs/x", 200), ("me/ses_other/packs/x", 403)] {
        let signed = client
            .get_object()
            .bucket(BUCKET)
            .key(name)
            .presigned(hour.clone())
            .await;
        let answer = plain_http::send("GET", signed.unwrap().uri(), &[], "").await;
        assert_eq!(answer.status, status, "{name}");
    }
}

#[tokio::test]
async fn a_session_runs_publishes_and_invokes_nothing_and_becomes_nobody_else() {
    let product = Product::start().await;
    let mine = product.session(MINE).await;
    let ecs = aws_sdk_ecs::Client::new(&mine);
    let run = ecs
        .run_task()
        .cluster("shannon")
        .task_definition("shannon-session-runner");
    assert!(denied(&code(run.send().await)));
    let stop = ecs.stop_task().cluster("shannon").task("t");
    assert!(denied(&code(stop.send().await)));
    let describe = ecs.describe_tasks().cluster("shannon").tasks("t");
    assert!(denied(&code(describe.send().await)));
    assert!(denied(&code(ecs.list_tasks().send().await)));
    let sns = aws_sdk_sns::Client::new(&mine);
    let topic = "arn:aws:sns:us-east-1:000000000000:shannon-notices";
    let publish = sns.publish().topic_arn(topic).message("m").send().await;
    assert!(denied(&code(publish)));
    let assume = async |config: &SdkConfig, tags: &[(&str, &str)]| {
        let sts = aws_sdk_sts::Client::new(config);
        let tags = tags
            .iter()
            .map(|(key, value)| Tag::builder().key(*key).value(*value));
        let tags = tags.map(|tag| tag.build().unwrap()).collect();
        let request = sts.assume_role().role_arn(ROLE).role_session_name("other");
        code(request.set_tags(Some(tags)).send().await)
    };
    let tags = [
        ("owner", "them"),
        ("session", "ses_theirs"),
        ("tree", "ses_theirs"),
    ];
    assert_eq!(assume(&mine, &tags).await, "AccessDenied");
    // Nor does any other function, and the gateway none without all tags.
    let call = product.of(Principal::Function("call".to_owned()));
    assert_eq!(assume(&call, &tags).await, "AccessDenied");
    let gateway = product.of(Principal::Function("model-gateway".to_owned()));
    assert_eq!(assume(&gateway, &tags).await, "");
    for tags in [
        &tags[..2],
        &tags[1..],
        &[("owner", ""), tags[1], tags[2]],
        &[],
    ] {
        assert_eq!(assume(&gateway, tags).await, "AccessDenied", "{tags:?}");
    }
}

#[tokio::test]
async fn the_role_of_the_task_itself_may_do_nothing() {
    let product = Product::start().await;
    product.seed(MINE).await;
    let task = product.of(Principal::Task {
        id: "t".to_owned(),
        started_by: "ses_mine".to_owned(),
        role: "arn:aws:iam::000000000000:role/shannon-runnerrole".to_owned(),
    });
    let client = aws_sdk_dynamodb::Client::new(&task);
    for (call, answer) in rows(&client, "me#ses_mine").await {
        assert!(denied(&answer), "{call}: {answer}");
    }
    let client = aws_sdk_s3::Client::new(&task);
    for (call, answer) in object(&client, "me/ses_root/packs/x").await {
        assert!(denied(&answer), "{call}: {answer}");
    }
}

#[tokio::test]
async fn a_key_of_a_session_is_nothing_without_its_token() {
    let product = Product::start().await;
    let held = Principal::Session {
        role: ROLE.to_owned(),
        name: "ses_mine".to_owned(),
        tags: [
            ("owner", "me"),
            ("session", "ses_mine"),
            ("tree", "ses_root"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
    };
    let good = product
        .credentials
        .issue_for(held.clone(), Duration::from_secs(60));
    let over = product.credentials.issue_for(held, Duration::ZERO);
    for (issued, token, rows, objects) in [
        (&good, Some(good.token.as_str()), "", ""),
        (&good, None, "UnrecognizedClientException", "InvalidToken"),
        (
            &good,
            Some(over.token.as_str()),
            "UnrecognizedClientException",
            "InvalidToken",
        ),
        (
            &over,
            Some(over.token.as_str()),
            "ExpiredTokenException",
            "ExpiredToken",
        ),
    ] {
        let config = with(
            product.running.url(),
            &issued.key.id,
            &issued.key.secret,
            token,
        );
        let client = aws_sdk_dynamodb::Client::new(&config);
        let read = client
            .get_item()
            .table_name(TABLE)
            .set_key(Some(key("me#ses_mine")));
        assert_eq!(code(read.send().await), rows);
        let client = aws_sdk_s3::Client::new(&config);
        let put = client
            .put_object()
            .bucket(BUCKET)
            .key("me/ses_root/packs/y");
        assert_eq!(code(put.send().await), objects);
    }
}
