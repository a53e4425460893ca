//! The sample events of the MCP functions, answered over fakes.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use protocol::Class;
use serde_json::Value;

use crate::client::Client;

/// The request inside a sample event, as the function gets it.
fn request(event: &Value) -> Request<Bytes> {
    let body = event["body"].as_str().unwrap_or_default().to_owned();
    let mut request = Request::builder()
        .method(event["httpMethod"].as_str().expect("a method"))
        .uri(event["path"].as_str().expect("a path"))
        .body(Bytes::from(body))
        .expect("a request");
    for (name, value) in event["headers"].as_object().expect("headers") {
        let name: HeaderName = name.parse().expect("a header name");
        let value = HeaderValue::from_str(value.as_str().expect("text")).expect("a value");
        request.headers_mut().insert(name, value);
    }
    request
}

#[tokio::test]
async fn every_sample_gets_its_answer() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../events");
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(directory).expect("there are samples") {
        let path = entry.expect("readable").path();
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .expect("UTF-8")
            .to_owned();
        let class = match name.split('-').next() {
            // The others do not go through an edge.
            Some("discover") if name == "discover" => Class::Discover,
            Some("catalog") => Class::Catalog,
            Some("read") => Class::Read,
            Some("call") => Class::Call,
            Some("tasks") => Class::Tasks,
            Some("legacy") => Class::Legacy,
            _ => continue,
        };
        let text = std::fs::read_to_string(&path).expect("readable");
        let event: Value = serde_json::from_str(&text).expect("JSON");
        let client = Client::new(class);
        let answer = client.send(request(&event)).await;
        let message = answer.messages.last().map_or_else(String::new, |message| {
            let error = &message["error"]["code"];
            let tool = &message["result"]["isError"];
            format!(" error {error} isError {tool}")
        });
        seen.push(format!("{name}: {}{message}", answer.status.as_u16()));
    }
    seen.sort();
    insta::assert_snapshot!("samples", seen.join("\n"));
}
