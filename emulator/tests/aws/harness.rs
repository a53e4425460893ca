//! A running endpoint with a small stack, clients of the real SDK, and a recorder in the place of the
//! functions.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use emulator::{
    aws::{AwsEndpoint, AwsError, AwsOptions, RunningAws},
    credentials::{AccessKey, Credentials, Principal},
    encryption::StateKey,
    invoker::{InvocationError, Invoker},
    process::{self, Logs},
    template::{self, Stack},
};
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::watch;

use crate::plain_http;

/// Longest wait for something that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const TEMPLATE: &str = r#"
AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Parameters:
  KeyType: {Type: String, Default: S, AllowedValues: [S, N]}
  Versioning: {Type: String, Default: Enabled, AllowedValues: [Enabled, Suspended]}
  Locks: {Type: String, Default: 'true', AllowedValues: ['true', 'false']}
  Command: {Type: String, Default: exit 0}
  StopTimeout: {Type: Number, Default: 20}
  Period: {Type: String, Default: rate(1 hour)}
  BatchSize: {Type: Number, Default: 10}
  Window: {Type: Number, Default: 0}
  Streams: {Type: String, Default: 'on', AllowedValues: ['on', 'off']}
Conditions:
  HasStreams: !Equals [!Ref Streams, 'on']
Resources:
  ReconcilerFunction:
    Type: AWS::Serverless::Function
    Metadata: {BuildMethod: rust-cargolambda, BuildProperties: {Binary: reconciler}}
    Properties:
      Runtime: provided.al2023
      Handler: bootstrap
      Architectures: [arm64]
      CodeUri: .
      FunctionName: !Sub '${AWS::StackName}-reconciler'
      Timeout: 60
      MemorySize: 128
      Events:
        TaskStopped:
          Type: EventBridgeRule
          Properties:
            Pattern:
              source: [aws.ecs]
              detail-type: [ECS Task State Change]
              detail:
                clusterArn: [!GetAtt Cluster.Arn]
                lastStatus: [{anything-but: [NONE]}]
        Sweep:
          Type: Schedule
          Properties: {Schedule: !Ref Period}
  CallFunction:
    Type: AWS::Serverless::Function
    Metadata: {BuildMethod: rust-cargolambda, BuildProperties: {Binary: call}}
    Properties:
      Runtime: provided.al2023
      Handler: bootstrap
      Architectures: [arm64]
      CodeUri: .
      FunctionName: !Sub '${AWS::StackName}-call'
      Policies:
        - Statement:
            - Effect: Allow
              Action: [dynamodb:GetItem, dynamodb:PutItem, dynamodb:Query, dynamodb:ConditionCheckItem]
              Resource: !GetAtt Table.Arn
              Condition: {'ForAllValues:StringLike': {'dynamodb:LeadingKeys': ['owner#*', 'read-only']}}
            - Effect: Deny
              Action: dynamodb:PutItem
              Resource: '*'
              Condition: {'ForAnyValue:StringEquals': {'dynamodb:LeadingKeys': [read-only]}}
            - Effect: Allow
              Action: dynamodb:Query
              Resource: !Sub '${Table.Arn}/index/by_owner'
            - Effect: Allow
              Action: [s3:GetObject, s3:PutObject]
              Resource: !Sub '${Bucket.Arn}/mine/*'
            - Effect: Allow
              Action: s3:ListBucket
              Resource: !GetAtt Bucket.Arn
              Condition: {StringLike: {'s3:prefix': 'mine/*'}}
            - Effect: Allow
              Action: [ecs:RunTask, ecs:StopTask]
              Resource:
                - !Sub 'arn:aws:ecs:${AWS::Region}:${AWS::AccountId}:task-definition/${AWS::StackName}-runner:*'
                - !Sub 'arn:aws:ecs:${AWS::Region}:${AWS::AccountId}:task/${Cluster}/*'
            - Effect: Allow
              Action: iam:PassRole
              Resource: !GetAtt TaskRole.Arn
  TaskRole:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Version: '2012-10-17'
        Statement: [{Effect: Allow, Principal: {Service: ecs-tasks.amazonaws.com}, Action: 'sts:AssumeRole'}]
      Policies:
        - PolicyName: publish
          PolicyDocument:
            Version: '2012-10-17'
            Statement:
              - {Effect: Allow, Action: sns:Publish, Resource: !Ref Topic}
              - {Effect: Allow, Action: s3:PutObject, Resource: !Sub '${Bucket.Arn}/k'}
  ProjectorFunction:
    Type: AWS::Serverless::Function
    Condition: HasStreams
    Metadata: {BuildMethod: rust-cargolambda, BuildProperties: {Binary: projector}}
    Properties:
      Runtime: provided.al2023
      Handler: bootstrap
      Architectures: [arm64]
      CodeUri: .
      FunctionName: !Sub '${AWS::StackName}-projector'
      Events:
        Watched:
          Type: DynamoDB
          Properties:
            Stream: !GetAtt Table.StreamArn
            StartingPosition: TRIM_HORIZON
            BatchSize: !Ref BatchSize
            MaximumBatchingWindowInSeconds: !Ref Window
            MaximumRetryAttempts: 1
            BisectBatchOnFunctionError: true
            FunctionResponseTypes: [ReportBatchItemFailures]
            DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt Failures.Arn}}
            FilterCriteria:
              Filters:
                - Pattern: '{"dynamodb":{"Keys":{"pk":{"S":[{"prefix":"watched"}]}}}}'
  Topic:
    Type: AWS::SNS::Topic
  Failures:
    Type: AWS::SQS::Queue
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      StreamSpecification: !If [HasStreams, {StreamViewType: NEW_AND_OLD_IMAGES}, !Ref AWS::NoValue]
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions:
        - {AttributeName: pk, AttributeType: S}
        - {AttributeName: sk, AttributeType: !Ref KeyType}
        - {AttributeName: owner, AttributeType: S}
      KeySchema:
        - {AttributeName: pk, KeyType: HASH}
        - {AttributeName: sk, KeyType: RANGE}
      GlobalSecondaryIndexes:
        - IndexName: by_owner
          KeySchema: [{AttributeName: owner, KeyType: HASH}]
          Projection: {ProjectionType: ALL}
      TimeToLiveSpecification: {AttributeName: expires_at, Enabled: true}
  Bucket:
    Type: AWS::S3::Bucket
    Properties:
      VersioningConfiguration: {Status: !Ref Versioning}
      ObjectLockEnabled: !Ref Locks
  Cluster:
    Type: AWS::ECS::Cluster
    Properties: {ClusterName: !Ref AWS::StackName}
  Definition:
    Type: AWS::ECS::TaskDefinition
    Properties:
      Family: !Sub '${AWS::StackName}-runner'
      TaskRoleArn: !GetAtt TaskRole.Arn
      RequiresCompatibilities: [FARGATE]
      NetworkMode: awsvpc
      Cpu: 256
      Memory: 512
      ContainerDefinitions:
        - Name: runner
          Image: runner
          Essential: true
          StopTimeout: !Ref StopTimeout
          Command: [-c, !Ref Command]
          Environment:
            - {Name: GREETING, Value: hello}
            - {Name: CHANGED, Value: before}
"#;

/// May read the counted calls.
pub(crate) const READER_TOKEN: &str = "reader-token-of-the-tests";

/// Table, bucket and cluster of the stack.
pub(crate) const TABLE: &str = "test-table";
pub(crate) const BUCKET: &str = "test-bucket";
pub(crate) const CLUSTER: &str = "test";

pub(crate) fn stack(parameters: &[(&str, &str)]) -> Stack {
    let parameters: BTreeMap<_, _> = parameters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    template::parse(TEMPLATE, &parameters, "test").unwrap()
}

/// Remembers what functions were called with.
#[derive(Clone)]
pub(crate) struct Recorder {
    events: Arc<Mutex<Vec<(String, Value)>>>,
    count: watch::Sender<usize>,
    /// While false, a call does not return.
    answering: watch::Sender<bool>,
    /// What the next invocations that are waited for give; all others succeed.
    answers: Arc<Mutex<VecDeque<Result<Value, InvocationError>>>>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            events: Arc::default(),
            count: watch::Sender::new(0),
            answering: watch::Sender::new(true),
            answers: Arc::default(),
        }
    }

    pub(crate) fn answer(&self, answering: bool) {
        self.answering.send_replace(answering);
    }

    /// The next invocation that is waited for gives this, behind those that were said before.
    pub(crate) fn will_answer(&self, answer: Result<Value, InvocationError>) {
        self.answers.lock().unwrap().push_back(answer);
    }

    pub(crate) fn events(&self) -> Vec<(String, Value)> {
        self.events.lock().unwrap().clone()
    }

    /// Waits until an event fulfils `wanted`.
    pub(crate) async fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut count = self.count.subscribe();
        let found = async {
            loop {
                count.borrow_and_update();
                let found = self.events().into_iter().find(|(_, event)| wanted(event));
                if let Some((_, event)) = found {
                    return event;
                }
                count.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(event) => event,
            Err(_) => panic!("no {what} among {:#?}", self.events()),
        }
    }
}

impl Invoker for Recorder {
    fn invoke_event(&self, function: &str, payload: Value) -> BoxFuture<'static, ()> {
        let (recorder, function) = (self.clone(), function.to_owned());
        Box::pin(async move {
            recorder.events.lock().unwrap().push((function, payload));
            recorder.count.send_modify(|count| *count += 1);
            let mut answering = recorder.answering.subscribe();
            answering.wait_for(|answering| *answering).await.unwrap();
        })
    }

    fn invoke_for_answer(
        &self,
        function: &str,
        payload: Value,
    ) -> BoxFuture<'static, Result<Bytes, InvocationError>> {
        let recorder = self.clone();
        let called = self.invoke_event(function, payload);
        Box::pin(async move {
            called.await;
            let answer = recorder.answers.lock().unwrap().pop_front();
            answer.map_or(Ok(Bytes::new()), |answer| {
                answer.map(|value| Bytes::from(value.to_string()))
            })
        })
    }
}

/// What a test wants to be different.
#[derive(Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) state: Option<&'a Path>,
    pub(crate) parameters: &'a [(&'a str, &'a str)],
    pub(crate) without_hooks: bool,
    pub(crate) program: Option<PathBuf>,
    pub(crate) key: Option<StateKey>,
}

/// Stands for the functions: says which path was called with what, by whom.
fn functions_router() -> axum::Router {
    use axum::{Json, extract::Request};
    axum::Router::new().fallback(|request: Request| async move {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Json(serde_json::json!({
            "path": parts.uri.path(),
            "body": String::from_utf8_lossy(&body),
            "principal": format!("{:?}", parts.extensions.get::<Principal>()),
        }))
    })
}

/// A running endpoint.
pub(crate) struct Aws {
    pub(crate) running: RunningAws,
    pub(crate) credentials: Credentials,
    pub(crate) functions: Recorder,
    pub(crate) key: AccessKey,
}

impl Aws {
    pub(crate) async fn start() -> Self {
        Self::with(Wanted::default()).await.unwrap()
    }

    pub(crate) async fn with(wanted: Wanted<'_>) -> Result<Self, AwsError> {
        process::set_wrapper(env!("CARGO_BIN_EXE_emulator"));
        let credentials = Credentials::default();
        let functions = Recorder::new();
        let key = credentials.issue(Principal::Operator);
        let program = wanted.program.unwrap_or_else(|| PathBuf::from("/bin/sh"));
        let running = AwsEndpoint::bind(([127, 0, 0, 1], 0).into())
            .await?
            .start(AwsOptions {
                state: wanted.state.map(Path::to_owned),
                key: wanted.key,
                credentials: credentials.clone(),
                stack: &stack(wanted.parameters),
                invoker: Arc::new(functions.clone()),
                lambda: Some(functions_router()),
                task_programs: BTreeMap::from([("runner".to_owned(), program)]),
                logs: Logs::new(None).unwrap(),
                reader_token: READER_TOKEN.to_owned(),
                test_hooks: !wanted.without_hooks,
            })
            .await?;
        Ok(Self {
            running,
            credentials,
            functions,
            key,
        })
    }

    pub(crate) fn configuration(&self) -> SdkConfig {
        configuration(self.running.url(), &self.key)
    }

    pub(crate) fn s3(&self) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::new(&self.configuration())
    }

    pub(crate) fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.configuration())
    }

    pub(crate) fn sns(&self) -> aws_sdk_sns::Client {
        aws_sdk_sns::Client::new(&self.configuration())
    }

    /// What was published and sent so far, oldest first: destination and body.
    pub(crate) async fn messages(&self) -> Vec<(String, Value)> {
        let url = format!("{}/_emulator/messages", self.running.url());
        let authorization = format!("Bearer {READER_TOKEN}");
        let headers = [("authorization", authorization.as_str())];
        let answer = plain_http::send("GET", &url, &headers, "").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let listed: Value = serde_json::from_str(&answer.text).unwrap();
        let messages = listed["messages"].as_array().unwrap().iter();
        messages
            .map(|message| {
                let text = |name: &str| message[name].as_str().unwrap().to_owned();
                (
                    text("destination"),
                    serde_json::from_str(&text("body")).unwrap(),
                )
            })
            .collect()
    }

    pub(crate) fn ecs(&self) -> aws_sdk_ecs::Client {
        aws_sdk_ecs::Client::new(&self.configuration())
    }

    /// Plans a fault over the endpoint's own route.
    pub(crate) async fn fault(&self, service: &str, operation: &str, error: &str, count: u32) {
        plan_fault(self.running.url(), service, operation, error, count).await;
    }
}

pub(crate) async fn plan_fault(url: &str, service: &str, operation: &str, error: &str, count: u32) {
    let fault = serde_json::json!({
        "service": service, "operation": operation, "error": error, "count": count,
    });
    let url = format!("{url}/_emulator/faults");
    let answer = plain_http::send("POST", &url, &[], fault.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// Settings for any client of the SDK: nothing is retried, so that a test sees each answer.
pub(crate) fn configuration(url: &str, key: &AccessKey) -> SdkConfig {
    let credentials = aws_credential_types::Credentials::new(
        key.id.clone(),
        key.secret.clone(),
        None,
        None,
        "test",
    );
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .build()
}

/// The error code of a refused call.
pub(crate) fn code<E, R>(error: &aws_sdk_s3::error::SdkError<E, R>) -> String
where
    E: aws_sdk_s3::error::ProvideErrorMetadata,
{
    match error {
        aws_sdk_s3::error::SdkError::ServiceError(error) => {
            error.err().code().unwrap_or_default().to_owned()
        }
        _ => String::new(),
    }
}

/// Waits until `done`, looking again and again, because what happens has no other sign.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !done().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what} did not happen"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Writes an object and returns its version.
pub(crate) async fn put(client: &aws_sdk_s3::Client, key: &str, body: &str) -> String {
    let put = client
        .put_object()
        .bucket(BUCKET)
        .key(key)
        .body(ByteStream::from(body.as_bytes().to_vec()))
        .send()
        .await
        .unwrap();
    put.version_id().unwrap_or_default().to_owned()
}

/// The text of an object.
pub(crate) async fn get(client: &aws_sdk_s3::Client, key: &str) -> String {
    let got = client
        .get_object()
        .bucket(BUCKET)
        .key(key)
        .send()
        .await
        .unwrap();
    text(got.body).await
}

/// The text of a body.
pub(crate) async fn text(body: ByteStream) -> String {
    String::from_utf8(body.collect().await.unwrap().to_vec()).unwrap()
}
