//! `approvals`: the pages on which people decide what a session may do. A page is at a signed, expiring
//! address; who opens it logs in with a token that has the scope `approve`. Works on a phone and
//! without JavaScript. The same people look at stored policies here and change them, as JSON;
//! administrators make API keys and take them back, and everybody who creates sessions says with what
//! they clone.

mod asked;
mod connect;
mod git_credentials;
mod html;
mod json;
mod keys;
mod page;
mod policies;
mod visible;

use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    boot::run("approvals", async |boot| {
        let pages = Arc::new(connect::connect(&boot).await?);
        boot.serve_http(move |incoming| {
            let pages = Arc::clone(&pages);
            async move { pages.handle(incoming.request, incoming.principal).await }
        })
        .await
    })
}
