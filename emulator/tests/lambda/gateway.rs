//! API Gateway in front of real functions: events, authorizer, streaming, limits and refusals.

use crate::echo::{Gate, client, function, start};
use std::time::{Duration, Instant};

use emulator::{
    gateway::{GatewayOptions, router, serve},
    lambda::Lambda,
    template::{ResponseHeader, Stack, parse},
};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;

const TEMPLATE: &str = "
Resources:
  Api:
    Type: AWS::Serverless::Api
    Properties:
      StageName: test
      Auth:
        DefaultAuthorizer: Token
        Authorizers:
          Token:
            FunctionArn: !GetAtt Authorizer.Arn
            FunctionPayloadType: REQUEST
            Identity: {Headers: [Authorization], ReauthorizeEvery: 300}
  Authorizer: {Type: AWS::Serverless::Function, Metadata: {BuildProperties: {Binary: authorizer}}}
  Buffered:
    Type: AWS::Serverless::Function
    Metadata: {BuildProperties: {Binary: buffered}}
    Properties:
      Timeout: 60
      Events:
        Open: {Type: Api, Properties: {Path: /open, Method: ANY, Auth: {Authorizer: NONE}}}
        Post: {Type: Api, Properties: {Path: /open, Method: DELETE, Auth: {Authorizer: NONE}}}
        One: {Type: Api, Properties: {Path: '/items/{id}', Method: GET, Auth: {Authorizer: NONE}}}
        All: {Type: Api, Properties: {Path: '/items/{rest+}', Method: ANY, Auth: {Authorizer: NONE}}}
        Fixed: {Type: Api, Properties: {Path: /items/fixed, Method: POST, Auth: {Authorizer: NONE}}}
        Closed: {Type: Api, Properties: {Path: /closed, Method: GET}}
        Other: {Type: Api, Properties: {Path: /other, Method: GET}}
        Wrong: {Type: Api, Properties: {Path: /wrong-stream, Method: GET, Auth: {Authorizer: NONE}, ResponseTransferMode: RESPONSE_STREAM}}
  Streaming:
    Type: AWS::Serverless::Function
    Metadata: {BuildProperties: {Binary: streaming}}
    Properties:
      Timeout: 60
      Events:
        Stream: {Type: Api, Properties: {Path: /stream, Method: ANY, Auth: {Authorizer: NONE}, ResponseTransferMode: RESPONSE_STREAM, TimeoutInMillis: 900000}}
        Short: {Type: Api, Properties: {Path: /short, Method: GET, Auth: {Authorizer: NONE}, ResponseTransferMode: RESPONSE_STREAM, TimeoutInMillis: 2000}}
        Wrong: {Type: Api, Properties: {Path: /wrong-buffer, Method: GET, Auth: {Authorizer: NONE}}}
";

struct Served {
    url: String,
    lambda: Lambda,
    client: Client,
}

impl Served {
    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }
}

async fn start_with(options: GatewayOptions) -> Served {
    start_template(TEMPLATE, options).await
}

async fn start_template(template: &str, options: GatewayOptions) -> Served {
    let stack: Stack = parse(template, &Default::default(), "test").unwrap();
    let functions = stack.functions.iter().map(|resource| {
        let mut function = function(&resource.name, &resource.name);
        function.timeout_seconds = resource.timeout_seconds;
        function
    });
    let lambda = start(functions.collect()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = router(&stack, lambda.clone(), options);
    tokio::spawn(serve(listener, service));
    Served {
        url,
        lambda,
        client: client(),
    }
}

async fn json(request: RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 201);
    response.json().await.unwrap()
}

async fn refused(request: RequestBuilder, status: u16, body: &str, error: &str) {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["x-amzn-errortype"], error);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert!(response.headers().contains_key("x-amzn-requestid"));
    assert_eq!(response.text().await.unwrap(), body);
}

#[tokio::test]
async fn a_function_sees_the_request_as_lambda_http_understands_it() {
    let served = start_with(GatewayOptions::default()).await;
    let seen = json(
        served
            .post("/open?q=a%20b&q=c%26d&flag")
            .header("X-Any", "one")
            .header("User-Agent", "tests")
            .header("X-Forwarded-For", "192.0.2.1")
            .body("{\"ü\": 1}"),
    )
    .await;
    assert_eq!(seen["method"], "POST");
    assert_eq!(seen["path"], "/open");
    assert_eq!(seen["query"], serde_json::json!(["a b", "c&d"]));
    assert_eq!(seen["body"], "{\"ü\": 1}");
    let headers = &seen["headers"];
    assert_eq!(headers["x-any"], "one");
    assert_eq!(headers["x-forwarded-for"], "192.0.2.1, 127.0.0.1");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert!(
        served
            .url
            .ends_with(headers["x-forwarded-port"].as_str().unwrap())
    );
    assert!(served.url.ends_with(headers["host"].as_str().unwrap()));
    assert!(
        headers["x-amzn-trace-id"]
            .as_str()
            .unwrap()
            .starts_with("Root=1-")
    );
    let context = &seen["context"];
    assert_eq!(context["stage"], "test");
    assert_eq!(context["resourcePath"], "/open");
    assert_eq!(context["httpMethod"], "POST");
    assert_eq!(context["domainName"], "127.0.0.1");
    assert_eq!(context["identity"]["sourceIp"], "127.0.0.1");
    assert_eq!(context["identity"]["userAgent"], "tests");
    assert_eq!(context["accountId"], "000000000000");
    assert!(context["requestTime"].as_str().unwrap().ends_with(" +0000"));
    assert!(context["requestTimeEpoch"].as_i64().unwrap() > 1_700_000_000_000);
    served.lambda.shutdown().await;
}

#[tokio::test]
async fn literal_paths_win_over_parameters_and_those_over_greedy_ones() {
    let served = start_with(GatewayOptions::default()).await;
    let parameters = async |request| json(request).await["path_parameters"].clone();
    assert_eq!(
        parameters(served.get("/items/a%2Fb+c")).await,
        serde_json::json!({"id": "a/b+c"})
    );
    assert_eq!(
        parameters(served.get("/items/a/b%20c?x=1")).await,
        serde_json::json!({"rest": "a/b c"})
    );
    let seen = json(served.post("/items/fixed")).await;
    assert_eq!(seen["context"]["resourcePath"], "/items/fixed");
    let seen = json(served.client.delete(format!("{}/open", served.url))).await;
    assert_eq!(seen["method"], "DELETE");
    for request in [
        served.get("/nothing"),
        served.get("/"),
        served.get("/items"),
        served.get("/items/"),
        served.get("/open/more"),
        served.get("/test/open"),
        served.post("/closed"),
        // The path is that of another route, which has no GET.
        served.get("/items/fixed"),
    ] {
        let body = r#"{"message":"Missing Authentication Token"}"#;
        refused(request, 403, body, "MissingAuthenticationTokenException").await;
    }
    served.lambda.shutdown().await;
}

#[tokio::test]
async fn the_authorizer_decides_and_its_answer_is_kept() {
    let served = start_with(GatewayOptions::default()).await;
    let with = |path: &str, token: &str| served.get(path).header("Authorization", token);
    let unauthorized = (r#"{"message":"Unauthorized"}"#, "UnauthorizedException");
    for request in [served.get("/closed"), with("/closed", "")] {
        refused(request, 401, unauthorized.0, unauthorized.1).await;
    }
    assert_eq!(
        served.lambda.instances("authorizer").unwrap(),
        0,
        "not even asked"
    );

    let seen = json(with("/closed", "allow")).await;
    let context = &seen["context"]["authorizer"];
    assert_eq!(context["principalId"], "someone");
    assert_eq!(
        (&context["owner"], &context["yes"]),
        (&"o".into(), &"true".into())
    );
    assert_eq!(context["calls"], "1");
    // Another route and the same identity: from the cache.
    let again = json(with("/other", "allow")).await;
    assert_eq!(again["context"]["authorizer"]["calls"], "1");
    let other = json(with("/closed", "allow-again")).await;
    assert_eq!(other["context"]["authorizer"]["calls"], "2");
    // A public route asks nobody and has no context.
    let public = json(served.get("/open").header("Authorization", "deny")).await;
    assert!(
        public["context"]["authorizer"]["principalId"].is_null(),
        "{public}"
    );

    refused(
        with("/closed", "deny"),
        403,
        r#"{"Message":"User is not authorized to access this resource with an explicit deny"}"#,
        "AccessDeniedException",
    )
    .await;
    refused(
        with("/closed", "nobody"),
        401,
        unauthorized.0,
        unauthorized.1,
    )
    .await;
    for token in ["boom", "bad-context"] {
        let error = "AuthorizerConfigurationException";
        refused(with("/closed", token), 500, r#"{"message":null}"#, error).await;
    }
    served.lambda.shutdown().await;
}

#[tokio::test]
async fn answers_keep_their_headers_and_lose_those_that_are_the_gateways() {
    let served = start_with(GatewayOptions::default()).await;
    for path in ["/open", "/stream"] {
        let response = served.get(path).send().await.unwrap();
        let headers = response.headers();
        assert!(!headers.contains_key("www-authenticate"), "{path}");
        assert_eq!(
            headers["x-amzn-remapped-www-authenticate"],
            "Bearer realm=\"x\""
        );
        let cookies: Vec<_> = headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"], "{path}");
        assert!(headers.contains_key("x-amzn-requestid"));
    }
    served.lambda.shutdown().await;
}

async fn read_to_the_end(mut response: Response) -> Result<usize, reqwest::Error> {
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await? {
        bytes += chunk.len();
    }
    Ok(bytes)
}

#[tokio::test]
async fn the_first_byte_of_a_stream_leaves_when_the_function_writes_it() {
    let served = start_with(GatewayOptions::default()).await;
    let gate = Gate::new().await;
    let request = served.get("/stream").header("x-gate", gate.address());
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/plain");
    let first = response.chunk().await.unwrap().unwrap();
    let first: Value = serde_json::from_slice(&first).unwrap();
    assert_eq!(first["method"], "GET");
    // All that has come while the function still waits to be let go on.
    drop(gate.arrival().await);
    assert_eq!(read_to_the_end(response).await.unwrap(), 64 * 64 * 1024 + 4);
    served.lambda.shutdown().await;
}

#[tokio::test]
async fn a_client_that_leaves_costs_no_instance() {
    let served = start_with(GatewayOptions::default()).await;
    let gate = Gate::new().await;
    let request = served.get("/stream").header("x-gate", gate.address());
    let mut response = request.send().await.unwrap();
    let first: Value = serde_json::from_slice(&response.chunk().await.unwrap().unwrap()).unwrap();
    let arrival = gate.arrival().await;
    drop(response);
    drop(arrival);
    let second = served
        .get("/stream")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let second: Value = serde_json::from_str(second.lines().next().unwrap()).unwrap();
    let instances = served.lambda.instances("streaming").unwrap();
    // The first may still be read into nothing when the second arrives.
    assert!(instances <= 2);
    assert!(instances == 2 || first["process"] == second["process"]);
    served.lambda.shutdown().await;
}

#[tokio::test]
async fn functions_that_fail_are_bad_gateways() {
    let served = start_with(GatewayOptions::default()).await;
    for path in ["/open", "/stream"] {
        let request = served.get(path).header("x-fail", "1");
        let body = r#"{"message": "Internal server error"}"#;
        refused(request, 502, body, "InternalServerErrorException").await;
    }
    // A function that streams behind a buffered route, and the reverse.
    for path in ["/wrong-buffer", "/wrong-stream"] {
        let body = r#"{"message": "Internal server error"}"#;
        refused(served.get(path), 502, body, "InternalServerErrorException").await;
    }
    let gate = Gate::new().await;
    let cut = served.get("/stream").header("x-exit", gate.address());
    let cut = cut.send().await.unwrap();
    assert_eq!(cut.status(), 200);
    drop(gate.arrival().await);
    assert!(
        read_to_the_end(cut).await.is_err(),
        "not a complete response"
    );
    served.lambda.shutdown().await;
}

#[tokio::test]
async fn a_buffered_route_ends_at_its_time_and_a_function_that_goes_on_is_left_alone() {
    let options = GatewayOptions {
        buffered: Duration::from_millis(1500),
        ..GatewayOptions::default()
    };
    let served = start_with(options).await;
    let gate = Gate::new().await;
    let before = json(served.get("/open")).await;
    let request = served.get("/open").header("x-gate", gate.address());
    let body = r#"{"message": "Endpoint request timed out"}"#;
    refused(request, 504, body, "InternalServerErrorException").await;
    drop(gate.arrival().await);
    let mut after = json(served.get("/open")).await;
    if after["process"] != before["process"] {
        // It was not back yet; the one that was started instead is at least not a third.
        assert_eq!(served.lambda.instances("buffered").unwrap(), 2);
        after = json(served.get("/open")).await;
    }
    assert!(after["process"].is_u64());
    served.lambda.shutdown().await;
}

/// Whoever answers: a function, or the gateway itself.
#[tokio::test]
async fn every_answer_has_the_headers_of_the_distribution() {
    let header = |name: &str, value: &str, overrides| ResponseHeader {
        name: name.into(),
        value: value.into(),
        overrides,
    };
    let options = GatewayOptions {
        headers: vec![
            header("x-frame-options", "DENY", true),
            header("content-type", "text/other", false),
        ],
        ..GatewayOptions::default()
    };
    let served = start_with(options).await;
    for (path, status) in [("/open", 201), ("/nothing", 403), ("/closed", 401)] {
        let response = served.get(path).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["x-frame-options"], "DENY", "{path}");
        assert_eq!(
            response.headers()["content-type"],
            "application/json",
            "{path}: what is there stays"
        );
    }
    served.lambda.shutdown().await;
}

#[tokio::test]
async fn a_stream_ends_at_its_time_or_when_it_is_silent_for_too_long() {
    let options = GatewayOptions {
        silent: Duration::from_millis(200),
        ..GatewayOptions::default()
    };
    let silent = start_with(options).await;
    let whole = start_with(GatewayOptions::default()).await;
    for (served, path) in [(&silent, "/stream"), (&whole, "/short")] {
        let gate = Gate::new().await;
        let request = served.get(path).header("x-gate", gate.address());
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let _never_released = gate.arrival().await;
        assert!(
            read_to_the_end(response).await.is_err(),
            "{path} is cut off"
        );
        assert_eq!(
            served.lambda.instances("streaming").unwrap(),
            1,
            "and lives on"
        );
    }
    silent.lambda.shutdown().await;
    whole.lambda.shutdown().await;
}

#[tokio::test]
async fn requests_have_limits() {
    let served = start_with(GatewayOptions::default()).await;
    let mebibytes = |count: usize| "x".repeat(count * 1024 * 1024);
    let body = r#"{"message":"Request Too Long"}"#;
    for size in [7, 11] {
        let request = served.post("/stream").body(mebibytes(size));
        refused(request, 413, body, "RequestTooLargeException").await;
    }
    // Not announced, so it has to be counted.
    let pieces = futures_util::stream::iter(
        (0..11).map(|_| Ok::<_, std::io::Error>("x".repeat(1024 * 1024))),
    );
    let request = served
        .post("/stream")
        .body(reqwest::Body::wrap_stream(pieces));
    refused(request, 413, body, "RequestTooLargeException").await;
    assert_eq!(
        served.lambda.instances("streaming").unwrap(),
        0,
        "none of it arrived"
    );
    let response = served
        .post("/stream")
        .body(mebibytes(5))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    served.lambda.shutdown().await;
}

#[tokio::test]
async fn a_head_has_a_limit() {
    let served = start_with(GatewayOptions::default()).await;
    let header = |bytes: usize| served.get("/open").header("x-long", "x".repeat(bytes));
    let body = r#"{"message":"Request Too Long"}"#;
    refused(header(10_240), 413, body, "RequestTooLargeException").await;
    let several = (0..4).fold(served.get("/open"), |request, number| {
        request.header(format!("x-{number}"), "x".repeat(2_600))
    });
    refused(several, 413, body, "RequestTooLargeException").await;
    let path = format!("/open?{}", "x".repeat(10_300));
    refused(served.get(&path), 413, body, "RequestTooLargeException").await;
    assert_eq!(served.lambda.instances("buffered").unwrap(), 0);
    json(header(10_000)).await;
    served.lambda.shutdown().await;
}

#[tokio::test]
async fn a_stream_is_cut_when_it_is_too_long() {
    let whole = 64 * 64 * 1024;
    for (longest, complete) in [(whole / 2, false), (whole + 64 * 1024, true)] {
        let options = GatewayOptions {
            longest_stream: longest,
            ..GatewayOptions::default()
        };
        let served = start_with(options).await;
        let gate = Gate::new().await;
        let request = served.get("/stream").header("x-gate", gate.address());
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        drop(gate.arrival().await);
        assert_eq!(read_to_the_end(response).await.is_ok(), complete);
        served.lambda.shutdown().await;
    }
}

#[tokio::test]
async fn the_authorizer_is_asked_again_when_its_answer_is_old() {
    let template = TEMPLATE.replace("ReauthorizeEvery: 300", "ReauthorizeEvery: 1");
    let served = start_template(&template, GatewayOptions::default()).await;
    let calls = async || {
        let request = served.get("/closed").header("Authorization", "allow");
        json(request).await["context"]["authorizer"]["calls"].clone()
    };
    let began = Instant::now();
    assert_eq!(calls().await, "1");
    loop {
        match calls().await.as_str().unwrap() {
            "1" => assert!(
                began.elapsed() < Duration::from_secs(30),
                "never asked again"
            ),
            again => break assert_eq!(again, "2"),
        }
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "asked too soon");
    served.lambda.shutdown().await;

    let template = TEMPLATE.replace("ReauthorizeEvery: 300", "ReauthorizeEvery: 0");
    let served = start_template(&template, GatewayOptions::default()).await;
    for expected in ["1", "2", "3"] {
        let request = served.get("/closed").header("Authorization", "allow");
        let seen = json(request).await;
        assert_eq!(seen["context"]["authorizer"]["calls"], expected);
    }
    served.lambda.shutdown().await;
}

#[tokio::test]
async fn the_limits_are_those_of_aws() {
    let gateway = GatewayOptions::default();
    assert_eq!(gateway.buffered, Duration::from_secs(29));
    assert_eq!(gateway.silent, Duration::from_secs(300));
    assert_eq!(gateway.longest_stream, 200 * 1024 * 1024);
    assert_eq!(emulator::gateway::MAX_REQUEST_BYTES, 10 * 1024 * 1024);
    let lambda = crate::echo::options(Vec::new());
    assert_eq!(lambda.idle, Duration::from_secs(300));
    assert_eq!(lambda.init, Duration::from_secs(10));
    assert_eq!(emulator::lambda::MAX_PAYLOAD_BYTES, 6 * 1024 * 1024);
}
