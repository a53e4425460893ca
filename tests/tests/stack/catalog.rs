//! What clients are told before they call anything: discovery, the tools and their schemas.

use std::collections::BTreeSet;

use e2e::mcp::{MODERN, TASKS, TOOLS};
use e2e::stack;
use serde_json::json;

#[tokio::test]
async fn the_server_says_what_it_is() {
    let stack = stack::shared();
    let answer = stack.client().request("server/discover", json!({})).await;
    let result = answer.result();
    assert!(
        result["supportedVersions"]
            .as_array()
            .expect("versions")
            .contains(&json!(MODERN)),
        "{result}"
    );
    assert!(
        result["capabilities"]["extensions"].get(TASKS).is_some(),
        "{result}"
    );
    // A client that is promised changes keeps a stream open for them.
    assert_ne!(
        result["capabilities"]["tools"]["listChanged"], true,
        "{result}"
    );
    assert!(
        result["ttlMs"].as_u64().is_some_and(|ttl| ttl > 0),
        "{result}"
    );
    assert_eq!(
        result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "shannon",
        "{result}"
    );
}

#[tokio::test]
async fn every_tool_explains_itself() {
    let stack = stack::shared();
    let answer = stack.client().request("tools/list", json!({})).await;
    let result = answer.result();
    let tools = result["tools"].as_array().expect("tools");
    let names: BTreeSet<&str> = tools
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    assert_eq!(names, TOOLS.into_iter().collect());
    assert!(
        result["ttlMs"].as_u64().is_some_and(|ttl| ttl > 0),
        "{result}"
    );
    for tool in tools {
        let name = tool["name"].as_str().expect("a name");
        assert!(
            tool["title"]
                .as_str()
                .is_some_and(|title| !title.is_empty()),
            "{name} has no title"
        );
        assert!(
            tool["description"]
                .as_str()
                .is_some_and(|text| text.len() > 60),
            "{name} does not say when to use it"
        );
        for hint in [
            "readOnlyHint",
            "destructiveHint",
            "idempotentHint",
            "openWorldHint",
        ] {
            assert!(
                tool["annotations"][hint].is_boolean(),
                "{name} has no {hint}"
            );
        }
        for schema in ["inputSchema", "outputSchema"] {
            assert_eq!(tool[schema]["type"], "object", "{name} {schema}");
        }
        assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{name}");
        let properties = tool["inputSchema"]["properties"].as_object();
        for (property, schema) in properties.into_iter().flatten() {
            assert!(
                schema["description"].as_str().is_some() || schema.get("$ref").is_some(),
                "{name}.{property} has no description"
            );
            assert_eq!(property, &property.to_lowercase(), "{name}.{property}");
        }
    }
    let again = stack.client().request("tools/list", json!({})).await;
    assert_eq!(
        again.result()["tools"],
        result["tools"],
        "the order is fixed"
    );
}

#[tokio::test]
async fn prompts_and_resources_are_listed() {
    let stack = stack::shared();
    let client = stack.client();
    for (method, field, first) in [
        ("prompts/list", "prompts", "code_review"),
        ("resources/list", "resources", "sessions"),
        ("resources/templates/list", "resourceTemplates", "session"),
    ] {
        let answer = client.request(method, json!({})).await;
        let result = answer.result();
        assert_eq!(result[field][0]["name"], first, "{method}");
        assert!(
            result["ttlMs"].as_u64().is_some_and(|ttl| ttl > 0),
            "{method}"
        );
        for item in result[field].as_array().expect("a list") {
            assert!(
                item["title"].is_string() && item["description"].is_string(),
                "{item}"
            );
        }
    }
}

#[tokio::test]
async fn health_needs_no_token_and_tells_nothing() {
    let stack = stack::shared();
    let answer = stack
        .client()
        .http()
        .get(format!("{}/health", stack.url()))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    let body = answer.text().await.expect("a body");
    assert!(!body.contains(&stack.token));
}
