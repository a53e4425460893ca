//! `model-gateway`: between the sessions and the Messages API. A session's runner shows its session
//! token; the real key is put in here, and nothing but this function ever has it. For the same token
//! it hands out the AWS credentials of that one session.

mod broker;
mod connect;
mod gateway;
mod records;
mod refusal;
mod response;
mod upstream;
mod usage;

use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    boot::run("model-gateway", async |boot| {
        let gateway = Arc::new(connect::connect(&boot).await?);
        boot.serve_http(move |incoming| {
            let gateway = Arc::clone(&gateway);
            async move { gateway.handle(incoming.request).await }
        })
        .await
    })
}
