//! `discover`: says what the server is (`server/discover`) and that this function lives
//! (`GET /health`). Static: it reads no table, so it answers also when everything else is down.

use std::process::ExitCode;

use http::{Method, StatusCode};
use protocol::{Class, Edge, EdgeSettings, Listings};
use serde_json::json;

fn main() -> ExitCode {
    boot::run("discover", async |boot| {
        let class = Class::Discover;
        let settings = EdgeSettings::read(
            class,
            |name| boot.settings.integer(name),
            |name| boot.settings.list(name),
        )?;
        let edge = Edge::new(class, settings, Listings);
        let health = json!({
            "status": "ok",
            "version": env!("CARGO_PKG_VERSION"),
            "stage": boot.settings.text("SHANNON_STAGE")?,
        });
        boot.serve_http(move |incoming| {
            let (edge, health) = (edge.clone(), health.clone());
            async move {
                let request = incoming.request;
                if request.method() == Method::GET && request.uri().path() == "/health" {
                    return boot::http::json_response(StatusCode::OK, &health);
                }
                edge.handle(request, incoming.principal).await
            }
        })
        .await
    })
}
