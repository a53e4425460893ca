//! `model-gateway`: between the sessions and the Messages API. A session's runner shows its session
//! token; the real key is put in here, and nothing but this function ever has it. For the same token
//! it hands out the AWS credentials of that one session, and what its owner stored for the git host that
//! it clones from. `GET /ready` says whether everything that
//! sessions need answers.

mod broker;
mod connect;
mod gateway;
mod ready;
mod records;
mod refusal;
mod response;
mod upstream;
mod usage;

use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    boot::run("model-gateway", async |boot| {
        let served = Arc::new(connect::connect(&boot).await?);
        boot.serve_http(move |incoming| {
            let served = Arc::clone(&served);
            async move { served.handle(incoming.request).await }
        })
        .await
    })
}
