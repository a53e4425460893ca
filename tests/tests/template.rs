//! `template.yaml` as AWS's own tools see it: the linters, and what SAM makes of it.
//!
//! The tools come from PyPI into the cache. The translation matters because SAM takes a misspelt
//! streaming mode without a word and makes a buffered route of it.

use e2e::installed;
use e2e::translated::{self, aws_tool};
use serde_json::Value;

#[test]
fn sam_validates_it() {
    let tools = installed::template_tools();
    let output = installed::run(aws_tool(&tools.program("sam")).args([
        "validate",
        "--lint",
        "--template",
        "template.yaml",
    ]));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("is a valid SAM Template"), "{said}");
}

#[test]
fn cfn_lint_finds_nothing() {
    let tools = installed::template_tools();
    installed::run(aws_tool(&tools.program("cfn-lint")).args([
        "--regions",
        "us-east-1",
        "--template",
        "template.yaml",
    ]));
}

/// Path, method, function and integration of every route.
fn routes(translated: &Value) -> Vec<(String, String, Value)> {
    let paths = translated["Resources"]["Api"]["Properties"]["Body"]["paths"]
        .as_object()
        .expect("the API has paths");
    paths
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .expect("a path has methods")
                .iter()
                .map(|(method, operation)| (path.clone(), method.clone(), operation.clone()))
        })
        .collect()
}

fn streams(operation: &Value) -> bool {
    let integration = &operation["x-amazon-apigateway-integration"];
    let uri = integration["uri"]["Fn::Sub"].as_str().unwrap_or_default();
    integration["responseTransferMode"] == "STREAM"
        && uri.contains(":lambda:path/2021-11-15/functions/")
        && uri.ends_with("/response-streaming-invocations")
        && integration["timeoutInMillis"] == 900_000
        && integration["type"] == "aws_proxy"
}

#[test]
fn every_route_streams_after_translation() {
    let routes = routes(translated::template());
    assert!(routes.len() >= 6, "{routes:?}");
    for (path, method, operation) in routes {
        assert!(
            streams(&operation),
            "{method} {path} does not stream: {operation:#}"
        );
    }
}

#[test]
fn the_spelling_of_openapi_would_be_buffered_and_is_noticed() {
    let translated = translated::of_changed(
        "ResponseTransferMode: RESPONSE_STREAM",
        "ResponseTransferMode: STREAM",
    );
    assert!(
        routes(&translated)
            .iter()
            .all(|(_, _, operation)| !streams(operation))
    );
}

#[test]
fn only_public_routes_pass_the_authorizer_by() {
    let mut open: Vec<String> = routes(translated::template())
        .into_iter()
        .filter(|(_, _, operation)| operation["security"][0].get("Token").is_none())
        .map(|(path, method, _)| format!("{method} {path}"))
        .collect();
    open.sort();
    // The gateway checks session tokens itself; the health answer tells nothing, readiness tells
    // kinds of dependencies only, nor does the answer
    // to a browser that asks whether it may call.
    // People log in on the pages of approvals. The metadata says where clients get a token: whoever has
    // none yet reads it.
    assert_eq!(
        open,
        [
            "get /.well-known/oauth-protected-resource",
            "get /.well-known/oauth-protected-resource/mcp",
            "get /approvals/{proxy+}",
            "get /health",
            "get /ready",
            "options /mcp",
            "post /approvals/{proxy+}",
            "post /model/{proxy+}"
        ]
    );
}

/// What the authorizer refuses carries its challenge under its own name: API Gateway renames the header of a
/// function's answer.
#[test]
fn what_the_authorizer_refuses_says_where_to_get_a_token() {
    let translated = translated::template();
    let responses = &translated["Resources"]["Api"]["Properties"]["Body"]["x-amazon-apigateway-gateway-responses"];
    for (kind, status, with) in [
        ("UNAUTHORIZED", "401", "Bearer scope="),
        (
            "ACCESS_DENIED",
            "403",
            "Bearer error=\\\"insufficient_scope\\\"",
        ),
    ] {
        let response = &responses[kind];
        assert_eq!(response["statusCode"], status, "{response}");
        let header = &response["responseParameters"]["gatewayresponse.header.WWW-Authenticate"];
        let header = header.to_string();
        assert!(header.contains(with), "{header}");
        assert!(
            header.contains("/.well-known/oauth-protected-resource/mcp"),
            "{header}"
        );
    }
}

#[test]
fn the_stage_is_throttled_and_readiness_more() {
    let translated = translated::template();
    let resources = translated["Resources"].as_object().expect("resources");
    let stage = resources
        .values()
        .find(|resource| resource["Type"] == "AWS::ApiGateway::Stage")
        .expect("a stage");
    let of = |method: &str, path: &str| {
        let settings = stage["Properties"]["MethodSettings"].as_array();
        let found = settings
            .into_iter()
            .flatten()
            .find(|setting| setting["HttpMethod"] == method && setting["ResourcePath"] == path);
        found.unwrap_or_else(|| panic!("nothing for {method} {path} in {stage:#}"))
    };
    let all = of("*", "/*");
    assert_eq!(all["ThrottlingRateLimit"]["Ref"], "StageRateLimitPerSecond");
    assert_eq!(all["ThrottlingBurstLimit"]["Ref"], "StageRateLimitBurst");
    let ready = of("GET", "/~1ready");
    assert_eq!(ready["ThrottlingRateLimit"], 5);
    assert_eq!(ready["ThrottlingBurstLimit"], 10);
}

#[test]
fn the_api_is_regional() {
    // An edge-optimised API cuts a stream that is silent for 30 seconds.
    let api = &translated::template()["Resources"]["Api"]["Properties"];
    assert_eq!(api["EndpointConfiguration"]["Types"][0], "REGIONAL");
}
