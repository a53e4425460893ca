//! `discover`: says what the server is (`server/discover`), where clients get a token for it (the
//! well-known metadata), and that this function lives (`GET /health`). Static: it reads no table, so it answers also when everything else is down.

use std::process::ExitCode;

use http::{Method, StatusCode};
use protocol::{Class, Edge, EdgeSettings, Listings, ProtectedResource};
use serde_json::json;

fn main() -> ExitCode {
    boot::run("discover", async |boot| {
        let settings = EdgeSettings::read(
            Class::Discover,
            |name| boot.settings.integer(name),
            |name| boot.settings.list(name),
            |name| boot.settings.optional(name).map(|it| it.map(str::to_owned)),
        )?;
        let served = Edge::new(Class::Discover, settings, Listings);
        let health = json!({
            "status": "ok", "version": env!("CARGO_PKG_VERSION"),
            "stage": boot.settings.text("SHANNON_STAGE")?,
        });
        let resource = ProtectedResource::new(
            boot.settings.optional("SHANNON_PUBLIC_URL")?,
            boot.settings.text("SHANNON_STAGE")?,
            boot.settings.optional("SHANNON_OIDC_ISSUER")?,
            boot.settings.optional("SHANNON_OIDC_SCOPE_PREFIX")?,
        );
        boot.serve_http(move |incoming| {
            let (edge, health, resource) = (served.clone(), health.clone(), resource.clone());
            let request = incoming.request;
            async move {
                if request.method() == Method::GET && request.uri().path() == "/health" {
                    return boot::http::json_response(StatusCode::OK, &health);
                }
                if let Some(metadata) = resource.answer(&request) {
                    return metadata;
                }
                edge.handle(request, incoming.principal).await
            }
        })
        .await
    })
}
