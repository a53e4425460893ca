//! `authorizer`: answers API Gateway who calls. The answer holds for the whole stage, because API
//! Gateway keeps it for every route.

mod decision;

use std::process::ExitCode;

use boot::AccessToken;

fn main() -> ExitCode {
    boot::run("authorizer", async |boot| {
        let hash = boot.settings.text("SHANNON_ACCESS_TOKEN_SHA256")?;
        let token = AccessToken::from_sha256_hex(hash)?;
        boot.serve_events(move |request: decision::Request| {
            std::future::ready(decision::decide(&token, &request))
        })
        .await
    })
}
