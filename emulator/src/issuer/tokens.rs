//! `POST /oauth/token`.

use axum::{body::Bytes, extract::State, response::Response};
use http::StatusCode;
use serde_json::json;

use super::{
    Issuer, SUBJECT, answer,
    form::{Form, MOST_BYTES},
    grants::{NotGranted, Refreshed},
    now, refusal,
};

/// How long an access token is good: whoever takes it away cannot be stopped before.
const ACCESS_SECONDS: u64 = 3600;

/// Gives an access token for a code or a refresh token. A repeated request is refused and ends the
/// login: whose answer was lost, logs in again.
pub(super) async fn give(State(issuer): State<Issuer>, body: Bytes) -> Response {
    let form = match read(&body) {
        Ok(form) => form,
        Err(problem) => return refusal("invalid_request", &problem),
    };
    if let Some(resource) = form.get("resource")
        && !issuer.is_resource(resource)
    {
        let ours = &issuer.0.options.resource;
        let problem = format!("resource: tokens of this issuer are for {ours}");
        return refusal("invalid_target", &problem);
    }
    let granted = match exchange(&issuer, &form) {
        Ok(granted) => granted,
        Err(refused) => return refused,
    };
    let refreshed = match granted {
        Ok(refreshed) => refreshed,
        Err(NotGranted::Invalid(problem)) => return refusal("invalid_grant", problem),
        Err(NotGranted::NotKept(error)) => {
            tracing::error!(%error, "a login cannot be kept");
            let body = json!({"error": "server_error", "error_description": "the login cannot be kept; try again"});
            return answer(StatusCode::INTERNAL_SERVER_ERROR, &body);
        }
    };
    tokens(&issuer, &refreshed)
}

fn read(body: &[u8]) -> Result<Form, String> {
    if body.len() > MOST_BYTES {
        return Err(format!("the form has more than {MOST_BYTES} bytes"));
    }
    Form::parse(body)
}

/// Takes what the client has; the outer error is about the form.
#[expect(
    clippy::result_large_err,
    reason = "the error is the answer, made once a request"
)]
fn exchange(issuer: &Issuer, form: &Form) -> Result<Result<Refreshed, NotGranted>, Response> {
    let need = |name| {
        form.need(name)
            .map_err(|problem| refusal("invalid_request", &problem))
    };
    match need("grant_type")? {
        "authorization_code" => {
            let (code, client) = (need("code")?, need("client_id")?);
            let (redirect, verifier) = (need("redirect_uri")?, need("code_verifier")?);
            Ok(issuer
                .grants()
                .fetch(code, client, redirect, verifier, now()))
        }
        "refresh_token" => {
            let (token, client) = (need("refresh_token")?, need("client_id")?);
            Ok(issuer.grants().refresh(token, client, now()))
        }
        _ => Err(refusal(
            "unsupported_grant_type",
            "grant_type is authorization_code or refresh_token",
        )),
    }
}

fn tokens(issuer: &Issuer, refreshed: &Refreshed) -> Response {
    let inner = &issuer.0;
    let (login, now) = (&refreshed.login, now());
    let scope = login.scopes.join(" ");
    let access_token = inner.signer.sign(&json!({
        "iss": inner.options.url,
        "sub": SUBJECT,
        "aud": inner.options.resource,
        "client_id": login.client_id,
        "scope": scope,
        "iat": now,
        "exp": now + ACCESS_SECONDS,
        "jti": uuid::Uuid::new_v4().to_string(),
    }));
    let body = json!({
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": ACCESS_SECONDS,
        "refresh_token": refreshed.refresh_token,
        "scope": scope,
    });
    answer(StatusCode::OK, &body)
}
