//! The template that is deployed, as the emulator understands it, and what it refuses.

use std::collections::BTreeMap;

use emulator::template::{Stack, TemplateError, load, parse};

mod login;
mod roles;

fn given(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let sha256 = "0".repeat(64);
    let key = "k".repeat(32);
    [
        ("AccessTokenSha256", sha256.as_str()),
        ("SigningKey", key.as_str()),
        ("AnthropicApiKey", key.as_str()),
        ("RunnerImage", "none"),
    ]
    .iter()
    .chain(more)
    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
    .collect()
}

fn real(more: &[(&str, &str)]) -> Result<Stack, TemplateError> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    load(&path, &given(more), "shannon")
}

#[test]
fn the_real_template_resolves() {
    let stack = real(&[("PublicUrl", "http://127.0.0.1:3000")]).unwrap();
    assert_eq!(stack.stage, "production");
    let call = stack
        .functions
        .iter()
        .find(|one| one.name == "call")
        .unwrap();
    assert_eq!(call.logical_id, "CallFunction");
    assert_eq!(call.function_name, "shannon-call");
    assert_eq!(call.memory_mib, 256);
    assert!((call.timeout_seconds - 600.0).abs() < f64::EPSILON);
    let environment = &call.environment;
    assert_eq!(environment["SHANNON_STAGE"], "production", "from Globals");
    assert_eq!(environment["SHANNON_TABLE"], stack.tables[0].name);
    assert_eq!(environment["SHANNON_TABLE"], "shannon-sessiontable");
    assert_eq!(environment["SHANNON_CLUSTER"], "shannon");
    assert_eq!(
        environment["SHANNON_SUBNETS"],
        "shannon-subneta,shannon-subnetb"
    );
    let legacy = stack.functions.iter().find(|one| one.name == "legacy");
    assert_eq!(legacy.unwrap().environment, *environment, "an anchor");

    let model = stack
        .routes
        .iter()
        .find(|route| route.path == "/model/{proxy+}");
    let model = model.unwrap();
    assert_eq!(model.function, "model-gateway");
    assert_eq!(model.authorizer, None);
    assert!(model.streaming);
    assert_eq!(model.timeout_milliseconds, 900_000);
    let mcp = stack
        .routes
        .iter()
        .find(|route| route.path == "/mcp")
        .unwrap();
    assert_eq!(
        (mcp.method.as_str(), mcp.authorizer.as_deref()),
        ("ANY", Some("Token"))
    );
    let authorizer = &stack.authorizers[0];
    assert_eq!(authorizer.function, "authorizer");
    assert_eq!(authorizer.identity_headers, ["authorization"]);
    assert_eq!(authorizer.ttl_seconds, 60);

    let unauthorized = &stack.gateway_responses["UNAUTHORIZED"];
    assert_eq!(unauthorized.status, Some(401));
    assert_eq!(
        unauthorized.headers["www-authenticate"],
        "Bearer scope=\"sessions:read sessions:write\", \
         resource_metadata=\"http://127.0.0.1:3000/.well-known/oauth-protected-resource/mcp\""
    );
    let denied = &real(&[]).unwrap().gateway_responses["ACCESS_DENIED"];
    assert_eq!(
        denied.headers["www-authenticate"],
        "Bearer error=\"insufficient_scope\", scope=\"sessions:read sessions:write\""
    );

    let table = &stack.tables[0];
    assert_eq!(table.ttl_attribute.as_deref(), Some("expires_at"));
    assert!(table.point_in_time_recovery);
    assert_eq!(table.create_table["BillingMode"], "PAY_PER_REQUEST");
    assert_eq!(
        table.create_table["GlobalSecondaryIndexes"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert!(stack.buckets[0].versioning);
    assert_eq!(stack.buckets[0].name, "shannon-bucket");

    let task = &stack.task_definitions[0];
    assert_eq!(task["family"], "shannon-session-runner");
    assert_eq!(task["cpu"], "1024");
    // Not stated: the 20 GiB that cost nothing. ECS takes no 20.
    assert_eq!(task.get("ephemeralStorage"), None);
    let larger = real(&[("RunnerDiskGib", "30")]).unwrap();
    let larger = &larger.task_definitions[0];
    assert_eq!(larger["ephemeralStorage"]["sizeInGiB"], 30);
    let container = &task["containerDefinitions"][0];
    assert_eq!(container["stopTimeout"], 110);
    assert_eq!(container["essential"], true);
    assert_eq!(
        container["logConfiguration"]["options"]["awslogs-region"],
        "us-east-1"
    );
    let gateway = container["environment"].as_array().unwrap();
    let gateway = gateway
        .iter()
        .find(|one| one["name"] == "SHANNON_GATEWAY_URL");
    assert_eq!(gateway.unwrap()["value"], "http://127.0.0.1:3000");

    assert_eq!(stack.rules[0].function, "reconciler");
    assert_eq!(
        stack.rules[0].pattern["detail"]["clusterArn"][0],
        "arn:aws:ecs:us-east-1:000000000000:cluster/shannon"
    );
    assert_eq!(stack.schedules[0].seconds, 60);
    assert_eq!(stack.outputs["McpUrl"], "http://127.0.0.1:3000/mcp");
}

/// What a session stored lives as long as the session, which no rule by age can know.
#[test]
fn nothing_that_a_session_stored_expires_by_age() {
    let stack = real(&[("RetentionDays", "7")]).unwrap();
    let rules = &stack.buckets[0].lifecycle;
    let ending = |rule: &serde_json::Value| -> Vec<String> {
        let known = ["Id", "Status", "Prefix", "NoncurrentVersionExpiration"];
        let known = known.into_iter().chain([
            "AbortIncompleteMultipartUpload",
            "ExpiredObjectDeleteMarker",
        ]);
        let known: Vec<&str> = known.collect();
        let names = rule.as_object().unwrap().keys();
        names
            .filter(|name| !known.contains(&name.as_str()))
            .cloned()
            .collect()
    };
    for rule in rules {
        assert_eq!(rule["Status"], "Enabled", "{rule}");
        let by_age = ending(rule);
        if rule["Prefix"] == "uploads/" {
            assert_eq!(by_age, ["ExpirationInDays"], "{rule}");
            assert_eq!(rule["ExpirationInDays"], "7", "{rule}");
        } else if rule["Prefix"] == "audit/" {
            // Long after what it is about.
            assert_eq!(by_age, ["ExpirationInDays"], "{rule}");
            assert_eq!(rule["ExpirationInDays"], "2557", "{rule}");
        } else {
            assert!(by_age.is_empty(), "{rule} ends {by_age:?}");
        }
    }
    // What cannot be read any more goes, whatever it was.
    let everywhere: Vec<_> = rules
        .iter()
        .filter(|rule| rule["Prefix"].is_null())
        .collect();
    let has = |name: &str, days: &str| {
        everywhere
            .iter()
            .any(|rule| rule[name][days].as_u64() == Some(1))
    };
    assert!(has("NoncurrentVersionExpiration", "NoncurrentDays"));
    assert!(has("AbortIncompleteMultipartUpload", "DaysAfterInitiation"));
    assert_eq!(rules.len(), 3, "{rules:?}");
}

#[test]
fn conditions_choose() {
    let stack = real(&[]).unwrap();
    assert_eq!(
        stack.outputs["McpUrl"],
        "https://shannon-distribution.cloudfront.net/mcp"
    );
    // The one thing that is left to do, until it is done.
    let next = &stack.outputs["NextCommand"];
    assert!(
        next.ends_with("PublicUrl=https://shannon-distribution.cloudfront.net"),
        "{next}"
    );
    let done = real(&[("PublicUrl", "https://shannon-distribution.cloudfront.net")]).unwrap();
    assert!(!done.outputs.contains_key("NextCommand"));
}

#[test]
fn a_bad_parameter_is_named_and_its_value_is_not_shown() {
    for (name, value, expected) in [
        ("AccessTokenSha256", "hunter2", "has to match [0-9a-f]{64}"),
        (
            "SigningKey",
            "short-secret",
            "has to have at least 32 characters",
        ),
        (
            "SessionIsolation",
            "jail",
            "has to be one of uid, namespaces, none",
        ),
        ("KeepAliveSeconds", "26", "has to be at most 25"),
        ("KeepAliveSeconds", "4", "has to be at least 5"),
        ("KeepAliveSeconds", "soon", "has to be a number"),
        ("RunnerCpuUnits", "1000", "has to be one of 256, 512"),
    ] {
        let error = real(&[(name, value)]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("parameter {name}: ")), "{error}");
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains(value) || value.len() < 5, "{error}");
    }
    let error = real(&[("Stages", "x")]).unwrap_err().to_string();
    assert_eq!(error, "the template has no parameter Stages");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    let error = load(&path, &BTreeMap::new(), "shannon").unwrap_err();
    assert_eq!(
        error.to_string(),
        "parameter AccessTokenSha256 has no default and was not given"
    );
}

fn refusal(text: &str) -> String {
    let stack = parse(text, &BTreeMap::new(), "s");
    stack.expect_err("it is refused").to_string()
}

#[test]
fn what_is_not_understood_is_refused_with_its_place() {
    let api = "Resources:
  Api: {Type: AWS::Serverless::Api, Properties: {StageName: test}}
  F:
    Type: AWS::Serverless::Function
    Metadata: {BuildProperties: {Binary: f}}
    Properties:
      Timeout: 3
      Events:
        E: {Type: Api, Properties: {Path: /x, Method: get, EXTRA}}
";
    let with = |extra: &str| api.replace("EXTRA", extra);
    assert!(
        parse(
            &with("ResponseTransferMode: RESPONSE_STREAM"),
            &BTreeMap::new(),
            "s"
        )
        .is_ok()
    );
    for (text, expected) in [
        (
            with("ResponseTransferMode: STREAM"),
            "Resources.F.Properties.Events.E: ResponseTransferMode has to be RESPONSE_STREAM",
        ),
        (
            with("TimeoutInMillis: 30000"),
            "Resources.F.Properties.Events.E: TimeoutInMillis has to be 50 to 29000",
        ),
        (
            with("Auth: {Authorizer: Nobody}"),
            "there is no authorizer Nobody",
        ),
        (
            with("RequestModel: {Model: M}"),
            "Resources.F.Properties.Events.E.RequestModel: the emulator does not know this",
        ),
        (
            api.replace("Timeout: 3", "SnapStart: {ApplyOn: PublishedVersions}"),
            "Resources.F.Properties.SnapStart: the emulator does not know this",
        ),
        (
            api.replace(
                "{StageName: test}",
                "{StageName: test, GatewayResponses: {THROTTLED: {StatusCode: 429}}}",
            ),
            "GatewayResponses.THROTTLED: the emulator knows MISSING_AUTHENTICATION_TOKEN",
        ),
        (
            api.replace(
                "{StageName: test}",
                "{StageName: test, GatewayResponses: {UNAUTHORIZED: {ResponseTemplates: {}}}}",
            ),
            "GatewayResponses.UNAUTHORIZED.ResponseTemplates: the emulator does not know this",
        ),
        (
            api.replace(
                "{StageName: test}",
                "{StageName: test, GatewayResponses: {UNAUTHORIZED: {ResponseParameters: {Headers: {A: context.x}}}}}",
            ),
            "Headers.A: the emulator knows fixed values only, in single quotes",
        ),
        (
            "Resources: {Q: {Type: AWS::Kinesis::Stream}}".into(),
            "Resources.Q.Type: the emulator does not know AWS::Kinesis::Stream",
        ),
        (
            "Resources: {C: {Type: AWS::ECS::Cluster, Properties: {ClusterName: !Ref Nothing}}}"
                .into(),
            "there is no parameter or resource Nothing",
        ),
        (
            "Resources: {C: {Type: AWS::ECS::Cluster, Properties: {ClusterName: !Ref C}}}".into(),
            "C refers to itself",
        ),
        (
            "Resources: {C: {Type: AWS::ECS::Cluster, Properties: {ClusterName: !Base64 x}}}"
                .into(),
            "Fn::Base64: the emulator does not know this function",
        ),
        (
            api.replace("EXTRA", "Auth: {Authorizer: !Ref F.Alias}"),
            "F has no alias",
        ),
        (
            "Resources: {D: {Type: AWS::CloudFront::Distribution, Properties: {DistributionConfig: {DefaultCacheBehavior: {CachePolicyId: x}}}}}".into(),
            "CachePolicyId: the emulator knows 4135ea2d-",
        ),
        (
            "Resources: {D: {Type: AWS::CloudFront::Distribution, Properties: {DistributionConfig: {Logging: {}}}}}".into(),
            "DistributionConfig.Logging: the emulator does not know this",
        ),
        ("Resources: {A: 1, A: 2}".into(), "the key A appears twice"),
        ("Resources: [".into(), "not valid YAML: "),
        ("".into(), "not valid YAML: the document is empty"),
        (
            "Mappings: {}\nResources: {}".into(),
            "Mappings: the emulator does not know this section",
        ),
        ("a: &x [*x]".into(), "alias"),
    ] {
        let error = refusal(&text);
        assert!(
            error.contains(expected),
            "{error:?} instead of {expected:?}"
        );
    }
}

/// With every option on, each resource is served or says why not, and options cost nothing when off.
#[test]
fn every_resource_is_served_or_says_why_not() {
    let options = [
        ("DomainName", "mcp.example.com"),
        (
            "CertificateArn",
            "arn:aws:acm:us-east-1:000000000000:certificate/01234567-89ab-cdef-0123-456789abcdef",
        ),
        ("HostedZoneId", "Z0123456789"),
        (
            "WebAclArn",
            "arn:aws:wafv2:us-east-1:000000000000:global/webacl/acl/1",
        ),
        ("LoginDomain", "shannon-test"),
        ("EncryptionKey", "own"),
        ("SecretsManager", "true"),
        ("Architecture", "x86_64"),
        ("StreamConcurrency", "5"),
        ("UpkeepConcurrency", "2"),
        ("AlarmAddress", "a@example.com"),
        ("BudgetAddress", "b@example.com"),
    ];
    let stack = real(&options).unwrap();
    assert!(stack.not_served.len() > 70, "{}", stack.not_served.len());
    for resource in &stack.not_served {
        assert!(resource.reason.len() > 20, "{resource:?}");
    }
    let paid = ["Key", "SigningKeySecret", "ModelKeySecret"];
    for (stack, expected) in [(&stack, 3), (&real(&[]).unwrap(), 0)] {
        let names = stack.not_served.iter().map(|one| one.logical_id.as_str());
        assert_eq!(names.filter(|name| paid.contains(name)).count(), expected);
    }
    let environment = |name: &str| {
        let mut functions = stack.functions.iter();
        functions
            .find(|one| one.name == name)
            .unwrap()
            .environment
            .clone()
    };
    assert_eq!(
        environment("call")["SHANNON_PUBLIC_URL"],
        "https://mcp.example.com"
    );
    assert_eq!(
        environment("call")["SHANNON_SIGNING_KEY"],
        "{{resolve:secretsmanager:shannon-signingkeysecret}}"
    );
    for function in &stack.functions {
        let reserved = match function.name.as_str() {
            "listen" | "legacy" => Some(5),
            "authorizer" | "reconciler" | "projector" => Some(2),
            _ => None,
        };
        assert_eq!(function.reserved_concurrency, reserved, "{}", function.name);
    }
    let task = &stack.task_definitions[0];
    assert_eq!(task["runtimePlatform"]["cpuArchitecture"], "X86_64");
    assert_eq!(stack.outputs["McpUrl"], "https://mcp.example.com/mcp");
    for function in real(&[]).unwrap().functions {
        assert_eq!(function.reserved_concurrency, None, "{}", function.name);
    }
    assert_eq!(emulator::template::not_served("AWS::S3::Bucket"), None);
}

#[test]
fn functions_are_called_by_their_alias_and_have_their_log_group() {
    let stack = real(&[]).unwrap();
    assert_eq!(stack.functions.len(), 12);
    for function in &stack.functions {
        assert_eq!(function.alias.as_deref(), Some("live"), "{}", function.name);
        let arn = format!(
            "arn:aws:lambda:us-east-1:000000000000:function:shannon-{}:live",
            function.name
        );
        assert_eq!(function.called_arn(), arn);
        let group = format!("/aws/lambda/shannon-{}", function.name);
        assert_eq!(function.log_group, group);
    }
    let mapping = &stack.stream_mappings[0];
    assert!(mapping.function_arn.ends_with(":shannon-projector:live"));
    assert_eq!(mapping.function_version, "1");
}

#[test]
fn answers_say_how_browsers_are_to_treat_them() {
    let edge = real(&[]).unwrap().edge.unwrap();
    let said: Vec<(&str, &str, bool)> = edge
        .headers
        .iter()
        .map(|header| {
            (
                header.name.as_str(),
                header.value.as_str(),
                header.overrides,
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            (
                "strict-transport-security",
                "max-age=63072000; includeSubDomains",
                true
            ),
            ("x-content-type-options", "nosniff", true),
            ("x-frame-options", "DENY", true),
            ("referrer-policy", "no-referrer", false),
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'",
                false
            ),
        ]
    );
}

#[test]
fn functions_of_cloudformation() {
    let text = "
Parameters:
  List: {Type: CommaDelimitedList, Default: 'a, b'}
  Count: {Type: Number, Default: 3}
Conditions:
  Three: !Equals [!Ref Count, '3']
  Both: !And [!Condition Three, !Not [!Equals [a, b]]]
  Neither: !Or [!Equals [a, b], {Condition: Absent}]
  Absent: !Not [!Condition Three]
Resources:
  Cluster: {Type: AWS::ECS::Cluster, Condition: Both}
  Gone: {Type: AWS::ECS::Cluster, Condition: Neither}
Outputs:
  Sub: {Value: !Sub '${AWS::StackName}/${Count}/${!Count}/${Cluster.Arn}'}
  Own: {Value: !Sub ['${Own}-${Count}', {Own: !Select [1, !Ref List]}]}
  Join: {Value: !Join ['+', !Split [',', 'x,y']]}
  Zone: {Value: !Select [1, !GetAZs '']}
  Attribute: {Value: {'Fn::GetAtt': [Cluster, Arn]}}
  If: {Value: !If [Absent, !Ref Nothing, kept]}
";
    let stack = parse(text, &BTreeMap::new(), "s").unwrap();
    let arn = "arn:aws:ecs:us-east-1:000000000000:cluster/s-cluster";
    assert_eq!(stack.outputs["Sub"], format!("s/3/${{Count}}/{arn}"));
    assert_eq!(stack.outputs["Own"], "b-3");
    assert_eq!(stack.outputs["Join"], "x+y");
    assert_eq!(stack.outputs["Zone"], "us-east-1b");
    assert_eq!(stack.outputs["Attribute"], arn);
    assert_eq!(stack.outputs["If"], "kept");
    assert_eq!(stack.clusters, ["s-cluster"]);
}

#[test]
fn the_stream_of_the_table_goes_to_the_projector() {
    let stack = real(&[("NotificationGroupSeconds", "7")]).unwrap();
    let [mapping] = &stack.stream_mappings[..] else {
        panic!("{:?}", stack.stream_mappings);
    };
    assert_eq!(mapping.function, "projector");
    assert_eq!(mapping.table, stack.tables[0].name);
    assert_eq!((mapping.batch_size, mapping.window_seconds), (10, 7));
    assert_eq!(
        (mapping.retries, mapping.record_age_seconds),
        (Some(2), None)
    );
    assert!(mapping.bisect && mapping.reports_failures);
    assert_eq!(mapping.filters.len(), 3);
    assert_eq!(mapping.on_failure.as_ref(), stack.queues.first());
    let projector = stack.functions.iter().find(|one| one.name == "projector");
    let topic = &projector.unwrap().environment["SHANNON_NOTICE_TOPIC"];
    assert_eq!(stack.topics.first(), Some(topic));
    assert!(topic.ends_with(":shannon-notices"), "{topic}");
}

#[test]
fn mappings_that_would_do_something_else_here_are_refused() {
    let template = |property: &str, table: &str| {
        let text = format!(
            r"
Resources:
  F:
    Type: AWS::Serverless::Function
    Metadata: {{BuildMethod: rust-cargolambda, BuildProperties: {{Binary: f}}}}
    Properties:
      FunctionName: f
      Events:
        E:
          Type: DynamoDB
          Properties: {{Stream: !GetAtt T.StreamArn, StartingPosition: LATEST, {property}}}
  T:
    Type: AWS::DynamoDB::Table
    Properties: {{TableName: t, {table}}}
"
        );
        parse(&text, &BTreeMap::new(), "s").map(|stack| stack.stream_mappings)
    };
    let stream = "StreamSpecification: {StreamViewType: NEW_IMAGE}";
    let mapping = template("MaximumRetryAttempts: -1", stream)
        .unwrap()
        .remove(0);
    assert_eq!((mapping.batch_size, mapping.retries), (100, None));
    for (property, table, complaint) in [
        (
            "BatchSize: 1",
            "BillingMode: PAY_PER_REQUEST",
            "has no StreamSpecification",
        ),
        ("BatchSize: 0", stream, "1 to 10000"),
        ("MaximumBatchingWindowInSeconds: 301", stream, "0 to 300"),
        ("MaximumRetryAttempts: -2", stream, "in range"),
        ("ParallelizationFactor: 2", stream, "does not know"),
        (
            "FunctionResponseTypes: [Other]",
            stream,
            "ReportBatchItemFailures",
        ),
        ("BisectBatchOnFunctionError: maybe", stream, "true or false"),
        ("FilterCriteria: {Filters: []}", stream, "1 to 5"),
        (
            "FilterCriteria: {Filters: [{Pattern: '{'}]}",
            stream,
            "no JSON",
        ),
        (
            "DestinationConfig: {OnFailure: {Type: SQS, Destination: arn:x}}",
            stream,
            "there is no arn:x",
        ),
    ] {
        let error = template(property, table).unwrap_err().to_string();
        assert!(error.contains(complaint), "{property}: {error}");
    }
}
