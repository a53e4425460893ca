//! Signed objects for clients that reach another address than that of the services: they were signed for
//! the endpoint's host, which is put back before the signature is checked. Nothing else of S3 passes.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderValue, StatusCode, Uri, header};

use super::s3::ObjectService;

/// Where they are.
const PREFIX: &str = "/objects";
/// The part of an address that only a signed one has.
const SIGNATURE: &str = "X-Amz-Signature=";

#[derive(Clone)]
struct Signed {
    objects: ObjectService,
    host: HeaderValue,
}

pub(super) fn router(objects: ObjectService, endpoint: SocketAddr) -> Router {
    // Numbers, colons and points.
    let host = HeaderValue::try_from(endpoint.to_string());
    let host = host.unwrap_or(HeaderValue::from_static("localhost"));
    Router::new()
        .route("/objects/{*path}", get(answer).put(answer))
        .with_state(Signed { objects, host })
}

async fn answer(State(signed): State<Signed>, mut request: Request) -> Response {
    let Some(uri) = signed_address(request.uri()) else {
        return (StatusCode::FORBIDDEN, "only signed addresses are served").into_response();
    };
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(header::HOST, signed.host.clone());
    // The address alone says who may: with a signature of another kind beside it, it is ambiguous.
    headers.remove(header::AUTHORIZATION);
    signed.objects.answer(request).await
}

/// The address within the service, if it carries a signature.
fn signed_address(uri: &Uri) -> Option<Uri> {
    let query = uri.query()?;
    if !query.split('&').any(|part| part.starts_with(SIGNATURE)) {
        return None;
    }
    let path = uri.path().strip_prefix(PREFIX)?;
    format!("{path}?{query}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_signed_addresses_pass_and_stay_as_they_are_spelt() {
        let address =
            |text: &str| signed_address(&text.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(
            address("/objects/bucket/a%20b/c?x-id=PutObject&X-Amz-Signature=0f").as_deref(),
            Some("/bucket/a%20b/c?x-id=PutObject&X-Amz-Signature=0f")
        );
        for other in [
            "/objects/bucket/a",
            "/objects/bucket/a?x=1",
            "/objects/bucket/a?x=X-Amz-Signature=0f",
            "/bucket/a?X-Amz-Signature=0f",
        ] {
            assert_eq!(address(other), None, "{other}");
        }
    }
}
