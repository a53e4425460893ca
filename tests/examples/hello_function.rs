//! The least that a function with the DynamoDB client can be: what the benchmark compares ours with.

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use aws_smithy_http_client::tls;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let ring = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    let http = aws_smithy_http_client::Builder::new().tls_provider(ring);
    let config = aws_config::from_env().http_client(http.build_https());
    let table = Client::new(&config.load().await);
    run(service_fn(async |event: LambdaEvent<Value>| {
        let key = event.payload["key"].as_str().unwrap_or_default();
        let read = table
            .get_item()
            .table_name("hello")
            .key("pk", AttributeValue::S(key.to_owned()));
        let found = read.send().await?.item.is_some();
        Ok::<_, Error>(json!({ "found": found }))
    }))
    .await
}
