//! A handler on Lambda: REST proxy events in, streaming answers out.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use domain::UnixMillis;
use lambda_http::http::{Request, Response, Uri};
use lambda_http::request::RequestContext;
use lambda_http::{RequestExt, service_fn};

use crate::http::{Body, Incoming, principal_from_context, surround};

/// Serves until the runtime ends the process.
pub(crate) async fn serve<H, F>(handler: H, slow: Duration) -> Result<(), lambda_runtime::Error>
where
    H: Fn(Incoming) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let handler = Arc::new(handler);
    lambda_http::run_with_streaming_response(service_fn(move |request: lambda_http::Request| {
        let handler = Arc::clone(&handler);
        async move {
            let incoming = incoming(request);
            let answer = surround(
                slow,
                incoming.request.method().to_string(),
                incoming.request.uri().path().to_owned(),
                incoming.request_id.clone(),
                // Called inside, so that a panic before the first await is caught as well.
                Box::pin(async move { handler(incoming).await }),
            );
            Ok::<_, Infallible>(answer.await)
        }
    }))
    .await
}

fn incoming(request: lambda_http::Request) -> Incoming {
    let (mut request_id, mut principal) = (None, None);
    if let Some(RequestContext::ApiGatewayV1(context)) = request.request_context_ref() {
        request_id.clone_from(&context.request_id);
        let field = |name: &str| {
            let fields = &context.authorizer.fields;
            fields.get(name).and_then(serde_json::Value::as_str)
        };
        principal = principal_from_context(field, now());
    }
    let request_id = request_id
        .or_else(|| {
            request
                .lambda_context_ref()
                .map(|context| context.request_id.clone())
        })
        .unwrap_or_default();
    // The library puts the stage in front of the path; routes are written without it.
    let path = request.raw_http_path().to_owned();
    let (mut parts, body) = request.into_parts();
    let path_and_query = match parts.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    if let Ok(uri) = path_and_query.parse::<Uri>() {
        parts.uri = uri;
    }
    let bytes = match body {
        lambda_http::Body::Text(text) => Bytes::from(text),
        lambda_http::Body::Binary(bytes) => Bytes::from(bytes),
        // Empty, and whatever kind the library may add.
        _ => Bytes::new(),
    };
    Incoming {
        request: Request::from_parts(parts, bytes),
        request_id,
        principal,
    }
}

/// This machine's clock. Before 1970 everything has expired.
fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let milliseconds = since.map(|it| u64::try_from(it.as_millis()));
    UnixMillis(milliseconds.map_or(u64::MAX, |it| it.unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"resource":"/model/{proxy+}","path":"/model/v1/messages","httpMethod":"POST",
        "headers":{"Host":"x.example","Content-Type":"application/json"},"multiValueHeaders":{"Host":["x.example"],"Content-Type":["application/json"]},
        "queryStringParameters":{"beta":"true"},"multiValueQueryStringParameters":{"beta":["true"]},"pathParameters":{"proxy":"v1/messages"},
        "stageVariables":null,"requestContext":{"resourceId":"r","resourcePath":"/model/{proxy+}","httpMethod":"POST","path":"/production/model/v1/messages",
        "accountId":"123456789012","protocol":"HTTP/1.1","stage":"production","requestTimeEpoch":1,"requestId":"req-1","identity":{},"apiId":"a",
        "authorizer":{"principalId":"OWNER","owner":"OWNER","scopes":"sessions:read sessions:write"}},
        "body":"{\"a\":1}","isBase64Encoded":false}"#;

    #[test]
    fn a_rest_event_is_a_request_without_the_stage() {
        let owner = domain::OwnerId::of("i", "s");
        let event = EVENT.replace("OWNER", owner.as_str());
        let request = lambda_http::request::from_str(&event).expect("a REST proxy event");
        let incoming = incoming(request);
        assert_eq!(incoming.request.uri(), "/model/v1/messages?beta=true");
        assert_eq!(incoming.request.body().as_ref(), br#"{"a":1}"#);
        assert_eq!(incoming.request_id, "req-1");
        let principal = incoming.principal.expect("the authorizer named one");
        assert_eq!(principal.owner, owner);
        assert_eq!(principal.scopes, ["sessions:read", "sessions:write"]);
    }

    /// Every sample of a request in `events/` arrives as what the client sent.
    #[test]
    fn samples_of_requests_arrive_whole() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../events");
        let mut seen = 0;
        for entry in std::fs::read_dir(directory).expect("there are samples") {
            let path = entry.expect("readable").path();
            let text = std::fs::read_to_string(&path).expect("readable");
            let event: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            if event.get("httpMethod").is_none() || event["type"] == "REQUEST" {
                continue;
            }
            seen += 1;
            let request = lambda_http::request::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let incoming = incoming(request);
            let shown = path.display();
            assert_eq!(incoming.request.uri().path(), event["path"], "{shown}");
            assert_eq!(
                incoming.request.method().as_str(),
                event["httpMethod"],
                "{shown}"
            );
            let body = event["body"].as_str().unwrap_or_default();
            assert_eq!(incoming.request.body(), body.as_bytes(), "{shown}");
            assert_eq!(
                incoming.request_id, event["requestContext"]["requestId"],
                "{shown}"
            );
            for (name, value) in event["headers"].as_object().expect("headers") {
                assert_eq!(
                    incoming.request.headers()[name].as_bytes(),
                    value.as_str().expect("text").as_bytes(),
                    "{shown}"
                );
            }
        }
        assert!(seen > 10, "only {seen} samples");
    }
}
